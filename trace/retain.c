/* Which finished roots stay. A root belongs to one group of its category:
 *
 *   active   a span of the tree is still open; never given up
 *   pinned   somebody asked for it; never given up
 *   ever     the SLOW_EVER_MAX slowest since the start that did not fail
 *   slow     the slowest of the last hour that did not fail, beyond those: both are heaps, the
 * least slow on top errored  the newest that failed recent   all others, oldest first out
 *
 * The recent ones pay for new memory, those of the category that holds the most first, so that a
 * busy category does not wipe out a quiet one. Slow and errored roots together may hold half of the
 * budget, pinned ones a quarter; what goes beyond it, what a slower or newer one pushes out and
 * what has grown old joins the recent ones at their old end. Only when no recent root is left do
 * errored and slow ones pay. */
#include "base/err.h"
#include "trace/store.h"

enum {
	VICTIM_TURNS = 16, /* evictions before the fullest category is looked for again */
	AHEAD = 6,	   /* cells */
	PINNED_SHARE = 4,  /* of the budget */
	EVICTIONS_MAX = 8  /* at a time, when a limit was lowered: the others follow later */
};
#define SLOW_AGE_NS  (3600 * NS_PER_SEC)
#define AGE_EVERY_NS (60 * NS_PER_SEC)

static void group_remove(struct trace *t, struct group *g, struct node *root)
{
	if (root->tree.prev != 0)
		node_at(t, root->tree.prev)->tree.later = root->tree.later;
	else
		g->first = root->tree.later;
	if (root->tree.later != 0)
		node_at(t, root->tree.later)->tree.prev = root->tree.prev;
	else
		g->last = root->tree.prev;
	g->count--;
}

static void group_append(struct trace *t, struct group *g, struct node *root)
{
	uint32_t slot = node_slot(t, root);

	root->tree.later = 0;
	root->tree.prev = g->last;
	if (g->last != 0)
		node_at(t, g->last)->tree.later = slot;
	else
		g->first = slot;
	g->last = slot;
	g->count++;
}

static void group_prepend(struct trace *t, struct group *g, struct node *root)
{
	uint32_t slot = node_slot(t, root);

	root->tree.prev = 0;
	root->tree.later = g->first;
	if (g->first != 0)
		node_at(t, g->first)->tree.prev = slot;
	else
		g->last = slot;
	g->first = slot;
	g->count++;
}

/* ---- Heaps of slow roots ---- */

static uint64_t heap_ns(struct trace *t, const struct heap *h, uint32_t i)
{
	return node_duration_ns(node_at(t, h->slot[i]), 0);
}

static void heap_swap(struct heap *h, uint32_t a, uint32_t b)
{
	uint32_t slot = h->slot[a];

	h->slot[a] = h->slot[b];
	h->slot[b] = slot;
}

static void heap_down(struct trace *t, struct heap *h, uint32_t i)
{
	for (;;) {
		uint32_t least = i;
		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < h->count; child++)
			if (heap_ns(t, h, child) < heap_ns(t, h, least))
				least = child;
		if (least == i)
			return;
		heap_swap(h, i, least);
		i = least;
	}
}

static void heap_up(struct trace *t, struct heap *h, uint32_t i)
{
	for (; i > 0 && heap_ns(t, h, i) < heap_ns(t, h, (i - 1) / 2); i = (i - 1) / 2)
		heap_swap(h, i, (i - 1) / 2);
}

static void heap_push(struct trace *t, struct heap *h, struct node *root)
{
	h->slot[h->count] = node_slot(t, root);
	heap_up(t, h, h->count++);
	h->least_ns = heap_ns(t, h, 0);
}

static struct node *heap_remove(struct trace *t, struct heap *h, uint32_t i)
{
	struct node *root = node_at(t, h->slot[i]);

	h->slot[i] = h->slot[--h->count];
	if (i < h->count) {
		heap_down(t, h, i);
		heap_up(t, h, i);
	}
	h->least_ns = h->count > 0 ? heap_ns(t, h, 0) : 0;
	return root;
}

