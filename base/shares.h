/* Fair shares of what is scarce among parties that cannot be trusted: who gives way when there is no
 * room for a newcomer? Pure.
 *
 * A key costs nothing, an address little, a network something. So whoever holds a part is counted
 * at three levels, and a machine with a thousand made-up keys is one party:
 *
 *   network   IPv4 /24, IPv6 /56: what a provider gives to one customer
 *   address   IPv4 address, IPv6 /64: what one machine can choose from
 *   key       the peer
 *
 * Somebody gives way when it ranks lower, when it does nothing with what it has, when its party has
 * more than the newcomer's would have, or when it had its turn. An equal who is at work stays. */
#pragma once

#include "base/multiformats.h"

enum {
	SHARE_IDLE_MS = 2000,  /* without doing anything: gives way to whoever waits */
	SHARE_TURN_MS = 10000, /* held for so long: gives way to whoever has nothing yet */
	SHARE_LEVELS = 3
};

/* Preferred in this order, the last most. */
enum share_rank {
	SHARE_STRANGER,
	SHARE_STANDING, /* has been a follower for long */
	SHARE_KNOWN	/* added by the user, vouched for, or has served us */
};

/* Each level's bytes begin with those of the level above. */
struct share_origin {
	uint8_t network[8], address[9];
	struct public_key key;
};
struct share_origin share_origin_of(const struct multiaddr *addr, const struct public_key *key);
/** How many levels two origins have in common: 0 to SHARE_LEVELS. */
unsigned share_common(const struct share_origin *a, const struct share_origin *b);

/* One thing that is held. */
struct share {
	struct share_origin from;
	enum share_rank rank;
	size_t weight; /* 1, or bytes */
	uint64_t idle_ms, age_ms;
	uint64_t rate; /* what it carried in that time, in any unit: the least useful goes first */
	void *holder;
	/* private */
	size_t totals[SHARE_LEVELS];
};
/** The holder that gives way to `newcomer` (which is not in the list), or NULL: the newcomer has to
 * wait. The list is reordered. */
void *share_giving_way(struct share *list, size_t count, const struct share *newcomer);
/** What the newcomer's party holds at each level: network, address, key. */
void share_totals(const struct share *list, size_t count, const struct share_origin *from,
		  size_t ret[SHARE_LEVELS]);
