#include "debug_http/traces.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* A page is written in small pieces (a row of the list, a line of the waterfall): at most
 * TRACES_SLICE_NS of work, then the loop has its turn; when the client reads slowly, the next slice
 * waits until the socket has drained. The store goes on meanwhile. What was found at the beginning
 * may be evicted: then its row is left out and the page says so. */

enum { WHY_MAX = 200 };

static bool visit_root(void *data, const struct trace_span_view *s)
{
	*(struct trace_span_view *)data = *s;
	return false;
}

bool traces_root(struct traces_page *p, size_t i, struct trace_span_view *ret)
{
	return trace_look(p->trace, p->roots[i].slot, p->roots[i].span_id, ret);
}

static size_t take_refs(struct trace *t, const uint32_t *slots, size_t count, struct root_ref *ret)
{
	struct trace_span_view root;

	for (size_t i = 0; i < count; i++) {
		trace_walk(t, slots[i], visit_root, &root);
		ret[i].slot = slots[i];
		memcpy(ret[i].span_id, root.span_id, sizeof(root.span_id));
	}
	return count;
}

size_t traces_found(struct traces_page *p, struct root_ref *ret, size_t cap)
{
	uint32_t slots[TRACES_LIST_MAX];
	size_t count = trace_find_roots(&p->find, slots, MIN(cap, ARRAY_SIZE(slots)));

	return take_refs(p->trace, slots, count, ret);
}

static size_t find_roots(struct trace *t, const struct trace_query *q, struct root_ref *ret,
			 size_t cap)
{
	uint32_t slots[TRACES_LIST_MAX];
	size_t count = trace_search(t, q, slots, MIN(cap, ARRAY_SIZE(slots)), NULL, NULL);

	return take_refs(t, slots, count, ret);
}

/* ---- The pump ---- */

static void end(struct traces_page *p, bool complete)
{
	struct http_request *r = p->r;

	runner_undefer(&p->task);
	buf_fini(&p->out);
	story_free(p->story);
	mem_free(p);
	if (complete)
		http_reply_end(r);
	else
		http_reply_abort(r);
}

/* One piece of the page. True when it was the last. */
static bool write_piece(struct traces_page *p)
{
	switch (p->phase) {
	case TRACES_HEAD:
		p->kind->head(p);
		p->phase = TRACES_ITEMS;
		break;
	case TRACES_ITEMS:
		if (p->kind->some(p))
			p->phase = TRACES_TAIL;
		break;
	case TRACES_TAIL:
		p->kind->tail(p);
		if (p->is_file)
			page_end_file(p->r, &p->out);
		else
			http_page_end(p->r, &p->out);
		return true;
	}
	return false;
}

