/* One request:
 *
 *	starting → sending → closing → done
 *
 * Waiting: sending, for curl. What was given is copied or checked in post_start, so that starting
 * only adds the request to the client.
 *
 * curl says which sockets to watch and when it wants to be called again; it may not be called from
 * inside that. What it says of a finished request is only noted, and the request's tick takes it
 * out. A poll handle lives in a slot of the client until its close callback: curl gives a socket
 * back before it closes it, and may get the same number at once.
 *
 * What can go wrong: no slot is left, or the kernel refuses to watch. The socket is then not
 * watched, and its request ends by its deadline; telling curl of the failure would end all requests
 * of the client. A name that resolves slowly when a request is cancelled: curl would wait for the
 * thread that asks, unless told to leave it behind (CURLOPT_QUICK_EXIT). The system's certificates
 * in one file take tens of ms to read, which the loop does not have: those of the folder are looked
 * up one by one. */
#include "daemon/post.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "trace/trace.h"

enum { SOCKETS_MAX = 64, HOST_MAX = 256 };
_Static_assert((int)POST_WHY_MAX >= (int)CURL_ERROR_SIZE, "curl writes its story there");

struct post_client {
	struct loop *loop;
	CURLM *multi;
	char *ca_file;
	struct runner_timer timer;
	struct post_socket {
		uv_poll_t poll;
		struct post_client *client;
		curl_socket_t fd;
		bool used;
	} sockets[SOCKETS_MAX];
	unsigned socket_count;
	struct post_client_figures figures;
	void (*closed)(void *data); /* set = closing */
	void *closed_data;
	struct runner_task closed_task;
};

/* ---- curl on the loop ---- */

static void post_tick(struct op *op);

/* Requests that curl is done with: noted, and ended by their tick. */
static void collect(struct post_client *c)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
		struct post *p = NULL;

		if (m->msg != CURLMSG_DONE ||
		    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p) != CURLE_OK ||
		    p == NULL)
			continue;
		p->ended = true;
		p->result = (int)m->data.result;
		op_defer(&p->op);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct post_socket *s = container_of(poll, struct post_socket, poll);
	struct post_client *c = s->client;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	(void)curl_multi_socket_action(c->multi, s->fd, flags, &running);
	collect(c);
}

static void on_timer(struct runner_timer *timer)
{
	struct post_client *c = container_of(timer, struct post_client, timer);
	int running;

	(void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(c);
}

static int set_timer(CURLM *multi, long timeout_ms, void *data)
{
	struct post_client *c = data;
	struct runner *r = &c->loop->runner;

	if (timeout_ms < 0)
		runner_timer_stop(r, &c->timer);
	else
		runner_timer_start(r, &c->timer, runner_now_ms(r) + (uint64_t)timeout_ms);
	return 0;
}

static void run_closed(struct runner_task *task)
{
	struct post_client *c = container_of(task, struct post_client, closed_task);
	void (*closed)(void *data) = c->closed;
	void *data = c->closed_data;

	mem_free(c->ca_file);
	mem_free(c);
	closed(data);
}

static void end_close(struct post_client *c)
{
	if (c->closed != NULL && c->socket_count == 0)
		runner_defer(&c->loop->runner, &c->closed_task);
}

static void on_socket_closed(uv_handle_t *handle)
{
	uv_poll_t *poll = (uv_poll_t *)handle;
	struct post_socket *s = container_of(poll, struct post_socket, poll);

	s->used = false;
	s->client->socket_count--;
	end_close(s->client);
}

static struct post_socket *add_socket(struct post_client *c, curl_socket_t fd)
{
	struct post_socket *s = NULL;

	for (size_t i = 0; i < SOCKETS_MAX && s == NULL; i++)
		if (!c->sockets[i].used)
			s = &c->sockets[i];
	if (s == NULL || uv_poll_init(&c->loop->uv, &s->poll, fd) < 0) {
		c->figures.unwatched++;
		return NULL;
	}
	s->used = true;
	s->client = c;
	s->fd = fd;
	c->socket_count++;
	(void)curl_multi_assign(c->multi, fd, s);
	return s;
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
	struct post_client *c = data;
	struct post_socket *s = socket_data;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (s != NULL) {
			(void)curl_multi_assign(c->multi, fd, NULL);
			uv_close((uv_handle_t *)&s->poll, on_socket_closed);
		}
		return 0;
	}
	if (s == NULL)
		s = add_socket(c, fd);
	if (s == NULL)
		return 0;
	if (what != CURL_POLL_OUT)
		events |= UV_READABLE;
	if (what != CURL_POLL_IN)
		events |= UV_WRITABLE;
	if (uv_poll_start(&s->poll, events, on_poll) < 0)
		c->figures.unwatched++;
	return 0;
}

