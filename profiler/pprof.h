/* A profile as `go tool pprof` reads it: profile.proto, gzipped. Private to profiler/. */
#pragma once

#include "base/buf.h"
#include "profiler/modules.h"
#include "profiler/stacks.h"

enum { PPROF_VALUES_MAX = 4, PPROF_COMMENTS_MAX = 4, PPROF_MAX = 64 << 20 /* bytes, packed */ };

struct pprof_type {
	const char *type, *unit;
};

struct pprof {
	struct pprof_type values[PPROF_VALUES_MAX]; /* the last one is what is shown first */
	/* The i-th value of a stack is its count times this. */
	int64_t factors[PPROF_VALUES_MAX];
	unsigned value_count;
	struct pprof_type period_type;
	int64_t period;
	int64_t time_ns;      /* since 1970 */
	int64_t duration_ns;  /* 0 = a snapshot */
	const char *what_key; /* name of the label in stack.what */
	uint64_t lost;	      /* counts that could not be kept, shown as a function of their own */
	const char *comments[PPROF_COMMENTS_MAX];
	unsigned comment_count;
};

/** Append the profile to `out`. Symbolizes; on a worker. Borrows all. 0 or UV_ENOMEM. */
int pprof_write(struct buf *out, const struct pprof *p, const struct stacks *stacks,
		const struct modules *modules);

/** gzip (RFC 1952), one member. 0, UV_ENOMEM or ERR_LIMIT. */
int pprof_gzip(struct buf *out, const void *data, size_t len);
