/* Sync: bring a scope up to date from peers, and serve others.
 *
 *   peer session   one scope from one peer (trace "sync.peer"): dial, handshake, load, reconcile,
 * fetch, store wave           sessions with several peers for one scope; they share one set of
 * wants want           a blob that is referenced and absent: wanted → in flight → stored | refused
 * | failed claim          at most one request for a hash is in flight in the whole daemon; others
 * wait for its outcome advertiser     a peer that listed a commit; its content is asked there
 * first, then at other advertisers serve          the other side of all this (trace "sync.serve",
 * under the asker's trace id) announce       new commits are told to the peers that subscribed to
 * their scope
 *
 * The reconciled set of a scope is its commits; content follows by links (store.h: wanted). Only
 * what was committed to the store counts as synced: a session that could not store something is not
 * ok. Nothing here knows how peers are found: the discovery folder hands targets down. */
#pragma once

#include "base/map.h"
#include "net/net.h"
#include "store/store.h"
#include "trace/trace.h"

enum {
	SYNC_PEERS_AT_ONCE_MAX = 20,	   /* per wave */
	SYNC_WAVE_PEERS_MAX = 256,	   /* targets of one wave */
	SYNC_WANTS_MAX = 1000000,	   /* of one wave */
	SYNC_PEER_TIMEOUT_MS = 120000,	   /* a session may go without a blob stored by its wave */
	SYNC_ROUND_TIMEOUT_MS = 15000,	   /* one reconcile round */
	SYNC_FETCH_BATCH_MAX = 64,	   /* hashes of one Fetch message */
	SYNC_FETCH_WINDOW_BLOBS = 256,	   /* in flight per session */
	SYNC_FETCH_WINDOW_BYTES = 8 << 20, /* asked, arrived and being stored, per session */
	SYNC_FETCH_BUDGET_BYTES = 256 << 20, /* the same for all sessions: beyond, each gets by with
						one blob at a time */
	SYNC_FETCH_IDLE_MS = 10000,	     /* without an answer: the peer is given up */
	SYNC_WHY_SIZE = 128,		     /* of a reason in words */
	SYNC_PUT_BATCH_BLOBS = 128,
	SYNC_PUT_BATCH_BYTES = 4 << 20,
	SYNC_SERVE_MAX = 256,		/* streams served at once … */
	SYNC_SERVE_STRANGERS_MAX = 224, /* … for all but known peers together … */
	SYNC_SERVE_PER_NETWORK_MAX = 128,
	SYNC_SERVE_PER_ADDRESS_MAX = 64,
	SYNC_SERVE_PER_PEER_MAX = 16,
	SYNC_KNOWN_MAX = 4096,	   /* peers preferred to strangers */
	SYNC_STANDING_MAX = 128,   /* strangers preferred because they have followed … */
	SYNC_STANDING_MS = 600000, /* … for so long */
	/* Per peer, a token bucket. One with STORE_SUBSCRIPTIONS_MAX subscriptions looks after 167 a
	 * second; those for whom there was never a token would starve. */
	SYNC_SERVE_REQUESTS_PER_S = 200,
	SYNC_SUBSCRIBERS_MAX = 16384, /* scopes of which peers want announcements … */
	SYNC_SUBSCRIBERS_PER_NETWORK_MAX = 12288,
	SYNC_SUBSCRIBERS_PER_ADDRESS_MAX = 8192,
	SYNC_HEARERS_MAX = 1024, /* … on so many streams */
	SYNC_FOLLOWS_MAX = 8192, /* scopes of which we get them */
	SYNC_TARGET_ADDRS_MAX = 8,
	SYNC_RETRY_AFTER_MS = 1000 /* told with busy when nothing better is known */
};

struct sync;

/* What sync tells the folder above. Called from the loop; must not block, may start operations. */
struct sync_listener {
	/** Commits became part of an object: from a peer (from != NULL) or by sync_published. */
	void (*on_commits)(void *data, const struct store_new_commit *commits, size_t count,
			   const struct public_key *from);
	/** A peer has a connection now that had none, or has none any more. Optional. */
	void (*on_conn)(void *data, const struct public_key *peer, bool up);
	/** A peer that we follow announced commits of this scope that we do not have. */
	void (*on_announced)(void *data, const struct public_key *peer, const struct scope *scope);
};

