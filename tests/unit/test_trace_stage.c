/* Stages: no gap, no overlap, and the sum is the wall time. */
#include "test_trace.h"

static uint64_t check_gapless(struct fixture *f, const struct trace_span_view *v)
{
	struct trace_stage_view stage;
	uint64_t at = 0;

	for (uint32_t i = 0; i < v->stage_count; i++) {
		assert_true(trace_stage_at(f->t, v, i, &stage));
		assert_int_equal(stage.start_ns, at);
		at += stage.duration_ns;
	}
	assert_false(trace_stage_at(f->t, v, v->stage_count, &stage));
	return at;
}

static void check_stage(struct fixture *f, const struct trace_span_view *v, uint32_t i,
			const char *name, uint64_t duration_ns)
{
	struct trace_stage_view stage;

	assert_true(trace_stage_at(f->t, v, i, &stage));
	assert_string_equal(stage.name, name);
	assert_int_equal(stage.duration_ns, duration_ns);
}

static void stages_follow_each_other_from_start_to_finish(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, 12);
	trace_stage(s, "reconcile");
	clock_manual_advance(&f->clock, 80);
	trace_stage(s, "fetch");
	clock_manual_advance(&f->clock, 8);
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 3);
	check_stage(f, &v, 0, "dial", 12);
	check_stage(f, &v, 1, "reconcile", 80);
	check_stage(f, &v, 2, "fetch", 8);
	assert_int_equal(check_gapless(f, &v), 100);
}

static void time_before_the_first_stage_is_called_start(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	clock_manual_advance(&f->clock, 5);
	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, 6);
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 2);
	check_stage(f, &v, 0, "start", 5);
	check_stage(f, &v, 1, "dial", 6);
}

static void entering_the_same_stage_again_goes_on_with_it(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char dial[] = "dial";

	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, 5);
	trace_stage(s, dial);
	clock_manual_advance(&f->clock, 6);
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 1);
	check_stage(f, &v, 0, "dial", 11);
}

static void a_stage_without_length_between_equal_ones_leaves_no_seam(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	for (int i = 0; i < 1000; i++) {
		trace_stage(s, "wait");
		trace_stage(s, "check");
	}
	uint64_t used = counts_of(f).used_bytes;
	trace_stage(s, "wait");
	clock_manual_advance(&f->clock, 5);
	for (int i = 0; i < 1000; i++) {
		trace_stage(s, "check");
		trace_stage(s, "wait");
	}
	clock_manual_advance(&f->clock, 6);
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 1);
	check_stage(f, &v, 0, "wait", 11);
	assert_true(counts_of(f).used_bytes <= used + 256);
}

static void an_active_span_shows_the_stage_it_is_in(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, 5);
	trace_stage(s, "auth");
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 2);
	check_stage(f, &v, 1, "auth", 0);
	clock_manual_advance(&f->clock, 9);
	v = see_one(f, s);
	check_stage(f, &v, 1, "auth", 9);
}

static void a_span_without_stages_has_none(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_stage_view stage;

	clock_manual_advance(&f->clock, 5);
	trace_stage(s, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.stage_count, 0);
	assert_false(trace_stage_at(f->t, &v, 0, &stage));
}

static void too_many_stages_to_list_are_added_up_by_name(void **state)
{
	static const char *const names[] = { "read", "write", "wait" };
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_stage_view stage;
	uint64_t sum[3] = { 0 };

	for (int i = 0; i < 10000; i++) {
		trace_stage(s, names[i % 3]);
		clock_manual_advance(&f->clock, (uint64_t)(i % 7));
	}
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_true(v.stages_folded);
	assert_true(v.stage_count < 200);
	assert_int_equal(check_gapless(f, &v), v.duration_ns);
	for (uint32_t i = 0; trace_stage_at(f->t, &v, i, &stage); i++)
		sum[stage.name[0] == 'r' ? 0 : stage.name[1] == 'r' ? 1 : 2] += stage.duration_ns;
	for (int i = 0; i < 10000; i++)
		sum[i % 3] -= (uint64_t)(i % 7);
	assert_int_equal(sum[0] | sum[1] | sum[2], 0);
}

/* The duration of each stage, kept the simple way. */
static void stages_sum_to_wall_time_for_any_sequence(void **state)
{
	static const char *const names[] = { "a", "b", "start", "c", "d" };
	struct fixture *f = *state;
	uint64_t seed = 3;

	for (int round = 0; round < 2000; round++) {
		struct span s = root_span(f, "cat", "r");
		uint64_t expected[5] = { 0 }, got[5] = { 0 };
		size_t in = 2, calls = next_random(&seed) % (round % 50 == 0 ? 1500 : 20);
		struct trace_stage_view stage;
		for (size_t i = 0; i < calls; i++) {
			uint64_t ns = next_random(&seed) % 3 == 0 ? 0 : next_random(&seed) % 1000;
			clock_manual_advance(&f->clock, ns);
			expected[in] += ns;
			in = next_random(&seed) % 5;
			trace_stage(s, names[in]);
			if (next_random(&seed) % 4 == 0)
				trace_mark(s, "between %d", 1);
		}
		if (next_random(&seed) % 2)
			trace_finish(s, 0, NULL);
		struct trace_span_view v = see_one(f, s);
		assert_int_equal(check_gapless(f, &v), calls > 0 ? v.duration_ns : 0);
		for (uint32_t i = 0; trace_stage_at(f->t, &v, i, &stage); i++)
			for (size_t k = 0; k < 5; k++)
				got[k] += strcmp(stage.name, names[k]) == 0 ? stage.duration_ns : 0;
		assert_memory_equal(got, expected, calls > 0 ? sizeof(got) : 0);
		trace_finish(s, 0, NULL);
	}
}

static void more_stage_names_than_the_limit_share_the_name_other(void **state)
{
	static char names[TRACE_STAGES_MAX + 5][16];
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_stage_view stage;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(names[i], sizeof(names[i]), "stage%02zu", i);
		trace_stage(s, names[i]);
		clock_manual_advance(&f->clock, 1);
	}
	trace_finish(s, 0, NULL);
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(check_gapless(f, &v), ARRAY_SIZE(names));
	trace_stage_at(f->t, &v, v.stage_count - 1, &stage);
	assert_string_equal(stage.name, "other");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(stages_follow_each_other_from_start_to_finish),
		TEST(time_before_the_first_stage_is_called_start),
		TEST(entering_the_same_stage_again_goes_on_with_it),
		TEST(a_stage_without_length_between_equal_ones_leaves_no_seam),
		TEST(an_active_span_shows_the_stage_it_is_in),
		TEST(a_span_without_stages_has_none),
		TEST(too_many_stages_to_list_are_added_up_by_name),
		TEST(stages_sum_to_wall_time_for_any_sequence),
		TEST(more_stage_names_than_the_limit_share_the_name_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
