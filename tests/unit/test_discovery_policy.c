/* Whom to ask, how wide, when to go on, when to stop: the rules as tables, and the lists they work
 * on. */
#include "tests/unit/test_util.h"

#include "discovery/bench.h"
#include "discovery/candidates.h"

static void width_never_strands_a_node(void **state)
{
	static const struct {
		bool have, authority, exhaustive;
		unsigned width;
	} rows[] = {
		{ true, true, false, DISCOVERY_WIDTH_NONE },
		{ false, true, false, DISCOVERY_WIDTH_NARROW },
		{ true, false, false, DISCOVERY_WIDTH_FULL }, /* held, but nobody to hear news from
							       */
		{ false, false, false, DISCOVERY_WIDTH_FULL },
		{ true, true, true, DISCOVERY_WIDTH_FULL },
		{ false, false, true, DISCOVERY_WIDTH_FULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(rows[i].width, discovery_width(rows[i].have, rows[i].authority,
								rows[i].exhaustive));
	}
}

static void user_interest_forces_once_and_is_rate_limited(void **state)
{
	uint64_t now = 10 * DISCOVERY_EXHAUSTIVE_MS;

	assert_true(discovery_exhaustive(false, true, now, 0, 0));
	assert_false(discovery_exhaustive(false, true, now, now - 1, now - 1));
	assert_true(discovery_exhaustive(false, true, now, now - 1,
					 now - DISCOVERY_EXHAUSTIVE_USER_MS));
	assert_false(discovery_exhaustive(false, false, now, 0, 0));
	assert_true(discovery_exhaustive(true, false, now, 0, 0));
	assert_false(discovery_exhaustive(true, false, now, now - DISCOVERY_EXHAUSTIVE_MS + 1, 0));
	assert_true(discovery_exhaustive(true, false, now, now - DISCOVERY_EXHAUSTIVE_MS, 0));
}

static void a_tier_satisfies_only_when_somebody_was_reached(void **state)
{
	assert_true(discovery_escalate(0, 0, true, false)); /* all failed looks like nothing owed */
	assert_false(discovery_escalate(1, 0, true, false)); /* the one way to be satisfied */
	assert_true(discovery_escalate(1, 5, true, false));
	assert_true(discovery_escalate(1, 0, false, false));
	assert_true(discovery_escalate(1, 0, true, true));
}

static void stragglers_are_cut_by_success_and_idleness(void **state)
{
	static const struct {
		uint64_t ok, outstanding, idle_ms;
		bool resolved, pinned, cut;
	} rows[] = {
		{ 0, 9, 0, true, true, true },	       /* the asked version is here */
		{ 0, 0, 600000, false, false, false }, /* nobody was heard: wait */
		{ 0, 0, 600000, true, false, false },  /* our own copy is no news */
		{ 1, 0, DISCOVERY_GRACE_MS - 1, true, false, false }, /* others may have newer */
		{ 1, 0, DISCOVERY_GRACE_MS, true, false, true },
		{ 1, 3, 600000, true, false, false }, /* still owed */
		{ 1, 0, DISCOVERY_STRAGGLER_MS - 1, false, false, false },
		{ 1, 0, DISCOVERY_STRAGGLER_MS, false, false, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(rows[i].cut,
				 discovery_cut_stragglers(rows[i].ok, rows[i].outstanding,
							  rows[i].resolved, rows[i].pinned,
							  rows[i].idle_ms));
	}
}

static void a_draw_is_without_replacement_and_fair(void **state)
{
	struct manual_loop l;
	size_t picks[20], hits[50] = { 0 };

	manual_loop_init(&l, 7);
	for (int round = 0; round < 5000; round++) {
		assert_int_equal(discovery_draw(&l.runner, 50, 20, picks), 20);
		for (size_t i = 0; i < 20; i++) {
			assert_true(i == 0 || picks[i] > picks[i - 1]);
			hits[picks[i]]++;
		}
	}
	for (size_t i = 0; i < 50; i++)
		assert_in_range(hits[i], 1800, 2200); /* 2000 expected, sigma 35 */
	assert_int_equal(discovery_draw(&l.runner, 3, 20, picks), 3);
	assert_int_equal(discovery_draw(&l.runner, 0, 20, picks), 0);
	manual_loop_fini(&l);
}

static struct sync_target target(uint8_t id, uint16_t port)
{
	struct sync_target t = { .peer = { { id } }, .addr_count = port != 0 };

	t.addrs[0] = (struct multiaddr){ .family = 4, .ip = { 127, 0, 0, 1 }, .port = port };
	return t;
}

static void add(struct candidates *c, uint8_t id, uint16_t port, enum discovery_tier tier)
{
	struct sync_target t = target(id, port);

	candidates_add(c, &t, tier);
}

static void a_peer_known_twice_is_one_candidate_in_its_best_tier(void **state)
{
	struct candidates *c = mem_alloc(sizeof(*c));

	add(c, 1, 100, DISCOVERY_COLD);
	add(c, 1, 200, DISCOVERY_AUTHORITY);
	add(c, 1, 100, DISCOVERY_WARM);
	assert_int_equal(c->count, 1);
	assert_int_equal(c->tiers[0], DISCOVERY_AUTHORITY);
	assert_int_equal(c->targets[0].addr_count, 2);
	mem_free(c);
}

static void hints_without_identity_are_told_apart_by_address(void **state)
{
	struct candidates *c = mem_alloc(sizeof(*c));
	struct sync_target a = target(0, 100), b = target(0, 200);

	a.any_peer = b.any_peer = true;
	candidates_add(c, &a, DISCOVERY_AUTHORITY);
	candidates_add(c, &b, DISCOVERY_AUTHORITY);
	candidates_add(c, &a, DISCOVERY_AUTHORITY);
	assert_int_equal(c->count, 2);
	mem_free(c);
}

static void narrowing_keeps_authorities_and_prefers_warm_peers(void **state)
{
	struct candidates *c = mem_alloc(sizeof(*c));
	struct manual_loop l;

	manual_loop_init(&l, 1);
	for (uint8_t i = 0; i < 30; i++)
		add(c, (uint8_t)(1 + i), 1, DISCOVERY_COLD);
	for (uint8_t i = 0; i < 3; i++)
		add(c, (uint8_t)(101 + i), 1, DISCOVERY_WARM);
	for (uint8_t i = 0; i < 2; i++)
		add(c, (uint8_t)(201 + i), 1, DISCOVERY_AUTHORITY);
	candidates_narrow(c, &l.runner, 5);
	assert_int_equal(candidates_count(c, DISCOVERY_AUTHORITY), 2);
	assert_int_equal(candidates_count(c, DISCOVERY_WARM), 3);
	assert_int_equal(candidates_count(c, DISCOVERY_COLD), 2);
	candidates_narrow(c, &l.runner, 0);
	assert_int_equal(c->count, 2);
	manual_loop_fini(&l);
	mem_free(c);
}

static void more_peers_than_fit_are_counted(void **state)
{
	struct candidates *c = mem_alloc(sizeof(*c));

	for (int i = 0; i < DISCOVERY_PEERS_MAX + 7; i++) {
		struct sync_target t = { .peer = { { (uint8_t)i, (uint8_t)(i >> 8), 1 } } };

		candidates_add(c, &t, DISCOVERY_COLD);
	}
	assert_int_equal(c->count, DISCOVERY_PEERS_MAX);
	assert_int_equal(c->dropped, 7);
	mem_free(c);
}

static void a_benched_peer_becomes_eligible_again(void **state)
{
	struct public_key peer = { { 1 } };
	struct manual_loop l;
	struct bench b;

	manual_loop_init(&l, 1);
	bench_init(&b);
	assert_true(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	bench_failed(&b, &peer, &l.runner);
	assert_false(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	assert_true(bench_eligible(&b, &peer, runner_now_ms(&l.runner) + 2 * SYNC_BACKOFF_MAX_MS));
	bench_ok(&b, &peer);
	assert_true(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	bench_fini(&b);
	manual_loop_fini(&l);
}

static void the_bench_is_bounded_and_forgets_the_oldest(void **state)
{
	struct public_key first = { { 0, 0, 9 } }, second = { { 1, 0, 9 } };
	struct manual_loop l;
	struct bench b;

	manual_loop_init(&l, 1);
	bench_init(&b);
	for (int i = 0; i < DISCOVERY_BENCH_MAX + 1; i++) {
		struct public_key peer = { { (uint8_t)i, (uint8_t)(i >> 8), 9 } };

		bench_failed(&b, &peer, &l.runner);
		clock_manual_advance(&l.clock, NS_PER_MS);
	}
	assert_int_equal(bench_count(&b), DISCOVERY_BENCH_MAX);
	assert_true(bench_eligible(&b, &first, runner_now_ms(&l.runner)));
	assert_false(bench_eligible(&b, &second, runner_now_ms(&l.runner)));
	bench_fini(&b);
	manual_loop_fini(&l);
}

static void the_bench_survives_no_memory(void **state)
{
	struct public_key peer = { { 1 } };

	FAULT_SWEEP({
		struct manual_loop l;
		struct bench b;

		manual_loop_init(&l, 1);
		bench_init(&b);
		bench_failed(&b, &peer, &l.runner);
		assert_int_equal(bench_count(&b), mem_fault_hits() > 0 ? 0 : 1);
		bench_fini(&b);
		manual_loop_fini(&l);
	});
}

static void outcomes_have_the_names_that_pages_show(void **state)
{
	assert_string_equal(discovery_outcome_name(DISCOVERY_CACHED), "cached");
	assert_string_equal(discovery_outcome_name(DISCOVERY_NOT_FOUND), "notfound");
	assert_string_equal(discovery_outcome_name(DISCOVERY_ERROR), "error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(width_never_strands_a_node),
		cmocka_unit_test(user_interest_forces_once_and_is_rate_limited),
		cmocka_unit_test(a_tier_satisfies_only_when_somebody_was_reached),
		cmocka_unit_test(stragglers_are_cut_by_success_and_idleness),
		cmocka_unit_test(a_draw_is_without_replacement_and_fair),
		cmocka_unit_test(a_peer_known_twice_is_one_candidate_in_its_best_tier),
		cmocka_unit_test(hints_without_identity_are_told_apart_by_address),
		cmocka_unit_test(narrowing_keeps_authorities_and_prefers_warm_peers),
		cmocka_unit_test(more_peers_than_fit_are_counted),
		cmocka_unit_test(a_benched_peer_becomes_eligible_again),
		cmocka_unit_test(the_bench_is_bounded_and_forgets_the_oldest),
		cmocka_unit_test(the_bench_survives_no_memory),
		cmocka_unit_test(outcomes_have_the_names_that_pages_show),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
