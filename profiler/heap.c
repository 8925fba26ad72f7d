#include "profiler/heap.h"

#include <math.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/op.h"
#include "profiler/buckets.h"
#include "profiler/thread.h"

/* Which bytes are sampled is a Poisson process of one per `rate` bytes: a block of S bytes is with
 * the probability 1 - exp(-S/rate), and stands for the reciprocal of that many. So sums are right
 * on average for any mixture of sizes, and after any change of the rate.
 *
 * A table by address knows the sampled blocks in use: a block is in one of the PROBES places from
 * its hash on. Before it stands a filter that counts blocks by hash, so that free looks at one word
 * for a block that was not sampled. A count that has reached 3 stays there: then free looks in
 * vain.
 *
 * Nobody waits for anybody: a place is claimed and given up by one atomic operation, and between
 * these belongs to whoever owns the block, as the block does. So a thread that is stopped, for ever
 * even as by a fork, holds nobody up. A place that is not found is a block that is lost.
 *
 * What can go wrong: all of this runs inside malloc and free. So it allocates nothing (own
 * mappings), and nothing of libc that locks or allocates is called. */

enum { PROBES = 32, SKIPPED_MAX = 8, FRACTION_BITS = 16, COUNT_MAX = 3 };
enum { ALLOC_OBJECTS, ALLOC_BYTES, FREED_OBJECTS, FREED_BYTES, RAW = STACK_RAW };

extern void *__libc_stack_end;
/* Of ALLOCATOR functions (base/mem.c), by the linker. */
extern const char __start_allocators[] __attribute__((weak));
extern const char __stop_allocators[] __attribute__((weak));

_Atomic uint64_t heap_filter[HEAP_FILTER_WORDS];

static struct buckets buckets = {
	.fraction_bits = { [ALLOC_OBJECTS] = FRACTION_BITS, [FREED_OBJECTS] = FRACTION_BITS },
	.rest_of = { [FREED_OBJECTS] = 1 + ALLOC_OBJECTS,
		     [FREED_BYTES] = 1 + ALLOC_BYTES,
		     [RAW + FREED_OBJECTS] = 1 + RAW + ALLOC_OBJECTS,
		     [RAW + FREED_BYTES] = 1 + RAW + ALLOC_BYTES }
};
static _Atomic int64_t rate_bytes = HEAP_RATE_DEFAULT;
static _Atomic bool attached, rate_changed;

struct places {
	_Atomic uintptr_t addresses[HEAP_LIVE_MAX]; /* 0 = free */
	struct heap_sample samples[HEAP_LIVE_MAX];
};
static _Atomic(struct places *) places;
static _Atomic uint64_t live_lost;

/* ---- The table ---- */

static struct places *map_places(void)
{
	struct places *t = atomic_load_explicit(&places, memory_order_acquire);
	void *fresh;

	if (t != NULL)
		return t;
	fresh = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fresh == MAP_FAILED)
		return NULL;
	if (atomic_compare_exchange_strong(&places, &t, fresh))
		return fresh;
	munmap(fresh, sizeof(*t));
	return t;
}

static void count_in_filter(unsigned h, bool up)
{
	_Atomic uint64_t *word = &heap_filter[h / 32];
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t one = UINT64_C(1) << h % 32 * 2;

	while ((was / one & COUNT_MAX) != COUNT_MAX &&
	       !atomic_compare_exchange_weak_explicit(word, &was, up ? was + one : was - one,
						      memory_order_relaxed, memory_order_relaxed))
		continue;
}

static bool insert(const struct heap_sample *s)
{
	struct places *t = map_places();
	unsigned h = heap_hash((void *)s->address);

	for (unsigned i = h; t != NULL && i < h + PROBES; i++) {
		_Atomic uintptr_t *address = &t->addresses[i % HEAP_LIVE_MAX];
		uintptr_t none = 0;

		if (atomic_load_explicit(address, memory_order_relaxed) != 0 ||
		    !atomic_compare_exchange_strong_explicit(
			    address, &none, s->address, memory_order_acquire, memory_order_relaxed))
			continue;
		t->samples[i % HEAP_LIVE_MAX] = *s;
		count_in_filter(h, true);
		return true;
	}
	return false;
}

static void keep(const struct heap_sample *s)
{
	if (insert(s))
		return;
	atomic_fetch_add_explicit(&live_lost, 1, memory_order_relaxed);
	heap_freed(s);
}

bool heap_take(void *p, struct heap_sample *ret)
{
	struct places *t = atomic_load_explicit(&places, memory_order_acquire);
	unsigned h = heap_hash(p);

	for (unsigned i = h; p != NULL && t != NULL && i < h + PROBES; i++) {
		_Atomic uintptr_t *address = &t->addresses[i % HEAP_LIVE_MAX];

		if (atomic_load_explicit(address, memory_order_relaxed) != (uintptr_t)p)
			continue;
		*ret = t->samples[i % HEAP_LIVE_MAX];
		atomic_store_explicit(address, 0, memory_order_release);
		count_in_filter(h, false);
		return true;
	}
	return false;
}

