#include "debug_http/traces.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* A page is written root by root (list) or span by span (waterfall): at most TRACES_SLICE_NS of
 * work, then the loop has its turn; when the client reads slowly, the next slice waits until the
 * socket has drained. The store goes on meanwhile. What was found at the beginning may be evicted:
 * then its row is left out and the page says so. */

enum { TRACES_TEXT_MAX = 48 << 20, WHY_MAX = 200 };

static bool visit_root(void *data, const struct trace_span_view *s)
{
	*(struct trace_span_view *)data = *s;
	return false;
}

bool traces_root(struct traces_page *p, size_t i, struct trace_span_view *ret)
{
	*ret = (struct trace_span_view){ 0 };
	trace_walk(p->trace, p->roots[i], visit_root, ret);
	return ret->category != NULL &&
	       memcmp(ret->span_id, p->span_ids[i], sizeof(ret->span_id)) == 0;
}

static void end(struct traces_page *p, bool complete)
{
	struct http_request *r = p->r;

	runner_undefer(&p->task);
	buf_fini(&p->out);
	mem_free(p);
	if (complete)
		http_reply_end(r);
	else
		http_reply_abort(r);
}

/* One piece of the page. True when it was the last. */
static bool write_piece(struct traces_page *p, uint64_t until_ns)
{
	struct trace_span_view root;
	bool one = p->query.has_id;

	switch (p->phase) {
	case TRACES_HEAD:
		if (one)
			waterfall_write_head(p);
		else
			list_write_head(p);
		p->phase = TRACES_ITEMS;
		break;
	case TRACES_ITEMS:
		if (p->next == p->count) {
			p->phase = TRACES_TAIL;
		} else if (one) {
			p->next += waterfall_write_some(p, until_ns);
		} else {
			if (traces_root(p, p->next, &root))
				list_write_row(p, &root);
			else
				p->lost++;
			p->next++;
		}
		break;
	case TRACES_TAIL:
		if (one)
			waterfall_write_tail(p);
		else
			list_write_tail(p);
		http_page_end(p->r, &p->out);
		return true;
	}
	return false;
}

static void write_slice(struct traces_page *p)
{
	const struct clock *clock = p->runner->clock;
	uint64_t until_ns = clock_now_ns(&clock_system) + TRACES_SLICE_NS;
	bool done = false, wait;

	p->now_ns = clock_now_ns(clock);
	while (!done && p->out.len < HTTP_WRITE_HIGH && clock_now_ns(&clock_system) < until_ns)
		done = write_piece(p, until_ns);
	if (buf_err(&p->out) != 0) {
		end(p, false);
		return;
	}
	wait = http_reply_write(p->r, p->out.data, p->out.len);
	buf_clear(&p->out);
	if (done || p->r->gone)
		end(p, true);
	else if (!wait)
		runner_defer(p->runner, &p->task);
}

static void on_turn(struct runner_task *task)
{
	write_slice(container_of(task, struct traces_page, task));
}

static void on_drain(void *data, struct http_request *r)
{
	write_slice(data);
}

static bool is_own_param(const char *name)
{
	static const char *const names[] = { "json", "text", "html", "refresh" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool read_query(struct http_request *r, struct trace_query *q)
{
	const char *name, *value;
	char why[WHY_MAX] = "";

	for (size_t i = 0; http_request_param_at(r, i, &name, &value); i++) {
		if (is_own_param(name) ||
		    trace_query_set(q, name, value, why, sizeof(why)) != ERR_MALFORMED)
			continue;
		http_reply_error(r, 400, "Bad parameter %s: %s.", name, why);
		return false;
	}
	return true;
}

static void reply_page(struct http_server *s, struct http_request *r, const struct trace_query *q)
{
	struct traces_page *p = mem_alloc(sizeof(*p));
	struct trace_span_view root;

	if (p == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	*p = (struct traces_page){ .r = r,
				   .trace = s->shown_trace,
				   .palette = &s->palette,
				   .query = *q,
				   .runner = &s->loop->runner,
				   .task.run = on_turn };
	buf_init(&p->out, TRACES_ITEM_MAX);
	p->count =
		trace_search(p->trace, q, p->roots, ARRAY_SIZE(p->roots), &p->matched, &p->total);
	for (size_t i = 0; i < p->count; i++) {
		trace_walk(p->trace, p->roots[i], visit_root, &root);
		memcpy(p->span_ids[i], root.span_id, sizeof(root.span_id));
	}
	http_reply_begin(r, 200, "text/html; charset=utf-8");
	http_request_on_drain(r, on_drain, p);
	write_slice(p);
}

static void reply_whole(struct http_server *s, struct http_request *r, const struct trace_query *q)
{
	bool json = http_request_format(r) == HTTP_JSON;
	CLEANUP(buf_fini) struct buf out;

	buf_init(&out, TRACES_TEXT_MAX);
	if (json)
		trace_render_json(s->shown_trace, q, &out);
	else
		trace_render_text(s->shown_trace, q, &out);
	http_reply(r, 200, json ? "application/json" : "text/plain; charset=utf-8", &out);
}

static void on_traces(void *data, struct http_request *r)
{
	struct http_server *s = data;
	struct trace_query q = { 0 };
	uint32_t root;

	if (!read_query(r, &q))
		return;
	if (q.has_id && trace_search(s->shown_trace, &q, &root, 1, NULL, NULL) == 0)
		http_reply_error(r, 404,
				 "No trace with this id is kept. It may have been evicted, or "
				 "belong to another "
				 "daemon.");
	else if (http_request_format(r) == HTTP_HTML)
		reply_page(s, r, &q);
	else
		reply_whole(s, r, &q);
}

int debug_http_traces(struct http_server *s, struct trace *trace)
{
	s->shown_trace = trace;
	return http_route(s, HTTP_GET_, "/debug/traces",
			  "something was slow: which stage of which operation took the time",
			  on_traces, s);
}
