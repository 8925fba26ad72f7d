#include "tests/unit/test_util.h"

#include "base/op.h"

/* A sample operation: waits 10 ms, then has a job double a number.
 *
 *	IDLE -> WAITING (timer) -> WORKING (job) -> CLOSING (a handle that closes later) -> DONE
 */
enum { IDLE, WAITING, WORKING, CLOSING, DONE };

static const struct op_state states[] = {
	[IDLE] = { "idle", TO(WAITING) | TO(CLOSING) },
	[WAITING] = { "waiting", TO(WORKING) | TO(CLOSING) },
	[WORKING] = { "working", TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};

struct sample {
	struct op op;
	void (*cb)(struct sample *s, int status);
	struct runner_timer timer;
	struct runner_task closed;
	struct runner_job job;
	bool open;
	int *number; /* owned */
	int result;
	bool cancel_on_work;
};

static struct manual_loop loop;
static unsigned called, ticks;
static int last_status;

static void sample_tick(struct op *op);
static const struct op_kind kind = { "test.sample", states, ARRAY_SIZE(states), sample_tick };

static void on_timer(struct runner_timer *timer)
{
	struct sample *s = container_of(timer, struct sample, timer);

	s->open = false;
	op_release(&s->op);
	op_tick(&s->op);
}

static void on_closed(struct runner_task *task)
{
	struct sample *s = container_of(task, struct sample, closed);

	op_release(&s->op);
	op_tick(&s->op);
}

static void run_job(struct runner_job *job)
{
	struct sample *s = container_of(job, struct sample, job);

	*s->number *= 2;
}

static void on_job(struct runner_job *job)
{
	struct sample *s = container_of(job, struct sample, job);

	s->result = *s->number;
	op_release(&s->op);
	op_result(&s->op, 0);
	op_tick(&s->op);
}

static enum op_step do_idle(struct sample *s)
{
	struct runner *r = s->op.env.runner;

	if (!op_stopping(&s->op))
		s->number = mem_alloc(sizeof(*s->number));
	if (s->number == NULL) {
		op_result(&s->op, UV_ENOMEM);
		op_move(&s->op, CLOSING);
		return OP_NEXT;
	}
	*s->number = 21;
	s->timer.run = on_timer;
	s->open = true;
	op_hold(&s->op);
	runner_timer_start(r, &s->timer, runner_now_ms(r) + 10);
	op_move(&s->op, WAITING);
	return OP_WAIT;
}

static enum op_step do_waiting(struct sample *s)
{
	int rc;

	if (op_stopping(&s->op)) {
		op_move(&s->op, CLOSING);
		return OP_NEXT;
	}
	if (s->open)
		return OP_WAIT;
	s->job.run = run_job;
	s->job.done = on_job;
	rc = runner_submit(s->op.env.runner, &s->job);
	if (rc < 0) {
		op_result(&s->op, rc);
		op_move(&s->op, CLOSING);
		return OP_NEXT;
	}
	op_hold(&s->op);
	if (s->cancel_on_work)
		op_cancel(&s->op);
	op_move(&s->op, WORKING);
	return OP_WAIT;
}

static enum op_step do_working(struct sample *s)
{
	if (s->op.pending > 0)
		return OP_WAIT;
	op_move(&s->op, CLOSING);
	return OP_NEXT;
}

/* The timer stands for a handle: its end is reported later, from the loop. */
static enum op_step do_closing(struct sample *s)
{
	if (s->open) {
		s->open = false;
		runner_timer_stop(s->op.env.runner, &s->timer);
		s->closed.run = on_closed;
		runner_defer(s->op.env.runner, &s->closed);
	}
	if (s->op.pending > 0)
		return OP_WAIT;
	s->number = mem_free(s->number);
	op_move(&s->op, DONE);
	return OP_NEXT;
}

static void sample_tick(struct op *op)
{
	struct sample *s = container_of(op, struct sample, op);

	ticks++;
	assert_ptr_equal(op_label()->task, kind.name);
	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case IDLE: step = do_idle(s); break;
		case WAITING: step = do_waiting(s); break;
		case WORKING: step = do_working(s); break;
		case CLOSING: step = do_closing(s); break;
		default:
			if (op_finish(op))
				s->cb(s, op_status(op));
			return;
		}
	}
}

