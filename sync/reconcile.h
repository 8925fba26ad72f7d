/* Range-based set reconciliation: Negentropy protocol v1, byte-compatible. Pure: messages in,
 * messages out.
 *
 * Two sides hold sets of items (time, 32-byte id). The initiator learns which ids it has and the
 * other lacks (haves) and which it lacks (needs); the responder answers each message and keeps
 * nothing between them but its set.
 *
 * Source: the Negentropy protocol v1 specification (hoytech); A. Meyer, Range-Based Set
 * Reconciliation (SRDS 2023). */
#pragma once

#include "base/buf.h"
#include "base/hash.h"

enum {
	RECONCILE_VERSION = 0x61,
	RECONCILE_BUCKETS = 16,	   /* sub-ranges a differing range is split into */
	RECONCILE_LIST_BELOW = 32, /* a differing range of fewer items is sent as an id list */
	RECONCILE_FINGERPRINT_SIZE = 16,
	RECONCILE_SUM_BYTES = 32,   /* kept per item of a set, beside the item */
	RECONCILE_FRAME_MIN = 4096, /* smallest frame limit, 0 = none */
	RECONCILE_FRAME_DEFAULT = 1 << 20,
	RECONCILE_RANGES_MAX = 100000, /* per message read */
	RECONCILE_ROUNDS_MAX = 1000,   /* an initiator stops a session after */
	RECONCILE_STALLED_MAX =
		24 /* rounds in a row that teach nothing new: deeper than any honest tree */
};

struct reconcile_item {
	uint64_t time;
	struct hash id;
};

/* A set, sorted by (time, id), without duplicates. Borrowed by every session on it; immutable
 * meanwhile. */
struct reconcile_set {
	const struct reconcile_item *items;
	size_t count;
	/* private */
	void *sums; /* prefix sums, so that a fingerprint of any range costs one subtraction and one
		       hash */
};
/** Sorts `items` (the caller's array, borrowed from now on), rejects duplicates (ERR_MALFORMED) and
 * prepares the sums. UV_ENOMEM. O(n log n), O(n) when sorted already. */
int reconcile_set_init(struct reconcile_set *s, struct reconcile_item *items, size_t count);
void reconcile_set_fini(struct reconcile_set *s);
/** SHA-256(sum of ids mod 2^256, little endian | varint count), first 16 bytes, over items [begin,
 * end). */
void reconcile_fingerprint(const struct reconcile_set *s, size_t begin, size_t end,
			   uint8_t ret[RECONCILE_FINGERPRINT_SIZE]);

/* How the initiator splits. Every choice is understood by every v1 responder. */
enum reconcile_policy {
	RECONCILE_REFERENCE, /* exactly as the reference implementation: 16 buckets, id lists below
				32 */
	RECONCILE_FRUGAL /* opens with one fingerprint, and asks with fingerprints of three items
			    instead of listing 4..31 */
};

struct reconcile {
	const struct reconcile_set *set;
	size_t frame_limit;
	enum reconcile_policy policy;
	bool initiator;
	/* While needs are told: no item of their list is older than this. */
	uint64_t list_from_time;
	/* private */
	uint64_t last_time_in, last_time_out;
	unsigned rounds, stalled;
	bool learned; /* in this round */
};
/** frame_limit 0 = none, else at least RECONCILE_FRAME_MIN (ERR_LIMIT). */
int reconcile_init(struct reconcile *r, const struct reconcile_set *set, size_t frame_limit,
		   enum reconcile_policy policy);

/** Make this side the initiator and write its first message. */
int reconcile_initiate(struct reconcile *r, struct buf *out);

/** Responder: answer one message. Appends one message. ERR_MALFORMED, ERR_LIMIT on a bad one. A
 * message of another version is answered with our version byte alone, as the protocol says. */
int reconcile_respond(struct reconcile *r, const void *msg, size_t len, struct buf *out);

/* What the initiator learns; called during reconcile_continue. Ids may repeat over rounds when a
 * frame limit cuts: both return whether it was news, so that a peer that repeats itself for ever is
 * told apart from progress. */
struct reconcile_sink {
	bool (*have)(void *data, const struct reconcile_item *item);
	/** The time is not known at this point: only the id is on the wire. */
	bool (*need)(void *data, const struct hash *id);
	void *data;
};
/** Initiator: take one reply, report what it teaches, append the next message. *ret_done is set
 * when nothing is left to ask: no range but skips would be sent (then nothing is appended).
 * ERR_VERSION, ERR_MALFORMED, ERR_LIMIT (rounds), ERR_NO_PROGRESS. */
int reconcile_continue(struct reconcile *r, const void *msg, size_t len,
		       const struct reconcile_sink *sink, struct buf *out, bool *ret_done);
