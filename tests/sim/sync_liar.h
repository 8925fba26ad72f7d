/* A peer that lists commits honestly, or not, and then does one wrong thing. */
#pragma once

#include "sync/reconcile.h"
#include "tests/sim/sync_world.h"

enum lie {
	LIE_NONE,
	LIE_WRONG_BYTES, /* of a commit */
	LIE_WRONG_CHUNK, /* of a large chunk, which only the store hashes */
	LIE_UNASKED_BLOB,
	LIE_OVERSIZED,
	LIE_SAYS_MISSING,
	LIE_SILENT_ROUND,
	LIE_SILENT_FETCH,
	LIE_ENDLESS_ROUNDS,
	LIE_OUT_OF_ORDER,
	LIE_GARBAGE,
	LIE_BUSY,
	LIE_CLOSES_ROUND,
	LIE_LISTS_PHANTOMS, /* thousands of ids that do not exist */
	LIE_DRIPS_PHANTOMS, /* a few such ids; garbage for them, as slowly as its line carries it */
	LIE_HOLDS_PHANTOMS, /* the same, and not a byte */
	LIE_LACKS_CONTENT,  /* the commit is there, what it refers to is missing */
	LIE_STALLS_IN_CHUNK, /* its line stops in the middle of one */
	LIE_TEACHING_ROUNDS, /* without end, each listing one more id that does not exist */
	LIE_DUPLICATES,	     /* every blob twice */
	LIE_UNASKED_VALID,   /* another blob, valid, before the one asked */
	LIES
};

enum { LIAR_PIECES_MAX = 128, LIAR_PHANTOMS = 3000, LIAR_FEW_PHANTOMS = 20 };

struct liar {
	struct host *host;
	enum lie lie;
	const struct piece *pieces[LIAR_PIECES_MAX]; /* what it serves */
	size_t piece_count;
	struct reconcile_item *items; /* what it lists */
	size_t item_count;
	struct reconcile_set set;
	unsigned rounds, asked;
	uint32_t busy_ms;	   /* LIE_BUSY: for how long it says it will be */
	const struct host *victim; /* LIE_STALLS_IN_CHUNK: on whose line */
};

/** Adds it to the world. It lists the thing's commit and serves its pieces. */
void liar_init(struct liar *l, struct sync_world *w, enum lie lie, const struct thing *t,
	       uint64_t time_s);
void liar_fini(struct liar *l);
