/* Two traces side by side.
 *
 * Spans of both trees are gathered by depth and category, and in them their stages, so that what
 * one trace did and the other did not still has a line. Times of spans that ran at the same time
 * are added up, except that the root's stages sum to its duration: the sentence speaks of those. */
#include <inttypes.h>

#include "base/err.h"
#include "trace/text.h"
#include "trace/writer.h"

enum {
	ROWS_MAX = 256,
	NAME_COLUMNS = 34,
	TIME_COLUMNS = 9,
	/* What a step may cost, in units of some 10 ns. */
	STEP_COST = 40000,
	COST_SPAN = 12,
	COST_STAGE = 3,
	ROWS_PER_COST = 8
};

struct diff_side {
	uint64_t ns, busy_ns;
	uint32_t count;
};
struct diff_row {
	uint32_t depth;
	const char *category, *stage; /* NULL: the spans as a whole */
	struct diff_side side[2];
};
struct diff {
	struct trace *t;
	bool json;
	enum { DIFF_READ, DIFF_SORT, DIFF_WRITE } phase;
	struct span root_span[2];
	struct trace_span_view root[2];
	int now;	 /* the side being read */
	uint32_t node;	 /* where in it; 0 = at its root */
	uint64_t now_ns; /* until when active spans count */
	uint32_t count, left_out;
	struct diff_row row[ROWS_MAX];
};

static struct diff_side *side_of(struct diff *d, uint32_t depth, const char *category,
				 const char *stage)
{
	uint32_t i = 0;

	while (i < d->count && (d->row[i].depth != depth || d->row[i].category != category ||
				d->row[i].stage != stage))
		i++;
	if (i == ROWS_MAX) {
		d->left_out++;
		return NULL;
	}
	if (i == d->count)
		d->row[d->count++] =
			(struct diff_row){ .depth = depth, .category = category, .stage = stage };
	return &d->row[i].side[d->now];
}

static void add_to(struct diff_side *side, uint64_t ns, uint64_t busy_ns)
{
	if (side == NULL)
		return;
	side->ns += ns;
	side->busy_ns += busy_ns;
	side->count++;
}

/* Returns the cost. */
static int64_t gather(struct diff *d, const struct trace_span_view *s)
{
	struct trace_stage_view stage;
	uint32_t i = 0;

	if (s->depth == 0)
		d->root[d->now] = *s;
	add_to(side_of(d, s->depth, s->category, NULL), s->duration_ns, s->busy_ns);
	for (; trace_stage_at(d->t, s, i, &stage); i++)
		add_to(side_of(d, s->depth, s->category, stage.name), stage.duration_ns,
		       stage.busy_ns);
	return COST_SPAN + i * COST_STAGE + (i + 1) * d->count / ROWS_PER_COST;
}

/* Some spans of the side being read. 1: there are more, 0: both are read. */
static int read_some(struct diff *d)
{
	struct trace_span_view v;
	const struct node *n;

	for (int64_t left = STEP_COST; left > 0;) {
		if (node_find_kept(d->root_span[0]) == NULL ||
		    node_find_kept(d->root_span[1]) == NULL)
			return ERR_NOT_FOUND;
		n = node_at(d->t, d->node != 0 ? d->node : d->root_span[d->now].slot);
		view_fill(d->t, n, d->now_ns, &v);
		left -= gather(d, &v);
		n = tree_next(d->t, n);
		d->node = n != NULL ? node_slot(d->t, n) : 0;
		if (n == NULL && d->now++ == 1)
			return 0;
	}
	return 1;
}

static int64_t delta_of(const struct diff_row *r)
{
	return (int64_t)(r->side[1].ns - r->side[0].ns);
}

static uint64_t magnitude(int64_t delta)
{
	return delta < 0 ? 0 - (uint64_t)delta : (uint64_t)delta;
}

/* Spans before what is nested in them; of one depth, the largest difference first. */
static bool row_before(const struct diff_row *a, const struct diff_row *b)
{
	if (a->depth != b->depth)
		return a->depth < b->depth;
	return magnitude(delta_of(a)) > magnitude(delta_of(b));
}

static void sort_rows(struct diff *d)
{
	for (uint32_t i = 1; i < d->count; i++) {
		struct diff_row row = d->row[i];
		uint32_t k = i;
		for (; k > 0 && row_before(&row, &d->row[k - 1]); k--)
			d->row[k] = d->row[k - 1];
		d->row[k] = row;
	}
}

/* ---- Text ---- */

static void signed_duration(char ret[TEXT_DURATION_SIZE + 1], int64_t ns)
{
	ret[0] = ns < 0 ? '-' : '+';
	text_duration(ret + 1, magnitude(ns));
}

static void write_sentence(struct diff *d, struct buf *out)
{
	const struct trace_span_view *a = &d->root[0], *b = &d->root[1];
	int64_t delta = (int64_t)(b->duration_ns - a->duration_ns);
	char first[TEXT_DURATION_SIZE], second[TEXT_DURATION_SIZE];
	char difference[TEXT_DURATION_SIZE + 1];

	text_duration(first, a->duration_ns);
	text_duration(second, b->duration_ns);
	signed_duration(difference, delta);
	buf_printf(out, "%s ", b->category);
	text_safe(out, b->title, b->title_len, 24);
	buf_printf(out, ": %s, then %s (%s)", first, second, difference);
	/* The rows are sorted: the first stage of the root is what changed most. */
	for (uint32_t i = 0; i < d->count && d->row[i].depth == 0; i++) {
		const struct diff_row *r = &d->row[i];
		if (r->stage == NULL || delta_of(r) == 0)
			continue;
		signed_duration(difference, delta_of(r));
		buf_printf(out, "\nchanged most: %s, %s", r->stage, difference);
		break;
	}
	buf_write_str(out, "\n\n");
}

