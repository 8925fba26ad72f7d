/* The model: spans, their ids, parents, links, and what happens to late callers. */
#include "test_trace.h"

static void child_has_own_id_and_category_and_its_parents_trace_id(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "sync.discover", "hm://a");
	struct span child = child_span(root, "sync.peer", "12D3");
	struct trace_context rc, cc;

	assert_true(trace_context_of(root, &rc) && trace_context_of(child, &cc));
	assert_memory_equal(rc.trace_id, cc.trace_id, 16);
	assert_memory_not_equal(rc.span_id, cc.span_id, 8);
	struct trace_span_view v = see_one(f, child);
	assert_string_equal(v.category, "sync.peer");
	assert_int_equal(v.depth, 1);
	assert_true(v.has_parent);
	assert_memory_equal(v.parent_id, rc.span_id, 8);
	assert_int_equal(see_one(f, root).child_count, 1);
}

static void finishing_a_child_leaves_its_parent_open(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "sync.discover", "hm://a");
	struct span child = child_span(root, "sync.peer", "12D3");

	trace_finish(child, 0, NULL);
	assert_true(see_one(f, child).finished);
	assert_false(see_one(f, root).finished);
	assert_int_equal(counts_of(f).active_roots, 1);
}

static void a_child_may_outlive_its_parent(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "sync.discover", "hm://a");
	struct span child = child_span(root, "sync.peer", "12D3");

	clock_manual_advance(&f->clock, 5);
	trace_finish(root, 0, NULL);
	assert_int_equal(counts_of(f).active_roots, 1);
	clock_manual_advance(&f->clock, 7);
	trace_mark(child, "still here");
	trace_finish(child, UV_ETIMEDOUT, "timeout");
	assert_int_equal(counts_of(f).active_roots, 0);
	assert_int_equal(see_one(f, root).duration_ns, 5);
	assert_int_equal(see_one(f, root).status, 0);
	assert_int_equal(see_one(f, child).duration_ns, 12);
	assert_int_equal(see_one(f, child).mark_count, 1);
	assert_int_equal(counts_of(f).late_calls, 0);
}

static void children_are_visited_after_their_parent_in_order_of_start(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r");
	struct span first = child_span(root, "b", "1");
	struct span second = child_span(root, "b", "2");
	struct trace_context c;
	struct seen seen;

	child_span(second, "c", "2.1");
	child_span(first, "c", "1.1");
	trace_context_of(root, &c);
	see_tree(f, &c, &seen);
	assert_int_equal(seen.count, 5);
	const char *expected[] = { "r", "1", "1.1", "2", "2.1" };
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(seen.span[i].title_len, strlen(expected[i]));
		assert_memory_equal(seen.span[i].title, expected[i], strlen(expected[i]));
	}
}

static void finishing_twice_keeps_the_first_outcome(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_finish(s, 0, "cached");
	clock_manual_advance(&f->clock, 9);
	trace_finish(s, UV_EIO, "error");
	assert_string_equal(see_one(f, s).outcome, "cached");
	assert_int_equal(see_one(f, s).duration_ns, 0);
	assert_int_equal(counts_of(f).late_calls, 1);
	assert_int_equal(counts_of(f).finished, 1);
}

static void writing_after_finish_is_a_counted_no_op(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r"), other = root_span(f, "a", "o");

	trace_finish(s, 0, NULL);
	trace_mark(s, "late");
	trace_errorf(s, "late %d", 1);
	trace_stage(s, "late");
	trace_attr_int(s, "k", 1);
	trace_attr_bool(s, "k", true);
	trace_attr_str(s, "k", "v", 1);
	trace_add(s, 1, 1);
	trace_link(s, other, "joined");
	assert_null(trace_child(s, "b", "c", 1).trace);
	assert_int_equal(counts_of(f).late_calls, 9);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.mark_count + v.stage_count + v.attr_count + v.link_count + v.child_count,
			 0);
	assert_int_equal(v.items + v.bytes, 0);
}

static void the_zero_span_is_a_no_op_that_is_not_counted(void **state)
{
	struct fixture *f = *state;
	struct span zero = { 0 };
	struct trace_context c;

	trace_mark(zero, "x %d", 1);
	trace_errorf(zero, "x");
	trace_stage(zero, "x");
	trace_attr_int(zero, "k", 1);
	trace_add(zero, 1, 1);
	trace_link(zero, zero, "joined");
	trace_finish(zero, 0, NULL);
	assert_null(trace_child(zero, "b", "c", 1).trace);
	assert_null(trace_detach(zero, "b", "c", 1).trace);
	assert_null(trace_root(NULL, "b", "c", 1, NULL).trace);
	assert_false(trace_context_of(zero, &c));
	assert_int_equal(counts_of(f).late_calls, 0);
}

