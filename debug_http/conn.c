#include "debug_http/server.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "debug_http/guard.h"

/* Life of a connection:
 *
 *   IDLE --byte--> HEAD --guard, route--> BODY --complete--> REPLY --ended--> FLUSH --+
 *    ^                \______ refused: the reply comes without the body _______/       |
 *    +---------------------------------- keep-alive -----------------------------------+
 *                                          else LINGER --client's end, 2 s--> CLOSED
 *
 * Each state has its deadline (arm). A drop is possible in every state. The struct is freed when
 * the handle is closed, no reply is owed and no handler is on the stack: a handler may hold its
 * request long after the client went away.
 *
 * Reading goes on while a reply is owed, to notice the client's end; only what it sends ahead is
 * bounded. An end of stream tells the handler (on_close), yet what it still writes is sent: a
 * client may have shut down only its side. */

struct write {
	uv_write_t req;
	struct conn *conn;
	uint8_t *data;
	size_t prefix_len;
	uint8_t prefix[];
};

static void parse(struct conn *c);

static struct runner *runner_of(const struct conn *c)
{
	return &c->server->loop->runner;
}

/* ---- Lifetime ---- */

static void put(struct conn *c)
{
	struct http_server *s = c->server;

	if (c->state != CONN_CLOSED || !c->handle_closed || c->request.open || c->hold > 0)
		return;
	runner_undefer(&c->task);
	list_remove(&c->node);
	request_fini(&c->request);
	buf_fini(&c->in);
	buf_fini(&c->piece);
	mem_free(c);
	server_conn_closed(s);
}

static void on_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	c->handle_closed = true;
	put(c);
}

void conn_drop(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	c->request.gone = true;
	runner_timer_stop(runner_of(c), &c->timer);
	buf_clear(&c->piece);
	if (c->request.open)
		conn_wake(c);
	uv_close(&c->uv.handle, on_closed);
}

void conn_wake(struct conn *c)
{
	runner_defer(runner_of(c), &c->task);
}

/* ---- Timeouts ---- */

static uint64_t taken(const struct conn *c)
{
	return c->queued_total - uv_stream_get_write_queue_size(&c->uv.stream);
}

static void arm_after(struct conn *c, uint64_t ms)
{
	runner_timer_start(runner_of(c), &c->timer, runner_now_ms(runner_of(c)) + ms);
}

/* Nothing of the reply is there yet, and the client asked to be told that somebody works on it. */
static bool owes_sign(const struct conn *c)
{
	const struct http_request *r = &c->request;

	return c->state == CONN_REPLY && !r->begun && !c->server->closing && conn_queued(c) == 0 &&
	       r->parser.http_minor >= 1 && http_request_header(r, "peerscope-alive") != NULL;
}

static void arm(struct conn *c)
{
	switch (c->state) {
	case CONN_IDLE:
		arm_after(c, c->served == 0 ? HTTP_HEADER_TIMEOUT_MS : HTTP_IDLE_TIMEOUT_MS);
		break;
	case CONN_HEAD: arm_after(c, HTTP_HEADER_TIMEOUT_MS); break;
	case CONN_BODY: arm_after(c, HTTP_BODY_TIMEOUT_MS); break;
	case CONN_REPLY:
	case CONN_FLUSH:
		if (c->server->closing) {
			if (!c->ending)
				arm_after(c, HTTP_LINGER_MS);
			c->ending = true;
		} else if (conn_queued(c) > 0) {
			c->seen_taken = taken(c);
			arm_after(c, HTTP_WRITE_TIMEOUT_MS);
		} else if (owes_sign(c)) {
			arm_after(c, HTTP_ALIVE_MS);
		} else {
			runner_timer_stop(runner_of(c), &c->timer);
		}
		break;
	case CONN_LINGER: arm_after(c, HTTP_LINGER_MS); break;
	case CONN_CLOSED: break;
	}
}

static void move(struct conn *c, enum conn_state state)
{
	c->state = state;
	arm(c);
}

/* RFC 2518, 10.1: the request has been taken, and is not done yet. */
static void send_processing(struct conn *c)
{
	static const char line[] = "HTTP/1.1 102 Processing\r\n\r\n";

	conn_send(c, line, sizeof(line) - 1, NULL, 0, "");
	if (c->state == CONN_REPLY)
		arm(c);
}

static void on_timer(struct runner_timer *timer)
{
	struct conn *c = container_of(timer, struct conn, timer);
	bool writing = c->state == CONN_REPLY || c->state == CONN_FLUSH;

	if (c->state == CONN_HEAD || c->state == CONN_BODY)
		reply_refuse(&c->request, 408, "The request did not arrive in time.");
	else if (owes_sign(c))
		send_processing(c);
	else if (writing && !c->server->closing &&
		 (taken(c) != c->seen_taken || conn_queued(c) == 0))
		arm(c);
	else
		conn_drop(c);
}

