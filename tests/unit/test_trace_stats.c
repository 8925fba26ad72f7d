/* Figures per category, against sorting everything. */
#include <stdlib.h>

#include "test_trace.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t oracle(const uint64_t *sorted, size_t count, unsigned percent)
{
	size_t rank = 1;

	while (rank * 100 < count * percent)
		rank++;
	return sorted[rank - 1];
}

static void check_percentiles(struct fixture *f, uint64_t *ns, size_t count)
{
	struct trace_stats s;

	assert_int_equal(trace_stats_all(f->t, &s, 1), 1);
	qsort(ns, count, sizeof(*ns), compare);
	assert_int_equal(s.sample_count, count);
	assert_int_equal(s.p10_ns, oracle(ns, count, 10));
	assert_int_equal(s.p50_ns, oracle(ns, count, 50));
	assert_int_equal(s.p90_ns, oracle(ns, count, 90));
	assert_int_equal(s.p99_ns, oracle(ns, count, 99));
	assert_int_equal(s.max_ns, ns[count - 1]);
}

static void percentiles_are_exact_for_any_number_of_spans(void **state)
{
	uint64_t ns[300], seed = 11;

	for (size_t count = 1; count < ARRAY_SIZE(ns); count += 1 + count / 8) {
		struct fixture *f;
		setup((void **)&f);
		for (size_t i = 0; i < count; i++) {
			/* Few values, so that many are equal; and wide ones. */
			ns[i] = count % 2 ? next_random(&seed) % 10 :
					    (uint64_t)next_random(&seed) * 1000;
			whole_trace(f, "a", "r", ns[i], 0);
		}
		check_percentiles(f, ns, count);
		teardown((void **)&f);
	}
}

static void percentiles_are_exact_for_sorted_and_equal_durations(void **state)
{
	uint64_t ns[200];

	for (int shape = 0; shape < 3; shape++) {
		struct fixture *f;
		setup((void **)&f);
		for (size_t i = 0; i < ARRAY_SIZE(ns); i++) {
			ns[i] = shape == 0 ? 5 : shape == 1 ? i : ARRAY_SIZE(ns) - i;
			whole_trace(f, "a", "r", ns[i], 0);
		}
		check_percentiles(f, ns, ARRAY_SIZE(ns));
		teardown((void **)&f);
	}
}

static void errored_and_active_spans_are_counted_apart(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s;

	root_span(f, "a", "active");
	whole_trace(f, "a", "ok", 10, 0);
	whole_trace(f, "a", "errored", 1000, UV_EIO);
	assert_int_equal(trace_stats_all(f->t, &s, 1), 1);
	assert_int_equal(s.active, 1);
	assert_int_equal(s.finished, 2);
	assert_int_equal(s.errored, 1);
	assert_int_equal(s.sample_count, 1);
	assert_int_equal(s.max_ns, 10);
}

static void nested_spans_count_in_their_own_category(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s[4];
	struct span root = root_span(f, "sync.discover", "r");

	for (uint64_t i = 1; i <= 3; i++) {
		struct span child = child_span(root, "sync.peer", "c");
		clock_manual_advance(&f->clock, i);
		trace_finish(child, 0, NULL);
	}
	assert_int_equal(trace_stats_all(f->t, s, 4), 2);
	assert_string_equal(s[0].category, "sync.discover");
	assert_int_equal(s[0].active, 1);
	assert_string_equal(s[1].category, "sync.peer");
	assert_int_equal(s[1].p50_ns, 2);
	assert_int_equal(s[1].max_ns, 3);
	assert_int_equal(s[1].window_ns, 6);
}

static void no_more_categories_are_written_than_there_is_room_for(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s[3] = { 0 };

	whole_trace(f, "c", "r", 1, 0);
	whole_trace(f, "a", "r", 1, 0);
	whole_trace(f, "b", "r", 1, 0);
	assert_int_equal(trace_stats_all(f->t, s, 2), 2);
	assert_string_equal(s[0].category, "a");
	assert_string_equal(s[1].category, "b");
	assert_null(s[2].category);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentiles_are_exact_for_any_number_of_spans),
		cmocka_unit_test(percentiles_are_exact_for_sorted_and_equal_durations),
		TEST(errored_and_active_spans_are_counted_apart),
		TEST(nested_spans_count_in_their_own_category),
		TEST(no_more_categories_are_written_than_there_is_room_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
