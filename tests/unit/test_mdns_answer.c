/* What is answered to whom and when, packet by packet. */
#include "tests/unit/mdns_lan.h"

enum { SETTLE_MS = 3000 };

static struct lan lan;
static struct lan_host *host;

static int set_up(void **state)
{
	lan_init(&lan, 42);
	host = lan_add(&lan, true, NULL);
	CHECK_STATUS(0, lan_up(host));
	lan_run(&lan, SETTLE_MS + 1500);
	return 0;
}

static int tear_down(void **state)
{
	lan_fini(&lan);
	return 0;
}

static void ask(const struct dns_name *name, uint16_t type, uint16_t port, bool unicast)
{
	struct mdns_endpoint from = lan_endpoint(99, port);
	struct lan_message msg;

	message_init(&msg, 0);
	assert_true(dns_write_question(&msg.w, name, type));
	if (unicast)
		msg.out.data[msg.out.len - 2] |= 0x80;
	message_inject(&msg, host, &from);
}

static void ask_knowing(uint16_t flags, bool question, const struct dns_name *instance,
			uint32_t ttl_s)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct dns_record r = {
		.name = &host->mdns->type, .type = DNS_PTR, .ttl_s = ttl_s, .target = instance
	};
	struct lan_message msg;

	message_init(&msg, flags);
	if (question)
		assert_true(dns_write_question(&msg.w, &host->mdns->type, DNS_PTR));
	if (instance != NULL)
		assert_true(dns_write_record(&msg.w, DNS_ANSWER, &r));
	message_inject(&msg, host, &from);
}

static void a_question_for_the_service_is_answered_with_all_that_is_needed(void **state)
{
	size_t before = lan.sent;
	uint64_t asked_ms = runner_now_ms(&lan.loop.runner);
	const struct lan_packet *p;

	ask(&host->mdns->type, DNS_PTR, MDNS_PORT, false);
	assert_int_equal(lan.sent, before); /* others may answer too: not at once */
	lan_run(&lan, 200);
	assert_int_equal(lan.sent, before + 1);
	p = lan_last(&lan);
	assert_in_range(p->at_ms - asked_ms, 20, 120);
	assert_true(p->to_group && p->data[2] == 0x84);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_PTR), 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ADDITIONAL, DNS_SRV), 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ADDITIONAL, DNS_TXT), 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ADDITIONAL, DNS_A), 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ADDITIONAL, DNS_NSEC), 1); /* no AAAA */
}

static void the_same_is_not_said_twice_within_a_second(void **state)
{
	size_t before = lan.sent;

	for (unsigned i = 0; i < 30; i++) {
		ask(&host->mdns->type, DNS_PTR, MDNS_PORT, false);
		lan_run(&lan, 100);
	}
	lan_run(&lan, 1500);
	assert_in_range(lan_count(&lan, before, 0, DNS_ANSWER, DNS_PTR), 3, 5);
}

static void what_only_we_know_is_answered_at_once(void **state)
{
	size_t before = lan.sent;

	ask(&host->mdns->instance, DNS_SRV, MDNS_PORT, false);
	lan_run(&lan, 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_SRV), 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ADDITIONAL, DNS_A), 1);
}

static void what_does_not_exist_is_said_not_to(void **state)
{
	size_t before = lan.sent;

	ask(&host->mdns->host, DNS_AAAA, MDNS_PORT, false);
	lan_run(&lan, 100);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_NSEC), 1);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ADDITIONAL, DNS_A), 1);
}

static void strangers_names_are_not_our_business(void **state)
{
	struct dns_name other = dns_name_of("printer.local"),
			service = dns_name_of("_ipp._tcp.local");
	size_t before = lan.sent;

	ask(&other, DNS_A, MDNS_PORT, false);
	ask(&service, DNS_PTR, MDNS_PORT, false);
	ask(&service, DNS_PTR, 40000, false);
	ask(&host->mdns->type, DNS_TXT, MDNS_PORT, false);
	lan_run(&lan, 2000);
	assert_int_equal(lan.sent, before);
}

static void what_the_asker_knows_is_not_said(void **state)
{
	size_t before = lan.sent;

	ask_knowing(0, true, &host->mdns->instance, 2250);
	lan_run(&lan, 1000);
	assert_int_equal(lan.sent, before);
	assert_true(lan_stats(host).known_answers >= 1);
	ask_knowing(0, true, &host->mdns->instance, 2249); /* less than half of its time */
	lan_run(&lan, 1000);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_PTR), 1);
}

static void a_list_of_known_answers_may_continue(void **state)
{
	size_t before = lan.sent;

	ask_knowing(DNS_TRUNCATED, true, NULL, 0);
	lan_run(&lan, 300);
	assert_int_equal(lan.sent, before);
	ask_knowing(0, false, &host->mdns->instance, 4500);
	lan_run(&lan, 2000);
	assert_int_equal(lan.sent, before);
	ask_knowing(DNS_TRUNCATED, true, NULL, 0); /* and now nothing follows */
	lan_run(&lan, 390);
	assert_int_equal(lan.sent, before);
	lan_run(&lan, 200);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_PTR), 1);
}

