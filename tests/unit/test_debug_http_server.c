/* Connections: keep-alive, pipelining, pieces, limits, deadlines, clients that leave. Over
 * loopback, time moved by hand. */
#include "debug_http_client.h"

enum { PIECE = 16 << 10, PIECES = 2000 };

static struct fixture f;

struct pending {
	struct http_request *r;
	unsigned calls, closes, drains, left;
	size_t body_len;
	bool wait_for_drain;
};
static struct pending pending;

static void reply_text(struct http_request *r, const char *text)
{
	struct buf body;

	buf_init(&body, 4096);
	buf_write_str(&body, text);
	http_reply(r, 200, "text/plain", &body);
}

static void on_echo(void *data, struct http_request *r)
{
	char text[512];

	pending.calls++;
	(void)http_request_body(r, &pending.body_len);
	(void)snprintf(text, sizeof(text), "%s tail=%s q=%s", http_request_path(r),
		       http_request_tail(r),
		       http_request_param(r, "q") != NULL ? http_request_param(r, "q") : "-");
	reply_text(r, text);
}

static void on_close(void *data, struct http_request *r)
{
	pending.closes++;
	http_reply_error(r, 503, "closed");
	pending.r = NULL;
}

static void on_close_later(void *data, struct http_request *r)
{
	pending.closes++;
}

/* Goes on after its client has gone, as a handler does that waits for a thread. */
static void on_stubborn(void *data, struct http_request *r)
{
	pending.r = r;
	http_request_on_close(r, on_close_later, NULL);
	http_reply_begin(r, 200, "text/plain");
}

static void on_late(void *data, struct http_request *r)
{
	pending.calls++;
	pending.r = r;
	http_request_on_close(r, on_close, NULL);
}

static void write_pieces(void *data, struct http_request *r)
{
	static char piece[PIECE];

	pending.drains++;
	memset(piece, 'x', sizeof(piece));
	while (pending.left > 0) {
		pending.left--;
		if (http_reply_write(r, piece, sizeof(piece)))
			return;
	}
	pending.r = NULL;
	http_reply_end(r);
}

static void on_stream(void *data, struct http_request *r)
{
	pending.calls++;
	pending.r = r;
	pending.left = PIECES;
	http_reply_begin(r, 200, "application/octet-stream");
	http_request_on_drain(r, write_pieces, NULL);
	write_pieces(NULL, r);
}

static void on_small_pieces(void *data, struct http_request *r)
{
	http_reply_begin(r, 200, "text/plain");
	for (int i = 0; i < 3; i++)
		assert_false(http_reply_write(r, "abc", 3));
	http_reply_end(r);
}

static void on_abort(void *data, struct http_request *r)
{
	http_reply_begin(r, 200, "text/plain");
	(void)http_reply_write(r, "half", 4);
	http_reply_abort(r);
}

static void on_headers(void *data, struct http_request *r)
{
	http_reply_header(r, "X-Good", "yes");
	http_reply_header(r, "X-Split", "a\r\nX-Evil: 1");
	http_reply_header(r, "Access-Control-Allow-Origin", "*");
	http_reply_header(r, "Bad Name", "x");
	reply_text(r, "");
}

