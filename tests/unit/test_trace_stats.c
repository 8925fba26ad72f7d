/* Figures per category, against sorting everything. */
#include <stdlib.h>

#include "test_trace.h"
#include "trace/store.h"

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

static void every_duration_is_near_the_middle_of_its_bucket(void **state)
{
	uint32_t last = 0;

	for (uint64_t ns = 0; ns < UINT64_C(1) << 41; ns += 1 + ns / 1000) {
		uint32_t bucket = bucket_of(ns);
		uint64_t middle = bucket_middle_ns(bucket);
		assert_true(bucket >= last && bucket <= last + 1);
		assert_true((MAX(ns, middle) - MIN(ns, middle)) * 64 <= ns);
		last = bucket;
	}
	assert_int_equal(bucket_of(UINT64_MAX), BUCKETS - 1);
}

static void spans_are_counted_below_bounds(void **state)
{
	static const uint64_t bounds[] = { 64, 1024, UINT64_C(1) << 20 };
	struct fixture *f = *state;
	uint64_t within[ARRAY_SIZE(bounds)];

	assert_false(trace_stats_within(f->t, "a", bounds, ARRAY_SIZE(bounds), within));
	for (unsigned i = 0; i < ARRAY_SIZE(bounds); i++) {
		whole_trace(f, "a", "r", bounds[i] - 1, 0);
		whole_trace(f, "a", "r", bounds[i], 0);
		whole_trace(f, "a", "r", bounds[i] - 1, UV_EIO);
	}
	assert_true(trace_stats_within(f->t, "a", bounds, ARRAY_SIZE(bounds), within));
	assert_int_equal(within[0], 1);
	assert_int_equal(within[1], 3);
	assert_int_equal(within[2], 5);
}

static void check_near(uint64_t exact, uint64_t ns)
{
	if ((MAX(exact, ns) - MIN(exact, ns)) * 50 > exact)
		fail_msg("%llu is not within 2 %% of %llu", (unsigned long long)ns,
			 (unsigned long long)exact);
}

static void lifetime_percentiles_err_by_at_most_two_percent_up_to_twenty_minutes(void **state)
{
	enum { COUNT = 3000 };
	struct fixture *f = *state;
	struct trace_stats s;
	uint64_t ns[COUNT], seed = 3;

	for (size_t i = 0; i < COUNT; i++) {
		ns[i] = (uint64_t)next_random(&seed) << next_random(&seed) % 10;
		ns[i] %= 1200 * NS_PER_SEC;
		whole_trace(f, "a", "r", ns[i], 0);
	}
	qsort(ns, COUNT, sizeof(ns[0]), compare);
	assert_int_equal(trace_stats_all(f->t, &s, 1), 1);
	assert_int_equal(s.lifetime.succeeded, COUNT);
	check_near(oracle(ns, COUNT, 10), s.lifetime.p10_ns);
	check_near(oracle(ns, COUNT, 50), s.lifetime.p50_ns);
	check_near(oracle(ns, COUNT, 90), s.lifetime.p90_ns);
	check_near(oracle(ns, COUNT, 99), s.lifetime.p99_ns);
	assert_int_equal(s.lifetime.max_ns, ns[COUNT - 1]);
}

