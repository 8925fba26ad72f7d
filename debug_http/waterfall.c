#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "debug_http/traces.h"

/* One trace: a sentence that names the eater, the root's stages, then every span as a row on one
 * time axis.
 *
 * The axis' lines and the pattern of gaps are defined once per trace (#grid0, #hatch0) and used in
 * every row. A bar is solid where the span itself was at work and pale where its children were; the
 * dark line below it is the critical path. */

enum { TICKS_ON_AXIS_MAX = 6, STRIP_HEIGHT = 22 };

/* ---- The axis ---- */

static void write_axis(struct traces_page *p)
{
	const struct axis *axis = &p->story->axis;
	uint64_t step = axis_step(axis->length_ns, TICKS_ON_AXIS_MAX);
	struct buf *out = &p->out;

	buf_printf(out,
		   "<div class=\"row axis\" aria-hidden=\"true\"><span class=\"name\">span</span>"
		   "<span>outcome</span><span class=\"n\">took</span><span class=\"n\">self</span>"
		   "<svg class=\"lane\"><defs><pattern id=\"hatch%zu\" width=\"5\" height=\"5\" "
		   "patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
		   "<line class=\"hatch\" y2=\"5\"/></pattern><g id=\"grid%zu\">",
		   p->next, p->next);
	for (uint64_t at = 0; at <= axis->length_ns; at += step) {
		buf_write_str(out, "<line class=\"grid\" y1=\"0\" y2=\"100%\"");
		axis_write_percent(out, "x1", axis, at);
		axis_write_percent(out, "x2", axis, at);
		buf_write_str(out, "/>");
	}
	buf_write_str(out, "</g></defs>");
	for (uint64_t at = 0; at <= axis->length_ns; at += step) {
		bool at_edge = at > 0 && (double)at > 0.94 * (double)axis->length_ns;

		buf_write_str(out, at == 0 ? "<text y=\"11\"" :
				   at_edge ? "<text class=\"last\" y=\"11\"" :
					     "<text class=\"mid\" y=\"11\"");
		axis_write_percent(out, "x", axis, at);
		buf_write_u8(out, '>');
		if (at == 0)
			buf_write_u8(out, '0');
		else
			page_write_duration(out, at);
		buf_write_str(out, "</text>");
	}
	buf_write_str(out, "</svg></div>\n");
}

/* ---- Bars ---- */

static void write_extent(struct traces_page *p, uint64_t start_ns, uint64_t end_ns)
{
	const struct axis *axis = &p->story->axis;

	axis_write_percent(&p->out, "x", axis, start_ns - axis->start_ns);
	axis_write_percent(&p->out, "width", axis, end_ns - start_ns);
}

static void begin_lane(struct traces_page *p)
{
	buf_printf(&p->out, "<svg class=\"lane\" aria-hidden=\"true\"><use href=\"#grid%zu\"/>",
		   p->next);
}

static void write_ticks(struct traces_page *p, const struct trace_span_view *s)
{
	const struct axis *axis = &p->story->axis;
	uint64_t apart_ns = axis->length_ns / 400, last_ns = 0;
	struct trace_mark_view mark;
	unsigned drawn = 0;

	for (uint32_t i = 0; i < s->mark_count && drawn < TRACES_TICKS_MAX; i++) {
		uint64_t at_ns;

		if (!trace_mark_at(p->trace, s, i, &mark, NULL))
			return;
		at_ns = s->start_ns - axis->start_ns + mark.at_ns;
		if (drawn > 0 && at_ns - last_ns < apart_ns && !mark.is_error)
			continue;
		buf_write_str(&p->out, mark.is_error ?
					       "<line class=\"tick bad\" y1=\"0\" y2=\"100%\"" :
					       "<line class=\"tick\" y1=\"3\" y2=\"9\"");
		axis_write_percent(&p->out, "x1", axis, at_ns);
		axis_write_percent(&p->out, "x2", axis, at_ns);
		buf_write_str(&p->out, "/>");
		last_ns = at_ns;
		drawn++;
	}
}