struct sync_config {
	struct runner *runner;
	struct net *net;		      /* borrowed; sync becomes its service */
	struct store *store;		      /* borrowed */
	struct trace *trace;		      /* borrowed; may be NULL */
	const struct sync_listener *listener; /* borrowed; may be NULL */
	void *listener_data;
	/* Timeouts in ms; 0 = the defaults above. */
	uint64_t peer_timeout_ms, round_timeout_ms, fetch_idle_ms;
};
struct sync *sync_new(const struct sync_config *config);
/** The listener may be set after sync_new, since what listens is usually made of a sync, and is taken
 * away (NULL) before that is freed. */
void sync_set_listener(struct sync *s, const struct sync_listener *listener, void *data);
/** End serving and following; `closed` comes from the loop when nothing is in flight. Waves must
 * have ended. Then sync_free, once the net is closed (it hands streams to sync). */
void sync_close(struct sync *s, void (*closed)(void *data), void *data);
struct sync *sync_free(struct sync *s);

/** Prefer this peer to strangers from now on: the user's own, vouched for, or served us. The user's
 * own of the store are known from the start. */
void sync_know(struct sync *s, const struct public_key *peer);
void sync_unknow(struct sync *s, const struct public_key *peer);

/* What a peer occupies here. */
struct sync_usage {
	const char *rank;		    /* "stranger", "standing", "known" */
	unsigned serving, waiting, hearing; /* streams served, those of them that wait for room,
					       streams on which it hears of news */
	unsigned scopes;		    /* of which it hears */
	uint64_t held_bytes, idle_ms;	    /* idle: of the stream that did something last */
};
void sync_usage(struct sync *s, const struct public_key *peer, struct sync_usage *ret);

struct sync_stats {
	uint64_t sessions, sessions_ok, sessions_failed, active_sessions;
	uint64_t sessions_again; /* the conn was lost, and the peer dialed anew */
	uint64_t blobs_fetched, bytes_fetched, blobs_served, bytes_served, duplicates,
		refused_blobs;
	uint64_t overtaken; /* blobs asked from another peer while one that was asked had not sent
			       them */
	uint64_t late_blobs, late_bytes; /* of these: came twice, and were dropped */
	uint64_t fetch_bytes;		 /* asked, arrived and being stored now, in all sessions */
	uint64_t wants_over_limit; /* blobs that a wave had no room to want: a later one asks */
	uint64_t rounds, serves, active_serves, refusals_busy, refusals_other, claims, claim_waits;
	uint64_t gave_way;    /* streams ended because they did nothing and others waited */
	uint64_t turned_away; /* streams told to come again, there being no room */
	uint64_t busy_waits;  /* sessions that came again when a busy peer said */
	uint64_t known_peers, standing_peers;
	uint64_t held_bytes, held_peak_bytes; /* for peers: queued, and being read */
	uint64_t room_waits;		      /* reads that had to wait for room */
	uint64_t unread;		      /* streams ended because nobody read them */
	uint64_t hearers;		      /* streams on which peers hear of news */
	uint64_t subscribers, follows, announced_out, announced_in, announce_dropped;
	uint64_t follows_refused; /* scopes for which there was no room, here or there */
	/* sets to reconcile: taken from memory, the same after a look into the store, read; kept
	 * for the next session, given up for others */
	uint64_t sets_hot, sets_checked, sets_read, sets_kept, sets_kept_bytes, sets_dropped;
	uint64_t charged; /* peers that lied or broke the protocol, each time */
	/* peers that asked to be dialed back, were reached, were refused; what we asked */
	uint64_t dialbacks_in, dialbacks_reached, dialbacks_refused, dialbacks_out;
};
void sync_stats(const struct sync *s, struct sync_stats *ret);

/* ---- Waves ---- */

/* Whom to ask. */
struct sync_target {
	bool any_peer; /* an address without an identity: whoever answers there */
	struct public_key peer;
	struct multiaddr addrs[SYNC_TARGET_ADDRS_MAX];
	size_t addr_count; /* 0: only if connected already */
};

