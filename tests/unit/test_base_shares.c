#include "base/shares.h"

#include "tests/unit/test_util.h"

static struct share_origin from(const char *ip, uint8_t key)
{
	struct public_key k = { { key } };
	struct multiaddr a;
	char text[80];

	snprintf(text, sizeof(text), "/%s/%s/tcp/1", strchr(ip, ':') != NULL ? "ip6" : "ip4", ip);
	assert_int_equal(multiaddr_parse(text, strlen(text), &a), 0);
	return share_origin_of(&a, &k);
}

static struct share held(const char *ip, uint8_t key, uint64_t idle_ms)
{
	return (struct share){
		.from = from(ip, key), .weight = 1, .idle_ms = idle_ms, .age_ms = idle_ms
	};
}

/* Index of who gives way, -1 = nobody. */
static int giving_way(const struct share *list, size_t count, struct share newcomer)
{
	static struct share copy[512];

	for (size_t i = 0; i < count; i++) {
		copy[i] = list[i];
		copy[i].holder = (void *)(uintptr_t)(i + 1);
	}
	return (int)(uintptr_t)share_giving_way(copy, count, &newcomer) - 1;
}

static void networks_and_addresses_are_compared_by_prefix(void **state)
{
	struct share_origin a = from("192.0.2.1", 1), b;

	(void)state;
	assert_int_equal(share_common(&a, &a), 3);
	b = from("192.0.2.1", 2);
	assert_int_equal(share_common(&a, &b), 2);
	b = from("192.0.2.9", 1);
	assert_int_equal(share_common(&a, &b), 1);
	b = from("192.0.3.1", 1);
	assert_int_equal(share_common(&a, &b), 0);
	a = from("2001:db8:0:1100::1", 1);
	b = from("2001:db8:0:1100:ffff::1", 2);
	assert_int_equal(share_common(&a, &b), 2);
	b = from("2001:db8:0:1101::1", 1);
	assert_int_equal(share_common(&a, &b), 1);
	b = from("2001:db8:0:1200::1", 1);
	assert_int_equal(share_common(&a, &b), 0);
}

static void among_equals_at_work_nobody_gives_way(void **state)
{
	const struct share list[] = { held("10.0.1.1", 1, 0), held("10.0.2.1", 2, 0) };

	(void)state;
	assert_int_equal(giving_way(list, 2, held("10.0.3.1", 3, 0)), -1);
	assert_int_equal(giving_way(list, 0, held("10.0.3.1", 3, 0)), -1);
}

static void the_idle_give_way_and_the_longest_idle_first(void **state)
{
	const struct share list[] = { held("10.0.1.1", 1, SHARE_IDLE_MS),
				      held("10.0.2.1", 2, SHARE_IDLE_MS + 1),
				      held("10.0.3.1", 3, SHARE_IDLE_MS - 1) };

	(void)state;
	assert_int_equal(giving_way(list, 3, held("10.0.4.1", 4, 0)), 1);
	assert_int_equal(giving_way(list, 1, held("10.0.1.1", 1, 0)), 0);
}

static void many_keys_of_one_address_are_one_party(void **state)
{
	struct share list[65];

	(void)state;
	for (uint8_t i = 0; i < 64; i++)
		list[i] = held("10.0.1.1", i, 0);
	list[64] = held("10.0.2.1", 200, 0);
	assert_in_range(giving_way(list, 65, held("10.0.3.1", 201, 0)), 0, 63);
	/* The party itself gains nothing by one key more. */
	assert_int_equal(giving_way(list, 65, held("10.0.1.1", 202, 0)), -1);
}

static void many_addresses_of_one_network_are_one_party(void **state)
{
	struct share list[65];
	char ip[16];

	(void)state;
	for (uint8_t i = 0; i < 64; i++) {
		snprintf(ip, sizeof(ip), "10.0.1.%u", i);
		list[i] = held(ip, i, 0);
	}
	list[64] = held("10.0.2.1", 200, 0);
	assert_in_range(giving_way(list, 65, held("10.0.3.1", 201, 0)), 0, 63);
}

static void inside_a_party_the_greediest_key_gives_way(void **state)
{
	struct share list[10];

	(void)state;
	for (uint8_t i = 0; i < 10; i++)
		list[i] = held("127.0.0.1", i < 7 ? 1 : 2, 0);
	assert_in_range(giving_way(list, 10, held("127.0.0.1", 3, 0)), 0, 6);
	assert_in_range(giving_way(list, 10, held("127.0.0.1", 2, 0)), 0, 6);
	assert_int_equal(giving_way(list, 10, held("127.0.0.1", 1, 0)), -1);
}

static void strangers_give_way_to_the_known_and_never_the_reverse(void **state)
{
	struct share list[] = { held("10.0.1.1", 1, 0), held("10.0.2.1", 2, 0) };
	struct share newcomer = held("10.0.3.1", 3, 0);

	(void)state;
	list[0].rank = SHARE_KNOWN;
	newcomer.rank = SHARE_KNOWN;
	assert_int_equal(giving_way(list, 2, newcomer), 1);
	list[1].rank = SHARE_STANDING;
	assert_int_equal(giving_way(list, 2, newcomer), 1);
	list[1].rank = SHARE_KNOWN;
	assert_int_equal(giving_way(list, 2, newcomer), -1);
	list[0].idle_ms = list[1].idle_ms = 10 * SHARE_IDLE_MS;
	newcomer.rank = SHARE_STRANGER;
	assert_int_equal(giving_way(list, 2, newcomer), -1);
}

/* Each hostile party has a network of its own and drips, so that none is idle. */
static void who_had_its_turn_and_carried_least_gives_way(void **state)
{
	struct share list[] = { held("10.0.1.1", 1, 0), held("10.0.2.1", 2, 0),
				held("10.0.3.1", 3, 0) };

	(void)state;
	list[0].age_ms = list[1].age_ms = SHARE_TURN_MS;
	list[0].rate = 1000000;
	list[1].rate = 1;
	assert_int_equal(giving_way(list, 3, held("10.0.4.1", 4, 0)), 1);
	/* Who has a part already has no turn to ask for. */
	assert_int_equal(giving_way(list, 3, held("10.0.3.1", 3, 0)), -1);
}

static void weights_are_what_is_compared(void **state)
{
	struct share list[] = { held("10.0.1.1", 1, 0), held("10.0.2.1", 2, 0) };
	struct share newcomer = held("10.0.3.1", 3, 0);

	(void)state;
	list[0].weight = 100;
	list[1].weight = 900;
	newcomer.weight = 900;
	assert_int_equal(giving_way(list, 2, newcomer), -1);
	newcomer.weight = 100;
	assert_int_equal(giving_way(list, 2, newcomer), 1);
	list[0].from = list[1].from;
	list[1].idle_ms = 0;
	assert_in_range(giving_way(list, 2, newcomer), 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_and_addresses_are_compared_by_prefix),
		cmocka_unit_test(among_equals_at_work_nobody_gives_way),
		cmocka_unit_test(the_idle_give_way_and_the_longest_idle_first),
		cmocka_unit_test(many_keys_of_one_address_are_one_party),
		cmocka_unit_test(many_addresses_of_one_network_are_one_party),
		cmocka_unit_test(inside_a_party_the_greediest_key_gives_way),
		cmocka_unit_test(strangers_give_way_to_the_known_and_never_the_reverse),
		cmocka_unit_test(who_had_its_turn_and_carried_least_gives_way),
		cmocka_unit_test(weights_are_what_is_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
