/* A world of peerscope nodes in one process: real discovery, sync, net and store on a simulated
 * network and a virtual clock. The same seed gives the same run. */
#pragma once

#include "discovery/discovery.h"
#include "tests/sim/simnet.h"
#include "tests/unit/test_util.h"

enum { WORLD_NODES_MAX = 64, WORLD_PORT = 4001 };

struct world;

struct node {
	struct world *world;
	char ip[16];
	uint8_t node_secret[64], space_secret[64];
	struct public_key peer, space;
	struct multiaddr addr; /* with the peer */
	struct trace *trace;
	struct net *net;
	struct store *store;
	struct sync *sync;
	struct discovery *discovery;
	bool up;
	unsigned closing;
};

struct world {
	struct manual_loop loop;
	struct simnet *simnet;
	uint64_t timeout_ms, peer_timeout_ms; /* of nodes made from now on; 0 = the defaults */
	size_t trace_bytes;		      /* the same */
	struct node nodes[WORLD_NODES_MAX];
	size_t count;
};

/** Prints the seed. Every failure inside fails the test. */
void world_init(struct world *w, uint64_t seed);
/** Closes every node; asserts that no operation is left and that the stages of every trace sum to
 * its wall time. */
void world_fini(struct world *w);
struct node *world_node(struct world *w);
/** Leaves the network, orderly. Its store is gone with it. */
void world_stop(struct node *n);
/** Let virtual time pass. */
void world_run_ms(struct world *w, uint64_t ms);
bool world_run_until(struct world *w, bool (*pred)(void *data), void *data, uint64_t limit_ms);

struct op_env world_env(struct node *n, uint64_t timeout_ms);

/* A file of a test folder. */
struct world_file {
	const char *name;
	const char *text; /* content; repeated until `size` bytes when size is given */
	size_t size;
};
/** Publish a flat folder under the node's own space. Returns the commit. */
struct hash world_publish(struct node *n, const char *path, const struct world_file *files,
			  size_t count);
/** hm://<space of n><path>, with a hint to n when `hinted`. */
struct iri world_iri(const struct node *n, const char *path, bool hinted);
/** Discover and wait for the end (virtual time). The struct is filled with the results. */
int world_discover(struct node *n, const struct iri *iri, enum scope_kind kind,
		   struct discover *ret);
/** The same, whatever was not found lately. */
int world_discover_fresh(struct node *n, const struct iri *iri, enum scope_kind kind, bool fresh,
			 struct discover *ret);
/** The same, with the content of older versions in the background. */
int world_discover_history(struct node *n, const struct iri *iri, enum scope_kind kind,
			   struct discover *ret);
/** Does the node's store resolve it? */
bool world_resolves(struct node *n, const struct iri *iri, enum scope_kind kind);
void world_subscribe(struct node *n, const struct iri *iri, enum scope_kind kind);
void world_unsubscribe(struct node *n, const struct iri *iri, enum scope_kind kind);
void world_add_peer(struct node *n, const struct node *peer);

/** How many spans of this category the node's trace store has, finished ones. */
size_t world_spans(struct node *n, const char *category);
/** Has any span of the node been in a stage of this name? */
bool world_staged(struct node *n, const char *stage);
/** Does any mark of any span of the node contain this text? */
bool world_marked(struct node *n, const char *text);
