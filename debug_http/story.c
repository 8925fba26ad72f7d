#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "debug_http/traces.h"

/* One trace laid out for reading. The tree is copied in one walk, in display order, so that a page
 * can be drawn line by line over many turns while the store goes on.
 *
 *   self time      what no child covers; children may overlap each other and outlive the parent
 *   critical path  from the end backwards: the child that ended last before, then what began it.
 *                  What wakes whom is not recorded, so this is the usual guess: shortening
 *                  anything off the path would not have made the trace shorter
 *   group          STORY_GROUP_MIN or more children of one category become one line
 *   gap            a stretch of a span with children in which none of them ran, if it is at least
 *                  1/STORY_GAP_SHARE of the whole
 *
 * Everything is bounded by TRACES_SPANS_MAX and costs O(n log n). */

/* ---- Copying the tree ---- */

struct copy {
	struct story *s;
	uint32_t last[TRACE_DEPTH_MAX + 1]; /* the span drawn last at each depth */
};

static bool count_span(void *data, const struct trace_span_view *v)
{
	struct story *s = data;
	uint64_t end_ns = v->start_ns + v->duration_ns;

	if (s->total++ == 0)
		s->axis = (struct axis){ v->start_ns, v->duration_ns };
	s->failed += v->finished && v->status != 0;
	s->open += !v->finished;
	s->busy_ns += v->busy_ns;
	s->queued_ns += v->queued_ns;
	if (end_ns > s->axis.start_ns + s->axis.length_ns)
		s->axis.length_ns = end_ns - s->axis.start_ns;
	return true;
}

static void hang_up(struct copy *c, uint32_t i)
{
	struct story *s = c->s;
	struct story_span *n = &s->spans[i];
	uint32_t before = c->last[n->depth];

	n->parent = c->last[n->depth - 1];
	s->spans[n->parent].child_count++;
	if (before != STORY_NONE && s->spans[before].parent == n->parent)
		s->spans[before].next_sibling = i;
	else
		s->spans[n->parent].first_child = i;
}

static bool copy_span(void *data, const struct trace_span_view *v)
{
	struct copy *c = data;
	struct story *s = c->s;
	uint32_t i = s->count;

	if (i == MIN(s->total, (uint32_t)TRACES_SPANS_MAX))
		return false;
	s->spans[i] = (struct story_span){
		.slot = v->slot,
		.category = v->category,
		.start_ns = v->start_ns,
		.end_ns = v->start_ns + v->duration_ns,
		.parent = STORY_NONE,
		.first_child = STORY_NONE,
		.next_sibling = STORY_NONE,
		.depth = (uint16_t)MIN(v->depth, (uint32_t)TRACE_DEPTH_MAX),
		.failed = v->finished && v->status != 0,
		.open = !v->finished,
	};
	memcpy(s->spans[i].span_id, v->span_id, sizeof(v->span_id));
	if (i > 0 && s->spans[i].depth > 0)
		hang_up(c, i);
	c->last[s->spans[i].depth] = i;
	s->count++;
	return true;
}

/* ---- Self time ---- */

size_t story_covered(const struct story *s, uint32_t span, struct stretch *ret, size_t cap,
		     uint64_t *ret_covered)
{
	const struct story_span *n = &s->spans[span];
	uint64_t covered = 0, until = n->start_ns;
	size_t count = 0;

	for (uint32_t i = n->first_child; i != STORY_NONE; i = s->spans[i].next_sibling) {
		uint64_t start = MAX(s->spans[i].start_ns, until);
		uint64_t end = MIN(s->spans[i].end_ns, n->end_ns);

		if (end <= start)
			continue;
		covered += end - start;
		if (count > 0 && count <= cap && ret[count - 1].end_ns == start)
			ret[count - 1].end_ns = end;
		else if (count < cap)
			ret[count++] = (struct stretch){ span, start, end };
		until = end;
	}
	if (ret_covered != NULL)
		*ret_covered = covered;
	return count;
}

static void measure_self(struct story *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct story_span *n = &s->spans[i];
		uint64_t covered;

		(void)story_covered(s, i, NULL, 0, &covered);
		n->self_ns = n->end_ns - n->start_ns - covered;
	}
}

/* ---- The critical path ---- */

struct by_end {
	uint64_t end_ns;
	uint32_t span;
};

static int latest_first(const void *a, const void *b)
{
	const struct by_end *x = a, *y = b;

	if (x->end_ns != y->end_ns)
		return x->end_ns < y->end_ns ? 1 : -1;
	return x->span < y->span ? -1 : x->span > y->span;
}

static void add_to_path(struct story *s, uint32_t span, uint64_t start_ns, uint64_t end_ns)
{
	if (end_ns > start_ns && s->path_count < 2 * s->count)
		s->path[s->path_count++] = (struct stretch){ span, start_ns, end_ns };
}

/* `span` is what was waited for between from and until. `sorted` has room for all children of it
 * and of what is below it. The recursion is as deep as the tree: TRACE_DEPTH_MAX. */
static void follow_path(struct story *s, uint32_t span, uint64_t from_ns, uint64_t until_ns,
			struct by_end *sorted)
{
	uint32_t count = 0;

