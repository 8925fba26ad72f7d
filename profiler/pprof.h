/* A profile as `go tool pprof` reads it: profile.proto, gzipped. Private to profiler/. */
#pragma once

#include "base/buf.h"
#include "profiler/modules.h"
#include "profiler/stacks.h"

enum {
	PPROF_VALUES_MAX = 4,
	PPROF_COMMENTS_MAX = 4,
	PPROF_MAX = 64 << 20 /* bytes, packed */
};

struct pprof_type {
	const char *type, *unit;
};

struct pprof {
	struct pprof_type values[PPROF_VALUES_MAX]; /* the last one is what is shown first */
	unsigned value_count;
	const char *default_type; /* what is shown first instead; NULL = the last */
	struct pprof_type period_type;
	int64_t period;
	int64_t time_ns;      /* since 1970 */
	int64_t duration_ns;  /* 0 = a snapshot */
	const char *what_key; /* name of the label in stack.what */
	bool block_sizes;     /* label each stack with value[1] / value[0] bytes, as Go's heap */
	const char *comments[PPROF_COMMENTS_MAX];
	unsigned comment_count;
};

/** Append the profile to `out`: the stacks whose values are not all 0, and what the table lost as a
 * function of its own. Symbolizes; on a worker. Borrows all. 0 or UV_ENOMEM. */
int pprof_write(struct buf *out, const struct pprof *p, const struct stacks *stacks,
		const struct modules *modules);

/** Append a CPU profile as gperftools writes it: addresses without names, counts, what is mapped. 0
 * or UV_ENOMEM. */
int gperftools_write(struct buf *out, const struct stacks *stacks, uint64_t period_ns);

/** gzip (RFC 1952), one member. 0, UV_ENOMEM or ERR_LIMIT. */
int pprof_gzip(struct buf *out, const void *data, size_t len);