static void route_all(struct http_server *s)
{
	CHECK_STATUS(0, http_route(s, HTTP_GET_ | HTTP_POST_, "/echo", NULL, on_echo, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/echo/*", NULL, on_echo, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/stubborn", NULL, on_stubborn, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/late", NULL, on_late, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/stream", NULL, on_stream, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/small", NULL, on_small_pieces, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/abort", NULL, on_abort, NULL));
	CHECK_STATUS(0, http_route(s, HTTP_GET_, "/headers", NULL, on_headers, NULL));
}

static int setup(void **state)
{
	fixture_init(&f, HTTP_DEBUG);
	route_all(f.server);
	pending = (struct pending){ 0 };
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(&f);
	return 0;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void a_connection_serves_one_request_after_the_other(void **state)
{
	struct client c;

	client_open(&c, &f);
	for (int i = 0; i < 5; i++) {
		client_send(&c, GET("/echo?q=a%20b+c%26"));
		client_await(&c, false);
		assert_int_equal(200, client_status(&c));
		assert_string_equal("/echo tail= q=a b c&", client_body(&c));
		buf_clear(&c.in);
	}
	client_send(&c, "GET /echo/x%2Fy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	client_await_end(&c);
	assert_true(client_has(&c, "Connection: close\r\n"));
	assert_string_equal("/echo/x/y tail=x/y q=-", client_body(&c));
	client_close(&c);
}

static unsigned count_of(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c,
		    GET("/echo/1") "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
				   "4\r\n\r\nbody" GET("/small") GET(
					   "/echo/2") "GET /echo/3 HTTP/1.1\r\nHost: "
						      "localhost\r\nConnection: close\r\n\r\n" GET(
							      "/echo/4"));
	client_await_end(&c);
	assert_int_equal(5, count_of(client_text(&c), "HTTP/1.1 200 OK"));
	assert_true(strstr(client_text(&c), "tail=1") < strstr(client_text(&c), "tail=2"));
	assert_true(strstr(client_text(&c), "tail=2") < strstr(client_text(&c), "tail=3"));
	assert_int_equal(4, pending.calls);
	client_close(&c);
}

static void what_is_sent_ahead_waits_until_the_reply_is_out(void **state)
{
	struct http_server_stats stats;
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/late") GET("/echo"));
	fixture_turns(&f, 5);
	assert_int_equal(1, pending.calls);
	reply_text(pending.r, "first");
	client_await(&c, false);
	while (pending.calls < 2 || count_of(client_text(&c), "HTTP/1.1 200") < 2)
		client_pump(&c, SIZE_MAX);
	http_server_stats(f.server, &stats);
	assert_int_equal(2, stats.requests);
	assert_int_equal(1, stats.open_connections);
	client_close(&c);
}

static void a_client_may_not_send_ahead_without_end(void **state)
{
	static const char more[] = GET("/echo");
	struct client c;
	unsigned sent = 0;

	client_open(&c, &f);
	client_send(&c, GET("/late"));
	for (int i = 0; i < 100000; i++) { /* until the socket takes no more */
		if (i % 100 == 0)
			fixture_turns(&f, 3);
		if (send(c.fd, more, sizeof(more) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) !=
		    sizeof(more) - 1)
			break;
		sent++;
	}
	assert_true(sent > 1000);
	assert_int_equal(1, pending.calls);
	reply_text(pending.r, "first");
	for (int i = 0; i < 200000 && pending.calls < sent + 1; i++)
		client_pump(&c, SIZE_MAX);
	assert_int_equal(sent + 1, pending.calls);
	client_close(&c);
}

static void a_request_may_arrive_byte_by_byte(void **state)
{
	static const char request[] =
		"POST /echo?q=1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n";
	struct client c;

	client_open(&c, &f);
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		client_send_bytes(&c, request + i, 1);
		fixture_turns(&f, 1);
	}
	client_await(&c, false);
	assert_int_equal(200, client_status(&c));
	assert_int_equal(6, pending.body_len);
	client_close(&c);
}

