/* Stages of a span.
 *
 * A stage is written when it ends, as a name and a duration; starts follow from adding up, so there
 * is no gap and no overlap to get wrong. The current stage lives in the node. Beyond STAGE_LIST_MAX
 * entries (a machine that loops) the order is given up but not the sum: durations are added up per
 * name and read as one stage each, between the listed ones and the current one. When there is no
 * memory to end a stage, everything since it began is accounted as "(not recorded)". */
#include "trace/store.h"

enum { FOLDS_PER_CELL = CELL_PAYLOAD / 8 };

static uint64_t *fold_word(struct trace *t, const struct node *n, uint32_t id)
{
	uint32_t cell = n->fold_first;

	for (; id >= FOLDS_PER_CELL; id -= FOLDS_PER_CELL)
		cell = t->cells[cell].next;
	return (uint64_t *)(void *)t->cells[cell].payload + id;
}

static void fold_undo(struct trace *t, struct node *n)
{
	while (n->fold_first != 0) {
		uint32_t cell = n->fold_first;
		n->fold_first = t->cells[cell].next;
		cell_free_chain(t, cell, cell);
		t->cells_used--;
		node_root(t, n)->tree.cell_count--;
	}
}

static bool fold_begin(struct trace *t, struct node *n)
{
	for (int have = 0; have < TRACE_STAGES_MAX; have += FOLDS_PER_CELL) {
		uint32_t cell = cell_alloc(t);
		if (cell == 0) {
			fold_undo(t, n);
			return false;
		}
		memset(t->cells[cell].payload, 0, CELL_PAYLOAD);
		t->cells[cell].next = n->fold_first;
		n->fold_first = cell;
		node_root(t, n)->tree.cell_count++;
	}
	return true;
}

static struct stage_part *last_part(struct trace *t, const struct node *n)
{
	return (void *)(t->cells[n->stage_cell].payload + n->stage_offset);
}

/* Write down the current stage. False: no room. */
static bool stage_end(struct trace *t, struct node *n, uint64_t now_ns)
{
	uint64_t duration = now_ns - n->stage_since_ns;

	if (n->flags & NODE_STAGE_REOPENED) {
		last_part(t, n)->duration_ns = duration;
		last_part(t, n)->busy_ns = n->stage_busy_ns;
		last_part(t, n)->part.value = n->stage_queued_us;
		n->flags &= (uint16_t)~NODE_STAGE_REOPENED;
		n->stage_count++;
		return true;
	}
	if (duration == 0)
		return true;
	if (n->stage_count >= STAGE_LIST_MAX) {
		if (n->fold_first == 0 && !fold_begin(t, n))
			return false;
		*fold_word(t, n, n->stage) += duration;
		return true;
	}
	struct stage_part *p = (void *)part_append(t, n, PART_STAGE, sizeof(*p));
	if (p == NULL)
		return false;
	p->part.id = n->stage;
	p->part.value = n->stage_queued_us;
	p->duration_ns = duration;
	p->busy_ns = n->stage_busy_ns;
	n->stage_cell = n->part_last;
	n->stage_offset = (uint16_t)(n->part_used - sizeof(*p));
	n->stage_last = n->stage;
	n->stage_count++;
	return true;
}

static void stage_begin(struct trace *t, struct node *n, uint8_t id, uint64_t now_ns)
{
	n->stage = id;
	n->stage_since_ns = now_ns;
	n->stage_busy_ns = 0;
	n->stage_queued_us = 0;
	/* Back in the stage that was written down last (what lay between took no time): it goes on.
	 */
	if (n->stage_last == id && n->fold_first == 0) {
		n->flags |= NODE_STAGE_REOPENED;
		n->stage_since_ns -= last_part(t, n)->duration_ns;
		n->stage_busy_ns = last_part(t, n)->busy_ns;
		n->stage_queued_us = last_part(t, n)->part.value;
		n->stage_count--;
	}
}

void trace_stage(struct span s, const char *stage)
{
	struct node *n = node_open(s);

	if (n == NULL || stage == NULL)
		return;
	struct trace *t = s.trace;
	uint8_t id = name_find(&t->stages, stage);
	if (n->stage == id || n->stage == STAGE_LOST)
		return;
	uint64_t now = MAX(trace_now_ns(t), n->start_ns);
	busy_settle(t, s);
	if (n->stage == STAGE_NONE) {
		/* What the span has worked so far belongs to its first stage. */
		n->stage = id == STAGE_START || now == n->start_ns ? id : STAGE_START;
		n->stage_since_ns = n->start_ns;
		if (n->stage == id)
			return;
	}
	if (stage_end(t, n, now)) {
		stage_begin(t, n, id, now);
	} else {
		n->stage = STAGE_LOST;
		t->counts.dropped_parts++;
	}
}

/* What was told in the present stage may have begun in the one before it: nobody tells at the end
 * of a stage. */
void stage_add_queued(struct trace *t, struct node *n, uint32_t us, uint32_t early_us)
{
	bool has_before = n->stage_last != STAGE_NONE && n->fold_first == 0 &&
			  !(n->flags & NODE_STAGE_REOPENED);

	if (has_before && early_us > 0)
		last_part(t, n)->part.value += MIN(early_us, us);
	else
		early_us = 0;
	n->stage_queued_us += us - MIN(early_us, us);
}

uint64_t stage_folded_ns(struct trace *t, const struct node *n, uint32_t id)
{
	return n->fold_first != 0 ? *fold_word(t, n, id) : 0;
}

static bool current_shows(const struct node *n, uint64_t now_ns)
{
	if (n->stage == STAGE_NONE)
		return false;
	return (n->flags & NODE_OPEN) ||
	       n->start_ns + node_duration_ns(n, now_ns) > n->stage_since_ns;
}

uint32_t stage_count(struct trace *t, const struct node *n, uint64_t now_ns)
{
	uint32_t count = n->stage_count;

	for (uint32_t id = 0; id < t->stages.count && n->fold_first != 0; id++)
		count += stage_folded_ns(t, n, id) > 0;
	return count + current_shows(n, now_ns);
}
