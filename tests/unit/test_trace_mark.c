/* Marks: binary in, text out. */
#include <inttypes.h>
#include <stdlib.h>

#include "test_trace.h"

static long mark_number(struct fixture *f, const struct trace_span_view *v, uint32_t i)
{
	return strtol(mark_text(f, v, i), NULL, 10);
}

/* Write through the macro and through printf; both must say the same. */
#define CHECK_FORMAT(...)                                                                          \
	do {                                                                                       \
		struct span s_ = root_span(f, "a", "r");                                           \
		char expected_[512];                                                               \
		trace_mark(s_, __VA_ARGS__);                                                       \
		snprintf(expected_, sizeof(expected_), __VA_ARGS__);                               \
		struct trace_span_view v_ = see_one(f, s_);                                        \
		assert_string_equal(mark_text(f, &v_, 0), expected_);                              \
	} while (0)

static void every_understood_conversion_reads_as_printf_would_write_it(void **state)
{
	struct fixture *f = *state;

	CHECK_FORMAT("constant");
	CHECK_FORMAT("%d %d %d", 0, -1, INT32_MIN);
	CHECK_FORMAT("%i|%5d|%-5d|%05d|%+d", 7, 7, 7, 7, 7);
	CHECK_FORMAT("%u %u", 0u, UINT32_MAX);
	CHECK_FORMAT("%ld %lu %lld %llu", INT64_MIN, UINT64_MAX, -5ll, 5ull);
	CHECK_FORMAT("%zu %zd", (size_t)-1, (ssize_t)-1);
	CHECK_FORMAT("%x %X %#x %o %08lx", 255u, 255u, 255u, 8u, 0xdeadbeeful);
	CHECK_FORMAT("%" PRIu64 " %" PRId64 " %" PRIx64, UINT64_MAX, INT64_MIN, UINT64_MAX);
	CHECK_FORMAT("%c%c", 'o', 'k');
	CHECK_FORMAT("%f %.1f %8.3f %e %g", 0.5, 99.95, -1.0, 1e100, 1e-5);
	CHECK_FORMAT("%s|%10s|%-10s|%.2s", "text", "text", "text", "text");
	CHECK_FORMAT("%.*s and %d", 3, "text", 4);
	CHECK_FORMAT("100 %% of %d%%", 5);
	CHECK_FORMAT("%s", "");
	CHECK_FORMAT("%d %s %d %s %d %s %d %s %d %s %d %s", 1, "a", 2, "b", 3, "c", 4, "d", 5, "e",
		     6, "f");
}

static void a_null_string_is_shown_as_such(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	const char *volatile none = NULL;

	trace_mark(s, "%s!", none);
	struct trace_span_view v = see_one(f, s);
	assert_string_equal(mark_text(f, &v, 0), "(null)!");
}

static void strings_are_copied_when_the_mark_is_made(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char text[] = "before";

	trace_mark(s, "it was %s", text);
	memcpy(text, "after!", 6);
	struct trace_span_view v = see_one(f, s);
	assert_string_equal(mark_text(f, &v, 0), "it was before");
}

static void a_string_with_a_length_is_not_read_beyond_it(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char *text = mem_dup("abc", 3);

	trace_mark(s, "%.*s", 3, text);
	mem_free(text);
	struct trace_span_view v = see_one(f, s);
	assert_string_equal(mark_text(f, &v, 0), "abc");
}

static void long_strings_are_cut_at_the_limit_between_characters(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char text[1000], expected[1000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text + TRACE_MARK_TEXT_MAX - 1, "\xc3\xa9", 2);
	trace_mark(s, "%s", text);
	trace_mark(s, "%d %s %s", 1, "short", text);
	struct trace_span_view v = see_one(f, s);
	snprintf(expected, sizeof(expected), "%.*s…", TRACE_MARK_TEXT_MAX - 1, text);
	assert_string_equal(mark_text(f, &v, 0), expected);
	snprintf(expected, sizeof(expected), "1 short %.*s…", TRACE_MARK_TEXT_MAX - 5, text);
	assert_string_equal(mark_text(f, &v, 1), expected);
}

/* Marks of every size next to each other, so that cells break everywhere. */
static void marks_of_all_sizes_survive_next_to_each_other(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char text[TRACE_MARK_TEXT_MAX + 1] = { 0 }, expected[400];

	for (int n = 0; n < TRACE_MARKS_MAX; n++) {
		size_t len = (size_t)(n * 37 % (TRACE_MARK_TEXT_MAX + 1));
		memset(text, 'a' + n % 26, len);
		text[len] = '\0';
		trace_mark(s, "%d %s %d", n, text, -n);
	}
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.mark_count, TRACE_MARKS_MAX);
	for (int n = 0; n < TRACE_MARKS_MAX; n++) {
		size_t len = (size_t)(n * 37 % (TRACE_MARK_TEXT_MAX + 1));
		memset(text, 'a' + n % 26, len);
		text[len] = '\0';
		snprintf(expected, sizeof(expected), "%d %s %d", n, text, -n);
		assert_string_equal(mark_text(f, &v, (uint32_t)n), expected);
	}
}

