/* What the tests of trace/ share: a store on a clock that stands still, and ways to look into it.
 */
#pragma once

#include "test_util.h"
#include "trace/trace.h"

enum { WALL_START_S = 1767225600 }; /* 2026-01-01 */

struct fixture {
	struct clock_manual clock;
	struct trace *t;
};

static inline int setup_bytes(void **state, size_t budget_bytes)
{
	struct fixture *f = mem_alloc(sizeof(*f));

	assert_non_null(f);
	clock_manual_init(&f->clock, WALL_START_S * NS_PER_SEC);
	clock_manual_advance(&f->clock, NS_PER_SEC);
	f->t = trace_new(&(struct trace_config){ budget_bytes }, &f->clock.clock);
	assert_non_null(f->t);
	*state = f;
	return 0;
}
static inline int setup(void **state)
{
	return setup_bytes(state, 4 << 20);
}
static inline int setup_small(void **state)
{
	return setup_bytes(state, TRACE_BYTES_MIN);
}
static inline int teardown(void **state)
{
	struct fixture *f = *state;

	trace_free(f->t);
	mem_free(f);
	return 0;
}

static inline struct span root_span(struct fixture *f, const char *category, const char *title)
{
	return trace_root(f->t, category, title, strlen(title), NULL);
}
static inline struct span child_span(struct span parent, const char *category, const char *title)
{
	return trace_child(parent, category, title, strlen(title));
}
/* A whole trace of a given length. */
static inline void whole_trace(struct fixture *f, const char *category, const char *title,
			       uint64_t ns, int status)
{
	struct span s = root_span(f, category, title);

	clock_manual_advance(&f->clock, ns);
	trace_finish(s, status, NULL);
}

/* Every span of the traces with one title or id, in display order. */
struct seen {
	struct trace_span_view span[64];
	size_t count;
};
static inline bool see_span(void *data, const struct trace_span_view *s)
{
	struct seen *seen = data;

	if (seen->count < 64)
		seen->span[seen->count] = *s;
	seen->count++;
	return true;
}
static inline void see(struct fixture *f, const struct trace_query *q, struct seen *ret)
{
	uint32_t roots[250];
	size_t count = trace_search(f->t, q, roots, 250, NULL, NULL);

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < count; i++)
		trace_walk(f->t, roots[i], see_span, ret);
}
/* The tree whose root is (or was) this span. */
static inline void see_tree(struct fixture *f, const struct trace_context *c, struct seen *ret)
{
	struct trace_query q = { .has_id = true };

	memcpy(q.id, c->trace_id, sizeof(q.id));
	see(f, &q, ret);
}
static inline struct trace_span_view see_one(struct fixture *f, struct span s)
{
	struct trace_context c;
	struct seen seen;

	assert_true(trace_context_of(s, &c));
	see_tree(f, &c, &seen);
	for (size_t i = 0; i < seen.count; i++)
		if (memcmp(seen.span[i].span_id, c.span_id, sizeof(c.span_id)) == 0)
			return seen.span[i];
	fail_msg("the span is not in the store");
	return (struct trace_span_view){ 0 };
}
static inline uint64_t count_matching(struct fixture *f, const struct trace_query *q)
{
	uint32_t roots[250];
	uint64_t matched = 0;

	trace_search(f->t, q, roots, 250, &matched, NULL);
	return matched;
}
static inline bool is_kept(struct fixture *f, const char *title)
{
	return count_matching(f, &(struct trace_query){ .text = title }) > 0;
}

/* Text of the i-th mark. */
static inline const char *mark_text(struct fixture *f, const struct trace_span_view *v, uint32_t i)
{
	static char text[2048];
	struct trace_mark_view m;
	struct buf b;

	buf_init(&b, sizeof(text) - 1);
	assert_true(trace_mark_at(f->t, v, i, &m, &b));
	memcpy(text, b.data != NULL ? (const char *)b.data : "", b.len);
	text[b.len] = '\0';
	buf_fini(&b);
	return text;
}

/* Counts must add up after anything at all. */
static inline void check_counts(struct fixture *f)
{
	struct trace_counts c;

	trace_counts(f->t, &c);
	assert_int_equal(c.created, c.active_roots + c.kept_roots + c.evicted);
	assert_true(c.used_bytes <= c.budget_bytes);
	assert_true(c.finished_spans <= c.created_spans);
}

/* Small deterministic randomness. */
static inline uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

static inline struct trace_counts counts_of(struct fixture *f)
{
	struct trace_counts c;

	trace_counts(f->t, &c);
	return c;
}