static void sample_start(struct sample *s, const struct op_env *env, uint64_t timeout_ms,
			 void (*cb)(struct sample *s, int status))
{
	memset(s, 0xa5, sizeof(*s));
	op_init(&s->op, &kind, env, timeout_ms);
	s->cb = cb;
	s->timer = (struct runner_timer){ 0 };
	s->closed = (struct runner_task){ 0 };
	s->number = NULL;
	s->open = s->cancel_on_work = false;
	s->result = 0;
}

static struct op_env env(void)
{
	return (struct op_env){ .runner = &loop.runner, .deadline_ms = UINT64_MAX };
}

static void on_sample(struct sample *s, int status)
{
	called++;
	last_status = status;
	op_cancel(&s->op); /* nothing happens: it is over */
}

static void start(struct sample *s, uint64_t timeout_ms)
{
	struct op_env e = env();

	sample_start(s, &e, timeout_ms, on_sample);
}

static int setup(void **state)
{
	mem_fault_after(0, false);
	manual_loop_init(&loop, 1);
	called = ticks = 0;
	last_status = 1;
	return 0;
}

static int teardown(void **state)
{
	mem_fault_after(0, false);
	return 0;
}

/* Runs to the end: exactly one callback with this status, and nothing left. */
static void check_ends_with(int status)
{
	while (manual_loop_step(&loop))
		;
	assert_int_equal(called, 1);
	CHECK_STATUS(status, last_status);
	assert_int_equal(loop.runner.op_count, 0);
	assert_null(op_label()->task);
	manual_loop_fini(&loop);
}

static void an_operation_succeeds_from_the_loop(void **state)
{
	struct sample s;

	start(&s, 1000);
	assert_int_equal(ticks, 0);
	assert_int_equal(loop.runner.op_count, 1);
	check_ends_with(0);
	assert_int_equal(s.result, 42);
	assert_int_equal(runner_now_ms(&loop.runner), 10);
}

static void cancelling_before_the_first_tick_ends_in_one_callback(void **state)
{
	struct sample s;

	start(&s, 1000);
	op_cancel(&s.op);
	op_cancel(&s.op);
	assert_int_equal(ticks, 0);
	assert_int_equal(called, 0);
	check_ends_with(UV_ECANCELED);
	assert_int_equal(runner_now_ms(&loop.runner), 0);
}

static void cancelling_inside_a_tick_is_recorded_and_the_result_of_the_job_too_late(void **state)
{
	struct sample s;

	start(&s, 1000);
	s.cancel_on_work = true;
	check_ends_with(UV_ECANCELED);
	assert_int_equal(s.result, 42);
}

static void the_deadline_ends_it_with_etimedout(void **state)
{
	struct sample s;

	start(&s, 5);
	assert_int_equal(op_left_ms(&s.op), 5);
	check_ends_with(UV_ETIMEDOUT);
	assert_int_equal(runner_now_ms(&loop.runner), 5);
	assert_int_equal(op_left_ms(&s.op), 0);
}

static void the_deadline_is_the_earlier_of_both_and_saturates(void **state)
{
	struct op_env e = env();
	struct sample s;

	clock_manual_advance(&loop.clock, 100 * NS_PER_MS);
	e.deadline_ms = 103;
	sample_start(&s, &e, 1000, on_sample);
	assert_int_equal(s.op.env.deadline_ms, 103);
	check_ends_with(UV_ETIMEDOUT);
	called = 0;
	start(&s, UINT64_MAX - 50);
	assert_true(s.op.env.deadline_ms == UINT64_MAX);
	assert_true(op_left_ms(&s.op) == UINT64_MAX);
	check_ends_with(0);
}

static void a_deadline_in_the_past_is_known_to_the_first_tick(void **state)
{
	struct op_env e = env();
	struct sample s;

	clock_manual_advance(&loop.clock, 100 * NS_PER_MS);
	e.deadline_ms = 99;
	sample_start(&s, &e, 1000, on_sample);
	check_ends_with(UV_ETIMEDOUT);
	assert_int_equal(ticks, 1);
}

