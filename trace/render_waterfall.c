/* One trace as text.
 *
 *   sync.discover hm://z6Mk…/notes took 6.91 s: 71 % in dht (4.90 s)          the sentence
 *   trace id, start, counts
 *                                                time    %  |0          6.91 s|
 *   sync.discover hm://z6Mk…                   6.91 s  100  |█████████████████|
 *     local 3 ms · local_sync 2.01 s · dht 4.90 s                             stages
 *     +12 ms  local peers: 3 found                                             marks
 *     sync.peer 12D3KooW…              timeout 1.20 s   17  |   ████          |
 *
 * Bars stand against the root, full where the span is on the critical path. A span that goes on
 * after its root has ended is drawn up to the edge. Several siblings of one category are a row that
 * sums them up, and the longest of them; time of a span with children that none of them covers has
 * a row when it is long. */
#include <inttypes.h>

#include "base/err.h"
#include "trace/siblings.h"
#include "trace/text.h"
#include "trace/writer.h"

enum {
	TITLE_MIN = 16, /* columns of a title in the sentence */
	OUTCOME_COLUMNS = 10,
	TIME_COLUMNS = 8,
	PERCENT_COLUMNS = 4,
	INDENT_MAX = 8,	      /* levels drawn; deeper ones stay there */
	MARKS_SHOWN_MAX = 40, /* half of them the first, half the last */
	SPANS_SHOWN_MAX = 500,
	GAP_PERCENT = 5 /* of the root, to have a row */
};

struct waterfall {
	struct trace *t;
	struct buf *out;
	unsigned columns, label_columns, bar_columns;
	struct trace_span_view root;
	uint32_t shown, hidden;
	uint32_t skip_depth; /* spans deeper than this are in one that is not drawn; 0 = none */
	uint32_t depth;	     /* of the span before */
	struct siblings level[TRACE_DEPTH_MAX + 2]; /* children of the span drawn at each depth */
};

/* ---- The sentence ---- */

/* The child that was busy longest inside the root's longest stage: where to look next. */
struct culprit {
	uint64_t start_ns, end_ns, overlap_ns; /* the stage, absolute */
	struct trace_span_view child;
};

static void find_culprit(struct waterfall *w, struct culprit *c)
{
	uint64_t now = w->root.start_ns + w->root.duration_ns;
	const struct node *found = NULL;

	for (uint32_t slot = node_at(w->t, w->root.slot)->first_child; slot != 0;) {
		const struct node *n = node_at(w->t, slot);
		uint64_t start = MAX(n->start_ns, c->start_ns),
			 end = MIN(n->start_ns + node_duration_ns(n, now), c->end_ns);
		if (end > start && end - start > c->overlap_ns) {
			c->overlap_ns = end - start;
			found = n;
		}
		slot = n->next_sibling;
	}
	if (found != NULL)
		view_fill(w->t, found, now, &c->child);
}

/* The longest single stretch of a stage. */
static void stage_stretch(struct trace *t, const struct trace_span_view *s, const char *name,
			  struct culprit *ret)
{
	struct trace_stage_view stage;
	uint64_t longest = 0;

	for (uint32_t i = 0; trace_stage_at(t, s, i, &stage); i++)
		if (stage.name == name && stage.duration_ns >= longest) {
			longest = stage.duration_ns;
			ret->start_ns = s->start_ns + stage.start_ns;
			ret->end_ns = ret->start_ns + longest;
		}
}

static void write_culprit(struct waterfall *w, const char *stage)
{
	struct culprit c = { .start_ns = w->root.start_ns,
			     .end_ns = w->root.start_ns + w->root.duration_ns };
	struct stage_total totals[TOTALS_MAX];
	char duration[TEXT_DURATION_SIZE];

	if (stage != NULL)
		stage_stretch(w->t, &w->root, stage, &c);
	find_culprit(w, &c);
	if (c.overlap_ns == 0)
		return;
	text_duration(duration, c.child.duration_ns);
	buf_printf(w->out, "longest in it: %s ", c.child.category);
	text_safe_middle(w->out, c.child.title, c.child.title_len, w->columns - 56);
	buf_printf(w->out, ", %s", duration);
	if (stage_totals(w->t, &c.child, totals) > 0)
		buf_printf(w->out, ", %u %% in %s", percent_of(totals[0].ns, c.child.duration_ns),
			   totals[0].name);
	buf_write_u8(w->out, '\n');
}

