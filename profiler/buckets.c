#include "profiler/buckets.h"

#include <string.h>
#include <sys/mman.h>

#include "base/err.h"

/* An index of offsets, open addressing with linear probing, at most half full, over entries that
 * are laid one behind the other. An entry is written whole and then published by one
 * compare-and-swap of its index slot; whoever loses that race against an equal stack leaves its
 * entry unused. Nothing is ever removed.
 *
 * What can go wrong: the tables fill up. Then every new stack is lost, the known ones go on. */

enum { INDEX_SIZE = 2 * BUCKETS_MAX, ALIGN = 16 };

struct buckets_memory {
	_Atomic uint32_t index[INDEX_SIZE]; /* offset / ALIGN + 1; 0 = free */
	_Atomic uint64_t used;
	_Alignas(ALIGN) uint8_t entries[BUCKETS_MEMORY_MAX];
};

_Static_assert(BUCKETS_MEMORY_MAX / ALIGN < UINT32_MAX, "offsets fit the index");

static struct buckets_memory *map_memory(struct buckets *b)
{
	struct buckets_memory *m = atomic_load_explicit(&b->memory, memory_order_acquire);
	void *fresh;

	if (m != NULL)
		return m;
	fresh = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fresh == MAP_FAILED)
		return NULL;
	if (atomic_compare_exchange_strong(&b->memory, &m, fresh))
		return fresh;
	munmap(fresh, sizeof(*m));
	return m;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

static uint64_t hash_of(const struct bucket *key, const uintptr_t *pcs)
{
	uint64_t h = mix(mix(key->n, (uintptr_t)key->task), (uintptr_t)key->what);

	for (unsigned i = 0; i < key->n; i++)
		h = mix(h, pcs[i]);
	return h;
}

static struct bucket *entry_at(struct buckets_memory *m, uint32_t slot)
{
	return (struct bucket *)(void *)(m->entries + (size_t)(slot - 1) * ALIGN);
}

static bool equal(const struct bucket *a, const struct bucket *key, const uintptr_t *pcs)
{
	return a->hash == key->hash && a->n == key->n && a->task == key->task &&
	       a->what == key->what && memcmp(a->pcs, pcs, a->n * sizeof(*pcs)) == 0;
}

/* A new entry's index value, 0 when there is no room. */
static uint32_t new_entry(struct buckets *b, struct buckets_memory *m, const struct bucket *key,
			  const uintptr_t *pcs)
{
	size_t size = sizeof(*key) + key->n * sizeof(*pcs);
	struct bucket *e;
	uint64_t at;

	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (atomic_load_explicit(&b->count, memory_order_relaxed) >= BUCKETS_MAX ||
	    atomic_load_explicit(&m->used, memory_order_relaxed) > BUCKETS_MEMORY_MAX - size)
		return 0;
	at = atomic_fetch_add_explicit(&m->used, size, memory_order_relaxed);
	if (at > BUCKETS_MEMORY_MAX - size)
		return 0;
	e = (struct bucket *)(void *)(m->entries + at);
	e->hash = key->hash;
	e->task = key->task;
	e->what = key->what;
	e->n = key->n;
	memcpy(e->pcs, pcs, key->n * sizeof(*pcs));
	return (uint32_t)(at / ALIGN) + 1;
}

static struct bucket *find_or_add(struct buckets *b, struct buckets_memory *m,
				  const struct bucket *key, const uintptr_t *pcs)
{
	uint32_t fresh = 0;

	for (unsigned probe = 0; probe < INDEX_SIZE; probe++) {
		_Atomic uint32_t *slot = &m->index[(key->hash + probe) % INDEX_SIZE];
		uint32_t v = atomic_load_explicit(slot, memory_order_acquire);

		if (v == 0) {
			if (fresh == 0 && (fresh = new_entry(b, m, key, pcs)) == 0)
				return NULL;
			if (atomic_compare_exchange_strong_explicit(
				    slot, &v, fresh, memory_order_acq_rel, memory_order_acquire)) {
				atomic_fetch_add_explicit(&b->count, 1, memory_order_relaxed);
				return entry_at(m, fresh);
			}
		}
		if (equal(entry_at(m, v), key, pcs))
			return entry_at(m, v);
	}
	return NULL;
}

