/* What totals were a while ago, so that what is said of a daemon is about now and not about some
 * night of last month. Pure: time and totals in, differences out. */
#pragma once

#include "base/base.h"

enum {
	RECENT_EVERY_MS = 60000,
	RECENT_SAMPLES = 10, /* so many differences are of the last ten minutes */
	RECENT_MINUTES = RECENT_SAMPLES * RECENT_EVERY_MS / 60000
};

struct recent_totals {
	uint64_t turns, over_50ms, stalls;
	uint64_t dials, dial_failures;
	uint64_t refused_requests, refused_connections;
	uint64_t dropped_spans, log_errors;
	uint64_t longest_us; /* the longest turn; not a sum: what of it is recent is 0 or all */
};

/* Zero-initialised. */
struct recent {
	struct recent_totals samples[RECENT_SAMPLES]; /* a ring */
	size_t count, next;
};
/** Every RECENT_EVERY_MS. */
void recent_add(struct recent *r, const struct recent_totals *now);
/** What came about in the last RECENT_MINUTES, or since the start. */
void recent_since(const struct recent *r, const struct recent_totals *now,
		  struct recent_totals *ret);
