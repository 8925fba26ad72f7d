/* A runner driven by hand on a virtual clock: for tests and for the simulator. Time moves only in
 * manual_loop_step() and manual_loop_run(); equal seeds and equal calls give equal runs. Jobs run
 * inline, in the order they were submitted, at the next turn. */
#pragma once

#include "base/runner.h"

struct manual_loop {
	struct runner runner;
	struct clock_manual clock; /* starts at 0; 2026-01-01 UTC on the wall */
	/* private */
	struct list jobs;
};

void manual_loop_init(struct manual_loop *l, uint64_t seed);
/** REQUIREs that no operation and no job is left; names the operations. Nothing to release. */
void manual_loop_fini(struct manual_loop *l);
/** Run the jobs submitted before this call, then queued tasks and due timers. How many ran. */
unsigned manual_loop_turn(struct manual_loop *l);
/** One turn, after advancing the clock to the next timer if nothing is due. False, and nothing
 * done, when nothing is left. */
bool manual_loop_step(struct manual_loop *l);
/** Run all that becomes due up to the absolute time until_ms, where the clock then stands. */
void manual_loop_run(struct manual_loop *l, uint64_t until_ms);
/** When the next turn has something to do: at most the present = now, UINT64_MAX = never. */
uint64_t manual_loop_next_due_ms(const struct manual_loop *l);
