/* Operations report their moves here: a state is a stage. */
#include "trace/store.h"

static void on_move(struct runner_observer *o, const struct op *op, unsigned from, unsigned to)
{
	if (op_owns_span(op))
		trace_stage(op->env.span, op_state_name(op, to));
}

static void on_work(struct runner_observer *o, struct span span)
{
	(void)trace_work(container_of(o, struct trace, observer), span);
}

void trace_observe(struct trace *t, struct runner *runner)
{
	t->observer.on_move = on_move;
	t->observer.on_work = on_work;
	runner->observer = &t->observer;
}
