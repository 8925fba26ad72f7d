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

#include "trace/cpu_clock.h"
#include "trace/ticks.h"
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
	NODE_INLINE_MAX = 80, /* title bytes inside a child's node */
	ROOT_INLINE_MAX = 20, /* … inside a root's */
	MARKS_HEAD_MAX = TRACE_MARKS_MAX / 3,
	MARKS_TAIL_MAX = TRACE_MARKS_MAX - MARKS_HEAD_MAX,
	MARK_ARGS_MAX = 12,
	STAGE_LIST_MAX = 192,	     /* stages listed in order; later ones are added up per name */
	SLOW_EVER_MAX = 8,	     /* slowest roots since the start, protected per category */
	STATS_SHARE = 8,	     /* 1/8 of the budget is for figures that outlive spans … */
	STATS_BYTES_MAX = 2 << 20,   /* … but no more than this */
	SAMPLE_BUDGET_MIN = 4 << 20, /* smaller stores keep fewer samples */
	SAMPLES_FEW = 64,
	STAGE_SAMPLES_SHARE = 4, /* a stage keeps 1/4 of the samples of a category */
	FREE_SLICE_NODES = 32,	 /* of an evicted tree, given back at a time */
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
	NODE_TITLE_LONG = 16,	 /* title_slot is in the pool of long titles */
	NODE_PINNED = 32,	 /* of a root */
	NODE_FAILED_BELOW = 64	 /* a span nested in it failed */
};

/* Which of its category's groups a root is in: lists, then heaps. A dying root is in none: it was
 * evicted, and its cells are being given back. */
enum keep {
	KEEP_ACTIVE,
	KEEP_RECENT,
	KEEP_ERRORED,
	KEEP_PINNED,
	KEEP_LISTS,
	KEEP_SLOW = KEEP_LISTS, /* slowest of the last hour */
	KEEP_EVER,		/* slowest since the start */
	KEEP_DYING
};

