/* From records to Go's words:
 *
 *   operation            goroutine, named by its kind; its tick runs it, between ticks it waits for
 *                        what its state waits for
 *   thread               processor. What workers and the store do is a goroutine of the thread's
 *   span                 user task, named by its category; a log gives the trace's id
 *   state                region, of the task of the operation's span
 *   the loop polls       the processor is stopped
 *
 * One processor runs one goroutine. An operation whose tick calls another's is taken off while that
 * runs, and goes on after it; when it has ended meanwhile, it does not.
 *
 * What can go wrong: readers refuse the whole file for one event that does not follow from those
 * before it (a goroutine that runs twice, that is woken while it does not wait, a region that ends
 * under another name, a region that begins without a stack). So each event here is written from
 * what the goroutine is taken to be at, and what does not fit is left out. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "profiler/exectrace_wire.h"
#include "profiler/proc.h"
#include "profiler/symbols.h"
#include "profiler/unwind.h"

enum { TICKS_MAX = 64, ARENA_MAX = 64 << 20, NAME_MAX_LEN = 128, LOOP = 0 };

/* Kinds of stacks, in their keys; and addresses of functions that are none. */
enum { KEY_START = 1, KEY_WAIT, KEY_CREATED, KEY_THREAD };
#define NO_CODE (UINT64_C(1) << 62)

enum status { RUNNABLE, RUNNING, WAITING, DEAD };

struct goroutine {
	uint64_t id, parent_id;
	const struct op_kind *kind;
	unsigned state;
	enum status status;
	bool due; /* it is to run again after the tick that runs */
	bool ended;
	bool in_syscall;
	uint64_t seq;  /* how often it was created, started, woken: an end of a system call says so
			*/
	uint64_t task; /* of its own span */
	uint64_t region, region_task;
	bool in_region;
};

struct lane {
	struct go_lane go;
	uint64_t thread_id; /* also the goroutine's */
	pid_t tid;
	bool on, known, running;
	uint64_t region, region_task;
};

struct replay {
	const struct exectrace *t;
	struct modules modules;
	struct go_table table;
	struct lane *lanes;
	unsigned lane_count;
	struct map ops;
	struct arena arena;
	uint64_t ticks[TICKS_MAX]; /* operations whose ticks run, innermost last */
	unsigned depth;
	uint64_t ns; /* of the record */
	uint64_t left_out;
	int err;
};

#define EMIT(r, lane, type, ...)                                                                   \
	GO_EVENT(&(r)->lanes[lane].go, lane, type, (r)->ns __VA_OPT__(, ) __VA_ARGS__)

/* ---- Stacks ---- */

static struct go_frame frame_at(const struct replay *r, uintptr_t pc)
{
	const struct symbol *s = modules_find(&r->modules, pc) != NULL ? symbols_get(pc) : NULL;
	const struct symbol_line *l = s != NULL ? &s->lines[s->n - 1] : NULL;

	return (struct go_frame){ .pc = pc,
				  .function = l != NULL ? l->name : "?",
				  .file = l != NULL && l->file[0] != '\0' ? l->file : "?",
				  .line = l != NULL ? l->line : 0 };
}

static uint64_t start_stack(struct replay *r, const struct op_kind *kind)
{
	uint64_t key[GO_KEY_WORDS] = { KEY_START, (uintptr_t)kind };
	uint64_t id = go_stack_find(&r->table, key);
	struct go_frame f;

	if (id != 0)
		return id;
	f = frame_at(r, (uintptr_t)kind->tick);
	f.function = kind->name;
	f.pc = NO_CODE + (uintptr_t)kind;
	return go_stack_add(&r->table, key, &f, 1);
}

static uint64_t wait_stack(struct replay *r, const struct goroutine *g)
{
	uint64_t key[GO_KEY_WORDS] = { KEY_WAIT, (uintptr_t)g->kind, g->state };
	uint64_t id = go_stack_find(&r->table, key);
	char name[NAME_MAX_LEN];
	struct go_frame f[2];

	if (id != 0)
		return id;
	snprintf(name, sizeof(name), "%s: %s", g->kind->name, g->kind->states[g->state].name);
	f[1] = frame_at(r, (uintptr_t)g->kind->tick);
	f[0] = f[1];
	f[0].function = name;
	f[0].pc = NO_CODE + (uintptr_t)&g->kind->states[g->state];
	return go_stack_add(&r->table, key, f, 2);
}

