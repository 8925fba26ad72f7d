#include "sync/fetch.h"
#include "tests/unit/test_util.h"

enum { A, B, C };

static struct hash h(uint64_t n)
{
	return hash_of(&n, sizeof(n));
}

static struct fetch_set *set_new(unsigned peers)
{
	struct fetch_set *s = fetch_set_new(STORE_WANT_HISTORY, 1000, NULL);

	assert_non_null(s);
	for (unsigned i = 0; i < peers; i++)
		fetch_set_join(s, i);
	return s;
}

/* Listed by a peer, looked up, absent. */
static void need(struct fetch_set *s, unsigned peer, uint64_t n)
{
	struct hash hash = h(n);

	assert_true(fetch_set_need(s, peer, &hash) >= 0);
	fetch_set_checked(s, &hash, false);
}

static void want(struct fetch_set *s, uint64_t n, uint8_t priority, uint64_t parent)
{
	struct store_want w = {
		.hash = h(n), .kind = OBJECT_CHUNK, .size = 1000, .priority = priority
	};
	struct hash parent_hash = h(parent);

	CHECK_STATUS(0, fetch_set_add(s, &w, parent != 0 ? fetch_set_find(s, &parent_hash) : NULL));
}

static struct fetch_want *get(struct fetch_set *s, uint64_t n)
{
	struct hash hash = h(n);
	struct fetch_want *w = fetch_set_find(s, &hash);

	assert_non_null(w);
	return w;
}

/* The number of the next want, 0 = none. */
static uint64_t take(struct fetch_set *s, unsigned peer)
{
	struct fetch_want *w;

	if (fetch_set_take(s, peer, &w, 1, UINT64_MAX) == 0)
		return 0;
	assert_int_equal(w->holder, peer);
	for (uint64_t n = 1; n < 1000; n++) {
		struct hash hash = h(n);

		if (hash_eq(&hash, &w->hash))
			return n;
	}
	fail();
	return 0;
}

static void a_commit_is_asked_only_from_who_listed_it(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	fetch_set_possible(s, B);
	assert_int_equal(take(s, B), 0);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(fetch_set_outstanding(s), 1);
	fetch_set_free(s);
}

static void a_new_one_is_not_asked_before_it_was_looked_up(void **state)
{
	struct fetch_set *s = set_new(2);
	struct hash one = h(1);

	(void)state;
	assert_int_equal(fetch_set_need(s, A, &one), FETCH_NEED_NEW);
	assert_int_equal(fetch_set_need(s, A, &one), FETCH_NEED_REPEATED);
	assert_int_equal(fetch_set_need(s, B, &one), FETCH_NEED_KNOWN);
	assert_int_equal(take(s, A), 0);
	assert_true(fetch_set_waits(s, A) && fetch_set_waits(s, B));
	fetch_set_checked(s, &one, true);
	assert_int_equal(fetch_set_outstanding(s), 0);
	assert_int_equal(fetch_set_counts(s)->already, 1);
	assert_int_equal(fetch_set_need(s, C, &one), FETCH_NEED_KNOWN);
	assert_int_equal(take(s, A), 0);
	fetch_set_free(s);
}

static void order_is_priority_then_rarity_then_age(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	need(s, A, 2);
	want(s, 10, STORE_WANT_BULK, 1);
	want(s, 11, STORE_WANT_BULK, 2);
	want(s, 12, STORE_WANT_TREE, 2);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(take(s, A), 2);
	assert_int_equal(take(s, A), 12);
	assert_int_equal(take(s, A), 11);
	assert_int_equal(take(s, A), 10);
	fetch_set_free(s);
}

static void content_inherits_the_advertisers_of_its_commit(void **state)
{
	struct fetch_set *s = set_new(3);

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	assert_int_equal(take(s, A), 1);
	want(s, 10, STORE_WANT_TREE, 1);
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	assert_int_equal(take(s, C), 0);
	assert_int_equal(take(s, B), 10);
	fetch_set_free(s);
}