/* "took 6.91 s: 71 % in dht (4.90 s)", for any span. Returns the stage's name or NULL. */
static const char *verdict(struct trace *t, const struct trace_span_view *s, struct buf *ret)
{
	struct stage_total totals[TOTALS_MAX];
	char duration[TEXT_DURATION_SIZE];
	struct trace_stage_view now = { 0 };

	text_duration(duration, s->duration_ns);
	if (!s->finished)
		buf_printf(ret, "running for %s", duration);
	else if (s->status == 0)
		buf_printf(ret, "took %s", duration);
	else
		buf_printf(ret, "failed after %s (%s)", duration, s->outcome);
	if (stage_totals(t, s, totals) == 0)
		return NULL;
	text_duration(duration, totals[0].ns);
	buf_printf(ret, ": %u %% in %s (%s)", percent_of(totals[0].ns, s->duration_ns),
		   totals[0].name, duration);
	if (!s->finished && trace_stage_at(t, s, s->stage_count - 1, &now) &&
	    now.name != totals[0].name)
		buf_printf(ret, ", now in %s", now.name);
	return totals[0].name;
}

static void write_sentence(struct waterfall *w)
{
	struct buf tail;
	unsigned used;

	buf_init(&tail, 512);
	const char *stage = verdict(w->t, &w->root, &tail);
	buf_printf(w->out, "%s ", w->root.category);
	unsigned category = (unsigned)strlen(w->root.category) + 2;
	used = category + (unsigned)tail.len;
	if (used + MIN(w->root.title_len, (size_t)TITLE_MIN) >
	    w->columns) { /* on a line of its own */
		text_safe_middle(w->out, w->root.title, w->root.title_len,
				 MAX(w->columns, category + TITLE_MIN) - category);
		buf_write_str(w->out, "\n ");
	} else {
		text_safe_middle(w->out, w->root.title, w->root.title_len, w->columns - used);
	}
	buf_write_u8(w->out, ' ');
	buf_write(w->out, tail.data, tail.len);
	buf_write_u8(w->out, '\n');
	buf_fini(&tail);
	write_culprit(w, stage);
}

/* ---- The table ---- */

static void write_head(struct waterfall *w)
{
	char id[TRACE_ID_HEX_SIZE] = { 0 }, time[TEXT_TIME_SIZE], size[TEXT_DURATION_SIZE];
	const struct node *root = node_at(w->t, w->root.slot);
	unsigned failed = 0;

	hex_write(id, w->root.trace_id, sizeof(w->root.trace_id));
	text_time(time, w->root.start_wall_ns);
	for (const struct node *n = root; n != NULL; n = tree_next(w->t, n))
		failed += n->status != 0;
	buf_printf(w->out, "trace %s  %.23sZ\n", id, time);
	buf_printf(w->out, "%u span%s, %u failed, %u open", root->tree.node_count,
		   root->tree.node_count == 1 ? "" : "s", failed, root->tree.open_count);
	if (w->root.has_parent) {
		hex_write(id, w->root.parent_id, sizeof(w->root.parent_id));
		buf_printf(w->out, ", asked for by span %.16s elsewhere", id);
	}
	buf_write_str(w->out, "\n\n");
	text_pad(w->out, w->label_columns + OUTCOME_COLUMNS);
	text_right(w->out, "time", TIME_COLUMNS);
	text_right(w->out, "%", PERCENT_COLUMNS);
	text_duration(size, w->root.duration_ns);
	buf_write_str(w->out, " |0");
	text_right(w->out, size, w->bar_columns - 1);
	buf_write_str(w->out, "|\n");
}

static void write_bar(struct waterfall *w, const struct trace_span_view *s)
{
	double whole = (double)MAX(w->root.duration_ns, UINT64_C(1)), columns = w->bar_columns;
	double start = (double)(s->start_ns - w->root.start_ns) / whole * columns;
	double end = start + (double)s->duration_ns / whole * columns;
	unsigned from = (unsigned)MIN(start, columns - 1), to = (unsigned)MIN(end + 0.5, columns);

	bool full = !s->analyzed || s->critical_until_ns != 0;
	to = MAX(to, from + 1);
	buf_write_str(w->out, " |");
	text_pad(w->out, from);
	for (unsigned i = from; i < to; i++)
		buf_write_str(w->out, !s->finished && i + 1 == to ? ">" : full ? "█" : "░");
	text_pad(w->out, w->bar_columns - to);
	buf_write_str(w->out, "|\n");
}

