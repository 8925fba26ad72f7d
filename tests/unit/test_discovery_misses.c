/* What was not found lately is not searched again, and searches for the unknown have a budget. */
#include "tests/unit/test_util.h"

#include "discovery/misses.h"

static const struct hash question = { { 1, 2, 3 } };
static const struct public_key space = { { 7 } }, other = { { 8 } };

static bool hit(struct misses *m, uint64_t sources, uint64_t now_ms)
{
	struct miss_answer answer;

	return misses_hit(m, &question, sources, now_ms, &answer);
}

static void note(struct misses *m, const struct hash *q, uint64_t now_ms)
{
	struct miss_answer answer = { .sources = 3,
				      .last_error = UV_ETIMEDOUT,
				      .asked_ms = now_ms,
				      .until_ms = now_ms + MISSES_HOLD_MS };

	misses_note(m, q, &space, &answer);
}

static void a_miss_is_remembered_for_its_time_and_tells_it(void **state)
{
	struct miss_answer answer;
	struct misses m;

	misses_init(&m, 1000);
	assert_false(hit(&m, 3, 1000));
	note(&m, &question, 1000);
	assert_true(misses_hit(&m, &question, 3, 21000, &answer));
	assert_int_equal(answer.asked_ms, 1000);
	assert_int_equal(answer.until_ms, 61000);
	CHECK_STATUS(UV_ETIMEDOUT, answer.last_error);
	assert_true(hit(&m, 3, 1000 + MISSES_HOLD_MS - 1));
	assert_false(hit(&m, 3, 1000 + MISSES_HOLD_MS));
	misses_fini(&m);
}

static void somebody_new_to_ask_makes_an_old_answer_void(void **state)
{
	struct misses m;

	misses_init(&m, 0);
	note(&m, &question, 0);
	assert_true(hit(&m, 2, 1));
	assert_false(hit(&m, 4, 1));
	misses_fini(&m);
}

static void news_of_the_space_makes_its_answers_void(void **state)
{
	struct misses m;

	misses_init(&m, 0);
	note(&m, &question, 0);
	misses_forget_space(&m, &other);
	assert_true(hit(&m, 3, 1));
	misses_forget_space(&m, &space);
	assert_false(hit(&m, 3, 1));
	misses_fini(&m);
}

static void the_table_is_bounded_and_the_oldest_answer_makes_room(void **state)
{
	struct misses_stats stats;
	struct misses m;
	struct miss_answer answer;

	misses_init(&m, 0);
	for (unsigned i = 0; i <= MISSES_MAX; i++) {
		struct hash h = { { (uint8_t)i, (uint8_t)(i >> 8), 5 } };

		note(&m, &h, i);
	}
	misses_stats(&m, &stats);
	assert_int_equal(stats.kept, MISSES_MAX);
	assert_int_equal(stats.made_room, 1);
	assert_false(misses_hit(&m, &(struct hash){ { 0, 0, 5 } }, 0, 5000, &answer));
	assert_true(misses_hit(&m, &(struct hash){ { 1, 0, 5 } }, 0, 5000, &answer));
	misses_fini(&m);
}

static void searches_for_the_unknown_have_a_budget(void **state)
{
	struct misses_stats stats;
	struct misses m;
	unsigned allowed = 0;

	misses_init(&m, 0);
	for (uint64_t now = 0; now < 60000; now += 10)
		allowed += misses_search(&m, now) == 0;
	assert_in_range(allowed, MISSES_SEARCHES_BURST + 60000 / MISSES_SEARCH_MS - 2,
			MISSES_SEARCHES_BURST + 60000 / MISSES_SEARCH_MS + 2);
	assert_in_range(misses_search(&m, 59990), 1, MISSES_SEARCH_MS);
	misses_stats(&m, &stats);
	assert_int_equal(stats.searches_refused, 6001 - allowed);
	misses_fini(&m);
}

static void what_is_found_costs_nothing_of_it(void **state)
{
	struct misses m;

	misses_init(&m, 0);
	for (int i = 0; i < 3 * MISSES_SEARCHES_BURST; i++) {
		assert_int_equal(misses_search(&m, 0), 0);
		misses_found(&m);
	}
	misses_fini(&m);
}

static void a_miss_without_memory_for_it_is_forgotten(void **state)
{
	FAULT_SWEEP({
		struct misses m;

		misses_init(&m, 0);
		note(&m, &question, 0);
		assert_int_equal(hit(&m, 3, 1), mem_fault_hits() == 0);
		misses_fini(&m);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_miss_is_remembered_for_its_time_and_tells_it),
		cmocka_unit_test(somebody_new_to_ask_makes_an_old_answer_void),
		cmocka_unit_test(news_of_the_space_makes_its_answers_void),
		cmocka_unit_test(the_table_is_bounded_and_the_oldest_answer_makes_room),
		cmocka_unit_test(searches_for_the_unknown_have_a_budget),
		cmocka_unit_test(what_is_found_costs_nothing_of_it),
		cmocka_unit_test(a_miss_without_memory_for_it_is_forgotten),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
