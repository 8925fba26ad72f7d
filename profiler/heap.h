/* Sampled allocations: the heap and allocs profiles. Private to profiler/.
 *
 * The executable's allocation functions (interpose_malloc.c) decide what is sampled and tell it
 * here; an executable without them has an empty profile, and the note says so. */
#pragma once

#include <stdatomic.h>

#include "profiler/profiler.h"
#include "profiler/stacks.h"

enum {
	HEAP_RATE_DEFAULT = 512 << 10,
	HEAP_FILTER_BITS = 16,
	HEAP_LIVE_MAX = 1 << HEAP_FILTER_BITS, /* sampled blocks in use, known by address */
	HEAP_FILTER_WORDS = HEAP_LIVE_MAX / 32
};

/** Add, times `sign`, to `out`. Values: objects and bytes allocated, objects and bytes in use, all
 * estimates of the whole; from STACK_RAW on the same four as they were sampled. 0 or UV_ENOMEM. */
int heap_count(enum profiler_kind kind, struct stacks *out, int sign);
/** Different stacks. */
unsigned heap_buckets(enum profiler_kind kind);
/** Samples that found no room: for their stack, or for their address, without which the end of a
 *  block cannot be seen, so that it counts as allocated and not as in use. */
uint64_t heap_lost(enum profiler_kind kind);
/* Of everything, as the samples tell. */
struct heap_sums {
	uint64_t objects, bytes; /* allocated */
	uint64_t objects_in_use, bytes_in_use;
	uint64_t samples;
	uint64_t table_bytes; /* mapped for the profile itself */
};
void heap_sums(struct heap_sums *ret);
/** Why the profile is empty, NULL when it need not be. Static. */
const char *heap_note(enum profiler_kind kind);

/** One sample per so many bytes on average; 0 = off. */
int64_t heap_rate(enum profiler_kind kind);
/** From now on, on each thread from its next sample on; what was sampled before keeps its weight.
 * At least 0. */
void heap_rate_set(enum profiler_kind kind, int64_t rate);

/* ---- For the allocation functions: they allocate nothing and take no lock ---- */

/* Two bits per hash of an address: how many such blocks are in the table; 3 = so many or fewer. */
extern _Atomic uint64_t heap_filter[HEAP_FILTER_WORDS];

static inline unsigned heap_hash(const void *p)
{
	return (unsigned)(((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15) >>
			  (64 - HEAP_FILTER_BITS));
}

/** False: the block was not sampled. */
static inline bool heap_maybe_sampled(const void *p)
{
	unsigned h = heap_hash(p);

	return atomic_load_explicit(&heap_filter[h / 32], memory_order_relaxed) >> h % 32 * 2 & 3;
}

struct heap_sample {
	uintptr_t address;
	struct bucket *bucket;
	uint64_t size;
	int64_t objects; /* of which it is the sample, in HEAP_FRACTION_BITS */
};

/** A block of `size` bytes was sampled at `rate`; `caller`: return address of malloc. */
void heap_sampled(void *p, size_t size, int64_t rate, uintptr_t caller);
/** Before a block is freed: forget it. False when it was not sampled. */
bool heap_take(void *p, struct heap_sample *ret);
/** It is free now. */
void heap_freed(const struct heap_sample *s);
/** It is not, after all. */
void heap_put_back(const struct heap_sample *s);
/** The rate was changed after the first sample: raw numbers of different weight stand together. */
bool heap_rate_was_changed(void);
/** The allocation functions are in place. */
void heap_attach(void);