/* Why a session ended early, for the trace. */
enum sync_cut {
	SYNC_CUT_NONE,
	SYNC_CUT_RESOLVED,
	SYNC_CUT_STRAGGLER,
	SYNC_CUT_DEADLINE,
	SYNC_CUT_CANCELLED,
	SYNC_CUT_SLOW
};

struct sync_progress {
	uint64_t peers_found, peers_synced_ok, peers_failed, peers_cut;
	uint64_t blobs_discovered, blobs_downloaded, blobs_failed, bytes_downloaded, bytes_expected;
	/* Of what was discovered and expected: not here, now. What other waves brought is here. */
	uint64_t blobs_left, bytes_left;
	uint64_t outstanding; /* wants neither stored nor given up, now, but for the doubtful */
	uint64_t doubtful; /* commits that are listed by nobody but peers that do not send them */
	/* Commits that peers listed, or that listed ones descend from, and that are neither here
	 * nor known to be bad: what the scope is behind by, as far as anybody asked has said. */
	uint64_t commits_behind;
	uint64_t rounds;
};

/* How one session ended; for the peer table and for backoff. */
struct sync_peer_outcome {
	struct sync_target target; /* peer is set once proven */
	bool proven;
	int status; /* 0 = everything it advertised is stored */
	enum sync_cut cut;
	bool reused;		 /* the conn existed already */
	bool holds;		 /* with status 0: it has commits of the scope */
	uint32_t retry_after_ms; /* with ERR_BUSY: when it wants to be asked again; 0 = unknown */
	uint64_t needs, blobs, bytes, duration_ms;
	uint64_t commits_behind;    /* of those that this peer listed; 0 whenever the status is 0 */
	struct multiaddr dial_addr; /* port 0 = unknown */
	bool doubted; /* it lists commits that nobody else does, and had not sent any in good time */
	/* What it did wrong, when it is to blame: lied, broke the protocol, or held us up with what
	 * it does not send. */
	bool offended;
	char why[SYNC_WHY_SIZE];	  /* of a failure; "" = see the status */
	uint64_t wasted_ms, wasted_bytes; /* that it cost us, when it offended */
};

struct sync_wave;
typedef void (*sync_wave_cb)(struct sync_wave *w, int status);
struct sync_wave_events {
	/** A session ended. */
	void (*on_peer)(struct sync_wave *w, const struct sync_peer_outcome *outcome);
	/** Nothing more is wanted up to and including this priority, after something was stored: a
	 * good moment to look whether the object resolves. */
	void (*on_settled)(struct sync_wave *w, uint8_t priority);
	/** Counters moved; at most once per loop turn. May be NULL. */
	void (*on_progress)(struct sync_wave *w);
	/** A peer has proven who it is. False: it is or was asked elsewhere; its session ends with
	 * UV_EALREADY and counts as nobody. May be NULL. */
	bool (*on_proven)(struct sync_wave *w, const struct public_key *peer);
};
struct sync_wave {
	struct op op;
	void *data;
	struct sync_progress progress;
	uint64_t last_progress_ms; /* last time a blob was stored or a set difference was learned */
	/* private */
	sync_wave_cb cb;
	const struct sync_wave_events *events;
	struct sync *sync;
	struct list node; /* in the sync */
	struct scope scope;
	uint8_t max_priority;
	bool sealed, any_ok;
	int store_error, last_error;
	struct list sessions; /* running */
	struct list queued;   /* targets waiting for a free place */
	unsigned running, target_count;
	struct map targets; /* to ignore those that are in already */
	struct fetch_set *wants;
	struct store_wants load; /* what the store wants of the scope */
	bool loading, reload, load_more;
	struct hash pinned[IRI_HEADS_MAX];
	size_t pinned_count;
	bool news;    /* commits came: what content is wanted has to be read again */
	bool looking; /* it is being read */
	uint64_t stored_blobs, stored_at_load;
	int settled; /* priority told by on_settled last, -1 = none */
	bool progress_pending;
};
/** Sync `scope` from the targets that are added: its commits, then the content of the heads up to
 * and including max_priority (enum store_priority), with STORE_WANT_HISTORY that of all versions.
 * Wants that the store already has for the scope are taken
 * along. Its sessions are children of env->span. Ends when sealed and every session has ended:
 * status 0 when at least one session was ok, ERR_NOT_FOUND without targets, else the last failure;
 *  UV_ECANCELED, UV_ETIMEDOUT, UV_ENOMEM. Events come from the loop, never inside a call. */