/* ---- The client ---- */

struct post_client *post_client_new(struct loop *loop, const char *ca_file)
{
	struct post_client *c = mem_alloc(sizeof(*c));

	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->timer.run = on_timer;
	c->closed_task.run = run_closed;
	if (ca_file != NULL)
		c->ca_file = mem_strdup(ca_file);
	if ((ca_file == NULL || c->ca_file != NULL) &&
	    curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		c->multi = curl_multi_init();
	if (c->multi == NULL) {
		mem_free(c->ca_file);
		return mem_free(c);
	}
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)POST_CONNECTIONS_MAX);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)POST_CONNECTIONS_MAX);
	return c;
}

void post_client_close(struct post_client *c, void (*closed)(void *data), void *data)
{
	REQUIRE(c->figures.active == 0);
	(void)curl_multi_cleanup(c->multi);
	runner_timer_stop(&c->loop->runner, &c->timer);
	c->closed = closed;
	c->closed_data = data;
	end_close(c);
}

void post_client_figures(const struct post_client *c, struct post_client_figures *ret)
{
	*ret = c->figures;
}

/* ---- One request ---- */

enum { STARTING, SENDING, CLOSING, DONE };
static const struct op_state states[] = {
	[STARTING] = { "starting", TO(SENDING) | TO(CLOSING) },
	[SENDING] = { "sending", TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};
static const struct op_kind kind = { "http.post", states, ARRAY_SIZE(states), post_tick };

static size_t on_reply(char *data, size_t size, size_t count, void *user)
{
	struct post *p = user;
	size_t len = size * count;

	if (len > 0 && p->reply.len + len > p->reply_max) {
		p->too_long = true;
		return 0;
	}
	buf_write(&p->reply, data, len);
	return buf_err(&p->reply) == 0 ? len : 0;
}

static int add_header(struct post *p, const char *line)
{
	struct curl_slist *list = curl_slist_append(p->headers, line);

	if (list == NULL)
		return UV_ENOMEM;
	p->headers = list;
	return 0;
}

static int add_headers(struct post *p, const struct post_request *request)
{
	CLEANUP(mem_freep) char *type = mem_printf("Content-Type: %s", request->content_type);
	char line[sizeof("traceparent: ") + TRACEPARENT_SIZE];
	struct trace_context context;
	int rc = type != NULL ? add_header(p, type) : UV_ENOMEM;

	/* Asking first whether to send would cost a second where the answer never comes. */
	if (rc == 0)
		rc = add_header(p, "Expect:");
	if (rc == 0 && op_owns_span(&p->op) && trace_context_of(p->op.env.span, &context)) {
		memcpy(line, "traceparent: ", sizeof("traceparent: "));
		trace_context_format(&context, line + strlen(line));
		rc = add_header(p, line);
	}
	for (size_t i = 0; rc == 0 && i < request->header_count; i++)
		rc = add_header(p, request->headers[i]);
	return rc;
}

static bool set_trust(CURL *easy, const struct post_client *c)
{
	const char *dir = curl_version_info(CURLVERSION_NOW)->capath;
	CURLcode rc = CURLE_OK;

	if (c->ca_file != NULL)
		dir = NULL;
	else if (dir == NULL)
		return true; /* as it was built */
	rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, c->ca_file);
	rc |= curl_easy_setopt(easy, CURLOPT_CAPATH, dir);
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, c->ca_file);
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, dir);
	return rc == CURLE_OK;
}