/* ---- Telling handlers ---- */

static void tell_close(struct conn *c)
{
	struct http_request *r = &c->request;

	if (!r->open || r->close_told || r->on_close == NULL)
		return;
	r->close_told = true;
	r->on_close(r->on_close_data, r);
}

static void tell_drain(struct conn *c)
{
	struct http_request *r = &c->request;

	if (!r->open || !r->drain_wanted || r->on_drain == NULL)
		return;
	if (!r->gone && conn_queued(c) > HTTP_WRITE_HIGH / 2)
		return;
	r->drain_wanted = false;
	r->on_drain(r->on_drain_data, r);
}

static void finish_reply(struct conn *c);

static void run_task(struct runner_task *task)
{
	struct conn *c = container_of(task, struct conn, task);

	c->hold++;
	if (c->state != CONN_CLOSED && c->request.open)
		reply_flush(&c->request);
	if (c->state == CONN_FLUSH && c->writes == 0)
		finish_reply(c);
	if (c->eof || c->request.gone || c->server->closing)
		tell_close(c);
	tell_drain(c);
	c->hold--;
	put(c);
}

/* ---- Writing ---- */

size_t conn_queued(const struct conn *c)
{
	return uv_stream_get_write_queue_size(&c->uv.stream) + c->piece.len;
}

static void on_written(uv_write_t *req, int status)
{
	struct write *w = container_of(req, struct write, req);
	struct conn *c = w->conn;

	mem_free(w->data);
	mem_free(w);
	c->writes--;
	if (c->state == CONN_CLOSED)
		return;
	if (status < 0) {
		conn_drop(c);
		return;
	}
	c->hold++;
	if (c->state == CONN_FLUSH && c->writes == 0)
		finish_reply(c);
	else if (c->state == CONN_REPLY || c->state == CONN_FLUSH)
		arm(c);
	tell_drain(c);
	c->hold--;
	put(c);
}

void conn_send(struct conn *c, const void *prefix, size_t prefix_len, uint8_t *data, size_t len,
	       const char *suffix)
{
	struct write *w = NULL;
	uv_buf_t bufs[3];
	unsigned count = 0;
	bool was_quiet = conn_queued(c) == 0;

	if (c->state != CONN_CLOSED && conn_queued(c) + len <= HTTP_QUEUED_MAX)
		w = mem_alloc(sizeof(*w) + prefix_len);
	if (w == NULL) {
		mem_free(data);
		conn_drop(c);
		return;
	}
	w->conn = c;
	w->data = data;
	memcpy(w->prefix, prefix, prefix_len);
	/* libuv would leave an empty buffer at the end for a write of its own. */
	if (prefix_len > 0)
		bufs[count++] = uv_buf_init((char *)w->prefix, (unsigned)prefix_len);
	if (len > 0)
		bufs[count++] = uv_buf_init((char *)data, (unsigned)len);
	if (suffix[0] != '\0')
		bufs[count++] = uv_buf_init((char *)suffix,
					    (unsigned)strlen(suffix)); /* static, only read */
	c->queued_total += prefix_len + len + strlen(suffix);
	if (uv_write(&w->req, &c->uv.stream, bufs, count, on_written) < 0) {
		mem_free(w->data);
		mem_free(w);
		conn_drop(c);
		return;
	}
	c->writes++;
	if (was_quiet && (c->state == CONN_REPLY || c->state == CONN_FLUSH))
		arm(c);
}

/* ---- The end of a reply ---- */

static void on_shutdown(uv_shutdown_t *req, int status)
{
}

static void linger(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	move(c, CONN_LINGER);
	if (c->eof || uv_shutdown(&c->shutdown, &c->uv.stream, on_shutdown) < 0)
		conn_drop(c);
}

static void read_on(struct conn *c);

static void finish_reply(struct conn *c)
{
	/* After the client's end there may still be requests that it had sent ahead. */
	bool again = c->keep_alive && !c->server->closing && (!c->eof || c->in.len > 0);

	c->served++;
	if (!again) {
		buf_clear(&c->in);
		read_on(c);
		linger(c);
		return;
	}
	request_reset(&c->request);
	move(c, CONN_IDLE);
	list_remove(&c->node);
	list_push_back(&c->server->conns, &c->node);
	parse(c);
	read_on(c);
	if (c->eof && c->state <= CONN_BODY)
		conn_drop(c);
}

