#include <inttypes.h>
#include <string.h>

#include "debug_http/traces.h"

/* One trace: a sentence that names the eater, the root's stages, then every span as a row on one
 * time axis.
 *
 * The axis reaches from the root's start to the end of whatever ended last, since spans may outlive
 * the root. Its lines are drawn once (#grid) and used in every row. A trace too large for one slice
 * goes on behind the span drawn last. */

enum {
	TICKS_ON_AXIS_MAX = 6,
	TITLE_IN_SENTENCE = 40, /* bytes */
	TITLE_IN_ROW = 24 /* a longer one may be cut off by the row's width, so that the details
			     repeat it */
};

/* ---- Measuring ---- */

static bool measure_span(void *data, const struct trace_span_view *s)
{
	struct traces_page *p = data;
	uint64_t end_ns = s->start_ns + s->duration_ns;

	p->spans++;
	p->failed += s->finished && s->status != 0;
	p->open += !s->finished;
	if (end_ns > p->axis.start_ns + p->axis.length_ns)
		p->axis.length_ns = end_ns - p->axis.start_ns;
	return true;
}

/* The child that was at work longest within the root's longest stage. */
struct culprit {
	uint64_t start_ns, end_ns, overlap_ns;
	struct trace_span_view child;
};

static bool measure_overlap(void *data, const struct trace_span_view *s)
{
	struct culprit *c = data;
	uint64_t start = MAX(s->start_ns, c->start_ns),
		 end = MIN(s->start_ns + s->duration_ns, c->end_ns);

	if (s->depth == 1 && end > start && end - start > c->overlap_ns) {
		c->overlap_ns = end - start;
		c->child = *s;
	}
	return true;
}

static void longest_stretch(struct traces_page *p, struct culprit *ret)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	struct trace_stage_view stage;
	uint64_t longest = 0;

	ret->start_ns = p->root.start_ns;
	ret->end_ns = p->root.start_ns + p->root.duration_ns;
	if (stage_sums(p->trace, &p->root, sums) == 0)
		return;
	for (uint32_t i = 0; trace_stage_at(p->trace, &p->root, i, &stage); i++) {
		if (stage.name == sums[0].name && stage.duration_ns > longest) {
			longest = stage.duration_ns;
			ret->start_ns = p->root.start_ns + stage.start_ns;
			ret->end_ns = ret->start_ns + longest;
		}
	}
}

/* ---- The sentence ---- */

static void write_span_name(struct buf *out, const struct trace_span_view *s, size_t most)
{
	size_t len = MIN(s->title_len, most);

	while (len < s->title_len && len > 0 && ((uint8_t)s->title[len] & 0xc0) == 0x80)
		len--;
	buf_write_str(out, "<b>");
	page_write_text(out, s->category);
	buf_write_str(out, "</b> ");
	page_write_foreign(out, s->title, len);
	if (len < s->title_len)
		buf_write_str(out, "…");
}

static void write_span_href(struct buf *out, const struct trace_span_view *s)
{
	buf_write_str(out, "#s");
	page_write_hex(out, s->span_id, sizeof(s->span_id));
}

static void write_culprit(struct traces_page *p)
{
	struct buf *out = &p->out;
	struct culprit c = { 0 };

	longest_stretch(p, &c);
	trace_walk(p->trace, p->root.slot, measure_overlap, &c);
	if (c.overlap_ns == 0)
		return;
	buf_write_str(out, "<br/>Longest in it: <a href=\"");
	write_span_href(out, &c.child);
	buf_write_str(out, "\">");
	write_span_name(out, &c.child, TITLE_IN_SENTENCE);
	buf_write_str(out, "</a>, ");
	page_write_duration(out, c.child.duration_ns);
	if (c.child.stage_count > 0) {
		buf_write_str(out, ", ");
		(void)stage_write_longest(out, p->trace, p->palette, &c.child);
	}
	buf_write_str(out, ".");
}

