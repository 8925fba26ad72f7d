/* One scope from one peer. The wave starts it, gives it its want set, and frees it in the callback.
 */
#pragma once

#include "sync/internal.h"
#include "sync/pace.h"

enum {
	SESSION_LISTED_MISSING_MAX =
		1024, /* commits that a peer listed and then has not: beyond, it is a liar */
	SESSION_HOLD_WANTS =
		65536, /* commits unsettled in the wave above which the next round waits */
	SESSION_HASH_INLINE_MAX = 64
				  << 10, /* larger blobs are verified by the store's thread only */
	SESSION_SILENT_BYTES = 1024,	 /* pings and credit of an idle window stay below */
	SESSION_SORT_MAX = 16384,	 /* commits put in order before any is asked for */
	SESSION_BUSY_MAX_MS = 5000,	 /* a busy peer is waited for no longer at a time … */
	SESSION_BUSY_TIMES = 3,		 /* … and no more often, if there is nobody else to ask */
	SESSION_CLOSE_MS = 2000,	 /* for the peer to end its side of the streams */
	SESSION_OVERTAKE_MS = 20,    /* a peer that would send something only so much sooner is not
				     asked too */
	SESSION_LOOK_MS = 25,	     /* how often a session looks whom it could overtake */
	SESSION_HOPEFUL_ROUNDS = 8,  /* that may pass before a peer sends something of use */
	SESSION_PUT_GRACE_MS = 30000 /* for storing what had arrived when a session is cut */
};

/* A blob that was asked and has not been answered. */
struct session_ask {
	struct list node;
	struct fetch_want *want;
	uint64_t cost;
};

/* Those of them that nobody else was asked for since. */
struct session_live {
	size_t count, commits;
};

/* A commit that a peer listed and that has to be looked up. */
struct session_need {
	struct hash hash;
	uint64_t from_time; /* of its list */
	uint64_t number;    /* as it was told */
};

struct session;
typedef void (*session_cb)(struct session *s);

struct session {
	struct op op;
	struct sync *sync;
	struct sync_wave *wave;
	unsigned index; /* in the wave's want set */
	struct list node;
	session_cb cb;
	struct sync_peer_outcome outcome;
	uint64_t started_ms;
	bool again;   /* the second one of its wave with this peer, after the conn was lost */
	bool faulted; /* ended for a reason found here, not by deadline or cancel from above */
	bool closing; /* do_closing has begun */

	struct net_dial dial;
	bool started, dialing, connected;
	bool admitted; /* the only session with this peer */
	int dial_status;
	struct multiaddr remote;
	struct snapshot_load load;
	bool loading;
	int load_status;

	/* session_rounds.c */
	struct net_stream rounds;
	bool rounds_open, rounds_done, round_waits;
	struct reconcile reconcile;
	struct buf held; /* the next round's message, while commits are many */
	bool holding;
	uint64_t busy_until_ms; /* the peer had no place and said when to come again; 0 = no */
	unsigned busy_count;
	bool rounds_refused; /* the rounds are begun anew then */
	unsigned round;
	uint64_t round_ms;
	size_t round_sent;
	uint64_t needs, haves, round_needs, round_haves;
	int sink_error;
	struct session_need *to_check;
	struct hash *checking;
	uint64_t needs_told;
	size_t to_check_count, to_check_cap, checking_count;
	struct store_has has;
	bool has_running;

	/* session_fetch.c */
	struct net_stream blobs;
	bool blobs_open;
	struct session_ask asks[SYNC_FETCH_WINDOW_BLOBS];
	struct list asked, free_asks; /* in the order asked */
	size_t asked_count;
	struct pace pace;
	uint64_t counted_bytes; /* of the daemon's budget */
	uint64_t missing, missing_listed, overtook, late_blobs, late_bytes;
	struct store_blob arrived[SYNC_FETCH_WINDOW_BLOBS];
	struct fetch_want *arrived_wants[SYNC_FETCH_WINDOW_BLOBS];
	size_t arrived_count;
	uint64_t arrived_bytes;
	struct store_put put;
	struct store_blob put_blobs[SYNC_PUT_BATCH_BLOBS];
	struct fetch_want *put_wants[SYNC_PUT_BATCH_BLOBS];
	size_t put_count;
	uint64_t put_bytes;
	uint64_t answers; /* blobs and missings received */

	/* session_time.c */
	uint64_t idle_ms, idle_bytes, idle_answers; /* when the idle window began, and at what
						       counts */
	uint64_t dialed_ms, connected_ms;
	uint64_t first_bytes;	    /* the connection's, when the session began to use it */
	uint64_t useful, useful_ms; /* blobs that were needed: how many; the last one, or when it
				       was first waited for */
	uint64_t heard_ms, heard_bytes; /* when something came last, or nothing was out */
	uint64_t looked_ms;
	bool asked_once, doubted;

	struct runner_timer timer;
};

void session_start(struct session *s, const struct op_env *env, struct sync_wave *w, unsigned index,
		   const struct sync_target *target, session_cb cb);
void session_free(struct session *s);
/** End it early; harmless when it is ending. */
void session_cut(struct session *s, enum sync_cut why, int status);
/** See sync_wave_is_hopeful. */
bool session_is_hopeful(const struct session *s);
/** Connected, and telling what the peer has, in good time. */
bool session_talks(const struct session *s);

/* Between the session's files. */
/** Ends with a status found here. */
void session_fail(struct session *s, int status);
/** The same, and the peer is to blame: `why` says for what. */
void session_blame(struct session *s, int status, const char *why);
/** The reason of a failure that is about to be told, in words; the first one counts. */
void session_why(struct session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Open a stream and send its request. *ret_open is set as soon as its on_close will come, also on
 * failure. */
int session_open_stream(struct session *s, struct net_stream *stream,
			const struct net_stream_events *events, const struct wire_request *request,
			bool *ret_open);
/** A status that is the store's trouble, not the peer's. */
bool session_is_store_error(int status);

int session_rounds_begin(struct session *s);
/** The peer is busy. True: there is nobody else to ask, and the session comes again when it said. */
bool session_wait_for_place(struct session *s, int code, uint64_t wait_ms);
/** Sends a round that was held back, starts look-ups. */
void session_rounds_work(struct session *s);
void session_rounds_end(struct session *s);

void session_asks_init(struct session *s);
int session_fetch_ask(struct session *s);
struct session_live session_fetch_live(const struct session *s);
/** Keep the daemon's budget up to date with what this session holds. */
void session_fetch_count(struct session *s);
/** A want that is in flight no more: its claim is given up. */
void session_claim_done(struct sync *s, struct fetch_want *w, bool stored);
/** session_put.c: starts a put if there is something to put and none is running. */
void session_fetch_put(struct session *s);
/** What was asked and has not come goes back to the want set. */
void session_fetch_release(struct session *s);
/** A commit or a capability is asked, has arrived, or is being stored. */
bool session_fetch_has_commits(const struct session *s);
size_t session_fetch_window(const struct session *s);

/* ---- session_time.c ---- */
/** Something is about to be asked; it was of use. */
void session_time_asked(struct session *s);
void session_time_useful(struct session *s);
bool session_time_overtake_due(struct session *s);
/** Ends a session that has waited long enough; doubts a peer that lists and does not send. */
void session_time_check(struct session *s);
void session_time_arm(struct session *s);
/** Asked in vain for all that it was asked for, while others had it: then it failed. */
bool session_time_was_useless(struct session *s);
