/* The page of one trace, and of two compared. */
#include "debug_http_page.h"

/* A root whose every name is hostile. */
static void hostile_details_are_text(void **state)
{
	static const char evil[] = "\"><script>x</script>\xc3(&";
	struct span s = trace_root(f.trace, "sync.discover", evil, sizeof(evil) - 1, NULL);
	char target[128], id[TRACE_ID_HEX_SIZE];
	char *page;

	format_id(s, id);
	trace_stage(s, "<stage>");
	trace_mark(s, "said %s", evil);
	trace_errorf(s, "failed %s", evil);
	trace_attr_str(s, "<key>", evil, sizeof(evil) - 1);
	trace_child(s, "<kid>", evil, sizeof(evil) - 1);
	scene_wait(&f.clock, 5);
	trace_finish(s, ERR_REFUSED, "<outcome>");
	(void)snprintf(target, sizeof(target), "/debug/traces?id=%s", id);
	page = get_page(target, 200);
	check_well_formed(page);
	assert_false(has(page, "<script>x") || has(page, "<stage>") || has(page, "<key>") ||
		     has(page, "<outcome>"));
	assert_true(has(page, "said &quot;&gt;&lt;script&gt;x&lt;/script&gt;\\xc3(&amp;"));
	mem_free(page);
}

static void a_trace_page_tells_the_whole_story(void **state)
{
	static const char *const told[] = { "Took <b>6.73 s</b>: <b>66 % in <i class=\"key",
					    "</i>dht (4.42 s)</b>.",
					    "Longest in it: <a href=\"#s",
					    "<b>dht.lookup</b>",
					    "6 spans, 2 failed, 0 open",
					    "local peers: 3 found, 0 synced ok",
					    "DHT lookup start",
					    "round 1: 8 ranges",
					    "<dt>version</dt><dd>bafk2bzacea3xqk</dd>",
					    "<dt>moved</dt><dd>120 items, 188 KiB",
					    "class=\"out bad\">timeout</span>",
					    "<b>error</b> dial /ip4/203.0.113.7/tcp/4001" };
	char *page;

	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	page = get_slowest();
	check_well_formed(page);
	for (size_t i = 0; i < ARRAY_SIZE(told); i++)
		if (!has(page, told[i]))
			fail_msg("the page does not say: %s", told[i]);
	mem_free(page);
}

static void a_slow_reader_gets_the_whole_of_a_large_trace(void **state)
{
	struct span s = trace_root(f.trace, "sync.discover", "large", 5, NULL);
	char request[256], id[TRACE_ID_HEX_SIZE], mark[64];
	struct client c;
	char *page;

	for (unsigned i = 0; i < 2500; i++)
		scene_failed_peer(&f.clock, s, i, i);
	format_id(s, id);
	client_open(&c, &f);
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces?id=%s HTTP/1.1\r\nHost: localhost\r\n"
		       "Accept: text/html\r\n\r\n",
		       id);
	client_send(&c, request);
	for (int i = 0; i < PUMP_MAX && !c.eof && !answer_is_complete(&c, false); i++)
		client_pump(&c, 10000);
	page = unchunk(&c);
	check_well_formed(page);
	assert_true(has(page, "The first 2000 of 2501 spans are drawn"));
	for (unsigned i = 0; i < 1999; i += 27) { /* every span once, whatever the slices */
		(void)snprintf(mark, sizeof(mark), "no answer in %u ms<", i);
		assert_non_null(strstr(page, mark));
		assert_null(strstr(strstr(page, mark) + 1, mark));
	}
	mem_free(page);
	client_close(&c);
}

static bool is_kept(const char *id)
{
	struct trace_query q = { 0 };
	char why[128];
	uint32_t root;

	CHECK_STATUS(0, trace_query_set(&q, "id", id, why, sizeof(why)));
	return trace_search(f.trace, &q, &root, 1, NULL, NULL) > 0;
}

/* … and its place holds others. */
static void flood_until_evicted(const char *id)
{
	unsigned after = 0;

	for (unsigned i = 0; i < 100000 && after < 5000; i++) {
		struct span more = trace_root(f.trace, "sync.discover", "more", 4, NULL);

		scene_wait(&f.clock, 0.001);
		trace_finish(more, i % 2 ? UV_ETIMEDOUT : 0, NULL);
		after += after > 0 || !is_kept(id);
	}
	assert_false(is_kept(id));
}

static void a_trace_evicted_while_its_page_is_written_is_said_to_be(void **state)
{
	struct span s = large_trace();
	char request[256], id[TRACE_ID_HEX_SIZE];
	struct client c;
	char *page;

	format_id(s, id);
	trace_finish(s, 0, NULL);
	client_open(&c, &f);
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces?id=%s HTTP/1.1\r\nHost: localhost\r\n"
		       "Accept: text/html\r\n\r\n",
		       id);
	client_send(&c, request);
	fixture_turns(&f, 20);
	flood_until_evicted(id);
	client_await(&c, false);
	page = unchunk(&c);
	check_well_formed(page);
	assert_true(has(page, "1901 spans"));
	assert_true(has(page, "evicted while this page was written"));
	mem_free(page);
	client_close(&c);
}

static void a_place_taken_by_another_trace_is_recognised(void **state)
{
	struct span s = trace_root(f.trace, "sync.discover", "x", 1, NULL);
	struct traces_page p = { .trace = f.trace };
	struct trace_span_view root;
	struct trace_context context;

	assert_true(trace_context_of(s, &context));
	assert_int_equal(1, trace_search(f.trace, &p.query, &p.roots[0].slot, 1, NULL, NULL));
	memcpy(p.roots[0].span_id, context.span_id, sizeof(context.span_id));
	assert_true(traces_root(&p, 0, &root));
	p.roots[0].span_id[0] ^= 1;
	assert_false(traces_root(&p, 0, &root));
}

