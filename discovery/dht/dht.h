/* A node of the BitTorrent Mainline DHT: finds who announced a 160-bit key, and announces.
 *
 *   core      struct dht: packets and time in, packets out. No sockets: tests and the simulator run
 *             the code that the daemon runs.
 *   driver    struct dht_udp: the core on libuv's UDP sockets, bootstrap from names, saved state
 *   source    the discovery_source that asks it
 *   family    IPv4 and IPv6 are two networks with a table and a lookup each (BEP 32)
 *   search    the iterative lookup in one family; dht_lookup is one in every family at once
 *   soft, hard deadline
 *             a query is late after the one, and no longer waited for; failed after the other. A
 *             late reply still counts.
 *   global    an address of the public internet; others (loopback, private, link-local) are exempt
 *             from the rules that tell one attacker from many nodes
 *   read-only we ask and do not answer (BEP 43)
 *
 * Written after BEP 5, 32, 42, 43 and what the deployed implementations do. A packet is never
 * larger than DHT_PACKET_MAX, no reply is sent to what does not parse or is no query, and to an
 * address that has not proven itself a reply is at most DHT_AMPLIFICATION times the question.
 *
 * All of it belongs to the thread of the runner. */
#pragma once

#include "base/buf.h"
#include "base/op.h"

struct loop;
struct trace;
struct iri;
struct discovery_source;

enum {
	DHT_ID_SIZE = 20,
	DHT_FAMILIES = 2,	 /* v4, v6 */
	DHT_PACKET_MAX = 1024,	 /* sent; BEP 32 */
	DHT_RECEIVE_MAX = 65535, /* others send more */
	DHT_K = 8,		 /* nodes per bucket, and how many store a key */
	DHT_AMPLIFICATION = 4,
	DHT_LOOKUPS_MAX = 64,	     /* of callers; more are ERR_BUSY */
	DHT_LOOKUP_PEERS_MAX = 256,  /* reported by one lookup; more are dropped and counted */
	DHT_ANNOUNCEMENTS_MAX = 100, /* keys kept announced */
	DHT_ROUTERS_MAX = 16,
	DHT_ANNOUNCE_MIN_MS = 1440000, /* announced again after 24 to 28 min */
	DHT_ANNOUNCE_JITTER_MS = 240000,
	DHT_ANNOUNCE_GAP_MS = 4000, /* between two lookups that announce */
	DHT_STATE_MAX = 65536,	    /* bytes of dht_export() */
	DHT_VALUE_MAX = 1000	    /* bytes of an item of BEP 44 */
};

struct dht_id {
	uint8_t bytes[DHT_ID_SIZE];
};

/* An IP address and a port. */
struct dht_address {
	uint8_t family; /* 4 or 6; 0 = none */
	uint8_t ip[16]; /* network order; 4 bytes used in family 4, the others zero */
	uint16_t port;
};

/* How packets leave. Lives in whoever drives the core. */
struct dht_transport {
	/** Send, or drop: nobody is told. Borrows `data` during the call; does not call back. */
	void (*send)(struct dht_transport *t, const struct dht_address *to, const uint8_t *data,
		     size_t len);
};

enum dht_mode {
	DHT_MODE_AUTO, /* answer when reachable, as far as one can tell */
	DHT_MODE_SERVER,
	DHT_MODE_CLIENT /* read-only, always */
};

enum { DHT_SEED_SIZE = 32 };

struct dht_config {
	struct runner *runner;		 /* borrowed */
	struct dht_transport *transport; /* borrowed */
	/* What the sockets are bound to, v4 and v6; family 0 = this one is not used. Unspecified
	 * (0.0.0.0) when the address is unknown. */
	struct dht_address local[DHT_FAMILIES];
	enum dht_mode mode;
	struct trace *trace; /* borrowed; where announcements are traced; may be NULL */
	const uint8_t *seed; /* DHT_SEED_SIZE bytes for a repeatable run; NULL = unpredictable */
};

struct dht;
/** Sends nothing before dht_start. NULL when out of memory. */
struct dht *dht_new(const struct dht_config *config);
/** Cancels every lookup; `closed` comes from the loop, when their callbacks have come and the
 * memory is gone. Nothing is sent any more. `closed` may be NULL. */
void dht_close(struct dht *d, void (*closed)(void *data), void *data);
/** Begin to join the network, from what was imported and added. */
void dht_start(struct dht *d);

/** A packet came. Everything is checked; what is wrong is dropped and counted. */
void dht_receive(struct dht *d, const struct dht_address *from, const uint8_t *data, size_t len);
/** The network says that nobody listens there (ICMP): open queries to it fail at once. */
void dht_unreachable(struct dht *d, const struct dht_address *to);

