/* The JSON answer to a query, version 1.
 *
 *   {"v":1, "now":ISO, "matched":n, "total":n, "store":{counters},
 *    "categories":[{statistics}], "traces":[
 *     {"trace_id":hex, "root":hex, "category":…, "title":…, "start":ISO, "duration_ns":n,
 *      "status":n, "status_name":…, "outcome":…, "active":bool, "spans":[
 *       {"span_id":hex, "parent_id":hex|null, "category":…, "title":…, "start":ISO,
 *        "duration_ns":n, "status":n, "status_name":…, "outcome":…,
 *        "depth":n, "start_ns":n, "finished":bool, "items":n, "bytes":n,
 *        "children":n, "children_dropped":n,
 *        "stages":[{"name":…, "start_ns":n, "duration_ns":n}], "stages_folded":bool,
 *        "marks":[{"at_ns":n, "text":…, "error":true?}],
 *        "marks_dropped":n, "marks_before_gap":n,
 *        "attrs":{…}, "links":[{"trace_id":hex, "span_id":hex, "why":…}]}]}]}
 *
 * Spans are flat, parents first. A span's start_ns counts from the trace's start; a stage's
 * start_ns and a mark's at_ns from the span's. "active" means that some span of the trace is open.
 * Fields may be added within version 1; none changes its meaning. */
#include <inttypes.h>

#include "base/err.h"
#include "trace/text.h"

enum { ROOTS_MAX = 250 };

static void json_hex(struct buf *out, const uint8_t *bytes, size_t size)
{
	char hex[TRACE_ID_HEX_SIZE + 2], *p = hex;

	*p++ = '"';
	p = hex_write(p, bytes, size);
	*p++ = '"';
	buf_write(out, hex, (size_t)(p - hex));
}

static void json_text(struct buf *out, const char *key, const char *s, size_t len)
{
	buf_printf(out, ",\"%s\":", key);
	buf_write_json_str(out, s, len);
}

static void json_time(struct buf *out, const char *key, uint64_t wall_ns)
{
	char time[TEXT_TIME_SIZE];

	text_time(time, wall_ns);
	buf_printf(out, ",\"%s\":\"%s\"", key, time);
}

/* A status has no name while there is none. */
static const char *status_name(const struct trace_span_view *s)
{
	if (!s->finished)
		return "";
	return s->status == 0 ? "OK" : err_name(s->status);
}

static void json_stages(struct trace *t, const struct trace_span_view *s, struct buf *out)
{
	struct trace_stage_view stage;

	buf_write_str(out, ",\"stages\":[");
	for (uint32_t i = 0; trace_stage_at(t, s, i, &stage); i++) {
		buf_write_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
		buf_write_json_str(out, stage.name, strlen(stage.name));
		buf_printf(out, ",\"start_ns\":%" PRIu64 ",\"duration_ns\":%" PRIu64 "}",
			   stage.start_ns, stage.duration_ns);
	}
	buf_printf(out, "],\"stages_folded\":%s", s->stages_folded ? "true" : "false");
}

static void json_marks(struct trace *t, const struct trace_span_view *s, struct buf *out)
{
	struct trace_mark_view mark;
	struct buf text;

	buf_init(&text, MARK_FORMATTED_MAX);
	buf_write_str(out, ",\"marks\":[");
	for (uint32_t i = 0; trace_mark_at(t, s, i, &mark, &text); i++) {
		buf_printf(out, "%s{\"at_ns\":%" PRIu64 ",\"text\":", i > 0 ? "," : "", mark.at_ns);
		buf_write_json_str(out, text.data != NULL ? (const char *)text.data : "", text.len);
		buf_write_str(out, mark.is_error ? ",\"error\":true}" : "}");
		buf_clear(&text);
	}
	buf_printf(out, "],\"marks_dropped\":%" PRIu32 ",\"marks_before_gap\":%" PRIu32,
		   s->marks_dropped, s->marks_before_gap);
	buf_fini(&text);
}

static void json_attrs(struct trace *t, const struct trace_span_view *s, struct buf *out)
{
	struct trace_attr_view attr;

	buf_write_str(out, ",\"attrs\":{");
	for (uint32_t i = 0; trace_attr_at(t, s, i, &attr); i++) {
		if (i > 0)
			buf_write_u8(out, ',');
		buf_write_json_str(out, attr.key, strlen(attr.key));
		buf_write_u8(out, ':');
		switch (attr.type) {
		case TRACE_ATTR_STR: buf_write_json_str(out, attr.str, attr.str_len); break;
		case TRACE_ATTR_INT: buf_printf(out, "%" PRId64, attr.num); break;
		case TRACE_ATTR_BOOL: buf_write_str(out, attr.num ? "true" : "false"); break;
		}
	}
	buf_write_u8(out, '}');
}

static void json_links(struct trace *t, const struct trace_span_view *s, struct buf *out)
{
	struct trace_link_view link;

	buf_write_str(out, ",\"links\":[");
	for (uint32_t i = 0; trace_link_at(t, s, i, &link); i++) {
		buf_write_str(out, i > 0 ? ",{\"trace_id\":" : "{\"trace_id\":");
		json_hex(out, link.trace_id, sizeof(link.trace_id));
		buf_write_str(out, ",\"span_id\":");
		json_hex(out, link.span_id, sizeof(link.span_id));
		json_text(out, "why", link.why, strlen(link.why));
		buf_write_u8(out, '}');
	}
	buf_write_u8(out, ']');
}

