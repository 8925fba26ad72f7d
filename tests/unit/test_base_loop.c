#include "tests/unit/test_util.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/op.h"

static struct loop loop;
static char story[64];

static void tell(char c)
{
	size_t len = strlen(story);

	assert_true(len + 1 < sizeof(story));
	story[len] = c;
}

static int setup(void **state)
{
	memset(story, 0, sizeof(story));
	return base_init() < 0 || loop_init(&loop) < 0;
}

static int teardown(void **state)
{
	mem_fault_after(0, false);
	loop_fini(&loop);
	return 0;
}

struct item {
	struct runner_task task;
	struct runner_timer timer;
	struct runner_job job;
	pthread_t ran_on;
	int left;
};

static void on_task(struct runner_task *task)
{
	struct item *item = container_of(task, struct item, task);

	tell('t');
	if (--item->left > 0)
		runner_defer(&loop.runner, task);
}

static void on_timer(struct runner_timer *timer)
{
	struct item *item = container_of(timer, struct item, timer);

	assert_true(runner_now_ms(&loop.runner) >= timer->due_ms);
	tell('!');
	if (--item->left > 0)
		runner_timer_start(&loop.runner, timer, runner_now_ms(&loop.runner) + 2);
}

static void run_job(struct runner_job *job)
{
	container_of(job, struct item, job)->ran_on = pthread_self();
}

static void on_done(struct runner_job *job)
{
	struct item *item = container_of(job, struct item, job);

	assert_true(runner_on_loop(&loop.runner));
	tell('d');
	runner_defer(&loop.runner, &item->task);
}

static struct item item(void)
{
	return (struct item){ .task.run = on_task,
			      .timer.run = on_timer,
			      .job.run = run_job,
			      .job.done = on_done,
			      .left = 1 };
}

static void a_loop_without_work_ends_at_once(void **state)
{
	assert_int_equal(loop_run(&loop), 0);
}

static void queued_tasks_keep_it_running_and_then_it_ends(void **state)
{
	struct item i = item();

	i.left = 3;
	runner_defer(&loop.runner, &i.task);
	assert_int_equal(loop_run(&loop), 0);
	assert_string_equal(story, "ttt");
	i.left = 1;
	runner_defer(&loop.runner, &i.task);
	assert_int_equal(loop_run(&loop), 0);
	assert_string_equal(story, "tttt");
}

static void timers_fire_when_due_and_not_before(void **state)
{
	struct item a = item(), b = item();

	a.left = 3;
	runner_timer_start(&loop.runner, &b.timer, runner_now_ms(&loop.runner) + 20);
	runner_timer_start(&loop.runner, &a.timer, runner_now_ms(&loop.runner) + 5);
	assert_int_equal(loop_run(&loop), 0);
	assert_string_equal(story, "!!!!");
}

static void on_stop_timer(struct runner_timer *timer)
{
	tell('s');
	loop_stop(&loop);
}

static void loop_stop_leaves_the_rest_for_later(void **state)
{
	struct runner_timer stop = { .run = on_stop_timer };
	struct item i = item();

	runner_timer_start(&loop.runner, &stop, runner_now_ms(&loop.runner));
	runner_timer_start(&loop.runner, &i.timer, runner_now_ms(&loop.runner) + 1000000);
	assert_int_equal(loop_run(&loop), 1);
	assert_string_equal(story, "s");
	runner_timer_stop(&loop.runner, &i.timer);
	assert_int_equal(loop_run(&loop), 0);
}

static struct item far_away;

static void on_uv_timer(uv_timer_t *timer)
{
	runner_timer_stop(&loop.runner, &far_away.timer);
	uv_close((uv_handle_t *)timer, NULL);
}