static void beyond_the_limit_the_first_third_and_the_latest_are_kept(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char text[200], expected[300];

	memset(text, 'x', sizeof(text));
	for (int n = 0; n < 5000; n++) {
		clock_manual_advance(&f->clock, 1);
		trace_mark(s, "%d %.*s", n, n % 200, text);
	}
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.mark_count, TRACE_MARKS_MAX);
	assert_int_equal(v.marks_dropped, 4000);
	assert_int_equal(v.marks_before_gap, TRACE_MARKS_MAX / 3);
	assert_int_equal(counts_of(f).dropped_marks, 4000);
	for (uint32_t i = 0; i < v.mark_count; i++) {
		int n = (int)(i < v.marks_before_gap ? i : i + 4000);
		struct trace_mark_view m;
		snprintf(expected, sizeof(expected), "%d %.*s", n, n % 200, text);
		assert_string_equal(mark_text(f, &v, i), expected);
		trace_mark_at(f->t, &v, i, &m, NULL);
		assert_int_equal(m.at_ns, n + 1);
	}
	trace_finish(s, 0, NULL);
	check_counts(f);
}

static void long_marks_in_the_queue_are_given_up_whole(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	char text[TRACE_MARK_TEXT_MAX];

	memset(text, 'x', sizeof(text));
	for (int n = 0; n < 3000; n++) {
		if (n % 3 == 0)
			trace_mark(s, "%d %.*s", n, TRACE_MARK_TEXT_MAX, text);
		else
			trace_mark(s, "%d", n);
	}
	struct trace_span_view v = see_one(f, s);
	assert_int_equal(v.mark_count, TRACE_MARKS_MAX);
	for (uint32_t i = v.marks_before_gap; i < v.mark_count; i++)
		assert_int_equal(mark_number(f, &v, i), (long)i + 2000);
}

static void a_failure_mark_is_told_from_the_others(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_mark_view m;

	trace_mark(s, "fine");
	trace_errorf(s, "not fine");
	trace_errorf(s, "%s %d", "not fine either", 7);
	struct trace_span_view v = see_one(f, s);
	assert_true(trace_mark_at(f->t, &v, 0, &m, NULL));
	assert_false(m.is_error);
	assert_true(trace_mark_at(f->t, &v, 1, &m, NULL));
	assert_true(m.is_error);
	assert_string_equal(mark_text(f, &v, 2), "not fine either 7");
	assert_false(trace_mark_at(f->t, &v, 3, &m, NULL));
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat"
static void what_is_not_understood_is_shown_as_it_stands(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_mark(s, "%d then %p and %d", 1, (void *)s.trace, 2);
	trace_mark(s, "%hhd", 300);
	trace_mark(s, "%*d", 3, 4);
	struct trace_span_view v = see_one(f, s);
	assert_string_equal(mark_text(f, &v, 0), "1 then %p and %d");
	assert_string_equal(mark_text(f, &v, 1), "%hhd");
	assert_string_equal(mark_text(f, &v, 2), "%*d");
}
#pragma GCC diagnostic pop

static void marks_are_read_in_any_order(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r"), other = root_span(f, "a", "o");
	uint64_t seed = 1;

	for (int i = 0; i < 900; i++) {
		trace_mark(s, "%d", i);
		trace_mark(other, "%d", -i);
	}
	struct trace_span_view v = see_one(f, s), w = see_one(f, other);
	for (int n = 0; n < 2000; n++) {
		uint32_t i = next_random(&seed) % 900;
		assert_int_equal(mark_number(f, &v, i), i);
		assert_int_equal(mark_number(f, &w, i), -(long)i);
		if (i + 1 < 900)
			assert_int_equal(mark_number(f, &w, i + 1), -(long)i - 1);
	}
}

static void a_view_that_outlived_its_span_reads_nothing(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");
	struct trace_mark_view m;

	trace_mark(s, "one");
	struct trace_span_view v = see_one(f, s);
	trace_finish(s, 0, NULL);
	for (int i = 0; i < 50000; i++) {
		s = root_span(f, "a", "r");
		trace_mark(s, "another");
		clock_manual_advance(&f->clock, 1);
		trace_finish(s, 0, NULL);
	}
	assert_false(trace_mark_at(f->t, &v, 0, &m, NULL));
	v.slot = UINT32_MAX;
	assert_false(trace_mark_at(f->t, &v, 0, &m, NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_understood_conversion_reads_as_printf_would_write_it),
		TEST(a_null_string_is_shown_as_such),
		TEST(strings_are_copied_when_the_mark_is_made),
		TEST(a_string_with_a_length_is_not_read_beyond_it),
		TEST(long_strings_are_cut_at_the_limit_between_characters),
		TEST(marks_of_all_sizes_survive_next_to_each_other),
		TEST(beyond_the_limit_the_first_third_and_the_latest_are_kept),
		TEST(long_marks_in_the_queue_are_given_up_whole),
		TEST(a_failure_mark_is_told_from_the_others),
		TEST(what_is_not_understood_is_shown_as_it_stands),
		TEST(marks_are_read_in_any_order),
		TEST(a_view_that_outlived_its_span_reads_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