static void write_verdict(struct traces_page *p)
{
	const struct trace_span_view *s = &p->root;
	struct buf *out = &p->out;

	buf_write_str(out, "<p class=\"verdict\">");
	buf_write_str(out, !s->finished	  ? "Running for <b>" :
			   s->status == 0 ? "Took <b>" :
					    "Failed after <b>");
	page_write_duration(out, s->duration_ns);
	buf_write_str(out, "</b>");
	if (s->stage_count > 0) {
		buf_write_str(out, ": <b>");
		(void)stage_write_longest(out, p->trace, p->palette, s);
		buf_write_str(out, "</b>");
	}
	stage_write_now(out, p->trace, p->palette, s);
	buf_write_str(out, ".");
	write_culprit(p);
	buf_write_str(out, "</p>\n");
}

/* ---- What is known of a span ---- */

static void write_attrs(struct traces_page *p, const struct trace_span_view *s)
{
	struct trace_attr_view attr;
	struct buf *out = &p->out;

	for (uint32_t i = 0; trace_attr_at(p->trace, s, i, &attr); i++) {
		buf_write_str(out, "<div><dt>");
		page_write_text(out, attr.key);
		buf_write_str(out, "</dt><dd>");
		if (attr.type == TRACE_ATTR_STR)
			page_write_foreign(out, attr.str, attr.str_len);
		else if (attr.type == TRACE_ATTR_INT)
			buf_printf(out, "%" PRId64, attr.num);
		else
			buf_write_str(out, attr.num ? "true" : "false");
		buf_write_str(out, "</dd></div>\n");
	}
	if (s->items > 0 || s->bytes > 0) {
		buf_printf(out, "<div><dt>moved</dt><dd>%" PRIu64 " item%s, ", s->items,
			   s->items == 1 ? "" : "s");
		page_write_bytes(out, s->bytes);
		if (s->bytes > 0 && s->duration_ns > NS_PER_MS) {
			buf_write_str(out, ", ");
			page_write_bytes(
				out, (uint64_t)((double)s->bytes * 1e9 / (double)s->duration_ns));
			buf_write_str(out, "/s");
		}
		buf_write_str(out, "</dd></div>\n");
	}
}

static void write_links(struct traces_page *p, const struct trace_span_view *s)
{
	struct trace_link_view link;
	struct buf *out = &p->out;

	for (uint32_t i = 0; trace_link_at(p->trace, s, i, &link); i++) {
		buf_write_str(out, "<div><dt>");
		page_write_text(out, link.why);
		buf_write_str(out, "</dt><dd><a href=\"/debug/traces?id=");
		page_write_hex(out, link.trace_id, sizeof(link.trace_id));
		buf_write_str(out, "#s");
		page_write_hex(out, link.span_id, sizeof(link.span_id));
		buf_write_str(out, "\">trace ");
		page_write_hex(out, link.trace_id, 4);
		buf_write_str(out, "…</a></dd></div>\n");
	}
	if (!s->has_parent)
		return;
	buf_write_str(out, s->depth == 0 ? "<div><dt>asked for by</dt><dd><a href=\"#s" :
					   "<div><dt>part of</dt><dd><a href=\"#s");
	page_write_hex(out, s->parent_id, sizeof(s->parent_id));
	buf_write_str(out, "\">span ");
	page_write_hex(out, s->parent_id, sizeof(s->parent_id));
	buf_write_str(out, s->depth == 0 ? "</a>, here or in another daemon</dd></div>\n" :
					   "</a></dd></div>\n");
}

static void write_mark(struct traces_page *p, const struct trace_span_view *s, uint32_t i,
		       struct buf *text)
{
	struct trace_mark_view mark;
	struct buf *out = &p->out;

