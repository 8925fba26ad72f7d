/* {"appVersion": …, "serverName": …, "collectionFrames": [{"stackTraces": [], "metrics": [],
 *  "traces": [{"id", "endpoint": "sync.discover", "duration": ns, "recordedAt": RFC 3339,
 *              "statusCode": 0, "bodySize": 0, "clientIP": "", "isTask": true,
 *              "attributes": {text: text}, "spans": [{"id", "name", "startTime", "duration"}]}]}]}
 *
 * What can go wrong: a span that reaches beyond its task, or several that sum to more than it. A
 * root is reported when it is complete; stages follow each other without gaps; each is cut at the
 * task's end. Ids are to be UUIDs: the task's is made of the trace id, those of its spans are a
 * hash of the root's id and their number, so that what is sent twice is the same. */
#include "daemon/report_json.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#include "daemon/push_target.h"

enum { STAGES_MAX = 64, ATTRIBUTES_MAX = 32 };

struct task {
	struct buf *out;
	struct trace *t;
	const struct report_names *names;
	bool first, written;
};

static void write_time(struct buf *out, uint64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / NS_PER_SEC);
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&s, &tm) != NULL)
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(out, "\"%s.%09uZ\"", text, (unsigned)(wall_ns % NS_PER_SEC));
}

static void write_disguised(const struct task *k, const char *text, size_t len)
{
	char pseudonym[TRACE_DISGUISED_MAX];
	size_t n = trace_disguise(k->t, k->names->key, text, len, pseudonym);

	buf_write_json_str(k->out, pseudonym, n);
}

static void write_text_attribute(const struct task *k, const char *key, const char *text)
{
	buf_write_str(k->out, ",");
	buf_write_json_str(k->out, key, strlen(key));
	buf_write_str(k->out, ":");
	buf_write_json_str(k->out, text, strlen(text));
}

static void write_attribute(const struct task *k, const struct trace_attr_view *a)
{
	buf_write_str(k->out, ",");
	buf_write_json_str(k->out, a->key, strlen(a->key));
	buf_write_str(k->out, ":");
	if (a->type == TRACE_ATTR_STR)
		write_disguised(k, a->str, a->str_len);
	else if (a->type == TRACE_ATTR_BOOL)
		buf_write_str(k->out, a->num != 0 ? "\"true\"" : "\"false\"");
	else
		buf_printf(k->out, "\"%" PRId64 "\"", a->num);
}

static void write_attributes(const struct task *k, const struct trace_span_view *s)
{
	struct trace_attr_view a;

	buf_write_str(k->out, "\"attributes\":{\"object\":");
	write_disguised(k, s->title, s->title_len);
	write_text_attribute(k, "outcome", s->outcome);
	buf_printf(k->out, ",\"items\":\"%" PRIu64 "\",\"bytes\":\"%" PRIu64 "\"", s->items,
		   s->bytes);
	for (uint32_t i = 0; i < MIN(s->attr_count, (uint32_t)ATTRIBUTES_MAX); i++)
		if (trace_attr_at(k->t, s, i, &a) && strcmp(a.key, "object") != 0 &&
		    strcmp(a.key, "outcome") != 0 && strcmp(a.key, "items") != 0 &&
		    strcmp(a.key, "bytes") != 0)
			write_attribute(k, &a);
	buf_write_str(k->out, "}");
}

static void write_span(const struct task *k, const struct trace_span_view *s, uint32_t number,
		       const struct trace_stage_view *stage, uint64_t duration_ns)
{
	uint8_t text[sizeof(s->span_id) + sizeof(number)], id[16];

	memcpy(text, s->span_id, sizeof(s->span_id));
	memcpy(text + sizeof(s->span_id), &number, sizeof(number));
	crypto_generichash(id, sizeof(id), text, sizeof(text), k->names->key, 32);
	buf_write_str(k->out, number > 0 ? ",{\"id\":\"" : "{\"id\":\"");
	push_write_uuid(k->out, id);
	buf_write_str(k->out, "\",\"name\":");
	buf_write_json_str(k->out, stage->name, strlen(stage->name));
	buf_write_str(k->out, ",\"startTime\":");
	write_time(k->out, s->start_wall_ns + stage->start_ns);
	buf_printf(k->out, ",\"duration\":%" PRIu64 "}", duration_ns);
}

static void write_spans(const struct task *k, const struct trace_span_view *s)
{
	struct trace_stage_view stage;

	buf_write_str(k->out, ",\"spans\":[");
	for (uint32_t i = 0; i < MIN(s->stage_count, (uint32_t)STAGES_MAX); i++) {
		uint64_t left_ns;

		if (!trace_stage_at(k->t, s, i, &stage))
			break;
		stage.start_ns = MIN(stage.start_ns, s->duration_ns);
		left_ns = s->duration_ns - stage.start_ns;
		write_span(k, s, i, &stage, MIN(stage.duration_ns, left_ns));
	}
	buf_write_str(k->out, "]");
}

static bool visit_root(void *data, const struct trace_span_view *s)
{
	struct task *k = data;

	if (s->depth != 0 || !s->finished || strcmp(s->category, REPORT_CATEGORY) != 0)
		return false;
	buf_write_str(k->out, k->first ? "{\"id\":\"" : ",{\"id\":\"");
	push_write_uuid(k->out, s->trace_id);
	buf_write_str(k->out, "\",\"endpoint\":");
	buf_write_json_str(k->out, s->category, strlen(s->category));
	buf_printf(k->out, ",\"duration\":%" PRIu64 ",\"recordedAt\":", s->duration_ns);
	write_time(k->out, s->start_wall_ns);
	buf_write_str(k->out,
		      ",\"statusCode\":0,\"bodySize\":0,\"clientIP\":\"\",\"isTask\":true,");
	write_attributes(k, s);
	write_spans(k, s);
	buf_write_str(k->out, "}");
	k->written = true;
	return false; /* what is nested in it is not reported */
}

bool report_write_task(struct buf *out, struct trace *t, const struct trace_root_ref *root,
		       const struct report_names *names, bool first)
{
	struct task k = { .out = out, .t = t, .names = names, .first = first };
	struct trace_span_view view;

	if (!trace_look(t, root->slot, root->span_id, &view))
		return false;
	trace_walk(t, root->slot, visit_root, &k);
	return k.written;
}

void report_write_begin(struct buf *out, const struct report_names *names)
{
	buf_write_str(out, "{\"appVersion\":");
	buf_write_json_str(out, names->version, strlen(names->version));
	buf_write_str(out, ",\"serverName\":");
	buf_write_json_str(out, names->server, strlen(names->server));
	buf_write_str(out,
		      ",\"collectionFrames\":[{\"stackTraces\":[],\"metrics\":[],\"traces\":[");
}

void report_write_end(struct buf *out)
{
	buf_write_str(out, "]}]}");
}
