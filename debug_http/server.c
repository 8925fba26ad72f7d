#include "debug_http/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "debug_http/traces.h"

/* At most HTTP_CONNS_MAX connections. One more pushes out the one that has been idle longest, or
 * waits a moment when those that are idle were accepted just now: their requests are on the way,
 * and would be answered by a reset. When none is idle it gets a short 503, written at once from a
 * handle that every listener has in reserve, so that refusing needs no memory. While that handle
 * is in use, libuv keeps the next connection in the kernel's queue. It closes when the request has
 * been read, or after REFUSED_MS: with a request unread, the kernel would answer with a reset, and
 * clients would throw the reply away. */

enum {
	FRESH_TURNS = 2, /* of the loop, until what has been sent is read */
	FRESH_MS = 100,	 /* for a client to send after it has connected */
	REFUSED_MS = 500 /* the same for one that is refused */
};

/* X-Go-Pprof: without it `go tool pprof` keeps the reason to itself. */
static const char busy_reply[] =
	"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
	"X-Go-Pprof: 1\r\nX-Content-Type-Options: nosniff\r\n"
	"Content-Length: 50\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
	"All connections are in use. Try again in a second\n";
_Static_assert(sizeof("All connections are in use. Try again in a second\n") - 1 == 50,
	       "Content-Length of busy_reply");

/* libuv writes without MSG_NOSIGNAL: a client that goes away at the wrong moment would end the
 * process. */
static void ignore_sigpipe(void)
{
	struct sigaction action;

	if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
		(void)signal(SIGPIPE, SIG_IGN);
}

static void run_accept(struct runner_task *task);
static void on_accept_timer(struct runner_timer *timer);
static void close_refused(struct listener *l);

struct http_server *http_server_new(const struct http_server_config *config)
{
	struct http_server *s = mem_alloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	ignore_sigpipe();
	s->loop = config->loop;
	s->surface = config->surface;
	s->trace = config->trace;
	list_init(&s->conns);
	s->accept_task.run = run_accept;
	s->accept_timer.run = on_accept_timer;
	s->title = mem_strdup(config->title != NULL ? config->title : "peerscope");
	s->version = mem_strdup(config->version != NULL ? config->version : "");
	s->started_ns = clock_now_ns(config->loop->runner.clock);
	if (s->title == NULL || s->version == NULL)
		return http_server_free(s);
	return s;
}

struct http_server *http_server_free(struct http_server *s)
{
	if (s == NULL)
		return NULL;
	REQUIRE(s->open_listeners == 0 && s->conn_count == 0);
	runner_undefer(&s->task);
	runner_undefer(&s->accept_task);
	router_fini(&s->router);
	mem_free(s->title);
	mem_free(s->version);
	return mem_free(s);
}

void http_server_stats(const struct http_server *s, struct http_server_stats *ret)
{
	*ret = s->stats;
	ret->open_connections = 0;
	list_for_each(node, &s->conns)
		ret->open_connections += list_entry(node, struct conn, node)->state != CONN_CLOSED;
}

int http_route(struct http_server *s, unsigned methods, const char *path, const char *help,
	       http_handler_fn handler, void *data)
{
	struct route route = { .methods = methods,
			       .path = (char *)path,
			       .help = help,
			       .handler = handler,
			       .data = data };

	return router_add(&s->router, &route);
}

/* ---- Closing ---- */

static void run_closed(struct runner_task *task)
{
	struct http_server *s = container_of(task, struct http_server, task);
	void (*closed)(void *data) = s->closed;

	s->closed = NULL;
	if (closed != NULL)
		closed(s->closed_data);
}

static void check_closed(struct http_server *s)
{
	if (!s->closing || s->open_listeners > 0 || s->conn_count > 0)
		return;
	s->task.run = run_closed;
	runner_defer(&s->loop->runner, &s->task);
}

void server_conn_closed(struct http_server *s)
{
	s->conn_count--;
	check_closed(s);
}

static void on_connection(uv_stream_t *stream, int status);

static void on_listener_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	l->server->open_listeners--;
	check_closed(l->server);
}

static void on_refused_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	l->refusing = false;
	l->server->open_listeners--;
	if (l->waiting && !l->server->closing) {
		l->waiting = false;
		on_connection(&l->uv.stream, 0);
	}
	check_closed(l->server);
}

void http_server_close(struct http_server *s, void (*closed)(void *data), void *data)
{
	REQUIRE(!s->closing);
	s->closing = true;
	live_stop(s);
	s->closed = closed;
	s->closed_data = data;
	runner_undefer(&s->accept_task);
	runner_timer_stop(&s->loop->runner, &s->accept_timer);
	for (unsigned i = 0; i < s->listener_count; i++) {
		if (s->listeners[i].refusing)
			close_refused(&s->listeners[i]);
		if (!uv_is_closing(&s->listeners[i].uv.handle))
			uv_close(&s->listeners[i].uv.handle, on_listener_closed);
	}
	list_for_each_safe(node, &s->conns)
		conn_end_soon(list_entry(node, struct conn, node));
	check_closed(s);
}

