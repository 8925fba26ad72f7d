/* The control API: HTTP and JSON on DIR/control.sock (docs/control.md), handled on the loop.
 *
 * A request that waits for an operation is a `call`: its struct begins with struct control_call and
 * holds the operation; when the client leaves or the daemon stops, the operation is cancelled, and
 * the reply is made as always. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"

enum {
	CONTROL_CALLS_MAX = 256,
	CONTROL_TIMEOUT_MS = 60000,   /* of a request, unless it says otherwise */
	CONTROL_JSON_MAX = 512 << 10, /* bytes of a JSON request */
	CONTROL_REPLY_MAX = 64 << 20,
	CONTROL_LIST_DEFAULT = 100,
	CONTROL_LIST_MAX = 10000
};

struct control;
struct control *control_new(struct daemon *d);
struct control *control_free(struct control *c);
/** Routes under /v1/. */
int control_attach(struct control *c, struct http_server *s);
/** Pages of the log, the doctor, the system and the bundle; for either server. */
int control_attach_diagnostics(struct control *c, struct http_server *s);
/** Cancel what runs; new requests are refused. */
void control_stop(struct control *c);

struct control_call {
	struct list node;
	struct control *control;
	struct daemon *daemon;
	struct http_request *request;
	struct op *op; /* what to cancel; may be NULL */
	bool gone;
};
/** `size` zeroed bytes that begin with a control_call. NULL after having refused the request. */
void *control_call_new(struct control *c, struct http_request *r, size_t size);
void control_call_free(struct control_call *call);
/** Environment for an operation of a request. */
struct op_env control_env(struct daemon *d, uint64_t timeout_ms);

/** Takes the value; 200. */
void control_reply(struct http_request *r, json_t *value);
/** What becomes of a list: takes the value, ends the request. */
typedef void (*control_list_fn)(struct daemon *d, struct http_request *r, json_t *list);
/** As control_reply. */
void control_reply_list(struct daemon *d, struct http_request *r, json_t *list);
/** {"peers": […]} and {"total", "objects": […]} of the store, as the query parameters want them. */
void control_list_peers(struct control *c, struct http_request *r, control_list_fn reply);
void control_list_objects(struct control *c, struct http_request *r, control_list_fn reply);
/** {"error", "name", "status"} with the HTTP status that fits. */
void control_error(struct http_request *r, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** Takes the value, an object like control_error's with more in it. */
void control_reply_status(struct http_request *r, int status, json_t *value);
/** The error of an operation, in its own words. */
void control_failed(struct http_request *r, int status);
/** The body as JSON object; NULL after having refused it. json_decref. */
json_t *control_body(struct http_request *r);
/** An IRI; false after having refused it. text NULL = missing. */
bool control_iri(struct http_request *r, const char *text, struct iri *ret);
/** exact (also for NULL), children, recursive; false after having refused it. */
bool control_kind(struct http_request *r, const char *text, enum scope_kind *ret);
/** What the answer of a discovery is worth: "answer", "sure", "fault", "explanation", and what
 * became of the peers. */
void control_add_answer(json_t *o, const struct discovery_report *report);
/** Query parameter `limit`, within bounds. */
size_t control_limit(struct http_request *r);

/* Routes by subject; each adds its own. */
int control_status_routes(struct control *c, struct http_server *s);
int control_peer_routes(struct control *c, struct http_server *s);
int control_object_routes(struct control *c, struct http_server *s);
int control_subscription_routes(struct control *c, struct http_server *s);
int control_blob_routes(struct control *c, struct http_server *s);
int control_publish_routes(struct control *c, struct http_server *s);
int control_discover_routes(struct control *c, struct http_server *s);
int control_trace_routes(struct control *c, struct http_server *s);
struct daemon *control_daemon(struct control *c);
