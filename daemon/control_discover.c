/* POST /v1/discover: one JSON object per line, as things happen: {"event":"progress"}…, then one
 * {"event":"result"}. A client that leaves cancels its discovery; a slow one misses progress, never
 * the result. */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/json.h"

enum {
	PROGRESS_INTERVAL_MS = 100,
	ALIVE_MS = 1500,
	LINE_MAX_BYTES = 256 << 10,
	DISCOVER_MAX_MS = 86400000
};

struct discover_call {
	struct control_call call;
	struct discover op;
	struct iri iri;
	struct runner_timer alive; /* nothing happens, and the client shall know that we do */
	uint64_t start_ms, last_ms;
	bool slow; /* the client has to catch up */
};

static void write_line(struct discover_call *q, json_t *line)
{
	struct buf out;

	buf_init(&out, LINE_MAX_BYTES);
	json_write(&out, line);
	buf_write_u8(&out, '\n');
	json_decref(line);
	if (buf_err(&out) == 0)
		q->slow = http_reply_write(q->call.request, out.data, out.len);
	buf_fini(&out);
}

static void on_drain(void *data, struct http_request *r)
{
	struct discover_call *q = data;

	(void)r;
	q->slow = false;
}

static void add_progress(json_t *o, const struct sync_progress *p)
{
	json_object_set_new(o, "peers_found", json_integer((json_int_t)p->peers_found));
	json_object_set_new(o, "peers_ok", json_integer((json_int_t)p->peers_synced_ok));
	json_object_set_new(o, "peers_failed", json_integer((json_int_t)p->peers_failed));
	json_object_set_new(o, "peers_cut", json_integer((json_int_t)p->peers_cut));
	json_object_set_new(o, "blobs_discovered", json_integer((json_int_t)p->blobs_discovered));
	json_object_set_new(o, "blobs_downloaded", json_integer((json_int_t)p->blobs_downloaded));
	json_object_set_new(o, "blobs_failed", json_integer((json_int_t)p->blobs_failed));
	json_object_set_new(o, "bytes_downloaded", json_integer((json_int_t)p->bytes_downloaded));
	json_object_set_new(o, "bytes_expected", json_integer((json_int_t)p->bytes_expected));
	json_object_set_new(o, "rounds", json_integer((json_int_t)p->rounds));
}

static void add_trace(struct discover_call *q, json_t *o)
{
	const struct discover *d = &q->op;
	const char *debug = q->call.daemon->debug_url;
	char id[TRACE_ID_HEX_SIZE] = "";

	for (size_t i = 0; d->traced && i < sizeof(d->trace.trace_id); i++) {
		id[2 * i] = "0123456789abcdef"[d->trace.trace_id[i] >> 4];
		id[2 * i + 1] = "0123456789abcdef"[d->trace.trace_id[i] & 15];
		id[2 * i + 2] = '\0';
	}
	json_object_set_new(o, "trace_id", json_string(id));
	json_object_set_new(o, "trace_url",
			    id[0] != '\0' && debug[0] == 'h' ?
				    json_sprintf("%s/debug/traces?id=%s", debug, id) :
				    json_string(""));
}

static uint64_t now_ms(const struct discover_call *q)
{
	return runner_now_ms(&q->call.daemon->loop.runner);
}

static void arm_alive(struct discover_call *q)
{
	runner_timer_start(&q->call.daemon->loop.runner, &q->alive, now_ms(q) + ALIVE_MS);
}

static void write_progress(struct discover_call *q)
{
	const struct discover *d = &q->op;
	uint64_t now = now_ms(q);
	json_t *o;

	q->last_ms = now;
	arm_alive(q);
	o = json_pack("{s:s, s:s, s:I}", "event", "progress", "stage",
		      d->stage != NULL ? d->stage : "", "elapsed_ms",
		      (json_int_t)(now - q->start_ms));
	add_progress(o, &d->progress);
	add_trace(q, o);
	write_line(q, o);
}

static void on_progress(struct discover *d)
{
	struct discover_call *q = container_of(d, struct discover_call, op);

	if (!q->slow && !q->call.gone && now_ms(q) - q->last_ms >= PROGRESS_INTERVAL_MS)
		write_progress(q);
}

static void on_alive(struct runner_timer *timer)
{
	struct discover_call *q = container_of(timer, struct discover_call, alive);

	if (q->slow || q->call.gone)
		arm_alive(q);
	else
		write_progress(q);
}

static const char *fault_of(const struct discovery_report *r)
{
	if (r->status == 0 || r->status == UV_ECANCELED)
		return "";
	return discovery_is_ours(r->status) ? "here" : "peers";
}

void control_add_answer(json_t *o, const struct discovery_report *r)
{
	const struct {
		const char *name;
		uint64_t count;
	} counts[] = {
		{ "peers_asked", r->peers.asked },
		{ "peers_answered", r->peers.answered },
		{ "peers_unreachable", r->peers.unreachable },
		{ "peers_busy", r->peers.busy },
		{ "peers_bad", r->peers.bad },
		{ "peers_unheard", r->peers.unheard },
		{ "peers_left_alone", r->peers.left_alone },
		{ "commits_behind", r->peers.commits_behind },
	};
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, 1024);
	discovery_explain(&text, r);
	json_object_set_new(o, "answer", json_string(discovery_answer_name(r->answer)));
	json_object_set_new(o, "sure", json_boolean(discovery_is_sure(r->answer, &r->peers)));
	json_object_set_new(o, "fault", json_string(fault_of(r)));
	json_object_set_new(o, "explanation", json_stringn((const char *)text.data, text.len));
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		json_object_set_new(o, counts[i].name, json_integer((json_int_t)counts[i].count));
}

