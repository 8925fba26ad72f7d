/* The JSON answer to a query, version 1.
 *
 *   {"v":1, "now":ISO, "matched":n, "total":n, "next":cursor|null, "store":{counters},
 *    "categories":[{statistics, "lifetime":{…}, "kept":{…}, "limits":{…}, "thresholds":{…},
 *                   "stages":[{statistics}]}],
 *    "traces":[
 *     {"trace_id":hex, "root":hex, "category":…, "title":…, "start":ISO, "duration_ns":n,
 *      "status":n, "status_name":…, "outcome":…, "active":bool, "pinned":bool, "spans":[
 *       {"span_id":hex, "parent_id":hex|null, "category":…, "title":…, "start":ISO,
 *        "duration_ns":n, "status":n, "status_name":…, "outcome":…,
 *        "depth":n, "start_ns":n, "finished":bool, "items":n, "bytes":n, "busy_ns":n?,
 *        "queued_ns":n, "failed_below":bool,
 *        "self_ns":n?, "critical_ns":n?, "critical_until_ns":n?,
 *        "children":n, "children_dropped":n,
 *        "stages":[{"name":…, "start_ns":n, "duration_ns":n, "busy_ns":n?, "queued_ns":n}],
 *        "stages_folded":bool,
 *        "marks":[{"at_ns":n, "text":…, "error":true?}],
 *        "marks_dropped":n, "marks_before_gap":n,
 *        "attrs":{…}, "links":[{"trace_id":hex, "span_id":hex, "why":…}]}],
 *      "cut":true?}]}
 *
 * Spans are flat, parents first. A span's start_ns and critical_until_ns count from the trace's
 * start; a stage's start_ns and a mark's at_ns from the span's. "active" means that some span of
 * the trace is open, "cut" that it was evicted while it was being written. busy_ns is there when
 * CPU time is measured; queued_ns is time in which the span could have run but waited for its turn.
 * "failed_below": a span nested in it failed. Fields may be added within version 1; none changes
 * its meaning. */
#include <inttypes.h>

#include "base/err.h"
#include "trace/text.h"
#include "trace/writer.h"

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
		buf_printf(out, ",\"start_ns\":%" PRIu64 ",\"duration_ns\":%" PRIu64,
			   stage.start_ns, stage.duration_ns);
		if (trace_cpu(t) != TRACE_CPU_OFF)
			buf_printf(out, ",\"busy_ns\":%" PRIu64, stage.busy_ns);
		buf_printf(out, ",\"queued_ns\":%" PRIu64 "}", stage.queued_ns);
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
		trace_json_hex(out, link.trace_id, sizeof(link.trace_id));
		buf_write_str(out, ",\"span_id\":");
		trace_json_hex(out, link.span_id, sizeof(link.span_id));
		trace_json_text(out, "why", link.why, strlen(link.why));
		buf_write_u8(out, '}');
	}
	buf_write_u8(out, ']');
}

/* What a trace and a span have in common. */
static void json_common(const struct trace_span_view *s, struct buf *out)
{
	trace_json_text(out, "category", s->category, strlen(s->category));
	trace_json_text(out, "title", s->title, s->title_len);
	json_time(out, "start", s->start_wall_ns);
	buf_printf(out, ",\"duration_ns\":%" PRIu64 ",\"status\":%d,\"status_name\":\"%s\"",
		   s->duration_ns, s->status, status_name(s));
	trace_json_text(out, "outcome", s->outcome, strlen(s->outcome));
}

static void json_measured(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	if (trace_cpu(w->t) != TRACE_CPU_OFF)
		buf_printf(out, ",\"busy_ns\":%" PRIu64, s->busy_ns);
	buf_printf(out, ",\"queued_ns\":%" PRIu64 ",\"failed_below\":%s", s->queued_ns,
		   s->failed_below ? "true" : "false");
	if (!s->analyzed)
		return;
	buf_printf(out, ",\"self_ns\":%" PRIu64, s->self_ns);
	if (s->critical_until_ns != 0)
		buf_printf(out, ",\"critical_ns\":%" PRIu64 ",\"critical_until_ns\":%" PRIu64,
			   s->critical_ns, s->critical_until_ns - w->root_view.start_ns);
}

