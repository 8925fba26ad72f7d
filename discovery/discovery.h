/* Discovery: find an object by its IRI and bring it here.
 *
 *   discover   one asker's operation; identical ones share one run
 *   run        the state machine of one discovery (trace "sync.discover", titled with the IRI):
 *              entry → local → peers → local_sync (tier by tier) → dht → exit
 *   source     where peers come from: hints of the IRI, connected, stored, LAN, DHT
 *   authority  a peer the space vouches for, a hint of the IRI, or one that served the space
 * before: always asked tier       authorities, then connected and LAN peers, then cold ones; the
 * next starts only if something is still owed width      how many peers beyond the authorities are
 * asked: 0, 2 or 20 resolved   the asked version's heads and everything they reach are stored: this
 * decides success, nothing else
 *
 * What remains after the object resolved (older content, peers not waited for) continues as a
 * linked trace "sync.background". */
#pragma once

#include "sync/sync.h"

enum {
	DISCOVERY_TIMEOUT_MS = 600000,
	DISCOVERY_PATIENCE_MS = SYNC_PEER_TIMEOUT_MS, /* bytes that arrive earn so much more */
	DISCOVERY_LOCAL_TIMEOUT_MS = 400000,
	DISCOVERY_DHT_TIMEOUT_MS = 200000,
	DISCOVERY_DHT_HEDGE_MS =
		2000, /* without a resolving peer: the DHT lookup starts beside local sync */
	DISCOVERY_RUNS_MAX = 256,     /* at once */
	DISCOVERY_WAITERS_MAX = 1024, /* askers of one run */
	DISCOVERY_BACKGROUND_MAX = 8,
	DISCOVERY_SOURCES_MAX = 8,
	DISCOVERY_PEERS_MAX = SYNC_WAVE_PEERS_MAX,
	DISCOVERY_WIDTH_NONE = 0,
	DISCOVERY_WIDTH_NARROW = 2,
	DISCOVERY_WIDTH_FULL = 20,
	DISCOVERY_EXHAUSTIVE_MS =
		600000, /* a recursive scope is searched at full width this often */
	DISCOVERY_EXHAUSTIVE_USER_MS = 120000, /* and on user interest at most this often */
	DISCOVERY_STRAGGLER_MS =
		2000, /* after a success: peers that brought nothing for so long are cut */
	DISCOVERY_GRACE_MS = 200, /* unpinned: how long others may still bring a newer version */
	DISCOVERY_SUBSCRIPTION_INTERVAL_MS = 60000,
	DISCOVERY_OVERDUE_INTERVALS = 3, /* without a peer's word: worth a finding */
	DISCOVERY_BENCH_MAX = 4096	 /* peers whose failures are remembered */
};

/* How a discovery ended. Closed; also the outcome shown in its trace. */
enum discovery_outcome {
	DISCOVERY_CACHED,    /* the asked version was here */
	DISCOVERY_LOCAL,     /* from a hinted, connected, LAN or stored peer */
	DISCOVERY_DHT,	     /* from a peer the DHT named */
	DISCOVERY_NOT_FOUND, /* everybody reachable was asked; nobody had it */
	DISCOVERY_TIMEOUT,   /* in the stage named */
	DISCOVERY_CANCELLED, /* by the asker or by shutdown */
	DISCOVERY_ERROR	     /* see status */
};
const char *discovery_outcome_name(
	enum discovery_outcome o); /* "cached", "local", "dht", "notfound", "timeout", … */

/* What the answer is worth, beside how the discovery ended. Closed; the same words everywhere. */
enum discovery_answer {
	DISCOVERY_ANSWER_NONE, /* it ended before there was one: the outcome says why */
	DISCOVERY_CONFIRMED,   /* here, and peers answered that have nothing newer */
	DISCOVERY_EXACT,       /* here, and the very version that was asked for */
	DISCOVERY_OWN,	       /* here, of this daemon's own space, and no peer answered */
	DISCOVERY_UNCONFIRMED, /* here, and no peer answered: there may be something newer */
	DISCOVERY_BEHIND,      /* a peer has something newer that is not all here: see the status */
	DISCOVERY_ABSENT,      /* not here; peers answered, and lack it */
	DISCOVERY_UNANSWERED,  /* not here, and no peer answered */
	DISCOVERY_FAULT	       /* this daemon failed: see the status */
};
/** "confirmed", "unconfirmed", "behind", … */
const char *discovery_answer_name(enum discovery_answer a);

