#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "debug_http/traces.h"

/* Keeping a trace: pinned roots are never evicted. GET never changes anything, so that it takes a
 * POST, which the guard lets a browser send from our own pages only. A trace can have several roots
 * here; they are kept and let go together, and so are several traces: all of them or none. What
 * changed is told, so that who keeps traces for a while lets go of no others. */

enum { PIN_ROOTS_MAX = 64, WHY_MAX = 200 };

struct change {
	bool pinned;
	size_t roots, changed;
	uint32_t slots[PIN_ROOTS_MAX]; /* of those that changed */
	uint8_t ids[PIN_ROOTS_MAX][16];
};

static void reply_json(struct buf *out, const struct change *c)
{
	buf_printf(out, "{\"pinned\":%s,\"roots\":%zu,\"changed\":[", c->pinned ? "true" : "false",
		   c->roots);
	for (size_t i = 0; i < c->changed; i++) {
		buf_write_str(out, i > 0 ? ",\"" : "\"");
		page_write_hex(out, c->ids[i], sizeof(c->ids[i]));
		buf_write_u8(out, '"');
	}
	buf_write_str(out, "]}\n");
}

static void reply_done(struct http_request *r, const struct trace_query *q, const struct change *c)
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
	if (format == HTTP_JSON)
		reply_json(&out, c);
	else
		buf_printf(&out, "%s, %zu\n", c->pinned ? "pinned" : "not pinned", c->roots);
	http_reply(r, 200, format == HTTP_JSON ? "application/json" : "text/plain; charset=utf-8",
		   &out);
}

/* False: replied with an error. */
static bool read_id(struct http_request *r, struct trace_query *q)
{
	char why[WHY_MAX] = "it is missing";
	const char *name, *value;

	for (size_t i = 0; http_request_param_at(r, i, &name, &value); i++) {
		if (strcmp(name, "id") == 0 && value[0] != '\0' &&
		    trace_query_set(q, "id", value, why, sizeof(why)) != 0) {
			q->has_id = false;
			break;
		}
	}
	if (q->has_id)
		return true;
	http_reply_error(r, 400, "Bad parameter id: %s.", why);
	return false;
}

static bool see(void *data, const struct trace_span_view *v)
{
	*(struct trace_span_view *)data = *v;
	return false;
}

/* False: there is no room. */
static bool change_root(struct trace *t, uint32_t slot, struct change *c)
{
	struct trace_span_view root = { 0 };

	trace_walk(t, slot, see, &root);
	c->roots++;
	if (root.pinned == c->pinned)
		return true;
	if (!c->pinned)
		trace_unpin(t, slot);
	else if (trace_pin(t, slot) != 0)
		return false;
	c->slots[c->changed] = slot;
	memcpy(c->ids[c->changed++], root.trace_id, sizeof(root.trace_id));
	return true;
}

static void change(struct http_server *s, struct http_request *r, bool pinned)
{
	struct trace_query q = { .limit = PIN_ROOTS_MAX };
	struct change c = { .pinned = pinned };
	uint32_t roots[PIN_ROOTS_MAX];
	size_t count;

	if (!read_id(r, &q))
		return;
	count = trace_search(s->shown_trace, &q, roots, ARRAY_SIZE(roots), NULL, NULL);
	for (size_t i = 0; i < count; i++) {
		if (!change_root(s->shown_trace, roots[i], &c)) {
			while (c.changed > 0)
				trace_unpin(s->shown_trace, c.slots[--c.changed]);
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
		reply_done(r, &q, &c);
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
