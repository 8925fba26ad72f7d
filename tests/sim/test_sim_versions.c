/* Objects of many versions: whatever the shape of the history and whatever its authors say of the
 * time, a newcomer ends with every commit, or is told that it has not. */
#include "tests/sim/sync_world.h"

#include <stdlib.h>

enum { VERSIONS_MAX = 3000, PARENTS_MAX = 3, RECENT = 20 };

/* What the commits say of the time, beside the truth. */
enum times { TRUE_TIMES, EQUAL_TIMES, REVERSED_TIMES, RANDOM_TIMES };

struct history {
	struct sync_world w;
	struct host *a, *b, *c;
	struct piece commits[VERSIONS_MAX];
	size_t count;
	struct scope scope;
	struct run run;
};

static void sign(struct history *y, const struct hash *parents, size_t parent_count,
		 uint64_t time_s)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct piece *p = &y->commits[y->count];
	struct buf out;

	assert_non_null(c);
	assert_true(y->count < VERSIONS_MAX);
	c->space = c->author = y->w.space;
	memcpy(c->path, "/doc", 4);
	c->path_len = 4;
	c->time_s = time_s;
	c->content_bytes = y->count + 1; /* no two are the same */
	c->tombstone = true;
	c->parent_count = parent_count;
	memcpy(c->parents, parents, parent_count * sizeof(*parents));
	buf_init(&out, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, y->w.space_secret, &out));
	p->kind = OBJECT_COMMIT;
	p->data = buf_take(&out, &p->len);
	p->hash = hash_of(p->data, p->len);
	y->count++;
	mem_free(c);
}

static uint64_t told_time(struct history *y, enum times times, size_t i, size_t count)
{
	switch (times) {
	case TRUE_TIMES: return 1000 + i;
	case EQUAL_TIMES: return 1000;
	case REVERSED_TIMES: return 1000 + count - i;
	case RANDOM_TIMES: break;
	}
	return 1000 + runner_random_below(&y->w.loop.runner, count);
}

static int parent_cmp(const void *a, const void *b)
{
	return hash_cmp(a, b);
}

/* Ascending and unique, out of the latest ones. */
static size_t choose_parents(struct history *y, bool branches, struct hash *ret)
{
	struct runner *r = &y->w.loop.runner;
	size_t want = branches ? 1 + runner_random_below(r, PARENTS_MAX) : 1, n = 0;

	for (size_t i = 0; i < want && y->count > 0; i++) {
		size_t back = branches ? runner_random_below(r, MIN(y->count, (size_t)RECENT)) : 0;
		const struct hash *h = &y->commits[y->count - 1 - back].hash;
		bool known = false;

		for (size_t k = 0; k < n; k++)
			known = known || hash_eq(&ret[k], h);
		if (!known)
			ret[n++] = *h;
	}
	qsort(ret, n, sizeof(*ret), parent_cmp);
	return n;
}

static void history_init(struct history *y, uint64_t seed, size_t count, bool branches,
			 enum times times)
{
	struct hash parents[PARENTS_MAX];

	sync_world_init(&y->w, seed);
	print_message("# seed %llu\n", (unsigned long long)seed);
	y->count = 0;
	y->a = sync_world_host(&y->w);
	y->b = sync_world_host(&y->w);
	y->c = sync_world_host(&y->w);
	y->scope = sync_world_scope(&y->w, "/doc", SCOPE_EXACT);
	for (size_t i = 0; i < count; i++)
		sign(y, parents, choose_parents(y, branches, parents),
		     told_time(y, times, i, count));
}

static void history_fini(struct history *y)
{
	for (size_t i = 0; i < y->count; i++)
		mem_free(y->commits[i].data);
	sync_world_fini(&y->w);
}

static void give(struct history *y, struct host *h, size_t count)
{
	for (size_t i = 0; i < count; i++)
		host_put(h, &y->commits[i]);
}

static void check_same(struct history *y, struct host *x, struct host *z, size_t count)
{
	struct hash dx, dz;

	assert_int_equal(host_items(x, &y->scope, &dx), count);
	assert_int_equal(host_items(z, &y->scope, &dz), count);
	assert_true(hash_eq(&dx, &dz));
}

