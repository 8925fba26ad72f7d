#include "profiler/heap.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
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
 * A table by address knows the sampled blocks in use: open addressing, linear probing, removal by
 * shifting back. Before it stands a bitmap by the address's hash, so that free looks at one word
 * for a block that was not sampled; a count per bit tells when it can be cleared.
 *
 * What can go wrong: all of this runs inside malloc and free. So it allocates nothing (own
 * mappings), its lock is no mutex and is held for some loads and stores, nothing of libc that locks
 * or allocates is called, and a fork waits for the lock. */

enum { TABLE_SIZE = 1 << HEAP_FILTER_BITS, SPINS = 64, SKIPPED_MAX = 8, FRACTION_BITS = 16 };
enum { ALLOC_OBJECTS, ALLOC_BYTES, USED_OBJECTS, USED_BYTES, RAW = STACK_RAW };

_Static_assert((int)HEAP_LIVE_MAX < (int)TABLE_SIZE, "probing ends");

extern void *__libc_stack_end;

_Atomic uint64_t heap_filter[TABLE_SIZE / 64];

static struct buckets buckets = {
	.fraction_bits = { [ALLOC_OBJECTS] = FRACTION_BITS, [USED_OBJECTS] = FRACTION_BITS }
};
static _Atomic int64_t rate_bytes = HEAP_RATE_DEFAULT;
static _Atomic bool attached;

static atomic_flag locked = ATOMIC_FLAG_INIT;
static struct heap_sample *table; /* under the lock, as all below */
static uint16_t filter_counts[TABLE_SIZE];
static unsigned live_count;
static _Atomic uint64_t live_lost;

static void lock_table(void)
{
	unsigned spins = 0;

	while (atomic_flag_test_and_set_explicit(&locked, memory_order_acquire))
		if (++spins % SPINS == 0)
			sched_yield();
}

static void unlock_table(void)
{
	atomic_flag_clear_explicit(&locked, memory_order_release);
}

/* ---- The table ---- */

static bool map_table(void)
{
	void *fresh;

	if (table != NULL)
		return true;
	fresh = mmap(NULL, TABLE_SIZE * sizeof(*table), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fresh != MAP_FAILED)
		table = fresh;
	return table != NULL;
}

static bool insert(const struct heap_sample *s)
{
	unsigned h = heap_hash((void *)s->address), i = h;

	if (live_count >= HEAP_LIVE_MAX || filter_counts[h] == UINT16_MAX || !map_table())
		return false;
	while (table[i].address != 0)
		i = (i + 1) % TABLE_SIZE;
	table[i] = *s;
	live_count++;
	if (filter_counts[h]++ == 0)
		atomic_fetch_or_explicit(&heap_filter[h / 64], UINT64_C(1) << h % 64,
					 memory_order_relaxed);
	return true;
}

/* Close the gap: an entry moves into it unless its own place lies behind the gap. */
static void remove_at(unsigned gap)
{
	for (unsigned i = (gap + 1) % TABLE_SIZE; table[i].address != 0; i = (i + 1) % TABLE_SIZE) {
		unsigned home = heap_hash((void *)table[i].address);

		if ((i - home) % TABLE_SIZE < (i - gap) % TABLE_SIZE)
			continue;
		table[gap] = table[i];
		gap = i;
	}
	table[gap].address = 0;
}

static bool take(uintptr_t address, struct heap_sample *ret)
{
	unsigned h = heap_hash((void *)address), i = h;

	while (table != NULL && table[i].address != 0 && table[i].address != address)
		i = (i + 1) % TABLE_SIZE;
	if (table == NULL || table[i].address == 0)
		return false;
	*ret = table[i];
	remove_at(i);
	live_count--;
	if (--filter_counts[h] == 0)
		atomic_fetch_and_explicit(&heap_filter[h / 64], ~(UINT64_C(1) << h % 64),
					  memory_order_relaxed);
	return true;
}

bool heap_take(void *p, struct heap_sample *ret)
{
	bool found;

	if (p == NULL)
		return false;
	lock_table();
	found = take((uintptr_t)p, ret);
	unlock_table();
	return found;
}

/* ---- Counting ---- */

static void add(const struct heap_sample *s, unsigned first, int sign)
{
	int64_t scaled = (int64_t)((double)s->size * (double)s->objects / (1 << FRACTION_BITS));

	buckets_add(&buckets, s->bucket, first + ALLOC_OBJECTS, sign * s->objects);
	buckets_add(&buckets, s->bucket, first + ALLOC_BYTES, sign * scaled);
	buckets_add(&buckets, s->bucket, RAW + first + ALLOC_OBJECTS, sign);
	buckets_add(&buckets, s->bucket, RAW + first + ALLOC_BYTES, sign * (int64_t)s->size);
}

void heap_freed(const struct heap_sample *s)
{
	add(s, USED_OBJECTS, -1);
}

void heap_put_back(const struct heap_sample *s)
{
	bool done;

	lock_table();
	done = insert(s);
	unlock_table();
	if (!done) {
		atomic_fetch_add_explicit(&live_lost, 1, memory_order_relaxed);
		heap_freed(s);
	}
}

/* Before threads are listed there is the main one; of a stranger only the caller can be told. */
static uintptr_t stack_end(void)
{
	uintptr_t end = thread_stack_end();

	if (end == 0 && syscall(SYS_getpid) == syscall(SYS_gettid))
		end = (uintptr_t)__libc_stack_end;
	return end;
}

static struct bucket *find_bucket(uintptr_t caller)
{
	uintptr_t pcs[BUCKET_FRAMES_MAX + SKIPPED_MAX];
	unsigned n = unwind_here(stack_end(), pcs, ARRAY_SIZE(pcs)), skip = 0;

	while (skip < n && skip < SKIPPED_MAX && pcs[skip] != caller - 1)
		skip++;
	if (skip == n || skip == SKIPPED_MAX) {
		pcs[0] = caller - 1;
		n = 1;
		skip = 0;
	}
	return buckets_find(&buckets, pcs + skip, thread_trim(pcs + skip, n - skip),
			    op_label()->task, NULL);
}

__attribute__((noinline)) void heap_sampled(void *p, size_t size, int64_t rate, uintptr_t caller)
{
	double bytes = (double)MAX(size, (size_t)1);
	double weight = rate > 1 ? -1 / expm1(-bytes / (double)rate) : 1;
	struct heap_sample s = { .address = (uintptr_t)p,
				 .bucket = find_bucket(caller),
				 .size = size,
				 .objects = (int64_t)(weight * (1 << FRACTION_BITS) + 0.5) };
	bool known;

	add(&s, ALLOC_OBJECTS, 1);
	add(&s, USED_OBJECTS, 1);
	lock_table();
	known = insert(&s);
	unlock_table();
	if (!known) {
		atomic_fetch_add_explicit(&live_lost, 1, memory_order_relaxed);
		heap_freed(&s);
	}
}

void heap_attach(void)
{
	if (!atomic_exchange(&attached, true))
		pthread_atfork(lock_table, unlock_table, unlock_table);
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
		.objects_in_use = (uint64_t)MAX(sums[USED_OBJECTS], INT64_C(0)),
		.bytes_in_use = (uint64_t)MAX(sums[USED_BYTES], INT64_C(0)),
		.samples = (uint64_t)sums[RAW + ALLOC_OBJECTS],
		.table_bytes = buckets_memory(&buckets) + TABLE_SIZE * sizeof(*table),
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
	atomic_store_explicit(&rate_bytes, rate, memory_order_relaxed);
}
