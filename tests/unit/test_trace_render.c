/* JSON and text. */
#include <jansson.h>

#include "test_trace_random.h"

/* What a peer might call itself. */
static const char *const hostile[] = {
	"<img src=x onerror=alert(1)>",
	"\"quotes\" and \\",
	"\x1b[2J\x1b]0;title\x07",
	"\xff\xfe\x80 invalid",
	"a\nb\rc\td",
	"\xe2\x80\xae right to left \xe2\x80\x8b",
	("\xc2\x9b"
	 "31m C1"),
	"\xed\xa0\x80 surrogate",
	"</script><script>",
	"%s%n%d",
	"\x7f\x01\x02",
	"\xf0\x9f\x92\xa9 wide \xe6\xbc\xa2\xe5\xad\x97",
	"\xef\xbb\xbf bom",
	"tail cut \xe2\x82",
};

static json_t *render(struct fixture *f, const struct trace_query *q)
{
	struct buf out;
	json_error_t error;

	buf_init(&out, 16 << 20);
	CHECK_STATUS(0, trace_render(f->t, TRACE_FORMAT_JSON, q, &out));
	json_t *json = json_loadb((const char *)out.data, out.len, 0, &error);
	if (json == NULL)
		fail_msg("not JSON at %d: %s", error.position, error.text);
	buf_fini(&out);
	return json;
}

/* Text of a rendering; lives until the next one. */
static const char *text_of(struct fixture *f, const struct trace_query *q)
{
	static char text[1 << 20];
	struct buf out;

	buf_init(&out, sizeof(text) - 1);
	CHECK_STATUS(
		0, trace_render(f->t, q->has_id ? TRACE_FORMAT_TEXT : TRACE_FORMAT_LIST, q, &out));
	memcpy(text, out.data, out.len);
	text[out.len] = '\0';
	buf_fini(&out);
	return text;
}

static const char *waterfall_of(struct fixture *f, struct span s)
{
	struct trace_query q = { .has_id = true };
	struct trace_context c;

	assert_true(trace_context_of(s, &c));
	memcpy(q.id, c.trace_id, sizeof(q.id));
	return text_of(f, &q);
}

static void check_contains(const char *text, const char *needle)
{
	if (strstr(text, needle) == NULL)
		fail_msg("\"%s\" is not in:\n%s", needle, text);
}

/* The worked example of a discovery: 6.91 s, most of it in the DHT. */
static struct span discovery(struct fixture *f)
{
	struct span s = root_span(f, "sync.discover",
				  "hm://z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes");

	trace_stage(s, "local");
	clock_manual_advance(&f->clock, 10 * NS_PER_MS);
	trace_mark(s, "local peers: %d found, %d synced ok", 3, 0);
	trace_stage(s, "local_sync");
	struct span peer =
		child_span(s, "sync.peer", "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp");
	trace_stage(peer, "dial");
	clock_manual_advance(&f->clock, 2000 * NS_PER_MS);
	trace_errorf(peer, "dial %s: timed out", "/ip4/10.0.0.1/tcp/56000");
	trace_finish(peer, UV_ETIMEDOUT, "timeout");
	trace_stage(s, "dht");
	clock_manual_advance(&f->clock, 4900 * NS_PER_MS);
	trace_add(s, 12, 345678);
	trace_attr_bool(s, "recursive", true);
	trace_attr_int(s, "depth", -3);
	trace_attr_str(s, "agent", "test", 4);
	trace_finish(s, 0, "dht");
	return s;
}

