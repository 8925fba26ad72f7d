/* The core on UDP sockets of a libuv loop: one per family.
 *
 * The sockets ask for ICMP errors (IP_RECVERR), so that a query to a port where nobody listens
 * fails at once and not at its deadline; Linux hands them over in a queue of its own. Packets that
 * cannot be sent at once are dropped: the network loses some anyway. Names of routers are resolved
 * on the thread pool, again and again while we know nobody. */
#include "discovery/dht/address.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"

enum {
	RESOLVE_MIN_MS = 15000,
	RESOLVE_MAX_MS = 900000,
	ROUTER_TEXT_MAX = 255,
	ICMP_BATCH = 32 /* errors looked at in one turn */
};

struct dht_udp_socket {
	uv_udp_t handle;
	struct dht_udp *udp;
	bool open;
};

struct resolve {
	uv_getaddrinfo_t req;
	struct dht_udp *udp;
	char host[ROUTER_TEXT_MAX + 1];
	const char *port;
	bool running;
};

struct dht_udp {
	struct dht_udp_config config;
	struct dht_transport transport;
	struct dht *dht;
	struct dht_udp_socket sockets[DHT_FAMILIES];
	struct resolve resolves[DHT_ROUTERS_MAX];
	size_t router_count;
	uint64_t resolve_backoff_ms;
	struct runner_timer resolve_timer, save_timer;
	unsigned pending; /* handles, requests, the core */
	bool loaded, closing;
	void (*closed)(void *data);
	void *closed_data;
	uint8_t buffer[DHT_RECEIVE_MAX + 1];
};

static bool from_sockaddr(const struct sockaddr *sa, struct dht_address *ret)
{
	*ret = (struct dht_address){ 0 };
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		ret->family = 4;
		memcpy(ret->ip, &in->sin_addr, 4);
		ret->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		ret->family = 6;
		memcpy(ret->ip, &in6->sin6_addr, 16);
		ret->port = ntohs(in6->sin6_port);
	}
	return ret->family != 0;
}

static void to_sockaddr(const struct dht_address *a, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (a->family == 4) {
		struct sockaddr_in *in = (void *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip, 4);
	} else {
		struct sockaddr_in6 *in6 = (void *)ret;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(a->port);
		memcpy(&in6->sin6_addr, a->ip, 16);
	}
}

static void release(struct dht_udp *u)
{
	void (*closed)(void *data) = u->closed;
	void *data = u->closed_data;

	if (--u->pending > 0)
		return;
	mem_free(u);
	if (closed != NULL)
		closed(data);
}

/* ---- Packets ---- */

static void send_packet(struct dht_transport *t, const struct dht_address *to, const uint8_t *data,
			size_t len)
{
	struct dht_udp *u = container_of(t, struct dht_udp, transport);
	struct dht_udp_socket *s = &u->sockets[address_index(to)];
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
	struct sockaddr_storage sa;

	if (!s->open || u->closing)
		return;
	to_sockaddr(to, &sa);
	/* An error of an earlier packet may be reported here, in place of sending: once more. */
	if (uv_udp_try_send(&s->handle, &buf, 1, (struct sockaddr *)&sa) < 0 &&
	    uv_udp_try_send(&s->handle, &buf, 1, (struct sockaddr *)&sa) < 0)
		dht_send_failed(u->dht);
}

static void drain_errors(struct dht_udp_socket *s)
{
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)&s->handle, &fd) < 0)
		return;
	for (unsigned i = 0; i < ICMP_BATCH; i++) {
		struct sockaddr_storage sa;
		uint8_t control[512], payload[1];
		struct iovec iov = { payload, sizeof(payload) };
		struct msghdr msg = { .msg_name = &sa,
				      .msg_namelen = sizeof(sa),
				      .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		struct dht_address to;

		if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		if (from_sockaddr((struct sockaddr *)&sa, &to))
			dht_unreachable(s->udp->dht, &to);
	}
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct dht_udp_socket *s = handle->data;

	*buf = uv_buf_init((char *)s->udp->buffer, sizeof(s->udp->buffer));
}