/* Everything is on A; B is new. Returns how many blobs A sent. */
static uint64_t newcomer(uint64_t seed, size_t count, bool branches, enum times times)
{
	static struct history y;
	struct sync_stats stats;

	history_init(&y, seed, count, branches, times);
	give(&y, y.a, count);
	CHECK_STATUS(0, run_sync(&y.run, y.b, &y.scope, &y.a, 1));
	assert_int_equal(y.run.progress.commits_behind, 0);
	assert_int_equal(y.run.progress.outstanding, 0);
	check_same(&y, y.a, y.b, count);
	sync_stats(y.a->sync, &stats);
	history_fini(&y);
	return stats.blobs_served;
}

static void a_newcomer_gets_all_versions_of_a_line(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 999, 1000, 1001, 1257, 3000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		assert_int_equal(newcomer(100 + i, counts[i], false, TRUE_TIMES), counts[i]);
}

/* The stash is full long before the first commit that could be stored arrives. */
static void lying_times_cost_a_second_journey_and_no_more(void **state)
{
	static const size_t counts[] = { 2, 1000, 1001, 1002, 2500 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		assert_true(newcomer(200 + i, counts[i], false, REVERSED_TIMES) <= counts[i] * 2);
	assert_true(newcomer(210, 2500, false, EQUAL_TIMES) <= 5000);
}

static void histories_that_branch_and_join_come_in_whole(void **state)
{
	(void)state;
	for (uint64_t seed = 300; seed < 304; seed++) {
		enum times times = (enum times)(seed % 4);
		uint64_t served = newcomer(seed, 2200, true, times);

		assert_true(served <= 2200 * 2);
		if (times == TRUE_TIMES)
			assert_int_equal(served, 2200);
	}
}

/* One peer holds the beginning, another all of it: what only that one has comes later. */
static void a_peer_that_is_behind_does_not_disturb_the_order(void **state)
{
	static struct history y;
	struct host *peers[2];
	struct sync_stats sa, sb;

	(void)state;
	history_init(&y, 400, 3000, false, TRUE_TIMES);
	give(&y, y.a, 3000);
	give(&y, y.c, 1500);
	peers[0] = y.a;
	peers[1] = y.c;
	CHECK_STATUS(0, run_sync(&y.run, y.b, &y.scope, peers, 2));
	check_same(&y, y.a, y.b, 3000);
	CHECK_STATUS(0, run_outcome(&y.run, y.a)->status);
	CHECK_STATUS(0, run_outcome(&y.run, y.c)->status);
	sync_stats(y.a->sync, &sa);
	sync_stats(y.c->sync, &sb);
	assert_true(sa.blobs_served + sb.blobs_served <= 3300);
	history_fini(&y);
}

/* Cut in the middle: told that it is behind, and what came is not fetched again. */
static void a_newcomer_that_is_cut_knows_and_goes_on(void **state)
{
	static struct history y;
	struct sync_stats stats;

	(void)state;
	history_init(&y, 500, 2000, false, TRUE_TIMES);
	give(&y, y.a, 2000);
	run_start(&y.run, y.b, &y.scope, STORE_WANT_HISTORY, &y.a, 1, 600000);
	while (y.run.wave.progress.blobs_downloaded < 700)
		assert_true(manual_loop_step(&y.w.loop));
	sync_wave_cut(&y.run.wave, SYNC_CUT_STRAGGLER);
	run_wait(&y.run);
	assert_true(y.run.status < 0);
	assert_true(y.run.progress.commits_behind > 0);
	assert_true(run_outcome(&y.run, y.a)->commits_behind > 0);
	CHECK_STATUS(0, run_sync(&y.run, y.b, &y.scope, &y.a, 1));
	assert_int_equal(y.run.progress.commits_behind, 0);
	check_same(&y, y.a, y.b, 2000);
	sync_stats(y.a->sync, &stats);
	assert_true(stats.blobs_served <= 2000 + SYNC_FETCH_WINDOW_BLOBS);
	history_fini(&y);
}

/* Who was away while much was published catches up in one run. */
static void a_follower_catches_up_in_one_run(void **state)
{
	static struct history y;
	struct sync_stats stats;

	(void)state;
	history_init(&y, 600, 3000, true, TRUE_TIMES);
	give(&y, y.a, 3000);
	give(&y, y.b, 400);
	CHECK_STATUS(0, run_sync(&y.run, y.b, &y.scope, &y.a, 1));
	check_same(&y, y.a, y.b, 3000);
	sync_stats(y.a->sync, &stats);
	assert_int_equal(stats.blobs_served, 2600);
	sync_stats(y.b->sync, &stats);
	assert_int_equal(stats.blobs_fetched, 2600); /* in order: none had to wait */
	history_fini(&y);
}

/* ---- Content ---- */

enum { CONTENTS_MAX = 400, CHUNKS = 3 };

struct contents {
	struct sync_world w;
	struct host *a, *b, *c;
	struct thing things[CONTENTS_MAX];
	size_t count;
	struct scope scope;
	struct run run;
};

/* A line of versions, each with chunks of its own: their sizes differ. */
static void add_version(struct contents *y, size_t chunk_count, size_t chunk_bytes)
{
	const struct hash *parent = y->count > 0 ? &y->things[y->count - 1].commit.hash : NULL;

	assert_true(y->count < CONTENTS_MAX);
	thing_init(&y->things[y->count], &y->w, "/doc", 1000 + y->count, chunk_count, chunk_bytes,
		   parent);
	host_put_thing(y->a, &y->things[y->count]);
	y->count++;
}

static void contents_init(struct contents *y, uint64_t seed, size_t count)
{
	sync_world_init(&y->w, seed);
	print_message("# seed %llu\n", (unsigned long long)seed);
	y->count = 0;
	y->a = sync_world_host(&y->w);
	y->b = sync_world_host(&y->w);
	y->c = sync_world_host(&y->w);
	y->scope = sync_world_scope(&y->w, "/doc", SCOPE_EXACT);
	for (size_t i = 0; i < count; i++)
		add_version(y, CHUNKS, 1000 + i);
}

static void contents_fini(struct contents *y)
{
	for (size_t i = 0; i < y->count; i++)
		thing_fini(&y->things[i]);
	sync_world_fini(&y->w);
}

static void get_newest(struct contents *y)
{
	run_start(&y->run, y->b, &y->scope, STORE_WANT_BULK, &y->a, 1, 600000);
	run_wait(&y->run);
	CHECK_STATUS(0, y->run.status);
	assert_int_equal(y->run.progress.outstanding, 0);
}

static uint64_t served(const struct host *h)
{
	struct sync_stats stats;

	sync_stats(h->sync, &stats);
	return stats.blobs_served;
}

static void check_content(struct contents *y, size_t i, bool here)
{
	const struct thing *t = &y->things[i];

	assert_true(host_has(y->b, &t->commit.hash));
	assert_int_equal(host_has(y->b, &t->file.hash), here);
	for (size_t k = 0; k < t->chunk_count; k++)
		assert_int_equal(host_has(y->b, &t->chunks[k].hash), here);
}

/* The commits of all versions, the file and the chunks of the last one. */
static void of_older_versions_the_commits_come_alone(void **state)
{
	static const size_t counts[] = { 1, 2, 127, 128, 129, 400 };
	static struct contents y;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		contents_init(&y, 700 + i, counts[i]);
		get_newest(&y);
		assert_int_equal(served(y.a), counts[i] + 1 + CHUNKS);
		assert_int_equal(y.run.progress.blobs_downloaded, counts[i] + 1 + CHUNKS);
		check_content(&y, counts[i] - 1, true);
		if (counts[i] > 1)
			check_content(&y, counts[i] - 2, false);
		contents_fini(&y);
	}
}

