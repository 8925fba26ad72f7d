/* Nodes with a key, a net and an echo service, for the tests of net/. */
#pragma once

#include "test_util.h"

#include <sodium.h>

#include "net/net.h"

enum { FIXTURE_STREAMS_MAX = 256 };

struct node;

/* A stream of a test or of its service: counts what it is told. */
struct flow {
	struct net_stream stream;
	struct node *node;
	bool echo, live, keep_open;
	bool pinned; /* not to be used again once closed */
	unsigned messages, ends, closes, drains;
	uint64_t bytes;
	uint8_t last[64]; /* first bytes of the last message */
	size_t last_len;
	int status;
	void (*on_message)(struct flow *f, const uint8_t *msg, size_t len);
	void *data;
};

struct node {
	struct net *net;
	struct net_transport *transport;
	uint8_t secret[64];
	struct multiaddr addr;
	int refusal; /* of every stream, when not 0 */
	unsigned ups, downs;
	int down_status;
	struct net_conn *conn;			/* the last one that came up */
	struct flow flows[FIXTURE_STREAMS_MAX]; /* of the service */
	unsigned flow_count;
	bool closed;
};

static inline void flow_message(struct net_stream *s, const uint8_t *msg, size_t len)
{
	struct flow *f = s->data;

	f->messages++;
	f->bytes += len;
	f->last_len = MIN(len, sizeof(f->last));
	if (len > 0)
		memcpy(f->last, msg, f->last_len);
	if (f->on_message != NULL)
		f->on_message(f, msg, len);
	if (f->echo)
		(void)net_stream_send(s, msg, len);
}

static inline void flow_drain(struct net_stream *s)
{
	((struct flow *)s->data)->drains++;
}

static inline void flow_close(struct net_stream *s, int status)
{
	struct flow *f = s->data;

	f->closes++;
	f->live = false;
	f->status = status;
}

static inline void flow_end(struct net_stream *s)
{
	struct flow *f = s->data;

	f->ends++;
	if (!f->keep_open)
		net_stream_end(s);
}

static const struct net_stream_events flow_events = { flow_message, flow_drain, flow_close,
						      flow_end };

static inline struct flow *node_flow(struct node *n)
{
	for (unsigned i = 0; i < FIXTURE_STREAMS_MAX; i++) {
		struct flow *f = &n->flows[i];

		if (f->live || f->pinned)
			continue;
		*f = (struct flow){ .node = n, .live = true };
		f->stream.events = &flow_events;
		f->stream.data = f;
		return f;
	}
	return NULL;
}

static inline struct net_stream *node_on_stream(void *data, struct net_conn *c, int *ret_refusal)
{
	struct node *n = data;
	struct flow *f;

	if (n->refusal != 0) {
		*ret_refusal = n->refusal;
		return NULL;
	}
	f = node_flow(n);
	if (f == NULL)
		return NULL;
	n->flow_count++;
	f->echo = true;
	return &f->stream;
}

static inline void node_on_conn_up(void *data, struct net_conn *c)
{
	struct node *n = data;

	n->ups++;
	n->conn = c;
}

static inline void node_on_conn_down(void *data, struct net_conn *c, int status)
{
	struct node *n = data;

	n->downs++;
	n->down_status = status;
	if (n->conn == c)
		n->conn = NULL;
}

static const struct net_service node_service = { node_on_stream, node_on_conn_up,
						 node_on_conn_down };

static inline struct multiaddr fixture_addr(const char *hostport)
{
	struct multiaddr a;

	assert_int_equal(multiaddr_parse_hostport(hostport, strlen(hostport), &a), 0);
	return a;
}

/* Keys differ by `number`, and only by it. Returns false when out of memory. */
static inline bool node_init(struct node *n, struct runner *r, struct net_transport *t,
			     uint8_t number)
{
	uint8_t seed[32] = { number }, public[32];
	struct net_config config = { .runner = r,
				     .transport = t,
				     .secret_key = n->secret,
				     .agent = "test/1",
				     .service = &node_service,
				     .service_data = n };

	*n = (struct node){ .transport = t };
	crypto_sign_seed_keypair(public, n->secret, seed);
	n->net = net_new(&config);
	return n->net != NULL;
}

