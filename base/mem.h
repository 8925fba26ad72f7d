/* The one door to memory.
 *
 * All of the daemon's own allocations pass here (a lint test forbids malloc and friends elsewhere),
 * so that they can be counted, capped, and made to fail on purpose. Sizes from outside are checked
 * against a named limit by the caller before they get here. Thread-safe. */
#pragma once

#include "base/base.h"

/** Zero-filled memory, or NULL (out of memory, over the process cap, or an injected fault).
 *  size 0 yields a unique pointer. The caller frees with mem_free. */
void *mem_alloc(size_t size) MUST_USE;
/** Zero-filled array; NULL also when count * size overflows. */
void *mem_alloc_array(size_t count, size_t size) MUST_USE;
/** As realloc: on failure returns NULL and `p` stays valid. New bytes are not zeroed. */
void *mem_realloc(void *p, size_t size) MUST_USE;
/** Copies of `len` bytes; mem_strndup adds a NUL. */
void *mem_dup(const void *p, size_t len) MUST_USE;
char *mem_strdup(const char *s) MUST_USE;
char *mem_strndup(const char *s, size_t len) MUST_USE;
/** printf into fresh memory; NULL on failure. */
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2) MUST_USE;
/** Accepts NULL; returns NULL so that `p = mem_free(p)` reads well. */
void *mem_free(void *p);
/** For CLEANUP(mem_freep) on a pointer variable. */
void mem_freep(void *pp);

struct mem_stats {
	uint64_t live_bytes; /* usable size of what is allocated now */
	uint64_t live_count; /* blocks allocated now */
	uint64_t peak_bytes;
	uint64_t total_count; /* allocations since start */
	uint64_t refused;     /* by the cap or by an injected fault */
};
void mem_stats(struct mem_stats *ret);

/** Cap on live_bytes for the process; 0 = none (default). Allocations beyond it return NULL. */
void mem_set_cap(uint64_t bytes);

/* Fault countdown, for tests: the n-th allocation from now (1 = the next) fails; with `sticky` all
 * later ones fail too. 0 disarms. mem_fault_hits() tells how many failed since arming. Counts
 * allocations of the calling thread only, so that a sweep is deterministic beside other threads. */
void mem_fault_after(uint64_t n, bool sticky);
uint64_t mem_fault_hits(void);

/* Arena: memory for one operation, released at once. Never shrinks; not thread-safe. */
struct arena {
	/* private */
	struct arena_chunk *chunks;
	size_t used_bytes;
	size_t limit_bytes;
};
/** Prepares an empty arena that will never hold more than limit_bytes. Allocates nothing. */
void arena_init(struct arena *a, size_t limit_bytes);
/** Zero-filled, aligned to 16; NULL over the limit or out of memory. Valid until arena_fini. */
void *arena_alloc(struct arena *a, size_t size) MUST_USE;
void *arena_dup(struct arena *a, const void *p, size_t len) MUST_USE;
char *arena_strndup(struct arena *a, const char *s, size_t len) MUST_USE;
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_USE;
/** Frees everything; the arena is empty and usable again. */
void arena_fini(struct arena *a);
