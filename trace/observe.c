/* Operations report their moves here: a state is a stage. */
#include "trace/store.h"

static void on_move(struct runner_observer *o, const struct op *op, unsigned from, unsigned to)
{
	if (op_owns_span(op))
		trace_stage(op->env.span, op_state_name(op, to));
}

void trace_observe(struct trace *t, struct runner *runner)
{
	t->observer.on_move = on_move;
	runner->observer = &t->observer;
}