static inline void node_on_closed(void *data)
{
	((struct node *)data)->closed = true;
}

/* ---- On a virtual network ---- */

#include "tests/sim/simnet.h"

struct world {
	struct manual_loop loop;
	struct simnet *sim;
	struct node nodes[4];
	unsigned count;
};

static inline void world_init(struct world *w, uint64_t seed, unsigned count)
{
	w->count = count;
	manual_loop_init(&w->loop, seed);
	w->sim = simnet_new(&w->loop.runner, seed);
	assert_non_null(w->sim);
	for (unsigned i = 0; i < count; i++) {
		struct multiaddr any;
		char ip[32], hostport[40];

		snprintf(ip, sizeof(ip), "10.0.0.%u", i + 1);
		snprintf(hostport, sizeof(hostport), "%s:4001", ip);
		any = fixture_addr(hostport);
		assert_true(node_init(&w->nodes[i], &w->loop.runner, simnet_host(w->sim, ip),
				      (uint8_t)(i + 1)));
		CHECK_STATUS(0, net_listen(w->nodes[i].net, &any));
		assert_int_equal(net_addrs(w->nodes[i].net, &w->nodes[i].addr, 1), 1);
	}
}

static inline void world_run(struct world *w, uint64_t ms)
{
	manual_loop_run(&w->loop, runner_now_ms(&w->loop.runner) + ms);
}

static inline bool node_is_closed(void *data)
{
	return ((struct node *)data)->closed;
}

static inline void node_close(struct world *w, struct node *n)
{
	if (n->net == NULL)
		return;
	net_close(n->net, node_on_closed, n);
	assert_true(run_until(&w->loop, node_is_closed, n, UINT64_MAX - 1));
	n->net = net_free(n->net);
}

static inline void world_fini(struct world *w)
{
	struct simnet_stats stats;

	for (unsigned i = 0; i < w->count; i++)
		node_close(w, &w->nodes[i]);
	world_run(w, 1000);
	simnet_stats(w->sim, &stats);
	assert_int_equal(stats.open, 0);
	simnet_free(w->sim);
	manual_loop_fini(&w->loop);
}

/* ---- Dialing ---- */

struct call {
	struct net_dial dial;
	bool done;
	int status;
};

static inline void call_done(struct net_dial *d, int status)
{
	struct call *c = d->data;

	assert_false(c->done);
	c->done = true;
	c->status = status;
}

static inline bool call_is_done(void *data)
{
	return ((struct call *)data)->done;
}

static inline void call_start(struct call *c, struct runner *r, struct net *n,
			      const struct public_key *peer, const struct multiaddr *addrs,
			      size_t count)
{
	struct op_env env = { .runner = r, .deadline_ms = UINT64_MAX };

	*c = (struct call){ .status = 1 };
	c->dial.data = c;
	net_dial_start(&c->dial, &env, n, peer, addrs, count, call_done);
	assert_false(c->done);
}

/* Dial from node a to node b and wait. */
static inline int world_dial(struct world *w, unsigned a, unsigned b, struct call *c)
{
	call_start(c, &w->loop.runner, w->nodes[a].net, net_self(w->nodes[b].net),
		   &w->nodes[b].addr, 1);
	assert_true(run_until(&w->loop, call_is_done, c, UINT64_MAX - 1));
	return c->status;
}

static inline struct net_conn *world_connect(struct world *w, unsigned a, unsigned b)
{
	struct call c;

	CHECK_STATUS(0, world_dial(w, a, b, &c));
	return c.dial.conn;
}

static inline struct flow *flow_open(struct node *n, struct net_conn *c)
{
	struct flow *f = node_flow(n);

	assert_non_null(f);
	CHECK_STATUS(0, net_stream_open(&f->stream, c));
	return f;
}
