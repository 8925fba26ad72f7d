#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "debug_http/traces.h"

/* Figures per category; every number is a link to the traces behind it. */

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

static void write_rate(struct buf *out, const struct trace_stats *s)
{
	double per_s = s->window_ns == 0 ?
			       0 :
			       (double)s->sample_count * (double)NS_PER_SEC / (double)s->window_ns;

	buf_write_str(out, "<td class=\"n\">");
	if (s->sample_count > 1 && per_s >= 1)
		buf_printf(out, "%.1f/s", per_s);
	else if (s->sample_count > 1 && per_s * 60 >= 1)
		buf_printf(out, "%.1f/min", per_s * 60);
	else if (s->sample_count > 1)
		buf_printf(out, "%.1f/h", per_s * 3600);
	buf_write_str(out, "</td>");
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
	write_rate(out, s);
	buf_write_str(out, "<td class=\"n\">");
	if (s->sample_count > 0)
		page_write_duration(out, s->window_ns);
	buf_write_str(out, "</td></tr>\n");
}

void categories_write(struct traces_page *p)
{
	static const char *const heads[] = { "active", "finished", "errored", "p10",  "p50",
					     "p90",    "p99",	   "max",     "rate", "window" };
	struct buf *out = &p->out;

	if (p->stats_count == 0)
		return;
	buf_write_str(out,
		      "<h2 id=\"categories\">Categories</h2>\n<div class=\"scroll\" "
		      "role=\"region\" aria-label=\"Categories\" tabindex=\"0\">\n"
		      "<table class=\"categories\">\n<thead><tr><th scope=\"col\">category</th>");
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		buf_printf(out, "<th scope=\"col\" class=\"n\">%s</th>", heads[i]);
	buf_write_str(out, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < p->stats_count; i++)
		write_category(p, &p->stats[i]);
	buf_write_str(out, "</tbody>\n</table>\n</div>\n<p class=\"hint\">Percentiles are exact, "
			   "over the finished spans "
			   "kept without error; window is how far back they reach.</p>\n");
}
