/* Profiles of running totals: heap, allocs, mutex, block. Private to profiler/. */
#pragma once

#include "base/buf.h"
#include "profiler/pprof.h"
#include "profiler/profiler.h"

struct totals {
	const char *name;
	struct pprof_type values[PPROF_VALUES_MAX];
	unsigned value_count;
	unsigned monotonic; /* so many of the values only ever grow */
	struct pprof_type period_type;
	const char *default_type;
	bool block_sizes;
	bool period_is_rate; /* else the period is 1: the values are whole already */
	int (*count)(enum profiler_kind kind, struct stacks *out, int sign);
	unsigned (*buckets)(enum profiler_kind kind);
	uint64_t (*lost)(enum profiler_kind kind);
	const char *(*note)(enum profiler_kind kind); /* why nothing is recorded; NULL = it is */
	int64_t (*rate)(enum profiler_kind kind);
	void (*rate_set)(enum profiler_kind kind, int64_t rate);
	/* Go's debug=1, or gperftools' wire format. Inside a symbol session. */
	void (*write_text)(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy);
	enum profiler_kind kind;
};

/** NULL when the kind is no such profile. */
const struct totals *totals_of(enum profiler_kind kind);

/* "n: b [n: b] @ 0x…" and "cycles count @ 0x…" (totals_text.c). */
void heap_text_write(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy);
void block_text_write(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy);
void mutex_text_write(struct buf *out, const struct stacks *stacks, int64_t rate, bool legacy);
