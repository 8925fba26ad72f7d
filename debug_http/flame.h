/* Flame graphs. Private to debug_http/flame*.c. */
#pragma once

#include "base/buf.h"
#include "base/mem.h"

enum {
	FLAME_NODES_MAX = 1 << 16,
	FLAME_FUNCTIONS_MAX = 1 << 16,
	FLAME_DEPTH_MAX = 256,	/* deeper frames count for the last one */
	FLAME_LABELS_MAX = 64,	/* different ones of a kind; the rest counts as "others" */
	FLAME_ORIGINS_MAX = 14, /* with a colour of their own */
	FLAME_UNIT_MAX = 32
};

/* Text that is borrowed from what was parsed. */
struct flame_text {
	const char *p;
	size_t len;
};

struct flame_function {
	struct flame_text name, origin;
	int64_t self, total; /* total counts a stack once, however often it is in it */
	unsigned seen;	     /* by the stack of this number */
	unsigned colour;
};

struct flame_node {
	unsigned function;
	unsigned child, next; /* the first child, the next sibling; 0 = none */
	int64_t total, self;
};

enum flame_label_kind { FLAME_CATEGORY, FLAME_TASK, FLAME_THREAD, FLAME_LABEL_KINDS };
struct flame_label {
	struct flame_text text; /* "" = none */
	int64_t value;
};
struct flame_labels {
	struct flame_label list[FLAME_LABELS_MAX];
	unsigned count;
	int64_t others;
};
struct flame_origin {
	struct flame_text name;
	int64_t self;
};

struct flame {
	char type[FLAME_UNIT_MAX], unit[FLAME_UNIT_MAX];
	struct flame_function *functions;
	unsigned function_count;
	struct flame_node *nodes; /* the first one is the root of all, without a function */
	unsigned node_count;
	unsigned depth; /* of the deepest stack */
	int64_t total;
	unsigned stacks;
	int64_t cut; /* value that found no room in the tree and counts further up */
	struct flame_labels labels[FLAME_LABEL_KINDS];
	/* By what they did themselves, most first: the number is the colour. All others have that
	 * of origin_count. */
	struct flame_origin origins[FLAME_ORIGINS_MAX];
	unsigned origin_count;
	/* private */
	unsigned function_cap, node_cap;
};

/* Only stacks whose label is this; NULL = any. "" = those without. */
struct flame_filter {
	const char *labels[FLAME_LABEL_KINDS];
};

/** "category", "task", "thread". */
const char *flame_label_name(enum flame_label_kind kind);

/** From PROFILER_LABELLED (profiler/folded.c). Borrows text until flame_fini. The labels are those
 * of all stacks, the rest is of those that pass. 0, UV_ENOMEM, ERR_MALFORMED, ERR_LIMIT; then
 * nothing is held. */
int flame_parse(struct flame *f, const char *text, size_t len, const struct flame_filter *filter);
void flame_fini(struct flame *f);

/** The picture, what it says in words, and the tables below it: HTML that is complete without
 * scripts. */
void flame_draw(struct buf *out, struct flame *f);
/** A value with its unit. */
void flame_write_value(struct buf *out, const struct flame *f, int64_t value);