struct node {
	uint32_t generation;
	uint32_t next; /* in the free list; of a node, its place in t->analysis */
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
	uint8_t stage_count; /* listed, without the current one */
	uint8_t keep;	     /* enum keep, of a root */
	uint16_t flags;
	uint16_t mark_count; /* among the parts */
	uint16_t tail_count;
	uint32_t tail_first, tail_last;
	uint16_t tail_offset, tail_used;
	uint32_t marks_dropped;
	uint16_t child_count, title_slot;
	uint32_t children_dropped;
	int32_t status;
	uint32_t fold_first;
	const char *outcome;
	uint64_t items, bytes;
	uint64_t busy_ns, stage_busy_ns; /* CPU time: of the span, since its stage began */
	/* Time in which it could have run, and until when that is accounted: since its start,
	 * modulo 2^32. */
	uint32_t queued_us, queued_until_us;
	uint64_t span_id;
	uint8_t attr_count, link_count;
	uint16_t title_len;
	uint32_t stage_queued_us; /* of queued_us, since its stage began */
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
_Static_assert((int)STAGE_LIST_MAX <= UINT8_MAX && (int)MARKS_TAIL_MAX <= UINT16_MAX &&
		       (int)TRACE_SPANS_PER_ROOT_MAX <= UINT16_MAX &&
		       (int)TRACE_BYTES_MAX / LONG_TITLE_SHARE / LONG_TITLE_SIZE <= UINT16_MAX + 1,
	       "the counters of a node hold them");

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
	uint32_t value; /* length of a text; of a stage, us in which it was queued */
};
struct title_part {
	struct part part;
	char text[];
};
struct stage_part {
	struct part part;
	uint64_t duration_ns, busy_ns;
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

/* ---- Figures that outlive spans ---- */

enum sample_class { SAMPLE_OK, SAMPLE_ERRORED, SAMPLE_CANCELLED, SAMPLE_CLASSES };
struct sample {
	uint64_t end_ns;
	uint64_t word; /* duration << 2 | class */
};

/* Log-linear: 32 buckets to each doubling, so that a bucket's middle is within 1/64 of its values;
 * up to 2^41 ns (36 minutes), what is longer is in the last one. */
enum {
	BUCKET_BITS = 5,
	BUCKET_RANGE_BITS = 41,
	BUCKETS = (BUCKET_RANGE_BITS - BUCKET_BITS + 1) << BUCKET_BITS
};

/* Of the spans of a category, or of one stage in them. */
struct figures {
	uint32_t capacity; /* power of two */
	uint32_t next;	   /* samples taken; the latest `capacity` are there */
	uint32_t *buckets; /* of those that succeeded */
	struct {
		uint64_t count, sum_ns, max_ns;
	} of[SAMPLE_CLASSES];
	struct sample samples[];
};

struct group {
	uint32_t first, last; /* oldest and newest root */
	uint32_t count;
};
/* Slots of roots, least slow first. */
struct heap {
	uint32_t slot[TRACE_SLOW_MAX];
	uint32_t count;
	uint64_t least_ns;
};
struct category {
	struct group group[KEEP_LISTS];
	struct heap slow, ever;
	uint64_t recent_cells, protected_cells; /* protected: errored and slow */
	uint64_t slow_from_ns;			/* 0, or what takes less is not slow */
	uint64_t aged_ns; /* when the slow ones were last looked through for old ones */
	uint32_t active, finished, errored, cancelled; /* spans held; errored with the cancelled */
	bool figures_tried;
	struct figures *figures; /* NULL until needed, or without room */
	struct trace_limits limits;
	struct trace_thresholds thresholds;
};

/* What trace_analyze() found about one tree, by the order of a walk; a node's `next` is its place.
 */
struct analysis {
	struct span root;
	uint32_t node_count, open_count; /* of the root when it began */
	uint32_t place, node;		 /* how far it is */
	enum { ANALYSIS_NONE, ANALYSIS_SELF, ANALYSIS_PATH, ANALYSIS_DONE } phase;
	uint64_t now_ns;
	uint32_t *order; /* of siblings, for sorting */
	struct analyzed {
		uint64_t self_ns, critical_ns, until_ns;
		uint32_t slot;
	} * nodes;
};

struct trace {
	union cell *cells;
	const struct clock *clock;
	struct ticks ticks;		/* stands for the clock while it is on */
	uint32_t cell_count, cell_high; /* cells from cell_high on were never used */
	uint32_t cell_free, cells_used;
	uint32_t newest; /* slot of the root begun last */
	uint64_t anchor_ns, anchor_wall_ns;
	uint64_t random[4];
	uint8_t *long_titles;
	uint32_t long_free, long_high, long_count, long_used;
	uint64_t frees; /* changes whenever a cell is given back */
	uint8_t *stats; /* memory of struct figures */
	uint32_t stats_size, stats_used, samples;
	uint32_t victim, victim_turns;
	uint64_t protected_cells, pinned_cells;
	uint32_t dying, dying_nodes; /* first evicted root; what is to be given back of it */
	struct trace_counts counts;
	struct runner_observer observer;
	struct cpu_clock cpu;
	struct span busy; /* whom the thread works for */
	uint64_t busy_since_ns;
	struct trace_watch *watch; /* borrowed, the first of them; NULL = nobody */
	struct names categories, stages;
	struct mark_form forms[FORM_CACHE_SIZE];
	struct category category[TRACE_CATEGORIES_MAX];
	/* Per category and stage: where in `stats` its figures are, in units of 64 bytes, plus 1.
	 */
	uint16_t stage_figures[TRACE_CATEGORIES_MAX][TRACE_STAGES_MAX];
	uint64_t scratch[TRACE_SAMPLE_MAX]; /* for selecting */
	struct analysis analysis;
	/* Where the last part was read, so that reading the parts one after the other is linear. */
	struct read_cursor {
		uint64_t frees;
		uint32_t slot, generation, kind, index;
		uint32_t cell, offset;
		bool in_tail, valid;
		uint64_t elapsed_ns;
	} cursor;
};

static inline uint64_t trace_now_ns(struct trace *t)
{
	return t->ticks.on ? ticks_now_ns(&t->ticks) : clock_now_ns(t->clock);
}

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
/** The same for readers: NULL also while its tree is being given back. */
static inline struct node *node_find_kept(struct span s)
{
	struct node *n = s.trace != NULL ? node_find(s) : NULL;

	return n != NULL && node_root(s.trace, n)->keep != KEEP_DYING ? n : NULL;
}
static inline struct span node_handle(struct trace *t, const struct node *n)
{
	return (struct span){ t, node_slot(t, n), n->generation };
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
/** Give back all cells of a finished tree, little by little: what is left is done when cells are
 * needed. */
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

/* figures.c */

/** Account for a span that has finished, and for its stages. */
void figures_add_span(struct trace *t, const struct node *n);
/** Of a stage; NULL when there are none. */
const struct figures *figures_of_stage(struct trace *t, uint32_t category, uint32_t stage);
/** The bucket a duration is counted in, and the middle of a bucket. */
static inline uint32_t bucket_of(uint64_t ns)
{
	uint32_t shift = 58 - (uint32_t)__builtin_clzll(ns | (1 << BUCKET_BITS));
	uint64_t i = ((uint64_t)shift << BUCKET_BITS) + (ns >> shift);

	return i < BUCKETS ? (uint32_t)i : BUCKETS - 1;
}
uint64_t bucket_middle_ns(uint32_t bucket);
enum sample_class status_class(int status);
/** Put the rank-th smallest of v[low..high] at its place, smaller ones before it, larger ones
 * behind; returns it. */
uint64_t select_rank(uint64_t *v, size_t low, size_t high, size_t rank);
/** Index, in ascending order, of the smallest value with at least p percent at or below it. */
size_t nearest_rank(size_t count, unsigned percent);

/* analyze.c */

/** What is known about a node, or NULL. */
const struct analyzed *analysis_of(struct trace *t, const struct node *n);

/* busy.c */

/** Charge what the thread has worked since the last call to whom it worked for. */
void busy_charge(struct trace *t);
/** Before a span's stage or end is written down. */
static inline void busy_settle(struct trace *t, struct span s)
{
	if (__builtin_expect(t->busy.trace != NULL, 0) && t->busy.slot == s.slot &&
	    t->busy.generation == s.generation)
		busy_charge(t);
}

/* retain.c */

void retain_begin(struct trace *t, struct node *root);
/** The last span of a tree has finished: it leaves the active roots for the group it belongs to. */
void retain_complete(struct trace *t, struct node *root, uint64_t now_ns);
/** A category's limits have changed. */
void retain_limit(struct trace *t, uint32_t category);
/** Give up one root, the least valuable. False when only active and pinned ones are left. */
bool retain_evict(struct trace *t);

/* mark.c */

/** The text of a mark, cut at cap bytes; returns its length. Not NUL-terminated. */
size_t mark_format(struct trace *t, const struct mark_part *m, char *ret, size_t cap);
/** The same with its texts disguised under a key; NULL = as they are. */
size_t mark_format_disguised(struct trace *t, const struct mark_part *m, const uint8_t *key,
			     char *ret, size_t cap);
/** Formatting would change nothing. */
bool mark_is_literal(struct trace *t, const struct mark_part *m);
/** At most max bytes of s, without cutting a UTF-8 sequence. */
size_t utf8_cut(const char *s, size_t len, size_t max);

/* stage.c */

uint32_t stage_count(struct trace *t, const struct node *n, uint64_t now_ns);
/** Time added up for a stage name beyond the listed stages. */
uint64_t stage_folded_ns(struct trace *t, const struct node *n, uint32_t id);
/** The span was queued for `us`, of which `early_us` before the current stage began. */
void stage_add_queued(struct trace *t, struct node *n, uint32_t us, uint32_t early_us);

/* node.c */

const char *node_title(struct trace *t, const struct node *n);

/* context.c */

/** Lower-case hex digits to size bytes; false if one is not. */
bool hex_read(const char *s, uint8_t *ret, size_t size);
char *hex_write(char *p, const uint8_t *bytes, size_t size);

/* stream.c */

/** Tell all who watch. */
void stream_tell(struct trace *t, const struct node *root, bool complete);

/* view.c */

/** Some span that is kept lives in the slot. */
bool view_is_span(struct trace *t, uint32_t slot);
/** The root in a slot, or NULL: whatever number the reader comes with. */
struct node *view_root(struct trace *t, uint32_t slot);

/** trace_mark_at() with the texts in it disguised. */
bool view_mark_at(struct trace *t, const struct trace_span_view *s, uint32_t i, const uint8_t *key,
		  struct trace_mark_view *ret, struct buf *text);
void view_fill(struct trace *t, const struct node *n, uint64_t now_ns, struct trace_span_view *ret);
