#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug_http/flame.h"
#include "debug_http/page.h"

/* The picture is an SVG of boxes within boxes' columns: widths are percentages, so that it fits
 * every window without a script, and each box is an <svg> of its own, which cuts its text off where
 * the box ends. The root is on top, the widest child on the left. What is too narrow to be seen is
 * left out; the script draws it when it is zoomed into. */

enum {
	ROW_HEIGHT = 19,
	BOX_HEIGHT = 18,
	SHARE_SHOWN = 1000, /* a box is at least the so-manieth part of the whole … */
	SHARE_NAMED = 60,   /* … and one with a name in it */
	BOXES_MAX = 3000,
	ROWS_SHOWN = 20,
	OTHER_COLOUR = 15
};

struct drawing {
	struct buf *out;
	struct flame *f;
	unsigned boxes;
};

static void write_text(struct buf *out, const struct flame_text *t)
{
	page_write_foreign(out, t->p, t->len);
}

static double share(const struct flame *f, int64_t value)
{
	return f->total > 0 ? 100.0 * (double)value / (double)f->total : 0;
}

void flame_write_value(struct buf *out, const struct flame *f, int64_t value)
{
	if (strcmp(f->unit, "nanoseconds") == 0)
		page_write_duration(out, (uint64_t)value);
	else if (strcmp(f->unit, "bytes") == 0)
		page_write_bytes(out, (uint64_t)value);
	else
		buf_printf(out, "%" PRId64, value);
}

static unsigned colour_class(const struct flame *f, const struct flame_function *function)
{
	return function->colour < f->origin_count ? function->colour : (unsigned)OTHER_COLOUR;
}

/* ---- The picture ---- */

static int by_total(const void *a, const void *b, void *data)
{
	const struct flame *f = data;
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	if (f->nodes[x].total != f->nodes[y].total)
		return f->nodes[x].total < f->nodes[y].total ? 1 : -1;
	return f->nodes[x].function < f->nodes[y].function ? -1 : 1;
}

/* Links a node's children anew, the largest first. Without memory they stay as they are. */
static void sort_children(struct flame *f, unsigned parent)
{
	unsigned count = 0, i, *list;

	for (i = f->nodes[parent].child; i != 0; i = f->nodes[i].next)
		count++;
	list = count > 1 ? mem_alloc_array(count, sizeof(*list)) : NULL;
	if (list == NULL)
		return;
	count = 0;
	for (i = f->nodes[parent].child; i != 0; i = f->nodes[i].next)
		list[count++] = i;
	qsort_r(list, count, sizeof(*list), by_total, f);
	f->nodes[parent].child = list[0];
	for (i = 0; i < count; i++)
		f->nodes[list[i]].next = i + 1 < count ? list[i + 1] : 0;
	mem_free(list);
}

static void draw_box(struct drawing *d, const struct flame_node *n, int64_t from, unsigned depth)
{
	const struct flame *f = d->f;
	const struct flame_function *function = &f->functions[n->function];

	buf_printf(d->out, "<svg x=\"%.3f%%\" y=\"%u\" width=\"%.3f%%\" height=\"%d\"><title>",
		   share(f, from), depth * ROW_HEIGHT, share(f, n->total), BOX_HEIGHT);
	write_text(d->out, &function->name);
	buf_write_str(d->out, " (");
	write_text(d->out, &function->origin);
	buf_printf(d->out, ") %.1f %%, ", share(f, n->total));
	flame_write_value(d->out, f, n->total);
	buf_printf(d->out, "</title><rect class=\"c%u\" width=\"100%%\" height=\"100%%\"/>",
		   colour_class(f, function));
	if (n->total >= f->total / SHARE_NAMED) {
		buf_write_str(d->out, "<text x=\"4\" y=\"13\">");
		write_text(d->out, &function->name);
		buf_write_str(d->out, "</text>");
	}
	buf_write_str(d->out, "</svg>\n");
}

