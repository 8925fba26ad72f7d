/* Peers that lie: each ends its own session with a typed error, is charged, and harms nothing else.
 */
#include "tests/sim/sync_liar.h"

enum { TIME_S = 1000 };

/* A victim, a liar that answers first, and an honest peer farther away with the same object. */
struct scene {
	struct sync_world w;
	struct host *victim, *honest;
	struct liar liar;
	struct thing t;
	struct scope scope;
	struct run r;
};

static void scene_init(struct scene *s, enum lie lie)
{
	sync_world_init(&s->w, (uint64_t)lie + 1);
	thing_init(&s->t, &s->w, "/doc", TIME_S, 3, 100000, NULL);
	s->scope = sync_world_scope(&s->w, "/doc", SCOPE_EXACT);
	s->victim = sync_world_host(&s->w);
	s->honest = sync_world_host(&s->w);
	host_put_thing(s->honest, &s->t);
	liar_init(&s->liar, &s->w, lie, &s->t, TIME_S);
	assert_int_equal(simnet_set_path(s->w.simnet, s->victim->ip, s->honest->ip,
					 &(struct simnet_path){ .latency_ms = 100 }),
			 0);
}

static void scene_fini(struct scene *s)
{
	thing_fini(&s->t);
	liar_fini(&s->liar);
	sync_world_fini(&s->w);
}

/* The victim gets everything all the same; the liar's session ends with `expected`. */
static void check_lie(enum lie lie, int expected, bool charged)
{
	struct scene s;
	struct host *peers[2];
	struct sync_stats stats;

	scene_init(&s, lie);
	peers[0] = s.liar.host;
	peers[1] = s.honest;
	CHECK_STATUS(0, run_sync(&s.r, s.victim, &s.scope, peers, 2));
	CHECK_STATUS(expected, run_outcome(&s.r, s.liar.host)->status);
	CHECK_STATUS(0, run_outcome(&s.r, s.honest)->status);
	assert_true(host_has_thing(s.victim, &s.t));
	sync_stats(s.victim->sync, &stats);
	assert_int_equal(stats.charged > 0, charged);
	assert_int_equal(s.r.progress.peers_failed, expected < 0 ? 1 : 0);
	scene_fini(&s);
}

static void an_honest_one_is_no_liar(void **state)
{
	(void)state;
	check_lie(LIE_NONE, 0, false);
}

static void wrong_bytes_are_asked_from_another(void **state)
{
	(void)state;
	check_lie(LIE_WRONG_BYTES, ERR_VERIFY, true);
}

static void wrong_bytes_of_a_large_chunk_do_not_condemn_its_hash(void **state)
{
	(void)state;
	check_lie(LIE_WRONG_CHUNK, ERR_VERIFY, true);
}

static void a_blob_not_asked_for_breaks_the_protocol(void **state)
{
	(void)state;
	check_lie(LIE_UNASKED_BLOB, ERR_PROTOCOL, true);
}

static void an_oversized_commit_is_over_the_limit(void **state)
{
	(void)state;
	check_lie(LIE_OVERSIZED, ERR_LIMIT, true);
}

static void who_lists_and_lacks_is_not_ok_and_another_delivers(void **state)
{
	(void)state;
	check_lie(LIE_SAYS_MISSING, ERR_MISSING, false);
}

static void silence_in_a_round_times_out(void **state)
{
	(void)state;
	check_lie(LIE_SILENT_ROUND, UV_ETIMEDOUT, false);
}

static void silence_while_fetching_times_out(void **state)
{
	(void)state;
	check_lie(LIE_SILENT_FETCH, UV_ETIMEDOUT, false);
}

static void rounds_without_end_are_ended(void **state)
{
	(void)state;
	check_lie(LIE_ENDLESS_ROUNDS, ERR_NO_PROGRESS, true);
}