static void json_span(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	buf_write_str(out, s->depth == 0 ? "{\"span_id\":" : ",{\"span_id\":");
	trace_json_hex(out, s->span_id, sizeof(s->span_id));
	buf_write_str(out, ",\"parent_id\":");
	if (s->has_parent)
		trace_json_hex(out, s->parent_id, sizeof(s->parent_id));
	else
		buf_write_str(out, "null");
	json_common(s, out);
	buf_printf(out, ",\"depth\":%" PRIu32 ",\"start_ns\":%" PRIu64 ",\"finished\":%s", s->depth,
		   s->start_ns - w->root_view.start_ns, s->finished ? "true" : "false");
	buf_printf(out, ",\"items\":%" PRIu64 ",\"bytes\":%" PRIu64, s->items, s->bytes);
	json_measured(w, s, out);
	buf_printf(out, ",\"children\":%" PRIu32 ",\"children_dropped\":%" PRIu32, s->child_count,
		   s->children_dropped);
	json_stages(w->t, s, out);
	json_marks(w->t, s, out);
	json_attrs(w->t, s, out);
	json_links(w->t, s, out);
	buf_write_u8(out, '}');
}

static void json_root_begin(struct trace_writer *w, struct buf *out)
{
	const struct trace_span_view *v = &w->root_view;
	const struct node *root = node_at(w->t, v->slot);

	buf_write_str(out, w->written > 0 ? ",{\"trace_id\":" : "{\"trace_id\":");
	trace_json_hex(out, v->trace_id, sizeof(v->trace_id));
	buf_write_str(out, ",\"root\":");
	trace_json_hex(out, v->span_id, sizeof(v->span_id));
	json_common(v, out);
	buf_printf(out, ",\"active\":%s,\"pinned\":%s,\"spans\":[",
		   root->tree.open_count > 0 ? "true" : "false",
		   root->flags & NODE_PINNED ? "true" : "false");
}

static void json_root_end(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, w->cut ? "],\"cut\":true}" : "]}");
}

static void json_stats(const struct trace_stats *s, struct buf *out)
{
	const struct trace_lifetime *l = &s->lifetime;

	buf_printf(out,
		   ",\"active\":%" PRIu64 ",\"finished\":%" PRIu64 ",\"errored\":%" PRIu64
		   ",\"cancelled\":%" PRIu64,
		   s->active, s->finished, s->errored, s->cancelled);
	buf_printf(out,
		   ",\"sample_count\":%" PRIu64 ",\"sample_errored\":%" PRIu64
		   ",\"sample_cancelled\":%" PRIu64 ",\"window_ns\":%" PRIu64,
		   s->sample_count, s->sample_errored, s->sample_cancelled, s->window_ns);
	buf_printf(out, ",\"p10_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64,
		   s->p10_ns, s->p50_ns, s->p90_ns);
	buf_printf(out, ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64, s->p99_ns, s->max_ns);
	buf_printf(out, ",\"errored_p50_ns\":%" PRIu64 ",\"errored_max_ns\":%" PRIu64,
		   s->errored_p50_ns, s->errored_max_ns);
	buf_printf(out, ",\"rate_per_s\":%.6g", s->rate_per_s);
	if (s->window_ns > 0) {
		json_time(out, "oldest", s->oldest_wall_ns);
		json_time(out, "newest", s->newest_wall_ns);
	}
	buf_printf(out,
		   ",\"lifetime\":{\"succeeded\":%" PRIu64 ",\"errored\":%" PRIu64
		   ",\"cancelled\":%" PRIu64 ",\"sum_ns\":%" PRIu64,
		   l->succeeded, l->errored, l->cancelled, l->sum_ns);
	buf_printf(out, ",\"p10_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64,
		   l->p10_ns, l->p50_ns, l->p90_ns);
	buf_printf(out, ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}", l->p99_ns, l->max_ns);
}

