/* The store: what is kept, what is given up, and that the counts tell the truth. */
#include "test_trace.h"

static void a_flood_of_fast_traces_evicts_neither_slow_nor_errored_nor_active_ones(void **state)
{
	struct fixture *f = *state;
	struct span active = root_span(f, "sync.discover", "the active one");

	whole_trace(f, "sync.discover", "the slow one", 7 * NS_PER_SEC, 0);
	whole_trace(f, "sync.discover", "the errored one", 5, UV_ETIMEDOUT);
	for (int i = 0; i < 100000; i++)
		whole_trace(f, "sync.discover", "fast", 1000, 0);
	assert_true(counts_of(f).evicted > 80000);
	assert_true(is_kept(f, "the slow one"));
	assert_true(is_kept(f, "the errored one"));
	assert_true(is_kept(f, "the active one"));
	assert_false(see_one(f, active).finished);
	check_counts(f);
}

static void a_busy_category_does_not_wipe_out_a_quiet_one(void **state)
{
	struct fixture *f = *state;
	char title[16];

	for (int i = 0; i < 100; i++) {
		snprintf(title, sizeof(title), "quiet %03d", i);
		whole_trace(f, "sync.discover", title, 10, 0);
	}
	for (int i = 0; i < 100000; i++)
		whole_trace(f, "sync.peer", "busy", 1000, 0);
	assert_int_equal(count_matching(f, &(struct trace_query){ .category = "sync.discover" }),
			 100);
	check_counts(f);
}

static void the_slowest_are_kept_whatever_their_order(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 7;

	for (int i = 0; i < 50000; i++) {
		uint64_t ns = next_random(&seed) % 1000000;
		whole_trace(f, "a", "r", ns, 0);
	}
	for (uint64_t i = 0; i < 32; i++)
		whole_trace(f, "a", "r", 2000000 + (i * 7 % 32), 0);
	for (int i = 0; i < 50000; i++)
		whole_trace(f, "a", "r", next_random(&seed) % 1000000, 0);
	assert_int_equal(count_matching(f, &(struct trace_query){ .min_ns = 2000000 }), 32);
}

static void the_newest_errored_ones_outlive_older_errored_ones(void **state)
{
	struct fixture *f = *state;
	char title[16];

	for (int i = 0; i < 10000; i++) {
		snprintf(title, sizeof(title), "errored %05d", i);
		whole_trace(f, "a", title, 1, UV_EIO);
	}
	for (int i = 0; i < 50000; i++)
		whole_trace(f, "a", "fast", 1, 0);
	assert_true(is_kept(f, "errored 09999"));
	assert_true(is_kept(f, "errored 09936"));
	assert_false(is_kept(f, "errored 09935"));
	assert_int_equal(count_matching(f, &(struct trace_query){ .errored = true }), 64);
}

static void a_root_is_evicted_with_its_whole_tree(void **state)
{
	struct fixture *f = *state;
	struct trace_counts c;

	for (int i = 0; i < 20000; i++) {
		struct span root = root_span(f, "a", "r"), s = child_span(root, "b", "1");
		trace_mark(s, "mark %d", i);
		trace_finish(child_span(s, "c", "1.1"), 0, NULL);
		trace_finish(s, 0, NULL);
		trace_finish(root, 0, NULL);
	}
	trace_counts(f->t, &c);
	assert_true(c.evicted > 0);
	assert_int_equal(c.evicted_spans, 3 * c.evicted);
	assert_int_equal(c.created_spans, 60000);
	struct trace_stats stats[4];
	assert_int_equal(trace_stats_all(f->t, stats, 4), 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stats[i].finished, c.kept_roots);
}

static void with_only_active_traces_new_spans_are_dropped_and_counted(void **state)
{
	struct fixture *f = *state;
	struct span first = root_span(f, "a", "first"), s;
	uint64_t dropped = 0;

	for (int i = 0; i < 5000; i++)
		dropped += root_span(f, "a", "r").trace == NULL;
	assert_true(dropped > 0);
	assert_int_equal(counts_of(f).dropped_spans, dropped);
	assert_int_equal(counts_of(f).created + dropped, 5001);
	assert_null(child_span(first, "a", "c").trace);
	assert_int_equal(see_one(f, first).children_dropped, 1);
	trace_mark(first, "no room");
	trace_mark(first, "no room for %s either", "this");
	assert_int_equal(see_one(f, first).marks_dropped, 2);
	assert_int_equal(counts_of(f).dropped_marks, 2);
	trace_attr_int(first, "k", 1);
	assert_int_equal(counts_of(f).dropped_parts, 1);
	/* Room again: everything works as before. */
	trace_finish(first, 0, NULL);
	s = root_span(f, "a", "r");
	assert_non_null(s.trace);
	assert_int_equal(counts_of(f).evicted, 1);
	check_counts(f);
}