/** Somebody may run a node there (saved, LAN peer, a peer's word): asked soon, believed when it
 * answers. */
void dht_add_node(struct dht *d, const struct dht_address *addr);
/** A bootstrap server: asked while we know nobody, never put into the table. ERR_LIMIT. */
int dht_add_router(struct dht *d, const struct dht_address *addr);
/** A port mapping or a dial-back tells whether strangers reach us. */
void dht_set_reachable(struct dht *d, bool reachable);
/** A packet that the core had handed over did not leave. */
void dht_send_failed(struct dht *d);

/** What to keep for the next start: ids, addresses, live nodes. At most DHT_STATE_MAX bytes. */
void dht_export(const struct dht *d, struct buf *out);
/** Before dht_start. ERR_MALFORMED, ERR_VERSION: nothing was taken. */
int dht_import(struct dht *d, const uint8_t *data, size_t len);

/* ---- Keys ---- */

/** First 20 bytes of BLAKE2b-256 of the text. */
struct dht_id dht_key_of(const char *text, size_t len);
bool dht_id_eq(const struct dht_id *a, const struct dht_id *b);
/** Of the public internet. */
bool dht_address_is_global(const struct dht_address *a);
bool dht_address_eq(const struct dht_address *a, const struct dht_address *b);
enum { DHT_ADDRESS_TEXT_SIZE = 64 };
/** "1.2.3.4:80", "[::1]:80". */
void dht_address_format(const struct dht_address *a, char ret[DHT_ADDRESS_TEXT_SIZE]);
/** The inverse. ERR_MALFORMED. */
int dht_address_parse(const char *s, size_t len, struct dht_address *ret);

/* ---- One lookup ---- */

enum dht_lookup_kind {
	DHT_LOOKUP_PEERS, /* who announced the key; announces too when announce_port is not 0 */
	DHT_LOOKUP_NODE,  /* the nodes nearest to an id */
	DHT_LOOKUP_VALUE  /* BEP 44 immutable item */
};

struct dht_lookup;
typedef void (*dht_lookup_cb)(struct dht_lookup *l, int status);
struct dht_lookup {
	struct op op;
	void *data;
	/* Set before start, or zero */
	uint16_t announce_port;
	/** A peer of the key, each once, told by the node `from` (family 0: by our own store). */
	void (*on_peer)(struct dht_lookup *l, const struct dht_address *peer,
			const struct dht_address *from);
	/** DHT_LOOKUP_VALUE: a bencoded value somebody sent; unverified. */
	void (*on_value)(struct dht_lookup *l, const uint8_t *v, size_t len);
	/** DHT_LOOKUP_VALUE: store this bencoded value with the nearest. Borrowed until the end. */
	const uint8_t *put_value;
	size_t put_len;
	/* Results; they stand from the callback on, and move until then */
	uint64_t first_peer_ms; /* after the start; UINT64_MAX = none */
	uint64_t done_ms;
	unsigned queries, replies, timeouts, rounds;
	unsigned peers, peers_dropped;
	unsigned stored;		   /* nodes that took the announcement */
	struct dht_address nearest[DHT_K]; /* that answered, of all families, nearest first */
	struct dht_id nearest_ids[DHT_K];
	unsigned nearest_count;
	/* private */
	dht_lookup_cb cb;
	struct dht *dht;
	struct list node; /* in dht->lookups */
	struct list searches;
	struct dht_id target;
	enum dht_lookup_kind kind;
	struct dht_address seeds[DHT_K]; /* where the last announcement ended */
	unsigned seed_count;
	struct dht_address *seen; /* DHT_LOOKUP_PEERS_MAX */
	uint64_t started_ms;
	bool busy; /* one too many */
};
/** Look the key up in every family. Zero the struct and fill its head first. Status 0 also when
 * nobody has it; ERR_BUSY (DHT_LOOKUPS_MAX); ERR_NOT_FOUND: there was no node to ask; UV_ENOMEM,
 * UV_ETIMEDOUT, UV_ECANCELED. It ends within env's deadline, without dead nodes after a few round
 * trips. Announcements to nodes that answer later are still sent. */
void dht_lookup_start(struct dht_lookup *l, const struct op_env *env, struct dht *d,
		      const struct dht_id *target, enum dht_lookup_kind kind, dht_lookup_cb cb);

/* ---- Keeping keys announced ---- */

/** Announce the key soon and then again and again, newest first, within the budget. Again for the
 * same key: changes the port. ERR_LIMIT (DHT_ANNOUNCEMENTS_MAX), UV_ENOMEM. */
