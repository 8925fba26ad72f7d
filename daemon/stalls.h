/* Turns of the loop that were too long, told to the traces. Private to daemon/. */
#pragma once

#include "profiler/profiler.h"
#include "trace/trace.h"

enum { STALLS_LOOK_MS = 1000, STALLS_SEEN_MAX = 32 };

struct stalls {
	/* private */
	struct runner *runner;
	struct profiler *profiler;
	struct trace *trace;
	struct runner_timer timer;
	uint64_t told; /* number of the last one */
};

/** Look every STALLS_LOOK_MS. Each stall that is over becomes a trace "loop.stall" and a mark in
 * the span whose operation held up the loop. Borrows all, until stalls_stop. */
void stalls_start(struct stalls *s, struct runner *runner, struct profiler *profiler,
		  struct trace *trace);
/** Also when it was not started. */
void stalls_stop(struct stalls *s);
/** Tell what is new now. */
void stalls_look(struct stalls *s);
