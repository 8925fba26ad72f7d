/* TCP on libuv: the transport of the daemon.
 *
 * Nothing is called back inside a call: what fails at once is told from the close callback of its
 * handle, which libuv runs from the loop. An accepted socket must be taken even when there is no
 * memory for a link, or libuv would stop listening; the one spare handle does that. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/loop.h"
#include "base/mem.h"
#include "net/net.h"

enum {
	READ_SIZE = 32 << 10, /* about 35 us of deciphering */
	BACKLOG = 128,
	KEEPALIVE_S = 60,
	UNSENT_LOW = 128 << 10 /* bytes not yet sent that the kernel may hold: the queue belongs to
				  us, where it is fair */
};

struct tcp {
	struct net_transport transport;
	struct loop *loop;
	struct list links, listeners;
	unsigned handles;  /* initialised and not closed */
	uv_timer_t anchor; /* never started; gives shutdown a close callback even when nothing else
			      is open */
	uv_tcp_t spare;
	bool spare_open, shut;
	void (*closed)(void *data);
	void *closed_data;
	char read_buf[READ_SIZE];
};

struct tcp_link {
	struct net_link link;
	uv_tcp_t handle;
	uv_connect_t connect;
	struct tcp *tcp;
	struct list node;
	bool connecting, silent; /* silent: the user never learned of it */
	bool put_off;		 /* could have read, but the turn's time was spent */
	int close_status;
};

struct tcp_listener {
	uv_tcp_t handle;
	struct tcp *tcp;
	struct list node;
	bool waiting; /* a connection has not been taken yet */
	void (*on_accept)(void *data, struct net_link *l);
	void *data;
};

struct tcp_write {
	uv_write_t req;
	uint8_t *bytes;
};

static struct tcp *tcp_of(struct net_transport *t)
{
	return container_of(t, struct tcp, transport);
}

static struct tcp_link *link_of(const struct net_link *l)
{
	return container_of(l, struct tcp_link, link);
}

static bool closing(const struct tcp_link *l)
{
	return uv_is_closing((const uv_handle_t *)&l->handle) != 0;
}

static void handle_closed(struct tcp *t)
{
	t->handles--;
	if (t->shut && t->handles == 0)
		t->closed(t->closed_data);
}

/* ---- Links ---- */

static struct tcp_link *link_new(struct tcp *t)
{
	struct tcp_link *l = mem_alloc(sizeof(*l));

	if (l == NULL)
		return NULL;
	l->tcp = t;
	l->handle.data = l;
	if (uv_tcp_init(&t->loop->uv, &l->handle) != 0)
		return mem_free(l);
	t->handles++;
	list_push_back(&t->links, &l->node);
	return l;
}

static void on_closed(uv_handle_t *handle)
{
	struct tcp_link *l = handle->data;
	struct tcp *t = l->tcp;

	if (!l->silent && l->connecting)
		l->link.events->on_open(&l->link, l->close_status);
	else if (!l->silent)
		l->link.events->on_close(&l->link, l->close_status);
	list_remove(&l->node);
	mem_free(l);
	handle_closed(t);
}

static void close_link(struct tcp_link *l, int status)
{
	if (closing(l))
		return;
	l->close_status = status;
	uv_close((uv_handle_t *)&l->handle, on_closed);
}