static void history_comes_when_it_is_asked_for(void **state)
{
	static struct contents y;

	(void)state;
	contents_init(&y, 710, 5);
	get_newest(&y);
	CHECK_STATUS(0, run_sync(&y.run, y.b, &y.scope, &y.a, 1));
	for (size_t i = 0; i < 5; i++)
		check_content(&y, i, true);
	assert_int_equal(served(y.a), 5 * (2 + CHUNKS));
	contents_fini(&y);
}

static void nothing_of_a_deleted_object_comes_but_its_commits(void **state)
{
	static struct contents y;

	(void)state;
	contents_init(&y, 711, 4);
	add_version(&y, 0, 0);
	get_newest(&y);
	assert_int_equal(served(y.a), 5);
	check_content(&y, 3, false);
	contents_fini(&y);
}

static void a_pinned_version_comes_alone(void **state)
{
	static struct contents y;

	(void)state;
	contents_init(&y, 712, 5);
	run_start(&y.run, y.b, &y.scope, STORE_WANT_BULK, &y.a, 1, 600000);
	sync_wave_pin(&y.run.wave, &y.things[1].commit.hash, 1);
	run_wait(&y.run);
	CHECK_STATUS(0, y.run.status);
	for (size_t i = 0; i < 5; i++)
		check_content(&y, i, i == 1);
	assert_int_equal(served(y.a), 5 + 1 + CHUNKS);
	contents_fini(&y);
}

