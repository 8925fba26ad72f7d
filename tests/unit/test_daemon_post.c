/* One POST, against a server on the same loop that does what it is told. */
#include "test_util.h"

#include <stdlib.h>

#include "daemon/post.h"
#include "trace/trace.h"

enum { CONNS_MAX = 8, REQUEST_MAX = 1 << 20 };

struct world;
struct served {
	uv_tcp_t tcp;
	uv_write_t write;
	struct world *w;
	bool answered;
};
struct world {
	struct loop loop;
	uv_tcp_t listener;
	struct served conns[CONNS_MAX];
	unsigned count;
	const char *answer;  /* NULL = never */
	struct buf request;  /* what came in */
	size_t answer_after; /* bytes of the request */
	struct post_client *client;
	char url[64];
	bool closed;
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	static char room[65536];

	*ret = uv_buf_init(room, sizeof(room));
}

static void on_written(uv_write_t *write, int status)
{
	uv_close((uv_handle_t *)write->handle, NULL);
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct served *s = container_of((uv_tcp_t *)stream, struct served, tcp);

	if (n < 0) {
		if (!uv_is_closing((uv_handle_t *)stream))
			uv_close((uv_handle_t *)stream, NULL);
		return;
	}
	buf_write(&s->w->request, b->base, (size_t)n);
	if (s->w->answer == NULL || s->answered || s->w->request.len < s->w->answer_after)
		return;
	s->answered = true;
	uv_buf_t out = uv_buf_init((char *)(uintptr_t)s->w->answer, (unsigned)strlen(s->w->answer));
	assert_int_equal(0, uv_write(&s->write, stream, &out, 1, on_written));
}

static void on_conn(uv_stream_t *listener, int status)
{
	struct world *w = container_of((uv_tcp_t *)listener, struct world, listener);
	struct served *s = &w->conns[w->count++];

	assert_true(w->count <= CONNS_MAX);
	s->w = w;
	uv_tcp_init(&w->loop.uv, &s->tcp);
	assert_int_equal(0, uv_accept(listener, (uv_stream_t *)&s->tcp));
	uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_bytes);
}

static int setup(void **state)
{
	struct world *w = mem_alloc(sizeof(*w));
	struct sockaddr_in address;
	int len = sizeof(address);

	assert_non_null(w);
	CHECK_STATUS(0, loop_init(&w->loop));
	uv_ip4_addr("127.0.0.1", 0, &address);
	uv_tcp_init(&w->loop.uv, &w->listener);
	uv_tcp_bind(&w->listener, (struct sockaddr *)&address, 0);
	CHECK_STATUS(0, uv_listen((uv_stream_t *)&w->listener, 8, on_conn));
	uv_tcp_getsockname(&w->listener, (struct sockaddr *)&address, &len);
	(void)snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%u/v1/traces?key=hidden",
		       (unsigned)ntohs(address.sin_port));
	w->answer_after = 1;
	buf_init(&w->request, REQUEST_MAX);
	assert_non_null(buf_reserve(&w->request, REQUEST_MAX));
	w->client = post_client_new(&w->loop, NULL);
	assert_non_null(w->client);
	*state = w;
	return 0;
}

static void on_client_closed(void *data)
{
	((struct world *)data)->closed = true;
}

static int teardown(void **state)
{
	struct world *w = *state;

	post_client_close(w->client, on_client_closed, w);
	assert_false(w->closed);
	for (unsigned i = 0; i < w->count; i++)
		if (!uv_is_closing((uv_handle_t *)&w->conns[i].tcp))
			uv_close((uv_handle_t *)&w->conns[i].tcp, NULL);
	if (!uv_is_closing((uv_handle_t *)&w->listener))
		uv_close((uv_handle_t *)&w->listener, NULL);
	while (!w->closed)
		uv_run(&w->loop.uv, UV_RUN_ONCE);
	loop_fini(&w->loop);
	buf_fini(&w->request);
	mem_free(w);
	return 0;
}

struct call {
	struct post post;
	unsigned ended;
	int status;
};

static void on_end(struct post *p, int status)
{
	struct call *c = container_of(p, struct call, post);

	c->ended++;
	c->status = status;
}

static void begin(struct world *w, struct call *c, const struct post_request *request,
		  uint64_t timeout_ms)
{
	struct op_env env = { &w->loop.runner, UINT64_MAX, { 0 } };

	post_start(&c->post, &env, w->client, request, timeout_ms, on_end);
	assert_int_equal(0, c->ended);
}

static int finish(struct world *w, struct call *c)
{
	while (c->ended == 0)
		uv_run(&w->loop.uv, UV_RUN_ONCE);
	assert_int_equal(1, c->ended);
	return c->status;
}

static struct post_request request_to(struct world *w)
{
	return (struct post_request){ .url = w->url,
				      .content_type = "application/x-protobuf",
				      .body = "hello",
				      .body_len = 5,
				      .reply_max = 100 };
}

static bool was_sent(struct world *w, const char *text)
{
	buf_write_u8(&w->request, '\0');
	bool sent = strstr((const char *)w->request.data, text) != NULL;
	w->request.len--;
	return sent;
}