static void head_is_get_without_the_body(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, "HEAD /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_await(&c, true);
	assert_true(client_has(&c, "Content-Length: 15\r\n"));
	assert_string_equal("", client_body(&c));
	buf_clear(&c.in);
	client_send(&c, "HEAD /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	client_await_end(&c);
	assert_int_equal(200, client_status(&c));
	assert_string_equal("", client_body(&c));
	client_close(&c);
}

static void unknown_pages_and_methods_are_told_apart(void **state)
{
	struct client c;

	assert_int_equal(404, ask_status(&f, GET("/nowhere")));
	assert_int_equal(404, ask_status(&f, GET("/echox")));
	client_ask(&c, &f, "POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(405, client_status(&c));
	assert_true(client_has(&c, "\r\nAllow: GET, HEAD\r\n"));
	client_close(&c);
	client_ask(&c, &f, "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
	assert_true(client_has(&c, "<h1>404 Not Found</h1>"));
	client_close(&c);
}

static void small_pieces_are_one_chunk_and_end_properly(void **state)
{
	struct client c;

	client_ask(&c, &f, GET("/small"));
	assert_string_equal("9\r\nabcabcabc\r\n0\r\n\r\n", client_body(&c));
	client_close(&c);
	client_open(&c, &f);
	client_send(&c, "GET /small HTTP/1.0\r\n\r\n");
	client_await_end(&c);
	assert_string_equal("abcabcabc", client_body(&c));
	assert_false(client_has(&c, "chunked"));
	client_close(&c);
}

static void an_aborted_reply_looks_cut_off(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/abort"));
	client_await_end(&c);
	assert_null(strstr(client_text(&c), "0\r\n\r\n"));
	client_close(&c);
}

static void a_slow_reader_makes_the_handler_wait(void **state)
{
	struct client c;
	unsigned left;

	client_open(&c, &f);
	client_send(&c, GET("/stream"));
	fixture_turns(&f, 50);
	left = pending.left;
	assert_true(left > PIECES / 4); /* it did not write 32 MB into memory */
	fixture_turns(&f, 50);
	assert_int_equal(left, pending.left);
	client_await(&c, false);
	assert_int_equal(0, pending.left);
	assert_true(pending.drains > 10);
	assert_true(c.in.len > (size_t)PIECE * PIECES);
	client_close(&c);
}

static void a_client_that_stops_reading_is_dropped(void **state)
{
	struct http_server_stats stats;
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/stream"));
	fixture_turns(&f, 50);
	fixture_advance(&f, HTTP_WRITE_TIMEOUT_MS - 10);
	http_server_stats(f.server, &stats);
	assert_int_equal(1, stats.open_connections);
	fixture_advance(&f, 20);
	http_server_stats(f.server, &stats);
	assert_int_equal(0, stats.open_connections);
	assert_int_equal(0, pending.left); /* on_drain came, so the handler ran to its end */
	assert_null(pending.r);
	client_close(&c);
}

static void a_client_that_leaves_is_told_to_the_handler_once(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/late"));
	fixture_turns(&f, 5);
	assert_non_null(pending.r);
	client_close(&c);
	fixture_turns(&f, 10);
	assert_int_equal(1, pending.closes);
	assert_null(pending.r);
}

static void a_handler_may_go_on_after_its_client_left(void **state)
{
	struct http_server_stats stats;
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/stubborn"));
	fixture_turns(&f, 5);
	assert_int_equal(0, shutdown(c.fd, SHUT_WR));
	for (int i = 0; i < 20; i++) {
		fixture_turns(&f, 3);
		assert_false(http_reply_write(pending.r, "more", 4));
		assert_int_equal(1, pending.closes);
		if (i == 10)
			client_close(&c);
	}
	assert_true(http_request_gone(pending.r));
	http_server_stats(f.server, &stats);
	assert_int_equal(0, stats.open_connections);
	http_reply_end(pending.r);
	fixture_turns(&f, 3);
	assert_int_equal(1, pending.closes);
}

static void a_client_that_ends_its_side_and_then_leaves_is_noticed_by_writing(void **state)
{
	struct http_server_stats stats;
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/stream"));
	assert_int_equal(0, shutdown(c.fd, SHUT_WR));
	fixture_turns(&f, 10);
	assert_true(pending.left > 0);
	client_close(&c);
	fixture_turns(&f, 20);
	assert_int_equal(0, pending.left);
	http_server_stats(f.server, &stats);
	assert_int_equal(0, stats.open_connections);
}

static void a_client_that_leaves_during_a_stream_ends_it(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/stream"));
	fixture_turns(&f, 10);
	assert_true(pending.left > 0);
	client_close(&c);
	fixture_turns(&f, 20);
	assert_int_equal(0, pending.left);
	assert_null(pending.r);
}

static void a_client_that_ends_only_its_side_gets_its_replies(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/stubborn") GET("/small") GET("/echo") "GET /ec");
	assert_int_equal(0, shutdown(c.fd, SHUT_WR));
	fixture_turns(&f, 10);
	assert_int_equal(1, pending.closes);
	http_reply_end(pending.r);
	client_await_end(&c);
	assert_int_equal(3, count_of(client_text(&c), "HTTP/1.1 200 OK"));
	client_close(&c);
}

static void closing_the_server_tells_handlers_and_lets_them_answer(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, GET("/late"));
	fixture_turns(&f, 5);
	http_server_close(f.server, on_server_closed, &f);
	assert_int_equal(0, pending.closes); /* never inside the call */
	client_await_end(&c);
	assert_int_equal(1, pending.closes);
	assert_int_equal(503, client_status(&c));
	client_close(&c);
	for (int i = 0; i < PUMP_MAX && !f.closed; i++)
		fixture_turn(&f);
	assert_true(f.closed);
	http_server_free(f.server);
	trace_free(f.trace);
	loop_fini(&f.loop);
}

static void long_headers_are_refused(void **state)
{
	char header[HTTP_HEADERS_MAX + 1];
	struct client c;

	memset(header, 'a', sizeof(header) - 1);
	header[sizeof(header) - 1] = '\0';
	client_open(&c, &f);
	client_send(&c, "GET /echo HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
	client_send(&c, header);
	client_send(&c, "\r\n\r\n");
	client_await_end(&c);
	assert_int_equal(431, client_status(&c));
	client_close(&c);
	client_open(&c, &f);
	client_send(&c, "GET /");
	client_send(&c, header);
	client_await_end(&c);
	assert_int_equal(431, client_status(&c));
	client_close(&c);
	assert_int_equal(0, pending.calls);
}

static void many_headers_are_refused(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, "GET /echo HTTP/1.1\r\nHost: localhost\r\n");
	for (int i = 0; i < 100; i++)
		client_send(&c, "A: b\r\n");
	client_send(&c, "\r\n");
	client_await_end(&c);
	assert_int_equal(431, client_status(&c));
	client_close(&c);
}

static void large_bodies_are_refused_unread(void **state)
{
	struct http_server_stats stats;
	static char chunk[HTTP_DEBUG_BODY_MAX + 1];
	struct client c;

	assert_int_equal(413, ask_status(&f, "POST /echo HTTP/1.1\r\nHost: "
					     "localhost\r\nContent-Length: 1048577\r\n\r\n"));
	assert_int_equal(
		413, ask_status(&f, "POST /echo HTTP/1.1\r\nHost: localhost\r\n"
				    "Content-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n"));
	client_open(&c, &f);
	client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
			"chunked\r\n\r\n100001\r\n");
	memset(chunk, 'x', sizeof(chunk));
	client_send_bytes(&c, chunk, sizeof(chunk));
	client_await_end(&c);
	assert_int_equal(413, client_status(&c));
	client_close(&c);
	http_server_stats(f.server, &stats);
	assert_int_equal(3, stats.refused_limit);
	assert_int_equal(0, pending.calls);
}

static void a_body_within_the_limit_is_asked_for_and_read(void **state)
{
	char body[65536];
	struct client c;

	client_open(&c, &f);
	client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
			"65536\r\nExpect: 100-continue\r\n\r\n");
	while (!client_has(&c, "HTTP/1.1 100 Continue\r\n\r\n"))
		client_pump(&c, SIZE_MAX);
	buf_clear(&c.in);
	memset(body, 'x', sizeof(body));
	client_send_bytes(&c, body, sizeof(body));
	client_await(&c, false);
	assert_int_equal(200, client_status(&c));
	assert_int_equal(65536, pending.body_len);
	client_close(&c);
}

