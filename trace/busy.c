/* CPU time per span: the thread's time between two changes of whom it works for is charged to the
 * span it worked for in between, and to the stage that is in.
 *
 * Queued time per span: the union of the intervals in which something of it could have run. They
 * are told at their ends, mostly in order, and only the latest end is remembered: one that lies
 * before it adds nothing, one that spans a hole between earlier ones adds only what is behind them.
 * So it is a lower bound, and never more than wall time. */
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

void trace_queued(struct span s, uint64_t since_ns, uint64_t until_ns)
{
	struct node *n = s.trace != NULL ? node_find(s) : NULL;

	if (n == NULL || !(n->flags & NODE_OPEN))
		return;
	since_ns = MAX(since_ns, n->start_ns);
	if (until_ns <= since_ns)
		return;
	uint32_t since_us = (uint32_t)((since_ns - n->start_ns + 500) / 1000);
	uint32_t until_us = (uint32_t)((until_ns - n->start_ns + 500) / 1000);
	/* Modulo 2^32, so half an hour ago is before and half an hour ahead is after. */
	if ((int32_t)(n->queued_until_us - since_us) > 0)
		since_us = n->queued_until_us;
	if ((int32_t)(until_us - since_us) <= 0)
		return;
	uint32_t us = MIN(until_us - since_us, UINT32_MAX - n->queued_us);
	n->queued_us += us;
	n->queued_until_us = until_us;
	if (n->stage != STAGE_NONE) {
		uint32_t stage_us = (uint32_t)((n->stage_since_ns - n->start_ns + 500) / 1000);
		stage_add_queued(s.trace, n, us, (uint32_t)MAX((int32_t)(stage_us - since_us), 0));
	} else {
		n->stage_queued_us += us;
	}
}

void trace_measured(struct span s, uint64_t busy_ns, uint64_t queued_ns)
{
	struct node *n = node_open(s);

	if (n == NULL)
		return;
	uint32_t us = (uint32_t)MIN(queued_ns / 1000, (uint64_t)(UINT32_MAX - n->queued_us));
	n->busy_ns += busy_ns;
	n->stage_busy_ns += busy_ns;
	n->queued_us += us;
	n->stage_queued_us += us;
}
