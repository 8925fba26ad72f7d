/* Frames and streams of one connection, without I/O: bytes in → events, messages → bytes out.
 *
 * A mux is fed with the plaintext of one record at a time (net_mux_receive) and asked for the
 * content of the next record (net_mux_produce). A record holds whole frames: a byte of type, then
 * multiformats varints.
 *
 *   OPEN    id                 the initiator's ids are odd, the responder's even; they only rise
 *   DATA    id, length, bytes  a piece of the stream, which is (length, message) in sequence
 *   END     id                 no more data in this direction
 *   RESET   id, code           both directions are over; what was in flight is dropped
 *   CREDIT  id, bytes          so many more bytes of DATA may be sent
 *   PING    8 bytes            answered by PONG with the same bytes
 *   PONG    8 bytes
 *   GOAWAY  code               the sender opens no more streams; code not 0: why it closes
 *
 * A piece is 1 to NET_MUX_DATA_MAX bytes, and credit counts them. A stream begins with
 * NET_MUX_WINDOW_BASE of it in either direction; further credit is given as data arrives, up to
 * NET_STREAM_WINDOW ahead, as long as the connection's receive budget lasts. */
#pragma once

#include "net/net.h"

enum {
	NET_MUX_DATA_MAX = 16 << 10,
	NET_MUX_WINDOW_BASE = 64 << 10,
	/* Shared by all streams of a conn beyond their base windows; what is left of
	 * NET_CONN_RECEIVE_MAX when every stream has its base and one of them the right to finish a
	 * message of any size. */
	NET_MUX_SHARED_MAX = NET_CONN_RECEIVE_MAX - 2 * NET_STREAMS_MAX * NET_MUX_WINDOW_BASE -
			     NET_MESSAGE_MAX - NET_STREAM_WINDOW,
	NET_MUX_CREDIT_MAX = 1 << 30, /* a peer's grants to one stream, added up and not used */
	NET_MUX_RESETS_MAX = 256,     /* RESET frames waiting to be sent */
	NET_MUX_PONGS_MAX = 8,	      /* PONG frames waiting to be sent */
	NET_MUX_UNRELEASED_MAX = 128, /* closed streams whose owner has not been told yet */
	NET_MUX_STRIKES_MAX = 256,    /* refused or reset streams that cut the peer off … */
	NET_MUX_STRIKES_PER_S = 32,   /* … less so many per second */
	NET_MUX_PONG_SIZE = 8
};
_Static_assert((int)NET_MUX_SHARED_MAX > (int)NET_STREAM_WINDOW,
	       "at least one stream gets a full window");

enum net_mux_frame {
	NET_MUX_OPEN = 1,
	NET_MUX_DATA,
	NET_MUX_END,
	NET_MUX_RESET,
	NET_MUX_CREDIT,
	NET_MUX_PING,
	NET_MUX_PONG,
	NET_MUX_GOAWAY
};

/* Reasons as they travel. */
enum net_mux_code {
	NET_MUX_CODE_NONE,
	NET_MUX_CODE_CANCELLED,
	NET_MUX_CODE_REFUSED,
	NET_MUX_CODE_BUSY,
	NET_MUX_CODE_TOO_BIG,
	NET_MUX_CODE_PROTOCOL,
	NET_MUX_CODE_NOT_FOUND,
	NET_MUX_CODE_INTERNAL
};
/** UV_ECANCELED, ERR_REFUSED, ERR_BUSY, ERR_TOO_BIG, ERR_PROTOCOL, ERR_NOT_FOUND; everything else
 * is INTERNAL. */
enum net_mux_code net_mux_code_of(int err);
/** The reverse; INTERNAL and codes unknown to us are UV_EREMOTEIO. */
int net_mux_code_err(uint64_t code);

