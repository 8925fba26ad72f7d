/* Answers to others' questions.
 *
 * Amplification: who has not proven that it receives at its address (by answering us, or by
 * returning a token) gets at most DHT_AMPLIFICATION times what it sent, and nobody more than
 * DHT_PACKET_MAX. Nodes come before values, since without them a lookup does not go on. */
#include "discovery/dht/core.h"

#include <string.h>

enum {
	/* Bytes of a reply apart from tid, nodes, token, values: keys, ids, version, ip. */
	REPLY_BASE = 92,
	REPLY_VALUES_BASE = 11,
	REPLY_TOKEN = 17,
	VALUES_V4_MAX = 50,
	VALUES_V6_MAX = 20
};

struct answer {
	struct krpc_reply reply;
	struct krpc_node nodes[DHT_FAMILIES][DHT_K];
	struct dht_address values[VALUES_V4_MAX];
	uint8_t token[TOKEN_SIZE];
	size_t room; /* bytes left */
};

static void send_error(struct dht *d, const struct dht_address *to, const struct krpc_message *m,
		       int code, const char *text)
{
	buf_clear(&d->out);
	krpc_write_error(&d->out, m->tid, to, code, text);
	if (buf_err(&d->out) < 0 || !limit_reply(&d->limit, d->out.len, dht_now(d))) {
		d->stats.dropped_budget++;
		return;
	}
	d->stats.errors_out++;
	dht_send(d, to);
}

static void send_reply(struct dht *d, const struct dht_address *to, const struct krpc_reply *r)
{
	buf_clear(&d->out);
	krpc_write_reply(&d->out, r);
	if (buf_err(&d->out) < 0 || !limit_reply(&d->limit, d->out.len, dht_now(d))) {
		d->stats.dropped_budget++;
		return;
	}
	d->stats.replies_out++;
	dht_send(d, to);
}

struct scope_of {
	const struct dht_address *asker;
	uint64_t now_ms;
};

/* To the public internet no private address is named, to nobody himself. */
static bool may_name(const struct table_node *n, void *data)
{
	const struct scope_of *s = data;

	return table_is_fresh(n, s->now_ms) && !dht_address_eq(&n->addr, s->asker) &&
	       (dht_address_is_global(&n->addr) || !dht_address_is_global(s->asker));
}

static void add_nodes(struct dht *d, struct answer *a, unsigned family,
		      const struct dht_address *asker, const struct dht_id *target)
{
	struct scope_of scope = { asker, dht_now(d) };
	const struct table_node *near[DHT_K];
	size_t size = family == 0 ? 26 : 38, n;

	if (!d->families[family].on)
		return;
	n = table_best(&d->families[family].table, target, may_name, &scope, near, DHT_K);
	n = a->room < 16 ? 0 : MIN(n, (a->room - 16) / size);
	for (size_t i = 0; i < n; i++) {
		a->nodes[family][i].id = near[i]->id;
		a->nodes[family][i].addr = near[i]->addr;
	}
	a->reply.has_nodes[family] = true;
	a->reply.nodes[family] = a->nodes[family];
	a->reply.node_count[family] = n;
	a->room -= MIN(a->room, n * size + 16);
}

static void add_wanted_nodes(struct dht *d, struct answer *a, const struct dht_address *asker,
			     const struct krpc_message *m)
{
	unsigned want = m->want;

	if (want == 0)
		want = asker->family == 4 ? KRPC_WANT_N4 : KRPC_WANT_N6;
	if ((want & KRPC_WANT_N4) != 0)
		add_nodes(d, a, 0, asker, &m->target);
	if ((want & KRPC_WANT_N6) != 0)
		add_nodes(d, a, 1, asker, &m->target);
}

static void add_values(struct dht *d, struct answer *a, const struct dht_address *asker,
		       const struct dht_id *key)
{
	size_t each = asker->family == 4 ? 8 : 21;
	size_t cap = asker->family == 4 ? VALUES_V4_MAX : VALUES_V6_MAX;

	if (a->room < REPLY_VALUES_BASE)
		return;
	cap = MIN(cap, (a->room - REPLY_VALUES_BASE) / each);
	a->reply.values = a->values;
	a->reply.value_count = peers_sample(&d->peers, key, address_index(asker), d->runner,
					    dht_now(d), a->values, cap);
}

