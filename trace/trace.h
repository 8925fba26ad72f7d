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
	TRACE_BYTES_MIN = 256 << 10,
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
	TRACE_SLOW_MAX = 24,	/* slowest roots of the last hour protected per category */
	TRACE_ERRORED_MAX = 64, /* newest errored ones, unless a category's limits say otherwise */
	TRACE_PINNED_MAX = 64,	/* in all, and at most a quarter of the budget */
	TRACE_LIMIT_MAX = 65536,
	TRACE_SAMPLE_MAX = 1024, /* latest spans of a category behind its exact percentiles */
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
 *  its trace id is kept and its span is the parent (a span id of zeros: none is). Copies the title.
 *  The zero span when there is no room, or t is NULL. */
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

/** The same to a span that is not in this store. */
void trace_link_remote(struct span s, const struct trace_context *to, const char *why);

/** End of the span. status 0 or an error code. outcome is a static string from a closed enum of the
 *  category ("cached", "timeout"); NULL = "ok" or the error's text. Idempotent; what is written
 *  later is a counted no-op. */
void trace_finish(struct span s, int status, const char *outcome);

/** Install on a runner: each op_move of an operation that owns its span is a stage of it from now
 *  on. The store must outlive the runner. */
void trace_observe(struct trace *t, struct runner *runner);

/* How CPU time is measured. */
enum trace_cpu {
	TRACE_CPU_OFF,
	TRACE_CPU_CLOCK, /* by the thread's clock, read at every change of span */
	TRACE_CPU_EXACT /* the same, interpolated by the time stamp counter while the thread runs */
};
/** Charge the calling thread's CPU time to the spans it works for: to that whose operation is being
 *  ticked, on the runner that trace_observe was called for. Tests first what this machine can do;
 *  OFF when reading the clock would cost too much. Once, on the loop's thread. */
enum trace_cpu trace_cpu_start(struct trace *t);
enum trace_cpu trace_cpu(const struct trace *t);
/** The thread works for this span now (zero span: for none), until the next call; for work that is
 *  not an operation. Returns the one before, to be told again afterwards. Does nothing when CPU
 *  time is not measured. */
struct span trace_work(struct trace *t, struct span now);

/** The category of a span: a static string, as it was given to trace_root or trace_child; NULL when
 *  the span is gone or none. For a profiler's signal handler: takes no lock, changes nothing, and
 * may come at any instant on any thread, as long as the trace exists. */
const char *trace_span_category(struct span s);

/** Something could have run for this span from since_ns on and began to at until_ns; for work that
 *  is not an operation of an observed runner. Monotonic times. */
void trace_queued(struct span s, uint64_t since_ns, uint64_t until_ns);

/** Such times as were measured elsewhere, for who plays a trace back: added to those of the span
 * and of its current stage. */
void trace_measured(struct span s, uint64_t busy_ns, uint64_t queued_ns);

/* ---- Reading ---- */

/* What to look for. Zero-initialised = the 20 newest roots of everything. Every field narrows.
 * Roots of one trace (has_id) come in order of their start. Borrows its strings. */
enum trace_sort { TRACE_SORT_NEWEST, TRACE_SORT_SLOWEST, TRACE_SORT_OLDEST };
enum {
	TRACE_QUERY_IDS_MAX = 16,
	TRACE_QUERY_ATTRS_MAX = 4,
	TRACE_QUERY_STAGES_MAX = 4,
	TRACE_TEXT_COLUMNS = 80, /* the least */
	TRACE_TEXT_COLUMNS_MAX = 400,
	TRACE_CURSOR_SIZE = 56
};
/* Where a page of results ended: the order and the roots of the following pages are those of the
 * time of the first page, whatever happens meanwhile; only what is evicted is missing. */