	buf_clear(text);
	if (!trace_mark_at(p->trace, s, i, &mark, text))
		return;
	buf_write_str(out, mark.is_error ? "<li class=\"bad\"><span class=\"at\">+" :
					   "<li><span class=\"at\">+");
	page_write_duration(out, mark.at_ns);
	buf_write_str(out, mark.is_error ? "</span> <span><b>error</b> " : "</span> <span>");
	if (text->len > 0)
		page_write_foreign(out, (const char *)text->data, text->len);
	buf_write_str(out, "</span></li>\n");
}

static void write_marks(struct traces_page *p, const struct trace_span_view *s)
{
	uint32_t hidden = s->mark_count > TRACES_MARKS_MAX ? s->mark_count - TRACES_MARKS_MAX : 0;
	struct buf *out = &p->out;
	struct buf text;

	if (s->mark_count == 0)
		return;
	buf_init(&text, TRACES_ITEM_MAX);
	buf_write_str(out, "<ol class=\"marks\">\n");
	for (uint32_t i = 0; i < s->mark_count; i++) {
		if (hidden > 0 && i == TRACES_MARKS_MAX / 2) {
			buf_printf(out,
				   "<li class=\"gap\"><span class=\"at\"></span> %" PRIu32
				   " marks are not listed here; the JSON has them</li>\n",
				   hidden);
			i += hidden;
		}
		write_mark(p, s, i, &text);
		if (s->marks_dropped > 0 && i + 1 == s->marks_before_gap)
			buf_printf(out,
				   "<li class=\"gap\"><span class=\"at\"></span> %" PRIu32
				   " marks came here and were not kept</li>\n",
				   s->marks_dropped);
	}
	buf_write_str(out, "</ol>\n");
	buf_fini(&text);
}

static void write_stages(struct traces_page *p, const struct trace_span_view *s)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	size_t count = stage_sums(p->trace, s, sums);
	struct buf *out = &p->out;

	if (count == 0)
		return;
	buf_write_str(out, "<ul class=\"stages\">\n");
	for (size_t i = 0; i < count; i++) {
		buf_write_str(out, "<li>");
		stage_write_name(out, p->palette, sums[i].name);
		buf_write_str(out, " <b>");
		page_write_duration(out, sums[i].ns);
		buf_write_str(out, "</b> ");
		axis_write_share(out, sums[i].ns, s->duration_ns);
		if (sums[i].count > 1)
			buf_printf(out, ", %" PRIu32 " times", sums[i].count);
		buf_write_str(out, "</li>\n");
	}
	buf_write_str(out, "</ul>\n");
}

static void write_facts(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<dl class=\"facts\">\n");
	if (s->depth > 0 && s->title_len > TITLE_IN_ROW) {
		buf_write_str(out, "<div><dt>title</dt><dd>");
		page_write_foreign(out, s->title, s->title_len);
		buf_write_str(out, "</dd></div>\n");
	}
	buf_write_str(out, "<div><dt>started</dt><dd>");
	page_write_utc(out, s->start_wall_ns);
	if (s->depth > 0) {
		buf_write_str(out, ", at +");
		page_write_duration(out, s->start_ns - MIN(s->start_ns, p->axis.start_ns));
	}
	buf_write_str(out, "</dd></div>\n");
	write_attrs(p, s);
	write_links(p, s);
	if (s->children_dropped > 0)
		buf_printf(out,
			   "<div><dt>not recorded</dt><dd>%" PRIu32 " child spans</dd></div>\n",
			   s->children_dropped);
	if (s->depth == 0)
		buf_write_str(out, "<div><dt>trace</dt><dd><code>");
	else
		buf_write_str(out, "<div><dt>span</dt><dd><code>");
	page_write_hex(out, s->depth == 0 ? s->trace_id : s->span_id, s->depth == 0 ? 16 : 8);
	buf_write_str(out, "</code></dd></div>\n</dl>\n");
}

/* ---- The axis ---- */

