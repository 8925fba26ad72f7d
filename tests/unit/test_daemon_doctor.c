#include "tests/unit/test_util.h"

#include "base/err.h"
#include "daemon/doctor.h"

/* A daemon with which nothing is wrong; each case spoils something. */
static struct doctor_facts healthy(void)
{
	return (struct doctor_facts){ .state = DOCTOR_RUNNING,
				      .data = "/data",
				      .pid = 812,
				      .disk_known = true,
				      .disk_free_bytes = UINT64_C(100) << 30,
				      .disk_inodes_free = 1 << 20,
				      .memory_available_bytes = UINT64_C(8) << 30,
				      .uptime_ms = 3600000,
				      .turns = 1000000,
				      .lag_p99_us = 900,
				      .lag_max_us = 20000,
				      .memory_bytes = 100 << 20,
				      .fds = 40,
				      .fd_limit = 1024,
				      .store_error = "",
				      .network = "fine",
				      .network_sentence = "Peers can connect." };
}

/* clang-format off */
#define CASE(what_, severity_, says_, todo_, ...) { what_, severity_, says_, todo_, { __VA_ARGS__ } }
/* clang-format on */
struct change {
	enum doctor_state state;
	int folder_status;
	const char *config_why, *store_error, *network, *network_sentence, *failing;
	bool clock_unsynced, debugging, is_hidden;
	uint64_t disk_free_bytes, fds, memory_bytes, memory_limit_bytes, stalls, lag_max_us,
		over_50ms, queue_depth, tx_p99_us, dials, dial_failures, refused_limit, log_errors,
		failing_errors, failing_total, subscriptions, subscriptions_backing_off,
		subscriptions_overdue, subscriptions_overdue_ms, disk_inodes_free,
		memory_available_bytes, traces_evicted_dropped, fd_limit, store_stuck_ms,
		twin_ago_s, clocks_known, clocks_differ;
	int64_t clocks_ahead_s;
	const char *twin;
};
static const struct row {
	const char *name;
	enum doctor_severity severity;
	const char *says, *todo;
	struct change change;
} rows[] = {
	CASE("down", DOCTOR_PROBLEM, "No daemon is running with /data.",
	     "peerscope daemon --data /data", .state = DOCTOR_DOWN),
	CASE("hidden", DOCTOR_PROBLEM, "may not see whether a daemon runs with /data.", "the user",
	     .state = DOCTOR_DOWN, .is_hidden = true),
	CASE("hung", DOCTOR_PROBLEM, "pid 812", "peerscope diag bundle", .state = DOCTOR_HUNG),
	CASE("stopping", DOCTOR_NOTE, "shutting down", "", .state = DOCTOR_STOPPING),
	CASE("folder", DOCTOR_PROBLEM, "/data", "--data", .folder_status = UV_EACCES),
	CASE("config", DOCTOR_PROBLEM, "x.conf:3: no such key", "config show",
	     .config_why = "x.conf:3: no such key"),
	CASE("clock", DOCTOR_NOTE, "clock", "NTP", .clock_unsynced = true),
	CASE("disk", DOCTOR_WARNING, "512 MiB", "before", .disk_free_bytes = 512 << 20),
	CASE("disk", DOCTOR_PROBLEM, "5 MiB", "does not fit", .disk_free_bytes = 5 << 20),
	CASE("disk", DOCTOR_PROBLEM, "0 MiB", "nothing new", .disk_free_bytes = 4096),
	CASE("inodes", DOCTOR_WARNING, "17 more files", "Delete", .disk_inodes_free = 17),
	CASE("descriptors", DOCTOR_WARNING, "900 of 1024", "ulimit", .fds = 900),
	CASE("descriptor limit", DOCTOR_WARNING, "256 files", "LimitNOFILE", .fd_limit = 256),
	CASE("memory", DOCTOR_WARNING, "950 MiB of the 1000 MiB", "heap profile",
	     .memory_bytes = 950 << 20, .memory_limit_bytes = 1000 << 20),
	CASE("machine memory", DOCTOR_WARNING, "32 MiB", "swap",
	     .memory_available_bytes = 32 << 20),
	CASE("stalls", DOCTOR_WARNING, "3 times in the last ten minutes, at most for 4000 ms",
	     "report it", .stalls = 3, .lag_max_us = 4000000),
	CASE("stalls", DOCTOR_NOTE, "1 time in", "report it", .stalls = 1, .lag_max_us = 120000),
	CASE("lag", DOCTOR_WARNING, "2000 of 1000000", "CPU profile", .over_50ms = 2000),
	CASE("store", DOCTOR_PROBLEM, "disk I/O error", "disk", .store_error = "disk I/O error"),
	CASE("store stuck", DOCTOR_PROBLEM, "nothing for 67 s", "diag stacks",
	     .store_stuck_ms = 67000),
	CASE("store queue", DOCTOR_WARNING, "5000 requests", "disk", .queue_depth = 5000),
	CASE("slow disk", DOCTOR_WARNING, "800 ms", "faster disk", .tx_p99_us = 800000),
	CASE("network", DOCTOR_WARNING, "No UDP gets through.", "", .network = "no udp",
	     .network_sentence = "No UDP gets through."),
	CASE("network", DOCTOR_NOTE, "still starting", "", .network = "starting",
	     .network_sentence = "It is still starting."),
	CASE("twin", DOCTOR_PROBLEM, "30 s ago at /ip4/192.0.2.1/tcp/1", "remove node.key",
	     .twin = "/ip4/192.0.2.1/tcp/1", .twin_ago_s = 30),
	CASE("clock differs", DOCTOR_WARNING, "3 hours ahead of those of 2 of 3", "NTP",
	     .clocks_known = 3, .clocks_differ = 2, .clocks_ahead_s = -3 * 3600),
	CASE("clock differs", DOCTOR_WARNING, "90 seconds behind those of 1 of 1", "NTP",
	     .clocks_known = 1, .clocks_differ = 1, .clocks_ahead_s = 90),
	CASE("dials", DOCTOR_WARNING, "19 of 20", "firewall", .dials = 20, .dial_failures = 19),
	CASE("failures", DOCTOR_WARNING, "8 of the 10 latest sync.peer failed", "last stage",
	     .failing = "sync.peer", .failing_errors = 8, .failing_total = 10),
	CASE("subscriptions", DOCTOR_WARNING, "3 of 4 subscriptions", "reached", .subscriptions = 4,
	     .subscriptions_backing_off = 3),
	CASE("unconfirmed", DOCTOR_WARNING,
	     "2 of 4 subscriptions: no peer has said for 190 s whether there is news",
	     "peerscope subscriptions", .subscriptions = 4, .subscriptions_overdue = 2,
	     .subscriptions_overdue_ms = 190000),
	CASE("limits", DOCTOR_NOTE, "12 requests", "", .refused_limit = 12),
	CASE("traces", DOCTOR_NOTE, "7 pieces", "--trace-budget", .traces_evicted_dropped = 7),
	CASE("errors", DOCTOR_WARNING, "2 lines of level error", "--level error", .log_errors = 2),
	CASE("debugging", DOCTOR_NOTE, "debug", "", .debugging = true),
};