static int set_options(struct post *p, const struct post_request *request)
{
	CURL *easy = p->easy;
	CURLcode rc = CURLE_OK;

	rc |= curl_easy_setopt(easy, CURLOPT_URL, request->url);
	if (post_url_is_loopback(request->url))
		rc |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
	rc |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)POST_CONNECT_MS);
	rc |= curl_easy_setopt(easy, CURLOPT_USERAGENT, "peerscope/" PEERSCOPE_VERSION);
	rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, p);
	rc |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, p->why);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_reply);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, p);
	rc |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, p->headers);
	rc |= curl_easy_setopt(easy, CURLOPT_POST, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
	rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
			       request->body_len > 0 ? request->body : "");
	return rc == CURLE_OK && set_trust(easy, p->client) ? 0 : UV_ENOMEM;
}

static int refuse(struct post *p, const char *why)
{
	(void)snprintf(p->why, sizeof(p->why), "%s", why);
	return ERR_MALFORMED;
}

static int check_request(struct post *p, const struct post_request *request)
{
	int rc = post_url_check(request->url, p->why, sizeof(p->why));

	if (rc < 0)
		return rc;
	if (request->body_len > POST_BODY_MAX || request->reply_max > POST_REPLY_MAX ||
	    request->header_count > POST_HEADERS_MAX)
		return refuse(p, "the request is too large");
	for (size_t i = 0; i < request->header_count; i++)
		if (!post_header_ok(request->headers[i],
				    strnlen(request->headers[i], POST_HEADER_MAX + 1)))
			return refuse(p, "a header is not allowed");
	return 0;
}

/* The host alone: paths and queries may hold secrets. */
static struct span open_span(struct span parent, const char *url)
{
	const char *host = strstr(url, "://") + 3;

	return trace_child(parent, "http.post", host, MIN(strcspn(host, "/?#"), (size_t)HOST_MAX));
}

static int prepare(struct post *p, const struct post_request *request)
{
	int rc = check_request(p, request);

	if (rc < 0)
		return rc;
	if (p->op.env.span.trace != NULL) {
		struct span span = open_span(p->op.env.span, request->url);

		if (span.trace != NULL)
			op_own_span(&p->op, span);
	}
	p->easy = curl_easy_init();
	if (p->easy == NULL)
		return UV_ENOMEM;
	rc = add_headers(p, request);
	return rc < 0 ? rc : set_options(p, request);
}

void post_start(struct post *p, const struct op_env *env, struct post_client *c,
		const struct post_request *request, uint64_t timeout_ms, post_cb cb)
{
	int rc;

	op_init(&p->op, &kind, env, timeout_ms);
	p->http_status = 0;
	p->retry_after_ms = 0;
	p->why[0] = '\0';
	p->client = c;
	p->cb = cb;
	p->easy = NULL;
	p->headers = NULL;
	p->added = p->ended = p->too_long = false;
	p->result = CURLE_OK;
	p->reply_max = request->reply_max;
	buf_init(&p->reply, MAX(request->reply_max, (size_t)1));
	c->figures.started++;
	c->figures.active++;
	rc = prepare(p, request);
	if (rc < 0)
		op_result(&p->op, rc);
}

void post_fini(struct post *p)
{
	buf_fini(&p->reply);
}