static void stages_stay_gapless_without_memory(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_stage_view stage;

	while (root_span(f, "a", "r").trace != NULL)
		;
	trace_stage(s, "one");
	clock_manual_advance(&f->clock, 5);
	trace_stage(s, "two");
	clock_manual_advance(&f->clock, 6);
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 1);
	assert_true(trace_stage_at(f->t, &v, 0, &stage));
	assert_string_equal(stage.name, "(not recorded)");
	assert_int_equal(stage.duration_ns, 11);
}

static void protected_traces_take_at_most_half_of_the_budget(void **state)
{
	struct fixture *f = *state;

	/* Errored traces so large that a few of them would fill the store. */
	for (int i = 0; i < 200; i++) {
		struct span s = root_span(f, "a", "errored");
		for (int k = 0; k < 100; k++)
			trace_mark(s, "mark %d of %d", k, i);
		trace_finish(s, UV_EIO, NULL);
		check_counts(f);
	}
	for (int i = 0; i < 5000; i++)
		whole_trace(f, "b", "recent", 1, 0);
	uint64_t recent = count_matching(f, &(struct trace_query){ .category = "b" });
	assert_true(recent * 256 > TRACE_BYTES_MIN / 6);
	assert_true(count_matching(f, &(struct trace_query){ .errored = true }) > 5);
	assert_int_equal(counts_of(f).dropped_spans, 0);
}

/* What the store should hold, by a simple model that knows nothing of cells. */
struct shadow {
	struct span span[200];
	struct trace_context context[200];
	bool open[200];
	size_t marks[200];
};

static void shadow_begin(struct fixture *f, struct shadow *m, size_t i, struct span s)
{
	m->span[i] = s;
	m->open[i] = s.trace != NULL;
	m->marks[i] = 0;
	if (m->open[i])
		assert_true(trace_context_of(s, &m->context[i]));
}

/* One random call; returns whether it had to be counted as late. */
static bool shadow_step(struct fixture *f, struct shadow *m, uint64_t *seed)
{
	size_t i = next_random(seed) % ARRAY_SIZE(m->span),
	       k = next_random(seed) % ARRAY_SIZE(m->span);
	bool late = m->span[i].trace != NULL && !m->open[i];

	switch (next_random(seed) % 8) {
	case 0:
		trace_finish(m->span[i], next_random(seed) % 4 == 0 ? UV_EIO : 0, NULL);
		m->open[i] = false;
		return late;
	case 1:
		if (!m->open[k])
			shadow_begin(
				f, m, k,
				root_span(f, "a", "a title that is longer than what fits a root"));
		return false;
	case 2:
		if (i == k || m->open[k])
			return false;
		shadow_begin(f, m, k, child_span(m->span[i], "b", "c"));
		return late;
	case 3: trace_stage(m->span[i], next_random(seed) % 2 ? "one" : "two"); return late;
	case 4:
		trace_attr_str(m->span[i], "key", "some value of some length",
			       next_random(seed) % 25);
		return late;
	default:
		for (int n = 0; n < 3; n++)
			trace_mark(m->span[i], "%d %s", n, n == 2 ? "a string of some length" : "");
		m->marks[i] += m->open[i] ? 3 : 0;
		return late;
	}
}

static void any_sequence_of_calls_leaves_the_store_as_a_model_expects(void **state)
{
	struct fixture *f = *state;
	struct shadow *m = mem_alloc(sizeof(*m));
	uint64_t seed = 42;

	for (int step = 0; step < 60000; step++) {
		uint64_t before = counts_of(f).late_calls;
		bool late = shadow_step(f, m, &seed);
		assert_int_equal(counts_of(f).late_calls > before, late);
		clock_manual_advance(&f->clock, next_random(&seed) % 1000);
		if (step % 500 != 0)
			continue;
		check_counts(f);
		for (size_t i = 0; i < ARRAY_SIZE(m->span); i++) {
			if (!m->open[i])
				continue;
			struct trace_span_view v = see_one(f, m->span[i]);
			assert_memory_equal(v.span_id, m->context[i].span_id, 8);
			assert_false(v.finished);
			assert_int_equal(v.mark_count + v.marks_dropped, m->marks[i]);
		}
	}
	mem_free(m);
}