#define APPLY(field) f.field = c->field != 0 ? c->field : f.field

static struct doctor_facts spoilt(const struct change *c)
{
	struct doctor_facts f = healthy();

	APPLY(state), APPLY(folder_status), APPLY(config_why), APPLY(store_error), APPLY(network);
	APPLY(network_sentence), APPLY(failing), APPLY(clock_unsynced), APPLY(debugging),
		APPLY(is_hidden);
	APPLY(disk_free_bytes), APPLY(fds), APPLY(memory_bytes), APPLY(memory_limit_bytes);
	APPLY(stalls), APPLY(lag_max_us), APPLY(over_50ms), APPLY(queue_depth), APPLY(tx_p99_us);
	APPLY(dials), APPLY(dial_failures), APPLY(refused_limit), APPLY(log_errors);
	APPLY(failing_errors), APPLY(failing_total), APPLY(subscriptions);
	APPLY(subscriptions_backing_off), APPLY(disk_inodes_free), APPLY(memory_available_bytes);
	APPLY(traces_evicted_dropped), APPLY(subscriptions_overdue);
	APPLY(subscriptions_overdue_ms);
	APPLY(fd_limit), APPLY(store_stuck_ms);
	APPLY(twin), APPLY(twin_ago_s), APPLY(clocks_known), APPLY(clocks_differ);
	APPLY(clocks_ahead_s);
	return f;
}