	for (uint32_t i = s->spans[span].first_child; i != STORY_NONE; i = s->spans[i].next_sibling)
		sorted[count++] = (struct by_end){ s->spans[i].end_ns, i };
	qsort(sorted, count, sizeof(*sorted), latest_first);
	for (uint32_t k = 0; k < count && until_ns > from_ns; k++) {
		uint64_t start_ns = MAX(s->spans[sorted[k].span].start_ns, from_ns);
		uint64_t end_ns = MIN(sorted[k].end_ns, until_ns);

		if (start_ns >= end_ns)
			continue;
		add_to_path(s, span, end_ns, until_ns);
		follow_path(s, sorted[k].span, start_ns, end_ns, sorted + count);
		until_ns = start_ns;
	}
	add_to_path(s, span, from_ns, until_ns);
}

static int by_span_and_time(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	if (x->span != y->span)
		return x->span < y->span ? -1 : 1;
	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

static void index_path(struct story *s)
{
	qsort(s->path, s->path_count, sizeof(*s->path), by_span_and_time);
	for (uint32_t i = s->path_count; i-- > 0;) {
		s->spans[s->path[i].span].path_first = i;
		s->spans[s->path[i].span].path_count++;
	}
}

/* ---- Lines ---- */

struct layout {
	struct story *s;
	uint32_t gaps;
};

static struct story_line *add_line(struct story *s, enum line_kind kind, uint32_t span)
{
	struct story_line *line = &s->lines[s->line_count++];

	*line = (struct story_line){ .kind = kind, .span = span };
	return line;
}

static void add_gap(struct layout *l, uint32_t span, uint64_t start_ns, uint64_t end_ns)
{
	struct story_line *line;

	if (end_ns <= start_ns || l->gaps == STORY_GAPS_MAX ||
	    end_ns - start_ns < l->s->axis.length_ns / STORY_GAP_SHARE)
		return;
	line = add_line(l->s, LINE_GAP, span);
	line->start_ns = start_ns;
	line->end_ns = end_ns;
	l->gaps++;
}

uint32_t story_next_member(const struct story *s, uint32_t member)
{
	const char *category = s->spans[member].category;

	do
		member = s->spans[member].next_sibling;
	while (member != STORY_NONE && s->spans[member].category != category);
	return member;
}

static uint32_t count_members(const struct story *s, uint32_t first)
{
	uint32_t count = 0;

	for (uint32_t i = first; i != STORY_NONE; i = story_next_member(s, i))
		count++;
	return count;
}

static void lay_out(struct layout *l, uint32_t span);

static void lay_out_group(struct layout *l, uint32_t first, uint32_t count)
{
	add_line(l->s, LINE_GROUP, first)->count = count;
	for (uint32_t i = first; i != STORY_NONE; i = story_next_member(l->s, i)) {
		l->s->spans[i].is_grouped = true;
		lay_out(l, i);
	}
	(void)add_line(l->s, LINE_GROUP_END, first);
}

static void lay_out(struct layout *l, uint32_t span)
{
	struct story *s = l->s;
	const struct story_span *n = &s->spans[span];
	uint64_t until_ns = n->start_ns;

	(void)add_line(s, LINE_SPAN, span);
	for (uint32_t i = n->first_child; i != STORY_NONE; i = s->spans[i].next_sibling) {
		uint32_t count = 0;

		add_gap(l, span, until_ns, MIN(s->spans[i].start_ns, n->end_ns));
		until_ns = MAX(until_ns, s->spans[i].end_ns);
		if (s->spans[i].is_grouped)
			continue;
		if (n->child_count >= STORY_GROUP_MIN)
			count = count_members(s, i);
		if (count >= STORY_GROUP_MIN)
			lay_out_group(l, i, count);
		else
			lay_out(l, i);
	}
	if (n->first_child != STORY_NONE)
		add_gap(l, span, until_ns, n->end_ns);
}

/* ---- Whole ---- */

static bool has_memory(struct story *s)
{
	size_t most = MIN(s->total, (uint32_t)TRACES_SPANS_MAX);

	s->spans = mem_alloc_array(most, sizeof(*s->spans));
	/* Each group has at least three spans and adds two lines. */
	s->lines = mem_alloc_array(2 * most + STORY_GAPS_MAX, sizeof(*s->lines));
	s->path = mem_alloc_array(2 * most, sizeof(*s->path));
	return s->spans != NULL && s->lines != NULL && s->path != NULL;
}

struct story *story_new(struct trace *t, uint32_t root)
{
	struct story *s = mem_alloc(sizeof(*s));
	struct by_end *sorted;
	struct copy c = { .s = s };

	if (s == NULL)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(c.last); i++)
		c.last[i] = STORY_NONE;
	trace_walk(t, root, count_span, s);
	if (s->total == 0 || !has_memory(s))
		return story_free(s);
	trace_walk(t, root, copy_span, &c);
	sorted = mem_alloc_array(s->count, sizeof(*sorted));
	if (sorted == NULL)
		return story_free(s);
	measure_self(s);
	follow_path(s, 0, s->spans[0].start_ns, s->spans[0].end_ns, sorted);
	mem_free(sorted);
	index_path(s);
	lay_out(&(struct layout){ .s = s }, 0);
	return s;
}

struct story *story_free(struct story *s)
{
	if (s == NULL)
		return NULL;
	mem_free(s->spans);
	mem_free(s->lines);
	mem_free(s->path);
	return mem_free(s);
}
