#include <inttypes.h>

#include "debug_http/traces.h"

/* All that is known of one span: its stages, what it was told, with what it is linked. */

enum {
	TITLE_IN_ROW = 24 /* a longer one may be cut off by the row's width, so that the details
			     repeat it */
};

static void write_attrs(struct traces_page *p, const struct trace_span_view *s)
{
	struct trace_attr_view attr;
	struct buf *out = &p->out;

	for (uint32_t i = 0; trace_attr_at(p->trace, s, i, &attr); i++) {
		buf_write_str(out, "<div><dt>");
		page_write_text(out, attr.key);
		buf_write_str(out, "</dt><dd>");
		if (attr.type == TRACE_ATTR_STR)
			page_write_foreign(out, attr.str, attr.str_len);
		else if (attr.type == TRACE_ATTR_INT)
			buf_printf(out, "%" PRId64, attr.num);
		else
			buf_write_str(out, attr.num ? "true" : "false");
		buf_write_str(out, "</dd></div>\n");
	}
	if (s->items > 0 || s->bytes > 0) {
		buf_printf(out, "<div><dt>moved</dt><dd>%" PRIu64 " item%s, ", s->items,
			   s->items == 1 ? "" : "s");
		page_write_bytes(out, s->bytes);
		if (s->bytes > 0 && s->duration_ns > NS_PER_MS) {
			buf_write_str(out, ", ");
			page_write_bytes(
				out, (uint64_t)((double)s->bytes * 1e9 / (double)s->duration_ns));
			buf_write_str(out, "/s");
		}
		buf_write_str(out, "</dd></div>\n");
	}
}

/* Who was neither at work nor in line for it waited: for a peer, a disk, a timer, a child. */
static void write_busy(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	if (trace_cpu(p->trace) == TRACE_CPU_OFF)
		return;
	buf_write_str(out, "<div><dt>CPU</dt><dd>");
	page_write_duration(out, s->busy_ns);
	buf_write_str(out, " (");
	axis_write_share(out, s->busy_ns, s->duration_ns);
	buf_write_str(out, "), queued ");
	page_write_duration(out, s->queued_ns);
	buf_write_str(out, " (");
	axis_write_share(out, s->queued_ns, s->duration_ns);
	buf_write_str(out, "), waited ");
	page_write_duration(out, trace_waiting_ns(s));
	buf_write_str(out, "</dd></div>\n");
}

static void write_links(struct traces_page *p, const struct trace_span_view *s)
{
	struct trace_link_view link;
	struct buf *out = &p->out;

	for (uint32_t i = 0; trace_link_at(p->trace, s, i, &link); i++) {
		buf_write_str(out, "<div><dt>");
		page_write_text(out, link.why);
		buf_write_str(out, "</dt><dd>");
		if (!p->is_file) {
			buf_write_str(out, "<a href=\"/debug/traces?id=");
			page_write_hex(out, link.trace_id, sizeof(link.trace_id));
			span_write_href(out, link.span_id);
			buf_write_str(out, "\">");
		}
		buf_write_str(out, "trace ");
		page_write_hex(out, link.trace_id, 4);
		buf_write_str(out, p->is_file ? "…</dd></div>\n" : "…</a></dd></div>\n");
	}
	if (!s->has_parent)
		return;
	buf_write_str(out, s->depth == 0 ? "<div><dt>asked for by</dt><dd><a href=\"#s" :
					   "<div><dt>part of</dt><dd><a href=\"#s");
	page_write_hex(out, s->parent_id, sizeof(s->parent_id));
	buf_write_str(out, "\">span ");
	page_write_hex(out, s->parent_id, sizeof(s->parent_id));
	buf_write_str(out, s->depth == 0 ? "</a>, here or in another daemon</dd></div>\n" :
					   "</a></dd></div>\n");
}

static void write_mark(struct traces_page *p, const struct trace_span_view *s, uint32_t i,
		       struct buf *text)
{
	struct trace_mark_view mark;
	struct buf *out = &p->out;