int dht_announce(struct dht *d, const struct dht_id *key, uint16_t port);
/** Harmless when it is not announced. Others forget within 45 min. */
void dht_unannounce(struct dht *d, const struct dht_id *key);
size_t dht_announcement_count(const struct dht *d);

/* ---- How it is ---- */

struct dht_family_stats {
	bool on;
	struct dht_id id;
	struct dht_address external; /* by vote; family 0 = unknown */
	bool symmetric;		     /* the NAT gives every destination another port */
	unsigned nodes, good, cached, bep42;
	unsigned log2_size; /* estimate of the network's size */
};
struct dht_stats {
	struct dht_family_stats families[DHT_FAMILIES];
	bool started, bootstrapped, read_only;
	uint64_t packets_in, packets_out, bytes_in, bytes_out;
	uint64_t queries_out, replies_in, errors_in, timeouts, unreachable; /* of our queries */
	uint64_t queries_in, replies_out, errors_out;
	uint64_t dropped_malformed, dropped_stray, dropped_limit, dropped_budget, dropped_source,
		dropped_read_only, dropped_send;
	uint64_t queries_held; /* not sent: over a limit of ours */
	uint64_t stored_keys, stored_peers, store_refused;
	uint64_t lookups, lookups_busy, announces, id_changes;
	unsigned open_queries, announcements, announcements_due;
	unsigned candidates;	/* routers and nodes that could be asked */
	uint64_t up_ms;		/* since dht_start */
	uint64_t last_reply_ms; /* runner time; 0 = never */
};
void dht_stats(const struct dht *d, struct dht_stats *ret);
/** What keeps it from being useful: "off" (d is NULL), "bootstrapping", "no UDP"; NULL = in use.
 * Static. */
const char *dht_state(const struct dht *d);

/* ---- On libuv ---- */

struct dht_udp;
struct dht_udp_config {
	struct loop *loop; /* borrowed */
	/* One each for v4 and v6; family 0 = not used. Port 0 = any. */
	struct dht_address listen[DHT_FAMILIES];
	enum dht_mode mode;
	const char *const *routers; /* "host:port", borrowed until closed; NULL-terminated */
	struct trace *trace;	    /* as in dht_config */
	/** Saved state in and out; optional. load is called once and may answer later, save every
	 * DHT_UDP_SAVE_MS and at closing. */
	void (*load)(void *data, struct dht_udp *u);
	void (*save)(void *data, const uint8_t *state, size_t len);
	void *data;
};
enum { DHT_UDP_SAVE_MS = 600000 };
/** Binds and starts. 0, UV_ENOMEM, or why no socket could be bound (one of two is enough). */
int dht_udp_open(const struct dht_udp_config *config, struct dht_udp **ret);
/** The answer to load(), at any time; len 0 = nothing saved. Bootstrap begins with it. */
void dht_udp_loaded(struct dht_udp *u, const uint8_t *state, size_t len);
struct dht *dht_udp_core(struct dht_udp *u);
/** The address the family's socket is bound to; family 0 = none. */
struct dht_address dht_udp_local(const struct dht_udp *u, unsigned family_index);
/** Saves; `closed` comes from the loop, with the memory gone. Lookups must have ended. */
void dht_udp_close(struct dht_udp *u, void (*closed)(void *data), void *data);

/* ---- As a source of peers ---- */

enum {
	DHT_SOURCE_PEERS_MAX = 32, /* handed out by one lookup */
	DHT_SOURCE_PER_SEC = 2,	   /* at this rate: what strangers say is dialed slowly */
	DHT_SOURCE_BURST = 8,
	DHT_SOURCE_AGAIN_MS = 600000,	  /* the same public address not earlier */
	DHT_SOURCE_AGAIN_NEAR_MS = 10000, /* of a private one, with its port */
	DHT_SOURCE_RECENT_MAX = 256,
	DHT_SOURCE_PORT_MIN = 1024 /* no services of others are dialed */
};

/** Keys under which an object is announced and looked up: its own, and its space's if that is
 * another. Returns how many; 0 = out of memory. */
size_t dht_keys_of_iri(const struct iri *iri, struct dht_id ret[2]);
/** A source for discovery_add_source(): a lookup asks for object and space at once and hands out
 * addresses as they come. Left out are ports below DHT_SOURCE_PORT_MIN, and private addresses
 * unless a node with a private address told. Borrows `d` (NULL: off) and the runner. NULL when out
 * of memory. */
struct discovery_source *dht_source_new(struct runner *runner, struct dht *d);
/** The core came, or goes (NULL): before dht_close. */
void dht_source_set(struct discovery_source *s, struct dht *d);
/** Accepts NULL; returns NULL. No lookup may be left. */
struct discovery_source *dht_source_free(struct discovery_source *s);
