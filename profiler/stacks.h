/* Equal stacks counted together: what a profile is made of. Private to profiler/. */
#pragma once

#include "base/mem.h"
#include "profiler/thread.h"

enum {
	STACKS_MAX = 1 << 16,	     /* different ones in a profile */
	STACKS_MEMORY_MAX = 64 << 20 /* bytes */
};

struct stack {
	struct stack *next; /* in the order they came */
	uint64_t hash;
	int64_t count;
	const char *task; /* static strings; NULL = none */
	const char *what; /* trace category, or state */
	char thread[THREAD_NAME_SIZE];
	unsigned n;
	uintptr_t pcs[]; /* leaf first, as unwind_walk gives them */
};

struct stacks {
	struct stack *first, **last;
	unsigned count;
	uint64_t dropped; /* counts that found no room */
	/* private */
	struct stack **table;
	unsigned table_size;
	struct arena arena;
};

/** Empty; allocates nothing. */
void stacks_init(struct stacks *s);
void stacks_fini(struct stacks *s);
/** Count a stack under its labels (strings are told apart by address; thread by content). Out of
 * room or memory it is added to `dropped`. */
void stacks_add(struct stacks *s, const uintptr_t *pcs, unsigned n, const char *task,
		const char *what, const char *thread, int64_t count);
