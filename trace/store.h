/* The store's memory, private to trace/.
 *
 * One block, allocated once, cut into cells of 256 bytes. A cell is a node (a span and, for a root,
 * its tree's bookkeeping) or holds parts: what a span was told, as a byte stream over a chain of
 * cells. Cells are named by index, 0 = none. The first word of every cell is its generation, which
 * no other use of the cell overwrites: odd while a node lives in it. That is how a handle that
 * outlived its span is recognised.
 *
 *   node --part_first--> [part part END] --> [part part ...]   what it was told, in order
 *        --tail_first--> [mark mark END] --> [mark ...]        the latest of many marks
 *        --fold_first--> [time per stage name]                 stages beyond the listed ones
 *
 * A part never straddles cells, except marks larger than a cell's payload: they start a cell and go
 * on in the next. */
#pragma once

#include <string.h>

#include "trace/trace.h"

/* For scratch space that is written before it is read: the build zeroes automatic variables
 * otherwise. */
#define UNINITIALIZED __attribute__((uninitialized))

enum {
	CELL_SIZE = 256,
	CELL_PAYLOAD = CELL_SIZE - 8,
	LONG_TITLE_SIZE = TRACE_TITLE_MAX,
	LONG_TITLE_SHARE = 32, /* 1/32 of the budget is for titles that do not fit a cell */
	TITLE_PART_MAX = CELL_PAYLOAD - 8,
	NODE_INLINE_MAX = 96, /* title bytes inside a child's node */
	ROOT_INLINE_MAX = 28, /* … inside a root's */
	MARKS_HEAD_MAX = TRACE_MARKS_MAX / 3,
	MARKS_TAIL_MAX = TRACE_MARKS_MAX - MARKS_HEAD_MAX,
	MARK_ARGS_MAX = 12,
	STAGE_LIST_MAX = 192, /* stages listed in order; later ones are added up per name */
	SLOW_MAX = 32,	      /* slowest roots protected per category */
	ERRORED_MAX = 64,     /* newest errored roots protected per category */
	NAME_CACHE_SIZE = 256,
	FORM_CACHE_SIZE = 256,
	MARK_FORMATTED_MAX = 1024,
	WALL_ANCHOR_NS = 1000000000 /* how long one reading of the wall clock serves */
};

/* Reserved stage ids. */
enum { STAGE_OTHER, STAGE_START, STAGE_LOST, STAGE_NONE = 0xff };

enum {
	NODE_OPEN = 1,
	NODE_REMOTE_PARENT = 2,	 /* a root continued from another daemon */
	NODE_STAGE_REOPENED = 4, /* the last stage part is the current stage again */
	NODE_TITLE_PART = 8,	 /* the title is the first part */
	NODE_TITLE_LONG = 16	 /* title_slot is in the pool of long titles */
};

/* Which of its category's groups a root is in. */
enum keep { KEEP_ACTIVE, KEEP_RECENT, KEEP_ERRORED, KEEP_SLOW };

struct node {
	uint32_t generation;
	uint32_t next; /* in the free list */
	uint64_t start_ns, end_ns, stage_since_ns;
	uint32_t part_first, part_last;
	uint32_t root, parent, first_child, last_child, next_sibling;
	uint32_t stage_cell; /* last stage part */
	uint16_t stage_offset;
	uint16_t part_used;
	uint8_t stage;	    /* current, or STAGE_NONE */
	uint8_t stage_last; /* name of the last stage part, or STAGE_NONE */
	uint8_t category;
	uint8_t depth;
	uint16_t stage_count; /* listed, without the current one */
	uint16_t flags;
	uint32_t mark_count; /* among the parts */
	uint32_t tail_first, tail_last;
	uint16_t tail_offset, tail_used;
	uint32_t tail_count;
	uint32_t marks_dropped;
	uint32_t child_count, children_dropped;
	int32_t status;
	const char *outcome;
	uint64_t items, bytes;
	uint64_t span_id;
	uint8_t attr_count, link_count;
	uint16_t title_len;
	uint32_t title_slot;
	uint32_t fold_first;
	uint8_t keep; /* enum keep, of a root */
	union {
		char child_title[NODE_INLINE_MAX];
		struct {
			uint64_t trace_id[2];
			uint64_t remote_id;
			uint64_t wall_ns;
			uint64_t category_mask; /* of every span in the tree */
			uint32_t prev, later;	/* in its group */
			uint32_t open_count;
			uint32_t node_count;
			uint32_t cell_count;
			char title[ROOT_INLINE_MAX];
		} tree;
	};
};

union cell {
	struct {
		uint32_t generation;
		uint32_t next;
		uint8_t payload[CELL_PAYLOAD];
	};
	struct node node;
	uint8_t bytes[CELL_SIZE];
};
_Static_assert(sizeof(union cell) == CELL_SIZE, "a node is one cell");

enum part_type {
	PART_END, /* nothing more in this cell */
	PART_DEAD,
	PART_TITLE,
	PART_STAGE,
	PART_MARK,
	PART_ERROR_MARK,
	PART_ATTR_STR,
	PART_ATTR_INT,
	PART_ATTR_BOOL,
	PART_LINK
};

