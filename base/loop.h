/* The runner of the daemon: turned by one libuv loop (a uv_idle while tasks are queued, one uv_timer for the
 * earliest timer, uv_queue_work for jobs). */
#pragma once

#include <uv.h>

#include "base/runner.h"

struct loop {
	struct runner runner;
	uv_loop_t uv;
	/* private */
	uv_idle_t idle;
	uv_timer_t timer;
};

int loop_init(struct loop *l);
/** Runs until loop_stop() or nothing is left to do. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/** Closes the loop's own handles, runs until every handle is closed, and closes the loop. REQUIREs that nothing
 *  leaked: names the handles that were left open. */
void loop_fini(struct loop *l);