/* The smallest round step that needs at most TICKS_ON_AXIS_MAX lines. */
static uint64_t axis_step(uint64_t length_ns)
{
	static const uint64_t minutes[] = { 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600 };

	if (length_ns > 60 * NS_PER_SEC)
		for (size_t i = 0; i < ARRAY_SIZE(minutes); i++)
			if (length_ns / (minutes[i] * NS_PER_SEC) < TICKS_ON_AXIS_MAX)
				return minutes[i] * NS_PER_SEC;
	for (uint64_t ten = 1; ten < UINT64_MAX / 100; ten *= 10)
		for (uint64_t k = 1; k <= 5; k += k == 1 ? 1 : 3)
			if (length_ns / (ten * k) < TICKS_ON_AXIS_MAX)
				return ten * k;
	return length_ns;
}

static void write_axis(struct traces_page *p)
{
	uint64_t step = MAX(axis_step(p->axis.length_ns), UINT64_C(1));
	struct buf *out = &p->out;

	buf_printf(out,
		   "<div class=\"row axis\" aria-hidden=\"true\"><span "
		   "class=\"name\">span</span><span>outcome</span>"
		   "<span class=\"n\">took</span><svg class=\"lane\"><defs><g id=\"grid%zu\">",
		   p->next);
	for (uint64_t at = 0; at <= p->axis.length_ns; at += step) {
		buf_write_str(out, "<line class=\"grid\" y1=\"0\" y2=\"100%\"");
		axis_write_percent(out, "x1", &p->axis, at);
		axis_write_percent(out, "x2", &p->axis, at);
		buf_write_str(out, "/>");
	}
	buf_write_str(out, "</g></defs>");
	for (uint64_t at = 0; at <= p->axis.length_ns; at += step) {
		bool at_edge = at > 0 && (double)at > 0.94 * (double)p->axis.length_ns;

		buf_write_str(out, at == 0 ? "<text y=\"11\"" :
				   at_edge ? "<text class=\"last\" y=\"11\"" :
					     "<text class=\"mid\" y=\"11\"");
		axis_write_percent(out, "x", &p->axis, at);
		buf_write_u8(out, '>');
		if (at == 0)
			buf_write_u8(out, '0');
		else
			page_write_duration(out, at);
		buf_write_str(out, "</text>");
	}
	buf_write_str(out, "</svg></div>\n");
}

/* ---- Rows ---- */

static void write_ticks(struct traces_page *p, const struct trace_span_view *s)
{
	uint64_t apart_ns = p->axis.length_ns / 400, last_ns = 0;
	struct trace_mark_view mark;
	unsigned drawn = 0;

	for (uint32_t i = 0; i < s->mark_count && drawn < TRACES_TICKS_MAX; i++) {
		uint64_t at_ns;

		if (!trace_mark_at(p->trace, s, i, &mark, NULL))
			return;
		at_ns = s->start_ns - p->axis.start_ns + mark.at_ns;
		if (drawn > 0 && at_ns - last_ns < apart_ns && !mark.is_error)
			continue;
		buf_write_str(&p->out, mark.is_error ?
					       "<line class=\"tick bad\" y1=\"0\" y2=\"100%\"" :
					       "<line class=\"tick\" y1=\"55%\" y2=\"100%\"");
		axis_write_percent(&p->out, "x1", &p->axis, at_ns);
		axis_write_percent(&p->out, "x2", &p->axis, at_ns);
		buf_write_str(&p->out, "/>");
		last_ns = at_ns;
		drawn++;
	}
}

static void write_lane(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	buf_printf(out,
		   "<svg class=\"lane\" aria-hidden=\"true\"><use href=\"#grid%zu\"/><rect "
		   "class=\"base\"",
		   p->next);
	axis_write_percent(out, "x", &p->axis, s->start_ns - p->axis.start_ns);
	axis_write_percent(out, "width", &p->axis, s->duration_ns);
	buf_write_str(out, "/>");
	stage_write_bar(out, p->trace, p->palette, s, &p->axis);
	write_ticks(p, s);
	buf_write_str(out, "</svg>");
}

