/* One stream that a peer opened: its request and what follows. */
#pragma once

#include "sync/internal.h"

enum {
	SERVE_REQUEST_MS = 10000,   /* for the first message */
	SERVE_IDLE_MS = 60000,	    /* between messages, and for a peer to take what is sent */
	SERVE_TOTAL_MS = 600000,    /* for all but subscriptions */
	SERVE_END_MS = 5000,	    /* for the peer to end its side */
	SERVE_LEAVE_MS = 1000,	    /* for who is told "busy" to hear it */
	SERVE_LEAVING_MAX = 64,	    /* streams that are told "busy" at once; beyond, reset */
	SERVE_CROWD_MS = 10000,	    /* over which those turned away are counted */
	SERVE_RETRY_MAX_MS = 30000, /* told to who is turned away */
	SERVE_QUEUE_MAX = 1024,	    /* hashes asked and not yet answered */
	SERVE_GET_BLOBS = 64,
	SERVE_GET_BYTES = 2 << 20,
	/* Bytes held: queued for peers, being read for them, or asked with. */
	SERVE_STRANGERS_BYTES_MAX = 24 << 20,
	SERVE_NETWORK_BYTES_MAX = 16 << 20,
	SERVE_ADDRESS_BYTES_MAX = 12 << 20,
	SERVE_PEER_BYTES_MAX = 6 << 20,
	SERVE_KNOWN_BYTES_MAX = 128 << 20, /* for all known peers */
	SERVE_PROVEN_BYTES = 256 << 10,	   /* taken by who has shown that it reads */
	SERVE_FIRST_BYTES = 64 << 10,	   /* read at once for who has not, and at least */
	SERVE_SMALL_BYTES = 4 << 10,	   /* a reply so small needs no room */
	SERVE_TAKE_MIN = 4 << 10, /* bytes in SHARE_IDLE_MS below which a peer does not read */
	SERVE_SUBSCRIBED_PER_PEER_MAX = NET_STREAMS_MAX - SYNC_SERVE_PER_PEER_MAX, /* streams */
	SERVE_SCOPES_PER_PEER_MAX = 2048 /* on these streams together */
};

struct serve {
	struct op op;
	struct sync *sync;
	struct list node;
	struct public_key peer;
	struct net_stream stream;
	bool open, peer_ended, we_ended;
	struct share_origin from;
	bool counted; /* in the peer's `serving` */
	bool turned_away, leaving;
	uint64_t moved_ms,
		moved_bytes; /* last time the peer did something; what went back and forth */
	uint64_t sent_bytes; /* given to the stream */
	uint64_t mark_ms, mark_bytes; /* when it was last seen to read; what it had taken */
	size_t reserved;	      /* for what is being read */
	struct list waiting;	      /* in the sync's `thirsty` */
	bool closing;
	bool has_request;
	enum wire_request_kind kind;
	struct scope scope;
	uint64_t started_ms, due_ms; /* due: end of the present wait */
	size_t queued_bytes;	     /* when the wait began */
	struct runner_timer timer;

	/* reconcile */
	struct snapshot_load load;
	bool loading;
	int load_status;
	struct reconcile reconcile;
	bool prepared;
	struct buf message; /* the peer's first one, while the set is loaded */
	unsigned rounds;

	/* fetch */
	struct hash *queue;
	size_t queue_count, queue_cap;
	struct store_get get;
	struct store_get_item items[SERVE_GET_BLOBS];
	size_t item_count;
	bool reading;

	/* peers, ping */
	struct store_peers peers;
	bool looking;

	/* dial back */
	struct net_dial dial;
	struct multiaddr dial_addr;
	bool dialing;

	/* subscribe */
	bool subscribed;
	struct hearer hearer;
};

/* serve.c, for serve_*.c */
/** Queue a reply; a failure ends the serve. */
int serve_send(struct serve *v, const struct wire_reply *reply);
/** Answer with a refusal, then end. */
void serve_refuse(struct serve *v, int code, uint32_t retry_after_ms, uint64_t cap,
		  const char *text);
/** Nothing more comes from us; what is queued still goes. */
void serve_end(struct serve *v);
/** End abruptly with a reset. */
void serve_abort(struct serve *v, int status);
/** The peer broke the protocol. */
void serve_blame(struct serve *v, int status);

/** Start a wait that ends the serve after so many ms; a new one replaces it. */
void serve_wait(struct serve *v, uint64_t ms);

/** Say "busy" and when to come again, then end. False: too many are doing so. */
bool serve_leave(struct serve *v);

/* serve_admit.c */
/** Is there a place for the newcomer, perhaps because somebody gives way? */
bool serve_has_place(struct sync *s, const struct share *newcomer);
/** Ends it, now, in favour of others. */
void serve_give_way(struct serve *v);
/** What it holds, with this weight. */
struct share serve_share(struct serve *v, size_t weight);
/** Since the peer did something; while there is something for it to read, since it read. */
uint64_t serve_idle_ms(struct serve *v);
/** When to come again, for who is turned away now. */
uint32_t serve_retry_ms(struct sync *s);

/* serve_budget.c */
/** Bytes that may be held for v beside what is. To have room for `least`, those who do not read
 * give way. */
size_t serve_room(struct serve *v, size_t least);
/** v waits for room: its tick comes when there may be some. */
void serve_thirst(struct serve *v);
void serve_quench(struct serve *v);
/** Something that was held is not any more. */
void serve_freed(struct sync *s);
/** It has shown that it reads. */
bool serve_proven(struct serve *v);
/** Bytes that are queued, being read, or were asked with. */
size_t serve_held(const struct serve *v);
/** Bytes that have left for it. */
uint64_t serve_taken(const struct serve *v);

/* serve_peers.c */
/** Look up who knows the space, answer, end. */
void serve_peers_begin(struct serve *v, const struct public_key *space);

/* serve_dialback.c */
/** Dial the peer at the address it is connected from, answer, end. False: it was refused. */
bool serve_dialback_begin(struct serve *v, uint16_t port);

/* serve_subscribe.c */
/** Room for so many scopes more, perhaps because who hears of most gives way. */
bool serve_subscribe_room(struct serve *v, size_t scopes);
/** Refuses, or sets `subscribed`. */
void serve_subscribe_begin(struct serve *v, bool many);
/** More scopes, or fewer. */
void serve_subscribe_take(struct serve *v, const struct wire_more *more);
/** Harmless when not subscribed. */
void serve_subscribe_end(struct serve *v);

/* serve_reconcile.c */
/** Keeps the first message and has the set read. */
void serve_reconcile_begin(struct serve *v, const struct wire_bytes *first);
/** The set is read: answer the first message. False when the asker was refused. */
bool serve_reconcile_prepare(struct serve *v);
void serve_reconcile_answer(struct serve *v, const void *msg, size_t len);

/* serve_fetch.c */
/** Hashes were asked. */
void serve_fetch_take(struct serve *v, const struct wire_more *more);
/** Start reading if there is something to answer and room to send it. */
void serve_fetch_work(struct serve *v);
