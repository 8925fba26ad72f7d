/* The pages about traces. Private to debug_http/.
 *
 *   traces.c     what was asked for, in which format; the pump that writes a page in slices
 *   list.c       category table, filter form, one row per trace
 *   waterfall.c  one trace: verdict, stages, nested spans on a time axis
 *   stages.c     colours, sums and bars of stages */
#pragma once

#include "debug_http/page.h"
#include "debug_http/server.h"

enum {
	TRACES_LIST_MAX = 250,
	TRACES_SLICE_NS = 1000000, /* of work per loop turn */
	TRACES_ITEM_MAX = 4 << 20, /* bytes of HTML between two writes */
	TRACES_SPANS_MAX = 2000,   /* drawn of one trace */
	TRACES_MARKS_MAX = 200,	   /* listed of one span */
	TRACES_TICKS_MAX = 100,	   /* marks drawn on one bar */
	STAGE_SEGMENTS_MAX = 24,   /* of one bar; beyond, it shows sums per stage */
	STAGE_SUMS_MAX = TRACE_STAGES_MAX,
	CATEGORY_SUMS_MAX = 128
};

/* ---- stages.c ---- */

/** One of PALETTE_COLOURS, the same for a stage's name as long as the server lives. */
unsigned palette_colour(struct palette *p, const char *stage);

/* How long a span, or all spans of a category, were in a stage. */
struct stage_sum {
	const char *category, *name;
	uint64_t ns, max_ns;
	uint32_t count;
};
/** Most time first. */
size_t stage_sums(struct trace *t, const struct trace_span_view *s, struct stage_sum ret[STAGE_SUMS_MAX]);
void stage_sort(struct stage_sum *sums, size_t count);

/* A stretch of time that a bar's width stands for. */
struct axis {
	uint64_t start_ns, length_ns;
};
/** SVG rectangles of the span's stages, on the axis. */
void stage_write_bar(struct buf *out, struct trace *t, struct palette *p, const struct trace_span_view *s,
		     const struct axis *axis);
/** " x=\"12.34%\"" */
void axis_write_percent(struct buf *out, const char *attribute, const struct axis *axis, uint64_t ns);
/** "71 %", "<1 %" */
void axis_write_share(struct buf *out, uint64_t part, uint64_t whole);
/** A coloured square and the name. */
void stage_write_name(struct buf *out, struct palette *p, const char *name);
/** "71 % in dht (4.90 s)", with the stage coloured. False, and nothing written, when the span has no stage. */
bool stage_write_longest(struct buf *out, struct trace *t, struct palette *p, const struct trace_span_view *s);
/** ", now in fetch for 2.10 s", or ", still in it" when that is the longest; nothing for a finished span. */
void stage_write_now(struct buf *out, struct trace *t, struct palette *p, const struct trace_span_view *s);
/** The outcome as a badge. */
void span_write_outcome(struct buf *out, const struct trace_span_view *s);

/* ---- Pages in slices ---- */

enum traces_phase { TRACES_HEAD, TRACES_ITEMS, TRACES_TAIL };

struct traces_page {
	struct http_request *r;
	struct trace *trace;
	struct palette *palette;
	struct runner *runner;
	struct runner_task task;
	struct trace_query query;
	uint64_t matched, total, now_ns;
	/* What was found when the page began; the span id tells whether a slot is still the same root. */
	uint32_t roots[TRACES_LIST_MAX];
	uint8_t span_ids[TRACES_LIST_MAX][8];
	size_t count, next, lost;
	enum traces_phase phase;
	struct buf out;
	/* waterfall.c, of the root that is being drawn */
	struct trace_span_view root;
	struct axis axis;
	uint32_t spans, failed, open, drawn;
	uint8_t last_id[8];
	struct stage_sum sums[CATEGORY_SUMS_MAX];
	size_t sum_count;
};

/** Look at a root again; false when it is gone meanwhile. */
bool traces_root(struct traces_page *p, size_t i, struct trace_span_view *ret);

void list_write_head(struct traces_page *p);
void list_write_row(struct traces_page *p, const struct trace_span_view *s);
void list_write_tail(struct traces_page *p);

void waterfall_write_head(struct traces_page *p);
/** Go on drawing root `next` until until_ns. True when the root is done. */
bool waterfall_write_some(struct traces_page *p, uint64_t until_ns);
void waterfall_write_tail(struct traces_page *p);
