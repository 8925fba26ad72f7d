#include "base/mem.h"

#include <malloc.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counters are relaxed: each is exact on its own, a snapshot of several is not taken at one
 * instant. The cap is looked at before the allocation, so threads that allocate at the same moment
 * may pass it by a block each. */

enum { ARENA_ALIGN = 16, ARENA_CHUNK_MIN = 4096, ARENA_CHUNK_MAX = 65536 };

/* No single block comes near this; sanitizers abort on absurd sizes where malloc would say no. */
#define MEM_BLOCK_MAX ((size_t)1 << 38)

/* Functions that allocate for their callers: in heap profiles the callers have the memory. They lie
 * together, where the profiler knows them by their addresses (profiler/heap.c). */
#define ALLOCATOR __attribute__((section("allocators")))

static _Atomic uint64_t live_bytes, live_count, peak_bytes, total_count, refused_count, cap_bytes;

static _Thread_local uint64_t fault_countdown, fault_hits;
static _Thread_local bool fault_sticky;

static bool fault_strikes(void)
{
	if (fault_countdown == 0)
		return false;
	if (fault_countdown > 1) {
		fault_countdown--;
		return false;
	}
	if (!fault_sticky)
		fault_countdown = 0;
	fault_hits++;
	return true;
}

/* size is that of the block, added what it adds to the live bytes. */
static bool may_allocate(size_t size, size_t added)
{
	uint64_t cap = atomic_load_explicit(&cap_bytes, memory_order_relaxed);
	uint64_t live = atomic_load_explicit(&live_bytes, memory_order_relaxed);

	if (!fault_strikes() && size <= MEM_BLOCK_MAX && (cap == 0 || live + added <= cap))
		return true;
	atomic_fetch_add_explicit(&refused_count, 1, memory_order_relaxed);
	return false;
}