static int code_of(const struct post *p)
{
	static const struct {
		CURLcode curl;
		int code;
	} codes[] = {
		{ CURLE_OK, 0 },
		{ CURLE_WRITE_ERROR, UV_ENOMEM }, /* what came could not be kept */
		{ CURLE_OUT_OF_MEMORY, UV_ENOMEM },
		{ CURLE_COULDNT_RESOLVE_PROXY, UV_EAI_NONAME },
		{ CURLE_COULDNT_RESOLVE_HOST, UV_EAI_NONAME },
		{ CURLE_COULDNT_CONNECT, UV_ECONNREFUSED },
		{ CURLE_OPERATION_TIMEDOUT, UV_ETIMEDOUT },
		{ CURLE_PEER_FAILED_VERIFICATION, ERR_VERIFY },
		{ CURLE_GOT_NOTHING, ERR_CLOSED },
		{ CURLE_SEND_ERROR, ERR_CLOSED },
		{ CURLE_RECV_ERROR, ERR_CLOSED },
		{ CURLE_PARTIAL_FILE, ERR_CLOSED },
		{ CURLE_WEIRD_SERVER_REPLY, ERR_PROTOCOL },
		{ CURLE_UNSUPPORTED_PROTOCOL, ERR_PROTOCOL },
		{ CURLE_HTTP2, ERR_PROTOCOL },
		{ CURLE_HTTP2_STREAM, ERR_PROTOCOL },
		{ CURLE_SSL_CONNECT_ERROR, ERR_PROTOCOL },
	};

	if (p->too_long)
		return ERR_LIMIT;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if ((int)codes[i].curl == p->result)
			return codes[i].code;
	return UV_EIO;
}

/* What curl knows of the answer. */
static void take_answer(struct post *p)
{
	curl_off_t seconds = 0, sent = 0, received = 0;
	long status = 0;

	curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(p->easy, CURLINFO_RETRY_AFTER, &seconds);
	curl_easy_getinfo(p->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	curl_easy_getinfo(p->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
	p->http_status = (int)status;
	if (seconds > 0)
		p->retry_after_ms = (uint64_t)MIN(seconds, POST_RETRY_AFTER_MAX_MS / 1000) * 1000;
	p->client->figures.sent_bytes += (uint64_t)sent;
	p->client->figures.received_bytes += (uint64_t)received;
	op_result(&p->op, code_of(p));
	if (op_status(&p->op) == 0)
		p->why[0] = '\0';
	else if (p->why[0] == '\0')
		(void)snprintf(p->why, sizeof(p->why), "%s",
			       curl_easy_strerror((CURLcode)p->result));
}

static enum op_step do_starting(struct post *p)
{
	if (op_has_result(&p->op)) {
		op_move(&p->op, CLOSING);
		return OP_NEXT;
	}
	if (curl_multi_add_handle(p->client->multi, p->easy) != CURLM_OK) {
		op_result(&p->op, UV_ENOMEM);
		op_move(&p->op, CLOSING);
		return OP_NEXT;
	}
	p->added = true;
	op_move(&p->op, SENDING);
	return OP_WAIT;
}

static enum op_step do_sending(struct post *p)
{
	if (!p->ended && !op_stopping(&p->op))
		return OP_WAIT;
	if (p->ended)
		take_answer(p);
	op_move(&p->op, CLOSING);
	return OP_NEXT;
}

static enum op_step do_closing(struct post *p)
{
	struct post_client_figures *f = &p->client->figures;

	if (p->added)
		(void)curl_multi_remove_handle(p->client->multi, p->easy);
	curl_easy_cleanup(p->easy);
	curl_slist_free_all(p->headers);
	p->easy = p->headers = NULL;
	f->active--;
	f->answered += op_status(&p->op) == 0;
	f->failed += op_status(&p->op) != 0;
	op_move(&p->op, DONE);
	return OP_NEXT;
}

static void finish_span(struct post *p)
{
	struct span span = p->op.env.span;

	if (!op_owns_span(&p->op))
		return;
	if (p->http_status != 0)
		trace_attr_int(span, "status", p->http_status);
	if (p->why[0] != '\0')
		trace_errorf(span, "%s", p->why);
	trace_finish(span, op_status(&p->op), NULL);
}

static void post_tick(struct op *op)
{
	struct post *p = container_of(op, struct post, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case STARTING: step = do_starting(p); break;
		case SENDING: step = do_sending(p); break;
		case CLOSING: step = do_closing(p); break;
		case DONE:
			if (op_finish(op)) {
				finish_span(p);
				p->cb(p, op_status(op));
			}
			return;
		default: return;
		}
	}
}