static void tune(struct tcp_link *l)
{
	uv_os_fd_t fd;
	int low = UNSENT_LOW;

	(void)uv_tcp_nodelay(&l->handle, 1);
	(void)uv_tcp_keepalive(&l->handle, 1, KEEPALIVE_S);
	if (uv_fileno((uv_handle_t *)&l->handle, &fd) == 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof(low));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct tcp_link *l = handle->data;

	/* libuv reads up to 32 times in a row. No buffer ends that, and the poll finds the link
	 * again; who was put off has a read for certain then, however busy the others are. */
	l->put_off = !l->put_off && loop_slice_spent(l->tcp->loop);
	*ret = uv_buf_init(l->tcp->read_buf, l->put_off ? 0 : READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct tcp_link *l = stream->data;

	if (n > 0)
		l->link.events->on_read(&l->link, (const uint8_t *)buf->base, (size_t)n);
	else if (n < 0 && n != UV_ENOBUFS)
		close_link(l, n == UV_EOF ? ERR_CLOSED : (int)n);
}

static void start_reading(struct tcp_link *l)
{
	int err = uv_read_start((uv_stream_t *)&l->handle, on_alloc, on_read);

	if (err)
		close_link(l, err);
}

static void on_connect(uv_connect_t *req, int status)
{
	struct tcp_link *l = container_of(req, struct tcp_link, connect);

	if (closing(l))
		return;
	if (status != 0) {
		close_link(l, status);
		return;
	}
	l->connecting = false;
	tune(l);
	start_reading(l);
	l->link.events->on_open(&l->link, 0);
}

static struct net_link *tcp_dial(struct net_transport *transport, const struct multiaddr *addr,
				 const struct net_link_events *events, void *data)
{
	struct tcp_link *l = link_new(tcp_of(transport));
	struct sockaddr_storage ss;
	int err;

	if (l == NULL)
		return NULL;
	l->link = (struct net_link){ .events = events, .data = data, .remote = *addr };
	l->connecting = true;
	multiaddr_to_sockaddr(addr, &ss);
	err = uv_tcp_connect(&l->connect, &l->handle, (const struct sockaddr *)&ss, on_connect);
	if (err)
		close_link(l, err);
	return &l->link;
}

static void on_write(uv_write_t *req, int status)
{
	struct tcp_write *w = container_of(req, struct tcp_write, req);
	struct tcp_link *l = req->handle->data;

	mem_free(w->bytes);
	mem_free(w);
	if (closing(l))
		return;
	if (status != 0)
		close_link(l, status);
	else if (uv_stream_get_write_queue_size((uv_stream_t *)&l->handle) == 0)
		l->link.events->on_drain(&l->link);
}

static int tcp_write(struct net_link *link, uint8_t *bytes, size_t len)
{
	struct tcp_link *l = link_of(link);
	struct tcp_write *w = closing(l) ? NULL : mem_alloc(sizeof(*w));
	uv_buf_t buf = uv_buf_init((char *)bytes, (unsigned)len);
	int err = closing(l) ? 0 : UV_ENOMEM;

	if (w != NULL) {
		w->bytes = bytes;
		err = uv_write(&w->req, (uv_stream_t *)&l->handle, &buf, 1, on_write);
		if (!err)
			return 0;
	}
	mem_free(w);
	mem_free(bytes);
	return err;
}

static size_t tcp_queued(const struct net_link *link)
{
	return uv_stream_get_write_queue_size((const uv_stream_t *)&link_of(link)->handle);
}

static void tcp_read(struct net_link *link, bool on)
{
	struct tcp_link *l = link_of(link);

	if (closing(l))
		return;
	if (on)
		start_reading(l);
	else
		(void)uv_read_stop((uv_stream_t *)&l->handle);
}

/* A dial that is given up ends with on_close, not with on_open. */
static void tcp_close(struct net_link *link, int status)
{
	struct tcp_link *l = link_of(link);

	if (closing(l))
		return;
	l->connecting = false;
	close_link(l, status);
}

/* ---- Listening ---- */

static void on_connection(uv_stream_t *server, int status);

static void on_spare_closed(uv_handle_t *handle)
{
	struct tcp *t = handle->data;

	t->spare_open = false;
	list_for_each_safe(node, &t->listeners) {
		struct tcp_listener *s = list_entry(node, struct tcp_listener, node);

		if (s->waiting && !uv_is_closing((uv_handle_t *)&s->handle))
			on_connection((uv_stream_t *)&s->handle, 0);
	}
	handle_closed(t);
}

static void turn_away(struct tcp_listener *s)
{
	struct tcp *t = s->tcp;

	s->waiting = t->spare_open;
	if (t->spare_open || uv_tcp_init(&t->loop->uv, &t->spare) != 0)
		return;
	t->spare.data = t;
	t->spare_open = true;
	t->handles++;
	(void)uv_accept((uv_stream_t *)&s->handle, (uv_stream_t *)&t->spare);
	uv_close((uv_handle_t *)&t->spare, on_spare_closed);
}

static int remote_of(struct tcp_link *l)
{
	struct sockaddr_storage ss;
	int len = sizeof(ss);
	int err = uv_tcp_getpeername(&l->handle, (struct sockaddr *)&ss, &len);

	return err ? err : multiaddr_from_sockaddr((const struct sockaddr *)&ss, &l->link.remote);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct tcp_listener *s = server->data;
	struct tcp_link *l;

	if (status != 0)
		return;
	l = link_new(s->tcp);
	if (l == NULL) {
		turn_away(s);
		return;
	}
	s->waiting = false;
	l->silent = true;
	if (uv_accept(server, (uv_stream_t *)&l->handle) != 0 || remote_of(l) != 0) {
		close_link(l, ERR_CLOSED);
		return;
	}
	tune(l);
	s->on_accept(s->data, &l->link);
	if (l->link.events == NULL) {
		close_link(l, ERR_REFUSED);
		return;
	}
	l->silent = false;
	start_reading(l);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct tcp_listener *s = handle->data;
	struct tcp *t = s->tcp;

	list_remove(&s->node);
	mem_free(s);
	handle_closed(t);
}

/* Both wildcards on one port: the IPv6 one then takes IPv6 only. */
static unsigned bind_flags(struct tcp *t, const struct multiaddr *addr)
{
	list_for_each(node, &t->listeners) {
		struct tcp_listener *s = list_entry(node, struct tcp_listener, node);
		struct sockaddr_storage ss;
		struct multiaddr bound;
		int len = sizeof(ss);

		if (addr->family == 6 &&
		    uv_tcp_getsockname(&s->handle, (struct sockaddr *)&ss, &len) == 0 &&
		    multiaddr_from_sockaddr((const struct sockaddr *)&ss, &bound) == 0 &&
		    bound.family == 4 && bound.port == addr->port)
			return UV_TCP_IPV6ONLY;
	}
	return 0;
}

static int bind_and_listen(struct tcp_listener *s, const struct multiaddr *addr,
			   struct multiaddr *ret_bound)
{
	struct sockaddr_storage ss;
	struct multiaddr bound;
	int len = sizeof(ss), err;

	multiaddr_to_sockaddr(addr, &ss);
	err = uv_tcp_bind(&s->handle, (const struct sockaddr *)&ss, bind_flags(s->tcp, addr));
	if (!err)
		err = uv_listen((uv_stream_t *)&s->handle, BACKLOG, on_connection);
	if (!err)
		err = uv_tcp_getsockname(&s->handle, (struct sockaddr *)&ss, &len);
	if (!err)
		err = multiaddr_from_sockaddr((const struct sockaddr *)&ss, &bound);
	if (!err)
		*ret_bound = bound;
	return err;
}

static int tcp_listen(struct net_transport *transport, const struct multiaddr *addr,
		      struct multiaddr *ret_bound,
		      void (*on_accept)(void *data, struct net_link *l), void *data)
{
	struct tcp *t = tcp_of(transport);
	struct tcp_listener *s;
	int err;

	if (t->shut)
		return ERR_CLOSED;
	s = mem_alloc(sizeof(*s));
	if (s == NULL)
		return UV_ENOMEM;
	s->tcp = t;
	s->on_accept = on_accept;
	s->data = data;
	s->handle.data = s;
	err = uv_tcp_init(&t->loop->uv, &s->handle);
	if (err) {
		mem_free(s);
		return err;
	}
	t->handles++;
	err = bind_and_listen(s, addr, ret_bound);
	list_push_back(&t->listeners, &s->node);
	if (err)
		uv_close((uv_handle_t *)&s->handle, on_listener_closed);
	return err;
}

/* ---- Addresses ---- */

/* Loopback comes last: for daemons on this machine. Link-local IPv6 needs a scope that an address
 * cannot carry. */
static size_t tcp_local_addrs(struct net_transport *t, struct multiaddr *ret, size_t cap)
{
	uv_interface_address_t *all;
	size_t count = 0;
	int n;

	if (uv_interface_addresses(&all, &n) != 0)
		return 0;
	for (int loopback = 0; loopback < 2; loopback++) {
		for (int i = 0; i < n; i++) {
			struct multiaddr a;

			if (multiaddr_from_sockaddr((const struct sockaddr *)&all[i].address, &a) ==
				    0 &&
			    (int)multiaddr_is_loopback(&a) == loopback &&
			    !multiaddr_is_link_local(&a) && count < cap)
				ret[count++] = a;
		}
	}
	uv_free_interface_addresses(all, n);
	return count;
}

/* ---- Life ---- */

static void on_anchor_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

static void tcp_shutdown(struct net_transport *transport, void (*closed)(void *data), void *data)
{
	struct tcp *t = tcp_of(transport);

	REQUIRE(!t->shut);
	t->shut = true;
	t->closed = closed;
	t->closed_data = data;
	list_for_each(node, &t->links)
		tcp_close(&list_entry(node, struct tcp_link, node)->link, ERR_CLOSED);
	list_for_each(node, &t->listeners) {
		struct tcp_listener *s = list_entry(node, struct tcp_listener, node);

		if (!uv_is_closing((uv_handle_t *)&s->handle))
			uv_close((uv_handle_t *)&s->handle, on_listener_closed);
	}
	uv_close((uv_handle_t *)&t->anchor, on_anchor_closed);
}

static const struct net_transport transport = {
	.dial = tcp_dial,
	.listen = tcp_listen,
	.write = tcp_write,
	.queued = tcp_queued,
	.read = tcp_read,
	.close = tcp_close,
	.local_addrs = tcp_local_addrs,
	.shutdown = tcp_shutdown,
};

struct net_transport *net_tcp_new(struct loop *loop)
{
	struct tcp *t = mem_alloc(sizeof(*t));

	if (t == NULL)
		return NULL;
	t->transport = transport;
	t->loop = loop;
	list_init(&t->links);
	list_init(&t->listeners);
	if (uv_timer_init(&loop->uv, &t->anchor) != 0)
		return mem_free(t);
	t->anchor.data = t;
	t->handles = 1;
	return &t->transport;
}

struct net_transport *net_tcp_free(struct net_transport *transport_)
{
	struct tcp *t;

	if (transport_ == NULL)
		return NULL;
	t = tcp_of(transport_);
	REQUIRE(t->handles == 0);
	return mem_free(t);
}
