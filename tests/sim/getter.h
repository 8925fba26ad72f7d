/* A host of the sync world that finds objects by a whole discovery, as a user does who waits. */
#pragma once

#include "discovery/discovery.h"
#include "tests/sim/sync_world.h"

struct getter {
	struct host *host;
	struct discovery *discovery;
	struct discover d;
	int status;
	uint64_t took_ms;
	bool done, closed;
};

/** `on_offence` may be NULL. */
void getter_init(struct getter *g, struct host *h,
		 void (*on_offence)(void *data, const struct discovery_benched *b), void *data);
/** hm://<the world's space>/doc with a hint to each of these, in this order. */
void getter_start(struct getter *g, struct host *const *hints, size_t count);
/** Until it ends; virtual time. Returns the status. */
int getter_wait(struct getter *g);
/** Before the world's end. */
void getter_fini(struct getter *g);
