/* Peers that failed lately and are left alone for a while, and why. Bounded: the entry that failed
 * longest ago makes room.
 *
 * Offence: a failure that is the peer's doing (struct sync_peer_outcome). A session that goes well
 * makes up for a failure at once; for an offence only after its time, and by sending something. */
#pragma once

#include "base/map.h"
#include "discovery/discovery.h"

struct bench {
	/* private */
	struct map peers; /* public key → struct bench_entry */
};

void bench_init(struct bench *b);
void bench_fini(struct bench *b);
size_t bench_count(const struct bench *b);
/** Out of memory forgets the failure: a peer is then asked too often rather than never. */
void bench_failed(struct bench *b, const struct sync_peer_outcome *o, struct runner *r);
void bench_ok(struct bench *b, const struct sync_peer_outcome *o, uint64_t now_ms);
/** What is remembered of a peer; false = nothing. */
bool bench_find(const struct bench *b, const struct public_key *peer, uint64_t now_ms,
		struct discovery_benched *ret);
void bench_each(const struct bench *b, uint64_t now_ms,
		bool (*visit)(void *data, const struct discovery_benched *b), void *data);
bool bench_eligible(const struct bench *b, const struct public_key *peer, uint64_t now_ms);