static void the_first_result_wins(void **state)
{
	struct sample s;

	start(&s, 1000);
	op_result(&s.op, ERR_VERIFY);
	op_result(&s.op, 0);
	op_cancel(&s.op);
	assert_true(op_has_result(&s.op));
	check_ends_with(ERR_VERIFY);
	called = 0;
	start(&s, 1000);
	assert_false(op_has_result(&s.op));
	op_result(&s.op, 0);
	op_stop(&s.op, UV_ETIMEDOUT);
	check_ends_with(0);
}

static void restart(struct sample *s, int status)
{
	struct op_env e = s->op.env; /* also: env inside what is started again */

	called++;
	last_status = status;
	e.deadline_ms = UINT64_MAX;
	s->op.env = e;
	sample_start(s, &e, 1000, on_sample);
}

static void the_callback_may_restart_it(void **state)
{
	struct op_env e = env();
	struct sample s;

	sample_start(&s, &e, 1000, restart);
	op_cancel(&s.op);
	manual_loop_turn(&loop);
	CHECK_STATUS(UV_ECANCELED, last_status);
	assert_int_equal(loop.runner.op_count, 1);
	called = 0;
	check_ends_with(0);
	assert_int_equal(s.result, 42);
}

static void free_it(struct sample *s, int status)
{
	called++;
	last_status = status;
	memset(s, 0xdd, sizeof(*s));
	mem_free(s);
}

static void the_callback_may_free_it(void **state)
{
	for (int cancel = 0; cancel < 2; cancel++) {
		struct sample *s = mem_alloc(sizeof(*s));
		struct op_env e = env();

		called = 0;
		sample_start(s, &e, 1000, free_it);
		manual_loop_turn(&loop);
		op_defer(&s->op);
		if (cancel)
			op_cancel(&s->op);
		check_ends_with(cancel ? UV_ECANCELED : 0);
	}
}

/* Ends when the operation was over before the n-th step. */
static void cancelling_at_any_step_ends_in_one_callback(void **state)
{
	struct mem_stats before, after;
	bool over = false;
	unsigned n;

	mem_stats(&before);
	for (n = 0; !over; n++) {
		struct sample s;

		setup(NULL);
		start(&s, 1000);
		for (unsigned i = 0; i < n; i++)
			manual_loop_step(&loop);
		over = called == 1;
		op_cancel(&s.op);
		check_ends_with(over ? 0 : UV_ECANCELED);
	}
	mem_stats(&after);
	assert_true(n > 3);
	assert_int_equal(after.live_count, before.live_count);
}

static void a_deadline_at_any_time_ends_in_one_callback(void **state)
{
	for (uint64_t timeout_ms = 0; timeout_ms < 20; timeout_ms++) {
		struct sample s;

		setup(NULL);
		start(&s, timeout_ms);
		/* at 10 the timer of the deadline, started first, comes first */
		check_ends_with(timeout_ms <= 10 ? UV_ETIMEDOUT : 0);
	}
}

static void an_operation_survives_oom_at_every_allocation(void **state)
{
	FAULT_SWEEP({
		struct sample s;

		manual_loop_init(&loop, 1);
		called = 0;
		start(&s, 1000);
		while (manual_loop_step(&loop))
			;
		assert_int_equal(called, 1);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, last_status);
	});
}

struct witness {
	struct runner_observer observer;
	char path[32];
};

static void on_move(struct runner_observer *o, const struct op *op, unsigned from, unsigned to)
{
	struct witness *w = container_of(o, struct witness, observer);
	size_t len = strlen(w->path);

	assert_int_equal(op->state, to);
	assert_string_equal(op_state_name(op, from), states[from].name);
	w->path[len] = (char)('0' + from);
	w->path[len + 1] = (char)('0' + to);
}

static void every_move_is_reported_after_it_was_made(void **state)
{
	struct witness w = { .observer.on_move = on_move };
	struct sample s;

	loop.runner.observer = &w.observer;
	start(&s, 1000);
	check_ends_with(0);
	assert_string_equal(w.path, "01122334");
}

static void finish_tick(struct op *op)
{
	ticks++;
	if (op_finish(op))
		called++;
}

