/* Reading the store: a span and its parts. */
#include "trace/store.h"

/* Microseconds are rounded: not beyond the whole. */
static uint64_t queued_ns(uint32_t us, uint64_t duration_ns)
{
	return MIN((uint64_t)us * 1000, duration_ns);
}

void view_fill(struct trace *t, const struct node *n, uint64_t now_ns, struct trace_span_view *ret)
{
	const struct node *root = node_root(t, n);
	const struct node *parent = node_is_root(t, n) ? NULL : node_at(t, n->parent);

	*ret = (struct trace_span_view){
		.depth = n->depth,
		.category = t->categories.text[n->category],
		.title = node_title(t, n),
		.title_len = n->title_len,
		.start_ns = n->start_ns,
		.start_wall_ns = node_wall_ns(t, n),
		.duration_ns = node_duration_ns(n, now_ns),
		.finished = !(n->flags & NODE_OPEN),
		.pinned = n->flags & NODE_PINNED,
		.status = n->status,
		.failed_below = (n->flags & NODE_FAILED_BELOW) != 0,
		.outcome = n->outcome,
		.items = n->items,
		.bytes = n->bytes,
		.mark_count = n->mark_count + n->tail_count,
		.marks_dropped = n->marks_dropped,
		.marks_before_gap = n->mark_count,
		.attr_count = n->attr_count,
		.stage_count = stage_count(t, n, now_ns),
		.stages_folded = n->fold_first != 0,
		.link_count = n->link_count,
		.child_count = n->child_count,
		.children_dropped = n->children_dropped,
		.busy_ns = n->busy_ns,
		.queued_ns = queued_ns(n->queued_us, node_duration_ns(n, now_ns)),
		.slot = node_slot(t, n),
	};
	const struct analyzed *a = analysis_of(t, n);
	if (a != NULL) {
		ret->analyzed = true;
		ret->self_ns = a->self_ns;
		ret->critical_ns = a->critical_ns;
		ret->critical_until_ns = a->until_ns;
	}
	memcpy(ret->trace_id, root->tree.trace_id, sizeof(ret->trace_id));
	memcpy(ret->span_id, &n->span_id, sizeof(ret->span_id));
	ret->has_parent = parent != NULL || (n->flags & NODE_REMOTE_PARENT);
	if (parent != NULL)
		memcpy(ret->parent_id, &parent->span_id, sizeof(ret->parent_id));
	else if (ret->has_parent)
		memcpy(ret->parent_id, &n->tree.remote_id, sizeof(ret->parent_id));
}

bool view_is_span(struct trace *t, uint32_t slot)
{
	return slot != 0 && slot < t->cell_high && (t->cells[slot].generation & 1) &&
	       node_root(t, node_at(t, slot))->keep != KEEP_DYING;
}

struct node *view_root(struct trace *t, uint32_t slot)
{
	return view_is_span(t, slot) && node_is_root(t, node_at(t, slot)) ? node_at(t, slot) : NULL;
}

void trace_walk(struct trace *t, uint32_t root,
		bool (*visit)(void *data, const struct trace_span_view *s), void *data)
{
	uint64_t now = trace_now_ns(t);
	struct trace_span_view v;

	if (view_root(t, root) == NULL)
		return;
	for (const struct node *n = node_at(t, root); n != NULL; n = tree_next(t, n)) {
		view_fill(t, n, now, &v);
		if (!visit(data, &v))
			return;
	}
}

/* The node of a view, or NULL if the view outlived it. */
static const struct node *node_of_view(struct trace *t, const struct trace_span_view *s)
{
	if (!view_is_span(t, s->slot))
		return NULL;
	const struct node *n = node_at(t, s->slot);
	return memcmp(&n->span_id, s->span_id, sizeof(s->span_id)) == 0 ? n : NULL;
}

enum read_kind { READ_STAGE, READ_MARK, READ_ATTR, READ_LINK };

static bool is_kind(const struct part *p, enum read_kind kind)
{
	switch (kind) {
	case READ_STAGE: return p->type == PART_STAGE;
	case READ_MARK: return p->type == PART_MARK || p->type == PART_ERROR_MARK;
	case READ_ATTR: return p->type >= PART_ATTR_STR && p->type <= PART_ATTR_BOOL;
	case READ_LINK: return p->type == PART_LINK;
	}
	return false;
}

/* The i-th part of a kind. Goes on from the last part read if that is before this one, so that
 * reading them all in order is linear. For stages, ret_elapsed_ns = sum of the durations before. */
