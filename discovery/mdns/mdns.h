/* Peers on the local network: DNS-based service discovery over multicast DNS (RFC 6763, RFC 6762).
 *
 *   core      struct mdns: packets, interfaces and time in, packets out. No sockets: tests run the
 *             code that the daemon runs.
 *   source    the core on sockets of its own, as a discovery_source
 *   link      one network interface in one address family; packets of the other family or of
 * another interface are another link's instance  one daemon as the network sees it:
 * "<label>._peerscope._tcp.local". The label, which is the host name too, is random and new at
 * every start: a name that lasts would follow its owner through strange networks, and nobody else
 * can own it. TXT       v=1  id=<peer id>  dht=<UDP port, if any>  net=<tag, if any>
 *
 * What is heard proves nothing: the handshake of net/ tells whether the peer id is true. Here only
 * the cost is bounded: every name, message and table has a named limit, at most MDNS_PACKETS_RATE
 * packets a second of a link are read, addresses beyond the local network are not believed.
 *
 * Works beside other responders on the same machine. All of it belongs to the thread of the runner.
 */
#pragma once

#include "base/multiformats.h"
#include "base/runner.h"

struct loop;
struct discovery_source;

enum {
	MDNS_PORT = 5353,
	MDNS_LINKS_MAX = 64,
	MDNS_LINK_ADDRS_MAX = 16, /* known of one interface */
	MDNS_INSTANCES_MAX = 256, /* remembered; others are dropped and counted */
	MDNS_PEER_ADDRS_MAX = 8,
	MDNS_NETWORK_MAX = 32,	  /* bytes of a network tag */
	MDNS_PACKETS_RATE = 200,  /* read a second and link, twice that in a burst */
	MDNS_TTL_MAX_S = 4500,	  /* longer promises are shortened */
	MDNS_ASK_MAX_MS = 3600000 /* between two questions */
};

/* ---- The core ---- */

/* An address of an interface. */
struct mdns_address {
	uint8_t family; /* 4 or 6 */
	uint8_t ip[16]; /* network order; 4 bytes used in family 4, the others zero */
	uint8_t prefix_bits;
	bool publish; /* tell others: the daemon listens there */
};

/* Where packets come from and answers go to. */
struct mdns_endpoint {
	uint8_t family;
	uint8_t ip[16];
	uint16_t port;
};

struct mdns_link_config {
	uint32_t id; /* whatever the driver knows it by */
	uint8_t family;
	uint32_t zone; /* the interface's index, for link-local addresses heard there; 0 = they are
			  of no use */
	/* The port of multicast DNS cannot be had: ask from another one, publish nothing. */
	bool ask_only;
	struct mdns_address addrs[MDNS_LINK_ADDRS_MAX]; /* of the interface, both families */
	size_t addr_count;
};

/* How packets leave. Lives in whoever drives the core. */
struct mdns_transport {
	/** Send on this link, to the group when `to` is NULL. Borrows; does not call back. 0, or
	 * why it did not leave: what matters is then tried again. */
	int (*send)(struct mdns_transport *t, uint32_t link_id, const struct mdns_endpoint *to,
		    const uint8_t *data, size_t len);
};

/* A daemon on the LAN: all that its instances say. */
struct mdns_peer {
	struct public_key peer;
	struct multiaddr addrs[MDNS_PEER_ADDRS_MAX];
	size_t addr_count;
	uint16_t dht_port; /* 0 = none */
};

struct mdns;
/* Called from inside mdns_receive and from timers. The core must not be freed there. */
struct mdns_events {
	/** A peer that was not there before can be reached. Borrowed. */
	void (*on_peer)(void *data, const struct mdns_peer *peer);
	/** It said goodbye, or has not been heard of for long. Optional. */
	void (*on_gone)(void *data, const struct public_key *peer);
	/** One that was there has one more address. Optional; borrowed. */
	void (*on_addresses)(void *data, const struct mdns_peer *peer);
	/** Somebody else says that he is we. Optional; borrowed. */
	void (*on_twin)(void *data, const struct mdns_peer *peer);
};

