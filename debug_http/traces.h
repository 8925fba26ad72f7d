/* The pages about traces. Private to debug_http/.
 *
 *   traces.c      what was asked for, in which format; the pump that writes a page in slices
 *   list.c        the index: what is running, what was slow, one row per trace
 *   filter.c      views, the form, the same question in other forms
 *   scatter.c     durations over time
 *   categories.c  figures per category
 *   story.c       one trace laid out: tree, self time, critical path, groups, gaps
 *   verdict.c     one trace in a sentence
 *   waterfall.c   one trace as rows on a time axis
 *   details.c     all that is known of one span
 *   sums.c        stages of one trace, added up
 *   compare.c     two traces side by side
 *   stages.c      colours, sums and bars of stages
 *   pin.c         keeping a trace
 *   live.c        the stream of server-sent events */
#pragma once

#include "debug_http/page.h"
#include "debug_http/server.h"

enum {
	TRACES_LIST_MAX = 250,
	TRACES_ACTIVE_MAX = 10,	  /* listed before the others */
	TRACES_SLICE_NS = 500000, /* of work per loop turn; sending what came of it takes as long */
	TRACES_ITEM_MAX = 4 << 20, /* bytes of HTML between two writes */
	TRACES_SPANS_MAX = 2000,   /* drawn of one trace */
	TRACES_MARKS_MAX = 200,	   /* listed of one span */
	TRACES_TICKS_MAX = 100,	   /* marks drawn on one bar */
	SCATTER_DOTS_MAX = 250,
	STORY_GROUP_MIN = 3,  /* similar siblings that become one row */
	STORY_OPEN_MAX = 16,  /* a trace of at most so many spans is shown with its groups open */
	STORY_GAP_SHARE = 20, /* a gap is shown from 1/20 of the trace on */
	STORY_GAPS_MAX = 64,
	STORY_STRIP_MAX = 120,	 /* members drawn in the row of a group */
	STORY_COVERS_MAX = 64,	 /* stretches covered by children, drawn on one bar */
	STAGE_SEGMENTS_MAX = 24, /* of one bar; beyond, it shows sums per stage */
	STAGE_SUMS_MAX = TRACE_STAGES_MAX,
	CATEGORY_SUMS_MAX = 128
};
#define TRACES_RECENT_NS (15 * 60 * NS_PER_SEC)

/* ---- stages.c ---- */

/** One of PALETTE_COLOURS, the same for a stage's name as long as the server lives. */
unsigned palette_colour(struct palette *p, const char *stage);

/* How long a span, or all spans of a category, were in a stage. */
struct stage_sum {
	const char *category, *name;
	uint64_t ns, max_ns;
	uint64_t busy_ns, queued_ns;
	uint32_t count, failed;
};
/** Most time first. */
size_t stage_sums(struct trace *t, const struct trace_span_view *s,
		  struct stage_sum ret[STAGE_SUMS_MAX]);
void stage_sort(struct stage_sum *sums, size_t count);
/** Add those of one span to those of many, per category and name; what does not fit is left out. */
void stage_sums_add(struct trace *t, const struct trace_span_view *s, struct stage_sum *sums,
		    size_t *count);

/* A stretch of time that a bar's width stands for. */
struct axis {
	uint64_t start_ns, length_ns;
};
/** SVG rectangles of the span's stages, on the axis. */
void stage_write_bar(struct buf *out, struct trace *t, struct palette *p,
		     const struct trace_span_view *s, const struct axis *axis);
/** " x=\"12.34%\"" */
void axis_write_percent(struct buf *out, const char *attribute, const struct axis *axis,
			uint64_t ns);
/** The smallest round step of time that cuts the length into at most `most` pieces. */
uint64_t axis_step(uint64_t length_ns, unsigned most);
/** "71 %", "<1 %" */
void axis_write_share(struct buf *out, uint64_t part, uint64_t whole);
/** A coloured square and the name. */
void stage_write_name(struct buf *out, struct palette *p, const char *name);
/** "71 % in dht (4.90 s)", with the stage coloured. False, and nothing written, when the span has
 * no stage. */
bool stage_write_longest(struct buf *out, struct trace *t, struct palette *p,
			 const struct trace_span_view *s);
/** "now in fetch for 2.10 s". False, and nothing written, for a finished span or one without
 * stages. */
bool stage_write_now(struct buf *out, struct trace *t, struct palette *p,
		     const struct trace_span_view *s);
/** The outcome as a badge. */
void span_write_outcome(struct buf *out, const struct trace_span_view *s);

/* ---- story.c ---- */

enum { STORY_NONE = UINT32_MAX };

struct story_span {
	uint32_t slot;
	uint8_t span_id[8];
	const char *category;
	uint64_t start_ns, end_ns; /* monotonic; until now while open */
	uint64_t self_ns;	   /* not covered by children */
	uint32_t parent, first_child, next_sibling, child_count;
	uint32_t path_first, path_count; /* in story.path */
	uint16_t depth;
	bool failed, open;
	bool is_grouped; /* its line is within that of a group */
};

enum line_kind { LINE_SPAN, LINE_GROUP, LINE_GROUP_END, LINE_GAP };
struct story_line {
	enum line_kind kind;
	uint32_t span;		   /* of a group: its first member; of a gap: in whom */
	uint32_t count;		   /* members of a group */
	uint64_t start_ns, end_ns; /* of a gap */
};

struct stretch {
	uint32_t span;
	uint64_t start_ns, end_ns;
};

/* One trace, copied so far that it can be drawn over many turns: spans in display order, the lines
 * of the page, the stretches of the critical path (by span, then by time). */
