/* The monotonic clock for half the price. Private to trace/.
 *
 * Reading CLOCK_MONOTONIC costs 16 ns, of which the time stamp counter takes 7. So the clock is
 * read once a millisecond, and what lies between is counted. */
#pragma once

#include "base/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
static inline uint64_t ticks_counter(void)
{
	return __rdtsc();
}
#else
static inline uint64_t ticks_counter(void)
{
	return 0;
}
#endif

struct ticks {
	bool on;
	/* private */
	uint64_t base_ticks, base_ns; /* the counter and the clock at one moment */
	uint64_t window_ticks; /* how far beyond it may be counted; 0 = read the clock each time */
	uint64_t ns_per_tick_32;      /* 32 bits of fraction */
	uint64_t last_ns;	      /* the latest answer */
	uint64_t rate_ticks, rate_ns; /* since when the rate is measured; 0 = not yet */
	unsigned strikes;
	bool given_up; /* the clock is read each time from now on */
};

/** Find out whether the counter may stand for clock_system here. Fills all of k. */
void ticks_start(struct ticks *k);
/** The clock was read between two readings of the counter: count on from there. Returns the time.
 *  Gives the counter up when it has been wrong too often. */
uint64_t ticks_anchor(struct ticks *k, uint64_t before, uint64_t now_ns, uint64_t after);
/** The time at a reading of the counter; false when the clock is to be read. */
static inline bool ticks_count(struct ticks *k, uint64_t ticks, uint64_t *ret_ns)
{
	uint64_t passed = ticks - k->base_ticks;

	if (__builtin_expect(passed >= k->window_ticks, 0))
		return false;
	k->last_ns = MAX(k->last_ns, k->base_ns + (passed * k->ns_per_tick_32 >> 32));
	*ret_ns = k->last_ns;
	return true;
}
uint64_t ticks_read_clock(struct ticks *k);
/** ns of clock_system, within 1 us as long as the counter keeps time, within 1 ms until it is
 *  found out that it does not. Never goes back. For one thread, while k is on. */
static inline uint64_t ticks_now_ns(struct ticks *k)
{
	uint64_t ns;

	return ticks_count(k, ticks_counter(), &ns) ? ns : ticks_read_clock(k);
}
