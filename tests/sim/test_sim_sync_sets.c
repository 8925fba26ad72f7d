/* Whatever two hosts hold, syncing both ways ends with the union on both. Thousands of random pairs
 * of sets, many in one world, each under a path of its own. */
#include "tests/sim/sync_world.h"

#include <stdlib.h>

enum { PAIRS_SMALL = 1500, PAIRS_LARGE = 6 };

struct pairs {
	struct sync_world w;
	struct host *a, *b;
};

static void pairs_init(struct pairs *p, uint64_t seed)
{
	sync_world_init(&p->w, seed);
	print_message("# seed %llu\n", (unsigned long long)seed);
	p->a = sync_world_host(&p->w);
	p->b = sync_world_host(&p->w);
}

/* `on_a`, `on_b`: probability in 1/1000 that an item is there; items on neither are left out.
 * Returns the union's size. */
static size_t fill(struct pairs *p, const char *path, size_t count, uint64_t on_a, uint64_t on_b)
{
	struct runner *r = &p->w.loop.runner;
	size_t all = 0;

	for (size_t i = 0; i < count; i++) {
		bool a = runner_random_below(r, 1000) < on_a,
		     b = runner_random_below(r, 1000) < on_b;
		struct thing t;

		thing_init(&t, &p->w, path, 1000 + i + 1000 * runner_random_below(r, 3), 0, 0,
			   NULL);
		if (a)
			host_put(p->a, &t.commit);
		if (b)
			host_put(p->b, &t.commit);
		all += a || b ? 1 : 0;
		thing_fini(&t);
	}
	return all;
}

static void sync_both_ways(struct pairs *p, const char *path, size_t expected)
{
	struct scope scope = sync_world_scope(&p->w, path, SCOPE_RECURSIVE);
	struct hash da, db;
	struct run run;

	CHECK_STATUS(0, run_sync(&run, p->b, &scope, &p->a, 1));
	assert_int_equal(run.progress.outstanding, 0);
	CHECK_STATUS(0, run_sync(&run, p->a, &scope, &p->b, 1));
	assert_int_equal(host_items(p->a, &scope, &da), expected);
	assert_int_equal(host_items(p->b, &scope, &db), expected);
	assert_true(hash_eq(&da, &db));
}

static void any_two_small_sets_become_their_union(void **state)
{
	struct pairs p;
	char path[32];

	(void)state;
	pairs_init(&p, 4711);
	for (size_t i = 0; i < PAIRS_SMALL; i++) {
		uint64_t on_a = runner_random_below(&p.w.loop.runner, 1001);
		uint64_t on_b = runner_random_below(&p.w.loop.runner, 1001);
		size_t count = runner_random_below(&p.w.loop.runner, 12);

		snprintf(path, sizeof(path), "/s%zu", i);
		sync_both_ways(&p, path, fill(&p, path, count, on_a, on_b));
	}
	sync_world_fini(&p.w);
}

static void any_two_large_sets_become_their_union(void **state)
{
	static const uint64_t shares[PAIRS_LARGE][2] = {
		{ 1000, 0 }, { 0, 1000 }, { 1000, 1000 }, { 500, 500 }, { 990, 990 }, { 999, 1000 }
	};
	struct pairs p;
	char path[32];

	(void)state;
	pairs_init(&p, 4712);
	for (size_t i = 0; i < PAIRS_LARGE; i++) {
		snprintf(path, sizeof(path), "/l%zu", i);
		sync_both_ways(&p, path, fill(&p, path, 700, shares[i][0], shares[i][1]));
	}
	sync_world_fini(&p.w);
}

/* The defect of a session that ends on "one range left": the only difference lies in the first
 * sub-bucket of the set. */
static void premature_end_a_single_item_in_the_first_bucket_is_found(void **state)
{
	enum { COUNT = 300 };
	struct pairs p;
	struct thing t;
	char path[32];

	(void)state;
	pairs_init(&p, 4713);
	for (size_t missing = 0; missing < 8; missing++) {
		snprintf(path, sizeof(path), "/m%zu", missing);
		for (size_t i = 0; i < COUNT; i++) {
			thing_init(&t, &p.w, path, 1000 + i, 0, 0, NULL);
			host_put(p.a, &t.commit);
			if (i != missing && i != COUNT - 1 - missing)
				host_put(p.b, &t.commit);
			thing_fini(&t);
		}
		sync_both_ways(&p, path, COUNT);
	}
	sync_world_fini(&p.w);
}

static void a_set_is_read_again_only_when_it_grew(void **state)
{
	struct sync_stats asker, asked;
	struct pairs p;

	(void)state;
	pairs_init(&p, 4714);
	sync_both_ways(&p, "/h", fill(&p, "/h", 50, 1000, 1000));
	for (unsigned i = 0; i < 4; i++)
		sync_both_ways(&p, "/h", 50);
	sync_stats(p.a->sync, &asked);
	assert_int_equal(asked.sets_read, 1);
	assert_int_equal(asked.sets_hot, 9);
	assert_int_equal(asked.sets_kept, 1);
	/* Elsewhere: the store has more, the scope has not. */
	fill(&p, "/other", 3, 1000, 0);
	sync_both_ways(&p, "/h", 50);
	sync_stats(p.a->sync, &asked);
	assert_int_equal(asked.sets_read, 1);
	assert_int_equal(asked.sets_checked, 1);
	/* Here. */
	sync_both_ways(&p, "/h", 50 + fill(&p, "/h/more", 4, 1000, 0));
	sync_stats(p.a->sync, &asked);
	sync_stats(p.b->sync, &asker);
	assert_int_equal(asked.sets_read, 2);
	assert_int_equal(asker.sets_read, 2);
	sync_world_fini(&p.w);
}

/* Everything that was told, as one number. */
static uint64_t run_once(uint64_t seed)
{
	struct pairs p;
	struct net_stats net;
	uint64_t end_ms;

	sync_world_init(&p.w, seed);
	p.a = sync_world_host(&p.w);
	p.b = sync_world_host(&p.w);
	simnet_set_default(
		p.w.simnet,
		&(struct simnet_path){ .latency_ms = 5, .jitter_ms = 20, .loss_permille = 20 });
	sync_both_ways(&p, "/d", fill(&p, "/d", 60, 500, 500));
	net_stats(p.b->net, &net);
	end_ms = runner_now_ms(&p.w.loop.runner);
	sync_world_fini(&p.w);
	return end_ms * 1000003 + net.sent_bytes * 31 + net.received_bytes;
}

static void the_same_seed_gives_the_same_run(void **state)
{
	(void)state;
	assert_int_equal(run_once(99), run_once(99));
	assert_int_not_equal(run_once(99), run_once(100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_two_small_sets_become_their_union),
		cmocka_unit_test(any_two_large_sets_become_their_union),
		cmocka_unit_test(premature_end_a_single_item_in_the_first_bucket_is_found),
		cmocka_unit_test(a_set_is_read_again_only_when_it_grew),
		cmocka_unit_test(the_same_seed_gives_the_same_run),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
