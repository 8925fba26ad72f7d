#include "tests/unit/test_util.h"

static struct manual_loop loop;
static char story[64];

static void tell(char c)
{
	size_t len = strlen(story);

	assert_true(len + 1 < sizeof(story));
	story[len] = c;
}

static int setup(void **state)
{
	manual_loop_init(&loop, 1);
	memset(story, 0, sizeof(story));
	return 0;
}

static int teardown(void **state)
{
	mem_fault_after(0, false);
	return 0;
}

static void run_job(struct runner_job *job)
{
	tell('r');
}

static struct runner_task task;

static void on_task(struct runner_task *t)
{
	tell('t');
}

static void on_done(struct runner_job *job)
{
	tell('d');
	task.run = on_task;
	runner_defer(&loop.runner, &task);
}

static void on_done_again(struct runner_job *job)
{
	tell('d');
	job->done = on_done;
	CHECK_STATUS(0, runner_submit(&loop.runner, job));
}

static void jobs_run_in_the_next_turn_before_tasks(void **state)
{
	struct runner_job job = { .run = run_job, .done = on_done };

	CHECK_STATUS(0, runner_submit(&loop.runner, &job));
	assert_string_equal(story, "");
	assert_int_equal(manual_loop_next_due_ms(&loop), 0);
	assert_int_equal(manual_loop_turn(&loop), 2);
	assert_string_equal(story, "rdt");
	assert_false(manual_loop_step(&loop));
	manual_loop_fini(&loop);
}

static void a_job_submitted_when_done_waits_for_the_next_turn(void **state)
{
	struct runner_job job = { .run = run_job, .done = on_done_again };

	CHECK_STATUS(0, runner_submit(&loop.runner, &job));
	manual_loop_turn(&loop);
	assert_string_equal(story, "rd");
	manual_loop_turn(&loop);
	assert_string_equal(story, "rdrdt");
}

static void a_submit_without_memory_fails_and_nothing_comes(void **state)
{
	struct runner_job job = { .run = run_job, .done = on_done };

	mem_fault_after(1, false);
	CHECK_STATUS(UV_ENOMEM, runner_submit(&loop.runner, &job));
	assert_false(manual_loop_step(&loop));
	assert_string_equal(story, "");
}

static void on_timer(struct runner_timer *timer)
{
	tell('!');
}

static void on_tick(struct runner_timer *timer)
{
	tell('.');
	runner_timer_start(&loop.runner, timer, runner_now_ms(&loop.runner) + 10);
}

static void stepping_advances_to_the_next_timer(void **state)
{
	struct runner_timer a = { .run = on_timer }, b = { .run = on_timer };

	runner_timer_start(&loop.runner, &a, 1000);
	runner_timer_start(&loop.runner, &b, 86400000);
	assert_true(manual_loop_step(&loop));
	assert_int_equal(runner_now_ms(&loop.runner), 1000);
	assert_true(manual_loop_step(&loop));
	assert_int_equal(runner_now_ms(&loop.runner), 86400000);
	assert_false(manual_loop_step(&loop));
	assert_string_equal(story, "!!");
}

static void running_stops_at_the_given_time(void **state)
{
	struct runner_timer t = { .run = on_tick };

	runner_timer_start(&loop.runner, &t, 10);
	manual_loop_run(&loop, 35);
	assert_string_equal(story, "...");
	assert_int_equal(runner_now_ms(&loop.runner), 35);
	manual_loop_run(&loop, 40);
	assert_string_equal(story, "....");
	manual_loop_run(&loop, 5);
	assert_int_equal(runner_now_ms(&loop.runner), 40);
	runner_timer_stop(&loop.runner, &t);
}

static bool told_three(void *data)
{
	return strlen(data) >= 3;
}

static void run_until_gives_up_at_its_limit(void **state)
{
	struct runner_timer t = { .run = on_tick };

	runner_timer_start(&loop.runner, &t, 10);
	assert_false(run_until(&loop, told_three, story, 25));
	assert_true(run_until(&loop, told_three, story, 1000));
	assert_int_equal(runner_now_ms(&loop.runner), 30);
	runner_timer_stop(&loop.runner, &t);
}

static void leave_a_job(void *data)
{
	struct runner_job job = { .run = run_job, .done = on_done };

	if (runner_submit(&loop.runner, &job) == 0)
		manual_loop_fini(&loop);
}

static void a_job_left_behind_is_noticed(void **state)
{
	check_aborts(leave_a_job, NULL, "REQUIRE(list_empty(&l->jobs)) failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(jobs_run_in_the_next_turn_before_tasks, setup),
		cmocka_unit_test_setup(a_job_submitted_when_done_waits_for_the_next_turn, setup),
		cmocka_unit_test_setup_teardown(a_submit_without_memory_fails_and_nothing_comes,
						setup, teardown),
		cmocka_unit_test_setup(stepping_advances_to_the_next_timer, setup),
		cmocka_unit_test_setup(running_stops_at_the_given_time, setup),
		cmocka_unit_test_setup(run_until_gives_up_at_its_limit, setup),
		cmocka_unit_test_setup(a_job_left_behind_is_noticed, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