static uint32_t heap_find(const struct heap *h, uint32_t slot)
{
	uint32_t i = 0;

	while (i < h->count && h->slot[i] != slot)
		i++;
	return i;
}

/* ---- Groups ---- */

static void make_recent(struct trace *t, struct category *c, struct node *root, bool newest)
{
	root->keep = KEEP_RECENT;
	c->recent_cells += root->tree.cell_count;
	if (newest)
		group_append(t, &c->group[KEEP_RECENT], root);
	else
		group_prepend(t, &c->group[KEEP_RECENT], root);
}

static struct heap *heap_of(struct category *c, enum keep keep)
{
	return keep == KEEP_SLOW ? &c->slow : &c->ever;
}

static void protect(struct trace *t, struct category *c, struct node *root, enum keep keep)
{
	root->keep = (uint8_t)keep;
	c->protected_cells += root->tree.cell_count;
	t->protected_cells += root->tree.cell_count;
	if (keep == KEEP_ERRORED)
		group_append(t, &c->group[KEEP_ERRORED], root);
	else
		heap_push(t, heap_of(c, keep), root);
}

/* Take a root out of whatever group it is in. */
static inline void leave(struct trace *t, struct category *c, struct node *root)
{
	enum keep keep = root->keep;

	if (keep == KEEP_SLOW || keep == KEEP_EVER) {
		struct heap *h = heap_of(c, keep);
		heap_remove(t, h, heap_find(h, node_slot(t, root)));
	} else {
		group_remove(t, &c->group[keep], root);
	}
	if (keep == KEEP_PINNED) {
		t->pinned_cells -= root->tree.cell_count;
	} else if (keep == KEEP_RECENT) {
		c->recent_cells -= root->tree.cell_count;
	} else if (keep != KEEP_ACTIVE) {
		c->protected_cells -= root->tree.cell_count;
		t->protected_cells -= root->tree.cell_count;
	}
}

/* The least valuable root of a group that is not empty. */
static struct node *least(struct trace *t, struct category *c, enum keep keep)
{
	return node_at(t, keep >= KEEP_LISTS ? heap_of(c, keep)->slot[0] : c->group[keep].first);
}

static void demote(struct trace *t, struct category *c, struct node *root)
{
	leave(t, c, root);
	make_recent(t, c, root, false);
}

/* The category with the most protected cells, and the group of it that can best do without one.
 * NULL when there is none. */
static struct category *fullest_protected(struct trace *t, enum keep *ret_keep)
{
	struct category *most = NULL;

	for (uint32_t i = 0; i < t->categories.count; i++) {
		struct category *c = &t->category[i];
		if (c->protected_cells > (most == NULL ? 0 : most->protected_cells))
			most = c;
	}
	if (most == NULL)
		return NULL;
	if (most->group[KEEP_ERRORED].count >= most->slow.count + most->ever.count)
		*ret_keep = KEEP_ERRORED;
	else
		*ret_keep = most->slow.count > 0 ? KEEP_SLOW : KEEP_EVER;
	return most;
}

/* Who succeeded in less time than that is not slow. */
static void note_slow(struct category *c)
{
	c->slow_from_ns = 0;
	if (c->ever.count >= SLOW_EVER_MAX && c->slow.count >= c->limits.slow_max)
		c->slow_from_ns = MIN(c->ever.least_ns, c->slow.least_ns);
}

static void bound_protected(struct trace *t)
{
	while (t->protected_cells > t->cell_count / 2) {
		enum keep keep = KEEP_SLOW;
		struct category *c = fullest_protected(t, &keep);
		if (!CHECK(c != NULL))
			return;
		demote(t, c, least(t, c, keep));
		note_slow(c);
	}
}

void retain_begin(struct trace *t, struct node *root)
{
	root->keep = KEEP_ACTIVE;
	group_append(t, &t->category[root->category].group[KEEP_ACTIVE], root);
	t->counts.active_roots++;
	if (__builtin_expect(t->watch != NULL, 0))
		stream_tell(t, root, false);
}

