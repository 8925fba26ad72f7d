/* One cycle of pushing profiles: CPU, then heap, each a capture and a request of its own. */
#pragma once

#include "daemon/post.h"
#include "daemon/push_plan.h"
#include "profiler/profiler.h"

enum {
	PUSH_UPLOAD_MS = 30000, /* one request */
	PUSH_REPLY_MAX = 4096,
	PUSH_BASE64_PIECE = 48 << 10 /* bytes encoded in one turn of the loop; a multiple of 3 */
};

struct push_figures {
	uint64_t cycles;
	uint64_t sent_cpu, sent_heap, sent_bytes;
	uint64_t failed_captures,
		failed_uploads; /* of single profiles; an upload after its retry */
	uint64_t retries;
	uint64_t held;			     /* profiles dropped since the server wants peace */
	uint64_t unauthorized;		     /* answers 401 and 403 */
	uint64_t skipped_busy, skipped_held; /* cycles: the one before ran still; peace */
	uint64_t failing;		     /* uploads that failed since the last that did not */
	unsigned last_status;		     /* of HTTP; 0 = no answer yet, or none the last time */
	bool refused;			     /* the token, since the last upload that went well */
	bool too_old; /* the server, for bodies without Content-Encoding; the same */
};

/* Borrowed for the cycle. */
struct push_setup {
	struct profiler *profiler;
	struct post_client *client;
	const struct push_connection *to;
	struct push_facts facts; /* format, names */
	struct push_plan *plan;
	struct push_figures *figures;
};

struct push_cycle;
typedef void (*push_cycle_cb)(struct push_cycle *c, int status);

struct push_cycle {
	struct op op;
	/* private */
	struct push_setup setup;
	unsigned seconds;
	push_cycle_cb cb;
	struct push_part {
		struct profiler_capture capture;
		int status;
		bool started, ended;
		uint64_t from_s, until_s;
	} parts[PUSH_PROFILES];
	enum push_profile at;
	unsigned attempt;
	struct buf body; /* when it is not the capture's */
	size_t encoded;	 /* bytes of the capture that are in it */
	char *url;
	struct post post;
	int post_status;
	bool posted;
	struct runner_timer rest;
};

/** Take profiles of `seconds` (of CPU; of the heap, if the format wants differences) and send them.
 * What fails is counted in setup->figures and told at log level debug; a failure of one profile
 * does not keep the other. `cb` runs once, from the loop, never inside this call, with
 *    0             both were dealt with, whatever came of them
 *    UV_ECANCELED  at the latest a job of the profiler later
 *    UV_ETIMEDOUT  env's deadline
 *  What was not sent then is discarded. */
void push_cycle_start(struct push_cycle *c, const struct op_env *env,
		      const struct push_setup *setup, unsigned seconds, push_cycle_cb cb);