/* As deep as FLAME_DEPTH_MAX, on a worker's stack. */
static void draw_children(struct drawing *d, unsigned parent, int64_t from, unsigned depth)
{
	sort_children(d->f, parent);
	for (unsigned i = d->f->nodes[parent].child; i != 0; i = d->f->nodes[i].next) {
		const struct flame_node *n = &d->f->nodes[i];

		if (n->total < MAX(d->f->total / SHARE_SHOWN, INT64_C(1)) || d->boxes == BOXES_MAX)
			return; /* and so are those behind it */
		d->boxes++;
		draw_box(d, n, from, depth);
		draw_children(d, i, from, depth + 1);
		from += n->total;
	}
}

static void draw_picture(struct buf *out, struct flame *f)
{
	struct drawing d = { .out = out, .f = f };

	buf_printf(out,
		   "<div id=\"flame\" class=\"flame\">\n<svg width=\"100%%\" height=\"%u\" "
		   "role=\"img\" aria-label=\"Flame graph; the table below says the same in "
		   "words\">\n",
		   MAX(f->depth, 1U) * ROW_HEIGHT);
	draw_children(&d, 0, 0, 0);
	buf_write_str(out, "</svg>\n</div>\n");
}

static void write_legend(struct buf *out, const struct flame *f)
{
	buf_write_str(out, "<p class=\"legend\">");
	for (unsigned i = 0; i < f->origin_count; i++) {
		buf_printf(out, "<span><i class=\"key c%u\"></i><span>", i);
		write_text(out, &f->origins[i].name);
		buf_write_str(out, "</span>");
		if (f->origins[i].self > 0)
			buf_printf(out, " %.0f %%", share(f, f->origins[i].self));
		buf_write_str(out, "</span>\n");
	}
	buf_write_str(out, "</p>\n");
}

/* ---- In words ---- */

static const struct flame_function *busiest(const struct flame *f)
{
	const struct flame_function *best = NULL;

	for (unsigned i = 0; i < f->function_count; i++)
		if (best == NULL || f->functions[i].self > best->self)
			best = &f->functions[i];
	return best;
}

static void write_verdict(struct buf *out, const struct flame *f)
{
	const struct flame_function *best = busiest(f);

	buf_write_str(out, "<p class=\"verdict\"><b>");
	flame_write_value(out, f, f->total);
	buf_printf(out, "</b> in %u stack%s", f->stacks, f->stacks == 1 ? "" : "s");
	if (best != NULL && best->self > 0) {
		buf_printf(out, "; %.0f %% of it in <b>", share(f, best->self));
		write_text(out, &best->name);
		buf_write_str(out, "</b> (");
		write_text(out, &best->origin);
		buf_write_str(out, ")");
	}
	buf_write_str(out, ".</p>\n");
	if (f->cut > 0) {
		buf_write_str(out, "<p class=\"hint\">Too many stacks or too deep ones: ");
		flame_write_value(out, f, f->cut);
		buf_write_str(out, " count further up than where they happened.</p>\n");
	}
}

static int by_self(const void *a, const void *b, void *data)
{
	const struct flame *f = data;
	const struct flame_function *x = &f->functions[*(const unsigned *)a],
				    *y = &f->functions[*(const unsigned *)b];

	if (x->self != y->self)
		return x->self < y->self ? 1 : -1;
	return x->total < y->total ? 1 : x->total > y->total ? -1 : 0;
}

static void write_row(struct buf *out, const struct flame *f, const struct flame_function *function)
{
	buf_printf(out, "<tr><th scope=\"row\"><i class=\"key c%u\"></i>",
		   colour_class(f, function));
	write_text(out, &function->name);
	buf_write_str(out, "</th><td class=\"quiet less\">");
	write_text(out, &function->origin);
	buf_write_str(out, "</td><td class=\"n\">");
	flame_write_value(out, f, function->self);
	buf_printf(out, "</td><td class=\"n\">%.1f %%</td><td class=\"n less\">",
		   share(f, function->self));
	flame_write_value(out, f, function->total);
	buf_printf(out, "</td><td class=\"n less\">%.1f %%</td></tr>\n", share(f, function->total));
}

