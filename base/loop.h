/* The runner of the daemon: turned by one libuv loop (a uv_idle while tasks are queued, one
 * uv_timer for the earliest timer, uv_queue_work for jobs). */
#pragma once

#include <uv.h>

#include "base/runner.h"

/* How long one turn of the loop kept everything else waiting: the time between two polls, without
 * the waiting itself. The thread's CPU time of the same turns tells work from what other processes
 * of a busy machine took. */
enum { LOOP_LAG_BUCKETS = 96 }; /* four per doubling, from 1 us */
struct loop_lag {
	uint64_t turns, busy_us, max_us;
	uint64_t p50_us,
		p99_us; /* upper bounds of their buckets: at most 25 % above the true value */
	uint64_t over_1ms, over_10ms, over_50ms;
	uint64_t cpu_p99_us, cpu_max_us, cpu_over_1ms;
};

struct loop {
	struct runner runner;
	uv_loop_t uv;
	/* private */
	uv_idle_t idle;
	uv_timer_t timer;
	uint64_t timer_due_ms; /* what the uv timer is armed for; UINT64_MAX = it is not */
	unsigned job_count;
	bool turning;
	uv_prepare_t prepare;
	uint64_t turn_since_ns, turn_idle_ns, turn_cpu_ns;
	struct loop_lag lag;
	uint64_t lag_buckets[LOOP_LAG_BUCKETS], cpu_buckets[LOOP_LAG_BUCKETS];
};

/** 0 or libuv's code. The calling thread becomes the owner. */
int loop_init(struct loop *l) MUST_USE;
/** Runs until loop_stop() (1) or nothing is left to do (0). Lag is measured from here on. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/** The turn that runs has worked for longer than RUNNER_SLICE_NS: a callback that can leave the
 * rest for the next turn should. For callbacks of handles; tasks are limited by the runner. */
bool loop_slice_spent(const struct loop *l);
/** Figures since the start, or since the last loop_lag_reset. */
void loop_lag(const struct loop *l, struct loop_lag *ret);
void loop_lag_reset(struct loop *l);
/** How many turns were shorter than each of the bounds, which are powers of two from 4 on. */
void loop_lag_within(const struct loop *l, const uint64_t *bounds_us, size_t n, uint64_t *ret);
/** Waits for jobs, queued tasks and close callbacks, closes the loop's own handles and the loop.
 * REQUIREs that nothing leaked: names the operations and the handles that were left, on stderr. */
void loop_fini(struct loop *l);