static void lifetime_percentiles_of_stages_err_by_at_most_two_percent_too(void **state)
{
	enum { COUNT = 2000 };
	struct fixture *f = *state;
	struct trace_stats s[4];
	uint64_t ns[COUNT], seed = 4, sum = 0;

	for (size_t i = 0; i < COUNT; i++) {
		struct span span = root_span(f, "a", "r");
		ns[i] = ((uint64_t)next_random(&seed) << next_random(&seed) % 10) %
				(1200 * NS_PER_SEC) +
			1;
		sum += ns[i];
		trace_stage(span, "dial");
		clock_manual_advance(&f->clock, ns[i]);
		trace_stage(span, "exit");
		trace_finish(span, 0, NULL);
		whole_trace(f, "a", "failed", 7777 * NS_PER_SEC, UV_EIO);
	}
	qsort(ns, COUNT, sizeof(ns[0]), compare);
	assert_int_equal(trace_stats_stages(f->t, "a", s, 4), 1);
	assert_int_equal(s[0].lifetime.succeeded, COUNT);
	assert_int_equal(s[0].lifetime.sum_ns, sum);
	check_near(oracle(ns, COUNT, 10), s[0].lifetime.p10_ns);
	check_near(oracle(ns, COUNT, 50), s[0].lifetime.p50_ns);
	check_near(oracle(ns, COUNT, 90), s[0].lifetime.p90_ns);
	check_near(oracle(ns, COUNT, 99), s[0].lifetime.p99_ns);
	assert_int_equal(s[0].lifetime.max_ns, ns[COUNT - 1]);
	assert_int_equal(trace_stats_all(f->t, s, 4), 1);
	assert_int_equal(s[0].lifetime.errored, COUNT);
	assert_int_equal(s[0].lifetime.sum_ns, sum);
}

static void the_sample_is_the_latest_spans_and_the_lifetime_all(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s;

	whole_trace(f, "a", "slow", 5 * NS_PER_SEC, 0);
	for (int i = 0; i < 100000; i++)
		whole_trace(f, "a", "fast", 100, 0);
	trace_stats_all(f->t, &s, 1);
	assert_int_equal(s.sample_count, TRACE_SAMPLE_MAX);
	assert_int_equal(s.max_ns, 100);
	assert_int_equal(s.window_ns, TRACE_SAMPLE_MAX * 100);
	assert_true(s.rate_per_s > 9.9e6 && s.rate_per_s < 10.1e6);
	assert_int_equal(s.lifetime.succeeded, 100001);
	assert_int_equal(s.lifetime.max_ns, 5 * NS_PER_SEC);
	assert_true(s.finished < 50000);
	assert_int_equal(s.newest_wall_ns, clock_wall_ns(&f->clock.clock));
	assert_int_equal(s.newest_wall_ns - s.oldest_wall_ns, (TRACE_SAMPLE_MAX - 1) * 100);
}

static void a_window_of_time_takes_only_what_ended_in_it(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s;

	whole_trace(f, "a", "old", 7 * NS_PER_SEC, 0);
	clock_manual_advance(&f->clock, 100 * NS_PER_SEC);
	whole_trace(f, "a", "new", 2 * NS_PER_SEC, 0);
	whole_trace(f, "a", "new", 3 * NS_PER_SEC, UV_EIO);
	assert_int_equal(trace_stats_recent(f->t, 60 * NS_PER_SEC, &s, 1), 1);
	assert_int_equal(s.sample_count, 1);
	assert_int_equal(s.max_ns, 2 * NS_PER_SEC);
	assert_int_equal(s.sample_errored, 1);
	assert_true(s.rate_per_s > 0.033 && s.rate_per_s < 0.034);
	assert_int_equal(trace_stats_recent(f->t, 1000 * NS_PER_SEC, &s, 1), 1);
	assert_int_equal(s.sample_count, 2);
}

static void failures_and_cancellations_are_shown_apart(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s;

	for (uint64_t i = 1; i <= 9; i++)
		whole_trace(f, "a", "errored", i * 1000, UV_EIO);
	whole_trace(f, "a", "cancelled", 50000, UV_ECANCELED);
	whole_trace(f, "a", "ok", 10, 0);
	trace_stats_all(f->t, &s, 1);
	assert_int_equal(s.finished, 11);
	assert_int_equal(s.errored, 10);
	assert_int_equal(s.cancelled, 1);
	assert_int_equal(s.sample_count, 1);
	assert_int_equal(s.sample_errored, 9);
	assert_int_equal(s.sample_cancelled, 1);
	assert_int_equal(s.errored_p50_ns, 5000);
	assert_int_equal(s.errored_max_ns, 9000);
	assert_int_equal(s.p99_ns, 10);
	assert_int_equal(s.lifetime.errored, 9);
	assert_int_equal(s.lifetime.cancelled, 1);
}