static void a_slow_header_is_given_up_on(void **state)
{
	struct client c, silent;

	client_open(&silent, &f);
	client_open(&c, &f);
	client_send(&c, "GET /echo HTTP/1.1\r\n");
	fixture_turns(&f, 5);
	for (int i = 0; i < 9; i++) { /* a byte now and then does not help */
		fixture_advance(&f, HTTP_HEADER_TIMEOUT_MS / 10);
		client_send(&c, "A");
	}
	client_pump(&c, SIZE_MAX);
	assert_false(c.eof);
	fixture_advance(&f, HTTP_HEADER_TIMEOUT_MS / 10 + 1);
	client_await_end(&c);
	assert_int_equal(408, client_status(&c));
	client_await_end(&silent);
	assert_int_equal(0, silent.in.len);
	client_close(&c);
	client_close(&silent);
}

static void a_slow_body_is_given_up_on(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc");
	fixture_turns(&f, 5);
	fixture_advance(&f, HTTP_BODY_TIMEOUT_MS + 1);
	client_await_end(&c);
	assert_int_equal(408, client_status(&c));
	assert_int_equal(0, pending.calls);
	client_close(&c);
}

static void an_idle_connection_is_closed_after_a_minute(void **state)
{
	struct client c;

	client_ask(&c, &f, GET("/echo"));
	fixture_turns(&f, 5);
	fixture_advance(&f, HTTP_IDLE_TIMEOUT_MS - 1);
	client_pump(&c, SIZE_MAX);
	assert_false(c.eof);
	fixture_advance(&f, 2);
	client_await_end(&c);
	client_close(&c);
}