void sync_wave_start(struct sync_wave *w, const struct op_env *env, struct sync *s,
		     const struct scope *scope, uint8_t max_priority,
		     const struct sync_wave_events *events, sync_wave_cb cb);
/** Right after the start: fetch the content of these versions of the exact object instead of its
 * heads'. Copies. */
void sync_wave_pin(struct sync_wave *w, const struct hash *heads, size_t count);
/** Copies. A target that is already in the wave is ignored. 0, ERR_LIMIT, UV_ENOMEM, ERR_SELF. Not
 * after seal. */
int sync_wave_add(struct sync_wave *w, const struct sync_target *target);
/** No more targets will come. */
void sync_wave_seal(struct sync_wave *w);
/** Bring w->progress up to date: another wave may have stored something since it was told. */
void sync_wave_count(struct sync_wave *w);
/** Is any of its sessions connected and has not yet heard all that the peer has? */
bool sync_wave_talks(const struct sync_wave *w);
/** Cancel the sessions still running (and drop queued targets) for this reason; the wave then ends
 * as usual, once it is sealed. Sessions that were ok stay so. */
void sync_wave_cut(struct sync_wave *w, enum sync_cut why);
/** One of its sessions may still bring something in good time: it is on its way, and answers within
 * the round trips that it takes. */
bool sync_wave_is_hopeful(const struct sync_wave *w);

/* ---- Announcements ---- */

/** Commits were made here: tell subscribed peers. */
void sync_published(struct sync *s, const struct store_new_commit *commits, size_t count);
/** Ask a connected peer to announce new commits of the scope for as long as the conn lasts; does
 * nothing when it does so already or is not connected. */
void sync_follow(struct sync *s, const struct public_key *peer, const struct scope *scope);
/** Stop following a scope everywhere. */
void sync_unfollow(struct sync *s, const struct scope *scope);

/* ---- Dial-back: do others reach us? ---- */

struct sync_dialback;
typedef void (*sync_dialback_cb)(struct sync_dialback *d, int status);
struct sync_dialback {
	struct op op;
	void *data;
	/* Results, when the status is 0 */
	bool reached;	       /* at `seen`, and the handshake proved that it was us */
	struct multiaddr seen; /* our address as the peer sees it, with the port we named */
	/* private */
	sync_dialback_cb cb;
	struct sync *sync;
	struct public_key peer;
	uint16_t port;
	struct net_stream stream;
	bool open, closing;
};
/** Ask a connected peer whether it can open a connection to us, at the address from which it sees
 * us and this port (1024 or more, or the one we listen on). All of it is the peer's word. Trace
 * "sync.dialback". Status 0: it tried; ERR_NOT_FOUND: not connected; ERR_BUSY, ERR_REFUSED,
 * ERR_UNSUPPORTED (an older peer); ERR_PROTOCOL; ERR_CLOSED; UV_ETIMEDOUT, UV_ECANCELED, UV_ENOMEM.
 * Must have ended before sync_close. */
void sync_dialback_start(struct sync_dialback *d, const struct op_env *env, struct sync *s,
			 const struct public_key *peer, uint16_t port, sync_dialback_cb cb);

/* ---- Backoff: when a peer that failed may be asked again. Pure. ---- */

struct sync_backoff {
	uint32_t failures;
	uint64_t last_failure_ms, until_ms;
};
enum {
	SYNC_BACKOFF_BASE_MS = 30000,
	SYNC_BACKOFF_MAX_MS = 600000,
	SYNC_BACKOFF_FORGET_MS = 3600000
};
/** Timeouts count like any failure; `random` is jitter. After expiry the peer is eligible again but
 * the ladder is remembered and halves per SYNC_BACKOFF_FORGET_MS without failure. */
void sync_backoff_failed(struct sync_backoff *b, uint64_t now_ms, uint64_t random);
void sync_backoff_ok(struct sync_backoff *b);
bool sync_backoff_eligible(const struct sync_backoff *b, uint64_t now_ms);
