/* Peers that want to keep others from being served: many keys, streams and connections, and nothing
 * behind them. Each has a net of its own and no store. */
#pragma once

#include "sync/wire.h"
#include "tests/sim/sync_world.h"

enum villainy {
	VILLAIN_SILENT, /* opens streams and says nothing */
	VILLAIN_IDLE,	/* begins to fetch and asks for nothing */
	VILLAIN_UNREAD, /* asks for blobs and does not read them */
	VILLAIN_DRIP,	/* asks for a blob that nobody has, now and then */
	VILLAIN_FOLLOW	/* wants news of as many scopes as one peer may follow */
};

enum {
	VILLAIN_STREAMS_MAX = 16,
	VILLAIN_AGAIN_MS = 500, /* what is refused or lost is tried again */
	VILLAIN_DRIP_MS = 1000,
	VILLAIN_HASHES_MAX = 64
};

struct villain;
struct villain_stream {
	struct net_stream stream;
	struct villain *villain;
	bool open;
};

struct villain {
	struct sync_world *world;
	const struct host *target;
	enum villainy kind;
	struct scope scope;
	struct hash hashes[VILLAIN_HASHES_MAX]; /* what it asks for */
	size_t hash_count;
	uint64_t again_ms; /* 0 = VILLAIN_AGAIN_MS */
	struct net *net;
	struct net_dial dial;
	bool dialing, closing, closed;
	struct villain_stream streams[VILLAIN_STREAMS_MAX];
	size_t stream_count;
	struct runner_timer timer;
	uint64_t tries, refused;
};

/** Starts at once and goes on until villain_stop. `number` makes its key; with `own_network` its
 * address is in a network of its own, else all are in one. `v` is filled in before for what it
 * asks: scope, hashes. */
void villain_start(struct villain *v, struct sync_world *w, const struct host *target,
		   enum villainy kind, size_t number, size_t streams, bool own_network);
void villain_stop(struct villain *v);
unsigned villain_open_streams(const struct villain *v);
