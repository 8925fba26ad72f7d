/* Records are taken from an array by a counter, by any thread, and are complete when their type is
 * set. Whoever writes one is counted while it does, so that the memory is not given back under it.
 *
 * What can go wrong: a thread is between taking a record and completing it when the recording
 * stops. The reader waits until nobody writes. */
#include "profiler/exectrace.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

static _Atomic(struct exectrace *) current;
static _Atomic unsigned writers;

_Static_assert(sizeof(struct record) == 48, "a record's size");

/* ---- Writing ---- */

static struct exectrace *writing(void)
{
	struct exectrace *t;

	if (atomic_load_explicit(&current, memory_order_relaxed) == NULL)
		return NULL;
	atomic_fetch_add(&writers, 1);
	t = atomic_load(&current);
	if (t == NULL)
		atomic_fetch_sub(&writers, 1);
	return t;
}

static void written(void)
{
	atomic_fetch_sub(&writers, 1);
}

static bool take(struct exectrace *t, unsigned count, struct record **ret)
{
	uint64_t at = atomic_fetch_add_explicit(&t->used, count, memory_order_relaxed);

	*ret = t->records + at;
	return at + count <= EXECTRACE_RECORDS_MAX;
}

static uint64_t now(const struct exectrace *t)
{
	return clock_now_ns(t->runner->clock);
}

static void fill(const struct exectrace *t, struct record *r, enum record_type type, uint32_t small,
		 uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	r->ns = now(t);
	r->small = small;
	r->words[0] = a;
	r->words[1] = b;
	r->words[2] = c;
	r->words[3] = d;
	atomic_store_explicit(&r->type, type, memory_order_release);
}

static void put(struct exectrace *t, enum record_type type, uint32_t small, uint64_t id)
{
	struct record *r;

	if (take(t, 1, &r))
		fill(t, r, type, small, id, 0, 0, 0);
}

static uint64_t task_of(struct span s)
{
	return s.trace == NULL ? 0 : (uint64_t)s.generation << 32 | s.slot;
}

static void put_operation(struct exectrace *t, const struct op *op, uint32_t flags)
{
	const uintptr_t *by = op->created_by;
	struct record *r;

	if (!take(t, 2, &r))
		return;
	fill(t, r, RECORD_BEGIN, op->state | flags, op->id, op->parent_id, (uintptr_t)op->kind,
	     by[0]);
	fill(t, r + 1, RECORD_ORIGIN, 0, by[1], by[2], by[3], by[4]);
}

static void put_span(struct exectrace *t, const struct op *op, struct span span, struct span parent)
{
	const struct profiler *p = t->profiler;
	const char *category = p->span_category != NULL ? p->span_category(span) : NULL;
	uint64_t id[2];
	struct record *r;

	if (take(t, 1, &r))
		fill(t, r, RECORD_SPAN, 0, op->id, task_of(span), task_of(parent),
		     (uintptr_t)category);
	if (p->span_trace_id != NULL && p->span_trace_id(span, (uint8_t *)id) && take(t, 1, &r))
		fill(t, r, RECORD_TRACE, 0, task_of(span), id[0], id[1], 0);
}

/* ---- What is told ---- */

static struct exectrace *writing_of(const struct op *op)
{
	struct exectrace *t = writing();

	if (t == NULL || op->env.runner == t->runner)
		return t;
	written();
	return NULL;
}

static void put_of(const struct op *op, enum record_type type, uint32_t small)
{
	struct exectrace *t = writing_of(op);

	if (t == NULL)
		return;
	put(t, type, small, op->id);
	written();
}

static void on_begin(const struct op *op)
{
	struct exectrace *t = writing_of(op);

	if (t == NULL)
		return;
	put_operation(t, op, 0);
	written();
}

static void on_due(const struct op *op)
{
	put_of(op, RECORD_DUE, 0);
}

static void on_tick(const struct op *op)
{
	put_of(op, RECORD_TICK, 0);
}

static void on_ticked(uint64_t id)
{
	struct exectrace *t = writing();
	struct mem_stats memory;

	if (t == NULL)
		return;
	if (runner_on_loop(t->runner)) {
		put(t, RECORD_TICKED, 0, id);
		if (now(t) >= t->heap_ns) {
			t->heap_ns = now(t) + EXECTRACE_HEAP_EVERY_NS;
			mem_stats(&memory);
			put(t, RECORD_HEAP, 0, memory.live_bytes);
		}
	}
	written();
}

