/* Following the store: who begins, who is complete, and finding a span again later. */
#include "test_trace.h"

struct watcher {
	struct trace_watch watch;
	unsigned begun, completed;
	uint32_t slot;
	uint8_t span_id[8];
};

static void on_root(struct trace_watch *watch, uint32_t slot, const uint8_t span_id[8],
		    bool complete)
{
	struct watcher *w = container_of(watch, struct watcher, watch);

	w->begun += !complete;
	w->completed += complete;
	w->slot = slot;
	memcpy(w->span_id, span_id, sizeof(w->span_id));
}

static void a_root_is_told_at_its_begin_and_when_all_of_its_tree_ended(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { .watch.on_root = on_root };

	trace_watch(f->t, &w.watch);
	struct span root = root_span(f, "a", "title"), child = child_span(root, "b", "");
	assert_int_equal(1, w.begun);
	trace_finish(root, 0, NULL);
	assert_int_equal(0, w.completed);
	trace_finish(child, 0, NULL);
	assert_int_equal(1, w.begun);
	assert_int_equal(1, w.completed);
}

static void what_was_told_is_found_again(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { .watch.on_root = on_root };
	struct trace_span_view v;

	trace_watch(f->t, &w.watch);
	trace_finish(root_span(f, "a", "title"), 0, NULL);
	assert_true(trace_look(f->t, w.slot, w.span_id, &v));
	assert_string_equal("a", v.category);
	assert_true(v.finished);
	assert_memory_equal(w.span_id, v.span_id, sizeof(v.span_id));
}

static void nobody_is_told_without_a_watcher(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { .watch.on_root = on_root };

	trace_watch(f->t, &w.watch);
	trace_unwatch(f->t, &w.watch);
	trace_finish(root_span(f, "a", ""), 0, NULL);
	assert_int_equal(0, w.begun + w.completed);
}

static void all_that_watch_are_told(void **state)
{
	struct fixture *f = *state;
	struct watcher a = { .watch.on_root = on_root }, b = a, c = a;

	trace_watch(f->t, &a.watch);
	trace_watch(f->t, &b.watch);
	trace_watch(f->t, &c.watch);
	trace_watch(f->t, &a.watch);
	trace_unwatch(f->t, &b.watch);
	trace_unwatch(f->t, &b.watch);
	trace_finish(root_span(f, "a", ""), 0, NULL);
	assert_int_equal(1, a.completed);
	assert_int_equal(0, b.completed);
	assert_int_equal(1, c.completed);
}

static void an_evicted_span_is_not_found(void **state)
{
	struct fixture *f = *state;
	struct watcher w = { .watch.on_root = on_root };
	struct trace_span_view v;

	trace_watch(f->t, &w.watch);
	trace_finish(root_span(f, "a", "first"), 0, NULL);
	trace_unwatch(f->t, &w.watch);
	for (unsigned i = 0; i < 5000; i++)
		whole_trace(f, "a", "more", 10, 0);
	assert_false(trace_look(f->t, w.slot, w.span_id, &v));
	assert_false(trace_look(f->t, 0, w.span_id, &v));
	assert_false(trace_look(f->t, UINT32_MAX, w.span_id, &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_root_is_told_at_its_begin_and_when_all_of_its_tree_ended, setup,
			teardown),
		cmocka_unit_test_setup_teardown(what_was_told_is_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(all_that_watch_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_is_told_without_a_watcher, setup, teardown),
		cmocka_unit_test_setup_teardown(an_evicted_span_is_not_found, setup_small,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