static void a_stale_handle_never_touches_the_span_that_took_its_place(void **state)
{
	struct fixture *f = *state;
	struct span old = root_span(f, "a", "old"), s = { 0 };
	struct trace_context c;

	trace_finish(old, 0, NULL);
	for (int i = 0; i < 100000 && !(s.slot == old.slot && s.trace != NULL); i++) {
		s = root_span(f, "a", "new");
		clock_manual_advance(&f->clock, 1);
		if (s.slot != old.slot)
			trace_finish(s, 0, NULL);
	}
	assert_int_equal(s.slot, old.slot);
	trace_mark(old, "mine");
	trace_finish(old, UV_EIO, "mine");
	assert_false(trace_context_of(old, &c));
	assert_int_equal(counts_of(f).late_calls, 2);
	assert_int_equal(see_one(f, s).mark_count, 0);
	assert_false(see_one(f, s).finished);
}

static void nesting_deeper_than_the_limit_is_dropped_and_counted(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r"), last = s;

	for (int i = 0; i < TRACE_DEPTH_MAX; i++) {
		s = child_span(s, "a", "c");
		assert_non_null(s.trace);
		last = s;
	}
	assert_null(child_span(last, "a", "too deep").trace);
	assert_int_equal(see_one(f, last).depth, TRACE_DEPTH_MAX);
	assert_int_equal(see_one(f, last).children_dropped, 1);
	assert_int_equal(counts_of(f).dropped_spans, 1);
}

static void a_tree_has_at_most_the_named_number_of_spans(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r");

	for (int i = 1; i < TRACE_SPANS_PER_ROOT_MAX; i++)
		trace_finish(child_span(root, "a", "c"), 0, NULL);
	assert_int_equal(counts_of(f).dropped_spans, 0);
	assert_null(child_span(root, "a", "one more").trace);
	assert_int_equal(counts_of(f).dropped_spans, 1);
	assert_int_equal(see_one(f, root).child_count, TRACE_SPANS_PER_ROOT_MAX - 1);
}

static void a_detached_root_is_linked_both_ways(void **state)
{
	struct fixture *f = *state;
	struct span from = root_span(f, "sync.discover", "hm://a");
	struct span s = trace_detach(from, "sync.closure", "hm://a", 6);
	struct trace_context c;
	struct trace_link_view link;

	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.depth, 0);
	assert_false(v.has_parent);
	assert_true(trace_link_at(f->t, &v, 0, &link));
	trace_context_of(from, &c);
	assert_memory_equal(link.trace_id, c.trace_id, 16);
	assert_memory_equal(link.span_id, c.span_id, 8);
	v = see_one(f, from);
	assert_true(trace_link_at(f->t, &v, 0, &link));
	trace_context_of(s, &c);
	assert_memory_equal(link.span_id, c.span_id, 8);
	assert_false(trace_link_at(f->t, &v, 1, &link));
}

static void detaching_from_a_finished_span_still_links_to_it(void **state)
{
	struct fixture *f = *state;
	struct span from = root_span(f, "sync.discover", "hm://a");

	trace_finish(from, 0, NULL);
	struct span s = trace_detach(from, "sync.closure", "hm://a", 6);
	assert_int_equal(see_one(f, s).link_count, 1);
	assert_int_equal(see_one(f, from).link_count, 0);
	assert_int_equal(counts_of(f).late_calls, 0);
}

static void links_beyond_the_limit_are_counted(void **state)
{
	struct fixture *f = *state;
	struct span a = root_span(f, "a", "a"), b = root_span(f, "a", "b");

	for (int i = 0; i < TRACE_LINKS_MAX + 3; i++)
		trace_link(a, b, "joined");
	assert_int_equal(see_one(f, a).link_count, TRACE_LINKS_MAX);
	assert_int_equal(counts_of(f).dropped_parts, 3);
}

static void a_remote_context_gives_trace_id_and_parent(void **state)
{
	struct fixture *f = *state;
	struct span asking = root_span(f, "sync.peer", "12D3");
	struct trace_context c;
	struct seen seen;

	trace_context_of(asking, &c);
	struct span serving = trace_root(f->t, "sync.serve", "12D3", 4, &c);
	struct trace_span_view v = see_one(f, serving);
	assert_int_equal(v.depth, 0);
	assert_true(v.has_parent);
	assert_memory_equal(v.parent_id, c.span_id, 8);
	see_tree(f, &c, &seen);
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.span[0].category, "sync.peer");
	assert_string_equal(seen.span[1].category, "sync.serve");
}

