/* Self time and critical path of a tree.
 *
 * Self time is what is left of a span when the union of its children is taken out; siblings come in
 * the order of their start, so one pass over them is enough.
 *
 * The critical path is found backwards: a span that was on it until some time waited for the child
 * that ended last before then, which waited for …; before that child began, for the one that had
 * ended last then, and so on. What no child covers is the span's own. Places are in the order of a
 * walk, parents first, so one pass over them follows the path into every depth.
 *
 * Both go in slices. A tree that changes meanwhile is begun anew. */
#include "trace/store.h"

enum { STEP_COST = 20000 /* units of some 30 ns: looking at a node */ };

static uint64_t end_of(const struct analysis *a, const struct node *n)
{
	return n->start_ns + node_duration_ns(n, a->now_ns);
}

const struct analyzed *analysis_of(struct trace *t, const struct node *n)
{
	const struct analysis *a = &t->analysis;

	if (a->phase != ANALYSIS_DONE || n->root != a->root.slot || n->next >= a->node_count ||
	    a->nodes[n->next].slot != node_slot(t, n))
		return NULL;
	const struct node *root = node_root(t, n);
	if (root->generation != a->root.generation || root->tree.node_count != a->node_count ||
	    root->tree.open_count != a->open_count)
		return NULL;
	return &a->nodes[n->next];
}

static uint64_t self_ns(struct trace *t, const struct node *n)
{
	const struct analysis *a = &t->analysis;
	uint64_t end = end_of(a, n), covered = n->start_ns, self = 0;

	for (uint32_t slot = n->first_child; slot != 0;) {
		const struct node *child = node_at(t, slot);
		uint64_t from = MIN(child->start_ns, end), until = MIN(end_of(a, child), end);
		if (from > covered)
			self += from - covered;
		covered = MAX(covered, until);
		slot = child->next_sibling;
	}
	return self + (end - MIN(covered, end));
}

/* ---- Sorting siblings, the one that ended last first ---- */

static bool before(const struct analysis *a, uint32_t x, uint32_t y)
{
	uint64_t x_end = a->nodes[x].critical_ns, y_end = a->nodes[y].critical_ns;

	return x_end != y_end ? x_end > y_end : x < y;
}

static void insertion_sort(const struct analysis *a, uint32_t *v, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		uint32_t place = v[i];
		size_t k = i;
		for (; k > 0 && before(a, place, v[k - 1]); k--)
			v[k] = v[k - 1];
		v[k] = place;
	}
}

static uint32_t median(const struct analysis *a, uint32_t x, uint32_t y, uint32_t z)
{
	if (before(a, x, y))
		return before(a, y, z) ? y : before(a, x, z) ? z : x;
	return before(a, x, z) ? x : before(a, y, z) ? z : y;
}

/* Quicksort that goes into the smaller part and keeps the larger one: its depth is the logarithm of
 * the count. */
static void sort_by_end(const struct analysis *a, uint32_t *v, size_t count)
{
	while (count > 12) {
		uint32_t pivot = median(a, v[0], v[count / 2], v[count - 1]);
		size_t i = 0, j = count - 1;
		for (;; i++, j--) {
			while (before(a, v[i], pivot))
				i++;
			while (before(a, pivot, v[j]))
				j--;
			if (i >= j)
				break;
			uint32_t swap = v[i];
			v[i] = v[j];
			v[j] = swap;
		}
		/* None of v[0..i) belongs behind the pivot, none of v[i..) before it. */
		if (i < count - i) {
			sort_by_end(a, v, i);
			v += i;
			count -= i;
		} else {
			sort_by_end(a, v + i, count - i);
			count = i;
		}
	}
	insertion_sort(a, v, count);
}

/* ---- The path ---- */

/* Divide what a span was on the path for between itself and its children. */
static void follow(struct trace *t, const struct node *n, struct analyzed *own)
{
	struct analysis *a = &t->analysis;
	uint64_t until = own->until_ns;
	size_t count = 0;

	for (uint32_t slot = n->first_child; slot != 0; slot = node_at(t, slot)->next_sibling) {
		const struct node *child = node_at(t, slot);
		if (child->start_ns >= until)
			continue;
		a->nodes[child->next].critical_ns = MIN(end_of(a, child), until);
		a->order[count++] = child->next;
	}
	sort_by_end(a, a->order, count);
	for (size_t i = 0; i < count; i++) {
		struct analyzed *child = &a->nodes[a->order[i]];
		uint64_t end = child->critical_ns, start = node_at(t, child->slot)->start_ns;
		child->critical_ns = 0;
		if (end > until || end == start)
			continue;
		child->until_ns = end;
		own->critical_ns += until - end;
		until = start;
	}
	own->critical_ns += until - n->start_ns;
}

static void begin(struct analysis *a, struct trace *t, struct node *root)
{
	a->root = node_handle(t, root);
	a->node_count = root->tree.node_count;
	a->open_count = root->tree.open_count;
	a->now_ns = trace_now_ns(t);
	a->place = 0;
	a->node = a->root.slot;
	a->phase = ANALYSIS_SELF;
}

static bool is_current(const struct analysis *a, const struct trace *t, const struct node *root)
{
	return a->phase != ANALYSIS_NONE && a->root.slot == node_slot(t, root) &&
	       a->root.generation == root->generation && a->node_count == root->tree.node_count &&
	       a->open_count == root->tree.open_count;
}

bool trace_analyze(struct trace *t, uint32_t slot)
{
	struct analysis *a = &t->analysis;
	struct node *root = view_root(t, slot), *n;
	int64_t left = STEP_COST;

	if (root == NULL)
		return true;
	/* An active tree moves on: what was found before is of then. */
	if (!is_current(a, t, root) || (a->phase == ANALYSIS_DONE && a->open_count > 0))
		begin(a, t, root);
	if (a->phase == ANALYSIS_SELF) {
		for (n = node_at(t, a->node); n != NULL && left > 0; n = tree_next(t, n)) {
			n->next = a->place;
			a->nodes[a->place++] = (struct analyzed){ .self_ns = self_ns(t, n),
								  .slot = node_slot(t, n) };
			left -= 1 + n->child_count;
		}
		a->node = n != NULL ? node_slot(t, n) : 0;
		if (n != NULL)
			return false;
		a->nodes[0].until_ns = end_of(a, root);
		a->place = 0;
		a->phase = ANALYSIS_PATH;
	}
	for (; a->phase == ANALYSIS_PATH && left > 0; a->place++) {
		if (a->place == a->node_count) {
			a->phase = ANALYSIS_DONE;
			break;
		}
		n = node_at(t, a->nodes[a->place].slot);
		left -= 1;
		if (a->nodes[a->place].until_ns != 0) {
			left -= 4 * (int64_t)n->child_count;
			follow(t, n, &a->nodes[a->place]);
		}
	}
	return a->phase == ANALYSIS_DONE;
}