/* Every part begins with this; sizes are in units of 8 bytes. */
struct part {
	uint8_t type;
	uint8_t size8;
	uint16_t id;	/* stage name */
	uint32_t value; /* length of a text */
};
struct title_part {
	struct part part;
	char text[];
};
struct stage_part {
	struct part part;
	uint64_t duration_ns; /* room for more per-stage figures: readers go by size8 */
};
struct mark_part {
	struct part part;
	uint64_t at_ns;
	const char *fmt;
	uint64_t args[]; /* a word each; of a string its length, and its bytes follow the words */
};
struct attr_part {
	struct part part;
	const char *key;
	union {
		int64_t num;
		char text[8];
	};
};
struct link_part {
	struct part part;
	uint64_t trace_id[2];
	uint64_t span_id;
	const char *why;
};
enum {
	MARK_PART_MAX = sizeof(struct mark_part) + MARK_ARGS_MAX * 8 + TRACE_MARK_TEXT_MAX,
	ATTR_TEXT_OFFSET = offsetof(struct attr_part, text)
};
_Static_assert((int)ATTR_TEXT_OFFSET + (int)TRACE_ATTR_TEXT_MAX <= (int)CELL_PAYLOAD,
	       "an attribute is contiguous");
_Static_assert((int)MARK_PART_MAX <= 2 * (int)CELL_PAYLOAD, "a mark is at most two cells");

/* Static strings to small numbers: first by pointer, then by text. Id 0 is "other" and takes what
 * does not fit. */
struct names {
	const char *text[64];
	uint32_t count;
	struct {
		const char *pointer;
		uint8_t id;
	} cache[NAME_CACHE_SIZE];
};
_Static_assert((int)TRACE_CATEGORIES_MAX == 64 && (int)TRACE_STAGES_MAX == 64,
	       "struct names holds 64");

/* What a mark's format wants, parsed once per format. */
enum arg_type { ARG_INT, ARG_UINT, ARG_LONG, ARG_ULONG, ARG_DOUBLE, ARG_STR, ARG_STR_N, ARG_CHAR };
struct mark_form {
	const char *fmt;
	uint8_t count;
	bool literal; /* no % in it */
	bool strings; /* among the arguments */
	uint8_t type[MARK_ARGS_MAX];
	uint8_t precision[MARK_ARGS_MAX]; /* of strings; 255 = none */
};

struct group {
	uint32_t first, last; /* oldest and newest root */
	uint32_t count;
};
struct category {
	struct group group[3];	 /* KEEP_ACTIVE, KEEP_RECENT, KEEP_ERRORED */
	uint32_t slow[SLOW_MAX]; /* heap, least slow first */
	uint32_t slow_count;
	uint64_t slow_least_ns;
	uint64_t recent_cells, protected_cells;
};

struct trace {
	union cell *cells;
	const struct clock *clock;
	uint32_t cell_count, cell_high; /* cells from cell_high on were never used */
	uint32_t cell_free, cells_used;
	uint64_t anchor_ns, anchor_wall_ns;
	uint64_t random[4];
	uint8_t *long_titles;
	uint32_t long_free, long_high, long_count, long_used;
	uint64_t frees;	   /* changes whenever a cell is given back */
	uint64_t *scratch; /* cell_count words, for statistics */
	uint32_t victim, victim_turns;
	uint64_t protected_cells;
	struct trace_counts counts;
	struct runner_observer observer;
	struct trace_watch *watch; /* borrowed; NULL = nobody */
	struct names categories, stages;
	struct mark_form forms[FORM_CACHE_SIZE];
	struct category category[TRACE_CATEGORIES_MAX];
	/* Where the last part was read, so that reading the parts one after the other is linear. */
	struct read_cursor {
		uint64_t frees;
		uint32_t slot, generation, kind, index;
		uint32_t cell, offset;
		bool in_tail, valid;
		uint64_t elapsed_ns;
	} cursor;
};

static inline struct node *node_at(struct trace *t, uint32_t slot)
{
	return &t->cells[slot].node;
}
static inline uint32_t node_slot(const struct trace *t, const struct node *n)
{
	return (uint32_t)((const union cell *)(const void *)n - t->cells);
}
static inline struct node *node_root(struct trace *t, const struct node *n)
{
	return &t->cells[n->root].node;
}
static inline bool node_is_root(const struct trace *t, const struct node *n)
{
	return n->root == node_slot(t, n);
}
/** The node of a handle, or NULL when there is none any more. */
static inline struct node *node_find(struct span s)
{
	struct trace *t = s.trace;

	if (s.slot >= t->cell_high || t->cells[s.slot].generation != s.generation ||
	    !(s.generation & 1))
		return NULL;
	return &t->cells[s.slot].node;
}
/** The node of a handle if it can still be written to; otherwise the call is counted as late. */
static inline struct node *node_open(struct span s)
{
	if (s.trace == NULL)
		return NULL;
	struct node *n = node_find(s);
	if (__builtin_expect(n != NULL && (n->flags & NODE_OPEN), 1))
		return n;
	s.trace->counts.late_calls++;
	return NULL;
}
/** Next node of the tree in display order: parents before children, siblings by start. NULL at the
 * end. */
