/* Hosts with real net, store and sync on a simulated network and a virtual clock. The same seed
 * gives the same run. One trace store serves all hosts. */
#pragma once

#include "sync/sync.h"
#include "tests/sim/simnet.h"
#include "tests/unit/test_util.h"

enum { SYNC_WORLD_HOSTS_MAX = 512, SYNC_WORLD_PORT = 4001, SYNC_WORLD_LATENCY_MS = 5 };

struct sync_world;

struct host {
	struct sync_world *world;
	char ip[16];
	uint8_t secret[64];
	struct public_key peer;
	struct multiaddr addr;
	struct net *net;
	struct store *store;
	struct sync *sync; /* NULL: the test's own service answers */
	bool net_closed, sync_closed, store_closed;
	unsigned commits_heard, announced;
};

struct sync_world {
	struct manual_loop loop;
	struct simnet *simnet;
	struct trace *trace;
	struct host hosts[SYNC_WORLD_HOSTS_MAX];
	size_t count;
	uint8_t space_secret[64];
	struct public_key space;
	uint64_t live_before;
	const char *dir; /* of the next host's store; NULL = in memory */
	bool networks;	 /* the next hosts are each in a network of its own */
};

void sync_world_init(struct sync_world *w, uint64_t seed);
/** Closes everything; asserts that no operation, no claim and no memory is left and that the stages
 * of every span sum to its wall time. */
void sync_world_fini(struct sync_world *w);
/** A key pair; the same for the same tag and number. */
void sync_world_key(uint8_t tag, size_t number, uint8_t secret[64], struct public_key *ret);
/** A full host. */
struct host *sync_world_host(struct sync_world *w);
/** A host whose streams the test answers itself. */
struct host *sync_world_raw_host(struct sync_world *w, const struct net_service *service,
				 void *data);
void sync_world_run_ms(struct sync_world *w, uint64_t ms);

/* ---- Content ---- */

/* A blob and what it is. */
struct piece {
	struct hash hash;
	enum object_kind kind;
	uint8_t *data;
	size_t len;
};
enum { THING_CHUNKS_MAX = 80 };
/* One object: a commit, a file blob, chunks. */
struct thing {
	struct piece commit, file, chunks[THING_CHUNKS_MAX];
	size_t chunk_count;
};
/** chunk_count 0: a tombstone, a commit alone. Chunks are of chunk_bytes, different for each path.
 */
void thing_init(struct thing *t, const struct sync_world *w, const char *path, uint64_t time_s,
		size_t chunk_count, size_t chunk_bytes, const struct hash *parent);
void thing_fini(struct thing *t);
/** Put pieces into a host's store, as if they came from a peer. Asserts that each is stored or
 * stashed. */
void host_put(struct host *h, const struct piece *p);
/** As the host's own user, unpublished. */
void host_put_private(struct host *h, const struct piece *p);
void host_put_thing(struct host *h, const struct thing *t);
/** The same, only chunks [first, first + count). */
void host_put_part(struct host *h, const struct thing *t, size_t first, size_t count);
bool host_has(struct host *h, const struct hash *hash);
bool host_has_thing(struct host *h, const struct thing *t);
/** How many commits the scope has, and their sum as a fingerprint to compare. */
size_t host_items(struct host *h, const struct scope *scope, struct hash *ret_digest);

struct scope sync_world_scope(const struct sync_world *w, const char *path, enum scope_kind kind);

/* ---- Waves ---- */

enum { RUN_OUTCOMES_MAX = 32 };
/* A wave and everything it told. */
struct run {
	struct sync_wave wave;
	struct host *host;
	bool done;
	int status;
	struct sync_progress progress;
	struct sync_peer_outcome outcomes[RUN_OUTCOMES_MAX];
	size_t outcome_count;
	int settled; /* highest told, -1 = none */
	unsigned settled_count, progress_count;
	struct span span;
};
/** Starts a wave of h with these peers and seals it. */
void run_start(struct run *r, struct host *h, const struct scope *scope, uint8_t max_priority,
	       struct host *const *peers, size_t count, uint64_t timeout_ms);
/** Until the wave's callback. Fails the test when it does not come. */
void run_wait(struct run *r);
/** Both; returns the status. */
int run_sync(struct run *r, struct host *h, const struct scope *scope, struct host *const *peers,
	     size_t count);
/** How the session with this peer ended; NULL when it has not. */
const struct sync_peer_outcome *run_outcome(const struct run *r, const struct host *peer);
/** Is there a mark with this text in any span of this category? */
bool sync_world_marked(struct sync_world *w, const char *category, const char *text);
/** Virtual ms the spans of a category spent in a stage, together; -1 = no such stage. */
int64_t sync_world_stage_ms(struct sync_world *w, const char *category, const char *stage);
/** Visit every span. */
void sync_world_walk(struct sync_world *w,
		     bool (*visit)(void *data, const struct trace_span_view *s), void *data);
size_t sync_world_spans(struct sync_world *w, const char *category);