static void a_want_fails_only_when_every_advertiser_failed(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	assert_int_equal(take(s, A), 1);
	fetch_set_release(s, get(s, 1), true);
	assert_int_equal(get(s, 1)->state, FETCH_WANTED);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(fetch_set_owed(s, A), 0);
	assert_int_equal(take(s, B), 1);
	fetch_set_release(s, get(s, 1), true);
	assert_int_equal(get(s, 1)->state, FETCH_FAILED);
	assert_int_equal(fetch_set_outstanding(s), 0);
	assert_int_equal(fetch_set_owed(s, A), 1);
	assert_int_equal(fetch_set_owed(s, B), 1);
	fetch_set_free(s);
}

static void a_late_advertiser_revives_what_failed(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	assert_int_equal(take(s, A), 1);
	fetch_set_release(s, get(s, 1), true);
	need(s, A, 1);
	assert_int_equal(get(s, 1)->state, FETCH_FAILED);
	need(s, B, 1);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(take(s, B), 1);
	fetch_set_free(s);
}

static void what_was_released_without_fault_is_asked_again(void **state)
{
	struct fetch_set *s = set_new(1);

	(void)state;
	need(s, A, 1);
	assert_int_equal(take(s, A), 1);
	fetch_set_release(s, get(s, 1), false);
	assert_int_equal(take(s, A), 1);
	fetch_set_free(s);
}

static void what_only_a_leaver_advertised_fails(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	need(s, A, 2);
	need(s, B, 2);
	fetch_set_leave(s, A);
	assert_int_equal(get(s, 1)->state, FETCH_FAILED);
	assert_int_equal(get(s, 2)->state, FETCH_WANTED);
	assert_int_equal(take(s, B), 2);
	fetch_set_free(s);
}

/* Anybody can sign a commit that waits for what does not exist: only its advertisers are asked for
 * that. */
static void what_a_stashed_commit_waits_for_is_asked_from_its_advertisers(void **state)
{
	struct store_want w = { .hash = h(10),
				.kind = OBJECT_CAPABILITY,
				.priority = STORE_WANT_COMMIT };
	struct fetch_set *s = set_new(2);

	(void)state;
	CHECK_STATUS(0, fetch_set_add(s, &w, NULL));
	assert_int_equal(fetch_set_outstanding(s), 0);
	need(s, A, 1);
	assert_int_equal(take(s, A), 1);
	CHECK_STATUS(0, fetch_set_add(s, &w, get(s, 1)));
	fetch_set_settle(s, get(s, 1), FETCH_STASHED);
	fetch_set_possible(s, B);
	assert_int_equal(take(s, B), 0);
	assert_int_equal(take(s, A), 10);
	fetch_set_release(s, get(s, 10), true);
	assert_int_equal(get(s, 10)->state, FETCH_FAILED);
	assert_int_equal(take(s, B), 0);
	fetch_set_free(s);
}

static void older_wants_are_asked_from_any_peer_of_the_scope(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	want(s, 10, STORE_WANT_BULK, 0);
	assert_int_equal(take(s, A), 0);
	fetch_set_possible(s, A);
	assert_int_equal(take(s, A), 10);
	fetch_set_release(s, get(s, 10), true);
	assert_int_equal(get(s, 10)->state, FETCH_WANTED);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(fetch_set_owed(s, A), 0);
	fetch_set_possible(s, B);
	assert_int_equal(take(s, B), 10);
	fetch_set_release(s, get(s, 10), true);
	assert_int_equal(fetch_set_owed(s, A), 1);
	assert_int_equal(fetch_set_outstanding(s), 1);
	fetch_set_free(s);
}

static void plenty_is_shared_with_peers_of_the_scope(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	assert_int_equal(take(s, A), 1);
	fetch_set_possible(s, B);
	for (uint64_t n = 0; n < FETCH_SHARE_MIN; n++) {
		assert_int_equal(take(s, B), 0);
		want(s, 100 + n, STORE_WANT_BULK, 1);
	}
	assert_int_not_equal(take(s, B), 0);
	assert_int_equal(take(s, B), 0);
	fetch_set_free(s);
}

