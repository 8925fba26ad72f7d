/* How fast a peer answers, and what follows from it: how much to ask it for at once, how long to
 * wait for it, when what it was asked for will be here. Pure.
 *
 * Counts are bytes as the want set takes them (fetch_want_cost). What is asked for and has not come
 * is out. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PACE_WINDOW_MIN = 64 << 10,
	PACE_WINDOW_START = 256 << 10, /* while nothing is measured */
	PACE_WINDOW_MAX = 8 << 20,
	PACE_AHEAD_MS = 125, /* of data that should be on its way beside the round trip */
	PACE_SAMPLE_MS = 50, /* over so much, or a round trip */
	PACE_PATIENCE_MIN_MS = 60,
	PACE_PATIENCE_UNKNOWN_MS = 300, /* before the first answer */
	PACE_PATIENCE_MAX_MS = 1000
};

struct pace {
	uint64_t rate;	      /* bytes per second; 0 = not measured */
	uint64_t rtt_ms;      /* the shortest answer; 0 = none yet */
	uint64_t asked, came; /* all in all */
	uint64_t last_ms;     /* when something came last, or was asked while nothing was out */
	/* private: the sample under way */
	uint64_t sample_ms, sample_came;
};

void pace_answered_in(struct pace *p, uint64_t ms);
void pace_asked(struct pace *p, uint64_t now_ms, uint64_t bytes);
void pace_came(struct pace *p, uint64_t now_ms, uint64_t bytes);
static inline uint64_t pace_out(const struct pace *p)
{
	return p->asked - p->came;
}
/** How much may be out: twice what its line holds in a round trip and PACE_AHEAD_MS, so that it
 * grows until the line is full, and shrinks to little where that takes long. */
uint64_t pace_window(const struct pace *p);
/** For how long an answer may stay away before somebody else is asked: three round trips, within
 * PACE_PATIENCE_MIN_MS and _MAX_MS. */
uint64_t pace_patience_ms(const struct pace *p);
/** Nothing has come for longer than that, though something is out. */
bool pace_is_late(const struct pace *p, uint64_t now_ms);
/** In how many ms what was asked up to this count (see `asked`) will have come. Who is silent for
 * longer than it should be, is expected to be so for as long again. */
uint64_t pace_eta_ms(const struct pace *p, uint64_t now_ms, uint64_t behind);
