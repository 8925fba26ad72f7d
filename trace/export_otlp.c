/* OTLP: spans of OpenTelemetry, as protobuf or in its JSON mapping (ids in hex, 64-bit numbers as
 * strings).
 *
 * A span is first put together as the protobuf message, in an arena, and then written in either
 * form. As protobuf, each piece is a whole ExportTraceServiceRequest: such messages concatenate to
 * one that has all of their spans. Stages are events with a duration, marks events named by their
 * text. A span that is not finished ends now and has the attribute "unfinished". */
#include <inttypes.h>

#include "base/err.h"
#include "otlp.pb-c.h"
#include "trace/writer.h"

enum { ARENA_MAX = 16 << 20, SPAN_ATTRS_EXTRA = 9 };

static Otlp__AnyValue *any_value(struct trace_writer *w, Otlp__AnyValue__ValueCase type)
{
	Otlp__AnyValue *v = arena_alloc(&w->arena, sizeof(*v));

	if (v != NULL) {
		otlp__any_value__init(v);
		v->value_case = type;
	}
	return v;
}

/* Invalid UTF-8 is not allowed in a protobuf string. */
static char *valid_text(struct trace_writer *w, const char *s, size_t len)
{
	char *text = arena_alloc(&w->arena, 3 * len + 1), *p = text;
	uint32_t c;

	while (text != NULL && len > 0) {
		size_t n = utf8_decode(s, len, &c);
		if (n == 0 || c == 0) {
			memcpy(p, "\xef\xbf\xbd", 3);
			p += 3;
			n = 1;
		} else {
			memcpy(p, s, n);
			p += n;
		}
		s += n;
		len -= n;
	}
	return text;
}

/* Appends to a list that has room. */
static Otlp__AnyValue *add(struct trace_writer *w, Otlp__KeyValue **list, size_t *count,
			   const char *key, Otlp__AnyValue__ValueCase type)
{
	Otlp__KeyValue *kv = arena_alloc(&w->arena, sizeof(*kv));
	Otlp__AnyValue *v = any_value(w, type);

	if (kv == NULL || v == NULL) {
		w->err = UV_ENOMEM;
		return NULL;
	}
	otlp__key_value__init(kv);
	kv->key = (char *)(uintptr_t)key;
	kv->value = v;
	list[(*count)++] = kv;
	return v;
}

static void add_text(struct trace_writer *w, Otlp__KeyValue **list, size_t *count, const char *key,
		     const char *s, size_t len)
{
	Otlp__AnyValue *v = add(w, list, count, key, OTLP__ANY_VALUE__VALUE_STRING_VALUE);

	if (v == NULL)
		return;
	v->string_value = valid_text(w, s, len);
	if (v->string_value == NULL)
		w->err = UV_ENOMEM;
}

/* The same of a text that may say who or what. */
static void add_private(struct trace_writer *w, Otlp__KeyValue **list, size_t *count,
			const char *key, const char *s, size_t len)
{
	char pseudonym[TRACE_DISGUISED_MAX];

	if (w->how.disguise && len > 0) {
		len = trace_disguise(w->t, w->how.key, s, len, pseudonym);
		s = pseudonym;
	}
	add_text(w, list, count, key, s, len);
}

static void add_int(struct trace_writer *w, Otlp__KeyValue **list, size_t *count, const char *key,
		    int64_t value)
{
	Otlp__AnyValue *v = add(w, list, count, key, OTLP__ANY_VALUE__VALUE_INT_VALUE);

	if (v != NULL)
		v->int_value = value;
}

static void add_bool(struct trace_writer *w, Otlp__KeyValue **list, size_t *count, const char *key,
		     bool value)
{
	Otlp__AnyValue *v = add(w, list, count, key, OTLP__ANY_VALUE__VALUE_BOOL_VALUE);

	if (v != NULL)
		v->bool_value = value;
}

/* Memory for a message, or for a list; NULL is remembered in w->err. */
static void *take(struct trace_writer *w, size_t size)
{
	void *p = arena_alloc(&w->arena, size);

	if (p == NULL)
		w->err = UV_ENOMEM;
	return p;
}