static void the_waterfall_begins_with_the_stage_that_took_longest(void **state)
{
	struct fixture *f = *state;
	const char *text = waterfall_of(f, discovery(f));
	const char *end = strchr(text, '\n');

	assert_memory_equal(text, "sync.discover hm://z6Mk", 23);
	const char *verdict = "/notes took 6.91 s: 71 % in dht (4.90 s)";
	assert_memory_equal(end - strlen(verdict), verdict, strlen(verdict));
	check_contains(text, "local 10 ms · local_sync 2.00 s · dht 4.90 s\n");
	check_contains(text, "+10 ms  local peers: 3 found, 0 synced ok\n");
	check_contains(text, "+2.00 s  error: dial /ip4/10.0.0.1/tcp/56000: timed out\n");
	check_contains(text, "12 items, 345.7 kB\n");
	check_contains(text, "depth=-3\n");
	check_contains(text, "timeout    2.00 s  29 |");
}

static void the_sentence_names_the_child_that_took_longest_in_that_stage(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "sync.discover", "hm://a"), peer;

	trace_stage(s, "local_sync");
	peer = child_span(s, "sync.peer", "quick");
	clock_manual_advance(&f->clock, NS_PER_SEC);
	trace_finish(peer, 0, NULL);
	peer = child_span(s, "sync.peer", "laggard");
	trace_stage(peer, "dial");
	clock_manual_advance(&f->clock, 3 * NS_PER_SEC);
	trace_stage(peer, "fetch");
	clock_manual_advance(&f->clock, NS_PER_SEC);
	trace_finish(peer, 0, NULL);
	trace_finish(child_span(s, "sync.peer", "last"), 0, NULL);
	trace_finish(s, 0, NULL);
	const char *text = waterfall_of(f, s);
	check_contains(text, "sync.discover hm://a took 5.00 s: 100 % in local_sync (5.00 s)\n");
	check_contains(text, "longest in it: sync.peer laggard, 4.00 s, 75 % in dial\n");
}

static void an_active_trace_says_what_it_is_doing(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "sync.discover", "hm://a");

	trace_stage(s, "dial");
	clock_manual_advance(&f->clock, 3 * NS_PER_SEC);
	trace_stage(s, "fetch");
	clock_manual_advance(&f->clock, NS_PER_SEC);
	check_contains(waterfall_of(f, s), "sync.discover hm://a running for 4.00 s: 75 % "
					   "in dial (3.00 s), now in fetch\n");
	trace_finish(s, UV_ETIMEDOUT, "timeout");
	check_contains(waterfall_of(f, s),
		       "sync.discover hm://a failed after 4.00 s (timeout): 75 % in dial");
}

static void check_halves(struct fixture *f, uint64_t later)
{
	struct span s = root_span(f, "sync.peer", "them");
	struct trace_context c;

	trace_context_of(s, &c);
	clock_manual_advance(&f->clock, later);
	struct span half = trace_root(f->t, "sync.serve", "us", 2, &c);
	const char *text = waterfall_of(f, half);
	assert_memory_equal(text, "sync.peer them", 14);
	check_contains(text, "\nsync.serve us");
	check_contains(text, "asked for by span ");
}

static void both_halves_of_a_trace_are_shown_after_each_other(void **state)
{
	check_halves(*state, 0);
	check_halves(*state, 5);
}

/* Columns as a terminal would count them, for characters of width one and the wide ones used here.
 */
static unsigned columns_of(const char *line, size_t len)
{
	unsigned columns = 0;

	while (len > 0) {
		uint32_t c;
		size_t n = utf8_decode(line, len, &c);
		assert_true(n > 0);
		assert_false(utf8_is_control(c));
		assert_true(c != 0x202e && c != 0x200b && c != 0xfeff);
		columns += c == 0x6f22 || c == 0x5b57 || c == 0x1f4a9 ? 2 : 1;
		line += n;
		len -= n;
	}
	return columns;
}

static void check_lines(const char *text, unsigned columns)
{
	for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
		if (columns_of(text, (size_t)(end - text)) > columns)
			fail_msg("too wide: %.*s", (int)(end - text), text);
	assert_string_equal(text, "");
}

static struct span hostile_trace(struct fixture *f, const char *s)
{
	struct span root = root_span(f, "sync.discover", s),
		    child = child_span(root, "sync.peer", s);