static void json_kept(const struct trace_stats *s, struct buf *out)
{
	buf_printf(out,
		   ",\"kept\":{\"recent\":%" PRIu32 ",\"slow\":%" PRIu32 ",\"errored\":%" PRIu32
		   ",\"active\":%" PRIu32 ",\"pinned\":%" PRIu32 ",\"bytes\":%" PRIu64 "}",
		   s->recent_roots, s->slow_roots, s->errored_roots, s->active_roots,
		   s->pinned_roots, s->kept_bytes);
	buf_printf(out,
		   ",\"limits\":{\"recent\":%" PRIu32 ",\"slow\":%" PRIu32 ",\"errored\":%" PRIu32
		   "}",
		   s->limits.recent_max, s->limits.slow_max, s->limits.errored_max);
	buf_printf(out,
		   ",\"thresholds\":{\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64
		   ",\"p99_ns\":%" PRIu64 "}",
		   s->thresholds.p50_ns, s->thresholds.p90_ns, s->thresholds.p99_ns);
}

static void json_category(struct trace *t, const struct trace_stats *s, struct buf *out)
{
	struct trace_stats stages[TRACE_STAGES_MAX];

	buf_write_str(out, "{\"category\":");
	buf_write_json_str(out, s->category, strlen(s->category));
	json_stats(s, out);
	json_kept(s, out);
	buf_write_str(out, ",\"stages\":[");
	size_t count = trace_stats_stages(t, s->category, stages, ARRAY_SIZE(stages));
	for (size_t i = 0; i < count; i++) {
		buf_write_str(out, i > 0 ? ",{\"stage\":" : "{\"stage\":");
		buf_write_json_str(out, stages[i].stage, strlen(stages[i].stage));
		json_stats(&stages[i], out);
		buf_write_u8(out, '}');
	}
	buf_write_str(out, "]}");
}

static void json_categories(struct trace *t, struct buf *out)
{
	struct trace_stats stats[TRACE_CATEGORIES_MAX];
	size_t count = trace_stats_all(t, stats, ARRAY_SIZE(stats));

	buf_write_str(out, ",\"categories\":[");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_write_u8(out, ',');
		json_category(t, &stats[i], out);
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
		   ",\"pinned_roots\":%" PRIu64 ",\"dropped_pins\":%" PRIu64
		   ",\"dropped_figures\":%" PRIu64,
		   c.pinned_roots, c.dropped_pins, c.dropped_figures);
	buf_printf(out,
		   ",\"late_calls\":%" PRIu64 ",\"used_bytes\":%" PRIu64
		   ",\"budget_bytes\":%" PRIu64 "}",
		   c.late_calls, c.used_bytes, c.budget_bytes);
}

static void json_head(struct trace_writer *w, struct buf *out)
{
	char cursor[TRACE_CURSOR_SIZE];

	buf_write_str(out, "{\"v\":1");
	json_time(out, "now", clock_wall_ns(w->t->clock));
	buf_printf(out, ",\"matched\":%" PRIu64 ",\"total\":%" PRIu64, w->find.matched,
		   w->find.total);
	if (trace_find_cursor(&w->find, cursor))
		buf_printf(out, ",\"next\":\"%s\"", cursor);
	else
		buf_write_str(out, ",\"next\":null");
	json_store(w->t, out);
	json_categories(w->t, out);
	buf_write_str(out, ",\"traces\":[");
}

static void json_tail(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "]}\n");
}

const struct format format_json = { .analyze = true,
				    .head = json_head,
				    .root_begin = json_root_begin,
				    .span = json_span,
				    .root_end = json_root_end,
				    .tail = json_tail };
