/* An operation's states are the stages of its span. */
#include "base/op.h"
#include "test_trace.h"

enum { IDLE, WAITING, CLOSING, DONE };

static const struct op_state states[] = {
	[IDLE] = { "idle", TO(WAITING) | TO(CLOSING) },
	[WAITING] = { "waiting", TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};

struct job {
	struct op op;
	struct runner_timer timer;
	bool done;
};

static void job_tick(struct op *op);
static const struct op_kind kind = { "test.job", states, ARRAY_SIZE(states), job_tick };

static void on_timer(struct runner_timer *timer)
{
	struct job *j = container_of(timer, struct job, timer);

	op_release(&j->op);
	op_tick(&j->op);
}

static void job_tick(struct op *op)
{
	struct job *j = container_of(op, struct job, op);

	switch (op->state) {
	case IDLE:
		op_move(op, WAITING);
		op_hold(op);
		runner_timer_start(op->env.runner, &j->timer, runner_now_ms(op->env.runner) + 250);
		return;
	case WAITING:
		if (op->pending > 0)
			return;
		op_result(op, 0);
		op_move(op, CLOSING);
		op_move(op, DONE);
		break;
	default: break;
	}
	if (op_finish(op)) {
		trace_finish(op->env.span, op_status(op), NULL);
		j->done = true;
	}
}

static bool job_done(void *data)
{
	return ((struct job *)data)->done;
}

static void run(struct trace *t, struct manual_loop *loop, struct span span, bool owns)
{
	struct job j = { .timer = { .run = on_timer } };

	trace_observe(t, &loop->runner);
	op_init(&j.op, &kind, &(struct op_env){ &loop->runner, UINT64_MAX, span }, 10000);
	if (owns)
		op_own_span(&j.op, span);
	op_defer(&j.op);
	assert_true(run_until(loop, job_done, &j, 60000));
}

static void moves_of_an_operation_are_stages_of_its_span(void **state)
{
	struct manual_loop loop;
	struct trace_stage_view stage;
	struct seen seen = { 0 };

	manual_loop_init(&loop, 1);
	struct fixture f = { .t = trace_new(NULL, &loop.clock.clock) };
	run(f.t, &loop, root_span(&f, "test.job", "j"), true);
	see(&f, &(struct trace_query){ 0 }, &seen);
	assert_int_equal(seen.span[0].stage_count, 1);
	assert_true(trace_stage_at(f.t, &seen.span[0], 0, &stage));
	assert_string_equal(stage.name, "waiting");
	assert_int_equal(stage.duration_ns, 250 * NS_PER_MS);
	assert_int_equal(seen.span[0].duration_ns, 250 * NS_PER_MS);
	trace_free(f.t);
	manual_loop_fini(&loop);
}

static void an_operation_without_a_span_of_its_own_leaves_its_parents_alone(void **state)
{
	struct manual_loop loop;
	struct seen seen = { 0 };

	manual_loop_init(&loop, 1);
	struct fixture f = { .t = trace_new(NULL, &loop.clock.clock) };
	run(f.t, &loop, root_span(&f, "parent", "p"), false);
	see(&f, &(struct trace_query){ 0 }, &seen);
	assert_int_equal(seen.span[0].stage_count, 0);
	trace_free(f.t);
	manual_loop_fini(&loop);
}

/* Two operations of one span are deferred at once; the loop comes to them 3 ms later. */
static void waiting_for_a_turn_of_the_loop_is_queued_time(void **state)
{
	struct manual_loop loop;
	struct job a = { .timer = { .run = on_timer } }, b = a;

	manual_loop_init(&loop, 1);
	struct fixture f = { .t = trace_new(NULL, &loop.clock.clock) };
	clock_manual_advance(&loop.clock, NS_PER_MS);
	struct span span = root_span(&f, "test.job", "j"), end = child_span(span, "end", "");
	struct op_env env = { &loop.runner, UINT64_MAX, span };
	trace_observe(f.t, &loop.runner);
	op_init(&a.op, &kind, &env, 10000);
	op_init(&b.op, &kind, &env, 10000);
	clock_manual_advance(&loop.clock, 3 * NS_PER_MS);
	assert_true(run_until(&loop, job_done, &b, 60000));
	trace_finish(end, 0, NULL);
	struct trace_span_view v = see_one(&f, span);
	assert_int_equal(v.queued_ns, 3 * NS_PER_MS);
	assert_int_equal(v.duration_ns, 253 * NS_PER_MS);
	assert_int_equal(trace_waiting_ns(&v), 250 * NS_PER_MS);
	trace_free(f.t);
	manual_loop_fini(&loop);
}

struct blocking {
	struct runner_job job;
	struct manual_loop *loop;
	bool done;
};

static void block(struct runner_job *job)
{
	clock_manual_advance(&container_of(job, struct blocking, job)->loop->clock, NS_PER_SEC);
}

static void on_blocked(struct runner_job *job)
{
	container_of(job, struct blocking, job)->done = true;
}

static void a_job_is_queued_until_a_worker_takes_it_not_while_it_runs(void **state)
{
	struct manual_loop loop;

	manual_loop_init(&loop, 1);
	struct fixture f = { .t = trace_new(NULL, &loop.clock.clock) };
	struct span span = root_span(&f, "test.job", "j");
	struct blocking b = { { .run = block, .done = on_blocked, .span = span }, &loop, false };
	trace_observe(f.t, &loop.runner);
	assert_int_equal(0, runner_submit(&loop.runner, &b.job));
	clock_manual_advance(&loop.clock, 7 * NS_PER_MS);
	manual_loop_turn(&loop);
	assert_true(b.done);
	assert_int_equal(see_one(&f, span).queued_ns, 7 * NS_PER_MS);
	trace_free(f.t);
	manual_loop_fini(&loop);
}

/* Against a model that marks every microsecond. Intervals are told by their ends. */
static void queued_time_is_never_more_than_the_union_of_its_intervals(void **state)
{
	enum { WHOLE_US = 2000 };
	struct clock_manual clock;
	uint64_t seed = 3;

	clock_manual_init(&clock, 0);
	struct fixture f = { .t = trace_new(NULL, &clock.clock) };
	for (int round = 0; round < 200; round++) {
		struct span span = root_span(&f, "a", "r");
		uint64_t start = clock_now_ns(&clock.clock), marked = 0;
		bool queued[WHOLE_US] = { false };
		for (uint64_t end = 0; end < WHOLE_US; end += next_random(&seed) % 100) {
			uint64_t from = end - MIN(end, next_random(&seed) % 60);
			trace_queued(span, start + from * 1000, start + end * 1000);
			for (uint64_t i = from; i < end; i++)
				queued[i] = true;
		}
		for (size_t i = 0; i < WHOLE_US; i++)
			marked += queued[i];
		clock_manual_advance(&clock, WHOLE_US * 1000);
		uint64_t told = see_one(&f, span).queued_ns / 1000;
		assert_true(told <= marked && told * 10 >= marked * 8);
		trace_finish(span, 0, NULL);
	}
	trace_free(f.t);
}

static uint64_t queued_in(struct fixture *f, struct span span, const char *name)
{
	struct trace_span_view v = see_one(f, span);
	struct trace_stage_view stage;
	uint64_t sum = 0;

	for (uint32_t i = 0; trace_stage_at(f->t, &v, i, &stage); i++)
		sum += strcmp(stage.name, name) == 0 ? stage.queued_ns : 0;
	return sum;
}

static void queued_time_belongs_to_the_stage_it_was_spent_in(void **state)
{
	struct clock_manual clock;

	clock_manual_init(&clock, 0);
	clock_manual_advance(&clock, NS_PER_SEC);
	struct fixture f = { .t = trace_new(NULL, &clock.clock) };
	struct span span = root_span(&f, "a", "r");
	trace_stage(span, "one");
	clock_manual_advance(&clock, 10 * NS_PER_MS);
	trace_queued(span, NS_PER_SEC, NS_PER_SEC + 4 * NS_PER_MS);
	trace_stage(span, "two");
	clock_manual_advance(&clock, 5 * NS_PER_MS);
	/* Told in the second stage, begun in the first. */
	trace_queued(span, NS_PER_SEC + 8 * NS_PER_MS, NS_PER_SEC + 13 * NS_PER_MS);
	assert_int_equal(queued_in(&f, span, "one"), 6 * NS_PER_MS);
	assert_int_equal(queued_in(&f, span, "two"), 3 * NS_PER_MS);
	trace_stage(span, "one");
	trace_stage(span, "two"); /* goes on: nothing lay between */
	clock_manual_advance(&clock, 5 * NS_PER_MS);
	trace_queued(span, NS_PER_SEC + 12 * NS_PER_MS, NS_PER_SEC + 20 * NS_PER_MS);
	trace_finish(span, 0, NULL);
	assert_int_equal(see_one(&f, span).stage_count, 2);
	assert_int_equal(queued_in(&f, span, "one"), 6 * NS_PER_MS);
	assert_int_equal(queued_in(&f, span, "two"), 10 * NS_PER_MS);
	trace_free(f.t);
}

static void queued_times_of_stages_sum_to_that_of_the_span(void **state)
{
	static const char *const names[] = { "a", "b", "c" };
	struct trace_stage_view stage;
	struct clock_manual clock;
	uint64_t seed = 5;

	clock_manual_init(&clock, 0);
	struct fixture f = { .t = trace_new(NULL, &clock.clock) };
	for (int round = 0; round < 200; round++) {
		struct span span = root_span(&f, "a", "r");
		uint64_t sum = 0;
		for (int i = 0; i < 100; i++) {
			uint64_t now, early = next_random(&seed) % 40 * 1000;
			clock_manual_advance(&clock, (40 + next_random(&seed) % 50) * 1000);
			now = clock_now_ns(&clock.clock);
			trace_queued(span, now - MIN(now, early), now - early / 3);
			trace_stage(span, names[next_random(&seed) % 3]);
		}
		trace_finish(span, 0, NULL);
		struct trace_span_view v = see_one(&f, span);
		assert_true(v.queued_ns > 0);
		for (uint32_t i = 0; trace_stage_at(f.t, &v, i, &stage); i++) {
			assert_true(stage.queued_ns <= stage.duration_ns);
			sum += stage.queued_ns;
		}
		assert_int_equal(sum, v.queued_ns);
	}
	trace_free(f.t);
}

static void an_untraced_operation_runs_as_well(void **state)
{
	struct manual_loop loop;

	manual_loop_init(&loop, 1);
	struct fixture f = { .t = trace_new(NULL, &loop.clock.clock) };
	run(f.t, &loop, (struct span){ 0 }, true);
	assert_int_equal(counts_of(&f).created + counts_of(&f).late_calls, 0);
	trace_free(f.t);
	manual_loop_fini(&loop);
}

static void a_handle_tells_its_category_as_long_as_the_span_is_kept(void **state)
{
	static const char category[] = "sync.peer";
	struct manual_loop loop;
	struct span s, stale;

	manual_loop_init(&loop, 1);
	struct fixture f = { .t = trace_new(NULL, &loop.clock.clock) };
	s = root_span(&f, category, "p");
	assert_ptr_equal(trace_span_category(s), category);
	trace_finish(s, 0, NULL);
	assert_ptr_equal(trace_span_category(s), category);
	assert_null(trace_span_category((struct span){ 0 }));
	stale = s;
	stale.generation += 2;
	assert_null(trace_span_category(stale));
	stale = s;
	stale.slot = UINT32_MAX;
	assert_null(trace_span_category(stale));
	trace_free(f.t);
	manual_loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handle_tells_its_category_as_long_as_the_span_is_kept),
		cmocka_unit_test(moves_of_an_operation_are_stages_of_its_span),
		cmocka_unit_test(an_operation_without_a_span_of_its_own_leaves_its_parents_alone),
		cmocka_unit_test(waiting_for_a_turn_of_the_loop_is_queued_time),
		cmocka_unit_test(a_job_is_queued_until_a_worker_takes_it_not_while_it_runs),
		cmocka_unit_test(queued_time_is_never_more_than_the_union_of_its_intervals),
		cmocka_unit_test(queued_time_belongs_to_the_stage_it_was_spent_in),
		cmocka_unit_test(queued_times_of_stages_sum_to_that_of_the_span),
		cmocka_unit_test(an_untraced_operation_runs_as_well),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