static void ranges_from_the_network_are_validated(void **state)
{
	(void)state;
	check_lie(LIE_OUT_OF_ORDER, ERR_MALFORMED, true);
}

static void garbage_is_malformed(void **state)
{
	(void)state;
	check_lie(LIE_GARBAGE, ERR_MALFORMED, true);
}

static void a_busy_peer_is_not_blamed(void **state)
{
	(void)state;
	check_lie(LIE_BUSY, ERR_BUSY, false);
}

static void a_stream_that_ends_early_breaks_the_protocol(void **state)
{
	(void)state;
	check_lie(LIE_CLOSES_ROUND, ERR_PROTOCOL, false);
}

static void phantoms_are_not_asked_from_others(void **state)
{
	(void)state;
	check_lie(LIE_LISTS_PHANTOMS, ERR_PROTOCOL, true);
}

/* The hash is right, the signature is not: refused for good, also from an honest peer that would
 * hold it. */
static void a_bad_signature_is_refused_and_remembered(void **state)
{
	struct scene s;
	struct host *peers[1];

	(void)state;
	scene_init(&s, LIE_NONE);
	s.t.commit.data[s.t.commit.len - 1] ^= 1;
	s.t.commit.hash = hash_of(s.t.commit.data, s.t.commit.len);
	s.liar.items[0].id = s.t.commit.hash;
	reconcile_set_fini(&s.liar.set);
	CHECK_STATUS(0, reconcile_set_init(&s.liar.set, s.liar.items, 1));
	peers[0] = s.liar.host;
	CHECK_STATUS(ERR_VERIFY, run_sync(&s.r, s.victim, &s.scope, peers, 1));
	assert_int_equal(s.liar.asked, 1);
	assert_int_equal(s.r.progress.blobs_failed, 1);
	CHECK_STATUS(0, run_sync(&s.r, s.victim, &s.scope, peers, 1));
	assert_int_equal(s.liar.asked, 1);
	scene_fini(&s);
}

/* Alone with a peer that lists what it lacks: not ok, and what it owes is told. */
static void a_session_that_could_not_store_is_not_ok(void **state)
{
	struct scene s;
	struct host *peers[1];

	(void)state;
	scene_init(&s, LIE_SAYS_MISSING);
	peers[0] = s.liar.host;
	CHECK_STATUS(ERR_MISSING, run_sync(&s.r, s.victim, &s.scope, peers, 1));
	assert_int_equal(s.r.progress.peers_synced_ok, 0);
	assert_int_equal(s.r.progress.blobs_failed, 1);
	assert_int_equal(s.r.progress.commits_behind, 1);
	assert_int_equal(run_outcome(&s.r, peers[0])->commits_behind, 1);
	assert_true(sync_world_marked(&s.w, "sync.peer", "could not be had"));
	scene_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_honest_one_is_no_liar),
		cmocka_unit_test(wrong_bytes_are_asked_from_another),
		cmocka_unit_test(wrong_bytes_of_a_large_chunk_do_not_condemn_its_hash),
		cmocka_unit_test(a_blob_not_asked_for_breaks_the_protocol),
		cmocka_unit_test(an_oversized_commit_is_over_the_limit),
		cmocka_unit_test(who_lists_and_lacks_is_not_ok_and_another_delivers),
		cmocka_unit_test(silence_in_a_round_times_out),
		cmocka_unit_test(silence_while_fetching_times_out),
		cmocka_unit_test(rounds_without_end_are_ended),
		cmocka_unit_test(ranges_from_the_network_are_validated),
		cmocka_unit_test(garbage_is_malformed),
		cmocka_unit_test(a_busy_peer_is_not_blamed),
		cmocka_unit_test(a_stream_that_ends_early_breaks_the_protocol),
		cmocka_unit_test(phantoms_are_not_asked_from_others),
		cmocka_unit_test(a_bad_signature_is_refused_and_remembered),
		cmocka_unit_test(a_session_that_could_not_store_is_not_ok),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
