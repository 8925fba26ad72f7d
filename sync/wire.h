/* Messages of sync.proto as structs: encode, and decode with every length and count checked. Pure.
 *
 * Decoding copies into the given arena, which the caller inits by wire_arena_init and releases when
 * it is done with the result; only the bytes of a blob stay in the message. ERR_LIMIT: a count or
 * length over its limit; ERR_MALFORMED: anything else that is not a valid message; UV_ENOMEM. */
#pragma once

#include "sync/sync.h"

enum {
	WIRE_DECODE_SLACK = 128 << 10, /* bytes a decoded message may need beyond its own length */
	WIRE_RECONCILE_MAX = 1 << 20,  /* bytes of one Negentropy message, either way */
	WIRE_ANNOUNCE_MAX = 256,       /* commits of one Announce */
	WIRE_FOLLOW_MAX = 16,	       /* scopes that one Follow adds, or drops */
	WIRE_PEERS_MAX = 32,	       /* of one Peers */
	WIRE_PING_MAX = 64,
	WIRE_TEXT_MAX = 128, /* bytes kept of a refusal's text */
	WIRE_RETRY_MAX_MS = 600000
};

/** An arena that is large enough for decoding `len` bytes of an honest message, and no larger. */
void wire_arena_init(struct arena *a, size_t len);

struct wire_bytes {
	const uint8_t *data;
	size_t len;
};

enum wire_request_kind {
	WIRE_RECONCILE,
	WIRE_FETCH,
	WIRE_SUBSCRIBE,
	WIRE_PING,
	WIRE_PEERS,
	WIRE_DIAL_BACK
};
const char *wire_request_name(enum wire_request_kind kind);

struct wire_request {
	enum wire_request_kind kind;
	bool traced; /* trace is set */
	struct trace_context trace;
	uint32_t timeout_ms;
	struct scope scope;	 /* reconcile, fetch, subscribe */
	struct wire_bytes bytes; /* reconcile: the first message; ping: what is sent back */
	struct public_key space; /* peers */
	uint16_t port;		 /* dial back */
	bool many;		 /* subscribe: more scopes would follow */
};
/** Appends. UV_ENOMEM, ERR_LIMIT (the buffer's). So for all encoders. */
int wire_request_encode(const struct wire_request *r, struct buf *out);
/** A traceparent that is not well-formed counts as absent, as W3C Trace Context says. */
int wire_request_decode(const void *msg, size_t len, struct arena *a, struct wire_request *ret);

enum wire_more_kind { WIRE_MORE_RECONCILE, WIRE_MORE_FETCH, WIRE_MORE_FOLLOW };
struct wire_more {
	enum wire_more_kind kind;
	struct wire_bytes reconcile;
	struct hash hashes[SYNC_FETCH_BATCH_MAX]; /* fetch; follow: keys of scopes to drop */
	size_t hash_count;
	const struct scope *scopes; /* follow: to add */
	size_t scope_count;
};
int wire_more_encode(const struct wire_more *m, struct buf *out);
int wire_more_decode(const void *msg, size_t len, struct arena *a, struct wire_more *ret);

enum wire_reply_kind {
	WIRE_REPLY_REFUSAL,
	WIRE_REPLY_RECONCILE,
	WIRE_REPLY_BLOB,
	WIRE_REPLY_ANNOUNCE,
	WIRE_REPLY_PONG,
	WIRE_REPLY_PEERS,
	WIRE_REPLY_SUBSCRIBED,
	WIRE_REPLY_DIALED_BACK
};
struct wire_refusal {
	int code; /* ERR_BUSY, ERR_TOO_BIG, ERR_NOT_FOUND, ERR_UNSUPPORTED, ERR_REFUSED */
	uint32_t retry_after_ms;
	uint64_t cap;
	char text[WIRE_TEXT_MAX + 1];
};
struct wire_commit {
	struct hash hash;
	uint64_t time_s;
	const char *path; /* path_len bytes, unchecked, without a NUL behind them */
	size_t path_len;
};
struct wire_peer {
	struct public_key key;
	struct multiaddr addrs[SYNC_TARGET_ADDRS_MAX];
	size_t addr_count;
};
struct wire_reply {
	enum wire_reply_kind kind;
	struct wire_refusal refusal;
	struct wire_bytes bytes; /* reconcile, pong; a blob's data */
	struct hash hash;	 /* blob; announce: key of the scope */
	bool keyed;		 /* announce: hash is set */
	bool many;		 /* subscribed */
	struct hash *refused;	 /* subscribed: keys of scopes */
	size_t refused_count;
	bool missing; /* blob */
	struct wire_commit *commits;
	size_t commit_count;
	struct wire_peer *peers;
	size_t peer_count;
	bool reached;		 /* dialed back */
	struct multiaddr dialed; /* dialed back */
};
int wire_reply_encode(const struct wire_reply *r, struct buf *out);
int wire_reply_decode(const void *msg, size_t len, struct arena *a, struct wire_reply *ret);