static void write_side(struct buf *out, const struct diff_side *side)
{
	char text[TEXT_DURATION_SIZE];

	text_duration(text, side->ns);
	text_right(out, side->count > 0 ? text : "-", TIME_COLUMNS);
	if (side->count > 1)
		buf_printf(out, " x%-4" PRIu32, side->count);
	else
		text_pad(out, 6);
}

static void write_row(struct buf *out, const struct diff_row *r)
{
	unsigned indent = 2 * MIN(r->depth, 6u) + (r->stage != NULL ? 2 : 0);
	const char *name = r->stage != NULL ? r->stage : r->category;
	char text[TEXT_DURATION_SIZE + 1];

	text_pad(out, indent);
	text_cell(out, name, strlen(name), NAME_COLUMNS - indent);
	write_side(out, &r->side[0]);
	write_side(out, &r->side[1]);
	signed_duration(text, delta_of(r));
	text_right(out, delta_of(r) == 0 ? "=" : text, TIME_COLUMNS + 1);
	buf_write_u8(out, '\n');
}

static void write_text(struct diff *d, struct buf *out)
{
	write_sentence(d, out);
	text_pad(out, NAME_COLUMNS);
	text_right(out, "FIRST", TIME_COLUMNS);
	text_right(out, "THEN", TIME_COLUMNS + 6);
	text_right(out, "CHANGE", TIME_COLUMNS + 7);
	buf_write_u8(out, '\n');
	/* Each kind of span, and under it its stages. */
	for (uint32_t i = 0; i < d->count; i++) {
		const struct diff_row *r = &d->row[i];
		if (r->stage != NULL)
			continue;
		write_row(out, r);
		for (uint32_t k = 0; k < d->count; k++)
			if (d->row[k].stage != NULL && d->row[k].depth == r->depth &&
			    d->row[k].category == r->category)
				write_row(out, &d->row[k]);
	}
	if (d->left_out > 0)
		buf_printf(out, "(%" PRIu32 " more not compared)\n", d->left_out);
}

/* ---- JSON ---- */

static void write_json_root(struct buf *out, const char *key, const struct trace_span_view *s)
{
	buf_printf(out, ",\"%s\":{\"trace_id\":", key);
	trace_json_hex(out, s->trace_id, sizeof(s->trace_id));
	buf_write_str(out, ",\"span_id\":");
	trace_json_hex(out, s->span_id, sizeof(s->span_id));
	trace_json_text(out, "category", s->category, strlen(s->category));
	trace_json_text(out, "title", s->title, s->title_len);
	buf_printf(out, ",\"duration_ns\":%" PRIu64 ",\"finished\":%s,\"status\":%d}",
		   s->duration_ns, s->finished ? "true" : "false", s->status);
}

static void write_json(struct diff *d, struct buf *out)
{
	buf_write_str(out, "{\"v\":1");
	write_json_root(out, "first", &d->root[0]);
	write_json_root(out, "then", &d->root[1]);
	buf_printf(out, ",\"delta_ns\":%" PRId64 ",\"left_out\":%" PRIu32 ",\"rows\":[",
		   (int64_t)(d->root[1].duration_ns - d->root[0].duration_ns), d->left_out);
	for (uint32_t i = 0; i < d->count; i++) {
		const struct diff_row *r = &d->row[i];
		buf_printf(out, "%s{\"depth\":%" PRIu32, i > 0 ? "," : "", r->depth);
		trace_json_text(out, "category", r->category, strlen(r->category));
		if (r->stage != NULL)
			trace_json_text(out, "stage", r->stage, strlen(r->stage));
		else
			buf_write_str(out, ",\"stage\":null");
		buf_printf(out,
			   ",\"first_ns\":%" PRIu64 ",\"then_ns\":%" PRIu64
			   ",\"delta_ns\":%" PRId64,
			   r->side[0].ns, r->side[1].ns, delta_of(r));
		buf_printf(out,
			   ",\"first_count\":%" PRIu32 ",\"then_count\":%" PRIu32
			   ",\"first_busy_ns\":%" PRIu64 ",\"then_busy_ns\":%" PRIu64 "}",
			   r->side[0].count, r->side[1].count, r->side[0].busy_ns,
			   r->side[1].busy_ns);
	}
	buf_write_str(out, "]}\n");
}

struct diff *diff_new(struct trace *t, struct span first, struct span then, bool json)
{
	struct diff *d = mem_alloc(sizeof(*d));

	if (d == NULL)
		return NULL;
	d->t = t;
	d->root_span[0] = first;
	d->root_span[1] = then;
	d->json = json;
	d->now_ns = trace_now_ns(t);
	return d;
}

int diff_step(struct diff *d, struct buf *out)
{
	int rc;

	switch (d->phase) {
	case DIFF_READ:
		rc = read_some(d);
		if (rc == 0)
			d->phase = DIFF_SORT;
		return rc < 0 ? rc : 1;
	case DIFF_SORT:
		sort_rows(d);
		d->phase = DIFF_WRITE;
		return 1;
	case DIFF_WRITE: break;
	}
	if (d->json)
		write_json(d, out);
	else
		write_text(d, out);
	return 0;
}