struct trace_cursor {
	enum trace_sort sort;
	uint64_t as_of_ns, key, tie;
};
struct trace_query {
	/* Exact; NULL = any. Any span's category matches, its root is shown. */
	const char *category;
	/* Substring, ASCII case-insensitive, of titles, marks, outcomes, attributes; NULL = any. */
	const char *text;
	bool has_id;
	uint8_t id[16]; /* trace id; roots on both sides of a sync share one */
	uint8_t more_ids[TRACE_QUERY_IDS_MAX - 1][16]; /* beyond the first: any of them */
	uint32_t more_id_count;
	/* The trace id begins with so many hex digits of `begins`; 0 = any. */
	uint8_t begins[16];
	uint32_t begins_digits;
	/* errored: the root failed or was cancelled, or a span nested in it failed. success: the
	 * root did neither (yet), whatever became of the spans in it. */
	bool active, finished, errored, cancelled, success;
	uint64_t min_ns, max_ns; /* of the root, until now while active; 0 = no bound */
	/* Roots of which something lies between the two: as wall time, or as time before now. 0 =
	 * no bound. */
	uint64_t since_wall_ns, until_wall_ns, since_ago_ns, until_ago_ns;
	/* Some span has the attribute: "key", or "key:value" exactly. All of them. */
	const char *attrs[TRACE_QUERY_ATTRS_MAX];
	uint32_t attr_count;
	/* Some span was in the stage for at least that long in sum. All of them. */
	struct {
		const char *name;
		size_t name_len;
		uint64_t min_ns;
	} stages[TRACE_QUERY_STAGES_MAX];
	uint32_t stage_count;
	uint32_t limit;	  /* 0 = 20; at most 250 */
	uint32_t columns; /* of the text formats; 0 = TRACE_TEXT_COLUMNS */
	enum trace_sort sort;
	bool has_cursor; /* what comes after; its order wins over sort */
	struct trace_cursor cursor;
};
/** Fill from a URL query parameter, percent-decoded: category, q or text, id (repeatable), begins
 *  (the first digits of an id), active,
 *  finished, errored, cancelled, success, min, max (durations as in Go: 1.5s), since, until (a
 *  duration back from now, or a time as in RFC 3339), attr (key or key:value, repeatable), stage
 *  (name or name:duration, repeatable), n or limit, columns (of text), sort (newest, slowest,
 * oldest), cursor. An empty value is no condition (for a bool: true). 0; ERR_NOT_FOUND for an
 * unknown key (ignored by callers that have keys of their own); ERR_MALFORMED with a text for the
 * user in ret_why and q as it was. */
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
	bool pinned; /* a root that trace_pin() keeps */
	int status;
	bool failed_below;   /* some span nested in it failed; one that was cancelled did not */
	const char *outcome; /* "" while active */
	uint64_t items, bytes;
	uint32_t mark_count, marks_dropped, attr_count, stage_count, link_count;
	uint32_t child_count, children_dropped;
	uint32_t marks_before_gap; /* where in the marks the dropped ones are missing */
	bool stages_folded; /* too many to list: later ones are added up per name, out of order */
	/* CPU time of the thread while it worked for this span, when trace_cpu() measures it;
	 * without its children's. */
	uint64_t busy_ns;
	/* Time in which something of the span could have run but waited for its turn: a deferred
	 * step for the loop, a job for a worker, a finished job for the loop. At least so much, to
	 * the microsecond; what the system's queues held back is not known. Without its children's.
	 * The rest of the duration, trace_waiting_ns(), is waiting for others: peers, disk, timers,
	 * children. */
	uint64_t queued_ns;
	/* The rest is set after trace_analyze() of the root. */
	bool analyzed;
	uint64_t self_ns; /* of the duration, when no child ran */
	/* On the critical path from start_ns until critical_until_ns (0: not on it), for
	 * critical_ns of that itself, the rest by its children. By timing alone: of siblings, the
	 * one that ended last is what its parent is taken to have waited for. */
	uint64_t critical_until_ns, critical_ns;
	/* private */
	uint32_t slot;
};
static inline uint64_t trace_waiting_ns(const struct trace_span_view *s)
{
	uint64_t used = s->busy_ns + s->queued_ns;

	return s->duration_ns > used ? s->duration_ns - used : 0;
}
struct trace_stage_view {
	const char *name;
	uint64_t start_ns; /* relative to the span's start */
	uint64_t duration_ns;
	/* CPU time and time in which it waited for its turn, as of the span; 0 of stages that were
	 * added up. */
	uint64_t busy_ns, queued_ns;
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
	uint64_t dropped_parts;	  /* attributes and links without room, stages not told apart */
	uint64_t pinned_roots;	  /* of the kept and active ones */
	uint64_t dropped_pins;	  /* that grew too large while they were active */
	uint64_t dropped_figures; /* categories and stages without room for statistics */
};
void trace_counts(const struct trace *t, struct trace_counts *ret);

