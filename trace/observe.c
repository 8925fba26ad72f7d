/* Operations report their moves here: a state is a stage. And what a profiler's signal handler may
 * ask, on the loop's thread or on one that works for it. */
#include <stdatomic.h>

#include "trace/store.h"

#define NO_TSAN __attribute__((no_sanitize("thread")))

static void on_move(struct runner_observer *o, const struct op *op, unsigned from, unsigned to)
{
	if (op_owns_span(op))
		trace_stage(op->env.span, op_state_name(op, to));
}

static void on_work(struct runner_observer *o, struct span span)
{
	(void)trace_work(container_of(o, struct trace, observer), span);
}

static void on_queued(struct runner_observer *o, struct span span, uint64_t since_ns,
		      uint64_t until_ns)
{
	trace_queued(span, since_ns, until_ns);
}

void trace_observe(struct trace *t, struct runner *runner)
{
	t->observer.on_move = on_move;
	t->observer.on_work = on_work;
	t->observer.on_queued = on_queued;
	runner->observer = &t->observer;
}

/* The interrupted code may be anywhere in trace/, and on another thread the loop may be at work at
 * this instant: so each word is read once, and the generation, which changes before anything else
 * of a cell does, is looked at again at the end. */
NO_TSAN const char *trace_span_category(struct span s)
{
	const struct trace *t = s.trace;
	const volatile struct node *n;
	uint8_t id;

	if (t == NULL || s.slot == 0 || s.slot >= t->cell_count)
		return NULL;
	n = &t->cells[s.slot].node;
	if (n->generation != s.generation || !(s.generation & 1))
		return NULL;
	id = n->category;
	atomic_thread_fence(memory_order_acquire);
	if (n->generation != s.generation || id >= ARRAY_SIZE(t->categories.text))
		return NULL;
	return *(const char *const volatile *)&t->categories.text[id];
}
