#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"
#include "profiler/heap.h"

/* malloc and its kin, defined by the program, so that its libraries come here too: each takes the
 * size from a countdown of the thread, and when that is used up has the block sampled; then it does
 * what libc's does, by libc's second names. Pointers are libc's own; strdup, getline and the like
 * come by.
 *
 * A preloaded allocator stands behind these functions, not before them. tcmalloc has libc's second
 * names too and goes on to serve; jemalloc has not, and is out of work. What tells the size of a
 * block must be of the same make as what gave it, so that is defined here too.
 *
 * A sampled block's record is removed before the block is freed: from then on another thread may
 * get its address.
 *
 * A countdown begins at 0 on each thread, needs no constructor, and goes to its end under the rate
 * it was drawn for. Under sanitizers nothing is defined: their allocator would not be called any
 * more, and would find nothing. valgrind replaces these functions too; the constructor notices. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define INTERPOSE 0
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__)
#undef INTERPOSE
#define INTERPOSE 0
#endif
#ifndef INTERPOSE
#define INTERPOSE 1
#endif

#if INTERPOSE

#define EXPORT	     __attribute__((visibility("default")))
#define COLD	     __attribute__((noinline, cold))
#define CALLER	     ((uintptr_t)__builtin_return_address(0))
#define UNLIKELY(x)  __builtin_expect(!!(x), 0)
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern void __libc_free(void *p);

enum { PROBE = 1000 };

THREAD_LOCAL uint64_t left;	 /* bytes until the next sample */
THREAD_LOCAL int64_t drawn_rate; /* under which `left` was drawn; 0: it was not */
THREAD_LOCAL uint64_t random_state;
THREAD_LOCAL bool busy;

static double next_random(void)
{
	static _Atomic uint64_t threads;
	uint64_t x = random_state;
	struct timespec t;

	if (x == 0) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		x = (uint64_t)t.tv_nsec ^ (uintptr_t)&random_state;
		x += (atomic_fetch_add(&threads, 1) + 1) * UINT64_C(0x9e3779b97f4a7c15);
		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9) | 1;
	}
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	random_state = x;
	return (double)((x >> 11) + 1) / 9007199254740993.0; /* (0, 1) */
}

static uint64_t draw(int64_t rate)
{
	return rate > 1 ? (uint64_t)(-log(next_random()) * (double)rate) : 0;
}

/* The countdown is used up: is the block of `size` to be sampled? Under which rate, or 0. */
static COLD int64_t countdown_ends(size_t size)
{
	int64_t rate = heap_rate(PROFILER_HEAP), was = drawn_rate;
	int error = errno;

	if (busy)
		return 0;
	busy = true;
	if (rate == 0) {
		left = HEAP_RATE_DEFAULT; /* look again then */
		drawn_rate = 0;
		was = 0;
	} else if (was == 0) { /* begin: the block may be the first sample already */
		left = draw(rate);
		was = size < left ? 0 : rate;
	}
	if (was == 0)
		left -= MIN(left, size);
	else
		left = draw(rate);
	drawn_rate = rate;
	busy = false;
	errno = error;
	return was;
}

static inline bool passes(size_t size)
{
	uint64_t rest = left;

	if (UNLIKELY(size >= rest))
		return false;
	left = rest - size;
	return true;
}

static inline int64_t count_down(size_t size)
{
	return passes(size) ? 0 : countdown_ends(size);
}

static COLD void *sampled(void *p, size_t size, int64_t rate, uintptr_t caller)
{
	int error = errno;

	if (p == NULL || busy)
		return p;
	busy = true;
	heap_sampled(p, size, rate, caller);
	busy = false;
	errno = error;
	return p;
}

/* What happens every time ends in a jump to libc, without a frame. */

static COLD void *malloc_slowly(size_t size, uintptr_t caller)
{
	int64_t rate = countdown_ends(size);
	void *p = __libc_malloc(size);

	return rate != 0 ? sampled(p, size, rate, caller) : p;
}

EXPORT void *malloc(size_t size)
{
	return passes(size) ? __libc_malloc(size) : malloc_slowly(size, CALLER);
}

static COLD void *calloc_slowly(size_t count, size_t size, uintptr_t caller)
{
	size_t bytes;
	int64_t rate;
	void *p;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	rate = countdown_ends(bytes);
	p = __libc_calloc(count, size);
	return rate != 0 ? sampled(p, bytes, rate, caller) : p;
}

