/* Cells and the parts in them (layout: store.h).
 *
 * An evicted tree may have 10,000 nodes: it is given back in slices, one when it is evicted and one
 * whenever a cell is asked for and none is free. Meanwhile nobody finds it.
 *
 * A chain is closed with PART_END where a part did not fit, and is open at its end, which the node
 * knows. What can go wrong: an eviction between two allocations never touches the tree being
 * written, since that tree is active. */
#include "base/err.h"
#include "trace/store.h"

uint32_t long_title_alloc(struct trace *t)
{
	uint32_t i = t->long_free;

	if (i != UINT32_MAX)
		memcpy(&t->long_free, t->long_titles + (size_t)i * LONG_TITLE_SIZE,
		       sizeof(t->long_free));
	else if (t->long_high < t->long_count)
		i = t->long_high++;
	else
		return UINT32_MAX;
	t->long_used++;
	return i;
}

static void long_title_free(struct trace *t, uint32_t i)
{
	memcpy(t->long_titles + (size_t)i * LONG_TITLE_SIZE, &t->long_free, sizeof(t->long_free));
	t->long_free = i;
	t->long_used--;
}

static inline void free_node(struct trace *t, struct node *n)
{
	uint32_t slot = node_slot(t, n);

	if (n->part_first != 0)
		cell_free_chain(t, n->part_first, n->part_last);
	if (n->tail_first != 0)
		cell_free_chain(t, n->tail_first, n->tail_last);
	if (n->fold_first != 0) {
		uint32_t last = n->fold_first;
		while (t->cells[last].next != 0)
			last = t->cells[last].next;
		cell_free_chain(t, n->fold_first, last);
	}
	if (n->flags & NODE_TITLE_LONG)
		long_title_free(t, n->title_slot);
	struct category *c = &t->category[n->category];
	c->finished--;
	c->errored -= n->status != 0;
	c->cancelled -= n->status == UV_ECANCELED;
	n->generation++;
	cell_free_chain(t, slot, slot);
}

/* Children before their siblings' children, the root last: as long as its tree is not gone, the
 * nodes left over must find it. */
static void free_slice(struct trace *t)
{
	struct node *root = node_at(t, t->dying);

	for (int i = 0; i < FREE_SLICE_NODES && t->dying_nodes != 0; i++) {
		struct node *n = node_at(t, t->dying_nodes);
		t->dying_nodes = n->next_sibling;
		if (n->first_child != 0) {
			node_at(t, n->last_child)->next_sibling = t->dying_nodes;
			t->dying_nodes = n->first_child;
		}
		free_node(t, n);
	}
	if (t->dying_nodes != 0)
		return;
	t->dying = root->tree.later;
	free_node(t, root);
	if (t->dying != 0)
		t->dying_nodes = node_at(t, t->dying)->first_child;
}

void cell_free_tree(struct trace *t, struct node *root)
{
	t->cells_used -= root->tree.cell_count;
	if (__builtin_expect(root->first_child == 0, 1)) {
		free_node(t, root);
		return;
	}
	root->keep = KEEP_DYING;
	root->tree.later = t->dying;
	if (t->dying != 0) {
		/* Behind the one that is being given back. */
		struct node *first = node_at(t, t->dying);
		root->tree.later = first->tree.later;
		first->tree.later = node_slot(t, root);
	} else {
		t->dying = node_slot(t, root);
		t->dying_nodes = root->first_child;
	}
	free_slice(t);
}

uint32_t cell_alloc_evicting(struct trace *t)
{
	if (t->cell_high < t->cell_count) {
		t->cells_used++;
		return t->cell_high++;
	}
	while (t->cell_free == 0) {
		if (t->dying != 0)
			free_slice(t);
		else if (!retain_evict(t))
			return 0;
	}
	return cell_alloc(t);
}

static void *chain_append(struct trace *t, struct node *n, uint32_t *first, uint32_t *last,
			  uint16_t *used, size_t size)
{
	if (*first == 0 || *used + size > CELL_PAYLOAD) {
		uint32_t cell = cell_alloc(t);
		if (cell == 0)
			return NULL;
		if (*first == 0) {
			*first = cell;
		} else {
			if (*used < CELL_PAYLOAD)
				t->cells[*last].payload[*used] = PART_END;
			t->cells[*last].next = cell;
		}
		t->cells[cell].next = 0;
		*last = cell;
		*used = 0;
		node_root(t, n)->tree.cell_count++;
	}
	void *p = t->cells[*last].payload + *used;
	*used = (uint16_t)(*used + size);
	return p;
}

static struct part *begin_part(void *p, enum part_type type, size_t size)
{
	struct part *part = p;

	if (part != NULL)
		*part = (struct part){ .type = (uint8_t)type, .size8 = (uint8_t)(size / 8) };
	return part;
}

struct part *part_append(struct trace *t, struct node *n, enum part_type type, size_t size)
{
	return begin_part(chain_append(t, n, &n->part_first, &n->part_last, &n->part_used, size),
			  type, size);
}

