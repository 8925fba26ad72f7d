/* What others leave with us, what it may cost us, and what they say of our address. */
#include "tests/unit/test_util.h"

#include "discovery/dht/limit.h"
#include "discovery/dht/peers.h"
#include "discovery/dht/vote.h"

enum { NOW = 1000000 };

static struct dht_address place(unsigned i, uint16_t port)
{
	return (struct dht_address){ .family = 4,
				     .ip = { 20, (uint8_t)(i >> 8), (uint8_t)i, 1 },
				     .port = port };
}

static struct dht_id key_of(unsigned i)
{
	struct dht_id id = { { (uint8_t)(i >> 8), (uint8_t)i } };

	return id;
}

static void a_token_is_good_for_its_address_and_key_for_two_periods(void **state)
{
	struct tokens t = { .secrets = { { 1 }, { 2 } } };
	struct dht_address a = place(1, 5), moved = place(1, 6), other = place(2, 5);
	struct dht_id key = key_of(1), another = key_of(2);
	uint8_t token[TOKEN_SIZE], secret[TOKEN_SECRET_SIZE] = { 3 };

	token_make(&t, &a, &key, token);
	assert_true(token_check(&t, &a, &key, token, TOKEN_SIZE));
	assert_true(token_check(&t, &moved, &key, token, TOKEN_SIZE)); /* NATs change ports */
	assert_false(token_check(&t, &other, &key, token, TOKEN_SIZE));
	assert_false(token_check(&t, &a, &another, token, TOKEN_SIZE));
	assert_false(token_check(&t, &a, &key, token, TOKEN_SIZE - 1));
	tokens_rotate(&t, secret, NOW);
	assert_true(token_check(&t, &a, &key, token, TOKEN_SIZE));
	secret[0] = 4;
	tokens_rotate(&t, secret, NOW);
	assert_false(token_check(&t, &a, &key, token, TOKEN_SIZE));
}

static void an_address_has_two_ports_per_key(void **state)
{
	struct manual_loop l;
	struct peers s;
	struct dht_id self = { { 0 } }, key = key_of(1);
	struct dht_address got[8];

	manual_loop_init(&l, 1);
	peers_init(&s);
	for (uint16_t port = 10; port < 160; port++) {
		struct dht_address a = place(1, port);

		CHECK_STATUS(0, peers_put(&s, &self, &key, &a, NOW + port));
	}
	assert_int_equal(s.count, PEERS_PER_IP_MAX);
	assert_int_equal(peers_sample(&s, &key, 0, &l.runner, NOW + 200, got, 8), 2);
	assert_true(got[0].port >= 158 && got[1].port >= 158);
	assert_int_equal(peers_sample(&s, &key, 1, &l.runner, NOW + 200, got, 8), 0);
	peers_fini(&s);
	manual_loop_fini(&l);
}

static void announcements_are_forgotten_in_time(void **state)
{
	struct manual_loop l;
	struct peers s;
	struct dht_id self = { { 0 } }, key = key_of(1);
	struct dht_address a = place(1, 10), got[1];

	manual_loop_init(&l, 1);
	peers_init(&s);
	CHECK_STATUS(0, peers_put(&s, &self, &key, &a, NOW));
	peers_expire(&s, NOW + PEERS_LIFE_MS - 1);
	assert_int_equal(s.count, 1);
	assert_int_equal(peers_sample(&s, &key, 0, &l.runner, NOW + PEERS_LIFE_MS, got, 1), 0);
	peers_expire(&s, NOW + PEERS_LIFE_MS);
	assert_int_equal(s.count, 0);
	assert_int_equal(map_count(&s.keys), 0);
	peers_fini(&s);
	manual_loop_fini(&l);
}