static void durations_do_not_follow_the_wall_clock(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_stage(s, "one");
	clock_manual_advance(&f->clock, 3 * NS_PER_SEC);
	f->clock.wall -= 3600 * NS_PER_SEC;
	struct span child = child_span(s, "a", "c");
	clock_manual_advance(&f->clock, NS_PER_SEC);
	trace_finish(child, 0, NULL);
	trace_finish(s, 0, NULL);
	assert_int_equal(see_one(f, s).duration_ns, 4 * NS_PER_SEC);
	assert_int_equal(see_one(f, child).duration_ns, NS_PER_SEC);
	assert_int_equal(see_one(f, s).start_wall_ns, (WALL_START_S + 1) * NS_PER_SEC);
	assert_int_equal(see_one(f, child).start_wall_ns, (WALL_START_S + 4) * NS_PER_SEC);
	/* The next root follows the new wall clock. */
	s = root_span(f, "a", "later");
	assert_int_equal(see_one(f, s).start_wall_ns, (WALL_START_S + 5 - 3600) * NS_PER_SEC);
}

static void titles_of_every_length_are_kept_up_to_the_limit(void **state)
{
	struct fixture *f = *state;
	char title[TRACE_TITLE_MAX + 50];

	for (size_t i = 0; i < sizeof(title); i++)
		title[i] = (char)('a' + i % 26);
	for (size_t len = 0; len < sizeof(title); len++) {
		struct span root = trace_root(f->t, "a", title, len, NULL);
		struct span child = trace_child(root, "a", title, len);
		trace_mark(root, "after the title");
		struct trace_span_view r = see_one(f, root), c = see_one(f, child);
		assert_int_equal(r.title_len, MIN(len, (size_t)TRACE_TITLE_MAX));
		assert_memory_equal(r.title, title, r.title_len);
		assert_int_equal(c.title_len, r.title_len);
		assert_memory_equal(c.title, title, c.title_len);
		assert_string_equal(mark_text(f, &r, 0), "after the title");
		trace_finish(child, 0, NULL);
		trace_finish(root, 0, NULL);
	}
}

static void titles_beyond_a_cell_are_cut_when_too_many_are_kept(void **state)
{
	struct fixture *f = *state;
	char title[TRACE_TITLE_MAX] = { 0 };
	struct span s = { 0 };

	for (int i = 0; i < 300; i++)
		s = trace_root(f->t, "a", title, sizeof(title), NULL);
	assert_int_equal(see_one(f, s).title_len, 240);
}

static int setup_default(void **state)
{
	return setup_bytes(state, 0);
}

static void a_title_is_cut_between_characters(void **state)
{
	struct fixture *f = *state;
	char title[TRACE_TITLE_MAX + 2];

	memset(title, 'a', sizeof(title));
	memcpy(title + TRACE_TITLE_MAX - 2, "\xe2\x82\xac", 3);
	struct span s = trace_root(f->t, "a", title, sizeof(title), NULL);
	assert_int_equal(see_one(f, s).title_len, TRACE_TITLE_MAX - 2);
	assert_int_equal(see_one(f, trace_root(f->t, "a", NULL, 9, NULL)).title_len, 0);
}

static void the_error_text_is_the_outcome_when_none_is_given(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r"), ok = root_span(f, "a", "ok");

	assert_string_equal(see_one(f, s).outcome, "");
	trace_finish(s, ERR_VERIFY, NULL);
	trace_finish(ok, 0, NULL);
	assert_string_equal(see_one(f, s).outcome, err_str(ERR_VERIFY));
	assert_string_equal(see_one(f, ok).outcome, "ok");
}

static void a_failing_child_does_not_make_its_parent_fail(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r");

	trace_errorf(root, "one peer failed");
	trace_finish(child_span(root, "b", "c"), UV_ETIMEDOUT, NULL);
	trace_finish(root, 0, NULL);
	assert_int_equal(see_one(f, root).status, 0);
	assert_int_equal(count_matching(f, &(struct trace_query){ .success = true }), 1);
}

static void a_failure_is_known_to_all_that_it_happened_in(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r"), child = child_span(root, "b", "c");
	struct span beside = child_span(root, "b", "beside");
	struct span deep = child_span(child, "b", "deep");

	trace_finish(deep, UV_ETIMEDOUT, NULL);
	assert_true(see_one(f, root).failed_below);
	assert_true(see_one(f, child).failed_below);
	assert_false(see_one(f, deep).failed_below);
	assert_false(see_one(f, beside).failed_below);
	trace_finish(child, 0, NULL);
	trace_finish(root, 0, NULL);
	assert_int_equal(count_matching(f, &(struct trace_query){ .errored = true }), 1);
}

static void a_cancelled_child_is_no_failure_of_the_trace(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r");

	trace_finish(child_span(root, "b", "c"), UV_ECANCELED, NULL);
	trace_finish(root, 0, NULL);
	assert_false(see_one(f, root).failed_below);
	assert_int_equal(count_matching(f, &(struct trace_query){ .errored = true }), 0);
}

