#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "debug_http/traces.h"

/* Keeping a trace: pinned roots are never evicted. GET never changes anything, so that it takes a
 * POST, which the guard lets a browser send from our own pages only. A trace can have several roots
 * here; they are kept and let go together. */

enum { PIN_ROOTS_MAX = 64, WHY_MAX = 200 };

static void reply_done(struct http_request *r, const struct trace_query *q, bool pinned,
		       size_t roots)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	enum http_format format = http_request_format(r);

	buf_init(&out, 256);
	if (format == HTTP_HTML) {
		buf_write_str(&out, "/debug/traces?id=");
		page_write_hex(&out, q->id, sizeof(q->id));
		buf_write_u8(&out, '\0');
		if (buf_err(&out) == 0)
			http_reply_header(r, "Location", (const char *)out.data);
		http_reply(r, 303, NULL, NULL);
		return;
	}
	buf_printf(&out, format == HTTP_JSON ? "{\"pinned\":%s,\"roots\":%zu}\n" : "%s, %zu\n",
		   format == HTTP_JSON ? (pinned ? "true" : "false") :
					 (pinned ? "pinned" : "not pinned"),
		   roots);
	http_reply(r, 200, format == HTTP_JSON ? "application/json" : "text/plain; charset=utf-8",
		   &out);
}

/* False: replied with an error. */
static bool read_id(struct http_request *r, struct trace_query *q)
{
	const char *id = http_request_param(r, "id");
	char why[WHY_MAX] = "it is missing";

	if (id != NULL && id[0] != '\0' && trace_query_set(q, "id", id, why, sizeof(why)) == 0)
		return true;
	http_reply_error(r, 400, "Bad parameter id: %s.", why);
	return false;
}

static void change(struct http_server *s, struct http_request *r, bool pinned)
{
	struct trace_query q = { .limit = PIN_ROOTS_MAX };
	uint32_t roots[PIN_ROOTS_MAX];
	size_t count;

	if (!read_id(r, &q))
		return;
	count = trace_search(s->shown_trace, &q, roots, ARRAY_SIZE(roots), NULL, NULL);
	for (size_t i = 0; i < count; i++) {
		if (!pinned) {
			trace_unpin(s->shown_trace, roots[i]);
		} else if (trace_pin(s->shown_trace, roots[i]) == ERR_LIMIT) {
			http_reply_error(r, 409,
					 "No more can be kept: %d traces, or a quarter of the "
					 "memory for traces, are kept already. Let go of another "
					 "one first.",
					 TRACE_PINNED_MAX);
			return;
		}
	}
	if (count == 0)
		http_reply_error(r, 404,
				 "No trace with this id is here. It may have been evicted.");
	else
		reply_done(r, &q, pinned, count);
}

static void on_pin(void *data, struct http_request *r)
{
	change(data, r, true);
}

static void on_unpin(void *data, struct http_request *r)
{
	change(data, r, false);
}

int pin_routes(struct http_server *s)
{
	int rc = http_route(s, HTTP_POST_, "/debug/traces/pin", NULL, on_pin, s);

	return rc == 0 ? http_route(s, HTTP_POST_, "/debug/traces/unpin", NULL, on_unpin, s) : rc;
}

void pin_write_button(struct traces_page *p, bool pinned)
{
	struct buf *out = &p->out;

	buf_printf(out, "<form class=\"keep\" method=\"post\" action=\"/debug/traces/%s?id=",
		   pinned ? "unpin" : "pin");
	page_write_hex(out, p->query.id, sizeof(p->query.id));
	buf_write_str(out, pinned ? "\"><button type=\"submit\" title=\"It may be evicted then\">"
				    "Let go</button> kept</form>\n" :
				    "\"><button type=\"submit\" title=\"Never evict it, until it "
				    "is let go\">Keep</button></form>\n");
}