static ProtobufCBinaryData take_id(struct trace_writer *w, const uint8_t *id, size_t size)
{
	uint8_t *copy = take(w, size);

	if (copy == NULL)
		return (ProtobufCBinaryData){ 0 };
	memcpy(copy, id, size);
	return (ProtobufCBinaryData){ size, copy };
}

static void put_attributes(struct trace_writer *w, const struct trace_span_view *s,
			   Otlp__Span *span)
{
	struct trace_attr_view attr;
	Otlp__KeyValue **list = take(w, (s->attr_count + SPAN_ATTRS_EXTRA) * sizeof(*list));
	size_t *n = &span->n_attributes;

	if (list == NULL)
		return;
	span->attributes = list;
	add_private(w, list, n, "title", s->title, s->title_len);
	if (s->finished)
		add_text(w, list, n, "outcome", s->outcome, strlen(s->outcome));
	else
		add_bool(w, list, n, "unfinished", true);
	if (s->items + s->bytes > 0) {
		add_int(w, list, n, "items", (int64_t)MIN(s->items, (uint64_t)INT64_MAX));
		add_int(w, list, n, "bytes", (int64_t)MIN(s->bytes, (uint64_t)INT64_MAX));
	}
	if (trace_cpu(w->t) != TRACE_CPU_OFF)
		add_int(w, list, n, "busy_ns", (int64_t)s->busy_ns);
	if (s->queued_ns > 0)
		add_int(w, list, n, "queued_ns", (int64_t)s->queued_ns);
	for (uint32_t i = 0; trace_attr_at(w->t, s, i, &attr); i++)
		switch (attr.type) {
		case TRACE_ATTR_STR:
			add_private(w, list, n, attr.key, attr.str, attr.str_len);
			break;
		case TRACE_ATTR_INT: add_int(w, list, n, attr.key, attr.num); break;
		case TRACE_ATTR_BOOL: add_bool(w, list, n, attr.key, attr.num != 0); break;
		}
}

static Otlp__Event *add_event(struct trace_writer *w, Otlp__Span *span, uint64_t wall_ns)
{
	Otlp__Event *e = take(w, sizeof(*e));

	if (e == NULL)
		return NULL;
	otlp__event__init(e);
	e->time_unix_nano = wall_ns;
	e->attributes = take(w, 2 * sizeof(*e->attributes));
	span->events[span->n_events++] = e;
	return e->attributes != NULL ? e : NULL;
}

static void put_events(struct trace_writer *w, const struct trace_span_view *s, Otlp__Span *span)
{
	struct trace_stage_view stage;
	struct trace_mark_view mark;
	const uint8_t *key = w->how.disguise ? w->how.key : NULL;
	Otlp__Event *e;
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, MARK_FORMATTED_MAX);
	span->events = take(w, (s->stage_count + s->mark_count + 1) * sizeof(*span->events));
	span->dropped_events_count = s->marks_dropped;
	for (uint32_t i = 0; w->err == 0 && trace_stage_at(w->t, s, i, &stage); i++) {
		e = add_event(w, span, s->start_wall_ns + stage.start_ns);
		if (e == NULL)
			return;
		e->name = (char *)(uintptr_t)stage.name;
		add_bool(w, e->attributes, &e->n_attributes, "stage", true);
		add_int(w, e->attributes, &e->n_attributes, "duration_ns",
			(int64_t)stage.duration_ns);
	}
	for (uint32_t i = 0; w->err == 0 && view_mark_at(w->t, s, i, key, &mark, &text); i++) {
		e = add_event(w, span, s->start_wall_ns + mark.at_ns);
		if (e == NULL)
			return;
		if (text.data != NULL)
			e->name = valid_text(w, (const char *)text.data, text.len);
		if (e->name == NULL)
			w->err = UV_ENOMEM;
		if (mark.is_error)
			add_bool(w, e->attributes, &e->n_attributes, "error", true);
		buf_clear(&text);
	}
}

static void put_links(struct trace_writer *w, const struct trace_span_view *s, Otlp__Span *span)
{
	struct trace_link_view link;

	span->links = take(w, (s->link_count + 1) * sizeof(*span->links));
	for (uint32_t i = 0; w->err == 0 && trace_link_at(w->t, s, i, &link); i++) {
		Otlp__Link *l = take(w, sizeof(*l));
		if (l == NULL)
			return;
		otlp__link__init(l);
		l->trace_id = take_id(w, link.trace_id, sizeof(link.trace_id));
		l->span_id = take_id(w, link.span_id, sizeof(link.span_id));
		l->attributes = take(w, sizeof(*l->attributes));
		if (l->attributes != NULL)
			add_text(w, l->attributes, &l->n_attributes, "why", link.why,
				 strlen(link.why));
		span->links[span->n_links++] = l;
	}
}