	trace_stage(child, "dial");
	clock_manual_advance(&f->clock, 10);
	trace_mark(child, "they said %s", s);
	trace_mark(child, "%s%s%s%s", s, s, s, s);
	trace_attr_str(child, "agent", s, strlen(s));
	trace_finish(child, UV_EIO, NULL);
	trace_finish(root, 0, NULL);
	return root;
}

static void hostile_text_neither_moves_the_cursor_nor_breaks_the_columns(void **state)
{
	struct fixture *f = *state;
	char longer[300];

	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		check_lines(waterfall_of(f, hostile_trace(f, hostile[i])), 80);
		snprintf(longer, sizeof(longer), "%s%s%s%s%s%s", hostile[i], hostile[i], hostile[i],
			 hostile[i], hostile[i], hostile[i]);
		check_lines(waterfall_of(f, hostile_trace(f, longer)), 80);
	}
	check_lines(waterfall_of(f, discovery(f)), 80);
	check_lines(text_of(f, &(struct trace_query){ .limit = 250 }), 80);
}

static void text_is_as_wide_as_asked(void **state)
{
	static const uint32_t widths[] = { TRACE_TEXT_COLUMNS, 100, TRACE_TEXT_COLUMNS_MAX };
	struct fixture *f = *state;
	struct trace_query q = { .has_id = true };
	struct trace_context c;
	size_t len = 0;

	assert_true(trace_context_of(discovery(f), &c));
	memcpy(q.id, c.trace_id, sizeof(q.id));
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		q.columns = widths[i];
		const char *text = text_of(f, &q);
		check_lines(text, widths[i]);
		assert_true(strlen(text) > len);
		len = strlen(text);
		check_lines(text_of(f, &(struct trace_query){ .columns = widths[i] }), widths[i]);
	}
}

static void what_is_cut_of_an_iri_is_its_middle(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "sync.discover",
				  "hm://z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/notes/"
				  "\xe9\xb7\xba/herons");

	trace_finish(s, 0, NULL);
	check_contains(text_of(f, &(struct trace_query){ 0 }), "notes/\xe9\xb7\xba/herons");
	check_contains(text_of(f, &(struct trace_query){ 0 }), " hm://z6M");
	check_contains(waterfall_of(f, s), "…");
	check_contains(waterfall_of(f, s), "/herons ");
	check_lines(waterfall_of(f, s), 80);
}

static void hostile_text_is_escaped_in_json(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++)
		hostile_trace(f, hostile[i]);
	json_t *json = render(f, &(struct trace_query){ .limit = 250 });
	json_t *traces = json_object_get(json, "traces");
	assert_int_equal(json_array_size(traces), ARRAY_SIZE(hostile));
	/* Newest first; plain ones come back as they were. */
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		json_t *trace = json_array_get(traces, ARRAY_SIZE(hostile) - 1 - i);
		const char *title = json_string_value(json_object_get(trace, "title"));
		bool valid = strstr(title, "\xef\xbf\xbd") == NULL;
		if (valid)
			assert_string_equal(title, hostile[i]);
	}
	json_decref(json);
}

static json_int_t json_int(json_t *json, const char *key)
{
	json_t *value = json_object_get(json, key);

	if (!json_is_integer(value))
		fail_msg("%s is no integer", key);
	return json_integer_value(value);
}

static const char *json_str(json_t *json, const char *key)
{
	const char *value = json_string_value(json_object_get(json, key));

	if (value == NULL)
		fail_msg("%s is no string", key);
	return value;
}

