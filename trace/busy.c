/* CPU time per span: the thread's time between two changes of whom it works for is charged to the
 * span it worked for in between, and to the stage that is in. */
#include "trace/store.h"

enum trace_cpu trace_cpu_start(struct trace *t)
{
	t->busy = (struct span){ 0 };
	if (cpu_clock_start(&t->cpu) != TRACE_CPU_OFF)
		t->busy_since_ns = cpu_clock_now_ns(&t->cpu);
	return t->cpu.kind;
}

enum trace_cpu trace_cpu(const struct trace *t)
{
	return t->cpu.kind;
}

void busy_charge(struct trace *t)
{
	uint64_t now = cpu_clock_now_ns(&t->cpu), ns = now - t->busy_since_ns;
	struct node *n = t->busy.trace != NULL ? node_find(t->busy) : NULL;

	t->busy_since_ns = now;
	if (n == NULL || !(n->flags & NODE_OPEN))
		return;
	n->busy_ns += ns;
	n->stage_busy_ns += ns;
}

struct span trace_work(struct trace *t, struct span now)
{
	struct span before = { 0 };

	if (t == NULL || t->cpu.kind == TRACE_CPU_OFF)
		return before;
	before = t->busy;
	busy_charge(t);
	t->busy = now.trace == t ? now : (struct span){ 0 };
	return before;
}