/* The stop comes from outside a turn, as from an I/O callback. */
static void stopping_the_last_timer_lets_the_loop_end(void **state)
{
	uv_timer_t timer;

	far_away = item();
	runner_timer_start(&loop.runner, &far_away.timer, runner_now_ms(&loop.runner) + 100000000);
	uv_timer_init(&loop.uv, &timer);
	uv_timer_start(&timer, on_uv_timer, 1, 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_string_equal(story, "");
}

static void jobs_run_elsewhere_and_are_done_here(void **state)
{
	struct item i = item();

	CHECK_STATUS(0, runner_submit(&loop.runner, &i.job));
	assert_int_equal(loop_run(&loop), 0);
	assert_string_equal(story, "dt");
	assert_false(pthread_equal(i.ran_on, pthread_self()));
}

static void a_submit_without_memory_fails_and_nothing_comes(void **state)
{
	struct item i = item();

	mem_fault_after(1, false);
	CHECK_STATUS(UV_ENOMEM, runner_submit(&loop.runner, &i.job));
	mem_fault_after(0, false);
	assert_int_equal(loop_run(&loop), 0);
	assert_string_equal(story, "");
}

static void run_slow_job(struct runner_job *job)
{
	uv_sleep(20);
	run_job(job);
}

static void fini_waits_for_jobs_and_the_tasks_they_queue(void **state)
{
	struct item i = item();

	assert_false(setup(NULL));
	i.job.run = run_slow_job;
	CHECK_STATUS(0, runner_submit(&loop.runner, &i.job));
	loop_fini(&loop);
	assert_string_equal(story, "dt");
}

static void on_closed(uv_handle_t *handle)
{
	runner_defer(&loop.runner, handle->data);
}

static void fini_waits_for_closing_handles_and_the_tasks_they_queue(void **state)
{
	struct item i = item();
	uv_timer_t timer;

	assert_false(setup(NULL));
	uv_timer_init(&loop.uv, &timer);
	timer.data = &i.task;
	uv_close((uv_handle_t *)&timer, on_closed);
	loop_fini(&loop);
	assert_string_equal(story, "t");
}

static void on_timer_again(struct runner_timer *timer)
{
	struct item *item = container_of(timer, struct item, timer);

	if (--item->left > 0)
		runner_timer_start(&loop.runner, timer, 0);
}

static void a_timer_started_again_for_the_same_instant_fires_again(void **state)
{
	struct item i = item();

	i.timer.run = on_timer_again;
	i.left = 50;
	runner_timer_start(&loop.runner, &i.timer, 0);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(i.left, 0);
}

static void leak_handle(void *data)
{
	static uv_tcp_t tcp;

	if (loop_init(&loop) < 0 || uv_tcp_init(&loop.uv, &tcp) < 0)
		_exit(1);
	loop_fini(&loop);
}

static void leak_operation(void *data)
{
	static const struct op_state only[] = { { "stuck", 0 } };
	static const struct op_kind kind = { "test.leaked", only, 1, NULL };
	struct op_env env = { .runner = &loop.runner, .deadline_ms = UINT64_MAX };
	static struct op op;

	if (loop_init(&loop) < 0)
		_exit(1);
	op_init(&op, &kind, &env, 1000);
	runner_undefer(&op.task);
	loop_fini(&loop);
}

static void on_slow_task(struct runner_task *task)
{
	uint64_t until = uv_hrtime() + 20000000;

	while (uv_hrtime() < until)
		continue;
}

static void a_turn_that_keeps_others_waiting_is_lag_and_waiting_is_not(void **state)
{
	struct item waiting = item();
	struct runner_task slow = { .run = on_slow_task };
	struct loop_lag lag;
	uint64_t within[3], before = uv_hrtime();

	waiting.left = 1;
	runner_timer_start(&loop.runner, &waiting.timer, runner_now_ms(&loop.runner) + 30);
	runner_defer(&loop.runner, &slow);
	loop_run(&loop);
	loop_lag(&loop, &lag);
	assert_true(lag.max_us >= 20000);
	assert_true(lag.over_10ms >= 1);
	assert_true(lag.p99_us >= 20000 && lag.p50_us <= lag.p99_us && lag.p99_us <= lag.max_us);
	assert_true(lag.busy_us < (uv_hrtime() - before) / 1000);
	assert_true(lag.cpu_p99_us <= lag.cpu_max_us);
	loop_lag_within(&loop, (const uint64_t[]){ 4, 16384, UINT64_C(1) << 40 }, 3, within);
	assert_true(within[0] <= within[1] && within[1] < lag.turns);
	assert_int_equal(within[2], lag.turns);
	loop_lag_reset(&loop);
	loop_lag(&loop, &lag);
	assert_int_equal(lag.turns, 0);
	assert_int_equal(lag.p99_us, 0);
}

static void on_sleeping_task(struct runner_task *task)
{
	usleep(20000);
}

/* As another process that has the processor would. */
static void a_turn_that_does_not_work_is_lag_but_no_cpu_time(void **state)
{
	struct runner_task sleeping = { .run = on_sleeping_task };
	struct loop_lag lag;

	runner_defer(&loop.runner, &sleeping);
	loop_run(&loop);
	loop_lag(&loop, &lag);
	assert_true(lag.max_us >= 20000);
	assert_true(lag.cpu_max_us < 20000);
}

static uint64_t cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void what_came_before_the_loop_is_not_lag(void **state)
{
	struct item one = item();
	uint64_t until_us = cpu_us() + 50000;
	struct loop_lag lag;

	while (cpu_us() < until_us)
		continue;
	one.left = 1;
	runner_defer(&loop.runner, &one.task);
	loop_run(&loop);
	loop_lag(&loop, &lag);
	assert_true(lag.turns > 0 && lag.cpu_max_us < 50000);
}

static void leaks_are_named(void **state)
{
	check_aborts(leak_handle, NULL, "handle left open: tcp");
	check_aborts(leak_operation, NULL, "operation test.leaked in state stuck");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_loop_without_work_ends_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(queued_tasks_keep_it_running_and_then_it_ends,
						setup, teardown),
		cmocka_unit_test_setup_teardown(timers_fire_when_due_and_not_before, setup,
						teardown),
		cmocka_unit_test_setup_teardown(loop_stop_leaves_the_rest_for_later, setup,
						teardown),
		cmocka_unit_test_setup_teardown(stopping_the_last_timer_lets_the_loop_end, setup,
						teardown),
		cmocka_unit_test_setup_teardown(jobs_run_elsewhere_and_are_done_here, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_submit_without_memory_fails_and_nothing_comes,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_timer_started_again_for_the_same_instant_fires_again, setup, teardown),
		cmocka_unit_test(fini_waits_for_jobs_and_the_tasks_they_queue),
		cmocka_unit_test(fini_waits_for_closing_handles_and_the_tasks_they_queue),
		cmocka_unit_test_setup_teardown(
			a_turn_that_keeps_others_waiting_is_lag_and_waiting_is_not, setup,
			teardown),
		cmocka_unit_test_setup_teardown(a_turn_that_does_not_work_is_lag_but_no_cpu_time,
						setup, teardown),
		cmocka_unit_test_setup_teardown(what_came_before_the_loop_is_not_lag, setup,
						teardown),
		cmocka_unit_test(leaks_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