void conn_reply_ended(struct conn *c)
{
	if (c->state == CONN_CLOSED) {
		put(c);
		return;
	}
	c->keep_alive = request_keeps_alive(&c->request) && c->keep_alive;
	move(c, CONN_FLUSH);
	if (c->writes == 0)
		conn_wake(c); /* not from here: the handler is on the stack */
}

/* ---- Requests ---- */

/* Reading traces must not push out what is read. */
static bool is_untraced(const char *path)
{
	return strncmp(path, "/debug/traces", 13) == 0 || strncmp(path, "/debug/assets/", 14) == 0;
}

static void begin_span(struct conn *c)
{
	struct http_request *r = &c->request;
	const char *parent = http_request_header(r, "traceparent");
	struct trace_context context;
	bool has_parent = parent != NULL &&
			  trace_context_parse(parent, strlen(parent), &context) == 0;
	char *title;

	if (c->server->trace == NULL || is_untraced(http_request_path(r)))
		return;
	title = mem_printf("%s %s", request_method_name(r), http_request_path(r));
	if (title == NULL)
		return;
	r->span = trace_root(c->server->trace, "http", title, strlen(title),
			     has_parent ? &context : NULL);
	trace_stage(r->span, "read");
	mem_free(title);
}

static bool route(struct conn *c)
{
	struct http_request *r = &c->request;
	char methods[64];
	unsigned allowed;

	r->route = router_find(&c->server->router, http_request_path(r), http_request_method(r),
			       &allowed);
	if (r->route != NULL) {
		r->tail = r->route->is_prefix ? r->route->len : strlen(http_request_path(r));
		return true;
	}
	if (allowed == 0) {
		reply_refuse(r, 404, "There is no such page. /debug/ lists what there is.");
		return false;
	}
	router_format_methods(allowed, methods, sizeof(methods));
	http_reply_header(r, "Allow", methods);
	reply_refuse(r, 405,
		     "This page is not for that method; the Allow header names those it is for.");
	return false;
}

static void send_continue(struct conn *c)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const char *expect = http_request_header(&c->request, "expect");

	if (expect != NULL && strcasecmp(expect, "100-continue") == 0 &&
	    c->request.parser.http_minor >= 1)
		conn_send(c, line, sizeof(line) - 1, NULL, 0, "");
}

/* The head is complete. Everything is decided here that needs no body, so that none is read in
 * vain. */
static void on_head(struct conn *c)
{
	struct http_request *r = &c->request;
	struct http_server *s = c->server;
	struct guard_refusal refusal;
	uint64_t announced = request_body_announced(r);

	s->stats.requests++;
	r->open = true;
	if (!guard_allows(r, &refusal)) {
		s->stats.refused_guard++;
		if (refusal.status == 405)
			http_reply_header(r, "Allow",
					  s->surface == HTTP_DEBUG ?
						  "GET, HEAD, POST" :
						  "GET, HEAD, POST, PUT, DELETE");
		reply_refuse(r, refusal.status, refusal.what);
		return;
	}
	if (!request_decode(r)) {
		reply_refuse(r, r->broken_status, r->broken_why);
		return;
	}
	begin_span(c);
	if (!route(c))
		return;
	if (announced != UINT64_MAX && announced > r->body_max) {
		reply_refuse(r, 413, "The request body is too large.");
		return;
	}
	/* Growing would copy megabytes in one turn. What is not written to is only promised. */
	if (announced != UINT64_MAX)
		(void)buf_reserve(&r->body, announced);
	move(c, CONN_BODY);
	if (announced > 0)
		send_continue(c);
}

/* For sweeps: the Nth allocation while this request is handled fails. The owner's socket alone. */
static void refuse_memory(const struct http_request *r)
{
#ifdef PEERSCOPE_TEST_HOOKS
	const char *n = http_request_header(r, "x-test-refuse-memory");

	if (r->surface == HTTP_CONTROL && n != NULL)
		mem_fault_after(strtoull(n, NULL, 10), false);
#else
	(void)r;
#endif
}

static void dispatch(struct conn *c)
{
	struct http_request *r = &c->request;

	move(c, CONN_REPLY);
	c->keep_alive = true;
	trace_stage(r->span, "handle");
	c->hold++;
	refuse_memory(r);
	r->route->handler(r->route->data, r);
	c->hold--;
}

/* Feeds what has arrived until the request needs more or is answered. */
static void parse(struct conn *c)
{
	bool progress = true;

	c->hold++;
	while (c->state <= CONN_BODY && progress && (c->in.len > 0 || c->state == CONN_BODY)) {
		enum request_phase before = c->request.phase, phase;
		size_t used;

		if (c->state == CONN_IDLE)
			move(c, CONN_HEAD);
		phase = request_feed(&c->request, c->in.len > 0 ? (void *)c->in.data : "",
				     c->in.len, &used);
		buf_consume(&c->in, used);
		progress = used > 0 || phase != before;
		if (phase == REQUEST_BROKEN)
			reply_refuse(&c->request, c->request.broken_status, c->request.broken_why);
		else if (before == REQUEST_HEAD && phase == REQUEST_BODY)
			on_head(c);
		else if (phase == REQUEST_COMPLETE && c->state == CONN_BODY)
			dispatch(c);
	}
	c->hold--;
	put(c);
}