static void add_sums(struct traces_page *p, const struct trace_span_view *s)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	size_t count = stage_sums(p->trace, s, sums);

	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (k < p->sum_count &&
		       (p->sums[k].name != sums[i].name || p->sums[k].category != sums[i].category))
			k++;
		if (k == CATEGORY_SUMS_MAX)
			return;
		if (k == p->sum_count)
			p->sums[p->sum_count++] =
				(struct stage_sum){ .category = s->category, .name = sums[i].name };
		p->sums[k].ns += sums[i].ns;
		p->sums[k].max_ns = MAX(p->sums[k].max_ns, sums[i].ns);
		p->sums[k].count++;
	}
}

static void write_span(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<li id=\"s");
	page_write_hex(out, s->span_id, sizeof(s->span_id));
	buf_write_str(out, "\"><details><summary class=\"row\">");
	buf_printf(out, "<span class=\"name d%u\">", MIN(s->depth, (uint32_t)TRACE_DEPTH_MAX));
	write_span_name(out, s, TRACE_TITLE_MAX);
	buf_write_str(out, "</span>");
	span_write_outcome(out, s);
	buf_write_str(out, "<span class=\"n\">");
	page_write_duration(out, s->duration_ns);
	buf_write_str(out, "</span>");
	write_lane(p, s);
	buf_write_str(out, "</summary>\n<div class=\"body\">\n");
	write_stages(p, s);
	write_facts(p, s);
	if (s->depth > 0)
		write_marks(p, s);
	buf_write_str(out, "</div></details></li>\n");
}

/* ---- A root ---- */

static void begin_root(struct traces_page *p)
{
	const struct trace_span_view *s = &p->root;
	struct buf *out = &p->out;

	p->axis = (struct axis){ s->start_ns, s->duration_ns };
	p->spans = p->failed = p->open = p->drawn = 0;
	p->sum_count = 0;
	trace_walk(p->trace, s->slot, measure_span, p);
	buf_write_str(out, "<article>\n<h1>");
	write_span_name(out, s, TRACE_TITLE_MAX);
	buf_write_u8(out, ' ');
	span_write_outcome(out, s);
	buf_write_str(out, "</h1>\n");
	write_verdict(p);
	buf_write_str(out, "<svg class=\"stack big\" aria-hidden=\"true\">");
	stage_write_bar(out, p->trace, p->palette, s,
			&(struct axis){ s->start_ns, s->duration_ns });
	buf_write_str(out, "</svg>\n");
	write_stages(p, s);
	write_facts(p, s);
	buf_printf(out,
		   "<h2>%" PRIu32 " span%s, %" PRIu32 " failed, %" PRIu32
		   " open</h2>\n<div class=\"waterfall\">\n",
		   p->spans, p->spans == 1 ? "" : "s", p->failed, p->open);
	write_axis(p);
	buf_write_str(
		out,
		"<ol class=\"spans\" aria-label=\"Spans, nested; each opens to its details\">\n");
}

static void write_sums(struct traces_page *p)
{
	struct buf *out = &p->out;
	struct axis axis = { 0, 0 };

	stage_sort(p->sums, p->sum_count);
	if (p->sum_count == 0 || p->drawn < 2)
		return;
	axis.length_ns = p->sums[0].ns;
	buf_write_str(out,
		      "<h2>Stages of all spans, added up</h2>\n<div class=\"scroll\" "
		      "role=\"region\" tabindex=\"0\" "
		      "aria-label=\"Stages of all spans\">\n<table class=\"sums\">\n<thead><tr>"
		      "<th scope=\"col\">category</th><th scope=\"col\">stage</th><th "
		      "scope=\"col\" class=\"n\">spans</th>"
		      "<th scope=\"col\" class=\"n\">together</th><th scope=\"col\" "
		      "class=\"n\">longest</th>"
		      "<th scope=\"col\"></th></tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < p->sum_count; i++) {
		const struct stage_sum *sum = &p->sums[i];

		buf_write_str(out, "<tr><td>");
		page_write_text(out, sum->category);
		buf_write_str(out, "</td><td>");
		stage_write_name(out, p->palette, sum->name);
		buf_printf(out, "</td><td class=\"n\">%" PRIu32 "</td><td class=\"n\">",
			   sum->count);
		page_write_duration(out, sum->ns);
		buf_write_str(out, "</td><td class=\"n\">");
		page_write_duration(out, sum->max_ns);
		buf_printf(out,
			   "</td><td class=\"meter\"><svg class=\"stack\" "
			   "aria-hidden=\"true\"><rect class=\"c%u\"",
			   palette_colour(p->palette, sum->name));
		axis_write_percent(out, "width", &axis, sum->ns);
		buf_write_str(out, "/></svg></td></tr>\n");
	}
	buf_write_str(out, "</tbody>\n</table>\n</div>\n");
}

