/* What the parts of the core share: private to this folder.
 *
 *   core.c       links, packets in, our name
 *   publish.c    probing, announcing, goodbye
 *   answer.c     questions of others
 *   browse.c     our questions
 *   instances.c  what was heard */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "discovery/mdns/dns.h"
#include "discovery/mdns/mdns.h"

enum {
	TTL_HOST_S = 120, /* records that name an address or a host: RFC 6762 §10 */
	TTL_OTHER_S = 4500,
	TTL_LEGACY_S = 10,
	TTL_ASK_ONLY_S = 150, /* at least, when answers come as to a legacy asker */
	LABEL_CHARS = 16,     /* base32: 80 bits */
	TXT_MAX = 255,
	ASKERS_MAX = 8,
	CONFLICTS_MAX = 15, /* in CONFLICT_WINDOW_MS; then CONFLICT_WAIT_MS before each try */
	CONFLICT_WINDOW_MS = 10000,
	CONFLICT_WAIT_MS = 5000,
	UNICAST_RATE = 20, /* answers to one asker a second and link, twice that in a burst */
	RETRY_MS = 1000,   /* when a packet could not leave */
	RESOLVE_TRIES = 3
};

/* Our records, as bits of a set. An NSEC says that there are no others of its name. */
enum rec {
	REC_META,
	REC_PTR,
	REC_SRV,
	REC_TXT,
	REC_A,
	REC_AAAA,
	REC_NSEC_INSTANCE,
	REC_NSEC_HOST,
	REC_COUNT
};
#define REC_BIT(rec) (1u << (rec))
enum {
	REC_SHARED = REC_BIT(REC_META) | REC_BIT(REC_PTR),
	REC_ADDRS = REC_BIT(REC_A) | REC_BIT(REC_AAAA),
	REC_INSTANCE = REC_BIT(REC_SRV) | REC_BIT(REC_TXT),
	REC_ANNOUNCED = REC_SHARED | REC_INSTANCE | REC_ADDRS
};

/* Of a link: how far it is with our records. */
enum phase { PHASE_OFF, PHASE_PROBING, PHASE_ANNOUNCING, PHASE_PUBLISHED };

/* Packets, or anything else, a second. */
struct bucket {
	uint64_t tokens_milli, at_ms;
};
bool bucket_take(struct bucket *b, uint64_t now_ms, unsigned rate);

/* A question that continues in further messages with what the asker knows (RFC 6762 §7.2). */
struct asker {
	struct mdns_endpoint from;
	unsigned wanted;
	uint64_t due_ms, last_ms; /* 0 = free place */
};

/* Something heard, with its time to live. */
struct heard {
	uint64_t since_ms, until_ms; /* 0 = not heard */
	uint64_t ask_ms;	     /* next refresh */
	unsigned asked;
};

struct heard_address {
	uint8_t family;
	uint8_t ip[16];
	struct heard heard;
};

struct instance {
	struct list node;
	struct link *link;
	struct dns_name name, host;
	struct heard ptr, srv, txt;
	struct heard_address addrs[MDNS_PEER_ADDRS_MAX];
	size_t addr_count;
	uint16_t port, dht_port;
	struct public_key peer;
	bool ours;	/* its TXT is of our version and network, and names a peer */
	bool reachable; /* everything is known; the peer was told of */
	bool twin;	/* it names us, and is not ours */
	bool twin_told;
	bool more;	/* an address that was not told of yet */
	unsigned tries; /* to learn what is missing */
	uint64_t try_ms;
};

struct link {
	struct mdns *mdns;
	struct mdns_link_config config;
	bool keep; /* while the set of links changes */
	struct bucket packets, unicast;
	/* publish.c */
	enum phase phase;
	unsigned step;
	struct runner_timer phase_timer;
	/* answer.c */
	uint64_t due_ms[REC_COUNT];  /* 0 = nothing to send */
	uint64_t sent_ms[REC_COUNT]; /* to the group */
	bool sent[REC_COUNT];
	struct asker askers[ASKERS_MAX];
	struct runner_timer answer_timer;
	/* browse.c */
	uint64_t ask_ms, interval_ms;
	struct runner_timer browse_timer;
};

struct mdns {
	struct runner *runner;
	struct mdns_transport *transport;
	const struct mdns_events *events;
	void *data;
	struct public_key self;
	uint16_t port;
	char network[MDNS_NETWORK_MAX + 1];
	uint8_t txt[TXT_MAX];
	size_t txt_len;
	struct dns_name meta, type, local, instance, host;
	char label[LABEL_CHARS + 1];
	unsigned conflicts;
	uint64_t conflict_since_ms;
	bool stopped;
	struct link *links[MDNS_LINKS_MAX];
	size_t link_count;
	struct list instances;
	unsigned instance_count;
	struct buf out; /* DNS_SEND_MAX, reserved at the start: sending allocates nothing */
	struct mdns_stats stats;
};

static inline uint64_t mdns_now(const struct mdns *m)
{
	return runner_now_ms(m->runner);
}
/** Uniform in [from, to] from now, absolute. */
uint64_t mdns_soon(struct mdns *m, unsigned from_ms, unsigned to_ms);
/** What the writer holds leaves, if it holds anything; `to` NULL = the group. */
int link_send(struct link *l, struct dns_writer *w, const struct mdns_endpoint *to,
	      uint16_t more_flags);

/* ---- publish.c ---- */

/** Which of our records exist on this link. */
unsigned publish_available(const struct link *l);
/** Begin anew with probing, if there is anything to publish. */
void publish_start(struct link *l, uint64_t due_ms);
/** The addresses changed: what is published is announced again. */
void publish_again(struct link *l);
void publish_goodbye(struct link *l);
/** A set of our records; nsec and all. False when some did not fit. */
bool publish_write(struct link *l, struct dns_writer *w, enum dns_section section, unsigned set,
		   bool legacy, bool goodbye);
/** What follows from these, to go along in the additional section. */
unsigned publish_additional(const struct link *l, unsigned set);
/** The record is one of ours to the last byte. REC_COUNT = it is not. */
enum rec publish_own(const struct mdns *m, const struct dns_entry *e);
/** Another host's record under a name of ours. */
bool publish_conflicts(const struct mdns *m, const struct dns_entry *e);
uint32_t publish_ttl_s(enum rec rec);
void publish_init(struct link *l);

/* ---- answer.c ---- */

void answer_query(struct link *l, const struct mdns_endpoint *from, bool multicast,
		  const struct dns_walk *w);
/** A response of another host says something about our records. */
void answer_hears(struct link *l, const struct dns_entry *e);
/** Send to the group at `at_ms`, or as soon after as the rate allows. */
void answer_schedule(struct link *l, unsigned set, uint64_t at_ms, unsigned gap_ms);
void answer_sent(struct link *l, unsigned set);
void answer_forget(struct link *l);
void answer_init(struct link *l);

/* ---- browse.c ---- */

/** Ask at once and then ever more rarely. */
void browse_start(struct link *l);
void browse_init(struct link *l);
/** Something heard has a new time. */
void browse_arm(struct link *l);

/* ---- instances.c ---- */

void instances_response(struct link *l, const uint8_t *data, size_t len);
/** Forget what has had its time. */
void instances_expire(struct link *l);
/** All of a link, or of all links (NULL). */
void instances_forget(struct mdns *m, const struct link *l);
/** How many peers are reachable, each counted once. */
unsigned instances_peers(const struct mdns *m);
static inline bool heard_valid(const struct heard *h)
{
	return h->until_ms != 0;
}
/** When something has to be done about the instance: ask, or forget. */
uint64_t instance_due_ms(const struct instance *i);