static void similar_spans_are_one_row_and_silence_is_shown(void **state)
{
	char *page;

	(void)scene_wide_discovery(f.trace, &f.clock, "hm://wide", 46);
	page = get_slowest();
	check_well_formed(page);
	assert_true(has(page, "<b>sync.peer</b> ×47, p50 "));
	assert_true(has(page, "class=\"out bad\">30 failed</span>"));
	assert_true(has(page, "nothing recorded inside <i class=\"key"));
	assert_true(has(page, "Critical path, by what ended last: <b>sync.peer</b>"));
	mem_free(page);
}

static void sums_come_in_the_order_asked_for(void **state)
{
	char *page, target[128];
	const char *id;

	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	page = get_slowest();
	id = strstr(page, "?id=");
	assert_non_null(id);
	(void)snprintf(target, sizeof(target), "/debug/traces%.36s&by=failed", id);
	assert_true(strstr(page, "</i>dht</td>") < strstr(page, "</i>dial</td>"));
	mem_free(page);
	page = get_page(target, 200);
	assert_true(strstr(page, "</i>dial</td>") < strstr(page, "</i>dht</td>"));
	mem_free(page);
}

static void check_diff(const char *target, const char *form, const char *type, const char *content)
{
	char request[256];
	struct client c;

	(void)snprintf(request, sizeof(request), "GET %s%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		       target, form);
	client_ask(&c, &f, request);
	assert_int_equal(200, client_status(&c));
	assert_true(client_has(&c, type));
	assert_true(client_has(&c, content));
	client_close(&c);
}

static void two_traces_are_compared(void **state)
{
	char *page, target[128];
	const char *id;

	for (int i = 1; i <= 5; i++)
		scene_fast_discovery(f.trace, &f.clock, "hm://usual", i);
	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	page = get_slowest();
	id = strstr(page, "?id=");
	(void)snprintf(target, sizeof(target), "/debug/traces%.36s&with=median", id);
	mem_free(page);
	page = get_page(target, 200);
	check_well_formed(page);
	assert_true(has(page, "<b>A</b> took <b>5.44 s longer</b> than <b>B</b>, most of it in "));
	assert_true(has(page, "</i>dht: <b>+4.42 s</b>."));
	assert_true(has(page, "hm://usual"));
	mem_free(page);
	check_diff(target, "&text", "text/plain", "dht");
	check_diff(target, "&json", "application/json", "\"dht\"");
}

static void a_comparison_says_what_it_left_out(void **state)
{
	struct span s = large_trace();
	char *page, target[128], id[TRACE_ID_HEX_SIZE];

	for (unsigned i = 0; i < 200; i++)
		trace_finish(scene_peer(s, i), 0, NULL);
	format_id(s, id);
	trace_finish(s, 0, NULL);
	scene_fast_discovery(f.trace, &f.clock, "hm://usual", 1);
	(void)snprintf(target, sizeof(target), "/debug/traces?id=%s&with=median", id);
	page = get_page(target, 200);
	check_well_formed(page);
	assert_true(has(page, "Of <b>A</b>, the first 2000 spans are added up here; "));
	assert_false(has(page, "Of <b>B</b>"));
	assert_true(has(page, "&amp;with=median&amp;text\">the text</a> has them all"));
	mem_free(page);
}

static void a_partner_that_cannot_be_had_is_said(void **state)
{
	static const struct {
		const char *with;
		int status;
	} rows[] = { { "median", 404 },
		     { "", 404 },
		     { "0123456789abcdef0123456789abcdef", 404 },
		     { "x", 400 } };
	struct span s = trace_root(f.trace, "sync.discover", "alone", 5, NULL);
	char target[160], id[TRACE_ID_HEX_SIZE];

	format_id(s, id);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)snprintf(target, sizeof(target), "/debug/traces?id=%s&with=%s", id,
			       rows[i].with);
		mem_free(get_page(target, rows[i].status));
	}
}

static void a_trace_page_survives_oom_at_every_allocation(void **state)
{
	struct span s = scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	struct span again = trace_root(f.trace, "sync.discover", "again", 5, NULL);
	char request[256], id[TRACE_ID_HEX_SIZE];

	trace_link(again, s, "retry of");
	format_id(again, id);
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces?id=%s&with=median HTTP/1.1\r\nHost: localhost\r\n"
		       "Accept: text/html\r\nConnection: close\r\n\r\n",
		       id);
	for (int form = 0; form < 2; form++) {
		if (form == 1)
			memcpy(strstr(request, "&with=median"), "&by=longest&", 12);
		FAULT_SWEEP({
			char reply[65536];
			struct client c;

			client_open(&c, &f);
			client_send(&c, request);
			for (int k = 0;
			     k < 200 && recv(c.fd, reply, sizeof(reply), MSG_DONTWAIT) != 0; k++)
				fixture_turn(&f);
			client_close(&c);
			fixture_turns(&f, 10);
		});
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(hostile_details_are_text),
		T(a_trace_page_tells_the_whole_story),
		T(a_slow_reader_gets_the_whole_of_a_large_trace),
		T(a_trace_evicted_while_its_page_is_written_is_said_to_be),
		T(a_place_taken_by_another_trace_is_recognised),
		T(similar_spans_are_one_row_and_silence_is_shown),
		T(sums_come_in_the_order_asked_for),
		T(two_traces_are_compared),
		T(a_comparison_says_what_it_left_out),
		T(a_partner_that_cannot_be_had_is_said),
		T(a_trace_page_survives_oom_at_every_allocation),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
