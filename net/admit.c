/* Which peers may connect, and what memory their connections may take, when more want to than there
 * is room for: shares by network, address and key (base/shares.h).
 *
 *   accepted     a link in handshake; nobody is proven yet, so only the address counts
 *   admitted     the peer is proven; when there is no place somebody gives way: a stranger that has
 *                moved no data for SHARE_IDLE_MS, or whose party has more than the newcomer's
 *   buffered     bytes of unfinished messages and records of all inbound conns that are not of known
 *                peers; whose party has most gives way
 *   unsent       bytes with the transport, of all conns; when they are many, conns of strangers get
 *                shallow queues
 *
 * Who gives way or is refused is told "busy". */
#include "net/conn.h"

#include "base/mem.h"

struct group {
	struct share list[NET_CONNS_MAX];
	size_t count;
};

static enum share_rank rank_of(const struct net_conn *c)
{
	const struct net *n = c->net;

	return n->service != NULL && n->service->rank != NULL && c->state == NET_CONN_UP ?
		       n->service->rank(n->service_data, &c->peer) :
		       SHARE_STRANGER;
}

static struct share share_of(struct net_conn *c, size_t weight)
{
	uint64_t now_ms = runner_now_ms(c->net->runner);
	uint64_t age_ms = now_ms - MIN(c->since_ms, now_ms);
	uint64_t moved_ms = MAX(c->since_ms, c->mux.moved_ms);
	bool ours = c->mux.our_streams > 0; /* we want something of it */

	return (struct share){ .from = share_origin_of(&c->remote, &c->peer),
			       .rank = rank_of(c),
			       .weight = weight,
			       .idle_ms = ours ? 0 : now_ms - MIN(moved_ms, now_ms),
			       .age_ms = ours ? 0 : age_ms,
			       .rate = (c->sent_bytes + c->received_bytes) * 1000 / (age_ms + 1000),
			       .holder = c };
}

static void give_way(struct net_conn *c)
{
	c->net->stats.gave_way++;
	net_conn_fail(c, ERR_BUSY);
}

/* ---- In handshake ---- */

static bool in_handshake(const struct net_conn *c)
{
	return c->inbound && c->state == NET_CONN_HANDSHAKING && !c->failed;
}

/* The oldest that has not finished its handshake makes room: silence must not keep others out. Of
 * the newcomer's own network if there is one, so that a flood pushes out itself. */
static void evict_pending(struct net *n, const struct share_origin *from)
{
	struct net_conn *oldest = NULL;

	list_for_each(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);
		struct share_origin other;

		if (!in_handshake(c))
			continue;
		if (oldest == NULL)
			oldest = c;
		other = share_origin_of(&c->remote, &from->key);
		if (share_common(&other, from) == 0)
			continue;
		oldest = c;
		break;
	}
	if (oldest != NULL)
		net_conn_fail(oldest, ERR_LIMIT);
}

static unsigned count_pending(const struct net *n, const struct share_origin *from)
{
	unsigned count = 0;

	list_for_each(node, &n->conns) {
		const struct net_conn *c = list_entry(node, struct net_conn, node);
		struct share_origin other;

		if (!in_handshake(c))
			continue;
		other = share_origin_of(&c->remote, &from->key);
		count += share_common(&other, from) >= 2;
	}
	return count;
}

bool net_admit_link(struct net *n, const struct multiaddr *remote)
{
	struct public_key nobody = { 0 };
	struct share_origin from = share_origin_of(remote, &nobody);

	if (n->inbound >= NET_LINKS_MAX ||
	    (!multiaddr_is_loopback(remote) && count_pending(n, &from) >= NET_CONNS_PER_IP_MAX)) {
		n->stats.refused_limit++;
		return false;
	}
	if (n->pending >= NET_PENDING_MAX) {
		n->stats.refused_limit++;
		evict_pending(n, &from);
	}
	return true;
}

/* ---- Proven ---- */

static void collect(struct net *n, const struct net_conn *except, struct group *g)
{
	g->count = 0;
	list_for_each(node, &n->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (c->inbound && c->state == NET_CONN_UP && !c->failed &&
		    !key_eq(&c->peer, &except->peer) && g->count < ARRAY_SIZE(g->list))
			g->list[g->count++] = share_of(c, 1);
	}
}

