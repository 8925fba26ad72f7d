/*   reading ─┬► building ─┬► done
 *            └────────────┘
 *
 * Suspends while the store looks or reads and, for large sets, while a worker sorts and sums.
 *
 * What can go wrong: the store gains commits meanwhile. A set counts as right for the store's count
 * of commits as it was before the look, so the next load looks again. */
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

/* The load's reference becomes the result's. */
static void use(struct snapshot_load *l, struct hot_set *set)
{
	set->store_commits = MAX(set->store_commits, l->store_commits);
	l->snapshot = (struct snapshot){ .set = set->set, .hot = set };
}

/* Sessions of a wave begin together and read the same: one of them keeps what it read. */
static bool use_others(struct snapshot_load *l, size_t count)
{
	struct hot_set *set = hot_find(&l->source->hot, &l->key);

	if (set == NULL || set->set.count != count) {
		hot_release(set);
		return false;
	}
	use(l, set);
	return true;
}

static void on_items(struct store_items *i, int status)
{
	struct snapshot_load *l = container_of(i, struct snapshot_load, items);

	if (status < 0) {
		op_result(&l->op, status);
	} else if (i->unchanged) {
		l->source->stats.checked++;
		use(l, TAKE_PTR(l->found));
		op_result(&l->op, 0);
	} else {
		l->source->stats.read++;
		if (use_others(l, i->count))
			op_result(&l->op, 0);
		l->list = (struct reconcile_item *)(void *)TAKE_PTR(i->items);
		l->count = i->count;
	}
	store_items_fini(i);
	l->reading = false;
	op_release(&l->op);
	op_tick(&l->op);
}

static void build(struct runner_job *job)
{
	struct snapshot_load *l = container_of(job, struct snapshot_load, job);

	l->job_status = hot_set_make(&l->key, TAKE_PTR(l->list), l->count, &l->snapshot.hot);
}

static void on_built(struct runner_job *job)
{
	struct snapshot_load *l = container_of(job, struct snapshot_load, job);

	l->built = true;
	op_release(&l->op);
	op_tick(&l->op);
}

static void look_for_hot(struct snapshot_load *l)
{
	l->store_commits = store_commit_count(l->source->store);
	l->found = hot_find(&l->source->hot, &l->key);
	if (l->found == NULL || l->found->store_commits != l->store_commits)
		return;
	l->source->stats.hot++;
	use(l, TAKE_PTR(l->found));
	op_result(&l->op, 0);
}

static enum op_step do_reading(struct snapshot_load *l)
{
	if (!l->asked && !op_stopping(&l->op))
		look_for_hot(l);
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
		store_items_again_start(&l->items, &l->op.env, l->source->store, &l->scope,
					l->found != NULL ? l->found->set.count : 0, on_items);
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
	if (l->job_status == 0) {
		use(l, l->snapshot.hot);
		hot_keep(&l->source->hot, l->snapshot.hot);
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
			if (!op_finish(op))
				return;
			l->found = hot_release(l->found);
			l->list = mem_free(l->list);
			l->cb(l, op_status(op));
			return;
		}
	}
}

void snapshot_load_start(struct snapshot_load *l, const struct op_env *env,
			 struct snapshot_source *source, const struct scope *scope,
			 snapshot_load_cb cb)
{
	op_init(&l->op, &kind, env, UINT64_MAX);
	l->snapshot = (struct snapshot){ 0 };
	l->cb = cb;
	l->source = source;
	l->scope = *scope;
	l->key = scope_key(scope);
	l->found = NULL;
	l->list = NULL;
	l->count = 0;
	l->job_status = 0;
	l->asked = l->reading = l->built = false;
}

void snapshot_fini(struct snapshot *s)
{
	s->hot = hot_release(s->hot);
	s->set = (struct reconcile_set){ 0 };
}