static void who_is_in_flight_elsewhere_is_waited_for(void **state)
{
	struct fetch_set *s = set_new(3);

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	assert_int_equal(take(s, A), 1);
	assert_true(fetch_set_waits(s, B));
	assert_false(fetch_set_waits(s, C));
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	assert_false(fetch_set_waits(s, B));
	fetch_set_free(s);
}

/* The peer that is asked for a known want may fail after all: who could help stays. */
static void who_could_help_waits_for_who_is_asked(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	assert_int_equal(take(s, A), 1);
	want(s, 10, STORE_WANT_BULK, 1);
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	fetch_set_possible(s, B);
	assert_int_equal(take(s, B), 0);
	assert_true(fetch_set_waits(s, B));
	assert_int_equal(take(s, A), 10);
	assert_true(fetch_set_waits(s, B));
	fetch_set_leave(s, A);
	fetch_set_release(s, get(s, 10), false);
	assert_int_equal(take(s, B), 10);
	fetch_set_free(s);
}

static void what_arrives_another_way_settles(void **state)
{
	struct fetch_set *s = set_new(1);
	struct hash one = h(1), two = h(2), three = h(3);

	(void)state;
	need(s, A, 1);
	need(s, A, 2);
	assert_true(fetch_set_arrived(s, &one));
	assert_false(fetch_set_arrived(s, &one));
	assert_false(fetch_set_arrived(s, &three));
	assert_int_equal(take(s, A), 2);
	fetch_set_elsewhere(s, get(s, 2));
	assert_true(fetch_set_arrived(s, &two));
	need(s, A, 3);
	assert_int_equal(take(s, A), 3);
	assert_true(fetch_set_here(s, get(s, 3), A));
	assert_false(fetch_set_arrived(s, &three));
	fetch_set_settle(s, get(s, 3), FETCH_STORED);
	need(s, A, 4);
	assert_int_equal(take(s, A), 4);
	assert_true(fetch_set_arrived(s, &get(s, 4)->hash));
	assert_false(fetch_set_here(s, get(s, 4), A));
	assert_int_equal(fetch_set_outstanding(s), 0);
	fetch_set_free(s);
}

static bool always(void *data, const struct fetch_want *w)
{
	(void)data;
	(void)w;
	return true;
}

static bool never(void *data, const struct fetch_want *w)
{
	(void)data;
	(void)w;
	return false;
}

static uint64_t overtake(struct fetch_set *s, unsigned peer)
{
	struct fetch_want *w;

	return fetch_set_overtake(s, peer, always, NULL, &w, 1, UINT64_MAX);
}

static void what_one_holds_up_another_is_asked_for(void **state)
{
	struct fetch_set *s = set_new(3);
	struct fetch_want *w;

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	assert_int_equal(take(s, A), 1);
	w = get(s, 1);
	assert_int_equal(fetch_set_overtake(s, B, never, NULL, &w, 1, UINT64_MAX), 0);
	assert_int_equal(overtake(s, A), 0);
	assert_int_equal(overtake(s, C), 0);
	assert_int_equal(overtake(s, B), 1);
	assert_int_equal(overtake(s, B), 0);
	assert_int_equal(w->holder, B);
	assert_true(fetch_want_asked_from(w, A) && fetch_want_asked_from(w, B));
	assert_true(fetch_set_here(s, w, A));
	assert_int_equal(w->holder, A);
	assert_false(fetch_set_here(s, w, B));
	fetch_set_settle(s, w, FETCH_STORED);
	assert_int_equal(fetch_set_outstanding(s), 0);
	fetch_set_free(s);
}

static void who_was_overtaken_is_not_asked_twice(void **state)
{
	struct fetch_set *s = set_new(2);
	struct fetch_want *w;

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(overtake(s, B), 1);
	w = get(s, 1);
	fetch_set_unask(s, w, B, true);
	assert_int_equal(w->state, FETCH_IN_FLIGHT);
	assert_int_equal(w->holder, A);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(overtake(s, B), 0);
	fetch_set_unask(s, w, A, true);
	assert_int_equal(w->state, FETCH_FAILED);
	fetch_set_free(s);
}

