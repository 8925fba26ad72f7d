/* Connections to peers: TCP (or a simulated network), Noise, multiplexed message streams with flow
 * control.
 *
 *   transport  bytes between two addresses; a vtable, so that a simulator can stand in for TCP
 *   link       one byte stream of a transport
 *   conn       a link after the Noise_XX_25519_ChaChaPoly_BLAKE2b handshake and Hello: the peer id
 *              is proven. At most one per peer is used. When both sides dial at once, the one
 * dialed by the smaller key stays; the other one may be up beside it for a while, takes no new
 *              streams and closes when its last one has ended
 *   stream     an ordered exchange of messages inside a conn, opened by either side, with
 *              credit-based flow control
 *   message    bytes up to NET_MESSAGE_MAX; what they mean is the business of the folder above
 *
 * Everything runs on the loop thread. Pointers to a conn are valid until its on_conn_down; streams
 * are closed with ERR_CLOSED before that. What a peer may cost is bounded by the named limits
 * below; a peer that exceeds one is refused or cut off, and counted. */
#pragma once

#include "base/multiformats.h"
#include "base/op.h"
#include "base/shares.h"

enum {
	NET_MESSAGE_MAX = 2 << 20, /* bytes of one message */
	NET_STREAMS_MAX = 64,	   /* per conn, opened by the peer; the same number by us */
	NET_CONNS_MAX = 512,
	NET_STRANGERS_MAX = 384, /* inbound and up, of all but known peers */
	NET_CONNS_PER_NETWORK_MAX = 64,
	NET_CONNS_PER_IP_MAX = 32,
	NET_PENDING_MAX = 64,		 /* inbound connections in handshake */
	NET_STREAM_WINDOW = 1 << 20,	 /* bytes in flight per stream and direction */
	NET_CONN_RECEIVE_MAX = 16 << 20, /* bytes of unfinished messages held per conn */
	NET_SEND_QUEUE_HIGH = 1 << 20,	 /* a stream's queue: above, wait for on_drain */
	NET_SEND_QUEUE_MAX = 8 << 20,	 /* a stream's queue: beyond, net_stream_send refuses */
	NET_CONN_SEND_MAX = 32 << 20,	 /* the same for all streams of a conn together */
	NET_BUFFERED_MAX = 16 << 20,	 /* unfinished messages and records of all strangers */
	NET_UNSENT_PLENTY = 8 << 20,	 /* with the transport, of all conns: beyond, strangers get
					shallow queues */
	NET_DIAL_TIMEOUT_MS = 6000,
	NET_HANDSHAKE_TIMEOUT_MS = 6000,
	NET_PING_INTERVAL_MS = 30000,
	NET_PING_TIMEOUT_MS = 15000,
	NET_FRESH_MS = 1000, /* a conn that was heard of since is used without asking */
	NET_CHECK_MS = 700,  /* for an answer when asked since it may have moved … */
	NET_CHECK_SILENT_MS =
		2000, /* … or was merely silent: busy, perhaps; or four round trips … */
	NET_CHECK_MAX_MS = 3000, /* … of these so many at most */
	NET_IDLE_MS = 300000,	 /* a conn without streams is closed after */
	NET_AGENT_MAX = 64,
	NET_ADDRS_MAX = 16
};

/* ---- Transport: what carries bytes ---- */

struct net_link;

struct net_link_events {
	/** Outcome of a dial: 0 or UV_ECONNREFUSED, UV_ETIMEDOUT, … (then the link is gone). Not
	 * called for accepted links. */
	void (*on_open)(struct net_link *l, int status);
	/** Borrowed bytes. */
	void (*on_read)(struct net_link *l, const uint8_t *data, size_t len);
	/** All that was written has left; more may be written. */
	void (*on_drain)(struct net_link *l);
	/** Last event. ERR_CLOSED orderly, else an error. The link is freed by its transport
	 * afterwards. */
	void (*on_close)(struct net_link *l, int status);
};

/* Head of a transport's own link struct. Transports never call back inside a call to them. */
struct net_link {
	const struct net_link_events *events; /* set by the user at dial or in on_accept */
	void *data;			      /* the user's */
	struct multiaddr remote;
};

struct net_transport {
	/** Returns a link (on_open follows) or NULL when out of memory. */
	struct net_link *(*dial)(struct net_transport *t, const struct multiaddr *addr,
				 const struct net_link_events *events, void *data);
	/** Start accepting. ret_bound is the address with the real port. on_accept sets events and
	 * data, or leaves events NULL to refuse. */
	int (*listen)(struct net_transport *t, const struct multiaddr *addr,
		      struct multiaddr *ret_bound,
		      void (*on_accept)(void *data, struct net_link *l), void *data);
	/** Takes `bytes` (mem_free'd by the transport, also on failure). */
	int (*write)(struct net_link *l, uint8_t *bytes, size_t len);
	/** Bytes written and not yet sent. */
	size_t (*queued)(const struct net_link *l);
	/** Stop or resume on_read. */
	void (*read)(struct net_link *l, bool on);
	/** on_close(ERR_CLOSED or `status`) follows; nothing else does. Flushes nothing. */
	void (*close)(struct net_link *l, int status);
	/** Addresses of this machine that others might reach, for a wildcard listener. Returns how
	 * many. */
	size_t (*local_addrs)(struct net_transport *t, struct multiaddr *ret, size_t cap);
	/** Stop listening, close every link; `closed` comes when all handles are closed. */
	void (*shutdown)(struct net_transport *t, void (*closed)(void *data), void *data);
};

