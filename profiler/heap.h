/* Sampled allocations: the heap and allocs profiles. Private to profiler/. */
#pragma once

#include "profiler/profiler.h"
#include "profiler/stacks.h"

enum { HEAP_RATE_DEFAULT = 512 << 10 };

/** Add, times `sign`, to `out`. Values: objects and bytes allocated, objects and bytes in use, all
 * estimates of the whole; from STACK_RAW on the same four as they were sampled. 0 or UV_ENOMEM. */
int heap_count(enum profiler_kind kind, struct stacks *out, int sign);
/** Different stacks. */
unsigned heap_buckets(enum profiler_kind kind);
/** Samples that found no room. */
uint64_t heap_lost(enum profiler_kind kind);

/** One sample per so many bytes on average; 0 = off. */
int64_t heap_rate(enum profiler_kind kind);
/** From now on; what was sampled before keeps its weight. At least 0. */
void heap_rate_set(enum profiler_kind kind, int64_t rate);
