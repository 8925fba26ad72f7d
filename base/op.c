#include "base/op.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Who started an operation is kept as return addresses, found by the frame pointers that the build
 * asks for: a few loads, always on. Libraries have none, so a frame's link may be any value; only
 * what lies between the frame and the one in which the runner was made is followed, which is this
 * thread's stack and mapped. An address that is no code is for the reader to leave out. */

enum { ID_FIRST = 2, ID_BLOCK = 64 /* taken from all threads' counter at once */ };

static _Thread_local volatile struct op_label label;
static _Atomic(op_wait_fn) wait_fn;
static _Atomic(const struct op_watch *) watch;

#define TELL(what, ...)                                                                            \
	do {                                                                                       \
		const struct op_watch *told = atomic_load_explicit(&watch, memory_order_acquire);  \
		if (__builtin_expect(told != NULL, 0))                                             \
			told->what(__VA_ARGS__);                                                   \
	} while (0)
static _Thread_local uint64_t id_next, id_end;
static _Atomic uint64_t id_blocks = ID_FIRST;

uint64_t op_next_id(void)
{
	if (id_next == id_end) {
		id_next = atomic_fetch_add_explicit(&id_blocks, ID_BLOCK, memory_order_relaxed);
		id_end = id_next + ID_BLOCK;
	}
	return id_next++;
}

