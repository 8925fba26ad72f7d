#include <stdlib.h>
#include <string.h>

#include "debug_http/traces.h"

/* Two traces side by side: their bars on one scale, then what each stage took in the one and in the
 * other, the largest difference first. */

enum { ROWS_MAX = 2 * CATEGORY_SUMS_MAX };

struct row {
	const char *category, *name;
	uint64_t ns[2];
};

struct sums {
	struct traces_page *p;
	struct stage_sum *sums;
	size_t *count;
	uint32_t spans;
	bool is_cut;
};

static bool add_span(void *data, const struct trace_span_view *s)
{
	struct sums *c = data;

	if (c->spans++ == TRACES_SPANS_MAX) {
		c->is_cut = true;
		return false;
	}
	stage_sums_add(c->p->trace, s, c->sums, c->count);
	return true;
}

/* ---- The heads ---- */

static void write_link(struct buf *out, const struct trace_span_view *s)
{
	buf_write_str(out, "<a href=\"/debug/traces?id=");
	page_write_hex(out, s->trace_id, sizeof(s->trace_id));
	buf_write_str(out, "\">");
	span_write_name(out, s, TRACE_TITLE_MAX);
	buf_write_str(out, "</a> ");
	span_write_outcome(out, s);
}

static void write_bar(struct traces_page *p, const struct trace_span_view *s, const char *letter,
		      uint64_t longest_ns)
{
	struct axis axis = { s->start_ns, MAX(longest_ns, UINT64_C(1)) };
	struct buf *out = &p->out;

	buf_printf(out, "<div class=\"side\"><p><b class=\"letter\">%s</b> ", letter);
	write_link(out, s);
	buf_write_str(out, " <b>");
	page_write_duration(out, s->duration_ns);
	buf_write_str(out, "</b>, started ");
	page_write_utc(out, s->start_wall_ns);
	buf_write_str(out, "</p>\n<svg class=\"stack big\" aria-hidden=\"true\">");
	stage_write_bar(out, p->trace, p->palette, s, &axis);
	buf_write_str(out, "</svg></div>\n");
}

static void write_difference(struct buf *out, uint64_t a_ns, uint64_t b_ns)
{
	if (a_ns == b_ns) {
		buf_write_str(out, "0");
		return;
	}
	buf_write_str(out, a_ns > b_ns ? "+" : "−");
	page_write_duration(out, b_ns > a_ns ? b_ns - a_ns : a_ns - b_ns);
}

/* ---- Rows ---- */

static uint64_t distance(const struct row *r)
{
	return r->ns[0] > r->ns[1] ? r->ns[0] - r->ns[1] : r->ns[1] - r->ns[0];
}

static int most_changed_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (distance(x) != distance(y))
		return distance(x) < distance(y) ? 1 : -1;
	return strcmp(x->name, y->name);
}

static size_t merge(const struct stage_sum *const sums[2], const size_t counts[2],
		    struct row ret[ROWS_MAX])
{
	size_t count = 0;

	for (unsigned side = 0; side < 2; side++) {
		for (size_t i = 0; i < counts[side]; i++) {
			const struct stage_sum *s = &sums[side][i];
			size_t k = 0;

			while (k < count &&
			       (ret[k].name != s->name || ret[k].category != s->category))
				k++;
			if (k == count)
				ret[count++] = (struct row){ s->category, s->name, { 0 } };
			ret[k].ns[side] += s->ns;
		}
	}
	qsort(ret, count, sizeof(*ret), most_changed_first);
	return count;
}

static void write_cell(struct buf *out, uint64_t ns)
{
	if (ns == 0) {
		buf_write_str(out, "<td class=\"n none\">–</td>");
		return;
	}
	buf_write_str(out, "<td class=\"n\">");
	page_write_duration(out, ns);
	buf_write_str(out, "</td>");
}

/* From the middle: to the right what A took more, to the left what it took less. */
static void write_swing(struct traces_page *p, const struct row *row, uint64_t largest_ns)
{
	double half = largest_ns == 0 ? 0 : (double)distance(row) * 50 / (double)largest_ns;

	buf_printf(
		&p->out,
		"<td class=\"meter\"><svg class=\"stack\" aria-hidden=\"true\"><rect "
		"class=\"c%u\" x=\"%.2f%%\" width=\"%.2f%%\"/><line class=\"middle\" x1=\"50%%\" "
		"x2=\"50%%\" y2=\"100%%\"/></svg></td>",
		palette_colour(p->palette, row->name), row->ns[0] > row->ns[1] ? 50 : 50 - half,
		half);
}

static void write_table(struct traces_page *p, const char *title, const struct row *rows,
			size_t count, bool has_category)
{
	struct buf *out = &p->out;

	if (count == 0)
		return;
	buf_printf(out,
		   "<h2>%s</h2>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
		   "aria-label=\"%s\">\n<table class=\"sums\">\n<thead><tr><th "
		   "scope=\"col\">stage</th>"
		   "<th scope=\"col\" class=\"n\">A</th><th scope=\"col\" class=\"n\">B</th>"
		   "<th scope=\"col\" class=\"n\">A − B</th><th scope=\"col\"></th></tr></thead>\n"
		   "<tbody>\n",
		   title, title);
	for (size_t i = 0; i < count; i++) {
		buf_write_str(out, "<tr><td>");
		if (has_category) {
			buf_write_str(out, "<span class=\"quiet\">");
			page_write_text(out, rows[i].category);
			buf_write_str(out, "</span> ");
		}
		stage_write_name(out, p->palette, rows[i].name);
		buf_write_str(out, "</td>");
		write_cell(out, rows[i].ns[0]);
		write_cell(out, rows[i].ns[1]);
		buf_write_str(out, "<td class=\"n\"><b>");
		write_difference(out, rows[i].ns[0], rows[i].ns[1]);
		buf_write_str(out, "</b></td>");
		write_swing(p, &rows[i], distance(&rows[0]));
		buf_write_str(out, "</tr>\n");
	}
	buf_write_str(out, "</tbody>\n</table>\n</div>\n");
}

