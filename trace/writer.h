/* Answers in pieces, private to trace/.
 *
 * A writer searches, then goes through the roots it found span by span, and calls a format's
 * functions; the format writes. Between two pieces the store goes on: a root that is evicted
 * meanwhile is cut short. */
#pragma once

#include "base/mem.h"
#include "trace/store.h"

enum {
	PIECE_BYTES = 32 << 10, /* a piece ends when it has grown beyond; some 0.5 ms of work */
	PIECE_SPANS = 250
};

/* Where an export draws spans so that they nest, one list per lane. */
struct lanes {
	uint32_t count;
	uint32_t heap_count;
	struct lane {
		uint64_t end_ns;
		uint32_t id;
	} * heap; /* the one that is free first on top; owned */
	size_t heap_cap;
	struct {
		uint32_t lane;
		uint64_t cursor_ns, end_ns;
	} stack[TRACE_DEPTH_MAX + 1]; /* of the span and those it is in */
};

struct trace_writer {
	struct trace *t;
	const struct format *format;
	struct trace_find find;
	enum {
		WRITER_FIND,
		WRITER_HEAD,
		WRITER_ROOT,
		WRITER_ANALYZE,
		WRITER_SPANS,
		WRITER_TAIL,
		WRITER_DIFF,
		WRITER_DONE
	} phase;
	uint32_t next;	  /* of the roots found */
	struct span root; /* being written */
	uint32_t node;
	uint64_t now_ns;  /* until when active spans are drawn */
	uint64_t base_ns; /* start of the earliest root */
	uint32_t written; /* roots */
	uint32_t spans;	  /* of this root */
	bool cut;	  /* the root was evicted before its end */
	int err;
	struct trace_span_view root_view;
	struct lanes lanes;
	uint64_t flows;
	struct arena arena;
	struct waterfall *waterfall; /* owned */
	struct diff *diff;	     /* owned */
	struct trace_export how;
	uint64_t spans_written;
};

struct format {
	bool analyze;
	bool roots_only; /* root_begin and root_end are all; span is not needed */
	void (*head)(struct trace_writer *w, struct buf *out);
	void (*root_begin)(struct trace_writer *w, struct buf *out);
	void (*span)(struct trace_writer *w, const struct trace_span_view *s, struct buf *out);
	void (*root_end)(struct trace_writer *w, struct buf *out);
	void (*tail)(struct trace_writer *w, struct buf *out);
};
extern const struct format format_json, format_chrome, format_jaeger, format_otlp_json, format_otlp,
	format_text, format_list;

/* lanes.c */

void lanes_reset(struct lanes *l);
/** Where a span goes; spans come parents first. 0 or UV_ENOMEM. */
int lanes_place(struct lanes *l, uint32_t depth, uint64_t start_ns, uint64_t end_ns,
		uint32_t *ret_lane);
/** A lane for something without a parent. */
int lanes_alone(struct lanes *l, uint64_t start_ns, uint64_t end_ns, uint32_t *ret_lane);

/* diff.c */

/** NULL when out of memory; mem_free it. */
struct diff *diff_new(struct trace *t, struct span first, struct span then, bool json);
/** 1: there is more, 0: all is written, or ERR_NOT_FOUND when one is gone before anything was. */
int diff_step(struct diff *d, struct buf *out);

/* json.c: what the JSON formats share. */

/** A string of lower-case hex digits, with the quotes. */
void trace_json_hex(struct buf *out, const uint8_t *bytes, size_t size);
/** ,"key":"text" */
void trace_json_text(struct buf *out, const char *key, const char *s, size_t len);
