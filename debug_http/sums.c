#include <inttypes.h>
#include <string.h>

#include "debug_http/traces.h"

/* The stages of all spans of a trace, added up per category, in the order asked for by ?by=, beside
 * what is usual for the stage since the daemon began. */

enum { USUAL_MIN = 20 /* spans, before something can be called unusual */ };

enum sums_order { BY_TIME, BY_STAGE, BY_SPANS, BY_LONGEST, BY_FAILED, BY_CPU, BY_QUEUED };

static const struct column {
	const char *key, *head;
} columns[] = {
	[BY_TIME] = { "time", "together" },   [BY_STAGE] = { "stage", "stage" },
	[BY_SPANS] = { "spans", "spans" },    [BY_LONGEST] = { "longest", "longest" },
	[BY_FAILED] = { "failed", "failed" }, [BY_CPU] = { "cpu", "CPU" },
	[BY_QUEUED] = { "queued", "queued" },
};

struct usual {
	uint64_t count, p50_ns, p99_ns;
};

static enum sums_order order_asked(const struct http_request *r)
{
	const char *by = http_request_param(r, "by");

	for (size_t i = 0; by != NULL && i < ARRAY_SIZE(columns); i++)
		if (strcmp(by, columns[i].key) == 0)
			return (enum sums_order)i;
	return BY_TIME;
}

static bool goes_before(const struct stage_sum *a, const struct stage_sum *b, enum sums_order by)
{
	int order;

	switch (by) {
	case BY_STAGE:
		order = strcmp(a->category, b->category);
		return order != 0 ? order < 0 : strcmp(a->name, b->name) < 0;
	case BY_SPANS: return a->count > b->count;
	case BY_LONGEST: return a->max_ns > b->max_ns;
	case BY_FAILED: return a->failed > b->failed;
	case BY_CPU: return a->busy_ns > b->busy_ns;
	case BY_QUEUED: return a->queued_ns > b->queued_ns;
	case BY_TIME: break;
	}
	return a->ns > b->ns;
}

static void sort(struct stage_sum *sums, size_t count, enum sums_order by)
{
	for (size_t i = 1; i < count; i++) {
		struct stage_sum moved = sums[i];
		size_t k = i;

		for (; k > 0 && goes_before(&moved, &sums[k - 1], by); k--)
			sums[k] = sums[k - 1];
		sums[k] = moved;
	}
}

static void write_head(struct traces_page *p, enum sums_order column, enum sums_order chosen)
{
	const struct column *c = &columns[column];
	bool is_number = column != BY_STAGE;
	struct buf *out = &p->out;

	buf_printf(out, "<th scope=\"col\"%s%s>", is_number ? " class=\"n\"" : "",
		   column != chosen ? "" :
		   is_number	    ? " aria-sort=\"descending\"" :
				      " aria-sort=\"ascending\"");
	if (p->is_file) {
		buf_write_str(out, c->head);
	} else {
		buf_write_str(out, "<a href=\"/debug/traces?id=");
		page_write_hex(out, p->query.id, sizeof(p->query.id));
		buf_printf(out, "&amp;by=%s#stages\">%s%s</a>", c->key, c->head,
			   column != chosen ? "" :
			   is_number	    ? " ▾" :
					      " ▴");
	}
	buf_write_str(out, "</th>");
}

static void write_ns(struct buf *out, uint64_t ns, const char *class)
{
	buf_printf(out, "<td class=\"n%s\">", class);
	page_write_duration(out, ns);
	buf_write_str(out, "</td>");
}

