/* Dialing a peer back on its request.
 *
 * Only the address that the peer is connected from is ever dialed, so that nobody can aim us at a
 * third machine; only ports from DIALBACK_PORT_MIN on, so that neighbours behind the peer's own
 * address keep their services to themselves. We send 34 bytes and stop at the answer. How often is
 * bounded per peer and for all of them together, since keys cost nothing. */
#include "sync/dialback.h"

void dialback_init(struct sync *s)
{
	s->dialbacks.millitokens = (uint64_t)DIALBACK_BURST * 1000;
	s->dialbacks.filled_ms = runner_now_ms(s->config.runner);
}

bool dialback_forgettable(const struct sync *s, const struct sync_peer *p)
{
	return p->dialed_ms == 0 ||
	       runner_now_ms(s->config.runner) - p->dialed_ms >= DIALBACK_PER_PEER_MS;
}

/* 0, or how many ms until there is one. */
static uint64_t spend(struct dialbacks *b, uint64_t now_ms)
{
	uint64_t more = (now_ms - b->filled_ms) * 1000 / DIALBACK_EVERY_MS;

	b->millitokens = MIN(b->millitokens + more, (uint64_t)DIALBACK_BURST * 1000);
	b->filled_ms = now_ms;
	if (b->millitokens < 1000)
		return (1000 - b->millitokens) * DIALBACK_EVERY_MS / 1000 + 1;
	b->millitokens -= 1000;
	return 0;
}

static uint64_t wait_ms(struct sync *s, struct sync_peer *p)
{
	uint64_t now_ms = runner_now_ms(s->config.runner), wait;

	if (!dialback_forgettable(s, p))
		return p->dialed_ms + DIALBACK_PER_PEER_MS - now_ms;
	if (s->dialbacks.active >= DIALBACK_AT_ONCE_MAX)
		return DIALBACK_EVERY_MS;
	wait = spend(&s->dialbacks, now_ms);
	if (wait == 0)
		p->dialed_ms = MAX(now_ms, (uint64_t)1);
	return wait;
}

int dialback_begin(struct sync *s, const struct net_conn *conn, uint16_t port,
		   struct multiaddr *ret_addr, uint32_t *ret_wait_ms)
{
	struct sync_peer *p = sync_peer_get(s, net_conn_peer(conn));
	struct net_conn_info info;
	uint64_t wait;

	s->stats.dialbacks_in++;
	net_conn_info(conn, &info);
	if (p == NULL)
		return UV_ENOMEM;
	if (port < DIALBACK_PORT_MIN && port != info.dial_addr.port) {
		s->stats.dialbacks_refused++;
		return ERR_REFUSED;
	}
	wait = wait_ms(s, p);
	if (wait > 0) {
		s->stats.dialbacks_refused++;
		*ret_wait_ms = (uint32_t)wait;
		return ERR_BUSY;
	}
	*ret_addr = info.dial_addr;
	ret_addr->port = port;
	s->dialbacks.active++;
	return 0;
}

void dialback_ended(struct sync *s, bool reached)
{
	REQUIRE(s->dialbacks.active > 0);
	s->dialbacks.active--;
	s->stats.dialbacks_reached += reached;
}
