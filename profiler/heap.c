#include "profiler/heap.h"

#include <stdatomic.h>

#include "profiler/buckets.h"

static struct buckets buckets;
static _Atomic int64_t rate_bytes = HEAP_RATE_DEFAULT;

int heap_count(enum profiler_kind kind, struct stacks *out, int sign)
{
	return buckets_count(&buckets, out, sign);
}

unsigned heap_buckets(enum profiler_kind kind)
{
	return buckets_used(&buckets);
}

uint64_t heap_lost(enum profiler_kind kind)
{
	return buckets_lost(&buckets);
}

int64_t heap_rate(enum profiler_kind kind)
{
	return atomic_load_explicit(&rate_bytes, memory_order_relaxed);
}

void heap_rate_set(enum profiler_kind kind, int64_t rate)
{
	atomic_store_explicit(&rate_bytes, rate, memory_order_relaxed);
}
