/* Which finished roots stay. A root belongs to one group of its category:
 *
 *   active   a span of the tree is still open; never given up
 *   slow     the SLOW_MAX slowest that did not fail: a heap, the least slow on top
 *   errored  the ERRORED_MAX newest that failed
 *   recent   all others, oldest first out
 *
 * The recent ones pay for new memory, those of the category that holds the most first, so that a
 * busy category does not wipe out a quiet one. Slow and errored roots together may hold half of the
 * budget; what goes beyond it, and what a slower or newer one pushes out, joins the recent ones at
 * their old end. Only when no recent root is left do errored and slow ones pay. */
#include "trace/store.h"

enum { VICTIM_TURNS = 16 /* evictions before the fullest category is looked for again */ };

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

static uint64_t slow_duration(struct trace *t, const struct category *c, uint32_t i)
{
	return node_duration_ns(node_at(t, c->slow[i]), 0);
}

static void slow_sift_down(struct trace *t, struct category *c, uint32_t i)
{
	for (;;) {
		uint32_t least = i;
		for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < c->slow_count;
		     child++)
			if (slow_duration(t, c, child) < slow_duration(t, c, least))
				least = child;
		if (least == i)
			return;
		uint32_t slot = c->slow[i];
		c->slow[i] = c->slow[least];
		c->slow[least] = slot;
		i = least;
	}
}

static void slow_push(struct trace *t, struct category *c, struct node *root)
{
	uint32_t i = c->slow_count++;

	c->slow[i] = node_slot(t, root);
	while (i > 0 && slow_duration(t, c, i) < slow_duration(t, c, (i - 1) / 2)) {
		uint32_t slot = c->slow[i];
		c->slow[i] = c->slow[(i - 1) / 2];
		c->slow[(i - 1) / 2] = slot;
		i = (i - 1) / 2;
	}
	c->slow_least_ns = slow_duration(t, c, 0);
}

static struct node *slow_pop(struct trace *t, struct category *c)
{
	struct node *root = node_at(t, c->slow[0]);

	c->slow[0] = c->slow[--c->slow_count];
	slow_sift_down(t, c, 0);
	c->slow_least_ns = c->slow_count > 0 ? slow_duration(t, c, 0) : 0;
	return root;
}

static void protect(struct trace *t, struct category *c, struct node *root, enum keep keep)
{
	root->keep = (uint8_t)keep;
	c->protected_cells += root->tree.cell_count;
	t->protected_cells += root->tree.cell_count;
	if (keep == KEEP_SLOW)
		slow_push(t, c, root);
	else
		group_append(t, &c->group[KEEP_ERRORED], root);
}

/* Take the least valuable protected root of a category out of its group. */
static struct node *unprotect(struct trace *t, struct category *c, enum keep keep)
{
	struct node *root;

	if (keep == KEEP_SLOW) {
		root = slow_pop(t, c);
	} else {
		root = node_at(t, c->group[KEEP_ERRORED].first);
		group_remove(t, &c->group[KEEP_ERRORED], root);
	}
	c->protected_cells -= root->tree.cell_count;
	t->protected_cells -= root->tree.cell_count;
	return root;
}

static void demote(struct trace *t, struct category *c, enum keep keep)
{
	struct node *root = unprotect(t, c, keep);

	root->keep = KEEP_RECENT;
	c->recent_cells += root->tree.cell_count;
	group_prepend(t, &c->group[KEEP_RECENT], root);
}

/* The category with the most protected cells, and which of its two groups is larger. NULL when
 * there is none. */
static struct category *fullest_protected(struct trace *t, enum keep *ret_keep)
{
	struct category *most = NULL;

	for (uint32_t i = 0; i < t->categories.count; i++) {
		struct category *c = &t->category[i];
		if (c->protected_cells > (most == NULL ? 0 : most->protected_cells))
			most = c;
	}
	if (most != NULL)
		*ret_keep = most->group[KEEP_ERRORED].count >= most->slow_count ? KEEP_ERRORED :
										  KEEP_SLOW;
	return most;
}

static void bound_protected(struct trace *t)
{
	while (t->protected_cells > t->cell_count / 2) {
		enum keep keep = KEEP_SLOW;
		struct category *c = fullest_protected(t, &keep);
		if (!CHECK(c != NULL))
			return;
		demote(t, c, keep);
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

void retain_complete(struct trace *t, struct node *root)
{
	struct category *c = &t->category[root->category];

	group_remove(t, &c->group[KEEP_ACTIVE], root);
	t->counts.active_roots--;
	t->counts.kept_roots++;
	if (__builtin_expect(t->watch != NULL, 0))
		stream_tell(t, root, true);
	if (root->status != 0) {
		if (c->group[KEEP_ERRORED].count == ERRORED_MAX)
			demote(t, c, KEEP_ERRORED);
		protect(t, c, root, KEEP_ERRORED);
	} else if (c->slow_count < SLOW_MAX || node_duration_ns(root, 0) > c->slow_least_ns) {
		if (c->slow_count == SLOW_MAX)
			demote(t, c, KEEP_SLOW);
		protect(t, c, root, KEEP_SLOW);
	} else {
		root->keep = KEEP_RECENT;
		c->recent_cells += root->tree.cell_count;
		group_append(t, &c->group[KEEP_RECENT], root);
		return;
	}
	bound_protected(t);
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
	group_remove(t, &c->group[KEEP_RECENT], root);
	c->recent_cells -= root->tree.cell_count;
	/* The victims to come are cold. Have the one after next here when it is needed. */
	if (c->group[KEEP_RECENT].first != 0) {
		const union cell *coming =
			&t->cells[node_at(t, c->group[KEEP_RECENT].first)->tree.later];
		for (unsigned line = 0; line < CELL_SIZE; line += 64)
			__builtin_prefetch(coming->bytes + line, 1);
	}
	return root;
}

bool retain_evict(struct trace *t)
{
	struct node *root = pick_recent(t);

	if (root == NULL) {
		enum keep keep = KEEP_SLOW;
		struct category *c = fullest_protected(t, &keep);
		if (c == NULL)
			return false;
		root = unprotect(t, c, keep);
	}
	t->counts.evicted++;
	t->counts.evicted_spans += root->tree.node_count;
	t->counts.kept_roots--;
	cell_free_tree(t, root);
	return true;
}

void retain_each(struct trace *t, void (*visit)(void *data, struct node *root), void *data)
{
	for (uint32_t i = 0; i < t->categories.count; i++) {
		struct category *c = &t->category[i];
		for (size_t g = 0; g < ARRAY_SIZE(c->group); g++)
			for (uint32_t slot = c->group[g].last; slot != 0;
			     slot = node_at(t, slot)->tree.prev)
				visit(data, node_at(t, slot));
		for (uint32_t k = 0; k < c->slow_count; k++)
			visit(data, node_at(t, c->slow[k]));
	}
}
