/*   reading ──► building ──► done
 *
 * Suspends while the store reads and, for large sets, while a worker sorts and sums. */
#include "sync/snapshot.h"

#include <stddef.h>

#include "base/mem.h"

/* What the store returns is used in place. */
_Static_assert(sizeof(struct store_item) == sizeof(struct reconcile_item), "same layout");
_Static_assert(offsetof(struct store_item, time_s) == offsetof(struct reconcile_item, time),
	       "same layout");
_Static_assert(offsetof(struct store_item, hash) == offsetof(struct reconcile_item, id),
	       "same layout");

enum { READING, BUILDING, DONE };

static const struct op_state states[] = {
	[READING] = { "reading", TO(BUILDING) | TO(DONE) },
	[BUILDING] = { "building", TO(DONE) },
	[DONE] = { "done", 0 },
};
static void load_tick(struct op *op);
static const struct op_kind kind = { "sync.load", states, ARRAY_SIZE(states), load_tick };

static void on_items(struct store_items *i, int status)
{
	struct snapshot_load *l = container_of(i, struct snapshot_load, items);

	if (status == 0) {
		l->snapshot.items = (struct reconcile_item *)(void *)TAKE_PTR(i->items);
		l->count = i->count;
	} else {
		op_result(&l->op, status);
	}
	store_items_fini(i);
	l->reading = false;
	op_release(&l->op);
	op_tick(&l->op);
}

static void build(struct runner_job *job)
{
	struct snapshot_load *l = container_of(job, struct snapshot_load, job);

	l->job_status = reconcile_set_init(&l->snapshot.set, l->snapshot.items, l->count);
}

static void on_built(struct runner_job *job)
{
	struct snapshot_load *l = container_of(job, struct snapshot_load, job);

	l->built = true;
	op_release(&l->op);
	op_tick(&l->op);
}

static enum op_step do_reading(struct snapshot_load *l)
{
	if (op_stopping(&l->op) && l->reading)
		op_cancel(&l->items.op);
	if (op_stopping(&l->op) || op_has_result(&l->op)) {
		if (l->reading)
			return OP_WAIT;
		op_move(&l->op, DONE);
		return OP_NEXT;
	}
	if (!l->asked) {
		l->asked = l->reading = true;
		op_hold(&l->op);
		store_items_start(&l->items, &l->op.env, l->store, &l->scope, on_items);
	}
	if (l->reading)
		return OP_WAIT;
	op_move(&l->op, BUILDING);
	return OP_NEXT;
}

static enum op_step do_building(struct snapshot_load *l)
{
	if (!l->built && l->op.pending > 0)
		return OP_WAIT;
	if (!l->built && l->count > SNAPSHOT_INLINE_MAX) {
		l->job = (struct runner_job){ .run = build,
					      .done = on_built,
					      .span = l->op.env.span };
		op_hold(&l->op);
		if (runner_submit(l->op.env.runner, &l->job) == 0)
			return OP_WAIT;
		op_release(&l->op);
		l->job_status = UV_ENOMEM;
	} else if (!l->built) {
		build(&l->job);
	}
	op_result(&l->op, l->job_status);
	op_move(&l->op, DONE);
	return OP_NEXT;
}

static void load_tick(struct op *op)
{
	struct snapshot_load *l = container_of(op, struct snapshot_load, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case READING: step = do_reading(l); break;
		case BUILDING: step = do_building(l); break;
		default:
			if (op_finish(op))
				l->cb(l, op_status(op));
			return;
		}
	}
}

void snapshot_load_start(struct snapshot_load *l, const struct op_env *env, struct store *store,
			 const struct scope *scope, snapshot_load_cb cb)
{
	op_init(&l->op, &kind, env, UINT64_MAX);
	l->snapshot = (struct snapshot){ 0 };
	l->cb = cb;
	l->store = store;
	l->scope = *scope;
	l->count = 0;
	l->job_status = 0;
	l->asked = l->reading = l->built = false;
}

void snapshot_fini(struct snapshot *s)
{
	reconcile_set_fini(&s->set);
	s->items = mem_free(s->items);
}
