#include <string.h>

#include "debug_http/traces.h"

/* One trace in a sentence: how long, which stage took most of it, and who was at work in it. */

enum { PATH_CATEGORIES_MAX = 16, PATH_NAMED_MAX = 3 };

void span_write_name(struct buf *out, const struct trace_span_view *s, size_t most)
{
	size_t len = MIN(s->title_len, most);

	while (len < s->title_len && len > 0 && ((uint8_t)s->title[len] & 0xc0) == 0x80)
		len--;
	buf_write_str(out, "<b>");
	page_write_text(out, s->category);
	buf_write_str(out, "</b> ");
	page_write_foreign(out, s->title, len);
	if (len < s->title_len)
		buf_write_str(out, "…");
}

void span_write_href(struct buf *out, const uint8_t span_id[8])
{
	buf_write_str(out, "#s");
	page_write_hex(out, span_id, 8);
}

/* ---- Who was at work in the longest stage ---- */

struct culprit {
	struct stretch within;
	uint64_t overlap_ns;
	uint32_t seen;
	struct trace_span_view child;
};

/* A root's longest stretch in its longest stage. */
static struct stretch longest_stretch(struct trace *t, const struct trace_span_view *root)
{
	struct stretch ret = { 0, root->start_ns, root->start_ns + root->duration_ns };
	struct stage_sum sums[STAGE_SUMS_MAX];
	struct trace_stage_view stage;
	uint64_t longest = 0;

	if (stage_sums(t, root, sums) == 0)
		return ret;
	for (uint32_t i = 0; trace_stage_at(t, root, i, &stage); i++) {
		if (stage.name == sums[0].name && stage.duration_ns > longest) {
			longest = stage.duration_ns;
			ret.start_ns = root->start_ns + stage.start_ns;
			ret.end_ns = ret.start_ns + longest;
		}
	}
	return ret;
}

static bool measure_overlap(void *data, const struct trace_span_view *s)
{
	struct culprit *c = data;
	uint64_t start = MAX(s->start_ns, c->within.start_ns);
	uint64_t end = MIN(s->start_ns + s->duration_ns, c->within.end_ns);

	if (s->depth == 1 && end > start && end - start > c->overlap_ns) {
		c->overlap_ns = end - start;
		c->child = *s;
	}
	return ++c->seen < TRACES_SPANS_MAX;
}

/* The child that was at work longest in the root's longest stage; false when there is none. */
static bool find_culprit(struct trace *t, const struct trace_span_view *root,
			 struct trace_span_view *ret)
{
	struct culprit c = { 0 };

	if (root->child_count == 0)
		return false;
	c.within = longest_stretch(t, root);
	trace_walk(t, root->slot, measure_overlap, &c);
	*ret = c.child;
	return c.overlap_ns > 0;
}

void verdict_write_inner(struct traces_page *p, const struct trace_span_view *root)
{
	struct trace_span_view child;
	struct buf *out = &p->out;

	if (!find_culprit(p->trace, root, &child))
		return;
	buf_write_str(out, " › ");
	page_write_text(out, child.category);
	if (child.stage_count == 0)
		return;
	buf_write_str(out, ": ");
	(void)stage_write_longest(out, p->trace, p->palette, &child);
}

static void write_culprit(struct traces_page *p)
{
	struct trace_span_view child;
	struct buf *out = &p->out;

	if (!find_culprit(p->trace, &p->root, &child))
		return;
	buf_write_str(out, "<br/>Longest in it: <a href=\"");
	span_write_href(out, child.span_id);
	buf_write_str(out, "\">");
	span_write_name(out, &child, TITLE_IN_SENTENCE);
	buf_write_str(out, "</a>, ");
	page_write_duration(out, child.duration_ns);
	if (child.stage_count > 0) {
		buf_write_str(out, ", ");
		(void)stage_write_longest(out, p->trace, p->palette, &child);
	}
	buf_write_str(out, ".");
}

/* ---- The critical path ---- */

