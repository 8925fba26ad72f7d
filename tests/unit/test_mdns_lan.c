/* Daemons on a simulated network: finding each other, names, losses, leaving, changes. */
#include "tests/unit/mdns_lan.h"

enum { SETTLE_MS = 3000 };

static struct lan lan;

static int set_up(void **state)
{
	lan_init(&lan, 20261121);
	return 0;
}

static int tear_down(void **state)
{
	lan_fini(&lan);
	return 0;
}

static void add_up(size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK_STATUS(0, lan_up(lan_add(&lan, true, NULL)));
}

static void check_all_know_all(void)
{
	for (size_t i = 0; i < lan.host_count; i++) {
		for (size_t k = 0; k < lan.host_count; k++) {
			if (lan.hosts[i].mdns != NULL && lan.hosts[k].mdns != NULL)
				assert_int_equal(i != k, lan_knows(&lan.hosts[i], &lan.hosts[k]));
		}
	}
}

static void two_find_each_other_within_two_seconds(void **state)
{
	struct mdns_peer *found = &lan.hosts[0].last;

	add_up(2);
	lan_run(&lan, 2000);
	check_all_know_all();
	assert_int_equal(lan.hosts[0].found, 1);
	assert_int_equal(found->addr_count, 1);
	assert_memory_equal(found->addrs[0].ip, "\xc0\x00\x02\x0b", 4);
	assert_int_equal(found->addrs[0].port, 4001);
	assert_true(found->addrs[0].has_peer && key_eq(&found->addrs[0].peer, &lan.hosts[1].key));
	assert_int_equal(found->dht_port, 5001);
}

static void a_newcomer_meets_those_who_are_there(void **state)
{
	add_up(2);
	lan_run(&lan, 600000);
	add_up(1);
	lan_run(&lan, 1500);
	check_all_know_all();
	assert_int_equal(lan.hosts[0].found, 2);
	assert_int_equal(lan.hosts[2].found, 2);
}

static void a_name_is_probed_three_times_before_it_is_announced(void **state)
{
	size_t probes = 0;

	add_up(1);
	lan_run(&lan, 5000);
	for (size_t i = 0; i < lan.sent; i++) {
		const uint8_t *p = lan.log[i].data;
		bool response = (p[2] & 0x80) != 0, probe = p[9] != 0;

		probes += probe;
		if (response)
			assert_int_equal(probes, 3);
		assert_true(lan.log[i].to_group);
	}
	assert_int_equal(probes, 3);
	assert_int_equal(lan_count(&lan, 0, 0, DNS_ANSWER, DNS_SRV), 2);
	assert_int_equal(lan_stats(&lan.hosts[0]).published, 1);
}

static void a_quiet_network_stays_quiet(void **state)
{
	size_t before;

	add_up(3);
	lan_run(&lan, 10000);
	before = lan.sent;
	lan_run(&lan, 3600000);
	/* Refreshing addresses and services: three hosts, twice each in 96 s, question and answer.
	 */
	assert_in_range(lan.sent - before, 1, 3600 / 96 * 3 * 2 * 2);
	check_all_know_all();
	assert_int_equal(lan.hosts[0].gone, 0);
}

static void goodbye_is_heard_at_once(void **state)
{
	size_t before;

	add_up(3);
	lan_run(&lan, SETTLE_MS);
	before = lan.sent;
	lan_leave(&lan.hosts[1]);
	/* The type itself belongs to the others too. */
	assert_int_equal(lan_count(&lan, before, 1, DNS_ANSWER, DNS_PTR), 1);
	lan_run(&lan, 1500);
	check_all_know_all();
	assert_int_equal(lan.hosts[0].gone, 1);
	assert_int_equal(lan_stats(&lan.hosts[0]).instances, 1);
}

static void one_that_vanished_is_forgotten_after_two_minutes(void **state)
{
	add_up(2);
	lan_run(&lan, SETTLE_MS);
	lan_crash(&lan.hosts[1]);
	lan_run(&lan, 60000);
	assert_true(lan_knows(&lan.hosts[0], &lan.hosts[1]));
	lan_run(&lan, 70000);
	assert_false(lan_knows(&lan.hosts[0], &lan.hosts[1]));
	assert_int_equal(lan.hosts[0].gone, 1);
	lan_run(&lan, 4500000);
	assert_int_equal(lan_stats(&lan.hosts[0]).instances, 0);
}

