#include "profiler/profiler.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "profiler/exectrace.h"
#include "profiler/profiler_private.h"
#include "profiler/symbols.h"

/* A capture's life:
 *
 *   BEGIN ──► STARTING ──► SAMPLING ──► STOPPING ──► QUEUED ──► WORKING ──► DONE
 *     │           │ (job)      │ (timer)    │ (job)      │          │ (job)
 *     └───────────┴────────────┴────────────┴────────────┴──────────┴──► DONE
 *
 * A snapshot goes from BEGIN to QUEUED; the difference of two has the first in STARTING, the second
 * in WORKING, and nothing to do in STOPPING. The operations in flight are looked at before, in
 * BEGIN or QUEUED, over as many turns of the loop as that takes. Waiting: STARTING, STOPPING,
 * WORKING for a job, SAMPLING for its time, QUEUED for the captures before it: symbolizing is
 * serial, and workers that wait for it would be missed elsewhere. A cancelled capture frees its
 * place in the sampler before it ends.
 *
 * An execution trace is begun in BEGIN and ended in STOPPING, on the loop, without jobs. */

enum { BEGIN, STARTING, SAMPLING, STOPPING, QUEUED, WORKING, DONE };

static const struct op_state states[] = {
	[BEGIN] = { "begin", TO(STARTING) | TO(SAMPLING) | TO(QUEUED) | TO(DONE) },
	[STARTING] = { "starting", TO(SAMPLING) | TO(STOPPING) | TO(DONE) },
	[SAMPLING] = { "sampling", TO(STOPPING) | TO(QUEUED) | TO(DONE) },
	[STOPPING] = { "stopping", TO(QUEUED) | TO(DONE) },
	[QUEUED] = { "queued", TO(WORKING) | TO(DONE) },
	[WORKING] = { "working", TO(DONE) },
	[DONE] = { "done", 0 },
};

static void capture_tick(struct op *op);

static const struct op_kind kind = { "profiler.capture", states, ARRAY_SIZE(states), capture_tick };

/* ---- Jobs ---- */

static void on_job_done(struct runner_job *job)
{
	struct profiler_capture *c = container_of(job, struct profiler_capture, job);

	op_release(&c->op);
	c->work->busy = false;
	op_tick(&c->op);
}

static void run_sampler_add(struct runner_job *job)
{
	struct profiler_capture *c = container_of(job, struct profiler_capture, job);

	c->work->status = sampler_add(&c->work->reader, c->request.hz, c->request.background);
	c->work->sampling = c->work->status == 0;
	if (c->work->sampling && !c->request.legacy)
		symbols_warm();
}

static void run_sampler_remove(struct runner_job *job)
{
	struct profiler_capture *c = container_of(job, struct profiler_capture, job);

	sampler_remove(&c->work->reader);
	c->work->sampling = false;
	c->work->status = 0;
}

static void run_first(struct runner_job *job)
{
	struct profiler_capture *c = container_of(job, struct profiler_capture, job);

	c->work->status = capture_first(c->work);
}

static void run_work(struct runner_job *job)
{
	struct profiler_capture *c = container_of(job, struct profiler_capture, job);

	c->work->status = capture_write(c->work, &c->out);
}

static bool submit(struct profiler_capture *c, void (*run)(struct runner_job *job))
{
	int rc;

	c->job = (struct runner_job){ .run = run, .done = on_job_done };
	rc = runner_submit(c->op.env.runner, &c->job);
	if (rc != 0) {
		op_result(&c->op, rc);
		return false;
	}
	c->work->busy = true;
	op_hold(&c->op);
	return true;
}

/* ---- The queue ---- */

static void leave_queue(struct profiler_capture *c)
{
	struct profiler *p = c->profiler;

	if (list_linked(&c->queued))
		list_remove(&c->queued);
	if (p->working == c)
		p->working = NULL;
	if (p->working == NULL && !list_empty(&p->queue))
		op_defer(&list_entry(p->queue.next, struct profiler_capture, queued)->op);
}

static bool take_turn(struct profiler_capture *c)
{
	struct profiler *p = c->profiler;

	if (!list_linked(&c->queued))
		list_push_back(&p->queue, &c->queued);
	if (p->working != NULL || p->queue.next != &c->queued)
		return false;
	list_remove(&c->queued);
	p->working = c;
	return true;
}

/* ---- States ---- */

static enum op_step to_state(struct profiler_capture *c, unsigned state)
{
	op_move(&c->op, state);
	return OP_NEXT;
}

static enum op_step again(struct profiler_capture *c)
{
	op_defer(&c->op);
	return OP_WAIT;
}

static enum op_step do_begin(struct profiler_capture *c)
{
	int rc;

	if (c->work == NULL)
		op_result(&c->op, UV_ENOMEM);
	if (op_stopping(&c->op) || op_has_result(&c->op))
		return to_state(c, DONE);
	if (c->request.kind == PROFILER_TRACE) {
		c->work->status = exectrace_start(&c->work->trace, c->profiler);
		return to_state(c, STARTING);
	}
	if (c->request.kind != PROFILER_CPU && c->request.seconds == 0)
		return to_state(c, QUEUED);
	rc = capture_snapshot(c->work, c->op.env.runner);
	if (rc > 0)
		return again(c);
	if (rc != 0)
		op_result(&c->op, rc);
	if (rc != 0 || !submit(c, c->request.kind == PROFILER_CPU ? run_sampler_add : run_first))
		return to_state(c, DONE);
	op_move(&c->op, STARTING);
	return OP_WAIT;
}

