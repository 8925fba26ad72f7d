/* Spans: begin, nest, finish. */
#include <sodium.h>

#include "base/err.h"
#include "base/mem.h"
#include "trace/store.h"

enum { NODE_HEAD_SIZE = offsetof(struct node, child_title) };
_Static_assert(NODE_HEAD_SIZE > 128 && NODE_HEAD_SIZE - 128 <= 64, "cleared in three pieces");

static uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

/* xoshiro256**, seeded once: ids must be unique, not secret. Never 0, which means "none" in a trace
 * context. */
static uint64_t random_id(struct trace *t)
{
	uint64_t *s = t->random, id;

	do {
		uint64_t shifted = s[1] << 17;
		id = rotate(s[1] * 5, 7) * 9;
		s[2] ^= s[0];
		s[3] ^= s[1];
		s[1] ^= s[2];
		s[0] ^= s[3];
		s[2] ^= shifted;
		s[3] = rotate(s[3], 45);
	} while (id == 0);
	return id;
}

/* The wall time of a monotonic one. Reading the wall clock for each root would double the price of
 * its start. */
static uint64_t wall_at(struct trace *t, uint64_t now_ns)
{
	if (now_ns - t->anchor_ns >= WALL_ANCHOR_NS) {
		t->anchor_ns = now_ns;
		t->anchor_wall_ns = clock_wall_ns(t->clock);
	}
	return t->anchor_wall_ns + (now_ns - t->anchor_ns);
}

static void *align_up(void *p)
{
	return (void *)(((uintptr_t)p + 63) & ~(uintptr_t)63);
}

struct trace *trace_new(const struct trace_config *config, const struct clock *clock)
{
	size_t budget = config != NULL && config->budget_bytes != 0 ? config->budget_bytes :
								      TRACE_BYTES_DEFAULT;
	budget = MIN(MAX(budget, (size_t)TRACE_BYTES_MIN), (size_t)TRACE_BYTES_MAX);
	struct trace *t = mem_alloc(budget);

	if (t == NULL)
		return NULL;
	if (sodium_init() < 0)
		return mem_free(t);
	uint8_t *end = (uint8_t *)t + budget;
	t->clock = clock;
	t->long_titles = align_up(t + 1);
	t->long_count = (uint32_t)(budget / LONG_TITLE_SHARE / LONG_TITLE_SIZE);
	t->long_free = UINT32_MAX;
	t->cells = align_up(t->long_titles + (size_t)t->long_count * LONG_TITLE_SIZE);
	t->stats_size = (uint32_t)MIN(budget / STATS_SHARE, (size_t)STATS_BYTES_MAX) & ~63u;
	t->stats = end - t->stats_size - (uintptr_t)end % 64;
	t->samples = budget >= SAMPLE_BUDGET_MIN ? TRACE_SAMPLE_MAX : SAMPLES_FEW;
	/* 16 MiB hold more than the largest tree; smaller stores need no more than they have. */
	size_t left = (size_t)(t->stats - (uint8_t *)t->cells);
	size_t nodes = MIN(left / CELL_SIZE, (size_t)TRACE_SPANS_PER_ROOT_MAX);
	t->analysis.nodes = (void *)(t->stats - nodes * sizeof(*t->analysis.nodes));
	t->analysis.order = (uint32_t *)(void *)t->analysis.nodes - nodes;
	t->cell_count = (uint32_t)((size_t)((uint8_t *)t->analysis.order - (uint8_t *)t->cells) /
				   CELL_SIZE);
	t->cell_high = 1; /* cell 0 stands for none */
	randombytes_buf(t->random, sizeof(t->random));
	t->random[0] |= 1;
	if (clock == &clock_system)
		ticks_start(&t->ticks);
	t->anchor_ns = clock_now_ns(clock);
	t->anchor_wall_ns = clock_wall_ns(clock);
	t->counts.budget_bytes = budget;
	for (size_t i = 0; i < ARRAY_SIZE(t->category); i++)
		t->category[i].limits =
			(struct trace_limits){ 0, TRACE_SLOW_MAX, TRACE_ERRORED_MAX };
	t->categories.text[0] = "other";
	t->categories.count = 1;
	t->stages.text[STAGE_OTHER] = "other";
	t->stages.text[STAGE_START] = "start";
	t->stages.text[STAGE_LOST] = "(not recorded)";
	t->stages.count = STAGE_LOST + 1;
	return t;
}

