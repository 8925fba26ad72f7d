#include "daemon/recent.h"

void recent_add(struct recent *r, const struct recent_totals *now)
{
	r->samples[r->next] = *now;
	r->next = (r->next + 1) % RECENT_SAMPLES;
	r->count = MIN(r->count + 1, (size_t)RECENT_SAMPLES);
}

void recent_since(const struct recent *r, const struct recent_totals *now,
		  struct recent_totals *ret)
{
	static const struct recent_totals start;
	const struct recent_totals *then = r->count < RECENT_SAMPLES ? &start :
								       &r->samples[r->next];

	*ret = (struct recent_totals){
		.turns = now->turns - then->turns,
		.over_50ms = now->over_50ms - then->over_50ms,
		.stalls = now->stalls - then->stalls,
		.dials = now->dials - then->dials,
		.dial_failures = now->dial_failures - then->dial_failures,
		.refused_requests = now->refused_requests - then->refused_requests,
		.refused_connections = now->refused_connections - then->refused_connections,
		.dropped_spans = now->dropped_spans - then->dropped_spans,
		.log_errors = now->log_errors - then->log_errors,
		.longest_us = now->longest_us > then->longest_us ? now->longest_us : 0,
	};
}
