/* What of this daemon's others should find in the DHT: the objects of its own space and what it
 * keeps in sync, newest first, within what the DHT announces at most. */
#pragma once

#include "daemon/daemon.h"
#include "discovery/dht/dht.h"

enum {
	ANNOUNCER_SUBSCRIPTION_KEYS_MAX = DHT_ANNOUNCEMENTS_MAX / 2,
	ANNOUNCER_SETTLE_MS = 300, /* changes come in crowds */
	ANNOUNCER_AGAIN_MS = 60000 /* subscriptions come in sync meanwhile */
};

struct announcer;
/** `port`: where peers connect. Borrows both; looks at the store soon. NULL when out of memory. */
struct announcer *announcer_new(struct daemon *d, struct dht *dht, uint16_t port);
/** Peers connect elsewhere now: everything is announced anew. */
void announcer_set_port(struct announcer *a, uint16_t port);
/** Look again, soon. */
void announcer_changed(struct announcer *a);
/** Keys for which there was no room. */
uint64_t announcer_left_out(const struct announcer *a);
/** Before the DHT is closed; `closed` comes from the loop, never inside this call. Frees it. */
void announcer_close(struct announcer *a, void (*closed)(void *data), void *data);