struct trace *trace_free(struct trace *t)
{
	return mem_free(t);
}

/* A title that does not fit the node. */
static void set_large_title(struct trace *t, struct node *n, char *text, size_t inline_max,
			    const char *title, size_t len)
{
	len = utf8_cut(title, len, TRACE_TITLE_MAX);
	if (len > TITLE_PART_MAX) {
		uint32_t slot = long_title_alloc(t);
		if (slot != UINT32_MAX) {
			n->flags |= NODE_TITLE_LONG;
			n->title_slot = (uint16_t)slot;
			text = (char *)t->long_titles + (size_t)slot * LONG_TITLE_SIZE;
		} else {
			len = utf8_cut(title, len, TITLE_PART_MAX);
		}
	}
	if (!(n->flags & NODE_TITLE_LONG)) {
		struct title_part *p = (void *)part_append(t, n, PART_TITLE,
							   sizeof(*p) + ((len + 7) & ~(size_t)7));
		if (p != NULL) {
			n->flags |= NODE_TITLE_PART;
			text = p->text;
		} else {
			len = utf8_cut(title, len, inline_max);
		}
	}
	n->title_len = (uint16_t)len;
	memcpy(text, title, len);
}

static inline void set_title(struct trace *t, struct node *n, char *text, size_t inline_max,
			     const char *title, size_t len)
{
	if (title == NULL || len == 0)
		return;
	if (__builtin_expect(len > inline_max, 0)) {
		set_large_title(t, n, text, inline_max, title, len);
		return;
	}
	n->title_len = (uint16_t)len;
	memcpy(text, title, len);
}

const char *node_title(struct trace *t, const struct node *n)
{
	if (n->flags & NODE_TITLE_LONG)
		return (const char *)t->long_titles + (size_t)n->title_slot * LONG_TITLE_SIZE;
	if (n->flags & NODE_TITLE_PART)
		return ((const struct title_part *)(const void *)t->cells[n->part_first].payload)
			->text;
	return node_is_root(t, n) ? n->tree.title : n->child_title;
}

/* A node with everything set that roots and children have in common. */
static struct node *node_new(struct trace *t, uint32_t root, const char *category)
{
	uint32_t slot = cell_alloc(t);

	if (slot == 0)
		return NULL;
	struct node *n = node_at(t, slot);
	uint32_t generation = n->generation + 1;
	/* In pieces: in one the compiler takes a string instruction, which costs more than all the
	 * rest. */
	memset((uint8_t *)n, 0, 64);
	memset((uint8_t *)n + 64, 0, 64);
	memset((uint8_t *)n + 128, 0, NODE_HEAD_SIZE - 128);
	n->generation = generation;
	n->start_ns = trace_now_ns(t);
	n->root = root != 0 ? root : slot;
	n->stage = n->stage_last = STAGE_NONE;
	n->category = name_find(&t->categories, category);
	n->flags = NODE_OPEN;
	n->outcome = "";
	t->category[n->category].active++;
	return n;
}