static const struct part *part_at(struct trace *t, const struct node *n, enum read_kind kind,
				  uint32_t i, struct part_iter *it, uint64_t *ret_elapsed_ns)
{
	struct read_cursor *c = &t->cursor;
	const struct part *p;

	part_iter_init(it, t, n);
	if (!c->valid || c->frees != t->frees || c->slot != node_slot(t, n) ||
	    c->generation != n->generation || c->kind != kind || c->index > i) {
		*c = (struct read_cursor){ .frees = t->frees,
					   .slot = node_slot(t, n),
					   .generation = n->generation,
					   .kind = kind,
					   .valid = true };
	} else if (c->cell != 0) {
		it->cell = c->cell;
		it->offset = c->offset;
		it->in_tail = c->in_tail;
	}
	while ((p = part_next(it)) != NULL) {
		if (!is_kind(p, kind))
			continue;
		uint64_t before = c->elapsed_ns;
		if (kind == READ_STAGE)
			c->elapsed_ns += ((const struct stage_part *)(const void *)p)->duration_ns;
		c->cell = it->cell;
		c->offset = it->offset;
		c->in_tail = it->in_tail;
		if (c->index++ == i) {
			*ret_elapsed_ns = before;
			return p;
		}
	}
	c->valid = false;
	return NULL;
}

/* Stages behind the listed ones: those added up by name, then the current one. */
static bool unlisted_stage(struct trace *t, const struct trace_span_view *s, const struct node *n,
			   uint32_t i, struct trace_stage_view *ret)
{
	uint64_t current_start = n->stage_since_ns - n->start_ns, folded = 0;

	ret->busy_ns = ret->queued_ns = 0;
	for (uint32_t id = 0; id < t->stages.count; id++)
		folded += stage_folded_ns(t, n, id);
	ret->start_ns = current_start - folded;
	for (uint32_t id = 0; id < t->stages.count; id++) {
		ret->duration_ns = stage_folded_ns(t, n, id);
		if (ret->duration_ns > 0 && i-- == 0) {
			ret->name = t->stages.text[id];
			return true;
		}
		ret->start_ns += ret->duration_ns;
	}
	ret->name = t->stages.text[n->stage];
	ret->start_ns = current_start;
	ret->busy_ns = n->stage_busy_ns;
	ret->duration_ns = s->duration_ns > current_start ? s->duration_ns - current_start : 0;
	ret->queued_ns = queued_ns(n->stage_queued_us, ret->duration_ns);
	return true;
}

bool trace_stage_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		    struct trace_stage_view *ret)
{
	const struct node *n = node_of_view(t, s);
	UNINITIALIZED struct part_iter it;

	if (n == NULL || i >= s->stage_count)
		return false;
	if (i >= n->stage_count)
		return n->stage != STAGE_NONE && unlisted_stage(t, s, n, i - n->stage_count, ret);
	const struct stage_part *p =
		(const void *)part_at(t, n, READ_STAGE, i, &it, &ret->start_ns);
	if (p == NULL)
		return false;
	ret->name = t->stages.text[p->part.id];
	ret->duration_ns = p->duration_ns;
	ret->busy_ns = p->busy_ns;
	ret->queued_ns = queued_ns(p->part.value, p->duration_ns);
	return true;
}

bool view_mark_at(struct trace *t, const struct trace_span_view *s, uint32_t i, const uint8_t *key,
		  struct trace_mark_view *ret, struct buf *text)
{
	const struct node *n = node_of_view(t, s);
	UNINITIALIZED char formatted[MARK_FORMATTED_MAX];
	UNINITIALIZED struct part_iter it;
	uint64_t unused;

	if (n == NULL || i >= s->mark_count)
		return false;
	const struct mark_part *m = (const void *)part_at(t, n, READ_MARK, i, &it, &unused);
	if (m == NULL)
		return false;
	ret->at_ns = m->at_ns;
	ret->is_error = m->part.type == PART_ERROR_MARK;
	if (text != NULL)
		buf_write(text, formatted,
			  mark_format_disguised(t, m, key, formatted, sizeof(formatted)));
	return true;
}

bool trace_mark_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		   struct trace_mark_view *ret, struct buf *text)
{
	return view_mark_at(t, s, i, NULL, ret, text);
}

bool trace_attr_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		   struct trace_attr_view *ret)
{
	const struct node *n = node_of_view(t, s);
	UNINITIALIZED struct part_iter it;
	uint64_t unused;

	if (n == NULL || i >= s->attr_count)
		return false;
	const struct attr_part *a = (const void *)part_at(t, n, READ_ATTR, i, &it, &unused);
	if (a == NULL)
		return false;
	*ret = (struct trace_attr_view){ .key = a->key };
	if (a->part.type == PART_ATTR_STR) {
		ret->type = TRACE_ATTR_STR;
		ret->str = (const char *)a + ATTR_TEXT_OFFSET;
		ret->str_len = a->part.value;
	} else {
		ret->type = a->part.type == PART_ATTR_INT ? TRACE_ATTR_INT : TRACE_ATTR_BOOL;
		ret->num = a->num;
	}
	return true;
}

bool trace_link_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		   struct trace_link_view *ret)
{
	const struct node *n = node_of_view(t, s);
	UNINITIALIZED struct part_iter it;
	uint64_t unused;

	if (n == NULL || i >= s->link_count)
		return false;
	const struct link_part *l = (const void *)part_at(t, n, READ_LINK, i, &it, &unused);
	if (l == NULL)
		return false;
	memcpy(ret->trace_id, l->trace_id, sizeof(ret->trace_id));
	memcpy(ret->span_id, &l->span_id, sizeof(ret->span_id));
	ret->why = l->why;
	return true;
}