static void idle_connections_make_room_for_new_ones(void **state)
{
	struct http_server_stats stats;
	struct client idle[60];

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		client_open(&idle[i], &f);
		fixture_turns(&f, 3);
		fixture_advance(&f, 60);
	}
	http_server_stats(f.server, &stats);
	assert_int_equal(HTTP_CONNS_MAX, stats.open_connections);
	assert_int_equal(200, ask_status(&f, GET("/echo")));
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		client_close(&idle[i]);
}

/* All in the kernel's queue before the server looks. */
static void a_crowd_that_comes_at_once_is_answered(void **state)
{
	struct client crowd[2 * HTTP_CONNS_MAX];
	unsigned served = 0;

	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
		client_open(&crowd[i], &f);
		client_send(&crowd[i], "GET /echo HTTP/1.1\r\nHost: localhost\r\n"
				       "Connection: close\r\n\r\n");
	}
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
		client_await_end(&crowd[i]);
		assert_true(client_status(&crowd[i]) == 200 || client_status(&crowd[i]) == 503);
		served += client_status(&crowd[i]) == 200;
		client_close(&crowd[i]);
	}
	assert_true(served >= HTTP_CONNS_MAX);
}

static void connections_beyond_the_limit_are_told_to_come_back(void **state)
{
	struct client busy[HTTP_CONNS_MAX], more[3];
	struct http_server_stats stats;

	for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
		client_open(&busy[i], &f);
		client_send(&busy[i], GET("/late"));
		fixture_turns(&f, 5);
	}
	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		client_open(&more[i], &f);
		client_send(&more[i], GET("/echo"));
	}
	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		client_await_end(&more[i]);
		assert_int_equal(503, client_status(&more[i]));
		client_close(&more[i]);
	}
	http_server_stats(f.server, &stats);
	assert_int_equal(3, stats.refused_limit);
	for (size_t i = 0; i < ARRAY_SIZE(busy); i++)
		client_close(&busy[i]);
	fixture_turns(&f, 10);
	assert_int_equal(HTTP_CONNS_MAX, pending.closes);
	assert_int_equal(200, ask_status(&f, GET("/echo")));
}