/* What became of the peers of one discovery. Those asked are in exactly one of the others, once all
 * have ended. */
struct discovery_peers {
	uint64_t asked;
	uint64_t answered;    /* whatever they have of it is here, or they have nothing */
	uint64_t unreachable; /* no connection, or no handshake */
	uint64_t busy;	      /* said so */
	uint64_t bad;	      /* wrong bytes, a broken protocol, versions listed and not given */
	uint64_t unheard;     /* reached, but fell silent, were cut off, or were not waited for */
	uint64_t commits_behind; /* commits that they listed and that are not here */
	uint64_t left_alone;	 /* known, and not asked now: they failed lately */
};
/* How it ended, as far as it is told to people. */
struct discovery_report {
	enum discovery_answer answer;
	int status;	/* of the discovery */
	int last_error; /* why the last peer failed; 0 = none did */
	struct discovery_peers peers;
};
/** "asked 3 peers: 1 answered, 1 could not be reached, 1 was busy". */
void discovery_peers_write(struct buf *out, const struct discovery_peers *p);
/** The one sentence about it that every surface shows; no capital, no full stop, no name. */
void discovery_explain(struct buf *out, const struct discovery_report *r);
/** Is this status our own failure, whoever was asked: the store's, or memory? */
bool discovery_is_ours(int status);
/** Is what is here the newest that any peer had that was asked and could be reached? */
bool discovery_is_sure(enum discovery_answer a, const struct discovery_peers *p);

/* ---- Sources of peers ---- */

/* Why a peer is a candidate; also its tier. */
enum discovery_tier { DISCOVERY_AUTHORITY, DISCOVERY_WARM, DISCOVERY_COLD };

struct discovery_lookup;
struct discovery_lookup_events {
	/** A peer that may have it. Any number of times. */
	void (*on_peer)(struct discovery_lookup *l, const struct sync_target *target);
	/** The last call; the struct is the owner's again. */
	void (*on_done)(struct discovery_lookup *l, int status);
};
/* One question to a source that has to ask others (the DHT). */
struct discovery_lookup {
	const struct discovery_lookup_events *events;
	void *data;
	/* private to the source */
	void *source_data;
	struct op op;
};

/* A source. LAN answers from what it heard; the DHT looks up. NULL functions: not that kind. Lives
 * in the folder that implements it; borrowed by the discovery until it is closed. */
struct discovery_source {
	const char *name; /* "lan", "dht" */
	enum discovery_tier tier;
	/** Peers known now, as many as fit. */
	size_t (*peers)(struct discovery_source *s, struct sync_target *ret, size_t cap);
	/** Ask for providers of an object. The callbacks come from the loop. */
	void (*lookup)(struct discovery_source *s, struct discovery_lookup *l,
		       const struct op_env *env, const struct iri *iri);
	void (*lookup_cancel)(struct discovery_source *s, struct discovery_lookup *l);
	/** Why it gives nothing: "off", "starting"; NULL = in use. */
	const char *(*state)(struct discovery_source *s);
	/** Loop time until which those that it asked at its beginning may still answer; 0 = nobody was
	 * asked. May be NULL. */
	uint64_t (*settles_ms)(struct discovery_source *s);
};

/* ---- The service ---- */

struct discovery;
/* A peer that failed, or did wrong, and is left alone for a while. */
struct discovery_benched {
	struct public_key peer;
	uint64_t for_ms, ago_ms; /* for_ms 0: its time is over, and it has not made up for it */
	uint32_t failures, offences;
	uint64_t wasted_ms, wasted_bytes; /* by its offences */
	char why[SYNC_WHY_SIZE];	  /* of the last one */
};

struct discovery_config {
	struct runner *runner;
	struct net *net; /* borrowed, all of them */
	struct store *store;
	struct sync *sync;
	struct trace *trace;
	const struct public_key *own_space; /* copied; NULL = none */
	/** A peer did wrong and was benched for it. May be NULL. */
	void (*on_offence)(void *data, const struct discovery_benched *b);
	void *data;
	/* ms; 0 = the defaults above */
	uint64_t timeout_ms, local_timeout_ms, dht_timeout_ms, subscription_interval_ms;
};
struct discovery *discovery_new(const struct discovery_config *config);
/** Before the first discovery. ERR_LIMIT. */
int discovery_add_source(struct discovery *d, struct discovery_source *source);
/** Load subscriptions and keep them in sync: now, when a peer announces, and every interval. */
void discovery_start_subscriptions(struct discovery *d);
/** Tell it that the table of subscriptions has one more (or one that wants older versions from now
 * on), or one less. */