static void what_was_given_is_sent_and_the_answer_kept(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	const char *headers[] = { "x-api-key: abc", "x-more: d" };
	struct call c = { 0 };

	w->answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nfine";
	request.headers = headers;
	request.header_count = 2;
	begin(w, &c, &request, 5000);
	CHECK_STATUS(0, finish(w, &c));
	assert_int_equal(202, c.post.http_status);
	assert_int_equal(4, c.post.reply.len);
	assert_memory_equal("fine", c.post.reply.data, 4);
	assert_true(was_sent(w, "POST /v1/traces?key=hidden HTTP/1.1\r\n"));
	assert_true(was_sent(w, "Content-Type: application/x-protobuf\r\n"));
	assert_true(was_sent(w, "x-api-key: abc\r\nx-more: d\r\n"));
	assert_true(was_sent(w, "\r\n\r\nhello"));
	assert_false(was_sent(w, "Expect:"));
	post_fini(&c.post);
}

static void the_time_to_try_again_is_told_and_bounded(void **state)
{
	static const struct {
		const char *answer;
		uint64_t ms;
	} cases[] = {
		{ "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 7000 },
		{ "HTTP/1.1 503 No\r\nRetry-After: 99999999999\r\nContent-Length: 0\r\n\r\n",
		  POST_RETRY_AFTER_MAX_MS },
		{ "HTTP/1.1 503 No\r\nRetry-After: -5\r\nContent-Length: 0\r\n\r\n", 0 },
		{ "HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 0 },
		{ "HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"
		  "Content-Length: 0\r\n\r\n",
		  0 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct post_request request = request_to(w);
		struct call c = { 0 };
		w->answer = cases[i].answer;
		begin(w, &c, &request, 5000);
		CHECK_STATUS(0, finish(w, &c));
		assert_int_equal(cases[i].ms, c.post.retry_after_ms);
		post_fini(&c.post);
	}
}

static void an_answer_longer_than_asked_for_is_refused(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	struct call c = { 0 };

	w->answer = "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nlong";
	request.reply_max = 3;
	begin(w, &c, &request, 5000);
	CHECK_STATUS(ERR_LIMIT, finish(w, &c));
	assert_int_equal(500, c.post.http_status);
	post_fini(&c.post);
}

static void a_server_that_never_answers_costs_the_timeout(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	struct call c = { 0 };

	begin(w, &c, &request, 50);
	CHECK_STATUS(UV_ETIMEDOUT, finish(w, &c));
	assert_int_equal(0, c.post.http_status);
	post_fini(&c.post);
}

static void cancelling_ends_it_at_any_time(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);

	for (int turns = 0; turns < 6; turns++) {
		struct call c = { 0 };
		begin(w, &c, &request, 5000);
		for (int i = 0; i < turns; i++)
			uv_run(&w->loop.uv, UV_RUN_NOWAIT);
		op_cancel(&c.post.op);
		op_cancel(&c.post.op);
		assert_int_equal(0, c.ended);
		CHECK_STATUS(UV_ECANCELED, finish(w, &c));
		post_fini(&c.post);
	}
}

static void nobody_listening_is_told_as_such(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	struct call c = { 0 };
	struct post_client_figures figures;

	uv_close((uv_handle_t *)&w->listener, NULL);
	uv_run(&w->loop.uv, UV_RUN_NOWAIT);
	begin(w, &c, &request, 5000);
	CHECK_STATUS(UV_ECONNREFUSED, finish(w, &c));
	assert_true(strlen(c.post.why) > 0);
	post_client_figures(w->client, &figures);
	assert_int_equal(1, figures.started);
	assert_int_equal(1, figures.failed);
	assert_int_equal(0, figures.answered + figures.active);
	post_fini(&c.post);
}

static void what_is_no_answer_is_no_success(void **state)
{
	static const char *const answers[] = {
		"\r\n", "SSH-2.0-OpenSSH_9\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct post_request request = request_to(w);
		struct call c = { 0 };
		w->answer = answers[i];
		begin(w, &c, &request, 5000);
		assert_true(finish(w, &c) < 0);
		post_fini(&c.post);
	}
}

static void redirects_are_not_followed(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	struct call c = { 0 };

	w->answer = "HTTP/1.1 307 Elsewhere\r\nLocation: file:///etc/passwd\r\n"
		    "Content-Length: 0\r\n\r\n";
	begin(w, &c, &request, 5000);
	CHECK_STATUS(0, finish(w, &c));
	assert_int_equal(307, c.post.http_status);
	assert_int_equal(1, w->count);
	post_fini(&c.post);
}

static void only_urls_that_may_be_posted_to_are_taken(void **state)
{
	static const char *const good[] = { "http://127.0.0.1:4318", "https://[::1]:4318/v1/traces",
					    "https://host.example/a?b=c" };
	static const char *const bad[] = { "",
					   "host:4318",
					   "//host",
					   "file:///etc/passwd",
					   "ftp://host/",
					   "gopher://host",
					   "http://user@host/",
					   "http://user:secret@host/",
					   "http://host/#part",
					   "http://",
					   "http://host/a b",
					   "http://host/\r\nX: y",
					   "http://h\xc3\xb6st/",
					   "http://host:99999/" };
	char why[200];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		CHECK_STATUS(0, post_url_check(good[i], why, sizeof(why)));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		why[0] = '\0';
		CHECK_STATUS(ERR_MALFORMED, post_url_check(bad[i], why, sizeof(why)));
		assert_true(strlen(why) > 0);
	}
}

static void this_machine_is_known_by_its_names_and_addresses(void **state)
{
	static const char *const here[] = { "http://localhost:1/", "https://otel.localhost",
					    "http://LOCALHOST:9",  "http://127.0.0.1:4318",
					    "http://127.9.9.9/x",  "http://[::1]:4318/" };
	static const char *const elsewhere[] = { "http://localhost.example/",
						 "http://notlocalhost/", "http://10.0.0.1/",
						 "http://[2001:db8::1]/", "http://128.0.0.1/" };

	for (size_t i = 0; i < ARRAY_SIZE(here); i++)
		assert_true(post_url_is_loopback(here[i]));
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		assert_false(post_url_is_loopback(elsewhere[i]));
}

static void only_harmless_headers_are_taken(void **state)
{
	static const char *const good[] = { "authorization: Bearer x", "X-A:b", "x: \xc3\xb6" };
	static const char *const bad[] = { "",
					   ":",
					   "x",
					   "x:",
					   " x: y",
					   "x y: z",
					   "x: a\r\nb: c",
					   "Host: h",
					   "host:h",
					   "Expect: 1",
					   "TE: trailers",
					   "x: \x7f",
					   "Content-Length: 5" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(post_header_ok(good[i], strlen(good[i])));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(post_header_ok(bad[i], strlen(bad[i])));
}

static void a_request_that_is_not_allowed_ends_with_the_reason(void **state)
{
	static const char *const header[] = { "Host: elsewhere" };
	struct world *w = *state;
	struct post_request bad[3] = { request_to(w), request_to(w), request_to(w) };

	bad[0].url = "file:///etc/passwd";
	bad[1].headers = header;
	bad[1].header_count = 1;
	bad[2].reply_max = POST_REPLY_MAX + 1;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct call c = { 0 };
		begin(w, &c, &bad[i], 5000);
		CHECK_STATUS(ERR_MALFORMED, finish(w, &c));
		assert_true(strlen(c.post.why) > 0);
		post_fini(&c.post);
		post_fini(&c.post);
	}
	assert_int_equal(0, w->count);
}

static bool note_post(void *data, const struct trace_span_view *s)
{
	if (s->depth == 1)
		*(struct trace_span_view *)data = *s;
	return true;
}

static void a_request_is_a_span_and_carries_its_context(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	struct trace *t = trace_new(NULL, &clock_system);
	struct span root = trace_root(t, "test", "", 0, NULL);
	struct trace_span_view v = { 0 };
	struct call c = { 0 };

	w->answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	trace_observe(t, &w->loop.runner);
	post_start(&c.post, &(struct op_env){ &w->loop.runner, UINT64_MAX, root }, w->client,
		   &request, 5000, on_end);
	CHECK_STATUS(0, finish(w, &c));
	trace_walk(t, root.slot, note_post, &v);
	assert_string_equal("http.post", v.category);
	assert_true(v.finished);
	assert_memory_equal("127.0.0.1:", v.title, 10);
	assert_null(memmem(v.title, v.title_len, "hidden", 6));
	assert_true(was_sent(w, "traceparent: 00-"));
	w->loop.runner.observer = NULL;
	trace_free(t);
	post_fini(&c.post);
}

static void posting_survives_oom_at_every_allocation(void **state)
{
	struct world *w = *state;
	struct post_request request = request_to(w);
	struct call c;

	w->answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	for (uint64_t n = 1;; n++) {
		c = (struct call){ 0 };
		mem_fault_after(n, false);
		begin(w, &c, &request, 5000);
		int rc = finish(w, &c);
		bool hit = mem_fault_hits() > 0;
		mem_fault_after(0, false);
		post_fini(&c.post);
		if (!hit)
			CHECK_STATUS(0, rc);
		if (!hit)
			return;
		assert_true(n < 50);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_given_is_sent_and_the_answer_kept),
		TEST(the_time_to_try_again_is_told_and_bounded),
		TEST(an_answer_longer_than_asked_for_is_refused),
		TEST(a_server_that_never_answers_costs_the_timeout),
		TEST(cancelling_ends_it_at_any_time),
		TEST(nobody_listening_is_told_as_such),
		TEST(what_is_no_answer_is_no_success),
		TEST(redirects_are_not_followed),
		TEST(a_request_that_is_not_allowed_ends_with_the_reason),
		TEST(a_request_is_a_span_and_carries_its_context),
		TEST(posting_survives_oom_at_every_allocation),
		cmocka_unit_test(only_urls_that_may_be_posted_to_are_taken),
		cmocka_unit_test(this_machine_is_known_by_its_names_and_addresses),
		cmocka_unit_test(only_harmless_headers_are_taken),
	};

	(void)unsetenv("http_proxy");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