static void nonsense_is_a_bad_request(void **state)
{
	static const char *const requests[] = {
		"HELLO\r\n\r\n",
		"GET\r\n\r\n",
		"GET / HTTP/3.7\r\n\r\n",
		"\x16\x03\x01\x02",
		"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /echo?q=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /echo?q=%4 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /echo#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: "
		"chunked\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: "
		"2\r\n\r\n",
		"GET /echo?1&2&3&4&5&6&7&8&9&0&1&2&3&4&5&6&7&8&9&0&1&2&3&4&5&6&7&8&9&0&1&2&3 "
		"HTTP/1.1\r\nHost: localhost\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		int status = ask_status(&f, requests[i]);

		assert_true(status == 400 || status == 505);
	}
	assert_int_equal(0, pending.calls);
}

static void reply_headers_cannot_be_split(void **state)
{
	struct client c;

	client_ask(&c, &f, GET("/headers"));
	assert_true(client_has(&c, "\r\nX-Good: yes\r\n"));
	assert_false(client_has(&c, "X-Evil"));
	assert_false(client_has(&c, "Access-Control"));
	assert_false(client_has(&c, "Bad Name"));
	client_close(&c);
}

static void requests_are_traced_and_continue_a_foreign_trace(void **state)
{
	struct trace_query q = { .category = "http" };
	struct trace_counts before, after;
	uint64_t matched;
	uint32_t root;

	trace_counts(f.trace, &before);
	assert_int_equal(
		200,
		ask_status(&f, "GET /echo HTTP/1.1\r\nHost: localhost\r\n"
			       "traceparent: "
			       "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"));
	trace_counts(f.trace, &after);
	assert_int_equal(1, after.finished - before.finished);
	q.has_id = true;
	memcpy(q.id, "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c", 16);
	assert_int_equal(1, trace_search(f.trace, &q, &root, 1, &matched, NULL));
}

/* Every allocation of the daemon's side fails once: the client gets an answer or a closed
 * connection, nothing leaks. */
static void a_request_survives_oom_at_every_allocation(void **state)
{
	static const char *const requests[] = {
		"GET /small?q=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"POST /echo?q=2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nConnection: "
		"close\r\n\r\nabc",
		"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: "
		"close\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		FAULT_SWEEP({
			char reply[8192];
			struct client c;
			ssize_t n = 0;

			client_open(&c, &f);
			client_send(&c, requests[i]);
			for (int k = 0;
			     k < 200 && (n = recv(c.fd, reply, sizeof(reply), MSG_DONTWAIT)) < 0;
			     k++)
				fixture_turn(&f);
			if (mem_fault_hits() == 0)
				assert_true(n > 12 && memcmp(reply, "HTTP/1.1 ", 9) == 0);
			client_close(&c);
			fixture_turns(&f, 10);
		});
	}
}

static void a_server_begins_or_not_when_memory_is_short(void **state)
{
	struct http_server_config config = { .loop = &f.loop, .title = "t", .version = "1" };

	FAULT_SWEEP({
		struct http_server *s = http_server_new(&config);
		int rc = s != NULL ? debug_http_index(s) : UV_ENOMEM;

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		http_server_free(s);
	});
}

