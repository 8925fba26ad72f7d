/* A trace that several daemons recorded, as one waterfall.
 *
 * Each daemon's half comes as JSON (trace/render_json.c has the format). What they tell is played
 * back in the order of time into a store of our own, on a clock set by hand, and that store draws
 * the waterfall: a half whose root names a span of another half as its parent begins as a child of
 * it. What cannot be played back is left out: what the daemons themselves had dropped.
 *
 * Clocks of two machines differ. A half that would begin before its parent is moved so that both
 * begin together, one that ends after it is moved back as far as its beginning allows; its root
 * says by how much. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "daemon/trace_cli.h"
#include "trace/trace.h"

enum {
	HALVES_MAX = 1024,
	SPANS_MAX = 100000,
	EVENTS_MAX = 4000000,
	WORDS_MAX = 1024,
	STORE_BYTES = 64 << 20, /* at most; by what is told, since all of it is touched at once */
	STORE_BASE = 2 << 20,
	EVENT_BYTES = 1 << 10,
	TEXT_MAX = 64 << 20,
	SPAN_ID_LEN = 16
};

/* What is beyond is cut, so that sums of times stay in range. */
#define LONGEST_NS (UINT64_C(86400) * 365 * NS_PER_SEC)
#define LATEST_NS  (UINT64_C(4000000000) * NS_PER_SEC)

struct half {
	json_t *trace; /* borrowed from an answer */
	const char *where;
	uint64_t start_wall_ns;
	int64_t shift_ns;	  /* what its clock is taken to be behind */
	size_t first, count;	  /* in joined.spans */
	struct part_span *parent; /* in another half; NULL = none is known */
};

struct part_span {
	json_t *json;
	struct half *half;
	const char *id, *parent_id;
	uint64_t start_ns, end_ns; /* wall time by its daemon's clock */
	bool is_open;
	struct span handle;
};

enum event_kind { EVENT_BEGIN, EVENT_STAGE, EVENT_MARK, EVENT_FINISH };

struct event {
	uint64_t at_ns;
	enum event_kind kind;
	uint32_t index; /* of the stage or mark */
	size_t span;	/* in joined.spans; parents come first */
};

struct joined {
	const struct trace_cli_answer *answers;
	size_t answer_count;
	struct half halves[HALVES_MAX];
	size_t half_count;
	struct part_span *spans;
	struct part_span **by_id;
	size_t span_count;
	struct event *events;
	size_t event_count;
	/* Names of stages, categories and so on have to be the same pointer when they are the same
	 * word. They are the answers' own. */
	const char *words[WORDS_MAX];
	size_t word_count;
	uint8_t trace_id[16];
	struct clock_manual clock;
	struct trace *store;
};

/* ---- What came ---- */

/* By the parser that the pages use. 0 when it is no time. */
static uint64_t parse_time(const char *text)
{
	struct trace_query q = { 0 };
	char why[128];

	return trace_query_set(&q, "since", text, why, sizeof(why)) == 0 ? q.since_wall_ns : 0;
}

static void take_span(struct joined *j, struct half *h, json_t *span)
{
	struct part_span *s = &j->spans[j->span_count++];

	*s = (struct part_span){ .json = span,
				 .half = h,
				 .id = json_get_text(span, "span_id"),
				 .parent_id = json_get_text(span, "parent_id"),
				 .is_open = !json_is_true(json_object_get(span, "finished")) };
	s->start_ns = h->start_wall_ns + MIN(json_get_count(span, "start_ns"), LONGEST_NS);
	s->end_ns = s->start_ns + MIN(json_get_count(span, "duration_ns"), LONGEST_NS);
	h->count++;
}

static void take_half(struct joined *j, const char *where, json_t *trace)
{
	struct half *h = &j->halves[j->half_count];
	json_t *span;
	size_t i;

	if (j->half_count == HALVES_MAX)
		return;
	*h = (struct half){ .trace = trace,
			    .where = where,
			    .start_wall_ns =
				    MIN(parse_time(json_get_text(trace, "start")), LATEST_NS),
			    .first = j->span_count };
	json_array_foreach(json_object_get(trace, "spans"), i, span) {
		if (j->span_count < SPANS_MAX)
			take_span(j, h, span);
	}
	j->half_count += h->count > 0;
}

