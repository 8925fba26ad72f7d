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
	LIE_LISTS_PHANTOMS /* thousands of ids that do not exist */
};

enum { LIAR_PIECES_MAX = 64, LIAR_PHANTOMS = 3000 };

struct liar {
	struct host *host;
	enum lie lie;
	const struct piece *pieces[LIAR_PIECES_MAX]; /* what it serves */
	size_t piece_count;
	struct reconcile_item *items; /* what it lists */
	size_t item_count;
	struct reconcile_set set;
	unsigned rounds, asked;
};

/** Adds it to the world. It lists the thing's commit and serves its pieces. */
void liar_init(struct liar *l, struct sync_world *w, enum lie lie, const struct thing *t,
	       uint64_t time_s);
void liar_fini(struct liar *l);
