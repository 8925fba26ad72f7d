/* A network that lies, floods and forges: bounded work, counters move, the honest are still found.
 */
#include "tests/unit/mdns_lan.h"

enum { SETTLE_MS = 3000 };

static struct lan lan;
static struct lan_host *victim;

static int set_up(void **state)
{
	lan_init(&lan, 7);
	victim = lan_add(&lan, true, NULL);
	CHECK_STATUS(0, lan_up(victim));
	lan_run(&lan, SETTLE_MS);
	return 0;
}

static int tear_down(void **state)
{
	lan_fini(&lan);
	return 0;
}

static struct public_key key_number(unsigned n)
{
	struct public_key k = { { (uint8_t)n, (uint8_t)(n >> 8), 77 } };

	return k;
}

static void tell(const char *label, const struct public_key *peer, const uint8_t ip[4],
		 uint16_t port)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct lan_message msg;

	message_init(&msg, DNS_RESPONSE);
	message_peer(&msg, label, peer, ip, port, 120);
	message_inject(&msg, victim, &from);
}

static void broken_packets_change_nothing_and_are_counted(void **state)
{
	static const uint8_t looped[] = { 0, 0, 0x84, 0,    0,	0, 0,  1, 0,
					  0, 0, 0,    0xc0, 12, 0, 12, 0, 1 };
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	static uint8_t large[DNS_RECEIVE_MAX + 1];
	struct mdns_stats s;
	size_t sent = lan.sent;

	lan_inject(victim, &from, "", 0);
	lan_inject(victim, &from, looped, sizeof(looped));
	lan_inject(victim, &from, "\0\0\x88\0\0\0\0\0\0\0\0\0", 12); /* opcode */
	lan_inject(victim, &from, "\0\0\x80\3\0\0\0\0\0\0\0\0", 12); /* rcode */
	lan_inject(victim, &from, large, sizeof(large));
	s = lan_stats(victim);
	assert_int_equal(s.dropped_malformed, 4);
	assert_int_equal(s.dropped_too_long, 1);
	assert_int_equal(lan.sent, sent);
}

static void a_packet_broken_at_its_end_is_not_believed_at_its_start(void **state)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct public_key k = key_number(1);
	struct lan_message msg;

	message_init(&msg, DNS_RESPONSE);
	message_peer(&msg, "half", &k, (const uint8_t *)"\xc0\0\2\7", 4000, 120);
	assert_true(dns_write_end(&msg.w, 0));
	lan_inject(victim, &from, msg.out.data, msg.out.len - 1);
	assert_int_equal(lan_stats(victim).instances, 0);
	lan_inject(victim, &from, msg.out.data, msg.out.len);
	assert_int_equal(lan_stats(victim).peers, 1);
	buf_fini(&msg.out);
}

static void answers_come_from_the_right_port_and_from_neighbours(void **state)
{
	struct mdns_endpoint from = lan_endpoint(99, 40000), far = { 4, { 8, 8, 8, 8 }, MDNS_PORT };
	struct public_key k = key_number(1);
	struct lan_message msg;

	message_init(&msg, DNS_RESPONSE);
	message_peer(&msg, "other", &k, (const uint8_t *)"\xc0\0\2\7", 4000, 120);
	assert_true(dns_write_end(&msg.w, 0));
	lan_inject(victim, &from, msg.out.data, msg.out.len);
	mdns_receive(victim->mdns, 1, &far, false, msg.out.data, msg.out.len);
	assert_int_equal(lan_stats(victim).dropped_source, 2);
	assert_int_equal(victim->found, 0);
	far = lan_endpoint(99, MDNS_PORT);
	mdns_receive(victim->mdns, 1, &far, false, msg.out.data, msg.out.len);
	assert_int_equal(victim->found, 1);
	buf_fini(&msg.out);
}

static void addresses_elsewhere_are_not_knocked_at(void **state)
{
	static const struct {
		const char *ip;
		bool ok;
	} rows[] = {
		{ "\xc0\0\2\7", true },	       { "\x0a\1\2\3", true },
		{ "\xa9\xfe\1\1", true },      { "\xc0\xa8\1\1", true },
		{ "\xac\x1f\0\1", true },      { "\xac\x20\0\1", false },
		{ "\x08\x08\x08\x08", false }, { "\x7f\0\0\1", false },
		{ "\0\0\0\0", false },	       { "\xe0\0\0\xfb", false },
		{ "\xff\xff\xff\xff", false }, { "\xc0\0\3\7", false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct public_key k = key_number(i);
		char label[8];

		snprintf(label, sizeof(label), "n%u", i);
		victim->found = 0;
		tell(label, &k, (const uint8_t *)rows[i].ip, 4000);
		assert_int_equal(victim->found, rows[i].ok);
	}
}

static void port_zero_self_and_nonsense_are_not_peers(void **state)
{
	struct public_key k = key_number(1);
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	static const char *const txts[] = { "\3v=1", "\3v=2",	"\3v=1\5id=xx",
					    "\0",    "\377v=1", "\3v=1\3id=" };

	tell("zero", &k, (const uint8_t *)"\xc0\0\2\7", 0);
	tell("self", &victim->key, (const uint8_t *)"\xc0\0\2\7", 4000);
	for (unsigned i = 0; i < ARRAY_SIZE(txts); i++) {
		struct dns_name name = dns_name_below("zero", &victim->mdns->type);
		struct dns_record r = {
			.name = &name, .type = DNS_TXT, .flush = true, .ttl_s = 120
		};
		struct lan_message msg;

		r.head = (const uint8_t *)txts[i];
		r.head_len = MAX(strlen(txts[i]), (size_t)1);
		message_init(&msg, DNS_RESPONSE);
		assert_true(dns_write_record(&msg.w, DNS_ANSWER, &r));
		message_inject(&msg, victim, &from);
	}
	assert_int_equal(victim->found, 0);
	assert_int_equal(lan_stats(victim).peers, 0);
}

static void names_without_substance_make_room_for_real_ones(void **state)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct public_key k = key_number(1);

	for (unsigned i = 0; i < 2 * MDNS_INSTANCES_MAX; i++) {
		struct dns_name name;
		struct dns_record r = { .name = &victim->mdns->type,
					.type = DNS_PTR,
					.ttl_s = 999999 };
		struct lan_message msg;
		char label[16];

		snprintf(label, sizeof(label), "ghost%u", i);
		name = dns_name_below(label, &victim->mdns->type);
		r.target = &name;
		message_init(&msg, DNS_RESPONSE);
		assert_true(dns_write_record(&msg.w, DNS_ANSWER, &r));
		message_inject(&msg, victim, &from);
		lan_run(&lan, 10);
	}
	tell("real", &k, (const uint8_t *)"\xc0\0\2\7", 4000);
	assert_int_equal(victim->found, 1);
	assert_int_equal(lan_stats(victim).instances, MDNS_INSTANCES_MAX);
	assert_int_equal(lan_stats(victim).instances_dropped, MDNS_INSTANCES_MAX + 1);
	lan_run(&lan, (MDNS_TTL_MAX_S + 60) * UINT64_C(1000)); /* promises of years end with ours */
	assert_int_equal(lan_stats(victim).instances, 0);
}