static int by_id(const void *a, const void *b)
{
	return strcmp((*(struct part_span *const *)a)->id, (*(struct part_span *const *)b)->id);
}

static struct part_span *find_span(const struct joined *j, const char *id)
{
	struct part_span key = { .id = id }, *at = &key, **found;

	if (strlen(id) != SPAN_ID_LEN)
		return NULL;
	found = bsearch(&at, j->by_id, j->span_count, sizeof(*j->by_id), by_id);
	return found != NULL ? *found : NULL;
}

static size_t count_spans(const struct joined *j)
{
	size_t count = 0, i;
	json_t *trace;

	for (size_t n = 0; n < j->answer_count; n++) {
		json_array_foreach(json_object_get(j->answers[n].json, "traces"), i, trace) {
			count += json_array_size(json_object_get(trace, "spans"));
		}
	}
	return MIN(count, (size_t)SPANS_MAX);
}

static int take_all(struct joined *j)
{
	size_t max = count_spans(j), i;
	json_t *trace;

	j->spans = mem_alloc_array(max, sizeof(*j->spans));
	j->by_id = mem_alloc_array(max, sizeof(*j->by_id));
	if (j->spans == NULL || j->by_id == NULL)
		return UV_ENOMEM;
	for (size_t n = 0; n < j->answer_count; n++) {
		json_array_foreach(json_object_get(j->answers[n].json, "traces"), i, trace) {
			take_half(j, j->answers[n].where != NULL ? j->answers[n].where : "", trace);
		}
	}
	for (i = 0; i < j->span_count; i++)
		j->by_id[i] = &j->spans[i];
	qsort(j->by_id, j->span_count, sizeof(*j->by_id), by_id);
	return 0;
}

/* ---- Halves find their place ---- */

static uint64_t shifted(uint64_t wall_ns, const struct half *h)
{
	return (uint64_t)((int64_t)wall_ns + h->shift_ns);
}

static void place(struct joined *j, struct half *h)
{
	struct part_span *root = &j->spans[h->first];
	uint64_t start, end, parent_start, parent_end;

	h->parent = find_span(j, root->parent_id);
	if (h->parent == NULL || h->parent->half == h) {
		h->parent = NULL;
		return;
	}
	start = shifted(root->start_ns, h);
	end = shifted(root->end_ns, h);
	parent_start = shifted(h->parent->start_ns, h->parent->half);
	parent_end = shifted(h->parent->end_ns, h->parent->half);
	if (MAX(start, parent_start) - MIN(start, parent_start) > LONGEST_NS)
		h->parent = NULL;	/* nonsense, and no clock */
	else if (start <= parent_start) /* a nanosecond later: no two begin at one time */
		h->shift_ns += (int64_t)(parent_start - start) + 1;
	else if (end > parent_end)
		h->shift_ns -= (int64_t)MIN(end - parent_end, start - parent_start - 1);
}

/* A half below a moved one may have to move too, as often as halves are nested. */
static void place_all(struct joined *j)
{
	for (unsigned round = 0; round < TRACE_DEPTH_MAX; round++)
		for (size_t i = 0; i < j->half_count; i++)
			place(j, &j->halves[i]);
}

/* ---- Events ---- */

static void add_event(struct joined *j, size_t span, enum event_kind kind, uint64_t at_ns,
		      uint32_t index)
{
	if (j->event_count < EVENTS_MAX)
		j->events[j->event_count++] = (struct event){
			.at_ns = at_ns, .kind = kind, .index = index, .span = span
		};
}

static void list_events(struct joined *j, size_t n)
{
	const struct part_span *s = &j->spans[n];
	uint64_t start = shifted(s->start_ns, s->half), end = shifted(s->end_ns, s->half);
	json_t *part;
	size_t i;

	add_event(j, n, EVENT_BEGIN, start, 0);
	json_array_foreach(json_object_get(s->json, "stages"), i, part) {
		add_event(j, n, EVENT_STAGE,
			  start + MIN(json_get_count(part, "start_ns"), end - start), (uint32_t)i);
	}
	json_array_foreach(json_object_get(s->json, "marks"), i, part) {
		add_event(j, n, EVENT_MARK, start + MIN(json_get_count(part, "at_ns"), end - start),
			  (uint32_t)i);
	}
	if (!s->is_open)
		add_event(j, n, EVENT_FINISH, end, 0);
}

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->span != y->span)
		return x->span < y->span ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static int list_all_events(struct joined *j)
{
	size_t count = 0;

	for (size_t i = 0; i < j->span_count; i++)
		count += 2 + json_array_size(json_object_get(j->spans[i].json, "stages")) +
			 json_array_size(json_object_get(j->spans[i].json, "marks"));
	j->events = mem_alloc_array(MIN(count, (size_t)EVENTS_MAX), sizeof(*j->events));
	if (j->events == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < j->span_count; i++)
		list_events(j, i);
	qsort(j->events, j->event_count, sizeof(*j->events), by_time);
	return 0;
}