/* What was slow more than an hour ago, and is not among the slowest ever, makes room. */
static void age(struct trace *t, struct category *c, uint64_t now_ns)
{
	c->aged_ns = now_ns;
	for (uint32_t i = 0; i < c->slow.count;) {
		struct node *root = node_at(t, c->slow.slot[i]);
		if (now_ns - MIN(root->end_ns, now_ns) > SLOW_AGE_NS) {
			demote(t, c, root);
			i = 0;
		} else {
			i++;
		}
	}
	note_slow(c);
}

static bool is_slow(const struct category *c, uint64_t ns)
{
	return c->slow.count < c->limits.slow_max || ns > c->slow.least_ns;
}

/* A root that did not fail, to the group of slow ones it belongs to, if it does. */
static bool keep_slow(struct trace *t, struct category *c, struct node *root)
{
	uint64_t ns = node_duration_ns(root, 0);

	if (c->limits.slow_max == 0)
		return false;
	if (c->ever.count < SLOW_EVER_MAX || ns > c->ever.least_ns) {
		protect(t, c, root, KEEP_EVER);
		if (c->ever.count <= SLOW_EVER_MAX)
			return true;
		root = least(t, c, KEEP_EVER);
		leave(t, c, root);
		if (!is_slow(c, node_duration_ns(root, 0))) {
			make_recent(t, c, root, false);
			return true;
		}
	} else if (!is_slow(c, ns)) {
		return false;
	}
	if (c->slow.count == c->limits.slow_max)
		demote(t, c, least(t, c, KEEP_SLOW));
	protect(t, c, root, KEEP_SLOW);
	return true;
}

/* A finished root that is in no group, to the one it belongs to. */
static void classify(struct trace *t, struct category *c, struct node *root)
{
	if (root->status != 0 && c->limits.errored_max > 0) {
		if (c->group[KEEP_ERRORED].count >= c->limits.errored_max)
			demote(t, c, least(t, c, KEEP_ERRORED));
		protect(t, c, root, KEEP_ERRORED);
	} else if (root->status != 0 || !keep_slow(t, c, root)) {
		make_recent(t, c, root, true);
		return;
	}
	bound_protected(t);
}

static void evict(struct trace *t, struct category *c, struct node *root)
{
	leave(t, c, root);
	t->counts.evicted++;
	t->counts.evicted_spans += root->tree.node_count;
	t->counts.kept_roots--;
	cell_free_tree(t, root);
}

static void bound_recent(struct trace *t, struct category *c)
{
	const struct group *recent = &c->group[KEEP_RECENT];

	for (int i = 0;
	     i < EVICTIONS_MAX && c->limits.recent_max != 0 && recent->count > c->limits.recent_max;
	     i++)
		evict(t, c, node_at(t, recent->first));
}

static bool pin_fits(const struct trace *t, const struct node *root)
{
	return t->pinned_cells + root->tree.cell_count <= t->cell_count / PINNED_SHARE;
}

static void pin_finished(struct trace *t, struct category *c, struct node *root)
{
	root->keep = KEEP_PINNED;
	t->pinned_cells += root->tree.cell_count;
	group_append(t, &c->group[KEEP_PINNED], root);
}

void retain_complete(struct trace *t, struct node *root, uint64_t now_ns)
{
	struct category *c = &t->category[root->category];

	group_remove(t, &c->group[KEEP_ACTIVE], root);
	t->counts.active_roots--;
	t->counts.kept_roots++;
	if (__builtin_expect(t->watch != NULL, 0))
		stream_tell(t, root, true);
	if (__builtin_expect(now_ns - c->aged_ns > AGE_EVERY_NS, 0))
		age(t, c, now_ns);
	if (__builtin_expect(root->flags & NODE_PINNED, 0)) {
		if (pin_fits(t, root)) {
			pin_finished(t, c, root);
			return;
		}
		root->flags &= (uint16_t)~NODE_PINNED;
		t->counts.pinned_roots--;
		t->counts.dropped_pins++;
	}
	if (__builtin_expect(root->status == 0 && root->end_ns - root->start_ns < c->slow_from_ns,
			     1)) {
		make_recent(t, c, root, true);
	} else {
		classify(t, c, root);
		note_slow(c);
	}
	if (__builtin_expect(c->limits.recent_max != 0, 0))
		bound_recent(t, c);
}

