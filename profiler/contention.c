#include "profiler/contention.h"

#include <stdatomic.h>

#include "profiler/buckets.h"

enum { MUTEX_RATE = 10, BLOCK_RATE_NS = 10000 };

static struct buckets mutex_buckets, block_buckets;
static _Atomic int64_t mutex_rate = MUTEX_RATE, block_rate = BLOCK_RATE_NS;

static struct buckets *buckets_of(enum profiler_kind kind)
{
	return kind == PROFILER_MUTEX ? &mutex_buckets : &block_buckets;
}

int contention_count(enum profiler_kind kind, struct stacks *out, int sign)
{
	return buckets_count(buckets_of(kind), out, sign);
}

unsigned contention_buckets(enum profiler_kind kind)
{
	return buckets_used(buckets_of(kind));
}

uint64_t contention_lost(enum profiler_kind kind)
{
	return buckets_lost(buckets_of(kind));
}

int64_t contention_rate(enum profiler_kind kind)
{
	return atomic_load(kind == PROFILER_MUTEX ? &mutex_rate : &block_rate);
}

void contention_rate_set(enum profiler_kind kind, int64_t rate)
{
	atomic_store(kind == PROFILER_MUTEX ? &mutex_rate : &block_rate, rate);
}