static void who_says_missing_after_it_was_overtaken_changes_nothing(void **state)
{
	struct fetch_set *s = set_new(2);
	struct fetch_want *w;

	(void)state;
	need(s, A, 1);
	need(s, B, 1);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(overtake(s, B), 1);
	w = get(s, 1);
	fetch_set_unask(s, w, A, true);
	assert_int_equal(w->holder, B);
	assert_int_equal(w->asker_count, 1);
	fetch_set_release(s, w, false);
	assert_int_equal(w->state, FETCH_WANTED);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(take(s, B), 1);
	fetch_set_free(s);
}

/* However late: a want is asked from so many at once and no more, the latest first. */
static void overtaking_is_bounded(void **state)
{
	struct fetch_set *s = set_new(FETCH_ASKERS_MAX + 1);
	struct fetch_want *w;

	(void)state;
	for (unsigned peer = 0; peer <= FETCH_ASKERS_MAX; peer++) {
		need(s, peer, 1);
		need(s, peer, 2);
	}
	assert_int_equal(take(s, A), 1);
	assert_int_equal(take(s, A), 2);
	assert_int_equal(fetch_set_overtake(s, B, always, NULL, &w, 1, UINT64_MAX), 1);
	assert_ptr_equal(w, get(s, 2));
	assert_int_equal(overtake(s, B), 1);
	for (unsigned peer = C; peer < FETCH_ASKERS_MAX; peer++)
		assert_int_equal(overtake(s, peer), 1);
	for (unsigned peer = C; peer < FETCH_ASKERS_MAX; peer++)
		assert_int_equal(overtake(s, peer), 1);
	assert_int_equal(overtake(s, FETCH_ASKERS_MAX), 0);
	fetch_set_free(s);
}

/* One who invents commits must not keep anybody waiting; what others list too is no invention. */
static void what_only_doubted_peers_list_is_doubtful(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	need(s, A, 1);
	need(s, A, 2);
	need(s, B, 2);
	want(s, 10, STORE_WANT_TREE, 2);
	assert_int_equal(fetch_set_doubtful(s), 0);
	fetch_set_doubt(s, A, true);
	assert_int_equal(fetch_set_doubtful(s), 1);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(take(s, A), 2);
	assert_int_equal(fetch_set_doubtful(s), 1);
	assert_int_equal(fetch_set_outstanding(s), 3);
	fetch_set_doubt(s, A, false);
	assert_int_equal(fetch_set_doubtful(s), 0);
	fetch_set_free(s);
}

static void a_stashed_commit_is_outstanding_but_settles_the_level(void **state)
{
	struct fetch_set *s = set_new(1);
	struct hash one = h(1);

	(void)state;
	need(s, A, 1);
	assert_int_equal(fetch_set_settled(s), -1);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(fetch_set_settled(s), -1);
	fetch_set_settle(s, get(s, 1), FETCH_STASHED);
	assert_int_equal(fetch_set_outstanding(s), 1);
	assert_int_equal(fetch_set_settled(s), STORE_WANT_HISTORY);
	assert_int_equal(fetch_set_owed(s, A), 1);
	assert_true(fetch_set_arrived(s, &one));
	assert_int_equal(fetch_set_owed(s, A), 0);
	fetch_set_free(s);
}

static void defer(struct fetch_set *s, uint64_t n, uint64_t needs)
{
	struct store_need need = { h(needs), OBJECT_COMMIT };

	fetch_set_defer(s, get(s, n), &need, 1);
}

static void what_came_too_early_is_asked_again_behind_what_it_needs(void **state)
{
	struct fetch_set *s = set_new(1);

	(void)state;
	for (uint64_t n = 4; n > 0; n--)
		need(s, A, n);
	for (uint64_t n = 4; n > 1; n--) {
		assert_int_equal(take(s, A), n);
		defer(s, n, n - 1);
	}
	assert_int_equal(take(s, A), 1);
	assert_int_equal(take(s, A), 0);
	assert_int_equal(fetch_set_behind(s, A), 4);
	assert_int_equal(fetch_set_owed(s, A), 3);
	assert_int_equal(fetch_set_outstanding(s), 4);
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	for (uint64_t n = 2; n <= 4; n++) {
		assert_int_equal(take(s, A), n);
		fetch_set_settle(s, get(s, n), FETCH_STORED);
	}
	assert_int_equal(fetch_set_owed(s, A), 0);
	assert_int_equal(fetch_set_counts(s)->commits_behind, 0);
	fetch_set_free(s);
}

