/* Similar siblings: those of one category under one parent, when there are several. */
#include "trace/siblings.h"

/* Count the children per category; those that make a group come in the order of their first. */
static void find_groups(struct siblings *g, struct trace *t, const struct node *parent)
{
	uint32_t count[TRACE_CATEGORIES_MAX] = { 0 };

	for (uint32_t slot = parent->first_child; slot != 0;) {
		const struct node *n = node_at(t, slot);
		if (++count[n->category] == GROUP_MIN && g->group_count < GROUPS_MAX)
			g->group[g->group_count++].category = t->categories.text[n->category];
		slot = n->next_sibling;
	}
}

/* Remember the longest ones, longest first. */
static void note_longest(uint64_t longest[GROUP_SHOWN_MAX], uint64_t ns)
{
	for (int i = 0; i < GROUP_SHOWN_MAX; i++)
		if (ns >= longest[i]) {
			memmove(longest + i + 1, longest + i,
				(size_t)(GROUP_SHOWN_MAX - 1 - i) * sizeof(*longest));
			longest[i] = ns;
			return;
		}
}

/* The median is exact for up to TRACE_SAMPLE_MAX siblings, beyond that of a part of them, evenly
 * taken. */
static void fill_group(struct sibling_group *group, struct trace *t, const struct node *parent,
		       uint64_t now_ns)
{
	uint64_t longest[GROUP_SHOWN_MAX] = { 0 };
	uint32_t every = parent->child_count / TRACE_SAMPLE_MAX + 1, taken = 0;

	for (uint32_t slot = parent->first_child; slot != 0;) {
		const struct node *n = node_at(t, slot);
		slot = n->next_sibling;
		if (t->categories.text[n->category] != group->category)
			continue;
		uint64_t ns = node_duration_ns(n, now_ns);
		if (group->count++ % every == 0)
			t->scratch[taken++] = ns;
		group->failed += n->status != 0;
		group->open += (n->flags & NODE_OPEN) != 0;
		note_longest(longest, ns);
	}
	group->p50_ns = select_rank(t->scratch, 0, taken - 1, nearest_rank(taken, 50));
	group->max_ns = longest[0];
	group->shown_from_ns = longest[GROUP_SHOWN_MAX - 1];
}

void siblings_init(struct siblings *g, struct trace *t, const struct trace_span_view *parent,
		   uint64_t now_ns)
{
	const struct node *n = node_at(t, parent->slot);

	*g = (struct siblings){ .covered_ns = parent->start_ns,
				.end_ns = parent->start_ns + parent->duration_ns };
	if (n->child_count >= GROUP_MIN)
		find_groups(g, t, n);
	for (uint32_t i = 0; i < g->group_count; i++)
		fill_group(&g->group[i], t, n, now_ns);
}

struct sibling_group *siblings_group(struct siblings *g, const struct trace_span_view *child)
{
	for (uint32_t i = 0; i < g->group_count; i++)
		if (g->group[i].category == child->category)
			return &g->group[i];
	return NULL;
}
