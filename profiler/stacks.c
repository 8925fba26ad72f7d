#include "profiler/stacks.h"

#include <string.h>

enum { TABLE_MIN = 256 };

void stacks_init(struct stacks *s)
{
	*s = (struct stacks){ 0 };
	s->last = &s->first;
	arena_init(&s->arena, STACKS_MEMORY_MAX);
}

void stacks_fini(struct stacks *s)
{
	s->table = mem_free(s->table);
	arena_fini(&s->arena);
	s->first = NULL;
	s->last = &s->first;
	s->count = s->table_size = 0;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 32;
}

static uint64_t hash_of_stack(const struct stack *k, const uintptr_t *pcs)
{
	uint64_t h = mix(k->n, (uintptr_t)k->task), name[2];

	memcpy(name, k->thread, sizeof(name));
	h = mix(mix(mix(h, (uintptr_t)k->what), name[0]), name[1]);
	for (unsigned i = 0; i < k->n; i++)
		h = mix(h, pcs[i]);
	return h;
}

static bool equal(const struct stack *a, const struct stack *b, const uintptr_t *pcs)
{
	return a->hash == b->hash && a->n == b->n && a->task == b->task && a->what == b->what &&
	       memcmp(a->thread, b->thread, sizeof(a->thread)) == 0 &&
	       memcmp(a->pcs, pcs, a->n * sizeof(*pcs)) == 0;
}

/* Linear probing, at most half full. */
static struct stack **place(struct stack **table, unsigned size, const struct stack *key,
			    const uintptr_t *pcs)
{
	unsigned i = (unsigned)key->hash & (size - 1);

	while (table[i] != NULL && !equal(table[i], key, pcs))
		i = (i + 1) & (size - 1);
	return &table[i];
}

/* Room for one more, if there can be. */
static void grow(struct stacks *s)
{
	unsigned size = s->table_size > 0 ? s->table_size * 2 : TABLE_MIN;
	struct stack **table;

	if (s->count * 2 < s->table_size || s->count >= STACKS_MAX)
		return;
	table = mem_alloc_array(size, sizeof(struct stack *));
	if (table == NULL)
		return;
	for (struct stack *e = s->first; e != NULL; e = e->next)
		*place(table, size, e, e->pcs) = e;
	mem_free(s->table);
	s->table = table;
	s->table_size = size;
}

static void add_to(int64_t sums[STACK_VALUES_MAX], const int64_t values[STACK_VALUES_MAX])
{
	for (unsigned i = 0; i < STACK_VALUES_MAX; i++)
		sums[i] += values[i];
}

void stacks_add_values(struct stacks *s, const struct stack_key *from,
		       const int64_t values[STACK_VALUES_MAX])
{
	struct stack key = { .task = from->task, .what = from->what, .n = from->n }, **at, *e;
	size_t pcs_size = from->n * sizeof(*from->pcs);

	memcpy(key.thread, from->thread, strnlen(from->thread, sizeof(key.thread) - 1));
	key.hash = hash_of_stack(&key, from->pcs);
	grow(s);
	at = s->table != NULL ? place(s->table, s->table_size, &key, from->pcs) : NULL;
	if (at != NULL && *at != NULL) {
		add_to((*at)->values, values);
		return;
	}
	e = s->count * 2 < s->table_size ? arena_alloc(&s->arena, sizeof(*e) + pcs_size) : NULL;
	if (e == NULL) {
		s->dropped++;
		add_to(s->lost, values);
		return;
	}
	*e = key;
	add_to(e->values, values);
	memcpy(e->pcs, from->pcs, pcs_size);
	*s->last = e;
	s->last = &e->next;
	s->count++;
	*at = e;
}

void stacks_add(struct stacks *s, const uintptr_t *pcs, unsigned n, const char *task,
		const char *what, const char *thread, int64_t count)
{
	struct stack_key key = { .pcs = pcs, .n = n, .task = task, .what = what, .thread = thread };

	stacks_add_values(s, &key, (const int64_t[STACK_VALUES_MAX]){ count });
}

bool stack_counts(const struct stack *k, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (k->values[i] != 0)
			return true;
	return false;
}
