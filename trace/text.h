/* What the renderers share, private to trace/. */
#pragma once

#include "trace/store.h"

/* With so many, which is asked for as columns=whole, no title is shortened. */
enum { TEXT_COLUMNS_WHOLE = 1024 };
enum { TEXT_DURATION_SIZE = 16, TEXT_TIME_SIZE = 40, TOTALS_MAX = TRACE_STAGES_MAX };

/** "450 ns", "8.51 µs", "12 ms", "6.91 s", "2m05s", "3h05m". Returns the columns it takes. */
unsigned text_duration(char ret[TEXT_DURATION_SIZE], uint64_t ns);
/** "2026-01-01T00:00:00.000000000Z" (ISO 8601, UTC). */
void text_time(char ret[TEXT_TIME_SIZE], uint64_t wall_ns);
/** "512 B", "4.2 kB", "1.3 MB". */
void text_bytes(char ret[TEXT_DURATION_SIZE], uint64_t bytes);
/** Foreign text for a terminal, in at most `columns` columns ("…" where it was cut). Whatever could
 * move the cursor, change the terminal's state or reorder the line is shown as U+FFFD. Returns the
 * columns used. */
unsigned text_safe(struct buf *out, const char *s, size_t len, unsigned columns);
/** The same, cut in the middle: what tells the IRIs of a space apart is at their end. */
unsigned text_safe_middle(struct buf *out, const char *s, size_t len, unsigned columns);
void text_pad(struct buf *out, unsigned columns);
/** text_safe, then spaces up to `columns`. */
void text_cell(struct buf *out, const char *s, size_t len, unsigned columns);
/** An own string of ASCII and narrow characters, right-aligned. */
void text_right(struct buf *out, const char *s, unsigned columns);

/* How long a span was in each stage, most first. */
struct stage_total {
	const char *name;
	uint64_t ns;
};
size_t stage_totals(struct trace *t, const struct trace_span_view *s,
		    struct stage_total ret[TOTALS_MAX]);

static inline unsigned text_columns(const struct trace_query *q)
{
	return MAX(q->columns, (uint32_t)TRACE_TEXT_COLUMNS);
}

/** Whole percent, rounded; 0 of 0 is 0. */
unsigned percent_of(uint64_t part, uint64_t whole);