__attribute__((no_sanitize("address"))) static inline void note_creation(struct op *op,
									 const uintptr_t *frame)
{
	uintptr_t top = op->env.runner->stack_top;

	for (unsigned i = 0; i < OP_CREATED_FRAMES; i++) {
		uintptr_t next = frame[0];

		op->created_by[i] = frame[1];
		if (next <= (uintptr_t)frame || next >= top || next % sizeof(*frame) != 0)
			return;
		frame = (const uintptr_t *)next;
	}
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static void on_task(struct runner_task *task)
{
	op_tick(container_of(task, struct op, task));
}

static void on_deadline(struct runner_timer *timer)
{
	op_stop(container_of(timer, struct op, timer), UV_ETIMEDOUT);
}

void op_init(struct op *op, const struct op_kind *kind, const struct op_env *env,
	     uint64_t timeout_ms)
{
	struct op_env copy = *env; /* env may lie inside what is overwritten here */
	uint64_t now_ms = runner_now_ms(copy.runner);

	REQUIRE(runner_on_loop(copy.runner));
	REQUIRE(kind->state_count > 0 && kind->state_count <= OP_STATES_MAX);
	*op = (struct op){ .env = copy,
			   .kind = kind,
			   .limit_ms = copy.deadline_ms,
			   .since_ms = now_ms,
			   .id = op_next_id(),
			   .parent_id = label.id,
			   .live = true };
	note_creation(op, __builtin_frame_address(0));
	op->env.deadline_ms = MIN(copy.deadline_ms, add_saturating(now_ms, timeout_ms));
	op->task.run = on_task;
	op->timer.run = on_deadline;
	list_push_back(&copy.runner->ops, &op->node);
	copy.runner->op_count++;
	TELL(on_begin, op);
	if (op->env.deadline_ms <= now_ms)
		op_stop(op, UV_ETIMEDOUT);
	else if (op->env.deadline_ms != UINT64_MAX)
		runner_timer_start(copy.runner, &op->timer, op->env.deadline_ms);
	op_defer(op);
}

void op_own_span(struct op *op, struct span span)
{
	struct runner_observer *observer = op->env.runner->observer;
	struct span parent = op->env.span;

	op->env.span = span;
	op->owns_span = true;
	TELL(on_span, op, parent);
	if (observer != NULL)
		observer->on_move(observer, op, op->state, op->state);
}

void op_set_watch(const struct op_watch *w)
{
	atomic_store(&watch, w);
}

void op_set_wait_fn(op_wait_fn fn)
{
	atomic_store(&wait_fn, fn);
}

void op_move(struct op *op, unsigned state)
{
	struct runner_observer *observer = op->env.runner->observer;
	uint64_t now_ms = runner_now_ms(op->env.runner);
	op_wait_fn waited = atomic_load_explicit(&wait_fn, memory_order_relaxed);
	unsigned from = op->state;

	REQUIRE(op->live);
	REQUIRE(state < op->kind->state_count && (op->kind->states[from].next & TO(state)) != 0);
	if (waited != NULL && now_ms > op->since_ms)
		waited(op, from, now_ms - op->since_ms);
	op->state = state;
	op->since_ms = now_ms;
	TELL(on_move, op, from);
	if (observer != NULL)
		observer->on_move(observer, op, from, state);
}

void op_result(struct op *op, int status)
{
	if (op->has_result)
		return;
	op->has_result = true;
	op->status = status;
}

bool op_has_result(const struct op *op)
{
	return op->has_result;
}

int op_status(const struct op *op)
{
	return op->status;
}

void op_cancel(struct op *op)
{
	op_stop(op, UV_ECANCELED);
}

void op_stop(struct op *op, int status)
{
	REQUIRE(status < 0);
	if (!op->live || op->stopping)
		return;
	op->stopping = true;
	op_result(op, status);
	op_defer(op);
}

void op_prolong(struct op *op, uint64_t timeout_ms)
{
	struct runner *r = op->env.runner;
	uint64_t deadline_ms;

	if (!op->live || op->stopping)
		return;
	deadline_ms = MIN(op->limit_ms, add_saturating(runner_now_ms(r), timeout_ms));
	if (deadline_ms <= op->env.deadline_ms)
		return;
	op->env.deadline_ms = deadline_ms;
	if (deadline_ms == UINT64_MAX)
		runner_timer_stop(r, &op->timer);
	else
		runner_timer_start(r, &op->timer, deadline_ms);
}

bool op_stopping(const struct op *op)
{
	return op->stopping;
}

/* The signal handler may come between any two stores: while the task is NULL it reads no span. */
static void label_thread(const char *task, struct span span, uint64_t id)
{
	label.task = NULL;
	atomic_signal_fence(memory_order_release);
	label.span.trace = span.trace;
	label.span.slot = span.slot;
	label.span.generation = span.generation;
	label.id = id;
	atomic_signal_fence(memory_order_release);
	label.task = task;
}

void op_label_set(const char *task, struct span span, uint64_t id)
{
	label_thread(task, span, id);
	TELL(on_label, task, span, id);
}

static void tell_work(const struct runner *runner, struct span span)
{
	struct runner_observer *observer = runner->observer;

	if (observer != NULL && observer->on_work != NULL)
		observer->on_work(observer, span);
}

/* What waited was the span that the operation has by now: its own, if it opened one meanwhile. */
static void tell_queued(struct op *op)
{
	const struct runner *r = op->env.runner;
	uint64_t since_ns = op->due_ns;

	op->due_ns = 0;
	if (runner_watches_queue(r))
		r->observer->on_queued(r->observer, op->env.span, since_ns, clock_now_ns(r->clock));
}

void op_tick(struct op *op)
{
	const char *task = label.task;
	struct span span = { label.span.trace, label.span.slot, label.span.generation };
	struct runner *runner = op->env.runner;
	uint64_t id = label.id, ticked = op->id;

	REQUIRE(op->live);
	REQUIRE(runner_on_loop(runner));
	if (op->due_ns != 0)
		tell_queued(op);
	label_thread(op->kind->name, op->env.span, op->id);
	tell_work(runner, op->env.span);
	TELL(on_tick, op);
	op->kind->tick(op);
	TELL(on_ticked, ticked);
	tell_work(runner, span);
	label_thread(task, span, id);
}

void op_defer(struct op *op)
{
	struct runner *r = op->env.runner;

	REQUIRE(op->live);
	if (op->due_ns == 0 && op->env.span.trace != NULL && runner_watches_queue(r))
		op->due_ns = clock_now_ns(r->clock);
	TELL(on_due, op);
	runner_defer(r, &op->task);
}

/* The walk is about to come to an operation that ends. */
static void pass_by(struct op_walk *w, const struct op *op)
{
	if (w->next == &op->node)
		w->next = op->node.next;
}

bool op_finish(struct op *op)
{
	REQUIRE(op->live);
	REQUIRE(op->kind->states[op->state].next == 0);
	if (op->pending > 0)
		return false;
	runner_undefer(&op->task);
	runner_timer_stop(op->env.runner, &op->timer);
	list_for_each(walk, &op->env.runner->walks)
		pass_by(list_entry(walk, struct op_walk, node), op);
	list_remove(&op->node);
	REQUIRE(op->env.runner->op_count > 0);
	op->env.runner->op_count--;
	op->live = false;
	TELL(on_end, op);
	return true;
}

uint64_t op_left_ms(const struct op *op)
{
	uint64_t now_ms = runner_now_ms(op->env.runner);

	if (op->env.deadline_ms == UINT64_MAX)
		return UINT64_MAX;
	return op->env.deadline_ms > now_ms ? op->env.deadline_ms - now_ms : 0;
}

const volatile struct op_label *op_label(void)
{
	return &label;
}

void op_walk_begin(struct op_walk *w, struct runner *r)
{
	w->runner = r;
	w->next = r->ops.next;
	list_init(&w->node);
	list_push_back(&r->walks, &w->node);
}

const struct op *op_walk_next(struct op_walk *w)
{
	const struct op *op;

	if (w->runner == NULL || w->next == &w->runner->ops)
		return NULL;
	op = list_entry(w->next, struct op, node);
	w->next = w->next->next;
	return op;
}

void op_walk_end(struct op_walk *w)
{
	if (w->runner != NULL)
		list_remove(&w->node);
	w->runner = NULL;
}

void op_print_all(const struct runner *r, int fd)
{
	list_for_each(node, &r->ops) {
		const struct op *op = list_entry(node, struct op, node);

		dprintf(fd, "operation %s in state %s for %llu ms, pending %u%s\n", op->kind->name,
			op->kind->states[op->state].name,
			(unsigned long long)(runner_now_ms(r) - op->since_ms), op->pending,
			op->stopping ? ", stopping" : "");
	}
}