/* ---- Reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct conn *c = handle->data;

	/* libuv reads up to 32 times in a row. No buffer ends that, and the poll finds the
	 * connection again; who was put off has a read for certain then. */
	c->put_off = !c->put_off && loop_slice_spent(c->server->loop);
	*ret = uv_buf_init((char *)c->server->scratch, c->put_off ? 0 : sizeof(c->server->scratch));
}

static void on_end(struct conn *c)
{
	c->eof = true;
	c->reading = false;
	uv_read_stop(&c->uv.stream);
	if (c->state == CONN_REPLY)
		conn_wake(c);
	else if (c->state != CONN_FLUSH)
		conn_drop(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct conn *c = stream->data;

	if (n < 0) {
		if (n == UV_EOF)
			on_end(c);
		else if (n != UV_ENOBUFS)
			conn_drop(c);
		return;
	}
	if (c->state == CONN_LINGER) {
		c->lingered += (size_t)n;
		if (c->lingered > HTTP_LINGER_MAX)
			conn_drop(c);
		return;
	}
	buf_write(&c->in, data->base, (size_t)n);
	if (buf_err(&c->in) != 0) {
		conn_drop(c);
		return;
	}
	if (c->state <= CONN_BODY)
		parse(c);
	if (c->state != CONN_CLOSED && c->in.len > HTTP_AHEAD_MAX) {
		c->reading = false;
		uv_read_stop(stream);
	}
}

static void read_on(struct conn *c)
{
	if (c->reading || c->eof || c->state == CONN_CLOSED || c->in.len > HTTP_AHEAD_MAX)
		return;
	c->reading = uv_read_start(&c->uv.stream, on_alloc, on_read) == 0;
	if (!c->reading)
		conn_drop(c);
}

/* ---- Beginning and end ---- */

static bool peer_is_local(struct conn *c, bool is_unix)
{
	struct sockaddr_storage address;
	int len = sizeof(address);
	struct multiaddr peer;

	if (is_unix)
		return true;
	return uv_tcp_getpeername(&c->uv.tcp, (struct sockaddr *)&address, &len) == 0 &&
	       multiaddr_from_sockaddr((struct sockaddr *)&address, &peer) == 0 &&
	       multiaddr_is_loopback(&peer);
}

static int open_stream(struct conn *c, struct listener *l)
{
	uv_loop_t *uv = &l->server->loop->uv;
	int rc = l->is_unix ? uv_pipe_init(uv, &c->uv.pipe, 0) : uv_tcp_init(uv, &c->uv.tcp);

	REQUIRE(rc == 0); /* neither makes a socket yet */
	c->uv.handle.data = c;
	rc = uv_accept(&l->uv.stream, &c->uv.stream);
	if (rc == 0 && !l->is_unix)
		(void)uv_tcp_nodelay(&c->uv.tcp, 1);
	return rc;
}

struct conn *http_conn_accept(struct listener *l)
{
	struct http_server *s = l->server;
	struct conn *c = mem_alloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->server = s;
	c->timer.run = on_timer;
	c->task.run = run_task;
	buf_init(&c->in, HTTP_READ_SIZE + HTTP_AHEAD_MAX);
	buf_init(&c->piece, HTTP_QUEUED_MAX);
	request_init(&c->request);
	c->request.conn = c;
	c->request.surface = s->surface;
	c->request.body_max = s->surface == HTTP_CONTROL ? HTTP_CONTROL_BODY_MAX :
							   HTTP_DEBUG_BODY_MAX;
	buf_init(&c->request.body, c->request.body_max);
	c->accepted_turn = s->loop->lag.turns;
	c->accepted_ms = runner_now_ms(&s->loop->runner);
	list_push_back(&s->conns, &c->node);
	s->conn_count++;
	s->stats.connections++;
	if (open_stream(c, l) < 0) {
		conn_drop(c);
		return c;
	}
	c->request.peer_is_local = peer_is_local(c, l->is_unix);
	move(c, CONN_IDLE);
	read_on(c);
	return c;
}

void conn_end_soon(struct conn *c)
{
	if (c->state == CONN_REPLY || c->state == CONN_FLUSH) {
		arm(c);
		conn_wake(c);
	} else {
		conn_drop(c);
	}
}
