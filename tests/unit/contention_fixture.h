/* What was recorded of waiting, for the tests of locks. */
#pragma once

#include "profiler_fixture.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "profiler/cfi.h"
#include "profiler/contention.h"
#include "profiler/waits.h"

enum { ROUNDS = 40, HOLD_US = 5000, PAUSE_MS = 20, EVENTS = 100000 };

#define FN(name) ((uintptr_t)(name))

static inline uint64_t now_ns(void)
{
	return clock_now_ns(&clock_system);
}

static inline void nap_us(unsigned us)
{
	uint64_t until = now_ns() + us * 1000ull;

	while (now_ns() < until)
		usleep(100);
}

/* ---- What was recorded ---- */

struct sums {
	int64_t count, delay_ns;
	unsigned stacks;
	uintptr_t leaf;
	const char *task, *state;
};

/* Of all stacks through a function. */
static inline struct sums sums_of(enum profiler_kind kind, uintptr_t fn)
{
	struct sums sums = { 0 };
	struct stacks stacks;

	stacks_init(&stacks);
	CHECK_STATUS(0, contention_count(kind, &stacks, 1));
	for (const struct stack *k = stacks.first; k != NULL; k = k->next)
		for (unsigned i = 0; i < k->n; i++)
			if (cfi_function_start(k->pcs[i]) == fn) {
				sums.count += k->values[0];
				sums.delay_ns += k->values[1];
				sums.stacks++;
				sums.leaf = cfi_function_start(k->pcs[0]);
				sums.task = k->task;
				sums.state = k->what;
				break;
			}
	stacks_fini(&stacks);
	return sums;
}

static inline bool has_leaf(enum profiler_kind kind, uintptr_t fn, uintptr_t leaf)
{
	struct stacks stacks;
	bool found = false;

	stacks_init(&stacks);
	CHECK_STATUS(0, contention_count(kind, &stacks, 1));
	for (const struct stack *k = stacks.first; k != NULL; k = k->next)
		for (unsigned i = 1; i < k->n && !found; i++)
			found = cfi_function_start(k->pcs[0]) == leaf &&
				cfi_function_start(k->pcs[i]) == fn;
	stacks_fini(&stacks);
	return found;
}

static inline struct sums minus(struct sums a, struct sums b)
{
	a.count -= b.count;
	a.delay_ns -= b.delay_ns;
	return a;
}

static inline void check_near(int64_t expected, int64_t got)
{
	int64_t off = got > expected ? got - expected : expected - got;

	if (off * 10 > expected)
		fail_msg("%lld is not within a tenth of %lld", (long long)got, (long long)expected);
}

static inline int rates_setup(void **state)
{
	contention_rate_set(PROFILER_MUTEX, 1);
	contention_rate_set(PROFILER_BLOCK, 1);
	return fixture_setup(state);
}

#define locks_test(fn) cmocka_unit_test_setup_teardown(fn, rates_setup, fixture_teardown)
