/* Frames and streams of one connection, without I/O: bytes in → events, messages → bytes out.
 *
 * A mux is fed with the plaintext of one record at a time (mux_receive) and asked for the content
 * of the next record (mux_produce). A record holds whole frames: a byte of type, then multiformats
 * varints.
 *
 *   OPEN    id                 the initiator's ids are odd, the responder's even; they only rise
 *   DATA    id, length, bytes  1 to MUX_DATA_MAX bytes of the stream: (length, message) in sequence
 *   END     id                 no more data in this direction
 *   RESET   id, code           both directions are over; what was in flight is dropped
 *   CREDIT  id, bytes          so many more bytes of DATA may be sent
 *   PING    8 bytes            answered by PONG with the same bytes
 *   PONG    8 bytes
 *   GOAWAY  code               the sender opens no more streams; code not 0: why it closes
 *
 * Credit counts the bytes inside DATA frames. A stream begins with MUX_WINDOW_BASE in either
 * direction; further credit is given as data arrives, up to NET_STREAM_WINDOW ahead, as long as the
 * connection's receive budget lasts. */
#pragma once

#include "net/net.h"

enum {
	MUX_DATA_MAX = 16 << 10,
	MUX_WINDOW_BASE = 64 << 10,
	/* Shared by all streams of a conn beyond their base windows; what is left of
	 * NET_CONN_RECEIVE_MAX when every stream has its base and one of them the right to finish a
	 * message of any size. */
	MUX_SHARED_MAX = NET_CONN_RECEIVE_MAX - 2 * NET_STREAMS_MAX * MUX_WINDOW_BASE -
			 NET_MESSAGE_MAX - NET_STREAM_WINDOW,
	MUX_CREDIT_MAX = 1 << 30, /* a peer's grants to one stream, added up and not used */
	MUX_RESETS_MAX = 256,	  /* RESET frames waiting to be sent */
	MUX_PONGS_MAX = 8,	  /* PONG frames waiting to be sent */
	MUX_UNRELEASED_MAX = 128,
	MUX_STRIKES_MAX = 256, /* streams refused or reset at once before the peer is cut off … */
	MUX_STRIKES_PER_S = 32, /* … and forgotten per second */
	MUX_PONG_SIZE = 8
};
_Static_assert((int)MUX_SHARED_MAX > (int)NET_STREAM_WINDOW,
	       "at least one stream gets a full window");

enum mux_frame {
	MUX_OPEN = 1,
	MUX_DATA,
	MUX_END,
	MUX_RESET,
	MUX_CREDIT,
	MUX_PING,
	MUX_PONG,
	MUX_GOAWAY
};

/* Reasons as they travel. */
enum mux_code {
	MUX_CODE_NONE,
	MUX_CODE_CANCELLED,
	MUX_CODE_REFUSED,
	MUX_CODE_BUSY,
	MUX_CODE_TOO_BIG,
	MUX_CODE_PROTOCOL,
	MUX_CODE_NOT_FOUND,
	MUX_CODE_INTERNAL
};
/** UV_ECANCELED, ERR_REFUSED, ERR_BUSY, ERR_TOO_BIG, ERR_PROTOCOL, ERR_NOT_FOUND; everything else
 * is INTERNAL. */
enum mux_code mux_code_of(int err);
/** The reverse; INTERNAL and codes unknown to us are UV_EREMOTEIO. */
int mux_code_err(uint64_t code);

struct mux;
struct mux_events {
	/** The peer opens a stream: its struct with events set, or NULL and the refusal to send. */
	struct net_stream *(*on_open)(struct mux *m, int *ret_refusal);
	/** The mux is done with the stream; close_status tells how it ended. From inside any call.
	 * The owner calls mux_stream_released once the struct is about to be given back. */
	void (*on_closed)(struct net_stream *s);
	/** There may be something to produce. From inside any call. */
	void (*on_pending)(struct mux *m);
	void (*on_pong)(struct mux *m, uint64_t token);
	void (*on_goaway)(struct mux *m, int status); /* status 0 or the reason */
};

struct mux_reset {
	uint64_t id;
	enum mux_code code;
};

struct mux {
	const struct mux_events *events;
	uint64_t now_ms; /* kept by the owner; for forgetting strikes */
	struct list streams;
	unsigned our_streams, peer_streams; /* not closed */
	unsigned unreleased;		    /* closed, and their structs not given back yet */
	size_t send_queued;		    /* of all streams */
	size_t held;			    /* bytes of unfinished messages */
	uint64_t opened, refused;
	/* private */
	bool initiator, stopped, broken, peer_leaving;
	uint64_t next_id, last_peer_id;
	struct list turns, dues, starved;
	struct net_stream *finisher; /* may finish its message whatever the shared budget says */
	size_t shared_used;
	struct mux_reset resets[MUX_RESETS_MAX];
	unsigned reset_first, reset_count;
	uint8_t pongs[MUX_PONGS_MAX][MUX_PONG_SIZE];
	unsigned pong_count;
	bool ping_due, goaway_due;
	uint64_t ping_token;
	enum mux_code goaway_code;
	unsigned strikes;
	uint64_t strikes_ms;
};

void mux_init(struct mux *m, bool initiator, const struct mux_events *events);
/** Close every stream with `status` (on_closed each) and ignore all input from now on. Idempotent.
 */
void mux_stop(struct mux *m, int status);

/** Take the plaintext of a record. 0; ERR_PROTOCOL (say so and close); UV_ENOMEM. Calls the
 * streams' on_message, on_end. */
int mux_receive(struct mux *m, const uint8_t *data, size_t len);
/** Write whole frames to dst, at most cap bytes (cap ≥ 64); returns how many bytes. Calls the
 * streams' on_drain. */
size_t mux_produce(struct mux *m, uint8_t *dst, size_t cap);
/** How many bytes mux_produce would write at most: 0 = nothing to send. */
size_t mux_pending(const struct mux *m);

void mux_ping(struct mux *m, uint64_t token);
void mux_goaway(struct mux *m, int status);

int mux_stream_open(struct mux *m, struct net_stream *s);
int mux_stream_send(struct net_stream *s, const void *msg, size_t len);
void mux_stream_end(struct net_stream *s);
void mux_stream_reset(struct net_stream *s, int code);
void mux_stream_pause(struct net_stream *s, bool paused);
/** See on_closed. */
void mux_stream_released(struct mux *m, struct net_stream *s);

/* ---- Between mux.c, mux_receive.c and mux_send.c ---- */

void mux_stream_init(struct mux *m, struct net_stream *s, uint64_t id, bool ours);
/** Nothing more of this stream from now on. */
void mux_stream_close(struct net_stream *s, int status);
/** Close orderly if both directions have ended. */
void mux_stream_settle(struct net_stream *s);
/** A full queue marks the mux broken: only a peer that opens and never reads can bring that about.
 */
void mux_queue_reset(struct mux *m, uint64_t id, enum mux_code code);
/** Queue up for a turn to send, if there is something to send. */
void mux_stream_want_turn(struct net_stream *s);
/** Give back what the stream was allowed to receive, and let the others have it. */
void mux_stream_forget_receive(struct net_stream *s);
/** Give more credit if it is due and there is room. */
void mux_stream_replenish(struct net_stream *s);
void mux_stream_drop_queue(struct net_stream *s);
