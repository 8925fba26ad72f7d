/* Is a conn still of use? TCP does not tell when a peer has moved to another address or was
 * unplugged: nothing comes any more, and the regular pings take most of a minute to notice.
 *
 *   trusted ──nothing heard for NET_FRESH_MS, or doubted──> asked ──bytes──> trusted
 *                                                             └──too late──> doubtful ──bytes──> trusted
 *
 * Who wants a conn that is not trusted has the peer asked, by a ping, and dials beside it. One that
 * is doubtful is not closed for that: a busy peer or a slow line may be all there is to it. It goes
 * once another one to the same peer is up. A handshake that proves a peer while an older conn is
 * being asked is held until that is decided, so that a conn that works is never given up for one
 * that is merely new. */
#include "net/conn.h"

enum { LATE_MS = 250 /* the loop itself stood still: what came meanwhile has not been read */ };

static uint64_t now_ms(const struct net_conn *c)
{
	return runner_now_ms(c->net->runner);
}

bool net_conn_trusted(const struct net_conn *c)
{
	return net_conn_usable(c) && !c->doubted && !c->doubtful && c->check_ms == 0 &&
	       now_ms(c) - c->received_ms < NET_FRESH_MS;
}

bool net_conn_leads_to(const struct net_conn *c, const struct multiaddr *addr)
{
	struct multiaddr listens = c->remote;

	listens.port = c->hello.listen_port;
	return multiaddr_eq(&listens, addr) || (!c->inbound && multiaddr_eq(&c->remote, addr));
}

void net_conn_check(struct net_conn *c)
{
	uint64_t trips_ms = 4 * (uint64_t)c->rtt_us / 1000;
	uint64_t patience_ms = c->doubted ? NET_CHECK_MS : NET_CHECK_SILENT_MS;
	uint64_t due_ms = now_ms(c) + MIN(MAX(trips_ms, patience_ms), NET_CHECK_MAX_MS);

	if (c->state != NET_CONN_UP || c->failed || (c->check_ms != 0 && c->check_ms <= due_ms))
		return;
	c->net->stats.checks += c->check_ms == 0;
	c->check_ms = due_ms;
	c->check_late = false;
	net_liveness_ping(c);
	net_liveness_rearm(c);
}

void net_conn_heard(struct net_conn *c)
{
	bool news = c->check_ms != 0 || c->doubtful;

	c->check_ms = 0;
	c->doubted = c->doubtful = false;
	if (news && c->state == NET_CONN_UP)
		net_dial_checked(c->net, c);
}

static bool has_other(const struct net_conn *c)
{
	const struct net_conn *best = net_find(c->net, &c->peer);

	return best != NULL && best != c && !best->doubtful;
}

void net_conn_check_due(struct net_conn *c)
{
	if (c->check_ms == 0 || now_ms(c) < c->check_ms)
		return;
	if (!c->check_late && now_ms(c) >= c->check_ms + LATE_MS) {
		c->check_late = true;
		c->check_ms = now_ms(c) + LATE_MS;
		return;
	}
	c->check_ms = 0;
	c->doubtful = true;
	c->net->stats.checks_failed++;
	if (c->draining || has_other(c))
		net_conn_fail(c, UV_ETIMEDOUT);
	net_dial_checked(c->net, c);
}

void net_doubt(struct net *n, const struct public_key *peer)
{
	list_for_each(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (c->state != NET_CONN_UP || c->failed ||
		    (peer != NULL && !key_eq(&c->peer, peer)))
			continue;
		c->doubted = true;
		net_conn_check(c);
	}
}