static void a_legacy_asker_gets_id_question_and_short_times(void **state)
{
	const struct lan_packet *p;
	struct dns_walk w;
	struct dns_entry e;

	ask(&host->mdns->type, DNS_PTR, 40000, false);
	p = lan_last(&lan);
	assert_false(p->to_group);
	assert_int_equal(p->to.port, 40000);
	assert_int_equal(p->to.ip[3], 99);
	CHECK_STATUS(0, dns_walk_start(&w, p->data, p->len));
	assert_int_equal(w.id, 7);
	assert_int_equal(dns_walk_next(&w, &e), 1);
	assert_true(e.section == DNS_QUESTION && dns_name_eq(&e.name, &host->mdns->type));
	while (dns_walk_next(&w, &e) > 0) {
		assert_true(e.ttl_s <= TTL_LEGACY_S && e.ttl_s > 0);
		assert_false(e.top_bit);
	}
}

static void who_asks_for_a_packet_of_its_own_gets_it_if_the_group_heard_lately(void **state)
{
	size_t before = lan.sent;

	ask(&host->mdns->instance, DNS_SRV, MDNS_PORT, true);
	assert_int_equal(lan.sent, before + 1);
	assert_false(lan_last(&lan)->to_group);
	lan_run(&lan, 31000); /* a quarter of 120 s */
	before = lan.sent;
	ask(&host->mdns->instance, DNS_SRV, MDNS_PORT, true);
	lan_run(&lan, 1);
	assert_int_equal(lan.sent, before + 1);
	assert_true(lan_last(&lan)->to_group);
}

static void answers_to_one_asker_are_limited(void **state)
{
	size_t before = lan.sent;

	for (unsigned i = 0; i < 150; i++)
		ask(&host->mdns->type, DNS_PTR, 40000, false);
	assert_int_equal(lan.sent, before + 2 * UNICAST_RATE);
	assert_int_equal(lan_stats(host).dropped_rate, 150 - 2 * UNICAST_RATE);
}

static void hear_ptr(const struct dns_name *name, const struct dns_name *target, uint32_t ttl_s)
{
	struct mdns_endpoint from = lan_endpoint(99, MDNS_PORT);
	struct dns_record r = { .name = name, .type = DNS_PTR, .ttl_s = ttl_s, .target = target };
	struct lan_message msg;

	message_init(&msg, DNS_RESPONSE);
	assert_true(dns_write_record(&msg.w, DNS_ANSWER, &r));
	message_inject(&msg, host, &from);
}

static void what_another_has_just_said_need_not_be_said(void **state)
{
	size_t before = lan.sent;

	ask(&host->mdns->meta, DNS_PTR, MDNS_PORT, false);
	hear_ptr(&host->mdns->meta, &host->mdns->type, 4500);
	lan_run(&lan, 1000);
	assert_int_equal(lan.sent, before);
	ask(&host->mdns->meta, DNS_PTR, MDNS_PORT, false);
	lan_run(&lan, 1000);
	assert_int_equal(lan.sent, before + 1);
}

static void a_goodbye_in_our_name_is_contradicted(void **state)
{
	size_t before = lan.sent;

	hear_ptr(&host->mdns->type, &host->mdns->instance, 0);
	lan_run(&lan, 1000);
	assert_int_equal(lan_count(&lan, before, 0, DNS_ANSWER, DNS_PTR), 1);
}

static void nothing_is_answered_before_the_name_is_ours(void **state)
{
	struct lan_host *fresh = lan_add(&lan, true, NULL);
	size_t before;

	CHECK_STATUS(0, lan_up(fresh));
	host = fresh;
	before = lan.sent;
	ask(&fresh->mdns->instance, DNS_SRV, MDNS_PORT, false);
	ask(&fresh->mdns->type, DNS_PTR, 40000, false);
	lan_run(&lan, 400);
	assert_int_equal(lan_count(&lan, before, fresh->index, DNS_ANSWER, DNS_SRV), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define LAN_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		LAN_TEST(a_question_for_the_service_is_answered_with_all_that_is_needed),
		LAN_TEST(the_same_is_not_said_twice_within_a_second),
		LAN_TEST(what_only_we_know_is_answered_at_once),
		LAN_TEST(what_does_not_exist_is_said_not_to),
		LAN_TEST(strangers_names_are_not_our_business),
		LAN_TEST(what_the_asker_knows_is_not_said),
		LAN_TEST(a_list_of_known_answers_may_continue),
		LAN_TEST(a_legacy_asker_gets_id_question_and_short_times),
		LAN_TEST(who_asks_for_a_packet_of_its_own_gets_it_if_the_group_heard_lately),
		LAN_TEST(answers_to_one_asker_are_limited),
		LAN_TEST(what_another_has_just_said_need_not_be_said),
		LAN_TEST(a_goodbye_in_our_name_is_contradicted),
		LAN_TEST(nothing_is_answered_before_the_name_is_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
