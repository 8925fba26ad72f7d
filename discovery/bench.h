/* Peers that failed lately and are left alone for a while. Bounded: the entry that failed longest
 * ago makes room. */
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
void bench_failed(struct bench *b, const struct public_key *peer, struct runner *r);
void bench_ok(struct bench *b, const struct public_key *peer);
bool bench_eligible(const struct bench *b, const struct public_key *peer, uint64_t now_ms);