static void it_does_not_finish_while_something_is_pending(void **state)
{
	static const struct op_state only[] = { { "only", 0 } };
	static const struct op_kind pending = { "test.pending", only, 1, finish_tick };
	struct op_env e = env();
	struct op op;

	op_init(&op, &pending, &e, 1000);
	op_hold(&op);
	manual_loop_turn(&loop);
	op_cancel(&op);
	manual_loop_turn(&loop);
	assert_int_equal(ticks, 2);
	op_cancel(&op); /* nothing new: not even a tick */
	assert_int_equal(manual_loop_turn(&loop), 0);
	assert_int_equal(called, 0);
	op_release(&op);
	op_tick(&op);
	assert_int_equal(called, 1);
	manual_loop_fini(&loop);
}

static void nested_tick(struct op *op)
{
	struct sample s;
	struct op_env e = op->env;

	sample_start(&s, &e, 1000, on_sample);
	op_tick(&s.op);
	assert_string_equal(op_label()->task, "test.nested");
	assert_int_equal(op_label()->span.slot, 7);
	op_cancel(&s.op);
	op_tick(&s.op);
	manual_loop_turn(&loop);
	assert_int_equal(called, 1);
	if (op_finish(op))
		called++;
}

static void the_label_is_restored_after_a_nested_tick(void **state)
{
	static const struct op_state only[] = { { "only", 0 } };
	static const struct op_kind nested = { "test.nested", only, 1, nested_tick };
	struct op_env e = env();
	struct op op;

	e.span.slot = 3;
	op_init(&op, &nested, &e, 1000);
	assert_false(op_owns_span(&op));
	op_own_span(&op, (struct span){ .slot = 7 });
	assert_true(op_owns_span(&op));
	manual_loop_turn(&loop);
	assert_int_equal(called, 2);
	assert_null(op_label()->task);
	manual_loop_fini(&loop);
}

enum { FUNCTION_MAX = 256 };

static struct op_env child_env;
static struct op child;

static void never_tick(struct op *op)
{
	if (op_finish(op))
		called++;
}

static const struct op_state one_state[] = { { "only", 0 } };
static const struct op_kind never = { "test.never", one_state, 1, never_tick };

__attribute__((noinline)) static void child_start(struct op *op, const struct op_env *e)
{
	op_init(op, &never, e, 1000);
	__asm__ volatile("");
}

__attribute__((noinline)) static void spawning_tick(struct op *op)
{
	child_start(&child, &child_env);
	if (op_finish(op))
		called++;
}

static void an_operation_knows_where_and_by_whom_it_was_started(void **state)
{
	static const struct op_kind spawning = { "test.spawning", one_state, 1, spawning_tick };
	struct op op;

	child_env = env();
	op_init(&op, &spawning, &child_env, 1000);
	assert_int_equal(op.parent_id, 0);
	manual_loop_turn(&loop);
	assert_int_equal(child.parent_id, op.id);
	assert_true(child.id > op.id);
	assert_true(child.created_by[0] - (uintptr_t)child_start < FUNCTION_MAX);
	assert_true(child.created_by[1] - (uintptr_t)spawning_tick < FUNCTION_MAX);
	manual_loop_turn(&loop);
	assert_int_equal(called, 2);
	manual_loop_fini(&loop);
}

/* As a callback out of a library that uses the frame pointer for something else. */
static void a_broken_chain_of_frames_is_not_followed(void **state)
{
	uintptr_t *frame = __builtin_frame_address(0), saved = frame[0];
	const uintptr_t links[] = { 0, 8, saved + 1, UINTPTR_MAX - 7, loop.runner.stack_top + 64 };
	struct op_env e = env();

	loop.runner.stack_top = (uintptr_t)frame + 4096;
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		frame[0] = links[i];
		child_start(&child, &e);
		frame[0] = saved;
		assert_true(child.created_by[1] != 0);
		assert_int_equal(child.created_by[3], 0);
		assert_true(op_finish(&child));
	}
	manual_loop_fini(&loop);
}

static void a_walk_goes_on_when_what_it_would_come_to_next_ends(void **state)
{
	struct sample a, b, c, d;
	struct op_walk w;

	start(&a, 1000);
	start(&b, 1000);
	start(&c, 1000);
	op_walk_begin(&w, &loop.runner);
	assert_ptr_equal(op_walk_next(&w), &a.op);
	op_cancel(&b.op);
	while (called == 0)
		manual_loop_step(&loop);
	memset(&b, 0xaa, sizeof(b));
	start(&d, 1000);
	assert_ptr_equal(op_walk_next(&w), &c.op);
	assert_ptr_equal(op_walk_next(&w), &d.op);
	assert_null(op_walk_next(&w));
	op_walk_end(&w);
	op_walk_end(&w);
	assert_true(list_empty(&loop.runner.walks));
	called = -2u;
	check_ends_with(0);
}

