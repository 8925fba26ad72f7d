/* Jaeger JSON, which the Jaeger UI reads from a file: {"data":[trace…]}. Times are µs. Stages and
 * marks are logs of their span; links follow from. An open span lasts until now. */
#include <inttypes.h>

#include "base/err.h"
#include "trace/writer.h"

static void tag_text(struct buf *out, const char *before, const char *key, const char *s,
		     size_t len)
{
	buf_printf(out, "%s{\"key\":\"%s\",\"type\":\"string\",\"value\":", before, key);
	buf_write_json_str(out, s, len);
	buf_write_u8(out, '}');
}

static void tag_int(struct buf *out, const char *before, const char *key, int64_t value)
{
	buf_printf(out, "%s{\"key\":\"%s\",\"type\":\"int64\",\"value\":%" PRId64 "}", before, key,
		   value);
}

static void tag_bool(struct buf *out, const char *before, const char *key, bool value)
{
	buf_printf(out, "%s{\"key\":\"%s\",\"type\":\"bool\",\"value\":%s}", before, key,
		   value ? "true" : "false");
}

static void write_reference(struct buf *out, const char *before, const char *type,
			    const uint8_t trace_id[16], const uint8_t span_id[8])
{
	buf_printf(out, "%s{\"refType\":\"%s\",\"traceID\":", before, type);
	trace_json_hex(out, trace_id, 16);
	buf_write_str(out, ",\"spanID\":");
	trace_json_hex(out, span_id, 8);
	buf_write_u8(out, '}');
}

static void write_references(struct trace_writer *w, const struct trace_span_view *s,
			     struct buf *out)
{
	struct trace_link_view link;

	buf_write_str(out, ",\"references\":[");
	if (s->has_parent)
		write_reference(out, "", "CHILD_OF", s->trace_id, s->parent_id);
	for (uint32_t i = 0; trace_link_at(w->t, s, i, &link); i++)
		write_reference(out, s->has_parent || i > 0 ? "," : "", "FOLLOWS_FROM",
				link.trace_id, link.span_id);
	buf_write_u8(out, ']');
}

static void write_tags(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	struct trace_attr_view attr;

	buf_write_str(out, ",\"tags\":[");
	tag_text(out, "", "title", s->title, s->title_len);
	tag_text(out, ",", "outcome", s->outcome, strlen(s->outcome));
	tag_text(out, ",", "span.kind", s->depth == 0 && s->has_parent ? "server" : "internal",
		 s->depth == 0 && s->has_parent ? 6 : 8);
	if (s->status != 0) {
		tag_bool(out, ",", "error", true);
		tag_text(out, ",", "status", err_name(s->status), strlen(err_name(s->status)));
	}
	if (!s->finished)
		tag_bool(out, ",", "unfinished", true);
	if (s->items + s->bytes > 0) {
		tag_int(out, ",", "items", (int64_t)MIN(s->items, (uint64_t)INT64_MAX));
		tag_int(out, ",", "bytes", (int64_t)MIN(s->bytes, (uint64_t)INT64_MAX));
	}
	if (trace_cpu(w->t) != TRACE_CPU_OFF)
		tag_int(out, ",", "busy_ns", (int64_t)s->busy_ns);
	if (s->queued_ns > 0)
		tag_int(out, ",", "queued_ns", (int64_t)s->queued_ns);
	for (uint32_t i = 0; trace_attr_at(w->t, s, i, &attr); i++)
		switch (attr.type) {
		case TRACE_ATTR_STR: tag_text(out, ",", attr.key, attr.str, attr.str_len); break;
		case TRACE_ATTR_INT: tag_int(out, ",", attr.key, attr.num); break;
		case TRACE_ATTR_BOOL: tag_bool(out, ",", attr.key, attr.num != 0); break;
		}
	buf_write_u8(out, ']');
}

static void write_logs(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	struct trace_stage_view stage;
	struct trace_mark_view mark;
	const char *before = "";
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, MARK_FORMATTED_MAX);
	buf_write_str(out, ",\"logs\":[");
	for (uint32_t i = 0; trace_stage_at(w->t, s, i, &stage); i++, before = ",") {
		buf_printf(out, "%s{\"timestamp\":%" PRIu64 ",\"fields\":[", before,
			   (s->start_wall_ns + stage.start_ns) / 1000);
		tag_text(out, "", "stage", stage.name, strlen(stage.name));
		tag_int(out, ",", "duration_ns", (int64_t)stage.duration_ns);
		buf_write_str(out, "]}");
	}
	for (uint32_t i = 0; trace_mark_at(w->t, s, i, &mark, &text); i++, before = ",") {
		buf_printf(out, "%s{\"timestamp\":%" PRIu64 ",\"fields\":[", before,
			   (s->start_wall_ns + mark.at_ns) / 1000);
		tag_text(out, "", mark.is_error ? "error" : "event",
			 text.data != NULL ? (const char *)text.data : "", text.len);
		buf_write_str(out, "]}");
		buf_clear(&text);
	}
	buf_write_u8(out, ']');
}

static void jaeger_span(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	buf_write_str(out, w->spans > 0 ? ",\n{\"traceID\":" : "\n{\"traceID\":");
	trace_json_hex(out, s->trace_id, sizeof(s->trace_id));
	buf_write_str(out, ",\"spanID\":");
	trace_json_hex(out, s->span_id, sizeof(s->span_id));
	trace_json_text(out, "operationName", s->category, strlen(s->category));
	buf_printf(out, ",\"startTime\":%" PRIu64 ",\"duration\":%" PRIu64 ",\"processID\":\"p1\"",
		   MAX(s->start_wall_ns / 1000, UINT64_C(1)), s->duration_ns / 1000);
	write_references(w, s, out);
	write_tags(w, s, out);
	write_logs(w, s, out);
	buf_write_u8(out, '}');
}

static void jaeger_head(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "{\"data\":[");
}

static void jaeger_root_begin(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, w->written > 0 ? ",{\"traceID\":" : "{\"traceID\":");
	trace_json_hex(out, w->root_view.trace_id, sizeof(w->root_view.trace_id));
	buf_write_str(out, ",\"spans\":[");
}

static void jaeger_root_end(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "],\"processes\":{\"p1\":{\"serviceName\":\"peerscope\",\"tags\":[]}}}");
}

static void jaeger_tail(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "]}\n");
}

const struct format format_jaeger = { .head = jaeger_head,
				      .root_begin = jaeger_root_begin,
				      .span = jaeger_span,
				      .root_end = jaeger_root_end,
				      .tail = jaeger_tail };