	buf_clear(text);
	if (!trace_mark_at(p->trace, s, i, &mark, text))
		return;
	buf_write_str(out, mark.is_error ? "<li class=\"bad\"><span class=\"at\">+" :
					   "<li><span class=\"at\">+");
	page_write_duration(out, mark.at_ns);
	buf_write_str(out, mark.is_error ? "</span> <span><b>error</b> " : "</span> <span>");
	if (text->len > 0)
		page_write_foreign(out, (const char *)text->data, text->len);
	buf_write_str(out, "</span></li>\n");
}

void details_write_marks(struct traces_page *p, const struct trace_span_view *s)
{
	uint32_t hidden = s->mark_count > TRACES_MARKS_MAX ? s->mark_count - TRACES_MARKS_MAX : 0;
	struct buf *out = &p->out;
	struct buf text;

	if (s->mark_count == 0)
		return;
	buf_init(&text, TRACES_ITEM_MAX);
	buf_write_str(out, "<ol class=\"marks\">\n");
	for (uint32_t i = 0; i < s->mark_count; i++) {
		if (hidden > 0 && i == TRACES_MARKS_MAX / 2) {
			buf_printf(out,
				   "<li class=\"gap\"><span class=\"at\"></span> %" PRIu32
				   " marks are not listed here; the JSON has them</li>\n",
				   hidden);
			i += hidden;
		}
		write_mark(p, s, i, &text);
		if (s->marks_dropped > 0 && i + 1 == s->marks_before_gap)
			buf_printf(out,
				   "<li class=\"gap\"><span class=\"at\"></span> %" PRIu32
				   " marks came here and were not kept</li>\n",
				   s->marks_dropped);
	}
	buf_write_str(out, "</ol>\n");
	buf_fini(&text);
}

void details_write_stages(struct traces_page *p, const struct trace_span_view *s)
{
	struct stage_sum sums[STAGE_SUMS_MAX];
	size_t count = stage_sums(p->trace, s, sums);
	struct buf *out = &p->out;

	if (count == 0)
		return;
	buf_write_str(out, "<ul class=\"stages\">\n");
	for (size_t i = 0; i < count; i++) {
		buf_write_str(out, "<li>");
		stage_write_name(out, p->palette, sums[i].name);
		buf_write_str(out, " <b>");
		page_write_duration(out, sums[i].ns);
		buf_write_str(out, "</b> ");
		axis_write_share(out, sums[i].ns, s->duration_ns);
		if (trace_cpu(p->trace) != TRACE_CPU_OFF) {
			buf_write_str(out, ", CPU ");
			page_write_duration(out, sums[i].busy_ns);
		}
		if (sums[i].queued_ns > 0) {
			buf_write_str(out, ", queued ");
			page_write_duration(out, sums[i].queued_ns);
		}
		if (sums[i].count > 1)
			buf_printf(out, ", %" PRIu32 " times", sums[i].count);
		buf_write_str(out, "</li>\n");
	}
	buf_write_str(out, "</ul>\n");
}

void details_write_facts(struct traces_page *p, const struct trace_span_view *s)
{
	struct buf *out = &p->out;

	buf_write_str(out, "<dl class=\"facts\">\n");
	if (s->depth > 0 && s->title_len > TITLE_IN_ROW) {
		buf_write_str(out, "<div><dt>title</dt><dd>");
		page_write_foreign(out, s->title, s->title_len);
		buf_write_str(out, "</dd></div>\n");
	}
	buf_write_str(out, "<div><dt>started</dt><dd>");
	page_write_utc(out, s->start_wall_ns);
	if (s->depth > 0) {
		buf_write_str(out, ", at +");
		page_write_duration(out, s->start_ns - MIN(s->start_ns, p->story->axis.start_ns));
	}
	buf_write_str(out, "</dd></div>\n");
	write_busy(p, s);
	write_attrs(p, s);
	write_links(p, s);
	if (s->children_dropped > 0)
		buf_printf(out, "<div><dt>not recorded</dt><dd>%" PRIu32 " child %s</dd></div>\n",
			   s->children_dropped, plural(s->children_dropped, "span", "spans"));
	if (s->depth == 0)
		buf_write_str(out, "<div><dt>trace</dt><dd><code>");
	else
		buf_write_str(out, "<div><dt>span</dt><dd><code>");
	page_write_hex(out, s->depth == 0 ? s->trace_id : s->span_id, s->depth == 0 ? 16 : 8);
	buf_write_str(out, "</code></dd></div>\n</dl>\n");
}
