/* Thousands of DHT nodes on one virtual clock, with a network between them that delays, loses and
 * filters packets. Equal configurations give equal runs. */
#pragma once

#include "base/manual.h"
#include "discovery/dht/dht.h"

enum { DHT_WORLD_HOLES = 128, DHT_WORLD_PORT = 6881 };

struct dht_world_config {
	uint64_t seed;
	unsigned nodes_max;	       /* ever, those gone included */
	unsigned rtt_lo_ms, rtt_hi_ms; /* 0, 0: at once */
	unsigned loss_permille;
	bool private_net; /* addresses of 10/8 instead of the public internet */
};

struct dht_world;
struct dht_world_node {
	struct dht_transport transport;
	struct dht_world *world;
	struct dht *dht; /* NULL: gone */
	struct dht_address addr;
	unsigned index;
	bool nat;  /* hears only from where it wrote to in the last minute */
	bool mute; /* its packets are lost, both ways */
	double access_ms;
	/** Instead of a node: what a hostile one does with packets. Optional. */
	void (*evil)(struct dht_world_node *n, const struct dht_address *from, const uint8_t *data,
		     size_t len);
	void *evil_data;
	uint64_t packets_in, packets_out, bytes_in, bytes_out;
	struct {
		uint32_t to;
		uint64_t ms;
	} * holes;
	unsigned next_hole;
};

struct dht_world {
	struct manual_loop loop;
	struct dht_world_config config;
	struct dht_world_node **nodes;
	unsigned count, up;
	unsigned evil_from, evil_to; /* with addresses of their own */
	uint64_t packets, bytes, lost, filtered;
	/** Sees every packet that is sent. Optional. */
	void (*tap)(void *data, const struct dht_world_node *from, const struct dht_address *to,
		    const uint8_t *packet, size_t len);
	void *tap_data;
};

struct dht_world *dht_world_new(const struct dht_world_config *config);
/** Closes what still runs. */
void dht_world_free(struct dht_world *w);
/** The address of the i-th node, each in a /24 of its own. */
struct dht_address dht_world_address(const struct dht_world *w, unsigned index);
/** A node that has not joined yet. */
struct dht_world_node *dht_world_add(struct dht_world *w, bool nat, enum dht_mode mode);
/** A hostile one, at an address outside of dht_world_address's or NULL; those with addresses of
 * their own are made one after the other. */
struct dht_world_node *dht_world_add_evil(struct dht_world *w, const struct dht_address *addr);
/** Join through so many random nodes that are up and not behind a NAT. */
void dht_world_join(struct dht_world_node *n, unsigned contacts);
void dht_world_leave(struct dht_world_node *n);
/** A node that is up, not NATed and not evil; NULL when there is none. */
struct dht_world_node *dht_world_pick(struct dht_world *w);
void dht_world_send(struct dht_world_node *n, const struct dht_address *to, const uint8_t *data,
		    size_t len);
void dht_world_run(struct dht_world *w, uint64_t ms);

struct dht_world_lookup {
	struct dht_lookup lookup;
	bool done;
	int status;
};
/** Look up (or announce) and run until it has ended. */
void dht_world_look(struct dht_world_node *n, const struct dht_id *key, uint16_t announce_port,
		    struct dht_world_lookup *ret);
