#include "test_util.h"

#include "daemon/metrics.h"

static void check_name(const char *section, const char *key, const char *name, bool counter,
		       double scale)
{
	struct metric_name n;

	assert_true(metrics_name(section, key, &n));
	assert_string_equal(n.name, name);
	assert_int_equal(n.counter, counter);
	assert_true(n.scale == scale);
}

static void names_are_in_base_units(void **state)
{
	check_name("store", "tx_p50_us", "store_tx_p50_seconds", false, 1e-6);
	check_name("discovery", "sub_queued_max_ms", "discovery_sub_queued_max_seconds", false,
		   1e-3);
	check_name("profiler", "handler_ns", "profiler_handler_seconds", true, 1e-9);
	check_name("net", "sent_bytes", "net_sent_bytes", true, 1);
	check_name("", "operations", "operations", false, 1);
	check_name("dht.ipv4", "good", "dht_ipv4_good", false, 1);
}

static void what_may_fall_is_no_counter(void **state)
{
	check_name("net", "conns", "net_conns", false, 1);
	check_name("net", "accepted", "net_accepted", true, 1);
	check_name("debug_http", "open_connections", "debug_http_open_connections", false, 1);
	check_name("otlp", "queued", "otlp_queued", false, 1);
	check_name("network.nat", "asked", "network_nat_asked", false, 1);
}

static void names_do_not_end_as_those_of_histograms(void **state)
{
	check_name("memory", "live_count", "memory_live_blocks", false, 1);
	check_name("memory", "total_count", "memory_allocations", true, 1);
}

static void what_is_told_elsewhere_is_left_out(void **state)
{
	struct metric_name n;

	assert_false(metrics_name("loop", "p99_us", &n));
	assert_false(metrics_name("", "pid", &n));
	assert_true(metrics_name("store", "pid_like", &n));
}

static void secrets_in_the_command_line_are_starred(void **state)
{
	char text[] = "peerscope\0--push=tok@http://user:pw@host/x\0tok@https://host\0"
		      "http://user:pw@host\0/ip4/127.0.0.1/tcp/1\0hm://z6Mk/a=b";
	const char *const expected[] = { "peerscope",
					 "--push=******************@host/x",
					 "***@https://host",
					 "http://*******@host",
					 "/ip4/127.0.0.1/tcp/1",
					 "hm://z6Mk/a=b" };
	struct process p = { .cmdline = text, .cmdline_len = sizeof(text) };
	json_t *list = process_cmdline(&p);

	assert_int_equal(json_array_size(list), ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_string_equal(json_string_value(json_array_get(list, i)), expected[i]);
	json_decref(list);
}

static void the_process_is_read_from_the_kernel(void **state)
{
	struct process p;

	process_read(&p);
	assert_true(p.resident_bytes > 0 && p.virtual_bytes >= p.resident_bytes);
	assert_true(p.open_fds >= 3);
	assert_true(p.cmdline_len > 0);
	assert_non_null(strstr(p.cmdline, "test_daemon_metrics"));
	process_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_in_base_units),
		cmocka_unit_test(what_may_fall_is_no_counter),
		cmocka_unit_test(names_do_not_end_as_those_of_histograms),
		cmocka_unit_test(what_is_told_elsewhere_is_left_out),
		cmocka_unit_test(secrets_in_the_command_line_are_starred),
		cmocka_unit_test(the_process_is_read_from_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