/* ---- Played back ---- */

static const char *word(struct joined *j, const char *text)
{
	for (size_t i = 0; i < j->word_count; i++)
		if (strcmp(j->words[i], text) == 0)
			return j->words[i];
	if (j->word_count == WORDS_MAX)
		return "…";
	return j->words[j->word_count++] = text;
}

static void play_attrs(struct joined *j, struct part_span *s)
{
	json_t *attrs = json_object_get(s->json, "attrs"), *value;
	const char *key;

	json_object_foreach(attrs, key, value) {
		if (json_is_string(value))
			trace_attr_str(s->handle, word(j, key), json_string_value(value),
				       json_string_length(value));
		else if (json_is_integer(value))
			trace_attr_int(s->handle, word(j, key), json_integer_value(value));
		else
			trace_attr_bool(s->handle, word(j, key), json_is_true(value));
	}
	trace_add(s->handle, json_get_count(s->json, "items"), json_get_count(s->json, "bytes"));
}

static void play_links(struct joined *j, struct part_span *s)
{
	json_t *link;
	size_t i;

	json_array_foreach(json_object_get(s->json, "links"), i, link) {
		struct trace_context to;
		char text[TRACEPARENT_SIZE];

		snprintf(text, sizeof(text), "00-%.32s-%.16s-01", json_get_text(link, "trace_id"),
			 json_get_text(link, "span_id"));
		if (trace_context_parse(text, strlen(text), &to) == 0)
			trace_link_remote(s->handle, &to, word(j, json_get_text(link, "why")));
	}
}

/* What a span, or a stage, was at work and queued. */
static void play_measured(struct part_span *s, const json_t *measured)
{
	trace_measured(s->handle, MIN(json_get_count(measured, "busy_ns"), LONGEST_NS),
		       MIN(json_get_count(measured, "queued_ns"), LONGEST_NS));
}

/* Who recorded a half, and how far it was moved. */
static void play_origin(struct part_span *s)
{
	const struct half *h = s->half;

	trace_attr_str(s->handle, "recorded by", h->where, strlen(h->where));
	if (h->shift_ns != 0)
		trace_mark(s->handle, "the clock there differs: moved by %+.3f ms",
			   (double)h->shift_ns / 1e6);
}

/* The trace, and the parent that nobody here recorded; an id of zeros for none. */
static struct trace_context remote_context(const struct joined *j, const struct part_span *s)
{
	struct trace_context ret = { .flags = 1 };
	char text[TRACEPARENT_SIZE];

	snprintf(text, sizeof(text), "00-%032x-%.16s-01", 1, s->parent_id);
	if (trace_context_parse(text, strlen(text), &ret) < 0)
		memset(ret.span_id, 0, sizeof(ret.span_id));
	memcpy(ret.trace_id, j->trace_id, sizeof(ret.trace_id));
	return ret;
}

static void play_begin(struct joined *j, struct part_span *s)
{
	const struct half *h = s->half;
	bool is_root = s == &j->spans[h->first];
	struct part_span *parent = is_root ? h->parent : find_span(j, s->parent_id);
	const char *category = word(j, json_get_text(s->json, "category"));
	const char *title = json_get_text(s->json, "title");
	struct trace_context context = remote_context(j, s);

	if (parent != NULL && parent->handle.generation != 0) {
		s->handle = trace_child(parent->handle, category, title, strlen(title));
	} else {
		s->handle = trace_root(j->store, category, title, strlen(title), &context);
	}
	if (is_root)
		play_origin(s);
	play_attrs(j, s);
	play_links(j, s);
	if (json_array_size(json_object_get(s->json, "stages")) == 0)
		play_measured(s, s->json);
}