/* The large content of one version is on its way when the next one, a small one, comes in by another
 * wave: what was not asked yet is wanted no more. */
static void what_is_superseded_while_it_is_fetched_is_left(void **state)
{
	static struct contents y;
	struct run news;

	(void)state;
	contents_init(&y, 713, 0);
	add_version(&y, THING_CHUNKS_MAX, 250000);
	simnet_set_default(y.w.simnet,
			   &(struct simnet_path){ .latency_ms = 5, .bandwidth = 2000000 });
	run_start(&y.run, y.b, &y.scope, STORE_WANT_BULK, &y.a, 1, 600000);
	while (y.run.wave.progress.blobs_downloaded < 4)
		assert_true(manual_loop_step(&y.w.loop));
	add_version(&y, 1, 1000);
	run_start(&news, y.b, &y.scope, STORE_WANT_BULK, &y.a, 1, 600000);
	run_wait(&news);
	run_wait(&y.run);
	CHECK_STATUS(0, news.status);
	CHECK_STATUS(0, y.run.status);
	check_content(&y, 1, true);
	/* What was in the window came; less than twice that was sent in all. */
	assert_true(served(y.a) < THING_CHUNKS_MAX);
	assert_int_equal(y.run.progress.outstanding, 0);
	contents_fini(&y);
}

/* One peer is at the newest version, one behind: the content of what that one calls the newest is not
 * fetched in the end, or at most what was asked before the news. */
static void a_peer_that_is_behind_does_not_make_old_content_wanted(void **state)
{
	static struct contents y;
	struct host *peers[2];

	(void)state;
	contents_init(&y, 714, 3);
	for (size_t i = 0; i < 2; i++)
		host_put_thing(y.c, &y.things[i]);
	peers[0] = y.a;
	peers[1] = y.c;
	run_start(&y.run, y.b, &y.scope, STORE_WANT_BULK, peers, 2, 600000);
	run_wait(&y.run);
	CHECK_STATUS(0, y.run.status);
	check_content(&y, 2, true);
	assert_false(host_has(y.b, &y.things[0].file.hash));
	contents_fini(&y);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_newcomer_gets_all_versions_of_a_line),
		cmocka_unit_test(lying_times_cost_a_second_journey_and_no_more),
		cmocka_unit_test(histories_that_branch_and_join_come_in_whole),
		cmocka_unit_test(a_peer_that_is_behind_does_not_disturb_the_order),
		cmocka_unit_test(a_newcomer_that_is_cut_knows_and_goes_on),
		cmocka_unit_test(a_follower_catches_up_in_one_run),
		cmocka_unit_test(of_older_versions_the_commits_come_alone),
		cmocka_unit_test(history_comes_when_it_is_asked_for),
		cmocka_unit_test(nothing_of_a_deleted_object_comes_but_its_commits),
		cmocka_unit_test(a_pinned_version_comes_alone),
		cmocka_unit_test(what_is_superseded_while_it_is_fetched_is_left),
		cmocka_unit_test(a_peer_that_is_behind_does_not_make_old_content_wanted),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
