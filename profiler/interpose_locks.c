#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "base/base.h"
#include "profiler/waits.h"

/* The functions that wait for another thread, defined by the program, so that its libraries come
 * here too. Each does what libc's does and tells profiler/waits.c how long it took.
 *
 * A lock is first tried: a free one costs a call and a comparison more. One that is taken puts its
 * waiter, which lives on the waiting thread's stack, into a table by the lock's address; an unlock
 * looks there (one load, when nobody waits) and takes the time that they have waited since the last
 * unlock on its own account. So the holders' delays add up to the waiters', without the time from
 * the unlock to the waking up.
 *
 * What can go wrong:
 *   - libc's lock under its own name is this one here: the mutex and rwlock functions are reached
 * by their second names, which nobody defines anew, the rest by dlsym, at the first wait
 *   - pthread_cond_wait gives up the mutex inside libc: its wrapper settles before
 *   - a mutex locked recursively is not given up by each unlock: its count tells
 *   - a cancelled thread leaves from within libc: nothing is held or listed while it waits for a
 *     condition, a semaphore or a thread, the only waits here that can be cancelled
 *   - after fork the child has the waiters of threads that it has not: it forgets all
 *   - the mutex may be gone as soon as it is unlocked: it is not looked at afterwards
 *
 * Not here: spin locks and barriers, the locks inside libc, and trylock, which does not wait. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define INTERPOSE 0
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__)
#undef INTERPOSE
#define INTERPOSE 0
#endif
#ifndef INTERPOSE
#define INTERPOSE 1
#endif

#if INTERPOSE

#define EXPORT	   __attribute__((visibility("default")))
#define CALLER	   ((uintptr_t)__builtin_return_address(0))
#define FRAME	   ((uintptr_t)__builtin_frame_address(0))
#define THIS(name) ((void (*)(void))(name))

#define LIBC(name, libc_name)                                                                      \
	extern __typeof__(libc_name) name;                                                         \
	__asm__(".symver " #name ", __" #libc_name "@GLIBC_2.2.5")
LIBC(libc_mutex_lock, pthread_mutex_lock);
LIBC(libc_mutex_trylock, pthread_mutex_trylock);
LIBC(libc_mutex_unlock, pthread_mutex_unlock);
LIBC(libc_rwlock_rdlock, pthread_rwlock_rdlock);
LIBC(libc_rwlock_wrlock, pthread_rwlock_wrlock);
LIBC(libc_rwlock_tryrdlock, pthread_rwlock_tryrdlock);
LIBC(libc_rwlock_trywrlock, pthread_rwlock_trywrlock);
LIBC(libc_rwlock_unlock, pthread_rwlock_unlock);

/* The libc function of that name, found when it is first wanted. */
static void *find(_Atomic(void *) *place, const char *name, const char *version)
{
	void *fn = atomic_load_explicit(place, memory_order_relaxed);

	if (fn == NULL) {
		fn = version != NULL ? dlvsym(RTLD_NEXT, name, version) : dlsym(RTLD_NEXT, name);
		REQUIRE(fn != NULL);
		atomic_store_explicit(place, fn, memory_order_relaxed);
	}
	return fn;
}
#define FIND(name, version)                                                                        \
	({                                                                                         \
		static _Atomic(void *) place;                                                      \
		(__typeof__(name) *)find(&place, #name, version);                                  \
	})

/* ---- Mutexes ---- */

static __attribute__((noinline)) int mutex_wait(pthread_mutex_t *m, uintptr_t caller)
{
	struct waiter w;
	int rc;

	waits_lock_begin(&w, m);
	rc = libc_mutex_lock(m);
	waits_lock_end(&w, THIS(pthread_mutex_lock), caller);
	return rc;
}

EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
	int rc = libc_mutex_trylock(m);

	return rc != EBUSY ? rc : mutex_wait(m, CALLER);
}

static __attribute__((noinline)) int mutex_release(pthread_mutex_t *m, uintptr_t caller)
{
	uint64_t delay_ns = m->__data.__count > 1 ? 0 : waits_settle(m);
	int rc = libc_mutex_unlock(m);

	if (delay_ns > 0)
		waits_held(delay_ns, caller);
	return rc;
}

EXPORT int pthread_mutex_unlock(pthread_mutex_t *m)
{
	return !waits_any(m) ? libc_mutex_unlock(m) : mutex_release(m, CALLER);
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict m,
				   const struct timespec *restrict until)
{
	int rc = libc_mutex_trylock(m);
	struct waiter w;

	if (rc != EBUSY)
		return rc;
	waits_lock_begin(&w, m);
	rc = FIND(pthread_mutex_timedlock, NULL)(m, until);
	waits_lock_end(&w, THIS(pthread_mutex_timedlock), CALLER);
	return rc;
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *restrict m, clockid_t clock,
				   const struct timespec *restrict until)
{
	int rc = libc_mutex_trylock(m);
	struct waiter w;

	if (rc != EBUSY)
		return rc;
	waits_lock_begin(&w, m);
	rc = FIND(pthread_mutex_clocklock, NULL)(m, clock, until);
	waits_lock_end(&w, THIS(pthread_mutex_clocklock), CALLER);
	return rc;
}