/** Roots that match, best first: slots to pass to trace_walk, valid until the next write. Returns
 *  how many were written (at most q->limit and cap). ret_matched = how many match in all, ret_total
 *  = how many there are; either may be NULL. All in one go, which for a text in a full store takes
 *  some 10 ms: on a loop, use trace_find. */
size_t trace_search(struct trace *t, const struct trace_query *q, uint32_t *ret_roots, size_t cap,
		    uint64_t *ret_matched, uint64_t *ret_total);

/* The same in steps of less than 1 ms. The store may be written to between them: roots that begin
 * after the search began are not seen, and those evicted meanwhile may be. Holds nothing; it may be
 * forgotten at any time. */
struct trace_find {
	uint64_t matched, total; /* so far */
	/* private */
	struct trace *t;
	struct trace_query q;
	uint64_t as_of_ns, as_of_wall_ns;
	uint64_t since_ns, until_ns;
	uint64_t category_mask;
	uint32_t slot, slots_left, high;
	struct span root; /* the one being looked through */
	uint32_t node;
	uint32_t unmet;
	uint32_t count, cap;
	uint64_t after_cursor;
	uint8_t stage_ids[TRACE_QUERY_STAGES_MAX];
	struct {
		char text[256]; /* lower case */
		uint8_t fallback[256];
		size_t len;
	} needle;
	struct trace_found {
		uint32_t slot, generation;
		uint64_t key, tie;
	} found[250];
};
/** Copies q, and what it borrows must live as long as the search. */
void trace_find_begin(struct trace_find *f, struct trace *t, const struct trace_query *q);
/** The same of one root only, for who is told of them one at a time (trace_watch): matched is 1 in
 *  the end if it matches. Sort, limit and cursor are ignored. */
void trace_find_one(struct trace_find *f, struct trace *t, const struct trace_query *q,
		    uint32_t slot, const uint8_t span_id[8]);
/** True when the search is complete. */
bool trace_find_step(struct trace_find *f);
/** trace_find_one to its end, for who has few to look at: 1 ms and more only for a text in a root
 * of thousands of spans. */
bool trace_matches(struct trace *t, const struct trace_query *q, uint32_t slot,
		   const uint8_t span_id[8]);
/** The result, without what has been evicted since; valid until the next write. */
size_t trace_find_roots(const struct trace_find *f, uint32_t *ret_roots, size_t cap);
/** The cursor of the next page as text for trace_query_set. False when this was the last. */
bool trace_find_cursor(const struct trace_find *f, char ret[TRACE_CURSOR_SIZE]);

/** Visit a root and all its descendants in display order. visit returns false to stop. */
void trace_walk(struct trace *t, uint32_t root,
		bool (*visit)(void *data, const struct trace_span_view *s), void *data);
/** Work out self times and the critical path of a root's tree; views of it have them from then on,
 *  until another root is analyzed or the tree changes. At most 1 ms: call again until true. */
bool trace_analyze(struct trace *t, uint32_t root);
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
	/* private */
	struct trace_watch *next;
};
/** Borrows it until trace_unwatch(). Without any, it costs a test for NULL. */
void trace_watch(struct trace *t, struct trace_watch *w);
/** Fine for one that does not watch. */
void trace_unwatch(struct trace *t, struct trace_watch *w);

/* ---- Retention ---- */

/* What is kept of a category beyond its active and pinned roots. What exceeds them joins the recent
 * ones at their old end. */
struct trace_limits {
	uint32_t recent_max;  /* other roots; 0 = as many as the budget allows */
	uint32_t slow_max;    /* slowest of the last hour, at most TRACE_SLOW_MAX */
	uint32_t errored_max; /* newest that failed, at most TRACE_LIMIT_MAX */
};
/** Takes effect as traces finish; the default is { 0, TRACE_SLOW_MAX, TRACE_ERRORED_MAX }. The
 * category, a static string, need not have been used yet. ERR_LIMIT: too many categories;
 * ERR_MALFORMED: a limit beyond what it may be. */