static void json_has_everything_that_was_recorded(void **state)
{
	struct fixture *f = *state;

	discovery(f);
	json_t *json = render(f, &(struct trace_query){ 0 });
	assert_int_equal(json_int(json, "v"), 1);
	assert_int_equal(json_int(json, "matched"), 1);
	assert_int_equal(json_int(json, "total"), 1);
	assert_string_equal(json_str(json, "now"), "2026-01-01T00:00:07.910000000Z");
	json_t *trace = json_array_get(json_object_get(json, "traces"), 0);
	assert_string_equal(json_str(trace, "start"), "2026-01-01T00:00:01.000000000Z");
	assert_string_equal(json_str(trace, "outcome"), "dht");
	assert_true(json_is_false(json_object_get(trace, "active")));
	json_t *spans = json_object_get(trace, "spans"), *root = json_array_get(spans, 0),
	       *peer = json_array_get(spans, 1);
	assert_int_equal(json_array_size(spans), 2);
	assert_true(json_is_null(json_object_get(root, "parent_id")));
	assert_string_equal(json_str(peer, "parent_id"), json_str(root, "span_id"));
	assert_string_equal(json_str(peer, "status_name"), "ETIMEDOUT");
	assert_int_equal(json_int(peer, "status"), UV_ETIMEDOUT);
	assert_int_equal(json_int(peer, "start_ns"), 10 * NS_PER_MS);
	assert_int_equal(json_int(peer, "depth"), 1);
	json_t *stage = json_array_get(json_object_get(root, "stages"), 2);
	assert_string_equal(json_str(stage, "name"), "dht");
	assert_int_equal(json_int(stage, "start_ns") + json_int(stage, "duration_ns"),
			 json_int(root, "duration_ns"));
	json_t *mark = json_array_get(json_object_get(peer, "marks"), 0);
	assert_string_equal(json_str(mark, "text"), "dial /ip4/10.0.0.1/tcp/56000: timed out");
	assert_true(json_is_true(json_object_get(mark, "error")));
	json_t *attrs = json_object_get(root, "attrs");
	assert_int_equal(json_int(attrs, "depth"), -3);
	assert_true(json_is_true(json_object_get(attrs, "recursive")));
	assert_string_equal(json_str(attrs, "agent"), "test");
	json_t *category = json_array_get(json_object_get(json, "categories"), 0);
	assert_string_equal(json_str(category, "category"), "sync.discover");
	assert_int_equal(json_int(category, "p50_ns"), 6910 * NS_PER_MS);
	assert_int_equal(json_int(json_object_get(json, "store"), "created_spans"), 2);
	json_decref(json);
}

static void an_empty_store_renders_too(void **state)
{
	struct fixture *f = *state;
	json_t *json = render(f, &(struct trace_query){ 0 });

	assert_int_equal(json_array_size(json_object_get(json, "traces")), 0);
	json_decref(json);
	check_lines(text_of(f, &(struct trace_query){ 0 }), 80);
	assert_string_equal(text_of(f, &(struct trace_query){ .has_id = true }),
			    "no such trace is kept\n");
}

static void a_trace_of_no_length_renders_too(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	trace_stage(s, "x");
	trace_finish(child_span(s, "b", "c"), 0, NULL);
	trace_finish(s, 0, NULL);
	check_lines(waterfall_of(f, s), 80);
}

static void the_deepest_trace_fits_the_columns(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "a title of some length so that it must be cut"),
		    deep = s;

	for (int i = 0; i < TRACE_DEPTH_MAX; i++)
		deep = child_span(deep, "a.category.of.some.length", "deep");
	check_lines(waterfall_of(f, s), 80);
}

static void large_traces_are_shown_in_part_and_say_so(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r");

	for (int i = 0; i < 3000; i++) {
		trace_mark(s, "mark %d", i);
		clock_manual_advance(&f->clock, 1);
		trace_stage(s, i % 2 ? "read" : "write");
		trace_finish(child_span(s, "b", "c"), 0, NULL);
	}
	trace_finish(s, 0, NULL);
	const char *text = waterfall_of(f, s);
	check_contains(text, "(960 more marks)");
	check_contains(text, "(2000 marks dropped after the first 333)");
	check_contains(text, " more spans)");
	check_contains(text, "(later stages added up)");
	check_contains(text, "mark 2999\n");
	check_lines(text, 80);
}

