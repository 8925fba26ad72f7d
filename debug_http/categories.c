#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "debug_http/traces.h"

/* Figures per category; every number is a link to the traces behind it. Beside them the last
 * minutes as a row of bars: how long the longest took, red where something failed. */

enum { HISTORY_BARS = 30, HISTORY_HEIGHT = 22, BAR_WIDTH = 3 };

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

/* As one path each: a rectangle per bar would be ten times as long. */
static void write_bars(struct buf *out, const struct trace_history *history, uint64_t most_ns,
		       bool failed)
{
	buf_printf(out, "<path%s d=\"", failed ? " class=\"bad\"" : "");
	for (unsigned i = 0; i < HISTORY_BARS; i++) {
		const struct trace_history *h = &history[i];
		uint64_t height = (h->max_ns * HISTORY_HEIGHT + most_ns - 1) / most_ns;

		if (h->succeeded + h->failed > 0 && (h->failed > 0) == failed)
			buf_printf(out, "M%u %dV%" PRIu64 "h2V%d", i * BAR_WIDTH, HISTORY_HEIGHT,
				   HISTORY_HEIGHT -
					   MIN(MAX(height, UINT64_C(1)), (uint64_t)HISTORY_HEIGHT),
				   HISTORY_HEIGHT);
	}
	buf_write_str(out, "\"/>");
}

static void write_history(struct traces_page *p, const char *category)
{
	struct trace_history history[HISTORY_BARS];
	struct buf *out = &p->out;
	uint64_t most_ns = 1;

	buf_write_str(out, "<td>");
	if (trace_stats_history(p->trace, category, TRACES_RECENT_NS, history, HISTORY_BARS)) {
		for (size_t i = 0; i < HISTORY_BARS; i++)
			most_ns = MAX(most_ns, MIN(history[i].max_ns, UINT64_MAX / 64));
		buf_printf(out, "<svg class=\"spark\" aria-hidden=\"true\" viewBox=\"0 0 %d %d\">",
			   HISTORY_BARS * BAR_WIDTH, HISTORY_HEIGHT);
		write_bars(out, history, most_ns, false);
		write_bars(out, history, most_ns, true);
		buf_write_str(out, "</svg>");
	}
	buf_write_str(out, "</td>");
}

static void write_errors(struct buf *out, const struct trace_stats *s)
{
	const uint64_t figures[] = { s->errored_p50_ns, s->errored_max_ns };

	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		if (s->sample_errored == 0) {
			buf_write_str(out, "<td class=\"n none\">–</td>");
			continue;
		}
		buf_write_str(out, "<td class=\"n\">");
		write_category_link(out, s->category, "&amp;errored=1&amp;sort=slowest", "");
		page_write_duration(out, figures[i]);
		buf_write_str(out, "</a></td>");
	}
}

static void write_quantile(struct buf *out, const struct trace_stats *s, uint64_t ns,
			   uint64_t limit_ns, bool is_over)
{
	char more[64];

	if (s->sample_count == 0) {
		buf_write_str(out, "<td class=\"n none\">–</td>");
		return;
	}
	(void)snprintf(more, sizeof(more), "&amp;min=%" PRIu64 "ns&amp;sort=slowest", ns);
	buf_write_str(out, is_over ? "<td class=\"n bad\">" : "<td class=\"n\">");
	write_category_link(out, s->category, more, "");
	page_write_duration(out, ns);
	buf_write_str(out, "</a>");
	if (limit_ns > 0) {
		buf_write_str(out, "<small>≤ ");
		page_write_duration(out, limit_ns);
		buf_write_str(out, "</small>");
	}
	buf_write_str(out, "</td>");
}

static void write_rate(struct buf *out, const struct trace_stats *s)
{
	double per_s = s->rate_per_s;

	buf_write_str(out, "<td class=\"n\">");
	if (s->sample_count > 1 && per_s >= 1)
		buf_printf(out, "%.1f/s", per_s);
	else if (s->sample_count > 1 && per_s * 60 >= 1)
		buf_printf(out, "%.1f/min", per_s * 60);
	else if (s->sample_count > 1)
		buf_printf(out, "%.1f/h", per_s * 3600);
	buf_write_str(out, "</td>");
}