static void write_sum(struct traces_page *p, const struct stage_sum *sum, const struct usual *usual,
		      const struct axis *axis)
{
	bool is_unusual = usual->count >= USUAL_MIN &&
			  sum->max_ns > usual->p99_ns + usual->p99_ns / 50;
	struct buf *out = &p->out;

	buf_write_str(out, "<tr><td><span class=\"quiet\">");
	page_write_text(out, sum->category);
	buf_write_str(out, "</span> ");
	stage_write_name(out, p->palette, sum->name);
	buf_printf(out, "</td><td class=\"n\">%" PRIu32 "</td><td class=\"n%s\">%" PRIu32 "</td>",
		   sum->count, sum->failed > 0 ? " bad" : " none", sum->failed);
	write_ns(out, sum->max_ns, is_unusual ? " bad" : "");
	write_ns(out, sum->ns, "");
	if (trace_cpu(p->trace) != TRACE_CPU_OFF)
		write_ns(out, sum->busy_ns, "");
	if (sum->queued_ns > 0)
		write_ns(out, sum->queued_ns, "");
	else
		buf_write_str(out, "<td class=\"n none\">–</td>");
	buf_printf(out,
		   "<td class=\"meter\"><svg class=\"stack\" aria-hidden=\"true\">"
		   "<rect class=\"c%u\"",
		   palette_colour(p->palette, sum->name));
	axis_write_percent(out, "width", axis, sum->ns);
	buf_write_str(out, "/></svg></td>");
	if (usual->count > 0) {
		write_ns(out, usual->p50_ns, " quiet");
		write_ns(out, usual->p99_ns, " quiet");
	} else {
		buf_write_str(out, "<td class=\"n none\">–</td><td class=\"n none\">–</td>");
	}
	buf_write_str(out, "</tr>\n");
}

/* What is usual for each sum. */
static void find_usual(struct traces_page *p, struct usual ret[CATEGORY_SUMS_MAX])
{
	struct trace_stats stats[TRACE_STAGES_MAX];

	for (size_t i = 0; i < p->sum_count; i++) {
		const char *category = p->sums[i].category;
		size_t count, before = 0;

		while (p->sums[before].category != category)
			before++;
		if (before < i)
			continue; /* done with the first of this category */
		count = trace_stats_stages(p->trace, category, stats, ARRAY_SIZE(stats));
		for (size_t k = i; k < p->sum_count; k++)
			for (size_t n = 0; n < count && p->sums[k].category == category; n++)
				if (strcmp(stats[n].stage, p->sums[k].name) == 0)
					ret[k] = (struct usual){ stats[n].lifetime.succeeded,
								 stats[n].lifetime.p50_ns,
								 stats[n].lifetime.p99_ns };
	}
}

void sums_write(struct traces_page *p)
{
	static const enum sums_order shown[] = { BY_STAGE, BY_SPANS, BY_FAILED, BY_LONGEST,
						 BY_TIME };
	enum sums_order by = order_asked(p->r);
	struct buf *out = &p->out;
	struct usual usual[CATEGORY_SUMS_MAX] = { 0 };
	struct axis axis = { 0, 0 };

	if (p->sum_count == 0 || p->drawn < 2)
		return;
	for (size_t i = 0; i < p->sum_count; i++)
		axis.length_ns = MAX(axis.length_ns, p->sums[i].ns);
	sort(p->sums, p->sum_count, by);
	find_usual(p, usual);
	buf_write_str(out,
		      "<h2 id=\"stages\">Stages of all spans, added up</h2>\n<div class=\"scroll\" "
		      "role=\"region\" tabindex=\"0\" aria-label=\"Stages of all spans\">\n"
		      "<table class=\"sums\">\n<thead><tr>");
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		write_head(p, shown[i], by);
	if (trace_cpu(p->trace) != TRACE_CPU_OFF)
		write_head(p, BY_CPU, by);
	write_head(p, BY_QUEUED, by);
	buf_write_str(out, "<th scope=\"col\"></th><th scope=\"col\" class=\"n\">usual p50</th>"
			   "<th scope=\"col\" class=\"n\">p99</th></tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < p->sum_count; i++)
		write_sum(p, &p->sums[i], &usual[i], &axis);
	buf_write_str(out,
		      "</tbody>\n</table>\n</div>\n<p class=\"hint\">Usual: spans that succeeded "
		      "since the start, within 2 %. Red: slower than 99 % of them, or "
		      "failed. Queued: something could have run, but waited for its "
		      "turn.</p>\n");
}