/* ---- Accepting ---- */

static int init_stream(struct http_server *s, union stream *uv, bool is_unix)
{
	return is_unix ? uv_pipe_init(&s->loop->uv, &uv->pipe, 0) :
			 uv_tcp_init(&s->loop->uv, &uv->tcp);
}

static void close_refused(struct listener *l)
{
	runner_timer_stop(&l->server->loop->runner, &l->refused_timer);
	if (!uv_is_closing(&l->refused.handle))
		uv_close(&l->refused.handle, on_refused_closed);
}

static void on_refused_timer(struct runner_timer *timer)
{
	close_refused(container_of(timer, struct listener, refused_timer));
}

static void on_refused_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct listener *l = handle->data;

	*ret = uv_buf_init((char *)l->server->scratch, sizeof(l->server->scratch));
}

static void on_refused_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	if (n != 0)
		close_refused(stream->data);
}

static void refuse_connection(struct listener *l)
{
	struct runner *runner = &l->server->loop->runner;
	uv_buf_t reply = uv_buf_init((char *)busy_reply, sizeof(busy_reply) - 1);

	if (l->refusing) {
		l->waiting = true;
		return;
	}
	l->server->stats.connections++;
	l->server->stats.refused_limit++;
	l->refusing = true;
	l->server->open_listeners++;
	REQUIRE(init_stream(l->server, &l->refused, l->is_unix) == 0);
	l->refused.handle.data = l;
	if (uv_accept(&l->uv.stream, &l->refused.stream) != 0 ||
	    uv_try_write(&l->refused.stream, &reply, 1) < 0 ||
	    uv_read_start(&l->refused.stream, on_refused_alloc, on_refused_read) != 0) {
		close_refused(l);
		return;
	}
	l->refused_timer.run = on_refused_timer;
	runner_timer_start(runner, &l->refused_timer, runner_now_ms(runner) + REFUSED_MS);
}

enum room { ROOM, ROOM_SOON, ROOM_LATER, ROOM_NONE };

/* Whether an idle connection may be dropped, or has not had its chance to say what it wants. */
static enum room room_of(const struct conn *c)
{
	const struct loop *loop = c->server->loop;

	if (loop->lag.turns - c->accepted_turn < FRESH_TURNS)
		return ROOM_SOON;
	return c->served > 0 || runner_now_ms(&loop->runner) - c->accepted_ms >= FRESH_MS ?
		       ROOM :
		       ROOM_LATER;
}

/* Drops the one that has waited longest for a request, when that makes room: of those that were
 * served already, if there are any. */
static enum room make_room(struct http_server *s)
{
	struct http_server_stats stats;
	enum room best = ROOM_NONE;
	struct conn *idlest = NULL;

	/* Closed connections whose handlers have not ended yet count too, though less. */
	if (s->conn_count >= 4 * HTTP_CONNS_MAX)
		return ROOM_NONE;
	http_server_stats(s, &stats);
	if (stats.open_connections < HTTP_CONNS_MAX)
		return ROOM;
	list_for_each(node, &s->conns) {
		struct conn *c = list_entry(node, struct conn, node);

		if (c->state != CONN_IDLE)
			continue;
		best = MIN(best, room_of(c));
		if (room_of(c) == ROOM &&
		    (idlest == NULL || (c->served > 0 && idlest->served == 0)))
			idlest = c;
	}
	if (idlest != NULL)
		conn_drop(idlest);
	return best;
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct listener *l = stream->data;
	struct runner *runner = &l->server->loop->runner;
	enum room room;

	if (status < 0)
		return;
	room = make_room(l->server);
	l->waiting = room == ROOM_SOON || room == ROOM_LATER;
	if (room == ROOM_SOON)
		runner_defer(runner, &l->server->accept_task);
	else if (room == ROOM_LATER)
		runner_timer_start(runner, &l->server->accept_timer,
				   runner_now_ms(runner) + FRESH_MS / 4);
	else if (room == ROOM_NONE || http_conn_accept(l) == NULL)
		refuse_connection(l);
}

static void accept_again(struct http_server *s)
{
	for (unsigned i = 0; i < s->listener_count && !s->closing; i++) {
		struct listener *l = &s->listeners[i];

		if (!l->waiting || l->refusing)
			continue;
		l->waiting = false;
		on_connection(&l->uv.stream, 0);
	}
}

static void run_accept(struct runner_task *task)
{
	accept_again(container_of(task, struct http_server, accept_task));
}

static void on_accept_timer(struct runner_timer *timer)
{
	accept_again(container_of(timer, struct http_server, accept_timer));
}

/* ---- Listening ---- */

static int explain(int rc, char *why, size_t size, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int explain(int rc, char *why, size_t size, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, size, fmt, args);
	va_end(args);
	return rc;
}