/* Return addresses; what is no code ends them. */
static uint64_t created_stack(struct replay *r, const struct record *begin)
{
	const struct record *more = begin + 1;
	uint64_t key[GO_KEY_WORDS] = { KEY_CREATED,    begin->words[3], more->words[0],
				       more->words[1], more->words[2],	more->words[3] };
	uint64_t id = go_stack_find(&r->table, key);
	struct go_frame f[EXECTRACE_ORIGIN_FRAMES];
	unsigned n = 0;

	if (id != 0)
		return id;
	for (unsigned i = 1; i < GO_KEY_WORDS && key[i] != 0; i++) {
		if (modules_find(&r->modules, key[i] - 1) == NULL)
			break;
		f[n++] = frame_at(r, key[i] - 1);
	}
	return go_stack_add(&r->table, key, f, n);
}

static uint64_t thread_stack(struct replay *r, pid_t tid)
{
	uint64_t key[GO_KEY_WORDS] = { KEY_THREAD, (uint64_t)tid };
	uint64_t id = go_stack_find(&r->table, key);
	char name[THREAD_NAME_SIZE], function[NAME_MAX_LEN];
	struct go_frame f = { .pc = NO_CODE + (uint64_t)tid, .function = function, .file = "?" };

	if (id != 0)
		return id;
	proc_thread_name(tid, name);
	snprintf(function, sizeof(function), "thread %s", name[0] != '\0' ? name : "?");
	return go_stack_add(&r->table, key, &f, 1);
}

/* ---- Operations ---- */

static struct goroutine *find(struct replay *r, uint64_t id)
{
	return map_get(&r->ops, &id, sizeof(id));
}

static struct goroutine *running(struct replay *r)
{
	struct goroutine *g = r->depth > 0 ? find(r, r->ticks[r->depth - 1]) : NULL;

	return g != NULL && g->status == RUNNING ? g : NULL;
}

static bool in_ticks(const struct replay *r, uint64_t id)
{
	for (unsigned i = 0; i < r->depth; i++)
		if (r->ticks[i] == id)
			return true;
	return false;
}

static void loop_on(struct replay *r)
{
	if (!r->lanes[LOOP].on)
		EMIT(r, LOOP, GO_PROC_START, (uint64_t)r->t->tid);
	r->lanes[LOOP].on = true;
}

/* The task of the nearest operation above that has one. */
static uint64_t task_of(struct replay *r, const struct goroutine *g)
{
	for (unsigned i = 0; g != NULL && i < TICKS_MAX; i++) {
		if (g->task != 0)
			return g->task;
		g = find(r, g->parent_id);
	}
	return 0;
}

/* A region is left and entered by its own goroutine only: when it runs. */
static void enter_region(struct replay *r, struct goroutine *g)
{
	uint64_t name = g->ended ? 0 : go_string(&r->table, g->kind->states[g->state].name);

	if (g->in_region && g->region == name)
		return;
	if (g->in_region)
		EMIT(r, LOOP, GO_USER_REGION, g->region_task, 1, g->region, 0);
	g->in_region = name != 0;
	g->region = name;
	g->region_task = task_of(r, g);
	if (g->in_region)
		EMIT(r, LOOP, GO_USER_REGION, g->region_task, 0, g->region, wait_stack(r, g));
}

static void start(struct replay *r, struct goroutine *g)
{
	EMIT(r, LOOP, GO_START_LOCAL, g->id);
	g->seq++;
	g->status = RUNNING;
	enter_region(r, g);
}

static void wake(struct replay *r, struct goroutine *g)
{
	if (g->in_syscall)
		EMIT(r, LOOP, GO_SYS_EXIT, g->id, g->seq, 0);
	else
		EMIT(r, LOOP, GO_UNBLOCK_LOCAL, g->id, 0);
	g->in_syscall = false;
	g->seq++;
	g->status = RUNNABLE;
}