static void the_control_surface_takes_large_bodies_and_any_host(void **state)
{
	char path[] = "/tmp/peerscope-test-XXXXXX", why[256];
	struct multiaddr any, bound;
	struct client c;

	fixture_init(&f, HTTP_CONTROL);
	pending = (struct pending){ 0 };
	route_all(f.server);
	CHECK_STATUS(0, multiaddr_parse_hostport("127.0.0.1:0", 11, &any));
	CHECK_STATUS(UV_EACCES, http_listen_tcp(f.server, &any, &bound, why, sizeof(why)));
	close(mkstemp(path));
	unlink(path);
	CHECK_STATUS(0, http_listen_unix(f.server, path, why, sizeof(why)));
	client_open_unix(&c, &f, path);
	client_send(&c, "POST /echo HTTP/1.1\r\nHost: anything\r\nUser-Agent: "
			"Mozilla\r\nContent-Length: 1000000\r\n\r\n");
	for (int i = 0; i < 1000; i++) {
		char thousand[1000];

		memset(thousand, 'x', sizeof(thousand));
		client_send_bytes(&c, thousand, sizeof(thousand));
	}
	client_await(&c, false);
	assert_int_equal(200, client_status(&c));
	assert_int_equal(1000000, pending.body_len);
	client_close(&c);
	fixture_fini(&f);
}

static void a_stale_socket_file_is_replaced(void **state)
{
	char path[] = "/tmp/peerscope-test-XXXXXX", why[256];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct client c;
	int fd;

	close(mkstemp(path));
	unlink(path);
	memcpy(address.sun_path, path, sizeof(path));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(0, bind(fd, (struct sockaddr *)&address, sizeof(address)));
	close(fd); /* the file stays, as after a crash */
	CHECK_STATUS(0, http_listen_unix(f.server, path, why, sizeof(why)));
	client_open_unix(&c, &f, path);
	client_send(&c, GET("/echo"));
	client_await(&c, false);
	assert_int_equal(200, client_status(&c));
	client_close(&c);
}

static void a_taken_port_is_explained(void **state)
{
	struct multiaddr bound;
	char why[256];

	CHECK_STATUS(UV_EADDRINUSE, http_listen_tcp(f.server, &f.bound, &bound, why, sizeof(why)));
	assert_non_null(strstr(why, "another daemon"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_connection_serves_one_request_after_the_other),
		T(pipelined_requests_are_answered_in_order),
		T(what_is_sent_ahead_waits_until_the_reply_is_out),
		T(a_client_may_not_send_ahead_without_end),
		T(a_request_may_arrive_byte_by_byte),
		T(head_is_get_without_the_body),
		T(unknown_pages_and_methods_are_told_apart),
		T(small_pieces_are_one_chunk_and_end_properly),
		T(an_aborted_reply_looks_cut_off),
		T(a_slow_reader_makes_the_handler_wait),
		T(a_client_that_stops_reading_is_dropped),
		T(a_client_that_leaves_is_told_to_the_handler_once),
		T(a_handler_may_go_on_after_its_client_left),
		T(a_client_that_ends_its_side_and_then_leaves_is_noticed_by_writing),
		T(a_client_that_leaves_during_a_stream_ends_it),
		T(a_client_that_ends_only_its_side_gets_its_replies),
		cmocka_unit_test_setup(closing_the_server_tells_handlers_and_lets_them_answer,
				       setup),
		T(long_headers_are_refused),
		T(many_headers_are_refused),
		T(large_bodies_are_refused_unread),
		T(a_body_within_the_limit_is_asked_for_and_read),
		T(a_slow_header_is_given_up_on),
		T(a_slow_body_is_given_up_on),
		T(an_idle_connection_is_closed_after_a_minute),
		T(idle_connections_make_room_for_new_ones),
		T(a_crowd_that_comes_at_once_is_answered),
		T(connections_beyond_the_limit_are_told_to_come_back),
		T(nonsense_is_a_bad_request),
		T(reply_headers_cannot_be_split),
		T(requests_are_traced_and_continue_a_foreign_trace),
		T(a_request_survives_oom_at_every_allocation),
		T(a_server_begins_or_not_when_memory_is_short),
		cmocka_unit_test(the_control_surface_takes_large_bodies_and_any_host),
		T(a_stale_socket_file_is_replaced),
		T(a_taken_port_is_explained),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
