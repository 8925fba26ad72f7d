/* When profiles are taken and sent: time in, what to do out. Pure.
 *
 * Cycles begin at whole multiples of the interval after the start. One that would begin while
 * another runs, or while the server wants peace, is left out: nothing is ever made up for. */
#pragma once

#include "base/base.h"
#include "daemon/push_target.h"

enum {
	PUSH_INTERVAL_MIN_MS = 2000,
	PUSH_WINDOW_MAX_MS = 30000,	      /* and at most half the interval */
	PUSH_RETRY_DEFAULT_MS = 2000,	      /* for one that does not say how long */
	PUSH_UNAUTHORIZED_MS = 10 * 60 * 1000 /* until a token that was refused is tried again */
};

struct push_plan {
	uint64_t interval_ms, window_ms;
	uint64_t next_ms;		     /* the next cycle is due */
	uint64_t not_before_ms;		     /* nothing is sent until then */
	uint64_t skipped_busy, skipped_held; /* cycles that were left out */
};
void push_plan_init(struct push_plan *p, uint64_t now_ms, uint64_t interval_ms);

enum push_step {
	PUSH_WAIT,  /* until next_ms */
	PUSH_BEGIN, /* a cycle, now */
	PUSH_LEAVE_OUT
};
/** At next_ms or later; moves next_ms behind now unless it says PUSH_WAIT. */
enum push_step push_plan_step(struct push_plan *p, uint64_t now_ms, bool is_busy);

/** What to do after an answer. UINT64_MAX: the profile is done with; else it is to be sent once
 * more at that time, which lies before the next cycle. `attempt` counts from 1. */
uint64_t push_plan_answer(struct push_plan *p, uint64_t now_ms, enum push_verdict verdict,
			  uint64_t retry_after_ms, unsigned attempt);
/** Nothing may be sent now. */
bool push_plan_holds(const struct push_plan *p, uint64_t now_ms);