static void end(struct replay *r, struct goroutine *g)
{
	EMIT(r, LOOP, GO_END);
	g->status = DEAD;
}

static void yield(struct replay *r, struct goroutine *g)
{
	EMIT(r, LOOP, GO_SCHED, wait_stack(r, g));
	g->status = RUNNABLE;
}

static void block(struct replay *r, struct goroutine *g)
{
	static const enum go_event events[] = {
		[PROFILER_WAIT_OTHER] = GO_BLOCK_SELECT, [PROFILER_WAIT_NET] = GO_BLOCK_NET,
		[PROFILER_WAIT_DISK] = GO_SYS_BLOCK,	 [PROFILER_WAIT_TURN] = GO_BLOCK_SYNC,
		[PROFILER_WAIT_TIME] = GO_SLEEP,
	};
	const struct profiler *p = r->t->profiler;
	enum profiler_wait why = p->wait_of != NULL ?
					 p->wait_of(g->kind->name, g->kind->states[g->state].name) :
					 PROFILER_WAIT_OTHER;

	if (why == PROFILER_WAIT_DISK) {
		EMIT(r, LOOP, GO_SYSCALL, wait_stack(r, g));
		EMIT(r, LOOP, GO_SYS_BLOCK);
		g->in_syscall = true;
	} else {
		EMIT(r, LOOP, events[why], wait_stack(r, g));
	}
	g->status = WAITING;
}

static void on_begin(struct replay *r, const struct record *record)
{
	struct goroutine *g = arena_alloc(&r->arena, sizeof(*g));
	bool there = (record->small & RECORD_THERE) != 0;
	uint64_t created;

	if (g == NULL || find(r, record->words[0]) != NULL ||
	    map_put(&r->ops, &record->words[0], sizeof(g->id), g) != 0) {
		r->left_out++;
		return;
	}
	g->id = record->words[0];
	g->parent_id = record->words[1];
	g->kind = (const struct op_kind *)(uintptr_t)record->words[2];
	g->state = record->small & ~(uint32_t)RECORD_THERE;
	created = created_stack(r, record);
	EMIT(r, LOOP, GO_CREATE, g->id, start_stack(r, g->kind), created);
	g->seq = 1;
	if (!there)
		return;
	if (g->id == r->t->running_id) {
		r->ticks[r->depth++] = g->id;
		start(r, g);
	} else {
		EMIT(r, LOOP, GO_WAITING, g->id);
		g->seq++;
		g->status = WAITING;
		/* It entered its state before the recording: it will only be seen to leave it. */
		g->in_region = true;
		g->region = go_string(&r->table, g->kind->states[g->state].name);
	}
}

static void on_tick(struct replay *r, struct goroutine *g)
{
	struct goroutine *outer = running(r);

	if (r->depth == TICKS_MAX) {
		r->left_out++;
		return;
	}
	g->due = false;
	if (g != outer && g->status != DEAD) {
		if (g->status == WAITING)
			wake(r, g);
		if (outer != NULL && outer->ended)
			end(r, outer);
		else if (outer != NULL)
			yield(r, outer);
		start(r, g);
	}
	r->ticks[r->depth++] = g->id;
}

static void on_ticked(struct replay *r, struct goroutine *g)
{
	struct goroutine *outer;

	if (r->depth == 0 || r->ticks[r->depth - 1] != g->id)
		return; /* it began before the recording did */
	r->depth--;
	if (r->depth > 0 && r->ticks[r->depth - 1] == g->id)
		return;
	if (g->status == RUNNING) {
		if (g->ended)
			end(r, g);
		else if (g->due || in_ticks(r, g->id))
			yield(r, g);
		else
			block(r, g);
	}
	outer = r->depth > 0 ? find(r, r->ticks[r->depth - 1]) : NULL;
	if (outer != NULL && outer->status == RUNNABLE)
		start(r, outer);
}

static void on_due(struct replay *r, struct goroutine *g)
{
	if (g->status == WAITING)
		wake(r, g);
	else
		g->due = true;
}