static void end_root(struct traces_page *p, bool is_there)
{
	struct buf *out = &p->out;

	buf_write_str(out, "</ol>\n</div>\n");
	if (!is_there)
		buf_write_str(out, "<p class=\"error\">The trace was evicted while this page was "
				   "written.</p>\n");
	else if (p->drawn < p->spans)
		buf_printf(out,
			   "<p class=\"hint\">The first %" PRIu32 " of %" PRIu32
			   " spans are drawn; the JSON has all.</p>\n",
			   p->drawn, p->spans);
	if (is_there && p->root.mark_count > 0) {
		buf_write_str(out, "<h2>Marks</h2>\n");
		write_marks(p, &p->root);
	}
	write_sums(p);
	buf_write_str(out, "</article>\n");
	p->root.category = NULL;
}

struct walk {
	struct traces_page *p;
	uint64_t until_ns;
	bool found; /* behind the span drawn last */
	bool drew, stopped;
};

static bool visit_span(void *data, const struct trace_span_view *s)
{
	struct walk *w = data;
	struct traces_page *p = w->p;

	if (!w->found) {
		w->found = memcmp(s->span_id, p->last_id, sizeof(p->last_id)) == 0;
		return true;
	}
	if (p->drawn == TRACES_SPANS_MAX)
		return false;
	w->stopped = w->drew && clock_now_ns(&clock_system) >= w->until_ns;
	if (w->stopped)
		return false;
	write_span(p, s);
	add_sums(p, s);
	memcpy(p->last_id, s->span_id, sizeof(p->last_id));
	p->drawn++;
	w->drew = true;
	return true;
}

bool waterfall_write_some(struct traces_page *p, uint64_t until_ns)
{
	struct walk w = { .p = p, .until_ns = until_ns };
	bool begin = p->root.category == NULL;
	bool is_there = traces_root(p, p->next, &p->root);

	if (begin && !is_there) {
		p->root.category = NULL;
		return true;
	}
	if (begin)
		begin_root(p);
	w.found = p->drawn == 0;
	if (is_there)
		trace_walk(p->trace, p->roots[p->next], visit_span, &w);
	if (w.stopped)
		return false;
	end_root(p, is_there);
	return true;
}

void waterfall_write_head(struct traces_page *p)
{
	struct buf *out = &p->out;

	http_page_begin(p->r, out, "trace");
	buf_write_str(out, "<p class=\"trail\"><a href=\"/debug/traces\">All traces</a> · this one "
			   "as <a href=\"/debug/traces?id=");
	page_write_hex(out, p->query.id, sizeof(p->query.id));
	buf_write_str(out, "&amp;text\">text</a> or <a href=\"/debug/traces?id=");
	page_write_hex(out, p->query.id, sizeof(p->query.id));
	buf_write_str(out, "&amp;json\">JSON</a></p>\n");
}

void waterfall_write_tail(struct traces_page *p)
{
	buf_write_str(&p->out, "<p class=\"hint\">A row opens to its stages, marks and attributes. "
			       "Small ticks on a bar are marks; "
			       "tall ones are errors.</p>\n");
}