static void write_slice(struct traces_page *p)
{
	uint64_t until_ns = clock_now_ns(&clock_system) + TRACES_SLICE_NS;
	bool done = false, wait;

	p->now_ns = clock_now_ns(p->runner->clock);
	p->pause = false;
	do
		done = write_piece(p);
	while (!done && !p->pause && p->out.len < HTTP_WRITE_HIGH / 4 &&
	       clock_now_ns(&clock_system) < until_ns);
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

static struct traces_page *new_page(struct http_server *s, struct http_request *r,
				    const struct trace_query *q, const struct page_kind *kind)
{
	struct traces_page *p = mem_alloc(sizeof(*p));

	if (p == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return NULL;
	}
	p->r = r;
	p->trace = s->shown_trace;
	p->palette = &s->palette;
	p->runner = &s->loop->runner;
	p->kind = kind;
	p->query = *q;
	p->task.run = on_turn;
	buf_init(&p->out, TRACES_ITEM_MAX);
	return p;
}

static void begin(struct traces_page *p)
{
	http_reply_begin(p->r, 200, "text/html; charset=utf-8");
	http_request_on_drain(p->r, on_drain, p);
	runner_defer(p->runner, &p->task); /* finding out what to show took its time already */
}

/* ---- Which page ---- */

/* The roots of the trace that was asked for, if one was: to look for them costs as much as a slice,
 * so that it is done once. */
struct roots {
	struct root_ref refs[TRACES_LIST_MAX];
	size_t count;
};

static void reply_page(struct http_server *s, struct http_request *r, const struct trace_query *q,
		       const struct roots *roots)
{
	const char *download = http_request_param(r, "download");
	struct traces_page *p = new_page(s, r, q, q->has_id ? &page_waterfall : &page_list);

	if (p == NULL)
		return;
	memcpy(p->roots, roots->refs, roots->count * sizeof(*roots->refs));
	p->count = roots->count;
	p->is_file = q->has_id && download != NULL && strcmp(download, "html") == 0;
	if (p->is_file)
		export_name_file(p, "html");
	begin(p);
}

static void reply_text(struct http_server *s, struct http_request *r, const struct trace_query *q)
{
	enum trace_format format = q->has_id ? TRACE_FORMAT_TEXT : TRACE_FORMAT_LIST;

	http_reply_traces(r, trace_writer_new(s->shown_trace, format, q),
			  "text/plain; charset=utf-8");
}

/* The finished root of the same category whose duration is the median of them, as a partner to
 * compare with. Those no longer than the median are asked for, longest first, so that it is found
 * among the first however many there are. */
static bool find_median(struct http_server *s, const struct root_ref *of, struct root_ref *ret)
{
	struct trace_query q = { .finished = true,
				 .success = true,
				 .limit = TRACES_LIST_MAX,
				 .sort = TRACE_SORT_SLOWEST };
	struct trace_stats stats[TRACE_CATEGORIES_MAX];
	struct root_ref found[TRACES_LIST_MAX];
	struct trace_span_view v;
	size_t count = trace_stats_all(s->shown_trace, stats, ARRAY_SIZE(stats)), i = 0;

	if (!trace_look(s->shown_trace, of->slot, of->span_id, &v))
		return false;
	q.category = v.category;
	while (i < count && strcmp(stats[i].category, v.category) != 0)
		i++;
	q.max_ns = i < count && stats[i].sample_count > 0 ? stats[i].p50_ns : 0;
	count = find_roots(s->shown_trace, &q, found, ARRAY_SIZE(found));
	if (count < 2) { /* of two, the shorter one is the median */
		q.max_ns = 0;
		count = find_roots(s->shown_trace, &q, found, ARRAY_SIZE(found));
	}
	for (i = 0; i < count; i++) {
		struct trace_span_view other;

		if (!trace_look(s->shown_trace, found[i].slot, found[i].span_id, &other) ||
		    strcmp(other.category, v.category) != 0 ||
		    memcmp(other.span_id, v.span_id, sizeof(v.span_id)) == 0)
			continue;
		*ret = found[i];
		return true;
	}
	return false;
}

/* False: replied with an error. */
static bool find_partner(struct http_server *s, struct http_request *r, const char *with,
			 const struct root_ref *of, struct root_ref *ret)
{
	struct trace_query q = { 0 };
	char why[WHY_MAX] = "";

	if (with[0] == '\0' || strcmp(with, "median") == 0) {
		if (find_median(s, of, ret))
			return true;
		http_reply_error(r, 404,
				 "There is no other finished trace of this category to "
				 "compare with.");
		return false;
	}
	if (trace_query_set(&q, "id", with, why, sizeof(why)) != 0) {
		http_reply_error(r, 400, "Bad parameter with: %s, or median.", why);
		return false;
	}
	if (find_roots(s->shown_trace, &q, ret, 1) == 1)
		return true;
	http_reply_error(r, 404,
			 "No trace with the id of `with` is kept. It may have been evicted.");
	return false;
}

/* What was asked for is second, so that the figures tell by how much it is slower. */
static void reply_diff(struct http_server *s, struct http_request *r, uint32_t one, uint32_t other)
{
	bool json = http_request_format(r) == HTTP_JSON;

	http_reply_traces(r, trace_writer_new_diff(s->shown_trace, other, one, json),
			  json ? "application/json" : "text/plain; charset=utf-8");
}

static void reply_compare(struct http_server *s, struct http_request *r,
			  const struct trace_query *q, const struct root_ref *one)
{
	struct root_ref other;
	struct traces_page *p;

	if (!find_partner(s, r, http_request_param(r, "with"), one, &other))
		return;
	if (http_request_format(r) != HTTP_HTML) {
		reply_diff(s, r, one->slot, other.slot);
		return;
	}
	p = new_page(s, r, q, &page_compare);
	if (p == NULL)
		return;
	p->roots[0] = *one;
	p->roots[1] = other;
	p->count = 2;
	begin(p);
}

/* ---- What was asked for ---- */

static bool is_own_param(const char *name)
{
	static const char *const names[] = { "json", "text",	 "html",   "refresh", "by",
					     "with", "download", "stream", "format" };

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

static bool wants_stream(const struct http_request *r)
{
	const char *accept = http_request_header(r, "accept");

	return http_request_param(r, "stream") != NULL ||
	       (accept != NULL && strncmp(accept, "text/event-stream", 17) == 0);
}

/* To look for a trace takes some 0.1 ms per MiB of the store, and many may ask in one turn: each
 * does so as a task, of which the loop runs as many as there is time for. */
struct question {
	struct runner_task task;
	struct http_server *server;
	struct http_request *r;
	struct trace_query query;
};

static void answer(struct http_server *s, struct http_request *r, const struct trace_query *q)
{
	const char *format = http_request_param(r, "format");
	struct roots roots = { .count = 0 };

	if (q->has_id)
		roots.count = find_roots(s->shown_trace, q, roots.refs, ARRAY_SIZE(roots.refs));
	if (q->has_id && roots.count == 0)
		http_reply_error(r, 404,
				 "No trace with this id is kept. It may have been evicted, or "
				 "belong to another daemon.");
	else if (format != NULL)
		export_reply(s, r, q, format);
	else if (q->has_id && http_request_param(r, "with") != NULL)
		reply_compare(s, r, q, &roots.refs[0]);
	else if (http_request_format(r) == HTTP_JSON)
		export_reply(s, r, q, "json");
	else if (http_request_format(r) == HTTP_TEXT)
		reply_text(s, r, q);
	else
		reply_page(s, r, q, &roots);
}

static void run_question(struct runner_task *task)
{
	struct question *asked = container_of(task, struct question, task);

	answer(asked->server, asked->r, &asked->query);
	mem_free(asked);
}

static void on_traces(void *data, struct http_request *r)
{
	struct http_server *s = data;
	struct trace_query q = { 0 };
	struct question *asked;

	if (!read_query(r, &q))
		return;
	if (wants_stream(r)) {
		live_reply(s, r, &q);
		return;
	}
	asked = mem_alloc(sizeof(*asked));
	if (asked == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	*asked = (struct question){ .task.run = run_question, .server = s, .r = r, .query = q };
	runner_defer(&s->loop->runner, &asked->task);
}

int debug_http_traces(struct http_server *s, struct trace *trace)
{
	int rc;

	s->shown_trace = trace;
	rc = http_route(s, HTTP_GET_, "/debug/traces",
			"something was slow: which stage of which operation took the time",
			on_traces, s);
	return rc == 0 ? pin_routes(s) : rc;
}
