/* Where threads wait for each other: the mutex and block profiles. Private to profiler/.
 *
 * `kind` is PROFILER_MUTEX (stacks of those that held what others waited for) or PROFILER_BLOCK
 * (stacks of those that waited). */
#pragma once

#include "profiler/profiler.h"
#include "profiler/stacks.h"

/** Add, times `sign`, to `out`. Values: contentions, nanoseconds of delay, both made whole where
 *  only some events are recorded; from STACK_RAW on the same two as they were recorded. 0 or
 *  UV_ENOMEM. */
int contention_count(enum profiler_kind kind, struct stacks *out, int sign);
/** Different stacks. */
unsigned contention_buckets(enum profiler_kind kind);
/** Events that found no room. */
uint64_t contention_lost(enum profiler_kind kind);

/** MUTEX: one event of this many is recorded. BLOCK: events of so many nanoseconds are, shorter
 * ones in proportion. 0 = off, 1 = all. */
int64_t contention_rate(enum profiler_kind kind);
/** From now on; at least 0. */
void contention_rate_set(enum profiler_kind kind, int64_t rate);
