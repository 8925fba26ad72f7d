/* What operations and threads did, moment by moment, while somebody asked for it. Private to
 * profiler/.
 *
 * Recorded is what base/op.h tells a watch, into memory of a fixed size: when it is full, the rest
 * is counted and left out. Nothing is recorded, and next to nothing is paid, at other times. */
#pragma once

#include <stdatomic.h>

#include "profiler/profiler_private.h"

enum {
	EXECTRACE_RECORDS_MAX = 1 << 19,
	EXECTRACE_ORIGIN_FRAMES = 5,
	EXECTRACE_THREADS_MAX = 64, /* told apart; what more there are is left out */
	EXECTRACE_OPS_MAX = 1 << 18,
	EXECTRACE_HEAP_EVERY_NS = 1000000
};

enum record_type {
	RECORD_NONE,   /* not complete */
	RECORD_BEGIN,  /* id, parent id, kind, frame 0; small: state | RECORD_THERE */
	RECORD_ORIGIN, /* of the RECORD_BEGIN before: frames 1 to 4 */
	RECORD_SPAN,   /* id, task, parent task, category */
	RECORD_TRACE,  /* task, the two halves of its trace id, big-endian */
	RECORD_DUE,    /* id */
	RECORD_TICK,   /* id */
	RECORD_TICKED, /* id */
	RECORD_MOVE,   /* id; small: to */
	RECORD_END,    /* id */
	RECORD_LABEL,  /* thread id, task name or 0, operation's id; small: its tid */
	RECORD_SLEEP,  /* the loop polls… */
	RECORD_WAKE,   /* …and goes on */
	RECORD_HEAP    /* bytes */
};
enum { RECORD_THERE = 1 << 16 }; /* it was in flight when the recording began */

struct record {
	uint64_t ns;
	_Atomic uint32_t type;
	uint32_t small;
	uint64_t words[4];
};

struct exectrace {
	struct runner *runner;
	uint64_t start_ns, stop_ns;
	uint64_t running_id; /* whose tick began the recording; 0 = none */
	uint64_t thread_id;  /* the loop's */
	pid_t tid;
	uint64_t heap_ns;
	const struct profiler *profiler; /* borrowed: how spans are named, and waits */
	_Atomic uint64_t used;		 /* records asked for, beyond the maximum too */
	struct record *records;
};

/** Begin to record, on the loop. UV_EBUSY: somebody does; UV_ENOMEM. */
int exectrace_start(struct exectrace **ret, const struct profiler *p);
/** No more is recorded from now on. On the loop; idempotent. */
void exectrace_stop(struct exectrace *t);
/** Returns NULL. Stops first if that was not done; waits for threads that are writing a record. */
struct exectrace *exectrace_free(struct exectrace *t);

/** The watched thread is about to poll, or has done so. */
void exectrace_poll(bool sleeps);

/** How many records there are, and how many were left out. After exectrace_stop. */
uint64_t exectrace_count(const struct exectrace *t, uint64_t *ret_dropped);

/** As Go 1.19 writes its execution traces. On a worker. 0, UV_ENOMEM or ERR_LIMIT. */
int exectrace_write_go(const struct exectrace *t, struct buf *out);
/** As Perfetto and chrome://tracing read it: the Trace Event Format's JSON. */
int exectrace_write_chrome(const struct exectrace *t, struct buf *out);
