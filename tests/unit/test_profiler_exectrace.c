#include "profiler_fixture.h"

#include "profiler/exectrace.h"
#include "profiler/exectrace_wire.h"
#include "profiler/symbols.h"

/* A scene with known times on the virtual clock, and a reader of what is written about it that
 * follows the rules of Go's. */

/* ---- A reader ---- */

enum { READ_EVENTS_MAX = 4096, READ_IDS_MAX = 64, READ_TEXT_MAX = 80, READ_P_MAX = 8 };

struct read_event {
	unsigned type, p;
	uint64_t ns; /* since the first */
	uint64_t g;  /* that ran */
	uint64_t args[8];
	unsigned n;
};

static struct reading {
	struct read_event events[READ_EVENTS_MAX];
	unsigned count;
	char strings[READ_IDS_MAX][READ_TEXT_MAX];
	uint64_t stacks[READ_IDS_MAX]; /* function of the innermost frame, as a string's number */
	unsigned batches;
	uint64_t frequency;
	char log[READ_TEXT_MAX];
} reading;

static uint64_t number(struct buf_reader *r)
{
	uint64_t v = 0;
	uint8_t byte = 0x80;

	for (unsigned shift = 0; byte & 0x80; shift += 7) {
		assert_true(shift < 64);
		CHECK_STATUS(0, buf_read_u8(r, &byte));
		v |= (uint64_t)(byte & 0x7f) << shift;
	}
	return v;
}

static void text(struct buf_reader *r, char ret[READ_TEXT_MAX])
{
	uint64_t len = number(r);

	assert_in_range(len, 1, 1000000);
	assert_true(len <= buf_left(r));
	for (uint64_t i = 0; i < len; i++) {
		uint8_t byte;

		CHECK_STATUS(0, buf_read_u8(r, &byte));
		if (i < READ_TEXT_MAX - 1)
			ret[i] = (char)byte;
	}
	ret[MIN(len, (uint64_t)READ_TEXT_MAX - 1)] = '\0';
}

static void read_string(struct buf_reader *r)
{
	uint64_t id = number(r);

	assert_in_range(id, 1, READ_IDS_MAX - 1);
	assert_string_equal(reading.strings[id], ""); /* given once */
	text(r, reading.strings[id]);
}

static unsigned read_args(struct buf_reader *r, unsigned inlined, uint64_t args[static 64])
{
	const uint8_t *end;
	uint64_t len;
	unsigned n = 0;

	if (inlined < 4) {
		for (; n < inlined; n++)
			args[n] = number(r);
		return n;
	}
	len = number(r);
	assert_true(len <= buf_left(r));
	end = r->p + len;
	while (r->p < end && n < 64)
		args[n++] = number(r);
	assert_ptr_equal(r->p, end);
	return n;
}

static void read_stack(const uint64_t *args, unsigned n)
{
	assert_true(n >= 2 && args[1] >= 1 && n == 2 + 4 * args[1]);
	assert_in_range(args[0], 1, READ_IDS_MAX - 1);
	reading.stacks[args[0]] = args[3];
}

/* How many arguments an event has, its time included. */
static unsigned args_of(unsigned type)
{
	switch (type) {
	case GO_END:
	case GO_SYS_BLOCK:
	case GO_PROC_STOP: return 1;
	case GO_PROC_START:
	case GO_SCHED:
	case GO_SLEEP:
	case GO_BLOCK_SEND:
	case GO_BLOCK_SELECT:
	case GO_BLOCK_SYNC:
	case GO_BLOCK_NET:
	case GO_SYSCALL:
	case GO_WAITING:
	case GO_HEAP_ALLOC:
	case GO_START_LOCAL: return 2;
	case GO_UNBLOCK_LOCAL:
	case GO_USER_TASK_END: return 3;
	case GO_SYS_EXIT:
	case GO_CREATE:
	case GO_USER_LOG: return 4;
	case GO_USER_TASK_CREATE:
	case GO_USER_REGION: return 5;
	default: fail_msg("event %u", type); return 0;
	}
}

static bool takes_off(unsigned type)
{
	return type == GO_END || type == GO_SCHED || (type >= GO_SLEEP && type <= GO_BLOCK_NET) ||
	       type == GO_SYS_BLOCK;
}