static inline struct node *tree_next(struct trace *t, const struct node *n)
{
	if (n->first_child != 0)
		return node_at(t, n->first_child);
	while (n->next_sibling == 0) {
		if (node_is_root(t, n))
			return NULL;
		n = node_at(t, n->parent);
	}
	return node_at(t, n->next_sibling);
}
static inline uint64_t node_duration_ns(const struct node *n, uint64_t now_ns)
{
	if (!(n->flags & NODE_OPEN))
		return n->end_ns - n->start_ns;
	return now_ns > n->start_ns ? now_ns - n->start_ns : 0;
}
static inline uint64_t node_wall_ns(struct trace *t, const struct node *n)
{
	const struct node *root = node_root(t, n);

	return root->tree.wall_ns + (n->start_ns - root->start_ns);
}

/* cell.c */

/** A cell, evicting if need be. 0 when everything is held by active traces. Only `generation` is
 * meaningful in it. */
uint32_t cell_alloc_evicting(struct trace *t);
static inline uint32_t cell_alloc(struct trace *t)
{
	uint32_t i = t->cell_free;

	if (__builtin_expect(i == 0, 0))
		return cell_alloc_evicting(t);
	t->cell_free = t->cells[i].next;
	t->cells_used++;
	return i;
}
/** Give back a chain that begins at `first` and ends at `last`. The caller corrects cells_used. */
static inline void cell_free_chain(struct trace *t, uint32_t first, uint32_t last)
{
	t->cells[last].next = t->cell_free;
	t->cell_free = first;
	t->frees++;
}
/** All cells of a finished tree. */
void cell_free_tree(struct trace *t, struct node *root);
/** A slot for a long title, or UINT32_MAX. */
uint32_t long_title_alloc(struct trace *t);

/** Room for a part of size8 * 8 bytes (at most CELL_PAYLOAD) at the end of the node's parts; NULL
 * if there is none. */
struct part *part_append(struct trace *t, struct node *n, enum part_type type, size_t size);
/** Room for a mark of at most a cell; mark_append_long takes larger ones. NULL = dropped. */
struct part *mark_append(struct trace *t, struct node *n, enum part_type type, size_t size);
void mark_append_long(struct trace *t, struct node *n, const struct part *part);

/* Walk over a node's parts. */
struct part_iter {
	struct trace *t;
	const struct node *node;
	uint32_t cell, offset;
	bool in_tail;
	uint64_t joined[(MARK_PART_MAX + 7) / 8]; /* a mark that goes on in a second cell */
};
void part_iter_init(struct part_iter *it, struct trace *t, const struct node *n);
/** The next part that is not dead, or NULL. Valid until the next call. */
const struct part *part_next(struct part_iter *it);

/* names.c */

uint8_t name_find_slowly(struct names *names, const char *text);
static inline uint32_t name_hash(const void *pointer)
{
	return (uint32_t)((uintptr_t)pointer ^ (uintptr_t)pointer >> 8) & (NAME_CACHE_SIZE - 1);
}
static inline uint8_t name_find(struct names *names, const char *text)
{
	uint32_t h = name_hash(text);

	if (__builtin_expect(names->cache[h].pointer == text && text != NULL, 1))
		return names->cache[h].id;
	return name_find_slowly(names, text);
}

/* retain.c */

void retain_begin(struct trace *t, struct node *root);
/** The last span of a tree has finished: it leaves the active roots for the group it belongs to. */
void retain_complete(struct trace *t, struct node *root);
/** Give up one root, the least valuable. False when only active ones are left. */
bool retain_evict(struct trace *t);
/** Visit every root, mostly new ones before old ones. */
void retain_each(struct trace *t, void (*visit)(void *data, struct node *root), void *data);

/* mark.c */

/** The text of a mark, cut at cap bytes; returns its length. Not NUL-terminated. */
size_t mark_format(struct trace *t, const struct mark_part *m, char *ret, size_t cap);
/** Formatting would change nothing. */
bool mark_is_literal(struct trace *t, const struct mark_part *m);
/** At most max bytes of s, without cutting a UTF-8 sequence. */
size_t utf8_cut(const char *s, size_t len, size_t max);

/* stage.c */

uint32_t stage_count(struct trace *t, const struct node *n, uint64_t now_ns);
/** Time added up for a stage name beyond the listed stages. */
uint64_t stage_folded_ns(struct trace *t, const struct node *n, uint32_t id);

/* node.c */

const char *node_title(struct trace *t, const struct node *n);

/* context.c */

/** Lower-case hex digits to size bytes; false if one is not. */
bool hex_read(const char *s, uint8_t *ret, size_t size);
char *hex_write(char *p, const uint8_t *bytes, size_t size);

/* stream.c */

/** Tell t->watch, which is not NULL. */
void stream_tell(struct trace *t, const struct node *root, bool complete);

/* view.c */

void view_fill(struct trace *t, const struct node *n, uint64_t now_ns, struct trace_span_view *ret);
