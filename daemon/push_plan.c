#include "daemon/push_plan.h"

void push_plan_init(struct push_plan *p, uint64_t now_ms, uint64_t interval_ms)
{
	*p = (struct push_plan){ .interval_ms = MAX(interval_ms, (uint64_t)PUSH_INTERVAL_MIN_MS) };
	p->window_ms = MIN((uint64_t)PUSH_WINDOW_MAX_MS, p->interval_ms / 2);
	p->next_ms = now_ms + p->interval_ms;
}

bool push_plan_holds(const struct push_plan *p, uint64_t now_ms)
{
	return now_ms < p->not_before_ms;
}

enum push_step push_plan_step(struct push_plan *p, uint64_t now_ms, bool is_busy)
{
	if (now_ms < p->next_ms)
		return PUSH_WAIT;
	/* After a sleep of the machine, too, the next one is one and not many. */
	p->next_ms += ((now_ms - p->next_ms) / p->interval_ms + 1) * p->interval_ms;
	if (is_busy) {
		p->skipped_busy++;
		return PUSH_LEAVE_OUT;
	}
	if (push_plan_holds(p, now_ms)) {
		p->skipped_held++;
		return PUSH_LEAVE_OUT;
	}
	return PUSH_BEGIN;
}

uint64_t push_plan_answer(struct push_plan *p, uint64_t now_ms, enum push_verdict verdict,
			  uint64_t retry_after_ms, unsigned attempt)
{
	uint64_t wait_ms = retry_after_ms != 0 ? retry_after_ms : (uint64_t)PUSH_RETRY_DEFAULT_MS;

	if (verdict == PUSH_UNAUTHORIZED) {
		p->not_before_ms = now_ms + PUSH_UNAUTHORIZED_MS;
		return UINT64_MAX;
	}
	if (verdict != PUSH_BUSY)
		return UINT64_MAX;
	/* Whatever becomes of this profile, the server is left alone as long as it asks. */
	p->not_before_ms = MAX(p->not_before_ms, now_ms + wait_ms);
	return attempt == 1 && p->not_before_ms < p->next_ms ? p->not_before_ms : UINT64_MAX;
}