/* NULL, and w->err set, when there is no memory. Lives until the arena is cleared. */
static Otlp__Span *build_span(struct trace_writer *w, const struct trace_span_view *s)
{
	Otlp__Span *span = take(w, sizeof(*span));
	Otlp__Status *status = take(w, sizeof(*status));

	if (span == NULL || status == NULL)
		return NULL;
	otlp__span__init(span);
	otlp__status__init(status);
	span->trace_id = take_id(w, s->trace_id, sizeof(s->trace_id));
	span->span_id = take_id(w, s->span_id, sizeof(s->span_id));
	if (s->has_parent)
		span->parent_span_id = take_id(w, s->parent_id, sizeof(s->parent_id));
	span->name = (char *)(uintptr_t)s->category;
	span->kind = s->depth == 0 && s->has_parent ? 2 : 1;
	span->start_time_unix_nano = s->start_wall_ns;
	span->end_time_unix_nano = s->start_wall_ns + s->duration_ns;
	span->status = status;
	if (s->status != 0) {
		status->code = 2;
		status->message = (char *)(uintptr_t)s->outcome;
	}
	put_attributes(w, s, span);
	put_events(w, s, span);
	put_links(w, s, span);
	return w->err == 0 ? span : NULL;
}

/* ---- Protobuf ---- */

static void clear_arena(struct trace_writer *w)
{
	arena_fini(&w->arena);
	arena_init(&w->arena, ARENA_MAX);
}

static void pack_span(struct trace_writer *w, Otlp__Span *span, struct buf *out)
{
	Otlp__ExportTraceServiceRequest request = OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
	Otlp__ResourceSpans resource_spans = OTLP__RESOURCE_SPANS__INIT, *resource_list[1];
	Otlp__ScopeSpans scope_spans = OTLP__SCOPE_SPANS__INIT, *scope_list[1];
	Otlp__InstrumentationScope scope = OTLP__INSTRUMENTATION_SCOPE__INIT;
	Otlp__Resource resource = OTLP__RESOURCE__INIT;
	Otlp__KeyValue *attributes[2];

	resource.attributes = attributes;
	add_text(w, attributes, &resource.n_attributes, "service.name", "peerscope", 9);
	if (w->how.instance != NULL)
		add_text(w, attributes, &resource.n_attributes, "service.instance.id",
			 w->how.instance, strlen(w->how.instance));
	if (w->err != 0)
		return;
	scope.name = (char[]){ "peerscope.trace" };
	scope.version = (char[]){ "1" };
	scope_spans.scope = &scope;
	scope_spans.spans = &span;
	scope_spans.n_spans = 1;
	scope_list[0] = &scope_spans;
	resource_spans.resource = &resource;
	resource_spans.scope_spans = scope_list;
	resource_spans.n_scope_spans = 1;
	resource_list[0] = &resource_spans;
	request.resource_spans = resource_list;
	request.n_resource_spans = 1;
	size_t size = otlp__export_trace_service_request__get_packed_size(&request);
	uint8_t *p = buf_reserve(out, size);
	if (p != NULL)
		buf_advance(out, otlp__export_trace_service_request__pack(&request, p));
}

static void otlp_span(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	clear_arena(w);
	Otlp__Span *span = build_span(w, s);
	if (span != NULL)
		pack_span(w, span, out);
}

static void otlp_nothing(struct trace_writer *w, struct buf *out)
{
}

const struct format format_otlp = { .head = otlp_nothing,
				    .root_begin = otlp_nothing,
				    .span = otlp_span,
				    .root_end = otlp_nothing,
				    .tail = otlp_nothing };

/* ---- JSON ---- */

