/* Where threads wait for each other: the mutex and block profiles. Private to profiler/.
 *
 * `kind` is PROFILER_MUTEX (stacks of those that held what others waited for) or PROFILER_BLOCK
 * (stacks of those that waited). */
#pragma once

#include "profiler/profiler.h"
#include "profiler/stacks.h"

/** Add, times `sign`, to `out`. Values: contentions, nanoseconds of delay, both made whole where
 *  only some events are recorded; from STACK_RAW on the same two as they were recorded. 0 or
 *  UV_ENOMEM. */
int contention_count(enum profiler_kind kind, struct stacks *out, int sign);
/** Different stacks. */
unsigned contention_buckets(enum profiler_kind kind);
/** Events that found no room. */
uint64_t contention_lost(enum profiler_kind kind);
/** How many events were recorded, of both kinds, and the time that took. */
uint64_t contention_recorded(uint64_t *ret_ns);

/** Why nothing is recorded of locks, conditions and semaphores; NULL when it is. Static. */
const char *contention_note(enum profiler_kind kind);

/** MUTEX: one event of this many is recorded. BLOCK: events of so many nanoseconds are, shorter
 * ones in proportion. 0 = off, 1 = all. */
int64_t contention_rate(enum profiler_kind kind);
/** From now on; at least 0. */
void contention_rate_set(enum profiler_kind kind, int64_t rate);

/* Something that kept somebody waiting. */
struct contention_event {
	enum profiler_kind kind; /* MUTEX: who held, BLOCK: who waited */
	const char *state;	 /* static: label of a wait; NULL = none */
	uint64_t delay_ns;
	/* Where the stack begins: at the function that was called (NULL = at its caller), which
	 * will return to `caller`. */
	void (*function)(void);
	uintptr_t caller;
	bool may_idle; /* not recorded if the thread's start routine itself waits */
};
/** Record an event of the calling thread, if its turn has come. Takes no lock, allocates nothing;
 * may change errno. False: the thread is idle, not blocked. */
bool contention_record(const struct contention_event *e);

/** An operation has been in a state for so long; now it leaves it. Nothing is recorded of states
 * called idle, resting or subscribed: there it had nothing to do. */
void contention_operation(const struct op *op, unsigned state, uint64_t waited_ms);
/** The loop was held up, by what is on the stack. */
void contention_stall(const uintptr_t *pcs, unsigned n, const char *task, uint64_t duration_ns);