/* The next listener, its handle initialised. NULL: there are HTTP_LISTENERS_MAX. */
static struct listener *new_listener(struct http_server *s, bool is_unix)
{
	struct listener *l;

	if (s->listener_count == HTTP_LISTENERS_MAX)
		return NULL;
	l = &s->listeners[s->listener_count];
	*l = (struct listener){ .server = s, .is_unix = is_unix };
	REQUIRE(init_stream(s, &l->uv, is_unix) == 0);
	l->uv.handle.data = l;
	s->listener_count++;
	s->open_listeners++;
	return l;
}

static int give_up(struct listener *l, int rc)
{
	uv_close(&l->uv.handle, on_listener_closed);
	return rc;
}

static int bound_address(struct listener *l, struct multiaddr *ret)
{
	struct sockaddr_storage address;
	int len = sizeof(address);
	int rc = uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&address, &len);

	return rc < 0 ? rc : multiaddr_from_sockaddr((struct sockaddr *)&address, ret);
}

int http_listen_tcp(struct http_server *s, const struct multiaddr *addr,
		    struct multiaddr *ret_bound, char *ret_why, size_t why_size)
{
	struct sockaddr_storage address;
	char text[MULTIADDR_TEXT_SIZE];
	struct multiaddr bound;
	struct listener *l;
	int rc;

	multiaddr_format(addr, text);
	if (s->surface == HTTP_CONTROL)
		return explain(UV_EACCES, ret_why, why_size,
			       "The control API listens on a unix socket only, not on %s.", text);
	if (!multiaddr_is_loopback(addr))
		return explain(UV_EACCES, ret_why, why_size,
			       "Refusing to listen on %s: the debug pages have no password, so "
			       "they are served on "
			       "127.0.0.1, [::1] or a unix socket only. To read them from another "
			       "machine: ssh -L "
			       "%u:localhost:%u THIS-HOST",
			       text, addr->port, addr->port);
	l = new_listener(s, false);
	if (l == NULL)
		return explain(ERR_LIMIT, ret_why, why_size,
			       "Too many debug addresses (at most %d).", HTTP_LISTENERS_MAX);
	multiaddr_to_sockaddr(addr, &address);
	rc = uv_tcp_bind(&l->uv.tcp, (struct sockaddr *)&address, 0);
	if (rc == 0)
		rc = uv_listen(&l->uv.stream, HTTP_BACKLOG, on_connection);
	if (rc == 0)
		rc = bound_address(l, &bound);
	if (rc < 0)
		return give_up(
			l, explain(rc, ret_why, why_size, "Cannot listen on %s: %s%s.", text,
				   err_str(rc),
				   rc == UV_EADDRINUSE ?
					   "; is another daemon running? Port 0 takes a free one" :
					   ""));
	(void)snprintf(s->tunnel, sizeof(s->tunnel), "ssh -L %u:localhost:%u THIS-HOST", bound.port,
		       bound.port);
	*ret_bound = bound;
	return 0;
}

/* A socket file is stale when nobody accepts on it. Only then it is removed. */
static int remove_stale(const char *path, char *why, size_t why_size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int fd, rc;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return explain(UV_EEXIST, why, why_size, "%s exists and is not a socket.", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return explain(-errno, why, why_size, "Cannot look at %s: %s.", path,
			       err_str(-errno));
	rc = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	(void)close(fd);
	if (rc == 0 || rc == UV_EAGAIN)
		return explain(UV_EADDRINUSE, why, why_size, "Another daemon listens on %s.", path);
	if (unlink(path) < 0)
		return explain(-errno, why, why_size, "Cannot remove the stale socket %s: %s.",
			       path, err_str(-errno));
	return 0;
}

int http_listen_unix(struct http_server *s, const char *path, char *ret_why, size_t why_size)
{
	struct listener *l;
	int rc;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return explain(UV_ENAMETOOLONG, ret_why, why_size,
			       "The path of the socket is too long: %s", path);
	rc = remove_stale(path, ret_why, why_size);
	if (rc < 0)
		return rc;
	l = new_listener(s, true);
	if (l == NULL)
		return explain(ERR_LIMIT, ret_why, why_size,
			       "Too many debug addresses (at most %d).", HTTP_LISTENERS_MAX);
	rc = uv_pipe_bind(&l->uv.pipe, path);
	/* Between bind and listen nobody can connect: the mode is right before the first client. */
	if (rc == 0 && chmod(path, 0600) < 0)
		rc = -errno;
	if (rc == 0)
		rc = uv_listen(&l->uv.stream, HTTP_BACKLOG, on_connection);
	if (rc < 0)
		return give_up(l, explain(rc, ret_why, why_size, "Cannot listen on %s: %s.", path,
					  err_str(rc)));
	if (s->tunnel[0] == '\0')
		(void)snprintf(s->tunnel, sizeof(s->tunnel), "ssh -L 56001:%s THIS-HOST", path);
	return 0;
}
