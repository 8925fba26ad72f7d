/* Trace event format ("Chrome JSON"), as Perfetto, chrome://tracing and speedscope read it.
 *
 * A trace is a process, a lane a thread. A span is a complete event (X); an open one begins (B) and
 * does not end. Its stages are slices below it when nothing is nested in it, otherwise on a lane of
 * their own, since children may lie across stages. Marks are instants; flows lead from a parent to
 * children on other lanes. Times are µs since the start of the earliest trace, with three decimals,
 * so that nothing is rounded: slices that touch do not overlap. */
#include <inttypes.h>

#include "base/err.h"
#include "trace/writer.h"

static void write_us(struct buf *out, const char *key, uint64_t ns)
{
	buf_printf(out, ",\"%s\":%" PRIu64 ".%03u", key, ns / 1000, (unsigned)(ns % 1000));
}

/* The beginning of an event, up to its name. */
static void event_begin(struct trace_writer *w, struct buf *out, char phase, uint32_t lane)
{
	buf_printf(out, ",\n{\"ph\":\"%c\",\"pid\":%" PRIu32 ",\"tid\":%" PRIu32, phase,
		   w->written + 1, lane);
}

static void write_metadata(struct trace_writer *w, struct buf *out, const char *what, uint32_t lane,
			   const char *s, size_t len)
{
	event_begin(w, out, 'M', lane);
	buf_printf(out, ",\"name\":\"%s\",\"args\":{\"name\":", what);
	buf_write_json_str(out, s, len);
	buf_write_str(out, "}}");
}

static void chrome_head(struct trace_writer *w, struct buf *out)
{
	uint64_t now = trace_now_ns(w->t), base = w->base_ns == UINT64_MAX ? now : w->base_ns;

	w->base_ns = base;
	buf_printf(out,
		   "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"v\":\"1\",\"epoch_ns\":\"%" PRIu64
		   "\"},\"traceEvents\":[",
		   clock_wall_ns(w->t->clock) - (now - base));
	buf_write_str(out, "\n{\"ph\":\"M\",\"pid\":0,\"tid\":0,\"name\":\"process_name\","
			   "\"args\":{\"name\":\"peerscope\"}}");
}

static void chrome_root_begin(struct trace_writer *w, struct buf *out)
{
	const struct trace_span_view *v = &w->root_view;
	CLEANUP(buf_fini) struct buf name = { 0 };

	lanes_reset(&w->lanes);
	buf_init(&name, 1024);
	buf_printf(&name, "%s ", v->category);
	buf_write(&name, v->title, v->title_len);
	write_metadata(w, out, "process_name", 0, name.data != NULL ? (const char *)name.data : "",
		       name.len);
}

static void write_lane_name(struct trace_writer *w, struct buf *out, uint32_t lane,
			    uint32_t lanes_before, const char *name)
{
	if (lane > lanes_before)
		write_metadata(w, out, "thread_name", lane, name, strlen(name));
}

static void write_args(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	struct trace_attr_view attr;

	buf_write_str(out, ",\"args\":{\"trace_id\":");
	trace_json_hex(out, s->trace_id, sizeof(s->trace_id));
	buf_write_str(out, ",\"span_id\":");
	trace_json_hex(out, s->span_id, sizeof(s->span_id));
	trace_json_text(out, "title", s->title, s->title_len);
	if (s->finished)
		trace_json_text(out, "outcome", s->outcome, strlen(s->outcome));
	else
		buf_write_str(out, ",\"unfinished\":true");
	if (s->status != 0)
		trace_json_text(out, "status", err_name(s->status), strlen(err_name(s->status)));
	if (s->items + s->bytes > 0)
		buf_printf(out, ",\"items\":%" PRIu64 ",\"bytes\":%" PRIu64, s->items, s->bytes);
	if (trace_cpu(w->t) != TRACE_CPU_OFF)
		buf_printf(out, ",\"busy_ns\":%" PRIu64, s->busy_ns);
	if (s->queued_ns > 0)
		buf_printf(out, ",\"queued_ns\":%" PRIu64, s->queued_ns);
	if (s->marks_dropped > 0)
		buf_printf(out, ",\"marks_dropped\":%" PRIu32, s->marks_dropped);
	for (uint32_t i = 0; trace_attr_at(w->t, s, i, &attr); i++) {
		buf_write_str(out, ",\"attr.");
		/* Keys are our own identifiers. */
		buf_printf(out, "%s\":", attr.key);
		if (attr.type == TRACE_ATTR_STR)
			buf_write_json_str(out, attr.str, attr.str_len);
		else if (attr.type == TRACE_ATTR_INT)
			buf_printf(out, "%" PRId64, attr.num);
		else
			buf_write_str(out, attr.num ? "true" : "false");
	}
	buf_write_u8(out, '}');
}