static struct discovery_report report_of(const struct discover *d, int status)
{
	return (struct discovery_report){ .answer = d->answer,
					  .status = status,
					  .last_error = d->last_error,
					  .peers = d->peers };
}

static void write_result(struct discover_call *q, int status)
{
	const struct discover *d = &q->op;
	const struct discovery_report report = report_of(d, status);
	json_t *o = json_pack("{s:s, s:i, s:s, s:s, s:s}", "event", "result", "status", status,
			      "name", status < 0 ? err_name(status) : "OK", "error",
			      status < 0 ? err_str(status) : "", "outcome",
			      discovery_outcome_name(d->outcome));

	json_object_set_new(o, "iri", json_iri(&q->iri.space, q->iri.path));
	json_object_set_new(o, "version", json_version(d->heads, d->head_count));
	json_object_set_new(o, "heads", json_cids(d->heads, d->head_count));
	json_object_set_new(o, "tombstone", json_boolean(d->tombstone));
	json_object_set_new(o, "timeout_stage",
			    json_string(d->timeout_stage != NULL ? d->timeout_stage : ""));
	json_object_set_new(o, "last_error",
			    json_string(d->last_error < 0 ? err_str(d->last_error) : ""));
	json_object_set_new(o, "last_error_status", json_integer(d->last_error));
	json_object_set_new(o, "peers_known", json_integer((json_int_t)d->peers_known));
	json_object_set_new(o, "remembered", json_boolean(d->remembered));
	json_object_set_new(o, "asked_ago_ms", json_integer((json_int_t)d->asked_ago_ms));
	json_object_set_new(o, "again_in_ms", json_integer((json_int_t)d->again_in_ms));
	json_object_set_new(o, "retry_in_ms", json_integer((json_int_t)d->retry_in_ms));
	json_object_set_new(o, "commits_here", json_integer((json_int_t)d->commits_here));
	json_object_set_new(o, "blobs_missing", json_integer((json_int_t)d->blobs_missing));
	json_object_set_new(o, "elapsed_ms", json_integer((json_int_t)(now_ms(q) - q->start_ms)));
	control_add_answer(o, &report);
	add_progress(o, &d->progress);
	add_trace(q, o);
	write_line(q, o);
}

static void log_end(const struct discover_call *q, int status)
{
	struct buf iri;

	buf_init(&iri, IRI_TEXT_MAX);
	iri_format(&q->iri, &iri);
	log_info(LOG_DAEMON,
		 "msg=\"discovery ended\" iri=%s outcome=%s answer=%s asked=%llu answered=%llu "
		 "status=%s",
		 iri.data != NULL ? (char *)iri.data : "", discovery_outcome_name(q->op.outcome),
		 discovery_answer_name(q->op.answer), (unsigned long long)q->op.peers.asked,
		 (unsigned long long)q->op.peers.answered, status < 0 ? err_name(status) : "ok");
	buf_fini(&iri);
}

static void on_done(struct discover *d, int status)
{
	struct discover_call *q = container_of(d, struct discover_call, op);

	runner_timer_stop(&q->call.daemon->loop.runner, &q->alive);
	log_end(q, status);
	write_result(q, status);
	http_reply_end(q->call.request);
	control_call_free(&q->call);
}

static bool read_question(struct http_request *r, const json_t *body, struct iri *ret,
			  enum scope_kind *ret_kind, uint64_t *ret_timeout_ms)
{
	const char *kind = json_string_value(json_object_get(body, "kind"));

	if (json_is_true(json_object_get(body, "recursive")))
		kind = "recursive";
	*ret_timeout_ms = json_get_count(body, "timeout_ms");
	if (*ret_timeout_ms == 0 || *ret_timeout_ms > DISCOVER_MAX_MS)
		*ret_timeout_ms = DISCOVER_MAX_MS; /* the discovery's own deadline is shorter */
	return control_iri(r, json_string_value(json_object_get(body, "iri")), ret) &&
	       control_kind(r, kind, ret_kind);
}

static void post_discover(void *data, struct http_request *r)
{
	struct daemon *d = control_daemon(data);
	json_t *body = control_body(r);
	uint64_t timeout_ms = 0;
	enum scope_kind kind;
	struct iri iri;
	struct discover_call *q = NULL;
	bool fresh = json_is_true(json_object_get(body, "fresh"));
	bool history = json_is_true(json_object_get(body, "history"));
	struct op_env env;

	if (body != NULL && read_question(r, body, &iri, &kind, &timeout_ms))
		q = control_call_new(data, r, sizeof(*q));
	json_decref(body);
	if (q == NULL)
		return;
	q->iri = iri;
	q->start_ms = now_ms(q);
	q->op.on_progress = on_progress;
	q->op.fresh = fresh;
	q->op.history = history;
	q->call.op = &q->op.op;
	http_request_on_drain(r, on_drain, q);
	http_reply_begin(r, 200, "application/x-ndjson");
	q->alive.run = on_alive;
	arm_alive(q);
	env = control_env(d, timeout_ms);
	discover_start(&q->op, &env, d->discovery, &q->iri, kind, on_done);
}

int control_discover_routes(struct control *c, struct http_server *s)
{
	return http_route(s, HTTP_POST_, "/v1/discover", NULL, post_discover, c);
}
