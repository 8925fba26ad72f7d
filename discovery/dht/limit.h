/* Who may cost us how much: token buckets per address (per /64 in IPv6) and for all together.
 *
 * The addresses' buckets lie in a fixed table that is indexed by a keyed hash; when two addresses
 * meet, the longer unused one is forgotten. Forgetting helps a flooder who commands many addresses,
 * so the common budgets stand behind it. */
#pragma once

#include "discovery/dht/address.h"

enum {
	LIMIT_SLOTS = 1024,
	LIMIT_WAYS = 4,
	LIMIT_IN_PER_SEC = 10, /* packets of one address */
	LIMIT_IN_BURST = 30,
	/* Others ban who sends more than 50 packets in 10 s. */
	LIMIT_OUT_PER_SEC = 4,
	LIMIT_OUT_BURST = 8,
	LIMIT_QUERIES_PER_SEC = 40, /* of ours, in all */
	LIMIT_QUERIES_BURST = 60,
	LIMIT_REPLY_BYTES_PER_SEC = 16 << 10,
	LIMIT_REPLY_BYTES_BURST = 48 << 10
};

/* Refilled at `rate` per second up to `burst`, in thousandths. */
struct limit_bucket {
	uint64_t level, since_ms;
};
void limit_bucket_fill(struct limit_bucket *b, uint64_t burst);
/** Take n if they are there. */
bool limit_bucket_take(struct limit_bucket *b, uint64_t rate, uint64_t burst, uint64_t n,
		       uint64_t now_ms);

struct limit_slot {
	uint64_t key; /* keyed hash of the address; 0 = empty */
	struct limit_bucket in, out;
	uint64_t used_ms, sent_ms; /* sent_ms: we wrote to it first; 0 = not lately */
	bool proven;		   /* it received what we sent: the address is not forged */
};

struct limit {
	struct limit_slot *slots; /* LIMIT_SLOTS */
	struct limit_bucket queries, reply_bytes;
	uint8_t hash_key[16];
};
int limit_init(struct limit *l, const uint8_t hash_key[16], uint64_t now_ms);
void limit_fini(struct limit *l);
/** The address's slot, made if need be. */
struct limit_slot *limit_slot_of(struct limit *l, const struct dht_address *addr, uint64_t now_ms);
/** A packet came from there: within its budget? */
bool limit_in(struct limit_slot *s, uint64_t now_ms);
/** May we send a query there now? Takes from its budget and the common one. */
bool limit_query(struct limit *l, struct limit_slot *s, uint64_t now_ms);
bool limit_reply(struct limit *l, size_t bytes, uint64_t now_ms);
