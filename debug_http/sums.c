#include <inttypes.h>
#include <string.h>

#include "debug_http/traces.h"

/* The stages of all spans of a trace, added up per category, in the order asked for by ?by=. */

enum sums_order { BY_TIME, BY_STAGE, BY_SPANS, BY_LONGEST, BY_FAILED };

static const struct column {
	const char *key, *head;
	bool is_number;
} columns[] = {
	[BY_TIME] = { "time", "together", true },   [BY_STAGE] = { "stage", "stage", false },
	[BY_SPANS] = { "spans", "spans", true },    [BY_LONGEST] = { "longest", "longest", true },
	[BY_FAILED] = { "failed", "failed", true },
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
	struct buf *out = &p->out;

	buf_printf(out, "<th scope=\"col\"%s%s>", c->is_number ? " class=\"n\"" : "",
		   column != chosen ? "" :
		   c->is_number	    ? " aria-sort=\"descending\"" :
				      " aria-sort=\"ascending\"");
	if (p->is_file) {
		buf_write_str(out, c->head);
	} else {
		buf_write_str(out, "<a href=\"/debug/traces?id=");
		page_write_hex(out, p->query.id, sizeof(p->query.id));
		buf_printf(out, "&amp;by=%s#stages\">%s%s</a>", c->key, c->head,
			   column != chosen ? "" :
			   c->is_number	    ? " ▾" :
					      " ▴");
	}
	buf_write_str(out, "</th>");
}

static void write_sum(struct traces_page *p, const struct stage_sum *sum, const struct axis *axis)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<tr><td><span class=\"quiet\">");
	page_write_text(out, sum->category);
	buf_write_str(out, "</span> ");
	stage_write_name(out, p->palette, sum->name);
	buf_printf(out, "</td><td class=\"n\">%" PRIu32 "</td><td class=\"n%s\">%" PRIu32 "</td>",
		   sum->count, sum->failed > 0 ? " bad" : " none", sum->failed);
	buf_write_str(out, "<td class=\"n\">");
	page_write_duration(out, sum->max_ns);
	buf_write_str(out, "</td><td class=\"n\">");
	page_write_duration(out, sum->ns);
	buf_printf(out,
		   "</td><td class=\"meter\"><svg class=\"stack\" aria-hidden=\"true\">"
		   "<rect class=\"c%u\"",
		   palette_colour(p->palette, sum->name));
	axis_write_percent(out, "width", axis, sum->ns);
	buf_write_str(out, "/></svg></td></tr>\n");
}

void sums_write(struct traces_page *p)
{
	static const enum sums_order shown[] = { BY_STAGE, BY_SPANS, BY_FAILED, BY_LONGEST,
						 BY_TIME };
	enum sums_order by = order_asked(p->r);
	struct buf *out = &p->out;
	struct axis axis = { 0, 0 };

	if (p->sum_count == 0 || p->drawn < 2)
		return;
	for (size_t i = 0; i < p->sum_count; i++)
		axis.length_ns = MAX(axis.length_ns, p->sums[i].ns);
	sort(p->sums, p->sum_count, by);
	buf_write_str(out,
		      "<h2 id=\"stages\">Stages of all spans, added up</h2>\n<div class=\"scroll\" "
		      "role=\"region\" tabindex=\"0\" aria-label=\"Stages of all spans\">\n"
		      "<table class=\"sums\">\n<thead><tr>");
	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		write_head(p, shown[i], by);
	buf_write_str(out, "<th scope=\"col\"></th></tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < p->sum_count; i++)
		write_sum(p, &p->sums[i], &axis);
	buf_write_str(out, "</tbody>\n</table>\n</div>\n");
}
