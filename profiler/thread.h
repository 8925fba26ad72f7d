/* Every thread of the process, from birth: pthread_create is defined by the program and wraps the
 * start routine. Private to profiler/.
 *
 * A thread that came about otherwise (inside libc, or before this code was in place) is found by a
 * scan of /proc/self/task; its stack's end is unknown, so only its innermost frame can be told. */
#pragma once

#include "base/list.h"
#include "profiler/unwind.h"

enum {
	THREAD_CREATE_FRAMES = 32,
	THREAD_ALT_STACK_SIZE = 64 << 10,
	THREAD_NAME_SIZE = 16, /* as the kernel keeps it, incl. NUL */
	THREADS_MAX = 8192     /* listed; more run, unlisted */
};

struct thread {
	struct list node; /* guarded by threads_lock */
	uint64_t id;	  /* 1 = main; shared with operations, never used twice */
	pid_t tid;
	uintptr_t stack_hi; /* 0: not known */
	uint64_t started_ns;
	bool hidden;			    /* the profiler's own */
	bool foreign;			    /* found by the scan */
	bool seen;			    /* by the scan that runs */
	_Atomic int timer;		    /* the kernel's id; THREAD_NO_TIMER */
	int timer_error;		    /* why it has none though it should; 0 */
	uintptr_t start;		    /* its start routine; 0 = not known */
	uint64_t due_cpu_ns, due_period_ns; /* first period's end, and what follows; 0 = never */
	_Atomic uint64_t counted;	    /* periods that reached its handler since then */
	uint64_t still_since_ns, still_cpu_ns, still_from_ns; /* stillness.c */
	unsigned created_count;
	uintptr_t created_by[THREAD_CREATE_FRAMES]; /* stack of pthread_create's caller */
};

enum { THREAD_NO_TIMER = -1 };

/** Registers the calling thread as the main one and the fork handlers. Idempotent. */
void threads_init(void);

/** The calling thread's entry; NULL before it is registered, and always in a foreign thread. For
 * signal handlers. */
struct thread *thread_self(void);
/** End of the calling thread's stack, 0 when unknown. For signal handlers. */
uintptr_t thread_stack_end(void);
/** Keep the calling thread out of all profiles. */
void thread_hide_self(void);
/** A stack without the frames below the thread's start routine: the new n. */
unsigned thread_trim(const uintptr_t *pcs, unsigned n);

void threads_lock(void);
void threads_unlock(void);
/** All threads, oldest first. Under threads_lock. */
struct list *threads_all(void);
/** Bring the list up to date with /proc/self/task. Under threads_lock. */
void threads_scan(void);

enum { THREADS_WATCH_MS = 1000, THREAD_STILL_MS = 10000, THREAD_STILL_CPU_NS = 50000 };

/** Look which threads have used CPU time; every THREADS_WATCH_MS. No more than THREAD_STILL_CPU_NS
 * in THREAD_STILL_MS does not count: answering a dump takes some. */
void threads_watch_stillness(uint64_t now_ns);
/** How long the thread has been still, of which it has used cpu_ns in all. Under threads_lock. */
uint64_t thread_still_ms(struct thread *t, uint64_t now_ns, uint64_t cpu_ns);
/** CPU time used by a thread of this process, 0 when it is gone. */
uint64_t thread_cpu_ns(pid_t tid);

/** Listed now. */
unsigned threads_count(void);
/** Threads created since start, main included; what was not listed for want of room or memory. */
uint64_t threads_created(void);
uint64_t threads_unlisted(void);

/* How the sampler is told; under threads_lock. */
struct thread_hooks {
	void (*born)(struct thread *t);
	void (*gone)(struct thread *t);
	void (*ending)(struct thread *t); /* in the thread itself, before `gone` */
	void (*forked)(void);		  /* in the child, which has one thread */
};
void threads_set_hooks(const struct thread_hooks *hooks);

/* Where threads were created: the stacks of pthread_create's callers with their counts. */
typedef void (*thread_origin_fn)(void *data, const uintptr_t *pcs, unsigned n, uint64_t count);
void threads_each_origin(thread_origin_fn fn, void *data);