EXPORT void *calloc(size_t count, size_t size)
{
	size_t bytes;

	if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes)) || !passes(bytes))
		return calloc_slowly(count, size, CALLER);
	return __libc_calloc(count, size);
}

static COLD void free_slowly(void *p)
{
	struct heap_sample s;

	if (heap_take(p, &s))
		heap_freed(&s);
	__libc_free(p);
}

EXPORT void free(void *p)
{
	if (UNLIKELY(heap_maybe_sampled(p)))
		free_slowly(p);
	else
		__libc_free(p);
}

static COLD void *realloc_sampled(void *p, size_t size)
{
	struct heap_sample s;
	bool was = heap_take(p, &s);
	void *moved = __libc_realloc(p, size);

	if (was && moved == NULL && size > 0)
		heap_put_back(&s);
	else if (was)
		heap_freed(&s);
	return moved;
}

static inline void *resize(void *p, size_t size, uintptr_t caller)
{
	int64_t rate = p == NULL || size > 0 ? count_down(size) : 0;
	void *moved = UNLIKELY(heap_maybe_sampled(p)) ? realloc_sampled(p, size) :
							__libc_realloc(p, size);

	return UNLIKELY(rate != 0) ? sampled(moved, size, rate, caller) : moved;
}

EXPORT void *realloc(void *p, size_t size)
{
	return resize(p, size, CALLER);
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return resize(p, bytes, CALLER);
}

static inline void *allocate_aligned(size_t align, size_t size, uintptr_t caller)
{
	int64_t rate = count_down(size);
	void *p = __libc_memalign(align, size);

	return UNLIKELY(rate != 0) ? sampled(p, size, rate, caller) : p;
}

EXPORT void *memalign(size_t align, size_t size)
{
	return allocate_aligned(align, size, CALLER);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return allocate_aligned(align, size, CALLER);
}

EXPORT int posix_memalign(void **ret, size_t align, size_t size)
{
	int error = errno;
	void *p;

	if (align == 0 || align % sizeof(void *) != 0 || (align & (align - 1)) != 0)
		return EINVAL;
	p = allocate_aligned(align, size, CALLER);
	errno = error;
	if (p == NULL)
		return ENOMEM;
	*ret = p;
	return 0;
}

EXPORT void *valloc(size_t size)
{
	int64_t rate = count_down(size);
	void *p = __libc_valloc(size);

	return UNLIKELY(rate != 0) ? sampled(p, size, rate, CALLER) : p;
}

EXPORT void *pvalloc(size_t size)
{
	int64_t rate = count_down(size);
	void *p = __libc_pvalloc(size);

	return UNLIKELY(rate != 0) ? sampled(p, size, rate, CALLER) : p;
}

/* ---- The size of a block ---- */

typedef size_t (*usable_size_fn)(void *p);

static size_t unknown_size(void *p)
{
	return 0;
}

/* From the library that has the __libc_malloc which is called. */
static COLD usable_size_fn find_usable_size(_Atomic(usable_size_fn) *place)
{
	usable_size_fn fn = unknown_size;
	void *lib, *symbol;
	Dl_info info;

	if (dladdr((void *)__libc_malloc, &info) != 0 &&
	    (lib = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD)) != NULL) {
		symbol = dlsym(lib, "malloc_usable_size");
		if (symbol != NULL)
			*(void **)&fn = symbol;
		dlclose(lib);
	}
	atomic_store_explicit(place, fn, memory_order_relaxed);
	return fn;
}

EXPORT size_t malloc_usable_size(void *p)
{
	static _Atomic(usable_size_fn) place;
	usable_size_fn fn = atomic_load_explicit(&place, memory_order_relaxed);

	return (UNLIKELY(fn == NULL) ? find_usable_size(&place) : fn)(p);
}

/* ---- Being there ---- */

/* Are these functions the ones that are called? */
__attribute__((constructor)) static void attach(void)
{
	void *(*volatile allocate)(size_t) = malloc;
	void (*volatile release)(void *) = free;
	uint64_t was = left;

	left = PROBE;
	release(allocate(1));
	if (left == PROBE - 1)
		heap_attach();
	left = was;
}

#endif