static void write_row(struct waterfall *w, const struct trace_span_view *s, unsigned indent)
{
	unsigned category = (unsigned)strlen(s->category), room = w->label_columns - indent;
	char text[TEXT_DURATION_SIZE];

	text_pad(w->out, indent);
	text_safe(w->out, s->category, category, room);
	if (category + 1 < room) {
		buf_write_u8(w->out, ' ');
		room -= category + 1;
		text_pad(w->out, room - text_safe_middle(w->out, s->title, s->title_len, room));
	} else {
		text_pad(w->out, room - MIN(room, category));
	}
	buf_write_u8(w->out, ' ');
	const char *outcome = s->finished ? s->outcome : "active";
	text_cell(w->out, outcome, strlen(outcome), OUTCOME_COLUMNS - 1);
	text_duration(text, s->duration_ns);
	text_right(w->out, text, TIME_COLUMNS);
	buf_printf(w->out, "%*u", PERCENT_COLUMNS, percent_of(s->duration_ns, w->root.duration_ns));
	write_bar(w, s);
}

static void write_stages(struct waterfall *w, const struct trace_span_view *s, unsigned indent)
{
	struct trace_stage_view stage;
	char duration[TEXT_DURATION_SIZE];
	unsigned column = 0;

	for (uint32_t i = 0; trace_stage_at(w->t, s, i, &stage); i++) {
		unsigned width = (unsigned)strlen(stage.name) + 1 +
				 text_duration(duration, stage.duration_ns);
		if (column > 0 && column + 3 + width > w->columns) {
			buf_write_u8(w->out, '\n');
			column = 0;
		}
		if (column == 0) {
			text_pad(w->out, indent);
			column = indent;
		} else {
			buf_write_str(w->out, " · ");
			column += 3;
		}
		buf_printf(w->out, "%s %s", stage.name, duration);
		column += width;
	}
	if (s->stages_folded)
		buf_write_str(w->out, " (later stages added up)");
	if (column > 0)
		buf_write_u8(w->out, '\n');
}

/* Where the span's time went, as far as it is known: "self 2 s, CPU 4 ms, queued 12 ms". */
static void write_shares(struct waterfall *w, const struct trace_span_view *s, unsigned indent)
{
	const struct {
		const char *name;
		uint64_t ns;
		bool known;
	} shares[] = {
		{ "self", s->self_ns, s->analyzed && s->child_count > 0 },
		{ "CPU", s->busy_ns, s->busy_ns > 0 || trace_cpu(w->t) != TRACE_CPU_OFF },
		{ "queued", s->queued_ns, s->queued_ns > 0 },
	};
	char size[TEXT_DURATION_SIZE];
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
		if (!shares[i].known)
			continue;
		text_pad(w->out, any ? 0 : indent);
		text_duration(size, shares[i].ns);
		buf_printf(w->out, "%s%s %s", any ? ", " : "", shares[i].name, size);
		any = true;
	}
	if (any)
		buf_write_u8(w->out, '\n');
}

static void write_attrs(struct waterfall *w, const struct trace_span_view *s, unsigned indent)
{
	struct trace_attr_view attr;
	struct trace_link_view link;
	char id[TRACE_ID_HEX_SIZE] = { 0 }, size[TEXT_DURATION_SIZE];

	write_shares(w, s, indent);
	if (s->items > 0 || s->bytes > 0) {
		text_pad(w->out, indent);
		text_bytes(size, s->bytes);
		buf_printf(w->out, "%" PRIu64 " %s, %s\n", s->items,
			   plural(s->items, "item", "items"), size);
	}
	for (uint32_t i = 0; trace_attr_at(w->t, s, i, &attr); i++) {
		unsigned key = (unsigned)strlen(attr.key) + 1;
		text_pad(w->out, indent);
		buf_printf(w->out, "%s=", attr.key);
		if (attr.type == TRACE_ATTR_STR)
			text_safe(w->out, attr.str, attr.str_len,
				  MAX(w->columns, indent + key + 8) - indent - key);
		else if (attr.type == TRACE_ATTR_INT)
			buf_printf(w->out, "%" PRId64, attr.num);
		else
			buf_write_str(w->out, attr.num ? "true" : "false");
		buf_write_u8(w->out, '\n');
	}
	for (uint32_t i = 0; trace_link_at(w->t, s, i, &link); i++) {
		hex_write(id, link.trace_id, sizeof(link.trace_id));
		text_pad(w->out, indent);
		buf_printf(w->out, "%s trace %s\n", link.why, id);
	}
}

