/* The one CPU sampler and its readers. Private to profiler/.
 *
 * A timer on each thread's own CPU clock sends SIGPROF to that thread; the handler walks the stack
 * into a ring; a collector thread moves the samples from there to every reader. Threads that cannot
 * have one (RLIMIT_SIGPENDING, seccomp) share a timer of the process. Timers, and the collector,
 * are there only while there is a reader. */
#pragma once

#include "base/span.h"
#include "profiler/modules.h"
#include "profiler/profiler.h"
#include "profiler/stacks.h"

enum {
	SAMPLER_READERS_MAX = 8, /* and one in the background */
	SAMPLER_HZ_MAX = 1000,
	SAMPLER_DRAIN_MS = 100,
	SAMPLER_SCAN_MS = 1000, /* threads that came about unseen */
	SAMPLER_NAMES_SIZE = PROFILER_TIMERS_TEXT
};

/* Threads without a timer of their own, while there is a reader; else as it was with the last one.
 */
struct sampler_untimed {
	unsigned threads;
	int error;	/* why; an errno */
	bool is_shared; /* the process's timer stands in; else they are not sampled */
	char names[SAMPLER_NAMES_SIZE]; /* "name (tid), …"; the first ones */
};

struct reader {
	struct stacks stacks;
	uint64_t period_ns;
	uint64_t samples;	/* periods counted */
	uint64_t cut;		/* samples whose stack was deeper than UNWIND_FRAMES_MAX */
	uint64_t overruns;	/* periods for which the kernel sent no signal of their own */
	uint64_t lost;		/* periods that found the ring full; known after sampler_remove */
	struct modules modules; /* as loaded at the start and the end */
	struct sampler_untimed untimed;
	/* private */
	bool background;
	uint64_t lost_before;
	uint64_t random;
};

/** Start reading at a rate of 1..SAMPLER_HZ_MAX; starts the sampler with the first reader.
 * Overwrites `r`. May block for as long as a drain takes: not on the loop. UV_EBUSY: all places are
 * taken, or somebody else handles SIGPROF; UV_ENOMEM, UV_EAGAIN: no collector; ERR_UNSUPPORTED: no
 * thread can be sampled, and sampler_untimed says why. In the background: the one place beside
 * those of SAMPLER_READERS_MAX. */
int sampler_add(struct reader *r, unsigned hz, bool background) MUST_USE;
/** Stop reading; what was sampled until now is in r->stacks. Not on the loop. */
void sampler_remove(struct reader *r);
void reader_fini(struct reader *r);

/** From now on SIGPROF does no harm, whoever sends it, unless somebody else handles it. */
void sampler_guard(void);

/** What names a span's category; called in the signal handler. */
void sampler_set_category(const char *(*category)(struct span span));

struct sampler_stats {
	unsigned readers, timers;
	uint64_t samples; /* handled signals */
	uint64_t overruns, lost;
	uint64_t handler_ns; /* spent in the handler, all threads together */
	uint64_t unarmed;    /* threads that got no timer of their own, so far */
	struct sampler_untimed untimed;
};
void sampler_stats(struct sampler_stats *ret);
