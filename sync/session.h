/* One scope from one peer. The wave starts it, gives it its want set, and frees it in the callback.
 */
#pragma once

#include "sync/internal.h"

enum {
	SESSION_LISTED_MISSING_MAX =
		1024, /* commits that a peer listed and then has not: beyond, it is a liar */
	SESSION_HOLD_WANTS =
		65536, /* commits unsettled in the wave above which the next round waits */
	SESSION_HASH_INLINE_MAX = 64
				  << 10, /* larger blobs are verified by the store's thread only */
	SESSION_SILENT_BYTES = 1024,	 /* pings and credit of an idle window stay below */
	SESSION_CLOSE_MS = 2000,	 /* for the peer to end its side of the streams */
	SESSION_PUT_GRACE_MS = 30000	 /* for storing what had arrived when a session is cut */
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
	int dial_status;
	struct snapshot_load load;
	bool loading;
	int load_status;

	/* session_rounds.c */
	struct net_stream rounds;
	bool rounds_open, rounds_done, round_waits;
	struct reconcile reconcile;
	struct buf held; /* the next round's message, while commits are many */
	bool holding;
	unsigned round;
	uint64_t round_ms;
	size_t round_sent;
	uint64_t needs, haves, round_needs, round_haves;
	int sink_error;
	struct hash *to_check, *checking;
	size_t to_check_count, to_check_cap, checking_count;
	struct store_has has;
	bool has_running;

	/* session_fetch.c */
	struct net_stream blobs;
	bool blobs_open;
	struct list asked; /* wants, in the order asked */
	size_t asked_count, asked_commits;
	uint64_t asked_bytes;
	uint64_t missing, missing_listed;
	struct store_blob arrived[SYNC_FETCH_WINDOW_BLOBS];
	struct fetch_want *arrived_wants[SYNC_FETCH_WINDOW_BLOBS];
	size_t arrived_count;
	uint64_t arrived_bytes;
	struct store_put put;
	struct store_blob put_blobs[SYNC_PUT_BATCH_BLOBS];
	struct fetch_want *put_wants[SYNC_PUT_BATCH_BLOBS];
	size_t put_count;
	uint64_t put_bytes;
	uint64_t activity_ms, activity_bytes; /* when, and at what count of received bytes, the idle
						 window began */
	uint64_t answers, activity_answers;   /* blobs and missings received */

	struct runner_timer timer;
};

void session_start(struct session *s, const struct op_env *env, struct sync_wave *w, unsigned index,
		   const struct sync_target *target, session_cb cb);
void session_free(struct session *s);
/** End it early; harmless when it is ending. */
void session_cut(struct session *s, enum sync_cut why, int status);
/** In state "wait": it could do with what others have in flight. */
bool session_waits(const struct session *s);

/* Between the session's files. */
/** Ends with a status found here. */
void session_fail(struct session *s, int status);
/** The same, and the peer is to blame. */
void session_blame(struct session *s, int status);
/** Open a stream and send its request. *ret_open is set as soon as its on_close will come, also on
 * failure. */
int session_open_stream(struct session *s, struct net_stream *stream,
			const struct net_stream_events *events, const struct wire_request *request,
			bool *ret_open);
/** A status that is the store's trouble, not the peer's. */
bool session_is_store_error(int status);

int session_rounds_begin(struct session *s);
/** Sends a round that was held back, starts look-ups. */
void session_rounds_work(struct session *s);
void session_rounds_end(struct session *s);

int session_fetch_ask(struct session *s);
/** Starts a put if there is something to put and none is running. */
void session_fetch_put(struct session *s);
/** What was asked and has not come goes back to the want set. */
void session_fetch_release(struct session *s);
size_t session_fetch_window(const struct session *s);