static void write_covered(struct traces_page *p, uint32_t span)
{
	struct stretch covered[STORY_COVERS_MAX];
	size_t count = story_covered(p->story, span, covered, ARRAY_SIZE(covered), NULL);

	for (size_t i = 0; i < count; i++) {
		buf_write_str(&p->out, "<rect class=\"veil\"");
		write_extent(p, covered[i].start_ns, covered[i].end_ns);
		buf_write_str(&p->out, "/>");
	}
}

static void write_path(struct traces_page *p, const struct story_span *n)
{
	const struct axis *axis = &p->story->axis;

	if (p->story->count < 2)
		return;
	for (uint32_t i = n->path_first; i < n->path_first + n->path_count; i++) {
		const struct stretch *on = &p->story->path[i];

		buf_write_str(&p->out, "<line class=\"path\" y1=\"16\" y2=\"16\"");
		axis_write_percent(&p->out, "x1", axis, on->start_ns - axis->start_ns);
		axis_write_percent(&p->out, "x2", axis, on->end_ns - axis->start_ns);
		buf_write_str(&p->out, "/>");
	}
}

static void write_lane(struct traces_page *p, uint32_t span, const struct trace_span_view *s)
{
	begin_lane(p);
	buf_write_str(&p->out, "<rect class=\"base\"");
	write_extent(p, s->start_ns, s->start_ns + s->duration_ns);
	buf_write_str(&p->out, "/>");
	stage_write_bar(&p->out, p->trace, p->palette, s, &p->story->axis);
	write_covered(p, span);
	write_path(p, &p->story->spans[span]);
	write_ticks(p, s);
	buf_write_str(&p->out, "</svg>");
}

/* ---- Rows ---- */

/* Members of a group stand under it. */
static unsigned indent(const struct traces_page *p, uint32_t depth)
{
	return MIN(depth + p->open_groups, (uint32_t)TRACE_DEPTH_MAX);
}

static void write_cell(struct buf *out, uint64_t ns)
{
	buf_write_str(out, "<span class=\"n\">");
	page_write_duration(out, ns);
	buf_write_str(out, "</span>");
}