/* What a trace and a span have in common. */
static void json_common(const struct trace_span_view *s, struct buf *out)
{
	json_text(out, "category", s->category, strlen(s->category));
	json_text(out, "title", s->title, s->title_len);
	json_time(out, "start", s->start_wall_ns);
	buf_printf(out, ",\"duration_ns\":%" PRIu64 ",\"status\":%d,\"status_name\":\"%s\"",
		   s->duration_ns, s->status, status_name(s));
	json_text(out, "outcome", s->outcome, strlen(s->outcome));
}

struct walk {
	struct trace *t;
	struct buf *out;
	uint64_t root_start_ns;
};

static bool json_span(void *data, const struct trace_span_view *s)
{
	struct walk *w = data;
	struct buf *out = w->out;

	if (s->depth == 0)
		w->root_start_ns = s->start_ns;
	buf_write_str(out, s->depth == 0 ? "{\"span_id\":" : ",{\"span_id\":");
	json_hex(out, s->span_id, sizeof(s->span_id));
	buf_write_str(out, ",\"parent_id\":");
	if (s->has_parent)
		json_hex(out, s->parent_id, sizeof(s->parent_id));
	else
		buf_write_str(out, "null");
	json_common(s, out);
	buf_printf(out, ",\"depth\":%" PRIu32 ",\"start_ns\":%" PRIu64 ",\"finished\":%s", s->depth,
		   s->start_ns - w->root_start_ns, s->finished ? "true" : "false");
	buf_printf(out, ",\"items\":%" PRIu64 ",\"bytes\":%" PRIu64, s->items, s->bytes);
	buf_printf(out, ",\"children\":%" PRIu32 ",\"children_dropped\":%" PRIu32, s->child_count,
		   s->children_dropped);
	json_stages(w->t, s, out);
	json_marks(w->t, s, out);
	json_attrs(w->t, s, out);
	json_links(w->t, s, out);
	buf_write_u8(out, '}');
	return buf_err(out) == 0;
}

static void json_trace(struct trace *t, uint32_t slot, struct buf *out)
{
	const struct node *root = node_at(t, slot);
	struct walk w = { t, out, 0 };
	struct trace_span_view v;

	view_fill(t, root, clock_now_ns(t->clock), &v);
	buf_write_str(out, "{\"trace_id\":");
	json_hex(out, v.trace_id, sizeof(v.trace_id));
	buf_write_str(out, ",\"root\":");
	json_hex(out, v.span_id, sizeof(v.span_id));
	json_common(&v, out);
	buf_printf(out, ",\"active\":%s,\"spans\":[", root->tree.open_count > 0 ? "true" : "false");
	trace_walk(t, slot, json_span, &w);
	buf_write_str(out, "]}");
}

static void json_categories(struct trace *t, struct buf *out)
{
	struct trace_stats stats[TRACE_CATEGORIES_MAX];
	size_t count = trace_stats_all(t, stats, ARRAY_SIZE(stats));

	buf_write_str(out, ",\"categories\":[");
	for (size_t i = 0; i < count; i++) {
		const struct trace_stats *s = &stats[i];
		buf_write_str(out, i > 0 ? ",{\"category\":" : "{\"category\":");
		buf_write_json_str(out, s->category, strlen(s->category));
		buf_printf(out,
			   ",\"active\":%" PRIu64 ",\"finished\":%" PRIu64 ",\"errored\":%" PRIu64,
			   s->active, s->finished, s->errored);
		buf_printf(out, ",\"sample_count\":%" PRIu64 ",\"window_ns\":%" PRIu64,
			   s->sample_count, s->window_ns);
		buf_printf(out,
			   ",\"p10_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64,
			   s->p10_ns, s->p50_ns, s->p90_ns);
		buf_printf(out, ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}", s->p99_ns,
			   s->max_ns);
	}
	buf_write_u8(out, ']');
}

static void json_store(struct trace *t, struct buf *out)
{
	struct trace_counts c;

	trace_counts(t, &c);
	buf_printf(out,
		   ",\"store\":{\"created\":%" PRIu64 ",\"active_roots\":%" PRIu64
		   ",\"kept_roots\":%" PRIu64,
		   c.created, c.active_roots, c.kept_roots);
	buf_printf(out,
		   ",\"finished\":%" PRIu64 ",\"evicted\":%" PRIu64 ",\"created_spans\":%" PRIu64,
		   c.finished, c.evicted, c.created_spans);
	buf_printf(out, ",\"finished_spans\":%" PRIu64 ",\"evicted_spans\":%" PRIu64,
		   c.finished_spans, c.evicted_spans);
	buf_printf(out,
		   ",\"dropped_spans\":%" PRIu64 ",\"dropped_marks\":%" PRIu64
		   ",\"dropped_parts\":%" PRIu64,
		   c.dropped_spans, c.dropped_marks, c.dropped_parts);
	buf_printf(out,
		   ",\"late_calls\":%" PRIu64 ",\"used_bytes\":%" PRIu64
		   ",\"budget_bytes\":%" PRIu64 "}",
		   c.late_calls, c.used_bytes, c.budget_bytes);
}

void trace_render_json(struct trace *t, const struct trace_query *q, struct buf *out)
{
	uint32_t roots[ROOTS_MAX];
	uint64_t matched, total;
	size_t count = trace_search(t, q, roots, ARRAY_SIZE(roots), &matched, &total);

	buf_write_str(out, "{\"v\":1");
	json_time(out, "now", clock_wall_ns(t->clock));
	buf_printf(out, ",\"matched\":%" PRIu64 ",\"total\":%" PRIu64, matched, total);
	json_store(t, out);
	json_categories(t, out);
	buf_write_str(out, ",\"traces\":[");
	for (size_t i = 0; i < count && buf_err(out) == 0; i++) {
		if (i > 0)
			buf_write_u8(out, ',');
		json_trace(t, roots[i], out);
	}
	buf_write_str(out, "]}\n");
}