static void read_event(struct buf_reader *r, unsigned type, const uint64_t *args, unsigned n)
{
	static unsigned p;
	static uint64_t ns[READ_P_MAX], running[READ_P_MAX];
	struct read_event *e = &reading.events[reading.count];

	if (type == GO_BATCH) {
		assert_int_equal(n, 2);
		assert_in_range(args[0], 0, READ_P_MAX - 1);
		p = (unsigned)args[0];
		ns[p] = args[1];
		running[p] = 0;
		reading.batches++;
		return;
	}
	assert_int_equal(n, args_of(type));
	assert_in_range(reading.count++, 0, READ_EVENTS_MAX - 1);
	ns[p] += args[0];
	*e = (struct read_event){ .type = type, .p = p, .ns = ns[p], .n = n - 1 };
	memcpy(e->args, args + 1, (n - 1) * sizeof(*args));
	if (type == GO_START_LOCAL)
		running[p] = args[1];
	e->g = running[p];
	if (takes_off(type))
		running[p] = 0;
	if (type == GO_USER_LOG)
		text(r, reading.log);
}

static void read_go(const struct buf *b)
{
	struct buf_reader r = buf_reader(b->data, b->len);
	const uint8_t *header;

	memset(&reading, 0, sizeof(reading));
	CHECK_STATUS(0, buf_read_bytes(&r, 16, &header));
	assert_memory_equal(header, "go 1.19 trace\0\0\0", 16);
	while (buf_left(&r) > 0) {
		uint64_t args[64];
		uint8_t byte;
		unsigned n;

		CHECK_STATUS(0, buf_read_u8(&r, &byte));
		if ((byte & 63) == GO_STRING) {
			read_string(&r);
			continue;
		}
		n = read_args(&r, (byte >> 6) + 1u, args);
		if ((byte & 63) == GO_STACK)
			read_stack(args, n);
		else if ((byte & 63) == GO_FREQUENCY)
			reading.frequency = args[0];
		else
			read_event(&r, byte & 63, args, n);
	}
	assert_int_equal(reading.frequency, NS_PER_SEC);
}

/* ---- The rules ---- */

enum status { NONE, RUNNABLE, RUNNING, WAITING, DEAD };

static struct rule_g {
	uint64_t id, region, region_task;
	uint64_t seq; /* changes but those that take it off */
	enum status status;
} gs[256];

static struct rule_g *g_of(uint64_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(gs); i++) {
		if (gs[i].id == id || gs[i].id == 0) {
			gs[i].id = id;
			return &gs[i];
		}
	}
	fail_msg("too many goroutines");
	return &gs[0];
}

static void step(struct rule_g *g, enum status from, enum status to)
{
	assert_int_equal(g->status, from);
	g->status = to;
	g->seq += from != RUNNING;
}

static void check_region(struct rule_g *g, const struct read_event *e)
{
	assert_int_equal(g->status, RUNNING);
	assert_in_range(e->args[1], 0, 1);
	assert_true(e->args[1] == 1 || e->args[3] != 0); /* go tool trace takes it for granted */
	if (e->args[1] == 1 && g->region != 0) {
		assert_int_equal(g->region, e->args[2]);
		assert_int_equal(g->region_task, e->args[0]);
	}
	g->region = e->args[1] == 0 ? e->args[2] : 0;
	g->region_task = e->args[0];
}