struct span trace_root(struct trace *t, const char *category, const char *title, size_t title_len,
		       const struct trace_context *remote)
{
	if (t == NULL)
		return (struct span){ 0 };
	struct node *n = node_new(t, 0, category);
	if (n == NULL) {
		t->counts.dropped_spans++;
		return (struct span){ 0 };
	}
	memset(&n->tree, 0, offsetof(struct node, tree.title) - offsetof(struct node, tree));
	n->tree.wall_ns = wall_at(t, n->start_ns);
	n->tree.category_mask = UINT64_C(1) << n->category;
	n->tree.open_count = n->tree.node_count = n->tree.cell_count = 1;
	if (remote != NULL &&
	    memcmp(remote->trace_id, n->tree.trace_id, sizeof(n->tree.trace_id)) != 0) {
		memcpy(n->tree.trace_id, remote->trace_id, sizeof(n->tree.trace_id));
		memcpy(&n->tree.remote_id, remote->span_id, sizeof(n->tree.remote_id));
		if (n->tree.remote_id != 0)
			n->flags |= NODE_REMOTE_PARENT;
	} else {
		n->tree.trace_id[0] = random_id(t);
		n->tree.trace_id[1] = random_id(t);
	}
	n->span_id = random_id(t);
	set_title(t, n, n->tree.title, ROOT_INLINE_MAX, title, title_len);
	t->counts.created++;
	t->counts.created_spans++;
	t->newest = node_slot(t, n);
	retain_begin(t, n);
	return node_handle(t, n);
}

struct span trace_child(struct span parent, const char *category, const char *title,
			size_t title_len)
{
	struct trace *t = parent.trace;
	struct node *p = node_open(parent), *n = NULL;

	if (p == NULL)
		return (struct span){ 0 };
	struct node *root = node_root(t, p);
	if (p->depth < TRACE_DEPTH_MAX && root->tree.node_count < TRACE_SPANS_PER_ROOT_MAX)
		n = node_new(t, p->root, category);
	if (n == NULL) {
		p->children_dropped++;
		t->counts.dropped_spans++;
		return (struct span){ 0 };
	}
	n->span_id = random_id(t);
	n->depth = (uint8_t)(p->depth + 1);
	n->parent = parent.slot;
	if (p->last_child != 0)
		node_at(t, p->last_child)->next_sibling = node_slot(t, n);
	else
		p->first_child = node_slot(t, n);
	p->last_child = node_slot(t, n);
	p->child_count++;
	root->tree.category_mask |= UINT64_C(1) << n->category;
	root->tree.open_count++;
	root->tree.node_count++;
	root->tree.cell_count++;
	set_title(t, n, n->child_title, NODE_INLINE_MAX, title, title_len);
	t->counts.created_spans++;
	return node_handle(t, n);
}

struct span trace_detach(struct span from, const char *category, const char *title,
			 size_t title_len)
{
	struct span s = trace_root(from.trace, category, title, title_len, NULL);

	/* `from` may have finished, or be gone: that is what detaching is for. The link is made as
	 * far as possible. */
	struct node *n = s.trace != NULL ? node_find_kept(from) : NULL;
	if (n != NULL) {
		trace_link(s, from, "detached from");
		if (n->flags & NODE_OPEN)
			trace_link(from, s, "went on as");
	}
	return s;
}

/* Its parents are told, though it is not theirs to fail. */
static void tell_failure(struct trace *t, const struct node *n)
{
	while (!node_is_root(t, n)) {
		struct node *parent = node_at(t, n->parent);
		if (parent->flags & NODE_FAILED_BELOW)
			return;
		parent->flags |= NODE_FAILED_BELOW;
		n = parent;
	}
}

void trace_finish(struct span s, int status, const char *outcome)
{
	struct node *n = node_open(s);

	if (n == NULL)
		return;
	struct trace *t = s.trace;
	struct node *root = node_root(t, n);
	uint64_t now = trace_now_ns(t);
	busy_settle(t, s);
	n->end_ns = MAX(now, n->start_ns);
	n->status = status;
	n->outcome = outcome != NULL ? outcome : status == 0 ? "ok" : err_str(status);
	n->flags &= (uint16_t)~NODE_OPEN;
	if (__builtin_expect(status_class(status) == SAMPLE_ERRORED, 0))
		tell_failure(t, n);
	t->counts.finished_spans++;
	figures_add_span(t, n);
	if (n == root)
		t->counts.finished++;
	if (--root->tree.open_count == 0)
		retain_complete(t, root, n->end_ns);
}

void trace_counts(const struct trace *t, struct trace_counts *ret)
{
	*ret = t->counts;
	ret->used_bytes =
		(uint64_t)t->cells_used * CELL_SIZE + (uint64_t)t->long_used * LONG_TITLE_SIZE;
}
