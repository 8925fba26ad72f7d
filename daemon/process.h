/* What the kernel and the allocator tell of this process, for /debug/vars and /debug/metrics. */
#pragma once

#include <jansson.h>

#include "profiler/profiler.h"

enum { PROCESS_CMDLINE_MAX = 64 << 10 };

struct process {
	struct memstats memory;
	double cpu_s;
	uint64_t resident_bytes, virtual_bytes;
	uint64_t open_fds, max_fds; /* max_fds 0 = no limit */
	char *cmdline;		    /* arguments, each with its NUL; NULL = not known */
	size_t cmdline_len;
};

/** Reads /proc and waits for the allocator's locks, some 100 µs: on a worker. */
void process_read(struct process *ret);
void process_fini(struct process *p);

/** "cmdline": a list; what stands before an '@' in an address (tokens, passwords) is starred. */
json_t *process_cmdline(const struct process *p);
/** "memstats": Go's keys, all of them, in Go's order. */
json_t *process_memstats(const struct process *p);
/** "memstats_source": what those figures are here, where that is not plain. */
json_t *process_memstats_source(void);
