/* In-process traces: which stage ate the wall clock.
 *
 * Words (as in OpenTelemetry where they have the word):
 *   trace    a tree of spans with one 16-byte trace id
 *   span     something that took time: category ("sync.peer"), title (the IRI), parent, outcome
 *   root     the span a trace begins with; retention keeps or evicts whole roots
 *   stage    what a span was doing: stages follow each other without gaps from start to finish, so
 *            they sum to the span's wall time by construction. The first call names what was done
 *            since the start, or if it comes later, that time is the stage "start". A span that
 *            never calls trace_stage has none
 *   mark     a point in time with a text; stored binary and formatted when somebody reads
 *   category a static string; few of them, never user data
 *
 * All on the loop thread. Nothing here allocates after trace_new, does a system call, or can fail
 * in a way the caller must handle: what cannot be recorded is dropped and counted. Tracing never
 * changes what its user does. A struct span is a value with a generation: late use is a counted
 * no-op. The zero span is a cheap no-op. */
#pragma once

#include "base/buf.h"
#include "base/op.h"
#include "base/span.h"

enum {
	TRACE_BYTES_DEFAULT = 16 << 20,
	TRACE_BYTES_MIN = 128 << 10,
	TRACE_BYTES_MAX = 1 << 30,
	TRACE_CATEGORIES_MAX = 64,
	TRACE_STAGES_MAX = 64, /* distinct stage names */
	TRACE_TITLE_MAX = 512, /* bytes kept, cut between characters; 240 when many are longer */
	TRACE_ATTRS_MAX = 12,  /* per span */
	TRACE_ATTR_TEXT_MAX = 224, /* bytes kept of a string value */
	TRACE_LINKS_MAX = 32,	   /* per span */
	TRACE_MARKS_MAX = 1000,	   /* per span; beyond, the first third and the latest are kept */
	TRACE_MARK_TEXT_MAX = 256, /* bytes of string arguments copied per mark */
	TRACE_DEPTH_MAX = 16,
	TRACE_SPANS_PER_ROOT_MAX = 10000,
	TRACE_ID_HEX_SIZE = 33,
	TRACE_SPAN_ID_HEX_SIZE = 17,
	TRACEPARENT_SIZE = 56
};

struct trace_config {
	size_t budget_bytes; /* for everything kept; 0 = TRACE_BYTES_DEFAULT */
};

/** Allocates all memory it will ever use: budget_bytes, brought between TRACE_BYTES_MIN and _MAX.
 *  NULL when out of memory. Borrows the clock. config may be NULL. */
struct trace *trace_new(const struct trace_config *config, const struct clock *clock);
/** All handles into it must be forgotten before. Returns NULL. */
struct trace *trace_free(struct trace *t);

/* W3C trace context, as it travels between daemons. */
struct trace_context {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t flags;
};
/** W3C Trace Context level 1 "traceparent". ERR_MALFORMED. */
int trace_context_parse(const char *s, size_t len, struct trace_context *ret);
void trace_context_format(const struct trace_context *c, char ret[TRACEPARENT_SIZE]);
/** False for the zero span or one that is gone. */
bool trace_context_of(struct span s, struct trace_context *ret);

/* ---- Writing ---- */

/** Begin a trace of its own. `remote` (may be NULL): go on with a trace that another daemon began:
 *  its trace id is kept and its span is the parent. Copies the title. The zero span when there is
 *  no room, or t is NULL. */
struct span trace_root(struct trace *t, const char *category, const char *title, size_t title_len,
		       const struct trace_context *remote);
/** Begin a nested span. May outlive its parent, but not begin after its parent's end. The zero span
 *  when a limit is reached; the parent counts it. */
struct span trace_child(struct span parent, const char *category, const char *title,
			size_t title_len);
/** Begin a root of its own, linked with `from` as far as that still exists: work that goes on after
 *  the asker left. */
struct span trace_detach(struct span from, const char *category, const char *title,
			 size_t title_len);

/** The span enters a stage; the previous one ends now. Static string. */
void trace_stage(struct span s, const char *stage);