static void write_lifetime(struct buf *out, const struct trace_lifetime *l)
{
	const uint64_t figures[] = { l->p50_ns, l->p99_ns, l->max_ns };

	buf_printf(out, "<td class=\"n quiet\">%" PRIu64 "</td>",
		   l->succeeded + l->errored + l->cancelled);
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		if (l->succeeded == 0) {
			buf_write_str(out, "<td class=\"n none\">–</td>");
			continue;
		}
		buf_write_str(out, "<td class=\"n quiet\">");
		page_write_duration(out, figures[i]);
		buf_write_str(out, "</td>");
	}
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
	write_history(p, s->category);
	write_count(out, s->category, s->active, "&amp;active=1");
	write_count(out, s->category, s->finished, "&amp;finished=1");
	write_rate(out, s);
	buf_write_str(out, "<td class=\"n\">");
	if (s->window_ns > 0)
		page_write_duration(out, s->window_ns);
	buf_write_str(out, "</td>");
	write_quantile(out, s, s->p10_ns, 0, false);
	write_quantile(out, s, s->p50_ns, s->thresholds.p50_ns, s->p50_over);
	write_quantile(out, s, s->p90_ns, s->thresholds.p90_ns, s->p90_over);
	write_quantile(out, s, s->p99_ns, s->thresholds.p99_ns, s->p99_over);
	write_quantile(out, s, s->max_ns, 0, false);
	write_count(out, s->category, s->errored, "&amp;errored=1");
	write_errors(out, s);
	write_lifetime(out, &s->lifetime);
	buf_write_str(out, "</tr>\n");
}

static void write_stage(struct traces_page *p, const struct trace_stats *s, const struct axis *axis)
{
	const struct trace_lifetime *l = &s->lifetime;
	const uint64_t figures[] = { l->p50_ns, l->p99_ns, l->max_ns, l->sum_ns };
	struct buf *out = &p->out;

	buf_write_str(out, "<tr><td>");
	stage_write_name(out, p->palette, s->stage);
	buf_printf(out, "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n%s\">%" PRIu64 "</td>",
		   l->succeeded + l->errored + l->cancelled,
		   l->errored + l->cancelled > 0 ? " bad" : " none", l->errored + l->cancelled);
	for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
		buf_write_str(out, "<td class=\"n\">");
		page_write_duration(out, figures[i]);
		buf_write_str(out, "</td>");
	}
	buf_printf(
		out,
		"<td class=\"meter\"><svg class=\"stack\" aria-hidden=\"true\"><rect class=\"c%u\"",
		palette_colour(p->palette, s->stage));
	axis_write_percent(out, "width", axis, l->sum_ns);
	buf_write_str(out, "/></svg></td></tr>\n");
}

/* Of the category that was asked for: where its spans spend their time as a rule. */
static void write_stages(struct traces_page *p)
{
	struct trace_stats stats[TRACE_STAGES_MAX];
	size_t count = trace_stats_stages(p->trace, p->query.category, stats, ARRAY_SIZE(stats));
	struct buf *out = &p->out;
	uint64_t most = 1;

	if (count == 0)
		return;
	buf_write_str(out, "<h2>Stages of ");
	page_write_text(out, p->query.category);
	buf_write_str(
		out,
		" since the start</h2>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
		"aria-label=\"Stages\">\n<table class=\"sums\">\n<thead><tr><th scope=\"col\">"
		"stage</th><th scope=\"col\" class=\"n\">spans</th><th scope=\"col\" "
		"class=\"n\">failed</th><th scope=\"col\" class=\"n\">p50</th><th scope=\"col\" "
		"class=\"n\">p99</th><th scope=\"col\" class=\"n\">max</th><th scope=\"col\" "
		"class=\"n\">together</th><th scope=\"col\"></th></tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < count; i++)
		most = MAX(most, stats[i].lifetime.sum_ns);
	for (size_t i = 0; i < count; i++)
		write_stage(p, &stats[i], &(struct axis){ 0, most });
	buf_write_str(out, "</tbody>\n</table>\n</div>\n");
}

void categories_write(struct traces_page *p)
{
	static const char *const heads[] = { "active",	    "finished", "rate", "window",
					     "p10",	    "p50",	"p90",	"p99",
					     "max",	    "failed",	"p50",	"max",
					     "since start", "p50",	"p99",	"max" };
	struct buf *out = &p->out;

	if (p->stats_count == 0)
		return;
	buf_write_str(out,
		      "<h2 id=\"categories\">Categories</h2>\n<div class=\"scroll\" "
		      "role=\"region\" aria-label=\"Categories\" tabindex=\"0\">\n"
		      "<table class=\"categories\">\n<thead><tr><th scope=\"col\">category</th>"
		      "<th scope=\"col\">last 15 min</th>");
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		buf_printf(out, "<th scope=\"col\" class=\"n\">%s</th>", heads[i]);
	buf_write_str(out, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < p->stats_count; i++)
		write_category(p, &p->stats[i]);
	buf_write_str(out, "</tbody>\n</table>\n</div>\n<p class=\"hint\">Percentiles are exact, "
			   "over the latest spans that succeeded, and red above their limit (≤); "
			   "those that failed have figures of their own. Window is how far back "
			   "they reach. Those since the start are within 2 %. A bar is half a "
			   "minute, as high as the longest span in it, red when one failed.</p>\n");
	if (p->query.category != NULL)
		write_stages(p);
}