struct mdns_config {
	struct runner *runner;		  /* borrowed */
	struct mdns_transport *transport; /* borrowed */
	const struct public_key *self;	  /* copied; what others say about it is ignored */
	uint16_t port;			  /* TCP; 0 = only look for others, publish nothing */
	uint16_t dht_port;		  /* 0 = none */
	const char *network; /* NULL = the common one; peers of another are ignored; copied */
	const struct mdns_events *events; /* borrowed; may be NULL */
	void *data;
};
/** Does nothing before it has links. NULL when out of memory, or when `network` is empty, too long,
 * or not printable ASCII. */
struct mdns *mdns_new(const struct mdns_config *config);
/** Accepts NULL, returns NULL. Says nothing on the network: see mdns_stop. */
struct mdns *mdns_free(struct mdns *m);
/** These are the links now. A new one is probed, announced on and asked; one that changed is
 * announced on again; what was heard on one that went is forgotten. Copies. 0; UV_ENOMEM,
 * ERR_LIMIT: without some of them. */
int mdns_set_links(struct mdns *m, const struct mdns_link_config *links, size_t count);
/** A packet came. Everything is checked; what is wrong is dropped and counted. `multicast`: it was
 * sent to the group, and so comes from this link whatever its source says. */
void mdns_receive(struct mdns *m, uint32_t link_id, const struct mdns_endpoint *from,
		  bool multicast, const uint8_t *data, size_t len);
/** Say goodbye everywhere, at once, and fall silent for good. */
void mdns_stop(struct mdns *m);

/** Peers that can be reached, each once, as many as fit; the first heard first. */
size_t mdns_peers(const struct mdns *m, struct mdns_peer *ret, size_t cap);
/** Our label at present. Valid until the next call into the core. */
const char *mdns_label(const struct mdns *m);

struct mdns_stats {
	uint64_t packets_in, packets_out, send_failures;
	uint64_t dropped_malformed, dropped_rate, dropped_source, dropped_too_long;
	uint64_t queries_in, responses_in, queries_out, responses_out, unicast_out;
	uint64_t known_answers; /* records not sent because the asker knew them */
	uint64_t conflicts;	/* another one used our name: we took a new one */
	uint64_t instances_dropped, instances_foreign; /* no place; other version or network */
	unsigned links, published, instances, peers;   /* now */
};
void mdns_stats(const struct mdns *m, struct mdns_stats *ret);

/* ---- On sockets ---- */

struct mdns_source_config {
	struct loop *loop; /* borrowed */
	const struct public_key *self;
	/* What the daemon listens on, with the real port: a wildcard publishes every address of the
	 * family ("::" both), an address only itself, loopback or port 0 nothing. */
	struct multiaddr listen;
	uint16_t dht_port;
	const char *network; /* as in mdns_config */
	/** A peer that was not there before; from the loop. The source must not be closed inside.
	 * May be NULL. */
	void (*on_peer)(void *data, const struct mdns_peer *peer);
	/** One that was there has one more address; somebody else says that he is we. As on_peer. */
	void (*on_addresses)(void *data, const struct mdns_peer *peer);
	void (*on_twin)(void *data, const struct mdns_peer *peer);
	void *data;
};
struct mdns_source;
/** Opens its sockets from the loop, follows changes of the interfaces, and takes those that are up,
 * do multicast and lead to a network of people: not loopback, not point to point, not a bridge or a
 * virtual cable of containers. Sockets that cannot be had are tried again, see state(). Copies.
 * NULL when out of memory, or as mdns_new. */
struct mdns_source *mdns_source_new(const struct mdns_source_config *config);
/** The source of peers "lan", of tier DISCOVERY_WARM, with state(): "starting", "no network with
 * multicast", "no multicast goes out", "found by nobody: another program keeps port 5353 for
 * itself", "closed"; NULL = in use. Valid until mdns_source_free. */
struct discovery_source *mdns_source_base(struct mdns_source *s);
const struct mdns *mdns_source_core(const struct mdns_source *s);
/** Says goodbye, closes; `closed` comes once, from the loop. */
void mdns_source_close(struct mdns_source *s, void (*closed)(void *data), void *data);
/** Accepts NULL, returns NULL. After `closed`. */
struct mdns_source *mdns_source_free(struct mdns_source *s);
