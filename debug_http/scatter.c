#include <math.h>
#include <string.h>

#include "debug_http/traces.h"

/* Durations over time: a dot per trace, logarithmic, so that the one that took ten seconds and the
 * thousand that took ten milliseconds are on the same picture. Every dot leads to its trace; of
 * those that would lie on each other the first found is drawn. Failed ones are red and square,
 * running ones hollow. */

enum {
	HEIGHT = 118, /* pixels; the width is the page's */
	TOP = 8,
	BOTTOM = 98,
	COLUMNS = 250,
	ROWS = 30,
	TIME_TICKS_MAX = 6,
	DECADES_MAX = 9,
	DOTS_SMALL_MAX = 90,  /* on a page that shows few traces */
	LOG_SECOND = 9,	      /* log10 of nanoseconds */
	LOG_MANY_SECONDS = 11 /* "100 s" instead of minutes: decades are in one unit */
};

struct scatter {
	struct traces_page *p;
	struct axis axis;
	double low, high; /* log10 of nanoseconds */
	bool taken[COLUMNS][ROWS];
};

static double log_of(uint64_t ns)
{
	return log10((double)MAX(ns, UINT64_C(1)));
}

static double height_of(const struct scatter *s, double log_ns)
{
	double share = (log_ns - s->low) / (s->high - s->low);

	return BOTTOM - MIN(MAX(share, 0.0), 1.0) * (BOTTOM - TOP);
}

static void write_place(struct scatter *s, const char *attribute, uint64_t at_ns)
{
	buf_printf(&s->p->out, " %s=\"%.1f%%\"", attribute,
		   (double)at_ns * 99.3 / (double)s->axis.length_ns);
}

/* Whole decades around what there is, and where time begins. */
static void measure(struct scatter *s, const struct trace_span_view *dots, size_t count)
{
	uint64_t first_ns = s->p->now_ns;
	double low = 99, high = 0;

	for (size_t i = 0; i < count; i++) {
		first_ns = MIN(first_ns, dots[i].start_ns);
		low = MIN(low, log_of(dots[i].duration_ns));
		high = MAX(high, log_of(dots[i].duration_ns));
	}
	s->low = floor(low);
	s->high = MAX(ceil(high), s->low + 1);
	s->axis = (struct axis){ first_ns, MAX(s->p->now_ns - first_ns, NS_PER_MS) };
}

static void write_decades(struct scatter *s)
{
	struct buf *out = &s->p->out;
	double step = s->high - s->low > 4 ? 2 : 1;

	for (double d = s->low; d <= s->high && d <= s->low + DECADES_MAX; d += step) {
		double y = height_of(s, d);

		buf_printf(out,
			   "<line class=\"grid\" x2=\"100%%\" y1=\"%.0f\" y2=\"%.0f\"/>"
			   "<text x=\"-54\" y=\"%.0f\">",
			   y, y, y + 4);
		if (d >= LOG_MANY_SECONDS)
			buf_printf(out, "%.0f s", pow(10, d - LOG_SECOND));
		else
			page_write_duration(out, (uint64_t)(pow(10, d) + 0.5));
		buf_write_str(out, "</text>");
	}
}

static void write_times(struct scatter *s)
{
	uint64_t step = axis_step(s->axis.length_ns, TIME_TICKS_MAX);
	struct buf *out = &s->p->out;

	buf_write_str(out, "<text class=\"last\" x=\"100%\" y=\"112\">now</text>");
	for (uint64_t ago = step; ago < s->axis.length_ns; ago += step) {
		buf_write_str(out, "<text class=\"mid\" y=\"112\"");
		write_place(s, "x", s->axis.length_ns - ago);
		buf_write_str(out, ">−");
		page_write_duration(out, ago);
		buf_write_str(out, "</text>");
	}
}

static bool take_place(struct scatter *s, const struct trace_span_view *v, double y)
{
	uint64_t at_ns = v->start_ns - s->axis.start_ns;
	size_t column = (size_t)((double)at_ns * (COLUMNS - 1) / (double)s->axis.length_ns);
	size_t row = (size_t)((y - TOP) * (ROWS - 1) / (BOTTOM - TOP));
	bool *taken = &s->taken[MIN(column, (size_t)COLUMNS - 1)][MIN(row, (size_t)ROWS - 1)];

	if (*taken)
		return false;
	*taken = true;
	return true;
}

static void write_dot(struct scatter *s, const struct trace_span_view *v)
{
	double y = height_of(s, log_of(v->duration_ns));
	struct buf *out = &s->p->out;

	if (!take_place(s, v, y))
		return;
	buf_write_str(out, "<a href=\"?id=");
	page_write_hex(out, v->trace_id, sizeof(v->trace_id));
	if (v->finished && v->status != 0) {
		buf_printf(out, "\"><rect width=\"8\" height=\"8\" y=\"%.0f\"", y);
		write_place(s, "x", v->start_ns - s->axis.start_ns);
	} else {
		buf_printf(out, "\"><circle%s r=\"4\" cy=\"%.0f\"",
			   v->finished ? "" : " class=\"run\"", y);
		write_place(s, "cx", v->start_ns - s->axis.start_ns);
	}
	buf_write_str(out, "><title>");
	page_write_text(out, v->category);
	buf_write_u8(out, ' ');
	page_write_duration(out, v->duration_ns);
	buf_printf(out, "</title></%s></a>", v->finished && v->status != 0 ? "rect" : "circle");
}

/* The listed ones, then the newest that match. */
static size_t gather(struct traces_page *p, struct trace_span_view *ret, size_t cap)
{
	struct root_ref refs[SCATTER_DOTS_MAX];
	size_t count = 0, found = traces_found(p, refs, ARRAY_SIZE(refs));

	for (size_t i = 0; i < p->count && count < cap; i++)
		count += traces_root(p, i, &ret[count]);
	for (size_t i = 0; i < found && count < cap; i++)
		count += trace_look(p->trace, refs[i].slot, refs[i].span_id, &ret[count]);
	return count;
}

static void begin(struct traces_page *p)
{
	struct trace_query q = p->query;

	q.sort = TRACE_SORT_NEWEST;
	q.limit = SCATTER_DOTS_MAX;
	q.has_cursor = false;
	if (p->is_recent)
		q.since_ago_ns = TRACES_RECENT_NS;
	trace_find_begin(&p->find, p->trace, &q);
}

static void draw(struct traces_page *p)
{
	size_t cap = p->count > 20 ? SCATTER_DOTS_MAX : DOTS_SMALL_MAX;
	struct trace_span_view dots[SCATTER_DOTS_MAX];
	struct scatter s = { .p = p };
	size_t count = gather(p, dots, cap);

	if (count < 2)
		return;
	measure(&s, dots, count);
	buf_printf(&p->out,
		   "<svg class=\"scatter\" height=\"%d\" role=\"img\" aria-label=\"Durations over "
		   "time, a dot per trace\">",
		   HEIGHT);
	write_decades(&s);
	write_times(&s);
	for (size_t i = 0; i < count; i++)
		write_dot(&s, &dots[i]);
	buf_write_str(&p->out, "</svg>\n");
}

bool scatter_write(struct traces_page *p)
{
	if (!p->is_finding)
		begin(p);
	p->is_finding = !trace_find_step(&p->find);
	if (p->is_finding)
		return false;
	draw(p);
	return true;
}
