#include "store_util.h"

enum { DAG_SIZE = 200 };

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, false);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	check_invariants(f);
	fixture_fini(f);
	return 0;
}

/* A chain whose commits have the tree as root: list[i] names list[i - 1]. */
static void chain(struct fixture *f, struct blob *list, size_t count, const struct blob *root)
{
	for (size_t i = 0; i < count; i++)
		list[i] = commit_of(&f->owner, &f->owner.pub, "/a", root, 100 + i,
				    i > 0 ? &list[i - 1].hash : NULL, i > 0, NULL);
}

static void free_all(struct blob *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		blob_fini(&list[i]);
}

/* Each commit names one or two earlier ones. */
static void make_dag(struct fixture *f, struct blob *list)
{
	for (size_t i = 0; i < DAG_SIZE; i++) {
		struct hash parents[2];
		size_t n = 0;

		if (i > 0)
			parents[n++] = list[runner_random_below(&f->loop.runner, i)].hash;
		if (i > 1)
			parents[n++] = list[runner_random_below(&f->loop.runner, i)].hash;
		if (n == 2 && hash_eq(&parents[0], &parents[1]))
			n = 1;
		if (n == 2 && hash_cmp(&parents[0], &parents[1]) > 0) {
			struct hash h = parents[0];

			parents[0] = parents[1];
			parents[1] = h;
		}
		list[i] = commit_of(&f->owner, &f->owner.pub, "/a", NULL, 100 + i % 7, parents, n,
				    NULL);
	}
}

struct outcome {
	struct store_items items;
	struct store_resolve resolve;
};

static void put_shuffled(struct fixture *f, const struct blob *list, struct outcome *ret)
{
	struct scope scope = scope_of(&f->owner.pub, "/a", SCOPE_EXACT);
	const struct blob *order[DAG_SIZE];
	struct put_result r;
	size_t accepted = 0;

	for (size_t i = 0; i < DAG_SIZE; i++) {
		size_t k = runner_random_below(&f->loop.runner, i + 1);

		order[i] = order[k];
		order[k] = &list[i];
	}
	for (size_t i = 0; i < DAG_SIZE; i += 50) {
		CHECK_STATUS(0, put_many(f, &r, order + i, 50, &f->peer.pub, &scope));
		accepted += r.put.commit_count;
		store_put_fini(&r.put);
	}
	assert_int_equal(accepted, DAG_SIZE);
	CHECK_STATUS(0, RUN(store_items, &ret->items, f, &scope));
	ret->resolve = resolve(f, &f->owner.pub, "/a", SCOPE_EXACT);
}

static void any_order_of_arrival_ends_in_the_same_object(void **state)
{
	struct fixture *f = *state;
	struct blob list[DAG_SIZE];
	struct outcome first = { 0 }, next;

	make_dag(f, list);
	put_shuffled(f, list, &first);
	assert_int_equal(first.items.count, DAG_SIZE);
	assert_true(first.resolve.head_count > 1);
	for (int round = 0; round < 5; round++) {
		fixture_reopen(f);
		put_shuffled(f, list, &next);
		assert_int_equal(next.items.count, DAG_SIZE);
		assert_memory_equal(next.items.items, first.items.items,
				    DAG_SIZE * sizeof(*first.items.items));
		assert_int_equal(next.resolve.heads_total, first.resolve.heads_total);
		assert_memory_equal(next.resolve.heads, first.resolve.heads,
				    sizeof(first.resolve.heads));
		assert_true(next.resolve.resolved);
		check_invariants(f);
		store_items_fini(&next.items);
	}
	store_items_fini(&first.items);
	free_all(list, DAG_SIZE);
}

static void a_commit_waits_in_the_stash_for_its_parent(void **state)
{
	struct fixture *f = *state;
	struct blob list[2];
	struct put_result r;

	chain(f, list, 2, NULL);
	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &list[1] }, 1, &f->peer.pub, NULL));
	CHECK_STATUS(ERR_MISSING, r.blobs[0].status);
	assert_int_equal(r.put.stashed, 1);
	assert_int_equal(r.put.want_count, 1);
	assert_memory_equal(&r.put.wants[0].hash, &list[0].hash, HASH_SIZE);
	assert_int_equal(r.put.wants[0].kind, OBJECT_COMMIT);
	store_put_fini(&r.put);
	assert_false(readable(f, &list[1].hash, true));
	assert_false(readable(f, &list[1].hash, false));
	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &list[0] }, 1, &f->peer.pub, NULL));
	assert_int_equal(r.put.commit_count, 2);
	assert_string_equal(r.put.commits[1].path, "/a");
	store_put_fini(&r.put);
	assert_true(readable(f, &list[1].hash, true));
	free_all(list, 2);
}

