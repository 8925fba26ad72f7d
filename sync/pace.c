#include "sync/pace.h"

#include "base/base.h"

void pace_answered_in(struct pace *p, uint64_t ms)
{
	ms = MAX(ms, (uint64_t)1);
	p->rtt_ms = p->rtt_ms == 0 ? ms : MIN(p->rtt_ms, ms);
}

void pace_asked(struct pace *p, uint64_t now_ms, uint64_t bytes)
{
	if (pace_out(p) == 0) {
		p->last_ms = p->sample_ms = now_ms;
		p->sample_came = p->came;
	}
	p->asked += bytes;
}

/* Time in which nothing was out does not count: it says nothing about the peer. What was all there
 * at once was too little to measure by, unless it was faster than thought. */
void pace_came(struct pace *p, uint64_t now_ms, uint64_t bytes)
{
	uint64_t took_ms = now_ms - p->sample_ms, got, rate;
	bool brief = took_ms < MAX(p->rtt_ms, (uint64_t)PACE_SAMPLE_MS);

	p->came += MIN(bytes, pace_out(p));
	p->last_ms = now_ms;
	if (brief && pace_out(p) > 0)
		return;
	got = p->came - p->sample_came;
	rate = got * 1000 / MAX(took_ms, (uint64_t)1);
	if (!brief)
		p->rate = p->rate == 0 ? rate : (p->rate + rate) / 2;
	else if (p->rate > 0 || got >= PACE_WINDOW_MIN)
		p->rate = MAX(p->rate, rate);
	p->sample_ms = now_ms;
	p->sample_came = p->came;
}

uint64_t pace_window(const struct pace *p)
{
	uint64_t window = 2 * p->rate * (p->rtt_ms + PACE_AHEAD_MS) / 1000;

	if (p->rate == 0)
		return PACE_WINDOW_START;
	return MIN(MAX(window, (uint64_t)PACE_WINDOW_MIN), (uint64_t)PACE_WINDOW_MAX);
}

uint64_t pace_patience_ms(const struct pace *p)
{
	if (p->rtt_ms == 0)
		return PACE_PATIENCE_UNKNOWN_MS;
	return MIN(MAX(3 * p->rtt_ms, (uint64_t)PACE_PATIENCE_MIN_MS),
		   (uint64_t)PACE_PATIENCE_MAX_MS);
}

bool pace_is_late(const struct pace *p, uint64_t now_ms)
{
	return pace_out(p) > 0 && now_ms - p->last_ms > pace_patience_ms(p);
}

uint64_t pace_eta_ms(const struct pace *p, uint64_t now_ms, uint64_t behind)
{
	uint64_t out = behind > p->came ? behind - p->came : 0;
	uint64_t silent_ms = pace_out(p) > 0 ? now_ms - p->last_ms : 0;
	uint64_t due_ms = p->rate > 0 ? out * 1000 / p->rate : 0;

	due_ms = MAX(due_ms, p->rtt_ms);
	return due_ms > silent_ms ? due_ms - silent_ms : silent_ms;
}