static void on_packet(uv_udp_t *handle, ssize_t n, const uv_buf_t *buf, const struct sockaddr *sa,
		      unsigned flags)
{
	struct dht_udp_socket *s = handle->data;
	struct dht_address from;

	if (s->udp->closing)
		return;
	if (n < 0) {
		drain_errors(s);
		return;
	}
	if (sa != NULL && from_sockaddr(sa, &from) && (flags & UV_UDP_PARTIAL) == 0)
		dht_receive(s->udp->dht, &from, (const uint8_t *)buf->base, (size_t)n);
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct dht_udp_socket *s = handle->data;

	release(s->udp);
}

static int bind_socket(struct dht_udp *u, unsigned i)
{
	struct dht_udp_socket *s = &u->sockets[i];
	unsigned flags = UV_UDP_LINUX_RECVERR | (i == 1 ? UV_UDP_IPV6ONLY : 0);
	struct sockaddr_storage sa;
	int rc;

	rc = uv_udp_init(&u->config.loop->uv, &s->handle);
	if (rc < 0)
		return rc;
	s->udp = u;
	s->handle.data = s;
	u->pending++;
	to_sockaddr(&u->config.listen[i], &sa);
	rc = uv_udp_bind(&s->handle, (struct sockaddr *)&sa, flags);
	if (rc == 0)
		rc = uv_udp_recv_start(&s->handle, on_alloc, on_packet);
	if (rc < 0)
		uv_close((uv_handle_t *)&s->handle, on_socket_closed);
	s->open = rc == 0;
	return rc;
}

struct dht_address dht_udp_local(const struct dht_udp *u, unsigned family_index)
{
	const struct dht_udp_socket *s = &u->sockets[family_index];
	struct dht_address a = { 0 };
	struct sockaddr_storage sa;
	int len = sizeof(sa);

	if (s->open && uv_udp_getsockname(&s->handle, (struct sockaddr *)&sa, &len) == 0)
		(void)from_sockaddr((struct sockaddr *)&sa, &a);
	return a;
}

/* ---- Routers ---- */

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
	struct resolve *r = container_of(req, struct resolve, req);
	struct dht_udp *u = r->udp;
	struct dht_address addr;

	for (const struct addrinfo *ai = status == 0 ? list : NULL; ai != NULL; ai = ai->ai_next) {
		if (!u->closing && from_sockaddr(ai->ai_addr, &addr))
			(void)dht_add_router(u->dht, &addr);
	}
	if (status < 0)
		log_debug(LOG_DISCOVERY, "msg=\"cannot resolve router\" host=%s err=%s", r->host,
			  err_name(status));
	uv_freeaddrinfo(list);
	r->running = false;
	release(u);
}

static void resolve(struct dht_udp *u, struct resolve *r)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };

	if (r->running)
		return;
	if (uv_getaddrinfo(&u->config.loop->uv, &r->req, on_resolved, r->host, r->port, &hints) < 0)
		return;
	r->running = true;
	u->pending++;
}

static void on_resolve_timer(struct runner_timer *t)
{
	struct dht_udp *u = container_of(t, struct dht_udp, resolve_timer);
	struct runner *r = &u->config.loop->runner;

	if (dht_state(u->dht) != NULL) {
		for (size_t i = 0; i < u->router_count; i++)
			resolve(u, &u->resolves[i]);
		u->resolve_backoff_ms = MIN(2 * u->resolve_backoff_ms, (uint64_t)RESOLVE_MAX_MS);
	} else {
		u->resolve_backoff_ms = RESOLVE_MIN_MS;
	}
	runner_timer_start(r, t, runner_now_ms(r) + u->resolve_backoff_ms);
}

/* Those that are spelt wrong, or too many, are left out. */
static void take_routers(struct dht_udp *u)
{
	const char *const *names = u->config.routers;

	for (; names != NULL && *names != NULL && u->router_count < DHT_ROUTERS_MAX; names++) {
		struct resolve *r = &u->resolves[u->router_count];
		const char *colon = strrchr(*names, ':');
		struct dht_address addr;

		if (dht_address_parse(*names, strlen(*names), &addr) == 0) {
			(void)dht_add_router(u->dht, &addr);
			continue;
		}
		if (colon == NULL || colon == *names || colon - *names > ROUTER_TEXT_MAX)
			continue;
		memcpy(r->host, *names, (size_t)(colon - *names));
		r->port = colon + 1;
		r->udp = u;
		u->router_count++;
	}
}