struct loop;
/** TCP on the daemon's loop. NULL when out of memory. Freed by net_tcp_free after its shutdown. */
struct net_transport *net_tcp_new(struct loop *loop);
struct net_transport *net_tcp_free(struct net_transport *t);

/* ---- Connections ---- */

struct net;
struct net_conn;
struct net_stream;

/* What the folder above does with peers. */
struct net_service {
	/** A peer opens a stream. Return a struct with events and data set, to be used once this
	 * has returned, or NULL to refuse: *ret_refusal is sent (ERR_REFUSED unless set). */
	struct net_stream *(*on_stream)(void *data, struct net_conn *c, int *ret_refusal);
	void (*on_conn_up)(void *data, struct net_conn *c);
	void (*on_conn_down)(void *data, struct net_conn *c, int status);
	/** Whom to prefer when there is not room for all. NULL: all are strangers. */
	enum share_rank (*rank)(void *data, const struct public_key *peer);
};

struct net_config {
	struct runner *runner;
	struct net_transport *transport; /* borrowed */
	const uint8_t *secret_key;	 /* node key: libsodium Ed25519 secret, 64 bytes; copied */
	const char *agent;		 /* "peerscope/0.1.0": shown to peers; copied */
	const struct net_service *service; /* borrowed; may be NULL: every stream is refused */
	void *service_data;
};
struct net *net_new(const struct net_config *config);
/** The service may be set once after net_new, before the first conn. */
void net_set_service(struct net *n, const struct net_service *service, void *data);
int net_listen(struct net *n, const struct multiaddr *addr);
/** Listening addresses with /p2p and wildcards replaced by this machine's addresses. Returns how
 * many. */
size_t net_addrs(const struct net *n, struct multiaddr *ret, size_t cap);
const struct public_key *net_self(const struct net *n);
/** Close everything; `closed` comes once, from the loop. Then net_free. */
void net_close(struct net *n, void (*closed)(void *data), void *data);
struct net *net_free(struct net *n);

/** The way to a peer (NULL: to any) may be another one now: its address is new, or one of ours.
 * Conns are asked at once whether they still lead there; one that does not answer in time is given
 * to a dial only when it does, and a new one takes its place. */
void net_doubt(struct net *n, const struct public_key *peer);
/** The usable conn to a peer, one beyond doubt first, or NULL. */
struct net_conn *net_find(struct net *n, const struct public_key *peer);
void net_each_conn(struct net *n, bool (*visit)(void *data, struct net_conn *c), void *data);
void net_conn_close(struct net_conn *c, int status);

struct net_conn_info {
	struct public_key peer;
	struct multiaddr remote; /* as seen by the socket */
	struct multiaddr
		dial_addr; /* where it says it listens, at the address seen; port 0 when unknown */
	bool inbound;
	char agent[NET_AGENT_MAX + 1];
	uint64_t since_ms, sent_bytes, received_bytes;
	uint64_t moved_ms; /* when data last came or went */
	size_t unsent;	   /* bytes with the transport */
	uint32_t streams;
	bool has_clock;
	int64_t ahead_s; /* its clock is ahead of ours: by its Hello, less what has passed since */
	uint32_t rtt_us; /* smoothed ping time; 0 = not measured */
};
void net_conn_info(const struct net_conn *c, struct net_conn_info *ret);
const struct public_key *net_conn_peer(const struct net_conn *c);

struct net_stats {
	uint64_t conns, dials, dial_failures, accepted, handshake_failures, refused_limit,
		protocol_errors;
	uint64_t gave_way; /* conns closed because others needed the place more */
	uint64_t refused_buffers;
	uint64_t buffered_bytes, unsent_bytes; /* see NET_BUFFERED_MAX, NET_UNSENT_PLENTY */
	uint64_t twins_met;		       /* handshakes with somebody else who has our key */
	uint64_t checks, checks_failed; /* conns asked whether they are alive; too late or not */
	uint64_t sent_bytes, received_bytes, streams_opened, streams_refused;
};
/** Somebody else has proved to have our key: where, and how long ago the last time. False: nobody
 * has. */
bool net_twin(const struct net *n, struct multiaddr *ret_addr, uint64_t *ret_ago_ms);
void net_stats(const struct net *n, struct net_stats *ret);

/* Get a conn to a peer: the one that exists, if it was heard of for NET_FRESH_MS or answers a ping,
 * and leads to one of the addresses or answers before they do; else by dialing its addresses (in order, the next one
 * also when one does not answer within 300 ms: RFC 8305), else by joining a dial under way. */