struct story {
	struct axis axis; /* from the root's start to the end of whatever ended last */
	struct story_span *spans;
	struct story_line *lines;
	struct stretch *path;
	uint32_t count, total, failed, open; /* count <= TRACES_SPANS_MAX; the others are of all */
	uint32_t line_count, path_count;
	uint64_t busy_ns, queued_ns; /* of all spans together */
};
/** NULL when out of memory or there is no such root. */
struct story *story_new(struct trace *t, uint32_t root);
struct story *story_free(struct story *s);
/** The stretches of `span` that its children cover, joined, clipped to it, by time. At most cap;
 * *ret_covered = how long all are together (may be NULL). */
size_t story_covered(const struct story *s, uint32_t span, struct stretch *ret, size_t cap,
		     uint64_t *ret_covered);
/** The next member of a group behind `member`, or STORY_NONE. */
uint32_t story_next_member(const struct story *s, uint32_t member);

/* ---- Pages in slices ---- */

struct traces_page;

/* What makes a page. `some` writes a little, much less than a slice, and returns true when all is
 * written. */
struct page_kind {
	void (*head)(struct traces_page *p);
	bool (*some)(struct traces_page *p);
	void (*tail)(struct traces_page *p);
};
extern const struct page_kind page_list, page_waterfall, page_compare;

enum traces_phase { TRACES_HEAD, TRACES_ITEMS, TRACES_TAIL };

/* A root found when the page began; the span id tells whether a slot is still the same. */
struct root_ref {
	uint32_t slot;
	uint8_t span_id[8];
};

/* The parts of the list, in the order of the page; each looks through the store at most once. */
enum list_step { LIST_FIND_ACTIVE, LIST_FIND, LIST_FORM, LIST_SCATTER, LIST_ROWS, LIST_CATEGORIES };

enum traces_view { VIEW_SLOWEST, VIEW_NEWEST, VIEW_ERRORS, VIEW_ACTIVE, VIEW_OTHER };

struct traces_page {
	struct http_request *r;
	struct trace *trace;
	struct palette *palette;
	struct runner *runner;
	struct runner_task task;
	const struct page_kind *kind;
	struct trace_query query;
	enum traces_view view;
	bool is_recent; /* only what began within TRACES_RECENT_NS */
	bool is_file;	/* one file to keep: nothing in it points elsewhere */
	uint64_t matched, active_matched, total, now_ns;
	struct root_ref roots[TRACES_LIST_MAX];
	size_t count, next, lost;
	size_t active_count; /* the first of them, listed apart */
	enum list_step step;
	struct trace_find find;
	bool is_finding, has_more;
	char cursor[TRACE_CURSOR_SIZE]; /* of the next page */
	struct trace_stats stats[TRACE_CATEGORIES_MAX];
	size_t stats_count;
	enum traces_phase phase;
	bool pause; /* what was done last was long: the loop has its turn first */
	struct buf out;
	/* waterfall.c, of the root that is being drawn */
	struct trace_span_view root;
	struct story *story;
	uint32_t line, drawn, open_groups;
	bool is_begun, is_lost;
	struct stage_sum sums[CATEGORY_SUMS_MAX];
	size_t sum_count;
	/* compare.c, of the second trace */
	struct stage_sum with_sums[CATEGORY_SUMS_MAX];
	size_t with_count;
};

/** Look at a root again; false when it is gone meanwhile. */
bool traces_root(struct traces_page *p, size_t i, struct trace_span_view *ret);

/** What p->find has found, complete. */
size_t traces_found(struct traces_page *p, struct root_ref *ret, size_t cap);

/* filter.c, scatter.c, categories.c */
/** Which view was asked for; completes the query. */
void filter_read(struct traces_page *p);
void filter_write(struct traces_page *p);
/** "slowest of the last 15 minutes" */
const char *filter_title(const struct traces_page *p);
/** The question as asked, as a link, with `more` added. */
void filter_write_link(struct traces_page *p, const char *more, const char *label);
/** A link to the next page of results. */
void filter_write_next(struct traces_page *p);
/** False: not complete, call again. */
bool scatter_write(struct traces_page *p);
void categories_write(struct traces_page *p);

/* verdict.c */
enum { TITLE_IN_SENTENCE = 40 /* bytes */ };
/** "<b>category</b> title", the title cut behind `most` bytes. */
void span_write_name(struct buf *out, const struct trace_span_view *s, size_t most);
void span_write_href(struct buf *out, const uint8_t span_id[8]);
void verdict_write(struct traces_page *p);
/** At work, queued, waiting for others: how the whole trace divides into these. */
void verdict_write_split(struct traces_page *p);
/** " › sync.peer: 64 % in fetch (20.4 ms)": who was at work in a root's longest stage, if somebody
 * was. */
void verdict_write_inner(struct traces_page *p, const struct trace_span_view *root);

/* details.c */
void details_write_stages(struct traces_page *p, const struct trace_span_view *s);
void details_write_facts(struct traces_page *p, const struct trace_span_view *s);
void details_write_marks(struct traces_page *p, const struct trace_span_view *s);

/* export.c */
/** The reply to ?format=`name`; takes over the request. */
void export_reply(struct http_server *s, struct http_request *r, const struct trace_query *q,
		  const char *name);
/** The way back, and this trace in other forms. */
void export_write_links(struct traces_page *p);
/** The name under which a browser keeps the trace: a header of the reply. */
void export_name_file(struct traces_page *p, const char *suffix);

/* pin.c */
int pin_routes(struct http_server *s);
/** A button that keeps the trace, or lets it go. */
void pin_write_button(struct traces_page *p, bool pinned);

/* sums.c */
void sums_write(struct traces_page *p);

/* live.c */
/** The reply to one who wants to follow; takes over the request. */
void live_reply(struct http_server *s, struct http_request *r, const struct trace_query *q);
/** The server closes: no more events. */
void live_stop(struct http_server *s);