/* ---- Life ---- */

static void save(struct dht_udp *u)
{
	CLEANUP(buf_fini) struct buf state = { 0 };

	buf_init(&state, DHT_STATE_MAX);
	if (u->config.save == NULL || !u->loaded)
		return;
	dht_export(u->dht, &state);
	if (buf_err(&state) == 0)
		u->config.save(u->config.data, state.data, state.len);
}

static void on_save_timer(struct runner_timer *t)
{
	struct dht_udp *u = container_of(t, struct dht_udp, save_timer);
	struct runner *r = &u->config.loop->runner;

	save(u);
	runner_timer_start(r, t, runner_now_ms(r) + DHT_UDP_SAVE_MS);
}

void dht_udp_loaded(struct dht_udp *u, const uint8_t *state, size_t len)
{
	struct runner *r = &u->config.loop->runner;
	int rc;

	if (u->loaded || u->closing)
		return;
	u->loaded = true;
	rc = len > 0 ? dht_import(u->dht, state, len) : 0;
	if (rc < 0)
		log_debug(LOG_DISCOVERY, "msg=\"saved DHT state is of no use\" err=%s",
			  err_name(rc));
	dht_start(u->dht);
	u->resolve_backoff_ms = RESOLVE_MIN_MS;
	u->resolve_timer.run = on_resolve_timer;
	u->save_timer.run = on_save_timer;
	runner_timer_start(r, &u->resolve_timer, runner_now_ms(r));
	runner_timer_start(r, &u->save_timer, runner_now_ms(r) + DHT_UDP_SAVE_MS);
}

static void close_sockets(struct dht_udp *u)
{
	for (unsigned i = 0; i < DHT_FAMILIES; i++) {
		if (u->sockets[i].open)
			uv_close((uv_handle_t *)&u->sockets[i].handle, on_socket_closed);
		u->sockets[i].open = false;
	}
}

static int bind_all(struct dht_udp *u, struct dht_config *core)
{
	int rc = UV_EINVAL;

	for (unsigned i = 0; i < DHT_FAMILIES; i++) {
		int one;

		if (u->config.listen[i].family == 0)
			continue;
		one = bind_socket(u, i);
		if (one == 0)
			core->local[i] = dht_udp_local(u, i);
		rc = rc == 0 ? 0 : one;
	}
	return rc;
}

int dht_udp_open(const struct dht_udp_config *config, struct dht_udp **ret)
{
	struct dht_config core = { .runner = &config->loop->runner,
				   .mode = config->mode,
				   .trace = config->trace };
	struct dht_udp *u = mem_alloc(sizeof(*u));
	int rc;

	if (u == NULL)
		return UV_ENOMEM;
	u->config = *config;
	u->transport.send = send_packet;
	u->pending = 1;
	core.transport = &u->transport;
	rc = bind_all(u, &core);
	if (rc == 0) {
		u->dht = dht_new(&core);
		rc = u->dht == NULL ? UV_ENOMEM : 0;
	}
	if (rc < 0) {
		u->closing = true;
		close_sockets(u);
		release(u);
		return rc;
	}
	take_routers(u);
	*ret = u;
	if (config->load != NULL)
		config->load(config->data, u);
	else
		dht_udp_loaded(u, NULL, 0);
	return 0;
}

struct dht *dht_udp_core(struct dht_udp *u)
{
	return u->dht;
}

static void on_core_closed(void *data)
{
	struct dht_udp *u = data;

	close_sockets(u);
	release(u);
}

void dht_udp_close(struct dht_udp *u, void (*closed)(void *data), void *data)
{
	save(u);
	u->closing = true;
	u->closed = closed;
	u->closed_data = data;
	runner_timer_stop(&u->config.loop->runner, &u->resolve_timer);
	runner_timer_stop(&u->config.loop->runner, &u->save_timer);
	for (size_t i = 0; i < u->router_count; i++) {
		if (u->resolves[i].running)
			(void)uv_cancel((uv_req_t *)&u->resolves[i].req);
	}
	dht_close(u->dht, on_core_closed, u);
}
