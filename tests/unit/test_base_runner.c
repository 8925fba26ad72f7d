#include "tests/unit/test_util.h"

#include <pthread.h>
#include <stdlib.h>

enum { TIMERS = 2000, FIRED_MAX = 8 };

static struct manual_loop loop;

struct item {
	struct runner_task task;
	struct runner_timer timer;
	int id;
	struct item *victim; /* undeferred and stopped when this one runs */
	bool again;
	uint64_t takes_ms; /* to run */
};
static struct item items[FIRED_MAX];
static int fired[32];
static size_t fired_count;

static void note(struct item *item)
{
	assert_true(fired_count < ARRAY_SIZE(fired));
	fired[fired_count++] = item->id;
	clock_manual_advance(&loop.clock, item->takes_ms * NS_PER_MS);
	if (item->victim != NULL) {
		runner_undefer(&item->victim->task);
		runner_timer_stop(&loop.runner, &item->victim->timer);
	}
}

static void on_task(struct runner_task *task)
{
	struct item *item = container_of(task, struct item, task);

	note(item);
	if (item->again)
		runner_defer(&loop.runner, task);
}

static void on_timer(struct runner_timer *timer)
{
	struct item *item = container_of(timer, struct item, timer);

	note(item);
	if (item->again)
		runner_timer_start(&loop.runner, timer, 0);
}

static int setup(void **state)
{
	manual_loop_init(&loop, 1);
	fired_count = 0;
	for (int i = 0; i < FIRED_MAX; i++)
		items[i] = (struct item){ .task.run = on_task, .timer.run = on_timer, .id = i };
	return 0;
}

static void check_fired(const char *expected)
{
	assert_int_equal(fired_count, strlen(expected));
	for (size_t i = 0; i < fired_count; i++)
		assert_int_equal(fired[i], expected[i] - '0');
	fired_count = 0;
}

static void tasks_run_once_in_the_order_queued(void **state)
{
	runner_defer(&loop.runner, &items[2].task);
	runner_defer(&loop.runner, &items[1].task);
	runner_defer(&loop.runner, &items[2].task);
	check_fired("");
	assert_int_equal(runner_turn(&loop.runner), 2);
	check_fired("21");
	assert_int_equal(runner_turn(&loop.runner), 0);
}

static void a_task_queued_by_a_task_waits_for_the_next_turn(void **state)
{
	items[1].again = true;
	runner_defer(&loop.runner, &items[1].task);
	runner_turn(&loop.runner);
	check_fired("1");
	assert_int_equal(runner_next_due_ms(&loop.runner), 0);
	runner_turn(&loop.runner);
	check_fired("1");
}

static void what_finds_no_time_in_a_turn_comes_first_in_the_next(void **state)
{
	items[1].takes_ms = 1;
	items[1].again = true;
	for (int i = 0; i < 4; i++)
		runner_defer(&loop.runner, &items[i].task);
	runner_turn(&loop.runner);
	check_fired("01");
	assert_int_equal(runner_next_due_ms(&loop.runner), 0);
	runner_turn(&loop.runner);
	check_fired("231");
}

static void a_task_can_be_removed_by_one_of_the_same_turn(void **state)
{
	items[1].victim = &items[2];
	runner_defer(&loop.runner, &items[1].task);
	runner_defer(&loop.runner, &items[2].task);
	runner_defer(&loop.runner, &items[3].task);
	runner_turn(&loop.runner);
	check_fired("13");
}

static void a_zeroed_task_counts_as_not_queued(void **state)
{
	struct runner_task task = { 0 };

	runner_undefer(&task);
	assert_int_equal(runner_next_due_ms(&loop.runner), UINT64_MAX);
}

static void equal_times_fire_in_the_order_started(void **state)
{
	runner_timer_start(&loop.runner, &items[3].timer, 10);
	runner_timer_start(&loop.runner, &items[1].timer, 10);
	runner_timer_start(&loop.runner, &items[2].timer, 5);
	runner_timer_start(&loop.runner, &items[3].timer, 10);
	assert_int_equal(runner_next_due_ms(&loop.runner), 5);
	clock_manual_advance(&loop.clock, 4 * NS_PER_MS);
	assert_int_equal(runner_turn(&loop.runner), 0);
	clock_manual_advance(&loop.clock, 6 * NS_PER_MS);
	assert_int_equal(runner_turn(&loop.runner), 3);
	check_fired("213");
}

static void a_timer_that_restarts_itself_runs_once_a_turn_and_starves_none(void **state)
{
	items[1].again = true;
	runner_timer_start(&loop.runner, &items[1].timer, 1);
	runner_timer_start(&loop.runner, &items[2].timer, 2);
	clock_manual_advance(&loop.clock, 2 * NS_PER_MS);
	runner_turn(&loop.runner);
	check_fired("12");
	runner_timer_start(&loop.runner, &items[3].timer, 2);
	runner_turn(&loop.runner);
	check_fired("13");
}

static void a_due_timer_can_be_stopped_by_another(void **state)
{
	items[1].victim = &items[2];
	runner_timer_start(&loop.runner, &items[1].timer, 1);
	runner_timer_start(&loop.runner, &items[2].timer, 1);
	clock_manual_advance(&loop.clock, NS_PER_MS);
	runner_turn(&loop.runner);
	check_fired("1");
	assert_int_equal(runner_next_due_ms(&loop.runner), UINT64_MAX);
}

