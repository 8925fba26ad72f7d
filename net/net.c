/* The pool of connections, what it listens on, and the public face of streams. */
#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "net/conn.h"

static void closed_task(struct runner_task *task)
{
	struct net *n = container_of(task, struct net, closed_task);

	n->closed_told = true;
	n->closed(n->closed_data);
}

static void on_transport_closed(void *data)
{
	struct net *n = data;

	n->transport_closed = true;
	net_check_closed(n);
}

/* The transport goes last, so that what connections have to say on their way out can leave. */
void net_check_closed(struct net *n)
{
	if (!n->closing || n->closed_told || !list_empty(&n->conns) || !list_empty(&n->dials))
		return;
	if (n->transport_closed) {
		runner_defer(n->runner, &n->closed_task);
	} else if (!n->shutting_down) {
		n->shutting_down = true;
		n->transport->shutdown(n->transport, on_transport_closed, n);
	}
}

static bool init_identity(struct net *n, const struct net_config *config)
{
	memcpy(n->self.bytes, config->secret_key + crypto_sign_SEEDBYTES, KEY_SIZE);
	n->hello.key = n->self;
	n->hello.version_min = NET_HELLO_VERSION_MIN;
	n->hello.version_max = NET_HELLO_VERSION_MAX;
	strncpy(n->hello.agent, config->agent, NET_AGENT_MAX);
	return crypto_sign_ed25519_sk_to_curve25519(n->static_secret, config->secret_key) == 0;
}

struct net *net_new(const struct net_config *config)
{
	struct net *n = mem_alloc(sizeof(*n));

	if (n == NULL)
		return NULL;
	n->runner = config->runner;
	n->transport = config->transport;
	n->service = config->service;
	n->service_data = config->service_data;
	n->closed_task.run = closed_task;
	list_init(&n->conns);
	list_init(&n->dials);
	n->scratch = mem_alloc(NET_CONN_RECORD_MAX);
	if (n->scratch == NULL || !init_identity(n, config))
		return net_free(n);
	return n;
}

struct net *net_free(struct net *n)
{
	if (n == NULL)
		return NULL;
	REQUIRE(list_empty(&n->conns) && list_empty(&n->dials));
	runner_undefer(&n->closed_task);
	sodium_memzero(n->static_secret, sizeof(n->static_secret));
	mem_free(n->scratch);
	return mem_free(n);
}

void net_set_service(struct net *n, const struct net_service *service, void *data)
{
	REQUIRE(list_empty(&n->conns));
	n->service = service;
	n->service_data = data;
}

void net_close(struct net *n, void (*closed)(void *data), void *data)
{
	REQUIRE(!n->closing);
	n->closing = true;
	n->closed = closed;
	n->closed_data = data;
	list_for_each(node, &n->dials)
		op_cancel(&list_entry(node, struct net_dial, node)->op);
	list_for_each(node, &n->conns)
		net_conn_fail(list_entry(node, struct net_conn, node), ERR_CLOSED);
	net_check_closed(n);
}

/* ---- Addresses ---- */

int net_listen(struct net *n, const struct multiaddr *addr)
{
	struct multiaddr bound;
	int err;

	if (n->closing)
		return ERR_CLOSED;
	if (n->listener_count == NET_LISTENERS_MAX)
		return ERR_LIMIT;
	err = n->transport->listen(n->transport, addr, &bound, net_conn_accept, n);
	if (err)
		return err;
	if (n->listener_count == 0)
		n->hello.listen_port = bound.port;
	n->listeners[n->listener_count++] = bound;
	return 0;
}

static bool is_wildcard(const struct multiaddr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, a->family == 4 ? 4 : 16) == 0;
}

static size_t add_addr(const struct net *n, struct multiaddr addr, uint16_t port,
		       struct multiaddr *ret, size_t count, size_t cap)
{
	addr.port = port;
	addr.has_peer = true;
	addr.peer = n->self;
	for (size_t i = 0; i < count; i++)
		if (multiaddr_eq(&ret[i], &addr))
			return count;
	if (count < cap)
		ret[count++] = addr;
	return count;
}