/* Two branches and their join, listed the wrong way round. */
static void a_join_is_asked_again_when_both_its_branches_are(void **state)
{
	const struct store_need both[] = { { h(2), OBJECT_COMMIT }, { h(3), OBJECT_COMMIT } };
	struct fetch_set *s = set_new(1);

	(void)state;
	for (uint64_t n = 4; n > 0; n--)
		need(s, A, n);
	assert_int_equal(take(s, A), 4);
	fetch_set_defer(s, get(s, 4), both, 2);
	assert_int_equal(take(s, A), 3);
	defer(s, 3, 1);
	assert_int_equal(take(s, A), 2);
	fetch_set_settle(s, get(s, 2), FETCH_STORED);
	assert_int_equal(get(s, 4)->state, FETCH_DEFERRED); /* by 3 now */
	assert_int_equal(take(s, A), 1);
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	assert_int_equal(take(s, A), 3);
	assert_int_equal(take(s, A), 4);
	fetch_set_free(s);
}

static void what_a_deferred_commit_needs_may_have_come_meanwhile(void **state)
{
	struct fetch_set *s = set_new(1);

	(void)state;
	need(s, A, 1);
	need(s, A, 2);
	assert_int_equal(take(s, A), 1);
	assert_int_equal(take(s, A), 2);
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	defer(s, 2, 1);
	assert_int_equal(take(s, A), 2);
	defer(s, 2, 99); /* never heard of: not in this wave */
	assert_int_equal(get(s, 2)->state, FETCH_FAILED);
	fetch_set_free(s);
}

/* A deferred one gains an advertiser, then comes on another way: nothing is left hanging. */
static void a_deferred_commit_moves_like_any_other(void **state)
{
	struct fetch_set *s = set_new(2);
	struct hash two = h(2);

	(void)state;
	need(s, A, 1);
	need(s, A, 2);
	need(s, A, 3);
	for (uint64_t n = 1; n <= 3; n++)
		assert_int_equal(take(s, A), n);
	defer(s, 2, 1);
	defer(s, 3, 2);
	need(s, B, 3);
	assert_int_equal(get(s, 3)->state, FETCH_DEFERRED);
	assert_true(fetch_set_arrived(s, &two));
	assert_int_equal(take(s, B), 3);
	fetch_set_settle(s, get(s, 3), FETCH_STORED);
	fetch_set_settle(s, get(s, 1), FETCH_STORED);
	assert_int_equal(fetch_set_outstanding(s), 0);
	fetch_set_free(s);
}

static void commits_are_asked_in_the_order_of_their_list_and_not_by_rarity(void **state)
{
	struct fetch_set *s = set_new(2);

	(void)state;
	for (uint64_t n = 1; n <= 4; n++)
		need(s, A, n);
	need(s, B, 1);
	need(s, B, 2);
	for (uint64_t n = 1; n <= 4; n++)
		assert_int_equal(take(s, A), n);
	fetch_set_free(s);
}

static void commits_that_are_listed_and_not_here_are_behind(void **state)
{
	struct fetch_set *s = set_new(2);
	const struct fetch_counts *c = fetch_set_counts(s);

	(void)state;
	need(s, A, 1);
	need(s, A, 2);
	need(s, B, 2);
	want(s, 10, STORE_WANT_BULK, 1);
	assert_int_equal(c->commits_behind, 2);
	assert_int_equal(fetch_set_behind(s, A), 2);
	assert_int_equal(fetch_set_behind(s, B), 1);
	assert_int_equal(take(s, A), 1);
	fetch_set_settle(s, get(s, 1), FETCH_STASHED);
	assert_int_equal(fetch_set_behind(s, A), 2);
	assert_int_equal(take(s, B), 2);
	fetch_set_release(s, get(s, 2), true);
	assert_int_equal(fetch_set_behind(s, B), 1);
	assert_int_equal(take(s, A), 2);
	fetch_set_settle(s, get(s, 2), FETCH_REFUSED);
	assert_int_equal(c->commits_behind, 1);
	assert_int_equal(fetch_set_behind(s, A), 1);
	assert_int_equal(fetch_set_behind(s, B), 0);
	fetch_set_free(s);
}

