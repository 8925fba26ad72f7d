#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "debug_http/traces.h"

/* The list: what there is per category, a form to ask for less, and a row per trace whose bar shows
 * at a glance which stage took the time. */

static void write_counts(struct traces_page *p)
{
	struct trace_counts c;
	struct buf *out = &p->out;

	trace_counts(p->trace, &c);
	buf_printf(out,
		   "<p class=\"quiet\">%" PRIu64 " traces recorded since start · %" PRIu64
		   " active · %" PRIu64 " kept · %" PRIu64 " evicted · ",
		   c.created, c.active_roots, c.kept_roots, c.evicted);
	page_write_bytes(out, c.used_bytes);
	buf_write_str(out, " of ");
	page_write_bytes(out, c.budget_bytes);
	if (c.dropped_spans + c.dropped_marks + c.dropped_parts > 0)
		buf_printf(out,
			   " · <b>not recorded: %" PRIu64 " spans, %" PRIu64 " marks, %" PRIu64
			   " details</b>",
			   c.dropped_spans, c.dropped_marks, c.dropped_parts);
	buf_write_str(out, "</p>\n");
}

/* ---- Categories ---- */

static void write_category_link(struct buf *out, const char *category, const char *more,
				const char *attributes)
{
	buf_write_str(out, "<a href=\"/debug/traces?category=");
	page_write_query(out, category, strlen(category));
	buf_write_str(out, more);
	buf_write_str(out, "\"");
	buf_write_str(out, attributes);
	buf_write_str(out, ">");
}

static void write_count(struct buf *out, const char *category, uint64_t count, const char *more)
{
	buf_write_str(out, "<td class=\"n\">");
	if (count == 0) {
		buf_write_str(out, "<span class=\"none\">0</span></td>");
		return;
	}
	write_category_link(out, category, more, "");
	buf_printf(out, "%" PRIu64 "</a></td>", count);
}

static void write_quantile(struct buf *out, const struct trace_stats *s, uint64_t ns)
{
	char more[64];

	if (s->sample_count == 0) {
		buf_write_str(out, "<td class=\"n none\">–</td>");
		return;
	}
	(void)snprintf(more, sizeof(more), "&amp;min=%" PRIu64 "ns&amp;sort=slowest", ns);
	buf_write_str(out, "<td class=\"n\">");
	write_category_link(out, s->category, more, "");
	page_write_duration(out, ns);
	buf_write_str(out, "</a></td>");
}

static void write_category(struct traces_page *p, const struct trace_stats *s)
{
	bool is_chosen = p->query.category != NULL && strcmp(p->query.category, s->category) == 0;
	struct buf *out = &p->out;

	buf_write_str(out, is_chosen ? "<tr class=\"chosen\"><th scope=\"row\">" :
				       "<tr><th scope=\"row\">");
	write_category_link(out, s->category, "", is_chosen ? " aria-current=\"true\"" : "");
	page_write_text(out, s->category);
	buf_write_str(out, "</a></th>");
	write_count(out, s->category, s->active, "&amp;active=1");
	write_count(out, s->category, s->finished, "&amp;finished=1");
	write_count(out, s->category, s->errored, "&amp;errored=1");
	write_quantile(out, s, s->p10_ns);
	write_quantile(out, s, s->p50_ns);
	write_quantile(out, s, s->p90_ns);
	write_quantile(out, s, s->p99_ns);
	write_quantile(out, s, s->max_ns);
	buf_write_str(out, "<td class=\"n\">");
	if (s->sample_count > 0)
		page_write_duration(out, s->window_ns);
	buf_write_str(out, "</td></tr>\n");
}

static void write_categories(struct traces_page *p, const struct trace_stats *stats, size_t count)
{
	static const char *const heads[] = { "active", "finished", "errored", "p10",   "p50",
					     "p90",    "p99",	   "max",     "window" };
	struct buf *out = &p->out;

	buf_write_str(
		out,
		"<div class=\"scroll\" role=\"region\" aria-label=\"Categories\" tabindex=\"0\">\n"
		"<table class=\"categories\">\n<thead><tr><th scope=\"col\">category</th>");
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		buf_printf(out, "<th scope=\"col\" class=\"n\">%s</th>", heads[i]);
	buf_write_str(out, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < count; i++)
		write_category(p, &stats[i]);
	buf_write_str(out, "</tbody>\n</table>\n</div>\n<p class=\"hint\">Percentiles are exact, "
			   "over the finished spans "
			   "kept without error; window is how far back they reach.</p>\n");
}

/* ---- The form ---- */

static void write_option(struct buf *out, const char *value, const char *label, bool is_chosen)
{
	buf_write_str(out, "<option value=\"");
	page_write_text(out, value);
	buf_write_str(out, is_chosen ? "\" selected=\"selected\">" : "\">");
	page_write_text(out, label);
	buf_write_str(out, "</option>");
}

static void write_box(struct buf *out, const char *name, bool is_checked)
{
	buf_printf(out,
		   "<label class=\"box\"><input type=\"checkbox\" name=\"%s\" value=\"1\"%s/> "
		   "%s</label>\n",
		   name, is_checked ? " checked=\"checked\"" : "", name);
}

static void write_input(struct traces_page *p, const char *name, const char *type, const char *hint)
{
	const char *value = http_request_param(p->r, name);

	buf_printf(&p->out,
		   "<input type=\"%s\" id=\"f-%s\" name=\"%s\" placeholder=\"%s\" value=\"", type,
		   name, name, hint);
	page_write_text(&p->out, value != NULL ? value : "");
	buf_write_str(&p->out, "\"/></label>\n");
}

