#include "daemon/diagnosis.h"
#include "tests/unit/test_util.h"

/* A daemon on a good network. */
static struct diagnosis_facts good(void)
{
	return (struct diagnosis_facts){ .tcp_port = 4001,
					 .family = 6,
					 .wildcard = true,
					 .has_ipv4 = true,
					 .lan = "on",
					 .dht = "on",
					 .dht_wanted = true,
					 .dht_candidates = 8,
					 .dht_up_ms = 60000,
					 .dht_packets_in = 100,
					 .dht_packets_out = 120,
					 .mapping_why = "" };
}

static struct diagnosis_facts silent(unsigned candidates)
{
	struct diagnosis_facts f = good();

	f.dht = "bootstrapping";
	f.dht_candidates = candidates;
	f.dht_packets_in = 0;
	return f;
}

static struct diagnosis_facts unreached(bool translated, enum mapping mapping)
{
	struct diagnosis_facts f = good();

	f.outside = OUTSIDE_NO;
	f.asked = 2;
	f.translated = translated;
	f.mapping = mapping;
	f.mapping_why = "no gateway answers";
	return f;
}

/* The name, and a piece of the sentence. */
static void check(struct diagnosis_facts f, enum diagnosis expected, const char *piece)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	enum diagnosis d = diagnose(&f);

	buf_init(&out, 1024);
	assert_string_equal(diagnosis_name(d), diagnosis_name(expected));
	diagnosis_write(&out, d, &f);
	buf_write_u8(&out, '\0');
	CHECK_STATUS(0, buf_err(&out));
	if (strstr((const char *)out.data, piece) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", piece, (const char *)out.data);
	assert_int_equal(out.data[out.len - 2], '.');
}

static void what_works_is_called_fine(void **state)
{
	struct diagnosis_facts f = good();

	(void)state;
	check(f, DIAGNOSIS_FINE_SO_FAR, "so far");
	f.outside = OUTSIDE_YES;
	check(f, DIAGNOSIS_FINE, "peers outside can connect");
	f = good();
	f.dht = "off";
	f.dht_wanted = false;
	f.lan_peers = 1;
	check(f, DIAGNOSIS_LAN_ONLY, "(1 peer)");
	f.lan_peers = 0;
	check(f, DIAGNOSIS_LAN_ONLY, "Nobody else");
}

static void a_dht_that_says_nothing_has_a_cause(void **state)
{
	struct diagnosis_facts f = silent(8);

	(void)state;
	check(f, DIAGNOSIS_NO_UDP, "120 packets");
	f.dht_up_ms = DIAGNOSIS_PATIENCE_MS - 1;
	check(f, DIAGNOSIS_STARTING, "Starting");
	check(silent(0), DIAGNOSIS_NO_NAMES, "DNS");
	check(silent(1), DIAGNOSIS_NO_BOOTSTRAP, "1 known");
	f = silent(1);
	f.conns = 1; /* TCP works, so the network does */
	check(f, DIAGNOSIS_NO_UDP, "firewall");
	f = silent(8);
	f.dht_refused = 1;
	check(f, DIAGNOSIS_NO_BOOTSTRAP, "8 known");
	f.dht_send_failures = f.dht_packets_out;
	check(f, DIAGNOSIS_NO_ROUTE, "no route");
	f = silent(0);
	f.dht_private = true;
	check(f, DIAGNOSIS_NO_BOOTSTRAP, "--dht-router");
	f.dht = "off: no UDP: permission denied";
	check(f, DIAGNOSIS_NO_SOCKET, "permission denied");
}

/* It worked once: then there is UDP no more, however few are known. */
static void a_dht_that_fell_silent_is_no_udp(void **state)
{
	struct diagnosis_facts f = silent(1);

	(void)state;
	f.dht = "no UDP";
	check(f, DIAGNOSIS_NO_UDP, "none came back");
}

static void who_is_not_reached_learns_why(void **state)
{
	(void)state;
	check(unreached(true, MAPPING_OFF), DIAGNOSIS_NAT, "--nat on");
	check(unreached(true, MAPPING_ASKING), DIAGNOSIS_NAT, "2 peers");
	check(unreached(true, MAPPING_FAILED), DIAGNOSIS_NAT_REFUSED, "no gateway answers");
	check(unreached(true, MAPPING_DONE), DIAGNOSIS_NAT_TWICE, "another NAT");
	check(unreached(false, MAPPING_OFF), DIAGNOSIS_FIREWALL, "port 4001");
}

static void who_cannot_find_anybody_learns_it(void **state)
{
	struct diagnosis_facts f = good();

	(void)state;
	f.dht = f.lan = "off";
	f.dht_wanted = false;
	check(f, DIAGNOSIS_ALONE, "added");
	/* One connection from outside does not make it found. */
	f.outside = OUTSIDE_YES;
	check(f, DIAGNOSIS_ALONE, "; peers outside can connect.");
	f.lan = "on";
	check(f, DIAGNOSIS_LAN_ONLY, "the DHT is off");
	f.lan = "off";
	f.outside = OUTSIDE_NO; /* there is something to mend */
	check(f, DIAGNOSIS_FIREWALL, "could not connect");
	f.outside = OUTSIDE_UNKNOWN;
	f.loopback = true;
	check(f, DIAGNOSIS_LOOPBACK, "loopback");
	f.loopback = false;
	f.lan = "no network with multicast";
	check(f, DIAGNOSIS_NO_LAN, "no network with multicast");
}

static void an_address_that_others_could_dial_is_needed(void **state)
{
	struct diagnosis_facts f = good();

	(void)state;
	f.has_ipv4 = false;
	check(f, DIAGNOSIS_NO_ADDRESS, "no network");
	f.has_ipv6 = true;
	check(f, DIAGNOSIS_FINE_SO_FAR, "so far");
	f.family = 4;
	check(f, DIAGNOSIS_NO_ADDRESS, "--listen [::]:4001");
	f.has_ipv4 = true;
	check(f, DIAGNOSIS_FINE_SO_FAR, "so far");
	f.wildcard = false;
	check(f, DIAGNOSIS_NO_ADDRESS, "does not have any more");
	f.listens_here = true;
	check(f, DIAGNOSIS_FINE_SO_FAR, "so far");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_works_is_called_fine),
		cmocka_unit_test(a_dht_that_says_nothing_has_a_cause),
		cmocka_unit_test(a_dht_that_fell_silent_is_no_udp),
		cmocka_unit_test(who_is_not_reached_learns_why),
		cmocka_unit_test(who_cannot_find_anybody_learns_it),
		cmocka_unit_test(an_address_that_others_could_dial_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
