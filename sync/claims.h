/* Claims: one wave asks for a hash in the whole daemon.
 *
 * Whoever is about to ask a peer for a blob claims its hash. Who finds it claimed waits for the
 * outcome instead of fetching the same bytes again, and joins the claim when that takes too long.
 * Pure bookkeeping; loop thread. */
#pragma once

#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"

enum { SYNC_CLAIMS_MAX = 262144 };

struct claims {
	uint64_t taken, waited, joined; /* counters since start */
	/* private */
	struct map map;
};

struct claim_waiter {
	/** The claim was given up: `stored` tells how it ended. Must only record and defer. The
	 * waiter is free again. */
	void (*on_release)(struct claim_waiter *w, bool stored);
	/* private */
	struct list node;
};

void claims_init(struct claims *c);
/** REQUIREs that nothing is claimed. */
void claims_fini(struct claims *c);
size_t claims_count(const struct claims *c);

/** 0: claimed, until claims_release. ERR_BUSY: somebody has it; then *w (may be NULL) is told of
 * its release. ERR_LIMIT, UV_ENOMEM. */
int claims_take(struct claims *c, const struct hash *h, struct claim_waiter *w);
/** Hold what others hold already, beside them; or claim it. As claims_take, but never ERR_BUSY. */
int claims_join(struct claims *c, const struct hash *h);
/** Give it up. The waiters are told, in the order they came, when it was stored or nobody else
 * holds it. */
void claims_release(struct claims *c, const struct hash *h, bool stored);

/** Before its first use. */
void claim_waiter_init(struct claim_waiter *w,
		       void (*on_release)(struct claim_waiter *w, bool stored));
/** Stop waiting; harmless when it does not wait. */
void claim_waiter_cancel(struct claim_waiter *w);
bool claim_waiter_waits(const struct claim_waiter *w);