static void the_settled_level_follows_what_is_open(void **state)
{
	struct fetch_set *s = set_new(1);

	(void)state;
	fetch_set_possible(s, A);
	assert_int_equal(fetch_set_settled(s), STORE_WANT_HISTORY);
	want(s, 10, STORE_WANT_BULK, 0);
	assert_int_equal(fetch_set_settled(s), STORE_WANT_SMALL);
	want(s, 11, STORE_WANT_TREE, 0);
	assert_int_equal(fetch_set_settled(s), STORE_WANT_COMMIT);
	want(s, 10, STORE_WANT_TREE, 0); /* wanted sooner after all */
	assert_int_equal(take(s, A), 11);
	assert_int_equal(take(s, A), 10);
	fetch_set_settle(s, get(s, 10), FETCH_REFUSED);
	fetch_set_settle(s, get(s, 11), FETCH_STORED);
	assert_int_equal(fetch_set_settled(s), STORE_WANT_HISTORY);
	fetch_set_free(s);
}

static void a_batch_ends_with_its_bytes(void **state)
{
	struct fetch_set *s = set_new(1);
	struct fetch_want *batch[10];

	(void)state;
	fetch_set_possible(s, A);
	for (uint64_t n = 1; n <= 10; n++)
		want(s, n, STORE_WANT_BULK, 0);
	assert_int_equal(fetch_set_take(s, A, batch, 10, 2500), 3);
	assert_int_equal(fetch_set_take(s, A, batch, 2, UINT64_MAX), 2);
	assert_int_equal(fetch_set_take(s, A, batch, 10, UINT64_MAX), 5);
	fetch_set_free(s);
}

static void wants_above_the_priority_are_left_out(void **state)
{
	struct fetch_set *s = fetch_set_new(STORE_WANT_TREE, 10, NULL);

	(void)state;
	want(s, 1, STORE_WANT_SMALL, 0);
	assert_int_equal(fetch_set_outstanding(s), 0);
	fetch_set_free(s);
}

static void the_set_is_bounded(void **state)
{
	struct fetch_set *s = fetch_set_new(STORE_WANT_TREE, 3, NULL);
	struct hash more = h(99);

	(void)state;
	fetch_set_join(s, A);
	for (uint64_t n = 0; n < 3; n++)
		need(s, A, n);
	CHECK_STATUS(ERR_LIMIT, fetch_set_need(s, A, &more));
	assert_int_equal(fetch_set_outstanding(s), 3);
	fetch_set_free(s);
}

/* Random calls; the counts always equal a recount, and nothing is asked twice at the same peer
 * after a failure. */
static void counts_stay_exact_over_random_calls(void **state)
{
	struct manual_loop l;
	struct fetch_set *s = set_new(3);

	(void)state;
	manual_loop_init(&l, 7);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned peer = (unsigned)runner_random_below(&l.runner, 3);
		uint64_t n = 1 + runner_random_below(&l.runner, 60), open = 0;
		struct hash hash = h(n);
		struct fetch_want *w = fetch_set_find(s, &hash);

		switch (runner_random_below(&l.runner, 9)) {
		case 0: need(s, peer, n); break;
		case 1: want(s, n, (uint8_t)(n % 5), 0); break;
		case 2: (void)take(s, peer); break;
		case 3:
			if (w != NULL && w->state == FETCH_IN_FLIGHT)
				fetch_set_release(s, w, n % 2 == 0);
			break;
		case 4:
			if (w != NULL && w->state == FETCH_IN_FLIGHT && n % 3 == 0)
				fetch_set_settle(s, w, n % 2 == 0 ? FETCH_STORED : FETCH_STASHED);
			break;
		case 5: (void)overtake(s, peer); break;
		case 6:
			if (w != NULL && fetch_want_asked_from(w, peer))
				fetch_set_unask(s, w, peer, n % 2 == 0);
			break;
		case 7:
			if (w != NULL && fetch_want_asked_from(w, peer))
				(void)fetch_set_here(s, w, peer);
			break;
		default: fetch_set_possible(s, peer); break;
		}
		if (w != NULL && w->state == FETCH_WANTED)
			assert_int_equal(w->asker_count, 0);
		for (uint64_t k = 1; k <= 60; k++) {
			struct hash each = h(k);

			w = fetch_set_find(s, &each);
			open += w != NULL && w->state <= FETCH_STASHED ? 1 : 0;
		}
		assert_int_equal(fetch_set_outstanding(s), open);
	}
	fetch_set_free(s);
	manual_loop_fini(&l);
}

