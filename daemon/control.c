#include "daemon/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/bundle_http.h"
#include "daemon/diag_pages.h"
#include "daemon/json.h"
#include "daemon/logs.h"

struct control {
	struct daemon *daemon;
	struct list calls;
	size_t active;
	bool stopping;
	struct logs *logs;
	struct bundle_server *bundles;
};

struct control *control_new(struct daemon *d)
{
	struct control *c = mem_alloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->daemon = d;
	list_init(&c->calls);
	c->logs = logs_new(d);
	c->bundles = bundle_server_new(d);
	return c->logs != NULL && c->bundles != NULL ? c : control_free(c);
}

struct control *control_free(struct control *c)
{
	if (c == NULL)
		return NULL;
	REQUIRE(c->active == 0);
	logs_free(c->logs);
	bundle_server_free(c->bundles);
	return mem_free(c);
}

int control_attach_diagnostics(struct control *c, struct http_server *s)
{
	int rc = logs_attach(c->logs, s);

	if (rc == 0)
		rc = bundle_server_attach(c->bundles, s);
	return rc == 0 ? diag_pages_attach(c->daemon, s) : rc;
}

struct daemon *control_daemon(struct control *c)
{
	return c->daemon;
}

int control_attach(struct control *c, struct http_server *s)
{
	static int (*const routes[])(struct control * c, struct http_server * s) = {
		control_status_routes,	     control_peer_routes,  control_object_routes,
		control_subscription_routes, control_blob_routes,  control_publish_routes,
		control_discover_routes,     control_trace_routes,
	};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(routes) && rc == 0; i++)
		rc = routes[i](c, s);
	return rc;
}

void control_stop(struct control *c)
{
	c->stopping = true;
	bundle_server_stop(c->bundles);
	list_for_each(node, &c->calls) {
		struct control_call *call = list_entry(node, struct control_call, node);

		if (call->op != NULL)
			op_cancel(call->op);
	}
}

/* ---- Calls ---- */

static void on_gone(void *data, struct http_request *r)
{
	struct control_call *call = data;

	call->gone = true;
	if (call->op != NULL)
		op_cancel(call->op);
}

void *control_call_new(struct control *c, struct http_request *r, size_t size)
{
	struct control_call *call;

	if (c->stopping || c->active == CONTROL_CALLS_MAX) {
		control_error(r, ERR_BUSY, "%s",
			      c->stopping ? "the daemon is shutting down" :
					    "too many requests at once");
		return NULL;
	}
	call = mem_alloc(size);
	if (call == NULL) {
		control_failed(r, UV_ENOMEM);
		return NULL;
	}
	call->control = c;
	call->daemon = c->daemon;
	call->request = r;
	list_push_back(&c->calls, &call->node);
	c->active++;
	http_request_on_close(r, on_gone, call);
	return call;
}

void control_call_free(struct control_call *call)
{
	list_remove(&call->node);
	call->control->active--;
	mem_free(call);
}

struct op_env control_env(struct daemon *d, uint64_t timeout_ms)
{
	return (struct op_env){ .runner = &d->loop.runner,
				.deadline_ms = runner_now_ms(&d->loop.runner) + timeout_ms };
}

/* ---- Answers ---- */

static int http_status_of(int status)
{
	switch (status) {
	case ERR_MALFORMED:
	case ERR_TRUNCATED:
	case ERR_LIMIT:
	case UV_EINVAL: return 400;
	case ERR_UNAUTHORIZED: return 403;
	case ERR_NOT_FOUND:
	case ERR_MISSING: return 404;
	case ERR_CONFLICT: return 409;
	case ERR_TOO_BIG: return 413;
	case ERR_VERIFY: return 422;
	case ERR_BUSY:
	case UV_ECANCELED: return 503;
	case UV_ETIMEDOUT: return 504;
	case ERR_DISK_FULL: return 507;
	default: return 500;
	}
}

static void reply_json(struct http_request *r, int http_status, json_t *value)
{
	struct buf out;

	buf_init(&out, CONTROL_REPLY_MAX);
	json_write(&out, value);
	buf_write_u8(&out, '\n');
	json_decref(value);
	if (value == NULL || buf_err(&out) < 0) {
		buf_fini(&out);
		http_reply_error(r, 500, "out of memory");
		return;
	}
	http_reply(r, http_status, "application/json", &out);
	buf_fini(&out);
}

