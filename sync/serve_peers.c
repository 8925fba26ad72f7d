/* Serving the peer table: who knows a space, with addresses that mean something elsewhere. */
#include "base/mem.h"
#include "sync/serve.h"

static void peers_out(const struct store_peers *p, struct wire_reply *reply, struct wire_peer *list)
{
	reply->peers = list;
	for (size_t i = 0; i < p->count && reply->peer_count < WIRE_PEERS_MAX; i++) {
		const struct store_peer *from = &p->peers[i];
		struct wire_peer *to = &list[reply->peer_count];

		to->key = from->key;
		for (size_t k = 0; k < from->addr_count && to->addr_count < SYNC_TARGET_ADDRS_MAX;
		     k++)
			if (!multiaddr_is_loopback(&from->addrs[k]) &&
			    !multiaddr_is_link_local(&from->addrs[k]))
				to->addrs[to->addr_count++] = from->addrs[k];
		if (to->addr_count > 0)
			reply->peer_count++;
	}
}

static void on_peers(struct store_peers *p, int status)
{
	struct serve *v = container_of(p, struct serve, peers);
	struct wire_reply reply = { .kind = WIRE_REPLY_PEERS };
	struct wire_peer *list = mem_alloc_array(WIRE_PEERS_MAX, sizeof(*list));

	v->looking = false;
	if (!op_stopping(&v->op) && (status < 0 || list == NULL)) {
		serve_refuse(v, ERR_BUSY, SYNC_RETRY_AFTER_MS, 0, "the store failed");
	} else if (!op_stopping(&v->op)) {
		peers_out(p, &reply, list);
		if (serve_send(v, &reply) == 0)
			serve_end(v);
	}
	mem_free(list);
	store_peers_fini(p);
	op_release(&v->op);
	op_defer(&v->op);
}

void serve_peers_begin(struct serve *v, const struct public_key *space)
{
	v->looking = true;
	op_hold(&v->op);
	store_peers_start(&v->peers, &v->op.env, v->sync->config.store, space, WIRE_PEERS_MAX,
			  on_peers);
}
