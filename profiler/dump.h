/* What all threads are doing at this moment. Private to profiler/; on a worker or the watchdog,
 * never on the loop: threads are given DUMP_WAIT_MS to answer. */
#pragma once

#include "base/span.h"
#include "profiler/thread.h"

enum { DUMP_BATCH = 256, DUMP_WAIT_MS = 100 };

struct dumped_thread {
	uint64_t id;
	pid_t tid;
	char name[THREAD_NAME_SIZE];
	char run_state;	   /* of /proc: R, S, D… ; '?' */
	long syscall;	   /* number; -1 = in none, or not known */
	const char *task;  /* the operation that it runs; static; NULL = none, or not known */
	struct span span;  /* that operation's; zero = none */
	bool answered;	   /* it walked its own stack; else what could be had from outside */
	pid_t owner;	   /* of the mutex, if it is one that the thread waits for; 0 = not known */
	uint64_t still_ms; /* since when it has used no CPU time, as far as was watched */
	uint64_t cpu_ns;
	uint64_t started_ns; /* monotonic */
	unsigned n;	     /* at least 1 */
	uintptr_t pcs[UNWIND_FRAMES_MAX];
	unsigned created_count;
	uintptr_t created_by[THREAD_CREATE_FRAMES];
};

struct dump {
	struct dumped_thread *threads; /* by id */
	unsigned count;
};

/** All threads but the profiler's own. 0 or UV_ENOMEM. Dumps run one at a time. */
int dump_threads(struct dump *ret);
void dump_fini(struct dump *d);
/** From now on the signal that asks threads for their stacks does no harm, whoever sends it. */
void dump_guard(void);

/** One thread, in the same way; the stack's end need not be known. Fills all but id and origin. */
void dump_one(pid_t tid, struct dumped_thread *ret);

/** What stands for the stack of a thread of which nothing can be known. */
void thread_did_not_answer(void);