static void cancelling_what_was_never_started_does_nothing(void **state)
{
	struct op op = { 0 };

	op_cancel(&op);
	assert_false(op_stopping(&op));
}

static void move_wrongly(void *data)
{
	struct sample s;

	start(&s, 1000);
	op_move(&s.op, DONE);
}

static void defer_when_finished(void *data)
{
	struct sample s;

	start(&s, 1000);
	while (manual_loop_step(&loop))
		;
	op_defer(&s.op);
}

static void finish_too_early(void *data)
{
	struct sample s;

	start(&s, 1000);
	op_finish(&s.op);
}

static void leave_it(void *data)
{
	struct sample s;

	start(&s, 1000);
	manual_loop_turn(&loop);
	manual_loop_fini(&loop);
}

static void misuse_aborts(void **state)
{
	check_aborts(move_wrongly, NULL, "in op_move");
	check_aborts(defer_when_finished, NULL, "in op_defer");
	check_aborts(finish_too_early, NULL, "in op_finish");
	check_aborts(leave_it, NULL, "operation test.sample in state waiting");
}

static void progress_earns_time_and_never_costs_any(void **state)
{
	struct sample s;

	start(&s, 5);
	op_prolong(&s.op, 3); /* earlier than it has: stays */
	assert_int_equal(op_left_ms(&s.op), 5);
	op_prolong(&s.op, 50);
	assert_int_equal(op_left_ms(&s.op), 50);
	check_ends_with(0);
	called = 0;
	start(&s, 5);
	s.op.limit_ms = runner_now_ms(&loop.runner) + 7; /* the starter's deadline is kept */
	op_prolong(&s.op, 50);
	assert_int_equal(op_left_ms(&s.op), 7);
	check_ends_with(UV_ETIMEDOUT);
	called = 0;
	start(&s, 5);
	op_cancel(&s.op);
	op_prolong(&s.op, 50);
	check_ends_with(UV_ECANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_operation_succeeds_from_the_loop, setup),
		cmocka_unit_test_setup(cancelling_before_the_first_tick_ends_in_one_callback,
				       setup),
		cmocka_unit_test_setup(
			cancelling_inside_a_tick_is_recorded_and_the_result_of_the_job_too_late,
			setup),
		cmocka_unit_test_setup(the_deadline_ends_it_with_etimedout, setup),
		cmocka_unit_test_setup(the_deadline_is_the_earlier_of_both_and_saturates, setup),
		cmocka_unit_test_setup(a_deadline_in_the_past_is_known_to_the_first_tick, setup),
		cmocka_unit_test_setup(progress_earns_time_and_never_costs_any, setup),
		cmocka_unit_test_setup(the_first_result_wins, setup),
		cmocka_unit_test_setup(the_callback_may_restart_it, setup),
		cmocka_unit_test_setup(the_callback_may_free_it, setup),
		cmocka_unit_test_setup(cancelling_at_any_step_ends_in_one_callback, setup),
		cmocka_unit_test_setup(a_deadline_at_any_time_ends_in_one_callback, setup),
		cmocka_unit_test_setup_teardown(an_operation_survives_oom_at_every_allocation,
						setup, teardown),
		cmocka_unit_test_setup(every_move_is_reported_after_it_was_made, setup),
		cmocka_unit_test_setup(it_does_not_finish_while_something_is_pending, setup),
		cmocka_unit_test_setup(the_label_is_restored_after_a_nested_tick, setup),
		cmocka_unit_test_setup(an_operation_knows_where_and_by_whom_it_was_started, setup),
		cmocka_unit_test_setup(a_broken_chain_of_frames_is_not_followed, setup),
		cmocka_unit_test_setup(a_walk_goes_on_when_what_it_would_come_to_next_ends, setup),
		cmocka_unit_test_setup(cancelling_what_was_never_started_does_nothing, setup),
		cmocka_unit_test_setup(misuse_aborts, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
