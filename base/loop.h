/* The runner of the daemon: turned by one libuv loop (a uv_idle while tasks are queued, one
 * uv_timer for the earliest timer, uv_queue_work for jobs). */
#pragma once

#include <uv.h>

#include "base/runner.h"

struct loop {
	struct runner runner;
	uv_loop_t uv;
	/* private */
	uv_idle_t idle;
	uv_timer_t timer;
	uint64_t timer_due_ms; /* what the uv timer is armed for; UINT64_MAX = it is not */
	unsigned job_count;
	bool turning;
};

/** 0 or libuv's code. The calling thread becomes the owner. */
int loop_init(struct loop *l) MUST_USE;
/** Runs until loop_stop() (1) or nothing is left to do (0). */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/** Waits for jobs, queued tasks and close callbacks, closes the loop's own handles and the loop.
 * REQUIREs that nothing leaked: names the operations and the handles that were left, on stderr. */
void loop_fini(struct loop *l);