static void a_quarter_of_the_packets_lost_delays_but_does_not_prevent(void **state)
{
	lan.loss_percent = 25;
	add_up(3);
	lan_run(&lan, 120000);
	check_all_know_all();
}

static void what_could_not_be_sent_is_sent_again(void **state)
{
	size_t before;

	add_up(2);
	lan.hosts[0].send_error = UV_ENETUNREACH;
	lan_run(&lan, 20000);
	assert_false(lan_knows(&lan.hosts[1], &lan.hosts[0]));
	lan.hosts[0].send_error = 0;
	before = lan.sent;
	lan_run(&lan, 1100);
	assert_true(lan_count(&lan, before, 0, DNS_QUESTION, DNS_PTR) >= 1);
	lan_run(&lan, SETTLE_MS);
	check_all_know_all();
	assert_true(lan_stats(&lan.hosts[0]).send_failures > 0);
}

/* ---- Names ---- */

static void steal_name(struct lan_host *victim, uint16_t flags, enum dns_section section)
{
	struct lan_message msg;
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct dns_record r = { .name = &victim->mdns->instance,
				.type = DNS_SRV,
				.ttl_s = 120,
				.head = (const uint8_t *)"\0\0\0\0\0\x09",
				.head_len = 6,
				.target = &victim->mdns->host };

	message_init(&msg, flags);
	assert_true(dns_write_record(&msg.w, section, &r));
	message_inject(&msg, victim, &from);
}

static void a_name_in_use_is_given_up_for_another(void **state)
{
	char before[LABEL_CHARS + 1];

	add_up(2);
	lan_run(&lan, SETTLE_MS);
	strcpy(before, mdns_label(lan.hosts[0].mdns));
	steal_name(&lan.hosts[0], DNS_RESPONSE, DNS_ANSWER);
	assert_string_not_equal(before, mdns_label(lan.hosts[0].mdns));
	assert_int_equal(lan_stats(&lan.hosts[0]).conflicts, 1);
	assert_int_equal(lan.hosts[0].mdns->links[0]->phase, PHASE_PROBING);
	lan_run(&lan, SETTLE_MS);
	check_all_know_all();
	assert_int_equal(lan.hosts[1].found, 1); /* the same peer under another name */
}

static void two_that_probe_for_one_name_end_with_two(void **state)
{
	add_up(1);
	steal_name(&lan.hosts[0], 0, DNS_AUTHORITY);
	assert_int_equal(lan_stats(&lan.hosts[0]).conflicts, 1);
	lan_run(&lan, SETTLE_MS);
	steal_name(&lan.hosts[0], 0, DNS_AUTHORITY); /* now it is ours: we defend it */
	assert_int_equal(lan_stats(&lan.hosts[0]).conflicts, 1);
}

static void a_probe_for_our_name_is_answered_in_time(void **state)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct lan_message msg;
	struct dns_record r = {
		.type = DNS_TXT, .ttl_s = 120, .head = (const uint8_t *)"", .head_len = 1
	};
	size_t before;

	add_up(1);
	lan_run(&lan, SETTLE_MS);
	r.name = &lan.hosts[0].mdns->instance;
	for (unsigned i = 0; i < 3; i++) { /* faster than a record may otherwise be repeated */
		before = lan.sent;
		message_init(&msg, 0);
		assert_true(dns_write_question(&msg.w, r.name, DNS_ANY));
		assert_true(dns_write_record(&msg.w, DNS_AUTHORITY, &r));
		message_inject(&msg, &lan.hosts[0], &from);
		lan_run(&lan, 260);
		assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_SRV), 1);
	}
	assert_int_equal(lan_stats(&lan.hosts[0]).conflicts, 0);
}

static void a_storm_of_conflicts_is_sat_out(void **state)
{
	size_t before;

	add_up(1);
	lan_run(&lan, SETTLE_MS);
	for (unsigned i = 0; i < 20; i++)
		steal_name(&lan.hosts[0], DNS_RESPONSE, DNS_ANSWER);
	assert_int_equal(lan_stats(&lan.hosts[0]).conflicts, 20);
	before = lan.sent;
	lan_run(&lan, 4900);
	assert_int_equal(lan_count(&lan, before, 0, DNS_AUTHORITY, DNS_SRV), 0);
	lan_run(&lan, SETTLE_MS);
	assert_int_equal(lan_stats(&lan.hosts[0]).published, 1);
}

