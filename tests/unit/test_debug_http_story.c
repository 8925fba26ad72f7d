/* One trace laid out: self time, critical path, groups and gaps, on small trees and random ones. */
#include "test_util.h"

#include <stdlib.h>

#include "debug_http/traces.h"

enum { MS = 1000000 };

static struct clock_manual clock_;
static struct trace *t;

static int setup(void **state)
{
	clock_manual_init(&clock_, NS_PER_SEC);
	t = trace_new(NULL, &clock_.clock);
	assert_non_null(t);
	return 0;
}

static int teardown(void **state)
{
	t = trace_free(t);
	return 0;
}

static void wait_ms(unsigned ms)
{
	clock_manual_advance(&clock_, (uint64_t)ms * MS);
}

static struct span child(struct span of, const char *category)
{
	return trace_child(of, category, "", 0);
}

/* Of the only root there is. */
static struct story *tell(void)
{
	struct trace_query q = { 0 };
	uint32_t root;
	struct story *s;

	assert_int_equal(1, trace_search(t, &q, &root, 1, NULL, NULL));
	s = story_new(t, root);
	assert_non_null(s);
	return s;
}

static uint64_t path_total(const struct story *s)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < s->path_count; i++)
		sum += s->path[i].end_ns - s->path[i].start_ns;
	return sum;
}

static unsigned count_lines(const struct story *s, enum line_kind kind)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < s->line_count; i++)
		count += s->lines[i].kind == kind;
	return count;
}

static void self_time_is_what_no_child_covers(void **state)
{
	struct span root = trace_root(t, "r", "", 0, NULL), a, b;
	struct story *s;

	wait_ms(10);
	a = child(root, "a");
	wait_ms(20);
	b = child(root, "b"); /* overlaps a by 10 ms, and outlives the root */
	wait_ms(10);
	trace_finish(a, 0, NULL);
	wait_ms(30);
	trace_finish(root, 0, NULL);
	wait_ms(5);
	trace_finish(b, 0, NULL);
	s = tell();
	assert_int_equal(10 * MS, s->spans[0].self_ns);
	assert_int_equal(30 * MS, s->spans[1].self_ns);
	assert_int_equal(75 * MS, s->axis.length_ns);
	story_free(s);
}

static void the_path_goes_through_what_ended_last(void **state)
{
	struct span root = trace_root(t, "r", "", 0, NULL), a, b, c;
	struct story *s;

	a = child(root, "a"); /* 0-30 */
	b = child(root, "b"); /* 0-20, beside a: not on the path */
	wait_ms(20);
	trace_finish(b, 0, NULL);
	wait_ms(10);
	trace_finish(a, 0, NULL);
	wait_ms(10);
	c = child(root, "c"); /* 40-70 */
	wait_ms(30);
	trace_finish(c, 0, NULL);
	trace_finish(root, 0, NULL);
	s = tell();
	assert_int_equal(70 * MS, path_total(s));
	assert_int_equal(1, s->spans[0].path_count); /* the 10 ms between a and c */
	assert_int_equal(10 * MS, s->path[s->spans[0].path_first].end_ns -
					  s->path[s->spans[0].path_first].start_ns);
	assert_int_equal(1, s->spans[1].path_count);
	assert_int_equal(0, s->spans[2].path_count);
	assert_int_equal(1, s->spans[3].path_count);
	story_free(s);
}

static void three_similar_children_become_a_group(void **state)
{
	struct span root = trace_root(t, "r", "", 0, NULL);
	struct story *s;

	for (unsigned i = 0; i < 3; i++) {
		trace_finish(child(root, "peer"), (int)i == 1 ? UV_ETIMEDOUT : 0, NULL);
		trace_finish(child(root, i == 0 ? "one" : "two"), 0, NULL);
	}
	trace_finish(root, 0, NULL);
	s = tell();
	assert_int_equal(1, count_lines(s, LINE_GROUP));
	assert_int_equal(1, count_lines(s, LINE_GROUP_END));
	assert_int_equal(7, count_lines(s, LINE_SPAN));
	assert_int_equal(LINE_GROUP, s->lines[1].kind);
	assert_int_equal(3, s->lines[1].count);
	for (unsigned i = 2; i < 5; i++)
		assert_string_equal("peer", s->spans[s->lines[i].span].category);
	assert_int_equal(1, s->failed);
	story_free(s);
}