size_t net_addrs(const struct net *n, struct multiaddr *ret, size_t cap)
{
	size_t count = 0;

	for (size_t i = 0; i < n->listener_count; i++) {
		const struct multiaddr *l = &n->listeners[i];
		struct multiaddr local[NET_ADDRS_MAX];
		size_t local_count;

		if (!is_wildcard(l)) {
			count = add_addr(n, *l, l->port, ret, count, cap);
			continue;
		}
		local_count = n->transport->local_addrs(n->transport, local, NET_ADDRS_MAX);
		for (size_t j = 0; j < local_count; j++) /* the IPv6 wildcard takes both */
			if (l->family == 6 || local[j].family == 4)
				count = add_addr(n, local[j], l->port, ret, count, cap);
	}
	return count;
}

const struct public_key *net_self(const struct net *n)
{
	return &n->self;
}

/* ---- Connections ---- */

struct net_conn *net_find(struct net *n, const struct public_key *peer)
{
	struct net_conn *doubtful = NULL;

	list_for_each(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (!net_conn_usable(c) || !key_eq(&c->peer, peer))
			continue;
		if (!c->doubtful)
			return c;
		doubtful = c;
	}
	return doubtful;
}

void net_each_conn(struct net *n, bool (*visit)(void *data, struct net_conn *c), void *data)
{
	list_for_each_safe(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (c->state == NET_CONN_UP && !c->failed && !visit(data, c))
			return;
	}
}

void net_conn_close(struct net_conn *c, int status)
{
	net_conn_fail(c, status < 0 ? status : ERR_CLOSED);
}

/* Either clock may have been set since, ours only is seen. */
static int64_t ahead_s(const struct net_conn *c)
{
	const struct runner *r = c->net->runner;
	uint64_t theirs_s = c->hello.time_s + (runner_now_ms(r) - c->hello_ms) / 1000;

	return (int64_t)theirs_s - (int64_t)(clock_wall_ns(r->clock) / NS_PER_SEC);
}

bool net_twin(const struct net *n, struct multiaddr *ret_addr, uint64_t *ret_ago_ms)
{
	if (!n->has_twin)
		return false;
	*ret_addr = n->twin_at;
	*ret_ago_ms = runner_now_ms(n->runner) - n->twin_ms;
	return true;
}

void net_conn_info(const struct net_conn *c, struct net_conn_info *ret)
{
	*ret = (struct net_conn_info){ .peer = c->peer,
				       .remote = c->remote,
				       .dial_addr = c->remote,
				       .inbound = c->inbound,
				       .since_ms = c->since_ms,
				       .sent_bytes = c->sent_bytes,
				       .received_bytes = c->received_bytes,
				       .moved_ms = c->mux.moved_ms,
				       .unsent = c->unsent,
				       .streams = c->mux.our_streams + c->mux.peer_streams,
				       .rtt_us = c->rtt_us };
	ret->has_clock = c->hello.time_s != 0;
	if (ret->has_clock)
		ret->ahead_s = ahead_s(c);
	ret->dial_addr.port = c->hello.listen_port;
	ret->dial_addr.has_peer = true;
	ret->dial_addr.peer = c->peer;
	memcpy(ret->agent, c->hello.agent, sizeof(ret->agent));
}

const struct public_key *net_conn_peer(const struct net_conn *c)
{
	return &c->peer;
}

void net_stats(const struct net *n, struct net_stats *ret)
{
	*ret = n->stats;
	ret->conns = n->up;
}

/* ---- Streams ---- */

int net_stream_open(struct net_stream *s, struct net_conn *c)
{
	int err;

	REQUIRE(runner_on_loop(c->net->runner));
	if (!net_conn_usable(c))
		return ERR_CLOSED;
	err = net_mux_stream_open(&c->mux, s);
	if (!err)
		c->net->stats.streams_opened++;
	return err;
}

struct net_conn *net_stream_conn(const struct net_stream *s)
{
	return s->mux != NULL ? container_of(s->mux, struct net_conn, mux) : NULL;
}

int net_stream_send(struct net_stream *s, const void *msg, size_t len)
{
	return s->mux != NULL ? net_mux_stream_send(s, msg, len) : ERR_CLOSED;
}

size_t net_stream_queued(const struct net_stream *s)
{
	return s->send_queued;
}

void net_stream_end(struct net_stream *s)
{
	if (s->mux != NULL)
		net_mux_stream_end(s);
}

void net_stream_reset(struct net_stream *s, int code)
{
	if (s->mux != NULL)
		net_mux_stream_reset(s, code);
}

void net_stream_pause(struct net_stream *s, bool paused)
{
	if (s->mux != NULL)
		net_mux_stream_pause(s, paused);
}