void control_reply(struct http_request *r, json_t *value)
{
	reply_json(r, 200, value);
}

void control_reply_list(struct daemon *d, struct http_request *r, json_t *list)
{
	control_reply(r, list);
}

void control_error(struct http_request *r, int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (status == ERR_BUSY)
		http_reply_header(r, "Retry-After", "1");
	reply_json(r, http_status_of(status),
		   json_pack("{s:s, s:s, s:i}", "error", text, "name", err_name(status), "status",
			     status));
}

void control_reply_status(struct http_request *r, int status, json_t *value)
{
	reply_json(r, http_status_of(status), value);
}

void control_failed(struct http_request *r, int status)
{
	static const struct {
		int status;
		const char *text;
	} advice[] = {
		{ ERR_DISK_FULL,
		  "the disk that holds the data folder is full: make room, then try again" },
		{ ERR_READ_ONLY,
		  "the data folder cannot be written to: check its permissions and the mount" },
		{ ERR_BUSY, "the daemon has too much to do at once: try again in a moment" },
		{ ERR_STORE,
		  "the disk of the data folder failed to read or write: the daemon's log "
		  "and `peerscope diag doctor` say more" },
		{ ERR_CORRUPT, "the database of the data folder is damaged: see the daemon's log, "
			       "restore a backup" },
		{ UV_ETIMEDOUT,
		  "the daemon took too long: `peerscope status` shows what it is doing" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		if (advice[i].status == status) {
			control_error(r, status, "%s", advice[i].text);
			return;
		}
	}
	control_error(r, status, "%s", err_str(status));
}

/* ---- Questions ---- */

enum {
	JSON_GROWTH = 16,
	JSON_LEAST = 64 << 10
}; /* bytes in memory for each of the text; at least */

/* libjansson's lexer ends the program when a string that it reads cannot grow. So whether there is
 * memory for what a body becomes is found out first. */
static bool has_room(size_t len)
{
	void *room = mem_alloc(len * JSON_GROWTH + JSON_LEAST);

	mem_free(room);
	return room != NULL;
}

json_t *control_body(struct http_request *r)
{
	size_t len = 0;
	const uint8_t *body = http_request_body(r, &len);
	json_error_t why;
	json_t *value;

	if (len > CONTROL_JSON_MAX) {
		control_error(r, ERR_TOO_BIG, "a JSON request has at most %d bytes",
			      CONTROL_JSON_MAX);
		return NULL;
	}
	if (!has_room(len)) {
		control_failed(r, UV_ENOMEM);
		return NULL;
	}
	value = json_loadb(body != NULL ? (const char *)body : "", len, JSON_REJECT_DUPLICATES,
			   &why);
	if (value == NULL && json_error_code(&why) == json_error_out_of_memory) {
		control_failed(r, UV_ENOMEM);
		return NULL;
	}
	if (!json_is_object(value)) {
		control_error(r, ERR_MALFORMED, "the body is not a JSON object: %s",
			      value == NULL ? why.text : "it is of another type");
		json_decref(value);
		return NULL;
	}
	return value;
}

bool control_iri(struct http_request *r, const char *text, struct iri *ret)
{
	char why[256];
	int rc;

	if (text == NULL) {
		control_error(r, ERR_MALFORMED, "the parameter iri is missing");
		return false;
	}
	rc = iri_parse(text, strlen(text), ret, why, sizeof(why));
	if (rc < 0)
		control_error(r, ERR_MALFORMED, "not an IRI: %s", why);
	return rc == 0;
}

bool control_kind(struct http_request *r, const char *text, enum scope_kind *ret)
{
	static const enum scope_kind kinds[] = { SCOPE_EXACT, SCOPE_CHILDREN, SCOPE_RECURSIVE };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (text == NULL || strcmp(text, scope_kind_name(kinds[i])) == 0) {
			*ret = kinds[i];
			return true;
		}
	}
	control_error(r, ERR_MALFORMED, "kind is exact, children or recursive");
	return false;
}

size_t control_limit(struct http_request *r)
{
	const char *text = http_request_param(r, "limit");
	size_t n = 0;

	for (; text != NULL && *text >= '0' && *text <= '9' && n < CONTROL_LIST_MAX; text++)
		n = n * 10 + (size_t)(*text - '0');
	return n == 0 ? CONTROL_LIST_DEFAULT : MIN(n, (size_t)CONTROL_LIST_MAX);
}
