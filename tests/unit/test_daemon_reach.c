#include "daemon/reach.h"
#include "tests/unit/test_util.h"

enum { NOW = 10 * REACH_VALID_MS };

/* '+' reached, '-' not; all said so long ago. */
static enum outside verdict(const char *words, uint64_t age_ms, unsigned *ret_count)
{
	struct reach_word list[REACH_WORDS_MAX];
	size_t n = strlen(words);

	assert_true(n <= REACH_WORDS_MAX);
	for (size_t i = 0; i < n; i++)
		list[i] = (struct reach_word){ .peer = { { (uint8_t)(i + 1) } },
					       .reached = words[i] == '+',
					       .said_ms = NOW - age_ms };
	return reach_verdict(list, n, NOW, ret_count);
}

static void half_of_the_words_decide(void **state)
{
	static const struct {
		const char *words;
		enum outside expected;
	} table[] = { { "", OUTSIDE_UNKNOWN }, { "+", OUTSIDE_YES },	{ "-", OUTSIDE_NO },
		      { "+-", OUTSIDE_YES },   { "--", OUTSIDE_NO },	{ "+--", OUTSIDE_NO },
		      { "++-", OUTSIDE_YES },  { "++--", OUTSIDE_YES }, { "+----", OUTSIDE_NO },
		      { "++---", OUTSIDE_NO }, { "+++--", OUTSIDE_YES } };
	unsigned count;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		assert_string_equal(outside_name(table[i].expected),
				    outside_name(verdict(table[i].words, 0, &count)));
		assert_int_equal(count, strlen(table[i].words));
	}
}

static void old_words_are_forgotten(void **state)
{
	unsigned count;

	(void)state;
	assert_int_equal(verdict("--", REACH_VALID_MS, &count), OUTSIDE_NO);
	assert_int_equal(verdict("--", REACH_VALID_MS + 1, &count), OUTSIDE_UNKNOWN);
	assert_int_equal(count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_of_the_words_decide),
		cmocka_unit_test(old_words_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