static void attributes_are_replaced_by_key_and_counted_beyond_the_limit(void **state)
{
	static const char *const keys[] = { "a", "b", "c", "d", "e", "f", "g",
					    "h", "i", "j", "k", "l", "m" };
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_attr_view a;
	char long_key[] = "c";

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		trace_attr_int(s, keys[i], (int64_t)i - 5);
	assert_int_equal(counts_of(f).dropped_parts, 1);
	trace_attr_str(s, long_key, "a value longer than a number", 28);
	trace_attr_bool(s, "a", true);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.attr_count, TRACE_ATTRS_MAX);
	for (uint32_t i = 0; trace_attr_at(f->t, &v, i, &a); i++)
		if (strcmp(a.key, "c") == 0) {
			assert_int_equal(a.type, TRACE_ATTR_STR);
			assert_int_equal(a.str_len, 28);
			assert_memory_equal(a.str, "a value longer than a number", 28);
		} else if (strcmp(a.key, "a") == 0) {
			assert_int_equal(a.type, TRACE_ATTR_BOOL);
			assert_true(a.num);
		} else {
			assert_int_equal(a.num, a.key[0] - 'a' - 5);
		}
}

static void setting_an_attribute_over_and_over_takes_bounded_memory(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char value[400];
	uint64_t used = 0;

	memset(value, 'x', sizeof(value));
	for (size_t i = 0; i < 100000; i++) {
		trace_attr_str(s, "key", value, i % sizeof(value));
		if (i == sizeof(value))
			used = counts_of(f).used_bytes;
	}
	assert_int_equal(counts_of(f).used_bytes, used);
	assert_true(used <= 7 * 256);
	struct trace_span_view v = see_one(f, s);
	struct trace_attr_view a;
	assert_true(trace_attr_at(f->t, &v, 0, &a));
	assert_int_equal(a.str_len, MIN(99999 % sizeof(value), (size_t)TRACE_ATTR_TEXT_MAX));
}

static void counters_add_up(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_add(s, 1, 100);
	trace_add(s, 2, 1000);
	assert_int_equal(see_one(f, s).items, 3);
	assert_int_equal(see_one(f, s).bytes, 1100);
}

static void more_categories_than_the_limit_share_the_name_other(void **state)
{
	static char names[TRACE_CATEGORIES_MAX + 10][16];
	struct fixture *f = *state;
	struct trace_stats stats[TRACE_CATEGORIES_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(names[i], sizeof(names[i]), "category%02zu", i);
		whole_trace(f, names[i], "r", 1, 0);
	}
	size_t count = trace_stats_all(f->t, stats, ARRAY_SIZE(stats));
	assert_int_equal(count, TRACE_CATEGORIES_MAX);
	assert_string_equal(stats[count - 1].category, "other");
	assert_int_equal(stats[count - 1].finished, 11);
	whole_trace(f, NULL, "r", 1, 0);
	trace_stats_all(f->t, stats, ARRAY_SIZE(stats));
	assert_int_equal(stats[count - 1].finished, 12);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(child_has_own_id_and_category_and_its_parents_trace_id),
		TEST(finishing_a_child_leaves_its_parent_open),
		TEST(a_child_may_outlive_its_parent),
		TEST(children_are_visited_after_their_parent_in_order_of_start),
		TEST(finishing_twice_keeps_the_first_outcome),
		TEST(writing_after_finish_is_a_counted_no_op),
		TEST(the_zero_span_is_a_no_op_that_is_not_counted),
		TEST(a_stale_handle_never_touches_the_span_that_took_its_place),
		TEST(nesting_deeper_than_the_limit_is_dropped_and_counted),
		TEST(a_tree_has_at_most_the_named_number_of_spans),
		TEST(a_detached_root_is_linked_both_ways),
		TEST(detaching_from_a_finished_span_still_links_to_it),
		TEST(links_beyond_the_limit_are_counted),
		TEST(a_remote_context_gives_trace_id_and_parent),
		TEST(durations_do_not_follow_the_wall_clock),
		cmocka_unit_test_setup_teardown(titles_of_every_length_are_kept_up_to_the_limit,
						setup_default, teardown),
		TEST(titles_beyond_a_cell_are_cut_when_too_many_are_kept),
		TEST(a_title_is_cut_between_characters),
		TEST(the_error_text_is_the_outcome_when_none_is_given),
		TEST(a_failure_is_known_to_all_that_it_happened_in),
		TEST(a_cancelled_child_is_no_failure_of_the_trace),
		TEST(a_failing_child_does_not_make_its_parent_fail),
		TEST(attributes_are_replaced_by_key_and_counted_beyond_the_limit),
		TEST(setting_an_attribute_over_and_over_takes_bounded_memory),
		TEST(counters_add_up),
		TEST(more_categories_than_the_limit_share_the_name_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