/* Of one processor; what the scene needs of internal/trace's rules. */
static void check_rules(unsigned p)
{
	bool on = false;

	memset(gs, 0, sizeof(gs));
	for (unsigned i = 0; i < reading.count; i++) {
		const struct read_event *e = &reading.events[i];

		if (e->p != p)
			continue;
		if (e->type == GO_PROC_START || e->type == GO_PROC_STOP) {
			assert_int_equal(on, e->type == GO_PROC_STOP);
			on = !on;
		} else if (e->type == GO_CREATE) {
			step(g_of(e->args[0]), NONE, RUNNABLE);
		} else if (e->type == GO_WAITING) {
			step(g_of(e->args[0]), RUNNABLE, WAITING);
		} else if (e->type == GO_START_LOCAL) {
			step(g_of(e->args[0]), RUNNABLE, RUNNING);
		} else if (e->type == GO_UNBLOCK_LOCAL) {
			step(g_of(e->args[0]), WAITING, RUNNABLE);
		} else if (e->type == GO_SYS_EXIT) {
			assert_int_equal(g_of(e->args[0])->seq, e->args[1]);
			step(g_of(e->args[0]), WAITING, RUNNABLE);
		} else if (takes_off(e->type)) {
			step(g_of(e->g), RUNNING,
			     e->type == GO_END	 ? DEAD :
			     e->type == GO_SCHED ? RUNNABLE :
						   WAITING);
		} else if (e->type == GO_USER_REGION) {
			check_region(g_of(e->g), e);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(gs); i++)
		assert_int_not_equal(gs[i].status, RUNNING);
}

static const struct read_event nothing;

/* Type 0 when there is none. */
static const struct read_event *find_event(unsigned type, uint64_t g, unsigned skip)
{
	for (unsigned i = 0; i < reading.count; i++)
		if (reading.events[i].type == type && reading.events[i].g == g && skip-- == 0)
			return &reading.events[i];
	return &nothing;
}

/* The goroutine that begins in this function. */
static uint64_t goroutine_named(const char *function)
{
	for (unsigned i = 0; i < reading.count; i++) {
		const struct read_event *e = &reading.events[i];

		if (e->type == GO_CREATE &&
		    strcmp(reading.strings[reading.stacks[e->args[1]]], function) == 0)
			return e->args[0];
	}
	fail_msg("no goroutine %s", function);
	return 0;
}

/* ---- The scene ---- */

/* A parent that waits 10 ms for a child, which waits 7 ms for a timer; the child's end ticks the
 * parent inside the child's tick. */
enum { BEGIN, FETCHING, DONE };

static const struct op_state states[] = {
	[BEGIN] = { "begin", TO(FETCHING) | TO(DONE) },
	[FETCHING] = { "fetching", TO(DONE) },
	[DONE] = { "done", 0 },
};

static void parent_tick(struct op *op);
static void child_tick(struct op *op);
static const struct op_kind parent_kind = { "scene.parent", states, 3, parent_tick };
static const struct op_kind child_kind = { "scene.child", states, 3, child_tick };

static struct manual_loop loop;
static struct profiler profiler;
static struct op parent, child;
static struct runner_timer timer;
static bool answered;

static void on_timer(struct runner_timer *t)
{
	answered = true;
	op_tick(&child);
}

static void child_tick(struct op *op)
{
	if (op->state == BEGIN) {
		timer.run = on_timer;
		runner_timer_start(&loop.runner, &timer, 7);
		op_move(op, FETCHING);
	}
	if (!answered)
		return;
	op_move(op, DONE);
	assert_true(op_finish(op));
	op_release(&parent);
	op_tick(&parent);
}

static void parent_tick(struct op *op)
{
	if (op->state == BEGIN) {
		struct op_env env = op->env;

		op_own_span(op, (struct span){ (struct trace *)op, 3, 5 });
		op_move(op, FETCHING);
		op_init(&child, &child_kind, &env, UINT64_MAX);
		op_hold(op);
		return;
	}
	if (op->pending > 0)
		return;
	op_move(op, DONE);
	assert_true(op_finish(op));
}

static const char *category(struct span s)
{
	return s.slot == 3 ? "scene.category" : NULL;
}

static bool trace_id(struct span s, uint8_t ret[16])
{
	memset(ret, 0xab, 16);
	return true;
}

static enum profiler_wait wait_of(const char *kind, const char *state)
{
	return strcmp(kind, "scene.parent") == 0 ? PROFILER_WAIT_DISK : PROFILER_WAIT_NET;
}

static void scene_begin(void)
{
	struct op_env env = { .runner = &loop.runner, .deadline_ms = UINT64_MAX };

	manual_loop_init(&loop, 1);
	profiler = (struct profiler){ .runner = &loop.runner,
				      .span_category = category,
				      .span_trace_id = trace_id,
				      .wait_of = wait_of };
	answered = false;
	op_init(&parent, &parent_kind, &env, UINT64_MAX);
}

/* Recorded from `from_ms` on; what is written is the caller's. */
static void play(uint64_t from_ms, int (*write)(const struct exectrace *t, struct buf *out),
		 struct buf *out)
{
	struct exectrace *t;

	scene_begin();
	if (from_ms > 0)
		manual_loop_run(&loop, from_ms);
	CHECK_STATUS(0, exectrace_start(&t, &profiler));
	manual_loop_run(&loop, 20);
	exectrace_stop(t);
	buf_init(out, PROFILER_OUTPUT_MAX);
	CHECK_STATUS(0, write(t, out));
	exectrace_free(t);
	manual_loop_fini(&loop);
}

static void operations_run_wait_and_end_at_their_times(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	uint64_t p, c;

	play(0, exectrace_write_go, &out);
	read_go(&out);
	check_rules(0);
	p = goroutine_named("scene.parent");
	c = goroutine_named("scene.child");
	assert_int_equal(find_event(GO_SYS_BLOCK, p, 0)->ns, 0);
	assert_int_equal(find_event(GO_BLOCK_NET, c, 0)->ns, 0);
	assert_int_equal(find_event(GO_START_LOCAL, c, 1)->ns, 7 * NS_PER_MS);
	assert_int_equal(find_event(GO_END, c, 0)->ns, 7 * NS_PER_MS);
	assert_int_equal(find_event(GO_END, p, 0)->ns, 7 * NS_PER_MS);
	/* The child ended in its tick before the parent's began, and woke the parent. */
	assert_int_equal(find_event(GO_SYS_EXIT, c, 0)->args[0], p);
	assert_true(find_event(GO_END, c, 0) < find_event(GO_START_LOCAL, p, 1));
}

static void waits_have_stacks_that_name_kind_and_state(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	const struct read_event *e;

	play(0, exectrace_write_go, &out);
	read_go(&out);
	e = find_event(GO_BLOCK_NET, goroutine_named("scene.child"), 0);
	assert_int_not_equal(e->type, 0);
	assert_string_equal(reading.strings[reading.stacks[e->args[0]]], "scene.child: fetching");
}

static void spans_are_user_tasks_and_states_regions_of_them(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	const struct read_event *e;
	uint64_t p, task;

	play(0, exectrace_write_go, &out);
	read_go(&out);
	p = goroutine_named("scene.parent");
	e = find_event(GO_USER_TASK_CREATE, p, 0);
	assert_int_not_equal(e->type, 0);
	task = e->args[0];
	assert_string_equal(reading.strings[e->args[2]], "scene.category");
	assert_int_equal(find_event(GO_USER_TASK_END, p, 0)->args[0], task);
	e = find_event(GO_USER_REGION, p, 2); /* begin, its end, fetching */
	assert_int_equal(e->args[0], task);
	assert_string_equal(reading.strings[e->args[2]], "fetching");
	/* The child has no span: its states belong to the one above. */
	e = find_event(GO_USER_REGION, goroutine_named("scene.child"), 0);
	assert_int_equal(e->args[0], task);
}

static void a_recording_may_begin_in_the_midst(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	uint64_t p;

	play(3, exectrace_write_go, &out);
	read_go(&out);
	check_rules(0);
	p = goroutine_named("scene.parent");
	assert_int_equal(find_event(GO_END, p, 0)->type, GO_END);
	assert_int_equal(find_event(GO_USER_TASK_CREATE, p, 0)->type, 0);
	assert_int_equal(find_event(GO_END, p, 0)->ns - reading.events[0].ns, 4 * NS_PER_MS);
}

static void a_quiet_recording_is_a_valid_file(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	struct exectrace *t;

	manual_loop_init(&loop, 1);
	profiler = (struct profiler){ .runner = &loop.runner };
	CHECK_STATUS(0, exectrace_start(&t, &profiler));
	manual_loop_run(&loop, 5);
	exectrace_stop(t);
	buf_init(&out, PROFILER_OUTPUT_MAX);
	CHECK_STATUS(0, exectrace_write_go(t, &out));
	exectrace_free(t);
	manual_loop_fini(&loop);
	read_go(&out);
	assert_int_equal(reading.batches, 1);
	assert_string_equal(reading.log, "records left out for want of room: 0");
}

static void a_second_recording_is_refused_until_the_first_has_ended(void **state)
{
	struct exectrace *first, *second;

	scene_begin();
	CHECK_STATUS(0, exectrace_start(&first, &profiler));
	CHECK_STATUS(UV_EBUSY, exectrace_start(&second, &profiler));
	manual_loop_run(&loop, 3);
	exectrace_free(first);
	CHECK_STATUS(0, exectrace_start(&second, &profiler));
	exectrace_free(second);
	manual_loop_run(&loop, 20);
	manual_loop_fini(&loop);
}

static void what_does_not_fit_is_counted_and_the_rest_is_whole(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	struct exectrace *t;
	uint64_t dropped;

	scene_begin();
	CHECK_STATUS(0, exectrace_start(&t, &profiler));
	atomic_store(&t->used, EXECTRACE_RECORDS_MAX - 5);
	manual_loop_run(&loop, 20);
	exectrace_stop(t);
	assert_int_equal(exectrace_count(t, &dropped), EXECTRACE_RECORDS_MAX);
	assert_true(dropped > 0);
	buf_init(&out, PROFILER_OUTPUT_MAX);
	CHECK_STATUS(0, exectrace_write_go(t, &out));
	exectrace_free(t);
	manual_loop_fini(&loop);
	read_go(&out);
	check_rules(0);
	assert_null(strstr(reading.log, "room: 0"));
}

static void writing_survives_oom_at_every_allocation(void **state)
{
	struct exectrace *t;

	scene_begin();
	CHECK_STATUS(0, exectrace_start(&t, &profiler));
	manual_loop_run(&loop, 20);
	exectrace_stop(t);
	symbols_forget();
	FAULT_SWEEP({
		struct buf out;
		int rc;

		buf_init(&out, PROFILER_OUTPUT_MAX);
		rc = exectrace_write_go(t, &out);
		if (rc == 0)
			read_go(&out);
		buf_fini(&out);
		symbols_forget();
		if (mem_fault_hits() == 0)
			CHECK_STATUS(0, rc);
	});
	exectrace_free(t);
	manual_loop_fini(&loop);
}

static void chrome_s_json_has_slices_and_states(void **state)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	play(0, exectrace_write_chrome, &out);
	buf_write_u8(&out, '\0');
	assert_non_null(strstr((char *)out.data, "\"ts\":7000.000,\"name\":\"scene.child\","
						 "\"args\":{\"id\":"));
	assert_non_null(strstr((char *)out.data, "\"name\":\"fetching\",\"cat\":\"operation\""));
	assert_non_null(strstr((char *)out.data, "\"left_out\":0}}\n"));
}

