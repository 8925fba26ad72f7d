/* The way to a peer changes: an address of this machine comes or goes, or a neighbour announces
 * another one. Connections that may lead nowhere since are asked at once whether they are alive,
 * and dialed anew beside, so that what is wanted next does not wait for that. */
#pragma once

#include "base/loop.h"
#include "net/net.h"

enum {
	MOVES_DIALS_MAX = 64,	    /* at once; other conns are asked only */
	MOVES_SETTLE_MS = 100,	    /* changes come in bursts */
	MOVES_AGAIN_MS = 2000,	    /* by then a new IPv6 address may be used (RFC 4862 5.4) */
	MOVES_NEIGHBOURS_PER_S = 16 /* announced addresses that are looked at */
};

struct moves;
/** Borrows both. `changed`, may be NULL: the addresses of this machine are others now. NULL when
 * out of memory. */
struct moves *moves_new(struct loop *l, struct net *n, void (*changed)(void *data), void *data);
/** Somebody says that a peer can be reached there. Nothing happens unless there is a conn to it. */
void moves_neighbour(struct moves *m, const struct public_key *peer, const struct multiaddr *addrs,
		     size_t count);
/** Somebody else is said to be this daemon, there: looked at, and net_twin tells. */
void moves_twin(struct moves *m, const struct multiaddr *addrs, size_t count);
/** `closed` comes from the loop. Frees it. Before net_close. */
void moves_close(struct moves *m, void (*closed)(void *data), void *data);

struct moves_stats {
	uint64_t changes;	  /* of this machine's addresses */
	uint64_t dials, replaced; /* to peers with a conn; it was of no use any more */
	uint64_t dropped;	  /* no room, or too many at once */
};
void moves_stats(const struct moves *m, struct moves_stats *ret);