static void a_host_on_one_network_twice_does_not_fight_itself(void **state)
{
	struct lan_host *h = lan_add(&lan, true, NULL);

	h->links[1] = h->links[0];
	h->links[1].id = 2;
	h->links[1].addrs[0].ip[3] = 77;
	h->link_count = 2;
	CHECK_STATUS(0, lan_up(h));
	add_up(1);
	lan_run(&lan, 60000);
	assert_int_equal(lan_stats(h).conflicts, 0);
	assert_int_equal(lan_stats(h).published, 2);
	check_all_know_all();
	assert_int_equal(lan.hosts[1].found, 1);
}

/* ---- Changes ---- */

static void a_new_address_replaces_the_old_one(void **state)
{
	struct mdns_peer peer;

	add_up(2);
	lan_run(&lan, 10000);
	lan.hosts[0].links[0].addrs[0].ip[3] = 200;
	CHECK_STATUS(0, lan_up(&lan.hosts[0]));
	lan_run(&lan, SETTLE_MS);
	assert_int_equal(mdns_peers(lan.hosts[1].mdns, &peer, 1), 1);
	assert_int_equal(peer.addr_count, 1);
	assert_int_equal(peer.addrs[0].ip[3], 200);
	assert_int_equal(lan_stats(&lan.hosts[0]).conflicts, 0);
}

static void another_address_of_a_peer_is_told_once(void **state)
{
	add_up(2);
	lan_run(&lan, 10000);
	assert_int_equal(lan.hosts[1].moved, 0);
	lan.hosts[0].links[0].addrs[0].ip[3] = 200;
	CHECK_STATUS(0, lan_up(&lan.hosts[0]));
	lan_run(&lan, 1000);
	assert_int_equal(lan.hosts[1].moved, 1);
	assert_int_equal(lan.hosts[1].last.addr_count, 2);
	lan_run(&lan, SETTLE_MS);
	assert_int_equal(lan.hosts[1].moved, 1);
	assert_int_equal(lan.hosts[1].found, 1);
}

static void all_addresses_of_a_host_are_told(void **state)
{
	struct lan_host *h = lan_add(&lan, true, NULL);

	h->links[0].addrs[1] = h->links[0].addrs[0];
	h->links[0].addrs[1].ip[3] = 201;
	h->links[0].addrs[2] = h->links[0].addrs[0];
	h->links[0].addrs[2].ip[3] = 202;
	h->links[0].addrs[2].publish = false;
	h->links[0].addr_count = 3;
	CHECK_STATUS(0, lan_up(h));
	add_up(1);
	lan_run(&lan, SETTLE_MS);
	assert_int_equal(lan.hosts[1].last.addr_count, 2);
	assert_int_equal(lan.hosts[1].last.addrs[1].ip[3], 201);
}

static void a_link_that_goes_takes_its_peers_along(void **state)
{
	add_up(2);
	lan_run(&lan, SETTLE_MS);
	CHECK_STATUS(0, mdns_set_links(lan.hosts[0].mdns, NULL, 0));
	assert_int_equal(lan.hosts[0].gone, 1);
	assert_int_equal(lan_stats(&lan.hosts[0]).instances, 0);
	lan_run(&lan, 5000);
	CHECK_STATUS(0, lan_up(&lan.hosts[0]));
	lan_run(&lan, SETTLE_MS);
	check_all_know_all();
	assert_int_equal(lan.hosts[0].found, 2);
}

static void links_beyond_the_limit_are_refused(void **state)
{
	struct mdns_link_config links[MDNS_LINKS_MAX + 1];
	struct lan_host *h = lan_add(&lan, true, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		links[i] = h->links[0];
		links[i].id = (uint32_t)i + 1;
	}
	h->mute = true;
	CHECK_STATUS(ERR_LIMIT, mdns_set_links(h->mdns, links, ARRAY_SIZE(links)));
	assert_int_equal(lan_stats(h).links, MDNS_LINKS_MAX);
}

static void one_that_only_looks_is_not_seen(void **state)
{
	add_up(1);
	CHECK_STATUS(0, lan_up(lan_add(&lan, false, NULL)));
	lan_run(&lan, SETTLE_MS);
	assert_true(lan_knows(&lan.hosts[1], &lan.hosts[0]));
	assert_false(lan_knows(&lan.hosts[0], &lan.hosts[1]));
	assert_int_equal(lan_count(&lan, 0, 1, DNS_ANSWER, DNS_SRV), 0);
}

