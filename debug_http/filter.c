#include <stdio.h>
#include <string.h>

#include "debug_http/traces.h"

/* What the list shows. Who asks for nothing in particular gets the slowest of the last minutes,
 * since whoever opens the page wonders what was slow just now. */

static const struct {
	const char *query, *label;
} views[] = {
	[VIEW_SLOWEST] = { "", "Slowest" },
	[VIEW_NEWEST] = { "?sort=newest", "Newest" },
	[VIEW_ERRORS] = { "?errored=1&amp;sort=newest", "Errors" },
	[VIEW_ACTIVE] = { "?active=1&amp;sort=slowest", "Active" },
};

static bool has_value(const struct http_request *r, const char *name)
{
	const char *value = http_request_param(r, name);

	return value != NULL && value[0] != '\0';
}

static bool is_narrowed(const struct trace_query *q)
{
	return q->text != NULL || q->min_ns > 0 || q->max_ns > 0 || q->success || q->cancelled ||
	       q->attr_count > 0 || q->stage_count > 0 || q->since_wall_ns > 0 ||
	       q->until_wall_ns > 0 || q->since_ago_ns > 0 || q->until_ago_ns > 0;
}

void filter_read(struct traces_page *p)
{
	struct trace_query *q = &p->query;
	bool is_sorted = has_value(p->r, "sort");

	if (!is_sorted) {
		q->sort = TRACE_SORT_SLOWEST;
		p->is_recent = !is_narrowed(q) && !q->active && !q->errored && !q->finished;
	}
	if (q->errored)
		p->view = VIEW_ERRORS;
	else if (q->active)
		p->view = VIEW_ACTIVE;
	else if (q->sort == TRACE_SORT_SLOWEST)
		p->view = VIEW_SLOWEST;
	else
		p->view = VIEW_NEWEST;
}

const char *filter_title(const struct traces_page *p)
{
	if (p->is_recent)
		return "slowest of the last 15 minutes";
	switch (p->query.sort) {
	case TRACE_SORT_SLOWEST: return "slowest first";
	case TRACE_SORT_OLDEST: return "oldest first";
	case TRACE_SORT_NEWEST: break;
	}
	return "newest first";
}

/* ---- The views ---- */

static void write_views(struct traces_page *p)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<nav class=\"views\" aria-label=\"Views\">\n");
	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		buf_printf(out, "<a href=\"/debug/traces%s\"%s>%s</a>\n", views[i].query,
			   i == p->view ? " aria-current=\"true\"" : "", views[i].label);
	}
	buf_write_str(out, "</nav>\n");
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

static void write_sort(struct traces_page *p)
{
	bool is_sorted = has_value(p->r, "sort");
	struct buf *out = &p->out;

	buf_write_str(out, "<label><span>order</span><select name=\"sort\">");
	write_option(out, "", "slowest, last 15 min", !is_sorted);
	write_option(out, "slowest", "slowest of all",
		     is_sorted && p->query.sort == TRACE_SORT_SLOWEST);
	write_option(out, "newest", "newest", is_sorted && p->query.sort == TRACE_SORT_NEWEST);
	write_option(out, "oldest", "oldest", is_sorted && p->query.sort == TRACE_SORT_OLDEST);
	buf_write_str(out, "</select></label>\n");
}

static void write_form(struct traces_page *p)
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
	for (size_t i = 0; i < p->stats_count; i++)
		write_option(out, p->stats[i].category, p->stats[i].category,
			     q->category != NULL && strcmp(q->category, p->stats[i].category) == 0);
	buf_write_str(out, "</select></label>\n<label><span>at least</span>");
	write_input(p, "min", "text", "250ms");
	write_sort(p);
	buf_write_str(out, "<label><span>show</span><select name=\"n\">");
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

/* ---- Other forms ---- */

void filter_write_link(struct traces_page *p, const char *more, const char *label)
{
	const char *name, *value;
	struct buf *out = &p->out;

	buf_write_str(out, "<a href=\"/debug/traces?");
	for (size_t i = 0; http_request_param_at(p->r, i, &name, &value); i++) {
		if (strcmp(name, "refresh") == 0 || strcmp(name, "cursor") == 0)
			continue;
		page_write_query(out, name, strlen(name));
		buf_write_u8(out, '=');
		page_write_query(out, value, strlen(value));
		buf_write_str(out, "&amp;");
	}
	buf_printf(out, "%s\">%s</a>", more, label);
}

void filter_write_next(struct traces_page *p)
{
	char more[TRACE_CURSOR_SIZE + 16];

	(void)snprintf(more, sizeof(more), "cursor=%s", p->cursor);
	filter_write_link(p, more, "More →");
}

void filter_write(struct traces_page *p)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<div class=\"panel\">\n<div class=\"bar-of-views\">\n");
	write_views(p);
	buf_write_str(out, "<p id=\"tools\">");
	if (http_request_param(p->r, "refresh") != NULL)
		filter_write_link(p, "", "stop refreshing");
	else
		filter_write_link(p, "refresh=5", "refresh every 5 s");
	buf_write_str(out, " · ");
	filter_write_link(p, "json", "JSON");
	buf_write_str(out, " · ");
	filter_write_link(p, "text", "text");
	buf_write_str(out, "</p></div>\n");
	write_form(p);
	buf_write_str(out, "</div>\n");
}
