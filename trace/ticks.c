/* Counting the time between two readings of the clock.
 *
 * A reading of the clock is put between two of the counter; if those lie far apart, the thread was
 * interrupted, and it is tried again. The later one is taken as the moment of the reading: what is
 * counted from there is rather behind the clock than ahead of it, so that whoever subtracts it from
 * a later reading of the clock gets no negative time. How long a tick is is
 * measured between readings at least 10 ms apart, again and again, so that it follows the clock
 * when that is slewed.
 *
 * What can go wrong: a counter that stops, jumps or differs between processors. The kernel must
 * use it for the clock itself, which it does only after having tested it, and the processor must
 * promise that it is invariant. Beyond that, each reading of the clock is compared with what would
 * have been counted; after several within a second that differ the counter is given up for good
 * (one is what a suspended machine looks like). What is counted ends after a millisecond in any
 * case, so no error is larger or lasts longer. */
#include "trace/ticks.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
	WINDOW_NS = 1000000,
	RATE_MIN_NS = 10 * 1000000, /* over which a rate is measured, at least … */
	RATE_MAX_NS = 1000000000,   /* … and at most: then it begins anew */
	APART_MAX_NS = 250,	    /* of the two readings of the counter */
	APART_MAX_TICKS = 1000,	    /* the same as long as no rate is known */
	TRIES = 4,
	DIFFERS_NS = 1000,
	DIFFERS_SHARE = 10000, /* and one in so many of the time passed */
	COMPARE_MAX_NS = 100 * 1000000,
	STRIKES_MAX = 8,
	TEST_ROUNDS = 100
};

static uint64_t ticks_to_ns(const struct ticks *k, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * k->ns_per_tick_32 >> 32);
}

/* What would have been counted differs from the clock by more than what the rate may be off. */
static bool differs(const struct ticks *k, uint64_t now_ns, uint64_t after)
{
	uint64_t passed_ns = now_ns - k->base_ns;
	uint64_t counted_ns = ticks_to_ns(k, after - k->base_ticks);
	uint64_t off_ns = MAX(passed_ns, counted_ns) - MIN(passed_ns, counted_ns);

	return k->ns_per_tick_32 != 0 && passed_ns < COMPARE_MAX_NS &&
	       off_ns > DIFFERS_NS + passed_ns / DIFFERS_SHARE;
}

static void measure_rate(struct ticks *k, uint64_t now_ns, uint64_t after)
{
	uint64_t passed_ns = now_ns - k->rate_ns, ticks = after - k->rate_ticks;

	if (k->rate_ns == 0) {
		k->rate_ns = now_ns;
		k->rate_ticks = after;
	} else if (passed_ns >= RATE_MIN_NS && ticks > 0) {
		k->ns_per_tick_32 = (uint64_t)(((unsigned __int128)passed_ns << 32) / ticks);
		if (passed_ns >= RATE_MAX_NS) {
			k->strikes = 0;
			k->rate_ns = now_ns;
			k->rate_ticks = after;
		}
	}
	k->window_ticks = k->ns_per_tick_32 == 0 ? 0 :
						   ((uint64_t)WINDOW_NS << 32) / k->ns_per_tick_32;
}

uint64_t ticks_anchor(struct ticks *k, uint64_t before, uint64_t now_ns, uint64_t after)
{
	uint64_t apart = after - before;

	k->last_ns = MAX(k->last_ns, now_ns);
	k->window_ticks = 0;
	if (k->ns_per_tick_32 == 0 ? apart > APART_MAX_TICKS : ticks_to_ns(k, apart) > APART_MAX_NS)
		return k->last_ns;
	if (differs(k, now_ns, after)) {
		k->rate_ns = k->ns_per_tick_32 = 0;
		k->given_up = ++k->strikes == STRIKES_MAX;
	}
	if (k->given_up)
		return k->last_ns;
	measure_rate(k, now_ns, after);
	k->base_ns = now_ns;
	k->base_ticks = after;
	return k->last_ns;
}

uint64_t ticks_read_clock(struct ticks *k)
{
	int tries = TRIES;
	uint64_t ns;

	do {
		uint64_t before = ticks_counter(), now_ns = clock_now_ns(&clock_system);

		ns = ticks_anchor(k, before, now_ns, ticks_counter());
	} while (k->window_ticks == 0 && k->ns_per_tick_32 != 0 && --tries > 0);
	return ns;
}

#if defined(__x86_64__)

static bool counter_is_invariant(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1 << 8) != 0;
}

static bool kernel_trusts_counter(void)
{
	char name[16] = "";
	int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		      O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, name, sizeof(name) - 1) : -1;

	if (fd >= 0)
		close(fd);
	return len > 0 && strcmp(name, "tsc\n") == 0;
}

/* Some virtual machines answer each reading themselves, which takes microseconds. */
static bool counter_is_cheaper(void)
{
	uint64_t start = clock_now_ns(&clock_system), middle;

	for (int i = 0; i < TEST_ROUNDS; i++)
		(void)clock_now_ns(&clock_system);
	middle = clock_now_ns(&clock_system);
	for (int i = 0; i < TEST_ROUNDS; i++)
		(void)*(volatile uint64_t *)&(uint64_t){ ticks_counter() };
	return clock_now_ns(&clock_system) - middle < middle - start;
}

void ticks_start(struct ticks *k)
{
	*k = (struct ticks){ .on = counter_is_invariant() && kernel_trusts_counter() &&
				   counter_is_cheaper() };
}

#else

void ticks_start(struct ticks *k)
{
	*k = (struct ticks){ .on = false };
}

#endif
