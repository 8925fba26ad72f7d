#include "daemon/recent.h"
#include "tests/unit/test_util.h"

static void until_there_is_a_while_all_counts(void **state)
{
	struct recent r = { 0 };
	struct recent_totals now = { .stalls = 3, .longest_us = 70 }, got;

	for (unsigned i = 0; i < RECENT_SAMPLES - 1; i++)
		recent_add(&r, &now);
	recent_since(&r, &now, &got);
	assert_int_equal(got.stalls, 3);
	assert_int_equal(got.longest_us, 70);
}

static void what_is_long_ago_counts_no_more(void **state)
{
	struct recent r = { 0 };
	struct recent_totals now = { .stalls = 3, .dials = 5, .longest_us = 70 }, got;

	for (unsigned i = 0; i < RECENT_SAMPLES; i++)
		recent_add(&r, &now);
	recent_since(&r, &now, &got);
	assert_int_equal(got.stalls, 0);
	assert_int_equal(got.longest_us, 0);
	now.stalls = 4;
	now.dials = 7;
	now.longest_us = 90;
	recent_since(&r, &now, &got);
	assert_int_equal(got.stalls, 1);
	assert_int_equal(got.dials, 2);
	assert_int_equal(got.longest_us, 90);
	for (unsigned i = 0; i < RECENT_SAMPLES; i++)
		recent_add(&r, &now);
	recent_since(&r, &now, &got);
	assert_int_equal(got.stalls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(until_there_is_a_while_all_counts),
		cmocka_unit_test(what_is_long_ago_counts_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