/** A mark. fmt must be a string literal; understood are %d %i %u %x %X %o with l, ll, z, j, t, and
 *  %c %s %.*s %f %e %g %%, with flags, width and precision; at most 12 arguments. Numbers are kept
 *  as such, strings copied (TRACE_MARK_TEXT_MAX). The rest of a format that is not understood is
 *  shown as it stands. */
void trace_mark(struct span s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** A mark that tells of a failure; the span counts as errored only if it finishes with one. */
void trace_errorf(struct span s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** Attributes; the key is a static string. Setting a key again replaces the value. */
void trace_attr_str(struct span s, const char *key, const char *value, size_t len);
void trace_attr_int(struct span s, const char *key, int64_t value);
void trace_attr_bool(struct span s, const char *key, bool value);
/** Counters of the span, shown as throughput: added up. */
void trace_add(struct span s, uint64_t items, uint64_t bytes);

/** Causal link to another span. `why` is a static string: "joined", "retry of". */
void trace_link(struct span s, struct span to, const char *why);

/** End of the span. status 0 or an error code. outcome is a static string from a closed enum of the
 *  category ("cached", "timeout"); NULL = "ok" or the error's text. Idempotent; what is written
 *  later is a counted no-op. */
void trace_finish(struct span s, int status, const char *outcome);

/** Install on a runner: each op_move of an operation that owns its span is a stage of it from now
 *  on. The store must outlive the runner. */
void trace_observe(struct trace *t, struct runner *runner);

/* ---- Reading ---- */

/* What to look for. Zero-initialised = the 20 newest roots of everything. Every field narrows.
 * Roots of one trace (has_id) come in order of their start. Borrows its strings. */
enum trace_sort { TRACE_SORT_NEWEST, TRACE_SORT_SLOWEST };
struct trace_query {
	/* Exact; NULL = any. Any span's category matches, its root is shown. */
	const char *category;
	/* Substring, ASCII case-insensitive, of titles, marks, outcomes, attributes; NULL = any. */
	const char *text;
	bool has_id;
	uint8_t id[16]; /* trace id; roots on both sides of a sync share one */
	bool active, finished, errored;
	bool success;		 /* not errored (yet) */
	uint64_t min_ns, max_ns; /* of the root, until now while active; 0 = no bound */
	uint32_t limit;		 /* 0 = 20; at most 250 */
	enum trace_sort sort;
};
/** Fill from a URL query parameter, percent-decoded: category, q or text, id, active, finished,
 *  errored, success, min, max (durations as in Go: 1.5s), n or limit, sort (newest, slowest). An
 *  empty value is no condition (for a bool: true). 0; ERR_NOT_FOUND for an unknown key (ignored by
 *  callers that have keys of their own); ERR_MALFORMED with a text for the user in ret_why and q
 *  as it was. */
int trace_query_set(struct trace_query *q, const char *key, const char *value, char *ret_why,
		    size_t why_size);

/* A read-only snapshot of one span, in the order a reader walks them: the root first, then its
 * tree, children by start. Borrows from the store: valid until the next write or turn. */
struct trace_span_view {
	uint8_t trace_id[16], span_id[8], parent_id[8];
	bool has_parent; /* parent_id is set; remote when depth == 0 */
	uint32_t depth;
	const char *category;
	const char *title;
	size_t title_len;
	uint64_t start_ns;	/* monotonic */
	uint64_t start_wall_ns; /* since 1970 */
	uint64_t duration_ns;	/* until now for an active span */
	bool finished;
	int status;
	const char *outcome; /* "" while active */
	uint64_t items, bytes;
	uint32_t mark_count, marks_dropped, attr_count, stage_count, link_count;
	uint32_t child_count, children_dropped;
	uint32_t marks_before_gap; /* where in the marks the dropped ones are missing */
	bool stages_folded; /* too many to list: later ones are added up per name, out of order */
	/* private */
	uint32_t slot;
};
struct trace_stage_view {
	const char *name;
	uint64_t start_ns; /* relative to the span's start */
	uint64_t duration_ns;
};
struct trace_mark_view {
	uint64_t at_ns; /* relative to the span's start */
	bool is_error;
};
struct trace_attr_view {
	const char *key;
	enum { TRACE_ATTR_STR, TRACE_ATTR_INT, TRACE_ATTR_BOOL } type;
	const char *str;
	size_t str_len;
	int64_t num;
};
struct trace_link_view {
	uint8_t trace_id[16], span_id[8];
	const char *why;
};

/* Roots: created = active_roots + kept_roots + evicted. Spans, roots included: created_spans =
 * those held now + evicted_spans. A root is active as long as any span of its tree is open. */
struct trace_counts {
	uint64_t created, finished, evicted, dropped_spans, dropped_marks, late_calls;
	uint64_t kept_roots, active_roots, used_bytes, budget_bytes;
	uint64_t created_spans, finished_spans, evicted_spans;
	uint64_t dropped_parts; /* attributes and links without room, stages not told apart */
};
void trace_counts(const struct trace *t, struct trace_counts *ret);

/** Roots that match, best first: slots to pass to trace_walk, valid until the next write. Returns
 *  how many were written (at most q->limit and cap). ret_matched = how many match in all, ret_total
 *  = how many there are; either may be NULL. */
size_t trace_search(struct trace *t, const struct trace_query *q, uint32_t *ret_roots, size_t cap,
		    uint64_t *ret_matched, uint64_t *ret_total);
/** Visit a root and all its descendants in display order. visit returns false to stop. */
void trace_walk(struct trace *t, uint32_t root,
		bool (*visit)(void *data, const struct trace_span_view *s), void *data);
/** i-th part of a span of a view. False when i is out of range. */
bool trace_stage_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		    struct trace_stage_view *ret);
/** Appends the formatted text to `text` (may be NULL). */
bool trace_mark_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		   struct trace_mark_view *ret, struct buf *text);
bool trace_attr_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		   struct trace_attr_view *ret);
bool trace_link_at(struct trace *t, const struct trace_span_view *s, uint32_t i,
		   struct trace_link_view *ret);