static void a_long_stashed_chain_comes_in_over_several_transactions(void **state)
{
	enum { LENGTH = 3 * STORE_TX_RETRIES_MAX };
	struct fixture *f = *state;
	struct blob *list = mem_alloc_array(LENGTH, sizeof(*list));
	const struct blob *order[LENGTH];
	struct put_result r;

	chain(f, list, LENGTH, NULL);
	for (size_t i = 0; i < LENGTH; i++)
		order[i] = &list[LENGTH - 1 - i];
	CHECK_STATUS(0, put_many(f, &r, order, LENGTH - 1, &f->peer.pub, NULL));
	assert_int_equal(r.put.stashed, LENGTH - 1);
	assert_int_equal(r.put.want_count, 1);
	store_put_fini(&r.put);
	CHECK_STATUS(0, put_many(f, &r, &order[LENGTH - 1], 1, &f->peer.pub, NULL));
	assert_int_equal(r.put.commit_count, LENGTH);
	store_put_fini(&r.put);
	assert_int_equal(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).head_count, 1);
	free_all(list, LENGTH);
	mem_free(list);
}

static void the_stash_forgets_what_waited_too_long(void **state)
{
	struct fixture *f = *state;
	struct store_stats stats;
	struct blob list[3];

	chain(f, list, 3, NULL);
	CHECK_STATUS(ERR_MISSING, put_one(f, &list[2], &f->peer.pub));
	clock_manual_advance(&f->loop.clock, (STORE_STASH_AGE_MAX_S - 10) * NS_PER_SEC);
	CHECK_STATUS(ERR_MISSING, put_one(f, &list[1], &f->peer.pub));
	clock_manual_advance(&f->loop.clock, 20 * NS_PER_SEC);
	CHECK_STATUS(0, put_one(f, &list[0], &f->peer.pub));
	store_stats(f->store, &stats);
	assert_int_equal(stats.commits, 2);
	assert_int_equal(stats.stashed, 0);
	assert_int_equal(stats.stash_dropped, 1);
	free_all(list, 3);
}

/* Who waits stays, who comes is told what it needs. */
static void a_peer_fills_only_its_share_of_the_stash(void **state)
{
	struct fixture *f = *state;
	struct hash nowhere = hash_of("nowhere", 7);
	struct store_stats stats;
	struct put_result r;

	for (uint64_t i = 0; i < STORE_STASH_PER_PEER_MAX + 5; i++) {
		struct blob b =
			commit_of(&f->owner, &f->owner.pub, "/a", NULL, 100 + i, &nowhere, 1, NULL);
		const struct blob *one = &b;
		bool room = i < STORE_STASH_PER_PEER_MAX;

		CHECK_STATUS(0, put_many(f, &r, &one, 1, &f->peer.pub, NULL));
		CHECK_STATUS(ERR_MISSING, r.blobs[0].status);
		assert_int_equal(r.put.stashed, room ? 1 : 0);
		assert_int_equal(r.put.let_go, room ? 0 : 1);
		assert_int_equal(r.blobs[0].let_go, !room);
		if (!room) {
			assert_int_equal(r.blobs[0].need_count, 1);
			assert_true(hash_eq(&r.blobs[0].needs[0].hash, &nowhere));
			assert_int_equal(r.blobs[0].needs[0].kind, OBJECT_COMMIT);
		}
		assert_int_equal(r.put.want_count, 1);
		assert_true(hash_eq(&r.put.wants[0].hash, &nowhere));
		store_put_fini(&r.put);
		if (i == STORE_STASH_PER_PEER_MAX)
			CHECK_STATUS(ERR_MISSING, put_one(f, &b, &f->guest.pub));
		blob_fini(&b);
	}
	store_stats(f->store, &stats);
	assert_int_equal(stats.stashed, STORE_STASH_PER_PEER_MAX + 1);
	assert_int_equal(stats.stash_dropped, 5);
}

static void two_children_of_one_parent_are_two_heads(void **state)
{
	struct fixture *f = *state;
	struct blob list[2], fork;
	struct store_resolve r;
	struct store_stats stats;

	chain(f, list, 2, NULL);
	fork = commit_of(&f->owner, &f->owner.pub, "/a", NULL, 500, &list[0].hash, 1, NULL);
	for (size_t i = 0; i < 2; i++)
		CHECK_STATUS(0, put_one(f, &list[i], &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &fork, &f->peer.pub));
	r = resolve(f, &f->owner.pub, "/a", SCOPE_EXACT);
	assert_int_equal(r.head_count, 2);
	assert_true(hash_cmp(&r.heads[0], &r.heads[1]) < 0);
	assert_false(r.tombstone);
	store_stats(f->store, &stats);
	assert_int_equal(stats.conflicts, 1);
	CHECK_STATUS(0, publish(f, "/a", NULL, NULL));
	r = resolve(f, &f->owner.pub, "/a", SCOPE_EXACT);
	assert_int_equal(r.head_count, 1);
	assert_true(r.tombstone);
	store_stats(f->store, &stats);
	assert_int_equal(stats.conflicts, 0);
	free_all(list, 2);
	blob_fini(&fork);
}