static void write_span(struct traces_page *p, const struct story_line *line)
{
	const struct story_span *n = &p->story->spans[line->span];
	struct trace_span_view s;
	struct buf *out = &p->out;

	if (!trace_look(p->trace, n->slot, n->span_id, &s)) {
		p->is_lost = true;
		return;
	}
	buf_write_str(out, "<li id=\"s");
	page_write_hex(out, s.span_id, sizeof(s.span_id));
	buf_write_str(out, "\"><details><summary class=\"row\">");
	buf_printf(out, "<span class=\"name d%u\">", indent(p, n->depth));
	span_write_name(out, &s, TRACE_TITLE_MAX);
	buf_write_str(out, "</span>");
	span_write_outcome(out, &s);
	write_cell(out, s.duration_ns);
	if (n->first_child != STORY_NONE)
		write_cell(out, n->self_ns);
	else
		buf_write_str(out, "<span></span>");
	write_lane(p, line->span, &s);
	buf_write_str(out, "</summary>\n<div class=\"body\">\n");
	details_write_stages(p, &s);
	details_write_facts(p, &s);
	if (s.depth > 0)
		details_write_marks(p, &s);
	buf_write_str(out, "</div></details></li>\n");
	stage_sums_add(p->trace, &s, p->sums, &p->sum_count);
	p->drawn++;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Each member is a thin bar where it was at work, red when it failed: first ones on top. */
static void write_strip(struct traces_page *p, const struct story_line *line)
{
	uint32_t step = (line->count + STORY_STRIP_MAX - 1) / STORY_STRIP_MAX, k = 0;
	double height = (double)STRIP_HEIGHT / line->count;

	begin_lane(p);
	for (uint32_t i = line->span; i != STORY_NONE; i = story_next_member(p->story, i), k++) {
		const struct story_span *n = &p->story->spans[i];

		if (k % step != 0)
			continue;
		buf_printf(&p->out, "<rect class=\"m%s\" y=\"%.1f\" height=\"%.1f\"",
			   n->failed ? " bad" : "", 2 + height * k,
			   MIN(MAX(height * step * 0.8, 1.0), 4.0));
		write_extent(p, n->start_ns, n->end_ns);
		buf_write_str(&p->out, "/>");
	}
	buf_write_str(&p->out, "</svg>");
}

static void write_group(struct traces_page *p, const struct story_line *line)
{
	const struct story_span *first = &p->story->spans[line->span];
	uint64_t durations[TRACES_SPANS_MAX];
	uint32_t count = 0, failed = 0;
	struct buf *out = &p->out;

	for (uint32_t i = line->span; i != STORY_NONE; i = story_next_member(p->story, i)) {
		const struct story_span *n = &p->story->spans[i];

		durations[count++] = n->end_ns - n->start_ns;
		failed += n->failed;
	}
	qsort(durations, count, sizeof(*durations), by_size);
	buf_printf(out,
		   "<li class=\"group\"><details%s><summary class=\"row\"><span class=\"name "
		   "d%u\"><b>",
		   p->story->count <= STORY_OPEN_MAX ? " open=\"open\"" : "",
		   indent(p, first->depth));
	page_write_text(out, first->category);
	buf_printf(out, "</b> ×%" PRIu32 ", p50 ", count);
	page_write_duration(out, durations[(count - 1) / 2]);
	buf_write_str(out, ", max ");
	page_write_duration(out, durations[count - 1]);
	buf_write_str(out, "</span>");
	if (failed > 0)
		buf_printf(out, "<span class=\"out bad\">%" PRIu32 " failed</span>", failed);
	else
		buf_write_str(out, "<span class=\"out ok\">all ok</span>");
	buf_write_str(out, "<span></span><span></span>");
	write_strip(p, line);
	buf_write_str(out, "</summary>\n<ol class=\"spans\">\n");
	p->open_groups++;
}

/* The stage in which the span was longest during the gap; NULL when it has none. */
static const char *stage_of_gap(struct traces_page *p, const struct story_line *line)
{
	const struct story_span *n = &p->story->spans[line->span];
	struct trace_stage_view stage;
	struct trace_span_view s;
	const char *name = NULL;
	uint64_t longest = 0;

	if (!trace_look(p->trace, n->slot, n->span_id, &s))
		return NULL;
	for (uint32_t i = 0; trace_stage_at(p->trace, &s, i, &stage); i++) {
		uint64_t start = MAX(s.start_ns + stage.start_ns, line->start_ns);
		uint64_t end = MIN(s.start_ns + stage.start_ns + stage.duration_ns, line->end_ns);

		if (end > start && end - start > longest) {
			longest = end - start;
			name = stage.name;
		}
	}
	return name;
}

static void write_gap(struct traces_page *p, const struct story_line *line)
{
	const char *stage = stage_of_gap(p, line);
	struct buf *out = &p->out;

	buf_printf(out, "<li class=\"gap\"><div class=\"row\"><span class=\"name d%u\">",
		   indent(p, p->story->spans[line->span].depth + 1));
	buf_write_str(out, stage != NULL ? "nothing recorded inside " : "nothing recorded");
	if (stage != NULL)
		stage_write_name(out, p->palette, stage);
	buf_write_str(out, "</span><span></span>");
	write_cell(out, line->end_ns - line->start_ns);
	buf_write_str(out, "<span></span>");
	begin_lane(p);
	buf_printf(out, "<rect fill=\"url(#hatch%zu)\"", p->next);
	write_extent(p, line->start_ns, line->end_ns);
	buf_write_str(out, "/></svg></div></li>\n");
}

static void end_group(struct traces_page *p)
{
	buf_write_str(&p->out, "</ol></details></li>\n");
	p->open_groups--;
}

static void write_line(struct traces_page *p, const struct story_line *line)
{
	switch (line->kind) {
	case LINE_SPAN: write_span(p, line); break;
	case LINE_GROUP: write_group(p, line); break;
	case LINE_GROUP_END: end_group(p); break;
	case LINE_GAP: write_gap(p, line); break;
	}
}

/* ---- A root ---- */

static void begin_root(struct traces_page *p)
{
	const struct trace_span_view *s = &p->root;
	struct buf *out = &p->out;

	p->is_begun = true;
	p->line = p->drawn = 0;
	p->sum_count = 0;
	p->is_lost = false;
	buf_write_str(out, "<article>\n<h1>");
	span_write_name(out, s, TRACE_TITLE_MAX);
	buf_write_u8(out, ' ');
	span_write_outcome(out, s);
	buf_write_str(out, "</h1>\n");
	if (!p->is_file && p->next == 0)
		pin_write_button(p, s->pinned);
	verdict_write(p);
	buf_write_str(out, "<svg class=\"stack big\" aria-hidden=\"true\">");
	stage_write_bar(out, p->trace, p->palette, s,
			&(struct axis){ s->start_ns, s->duration_ns });
	buf_write_str(out, "</svg>\n");
	details_write_stages(p, s);
	verdict_write_split(p);
	details_write_facts(p, s);
	buf_printf(out,
		   "<h2>%" PRIu32 " span%s, %" PRIu32 " failed, %" PRIu32
		   " open</h2>\n<div class=\"waterfall\">\n",
		   p->story->total, p->story->total == 1 ? "" : "s", p->story->failed,
		   p->story->open);
	write_axis(p);
	buf_write_str(
		out,
		"<ol class=\"spans\" aria-label=\"Spans, nested; each opens to its details\">\n");
}

static void end_root(struct traces_page *p)
{
	struct trace_span_view root;
	struct buf *out = &p->out;

	while (p->open_groups > 0) /* when the trace went away */
		end_group(p);
	buf_write_str(out, "</ol>\n</div>\n");
	if (p->is_lost)
		buf_write_str(out, "<p class=\"error\">The trace was evicted while this page was "
				   "written.</p>\n");
	else if (p->drawn < p->story->total)
		buf_printf(out,
			   "<p class=\"hint\">The first %" PRIu32 " of %" PRIu32
			   " spans are drawn; the JSON has all.</p>\n",
			   p->drawn, p->story->total);
	if (traces_root(p, p->next, &root) && root.mark_count > 0) {
		buf_write_str(out, "<h2>Marks</h2>\n");
		details_write_marks(p, &root);
	}
	sums_write(p);
	buf_write_str(out, "</article>\n");
	p->story = story_free(p->story);
}

static bool write_some(struct traces_page *p)
{
	if (p->next == p->count)
		return true;
	if (p->story == NULL) {
		if (!traces_root(p, p->next, &p->root)) {
			p->next++;
			return false;
		}
		p->pause = true;
		p->is_begun = false;
		p->story = story_new(p->trace, p->root.slot);
		if (p->story == NULL)
			p->next = p->count; /* out of memory: what is there is there */
		return false;
	}
	if (!p->is_begun) {
		p->pause = true;
		begin_root(p);
		return false;
	}
	if (p->line < p->story->line_count && !p->is_lost) {
		write_line(p, &p->story->lines[p->line++]);
		return false;
	}
	end_root(p);
	p->pause = true;
	p->next++;
	return false;
}

static void write_head(struct traces_page *p)
{
	struct buf *out = &p->out;

	if (p->is_file) {
		page_begin_file(p->r, out, "trace");
		return;
	}
	http_page_begin(p->r, out, "trace");
	export_write_links(p);
}

static void write_tail(struct traces_page *p)
{
	buf_write_str(&p->out,
		      "<p class=\"hint\">A row opens to its stages, marks and attributes. A "
		      "bar is solid where the span itself was at work, pale where its "
		      "children were. Small ticks are marks, tall ones errors.</p>\n");
}

const struct page_kind page_waterfall = { write_head, write_some, write_tail };
