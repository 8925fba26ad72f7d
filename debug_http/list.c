#include <inttypes.h>
#include <string.h>

#include "debug_http/traces.h"

/* The index: the slowest in a sentence, what to show, durations over time, what is running, then a
 * row per trace whose bar shows at a glance which stage took the time, figures per category last.
 *
 * Each step looks through the store at most once, so that the loop has its turn between. */

/* ---- What to list ---- */

static void begin_active(struct traces_page *p)
{
	struct trace_query q = p->query;

	q.active = true;
	q.sort = TRACE_SORT_SLOWEST;
	q.limit = TRACES_ACTIVE_MAX;
	q.has_cursor = false;
	trace_find_begin(&p->find, p->trace, &q);
}

/* Those that run stand apart, unless the question is about them or about others. True when they
 * are found. */
static bool find_active(struct traces_page *p)
{
	const struct trace_query *q = &p->query;

	if (q->active || q->finished || q->errored || q->cancelled || q->has_cursor)
		return true;
	if (!p->is_finding)
		begin_active(p);
	p->is_finding = !trace_find_step(&p->find);
	if (p->is_finding)
		return false;
	p->active_count = traces_found(p, p->roots, TRACES_ACTIVE_MAX);
	p->active_matched = p->find.matched;
	p->count = p->active_count;
	return true;
}

static void begin_find(struct traces_page *p)
{
	struct trace_query q = p->query;

	if (p->is_recent)
		q.since_ago_ns = TRACES_RECENT_NS;
	q.finished = !q.active;
	trace_find_begin(&p->find, p->trace, &q);
}

static bool find(struct traces_page *p)
{
	if (!p->is_finding)
		begin_find(p);
	p->is_finding = !trace_find_step(&p->find);
	if (p->is_finding)
		return false;
	if (p->is_recent && p->find.matched == 0 && p->find.total > 0) {
		p->is_recent = false; /* nothing lately: then of all */
		return false;
	}
	p->count = p->active_count +
		   traces_found(p, p->roots + p->active_count, TRACES_LIST_MAX - p->active_count);
	p->matched = p->find.matched;
	p->total = p->find.total;
	p->has_more = trace_find_cursor(&p->find, p->cursor);
	return true;
}

/* ---- Before the rows ---- */

static void write_slowest(struct traces_page *p)
{
	struct trace_span_view s;
	struct buf *out = &p->out;

	if (p->view != VIEW_SLOWEST || p->count == p->active_count ||
	    !traces_root(p, p->active_count, &s))
		return;
	buf_write_str(out, p->is_recent ? "<p class=\"verdict\">Slowest of the last 15 minutes: " :
					  "<p class=\"verdict\">Slowest: ");
	buf_write_str(out, "<a href=\"/debug/traces?id=");
	page_write_hex(out, s.trace_id, sizeof(s.trace_id));
	buf_write_str(out, "\">");
	span_write_name(out, &s, TITLE_IN_SENTENCE - 8);
	buf_write_str(out, s.status == 0 ? "</a> took <b>" : "</a> failed after <b>");
	page_write_duration(out, s.duration_ns);
	buf_write_str(out, "</b>");
	if (s.stage_count > 0) {
		buf_write_str(out, ", <b>");
		(void)stage_write_longest(out, p->trace, p->palette, &s);
		buf_write_str(out, "</b>");
		verdict_write_inner(p, &s);
	}
	buf_write_str(out, ".</p>\n");
}

static void write_nothing(struct traces_page *p)
{
	buf_write_str(&p->out, p->total == 0 ?
				       "<p class=\"empty\">Nothing has been recorded yet.</p>\n" :
				       "<p class=\"empty\">No trace matches. <a "
				       "href=\"/debug/traces?sort=newest\">Show all</a></p>\n");
}

static void begin_table(struct traces_page *p, bool is_active)
{
	struct buf *out = &p->out;
	size_t count = is_active ? p->active_count : p->count - p->active_count;

	if (is_active)
		buf_printf(out, "<h2 id=\"active\">Running now: %" PRIu64 "</h2>\n",
			   p->active_matched);
	else
		buf_printf(out, "<h2 id=\"traces\">%zu of %" PRIu64 " matching traces, %s</h2>\n",
			   count, p->matched, filter_title(p));
	buf_write_str(
		out, "<table class=\"traces\">\n<thead><tr><th scope=\"col\">trace</th><th "
		     "scope=\"col\">outcome</th>"
		     "<th scope=\"col\" class=\"n\">age</th><th scope=\"col\" class=\"n\">took</th>"
		     "<th scope=\"col\">where the time went</th></tr></thead>\n<tbody>\n");
}

/* ---- Rows ---- */

static void write_title(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<td class=\"what\"><a href=\"/debug/traces?id=");
	page_write_hex(out, s->trace_id, sizeof(s->trace_id));
	buf_write_str(out, "\"><b>");
	page_write_text(out, s->category);
	buf_write_str(out, s->pinned ? " <i class=\"kept\">kept</i></b> <span>" : "</b> <span>");
	page_write_foreign(out, s->title, s->title_len);
	buf_write_str(out, "</span></a></td><td>");
	span_write_outcome(out, s);
	buf_write_str(out, "</td>");
}

