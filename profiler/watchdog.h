/* A thread of its own that watches the loop and answers SIGQUIT. Private to profiler/.
 *
 * The loop's turns are timed where they begin and end: this folder defines epoll_wait and
 * epoll_pwait, which do what libc's do and, on the watched thread, note when it goes to sleep and
 * wakes up. */
#pragma once

#include "profiler/profiler_private.h"

enum { WATCHDOG_STALLS_MAX = 32, WATCHDOG_FRAMES = 64 };

/* A turn that lasted too long. */
struct stall {
	uint64_t number;      /* 1, 2, 3… */
	uint64_t wall_ns;     /* when it was noticed */
	uint64_t duration_ns; /* 0 = it still lasts */
	const char *task;     /* the operation that ran; static; NULL = none */
	struct span span;     /* its span; zero = none */
	unsigned n;
	uintptr_t pcs[WATCHDOG_FRAMES];
};

struct watchdog_stats {
	uint64_t turns, busy_ns, longest_ns, stalls;
};

/** From the loop's thread; it is the one that is watched from now on. One at a time: UV_EALREADY.
 * UV_EAGAIN: no thread. */
int watchdog_start(unsigned stall_ms, bool answer_sigquit);
/** Also when it was not started. */
void watchdog_stop(void);
void watchdog_stats(struct watchdog_stats *ret);
/** The latest stalls, newest first; returns how many. */
unsigned watchdog_stalls(struct stall *ret, unsigned cap);