static void on_move(struct replay *r, struct goroutine *g, unsigned state)
{
	if (state >= g->kind->state_count)
		return;
	g->state = state;
	if (g->status == RUNNING)
		enter_region(r, g);
}

static void on_end(struct replay *r, struct goroutine *g)
{
	g->ended = true;
	if (g->status == RUNNING)
		enter_region(r, g);
	if (g->task != 0)
		EMIT(r, LOOP, GO_USER_TASK_END, g->task, 0);
}

/* ---- Spans ---- */

static void on_span(struct replay *r, struct goroutine *g, const struct record *record)
{
	const char *category = (const char *)(uintptr_t)record->words[3];
	uint64_t parent = record->words[2];

	if (g->task != 0 || record->words[1] == 0)
		return;
	if (parent == 0)
		parent = task_of(r, find(r, g->parent_id));
	g->task = record->words[1];
	EMIT(r, LOOP, GO_USER_TASK_CREATE, g->task, parent,
	     go_string(&r->table, category != NULL ? category : g->kind->name), 0);
}

static void on_trace(struct replay *r, const struct record *record)
{
	const uint8_t *id = (const uint8_t *)&record->words[1];
	char hex[33];

	for (unsigned i = 0; i < 16; i++)
		snprintf(hex + 2 * i, sizeof(hex) - 2 * i, "%02x", id[i]);
	go_log(&r->lanes[LOOP].go, LOOP, r->ns, record->words[0], go_string(&r->table, "trace"),
	       hex);
}

/* ---- Threads ---- */

static struct lane *add_lane(struct replay *r, uint64_t thread_id, pid_t tid)
{
	struct lane *l = &r->lanes[r->lane_count];

	if (r->lane_count == EXECTRACE_THREADS_MAX)
		return NULL;
	r->lane_count++;
	go_lane_init(&l->go);
	l->thread_id = thread_id;
	l->tid = tid;
	return l;
}

static struct lane *lane_of(struct replay *r, uint64_t thread_id, pid_t tid)
{
	for (unsigned i = LOOP + 1; i < r->lane_count; i++)
		if (r->lanes[i].thread_id == thread_id)
			return &r->lanes[i];
	return add_lane(r, thread_id, tid);
}

static void thread_stops(struct replay *r, struct lane *l, unsigned number)
{
	if (!l->running)
		return;
	EMIT(r, number, GO_USER_REGION, l->region_task, 1, l->region, 0);
	EMIT(r, number, GO_BLOCK_SEND, 0);
	EMIT(r, number, GO_PROC_STOP);
	l->running = false;
}

static void thread_runs(struct replay *r, struct lane *l, unsigned number, const char *task,
			uint64_t op_id)
{
	EMIT(r, number, GO_PROC_START, (uint64_t)l->tid);
	if (!l->known)
		EMIT(r, number, GO_CREATE, l->thread_id, thread_stack(r, l->tid), 0);
	else
		EMIT(r, number, GO_UNBLOCK_LOCAL, l->thread_id, 0);
	EMIT(r, number, GO_START_LOCAL, l->thread_id);
	l->known = l->running = true;
	l->region = go_string(&r->table, task);
	l->region_task = task_of(r, find(r, op_id));
	EMIT(r, number, GO_USER_REGION, l->region_task, 0, l->region, thread_stack(r, l->tid));
}

static void on_label(struct replay *r, const struct record *record)
{
	const char *task = (const char *)(uintptr_t)record->words[1];
	struct lane *l = lane_of(r, record->words[0], (pid_t)record->small);
	unsigned number;

	if (l == NULL) {
		r->left_out++;
		return;
	}
	number = (unsigned)(l - r->lanes);
	thread_stops(r, l, number);
	if (task != NULL)
		thread_runs(r, l, number, task, record->words[2]);
}

/* ---- All of it ---- */

static void on_poll(struct replay *r, bool sleeps)
{
	if (!sleeps) {
		loop_on(r);
	} else if (r->lanes[LOOP].on && running(r) == NULL) {
		EMIT(r, LOOP, GO_PROC_STOP);
		r->lanes[LOOP].on = false;
	}
}