/* ---- In a capture, with threads ---- */

static void run_nothing(struct runner_job *job)
{
}

static void done_nothing(struct runner_job *job)
{
	fixture->ended += 100;
}

static void worker_tick(struct op *op)
{
	static struct runner_job job;

	if (op->state == BEGIN) {
		job = (struct runner_job){ .run = run_nothing, .done = done_nothing };
		op_move(op, FETCHING);
		CHECK_STATUS(0, runner_submit(op->env.runner, &job));
	} else if (op_stopping(op)) {
		op_move(op, DONE);
		assert_true(op_finish(op));
	}
}

static void what_workers_do_is_told_of_their_threads(void **state)
{
	static const struct op_kind kind = { "scene.worker", states, 3, worker_tick };
	struct fixture *f = *state;
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };
	struct op op;

	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_TRACE, .ms = 100 });
	uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	op_init(&op, &kind, &env, UINT64_MAX);
	fixture_run_until(f, 101);
	CHECK_STATUS(0, f->status[0]);
	op_cancel(&op);
	uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	read_go(&f->captures[0].out);
	assert_true(reading.batches >= 2);
	for (unsigned p = 0; p < reading.batches; p++)
		check_rules(p);
	(void)goroutine_named("profiler.capture");
	(void)goroutine_named("scene.worker");
}