static void a_full_buffer_ends_the_rendering_with_an_error(void **state)
{
	struct fixture *f = *state;
	struct buf out;

	for (int i = 0; i < 100; i++)
		discovery(f);
	for (size_t limit = 0; limit < 20000; limit += 997) {
		buf_init(&out, limit);
		(void)trace_render(f->t, TRACE_FORMAT_JSON, &(struct trace_query){ .limit = 250 },
				   &out);
		CHECK_STATUS(ERR_LIMIT, buf_err(&out));
		assert_true(out.len <= limit);
		buf_fini(&out);
	}
}

/* 40 peers at once, some of which fail, then a pause in which nothing runs. */
static struct span many_peers(struct fixture *f)
{
	struct span s = root_span(f, "sync.discover", "hm://a"), peer[40];

	for (int i = 0; i < 40; i++)
		peer[i] = child_span(s, "sync.peer", i == 7 ? "the longest" : "p");
	for (uint64_t i = 0; i < 40; i++)
		if (i != 7) {
			clock_manual_advance(&f->clock, 10 * NS_PER_MS);
			trace_finish(peer[i], i % 4 == 0 ? UV_ETIMEDOUT : 0, NULL);
		}
	clock_manual_advance(&f->clock, 610 * NS_PER_MS);
	trace_finish(peer[7], 0, NULL);
	clock_manual_advance(&f->clock, 500 * NS_PER_MS);
	trace_finish(child_span(s, "store.put", "x"), 0, NULL);
	clock_manual_advance(&f->clock, 600 * NS_PER_MS);
	trace_finish(s, 0, NULL);
	return s;
}

static void similar_siblings_are_one_row_and_the_longest_of_them(void **state)
{
	struct fixture *f = *state;
	const char *text = waterfall_of(f, many_peers(f));

	check_contains(text,
		       "  sync.peer x40, 10 failed, p50 200 ms, max 1.00 s (37 more spans)\n");
	check_contains(text, "the longest");
	check_contains(text, "store.put x");
	check_lines(text, 80);
}

static void time_that_no_child_covers_has_a_row_when_it_is_long(void **state)
{
	struct fixture *f = *state;
	const char *text = waterfall_of(f, many_peers(f));

	check_contains(text, "  · from +1.00 s nothing nested for 500 ms\n  store.put x");
	check_contains(text, "  · from +1.50 s nothing nested for 600 ms\n");
	check_contains(text, "self 1.10 s\n");
}

static void bars_are_full_on_the_critical_path_only(void **state)
{
	struct fixture *f = *state;
	struct span s = root_span(f, "a", "r"), quick = child_span(s, "b", "quick"),
		    slow = child_span(s, "c", "slow");

	clock_manual_advance(&f->clock, 500);
	trace_finish(quick, 0, NULL);
	clock_manual_advance(&f->clock, 500);
	trace_finish(slow, 0, NULL);
	trace_finish(s, 0, NULL);
	const char *text = waterfall_of(f, s);
	const char *quick_line = strstr(text, "  b quick"), *slow_line = strstr(text, "  c slow");
	assert_non_null(quick_line);
	assert_memory_equal(strchr(quick_line, '|') + 1, "░░", strlen("░░"));
	assert_memory_equal(strchr(slow_line, '|') + 1, "██", strlen("██"));
}

static void every_line_of_a_waterfall_fits_its_columns(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 4;

	for (int i = 0; i < 20; i++)
		check_lines(waterfall_of(f, i == 0 ? many_peers(f) : random_tree(f, &seed, 100)),
			    80);
}

static void a_list_has_a_line_per_trace_within_its_columns(void **state)
{
	struct fixture *f = *state;
	const char *text;

	for (int i = 0; i < 300; i++)
		(void)discovery(f);
	text = text_of(f, &(struct trace_query){ .limit = 250, .sort = TRACE_SORT_SLOWEST });
	check_contains(text, "250 of 300 matching traces, slowest first\n");
	check_contains(text, " sync.discover hm://z…");
	check_contains(text, "/notes 71 % dht\n");
	check_lines(text, 80);
}

