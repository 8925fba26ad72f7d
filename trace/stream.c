/* For readers that follow the store over time instead of asking once. */
#include "trace/store.h"

void trace_watch(struct trace *t, struct trace_watch *w)
{
	trace_unwatch(t, w);
	w->next = t->watch;
	t->watch = w;
}

void trace_unwatch(struct trace *t, struct trace_watch *w)
{
	struct trace_watch **p = &t->watch;

	while (*p != NULL && *p != w)
		p = &(*p)->next;
	if (*p != NULL)
		*p = w->next;
}

void stream_tell(struct trace *t, const struct node *root, bool complete)
{
	uint8_t span_id[8];

	memcpy(span_id, &root->span_id, sizeof(span_id));
	for (struct trace_watch *w = t->watch; w != NULL; w = w->next)
		w->on_root(w, node_slot(t, root), span_id, complete);
}

bool trace_look(struct trace *t, uint32_t slot, const uint8_t span_id[8],
		struct trace_span_view *ret)
{
	const struct node *n;

	if (!view_is_span(t, slot))
		return false;
	n = node_at(t, slot);
	if (memcmp(&n->span_id, span_id, sizeof(n->span_id)) != 0)
		return false;
	view_fill(t, n, trace_now_ns(t), ret);
	return true;
}