/* Take the oldest part off the queue of latest marks. */
static enum part_type pop_tail(struct trace *t, struct node *n)
{
	enum part_type type = PART_END;

	for (size_t left = 0; type == PART_END || left > 0;) {
		const union cell *cell = &t->cells[n->tail_first];
		const struct part *part = (const void *)(cell->payload + n->tail_offset);

		if (n->tail_offset < CELL_PAYLOAD && (left > 0 || part->type != PART_END)) {
			if (left == 0) {
				type = part->type;
				left = (size_t)part->size8 * 8;
			}
			size_t here = MIN(left, (size_t)(CELL_PAYLOAD - n->tail_offset));
			n->tail_offset = (uint16_t)(n->tail_offset + here);
			left -= here;
			continue;
		}
		uint32_t next = cell->next;
		cell_free_chain(t, n->tail_first, n->tail_first);
		t->cells_used--;
		node_root(t, n)->tree.cell_count--;
		n->tail_first = next;
		n->tail_offset = 0;
	}
	return type;
}

/* The oldest of the latest marks makes room. */
static void drop_tail_mark(struct trace *t, struct node *n)
{
	while (pop_tail(t, n) == PART_DEAD)
		;
	n->tail_count--;
	n->marks_dropped++;
	t->counts.dropped_marks++;
}

static void *mark_room(struct trace *t, struct node *n, size_t size)
{
	if (n->mark_count < MARKS_HEAD_MAX)
		return chain_append(t, n, &n->part_first, &n->part_last, &n->part_used, size);
	return chain_append(t, n, &n->tail_first, &n->tail_last, &n->tail_used, size);
}

static void count_mark(struct trace *t, struct node *n, bool kept)
{
	if (!kept) {
		n->marks_dropped++;
		t->counts.dropped_marks++;
	} else if (n->mark_count < MARKS_HEAD_MAX) {
		n->mark_count++;
	} else {
		n->tail_count++;
	}
}

struct part *mark_append(struct trace *t, struct node *n, enum part_type type, size_t size)
{
	if (n->tail_count == MARKS_TAIL_MAX)
		drop_tail_mark(t, n);
	struct part *part = begin_part(mark_room(t, n, size), type, size);
	count_mark(t, n, part != NULL);
	return part;
}

void mark_append_long(struct trace *t, struct node *n, const struct part *part)
{
	size_t size = (size_t)part->size8 * 8;

	if (n->tail_count == MARKS_TAIL_MAX)
		drop_tail_mark(t, n);
	uint8_t *first = mark_room(t, n, CELL_PAYLOAD);
	if (first != NULL) {
		memcpy(first, part, CELL_PAYLOAD);
		uint8_t *rest = mark_room(t, n, size - CELL_PAYLOAD);
		if (rest != NULL) {
			memcpy(rest, (const uint8_t *)part + CELL_PAYLOAD, size - CELL_PAYLOAD);
		} else {
			begin_part(first, PART_DEAD, CELL_PAYLOAD);
			first = NULL;
		}
	}
	count_mark(t, n, first != NULL);
}

void part_iter_init(struct part_iter *it, struct trace *t, const struct node *n)
{
	it->t = t;
	it->node = n;
	it->in_tail = n->part_first == 0;
	it->cell = it->in_tail ? n->tail_first : n->part_first;
	it->offset = it->in_tail ? n->tail_offset : 0;
}

/* Stand on the next part. */
static const struct part *iter_settle(struct part_iter *it)
{
	const struct node *n = it->node;

	while (it->cell != 0) {
		const union cell *cell = &it->t->cells[it->cell];
		bool last = it->cell == (it->in_tail ? n->tail_last : n->part_last);
		uint32_t end = !last ? CELL_PAYLOAD : it->in_tail ? n->tail_used : n->part_used;
		const struct part *part = (const void *)(cell->payload + it->offset);

		if (it->offset < end && part->type != PART_END)
			return part;
		if (!last) {
			it->cell = cell->next;
			it->offset = 0;
		} else if (!it->in_tail) {
			it->in_tail = true;
			it->cell = n->tail_first;
			it->offset = n->tail_offset;
		} else {
			it->cell = 0;
		}
	}
	return NULL;
}

const struct part *part_next(struct part_iter *it)
{
	const struct part *part;

	while ((part = iter_settle(it)) != NULL) {
		size_t size = (size_t)part->size8 * 8;
		if (size > CELL_PAYLOAD) {
			uint32_t next = it->t->cells[it->cell].next;
			memcpy(it->joined, part, CELL_PAYLOAD);
			memcpy((uint8_t *)it->joined + CELL_PAYLOAD, it->t->cells[next].payload,
			       size - CELL_PAYLOAD);
			part = (const void *)it->joined;
			it->cell = next;
			it->offset = (uint32_t)(size - CELL_PAYLOAD);
		} else {
			it->offset += (uint32_t)size;
		}
		if (part->type != PART_DEAD)
			return part;
	}
	return NULL;
}
