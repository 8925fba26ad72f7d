#include "profiler_signals.h"
#include "test_util.h"

#include "base/loop.h"
#include "daemon/stalls.h"

/* A loop that is held up, as the traces tell it. */

enum { STALL_MS = 120, LIMIT_MS = 30, TEXT_MAX_BYTES = 1 << 20 };

static const struct op_state states[] = { { "busy", TO(1) }, { "done", 0 } };

static void slow_tick(struct op *op)
{
	uint64_t until = clock_now_ms(&clock_system) + STALL_MS;

	while (clock_now_ms(&clock_system) < until)
		;
	op_move(op, 1);
	(void)op_finish(op);
}

static const struct op_kind slow_kind = { "demo.slow", states, ARRAY_SIZE(states), slow_tick };

static void run_slow(struct loop *loop, struct span span)
{
	struct op_env env = { .runner = &loop->runner, .deadline_ms = UINT64_MAX, .span = span };
	struct op op;

	op_init(&op, &slow_kind, &env, UINT64_MAX);
	while (loop->runner.op_count > 0)
		uv_run(&loop->uv, UV_RUN_ONCE);
}

static void look_until_told(struct loop *loop, struct stalls *s)
{
	while (s->told == 0) {
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		stalls_look(s);
	}
}

static void check_text(struct trace *t, const char *category, const char *expected)
{
	const struct trace_query q = { .category = category };
	struct buf out;

	buf_init(&out, TEXT_MAX_BYTES);
	CHECK_STATUS(0, trace_render(t, TRACE_FORMAT_TEXT, &q, &out));
	buf_write(&out, "", 1);
	if (strstr((const char *)out.data, expected) == NULL)
		fail_msg("no %s in:\n%s", expected, (const char *)out.data);
	buf_fini(&out);
}

static void a_stall_is_a_trace_and_a_mark_in_what_held_up_the_loop(void **state)
{
	struct stalls stalls;
	struct trace *t = trace_new(NULL, &clock_system);
	struct trace_stats stats[4];
	struct profiler *p;
	struct loop loop;
	struct span span;

	NEEDS_PROMPT_SIGNALS();
	CHECK_STATUS(0, loop_init(&loop));
	p = profiler_new(&(struct profiler_config){ .runner = &loop.runner, .version = "v" });
	assert_true(t != NULL && p != NULL);
	CHECK_STATUS(0, profiler_watch_loop(p, LIMIT_MS, false));
	stalls_start(&stalls, &loop.runner, p, t);
	span = trace_root(t, "sync.peer", "someone", 7, NULL);
	uv_run(&loop.uv, UV_RUN_NOWAIT);
	run_slow(&loop, span);
	look_until_told(&loop, &stalls);
	stalls_stop(&stalls);
	stalls_stop(&stalls);
	check_text(t, "loop.stall", "demo.slow");
	check_text(t, "loop.stall", "stood still for ");
	check_text(t, "loop.stall", "sync.peer");
	check_text(t, "loop.stall", "the loop stood still for ");
	check_text(t, "sync.peer", "held up the loop for ");
	for (size_t i = trace_stats_all(t, stats, ARRAY_SIZE(stats)); i-- > 0;)
		assert_int_equal(stats[i].active, strcmp(stats[i].category, "sync.peer") == 0);
	trace_finish(span, 0, NULL);
	profiler_free(p);
	trace_free(t);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stall_is_a_trace_and_a_mark_in_what_held_up_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
