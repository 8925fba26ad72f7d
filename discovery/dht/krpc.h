/* KRPC: the messages of BEP 5, with BEP 32 (want, nodes6), 42 (ip), 43 (ro) and, as far as asking
 * goes, 44 (get, put). */
#pragma once

#include "discovery/dht/address.h"

enum {
	KRPC_TID_SIZE = 4,
	KRPC_TID_MAX = 64,    /* of others, echoed */
	KRPC_TOKEN_MAX = 128, /* of others, opaque */
	KRPC_NODES_MAX = 20,  /* taken from one reply and family */
	KRPC_VALUES_MAX = 100,
	KRPC_ERROR_GENERIC = 201,
	KRPC_ERROR_PROTOCOL = 203,
	KRPC_ERROR_METHOD = 204
};

enum krpc_type { KRPC_QUERY, KRPC_REPLY, KRPC_ERROR };
enum krpc_method {
	KRPC_PING,
	KRPC_FIND_NODE,
	KRPC_GET_PEERS,
	KRPC_ANNOUNCE_PEER,
	KRPC_GET,
	KRPC_PUT,
	KRPC_UNKNOWN
};
enum krpc_want { KRPC_WANT_N4 = 1, KRPC_WANT_N6 = 2 };

struct krpc_bytes {
	const uint8_t *p; /* NULL = absent */
	size_t len;
};

/* A message that was read. Borrows from the packet. Fields of the wrong type or length are absent.
 */
struct krpc_message {
	enum krpc_type type;
	enum krpc_method method;
	struct krpc_bytes tid;
	bool read_only, has_id, has_target, has_port, implied_port;
	unsigned want;		  /* of enum krpc_want */
	struct dht_id id, target; /* target: also the info_hash */
	uint16_t port;
	struct krpc_bytes token;
	struct dht_address seen_as;	       /* BEP 42 `ip`: who we are; family 0 = not told */
	struct krpc_bytes nodes[DHT_FAMILIES]; /* whole compact nodes */
	struct krpc_bytes value;	       /* BEP 44 `v`, bencoded */
	struct dht_address values[KRPC_VALUES_MAX];
	size_t value_count;
	int64_t error;
};
/** One datagram. 0, or an error code: then no answer is due. */
int krpc_parse(const uint8_t *data, size_t len, struct krpc_message *ret);
/** The next node of a `nodes` or `nodes6` string; consumes it. False at its end. */
bool krpc_next_node(struct krpc_bytes *nodes, unsigned family_index, struct dht_id *ret_id,
		    struct dht_address *ret_addr);

struct krpc_query {
	enum krpc_method method;
	uint8_t tid[KRPC_TID_SIZE];
	bool read_only;
	const struct dht_id *id, *target; /* target: find_node, get_peers, announce_peer, get */
	unsigned want;
	uint16_t port;		 /* announce_peer */
	struct krpc_bytes token; /* announce_peer, put */
	struct krpc_bytes value; /* put: bencoded */
};
void krpc_write_query(struct buf *out, const struct krpc_query *q);

struct krpc_node {
	struct dht_id id;
	struct dht_address addr;
};
struct krpc_reply {
	struct krpc_bytes tid;
	const struct dht_id *id;
	const struct dht_address *to; /* told to the asker as `ip` */
	const struct krpc_node *nodes[DHT_FAMILIES];
	size_t node_count[DHT_FAMILIES];
	bool has_nodes[DHT_FAMILIES]; /* the key is there, even when empty */
	struct krpc_bytes token;
	const struct dht_address *values;
	size_t value_count;
};
void krpc_write_reply(struct buf *out, const struct krpc_reply *r);
void krpc_write_error(struct buf *out, struct krpc_bytes tid, const struct dht_address *to,
		      int code, const char *text);