void discovery_subscription_added(struct discovery *d, const struct scope *scope, bool history);
void discovery_subscription_removed(struct discovery *d, const struct scope *scope);
/* What the scheduler knows of one subscription. */
struct discovery_subscription_status {
	const char *state; /* "sleeping", "backing off", "queued", "running" */
	const char *why;   /* of the run that is or was last: "added", "announced", "interval",
			      "retry"; NULL = none yet */
	uint64_t next_in_ms;
	uint32_t failures; /* in a row */
	bool confirmed;	   /* by a peer, since the daemon started */
	uint64_t confirmed_ago_ms;
	bool overdue; /* not confirmed for DISCOVERY_OVERDUE_INTERVALS, though it should be */
	bool ran;     /* the rest is of the last run that ended */
	enum discovery_outcome outcome;
	int status;
	uint64_t ended_ago_ms;
	struct discovery_report report;
	uint64_t commits_here, blobs_missing; /* of the scope, at its end */
};
/** False: it is not subscribed to, or not loaded yet. Strings are static. */
bool discovery_subscription_status(const struct discovery *d, const struct scope *scope,
				   struct discovery_subscription_status *ret);
/** A peer showed up nearby, at these addresses: if a subscription looks to it and it is not
 * connected, it is dialed now. */
void discovery_peer_seen(struct discovery *d, const struct sync_target *target);
/** False: nothing is held against this peer. */
bool discovery_benched(const struct discovery *d, const struct public_key *peer,
		       struct discovery_benched *ret);
/** All of them, in no order, until `visit` returns false. */
void discovery_each_benched(const struct discovery *d,
			    bool (*visit)(void *data, const struct discovery_benched *b),
			    void *data);
/** Hand to sync as its listener, with the discovery as data. */
const struct sync_listener *discovery_sync_listener(void);
/** Cancels what runs; `closed` comes from the loop. Then discovery_free. */
void discovery_close(struct discovery *d, void (*closed)(void *data), void *data);
struct discovery *discovery_free(struct discovery *d);

struct discovery_stats {
	uint64_t started, joined, by_outcome[DISCOVERY_ERROR + 1], active, background_active,
		background_dropped;
	uint64_t by_answer[DISCOVERY_FAULT + 1];
	uint64_t offences; /* peers that did wrong and were benched, each time */
	uint64_t subscriptions, benched;
	uint64_t sub_overdue, sub_overdue_ms; /* not confirmed for so long; for how long at most */
	/* Peers that subscriptions look to: remembered, lost now; dials, those that worked; how often
	 * one came back, on whatever way; those for which there was no room */
	uint64_t redial_peers, redial_lost, redials, redials_reached, redial_came_back,
		redial_no_room;
	/* The scheduler of subscriptions: now, and since the start */
	uint64_t sub_sleeping, sub_backing_off, sub_hot_queued, sub_cold_queued, sub_hot_running,
		sub_cold_running;
	uint64_t sub_hot_started, sub_cold_started, sub_failed, sub_preempted, sub_news,
		sub_news_vain, sub_refused, sub_queued_max_ms;
	/* Answers "not found" that are remembered; questions that they answered; those that made
	 * room; searches for unknown objects beyond the budget */
	uint64_t misses, miss_hits, misses_made_room, searches_refused;
};
void discovery_stats(const struct discovery *d, struct discovery_stats *ret);

/* ---- One discovery ---- */

