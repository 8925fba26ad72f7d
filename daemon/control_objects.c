/* GET /v1/objects, /v1/log, /v1/resolve: what is here. */
#include "base/err.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/json.h"

/* ---- Objects ---- */

struct objects_call {
	struct control_call call;
	struct store_objects op;
	control_list_fn reply;
};

static void on_objects(struct store_objects *op, int status)
{
	struct objects_call *q = container_of(op, struct objects_call, op);
	json_t *list = json_array();

	for (size_t i = 0; status == 0 && i < op->count; i++) {
		const struct store_object *o = &op->objects[i];

		(void)json_array_append_new(
			list,
			json_pack("{s:o, s:o, s:I, s:I, s:I, s:b}", "iri",
				  json_iri(&o->space, o->path), "time", json_time(o->time_s),
				  "commits", (json_int_t)o->commits, "heads", (json_int_t)o->heads,
				  "missing", (json_int_t)o->missing, "tombstone", o->tombstone));
	}
	if (status < 0) {
		json_decref(list);
		control_failed(q->call.request, status);
	} else {
		q->reply(q->call.daemon, q->call.request,
			 json_pack("{s:I, s:o}", "total", (json_int_t)op->total, "objects", list));
	}
	store_objects_fini(op);
	control_call_free(&q->call);
}

void control_list_objects(struct control *c, struct http_request *r, control_list_fn reply)
{
	struct objects_call *q;
	struct op_env env = control_env(control_daemon(c), CONTROL_TIMEOUT_MS);
	const char *text = http_request_param(r, "iri");
	enum scope_kind kind;
	struct scope scope;
	struct iri iri;

	if (!control_kind(r, http_request_param(r, "kind"), &kind) ||
	    (text != NULL && !control_iri(r, text, &iri)))
		return;
	if (text != NULL)
		scope_of_iri(&iri, kind, &scope);
	q = control_call_new(c, r, sizeof(*q));
	if (q == NULL)
		return;
	q->reply = reply;
	q->call.op = &q->op.op;
	store_objects_start(&q->op, &env, q->call.daemon->store, text != NULL ? &scope : NULL,
			    control_limit(r), on_objects);
}

static void get_objects(void *data, struct http_request *r)
{
	control_list_objects(data, r, control_reply_list);
}

/* ---- Log ---- */

struct log_call {
	struct control_call call;
	struct store_log op;
	struct iri iri;
};

static json_t *version_json(const struct store_log_entry *e)
{
	json_t *v = json_pack("{s:o, s:o, s:o, s:b, s:b, s:b, s:I, s:I}", "version",
			      json_cid(&e->hash), "time", json_time(e->time_s), "author",
			      json_space(&e->author), "head", e->is_head, "complete", e->complete,
			      "tombstone", e->tombstone, "bytes", (json_int_t)e->content_bytes,
			      "blobs", (json_int_t)e->content_blobs);

	json_object_set_new(v, "parent_count", json_integer((json_int_t)e->parent_count));
	json_object_set_new(v, "parents",
			    json_cids(e->parents, MIN(e->parent_count, ARRAY_SIZE(e->parents))));
	if (!e->tombstone) {
		json_object_set_new(v, "root", json_cid(&e->root));
		json_object_set_new(v, "root_kind", json_string(object_kind_name(e->root_kind)));
	}
	return v;
}

static void on_log(struct store_log *op, int status)
{
	struct log_call *q = container_of(op, struct log_call, op);
	json_t *list = json_array();

	for (size_t i = 0; status == 0 && i < op->count; i++)
		(void)json_array_append_new(list, version_json(&op->entries[i]));
	if (status == 0) {
		control_reply(q->call.request,
			      json_pack("{s:o, s:I, s:o}", "iri",
					json_iri(&q->iri.space, q->iri.path), "total",
					(json_int_t)op->total, "versions", list));
	} else {
		json_decref(list);
		if (status == ERR_NOT_FOUND)
			control_error(q->call.request, status,
				      "no version of this object is here: `peerscope discover` "
				      "looks for it");
		else
			control_failed(q->call.request, status);
	}
	store_log_fini(op);
	control_call_free(&q->call);
}

static void get_log(void *data, struct http_request *r)
{
	struct op_env env = control_env(control_daemon(data), CONTROL_TIMEOUT_MS);
	struct log_call *q;
	struct iri iri;

	if (!control_iri(r, http_request_param(r, "iri"), &iri))
		return;
	q = control_call_new(data, r, sizeof(*q));
	if (q == NULL)
		return;
	q->iri = iri;
	q->call.op = &q->op.op;
	store_log_start(&q->op, &env, q->call.daemon->store, &q->iri, control_limit(r), on_log);
}

/* ---- Resolve ---- */

struct resolve_call {
	struct control_call call;
	struct store_resolve op;
	struct iri iri;
};

static void on_resolved(struct store_resolve *op, int status)
{
	struct resolve_call *q = container_of(op, struct resolve_call, op);
	bool pinned = q->iri.head_count > 0;
	json_t *o;

	if (status < 0) {
		control_failed(q->call.request, status);
	} else {
		o = json_pack("{s:o, s:b, s:b, s:I, s:I, s:I, s:I}", "iri",
			      json_iri(&q->iri.space, q->iri.path), "resolved", op->resolved,
			      "tombstone", op->tombstone, "heads_total",
			      (json_int_t)op->heads_total, "objects", (json_int_t)op->objects,
			      "commits", (json_int_t)op->commits, "missing",
			      (json_int_t)op->missing);
		json_object_set_new(o, "version", json_version(op->heads, op->head_count));
		json_object_set_new(o, "heads", json_cids(op->heads, op->head_count));
		json_object_set_new(o, "asked",
				    pinned ? json_cids(q->iri.heads, q->iri.head_count) :
					     json_cids(op->heads, op->head_count));
		control_reply(q->call.request, o);
	}
	store_resolve_fini(op);
	control_call_free(&q->call);
}

static void get_resolve(void *data, struct http_request *r)
{
	struct op_env env = control_env(control_daemon(data), CONTROL_TIMEOUT_MS);
	struct resolve_call *q;
	enum scope_kind kind;
	struct iri iri;

	if (!control_kind(r, http_request_param(r, "kind"), &kind) ||
	    !control_iri(r, http_request_param(r, "iri"), &iri))
		return;
	q = control_call_new(data, r, sizeof(*q));
	if (q == NULL)
		return;
	q->iri = iri;
	q->call.op = &q->op.op;
	store_resolve_start(&q->op, &env, q->call.daemon->store, &q->iri, kind, on_resolved);
}

int control_object_routes(struct control *c, struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/v1/objects", "objects that are here (JSON)",
			    get_objects, c);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/v1/log", NULL, get_log, c);
	return rc == 0 ? http_route(s, HTTP_GET_, "/v1/resolve", NULL, get_resolve, c) : rc;
}