static void a_full_store_keeps_what_is_near(void **state)
{
	struct dht_id self = { { 0 } }, near = { { 0 } }, far = key_of(0xffff);
	struct dht_address a = place(1, 10);
	struct peers s;

	near.bytes[19] = 1;
	peers_init(&s);
	for (unsigned i = 0; i < PEERS_KEYS_MAX; i++) {
		struct dht_id key = key_of(i + 1);

		CHECK_STATUS(0, peers_put(&s, &self, &key, &a, NOW));
	}
	assert_false(peers_has_room(&s, &self, &far));
	CHECK_STATUS(ERR_LIMIT, peers_put(&s, &self, &far, &a, NOW));
	assert_true(peers_has_room(&s, &self, &near));
	CHECK_STATUS(0, peers_put(&s, &self, &near, &a, NOW));
	assert_int_equal(map_count(&s.keys), PEERS_KEYS_MAX);
	assert_int_equal(s.refused, 1);
	peers_fini(&s);
}

static void a_key_has_a_limit_of_peers(void **state)
{
	struct dht_id self = { { 0 } }, key = key_of(1);
	struct dht_address a;
	struct peers s;

	peers_init(&s);
	for (unsigned i = 0; i < PEERS_PER_KEY_MAX; i++) {
		a = place(i, 10);
		CHECK_STATUS(0, peers_put(&s, &self, &key, &a, NOW));
	}
	a = place(PEERS_PER_KEY_MAX, 10);
	assert_false(peers_has_room(&s, &self, &key));
	CHECK_STATUS(ERR_LIMIT, peers_put(&s, &self, &key, &a, NOW));
	peers_fini(&s);
}

static void samples_are_fair(void **state)
{
	unsigned seen[20] = { 0 };
	struct manual_loop l;
	struct dht_id self = { { 0 } }, key = key_of(1);
	struct dht_address got[5];
	struct peers s;

	manual_loop_init(&l, 1);
	peers_init(&s);
	for (unsigned i = 0; i < 20; i++) {
		struct dht_address a = place(i, 10);

		CHECK_STATUS(0, peers_put(&s, &self, &key, &a, NOW));
	}
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(peers_sample(&s, &key, 0, &l.runner, NOW, got, 5), 5);
		for (unsigned j = 0; j < 5; j++)
			seen[got[j].ip[2]]++;
	}
	for (unsigned i = 0; i < 20; i++)
		assert_in_range(seen[i], 180, 320);
	peers_fini(&s);
	manual_loop_fini(&l);
}

static void the_store_survives_no_memory(void **state)
{
	struct dht_id self = { { 0 } };
	struct peers s;

	FAULT_SWEEP({
		peers_init(&s);
		for (unsigned i = 0; i < 6; i++) {
			struct dht_address a = place(i, 10);
			struct dht_id key = key_of(i % 2);
			int rc = peers_put(&s, &self, &key, &a, NOW);

			assert_true(rc == 0 || rc == UV_ENOMEM);
		}
		peers_fini(&s);
	});
}

static void one_address_cannot_use_up_everything(void **state)
{
	uint8_t key[16] = { 1 };
	struct dht_address a = place(1, 10), b = place(2, 10);
	struct limit l;
	unsigned passed = 0;

	CHECK_STATUS(0, limit_init(&l, key, NOW));
	for (unsigned i = 0; i < 300; i++)
		passed += limit_in(limit_slot_of(&l, &a, NOW), NOW) ? 1 : 0;
	assert_int_equal(passed, LIMIT_IN_BURST);
	assert_true(limit_in(limit_slot_of(&l, &b, NOW), NOW));
	assert_true(limit_in(limit_slot_of(&l, &a, NOW), NOW + 100));
	limit_fini(&l);
}

/* Others ban who sends them more than 50 packets in 10 s. */
static void we_stay_below_the_bans_of_others(void **state)
{
	uint8_t key[16] = { 1 };
	struct dht_address a = place(1, 10);
	struct limit l;
	unsigned sent = 0;

	CHECK_STATUS(0, limit_init(&l, key, NOW));
	for (uint64_t now = NOW; now < NOW + 10000; now += 10)
		sent += limit_query(&l, limit_slot_of(&l, &a, now), now) ? 1 : 0;
	assert_in_range(sent, 40, 50);
	limit_fini(&l);
}

