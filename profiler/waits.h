/* Who waits for which lock, as the wrapped lock functions tell (interpose_locks.c). Private to
 * profiler/. On any thread at any time: allocates nothing, and holds a lock of its own for a few
 * instructions only. */
#pragma once

#include <stdatomic.h>

#include "base/base.h"

enum { WAITS_SLOTS_LOG2 = 10 };

/* A thread that waits for a lock; on its own stack. */
struct waiter {
	/* private */
	const void *lock;
	struct waiter *next;
	uint64_t since_ns;
	uint64_t unsettled_ns; /* since when no holder has taken the delay on its account */
};

/* Locks by address; several may share a slot. */
struct waits_slot {
	_Atomic unsigned waiting;
	atomic_flag busy; /* guards first and the waiters */
	struct waiter *first;
};
extern struct waits_slot waits_slots[1 << WAITS_SLOTS_LOG2];

static inline struct waits_slot *waits_slot(const void *lock)
{
	uint64_t h = (uintptr_t)lock * UINT64_C(0x9e3779b97f4a7c15);

	return &waits_slots[h >> (64 - WAITS_SLOTS_LOG2)];
}

/** False: nobody waits for the lock. True: perhaps somebody does. */
static inline bool waits_any(const void *lock)
{
	return atomic_load_explicit(&waits_slot(lock)->waiting, memory_order_relaxed) != 0;
}

/** From before a lock that is taken is waited for until it was got, or given up. `caller` is the
 * return address of the lock function: where the recorded stack begins. */
void waits_lock_begin(struct waiter *w, const void *lock);
void waits_lock_end(struct waiter *w, void (*function)(void), uintptr_t caller);
/** The holder is about to release the lock: how long all its waiters have waited since the last
 * release, together. */
uint64_t waits_settle(const void *lock);
/** After the release: what waits_settle returned. */
void waits_held(uint64_t delay_ns, uintptr_t caller);

/* A wait for something else than a lock. */
enum pause_kind { PAUSE_CONDITION, PAUSE_SEMAPHORE, PAUSE_JOIN };
/** When it began; 0 = it is not to be recorded. `frame` is the wrapper's frame address. */
uint64_t waits_pause_begin(uintptr_t frame, uintptr_t caller);
void waits_pause_end(enum pause_kind kind, uint64_t since_ns, void (*function)(void),
		     uintptr_t frame, uintptr_t caller);

/** The lock functions come here from now on; else the profiles say that they do not. */
void waits_enable(void);
bool waits_enabled(void);
