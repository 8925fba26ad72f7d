/* Continuous profiles: every interval a profile of the CPU and one of the heap go to a server
 * (Traceway, Pyroscope). Off unless a connection string is given. docs/profiling.md is for users.
 *
 * Nothing here waits for the server, and nothing queues: a cycle holds one profile at a time, one
 * that takes longer than the interval costs the next one, and what is lost is counted. */
#pragma once

#include "daemon/push_cycle.h"
#include "debug_http/debug_http.h"

struct push;
struct push_config {
	struct loop *loop;
	struct profiler *profiler;
	const struct push_connection *to; /* copied */
	enum push_format format;
	uint64_t interval_ms;			/* at least PUSH_INTERVAL_MIN_MS */
	const char *service, *server, *version; /* copied; at most PUSH_NAME_MAX bytes count */
	const char *ca_file;			/* NULL = the system's */
};
/** The first cycle begins one interval from now. Borrows loop and profiler until closed. NULL when
 * out of memory. */
struct push *push_new(const struct push_config *config);
/** Ends what runs: what was being measured or sent is discarded. Frees it; `closed` comes from the
 * loop, never inside this call. */
void push_close(struct push *p, void (*closed)(void *data), void *data);

void push_figures(const struct push *p, struct push_figures *ret);
/** "idle", or what the cycle that runs is doing. Static. */
const char *push_state(const struct push *p);
/** POST /debug/traceway/flush: one cycle at once, ?seconds=N (1 to half an interval) long; answers
 * when it has ended, with the figures it added as JSON. 409 while another runs. */
int push_attach(struct push *p, struct http_server *s);