/* Open everything, close everything: the memory comes back to where it was. */
static void evicting_everything_gives_every_cell_back(void **state)
{
	struct fixture *f = *state;
	struct span s = { 0 };
	uint64_t full = 0;

	for (int round = 0; round < 20; round++) {
		struct span all[2000];
		size_t n = 0;
		while (n < ARRAY_SIZE(all) && (s = root_span(f, "a", "r")).trace != NULL) {
			trace_stage(s, "one");
			trace_mark(s, "a mark");
			all[n++] = s;
		}
		if (round == 0)
			full = counts_of(f).used_bytes;
		assert_int_equal(counts_of(f).used_bytes, full);
		assert_int_equal(counts_of(f).kept_roots, 0);
		for (size_t i = 0; i < n; i++)
			trace_finish(all[i], 0, NULL);
	}
	check_counts(f);
}

static size_t roots_that_fit(struct fixture *f)
{
	size_t n = 0;

	while (root_span(f, "a", "r").trace != NULL)
		n++;
	return n;
}

static void large_spans(struct fixture *f)
{
	char title[TRACE_TITLE_MAX] = { 0 };

	for (int i = 0; i < 50; i++) {
		struct span s = trace_root(f->t, "a", title, sizeof(title), NULL);
		for (int k = 0; k < 400; k++) {
			trace_mark(s, "a mark");
			trace_stage(s, k % 2 ? "one" : "two");
			clock_manual_advance(&f->clock, 1);
		}
		trace_finish(s, 0, NULL);
	}
}

static void large_spans_leave_nothing_behind(void **state)
{
	struct fixture *f = *state, *fresh;

	setup_small((void **)&fresh);
	large_spans(f);
	assert_int_equal(roots_that_fit(f), roots_that_fit(fresh));
	assert_int_equal(counts_of(f).used_bytes, counts_of(fresh).used_bytes);
	teardown((void **)&fresh);
}

static void running_out_of_memory_yields_no_store(void **state)
{
	FAULT_SWEEP({
		struct clock_manual clock;
		clock_manual_init(&clock, 0);
		struct trace *t = trace_new(NULL, &clock.clock);
		assert_int_equal(t == NULL, mem_fault_hits() > 0);
		assert_null(trace_free(t));
	});
}

static void nothing_is_allocated_after_the_start(void **state)
{
	struct fixture *f = *state;
	struct mem_stats before, after;

	mem_stats(&before);
	for (int i = 0; i < 5000; i++) {
		struct span s = root_span(f, "a", "a title that is longer than what fits a root");
		trace_stage(s, "one");
		trace_mark(s, "mark %s", "text");
		trace_attr_str(s, "key", "value", 5);
		trace_finish(child_span(s, "b", "c"), UV_EIO, NULL);
		trace_finish(s, 0, NULL);
	}
	struct trace_stats stats[4];
	trace_stats_all(f->t, stats, 4);
	is_kept(f, "value");
	mem_stats(&after);
	assert_int_equal(after.total_count, before.total_count);
}

int main(void)
{
#define TEST(name)	 cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_flood_of_fast_traces_evicts_neither_slow_nor_errored_nor_active_ones),
		TEST(a_busy_category_does_not_wipe_out_a_quiet_one),
		TEST(the_slowest_are_kept_whatever_their_order),
		TEST(the_newest_errored_ones_outlive_older_errored_ones),
		TEST(a_root_is_evicted_with_its_whole_tree),
		TEST_SMALL(with_only_active_traces_new_spans_are_dropped_and_counted),
		TEST_SMALL(stages_stay_gapless_without_memory),
		TEST_SMALL(protected_traces_take_at_most_half_of_the_budget),
		TEST_SMALL(any_sequence_of_calls_leaves_the_store_as_a_model_expects),
		TEST_SMALL(evicting_everything_gives_every_cell_back),
		TEST_SMALL(large_spans_leave_nothing_behind),
		cmocka_unit_test(running_out_of_memory_yields_no_store),
		TEST(nothing_is_allocated_after_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