struct discover;
typedef void (*discover_cb)(struct discover *d, int status);
struct discover {
	struct op op;
	void *data;
	/** Counters moved (at most once per loop turn). Optional; set before start. */
	void (*on_progress)(struct discover *d);
	/** Ask even if the same question found nothing lately, and whatever the budget for unknown
	 * objects says. Set before start. */
	bool fresh;
	/** Once it resolves, the content of its older versions is fetched in the background. Set before
	 * start. */
	bool history;
	struct sync_progress progress;
	const char *stage; /* where the run is now; static string */
	/* Results */
	enum discovery_outcome outcome;
	const char *timeout_stage; /* with DISCOVERY_TIMEOUT */
	enum discovery_answer answer;
	struct discovery_peers peers; /* of the run; all zero when it was remembered */
	int last_error;		      /* why the last peer failed; 0 = no peer failed */
	uint64_t peers_known;	      /* how many peers could be asked at all */
	bool remembered; /* with DISCOVERY_NOT_FOUND: nobody was asked now, but lately */
	uint64_t asked_ago_ms;
	uint64_t again_in_ms; /* when it would be searched anew; also with ERR_BUSY, 0 = unknown */
	uint64_t retry_in_ms; /* peers were busy and said when to ask again; 0 = none was */
	uint64_t commits_here, blobs_missing; /* of the scope, as the store knew at the end */
	struct hash heads[STORE_HEADS_MAX];
	size_t head_count;
	bool tombstone;
	struct trace_context trace; /* of the run; also before the end, once started */
	bool traced;
	/* private */
	discover_cb cb;
	struct discovery *service;
	struct discovery_run *run;
	struct list waiter;
	struct iri iri;
	enum scope_kind kind;
	bool user, has_announcer;
	struct public_key announcer;
	struct span queued;
};
/** Find the object (and with kind SCOPE_RECURSIVE all below it). Copies the IRI. Status 0 with
 * outcome cached, local or dht, where the answer says whether anybody confirmed it; ERR_NOT_FOUND;
 * with the answer "behind" what kept the newer version from coming: ERR_MISSING, ERR_BUSY,
 * ERR_VERIFY, ERR_CLOSED, …, or the store's error; UV_ETIMEDOUT; UV_ECANCELED; ERR_BUSY
 * (DISCOVERY_RUNS_MAX, or too many searches for unknown objects lately); UV_ENOMEM; the store's
 * errors. Cancelling one asker of several only detaches it. What was not found lately is not
 * searched again for a minute, unless there is somebody new to ask. The struct's data,
 * on_progress, fresh and history are the caller's: zero it before the first use.
 */
void discover_start(struct discover *d, const struct op_env *env, struct discovery *service,
		    const struct iri *iri, enum scope_kind kind, discover_cb cb);

/* ---- Policy: pure ---- */

/** How many peers to draw beyond the authorities. Who waits for an answer gets one of anybody who can
 * be reached when the authorities cannot. */
unsigned discovery_width(bool user, bool have_locally, bool authority_known, bool exhaustive);
/** Is this wave to be an exhaustive one? Times are of the last exhaustive wave of the scope; 0 =
 * never. */
bool discovery_exhaustive(bool recursive, bool user_interest, uint64_t now_ms, uint64_t last_ms,
			  uint64_t last_user_ms);
/* Who may be dialed, beyond the peers that are connected. */
enum discovery_dial { DISCOVERY_DIAL_NOBODY, DISCOVERY_DIAL_AUTHORITIES, DISCOVERY_DIAL_ANYBODY };
/** A search that a user waits for, or for what is not held, dials anybody. A look for news of what
 * is held asks the peers that are connected; it dials only when none of them may be expected to
 * know. */
enum discovery_dial discovery_dials(bool user, bool have_locally, bool exhaustive,
				    bool authority_known, bool authority_connected,
				    bool anybody_connected);
/** Are peers that failed lately to be asked when nobody else is left? Only for what is missing: a
 * peer set is then never empty when any peer is known. */
bool discovery_asks_benched(bool user, bool have_locally);
/** May the DHT be asked? For news of what is held, as rarely as a wide wave; `last_ms` is of the
 * last lookup of the scope, 0 = never. */
bool discovery_dht_due(bool user, bool have_locally, uint64_t now_ms, uint64_t last_ms);
/** Local sync has run for so long without a peer that answered: is the DHT to start beside it? */
bool discovery_hedge(bool answered, uint64_t peers_ok, uint64_t since_ms);
/** After a tier: is the next one needed? */
bool discovery_escalate(uint64_t peers_ok, uint64_t outstanding, bool resolved, bool exhaustive);
/** May the running sessions of a tier be cut? `talking`: some of them are connected and have not
 * yet said what they have. */
bool discovery_cut_stragglers(uint64_t peers_ok, uint64_t outstanding, bool resolved, bool pinned,
			      bool talking, uint64_t idle_ms);
/** Draw up to `width` of `count` candidates without replacement; picks are written to ret_picks
 * (indices). */
size_t discovery_draw(struct runner *r, size_t count, size_t width, size_t *ret_picks);