static void on_operation(struct replay *r, const struct record *record, enum record_type type)
{
	struct goroutine *g = find(r, record->words[0]);

	if (g == NULL)
		return;
	loop_on(r);
	if (type == RECORD_SPAN)
		on_span(r, g, record);
	else if (type == RECORD_DUE)
		on_due(r, g);
	else if (type == RECORD_TICK)
		on_tick(r, g);
	else if (type == RECORD_TICKED)
		on_ticked(r, g);
	else if (type == RECORD_MOVE)
		on_move(r, g, record->small);
	else if (type == RECORD_END)
		on_end(r, g);
}

static void replay_record(struct replay *r, const struct record *record)
{
	enum record_type type = atomic_load_explicit(&record->type, memory_order_acquire);

	r->ns = record->ns;
	switch (type) {
	case RECORD_BEGIN:
		loop_on(r);
		on_begin(r, record);
		break;
	case RECORD_TRACE: on_trace(r, record); break;
	case RECORD_LABEL: on_label(r, record); break;
	case RECORD_SLEEP: on_poll(r, true); break;
	case RECORD_WAKE: on_poll(r, false); break;
	case RECORD_HEAP: EMIT(r, LOOP, GO_HEAP_ALLOC, record->words[0]); break;
	case RECORD_SPAN:
	case RECORD_DUE:
	case RECORD_TICK:
	case RECORD_TICKED:
	case RECORD_MOVE:
	case RECORD_END: on_operation(r, record, type); break;
	case RECORD_ORIGIN:
	case RECORD_NONE: break;
	}
}

static void tell(struct replay *r, const char *text)
{
	go_log(&r->lanes[LOOP].go, LOOP, r->ns, 0, go_string(&r->table, "about"), text);
}

/* A reader of the file draws what ran until it was taken off. */
static void take_all_off(struct replay *r)
{
	struct goroutine *g = running(r);

	if (g != NULL && g->ended)
		end(r, g);
	else if (g != NULL)
		yield(r, g);
	for (unsigned i = LOOP + 1; i < r->lane_count; i++)
		thread_stops(r, &r->lanes[i], i);
}

static void replay_all(struct replay *r)
{
	uint64_t dropped, count = exectrace_count(r->t, &dropped);
	char text[96];

	r->ns = r->t->start_ns;
	loop_on(r);
	tell(r, "C daemon: a goroutine is an operation or a worker thread, a processor is a "
		"thread");
	for (uint64_t i = 0; i < count; i++)
		replay_record(r, &r->t->records[i]);
	r->ns = MAX(r->t->stop_ns, r->lanes[LOOP].go.last_ns);
	take_all_off(r);
	snprintf(text, sizeof(text), "records left out for want of room: %llu",
		 (unsigned long long)(dropped + r->left_out));
	tell(r, text);
}

int exectrace_write_go(const struct exectrace *t, struct buf *out)
{
	struct replay r = { .t = t };
	struct go_lane lanes[EXECTRACE_THREADS_MAX];
	int rc = modules_add(&r.modules);

	go_table_init(&r.table);
	map_init(&r.ops, EXECTRACE_OPS_MAX);
	arena_init(&r.arena, ARENA_MAX);
	r.lanes = mem_alloc_array(EXECTRACE_THREADS_MAX, sizeof(*r.lanes));
	if (rc == 0 && r.lanes == NULL)
		rc = UV_ENOMEM;
	if (rc == 0) {
		(void)add_lane(&r, t->thread_id, t->tid);
		symbols_begin(&r.modules);
		replay_all(&r);
		symbols_end();
		for (unsigned i = 0; i < r.lane_count; i++)
			lanes[i] = r.lanes[i].go;
		rc = go_write(out, lanes, r.lane_count, &r.table);
	}
	for (unsigned i = 0; i < r.lane_count; i++)
		go_lane_fini(&r.lanes[i].go);
	mem_free(r.lanes);
	arena_fini(&r.arena);
	map_fini(&r.ops);
	go_table_fini(&r.table);
	modules_fini(&r.modules);
	return rc;
}
