/* Pins, limits, ageing, and giving large trees back little by little. */
#include "test_trace.h"
#include "trace/store.h"

static uint32_t slot_of(struct fixture *f, const char *title)
{
	uint32_t root = 0;

	trace_search(f->t, &(struct trace_query){ .text = title }, &root, 1, NULL, NULL);
	return root;
}

static void flood(struct fixture *f, const char *category)
{
	for (int i = 0; i < 50000; i++)
		whole_trace(f, category, "fast", 1, 0);
}

static void a_pinned_trace_survives_until_it_is_unpinned(void **state)
{
	struct fixture *f = *state;

	flood(f, "a");
	whole_trace(f, "a", "the pinned one", 1, 0);
	CHECK_STATUS(0, trace_pin(f->t, slot_of(f, "the pinned one")));
	CHECK_STATUS(0, trace_pin(f->t, slot_of(f, "the pinned one")));
	assert_int_equal(counts_of(f).pinned_roots, 1);
	flood(f, "a");
	assert_true(is_kept(f, "the pinned one"));
	trace_unpin(f->t, slot_of(f, "the pinned one"));
	assert_int_equal(counts_of(f).pinned_roots, 0);
	flood(f, "a");
	assert_false(is_kept(f, "the pinned one"));
	check_counts(f);
}

static void an_active_trace_is_pinned_for_when_it_is_finished(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "the pinned one");

	CHECK_STATUS(0, trace_pin(f->t, s.slot));
	flood(f, "a");
	trace_finish(s, 0, NULL);
	flood(f, "a");
	assert_true(is_kept(f, "the pinned one"));
	CHECK_STATUS(ERR_NOT_FOUND, trace_pin(f->t, 0));
	trace_unpin(f->t, UINT32_MAX);
}

static void only_so_many_can_be_pinned(void **state)
{
	struct fixture *f = *state;
	int rc = 0, pinned = 0;

	for (; rc == 0 && pinned <= TRACE_PINNED_MAX; pinned += rc == 0) {
		struct span s = root_span(f, "a", "r");
		rc = trace_pin(f->t, s.slot);
		trace_finish(s, 0, NULL);
	}
	CHECK_STATUS(ERR_LIMIT, rc);
	assert_int_equal(pinned, TRACE_PINNED_MAX);
	assert_int_equal(counts_of(f).pinned_roots, TRACE_PINNED_MAX);
}

static void pins_take_at_most_a_quarter_of_the_budget(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 20; i++) {
		struct span s = root_span(f, "a", "large");
		trace_pin(f->t, s.slot);
		for (int k = 0; k < 150; k++)
			trace_mark(s, "mark %d of %d", k, i);
		trace_finish(s, 0, NULL);
	}
	assert_true(counts_of(f).dropped_pins > 0);
	assert_true(counts_of(f).pinned_roots > 0);
	assert_int_equal(counts_of(f).pinned_roots + counts_of(f).dropped_pins, 20);
	assert_true(f->t->pinned_cells * 4 <= f->t->cell_count);
	flood(f, "a");
	assert_int_equal(counts_of(f).dropped_spans, 0);
}

static void what_was_slow_an_hour_ago_makes_room_but_for_the_slowest_ever(void **state)
{
	struct fixture *f = *state;
	char title[24];

	for (uint64_t i = 0; i < 32; i++) {
		snprintf(title, sizeof(title), "slow %02d", (int)i);
		whole_trace(f, "a", title, 1000000 + i, 0);
	}
	flood(f, "a");
	assert_int_equal(count_matching(f, &(struct trace_query){ .text = "slow" }), 32);
	clock_manual_advance(&f->clock, 3601 * NS_PER_SEC);
	flood(f, "a");
	assert_int_equal(count_matching(f, &(struct trace_query){ .text = "slow" }), 8);
	assert_true(is_kept(f, "slow 31"));
	assert_true(is_kept(f, "slow 24"));
	whole_trace(f, "a", "slow again", 1000, 0);
	flood(f, "a");
	assert_true(is_kept(f, "slow again"));
}