/* As in share_common: the narrowest group of the newcomer's that is full; -1 none is. */
static int full_group(const struct group *g, const struct net_conn *c, const struct share *newcomer)
{
	bool bounded = newcomer->rank != SHARE_KNOWN && !multiaddr_is_loopback(&c->remote);
	size_t own[SHARE_LEVELS], strangers = 0;

	share_totals(g->list, g->count, &newcomer->from, own);
	for (size_t i = 0; i < g->count; i++)
		strangers += g->list[i].rank != SHARE_KNOWN;
	if (bounded && own[1] >= NET_CONNS_PER_IP_MAX)
		return 2;
	if (bounded && own[0] >= NET_CONNS_PER_NETWORK_MAX)
		return 1;
	if (g->count >= NET_INBOUND_MAX ||
	    (newcomer->rank != SHARE_KNOWN && strangers >= NET_STRANGERS_MAX))
		return 0;
	return -1;
}

static void narrow(struct group *g, const struct share_origin *from, unsigned common)
{
	size_t n = 0;

	for (size_t i = 0; i < g->count; i++)
		if (share_common(&g->list[i].from, from) >= common)
			g->list[n++] = g->list[i];
	g->count = n;
}

int net_admit_peer(struct net_conn *c)
{
	struct net *n = c->net;
	struct share newcomer = share_of(c, 1);
	struct net_conn *victim;
	struct group *g;
	int full;

	if (!c->inbound)
		return 0;
	g = mem_alloc(sizeof(*g));
	if (g == NULL)
		return UV_ENOMEM;
	newcomer.rank = n->service != NULL && n->service->rank != NULL ?
				n->service->rank(n->service_data, &c->peer) :
				SHARE_STRANGER;
	collect(n, c, g);
	full = full_group(g, c, &newcomer);
	if (full > 0)
		narrow(g, &newcomer.from, (unsigned)full);
	victim = full >= 0 ? share_giving_way(g->list, g->count, &newcomer) : NULL;
	mem_free(g);
	if (victim != NULL)
		give_way(victim);
	if (full < 0 || victim != NULL)
		return 0;
	n->stats.refused_limit++;
	return ERR_BUSY;
}

/* ---- Memory ---- */

static size_t buffered(const struct net_conn *c)
{
	size_t bytes = c->record != NULL ? c->record_len : 0;

	return bytes + (c->state == NET_CONN_UP ? c->mux.held : 0);
}

void net_admit_count(struct net_conn *c)
{
	struct net *n = c->net;
	size_t now = c->inbound && rank_of(c) != SHARE_KNOWN ? buffered(c) : 0;
	size_t unsent = c->link != NULL ? n->transport->queued(c->link) : 0;

	n->stats.buffered_bytes = n->stats.buffered_bytes - c->buffered + now;
	n->stats.unsent_bytes = n->stats.unsent_bytes - c->unsent + unsent;
	c->buffered = now;
	c->unsent = unsent;
}

void net_admit_forget(struct net_conn *c)
{
	c->net->stats.buffered_bytes -= c->buffered;
	c->net->stats.unsent_bytes -= c->unsent;
	c->buffered = c->unsent = 0;
}

/* Whose party has more unfinished than the asker's would have. */
static struct net_conn *who_buffers_most(struct net_conn *asker, size_t bytes)
{
	struct share newcomer = share_of(asker, bytes + buffered(asker));
	struct group *g = mem_alloc(sizeof(*g));
	struct net_conn *victim;

	if (g == NULL)
		return NULL;
	list_for_each(node, &asker->net->conns) {
		struct net_conn *c = list_entry(node, struct net_conn, node);

		if (c == asker || c->failed || c->buffered == 0 || g->count == NET_CONNS_MAX)
			continue;
		g->list[g->count] = share_of(c, c->buffered);
		g->list[g->count].idle_ms = g->list[g->count].age_ms = 0;
		g->list[g->count++].rank = SHARE_STRANGER;
	}
	newcomer.rank = SHARE_STRANGER;
	victim = share_giving_way(g->list, g->count, &newcomer);
	mem_free(g);
	return victim;
}

bool net_admit_buffer(struct net_conn *c, size_t bytes)
{
	struct net *n = c->net;
	struct net_conn *victim;

	if (!c->inbound || rank_of(c) == SHARE_KNOWN)
		return true;
	net_admit_count(c);
	while (n->stats.buffered_bytes + bytes > NET_BUFFERED_MAX) {
		victim = who_buffers_most(c, bytes);
		if (victim == NULL) {
			n->stats.refused_buffers++;
			return false;
		}
		give_way(victim);
		net_admit_forget(victim); /* it is freed in this turn */
	}
	return true;
}

size_t net_admit_unsent_high(const struct net_conn *c)
{
	return c->net->stats.unsent_bytes < NET_UNSENT_PLENTY || rank_of(c) == SHARE_KNOWN ?
		       (size_t)NET_CONN_TRANSPORT_HIGH :
		       (size_t)NET_CONN_TRANSPORT_LOW;
}
