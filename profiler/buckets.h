/* Stacks with running totals, for code that runs inside malloc and lock functions. Private to
 * profiler/.
 *
 * Memory is mapped at first use, never returned, and bounded; finding or adding a stack takes no
 * lock and allocates nothing, totals are added atomically. So it may be called on any thread at any
 * time, in the child of a fork too. What finds no room goes to one bucket without a stack. */
#pragma once

#include <stdatomic.h>

#include "profiler/stacks.h"
#include "profiler/unwind.h"

enum {
	BUCKETS_MAX = 1 << 14,
	BUCKETS_MEMORY_MAX = 8 << 20, /* bytes of stacks, per table; touched as they come */
	BUCKET_TOTALS = STACK_VALUES_MAX,
	BUCKET_FRAMES_MAX = UNWIND_FRAMES_MAX
};

struct bucket {
	_Atomic int64_t totals[BUCKET_TOTALS];
	/* private */
	uint64_t hash;
	const char *task, *what;
	unsigned n;
	uintptr_t pcs[];
};

/* In static storage; all zero is an empty table. */
struct buckets {
	/* Totals are kept in this many binary digits behind the point, which reading drops. */
	uint8_t fraction_bits[BUCKET_TOTALS];
	/* 0, or 1 + j: the total counts what is over of what the j-th has counted, and is read as
	 * the difference, which is never negative. Of equal fraction_bits. */
	uint8_t rest_of[BUCKET_TOTALS];
	/* private */
	_Atomic(struct buckets_memory *) memory;
	_Atomic unsigned count;
	_Atomic uint64_t lost_count;
	_Atomic int64_t lost_totals[BUCKET_TOTALS];
};

/** The bucket of a stack under its labels (static strings, told apart by address; NULL = none).
 *  Frames beyond BUCKET_FRAMES_MAX are cut. NULL when there is no room, which is counted: add to
 *  that with buckets_add all the same. Stays valid for ever. */
struct bucket *buckets_find(struct buckets *b, const uintptr_t *pcs, unsigned n, const char *task,
			    const char *what);
/** Add to the i-th total of what buckets_find returned. */
void buckets_add(struct buckets *b, struct bucket *k, unsigned i, int64_t value);

/** Add all totals, times `sign`, to `out`: the i-th total to the i-th value. 0 or UV_ENOMEM. */
int buckets_count(const struct buckets *b, struct stacks *out, int sign);

/** The sum of all buckets' totals, the lost ones among them. */
void buckets_sum(const struct buckets *b, int64_t ret[BUCKET_TOTALS]);

/** Different stacks, and finds that found no room. */
unsigned buckets_used(const struct buckets *b);
uint64_t buckets_lost(const struct buckets *b);
/** Bytes mapped. */
size_t buckets_memory(const struct buckets *b);
