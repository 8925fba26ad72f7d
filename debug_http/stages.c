#include <stdio.h>
#include <string.h>

#include "debug_http/traces.h"

/* A stage keeps its colour on every page and, mostly, over restarts: the name's hash chooses one of
 * the twelve vivid ones; when another stage has that one already, the next free, at last one of the
 * four dull ones. Colour-blind people can tell them apart as far as that goes for so many; names
 * stand beside them everywhere. */

enum { PALETTE_VIVID = 12 };

static unsigned name_hash(const char *name)
{
	uint32_t h = 106065; /* FNV-1a, from an offset that keeps the usual stages of a discovery
				and of a peer apart */

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h;
}

static bool is_taken(const struct palette *p, unsigned colour)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->colours[i] == colour)
			return true;
	return false;
}

static unsigned choose_colour(const struct palette *p, unsigned preferred)
{
	for (unsigned i = 0; i < PALETTE_VIVID; i++)
		if (!is_taken(p, (preferred + i) % PALETTE_VIVID))
			return (preferred + i) % PALETTE_VIVID;
	for (unsigned i = PALETTE_VIVID; i < PALETTE_COLOURS; i++)
		if (!is_taken(p, i))
			return i;
	return preferred;
}

unsigned palette_colour(struct palette *p, const char *stage)
{
	unsigned colour;

	for (unsigned i = 0; i < p->count; i++)
		if (strcmp(p->names[i], stage) == 0)
			return p->colours[i];
	colour = choose_colour(p, name_hash(stage) % PALETTE_VIVID);
	if (p->count < TRACE_STAGES_MAX) {
		p->names[p->count] = stage;
		p->colours[p->count++] = (uint8_t)colour;
	}
	return colour;
}

/* ---- Sums ---- */

void stage_sort(struct stage_sum *sums, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		struct stage_sum moved = sums[i];
		size_t k = i;

		for (; k > 0 && sums[k - 1].ns < moved.ns; k--)
			sums[k] = sums[k - 1];
		sums[k] = moved;
	}
}

size_t stage_sums(struct trace *t, const struct trace_span_view *s,
		  struct stage_sum ret[STAGE_SUMS_MAX])
{
	struct trace_stage_view stage;
	size_t count = 0;

	for (uint32_t i = 0; trace_stage_at(t, s, i, &stage); i++) {
		size_t k = 0;

		while (k < count && ret[k].name != stage.name)
			k++;
		if (k == STAGE_SUMS_MAX)
			continue;
		if (k == count)
			ret[count++] =
				(struct stage_sum){ .category = s->category, .name = stage.name };
		ret[k].ns += stage.duration_ns;
		ret[k].busy_ns += stage.busy_ns;
		ret[k].queued_ns += stage.queued_ns;
		ret[k].max_ns = MAX(ret[k].max_ns, stage.duration_ns);
		ret[k].count++;
	}
	stage_sort(ret, count);
	return count;
}

void stage_sums_add(struct trace *t, const struct trace_span_view *s, struct stage_sum *sums,
		    size_t *count)
{
	struct stage_sum own[STAGE_SUMS_MAX];
	size_t own_count = stage_sums(t, s, own);

	for (size_t i = 0; i < own_count; i++) {
		size_t k = 0;

		while (k < *count &&
		       (sums[k].name != own[i].name || sums[k].category != own[i].category))
			k++;
		if (k == CATEGORY_SUMS_MAX)
			return;
		if (k == *count)
			sums[(*count)++] =
				(struct stage_sum){ .category = s->category, .name = own[i].name };
		sums[k].ns += own[i].ns;
		sums[k].busy_ns += own[i].busy_ns;
		sums[k].queued_ns += own[i].queued_ns;
		sums[k].max_ns = MAX(sums[k].max_ns, own[i].ns);
		sums[k].count++;
		sums[k].failed += s->finished && s->status != 0;
	}
}

/* ---- Drawing ---- */

