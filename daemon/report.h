/* Discoveries reported to Traceway: each as a task with its stages as spans, when the last span of
 * its trace has finished. Off unless a connection string is given. docs/profiling.md is for users.
 *
 * A discovery is noted by slot and id and written down within REPORT_FRAME_MS, as long as the trace
 * store keeps it. One request is under way at a time; one that the server is too busy for is sent
 * again, any other failure gives it up. The queue is bounded, and what is lost is counted. */
#pragma once

#include "base/loop.h"
#include "daemon/push_target.h"
#include "trace/trace.h"

enum {
	REPORT_QUEUE_MAX = 256,	     /* discoveries noted; beyond, the oldest is given up */
	REPORT_FRAME_MS = 5000,	     /* what finishes meanwhile goes together */
	REPORT_FRAME_TASKS = 64,     /* in one request */
	REPORT_BODY_MAX = 1 << 20,   /* bytes of one request before compression */
	REPORT_REQUEST_MS = 10000,   /* one attempt */
	REPORT_ATTEMPTS = 4,	     /* for a server that is busy or gone */
	REPORT_RETRY_MS = 5000,	     /* doubled each time, and no sooner than asked for */
	REPORT_PEACE_MS = 600 * 1000 /* after the token was refused */
};

struct report;
struct report_config {
	struct loop *loop;
	struct trace *trace;
	const struct push_connection *to; /* copied */
	const char *server, *version;	  /* copied; at most PUSH_NAME_MAX bytes count */
	const char *ca_file;		  /* NULL = the system's */
	uint8_t key[32];		  /* of the pseudonyms */
};
/** Watches the trace store from now on. NULL when out of memory. Borrows loop and trace until
 * closed. */
struct report *report_new(const struct report_config *config);
/** What was not sent is discarded. Frees it; `closed` comes from the loop, never inside this call.
 */
void report_close(struct report *r, void (*closed)(void *data), void *data);

struct report_figures {
	uint64_t queued; /* now */
	uint64_t sent_tasks, sent_frames, sent_bytes, retries;
	uint64_t dropped_queue;	 /* the queue was full */
	uint64_t dropped_gone;	 /* evicted before they were written down */
	uint64_t dropped_failed; /* in requests that were given up */
	uint64_t failing;	 /* attempts that failed since the last that did not */
	unsigned last_status;	 /* of HTTP; 0 = no answer yet, or none the last time */
};
void report_figures(const struct report *r, struct report_figures *ret);
