/* Which address do others see us under? Each of them has one vote (BEP 42, `ip` in replies). */
#pragma once

#include "discovery/dht/address.h"

enum {
	VOTE_VOTERS_MAX = 50, /* remembered, so that none votes twice; then a new round begins */
	VOTE_CHOICES_MAX = 8,
	VOTE_MIN = 3,
	VOTE_PORTS_MIN = 3
};

struct vote {
	struct dht_address winner; /* family 0 = none yet */
	bool symmetric;		   /* each asked another port: the NAT maps per destination */
	/* private */
	uint64_t voters[VOTE_VOTERS_MAX];
	unsigned voter_count;
	struct vote_choice {
		struct dht_address addr;
		unsigned votes;
		bool ports_differ;
	} choices[VOTE_CHOICES_MAX];
	unsigned choice_count;
};

/** `voter` says it sees us as `seen`. True when the winner is another address than before. */
bool vote_count(struct vote *v, const struct dht_address *voter, const struct dht_address *seen);