static void a_link_that_may_only_ask_keeps_its_peers(void **state)
{
	struct lan_host *h;

	add_up(1);
	h = lan_add(&lan, true, NULL);
	h->links[0].ask_only = true;
	CHECK_STATUS(0, lan_up(h));
	for (unsigned i = 0; i < 20; i++) {
		lan_run(&lan, 60000);
		assert_true(lan_knows(h, &lan.hosts[0]));
	}
	assert_int_equal(lan_count(&lan, 0, 1, DNS_ANSWER, DNS_SRV), 0);
	assert_int_equal(h->found, 1);
	assert_in_range(lan_count(&lan, 0, 1, DNS_QUESTION, DNS_PTR), 20, 30); /* once a minute */
}

static void networks_with_other_tags_do_not_mix(void **state)
{
	CHECK_STATUS(0, lan_up(lan_add(&lan, true, NULL)));
	CHECK_STATUS(0, lan_up(lan_add(&lan, true, "red")));
	CHECK_STATUS(0, lan_up(lan_add(&lan, true, "red")));
	CHECK_STATUS(0, lan_up(lan_add(&lan, true, "tan")));
	lan_run(&lan, SETTLE_MS);
	assert_int_equal(lan_stats(&lan.hosts[3]).peers, 0);
	assert_true(lan_knows(&lan.hosts[1], &lan.hosts[2]));
	assert_false(lan_knows(&lan.hosts[1], &lan.hosts[0]));
	assert_false(lan_knows(&lan.hosts[0], &lan.hosts[1]));
	assert_true(lan_stats(&lan.hosts[0]).instances_foreign > 0);
	assert_null(lan_add(&lan, true, ""));
	assert_null(lan_add(&lan, true, "two words"));
	assert_null(lan_add(&lan, true, "123456789012345678901234567890123"));
}

/* ---- Memory ---- */

static void out_of_memory_loses_a_neighbour_at_most(void **state)
{
	FAULT_SWEEP({
		struct lan other;
		bool up = true;

		mem_fault_after(0, false);
		lan_init(&other, 5);
		mem_fault_after(sweep_.n, sweep_.sticky);
		for (unsigned i = 0; i < 2; i++) {
			struct lan_host *h = lan_add(&other, true, NULL);

			up = h != NULL && lan_up(h) == 0 && up;
		}
		if (up)
			lan_run(&other, 5000);
		if (mem_fault_hits() == 0) {
			assert_true(lan_knows(&other.hosts[0], &other.hosts[1]));
			assert_true(lan_knows(&other.hosts[1], &other.hosts[0]));
		}
		lan_fini(&other);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define LAN_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		LAN_TEST(two_find_each_other_within_two_seconds),
		LAN_TEST(a_newcomer_meets_those_who_are_there),
		LAN_TEST(a_name_is_probed_three_times_before_it_is_announced),
		LAN_TEST(a_quiet_network_stays_quiet),
		LAN_TEST(goodbye_is_heard_at_once),
		LAN_TEST(one_that_vanished_is_forgotten_after_two_minutes),
		LAN_TEST(a_quarter_of_the_packets_lost_delays_but_does_not_prevent),
		LAN_TEST(what_could_not_be_sent_is_sent_again),
		LAN_TEST(a_name_in_use_is_given_up_for_another),
		LAN_TEST(two_that_probe_for_one_name_end_with_two),
		LAN_TEST(a_probe_for_our_name_is_answered_in_time),
		LAN_TEST(a_storm_of_conflicts_is_sat_out),
		LAN_TEST(a_host_on_one_network_twice_does_not_fight_itself),
		LAN_TEST(a_new_address_replaces_the_old_one),
		LAN_TEST(another_address_of_a_peer_is_told_once),
		LAN_TEST(all_addresses_of_a_host_are_told),
		LAN_TEST(a_link_that_goes_takes_its_peers_along),
		LAN_TEST(links_beyond_the_limit_are_refused),
		LAN_TEST(one_that_only_looks_is_not_seen),
		LAN_TEST(a_link_that_may_only_ask_keeps_its_peers),
		LAN_TEST(networks_with_other_tags_do_not_mix),
		cmocka_unit_test(out_of_memory_loses_a_neighbour_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