static void each_fact_leads_to_its_finding_and_to_no_other(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doctor_facts f = spoilt(&rows[i].change);
		struct doctor_finding got[DOCTOR_FINDINGS_MAX];
		bool is_note = rows[i].severity == DOCTOR_NOTE;
		size_t count = doctor_examine(&f, got);

		assert_int_equal(count, is_note ? 2 : 1);
		if (is_note)
			assert_string_equal(got[0].name, "fine");
		assert_string_equal(got[count - 1].name, rows[i].name);
		assert_int_equal(got[count - 1].severity, rows[i].severity);
		assert_non_null(strstr(got[count - 1].sentence, rows[i].says));
		assert_non_null(strstr(got[count - 1].todo, rows[i].todo));
	}
}

static void a_healthy_daemon_is_told_so(void **state)
{
	struct doctor_facts f = healthy();
	struct doctor_finding got[DOCTOR_FINDINGS_MAX];

	assert_int_equal(doctor_examine(&f, got), 1);
	assert_int_equal(got[0].severity, DOCTOR_FINE);
}

static void knowing_nothing_is_no_complaint(void **state)
{
	struct doctor_facts f = { 0 };
	struct doctor_finding got[DOCTOR_FINDINGS_MAX];

	assert_int_equal(doctor_examine(&f, got), 1);
	assert_string_equal(got[0].name, "fine");
}

static void what_is_over_or_somebody_elses_is_not_told(void **state)
{
	struct doctor_facts f = healthy();
	struct doctor_finding got[DOCTOR_FINDINGS_MAX];

	f.twin = "/ip4/192.0.2.1/tcp/1";
	f.twin_ago_s = DOCTOR_TWIN_S + 1;
	f.clocks_known = 4;
	f.clocks_differ = 2;
	f.clocks_ahead_s = 100000;
	assert_int_equal(doctor_examine(&f, got), 1);
	assert_string_equal(got[0].name, "fine");
}

/* All that can be wrong at once fits, and the worst comes first. */
static void everything_at_once_is_sorted(void **state)
{
	struct doctor_finding got[DOCTOR_FINDINGS_MAX];
	struct doctor_facts f = healthy();
	size_t count;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct change all = rows[i].change;

		all.state = DOCTOR_RUNNING;
		const struct change *c = &all;
		APPLY(folder_status), APPLY(config_why), APPLY(store_error), APPLY(network);
		APPLY(network_sentence), APPLY(failing), APPLY(clock_unsynced), APPLY(debugging),
			APPLY(is_hidden);
		APPLY(disk_free_bytes), APPLY(fds), APPLY(memory_bytes), APPLY(memory_limit_bytes);
		APPLY(stalls), APPLY(over_50ms), APPLY(queue_depth), APPLY(tx_p99_us), APPLY(dials);
		APPLY(dial_failures), APPLY(refused_limit), APPLY(log_errors);
		APPLY(failing_errors), APPLY(failing_total), APPLY(subscriptions);
		APPLY(subscriptions_backing_off), APPLY(traces_evicted_dropped);
		APPLY(memory_available_bytes), APPLY(subscriptions_overdue);
		APPLY(subscriptions_overdue_ms);
	}
	f.state = DOCTOR_STOPPING;
	count = doctor_examine(&f, got);
	assert_true(count >= 18);
	for (size_t i = 1; i < count; i++)
		assert_true(got[i - 1].severity >= got[i].severity);
}

static void pages_escape_what_others_have_named(void **state)
{
	struct doctor_facts f = healthy();
	struct doctor_finding got[DOCTOR_FINDINGS_MAX];
	CLEANUP(buf_fini) struct buf out = { 0 };
	size_t count;

	buf_init(&out, 1 << 16);
	f.store_error = "<script>\"x\"";
	count = doctor_examine(&f, got);
	doctor_write_html(&out, got, count);
	assert_null(strstr((char *)out.data, "<script>"));
	buf_clear(&out);
	doctor_write_json(&out, got, count);
	assert_non_null(strstr((char *)out.data, "\\\"x\\\""));
	assert_non_null(strstr((char *)out.data, "\"verdict\":\"problem\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fact_leads_to_its_finding_and_to_no_other),
		cmocka_unit_test(a_healthy_daemon_is_told_so),
		cmocka_unit_test(knowing_nothing_is_no_complaint),
		cmocka_unit_test(what_is_over_or_somebody_elses_is_not_told),
		cmocka_unit_test(everything_at_once_is_sorted),
		cmocka_unit_test(pages_escape_what_others_have_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
