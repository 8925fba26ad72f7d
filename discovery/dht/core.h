/* Inside of the core: what its files share.
 *
 *   query    one question on its way: tid, address, two deadlines
 *   search   one key in one family: candidates by distance, whom to ask next, when it is done
 *   contact  an address to try when the table has nobody better: saved, given, a router */
#pragma once

#include "discovery/dht/dht.h"
#include "discovery/dht/krpc.h"
#include "discovery/dht/limit.h"
#include "discovery/dht/peers.h"
#include "discovery/dht/table.h"
#include "discovery/dht/vote.h"

enum {
	QUERY_OPEN_MAX = 64, /* not yet late */
	QUERY_MAX = 256,     /* late ones included */
	QUERY_SOFT_MIN_MS = 150,
	QUERY_SOFT_MAX_MS = 1000,
	QUERY_HARD_MS = 3000,
	QUERY_HELD_MS = 50, /* when one was held back by a limit: look again after */
	SEARCH_CANDIDATES_MAX = 64,
	SEARCH_MAX = 128,	  /* of callers and our own */
	SEARCH_NEAR = 4,	  /* outstanding among the nearest */
	SEARCH_WIDE = 8,	  /* the same where the key's own nodes are in sight */
	SEARCH_UNFIT_MAX = DHT_K, /* asked though BEP 42 does not count them */
	SEARCH_EXTRA_BITS = 20,	  /* an id nearer to the target than the network's size explains by
				     so much is made up */
	SEARCH_BLUR_SIZE = 12, /* log2 of the network from which on far nodes see a blurred key */
	SEARCH_BLUR_FAR = 6,   /* log2 of how many radii away is far */
	SEARCH_BLUR_BITS = 8,  /* shown beyond what the node shares with the key */
	CONTACTS_MAX = 256,    /* per family */
	CONTACT_TRIES = 3,
	RTT_SAMPLES = 32
};

struct search;

struct query {
	uint32_t tid;
	struct dht_address addr;
	enum krpc_method method;
	bool late;
	uint64_t sent_ms, soft_ms, hard_ms;
	struct search *search; /* NULL: upkeep */
	uint8_t slot;	       /* of its candidate */
};

enum candidate_state {
	CANDIDATE_NEW,
	CANDIDATE_ASKED,
	CANDIDATE_LATE, /* not waited for any more */
	CANDIDATE_ANSWERED,
	CANDIDATE_FAILED
};
enum candidate_store { STORE_NO, STORE_SENT, STORE_LATE, STORE_ACKED };

struct candidate {
	struct dht_id id;
	struct dht_address addr;
	enum candidate_state state;
	enum candidate_store store;
	bool has_id, router, known, fits; /* known: from our table */
	uint8_t hop;
	uint8_t token_len;
	uint8_t token[KRPC_TOKEN_MAX];
};

enum search_phase {
	SEARCH_ASKING,
	SEARCH_STORING,	 /* the k nearest are known; announcing to them */
	SEARCH_LINGERING /* its asker has what it wanted; late replies may come */
};

struct search {
	struct list node;	  /* in dht->searches */
	struct list sibling;	  /* in owner->searches */
	struct dht_lookup *owner; /* NULL: upkeep, or gone */
	struct dht *dht;
	unsigned family;
	enum dht_lookup_kind kind;
	enum search_phase phase;
	struct dht_id target, blur; /* blur: random tail for far nodes */
	uint16_t announce_port;
	bool bootstrap, held, enforce; /* enforce: BEP 42 decides who counts */
	double radius;		       /* log2; -1 unknown */
	unsigned open;		       /* queries that will still report */
	unsigned outstanding;	       /* of them not late */
	unsigned storing, unfit_asked;
	unsigned count;
	uint8_t order[SEARCH_CANDIDATES_MAX]; /* slots, nearest first */
	struct candidate slots[SEARCH_CANDIDATES_MAX];
};

struct contact {
	struct dht_address addr;
	struct dht_id id;
	bool has_id;
	uint8_t tries;
};

struct family {
	bool on;
	struct dht_address local, external; /* family 0 = unknown */
	struct table table;
	struct vote vote;
	struct contact *contacts; /* CONTACTS_MAX, once needed */
	size_t contact_count;
	uint16_t rtts[RTT_SAMPLES];
	unsigned rtt_count, rtt_p90_ms; /* p90 0 = unknown */
	uint64_t bootstrap_ms;		/* when to try again; 0 = now */
	uint64_t backoff_ms;
	uint64_t self_search_ms, self_interval_ms; /* the next look around our own id */
	unsigned fill;	/* buckets still to be searched after a bootstrap */
	bool searching; /* an upkeep search is under way */
};

struct announcement {
	struct list node; /* in dht->announcements; newest first */
	struct dht *dht;
	struct dht_id key;
	uint16_t port;
	bool running, removed;
	uint64_t due_ms;
	struct dht_address nearest[DHT_K];
	unsigned nearest_count;
	struct dht_lookup lookup;
};