static void write_mark(struct waterfall *w, const struct trace_span_view *s, uint32_t i,
		       unsigned indent)
{
	struct trace_mark_view mark;
	char at[TEXT_DURATION_SIZE];
	struct buf text;

	buf_init(&text, MARK_FORMATTED_MAX);
	if (trace_mark_at(w->t, s, i, &mark, &text)) {
		unsigned width = text_duration(at, mark.at_ns) + 3 + (mark.is_error ? 7 : 0);
		text_pad(w->out, indent);
		buf_printf(w->out, "+%s  %s", at, mark.is_error ? "error: " : "");
		text_safe(w->out, text.data != NULL ? (const char *)text.data : "", text.len,
			  MAX(w->columns, indent + width + 8) - indent - width);
		buf_write_u8(w->out, '\n');
	}
	buf_fini(&text);
}

static void write_marks(struct waterfall *w, const struct trace_span_view *s, unsigned indent)
{
	uint32_t hidden = s->mark_count > MARKS_SHOWN_MAX ? s->mark_count - MARKS_SHOWN_MAX : 0;

	for (uint32_t i = 0; i < s->mark_count; i++) {
		if (hidden > 0 && i == MARKS_SHOWN_MAX / 2) {
			text_pad(w->out, indent);
			buf_printf(w->out, "(%" PRIu32 " more marks)\n", hidden);
			i += hidden;
		}
		write_mark(w, s, i, indent);
	}
	if (s->marks_dropped > 0) {
		text_pad(w->out, indent);
		buf_printf(w->out, "(%" PRIu32 " marks dropped after the first %" PRIu32 ")\n",
			   s->marks_dropped, s->marks_before_gap);
	}
}

/* ---- Siblings ---- */

static void write_gap(struct waterfall *w, uint32_t depth, uint64_t from_ns, uint64_t until_ns)
{
	char text[TEXT_DURATION_SIZE];

	if (until_ns <= from_ns || (until_ns - from_ns) * 100 < w->root.duration_ns * GAP_PERCENT)
		return;
	text_pad(w->out, 2 * MIN(depth, (uint32_t)INDENT_MAX));
	text_duration(text, from_ns - w->root.start_ns);
	buf_printf(w->out, "· from +%s nothing nested for ", text);
	text_duration(text, until_ns - from_ns);
	buf_printf(w->out, "%s\n", text);
}

/* Spans deeper than this one have been left: what was not covered at their ends. */
static void leave_levels(struct waterfall *w, uint32_t depth)
{
	for (uint32_t d = w->depth + 1; d-- > depth;) {
		struct siblings *g = &w->level[d];
		if (g->seen > 0)
			write_gap(w, d + 1, g->covered_ns, g->end_ns);
		g->seen = 0;
	}
}

static void write_group(struct waterfall *w, const struct sibling_group *g, uint32_t depth)
{
	char p50[TEXT_DURATION_SIZE], max[TEXT_DURATION_SIZE];
	unsigned indent = 2 * MIN(depth, (uint32_t)INDENT_MAX);
	CLEANUP(buf_fini) struct buf row = { 0 };

	buf_init(&row, 512);
	text_duration(p50, g->p50_ns);
	text_duration(max, g->max_ns);
	buf_printf(&row, "%s x%" PRIu32, g->category, g->count);
	if (g->failed > 0)
		buf_printf(&row, ", %" PRIu32 " failed", g->failed);
	if (g->open > 0)
		buf_printf(&row, ", %" PRIu32 " open", g->open);
	buf_printf(&row, ", p50 %s, max %s", p50, max);
	if (g->count > GROUP_SHOWN_MAX)
		buf_printf(&row, " (%" PRIu32 " more %s)", g->count - GROUP_SHOWN_MAX,
			   plural(g->count - GROUP_SHOWN_MAX, "span", "spans"));
	text_pad(w->out, indent);
	text_safe(w->out, row.data != NULL ? (const char *)row.data : "", row.len,
		  w->columns - indent);
	buf_write_u8(w->out, '\n');
}