uint64_t axis_step(uint64_t length_ns, unsigned most)
{
	static const uint64_t round_s[] = { 10,	 15,  20,  30,	 60,   120, 180,
					    300, 600, 900, 1200, 1800, 3600 };

	if (length_ns > 60 * NS_PER_SEC)
		for (size_t i = 0; i < ARRAY_SIZE(round_s); i++)
			if (length_ns / (round_s[i] * NS_PER_SEC) < most)
				return round_s[i] * NS_PER_SEC;
	for (uint64_t ten = 1; ten < UINT64_MAX / 100; ten *= 10)
		for (uint64_t k = 1; k <= 5; k += k == 1 ? 1 : 3)
			if (length_ns / (ten * k) < most)
				return ten * k;
	return MAX(length_ns, UINT64_C(1));
}

void axis_write_share(struct buf *out, uint64_t part, uint64_t whole)
{
	double percent = whole == 0 ? 0 : (double)part * 100 / (double)whole;

	if (part > 0 && percent < 0.5)
		buf_write_str(out, "&lt;1 %");
	else
		buf_printf(out, "%.0f %%", percent);
}

static double share(const struct axis *axis, uint64_t ns)
{
	return axis->length_ns == 0 ? 0 : (double)ns * 100 / (double)axis->length_ns;
}

void axis_write_percent(struct buf *out, const char *attribute, const struct axis *axis,
			uint64_t ns)
{
	buf_printf(out, " %s=\"%.2f%%\"", attribute, share(axis, ns));
}

static void write_segment(struct buf *out, struct palette *p, const struct axis *axis,
			  uint64_t start_ns, const char *name, uint64_t ns, uint64_t whole_ns)
{
	if (share(axis, ns) < 0.05)
		return; /* narrower than a pixel: the table has it */
	buf_printf(out, "<rect class=\"c%u\"", palette_colour(p, name));
	axis_write_percent(out, "x", axis, start_ns - axis->start_ns);
	axis_write_percent(out, "width", axis, ns);
	buf_write_str(out, "><title>");
	page_write_text(out, name);
	buf_write_u8(out, ' ');
	page_write_duration(out, ns);
	buf_write_str(out, " (");
	axis_write_share(out, ns, whole_ns);
	buf_write_str(out, ")</title></rect>");
}

void stage_write_bar(struct buf *out, struct trace *t, struct palette *p,
		     const struct trace_span_view *s, const struct axis *axis)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	struct trace_stage_view stage;
	uint64_t at_ns = s->start_ns;

	if (s->stage_count <= STAGE_SEGMENTS_MAX && !s->stages_folded) {
		for (uint32_t i = 0; trace_stage_at(t, s, i, &stage); i++)
			write_segment(out, p, axis, s->start_ns + stage.start_ns, stage.name,
				      stage.duration_ns, s->duration_ns);
		return;
	}
	for (size_t i = 0, count = stage_sums(t, s, sums); i < count; i++) {
		write_segment(out, p, axis, at_ns, sums[i].name, sums[i].ns, s->duration_ns);
		at_ns += sums[i].ns;
	}
}

void stage_write_name(struct buf *out, struct palette *p, const char *name)
{
	buf_printf(out, "<i class=\"key c%u\"></i>", palette_colour(p, name));
	page_write_text(out, name);
}

bool stage_write_longest(struct buf *out, struct trace *t, struct palette *p,
			 const struct trace_span_view *s)
{
	struct stage_sum sums[STAGE_SUMS_MAX];

	if (stage_sums(t, s, sums) == 0)
		return false;
	axis_write_share(out, sums[0].ns, s->duration_ns);
	buf_write_str(out, " in ");
	stage_write_name(out, p, sums[0].name);
	buf_write_str(out, " (");
	page_write_duration(out, sums[0].ns);
	buf_write_u8(out, ')');
	return true;
}

bool stage_write_now(struct buf *out, struct trace *t, struct palette *p,
		     const struct trace_span_view *s)
{
	struct trace_stage_view now;

	if (s->finished || s->stage_count == 0 || !trace_stage_at(t, s, s->stage_count - 1, &now))
		return false;
	buf_write_str(out, "now in ");
	stage_write_name(out, p, now.name);
	buf_write_str(out, " for ");
	page_write_duration(out, now.duration_ns);
	return true;
}

void span_write_outcome(struct buf *out, const struct trace_span_view *s)
{
	if (!s->finished) {
		buf_write_str(out, "<span class=\"out run\">active</span>");
		return;
	}
	buf_write_str(out, s->status == 0 ? "<span class=\"out ok\">" : "<span class=\"out bad\">");
	page_write_text(out, s->outcome);
	buf_write_str(out, "</span>");
}