static void write_stages(struct trace_writer *w, const struct trace_span_view *s, struct buf *out,
			 uint32_t lane)
{
	struct trace_stage_view stage;
	uint64_t at = s->start_ns - w->base_ns;

	for (uint32_t i = 0; trace_stage_at(w->t, s, i, &stage); i++) {
		bool open = !s->finished && i + 1 == s->stage_count;
		event_begin(w, out, open ? 'B' : 'X', lane);
		trace_json_text(out, "name", stage.name, strlen(stage.name));
		buf_write_str(out, ",\"cat\":\"stage\"");
		write_us(out, "ts", at + stage.start_ns);
		if (!open)
			write_us(out, "dur", stage.duration_ns);
		buf_write_u8(out, '}');
	}
}

static void write_marks(struct trace_writer *w, const struct trace_span_view *s, struct buf *out,
			uint32_t lane)
{
	struct trace_mark_view mark;
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, MARK_FORMATTED_MAX);
	for (uint32_t i = 0; trace_mark_at(w->t, s, i, &mark, &text); i++) {
		event_begin(w, out, 'i', lane);
		trace_json_text(out, "name", text.data != NULL ? (const char *)text.data : "",
				text.len);
		buf_printf(out, ",\"cat\":\"%s\",\"s\":\"t\"", mark.is_error ? "error" : "mark");
		write_us(out, "ts", s->start_ns - w->base_ns + mark.at_ns);
		buf_write_u8(out, '}');
		buf_clear(&text);
	}
}

/* From the parent's lane to the child's. */
static void write_flow(struct trace_writer *w, const struct trace_span_view *s, struct buf *out,
		       uint32_t from, uint32_t to)
{
	w->flows++;
	for (int end = 0; end < 2; end++) {
		event_begin(w, out, end ? 'f' : 's', end ? to : from);
		buf_printf(out, "%s,\"id\":%" PRIu64 ",\"name\":\"child\",\"cat\":\"child\"",
			   end ? ",\"bp\":\"e\"" : "", w->flows);
		write_us(out, "ts", s->start_ns - w->base_ns);
		buf_write_u8(out, '}');
	}
}

static void chrome_span(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	uint64_t end = s->finished ? s->start_ns + s->duration_ns : UINT64_MAX;
	uint32_t lanes = w->lanes.count, lane = 0, stage_lane;

	w->err = lanes_place(&w->lanes, s->depth, s->start_ns, end, &lane);
	if (w->err != 0)
		return;
	write_lane_name(w, out, lane, lanes, s->category);
	event_begin(w, out, s->finished ? 'X' : 'B', lane);
	trace_json_text(out, "name", s->category, strlen(s->category));
	buf_write_str(out, ",\"cat\":\"span\"");
	write_us(out, "ts", s->start_ns - w->base_ns);
	if (s->finished)
		write_us(out, "dur", s->duration_ns);
	write_args(w, s, out);
	buf_write_u8(out, '}');
	if (s->depth > 0 && w->lanes.stack[s->depth - 1].lane != lane)
		write_flow(w, s, out, w->lanes.stack[s->depth - 1].lane, lane);
	write_marks(w, s, out, lane);
	if (s->stage_count == 0)
		return;
	stage_lane = lane;
	lanes = w->lanes.count;
	if (s->child_count > 0)
		w->err = lanes_alone(&w->lanes, s->start_ns, end, &stage_lane);
	if (w->err != 0)
		return;
	write_lane_name(w, out, stage_lane, lanes, "stages");
	write_stages(w, s, out, stage_lane);
}

static void chrome_root_end(struct trace_writer *w, struct buf *out)
{
}

static void chrome_tail(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "\n]}\n");
}

const struct format format_chrome = { .head = chrome_head,
				      .root_begin = chrome_root_begin,
				      .span = chrome_span,
				      .root_end = chrome_root_end,
				      .tail = chrome_tail };