/* Random starts, restarts and stops against a sorted oracle. */
struct random_timer {
	struct runner_timer timer;
	uint64_t due_ms, started;
	bool armed;
};
static struct random_timer timers[TIMERS], *order[TIMERS];
static size_t order_count;

static void on_random(struct runner_timer *timer)
{
	struct random_timer *t = container_of(timer, struct random_timer, timer);

	assert_true(t->armed);
	assert_true(runner_now_ms(&loop.runner) == t->due_ms);
	t->armed = false;
	order[order_count++] = t;
}

static int by_due(const void *a, const void *b)
{
	const struct random_timer *x = *(struct random_timer *const *)a,
				  *y = *(struct random_timer *const *)b;

	if (x->due_ms != y->due_ms)
		return x->due_ms < y->due_ms ? -1 : 1;
	return x->started < y->started ? -1 : 1;
}

static void shuffle_timers(uint64_t seed)
{
	manual_loop_init(&loop, seed);
	memset(timers, 0, sizeof(timers));
	for (uint64_t i = 0; i < 4 * TIMERS; i++) {
		struct random_timer *t = &timers[runner_random_below(&loop.runner, TIMERS)];

		t->timer.run = on_random;
		t->armed = runner_random_below(&loop.runner, 3) > 0;
		t->started = i;
		t->due_ms = runner_random_below(&loop.runner, 500);
		if (t->armed)
			runner_timer_start(&loop.runner, &t->timer, t->due_ms);
		else
			runner_timer_stop(&loop.runner, &t->timer);
	}
}

static void many_random_timers_fire_as_if_sorted(void **state)
{
	static struct random_timer *expected[TIMERS];

	for (uint64_t seed = 1; seed <= 5; seed++) {
		size_t count = 0;

		order_count = 0;
		shuffle_timers(seed);
		for (size_t i = 0; i < TIMERS; i++)
			if (timers[i].armed)
				expected[count++] = &timers[i];
		qsort(expected, count, sizeof(expected[0]), by_due);
		while (manual_loop_step(&loop))
			;
		assert_true(count > TIMERS / 3);
		if (order_count != count || memcmp(order, expected, count * sizeof(order[0])) != 0)
			fail_msg("another order than sorted, seed %u", (unsigned)seed);
	}
}

/* The first outputs of the authors' xoshiro256** from the state 1, 2, 3, 4. */
static void random_numbers_match_the_published_generator(void **state)
{
	static const uint64_t expected[] = { 11520, 0, 1509978240, UINT64_C(1215971899390074240) };

	for (uint64_t i = 0; i < 4; i++)
		loop.runner.random_state[i] = i + 1;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_true(runner_random(&loop.runner) == expected[i]);
}

/* splitmix64 from 0, as published with it. */
static void the_seed_is_spread_over_the_state(void **state)
{
	manual_loop_init(&loop, 0);
	assert_true(loop.runner.random_state[0] == UINT64_C(0xe220a8397b1dcdaf));
	assert_true(loop.runner.random_state[1] == UINT64_C(0x6e789e6aa1b965f4));
	assert_true(loop.runner.random_state[2] == UINT64_C(0x06c45d188009454f));
}

static void random_below_reaches_every_value_and_no_other(void **state)
{
	unsigned seen[7] = { 0 };

	for (int i = 0; i < 7000; i++)
		seen[runner_random_below(&loop.runner, 7)]++;
	for (size_t i = 0; i < 7; i++)
		assert_in_range(seen[i], 800, 1200);
	assert_int_equal(runner_random_below(&loop.runner, 1), 0);
}

static void *ask_owner(void *data)
{
	*(bool *)data = runner_on_loop(&loop.runner);
	return NULL;
}

static void another_thread_is_not_on_the_loop(void **state)
{
	bool other = true;
	pthread_t thread;

	assert_true(runner_on_loop(&loop.runner));
	assert_int_equal(pthread_create(&thread, NULL, ask_owner, &other), 0);
	pthread_join(thread, NULL);
	assert_false(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(tasks_run_once_in_the_order_queued, setup),
		cmocka_unit_test_setup(a_task_queued_by_a_task_waits_for_the_next_turn, setup),
		cmocka_unit_test_setup(what_finds_no_time_in_a_turn_comes_first_in_the_next, setup),
		cmocka_unit_test_setup(a_task_can_be_removed_by_one_of_the_same_turn, setup),
		cmocka_unit_test_setup(a_zeroed_task_counts_as_not_queued, setup),
		cmocka_unit_test_setup(equal_times_fire_in_the_order_started, setup),
		cmocka_unit_test_setup(
			a_timer_that_restarts_itself_runs_once_a_turn_and_starves_none, setup),
		cmocka_unit_test_setup(a_due_timer_can_be_stopped_by_another, setup),
		cmocka_unit_test_setup(many_random_timers_fire_as_if_sorted, setup),
		cmocka_unit_test_setup(random_numbers_match_the_published_generator, setup),
		cmocka_unit_test_setup(the_seed_is_spread_over_the_state, setup),
		cmocka_unit_test_setup(random_below_reaches_every_value_and_no_other, setup),
		cmocka_unit_test_setup(another_thread_is_not_on_the_loop, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
