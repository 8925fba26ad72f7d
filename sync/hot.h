/* Sorted sets of scopes, kept from one session to the next: reading and summing a set costs far
 * more than reconciling it when little is new.
 *
 * A set is immutable and shared. Commits are never taken out of a scope, so a set is right for as
 * long as the scope has as many commits; and it needs no look when the whole store has. A set that
 * is no longer kept lives on for those who use it. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "sync/reconcile.h"

enum {
	HOT_SETS_MAX = 4096,
	HOT_BYTES_MAX = 256 << 20, /* of sets that are kept */
	HOT_ITEM_BYTES = sizeof(struct reconcile_item) + RECONCILE_SUM_BYTES
};

struct hot_set {
	struct reconcile_set set;
	uint64_t store_commits; /* of the whole store, when this was right */
	/* private */
	struct hash key;
	struct reconcile_item *items;
	unsigned users;
	bool kept;
	struct list node; /* of the cache: used least recently in front */
};

struct hot_sets {
	struct map by_scope; /* scope key -> struct hot_set */
	struct list order;
	uint64_t bytes, dropped; /* kept; given up for others */
};

void hot_init(struct hot_sets *h);
/** What is in use lives on. */
void hot_fini(struct hot_sets *h);
/** NULL when there is none. The caller becomes a user. */
struct hot_set *hot_find(struct hot_sets *h, const struct hash *key);
/** Takes `items`, also on failure, which is reconcile_set_init's; the caller becomes the set's
 * first user. Touches nothing else: for worker threads. */
int hot_set_make(const struct hash *key, struct reconcile_item *items, size_t count,
		 struct hot_set **ret);
/** Keep it, in place of what was kept for the scope, and at the expense of those used least
 * recently. Empty sets and those that alone are too large are not kept. */
void hot_keep(struct hot_sets *h, struct hot_set *set);
/** The caller uses it no more. NULL is fine; returns NULL. */
struct hot_set *hot_release(struct hot_set *set);
