/* Attributes, counters and links of a span. */
#include "trace/store.h"

/* The attribute with this key, if it was set before. */
static struct attr_part *find(struct trace *t, const struct node *n, const char *key)
{
	UNINITIALIZED struct part_iter it;
	const struct part *p;

	if (n->attr_count == 0)
		return NULL;
	part_iter_init(&it, t, n);
	while (!it.in_tail && (p = part_next(&it)) != NULL) {
		struct attr_part *a = (struct attr_part *)(uintptr_t)p;
		if (p->type >= PART_ATTR_STR && p->type <= PART_ATTR_BOOL &&
		    (a->key == key || strcmp(a->key, key) == 0))
			return a;
	}
	return NULL;
}

/* Room for a value of `size` bytes under a key. A value that fits takes the old one's place, so
 * that setting a key over and over takes no memory; a larger one takes at least twice the room of
 * the old one. */
static struct attr_part *attr_room(struct trace *t, struct node *n, const char *key,
				   enum part_type type, size_t size)
{
	struct attr_part *old = find(t, n, key), *a;
	size_t want = (ATTR_TEXT_OFFSET + size + 7) & ~(size_t)7;

	if (old != NULL && (size_t)old->part.size8 * 8 >= want) {
		old->part.type = (uint8_t)type;
		return old;
	}
	if (old != NULL)
		want = MIN(MAX(want, (size_t)old->part.size8 * 16), CELL_PAYLOAD);
	if (old == NULL && n->attr_count == TRACE_ATTRS_MAX)
		a = NULL;
	else
		a = (void *)part_append(t, n, type, want);
	if (a == NULL) {
		t->counts.dropped_parts++;
		return NULL;
	}
	if (old != NULL)
		old->part.type = PART_DEAD;
	else
		n->attr_count++;
	a->key = key;
	return a;
}

void trace_attr_str(struct span s, const char *key, const char *value, size_t len)
{
	struct node *n = node_open(s);

	if (n == NULL || key == NULL)
		return;
	len = value == NULL ? 0 : utf8_cut(value, len, TRACE_ATTR_TEXT_MAX);
	struct attr_part *a = attr_room(s.trace, n, key, PART_ATTR_STR, len);
	if (a != NULL) {
		a->part.value = (uint32_t)len;
		memcpy((char *)a + ATTR_TEXT_OFFSET, value != NULL ? value : "", len);
	}
}

static void attr_num(struct span s, const char *key, enum part_type type, int64_t value)
{
	struct node *n = node_open(s);

	if (n == NULL || key == NULL)
		return;
	struct attr_part *a = attr_room(s.trace, n, key, type, sizeof(a->num));
	if (a != NULL)
		a->num = value;
}

void trace_attr_int(struct span s, const char *key, int64_t value)
{
	attr_num(s, key, PART_ATTR_INT, value);
}

void trace_attr_bool(struct span s, const char *key, bool value)
{
	attr_num(s, key, PART_ATTR_BOOL, value);
}

void trace_add(struct span s, uint64_t items, uint64_t bytes)
{
	struct node *n = node_open(s);

	if (n == NULL)
		return;
	n->items += items;
	n->bytes += bytes;
}

static void add_link(struct trace *t, struct node *n, const struct trace_context *to,
		     const char *why)
{
	struct link_part *l = NULL;

	if (n->link_count < TRACE_LINKS_MAX)
		l = (void *)part_append(t, n, PART_LINK, sizeof(*l));
	if (l == NULL) {
		t->counts.dropped_parts++;
		return;
	}
	memcpy(l->trace_id, to->trace_id, sizeof(l->trace_id));
	memcpy(&l->span_id, to->span_id, sizeof(l->span_id));
	l->why = why != NULL ? why : "";
	n->link_count++;
}

void trace_link(struct span s, struct span to, const char *why)
{
	struct node *n = node_open(s), *target;

	if (n == NULL || to.trace == NULL)
		return;
	struct trace *t = s.trace;
	target = node_find_kept(to);
	if (target == NULL) {
		t->counts.late_calls++;
		return;
	}
	struct trace_context context;
	memcpy(context.trace_id, node_root(to.trace, target)->tree.trace_id,
	       sizeof(context.trace_id));
	memcpy(context.span_id, &target->span_id, sizeof(context.span_id));
	add_link(t, n, &context, why);
}

void trace_link_remote(struct span s, const struct trace_context *to, const char *why)
{
	struct node *n = node_open(s);

	if (n != NULL)
		add_link(s.trace, n, to, why);
}
