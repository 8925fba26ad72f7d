/* GET /v1/traces/diff: what took longer in the second of two traces. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/control.h"

/* The first root of the trace that a parameter names; false after having refused it. */
static bool find_root(struct daemon *d, struct http_request *r, const char *param, uint32_t *ret)
{
	const char *id = http_request_param(r, param);
	struct trace_query q = { 0 };
	char why[256] = "it is missing";

	if (id == NULL || *id == '\0' || trace_query_set(&q, "id", id, why, sizeof(why)) < 0) {
		control_error(r, ERR_MALFORMED, "%s is not the id of a trace: %s", param, why);
		return false;
	}
	if (trace_search(d->trace, &q, ret, 1, NULL, NULL) == 1)
		return true;
	control_error(r, ERR_NOT_FOUND, "the trace that %s names is not kept", param);
	return false;
}

static void on_diff(void *data, struct http_request *r)
{
	struct daemon *d = control_daemon(data);
	bool json = http_request_format(r) == HTTP_JSON;
	uint32_t first, then;

	if (!find_root(d, r, "first", &first) || !find_root(d, r, "then", &then))
		return;
	http_reply_traces(r, trace_writer_new_diff(d->trace, first, then, json),
			  json ? "application/json" : "text/plain; charset=utf-8");
}

int control_trace_routes(struct control *c, struct http_server *s)
{
	return http_route(s, HTTP_GET_, "/v1/traces/diff", NULL, on_diff, c);
}