/* What a comparison says; lives until the next one. 0, or the writer's error. */
static int write_diff(struct fixture *f, uint32_t a, uint32_t b, bool json, struct buf *out,
		      unsigned *ret_pieces)
{
	struct trace_writer *w = trace_writer_new_diff(f->t, a, b, json);
	int rc = UV_ENOMEM;

	while (w != NULL && (rc = trace_writer_next(w, out)) > 0)
		(*ret_pieces)++;
	trace_writer_free(w);
	return rc;
}

static const char *diff_of(struct fixture *f, struct span a, struct span b, bool json)
{
	static char text[1 << 16];
	unsigned pieces = 0;
	struct buf out;

	buf_init(&out, sizeof(text) - 1);
	CHECK_STATUS(0, write_diff(f, a.slot, b.slot, json, &out, &pieces));
	memcpy(text, out.data, out.len);
	text[out.len] = '\0';
	buf_fini(&out);
	return text;
}

static struct span slower_discovery(struct fixture *f, uint64_t dial_ns)
{
	struct span s = root_span(f, "sync.discover", "hm://a"), peer;

	trace_stage(s, "local_sync");
	for (int i = 0; i < 2; i++) {
		peer = child_span(s, "sync.peer", "p");
		trace_stage(peer, "dial");
		clock_manual_advance(&f->clock, dial_ns);
		trace_finish(peer, 0, NULL);
	}
	trace_stage(s, "dht");
	clock_manual_advance(&f->clock, NS_PER_SEC);
	trace_finish(s, 0, NULL);
	return s;
}

static void a_comparison_names_the_stage_that_changed_most(void **state)
{
	struct fixture *f = *state;
	struct span a = slower_discovery(f, NS_PER_SEC), b = slower_discovery(f, 3 * NS_PER_SEC);
	const char *text = diff_of(f, a, b, false);

	check_contains(text, "sync.discover hm://a: 3.00 s, then 7.00 s (+4.00 s)\n"
			     "changed most: local_sync, +4.00 s\n");
	check_contains(text, "  sync.peer                          2.00 s x2      6.00 s x2      "
			     "+4.00 s\n");
	check_contains(text, "    dial                             2.00 s x2      6.00 s x2      "
			     "+4.00 s\n");
	check_contains(text,
		       "  dht                                1.00 s         1.00 s              "
		       " =\n");
	check_lines(text, 80);
}

static void a_comparison_is_json_too_and_tells_what_only_one_did(void **state)
{
	struct fixture *f = *state;
	struct span a = slower_discovery(f, NS_PER_SEC), b = root_span(f, "sync.discover", "\xff");
	json_t *json = json_loads(diff_of(f, a, b, true), 0, NULL), *row;

	assert_non_null(json);
	assert_int_equal(json_int(json, "delta_ns"), -3 * (json_int_t)NS_PER_SEC);
	assert_string_equal(json_str(json_object_get(json, "then"), "title"), "\xef\xbf\xbd");
	row = json_array_get(json_object_get(json, "rows"), 0);
	assert_int_equal(json_int(row, "depth"), 0);
	assert_int_equal(json_array_size(json_object_get(json, "rows")), 5);
	row = json_array_get(json_object_get(json, "rows"), 4);
	assert_string_equal(json_str(row, "category"), "sync.peer");
	assert_int_equal(json_int(row, "then_count"), 0);
	assert_int_equal(json_int(row, "first_count"), 2);
	json_decref(json);
}