/* Whether a nested span is drawn; what stands before it is written. */
static bool enter_level(struct waterfall *w, const struct trace_span_view *s)
{
	struct siblings *g = &w->level[s->depth - 1];
	struct sibling_group *group = siblings_group(g, s);

	write_gap(w, s->depth, g->covered_ns, MIN(s->start_ns, g->end_ns));
	g->covered_ns = MAX(g->covered_ns, s->start_ns + s->duration_ns);
	g->seen++;
	if (group == NULL)
		return true;
	if (!group->told)
		write_group(w, group, s->depth);
	group->told = true;
	if (s->duration_ns < group->shown_from_ns || group->shown == GROUP_SHOWN_MAX)
		return false;
	group->shown++;
	return true;
}

static void write_span(struct waterfall *w, const struct trace_span_view *s)
{
	unsigned indent = 2 * MIN(s->depth, (uint32_t)INDENT_MAX);

	if (w->skip_depth != 0 && s->depth > w->skip_depth)
		return;
	w->skip_depth = 0;
	leave_levels(w, s->depth);
	w->depth = s->depth;
	if (w->shown == SPANS_SHOWN_MAX) {
		w->hidden++;
		return;
	}
	if (s->depth > 0 && !enter_level(w, s)) {
		w->skip_depth = s->depth;
		return;
	}
	siblings_init(&w->level[s->depth], w->t, s, w->root.start_ns + w->root.duration_ns);
	w->shown++;
	write_row(w, s, indent);
	write_stages(w, s, indent + 2);
	write_attrs(w, s, indent + 2);
	write_marks(w, s, indent + 2);
	if (s->children_dropped > 0) {
		text_pad(w->out, indent + 2);
		buf_printf(w->out, "(%" PRIu32 " nested %s not recorded)\n", s->children_dropped,
			   plural(s->children_dropped, "span", "spans"));
	}
}

static void waterfall_begin(struct waterfall *w, struct trace *t, const struct trace_query *q,
			    const struct trace_span_view *root, struct buf *out)
{
	*w = (struct waterfall){ .t = t, .out = out, .root = *root };
	w->columns = text_columns(q);
	unsigned rest = w->columns - OUTCOME_COLUMNS - TIME_COLUMNS - PERCENT_COLUMNS - 3;
	w->label_columns = rest * 3 / 5;
	w->bar_columns = rest - w->label_columns;
	write_sentence(w);
	write_head(w);
}

static void waterfall_end(struct waterfall *w)
{
	leave_levels(w, 0);
	if (w->hidden > 0)
		buf_printf(w->out, "(%" PRIu32 " more %s)\n", w->hidden,
			   plural(w->hidden, "span", "spans"));
}

/* ---- In pieces ---- */

static void text_root_begin(struct trace_writer *w, struct buf *out)
{
	if (w->waterfall == NULL)
		w->waterfall = mem_alloc(sizeof(*w->waterfall));
	if (w->waterfall == NULL) {
		w->err = UV_ENOMEM;
		return;
	}
	if (w->written > 0)
		buf_write_u8(out, '\n');
	waterfall_begin(w->waterfall, w->t, &w->find.q, &w->root_view, out);
}

static void text_span(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	if (w->err != 0)
		return;
	w->waterfall->out = out;
	write_span(w->waterfall, s);
}

static void text_root_end(struct trace_writer *w, struct buf *out)
{
	w->waterfall->out = out;
	if (w->cut)
		buf_write_str(out, "(evicted while it was being written)\n");
	else
		waterfall_end(w->waterfall);
}

static void text_nothing(struct trace_writer *w, struct buf *out)
{
}

static void text_tail(struct trace_writer *w, struct buf *out)
{
	if (w->written == 0)
		buf_write_str(out, "no such trace is kept\n");
}

const struct format format_text = { .analyze = true,
				    .head = text_nothing,
				    .root_begin = text_root_begin,
				    .span = text_span,
				    .root_end = text_root_end,
				    .tail = text_tail };
