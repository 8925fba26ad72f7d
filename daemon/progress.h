/* One line on the terminal that tells how far something is. Nothing is drawn when stderr is no
 * terminal, with NO_COLOR or with --quiet. */
#pragma once

#include "base/buf.h"

enum { PROGRESS_INTERVAL_MS = 100, PROGRESS_COLUMNS_MIN = 40, PROGRESS_COLUMNS_MAX = 120 };

struct progress_view {
	const char *label;
	uint64_t bytes, bytes_total; /* total 0 = unknown */
	uint64_t items, items_total;
	const char *item_name; /* "blobs" */
	const char *extra;     /* "3 peers, 1 ok"; may be NULL */
	uint64_t elapsed_ms;
};
/** The line, at most `columns` characters, without line end. Pure. */
void progress_render(const struct progress_view *v, unsigned columns, struct buf *out);
/** "12.3 MiB" */
void progress_write_bytes(struct buf *out, uint64_t bytes);

struct progress {
	struct progress_view view; /* the caller updates it and calls progress_tick */
	/* private */
	bool on, drawn;
	uint64_t start_ms, last_ms;
};
void progress_start(struct progress *p, const char *label, const char *item_name, bool quiet);
/** Draws, if it is time to. */
void progress_tick(struct progress *p);
/** Removes the line. */
void progress_end(struct progress *p);