/* ---- Locks for readers and writers ---- */

typedef int (*rwlock_fn)(pthread_rwlock_t *l);

static __attribute__((noinline)) int rwlock_wait(pthread_rwlock_t *l, rwlock_fn lock,
						 void (*function)(void), uintptr_t caller)
{
	struct waiter w;
	int rc;

	waits_lock_begin(&w, l);
	rc = lock(l);
	waits_lock_end(&w, function, caller);
	return rc;
}

EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	int rc = libc_rwlock_tryrdlock(l);

	return rc != EBUSY ?
		       rc :
		       rwlock_wait(l, libc_rwlock_rdlock, THIS(pthread_rwlock_rdlock), CALLER);
}

EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	int rc = libc_rwlock_trywrlock(l);

	return rc != EBUSY ?
		       rc :
		       rwlock_wait(l, libc_rwlock_wrlock, THIS(pthread_rwlock_wrlock), CALLER);
}

static __attribute__((noinline)) int rwlock_release(pthread_rwlock_t *l, uintptr_t caller)
{
	uint64_t delay_ns = waits_settle(l);
	int rc = libc_rwlock_unlock(l);

	if (delay_ns > 0)
		waits_held(delay_ns, caller);
	return rc;
}

EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *l)
{
	return !waits_any(l) ? libc_rwlock_unlock(l) : rwlock_release(l, CALLER);
}

/* ---- Conditions ---- */

/* The mutex is about to be given up; it is waited for again inside libc, as part of the whole. */
static uint64_t condition_begin(pthread_mutex_t *m, uintptr_t frame, uintptr_t caller)
{
	uint64_t delay_ns = waits_any(m) ? waits_settle(m) : 0;

	if (delay_ns > 0)
		waits_held(delay_ns, caller);
	return waits_pause_begin(frame, caller);
}

EXPORT int pthread_cond_wait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m)
{
	uint64_t since_ns = condition_begin(m, FRAME, CALLER);
	int rc = FIND(pthread_cond_wait, "GLIBC_2.3.2")(c, m);

	waits_pause_end(PAUSE_CONDITION, since_ns, THIS(pthread_cond_wait), FRAME, CALLER);
	return rc;
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m,
				  const struct timespec *restrict until)
{
	uint64_t since_ns = condition_begin(m, FRAME, CALLER);
	int rc = FIND(pthread_cond_timedwait, "GLIBC_2.3.2")(c, m, until);

	waits_pause_end(PAUSE_CONDITION, since_ns, THIS(pthread_cond_timedwait), FRAME, CALLER);
	return rc;
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict c, pthread_mutex_t *restrict m,
				  clockid_t clock, const struct timespec *restrict until)
{
	uint64_t since_ns = condition_begin(m, FRAME, CALLER);
	int rc = FIND(pthread_cond_clockwait, NULL)(c, m, clock, until);

	waits_pause_end(PAUSE_CONDITION, since_ns, THIS(pthread_cond_clockwait), FRAME, CALLER);
	return rc;
}

/* ---- Semaphores, threads ---- */

EXPORT int sem_wait(sem_t *s)
{
	int saved = errno, rc = sem_trywait(s);
	uint64_t since_ns;

	if (rc == 0)
		return 0;
	errno = saved;
	since_ns = waits_pause_begin(FRAME, CALLER);
	rc = FIND(sem_wait, NULL)(s);
	waits_pause_end(PAUSE_SEMAPHORE, since_ns, THIS(sem_wait), FRAME, CALLER);
	return rc;
}

EXPORT int sem_timedwait(sem_t *restrict s, const struct timespec *restrict until)
{
	uint64_t since_ns = waits_pause_begin(FRAME, CALLER);
	int rc = FIND(sem_timedwait, NULL)(s, until);

	waits_pause_end(PAUSE_SEMAPHORE, since_ns, THIS(sem_timedwait), FRAME, CALLER);
	return rc;
}

EXPORT int sem_clockwait(sem_t *restrict s, clockid_t clock, const struct timespec *restrict until)
{
	uint64_t since_ns = waits_pause_begin(FRAME, CALLER);
	int rc = FIND(sem_clockwait, NULL)(s, clock, until);

	waits_pause_end(PAUSE_SEMAPHORE, since_ns, THIS(sem_clockwait), FRAME, CALLER);
	return rc;
}

EXPORT int pthread_join(pthread_t thread, void **ret)
{
	uint64_t since_ns = waits_pause_begin(FRAME, CALLER);
	int rc = FIND(pthread_join, NULL)(thread, ret);

	waits_pause_end(PAUSE_JOIN, since_ns, THIS(pthread_join), FRAME, CALLER);
	return rc;
}

/* ---- Being there ---- */

__attribute__((constructor)) static void announce(void)
{
	waits_enable();
}

#endif