static void write_functions(struct buf *out, const struct flame *f)
{
	unsigned *list = mem_alloc_array(MAX(f->function_count, 1U), sizeof(*list));

	for (unsigned i = 0; list != NULL && i < f->function_count; i++)
		list[i] = i;
	if (list != NULL)
		qsort_r(list, f->function_count, sizeof(*list), by_self, (void *)(uintptr_t)f);
	buf_write_str(out, "<h2>Functions</h2>\n<table class=\"functions\"><thead><tr>"
			   "<th scope=\"col\">function</th><th class=\"less\" scope=\"col\">of</th>"
			   "<th class=\"n\" scope=\"col\">itself</th><th class=\"n\" scope=\"col\">"
			   "share</th><th class=\"n less\" scope=\"col\">with what it called</th>"
			   "<th class=\"n less\" scope=\"col\">share</th></tr></thead>\n<tbody>\n");
	for (unsigned i = 0; list != NULL && i < MIN(f->function_count, (unsigned)ROWS_SHOWN); i++)
		if (f->functions[list[i]].self > 0)
			write_row(out, f, &f->functions[list[i]]);
	buf_write_str(out, "</tbody></table>\n");
	mem_free(list);
}

/* ---- Labels ---- */

static void write_label_row(struct buf *out, const struct flame *f, const char *kind,
			    const struct flame_label *l, int64_t sum)
{
	buf_write_str(out, "<tr><th scope=\"row\">");
	if (l->text.len > 0)
		write_text(out, &l->text);
	else
		buf_write_str(out, "<span class=\"none\">none</span>");
	buf_write_str(out, "</th><td class=\"n\">");
	flame_write_value(out, f, l->value);
	buf_printf(out, "</td><td class=\"n\">%.1f %%</td><td class=\"n\">",
		   sum > 0 ? 100.0 * (double)l->value / (double)sum : 0);
	if (l->value < sum) {
		buf_printf(out, "<button class=\"pick\" form=\"capture\" name=\"%s\" value=\"",
			   kind);
		write_text(out, &l->text);
		buf_write_str(out, "\">only this</button>");
	}
	buf_write_str(out, "</td></tr>\n");
}

/* Of CPU time the profiler knows whose trace it went to, of waiting what for. */
static const char *label_title(const struct flame *f, enum flame_label_kind kind)
{
	bool is_cpu = strcmp(f->type, "cpu") == 0 || strcmp(f->type, "samples") == 0;

	switch (kind) {
	case FLAME_CATEGORY: return is_cpu ? "Trace category" : "State";
	case FLAME_TASK: return "Operation";
	case FLAME_THREAD: return "Thread";
	case FLAME_LABEL_KINDS: break;
	}
	return "";
}

/* A profile whose samples have one label, or none, has nothing to tell apart. */
static void write_labels(struct buf *out, const struct flame *f, enum flame_label_kind kind)
{
	const struct flame_labels *labels = &f->labels[kind];
	int64_t sum = labels->others;

	if (labels->count == 0 || (labels->count == 1 && labels->list[0].text.len == 0))
		return;
	for (unsigned i = 0; i < labels->count; i++)
		sum += labels->list[i].value;
	buf_printf(out, "<div><h2>%s</h2>\n<table class=\"labels\" data-kind=\"%s\"><tbody>\n",
		   label_title(f, kind), flame_label_name(kind));
	for (unsigned i = 0; i < labels->count; i++)
		write_label_row(out, f, flame_label_name(kind), &labels->list[i], sum);
	buf_write_str(out, "</tbody></table></div>\n");
}

static int by_value(const void *a, const void *b)
{
	const struct flame_label *x = a, *y = b;

	return x->value < y->value ? 1 : x->value > y->value ? -1 : 0;
}

void flame_draw(struct buf *out, struct flame *f)
{
	write_verdict(out, f);
	draw_picture(out, f);
	write_legend(out, f);
	write_functions(out, f);
	buf_write_str(out, "<div class=\"columns\">\n");
	for (int i = 0; i < FLAME_LABEL_KINDS; i++) {
		qsort(f->labels[i].list, f->labels[i].count, sizeof(*f->labels[i].list), by_value);
		write_labels(out, f, (enum flame_label_kind)i);
	}
	buf_write_str(out, "</div>\n");
}
