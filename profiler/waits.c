#include "profiler/waits.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "base/clock.h"
#include "profiler/contention.h"
#include "profiler/thread.h"

/* Delays are shared out among the holders of a lock: whoever releases it takes on its account what
 * its waiters have waited since the release before, or since they came. The sum over the holders is
 * the time that was waited, but for what passes between the last release and the waking up.
 *
 * Where a thread has been found idle once (same frame and caller, hence the same stack) it is not
 * looked at again, so that a worker's wait for work costs next to nothing.
 *
 * What can go wrong: the child of a fork has the waiters of threads that it has not. It forgets
 * them. */

enum { SPINS = 64 };

struct waits_slot waits_slots[1 << WAITS_SLOTS_LOG2];
static _Atomic bool enabled;
static _Thread_local struct {
	uintptr_t frame, caller;
} idle_at;

static struct waits_slot *slot_lock(const void *lock)
{
	struct waits_slot *s = waits_slot(lock);

	for (unsigned i = 0; atomic_flag_test_and_set_explicit(&s->busy, memory_order_acquire); i++)
		if (i >= SPINS)
			sched_yield();
	return s;
}

static void slot_unlock(struct waits_slot *s)
{
	atomic_flag_clear_explicit(&s->busy, memory_order_release);
}

static uint64_t now(void)
{
	return clock_now_ns(&clock_system);
}

/* ---- Locks ---- */

void waits_lock_begin(struct waiter *w, const void *lock)
{
	struct waits_slot *s;

	w->lock = lock;
	w->since_ns = w->unsettled_ns = now();
	s = slot_lock(lock);
	w->next = s->first;
	s->first = w;
	atomic_fetch_add_explicit(&s->waiting, 1, memory_order_seq_cst);
	slot_unlock(s);
}

void waits_lock_end(struct waiter *w, void (*function)(void), uintptr_t caller)
{
	struct waits_slot *s = slot_lock(w->lock);
	struct waiter **p = &s->first;
	int saved = errno;

	while (*p != NULL && *p != w)
		p = &(*p)->next;
	if (*p != NULL) { /* else a fork came in between */
		*p = w->next;
		atomic_fetch_sub_explicit(&s->waiting, 1, memory_order_relaxed);
	}
	slot_unlock(s);
	(void)contention_record(&(struct contention_event){ .kind = PROFILER_BLOCK,
							    .state = "semacquire",
							    .delay_ns = now() - w->since_ns,
							    .function = function,
							    .caller = caller });
	errno = saved;
}

uint64_t waits_settle(const void *lock)
{
	struct waits_slot *s = slot_lock(lock);
	uint64_t now_ns = now(), sum_ns = 0;

	for (struct waiter *w = s->first; w != NULL; w = w->next)
		if (w->lock == lock && now_ns > w->unsettled_ns) {
			sum_ns += now_ns - w->unsettled_ns;
			w->unsettled_ns = now_ns;
		}
	slot_unlock(s);
	return sum_ns;
}

void waits_held(uint64_t delay_ns, uintptr_t caller)
{
	int saved = errno;

	(void)contention_record(&(struct contention_event){
		.kind = PROFILER_MUTEX, .delay_ns = delay_ns, .caller = caller });
	errno = saved;
}

/* ---- Conditions, semaphores, threads ---- */

uint64_t waits_pause_begin(uintptr_t frame, uintptr_t caller)
{
	const struct thread *self = thread_self();

	if ((idle_at.frame == frame && idle_at.caller == caller) ||
	    contention_rate(PROFILER_BLOCK) == 0 || (self != NULL && self->hidden))
		return 0;
	return now();
}

void waits_pause_end(enum pause_kind kind, uint64_t since_ns, void (*function)(void),
		     uintptr_t frame, uintptr_t caller)
{
	static const char *const states[] = {
		[PAUSE_CONDITION] = "sync.Cond.Wait",
		[PAUSE_SEMAPHORE] = "semacquire",
		[PAUSE_JOIN] = "join",
	};
	struct contention_event e = { .kind = PROFILER_BLOCK,
				      .state = states[kind],
				      .may_idle = kind != PAUSE_JOIN,
				      .function = function,
				      .caller = caller };
	int saved = errno;

	if (since_ns == 0)
		return;
	e.delay_ns = now() - since_ns;
	if (!contention_record(&e)) {
		idle_at.frame = frame;
		idle_at.caller = caller;
	}
	errno = saved;
}

/* ---- Being told ---- */

static void after_fork_child(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(waits_slots); i++) {
		atomic_store(&waits_slots[i].waiting, 0);
		waits_slots[i].first = NULL;
		slot_unlock(&waits_slots[i]);
	}
}

void waits_enable(void)
{
	if (!atomic_exchange(&enabled, true))
		pthread_atfork(NULL, NULL, after_fork_child);
}

bool waits_enabled(void)
{
	return atomic_load(&enabled);
}