static void on_timer(struct runner_timer *t)
{
	op_tick(&container_of(t, struct profiler_capture, timer)->op);
}

static enum op_step do_starting(struct profiler_capture *c)
{
	const struct clock *clock = c->op.env.runner->clock;

	if (c->work->busy)
		return OP_WAIT;
	if (c->work->status != 0) {
		op_result(&c->op, c->work->status);
		return to_state(c, DONE);
	}
	c->work->start_wall_ns = clock_wall_ns(clock);
	c->work->start_ns = clock_now_ns(clock);
	c->work->until_ms = clock_now_ms(clock) + c->request.ms;
	c->timer.run = on_timer;
	runner_timer_start(c->op.env.runner, &c->timer, c->work->until_ms);
	return to_state(c, SAMPLING);
}

static enum op_step do_sampling(struct profiler_capture *c)
{
	const struct clock *clock = c->op.env.runner->clock;

	if (clock_now_ms(clock) < c->work->until_ms && !op_stopping(&c->op))
		return OP_WAIT;
	runner_timer_stop(c->op.env.runner, &c->timer);
	c->work->duration_ns = clock_now_ns(clock) - c->work->start_ns;
	op_move(&c->op, STOPPING);
	return OP_NEXT;
}

static enum op_step do_stopping(struct profiler_capture *c)
{
	if (c->work->busy)
		return OP_WAIT;
	if (c->work->trace != NULL)
		exectrace_stop(c->work->trace);
	if (c->work->sampling && submit(c, run_sampler_remove))
		return OP_WAIT;
	if (c->work->sampling) /* not even a worker can be asked: it blocks, but briefly */
		run_sampler_remove(&c->job);
	return to_state(c, op_stopping(&c->op) || op_has_result(&c->op) ? DONE : QUEUED);
}

static enum op_step do_queued(struct profiler_capture *c)
{
	struct profiler *p = c->profiler;
	int rc;

	if (op_stopping(&c->op))
		return to_state(c, DONE);
	if (p->working != c && !take_turn(c))
		return OP_WAIT;
	rc = capture_snapshot(c->work, c->op.env.runner);
	if (rc > 0)
		return again(c);
	if (rc != 0)
		op_result(&c->op, rc);
	if (rc != 0 || !submit(c, run_work))
		return to_state(c, DONE);
	op_move(&c->op, WORKING);
	return OP_WAIT;
}

static enum op_step do_working(struct profiler_capture *c)
{
	if (c->work->busy)
		return OP_WAIT;
	op_result(&c->op, c->work->status);
	return to_state(c, DONE);
}

static enum op_step do_done(struct profiler_capture *c)
{
	struct profiler *p = c->profiler;

	if (!op_finish(&c->op))
		return OP_WAIT;
	leave_queue(c);
	c->work = capture_work_free(c->work);
	p->captures++;
	p->failed += op_status(&c->op) != 0;
	p->in_flight--;
	c->cb(c, op_status(&c->op));
	return OP_WAIT;
}

static void capture_tick(struct op *op)
{
	struct profiler_capture *c = container_of(op, struct profiler_capture, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case BEGIN: step = do_begin(c); break;
		case STARTING: step = do_starting(c); break;
		case SAMPLING: step = do_sampling(c); break;
		case STOPPING: step = do_stopping(c); break;
		case QUEUED: step = do_queued(c); break;
		case WORKING: step = do_working(c); break;
		case DONE: do_done(c); return; /* c may be gone */
		}
	}
}

void profiler_capture_start(struct profiler_capture *c, struct profiler *p,
			    const struct op_env *env, const struct profiler_request *request,
			    profiler_capture_cb cb)
{
	*c = (struct profiler_capture){ .profiler = p, .request = *request, .cb = cb };
	c->request.hz = MIN(request->hz != 0 ? request->hz : (unsigned)PROFILER_HZ_DEFAULT,
			    (unsigned)PROFILER_HZ_MAX);
	c->request.seconds = MIN(request->seconds, (unsigned)PROFILER_SECONDS_MAX);
	if (request->kind == PROFILER_CPU && c->request.seconds == 0)
		c->request.seconds = PROFILER_SECONDS_DEFAULT;
	if (request->kind != PROFILER_TRACE)
		c->request.ms = c->request.seconds * 1000;
	else if (request->ms == 0)
		c->request.ms = PROFILER_TRACE_MS_DEFAULT;
	c->request.ms = MIN(c->request.ms, PROFILER_SECONDS_MAX * 1000u);
	buf_init(&c->out, PROFILER_OUTPUT_MAX);
	list_init(&c->queued);
	c->work = capture_work_new(p, &c->request);
	p->in_flight++;
	op_init(&c->op, &kind, env, UINT64_MAX);
}