static void all_queries_share_a_budget(void **state)
{
	uint8_t key[16] = { 1 };
	struct limit l;
	unsigned sent = 0;

	CHECK_STATUS(0, limit_init(&l, key, NOW));
	for (unsigned i = 0; i < 200; i++) {
		struct dht_address a = place(i, 10);

		sent += limit_query(&l, limit_slot_of(&l, &a, NOW), NOW) ? 1 : 0;
	}
	assert_int_equal(sent, LIMIT_QUERIES_BURST);
	assert_true(limit_reply(&l, LIMIT_REPLY_BYTES_BURST, NOW));
	assert_false(limit_reply(&l, 100, NOW));
	assert_true(limit_reply(&l, 100, NOW + 100));
	limit_fini(&l);
}

static void two_thirds_decide_on_our_address(void **state)
{
	struct dht_address right = place(500, 6881), wrong = place(501, 6881);
	struct vote v = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		struct dht_address voter = place(i, 10);

		assert_false(vote_count(&v, &voter, &right));
		assert_false(vote_count(&v, &voter, &right)); /* twice is once */
	}
	assert_true(vote_count(&v, &(struct dht_address){ .family = 4, .ip = { 30 }, .port = 1 },
			       &right));
	assert_true(address_same_ip(&v.winner, &right));
	for (unsigned i = 0; i < 20; i++) { /* every second one lies */
		struct dht_address voter = place(100 + i, 10);

		assert_false(vote_count(&v, &voter, i % 2 == 1 ? &right : &wrong));
	}
	assert_true(address_same_ip(&v.winner, &right));
}

static void neighbours_and_private_addresses_do_not_count(void **state)
{
	struct dht_address private = { .family = 4, .ip = { 192, 168, 1, 2 }, .port = 5 };
	struct dht_address v6 = { .family = 6, .ip = { 0x20, 1 }, .port = 5 };
	struct vote v = { 0 };

	for (unsigned i = 0; i < 60; i++) {
		struct dht_address voter = place(i, 10), seen = place(500, 1);
		struct dht_address neighbour = { .family = 4,
						 .ip = { 10, 0, 0, (uint8_t)i },
						 .port = 9 };

		assert_false(vote_count(&v, &voter, &private));
		assert_false(vote_count(&v, &voter, &v6));
		assert_false(vote_count(&v, &neighbour, &seen));
	}
	assert_int_equal(v.winner.family, 0);
}

static void a_nat_that_maps_per_destination_is_noticed(void **state)
{
	struct vote v = { 0 };

	for (unsigned i = 0; i < 5; i++) {
		struct dht_address voter = place(i, 10), seen = place(500, (uint16_t)(7000 + i));

		(void)vote_count(&v, &voter, &seen);
	}
	assert_true(v.symmetric);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_good_for_its_address_and_key_for_two_periods),
		cmocka_unit_test(an_address_has_two_ports_per_key),
		cmocka_unit_test(announcements_are_forgotten_in_time),
		cmocka_unit_test(a_full_store_keeps_what_is_near),
		cmocka_unit_test(a_key_has_a_limit_of_peers),
		cmocka_unit_test(samples_are_fair),
		cmocka_unit_test(the_store_survives_no_memory),
		cmocka_unit_test(one_address_cannot_use_up_everything),
		cmocka_unit_test(we_stay_below_the_bans_of_others),
		cmocka_unit_test(all_queries_share_a_budget),
		cmocka_unit_test(two_thirds_decide_on_our_address),
		cmocka_unit_test(neighbours_and_private_addresses_do_not_count),
		cmocka_unit_test(a_nat_that_maps_per_destination_is_noticed),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
