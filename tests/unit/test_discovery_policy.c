/* Whom to ask, how wide, when to go on, when to stop: the rules as tables, and the lists they work
 * on. */
#include "tests/unit/test_util.h"

#include "discovery/bench.h"
#include "discovery/candidates.h"

static void width_never_strands_a_node(void **state)
{
	static const struct {
		bool user, have, authority, exhaustive;
		unsigned width;
	} rows[] = {
		{ false, true, true, false, DISCOVERY_WIDTH_NONE },
		{ false, false, true, false, DISCOVERY_WIDTH_NARROW },
		{ false, true, false, false,
		  DISCOVERY_WIDTH_FULL }, /* held, but nobody to hear news from
							       */
		{ false, false, false, false, DISCOVERY_WIDTH_FULL },
		{ false, true, true, true, DISCOVERY_WIDTH_FULL },
		{ true, true, true, false, DISCOVERY_WIDTH_FULL }, /* it may be down */
		{ true, false, true, false, DISCOVERY_WIDTH_FULL },
		{ false, false, false, true, DISCOVERY_WIDTH_FULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(rows[i].width,
				 discovery_width(rows[i].user, rows[i].have, rows[i].authority,
						 rows[i].exhaustive));
	}
}

static void only_a_look_for_news_of_what_is_held_is_kept_from_dialing(void **state)
{
	static const struct {
		bool user, have, exhaustive, known, connected, anybody;
		enum discovery_dial dial;
	} rows[] = {
		{ true, true, false, true, true, true, DISCOVERY_DIAL_ANYBODY },
		{ false, false, false, true, true, true, DISCOVERY_DIAL_ANYBODY },
		{ false, true, false, true, true, true, DISCOVERY_DIAL_NOBODY },
		{ false, true, true, true, true, true, DISCOVERY_DIAL_NOBODY },
		{ false, true, false, true, false, true, DISCOVERY_DIAL_AUTHORITIES },
		{ false, true, true, true, false, true, DISCOVERY_DIAL_ANYBODY },
		{ false, true, false, false, false, true, DISCOVERY_DIAL_NOBODY },
		{ false, true, false, false, false, false, DISCOVERY_DIAL_ANYBODY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(rows[i].dial, discovery_dials(rows[i].user, rows[i].have,
							       rows[i].exhaustive, rows[i].known,
							       rows[i].connected, rows[i].anybody));
}

static void benched_peers_are_asked_rather_than_nobody_for_what_is_missing(void **state)
{
	assert_true(discovery_asks_benched(true, true));
	assert_true(discovery_asks_benched(true, false));
	assert_true(discovery_asks_benched(false, false));
	assert_false(discovery_asks_benched(false, true));
}

static void the_dht_is_hedged_without_an_answer_and_for_news_asked_rarely(void **state)
{
	uint64_t now = 10 * DISCOVERY_EXHAUSTIVE_MS;

	assert_false(discovery_hedge(false, 0, DISCOVERY_DHT_HEDGE_MS - 1));
	assert_true(discovery_hedge(false, 0, DISCOVERY_DHT_HEDGE_MS));
	assert_false(discovery_hedge(false, 1, DISCOVERY_DHT_HEDGE_MS)); /* somebody is heard */
	assert_false(discovery_hedge(true, 0, DISCOVERY_DHT_HEDGE_MS));
	assert_true(discovery_dht_due(true, true, now, now - 1));
	assert_true(discovery_dht_due(false, false, now, now - 1));
	assert_true(discovery_dht_due(false, true, now, 0));
	assert_false(discovery_dht_due(false, true, now, now - DISCOVERY_EXHAUSTIVE_MS + 1));
	assert_true(discovery_dht_due(false, true, now, now - DISCOVERY_EXHAUSTIVE_MS));
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
		bool resolved, pinned, talking, cut;
	} rows[] = {
		{ 0, 9, 0, true, true, true, true },	      /* it is here */
		{ 0, 0, 600000, false, false, false, false }, /* nobody was heard: wait */
		{ 0, 0, 600000, true, false, false, false },  /* our own copy is no news */
		{ 1, 0, DISCOVERY_GRACE_MS - 1, true, false, false, false },
		{ 1, 0, DISCOVERY_GRACE_MS, true, false, false, true },
		{ 1, 0, DISCOVERY_GRACE_MS, true, false, true, false }, /* may have newer */
		{ 1, 0, DISCOVERY_STRAGGLER_MS, true, false, true, true },
		{ 1, 3, 600000, true, false, false, false }, /* still owed */
		{ 1, 0, DISCOVERY_STRAGGLER_MS - 1, false, false, false, false },
		{ 1, 0, DISCOVERY_STRAGGLER_MS, false, false, false, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(rows[i].cut,
				 discovery_cut_stragglers(rows[i].ok, rows[i].outstanding,
							  rows[i].resolved, rows[i].pinned,
							  rows[i].talking, rows[i].idle_ms));
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

static void dropping_dials_keeps_the_connected_whatever_their_tier(void **state)
{
	static const struct {
		enum discovery_dial dial;
		size_t authorities, warm, cold;
	} rows[] = { { DISCOVERY_DIAL_ANYBODY, 2, 2, 2 },
		     { DISCOVERY_DIAL_AUTHORITIES, 2, 1, 1 },
		     { DISCOVERY_DIAL_NOBODY, 1, 1, 1 } };
	static const bool connected[] = { true, false, true, false, true, false };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct candidates *c = mem_alloc(sizeof(*c));

		for (uint8_t j = 0; j < ARRAY_SIZE(connected); j++)
			add(c, (uint8_t)(1 + j), 1, (enum discovery_tier)(j / 2));
		candidates_drop_dials(c, connected, rows[i].dial);
		assert_int_equal(rows[i].authorities, candidates_count(c, DISCOVERY_AUTHORITY));
		assert_int_equal(rows[i].warm, candidates_count(c, DISCOVERY_WARM));
		assert_int_equal(rows[i].cold, candidates_count(c, DISCOVERY_COLD));
		mem_free(c);
	}
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

static void fail_peer(struct bench *b, const struct public_key *peer, bool offended,
		      struct runner *r)
{
	struct sync_peer_outcome o = { .target = { .peer = *peer },
				       .status = UV_ETIMEDOUT,
				       .offended = offended,
				       .wasted_bytes = offended ? 1000 : 0,
				       .why = "does not answer" };

	bench_failed(b, &o, r);
}

static void ok_peer(struct bench *b, const struct public_key *peer, uint64_t blobs,
		    struct runner *r)
{
	struct sync_peer_outcome o = { .target = { .peer = *peer }, .blobs = blobs };

	bench_ok(b, &o, runner_now_ms(r));
}

/* A liar with which nothing was to do has not become honest. */
static void an_offence_is_not_made_up_for_at_once(void **state)
{
	struct public_key peer = { { 1 } };
	struct discovery_benched d;
	struct manual_loop l;
	struct bench b;

	manual_loop_init(&l, 1);
	bench_init(&b);
	assert_false(bench_find(&b, &peer, 0, &d));
	fail_peer(&b, &peer, true, &l.runner);
	ok_peer(&b, &peer, 5, &l.runner);
	assert_true(bench_find(&b, &peer, runner_now_ms(&l.runner), &d));
	assert_true(d.offences == 1 && d.wasted_bytes == 1000 && d.for_ms > 0);
	assert_string_equal(d.why, "does not answer");
	assert_false(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	clock_manual_advance(&l.clock, SYNC_BACKOFF_BASE_MS * NS_PER_MS);
	ok_peer(&b, &peer, 0, &l.runner);
	assert_true(bench_find(&b, &peer, runner_now_ms(&l.runner), &d));
	assert_int_equal(d.for_ms, 0);
	ok_peer(&b, &peer, 1, &l.runner);
	assert_false(bench_find(&b, &peer, runner_now_ms(&l.runner), &d));
	bench_fini(&b);
	manual_loop_fini(&l);
}

static void a_benched_peer_becomes_eligible_again(void **state)
{
	struct public_key peer = { { 1 } };
	struct manual_loop l;
	struct bench b;

	manual_loop_init(&l, 1);
	bench_init(&b);
	assert_true(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	fail_peer(&b, &peer, false, &l.runner);
	assert_false(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	assert_true(bench_eligible(&b, &peer, runner_now_ms(&l.runner) + 2 * SYNC_BACKOFF_MAX_MS));
	ok_peer(&b, &peer, 0, &l.runner);
	assert_true(bench_eligible(&b, &peer, runner_now_ms(&l.runner)));
	bench_fini(&b);
	manual_loop_fini(&l);
}

/* Seconds that a peer is benched when it fails now; random within [L/2, L]. */
static uint64_t fail_and_measure(struct bench *b, const struct public_key *peer,
				 struct manual_loop *l)
{
	uint64_t ms = 0;

	fail_peer(b, peer, false, &l->runner);
	while (!bench_eligible(b, peer, runner_now_ms(&l->runner) + ms))
		ms += 1000;
	return ms;
}

/* Expiry restores eligibility, not innocence. */
static void backoff_expiry_keeps_the_ladder_and_quiet_hours_bring_it_down(void **state)
{
	struct public_key peer = { { 1 } };
	struct manual_loop l;
	struct bench b;
	uint64_t ms;

	manual_loop_init(&l, 3);
	bench_init(&b);
	for (int i = 0; i < 6; i++) {
		ms = fail_and_measure(&b, &peer, &l);
		clock_manual_advance(&l.clock, ms * NS_PER_MS);
	}
	assert_in_range(ms, SYNC_BACKOFF_MAX_MS / 2, SYNC_BACKOFF_MAX_MS + 1000);
	clock_manual_advance(&l.clock, 6 * (uint64_t)SYNC_BACKOFF_FORGET_MS * NS_PER_MS);
	ms = fail_and_measure(&b, &peer, &l);
	assert_in_range(ms, SYNC_BACKOFF_BASE_MS / 2, SYNC_BACKOFF_BASE_MS + 1000);
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

		fail_peer(&b, &peer, false, &l.runner);
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
		fail_peer(&b, &peer, false, &l.runner);
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
		cmocka_unit_test(only_a_look_for_news_of_what_is_held_is_kept_from_dialing),
		cmocka_unit_test(benched_peers_are_asked_rather_than_nobody_for_what_is_missing),
		cmocka_unit_test(the_dht_is_hedged_without_an_answer_and_for_news_asked_rarely),
		cmocka_unit_test(user_interest_forces_once_and_is_rate_limited),
		cmocka_unit_test(a_tier_satisfies_only_when_somebody_was_reached),
		cmocka_unit_test(stragglers_are_cut_by_success_and_idleness),
		cmocka_unit_test(a_draw_is_without_replacement_and_fair),
		cmocka_unit_test(a_peer_known_twice_is_one_candidate_in_its_best_tier),
		cmocka_unit_test(hints_without_identity_are_told_apart_by_address),
		cmocka_unit_test(narrowing_keeps_authorities_and_prefers_warm_peers),
		cmocka_unit_test(dropping_dials_keeps_the_connected_whatever_their_tier),
		cmocka_unit_test(more_peers_than_fit_are_counted),
		cmocka_unit_test(an_offence_is_not_made_up_for_at_once),
		cmocka_unit_test(a_benched_peer_becomes_eligible_again),
		cmocka_unit_test(backoff_expiry_keeps_the_ladder_and_quiet_hours_bring_it_down),
		cmocka_unit_test(the_bench_is_bounded_and_forgets_the_oldest),
		cmocka_unit_test(the_bench_survives_no_memory),
		cmocka_unit_test(outcomes_have_the_names_that_pages_show),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
