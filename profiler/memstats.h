/* The process's memory in the words of Go's runtime.MemStats. Private to profiler/. */
#pragma once

#include "profiler/profiler.h"

/** Reads /proc, waits for the allocator's locks: some 50 µs. */
void memstats_read(struct memstats *ret);
/** Give what the allocator keeps in reserve back to the kernel. On a worker. */
void memstats_trim(void);
/** The lines that end Go's heap text. */
void memstats_write(struct buf *out);