int trace_limits_set(struct trace *t, const char *category, const struct trace_limits *limits);

/** Keep a root, found by trace_search, until it is unpinned; an active one too, unless its tree
 *  grows too large. Idempotent. ERR_LIMIT: TRACE_PINNED_MAX, or a quarter of the budget is pinned;
 *  ERR_NOT_FOUND: no root is there. */
int trace_pin(struct trace *t, uint32_t root);
void trace_unpin(struct trace *t, uint32_t root);

/* ---- Statistics ---- */

/* How slow is too slow, for who shows percentiles. 0 = never. */
struct trace_thresholds {
	uint64_t p50_ns, p90_ns, p99_ns;
};
/** ERR_LIMIT: too many categories. */
int trace_thresholds_set(struct trace *t, const char *category,
			 const struct trace_thresholds *thresholds);

struct trace_lifetime {
	uint64_t succeeded, errored,
		cancelled; /* spans since the start; errored without cancelled */
	uint64_t p10_ns, p50_ns, p90_ns, p99_ns; /* of those that succeeded, within 2 %; above 36
						    minutes only max_ns is right */
	uint64_t max_ns;			 /* exact */
	uint64_t sum_ns;			 /* of those that succeeded */
};
/* Figures of a category, or of one stage in its spans. The percentiles are of spans that succeeded;
 * others are counted apart. Evicting a span takes it out of what is kept, not out of the sample and
 * the lifetime. */
struct trace_stats {
	const char *category;
	const char *stage; /* NULL: of whole spans */
	/* Spans that are kept; errored includes the cancelled. 0 of a stage. */
	uint64_t active, finished, errored, cancelled;
	/* Exact, nearest rank, over the sample_count spans that succeeded among the latest finished
	 * ones (at most TRACE_SAMPLE_MAX, fewer of a stage). */
	uint64_t p10_ns, p50_ns, p90_ns, p99_ns, max_ns;
	uint64_t sample_count;
	uint64_t sample_errored, sample_cancelled; /* the others among them; errored without
						      cancelled */
	uint64_t errored_p50_ns, errored_max_ns;
	uint64_t window_ns;			 /* since the start of the oldest span among them */
	uint64_t oldest_wall_ns, newest_wall_ns; /* when the first and the last of them ended */
	double rate_per_s;			 /* finished spans, over the window */
	bool p50_over, p90_over, p99_over;	 /* its threshold */
	struct trace_lifetime lifetime;
	/* Roots that are kept, by why. */
	uint32_t recent_roots, slow_roots, errored_roots, active_roots, pinned_roots;
	uint64_t kept_bytes; /* of those that are neither active nor pinned */
	struct trace_limits limits;
	struct trace_thresholds thresholds;
};
/** One entry per category that has finished a span or holds one, by name; returns how many were
 *  written. Independent of how much is kept. */
size_t trace_stats_all(struct trace *t, struct trace_stats *ret, size_t cap);
/** The same over the samples of the last window_ns only, where rate_per_s is over window_ns. */
size_t trace_stats_recent(struct trace *t, uint64_t window_ns, struct trace_stats *ret, size_t cap);
/** The stages of a category, the one with the most time in sum first. A stage's time is its total
 *  in one span, and succeeded when the span did. */
size_t trace_stats_stages(struct trace *t, const char *category, struct trace_stats *ret,
			  size_t cap);

/** How many spans of the category succeeded, since the start, in less than each of the bounds,
 * which are powers of two from 64 on. False when there are no figures of it. */
bool trace_stats_within(struct trace *t, const char *category, const uint64_t *bounds_ns, size_t n,
			uint64_t *ret);

/* How the spans ended that ended within a stretch of time. */
struct trace_history {
	uint64_t succeeded, failed; /* failed: with the cancelled */
	uint64_t max_ns;	    /* the longest of either */
};
/** The last window_ns of a category in `count` equal stretches, the oldest first, as far as its
 *  sample reaches. False when there are no figures of it. */
bool trace_stats_history(struct trace *t, const char *category, uint64_t window_ns,
			 struct trace_history *ret, size_t count);

