/* The peers that one discovery may ask, sorted into tiers. */
#pragma once

#include "discovery/discovery.h"

struct candidates {
	struct sync_target targets[DISCOVERY_PEERS_MAX];
	enum discovery_tier tiers[DISCOVERY_PEERS_MAX];
	size_t count;
	size_t dropped; /* beyond DISCOVERY_PEERS_MAX */
};

/** Add a peer, or merge its addresses with those that are there under the same identity; the better
 * tier wins. */
void candidates_add(struct candidates *c, const struct sync_target *target,
		    enum discovery_tier tier);
size_t candidates_count(const struct candidates *c, enum discovery_tier tier);

/** Drop those that would have to be dialed and may not be. `connected` has one element per
 * candidate. */
void candidates_drop_dials(struct candidates *c, const bool *connected, enum discovery_dial dial);
/** Keep every authority and `width` others: the warm ones first, cold ones for what is lacking,
 * drawn at random in each tier. */
void candidates_narrow(struct candidates *c, struct runner *r, size_t width);