/* The largest stage in words; before it, of one that runs, the present one. */
static void write_most(struct traces_page *p, const struct trace_span_view *s)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	struct trace_stage_view now;
	struct buf *out = &p->out;

	if (stage_write_now(out, p->trace, p->palette, s)) {
		(void)trace_stage_at(p->trace, s, s->stage_count - 1, &now);
		if (stage_sums(p->trace, s, sums) > 0 && sums[0].name == now.name) {
			buf_write_str(out, ", ");
			axis_write_share(out, sums[0].ns, s->duration_ns);
			buf_write_str(out, " of the time");
			verdict_write_inner(p, s);
			return;
		}
		buf_write_str(out, ", ");
	}
	if (stage_write_longest(out, p->trace, p->palette, s))
		verdict_write_inner(p, s);
}

static void write_where(struct traces_page *p, const struct trace_span_view *s)
{
	struct axis axis = { s->start_ns, s->duration_ns };
	struct buf *out = &p->out;

	buf_write_str(out, "<td class=\"where\"><svg class=\"stack\" aria-hidden=\"true\">");
	stage_write_bar(out, p->trace, p->palette, s, &axis);
	buf_write_str(out, "</svg><span class=\"most\">");
	write_most(p, s);
	buf_write_str(out, "</span></td>");
}

static void write_row(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	buf_write_str(out, s->finished ? "<tr>" : "<tr class=\"active\">");
	write_title(p, s);
	buf_write_str(out, "<td class=\"n age\">");
	page_write_duration(out, p->now_ns - MIN(p->now_ns, s->start_ns));
	buf_write_str(out, "</td><td class=\"n took\">");
	page_write_duration(out, s->duration_ns);
	buf_write_str(out, "</td>");
	write_where(p, s);
	buf_write_str(out, "</tr>\n");
}

static bool write_next(struct traces_page *p)
{
	struct trace_span_view s;

	if (p->count == 0)
		write_nothing(p);
	if (p->next == p->count)
		return true;
	if (p->next == 0 || p->next == p->active_count)
		begin_table(p, p->next < p->active_count);
	if (traces_root(p, p->next, &s))
		write_row(p, &s);
	else
		p->lost++;
	p->next++;
	if (p->next == p->active_count || p->next == p->count)
		buf_write_str(&p->out, "</tbody>\n</table>\n");
	if (p->next == p->active_count && p->active_matched > p->active_count)
		buf_printf(&p->out,
			   "<p class=\"hint\"><a href=\"/debug/traces?active=1&amp;n=250\">%" PRIu64
			   " more are running</a></p>\n",
			   p->active_matched - p->active_count);
	return p->next == p->count;
}

/* ---- After the rows ---- */

static void write_legend(struct traces_page *p)
{
	struct buf *out = &p->out;

	if (p->count == 0)
		return;
	if (p->lost > 0)
		buf_printf(out,
			   "<p class=\"hint\">%zu more were evicted while this page was "
			   "written.</p>\n",
			   p->lost);
	if (p->has_more) {
		buf_write_str(out, "<p>");
		filter_write_next(p);
		buf_write_str(out, "</p>\n");
	}
	buf_write_str(out, "<p class=\"legend\" aria-label=\"Colours of the stages\">");
	for (unsigned i = 0; i < p->palette->count; i++) {
		buf_write_str(out, "<span>");
		stage_write_name(out, p->palette, p->palette->names[i]);
		buf_write_str(out, "</span> ");
	}
	buf_write_str(out, "</p>\n");
}

static void write_counts(struct traces_page *p)
{
	struct trace_counts c;
	struct buf *out = &p->out;

	trace_counts(p->trace, &c);
	buf_printf(out,
		   "<p class=\"hint\">%" PRIu64 " %s recorded since start · %" PRIu64
		   " active · %" PRIu64 " kept · %" PRIu64 " evicted · ",
		   c.created, plural(c.created, "trace", "traces"), c.active_roots, c.kept_roots,
		   c.evicted);
	page_write_bytes(out, c.used_bytes);
	buf_write_str(out, " of ");
	page_write_bytes(out, c.budget_bytes);
	if (c.dropped_spans + c.dropped_marks + c.dropped_parts > 0)
		buf_printf(out,
			   " · <b>not recorded: %" PRIu64 " %s, %" PRIu64 " %s, %" PRIu64 " %s</b>",
			   c.dropped_spans, plural(c.dropped_spans, "span", "spans"),
			   c.dropped_marks, plural(c.dropped_marks, "mark", "marks"),
			   c.dropped_parts, plural(c.dropped_parts, "detail", "details"));
	buf_write_str(out, "</p>\n");
}

static void write_head(struct traces_page *p)
{
	http_page_begin(p->r, &p->out, "/debug/traces");
	buf_write_str(&p->out, "<h1>Traces</h1>\n");
	filter_read(p);
}

static bool write_some(struct traces_page *p)
{
	p->pause = p->step != LIST_ROWS;
	switch (p->step) {
	case LIST_FIND_ACTIVE:
		if (!find_active(p))
			return false;
		break;
	case LIST_FIND:
		if (!find(p))
			return false;
		write_slowest(p);
		break;
	case LIST_FORM:
		p->stats_count = trace_stats_all(p->trace, p->stats, ARRAY_SIZE(p->stats));
		filter_write(p);
		break;
	case LIST_SCATTER:
		if (!scatter_write(p))
			return false;
		break;
	case LIST_ROWS:
		if (!write_next(p))
			return false;
		write_legend(p);
		break;
	case LIST_CATEGORIES:
		categories_write(p);
		write_counts(p);
		return true;
	}
	p->step++;
	return false;
}

static void write_tail(struct traces_page *p)
{
}

const struct page_kind page_list = { write_head, write_some, write_tail };