struct net_dial;
typedef void (*net_dial_cb)(struct net_dial *d, int status);
struct net_dial {
	struct op op;
	struct net_conn *conn; /* set when status is 0; valid now, and until its on_conn_down */
	bool reused;	       /* no dial was needed */
	bool connected; /* bytes flow; what remains is the handshake. op.env.span's owner may watch
			   it via on_connected */
	void (*on_connected)(struct net_dial *d); /* optional; set between init and start; must only
						     record and defer */
	void *data;
	bool probe; /* set before start: see net_dial_start */
	/* private */
	net_dial_cb cb;
	struct net *net;
	bool any_peer;
	struct public_key peer;
	struct multiaddr addrs[NET_ADDRS_MAX];
	size_t addr_count, addr_next;
	struct list attempts; /* conns on their way */
	struct list node;     /* of the net */
	struct runner_timer stagger;
	bool next_due, probed;
	uint64_t head_start_ms; /* of the conn that is asked, over dialing */
	int last_error;
};
/** peer NULL: whoever answers at the addresses. Copies. `on_connected` and `data` are the caller's
 *  to set before. Status: 0; UV_ECONNREFUSED, UV_EHOSTUNREACH, … of the last address; ERR_CLOSED
 *  (hung up in the handshake: not our protocol, or full); UV_ETIMEDOUT; ERR_PEER_MISMATCH;
 * ERR_SELF; ERR_PROTOCOL; ERR_VERSION; ERR_NOT_FOUND (no address); ERR_LIMIT (too many conns);
 * UV_ECANCELED; UV_ENOMEM.
 * With `probe`: does the peer answer there? Always dials; ends with 0, and without a conn, as soon
 * as the second message of the handshake has proven the peer, which never learns who asked. */
void net_dial_start(struct net_dial *d, const struct op_env *env, struct net *n,
		    const struct public_key *peer, const struct multiaddr *addrs, size_t addr_count,
		    net_dial_cb cb);

/* ---- Streams ---- */

struct net_stream_events {
	/** One whole message; borrowed for the call. */
	void (*on_message)(struct net_stream *s, const uint8_t *msg, size_t len);
	/** The send queue fell below half of NET_SEND_QUEUE_HIGH after having been above it; with
	 * `tell_empty` also whenever it is empty again. */
	void (*on_drain)(struct net_stream *s);
	/** Last event: 0 both sides ended orderly; the code of a reset from either side (ERR_BUSY,
	 * ERR_REFUSED, ERR_TOO_BIG, ERR_PROTOCOL, UV_ECANCELED, …); ERR_CLOSED the conn went. The
	 * struct is its owner's again. */
	void (*on_close)(struct net_stream *s, int status);
	/** The peer ended its direction orderly; ours may go on. Optional (NULL: our side is ended
	 * too). */
	void (*on_end)(struct net_stream *s);
};

/* Caller's memory from open (or on_stream) until on_close. Callbacks come from the loop, never
 * inside a call. */
struct net_stream {
	const struct net_stream_events *events;
	void *data;
	bool tell_empty; /* set before the stream is opened: see on_drain */
	/* private */
	struct net_mux *mux; /* NULL before open and after on_close */
	struct list node;    /* of the mux, while not closed */
	struct list turn;    /* has something to send */
	struct list due;     /* has credit to announce */
	struct list starved; /* waits for room to receive */
	uint64_t id;
	bool ours, open_sent, we_ended, end_sent, peer_ended, paused, closed, above_high, drain_due;
	int close_status;
	size_t send_credit, receive_credit, credit_due, charged, window;
	struct list send_queue;
	size_t send_queued;
	uint8_t *message;
	size_t message_len, message_have, message_cap;
	uint8_t header[4];
	uint8_t header_have;
};

/** Open a stream; s->events and data are set by the caller before. 0, ERR_LIMIT (NET_STREAMS_MAX),
 * ERR_CLOSED (the conn is about to go). */
int net_stream_open(struct net_stream *s, struct net_conn *c);
/** NULL after on_close. */
struct net_conn *net_stream_conn(const struct net_stream *s);
/** Queue one message; copies. 0, ERR_TOO_BIG, ERR_BUSY (NET_SEND_QUEUE_MAX), ERR_CLOSED, UV_ENOMEM.
 */
int net_stream_send(struct net_stream *s, const void *msg, size_t len);
/** Bytes queued and not yet handed to the transport; above NET_SEND_QUEUE_HIGH wait for on_drain.
 */
size_t net_stream_queued(const struct net_stream *s);
/** No more messages from us; what is queued still goes. on_close(0) follows when the peer ends too.
 */
void net_stream_end(struct net_stream *s);
/** Give up in both directions; the peer sees `code`. on_close(code) follows, from the loop.
 * Idempotent. */
void net_stream_reset(struct net_stream *s, int code);
/** The peer gets no further credit until resumed: backpressure for a slow consumer. Messages for
 *  which it has credit still arrive, at most NET_STREAM_WINDOW bytes of them. */
void net_stream_pause(struct net_stream *s, bool paused);