static void a_comparison_of_large_trees_comes_in_pieces(void **state)
{
	struct fixture *f = *state;
	struct span root[2];
	unsigned pieces = 0;
	struct buf out;

	for (int side = 0; side < 2; side++) {
		root[side] = root_span(f, "a", "r");
		for (int i = 0; i < 3000; i++) {
			struct span s = child_span(root[side], "b", "c");
			trace_stage(s, "dial");
			clock_manual_advance(&f->clock, 10);
			trace_finish(s, 0, NULL);
		}
	}
	buf_init(&out, 1 << 20);
	CHECK_STATUS(0, write_diff(f, root[0].slot, root[1].slot, true, &out, &pieces));
	assert_true(pieces > 2);
	check_contains((const char *)out.data, "\"first_count\":3000,\"then_count\":3000");
	buf_fini(&out);
}

static void comparing_with_what_is_gone_writes_nothing(void **state)
{
	struct fixture *f = *state;
	struct span a = slower_discovery(f, 1000), b = slower_discovery(f, 1000);
	struct trace_writer *w = trace_writer_new_diff(f->t, a.slot, b.slot, false);
	struct buf out;
	unsigned pieces = 0;

	buf_init(&out, 1000);
	CHECK_STATUS(ERR_NOT_FOUND, write_diff(f, a.slot, 0, true, &out, &pieces));
	for (int i = 0; i < 40000; i++)
		whole_trace(f, "sync.discover", "later and slower", 2 * NS_PER_SEC, 0);
	CHECK_STATUS(ERR_NOT_FOUND, trace_writer_next(w, &out));
	CHECK_STATUS(ERR_NOT_FOUND, trace_writer_next(w, &out));
	assert_int_equal(0, out.len);
	trace_writer_free(w);
	buf_fini(&out);
}

static void rendering_survives_oom_at_every_allocation(void **state)
{
	struct fixture *f = *state;
	struct span s = discovery(f);
	struct trace_query q = { .has_id = true };
	struct trace_context c;

	trace_context_of(s, &c);
	memcpy(q.id, c.trace_id, sizeof(q.id));
	FAULT_SWEEP({
		struct buf out;
		unsigned pieces = 0;
		buf_init(&out, 1 << 20);
		int json = trace_render(f->t, TRACE_FORMAT_JSON, &q, &out);
		int text = trace_render(f->t, TRACE_FORMAT_TEXT, &q, &out);
		int list = trace_render(f->t, TRACE_FORMAT_LIST, &(struct trace_query){ 0 }, &out);
		int diff = write_diff(f, s.slot, s.slot, true, &out, &pieces);
		if (mem_fault_hits() == 0)
			assert_true(json == 0 && text == 0 && list == 0 && diff == 0);
		buf_fini(&out);
	});
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(similar_siblings_are_one_row_and_the_longest_of_them),
		TEST(time_that_no_child_covers_has_a_row_when_it_is_long),
		TEST(bars_are_full_on_the_critical_path_only),
		TEST(every_line_of_a_waterfall_fits_its_columns),
		TEST(a_list_has_a_line_per_trace_within_its_columns),
		TEST(a_comparison_of_large_trees_comes_in_pieces),
		TEST(comparing_with_what_is_gone_writes_nothing),
		TEST(a_comparison_names_the_stage_that_changed_most),
		TEST(a_comparison_is_json_too_and_tells_what_only_one_did),
		TEST(the_waterfall_begins_with_the_stage_that_took_longest),
		TEST(the_sentence_names_the_child_that_took_longest_in_that_stage),
		TEST(an_active_trace_says_what_it_is_doing),
		TEST(both_halves_of_a_trace_are_shown_after_each_other),
		TEST(hostile_text_neither_moves_the_cursor_nor_breaks_the_columns),
		TEST(text_is_as_wide_as_asked),
		TEST(what_is_cut_of_an_iri_is_its_middle),
		TEST(hostile_text_is_escaped_in_json),
		TEST(json_has_everything_that_was_recorded),
		TEST(an_empty_store_renders_too),
		TEST(a_trace_of_no_length_renders_too),
		TEST(the_deepest_trace_fits_the_columns),
		TEST(large_traces_are_shown_in_part_and_say_so),
		TEST(a_full_buffer_ends_the_rendering_with_an_error),
		TEST(rendering_survives_oom_at_every_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