static void write_verdict(struct traces_page *p, const struct trace_span_view sides[2],
			  const struct row *rows, size_t count)
{
	uint64_t a_ns = sides[0].duration_ns, b_ns = sides[1].duration_ns;
	struct buf *out = &p->out;

	buf_write_str(out, "<p class=\"verdict\"><b>A</b> took <b>");
	page_write_duration(out, b_ns > a_ns ? b_ns - a_ns : a_ns - b_ns);
	buf_write_str(out, a_ns > b_ns ? " longer</b> than <b>B</b>" : " less</b> than <b>B</b>");
	if (count > 0 && distance(&rows[0]) > 0) {
		buf_write_str(out, ", most of it in ");
		stage_write_name(out, p->palette, rows[0].name);
		buf_write_str(out, ": <b>");
		write_difference(out, rows[0].ns[0], rows[0].ns[1]);
		buf_write_str(out, "</b>");
	}
	buf_write_str(out, ".</p>\n");
}

/* ---- The page ---- */

static void write_head(struct traces_page *p)
{
	http_page_begin(p->r, &p->out, "traces compared");
	buf_write_str(&p->out,
		      "<div class=\"trail\"><a href=\"/debug/traces\">← All traces</a></div>\n"
		      "<h1>Two traces compared</h1>\n");
}

static void write_roots(struct traces_page *p, const struct trace_span_view sides[2])
{
	struct stage_sum sums[2][STAGE_SUMS_MAX];
	const struct stage_sum *const both[2] = { sums[0], sums[1] };
	size_t counts[2];
	struct row rows[ROWS_MAX];
	uint64_t longest_ns = MAX(sides[0].duration_ns, sides[1].duration_ns);
	size_t count;

	for (unsigned i = 0; i < 2; i++)
		counts[i] = stage_sums(p->trace, &sides[i], sums[i]);
	for (unsigned i = 0; i < 2; i++)
		for (size_t k = 0; k < counts[i]; k++)
			sums[i][k].category = "";
	count = merge(both, counts, rows);
	write_verdict(p, sides, rows, count);
	write_bar(p, &sides[0], "A", longest_ns);
	write_bar(p, &sides[1], "B", longest_ns);
	write_table(p, "Stages of the two", rows, count, false);
}

static void write_trees(struct traces_page *p)
{
	const struct stage_sum *const both[2] = { p->sums, p->with_sums };
	const size_t counts[2] = { p->sum_count, p->with_count };
	struct row rows[ROWS_MAX];

	write_table(p, "Stages of all their spans, added up", rows, merge(both, counts, rows),
		    true);
}

/* The text has no limit of its own: it is written in pieces. */
static void write_text_link(struct traces_page *p)
{
	const char *with = http_request_param(p->r, "with");

	buf_write_str(&p->out, "<a href=\"/debug/traces?id=");
	page_write_hex(&p->out, p->query.id, sizeof(p->query.id));
	buf_write_str(&p->out, "&amp;with=");
	page_write_query(&p->out, with, strlen(with));
	buf_write_str(&p->out, "&amp;text\">the text</a>");
}

static void add_tree(struct traces_page *p, unsigned side, struct sums *sums)
{
	struct buf *out = &p->out;

	trace_walk(p->trace, p->roots[side].slot, add_span, sums);
	if (!sums->is_cut)
		return;
	buf_printf(out, "<p class=\"hint\">Of <b>%s</b>, the first %d spans are added up here; ",
		   side == 0 ? "A" : "B", TRACES_SPANS_MAX);
	write_text_link(p);
	buf_write_str(out, " has them all.</p>\n");
}

static bool write_some(struct traces_page *p)
{
	struct sums walk = { .p = p, .sums = p->sums, .count = &p->sum_count };
	struct trace_span_view sides[2];

	if (!traces_root(p, 0, &sides[0]) || !traces_root(p, 1, &sides[1])) {
		buf_write_str(&p->out, "<p class=\"error\">One of them was evicted while this page "
				       "was written.</p>\n");
		return true;
	}
	p->pause = true;
	switch (p->next++) {
	case 0: write_roots(p, sides); return false;
	case 1: add_tree(p, 0, &walk); return false;
	case 2:
		walk.sums = p->with_sums;
		walk.count = &p->with_count;
		add_tree(p, 1, &walk);
		return false;
	default: write_trees(p); return true;
	}
}

static void write_tail(struct traces_page *p)
{
	buf_write_str(&p->out, "<p class=\"hint\">Both bars have one scale. A bar to the right: A "
			       "took longer in this stage.</p>\n");
}

const struct page_kind page_compare = { write_head, write_some, write_tail };
