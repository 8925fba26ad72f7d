/* When which subscription is looked after: tasks and time in, what to start out. Pure: it starts
 * nothing, reads no clock and allocates only when a space becomes known.
 *
 *   task   one scope that is kept in sync: sleeping until it is due, queued until a slot is free,
 *          running until its owner says how it ended
 *   lane   hot: a peer told of news, or the scope was just added; cold: the interval is over
 *   slot   a place for a run. One is kept from each lane for the other: news does not wait for the
 *          interval, and whoever announces without end does not stop it. Discoveries that users
 *          wait for take further ones from the cold lane, down to one
 *   flow   the tasks of one space. Flows take turns by deficit round robin, paid in slot time:
 *          a space with many or slow scopes delays itself, not others
 *
 * A run that failed is due again after the interval times 2^(failures-1), at most
 * SCHEDULER_BACKOFF_MAX_MS or the interval; every delay varies by a tenth. News overrides that,
 * but news that proves empty is heard ever more rarely. A run that met busy peers alone comes again
 * when they wanted, later each time, but not later than the interval. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "object/object.h"

enum {
	SCHEDULER_TASKS_MAX = 10000,
	SCHEDULER_SLOTS = 6,
	SCHEDULER_HOT_RESERVED = 1,
	SCHEDULER_COLD_RESERVED = 1,
	SCHEDULER_YOUNG_MS = 5000,  /* since the start: not preempted */
	SCHEDULER_MOVING_MS = 5000, /* since progress: not preempted */
	SCHEDULER_QUANTUM_MS = 2000,
	SCHEDULER_COST_MIN_MS = 50,
	SCHEDULER_COST_FIRST_MS = 1000, /* assumed of a task that never ran */
	SCHEDULER_COST_MAX_MS = 60000,	/* what one run can put a flow into debt */
	SCHEDULER_BACKOFF_MAX_MS = 900000,
	SCHEDULER_VAIN_BASE_MS = 1000, /* after empty news; doubles */
	SCHEDULER_VAIN_MAX_MS = 60000,
	SCHEDULER_JITTER_DIVISOR = 10,
	SCHEDULER_WAKE_MIN_MS = 20 /* an expired time never makes the owner spin */
};

enum scheduler_lane { SCHEDULER_COLD, SCHEDULER_HOT };
enum scheduler_state { SCHEDULER_OUT, SCHEDULER_SLEEPING, SCHEDULER_QUEUED, SCHEDULER_RUNNING };

struct scheduler_flow;
struct scheduler_task {
	enum scheduler_state state; /* read freely */
	enum scheduler_lane lane;   /* of the queue it is in, or of the run */
	uint64_t due_ms;	    /* sleeping: when it is due by its interval */
	uint64_t queued_ms, started_ms;
	uint32_t failures; /* in a row */
	uint32_t vain;	   /* news in a row that proved empty */
	uint32_t busy;	   /* runs in a row that met busy peers alone */
	bool evicted;	   /* told to end early, to make room */
	/* private */
	struct list node; /* in the sleeping, running or a flow's list */
	struct scheduler_flow *flow;
	bool news;
	uint64_t news_ms; /* from when on news may start it */
	uint64_t moved_ms, cost_ms;
};

struct scheduler_stats {
	uint64_t tasks, sleeping, backing_off, hot_queued, cold_queued, hot_running, cold_running;
	uint64_t hot_started, cold_started, failed, preempted, news, news_vain, refused, cold_held;
	uint64_t queued_max_ms; /* the longest that a started task had waited for its slot */
};

struct scheduler {
	/** A task was queued; it may start at once or wait. Optional; set after scheduler_init.
	 * Must not call the scheduler. */
	void (*on_queued)(struct scheduler *s, struct scheduler_task *t);
	/* private */
	uint64_t interval_ms, random;
	unsigned users;
	struct map flows; /* space → flow */
	struct list sleeping, running, turns[2];
	uint64_t next_due_ms;
	struct scheduler_stats stats;
};

/** `seed` feeds the jitter: the same seed, the same times. */
void scheduler_init(struct scheduler *s, uint64_t interval_ms, uint64_t seed);
/** Every task must have been removed. */
void scheduler_fini(struct scheduler *s);

/** Take a zeroed task in; the memory stays the caller's, until scheduler_remove. It is due at
 * due_ms. ERR_LIMIT (SCHEDULER_TASKS_MAX, counted), UV_ENOMEM. */
int scheduler_add(struct scheduler *s, struct scheduler_task *t, const struct public_key *space,
		  uint64_t due_ms);
/** Forget a task, whatever its state; its slot is free at once. Harmless when it is out. */
void scheduler_remove(struct scheduler *s, struct scheduler_task *t);

/** There is news for it: to be run in the hot lane, as soon as its last empty news is old enough.
 * While it runs: once more afterwards. */
void scheduler_news(struct scheduler *s, struct scheduler_task *t, uint64_t now_ms);
/** The same, however often its news proved empty: there is another reason to look. */
void scheduler_look(struct scheduler *s, struct scheduler_task *t, uint64_t now_ms);
/** How many discoveries run that a user waits for. */
void scheduler_users(struct scheduler *s, unsigned count);

/** The next task to start now, which takes a slot; NULL: none is due, or none may start. */
struct scheduler_task *scheduler_next(struct scheduler *s, uint64_t now_ms);
/** News waits and every slot that it may have is taken: the running task to end early, or NULL when
 * all are young or move. It keeps its slot until scheduler_done. */
struct scheduler_task *scheduler_preempt(struct scheduler *s, uint64_t now_ms);
/** Something arrived in its run. */
void scheduler_progress(struct scheduler_task *t, uint64_t now_ms);
/* How a run ended. */
struct scheduler_result {
	int status;
	bool brought; /* it made a difference here */
	bool partial; /* only whoever had the news was asked: the look at everybody is still due */
	bool no_news; /* partial, but nobody had told of news: it says nothing about who tells */
	uint64_t retry_in_ms; /* who could have answered was busy: to be run again then; no failure.
				 0 = nobody was */
};
/** Its run ended. A run that was evicted is due again at once and counts as no failure; what a
 * partial one says bears on news alone. */
void scheduler_done(struct scheduler *s, struct scheduler_task *t,
		    const struct scheduler_result *result, uint64_t now_ms);

/** When to call scheduler_next again if nothing happens before: at least SCHEDULER_WAKE_MIN_MS from
 * now; UINT64_MAX = never. */
uint64_t scheduler_wake_ms(const struct scheduler *s, uint64_t now_ms);
/** When a task may run next: now_ms when it is queued or running. */
uint64_t scheduler_next_run_ms(const struct scheduler_task *t, uint64_t now_ms);
void scheduler_stats(const struct scheduler *s, struct scheduler_stats *ret);