static void limits_of_a_category_can_be_set(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s[2];

	for (int i = 0; i < 200; i++) {
		whole_trace(f, "a", "errored", 1, UV_EIO);
		whole_trace(f, "a", "slow", 1000 + (uint64_t)i, 0);
	}
	CHECK_STATUS(0, trace_limits_set(f->t, "a", &(struct trace_limits){ 5, 3, 2 }));
	for (int i = 0; i < 1000; i++) {
		whole_trace(f, "a", "errored", 1, UV_EIO);
		whole_trace(f, "b", "r", 1, 0);
	}
	assert_int_equal(trace_stats_all(f->t, s, 2), 2);
	assert_int_equal(s[0].errored_roots, 2);
	assert_int_equal(s[0].recent_roots, 5);
	assert_int_equal(s[0].slow_roots, 3 + 8);
	assert_int_equal(s[0].finished, 5 + 2 + 3 + 8);
	assert_int_equal(s[0].limits.recent_max, 5);
	assert_int_equal(s[1].recent_roots + s[1].slow_roots, 1000);
	CHECK_STATUS(ERR_MALFORMED,
		     trace_limits_set(f->t, "a", &(struct trace_limits){ 0, 25, 0 }));
	check_counts(f);
}

static uint32_t living_nodes(struct fixture *f)
{
	uint32_t count = 0;

	for (uint32_t i = 1; i < f->t->cell_high; i++)
		count += f->t->cells[i].generation & 1;
	return count;
}

/* Chains of ten under the root; two spans of it are handed out. */
static struct span large_tree(struct fixture *f, struct span ret_inner[2])
{
	struct span root = root_span(f, "a", "large"), s = root;

	for (int i = 1; i < TRACE_SPANS_PER_ROOT_MAX; i++) {
		s = child_span(i % 10 == 1 ? root : s, "b", "c");
		trace_mark(s, "mark");
		if (i == 5)
			ret_inner[0] = s;
	}
	ret_inner[1] = s;
	return root;
}

static void finish_all(struct fixture *f)
{
	for (uint32_t i = 1; i < f->t->cell_high; i++)
		if (f->t->cells[i].generation & 1)
			trace_finish((struct span){ f->t, i, f->t->cells[i].generation }, 0, NULL);
}

static void a_large_tree_is_given_back_in_small_slices(void **state)
{
	struct fixture *f = *state;
	struct span inner[2];
	struct trace_context c;

	setup_bytes((void **)&f, 8 << 20);
	struct span root = large_tree(f, inner);
	CHECK_STATUS(0, trace_limits_set(f->t, "a", &(struct trace_limits){ 1, 0, 0 }));
	finish_all(f);
	assert_int_equal(living_nodes(f), TRACE_SPANS_PER_ROOT_MAX);
	whole_trace(f, "a", "evicts it", 1, 0);
	uint32_t left = living_nodes(f);
	assert_true(left > TRACE_SPANS_PER_ROOT_MAX - 100);
	assert_int_equal(counts_of(f).evicted_spans, TRACE_SPANS_PER_ROOT_MAX);
	/* Nobody finds it, although most of it is still there. */
	assert_false(trace_context_of(root, &c) || trace_context_of(inner[0], &c) ||
		     trace_context_of(inner[1], &c));
	assert_false(is_kept(f, "large"));
	struct seen seen = { 0 };
	trace_walk(f->t, root.slot, see_span, &seen);
	assert_int_equal(seen.count, 0);
	CHECK_STATUS(ERR_NOT_FOUND, trace_pin(f->t, root.slot));
	/* What is written pays for it bit by bit, until all is gone. */
	for (int i = 0; i < 200000 && f->t->dying != 0; i++) {
		bool full = f->t->cell_free == 0 && f->t->cell_high == f->t->cell_count;
		left = full ? living_nodes(f) : 0;
		trace_finish(root_span(f, "c", "r"), 0, NULL);
		if (full)
			assert_true(living_nodes(f) + FREE_SLICE_NODES + 1 >= left);
	}
	assert_int_equal(f->t->dying, 0);
	check_counts(f);
	teardown((void **)&f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_pinned_trace_survives_until_it_is_unpinned),
		TEST(an_active_trace_is_pinned_for_when_it_is_finished),
		TEST(only_so_many_can_be_pinned),
		cmocka_unit_test_setup_teardown(pins_take_at_most_a_quarter_of_the_budget,
						setup_small, teardown),
		TEST(what_was_slow_an_hour_ago_makes_room_but_for_the_slowest_ever),
		TEST(limits_of_a_category_can_be_set),
		cmocka_unit_test(a_large_tree_is_given_back_in_small_slices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
