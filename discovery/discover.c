/* One asker: attaches to the run that answers its question, and leaves it when it has enough.
 *
 *   IDLE ──► WAITING ──► DONE        waits in WAITING, for its run */
#include "base/mem.h"
#include "discovery/run.h"

enum { IDLE, WAITING, DONE };

static const struct op_state states[] = {
	[IDLE] = { "idle", TO(WAITING) | TO(DONE) },
	[WAITING] = { "waiting", TO(DONE) },
	[DONE] = { "done", 0 },
};

static void discover_tick(struct op *op);

static const struct op_kind kind_discover = { "discover", states, ARRAY_SIZE(states),
					      discover_tick };

/* The trace that began with the wait for a slot, when the run has another one or there is none. */
static void end_queued(struct discover *d, int status, const char *outcome)
{
	if (d->run != NULL)
		trace_link(d->queued, d->run->op.env.span, "joined");
	trace_finish(d->queued, status, outcome);
}

/* It was asked lately, and nobody had it. */
static bool is_missed(struct discover *d, const struct discovery_trigger *trigger)
{
	struct discovery *s = d->service;
	struct hash question = run_question(&d->iri, d->kind, trigger);
	uint64_t now = runner_now_ms(s->runner);
	struct miss_answer answer;

	if (d->fresh || d->has_announcer)
		return false;
	d->remembered = misses_hit(&s->misses, &question, service_peers_near(s), now, &answer);
	if (d->remembered) {
		d->answer = answer.answer;
		d->peers = answer.peers;
		d->last_error = answer.last_error;
		d->asked_ago_ms = now - answer.asked_ms;
		d->again_in_ms = answer.until_ms - now;
	}
	return d->remembered;
}

static enum op_step do_idle(struct discover *d)
{
	struct discovery_trigger trigger = { .announcer = d->has_announcer ? &d->announcer : NULL,
					     .user = d->user,
					     .fresh = d->fresh,
					     .span = d->queued };
	struct discovery_run *run;
	int err = 0;

	if (op_stopping(&d->op)) {
		d->outcome = DISCOVERY_CANCELLED;
		end_queued(d, UV_ECANCELED, "cancelled");
		op_move(&d->op, DONE);
		return OP_NEXT;
	}
	run = run_find(d->service, &d->iri, d->kind, &trigger);
	if (run != NULL)
		trigger.span = (struct span){ 0 };
	else if (is_missed(d, &trigger))
		err = ERR_NOT_FOUND;
	else
		run = run_new(d->service, &d->iri, d->kind, &trigger, &err);
	if (run != NULL)
		err = run_attach(run, d);
	if (run != NULL && err == 0 && d->history)
		run->history = true;
	if (d->queued.trace != NULL && (run == NULL || trigger.span.trace == NULL))
		end_queued(d, err, err < 0 ? "error" : "joined");
	if (err < 0) {
		d->outcome = d->remembered ? DISCOVERY_NOT_FOUND : DISCOVERY_ERROR;
		op_result(&d->op, err);
		op_move(&d->op, DONE);
		return OP_NEXT;
	}
	op_move(&d->op, WAITING);
	return OP_WAIT;
}

static enum op_step do_waiting(struct discover *d)
{
	if (d->run != NULL && !op_stopping(&d->op))
		return OP_WAIT;
	if (d->run != NULL) {
		int status = op_status(&d->op);

		d->outcome = status == UV_ETIMEDOUT ? DISCOVERY_TIMEOUT : DISCOVERY_CANCELLED;
		d->timeout_stage = run_stage(d->run);
		d->stage = d->timeout_stage;
		run_detach(d->run, d, status);
	}
	op_move(&d->op, DONE);
	return OP_NEXT;
}

static void discover_tick(struct op *op)
{
	struct discover *d = container_of(op, struct discover, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case IDLE: step = do_idle(d); break;
		case WAITING: step = do_waiting(d); break;
		case DONE:
			if (op_finish(op))
				d->cb(d, op_status(op));
			return;
		}
	}
}

void discover_start_for(struct discover *d, const struct op_env *env, struct discovery *service,
			const struct iri *iri, enum scope_kind kind,
			const struct discovery_trigger *trigger, discover_cb cb)
{
	void *data = d->data;
	void (*on_progress)(struct discover * d) = d->on_progress;

	*d = (struct discover){
		.data = data, .on_progress = on_progress, .cb = cb, .service = service, .iri = *iri
	};
	d->kind = kind;
	d->stage = "entry";
	d->user = trigger->user;
	d->fresh = trigger->fresh;
	d->history = trigger->history;
	d->queued = trigger->span;
	d->has_announcer = trigger->announcer != NULL;
	if (d->has_announcer)
		d->announcer = *trigger->announcer;
	list_init(&d->waiter);
	op_init(&d->op, &kind_discover, env, UINT64_MAX);
}

void discover_start(struct discover *d, const struct op_env *env, struct discovery *service,
		    const struct iri *iri, enum scope_kind kind, discover_cb cb)
{
	struct discovery_trigger trigger = { .user = true,
					     .fresh = d->fresh,
					     .history = d->history };

	discover_start_for(d, env, service, iri, kind, &trigger, cb);
}
