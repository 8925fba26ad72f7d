/* Time behind a door, so that a simulation can own it. */
#pragma once

#include "base/base.h"

struct clock {
	/** Monotonic nanoseconds; the zero point is arbitrary. */
	uint64_t (*now_ns)(const struct clock *c);
	/** Nanoseconds since 1970 UTC. For people and commit times; never for deadlines. */
	uint64_t (*wall_ns)(const struct clock *c);
};

/** CLOCK_MONOTONIC and CLOCK_REALTIME. */
extern const struct clock clock_system;

/* A clock that moves only when told to. */
struct clock_manual {
	struct clock clock;
	uint64_t now;  /* ns */
	uint64_t wall; /* ns at now == 0 */
};
void clock_manual_init(struct clock_manual *c, uint64_t wall_ns);
void clock_manual_advance(struct clock_manual *c, uint64_t ns);

#define NS_PER_MS  1000000ull
#define NS_PER_SEC 1000000000ull

static inline uint64_t clock_now_ns(const struct clock *c)
{
	return c->now_ns(c);
}
static inline uint64_t clock_now_ms(const struct clock *c)
{
	return c->now_ns(c) / NS_PER_MS;
}
static inline uint64_t clock_wall_ns(const struct clock *c)
{
	return c->wall_ns(c);
}