/* ---- Rendering ---- */

/* Answers can be large: a writer gives them in pieces, each of which takes at most 1 ms, so that a
 * server can send one and let the loop have its turn before it asks for the next. The store may be
 * written to meanwhile; a trace that is evicted before it was written to its end is cut there. */
enum trace_format {
	/* {"v":1, "matched":n, "total":n, "store":{…}, "categories":[…], "traces":[…]};
	 * trace/render_json.c has the format */
	TRACE_FORMAT_JSON,
	TRACE_FORMAT_CHROME,	/* trace event format, for Perfetto, chrome://tracing, speedscope */
	TRACE_FORMAT_JAEGER,	/* what the Jaeger UI reads from a file */
	TRACE_FORMAT_OTLP_JSON, /* ExportTraceServiceRequest of OTLP 1, in its JSON mapping */
	TRACE_FORMAT_OTLP,	/* the same as protobuf */
	TRACE_FORMAT_TEXT,	/* waterfalls, as wide as q->columns */
	TRACE_FORMAT_LIST	/* as text: the table of categories and a line per trace */
};
/** Copies q; what that borrows must live as long as the writer. NULL when out of memory. */
struct trace_writer *trace_writer_new(struct trace *t, enum trace_format format,
				      const struct trace_query *q);
struct trace_writer *trace_writer_free(struct trace_writer *w);
/** Two roots, by their slots, compared: the time of their spans and stages by depth and category,
 *  with the differences, largest first; as text headed by a sentence that names the stage that
 *  changed most, or as JSON {"v":1, "first":{…}, "then":{…}, "delta_ns":n, "left_out":n,
 *  "rows":[{"depth", "category", "stage", "first_ns", "then_ns", "delta_ns", "first_count", …}]}.
 *  trace_writer_next says ERR_NOT_FOUND, having written nothing, when one of them is gone. NULL
 * when out of memory. */
struct trace_writer *trace_writer_new_diff(struct trace *t, uint32_t first, uint32_t then,
					   bool json);
/** Append the next piece, possibly nothing yet. 1: there is more. 0: that was all. An error, also
 *  that of `out`: the answer is incomplete. The caller may clear `out` between calls; a piece is
 *  some 64 KiB, that of a span with many marks up to 4 MiB. */
int trace_writer_next(struct trace_writer *w, struct buf *out);
/** All pieces at once. 0, or the error. */
int trace_render(struct trace *t, enum trace_format format, const struct trace_query *q,
		 struct buf *out);

/* ---- Leaving the machine ---- */

enum { TRACE_DISGUISED_MAX = 64 };
struct trace_export {
	const char *instance; /* "service.instance.id"; NULL = not told. Borrowed */
	/* Titles, texts of attributes and texts in marks become pseudonyms; what the program itself
	 * says (categories, stages, outcomes, names of attributes, texts of errors) and numbers
	 * stay. */
	bool disguise;
	uint8_t key[32];
};
/** "~" and 16 hex digits for a text: under one key the same for the same text, and of no use to who
 * has not got the key. Texts of the program's own are copied. With a NUL; returns the length. */
size_t trace_disguise(const struct trace *t, const uint8_t key[32], const char *s, size_t len,
		      char ret[TRACE_DISGUISED_MAX]);

/* A root as trace_watch tells of it. */
struct trace_root_ref {
	uint32_t slot;
	uint8_t span_id[8];
};
/** One root as OTLP protobuf; of one that is gone, nothing is written. What is written of several
 * of them, one after the other, is one message. Copies `how`, but not what that borrows. NULL when
 * out of memory. */
struct trace_writer *trace_writer_new_root(struct trace *t, const struct trace_root_ref *root,
					   const struct trace_export *how);
/** How many spans were written. */
uint64_t trace_writer_spans(const struct trace_writer *w);

struct trace_otlp_reply {
	uint64_t refused; /* spans that the collector did not take */
	const char
		*message; /* why, or a warning; borrowed from data, not NUL-terminated, foreign */
	size_t message_len;
};
/** Read an ExportTraceServiceResponse of OTLP 1. 0 or ERR_MALFORMED. */
int trace_otlp_reply_read(const void *data, size_t len, struct trace_otlp_reply *ret);