static void staged_trace(struct fixture *f, uint64_t dial_ns, uint64_t fetch_ns, int status)
{
	struct span s = root_span(f, "sync.peer", "p");

	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, dial_ns);
	trace_stage(s, "fetch");
	clock_manual_advance(&f->clock, fetch_ns);
	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, dial_ns);
	trace_finish(s, status, NULL);
}

static void stages_have_figures_of_their_own(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s[4];

	for (uint64_t i = 1; i <= 100; i++)
		staged_trace(f, 10 * i, 7, 0);
	staged_trace(f, 1000000, 7, UV_ETIMEDOUT);
	assert_int_equal(trace_stats_stages(f->t, "sync.peer", s, 4), 2);
	assert_string_equal(s[0].stage, "dial");
	assert_int_equal(s[0].sample_count, 100);
	assert_int_equal(s[0].sample_errored, 1);
	assert_int_equal(s[0].p50_ns, 2 * 10 * 50);
	assert_int_equal(s[0].max_ns, 2 * 10 * 100);
	assert_int_equal(s[0].lifetime.sum_ns, 2 * 10 * 5050);
	assert_string_equal(s[1].stage, "fetch");
	assert_int_equal(s[1].p99_ns, 7);
	assert_int_equal(trace_stats_stages(f->t, "unknown", s, 4), 0);
}

/* The stages of all spans, in any order of calls, are what their figures sum up. */
static void figures_of_stages_sum_to_the_wall_time(void **state)
{
	static const char *const names[] = { "a", "b", "c" };
	struct fixture *f = *state;
	struct trace_stats s[4], whole;
	uint64_t seed = 8, sum = 0;

	for (int i = 0; i < 300; i++) {
		struct span span = root_span(f, "x", "r");
		for (uint32_t k = next_random(&seed) % (i == 7 ? 900 : 20); k > 0; k--) {
			trace_stage(span, names[next_random(&seed) % 3]);
			clock_manual_advance(&f->clock, next_random(&seed) % 3);
		}
		trace_stage(span, "a");
		trace_finish(span, 0, NULL);
	}
	size_t count = trace_stats_stages(f->t, "x", s, 4);
	for (size_t i = 0; i < count; i++)
		sum += s[i].lifetime.sum_ns;
	assert_int_equal(trace_stats_all(f->t, &whole, 1), 1);
	assert_int_equal(sum, whole.lifetime.sum_ns);
}

static void a_category_has_thresholds(void **state)
{
	struct fixture *f = *state;
	struct trace_stats s;

	CHECK_STATUS(0, trace_thresholds_set(f->t, "a", &(struct trace_thresholds){ 100, 0, 99 }));
	whole_trace(f, "a", "r", 100, 0);
	trace_stats_all(f->t, &s, 1);
	assert_int_equal(s.thresholds.p50_ns, 100);
	assert_false(s.p50_over);
	assert_false(s.p90_over);
	assert_true(s.p99_over);
}

static void figures_without_room_are_counted(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
	struct fixture *f = *state;
	struct trace_stats s[16];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		whole_trace(f, names[i], "r", 5, 0);
	assert_int_equal(trace_stats_all(f->t, s, 16), ARRAY_SIZE(names));
	assert_int_equal(s[0].p50_ns, 5);
	assert_int_equal(s[9].sample_count, 0);
	assert_int_equal(s[9].finished, 1);
	assert_true(counts_of(f).dropped_figures > 0);
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
		cmocka_unit_test(every_duration_is_near_the_middle_of_its_bucket),
		TEST(spans_are_counted_below_bounds),
		TEST(lifetime_percentiles_err_by_at_most_two_percent_up_to_twenty_minutes),
		TEST(lifetime_percentiles_of_stages_err_by_at_most_two_percent_too),
		TEST(the_sample_is_the_latest_spans_and_the_lifetime_all),
		TEST(a_window_of_time_takes_only_what_ended_in_it),
		TEST(failures_and_cancellations_are_shown_apart),
		TEST(stages_have_figures_of_their_own),
		TEST(figures_of_stages_sum_to_the_wall_time),
		TEST(a_category_has_thresholds),
		cmocka_unit_test_setup_teardown(figures_without_room_are_counted, setup_small,
						teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
