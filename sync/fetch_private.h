/* Inside fetch*.c only: peer sets, groups, the set. */
#pragma once

#include "base/map.h"
#include "sync/fetch.h"

enum { WORDS = FETCH_PEERS_MAX / 64 };

struct peers {
	uint64_t w[WORDS];
};

struct group_key {
	struct peers candidates, failed;
	uint64_t known;
};

struct fetch_group {
	struct group_key key;
	struct list node; /* in the set's list */
	uint64_t wants;
	uint64_t count[FETCH_STATES];
	uint64_t queued[FETCH_PRIORITIES];
	struct list queue[FETCH_PRIORITIES];  /* wanted */
	struct list flight[FETCH_PRIORITIES]; /* in flight, as they were asked */
};

struct fetch_set {
	struct map wants, by_key;
	struct list groups;
	size_t group_count;
	struct peers alive, possible, doubted, held;
	uint32_t misses[FETCH_PEERS_MAX];
	struct fetch_counts counts;
	uint64_t ranks;	   /* given so far */
	uint64_t readings; /* of what the store wants */
	uint8_t max_priority;
	void *owner;
};

static inline bool peers_has(const struct peers *p, unsigned i)
{
	return (p->w[i / 64] >> (i % 64) & 1) != 0;
}

static inline void peers_add(struct peers *p, unsigned i)
{
	p->w[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void peers_del(struct peers *p, unsigned i)
{
	p->w[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

static inline unsigned peers_common(const struct peers *a, const struct peers *b)
{
	int n = 0;

	for (int i = 0; i < WORDS; i++)
		n += __builtin_popcountll(a->w[i] & b->w[i]);
	return (unsigned)n;
}

/* Are there any in a that are not in b? */
static inline bool peers_beyond(const struct peers *a, const struct peers *b)
{
	for (int i = 0; i < WORDS; i++)
		if ((a->w[i] & ~b->w[i]) != 0)
			return true;
	return false;
}

/** Wanted, or failed when nobody can be asked for it, now or later. */
unsigned fetch_wanted_or_failed(const struct fetch_set *s, const struct group_key *key);
/** It is here, or bad: what was deferred until then is wanted. */
void fetch_wake_dependents(struct fetch_set *s, struct fetch_want *w);
/** To another state, in a group that exists; the group it leaves is freed when empty. */
void fetch_want_move(struct fetch_set *s, struct fetch_want *w, struct fetch_group *g,
		     unsigned state);