static void a_capability_may_come_after_the_commit_that_relies_on_it(void **state)
{
	struct fixture *f = *state;
	struct blob cap = capability_of(&f->owner, &f->guest.pub, "/a");
	struct blob commit =
		commit_of(&f->guest, &f->owner.pub, "/a/b", NULL, 100, NULL, 0, &cap.hash);
	struct put_result r;

	CHECK_STATUS(ERR_PROTOCOL, put_one(f, &cap, &f->peer.pub));
	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &commit }, 1, &f->peer.pub, NULL));
	CHECK_STATUS(ERR_MISSING, r.blobs[0].status);
	assert_int_equal(r.put.want_count, 1);
	assert_int_equal(r.put.wants[0].kind, OBJECT_CAPABILITY);
	store_put_fini(&r.put);
	CHECK_STATUS(0, put_one(f, &cap, &f->peer.pub));
	assert_true(resolve(f, &f->owner.pub, "/a/b", SCOPE_EXACT).resolved);
	assert_true(readable(f, &cap.hash, true));
	blob_fini(&cap);
	blob_fini(&commit);
}

static void a_capability_of_the_scopes_space_is_kept_but_not_given_out(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "", SCOPE_RECURSIVE);
	struct blob cap = capability_of(&f->owner, &f->guest.pub, "");
	struct put_result r;

	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &cap }, 1, &f->peer.pub, &scope));
	CHECK_STATUS(0, r.blobs[0].status);
	store_put_fini(&r.put);
	assert_false(readable(f, &cap.hash, true));
	blob_fini(&cap);
}

static void a_commit_without_authority_is_refused_with_all_that_follow_it(void **state)
{
	struct fixture *f = *state;
	struct blob cap = capability_of(&f->owner, &f->guest.pub, "/elsewhere");
	struct blob bad = commit_of(&f->guest, &f->owner.pub, "/a", NULL, 100, NULL, 0, &cap.hash);
	struct blob child =
		commit_of(&f->owner, &f->owner.pub, "/a", NULL, 101, &bad.hash, 1, NULL);
	struct store_stats stats;

	CHECK_STATUS(ERR_MISSING, put_one(f, &child, &f->peer.pub));
	CHECK_STATUS(ERR_MISSING, put_one(f, &bad, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &cap, &f->peer.pub));
	store_stats(f->store, &stats);
	assert_int_equal(stats.stashed, 0);
	assert_int_equal(stats.refused, 2);
	assert_int_equal(stats.commits, 0);
	CHECK_STATUS(ERR_UNAUTHORIZED, put_one(f, &bad, &f->peer.pub));
	CHECK_STATUS(ERR_UNAUTHORIZED, put_one(f, &child, &f->peer.pub));
	blob_fini(&cap);
	blob_fini(&bad);
	blob_fini(&child);
}

static void a_parent_of_another_object_is_refused(void **state)
{
	struct fixture *f = *state;
	struct blob a = commit_of(&f->owner, &f->owner.pub, "/a", NULL, 100, NULL, 0, NULL);
	struct blob b = commit_of(&f->owner, &f->owner.pub, "/b", NULL, 100, &a.hash, 1, NULL);

	CHECK_STATUS(ERR_MISSING, put_one(f, &b, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &a, &f->peer.pub));
	CHECK_STATUS(ERR_MALFORMED, put_one(f, &b, &f->peer.pub));
	blob_fini(&a);
	blob_fini(&b);
}

static void what_is_out_of_scope_or_mistimed_is_not_held_against_the_commit(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "/b", SCOPE_RECURSIVE);
	struct blob b = commit_of(&f->owner, &f->owner.pub, "/a", NULL, 100, NULL, 0, NULL);
	struct put_result r;

	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &b }, 1, &f->peer.pub, &scope));
	CHECK_STATUS(ERR_PROTOCOL, r.blobs[0].status);
	store_put_fini(&r.put);
	put_fill(&r, &(const struct blob *){ &b }, 1);
	r.blobs[0].time_s = 99;
	CHECK_STATUS(0, RUN(store_put, &r.put, f, r.blobs, 1, &f->peer.pub, NULL));
	CHECK_STATUS(ERR_PROTOCOL, r.blobs[0].status);
	store_put_fini(&r.put);
	CHECK_STATUS(0, put_one(f, &b, &f->peer.pub));
	blob_fini(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(any_order_of_arrival_ends_in_the_same_object),
		TEST(a_commit_waits_in_the_stash_for_its_parent),
		TEST(a_long_stashed_chain_comes_in_over_several_transactions),
		TEST(the_stash_forgets_what_waited_too_long),
		TEST(a_peer_fills_only_its_share_of_the_stash),
		TEST(two_children_of_one_parent_are_two_heads),
		TEST(a_capability_may_come_after_the_commit_that_relies_on_it),
		TEST(a_capability_of_the_scopes_space_is_kept_but_not_given_out),
		TEST(a_commit_without_authority_is_refused_with_all_that_follow_it),
		TEST(a_parent_of_another_object_is_refused),
		TEST(what_is_out_of_scope_or_mistimed_is_not_held_against_the_commit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