static void a_long_time_without_children_is_a_gap(void **state)
{
	struct span root = trace_root(t, "r", "", 0, NULL), a, b;
	struct story *s;

	wait_ms(30);
	a = child(root, "a"); /* 30-96 */
	wait_ms(6);
	b = child(root, "b"); /* 36-46, within a */
	wait_ms(10);
	trace_finish(b, 0, NULL);
	wait_ms(50);
	trace_finish(a, 0, NULL);
	wait_ms(4); /* too short to tell */
	trace_finish(root, 0, NULL);
	s = tell();
	assert_int_equal(1, count_lines(s, LINE_GAP));
	assert_int_equal(LINE_GAP, s->lines[1].kind);
	assert_int_equal(30 * MS, s->lines[1].end_ns - s->lines[1].start_ns);
	story_free(s);
}

static void a_span_without_children_has_no_gap(void **state)
{
	struct span root = trace_root(t, "r", "", 0, NULL);
	struct story *s;

	wait_ms(30);
	trace_finish(root, 0, NULL);
	s = tell();
	assert_int_equal(1, s->line_count);
	assert_int_equal(30 * MS, path_total(s));
	story_free(s);
}

/* ---- Random trees ---- */

static void grow(unsigned seed)
{
	static const char *const categories[] = { "a", "b", "c" };
	struct span open[40];
	unsigned count = 1;

	srandom(seed);
	open[0] = trace_root(t, "r", "", 0, NULL);
	for (unsigned i = 0; i < 150; i++) {
		wait_ms((unsigned)random() % 5);
		if (count < ARRAY_SIZE(open) && random() % 3 > 0) {
			struct span s = child(open[random() % count], categories[random() % 3]);

			if (s.trace != NULL)
				open[count++] = s;
		} else if (count > 1) {
			unsigned k = 1 + (unsigned)random() % (count - 1);

			trace_finish(open[k], random() % 4 == 0 ? UV_ETIMEDOUT : 0, NULL);
			open[k] = open[--count];
		}
	}
	while (count > 0)
		trace_finish(open[--count], 0, NULL);
}

static void check_tree(const struct story *s)
{
	uint32_t seen = 0, inner = 0;

	for (uint32_t i = 0; i < s->line_count; i++) {
		inner += s->lines[i].kind == LINE_GROUP;
		assert_true(s->lines[i].kind != LINE_GROUP_END || inner > 0);
		inner -= s->lines[i].kind == LINE_GROUP_END;
		seen += s->lines[i].kind == LINE_SPAN;
	}
	assert_int_equal(0, inner);
	assert_int_equal(s->count, seen);
	for (uint32_t i = 1; i < s->count; i++) {
		assert_true(s->spans[i].parent < i);
		assert_true(s->spans[i].depth == s->spans[s->spans[i].parent].depth + 1);
		assert_true(s->spans[i].self_ns <= s->spans[i].end_ns - s->spans[i].start_ns);
	}
	for (uint32_t i = 0; i < s->path_count; i++) {
		const struct story_span *n = &s->spans[s->path[i].span];

		assert_true(s->path[i].start_ns >= n->start_ns);
		assert_true(s->path[i].end_ns <= n->end_ns);
	}
}

/* The path has no hole and no overlap: its stretches sum to the root's time. */
static void random_trees_are_laid_out_whole(void **state)
{
	for (unsigned seed = 1; seed <= 100; seed++) {
		struct story *s;

		grow(seed);
		s = tell();
		check_tree(s);
		assert_int_equal(s->spans[0].end_ns - s->spans[0].start_ns, path_total(s));
		story_free(s);
		(void)teardown(NULL);
		(void)setup(NULL);
	}
}

static void of_a_huge_trace_the_first_spans_are_told(void **state)
{
	struct span root = trace_root(t, "r", "", 0, NULL);
	struct story *s;

	for (unsigned i = 0; i < TRACES_SPANS_MAX + 500; i++)
		trace_finish(child(root, i % 2 ? "a" : "b"), 0, NULL);
	s = tell();
	assert_int_equal(TRACES_SPANS_MAX, s->count);
	assert_int_equal(TRACES_SPANS_MAX + 501, s->total);
	check_tree(s);
	story_free(s);
}

static void telling_survives_oom_at_every_allocation(void **state)
{
	struct trace_query q = { 0 };
	uint32_t root;

	grow(7);
	assert_int_equal(1, trace_search(t, &q, &root, 1, NULL, NULL));
	FAULT_SWEEP({ story_free(story_new(t, root)); });
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(self_time_is_what_no_child_covers),
		T(the_path_goes_through_what_ended_last),
		T(three_similar_children_become_a_group),
		T(a_long_time_without_children_is_a_gap),
		T(a_span_without_children_has_no_gap),
		T(random_trees_are_laid_out_whole),
		T(of_a_huge_trace_the_first_spans_are_told),
		T(telling_survives_oom_at_every_allocation),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