struct dht {
	struct runner *runner;
	struct dht_transport *transport;
	struct trace *trace;
	enum dht_mode mode;
	bool started, bootstrapped, reachable;
	uint8_t random_key[16];
	uint64_t random_counter;
	struct family families[DHT_FAMILIES];
	struct dht_address routers[DHT_ROUTERS_MAX];
	size_t router_count;
	struct query *queries;
	size_t query_count, query_cap, open_count;
	struct runner_timer query_timer, tick_timer;
	struct limit limit;
	struct tokens tokens;
	struct peers peers;
	struct buf out;
	struct list searches, lookups, announcements;
	size_t search_count, lookup_count, announcement_count;
	uint64_t announce_next_ms;
	bool announcing;
	uint64_t started_ms, expire_ms, last_reply_ms, first_query_ms;
	/* reach.c */
	bool trial, confirmed;
	uint64_t trial_ms; /* when the present phase began */
	unsigned strangers;
	bool closing;
	struct runner_task closed_task;
	void (*closed)(void *data);
	void *closed_data;
	struct dht_stats stats;
};

/* ---- dht.c ---- */
void dht_random(struct dht *d, void *p, size_t len);
static inline uint64_t dht_now(const struct dht *d)
{
	return runner_now_ms(d->runner);
}
/** Send what is in d->out. */
void dht_send(struct dht *d, const struct dht_address *to);
bool dht_is_router(const struct dht *d, const struct dht_address *addr);
/** Ourselves, or nothing that packets can be sent to. */
bool dht_is_no_node(const struct dht *d, const struct dht_address *addr);
/** A node whose id is known. */
void dht_heard(struct dht *d, const struct dht_id *id, const struct dht_address *addr);
void contact_add(struct family *f, const struct dht_address *addr, const struct dht_id *id);
void contact_remove(struct family *f, const struct dht_address *addr);
/** A lookup ended: perhaps dht_close waited for it. */
void dht_lookup_ended(struct dht *d);

/* ---- upkeep.c ---- */
void upkeep_start(struct dht *d);
/** Have the next round soon. */
void upkeep_soon(struct dht *d);
/** A search of ours ended. */
void upkeep_search_ended(struct dht *d, const struct search *s);

/* ---- query.c ---- */
/** Ask. 0; ERR_BUSY: over a limit, later perhaps. `q` without tid, id and read_only. */
int query_send(struct dht *d, struct krpc_query *q, const struct dht_address *to,
	       struct search *search, uint8_t slot);
/** The open query that this answers, or NULL. Stands until the next query ends. */
struct query *query_find(struct dht *d, const uint8_t *tid, size_t len,
			 const struct dht_address *from);
/** It was answered, with what; ends it. */
void query_answered(struct dht *d, struct query *q, const struct krpc_message *m);
void query_unreachable(struct dht *d, const struct dht_address *to);
/** Its queries go on without it. */
void query_forget_search(struct dht *d, const struct search *s);
/** Look at the timers anew; `held`: something waits for a limit. */
void query_rearm(struct dht *d, bool held);

/* ---- search.c ---- */
/** NULL: out of memory, or SEARCH_MAX. Not yet asking. */
struct search *search_new(struct dht *d, unsigned family, const struct dht_id *target,
			  enum dht_lookup_kind kind);
void search_add(struct search *s, const struct dht_id *id, const struct dht_address *addr,
		bool known, unsigned hop);
/** Fill in the nodes nearest to the target that we know. */
void search_seed(struct search *s);
/** Ask whoever is next; notices the end. The search may be gone afterwards. */
void search_pump(struct search *s);
void search_reply(struct search *s, uint8_t slot, const struct krpc_message *m, bool store);
void search_late(struct search *s, uint8_t slot, bool store);
void search_failed(struct search *s, uint8_t slot, bool store, bool was_late);
/** Its asker has gone: no new questions, free when the last query ends. */
void search_detach(struct search *s);
void search_free(struct search *s);
/** Slots that count as the key's nodes, nearest first. */
size_t search_nearest(const struct search *s, uint8_t *ret_slots, size_t cap);

/* ---- lookup.c ---- */
void lookup_peer(struct dht_lookup *l, const struct dht_address *peer,
		 const struct dht_address *from);
/** A search of it moved: asking is over, or all is. */
void lookup_moved(struct dht_lookup *l);
/** A node so many rounds away from what was known has answered. */
void lookup_round(struct dht_lookup *l, unsigned round);

/* ---- serve.c ---- */
void serve_query(struct dht *d, const struct dht_address *from, const struct krpc_message *m,
		 size_t len, struct limit_slot *slot);

/* ---- announce.c ---- */
void announce_tick(struct dht *d);
/** False while one is still being cancelled. */
bool announce_free_all(struct dht *d);

/* ---- reach.c ---- */
/** Do we ask as read-only, and leave questions from the public internet unanswered? */
bool reach_read_only(const struct dht *d);
void reach_tick(struct dht *d);
/** A question came from somebody we have not written to lately. */
void reach_stranger(struct dht *d);
/** A node said who we are. */
void reach_seen_as(struct dht *d, const struct dht_address *voter, const struct dht_address *seen);
/** Take an external address; a new id if the present one does not fit. */
void reach_set_external(struct dht *d, unsigned family, const struct dht_address *external);