static void play(struct joined *j, const struct event *e)
{
	struct part_span *s = &j->spans[e->span];
	const json_t *part;

	switch (e->kind) {
	case EVENT_BEGIN: play_begin(j, s); break;
	case EVENT_STAGE:
		part = json_array_get(json_object_get(s->json, "stages"), e->index);
		trace_stage(s->handle, word(j, json_get_text(part, "name")));
		play_measured(s, part);
		break;
	case EVENT_MARK:
		part = json_array_get(json_object_get(s->json, "marks"), e->index);
		if (json_is_true(json_object_get(part, "error")))
			trace_errorf(s->handle, "%s", json_get_text(part, "text"));
		else
			trace_mark(s->handle, "%s", json_get_text(part, "text"));
		break;
	case EVENT_FINISH:
		trace_finish(s->handle, (int)json_integer_value(json_object_get(s->json, "status")),
			     word(j, json_get_text(s->json, "outcome")));
		break;
	}
}

static int play_all(struct joined *j)
{
	struct trace_config config = { .budget_bytes = STORE_BASE + j->event_count * EVENT_BYTES };
	uint64_t now = j->event_count > 0 ? j->events[0].at_ns : 0;

	config.budget_bytes = MIN(config.budget_bytes, (size_t)STORE_BYTES);
	clock_manual_init(&j->clock, now);
	j->store = trace_new(&config, &j->clock.clock);
	if (j->store == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < j->event_count; i++) {
		clock_manual_advance(&j->clock, j->events[i].at_ns - now);
		now = j->events[i].at_ns;
		play(j, &j->events[i]);
	}
	return 0;
}

/* ---- Shown ---- */

static int join(struct joined *j, const char *id, struct buf *out)
{
	struct trace_query q = { 0 };
	char why[128];
	int rc = trace_query_set(&q, "id", id, why, sizeof(why));

	if (rc < 0)
		return rc;
	q.columns = trace_cli_columns();
	memcpy(j->trace_id, q.id, sizeof(j->trace_id));
	rc = take_all(j);
	if (rc == 0) {
		place_all(j);
		rc = list_all_events(j);
	}
	if (rc == 0)
		rc = play_all(j);
	return rc == 0 ? trace_render(j->store, TRACE_FORMAT_TEXT, &q, out) : rc;
}

int trace_cli_join(const char *id, const struct trace_cli_answer *answers, size_t count,
		   struct buf *out)
{
	struct joined *j = mem_alloc(sizeof(*j));
	int rc;

	if (j == NULL)
		return UV_ENOMEM;
	j->answers = answers;
	j->answer_count = count;
	rc = join(j, id, out);
	trace_free(j->store);
	mem_free(j->spans);
	mem_free(j->by_id);
	mem_free(j->events);
	mem_free(j);
	return rc;
}

struct collected {
	struct trace_cli_answer answers[TRACE_CLI_SOURCES_MAX];
	size_t count;
};

static int keep_answer(void *data, unsigned number, const char *where, struct buf *body)
{
	struct collected *all = data;
	struct trace_cli_answer *a = &all->answers[all->count];

	a->json = json_loadb((char *)body->data, body->len, 0, NULL);
	if (a->json == NULL)
		return cli_fail(EXIT_FAILED, "what %s answers is not JSON", where);
	a->where = mem_strdup(where);
	all->count++;
	return 0;
}

int trace_cli_show_joined(struct cli *c, const char *id)
{
	CLEANUP(mem_freep) char *path = trace_cli_path("json", "id", id, 250);
	CLEANUP(buf_fini) struct buf out = { 0 };
	struct collected all = { .count = 0 };
	int rc;

	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	buf_init(&out, TEXT_MAX);
	rc = trace_cli_ask_all(c, path, keep_answer, &all);
	if (rc == 0 && trace_cli_join(id, all.answers, all.count, &out) < 0)
		rc = cli_fail(EXIT_FAILED, "the halves of the trace cannot be put together");
	if (rc == 0)
		output_text(&out);
	for (size_t i = 0; i < all.count; i++) {
		json_decref(all.answers[i].json);
		mem_free(all.answers[i].where);
	}
	return rc;
}
