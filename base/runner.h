/* What operations run on: a queue of deferred tasks, timers, worker jobs and a clock, all of one
 * thread.
 *
 * The runner itself is pure. A driver turns it: base/loop.h on a libuv loop in the daemon, the
 * simulator by hand on a virtual clock. Nothing here allocates. Every function but the job's run()
 * is for the owning thread. */
#pragma once

#include <pthread.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/span.h"

struct runner;
struct op;

/* Work of one kind in one turn of a loop, after which the rest waits for the next turn: two such
 * slices, input and tasks, are the millisecond that a turn may take. */
enum { RUNNER_SLICE_NS = 500 * 1000 };

/* Something to run soon, from the loop, never inside the call that asked for it. */
struct runner_task {
	void (*run)(struct runner_task *task);
	/* private */
	struct list node;
};

/* Something to run at a time. An intrusive pairing heap; equal times fire in the order they were
 * started. */
struct runner_timer {
	void (*run)(struct runner_timer *timer);
	/* private */
	uint64_t due_ms;
	uint64_t seq;
	struct runner_timer *child, *next, *prev;
	bool armed;
};

/* Something blocking: run() on a worker thread (it owns its inputs, touches nothing of the loop),
 * then done() on the loop. Cannot be cancelled once submitted; done() always comes, once. */
struct runner_job {
	void (*run)(struct runner_job *job);
	void (*done)(struct runner_job *job);
	struct span span; /* whom it is for, as the observer is told; zero = for none */
	/* private */
	struct runner *runner;
	void *driver_data;
	struct list node;
	uint64_t submitted_ns, started_ns, ended_ns;
};

struct runner_driver {
	/** Something became due earlier than known before, or the last timer was stopped: ask
	 * runner_next_due_ms() and make sure runner_turn() is called in time. */
	void (*wake)(struct runner *r);
	/** 0, or UV_ENOMEM (done() then never comes). */
	int (*submit)(struct runner *r, struct runner_job *job);
};

/* Told of every state change of every operation; trace/ installs one. */
struct runner_observer {
	void (*on_move)(struct runner_observer *o, const struct op *op, unsigned from, unsigned to);
	/* The thread works for this span from now on (zero span: for none); told before and after
	 * every tick of an operation. May be NULL. */
	void (*on_work)(struct runner_observer *o, struct span span);
	/* Something could have run for this span from since_ns on, but waited for its turn until
	 * until_ns: a deferred tick for the loop, a job for a worker, a finished job for the loop.
	 * May be NULL. */
	void (*on_queued)(struct runner_observer *o, struct span span, uint64_t since_ns,
			  uint64_t until_ns);
};

struct runner {
	const struct clock *clock;
	struct runner_observer *observer; /* borrowed; may be NULL */
	struct list ops; /* every operation between start and callback, oldest first */
	unsigned op_count;
	/* private */
	struct list walks; /* of ops, under way */
	const struct runner_driver *driver;
	struct list tasks;
	struct runner_timer *timers;
	uint64_t timer_seq;
	uint64_t random_state[4];
	pthread_t owner;
	uintptr_t stack_top; /* of the owner: mapped up to here (base/op.c) */
};

/** Borrows clock and driver. `seed` feeds runner_random(); the calling thread becomes the owner. */
void runner_init(struct runner *r, const struct clock *clock, const struct runner_driver *driver,
		 uint64_t seed);
bool runner_on_loop(const struct runner *r);

/** Queue a task; queueing it again before it ran is harmless. */
void runner_defer(struct runner *r, struct runner_task *task);
/** Remove a task that may or may not be queued. A zeroed task counts as not queued. */
void runner_undefer(struct runner_task *task);

/** (Re)arm. due_ms is absolute time of r->clock; a time in the past counts as now. A zeroed timer
 * is stopped. */
void runner_timer_start(struct runner *r, struct runner_timer *t, uint64_t due_ms);
void runner_timer_stop(struct runner *r, struct runner_timer *t);

int runner_submit(struct runner *r, struct runner_job *job);
/** Someone wants to know how long things wait for their turn. */
static inline bool runner_watches_queue(const struct runner *r)
{
	return r->observer != NULL && r->observer->on_queued != NULL;
}

static inline uint64_t runner_now_ms(const struct runner *r)
{
	return clock_now_ms(r->clock);
}

/** Uniform 64 bits (xoshiro256**): jitter, sampling, simulation. Not for secrets. */
uint64_t runner_random(struct runner *r);
/** Uniform in [0, n); n > 0. */
uint64_t runner_random_below(struct runner *r, uint64_t n);

/* For drivers. */
/** The job's run(), on the worker, and its done(), on the loop. */
void runner_job_run(struct runner_job *job);
void runner_job_done(struct runner_job *job);
/** Run the tasks queued before this call, for RUNNER_SLICE_NS, then the timers that are due. Tasks
 * queued meanwhile, and those for which no time was left, wait for the next turn, so that I/O gets
 * its share. Returns how many ran. */
unsigned runner_turn(struct runner *r);
/** When the next turn is needed: 0 = now (tasks are queued), UINT64_MAX = never, else the absolute
 * ms. */
uint64_t runner_next_due_ms(const struct runner *r);