struct net_mux;
struct net_mux_events {
	/** The peer opens a stream: its struct with events set, or NULL and the refusal to send. */
	struct net_stream *(*on_open)(struct net_mux *m, int *ret_refusal);
	/** The mux is done with the stream; close_status tells how it ended. From inside any call.
	 * The owner calls net_mux_stream_released once the struct is about to be given back. */
	void (*on_closed)(struct net_stream *s);
	/** There may be something to produce. From inside any call. */
	void (*on_pending)(struct net_mux *m);
	void (*on_pong)(struct net_mux *m, uint64_t token);
	void (*on_goaway)(struct net_mux *m, int status); /* status 0 or the reason */
	/** May unfinished messages of streams that the peer opened take so many bytes more? NULL:
	 * they may. */
	bool (*on_hold)(struct net_mux *m, size_t bytes);
};

struct net_mux_reset {
	uint64_t id;
	enum net_mux_code code;
};

struct net_mux {
	const struct net_mux_events *events;
	uint64_t now_ms; /* kept by the owner; for forgetting strikes */
	struct list streams;
	unsigned our_streams, peer_streams; /* not closed */
	unsigned unreleased;		    /* closed, and their structs not given back yet */
	size_t send_queued;		    /* of all streams */
	size_t held;			    /* bytes taken by unfinished messages */
	uint64_t moved_ms;		    /* when data last came or went */
	uint64_t opened, refused;
	/* private */
	bool initiator, stopped, broken, peer_leaving;
	uint64_t next_id, last_peer_id;
	struct list turns, dues, starved;
	struct net_stream *finisher; /* may finish its message whatever the shared budget says */
	size_t shared_used;
	struct net_mux_reset resets[NET_MUX_RESETS_MAX];
	unsigned reset_first, reset_count;
	uint8_t pongs[NET_MUX_PONGS_MAX][NET_MUX_PONG_SIZE];
	unsigned pong_count;
	bool ping_due, goaway_due;
	uint64_t ping_token;
	enum net_mux_code goaway_code;
	unsigned strikes;
	uint64_t strikes_ms;
};

void net_mux_init(struct net_mux *m, bool initiator, const struct net_mux_events *events);
/** Close every stream with `status` (on_closed each) and ignore all input from now on. Idempotent.
 */
void net_mux_stop(struct net_mux *m, int status);

/** Take the plaintext of a record. 0; ERR_PROTOCOL (say so and close); UV_ENOMEM. Calls the
 * streams' on_message, on_end. */
int net_mux_receive(struct net_mux *m, const uint8_t *data, size_t len);
/** Write whole frames to dst, at most cap bytes (cap ≥ 128); returns how many bytes. Calls the
 * streams' on_drain. */
size_t net_mux_produce(struct net_mux *m, uint8_t *dst, size_t cap);
/** About how many bytes there are to produce; 0 = nothing to send. */
size_t net_mux_pending(const struct net_mux *m);

void net_mux_ping(struct net_mux *m, uint64_t token);
void net_mux_goaway(struct net_mux *m, int status);

int net_mux_stream_open(struct net_mux *m, struct net_stream *s);
int net_mux_stream_send(struct net_stream *s, const void *msg, size_t len);
void net_mux_stream_end(struct net_stream *s);
void net_mux_stream_reset(struct net_stream *s, int code);
void net_mux_stream_pause(struct net_stream *s, bool paused);
/** See on_closed. */
void net_mux_stream_released(struct net_mux *m, struct net_stream *s);

/* ---- Between mux.c, net_mux_receive.c and mux_send.c ---- */

void net_mux_stream_init(struct net_mux *m, struct net_stream *s, uint64_t id, bool ours);
/** Nothing more of this stream from now on. */
void net_mux_stream_close(struct net_stream *s, int status);
/** Close orderly if both directions have ended. */
void net_mux_stream_settle(struct net_stream *s);
/** A full queue marks the mux broken: only a peer that opens and never reads can bring that about.
 */
void net_mux_queue_reset(struct net_mux *m, uint64_t id, enum net_mux_code code);
/** Queue up for a turn to send, if there is something to send. */
void net_mux_stream_want_turn(struct net_stream *s);
/** Give back what the stream was allowed to receive, and let the others have it. */
void net_mux_stream_forget_receive(struct net_stream *s);
/** Give more credit if it is due and there is room. */
void net_mux_stream_replenish(struct net_stream *s);
void net_mux_stream_drop_queue(struct net_stream *s);
