/* A server on a real loop, and a raw client of it in the same thread, for the tests of debug_http/.
 */
#pragma once

#include "test_util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "debug_http/debug_http.h"

enum { PUMP_MAX = 20000, ANSWER_MAX = 64 << 20 };

struct fixture {
	struct loop loop;
	struct clock_manual clock;
	struct trace *trace;
	struct http_server *server;
	struct multiaddr bound;
	bool closed;
};

struct client {
	struct fixture *f;
	int fd;
	struct buf in;
	bool eof;
};

static inline void on_server_closed(void *data)
{
	((struct fixture *)data)->closed = true;
}

/** A server on 127.0.0.1, port 0, whose time moves only by fixture_advance. */
static inline void fixture_init(struct fixture *f, enum http_surface surface)
{
	struct http_server_config config = { .surface = surface,
					     .title = "peerscope pid 123",
					     .version = "0.1.0" };
	struct multiaddr any;
	char why[256];

	*f = (struct fixture){ 0 };
	CHECK_STATUS(0, loop_init(&f->loop));
	clock_manual_init(&f->clock, 1800000000 * NS_PER_SEC);
	f->loop.runner.clock = &f->clock.clock;
	f->trace = trace_new(&(struct trace_config){ .budget_bytes = 4 << 20 }, &f->clock.clock);
	assert_non_null(f->trace);
	config.loop = &f->loop;
	config.trace = f->trace;
	f->server = http_server_new(&config);
	assert_non_null(f->server);
	CHECK_STATUS(0, debug_http_index(f->server));
	if (surface == HTTP_CONTROL)
		return;
	CHECK_STATUS(0, multiaddr_parse_hostport("127.0.0.1:0", 11, &any));
	CHECK_STATUS(0, http_listen_tcp(f->server, &any, &f->bound, why, sizeof(why)));
}

static inline void fixture_turn(struct fixture *f)
{
	runner_turn(&f->loop.runner);
	uv_run(&f->loop.uv, UV_RUN_NOWAIT);
}

static inline void fixture_turns(struct fixture *f, unsigned n)
{
	while (n-- > 0)
		fixture_turn(f);
}

static inline void fixture_advance(struct fixture *f, uint64_t ms)
{
	clock_manual_advance(&f->clock, ms * NS_PER_MS);
	fixture_turns(f, 3);
}

static inline void fixture_fini(struct fixture *f)
{
	http_server_close(f->server, on_server_closed, f);
	for (int i = 0; i < PUMP_MAX && !f->closed; i++) {
		fixture_turn(f);
		clock_manual_advance(&f->clock, NS_PER_MS);
	}
	assert_true(f->closed);
	f->server = http_server_free(f->server);
	trace_free(f->trace);
	loop_fini(&f->loop);
}

static inline void client_start(struct client *c, struct fixture *f, const struct sockaddr *address,
				socklen_t len)
{
	*c = (struct client){ .f = f };
	buf_init(&c->in, ANSWER_MAX);
	c->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	assert_int_equal(0, connect(c->fd, address, len));
}

static inline void client_open(struct client *c, struct fixture *f)
{
	struct sockaddr_storage address;

	multiaddr_to_sockaddr(&f->bound, &address);
	client_start(c, f, (struct sockaddr *)&address, sizeof(struct sockaddr_in));
}

static inline void client_open_unix(struct client *c, struct fixture *f, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	client_start(c, f, (struct sockaddr *)&address, sizeof(address));
}

static inline void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	buf_fini(&c->in);
}

/** One turn of the loop, then whatever has come back (at most `most` bytes). */
static inline void client_pump(struct client *c, size_t most)
{
	char bytes[65536];
	ssize_t n;

	fixture_turn(c->f);
	n = recv(c->fd, bytes, MIN(most, sizeof(bytes)), MSG_DONTWAIT);
	if (n > 0)
		buf_write(&c->in, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
		c->eof = true;
	else
		(void)poll(&(struct pollfd){ .fd = c->fd, .events = POLLIN }, 1, 1);
}

static inline void client_send_bytes(struct client *c, const void *data, size_t len)
{
	const char *p = data;

	for (int i = 0; i < PUMP_MAX && len > 0; i++) {
		ssize_t n = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return; /* the server has had enough */
		p += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
		if (n < 0)
			client_pump(c, SIZE_MAX);
	}
}

static inline void client_send(struct client *c, const char *text)
{
	client_send_bytes(c, text, strlen(text));
}

static inline const char *client_text(struct client *c)
{
	return c->in.len > 0 ? (const char *)c->in.data : "";
}

static inline bool answer_is_complete(struct client *c, bool is_head)
{
	const char *text = client_text(c), *end = strstr(text, "\r\n\r\n"), *length;

	if (end == NULL)
		return false;
	if (is_head)
		return true;
	if (strcasestr(text, "\r\nTransfer-Encoding: chunked") != NULL)
		return c->in.len >= 5 && memcmp(text + c->in.len - 5, "0\r\n\r\n", 5) == 0;
	length = strcasestr(text, "\r\nContent-Length: ");
	return length != NULL &&
	       c->in.len >= (size_t)(end + 4 - text) + strtoul(length + 18, NULL, 10);
}

/** Until one whole answer is there, or the connection ends. */
static inline void client_await(struct client *c, bool is_head)
{
	for (int i = 0; i < PUMP_MAX && !c->eof && !answer_is_complete(c, is_head); i++)
		client_pump(c, SIZE_MAX);
}

static inline void client_await_end(struct client *c)
{
	for (int i = 0; i < PUMP_MAX && !c->eof; i++)
		client_pump(c, SIZE_MAX);
	assert_true(c->eof);
}

static inline int client_status(struct client *c)
{
	int status = 0;

	(void)sscanf(client_text(c), "HTTP/1.1 %d ", &status);
	return status;
}

static inline const char *client_body(struct client *c)
{
	const char *end = strstr(client_text(c), "\r\n\r\n");

	return end != NULL ? end + 4 : "";
}

static inline bool client_has(struct client *c, const char *text)
{
	return strcasestr(client_text(c), text) != NULL;
}

/** A connection, one request, its answer. The caller closes. */
static inline void client_ask(struct client *c, struct fixture *f, const char *request)
{
	client_open(c, f);
	client_send(c, request);
	client_await(c, strncmp(request, "HEAD", 4) == 0);
}

/** The same, only the status. In `request`, "%P" stands for the server's port. */
static inline int ask_status(struct fixture *f, const char *request)
{
	char text[16384];
	struct client c;
	size_t n = 0;
	int status;

	for (const char *p = request; *p != '\0' && n < sizeof(text) - 8; p++) {
		if (p[0] == '%' && p[1] == 'P') {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%u", f->bound.port);
			p++;
		} else {
			text[n++] = *p;
		}
	}
	text[n] = '\0';
	client_ask(&c, f, text);
	status = client_status(&c);
	client_close(&c);
	return status;
}
