/* What the files of profiler/ share about captures. */
#pragma once

#include "profiler/profiler.h"
#include "profiler/sampler.h"

struct profiler {
	struct runner *runner;
	char *version;
	const char *(*span_category)(struct span span);
	bool (*span_trace_id)(struct span span, uint8_t ret[16]);
	enum profiler_wait (*wait_of)(const char *kind, const char *state);
	struct list queue;		  /* captures waiting for their turn to work */
	struct profiler_capture *working; /* the one that has it */
	unsigned in_flight;
	bool watching;
	uint64_t captures, failed;
};

/* What a capture's jobs work on: theirs while `busy`, the loop's otherwise. */
struct capture_work {
	const struct profiler *profiler;
	struct profiler_request request;
	char *addresses; /* owned copy */
	bool busy;
	bool sampling; /* the reader is with the sampler */
	bool looking;  /* at the operations, over several turns */
	int status;    /* of the last job */
	struct reader reader;
	struct stacks totals;		  /* less what the first snapshot counted */
	struct goroutine_work *goroutine; /* tasks, and what the first snapshot counted */
	struct exectrace *trace;
	uint64_t start_wall_ns, start_ns, until_ms, duration_ns;
};

struct capture_work *capture_work_new(const struct profiler *p, const struct profiler_request *r);
struct capture_work *capture_work_free(struct capture_work *w);

/** On the loop, before each job of a goroutine capture: the operations in flight. 1: call again in
 * another turn. */
int capture_snapshot(struct capture_work *w, struct runner *r);
/** On a worker: the first of two snapshots that are to be subtracted. */
int capture_first(struct capture_work *w);
/** On a worker: the file. */
int capture_write(struct capture_work *w, struct buf *out);

/** The same for profiles of totals (totals.h). */
int totals_first(struct capture_work *w);
int totals_write(struct capture_work *w, struct buf *out);
