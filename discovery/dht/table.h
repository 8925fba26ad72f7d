/* The routing table of one family: nodes that answered us, the more the nearer they are to us.
 *
 * Bucket b holds the nodes that share exactly b leading bits with our id, the last bucket all that
 * share more; only that one is split. The first buckets hold more than eight (shorter lookups for
 * ~250 entries). A node enters only after it answered. Of the public internet there is one node per
 * address, and one per /24 or /64 and bucket. Who finds no place waits in a cache beside it. */
#pragma once

#include "discovery/dht/address.h"

enum {
	TABLE_DEPTH_MAX = 50, /* buckets; deeper would be an attack */
	TABLE_NODES_MAX = 128 + 64 + 32 + 16 + DHT_K * (TABLE_DEPTH_MAX - 4),
	TABLE_CACHE_MAX = 96,
	TABLE_CACHE_BUCKET_MAX = 8,
	TABLE_GOOD_MS = 900000, /* answered so recently */
	TABLE_FAILS_BAD = 2,	/* not asked in lookups any more */
	TABLE_FAILS_DROP = 3,
	TABLE_CACHE_TRIES = 2
};

struct table_node {
	struct dht_id id;
	struct dht_address addr;
	uint16_t srtt_ms, rttvar_ms;
	uint8_t fails;	/* queries in a row without an answer */
	uint8_t shared; /* leading bits in common with us */
	bool fits;	/* BEP 42 */
	uint64_t reply_ms, query_ms,
		asked_ms; /* it answered us; asked us; we asked it; 0 = never */
};

/* Heard of, not yet answered. */
struct table_candidate {
	struct dht_id id;
	struct dht_address addr;
	uint8_t shared, tries;
	uint64_t asked_ms;
};

struct table {
	struct dht_id self;
	struct table_node *nodes; /* no order */
	size_t count;
	struct table_candidate *cache; /* oldest first */
	size_t cache_count;
	unsigned depth; /* buckets in use, at least 1 */
	/* private */
	size_t cap, cache_cap;
};

void table_init(struct table *t, const struct dht_id *self);
void table_fini(struct table *t);
/** Our id is another one now: every node finds its new place, or goes. */
void table_rebase(struct table *t, const struct dht_id *self, uint64_t now_ms);

struct table_node *table_find(const struct table *t, const struct dht_address *addr);
/** It answered within rtt_ms: enter it, or refresh it. Out of memory: it is not entered. */
void table_answered(struct table *t, const struct dht_id *id, const struct dht_address *addr,
		    uint64_t rtt_ms, uint64_t now_ms);
/** It did not answer. */
void table_failed(struct table *t, const struct dht_address *addr);
/** Somebody told of it, or it asked us: remembered while there is use for it. */
void table_heard(struct table *t, const struct dht_id *id, const struct dht_address *addr);

/** Ever answered, and heard from lately. */
bool table_is_good(const struct table_node *n, uint64_t now_ms);
/** May be named to others: answered lately, and not silent since. */
bool table_is_fresh(const struct table_node *n, uint64_t now_ms);
typedef bool (*table_filter_fn)(const struct table_node *n, void *data);
/** The nodes nearest to the target that pass, nearest first. Pointers stand until the next change.
 */
size_t table_closest(const struct table *t, const struct dht_id *target, table_filter_fn filter,
		     void *data, const struct table_node **ret, size_t cap);

/** The same, but once the table enforces BEP 42 those that fit come first, and the others fill up
 * what remains. So hostile ids that crowd a place do not hide the honest ones behind them. */
size_t table_best(const struct table *t, const struct dht_id *target, table_filter_fn filter,
		  void *data, const struct table_node **ret, size_t cap);

/* Whom to ask next to keep the table alive. */
struct table_chore {
	struct dht_address addr;
	struct dht_id target; /* find_node toward it; of a bucket that has room */
	bool find;	      /* else a ping will do */
};
/** `random` fills the low bits of targets. False when nothing is due. */
bool table_next_chore(struct table *t, const struct dht_id *random, uint64_t now_ms,
		      struct table_chore *ret);
/** A random id of bucket b. */
struct dht_id table_id_in_bucket(const struct table *t, unsigned b, const struct dht_id *random);
unsigned table_bucket_limit(unsigned b);
size_t table_bucket_count(const struct table *t, unsigned b);

/** log2 of the distance within which about DHT_K nodes live, by those around us; -1 = unknown (too
 * few nodes). The network then has about DHT_K * 2^(160 - x) nodes. */
double table_log2_radius(const struct table *t);
size_t table_good_count(const struct table *t, uint64_t now_ms);
size_t table_fitting_count(const struct table *t);
/** Most nodes keep to BEP 42: then those that do not come second everywhere. */
bool table_enforces(const struct table *t);
