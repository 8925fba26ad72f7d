/* Finished traces sent to a collector, by OTLP over HTTP with protobuf (OTLP 1, "otlp-endpoint").
 *
 * A root is noted when the last span of its tree has finished, and written down soon, as long as
 * the store keeps it. Batches go one at a time; one that the collector cannot take now (429, 502,
 * 503, 504, or it is not there) is tried again, in growing intervals and no sooner than it asks
 * for; any other refusal gives the batch up. Nothing here waits for the collector: the queue is
 * bounded, and what is lost is counted. Requests of its own are not traced. */
#pragma once

#include "base/loop.h"
#include "trace/trace.h"

enum {
	OTLP_QUEUE_MAX = 2048,	     /* roots noted; beyond, the oldest is given up */
	OTLP_BATCH_MS = 2000,	     /* what finishes meanwhile goes together */
	OTLP_BATCH_BYTES = 1 << 20,  /* a batch that has grown beyond is sent */
	OTLP_BODY_MAX = 8 << 20,     /* a root that makes it larger is given up */
	OTLP_REQUEST_MS = 10000,     /* one attempt */
	OTLP_RETRY_MIN_MS = 1000,    /* doubles up to … */
	OTLP_RETRY_MAX_MS = 60000,   /* … this, give or take a quarter */
	OTLP_BATCH_LIFE_MS = 300000, /* then a batch is given up */
	OTLP_REPLY_MAX = 64 << 10,
	OTLP_FLUSH_MS = 1000 /* what closing gives to what is still on its way */
};

struct otlp_push;
struct otlp_push_config {
	struct loop *loop;
	struct trace *trace;
	const char *endpoint;	    /* "http://host:4318"; /v1/traces is added. Copied */
	const char *const *headers; /* "Name: value", copied */
	size_t header_count;
	const char *ca_file;	 /* NULL = the system's */
	struct trace_export how; /* copied, its texts too */
};
/** The URL that an endpoint stands for, in fresh memory (mem_free); NULL when out of memory. */
char *otlp_push_url(const char *endpoint) MUST_USE;
/** Headers from text, one per line; empty lines and those that begin with # are passed over. `list`
 *  gets pointers into `text`, which is cut into pieces. Returns how many, or ERR_MALFORMED with
 *  the number of the line in ret_line, ERR_LIMIT for more than max. */
int otlp_push_headers(char *text, const char **list, size_t max, unsigned *ret_line);

/** Watches the store from now on. NULL when out of memory. Borrows loop and trace until closed. */
struct otlp_push *otlp_push_new(const struct otlp_push_config *config);
/** Sends what it has if the collector answers, for at most OTLP_FLUSH_MS. Frees it; `closed` comes
 * from the loop, never inside this call. */
void otlp_push_close(struct otlp_push *p, void (*closed)(void *data), void *data);

struct otlp_push_figures {
	uint64_t queued; /* roots, now */
	uint64_t sent_roots, sent_spans, sent_batches, sent_bytes;
	uint64_t refused_spans;	   /* by a collector that took the rest */
	uint64_t retries;	   /* of batches */
	uint64_t dropped_queue;	   /* roots: the queue was full */
	uint64_t dropped_gone;	   /* roots: evicted before they were written down */
	uint64_t dropped_size;	   /* roots: larger than a request may be, or out of memory */
	uint64_t dropped_refused;  /* roots in batches that the collector refused for good */
	uint64_t dropped_too_late; /* roots in batches that could not be delivered in time */
	unsigned last_status;	   /* of HTTP; 0 = no answer yet, or none the last time */
	uint64_t failing;	   /* attempts that failed since the last that did not */
};
void otlp_push_figures(const struct otlp_push *p, struct otlp_push_figures *ret);
/** Why the last attempt failed; "" = it did not. */
const char *otlp_push_why(const struct otlp_push *p);