static void the_set_survives_oom(void **state)
{
	(void)state;
	FAULT_SWEEP({
		struct fetch_set *s = fetch_set_new(STORE_WANT_HISTORY, 100, NULL);
		struct hash one = h(1);
		struct fetch_want *w = NULL;

		if (s != NULL) {
			fetch_set_join(s, A);
			fetch_set_join(s, B);
			(void)fetch_set_need(s, A, &one);
			(void)fetch_set_need(s, B, &one);
			fetch_set_checked(s, &one, false);
			if (fetch_set_take(s, A, &w, 1, 1) == 1)
				fetch_set_release(s, w, true);
			assert_true(w == NULL || w->state == FETCH_WANTED ||
				    w->state == FETCH_FAILED);
		}
		fetch_set_free(s);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_is_asked_only_from_who_listed_it),
		cmocka_unit_test(a_new_one_is_not_asked_before_it_was_looked_up),
		cmocka_unit_test(order_is_priority_then_rarity_then_age),
		cmocka_unit_test(content_inherits_the_advertisers_of_its_commit),
		cmocka_unit_test(a_want_fails_only_when_every_advertiser_failed),
		cmocka_unit_test(a_late_advertiser_revives_what_failed),
		cmocka_unit_test(what_was_released_without_fault_is_asked_again),
		cmocka_unit_test(what_only_a_leaver_advertised_fails),
		cmocka_unit_test(what_a_stashed_commit_waits_for_is_asked_from_its_advertisers),
		cmocka_unit_test(older_wants_are_asked_from_any_peer_of_the_scope),
		cmocka_unit_test(plenty_is_shared_with_peers_of_the_scope),
		cmocka_unit_test(who_is_in_flight_elsewhere_is_waited_for),
		cmocka_unit_test(who_could_help_waits_for_who_is_asked),
		cmocka_unit_test(what_arrives_another_way_settles),
		cmocka_unit_test(what_one_holds_up_another_is_asked_for),
		cmocka_unit_test(who_was_overtaken_is_not_asked_twice),
		cmocka_unit_test(who_says_missing_after_it_was_overtaken_changes_nothing),
		cmocka_unit_test(overtaking_is_bounded),
		cmocka_unit_test(what_only_doubted_peers_list_is_doubtful),
		cmocka_unit_test(a_stashed_commit_is_outstanding_but_settles_the_level),
		cmocka_unit_test(what_came_too_early_is_asked_again_behind_what_it_needs),
		cmocka_unit_test(a_join_is_asked_again_when_both_its_branches_are),
		cmocka_unit_test(what_a_deferred_commit_needs_may_have_come_meanwhile),
		cmocka_unit_test(a_deferred_commit_moves_like_any_other),
		cmocka_unit_test(commits_are_asked_in_the_order_of_their_list_and_not_by_rarity),
		cmocka_unit_test(commits_that_are_listed_and_not_here_are_behind),
		cmocka_unit_test(the_settled_level_follows_what_is_open),
		cmocka_unit_test(a_batch_ends_with_its_bytes),
		cmocka_unit_test(wants_above_the_priority_are_left_out),
		cmocka_unit_test(the_set_is_bounded),
		cmocka_unit_test(counts_stay_exact_over_random_calls),
		cmocka_unit_test(the_set_survives_oom),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