/** Find the span of an earlier view again, by its slot and span_id, in a later turn. False when it
 * is gone. */
bool trace_look(struct trace *t, uint32_t slot, const uint8_t span_id[8],
		struct trace_span_view *ret);

/* Told of every root when it begins, and again when the last span of its tree has finished. Called
 * from inside the call that wrote: it takes a note and returns, without calling trace functions. */
struct trace_watch {
	void (*on_root)(struct trace_watch *w, uint32_t slot, const uint8_t span_id[8],
			bool complete);
};
/** Install the one watcher, or none (NULL). Borrows it. Without one, it costs a test for NULL. */
void trace_watch(struct trace *t, struct trace_watch *w);

/* Statistics of one category over the finished roots and spans that are kept. Errored ones are
 * counted apart and not in the percentiles. */
struct trace_stats {
	const char *category;
	uint64_t active, finished, errored;
	/* Exact, nearest rank, over sample_count spans. */
	uint64_t p10_ns, p50_ns, p90_ns, p99_ns, max_ns;
	uint64_t sample_count;
	uint64_t window_ns; /* age of the oldest span in the sample */
};
/** One entry per category that has spans, by name; returns how many were written. Uses the store's
 *  scratch memory; linear in what is kept. */
size_t trace_stats_all(struct trace *t, struct trace_stats *ret, size_t cap);

/* ---- Rendering ---- */

/** The answer to a query, {"v":1, "matched":n, "total":n, "store":{…}, "categories":[…],
 *  "traces":[…]}; trace/render_json.c has the format. Look at buf_err(out) afterwards. */
void trace_render_json(struct trace *t, const struct trace_query *q, struct buf *out);
/** Plain text for curl: the category table and one line per trace; with q->has_id the waterfall. */
void trace_render_text(struct trace *t, const struct trace_query *q, struct buf *out);
/** One root as a waterfall of `columns` columns (72 to 240), nested, with stages and marks, headed
 *  by a sentence that names the stage that took longest. Safe on a terminal whatever peers say. */
void trace_render_waterfall(struct trace *t, uint32_t root, unsigned columns, struct buf *out);