struct bucket *buckets_find(struct buckets *b, const uintptr_t *pcs, unsigned n, const char *task,
			    const char *what)
{
	struct bucket key = { .task = task,
			      .what = what,
			      .n = MIN(n, (unsigned)BUCKET_FRAMES_MAX) };
	struct buckets_memory *m = map_memory(b);
	struct bucket *k = NULL;

	if (m != NULL) {
		key.hash = hash_of(&key, pcs);
		k = find_or_add(b, m, &key, pcs);
	}
	if (k == NULL)
		atomic_fetch_add_explicit(&b->lost_count, 1, memory_order_relaxed);
	return k;
}

void buckets_add(struct buckets *b, struct bucket *k, unsigned i, int64_t value)
{
	atomic_fetch_add_explicit(k != NULL ? &k->totals[i] : &b->lost_totals[i], value,
				  memory_order_release);
}

/* What is over is read before what there was, so that it is the smaller one. */
static int64_t whole(const struct buckets *b, const _Atomic int64_t *totals, unsigned i)
{
	int64_t v = atomic_load_explicit(&totals[i], memory_order_acquire);

	if (b->rest_of[i] != 0)
		v = atomic_load_explicit(&totals[b->rest_of[i] - 1], memory_order_relaxed) - v;
	return v >> b->fraction_bits[i];
}

static void add_bucket(const struct buckets *b, const struct bucket *k, struct stacks *out,
		       int sign)
{
	struct stack_key key = {
		.pcs = k->pcs, .n = k->n, .task = k->task, .what = k->what, .thread = ""
	};
	int64_t values[STACK_VALUES_MAX];

	for (unsigned i = 0; i < BUCKET_TOTALS; i++)
		values[i] = sign * whole(b, k->totals, i);
	stacks_add_values(out, &key, values);
}

int buckets_count(const struct buckets *b, struct stacks *out, int sign)
{
	struct buckets_memory *m = atomic_load_explicit(&b->memory, memory_order_acquire);
	uint64_t dropped = out->dropped;

	for (unsigned i = 0; m != NULL && i < INDEX_SIZE; i++) {
		uint32_t v = atomic_load_explicit(&m->index[i], memory_order_acquire);

		if (v != 0)
			add_bucket(b, entry_at(m, v), out, sign);
	}
	for (unsigned i = 0; i < BUCKET_TOTALS; i++)
		out->lost[i] += sign * whole(b, b->lost_totals, i);
	return out->dropped != dropped ? UV_ENOMEM : 0;
}

void buckets_sum(const struct buckets *b, int64_t ret[BUCKET_TOTALS])
{
	struct buckets_memory *m = atomic_load_explicit(&b->memory, memory_order_acquire);

	for (unsigned i = 0; i < BUCKET_TOTALS; i++)
		ret[i] = whole(b, b->lost_totals, i);
	for (unsigned at = 0; m != NULL && at < INDEX_SIZE; at++) {
		uint32_t v = atomic_load_explicit(&m->index[at], memory_order_acquire);

		for (unsigned i = 0; v != 0 && i < BUCKET_TOTALS; i++)
			ret[i] += whole(b, entry_at(m, v)->totals, i);
	}
}

unsigned buckets_used(const struct buckets *b)
{
	return atomic_load_explicit(&b->count, memory_order_relaxed);
}

uint64_t buckets_lost(const struct buckets *b)
{
	return atomic_load_explicit(&b->lost_count, memory_order_relaxed);
}

size_t buckets_memory(const struct buckets *b)
{
	return atomic_load_explicit(&b->memory, memory_order_acquire) != NULL ?
		       sizeof(struct buckets_memory) :
		       0;
}
