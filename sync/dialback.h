/* Dial-back, the answering side: which peer may be dialed, where, and how often. */
#pragma once

#include "sync/internal.h"

enum {
	DIALBACK_AT_ONCE_MAX = 8,
	DIALBACK_PER_PEER_MS = 30000, /* between two for the same peer */
	DIALBACK_BURST = 16,	      /* for all peers together; after that one every */
	DIALBACK_EVERY_MS = 1000,
	DIALBACK_PORT_MIN = 1024, /* below, only the port that its Hello named */
	DIALBACK_TIMEOUT_MS = 5000
};

void dialback_init(struct sync *s);
/** 0, and it counts as begun: dialback_ended follows; *ret_addr is where to dial, with the peer.
 * ERR_REFUSED: nobody is dialed at this address or port. ERR_BUSY with *ret_wait_ms; UV_ENOMEM. */
int dialback_begin(struct sync *s, const struct net_conn *conn, uint16_t port,
		   struct multiaddr *ret_addr, uint32_t *ret_wait_ms);
void dialback_ended(struct sync *s, bool reached);
/** Nothing about its dial-backs has to be remembered. */
bool dialback_forgettable(const struct sync *s, const struct sync_peer *p);