static void ghosts_are_asked_for_thrice_and_no_more(void **state)
{
	size_t before;

	names_without_substance_make_room_for_real_ones(state);
	for (unsigned i = 0; i < 50; i++) {
		struct public_key k = key_number(i);
		char label[16];

		snprintf(label, sizeof(label), "n%u", i);
		tell(label, &k, (const uint8_t *)"\x08\x08\x08\x08", 4000);
	}
	before = lan.sent;
	lan_run(&lan, 60000); /* before the first refresh */
	assert_int_equal(lan_count(&lan, before, 0, DNS_QUESTION, DNS_A), 3 * 50);
}

static void false_instances_do_not_hide_the_addresses_of_the_true_one(void **state)
{
	struct public_key k = key_number(1);
	struct mdns_peer peer;
	bool found = false;

	for (unsigned i = 0; i < 20; i++) {
		char label[16];

		snprintf(label, sizeof(label), "false%u", i);
		if (i == 5)
			tell("true", &k, (const uint8_t *)"\xc0\0\2\7", 4000);
		tell(label, &k, (const uint8_t *)"\xc0\0\2\x63", (uint16_t)(5000 + i % 3));
	}
	assert_int_equal(mdns_peers(victim->mdns, &peer, 1), 1);
	for (size_t i = 0; i < peer.addr_count; i++)
		found = found || peer.addrs[i].port == 4000;
	assert_true(found);
	assert_int_equal(victim->found, 1);
}

static void a_flood_is_read_at_a_bounded_rate(void **state)
{
	struct public_key k = key_number(1);
	struct mdns_stats before = lan_stats(victim), after;

	for (unsigned i = 0; i < 5000; i++)
		tell("flood", &k, (const uint8_t *)"\xc0\0\2\7", 4000);
	after = lan_stats(victim);
	assert_int_equal(after.dropped_rate - before.dropped_rate, 5000 - 2 * MDNS_PACKETS_RATE);
	lan_run(&lan, 1000);
	tell("later", &k, (const uint8_t *)"\xc0\0\2\7", 4000);
	assert_int_equal(lan_stats(victim).dropped_rate, after.dropped_rate);
}

static void random_bytes_do_no_harm(void **state)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct public_key k = key_number(1);

	for (unsigned i = 0; i < 20000; i++) {
		struct lan_message msg;
		size_t at;

		message_init(&msg, i % 3 == 0 ? 0 : DNS_RESPONSE);
		message_peer(&msg, i % 5 == 0 ? mdns_label(victim->mdns) : "other", &k,
			     (const uint8_t *)"\xc0\0\2\7", 4000, 120);
		for (unsigned n = 0; n < 1 + i % 4; n++) {
			at = runner_random_below(&lan.loop.runner, msg.out.len);
			msg.out.data[at] = (uint8_t)runner_random(&lan.loop.runner);
		}
		message_inject(&msg, victim, &from);
		lan_run(&lan, 5);
	}
	assert_in_range(lan_stats(victim).instances, 0, MDNS_INSTANCES_MAX);
	assert_true(lan_stats(victim).dropped_malformed > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define LAN_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		LAN_TEST(broken_packets_change_nothing_and_are_counted),
		LAN_TEST(a_packet_broken_at_its_end_is_not_believed_at_its_start),
		LAN_TEST(answers_come_from_the_right_port_and_from_neighbours),
		LAN_TEST(addresses_elsewhere_are_not_knocked_at),
		LAN_TEST(port_zero_self_and_nonsense_are_not_peers),
		LAN_TEST(names_without_substance_make_room_for_real_ones),
		LAN_TEST(ghosts_are_asked_for_thrice_and_no_more),
		LAN_TEST(false_instances_do_not_hide_the_addresses_of_the_true_one),
		LAN_TEST(a_flood_is_read_at_a_bounded_rate),
		LAN_TEST(random_bytes_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