void retain_limit(struct trace *t, uint32_t category)
{
	struct category *c = &t->category[category];

	while (c->group[KEEP_ERRORED].count > c->limits.errored_max)
		demote(t, c, least(t, c, KEEP_ERRORED));
	while (c->slow.count > c->limits.slow_max)
		demote(t, c, least(t, c, KEEP_SLOW));
	while (c->limits.slow_max == 0 && c->ever.count > 0)
		demote(t, c, least(t, c, KEEP_EVER));
	note_slow(c);
	bound_recent(t, c);
}

int trace_pin(struct trace *t, uint32_t slot)
{
	struct node *root = view_root(t, slot);

	if (root == NULL)
		return ERR_NOT_FOUND;
	if (root->flags & NODE_PINNED)
		return 0;
	if (t->counts.pinned_roots == TRACE_PINNED_MAX || !pin_fits(t, root))
		return ERR_LIMIT;
	root->flags |= NODE_PINNED;
	t->counts.pinned_roots++;
	if (root->keep != KEEP_ACTIVE) {
		leave(t, &t->category[root->category], root);
		pin_finished(t, &t->category[root->category], root);
		note_slow(&t->category[root->category]);
	}
	return 0;
}

void trace_unpin(struct trace *t, uint32_t slot)
{
	struct node *root = view_root(t, slot);

	if (root == NULL || !(root->flags & NODE_PINNED))
		return;
	root->flags &= (uint16_t)~NODE_PINNED;
	t->counts.pinned_roots--;
	if (root->keep == KEEP_PINNED) {
		struct category *c = &t->category[root->category];
		leave(t, c, root);
		classify(t, c, root);
		note_slow(c);
		bound_recent(t, c);
	}
}

static inline void prefetch_cell(struct trace *t, uint32_t cell)
{
	for (unsigned line = 0; line < CELL_SIZE; line += 64)
		__builtin_prefetch(t->cells[cell].bytes + line, 1);
}

/* The oldest recent root of the category that holds the most of them. */
static struct node *pick_recent(struct trace *t)
{
	struct category *c = &t->category[t->victim];

	if (t->victim_turns == 0 || c->group[KEEP_RECENT].count == 0) {
		for (uint32_t i = 0; i < t->categories.count; i++)
			if (t->category[i].recent_cells > t->category[t->victim].recent_cells)
				t->victim = i;
		t->victim_turns = VICTIM_TURNS;
		c = &t->category[t->victim];
	}
	if (c->group[KEEP_RECENT].count == 0)
		return NULL;
	t->victim_turns--;

	struct node *root = node_at(t, c->group[KEEP_RECENT].first);
	/* The victims to come are cold: have them here when they are needed. Reading a few links
	 * ahead would wait for each; but a steady store is reused from cell to cell. */
	prefetch_cell(t, root->tree.later);
	prefetch_cell(t, MIN(node_slot(t, root) + AHEAD, t->cell_count - 1));
	return root;
}

bool retain_evict(struct trace *t)
{
	struct node *root = pick_recent(t);

	if (root == NULL) {
		enum keep keep = KEEP_SLOW;
		struct category *fullest = fullest_protected(t, &keep);
		if (fullest == NULL)
			return false;
		root = least(t, fullest, keep);
	}
	struct category *c = &t->category[root->category];
	bool recent = root->keep == KEEP_RECENT;
	evict(t, c, root);
	if (!recent)
		note_slow(c);
	return true;
}
