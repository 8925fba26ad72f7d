/* The process's memory in the words of Go's runtime.MemStats. Private to profiler/ and to the pages
 * that show it. */
#pragma once

#include "base/buf.h"

/* Bytes and counts. What Go has and is not here is 0 in this program: there is no collector, and
 * the allocator's own books are part of the heap. */
struct memstats {
	uint64_t alloc;			       /* in use: Alloc, HeapAlloc */
	uint64_t total_alloc;		       /* ever allocated, an estimate from the samples… */
	uint64_t mallocs, frees, heap_objects; /* … as these are */
	uint64_t sys;			       /* private writable memory, reserved or touched */
	uint64_t heap_sys;		       /* what the allocator has from the kernel */
	uint64_t heap_idle;		       /* of that, free */
	uint64_t heap_inuse;
	uint64_t heap_released; /* by the last memstats_trim */
	uint64_t stack_inuse;	/* of the main thread */
	uint64_t stack_sys;	/* reserved for all threads */
	uint64_t buck_hash_sys; /* the heap profile's tables */
	uint64_t other_sys;
	uint64_t num_forced_gc; /* calls of memstats_trim */
	uint64_t max_rss;
	uint64_t rss;
};

/** Reads /proc, waits for the allocator's locks: some 50 µs. */
void memstats_read(struct memstats *ret);
/** Give what the allocator keeps in reserve back to the kernel. On a worker. */
void memstats_trim(void);
/** The lines that end Go's heap text. */
void memstats_write(struct buf *out);