static void write_attributes(struct buf *out, Otlp__KeyValue *const *list, size_t count)
{
	buf_write_str(out, ",\"attributes\":[");
	for (size_t i = 0; i < count; i++) {
		const Otlp__AnyValue *v = list[i]->value;
		buf_write_str(out, i > 0 ? ",{\"key\":" : "{\"key\":");
		buf_write_json_str(out, list[i]->key, strlen(list[i]->key));
		if (v->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE) {
			buf_write_str(out, ",\"value\":{\"stringValue\":");
			buf_write_json_str(out, v->string_value, strlen(v->string_value));
			buf_write_str(out, "}}");
		} else if (v->value_case == OTLP__ANY_VALUE__VALUE_INT_VALUE) {
			buf_printf(out, ",\"value\":{\"intValue\":\"%" PRId64 "\"}}", v->int_value);
		} else {
			buf_printf(out, ",\"value\":{\"boolValue\":%s}}",
				   v->bool_value ? "true" : "false");
		}
	}
	buf_write_u8(out, ']');
}

static void write_event(struct buf *out, const char *before, const Otlp__Event *e)
{
	buf_printf(out, "%s{\"timeUnixNano\":\"%" PRIu64 "\"", before, e->time_unix_nano);
	trace_json_text(out, "name", e->name, strlen(e->name));
	write_attributes(out, e->attributes, e->n_attributes);
	buf_write_u8(out, '}');
}

static void write_link(struct buf *out, const char *before, const Otlp__Link *l)
{
	buf_printf(out, "%s{\"traceId\":", before);
	trace_json_hex(out, l->trace_id.data, l->trace_id.len);
	buf_write_str(out, ",\"spanId\":");
	trace_json_hex(out, l->span_id.data, l->span_id.len);
	write_attributes(out, l->attributes, l->n_attributes);
	buf_write_u8(out, '}');
}

static void write_span(struct buf *out, const char *before, const Otlp__Span *s)
{
	buf_printf(out, "%s{\"traceId\":", before);
	trace_json_hex(out, s->trace_id.data, s->trace_id.len);
	buf_write_str(out, ",\"spanId\":");
	trace_json_hex(out, s->span_id.data, s->span_id.len);
	if (s->parent_span_id.len > 0) {
		buf_write_str(out, ",\"parentSpanId\":");
		trace_json_hex(out, s->parent_span_id.data, s->parent_span_id.len);
	}
	trace_json_text(out, "name", s->name, strlen(s->name));
	buf_printf(out,
		   ",\"kind\":%d,\"startTimeUnixNano\":\"%" PRIu64
		   "\",\"endTimeUnixNano\":\"%" PRIu64 "\"",
		   s->kind, s->start_time_unix_nano, s->end_time_unix_nano);
	write_attributes(out, s->attributes, s->n_attributes);
	buf_write_str(out, ",\"events\":[");
	for (size_t i = 0; i < s->n_events; i++)
		write_event(out, i > 0 ? "," : "", s->events[i]);
	buf_printf(out, "],\"droppedEventsCount\":%" PRIu32 ",\"links\":[",
		   s->dropped_events_count);
	for (size_t i = 0; i < s->n_links; i++)
		write_link(out, i > 0 ? "," : "", s->links[i]);
	buf_write_str(out, "],\"status\":{");
	if (s->status->code != 0) {
		buf_printf(out, "\"code\":%d", s->status->code);
		trace_json_text(out, "message", s->status->message, strlen(s->status->message));
	}
	buf_write_str(out, "}}");
}

static void otlp_json_head(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":"
			   "\"service.name\",\"value\":{\"stringValue\":\"peerscope\"}}]},"
			   "\"scopeSpans\":[{\"scope\":{\"name\":\"peerscope.trace\","
			   "\"version\":\"1\"},\"spans\":[");
}

static void otlp_json_span(struct trace_writer *w, const struct trace_span_view *s, struct buf *out)
{
	clear_arena(w);
	const Otlp__Span *span = build_span(w, s);
	if (span != NULL)
		write_span(out, w->written + w->spans > 0 ? ",\n" : "\n", span);
}

static void otlp_json_tail(struct trace_writer *w, struct buf *out)
{
	buf_write_str(out, "]}]}]}\n");
}

const struct format format_otlp_json = { .head = otlp_json_head,
					 .root_begin = otlp_nothing,
					 .span = otlp_json_span,
					 .root_end = otlp_nothing,
					 .tail = otlp_json_tail };