static void a_cancelled_capture_ends_the_recording(void **state)
{
	struct fixture *f = *state;

	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_TRACE, .ms = 3600000 });
	fixture_start(f, 1, &(struct profiler_request){ .kind = PROFILER_TRACE, .ms = 10 });
	fixture_run_until(f, 1);
	CHECK_STATUS(UV_EBUSY, f->status[1]);
	op_cancel(&f->captures[0].op);
	fixture_run_until(f, 2);
	CHECK_STATUS(UV_ECANCELED, f->status[0]);
	fixture_start(f, 1, &(struct profiler_request){ .kind = PROFILER_TRACE, .ms = 10 });
	fixture_run_until(f, 3);
	CHECK_STATUS(0, f->status[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operations_run_wait_and_end_at_their_times),
		cmocka_unit_test(waits_have_stacks_that_name_kind_and_state),
		cmocka_unit_test(spans_are_user_tasks_and_states_regions_of_them),
		cmocka_unit_test(a_recording_may_begin_in_the_midst),
		cmocka_unit_test(a_quiet_recording_is_a_valid_file),
		cmocka_unit_test(a_second_recording_is_refused_until_the_first_has_ended),
		cmocka_unit_test(what_does_not_fit_is_counted_and_the_rest_is_whole),
		cmocka_unit_test(writing_survives_oom_at_every_allocation),
		cmocka_unit_test(chrome_s_json_has_slices_and_states),
		profiler_test(what_workers_do_is_told_of_their_threads),
		profiler_test(a_cancelled_capture_ends_the_recording),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
