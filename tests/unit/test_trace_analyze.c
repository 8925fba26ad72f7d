/* Self time and critical path, against looking at every ns. */
#include "test_trace_random.h"

enum { SPANS_MAX = 256 };

struct tree {
	struct trace_span_view span[SPANS_MAX];
	size_t parent[SPANS_MAX], count;
};

static bool add_span(void *data, const struct trace_span_view *s)
{
	struct tree *tree = data;
	size_t parent = tree->count;

	while (parent-- > 0)
		if (memcmp(tree->span[parent].span_id, s->parent_id, 8) == 0)
			break;
	tree->span[tree->count] = *s;
	tree->parent[tree->count++] = parent;
	return true;
}

static void analyze(struct fixture *f, uint32_t root, struct tree *ret)
{
	ret->count = 0;
	while (!trace_analyze(f->t, root))
		;
	trace_walk(f->t, root, add_span, ret);
}

static uint64_t end_of(const struct trace_span_view *s)
{
	return s->start_ns + s->duration_ns;
}

/* All times are multiples of 777 or 100 apart: looking at the borders is looking everywhere. */
static uint64_t naive_self(const struct tree *tree, size_t i)
{
	const struct trace_span_view *s = &tree->span[i];
	uint64_t self = 0;

	for (uint64_t at = s->start_ns; at < end_of(s);) {
		uint64_t next = end_of(s);
		bool covered = false;
		for (size_t k = 0; k < tree->count; k++) {
			const struct trace_span_view *c = &tree->span[k];
			if (k == 0 || tree->parent[k] != i)
				continue;
			covered |= c->start_ns <= at && end_of(c) > at;
			if (c->start_ns > at)
				next = MIN(next, c->start_ns);
			if (end_of(c) > at)
				next = MIN(next, end_of(c));
		}
		self += covered ? 0 : next - at;
		at = next;
	}
	return self;
}

static void self_time_is_what_no_child_covers(void **state)
{
	static struct tree tree;
	uint64_t seed = 21;

	for (int i = 0; i < 200; i++) {
		struct fixture *f;
		setup((void **)&f);
		struct span root = random_tree(f, &seed, 2 + (size_t)i % 100);
		analyze(f, root.slot, &tree);
		for (size_t k = 0; k < tree.count; k++) {
			assert_true(tree.span[k].analyzed);
			assert_int_equal(tree.span[k].self_ns, naive_self(&tree, k));
		}
		teardown((void **)&f);
	}
}

/* The walk backwards, written down plainly. */
static void naive_path(const struct tree *tree, size_t i, uint64_t until, uint64_t *own)
{
	uint64_t begin = until;

	for (;;) {
		size_t best = 0;
		uint64_t best_end = 0;
		for (size_t k = 1; k < tree->count; k++) {
			uint64_t end = MIN(end_of(&tree->span[k]), begin);
			if (tree->parent[k] == i && tree->span[k].start_ns < until &&
			    end <= until && end > tree->span[k].start_ns && end > best_end) {
				best = k;
				best_end = end;
			}
		}
		if (best == 0)
			break;
		own[i] += until - best_end;
		naive_path(tree, best, best_end, own);
		until = tree->span[best].start_ns;
	}
	own[i] += until - tree->span[i].start_ns;
}

static void the_critical_path_sums_to_the_duration_of_the_root(void **state)
{
	static struct tree tree;
	uint64_t seed = 22;

	for (int i = 0; i < 300; i++) {
		struct fixture *f;
		uint64_t own[SPANS_MAX] = { 0 }, sum = 0;
		setup((void **)&f);
		struct span root = random_tree(f, &seed, 2 + (size_t)i % 100);
		analyze(f, root.slot, &tree);
		naive_path(&tree, 0, end_of(&tree.span[0]), own);
		for (size_t k = 0; k < tree.count; k++) {
			const struct trace_span_view *s = &tree.span[k];
			sum += s->critical_ns;
			assert_true(s->critical_until_ns == 0 ||
				    s->critical_until_ns > s->start_ns || k == 0);
			assert_true(s->critical_until_ns <= end_of(s));
		}
		assert_int_equal(sum, tree.span[0].duration_ns);
		assert_int_equal(tree.span[0].critical_ns, own[0]);
		teardown((void **)&f);
	}
}

static void the_path_goes_through_what_ended_last(void **state)
{
	struct fixture *f = *state;
	static struct tree tree;
	struct span root = root_span(f, "a", "r"), quick = child_span(root, "b", "quick"),
		    slow = child_span(root, "b", "slow"), inner;

	clock_manual_advance(&f->clock, 10);
	trace_finish(quick, 0, NULL);
	inner = child_span(slow, "c", "inner");
	clock_manual_advance(&f->clock, 30);
	trace_finish(inner, 0, NULL);
	trace_finish(slow, 0, NULL);
	clock_manual_advance(&f->clock, 5);
	trace_finish(root, 0, NULL);
	analyze(f, root.slot, &tree);
	assert_int_equal(tree.span[0].critical_ns, 5);
	assert_int_equal(tree.span[0].self_ns, 5);
	assert_int_equal(tree.span[1].critical_until_ns, 0);
	assert_int_equal(tree.span[2].critical_ns, 10);
	assert_int_equal(tree.span[3].critical_ns, 30);
}

static void what_is_known_of_one_tree_is_not_shown_for_another(void **state)
{
	struct fixture *f = *state;
	static struct tree tree;
	struct span one = root_span(f, "a", "1"), two = root_span(f, "a", "2");

	analyze(f, one.slot, &tree);
	assert_true(tree.span[0].analyzed);
	assert_false(see_one(f, two).analyzed);
	child_span(one, "b", "c");
	assert_false(see_one(f, one).analyzed);
	assert_true(trace_analyze(f->t, 0));
	assert_true(trace_analyze(f->t, UINT32_MAX));
}

static void a_tree_of_ten_thousand_is_analyzed_in_steps(void **state)
{
	struct fixture *f;
	unsigned steps = 1;

	setup_bytes((void **)&f, 8 << 20);
	struct span root = root_span(f, "a", "r");
	for (int i = 1; i < TRACE_SPANS_PER_ROOT_MAX; i++) {
		struct span s = child_span(root, "b", "c");
		clock_manual_advance(&f->clock, 3);
		trace_finish(s, 0, NULL);
	}
	trace_finish(root, 0, NULL);
	while (!trace_analyze(f->t, root.slot))
		steps++;
	assert_true(steps > 1);
	struct trace_span_view v = see_one(f, root);
	assert_int_equal(v.self_ns, 0);
	assert_int_equal(v.critical_ns, 0);
	teardown((void **)&f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(self_time_is_what_no_child_covers),
		cmocka_unit_test(the_critical_path_sums_to_the_duration_of_the_root),
		TEST(the_path_goes_through_what_ended_last),
		TEST(what_is_known_of_one_tree_is_not_shown_for_another),
		cmocka_unit_test(a_tree_of_ten_thousand_is_analyzed_in_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