/* How long each category is on the critical path. */
static size_t path_sums(const struct story *s, struct stage_sum ret[PATH_CATEGORIES_MAX])
{
	size_t count = 0;

	for (uint32_t i = 0; i < s->path_count; i++) {
		const char *category = s->spans[s->path[i].span].category;
		size_t k = 0;

		while (k < count && ret[k].name != category)
			k++;
		if (k == PATH_CATEGORIES_MAX)
			continue;
		if (k == count)
			ret[count++] = (struct stage_sum){ .name = category };
		ret[k].ns += s->path[i].end_ns - s->path[i].start_ns;
	}
	stage_sort(ret, count);
	return count;
}

static void write_path(struct traces_page *p)
{
	struct stage_sum sums[PATH_CATEGORIES_MAX];
	size_t count = path_sums(p->story, sums);
	struct buf *out = &p->out;

	if (p->story->count < 2)
		return;
	buf_write_str(out,
		      "<p class=\"quiet path\"><svg class=\"sample\" aria-hidden=\"true\"><line "
		      "class=\"path\" x2=\"100%\" y1=\"50%\" y2=\"50%\"/></svg> Critical "
		      "path, by what ended last: ");
	for (size_t i = 0; i < MIN(count, (size_t)PATH_NAMED_MAX); i++) {
		buf_write_str(out, i > 0 ? ", <b>" : "<b>");
		page_write_text(out, sums[i].name);
		buf_write_str(out, "</b> ");
		page_write_duration(out, sums[i].ns);
		buf_write_str(out, " (");
		axis_write_share(out, sums[i].ns, p->root.duration_ns);
		buf_write_str(out, ")");
	}
	buf_write_str(out, ".</p>\n");
}

static void write_part(struct buf *out, const char *class, const char *name, uint64_t ns,
		       const struct axis *whole)
{
	buf_printf(out,
		   "<svg class=\"sample\" aria-hidden=\"true\"><rect class=\"%s\" "
		   "width=\"100%%\" height=\"100%%\"/></svg> %s <b>",
		   class, name);
	page_write_duration(out, ns);
	buf_write_str(out, "</b> (");
	axis_write_share(out, ns, whole->length_ns);
	buf_write_u8(out, ')');
}

/* All spans work on one thread, so that their CPU time adds up to no more than the whole; what is
 * queued may overlap, and is drawn as far as there is room. */
void verdict_write_split(struct traces_page *p)
{
	const struct story *s = p->story;
	uint64_t busy = MIN(s->busy_ns, s->axis.length_ns);
	uint64_t queued = MIN(s->queued_ns, s->axis.length_ns - busy);
	uint64_t waited = s->axis.length_ns - busy - queued;
	struct buf *out = &p->out;

	if (trace_cpu(p->trace) == TRACE_CPU_OFF)
		return;
	buf_write_str(out, "<svg class=\"stack split\" aria-hidden=\"true\"><rect class=\"busy\"");
	axis_write_percent(out, "width", &s->axis, busy);
	buf_write_str(out, "/><rect class=\"queued\"");
	axis_write_percent(out, "x", &s->axis, busy);
	axis_write_percent(out, "width", &s->axis, queued);
	buf_write_str(out, "/></svg>\n<p class=\"quiet parts\">");
	write_part(out, "busy", "At work", busy, &s->axis);
	buf_write_str(out, " ");
	write_part(out, "queued", "queued", queued, &s->axis);
	buf_write_str(out, " ");
	write_part(out, "waited", "waiting for others", waited, &s->axis);
	buf_write_str(out, "</p>\n");
}

void verdict_write(struct traces_page *p)
{
	const struct trace_span_view *s = &p->root;
	struct buf *out = &p->out;

	buf_write_str(out, "<p class=\"verdict\">");
	buf_write_str(out, !s->finished	  ? "Running for <b>" :
			   s->status == 0 ? "Took <b>" :
					    "Failed after <b>");
	page_write_duration(out, s->duration_ns);
	buf_write_str(out, "</b>");
	if (s->stage_count > 0) {
		buf_write_str(out, ": <b>");
		(void)stage_write_longest(out, p->trace, p->palette, s);
		buf_write_str(out, "</b>");
	}
	if (!s->finished && s->stage_count > 0) {
		buf_write_str(out, ", ");
		(void)stage_write_now(out, p->trace, p->palette, s);
	}
	buf_write_str(out, ".");
	write_culprit(p);
	buf_write_str(out, "</p>\n");
	write_path(p);
}