static void answer_init(struct dht *d, struct answer *a, const struct dht_address *asker,
			const struct krpc_message *m, size_t len, bool proven)
{
	size_t most = proven ? DHT_PACKET_MAX :
			       MIN((size_t)DHT_PACKET_MAX, len * DHT_AMPLIFICATION);
	size_t base = REPLY_BASE + m->tid.len + (asker->family == 6 ? 13 : 0);

	memset(&a->reply, 0, sizeof(a->reply));
	a->reply.tid = m->tid;
	a->reply.id = &d->families[address_index(asker)].table.self;
	a->reply.to = asker;
	a->room = most > base ? most - base : 0;
}

static void serve_get_peers(struct dht *d, struct answer *a, const struct dht_address *from,
			    const struct krpc_message *m)
{
	const struct dht_id *self = a->reply.id;

	/* No token tells the asker to announce elsewhere. */
	if (a->room >= REPLY_TOKEN && peers_has_room(&d->peers, self, &m->target)) {
		token_make(&d->tokens, from, &m->target, a->token);
		a->reply.token = (struct krpc_bytes){ a->token, TOKEN_SIZE };
		a->room -= REPLY_TOKEN;
	}
	add_wanted_nodes(d, a, from, m);
	add_values(d, a, from, &m->target);
}

/* True when it may be answered with an empty reply. */
static bool serve_announce(struct dht *d, const struct dht_address *from,
			   const struct krpc_message *m, struct limit_slot *slot)
{
	struct dht_address peer = *from;

	if (!token_check(&d->tokens, from, &m->target, m->token.p, m->token.len)) {
		send_error(d, from, m, KRPC_ERROR_PROTOCOL, "bad token");
		return false;
	}
	slot->proven = true;
	if (!m->implied_port)
		peer.port = m->has_port ? m->port : 0;
	if (peer.port <= 1) {
		send_error(d, from, m, KRPC_ERROR_PROTOCOL, "bad port");
		return false;
	}
	if (peers_put(&d->peers, &d->families[address_index(from)].table.self, &m->target, &peer,
		      dht_now(d)) < 0) {
		send_error(d, from, m, KRPC_ERROR_GENERIC, "full");
		return false;
	}
	return true;
}

static bool is_complete(const struct krpc_message *m)
{
	switch (m->method) {
	case KRPC_FIND_NODE:
	case KRPC_GET_PEERS:
	case KRPC_GET: return m->has_id && m->has_target;
	case KRPC_ANNOUNCE_PEER: return m->has_id && m->has_target && m->token.p != NULL;
	case KRPC_PING:
	case KRPC_PUT:
	case KRPC_UNKNOWN:
	default: return m->has_id;
	}
}

static void note_asker(struct dht *d, const struct dht_address *from, const struct krpc_message *m)
{
	struct table_node *n = table_find(&d->families[address_index(from)].table, from);

	if (n != NULL)
		n->query_ms = dht_now(d);
	else if (!m->read_only)
		dht_heard(d, &m->id, from);
}

void serve_query(struct dht *d, const struct dht_address *from, const struct krpc_message *m,
		 size_t len, struct limit_slot *slot)
{
	struct answer a;

	if (!is_complete(m)) {
		send_error(d, from, m, KRPC_ERROR_PROTOCOL, "incomplete");
		return;
	}
	note_asker(d, from, m);
	answer_init(d, &a, from, m, len, slot->proven);
	switch (m->method) {
	case KRPC_PING: break;
	case KRPC_GET_PEERS: serve_get_peers(d, &a, from, m); break;
	case KRPC_ANNOUNCE_PEER:
		if (!serve_announce(d, from, m, slot))
			return;
		break;
	case KRPC_FIND_NODE:
	case KRPC_GET:
	case KRPC_PUT:
	case KRPC_UNKNOWN:
	default:
		/* What we do not know and has a target helps the asker on its way. */
		if (!m->has_target) {
			send_error(d, from, m, KRPC_ERROR_METHOD, "unknown method");
			return;
		}
		add_wanted_nodes(d, &a, from, m);
		break;
	}
	send_reply(d, from, &a.reply);
}