/* ---- Counting ---- */

static void add(const struct heap_sample *s, unsigned first)
{
	int64_t scaled = (int64_t)((double)s->size * (double)s->objects / (1 << FRACTION_BITS));

	buckets_add(&buckets, s->bucket, first + ALLOC_OBJECTS, s->objects);
	buckets_add(&buckets, s->bucket, first + ALLOC_BYTES, scaled);
	buckets_add(&buckets, s->bucket, RAW + first + ALLOC_OBJECTS, 1);
	buckets_add(&buckets, s->bucket, RAW + first + ALLOC_BYTES, (int64_t)s->size);
}

void heap_freed(const struct heap_sample *s)
{
	add(s, FREED_OBJECTS);
}

void heap_put_back(const struct heap_sample *s)
{
	keep(s);
}

/* Before threads are listed there is the main one; of a stranger only the caller can be told. */
static uintptr_t stack_end(void)
{
	uintptr_t end = thread_stack_end();

	if (end == 0 && syscall(SYS_getpid) == syscall(SYS_gettid))
		end = (uintptr_t)__libc_stack_end;
	return end;
}

static bool allocates_for_others(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_allocators && pc < (uintptr_t)__stop_allocators;
}

static struct bucket *find_bucket(const void *frame, uintptr_t caller)
{
	uintptr_t pcs[BUCKET_FRAMES_MAX + SKIPPED_MAX];
	unsigned n = unwind_callers(frame, stack_end(), pcs, ARRAY_SIZE(pcs)), skip = 0;

	while (skip < n && skip < SKIPPED_MAX && pcs[skip] != caller - 1)
		skip++;
	if (skip == n || skip == SKIPPED_MAX) {
		pcs[0] = caller - 1;
		n = 1;
		skip = 0;
	}
	while (skip + 1 < n && allocates_for_others(pcs[skip]))
		skip++;
	return buckets_find(&buckets, pcs + skip, thread_trim(pcs + skip, n - skip),
			    op_label()->task, NULL);
}

__attribute__((noinline)) void heap_sampled(void *p, size_t size, int64_t rate, uintptr_t caller)
{
	double bytes = (double)MAX(size, (size_t)1);
	double weight = rate > 1 ? -1 / expm1(-bytes / (double)rate) : 1;
	struct heap_sample s = { .address = (uintptr_t)p,
				 .bucket = find_bucket(__builtin_frame_address(0), caller),
				 .size = size,
				 .objects = (int64_t)(weight * (1 << FRACTION_BITS) + 0.5) };

	add(&s, ALLOC_OBJECTS);
	keep(&s);
}

void heap_attach(void)
{
	atomic_store(&attached, true);
}

/* ---- Reading ---- */

int heap_count(enum profiler_kind kind, struct stacks *out, int sign)
{
	return buckets_count(&buckets, out, sign);
}

unsigned heap_buckets(enum profiler_kind kind)
{
	return buckets_used(&buckets);
}

uint64_t heap_lost(enum profiler_kind kind)
{
	return buckets_lost(&buckets) + atomic_load_explicit(&live_lost, memory_order_relaxed);
}

void heap_sums(struct heap_sums *ret)
{
	int64_t sums[BUCKET_TOTALS];

	buckets_sum(&buckets, sums);
	*ret = (struct heap_sums){
		.objects = (uint64_t)sums[ALLOC_OBJECTS],
		.bytes = (uint64_t)sums[ALLOC_BYTES],
		.objects_in_use = (uint64_t)sums[FREED_OBJECTS],
		.bytes_in_use = (uint64_t)sums[FREED_BYTES],
		.samples = (uint64_t)sums[RAW + ALLOC_OBJECTS],
		.table_bytes = buckets_memory(&buckets) + sizeof(struct places),
	};
}

const char *heap_note(enum profiler_kind kind)
{
	return atomic_load(&attached) ? NULL :
					"heap sampling unavailable: the allocator is another's "
					"(a sanitizer, valgrind, or no build of the daemon)";
}

int64_t heap_rate(enum profiler_kind kind)
{
	return atomic_load_explicit(&rate_bytes, memory_order_relaxed);
}

void heap_rate_set(enum profiler_kind kind, int64_t rate)
{
	if (atomic_exchange(&rate_bytes, rate) != rate && buckets_used(&buckets) > 0)
		atomic_store(&rate_changed, true);
}

bool heap_rate_was_changed(void)
{
	return atomic_load(&rate_changed);
}