static void on_move(const struct op *op, unsigned from)
{
	if (from != op->state)
		put_of(op, RECORD_MOVE, op->state);
}

static void on_end(const struct op *op)
{
	put_of(op, RECORD_END, 0);
}

static void on_span(const struct op *op, struct span parent)
{
	struct exectrace *t = writing_of(op);

	if (t == NULL)
		return;
	put_span(t, op, op->env.span, parent);
	written();
}

static void on_label(const char *task, struct span span, uint64_t id)
{
	const struct thread *self = thread_self();
	struct exectrace *t = writing();
	struct record *r;

	if (t == NULL)
		return;
	/* One that came about otherwise is told apart by the address of its label. */
	if (!runner_on_loop(t->runner) && take(t, 1, &r))
		fill(t, r, RECORD_LABEL, self != NULL ? (uint32_t)self->tid : 0,
		     self != NULL ? self->id : (uintptr_t)op_label(), (uintptr_t)task, id, 0);
	written();
}

void exectrace_poll(bool sleeps)
{
	struct exectrace *t = writing();

	if (t == NULL)
		return;
	if (runner_on_loop(t->runner))
		put(t, sleeps ? RECORD_SLEEP : RECORD_WAKE, 0, 0);
	written();
}

/* ---- Beginning and end ---- */

static const struct op_watch watch = {
	.on_begin = on_begin,
	.on_due = on_due,
	.on_tick = on_tick,
	.on_ticked = on_ticked,
	.on_move = on_move,
	.on_span = on_span,
	.on_end = on_end,
	.on_label = on_label,
};

static void put_all_operations(struct exectrace *t)
{
	list_for_each(node, &t->runner->ops) {
		const struct op *op = list_entry(node, struct op, node);

		put_operation(t, op, RECORD_THERE);
		if (op_owns_span(op))
			put_span(t, op, op->env.span, (struct span){ 0 });
		if (op->task.node.next != NULL && list_linked(&op->task.node))
			put(t, RECORD_DUE, 0, op->id);
	}
}

int exectrace_start(struct exectrace **ret, const struct profiler *p)
{
	const struct thread *self = thread_self();
	struct exectrace *t, *none = NULL;
	void *records;

	if (atomic_load(&current) != NULL)
		return UV_EBUSY;
	t = mem_alloc(sizeof(*t));
	if (t == NULL)
		return UV_ENOMEM;
	records = mmap(NULL, EXECTRACE_RECORDS_MAX * sizeof(*t->records), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (records == MAP_FAILED) {
		mem_free(t);
		return UV_ENOMEM;
	}
	t->records = records;
	t->profiler = p;
	t->runner = p->runner;
	t->start_ns = now(t);
	t->running_id = op_label()->task != NULL ? op_label()->id : 0;
	t->thread_id = self != NULL ? self->id : 1;
	t->tid = (pid_t)syscall(SYS_gettid);
	put_all_operations(t);
	if (!atomic_compare_exchange_strong(&current, &none, t)) {
		t->stop_ns = t->start_ns;
		exectrace_free(t);
		return UV_EBUSY;
	}
	op_set_watch(&watch);
	*ret = t;
	return 0;
}

void exectrace_stop(struct exectrace *t)
{
	if (atomic_load(&current) != t)
		return;
	op_set_watch(NULL);
	t->stop_ns = now(t);
	atomic_store(&current, NULL);
}

struct exectrace *exectrace_free(struct exectrace *t)
{
	if (t == NULL)
		return NULL;
	exectrace_stop(t);
	while (atomic_load(&writers) > 0)
		sched_yield();
	munmap(t->records, EXECTRACE_RECORDS_MAX * sizeof(*t->records));
	return mem_free(t);
}

uint64_t exectrace_count(const struct exectrace *t, uint64_t *ret_dropped)
{
	uint64_t used;

	while (atomic_load(&writers) > 0)
		sched_yield();
	used = atomic_load(&t->used);
	*ret_dropped = used > EXECTRACE_RECORDS_MAX ? used - EXECTRACE_RECORDS_MAX : 0;
	return MIN(used, (uint64_t)EXECTRACE_RECORDS_MAX);
}