static void count_bytes(size_t added, size_t removed)
{
	uint64_t live, peak;

	live = atomic_fetch_add_explicit(&live_bytes, (uint64_t)added - removed,
					 memory_order_relaxed) +
	       added - removed;
	peak = atomic_load_explicit(&peak_bytes, memory_order_relaxed);
	while (live > peak && added > removed &&
	       !atomic_compare_exchange_weak_explicit(&peak_bytes, &peak, live,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

static void *count_new(void *p)
{
	if (p == NULL)
		return NULL;
	atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&total_count, 1, memory_order_relaxed);
	count_bytes(malloc_usable_size(p), 0);
	return p;
}

ALLOCATOR void *mem_alloc(size_t size)
{
	return may_allocate(size, size) ? count_new(calloc(1, MAX(size, 1u))) : NULL;
}

ALLOCATOR void *mem_alloc_array(size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		total = SIZE_MAX;
	return mem_alloc(total);
}

ALLOCATOR void *mem_realloc(void *p, size_t size)
{
	size_t old_bytes = p != NULL ? malloc_usable_size(p) : 0;
	void *fresh;

	if (!may_allocate(size, size > old_bytes ? size - old_bytes : 0))
		return NULL;
	if (p == NULL)
		return count_new(malloc(MAX(size, 1u)));
	fresh = realloc(p, MAX(size, 1u));
	if (fresh == NULL)
		return NULL;
	atomic_fetch_add_explicit(&total_count, 1, memory_order_relaxed);
	count_bytes(malloc_usable_size(fresh), old_bytes);
	return fresh;
}

ALLOCATOR void *mem_dup(const void *p, size_t len)
{
	void *copy = mem_realloc(NULL, len); /* nobody needs zeros that are written over */

	if (copy != NULL && len > 0)
		memcpy(copy, p, len);
	return copy;
}

ALLOCATOR char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

ALLOCATOR char *mem_strndup(const char *s, size_t len)
{
	char *copy = len < SIZE_MAX ? mem_alloc(len + 1) : NULL;

	if (copy != NULL && len > 0)
		memcpy(copy, s, len);
	return copy;
}

ALLOCATOR char *mem_printf(const char *fmt, ...)
{
	va_list args;
	char *s = NULL;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len >= 0)
		s = mem_alloc((size_t)len + 1);
	if (s == NULL)
		return NULL;
	va_start(args, fmt);
	(void)vsnprintf(s, (size_t)len + 1, fmt, args);
	va_end(args);
	return s;
}

void *mem_free(void *p)
{
	if (p != NULL) {
		count_bytes(0, malloc_usable_size(p));
		atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
		free(p);
	}
	return NULL;
}

void mem_freep(void *pp)
{
	void **p = pp;

	*p = mem_free(*p);
}

void mem_stats(struct mem_stats *ret)
{
	*ret = (struct mem_stats){
		.live_bytes = atomic_load_explicit(&live_bytes, memory_order_relaxed),
		.live_count = atomic_load_explicit(&live_count, memory_order_relaxed),
		.peak_bytes = atomic_load_explicit(&peak_bytes, memory_order_relaxed),
		.total_count = atomic_load_explicit(&total_count, memory_order_relaxed),
		.refused = atomic_load_explicit(&refused_count, memory_order_relaxed),
	};
}

void mem_set_cap(uint64_t bytes)
{
	atomic_store_explicit(&cap_bytes, bytes, memory_order_relaxed);
}

void mem_fault_after(uint64_t n, bool sticky)
{
	fault_countdown = n;
	fault_sticky = sticky;
	if (n > 0)
		fault_hits = 0;
}

uint64_t mem_fault_hits(void)
{
	return fault_hits;
}

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, cap;
	alignas(ARENA_ALIGN) uint8_t data[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
	*a = (struct arena){ .limit_bytes = limit_bytes };
}

/* The chunk with most room stays in front: a large block must not end the filling of a half-empty
 * chunk. */
static ALLOCATOR struct arena_chunk *add_chunk(struct arena *a, size_t size)
{
	struct arena_chunk *front = a->chunks;
	size_t cap = front != NULL ? MIN(front->cap * 2, (size_t)ARENA_CHUNK_MAX) : ARENA_CHUNK_MIN;
	struct arena_chunk *chunk;

	cap = MAX(MIN(cap, a->limit_bytes - a->used_bytes), size);
	chunk = mem_alloc(sizeof(*chunk) + cap);
	if (chunk == NULL)
		return NULL;
	chunk->cap = cap;
	if (front == NULL || cap - size >= front->cap - front->used) {
		chunk->next = front;
		a->chunks = chunk;
	} else {
		chunk->next = front->next;
		front->next = chunk;
	}
	return chunk;
}

ALLOCATOR void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_chunk *chunk = a->chunks;
	size_t left = a->limit_bytes - a->used_bytes;
	void *p;

	if (size > left)
		return NULL;
	size = (MAX(size, 1u) + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	if (size > left)
		return NULL;
	if (chunk == NULL || chunk->cap - chunk->used < size) {
		chunk = add_chunk(a, size);
		if (chunk == NULL)
			return NULL;
	}
	p = chunk->data + chunk->used;
	chunk->used += size;
	a->used_bytes += size;
	return p;
}

ALLOCATOR void *arena_dup(struct arena *a, const void *p, size_t len)
{
	void *copy = arena_alloc(a, len);

	if (copy != NULL && len > 0)
		memcpy(copy, p, len);
	return copy;
}

ALLOCATOR char *arena_strndup(struct arena *a, const char *s, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

	if (copy != NULL && len > 0)
		memcpy(copy, s, len);
	return copy;
}

ALLOCATOR char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args;
	char *s = NULL;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len >= 0)
		s = arena_alloc(a, (size_t)len + 1);
	if (s == NULL)
		return NULL;
	va_start(args, fmt);
	(void)vsnprintf(s, (size_t)len + 1, fmt, args);
	va_end(args);
	return s;
}

void arena_fini(struct arena *a)
{
	while (a->chunks != NULL) {
		struct arena_chunk *chunk = a->chunks;

		a->chunks = chunk->next;
		mem_free(chunk);
	}
	a->used_bytes = 0;
}
