/* Equal stacks counted together: what a profile is made of. Private to profiler/. */
#pragma once

#include "base/mem.h"
#include "profiler/thread.h"

enum {
	STACKS_MAX = 1 << 16,	      /* different ones in a profile */
	STACKS_MEMORY_MAX = 64 << 20, /* bytes */
	STACK_VALUES_MAX = 8,
	STACK_RAW = 4 /* first of the values that are no sample type */
};

struct stack {
	struct stack *next; /* in the order they came */
	uint64_t hash;
	/* The first ones are a profile's sample types, in order; what they count beyond that is the
	 * profile's own affair. */
	int64_t values[STACK_VALUES_MAX];
	const char *task; /* static strings; NULL = none */
	const char *what; /* trace category, or state */
	char thread[THREAD_NAME_SIZE];
	unsigned n;
	uintptr_t pcs[]; /* leaf first, as unwind_walk gives them */
};

struct stacks {
	struct stack *first, **last;
	unsigned count;
	uint64_t dropped;		/* additions that found no room, and… */
	int64_t lost[STACK_VALUES_MAX]; /* … the sum of their values */
	/* private */
	struct stack **table;
	unsigned table_size;
	struct arena arena;
};

/** Empty; allocates nothing. */
void stacks_init(struct stacks *s);
void stacks_fini(struct stacks *s);

/* What tells stacks apart: strings by address, thread by content. */
struct stack_key {
	const uintptr_t *pcs; /* leaf first */
	unsigned n;
	const char *task, *what; /* NULL = none */
	const char *thread;	 /* "" = none */
};

/** Add to a stack's values, copying the key. Out of room or memory they go to `lost`. */
void stacks_add_values(struct stacks *s, const struct stack_key *key,
		       const int64_t values[STACK_VALUES_MAX]);
/** The same for a single value, the first. */
void stacks_add(struct stacks *s, const uintptr_t *pcs, unsigned n, const char *task,
		const char *what, const char *thread, int64_t count);
/** Has the stack a value that is not 0 among the first `count`? */
bool stack_counts(const struct stack *k, unsigned count);
