/* Peers that keep scopes in sync here, and are dialed again when their connection is lost: first
 * within a second, then after a thirtieth of the time that they are away, at most every minute, for
 * as long as a subscription looks to them. Whoever comes back by itself, or is seen on the LAN, need
 * not wait for that. */
#pragma once

#include "base/map.h"
#include "discovery/discovery.h"

struct discovery;

enum {
	REDIAL_PEERS_MAX = 256, /* remembered; one that is connected makes room */
	REDIAL_AT_ONCE_MAX = 8, /* dials under way */
	REDIAL_FIRST_MS = 500,	/* after the loss, and up to as much again */
	REDIAL_MIN_MS = 1000,
	REDIAL_MAX_MS = 60000,
	REDIAL_SHARE = 30, /* of the time away is waited between two dials */
	REDIAL_DIAL_MS = NET_DIAL_TIMEOUT_MS,
	REDIAL_STRANGER_MS = 3600000 /* after which one that never was connected is given up */
};

struct redial_stats {
	uint64_t known, lost, dials, reached, came_back, no_room;
};

struct redial {
	/* private */
	struct discovery *service;
	struct map peers; /* public key → struct redial_peer */
	struct runner_timer timer;
	unsigned dialing;
	struct redial_stats stats;
};

void redial_init(struct redial *r, struct discovery *service);
void redial_fini(struct redial *r);
/** It is to be dialed whenever it is not connected; the addresses are added to those known. Copies.
 */
void redial_keep(struct redial *r, const struct sync_target *target);
/** Its last connection went. */
void redial_lost(struct redial *r, const struct public_key *peer);
/** It is connected. True: it had been lost. */
bool redial_found(struct redial *r, const struct public_key *peer);
/** It was seen nearby, at these addresses: if it is lost it is dialed now. */
void redial_seen(struct redial *r, const struct sync_target *target);
/** Cancel; redial_idle then becomes true, and service_ended is called. */
void redial_close(struct redial *r);
bool redial_idle(const struct redial *r);
/** How long to wait between two dials after so much time away. Pure. */
uint64_t redial_delay_ms(uint64_t away_ms);
