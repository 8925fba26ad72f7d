/* Where peers come from beyond those that are known: the LAN and the DHT, wired to the discovery
 * and kept alive. What cannot be had is off, says why, and keeps nothing else from working. */
#pragma once

#include "daemon/daemon.h"
#include "daemon/moves.h"
#include "daemon/portmap.h"
#include "daemon/reach.h"
#include "discovery/dht/dht.h"
#include "discovery/mdns/mdns.h"

#define SOURCES_STATE_FILE "dht.state"

struct sources;
/** NULL when out of memory. */
struct sources *sources_new(struct daemon *d);
/** Open what the options want, and hand it to the discovery, which has started nothing yet. 0 also
 * when the network is not as it should be: see the states. UV_ENOMEM, ERR_LIMIT. */
int sources_start(struct sources *s);
/** After discovery_free; `closed` comes from the loop. Then sources_free. */
void sources_close(struct sources *s, void (*closed)(void *data), void *data);
/** Accepts NULL, returns NULL. */
struct sources *sources_free(struct sources *s);
/** What is announced may have changed: something was published, or subscribed to. Accepts NULL. */
void sources_changed(struct sources *s);

/** "on", "off", or what keeps it from being useful. Static, or the sources'. */
const char *sources_lan_state(const struct sources *s);
const char *sources_dht_state(const struct sources *s);
/** NULL = not open. */
const struct mdns *sources_lan(const struct sources *s);
const struct dht *sources_dht(const struct sources *s);
/** UDP port of the DHT, 0 = none. */
uint16_t sources_dht_port(const struct sources *s);
/** Where peers connect, with the real port. */
struct multiaddr sources_listen(const struct sources *s);
/** What peers and the router said. */
void sources_reach(const struct sources *s, struct reach_state *ret_reach,
		   struct portmap_state *ret_map);
/** What was done about addresses that changed. */
void sources_moves(const struct sources *s, struct moves_stats *ret);
/** Keys that would be announced, were there room. */
uint64_t sources_left_out(const struct sources *s);