static void write_form(struct traces_page *p, const struct trace_stats *stats, size_t count)
{
	static const uint32_t limits[] = { 10, 20, 50, 100, 250 };
	const struct trace_query *q = &p->query;
	struct buf *out = &p->out;
	char number[16];

	buf_write_str(
		out,
		"<form class=\"filter\" role=\"search\" method=\"get\" action=\"/debug/traces\">\n"
		"<label class=\"wide\"><span>contains</span>");
	write_input(p, "q", "search", "IRI, peer, text of a mark");
	buf_write_str(out, "<label><span>category</span><select name=\"category\">");
	write_option(out, "", "all", q->category == NULL);
	for (size_t i = 0; i < count; i++)
		write_option(out, stats[i].category, stats[i].category,
			     q->category != NULL && strcmp(q->category, stats[i].category) == 0);
	buf_write_str(out, "</select></label>\n<label><span>at least</span>");
	write_input(p, "min", "text", "250ms");
	buf_write_str(out, "<label><span>order</span><select name=\"sort\">");
	write_option(out, "newest", "newest first", q->sort == TRACE_SORT_NEWEST);
	write_option(out, "slowest", "slowest first", q->sort == TRACE_SORT_SLOWEST);
	buf_write_str(out, "</select></label>\n<label><span>show</span><select name=\"n\">");
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		(void)snprintf(number, sizeof(number), "%u", limits[i]);
		write_option(out, number, number, limits[i] == (q->limit != 0 ? q->limit : 20));
	}
	buf_write_str(out, "</select></label>\n");
	write_box(out, "active", q->active);
	write_box(out, "errored", q->errored);
	buf_write_str(out, "<button type=\"submit\">Filter</button>\n<a "
			   "href=\"/debug/traces\">reset</a>\n</form>\n");
}

/* ---- Head ---- */

/* The same question in another form. */
static void write_other_view(struct traces_page *p, const char *more, const char *label)
{
	const char *name, *value;
	struct buf *out = &p->out;

	buf_write_str(out, "<a href=\"/debug/traces?");
	for (size_t i = 0; http_request_param_at(p->r, i, &name, &value); i++) {
		if (strcmp(name, "refresh") == 0)
			continue;
		page_write_query(out, name, strlen(name));
		buf_write_u8(out, '=');
		page_write_query(out, value, strlen(value));
		buf_write_str(out, "&amp;");
	}
	buf_printf(out, "%s\">%s</a>", more, label);
}

void list_write_head(struct traces_page *p)
{
	struct trace_stats stats[TRACE_CATEGORIES_MAX];
	size_t count = trace_stats_all(p->trace, stats, ARRAY_SIZE(stats));
	struct buf *out = &p->out;

	http_page_begin(p->r, out, "/debug/traces");
	buf_write_str(out, "<h1>Traces</h1>\n");
	write_counts(p);
	if (count > 0)
		write_categories(p, stats, count);
	write_form(p, stats, count);
	buf_printf(out,
		   "<div class=\"bar-of-list\"><h2>%zu of %" PRIu64
		   " matching traces, %s first</h2>\n<p>",
		   p->count, p->matched,
		   p->query.sort == TRACE_SORT_SLOWEST ? "slowest" : "newest");
	if (http_request_param(p->r, "refresh") != NULL)
		write_other_view(p, "", "stop refreshing");
	else
		write_other_view(p, "refresh=5", "refresh every 5 s");
	buf_write_str(out, " · ");
	write_other_view(p, "json", "JSON");
	buf_write_str(out, " · ");
	write_other_view(p, "text", "text");
	buf_write_str(out, "</p></div>\n");
	if (p->count == 0) {
		buf_write_str(out,
			      p->total == 0 ?
				      "<p class=\"empty\">Nothing has been recorded yet.</p>\n" :
				      "<p class=\"empty\">No trace matches. <a "
				      "href=\"/debug/traces\">Show all"
				      "</a></p>\n");
		return;
	}
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
	buf_write_str(out, "</b> <span>");
	page_write_foreign(out, s->title, s->title_len);
	buf_write_str(out, "</span></a></td><td>");
	span_write_outcome(out, s);
	buf_write_str(out, "</td>");
}

static void write_where(struct traces_page *p, const struct trace_span_view *s)
{
	struct axis axis = { s->start_ns, s->duration_ns };
	struct buf *out = &p->out;

	buf_write_str(out, "<td class=\"where\"><svg class=\"stack\" aria-hidden=\"true\">");
	stage_write_bar(out, p->trace, p->palette, s, &axis);
	buf_write_str(out, "</svg><span class=\"most\">");
	(void)stage_write_longest(out, p->trace, p->palette, s);
	stage_write_now(out, p->trace, p->palette, s);
	buf_write_str(out, "</span></td>");
}

void list_write_row(struct traces_page *p, const struct trace_span_view *s)
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

void list_write_tail(struct traces_page *p)
{
	struct buf *out = &p->out;

	if (p->count == 0)
		return;
	buf_write_str(out, "</tbody>\n</table>\n");
	if (p->lost > 0)
		buf_printf(out,
			   "<p class=\"hint\">%zu more were evicted while this page was "
			   "written.</p>\n",
			   p->lost);
	buf_write_str(out, "<p class=\"legend\" aria-label=\"Colours of the stages\">");
	for (unsigned i = 0; i < p->palette->count; i++) {
		buf_write_str(out, "<span>");
		stage_write_name(out, p->palette, p->palette->names[i]);
		buf_write_str(out, "</span> ");
	}
	buf_write_str(out, "</p>\n");
}
