/* The list of traces: complete, well formed, escaped, small, and honest about what was asked. */
#include "debug_http_page.h"

static void every_page_is_well_formed(void **state)
{
	char target[128], id[TRACE_ID_HEX_SIZE];
	struct span active;

	check_page("/debug/traces");
	check_page("/debug/");
	(void)scene_fill(f.trace, &f.clock);
	active = trace_root(f.trace, "a&b", "<", 1, NULL);
	format_id(active, id);
	check_page("/debug/traces?n=250&refresh=5");
	check_page("/debug/traces?q=herons&sort=slowest&errored&category=sync.peer");
	check_page("/debug/traces?q=%3Cscript%3E%22&min=1ms");
	(void)snprintf(target, sizeof(target), "/debug/traces?id=%s", id);
	check_page(target);
}

static void errors_are_pages_too(void **state)
{
	char *page = get_page("/debug/traces?id=0123456789abcdef0123456789abcdef", 404);

	check_well_formed(page);
	mem_free(page);
	page = get_page("/debug/%3Cscript%3E", 404);
	check_well_formed(page);
	mem_free(page);
}

static void bad_parameters_are_named_in_every_format(void **state)
{
	static const char *const bad[] = { "min=5parsecs", "n=0",     "n=251",	       "n=x",
					   "id=123",	   "sort=up", "active=perhaps" };
	char request[256];
	struct client c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *page;

		(void)snprintf(request, sizeof(request), "/debug/traces?%s", bad[i]);
		page = get_page(request, 400);
		assert_true(has(page, "Bad parameter"));
		mem_free(page);
		(void)snprintf(request, sizeof(request),
			       "GET /debug/traces?json&%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
			       bad[i]);
		client_ask(&c, &f, request);
		assert_int_equal(400, client_status(&c));
		assert_int_equal(0, strncmp(client_body(&c), "{\"error\":\"Bad parameter ", 24));
		client_close(&c);
		(void)snprintf(request, sizeof(request),
			       "GET /debug/traces?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", bad[i]);
		client_ask(&c, &f, request);
		assert_int_equal(400, client_status(&c));
		assert_int_equal(0, strncmp(client_body(&c), "Bad parameter ", 14));
		client_close(&c);
	}
}

static void the_format_follows_the_client(void **state)
{
	static const struct {
		const char *query, *accept, *type;
	} rows[] = {
		{ "", "", "text/plain" },
		{ "", "Accept: */*\r\n", "text/plain" },
		{ "", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", "text/html" },
		{ "", "Accept: application/json\r\n", "application/json" },
		{ "", "Accept: text/html;q=0.5, application/json;q=0.9\r\n", "application/json" },
		{ "", "Accept: text/html;q=0, text/plain\r\n", "text/plain" },
		{ "?json", "Accept: text/html\r\n", "application/json" },
		{ "?text", "Accept: text/html\r\n", "text/plain" },
		{ "?html", "", "text/html" },
	};
	char request[256], type[64];
	struct client c;

	(void)scene_fill(f.trace, &f.clock);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)snprintf(request, sizeof(request),
			       "GET /debug/traces%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
			       rows[i].query, rows[i].accept);
		(void)snprintf(type, sizeof(type), "\r\nContent-Type: %s", rows[i].type);
		client_ask(&c, &f, request);
		assert_int_equal(200, client_status(&c));
		assert_true(client_has(&c, type));
		client_close(&c);
	}
}

static void hostile_names_are_text(void **state)
{
	char *page;

	(void)scene_fill(f.trace, &f.clock);
	page = get_page("/debug/traces?q=%3Cscript%3Ealert(1)%3C/"
			"script%3E%22%27%3E%3Cimg%20src=x%20onerror=alert(2)%3E",
			200);
	check_well_formed(page);
	assert_false(has(page, "<script>alert"));
	assert_false(has(page, "<img"));
	assert_false(has(page, "\u202e"));
	assert_true(has(page, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;&lt;img src=x "
			      "onerror=alert(2)&gt;"
			      "\\xff\\x01\\u202eabc"));
	assert_true(has(page, "1 of 1 matching traces"));
	mem_free(page);
}

static void the_slow_stage_is_named_in_words(void **state)
{
	char *page;

	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	page = get_page("/debug/traces", 200);
	assert_true(has(page, "66 % in <i class=\"key"));
	assert_true(has(page, "</i>dht (4.42 s)"));
	mem_free(page);
}

/* The bars of the list are whole: their segments add up to 100 % but for what is too narrow to
 * draw. */
static void the_segments_of_a_bar_add_up(void **state)
{
	double sum = 0;
	char *page;
	const char *bar, *end;

	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	page = get_page("/debug/traces", 200);
	bar = strstr(page, "<svg class=\"stack\"");
	assert_non_null(bar);
	end = strstr(bar, "</svg>");
	while ((bar = strstr(bar, " width=\"")) != NULL && bar < end)
		sum += strtod(bar += 8, NULL);
	assert_true(sum > 99.7 && sum < 100.1);
	mem_free(page);
}

static void pages_are_small(void **state)
{
	char *page;

	for (int i = 0; i < 15; i++)
		(void)scene_fill(f.trace, &f.clock);
	for (int i = 0; i < 20; i++)
		(void)scene_slow_discovery(
			f.trace, &f.clock,
			"hm://z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK/one/of/many");
	page = get_page("/debug/traces?n=10", 200);
	assert_true(strlen(page) <= 40000);
	mem_free(page);
	page = get_page("/debug/traces?n=250", 200);
	assert_true(has(page, "matching traces, slowest of the last 15 minutes"));
	assert_true(strlen(page) <= 500000);
	mem_free(page);
}

static void the_list_counts_what_was_evicted_meanwhile(void **state)
{
	struct traces_page p = { .trace = f.trace, .count = 3, .step = LIST_ROWS };
	struct palette palette = { 0 };

	p.palette = &palette;
	buf_init(&p.out, 4096);
	while (p.step == LIST_ROWS)
		(void)page_list.some(&p);
	assert_true(has((const char *)p.out.data, "3 more were evicted"));
	check_balanced((const char *)p.out.data);
	buf_fini(&p.out);
}

static void the_list_opens_with_the_slowest_and_what_runs(void **state)
{
	static const char *const in_order[] = { "Slowest of the last 15 minutes: ",
						"took <b>6.73 s</b>, <b>66 % in <i",
						"aria-current=\"true\">Slowest</a>",
						"class=\"scatter\"",
						"Running now: 1",
						"now in <i class=\"key",
						"13 of 13 matching traces, slowest of the last 15",
						"6.73 s",
						"<h2 id=\"categories\">" };
	const char *at;
	char *page;

	(void)scene_fill(f.trace, &f.clock);
	page = get_page("/debug/traces", 200);
	at = page;
	for (size_t i = 0; i < ARRAY_SIZE(in_order); i++) {
		at = strstr(at, in_order[i]);
		if (at == NULL)
			fail_msg("not there, or too early: %s", in_order[i]);
	}
	mem_free(page);
}

static void old_traces_are_listed_when_nothing_is_recent(void **state)
{
	char *page;

	scene_fast_discovery(f.trace, &f.clock, "hm://old", 1);
	scene_wait(&f.clock, 20 * 60 * 1000);
	page = get_page("/debug/traces", 200);
	assert_true(has(page, "1 of 1 matching traces, slowest first"));
	mem_free(page);
	scene_fast_discovery(f.trace, &f.clock, "hm://new", 1);
	page = get_page("/debug/traces", 200);
	assert_true(has(page, "1 of 1 matching traces, slowest of the last 15 minutes"));
	assert_false(has(page, "hm://old"));
	mem_free(page);
}

static void views_show_what_they_say(void **state)
{
	char *page;

	(void)scene_fill(f.trace, &f.clock);
	page = get_page("/debug/traces?errored=1&sort=newest", 200);
	assert_true(has(page, "2 of 2 matching traces, newest first"));
	assert_true(has(page, "aria-current=\"true\">Errors</a>"));
	mem_free(page);
	page = get_page("/debug/traces?active=1&sort=slowest", 200);
	assert_true(has(page, "1 of 1 matching traces, slowest first"));
	assert_false(has(page, "Running now"));
	mem_free(page);
	page = get_page("/debug/traces?sort=newest", 200);
	assert_true(has(page, "aria-current=\"true\">Newest</a>"));
	assert_false(has(page, "Slowest of"));
	mem_free(page);
}

static void the_next_page_goes_on_where_this_one_ended(void **state)
{
	char *page, target[256] = "/debug/traces?n=5&sort=slowest";
	unsigned seen = 0, pages = 0;
	const char *more;

	(void)scene_fill(f.trace, &f.clock);
	do {
		page = get_page(target, 200);
		seen |= (unsigned)has(page, ">6.73 s</td>") << 0 |
			(unsigned)has(page, "chapter-5<") << 1 |
			(unsigned)has(page, "chapter-0<") << 2;
		more = strstr(page, "cursor=");
		if (more != NULL)
			(void)snprintf(target, sizeof(target),
				       "/debug/traces?n=5&sort=slowest&%.*s",
				       (int)strcspn(more, "\""), more);
		mem_free(page);
		pages++;
	} while (more != NULL && pages < 10);
	assert_int_equal(3, pages);
	assert_int_equal(7, seen);
}

static void a_client_that_leaves_a_page_costs_nothing_more(void **state)
{
	struct http_server_stats stats;
	struct client c;

	for (int i = 0; i < 15; i++)
		(void)scene_fill(f.trace, &f.clock);
	client_open(&c, &f);
	client_send(
		&c,
		"GET /debug/traces?n=250 HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
	fixture_turns(&f, 2);
	client_close(&c);
	fixture_turns(&f, 50);
	http_server_stats(f.server, &stats);
	assert_int_equal(0, stats.open_connections);
}

static void a_page_survives_oom_at_every_allocation(void **state)
{
	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	FAULT_SWEEP({
		char reply[65536];
		struct client c;

		client_open(&c, &f);
		client_send(&c, "GET /debug/traces HTTP/1.1\r\nHost: localhost\r\nAccept: "
				"text/html\r\nConnection: close\r\n\r\n");
		for (int k = 0; k < 200 && recv(c.fd, reply, sizeof(reply), MSG_DONTWAIT) != 0; k++)
			fixture_turn(&f);
		client_close(&c);
		fixture_turns(&f, 10);
	});
}

static void assets_are_served_with_their_type(void **state)
{
	struct client c;

	client_ask(&c, &f, "GET /debug/assets/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(200, client_status(&c));
	assert_true(client_has(&c, "Content-Type: text/css; charset=utf-8\r\n"));
	assert_true(client_has(&c, "prefers-color-scheme: dark"));
	client_close(&c);
	client_ask(&c, &f, "GET /debug/assets/page.js HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_true(client_has(&c, "Content-Type: text/javascript; charset=utf-8\r\n"));
	client_close(&c);
	assert_int_equal(
		404,
		ask_status(&f, "GET /debug/assets/../index.c HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	client_ask(&c, &f, "GET /debug HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(302, client_status(&c));
	assert_true(client_has(&c, "Location: /debug/\r\n"));
	client_close(&c);
}

/* The bars stand where they happened: a long one in the last but one half minute, a failure now. */
static void a_category_shows_its_last_minutes(void **state)
{
	struct trace_history history[30];
	struct span s = trace_root(f.trace, "a", "x", 1, NULL);
	char *page;

	scene_wait(&f.clock, 1000);
	trace_finish(s, 0, NULL);
	scene_wait(&f.clock, 31 * 1000);
	s = trace_root(f.trace, "a", "x", 1, NULL);
	scene_wait(&f.clock, 500);
	trace_finish(s, UV_ETIMEDOUT, NULL);
	assert_true(trace_stats_history(f.trace, "a", 15 * 60 * NS_PER_SEC, history, 30));
	assert_int_equal(1, history[28].succeeded);
	assert_int_equal(NS_PER_SEC, history[28].max_ns);
	assert_int_equal(1, history[29].failed);
	assert_int_equal(0, history[29].succeeded + history[28].failed + history[27].succeeded);
	assert_false(trace_stats_history(f.trace, "b", NS_PER_SEC, history, 30));
	page = get_page("/debug/traces", 200);
	check_well_formed(page);
	assert_true(
		has(page, "<path d=\"M84 22V0h2V22\"/><path class=\"bad\" d=\"M87 22V11h2V22\"/>"));
	mem_free(page);
}

static void limits_of_a_category_and_its_failures_are_shown(void **state)
{
	struct span s = trace_root(f.trace, "a", "x", 1, NULL);
	char *page;

	CHECK_STATUS(0, trace_thresholds_set(f.trace, "a",
					     &(struct trace_thresholds){ .p50_ns = NS_PER_SEC }));
	scene_wait(&f.clock, 1500);
	trace_finish(s, 0, NULL);
	s = trace_root(f.trace, "a", "x", 1, NULL);
	scene_wait(&f.clock, 7);
	trace_finish(s, UV_ETIMEDOUT, NULL);
	page = get_page("/debug/traces", 200);
	assert_true(has(page, "<td class=\"n bad\"><a "
			      "href=\"/debug/traces?category=a&amp;min=1500000000ns&amp;sort="
			      "slowest\">1.50 s</a><small>≤ 1.00 s</small></td>"));
	assert_true(has(page, "errored=1&amp;sort=slowest\">7.00 ms</a>"));
	mem_free(page);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_page_is_well_formed),
		T(errors_are_pages_too),
		T(bad_parameters_are_named_in_every_format),
		T(the_format_follows_the_client),
		T(hostile_names_are_text),
		T(the_slow_stage_is_named_in_words),
		T(the_segments_of_a_bar_add_up),
		T(pages_are_small),
		T(the_list_counts_what_was_evicted_meanwhile),
		T(the_list_opens_with_the_slowest_and_what_runs),
		T(old_traces_are_listed_when_nothing_is_recent),
		T(views_show_what_they_say),
		T(the_next_page_goes_on_where_this_one_ended),
		T(a_client_that_leaves_a_page_costs_nothing_more),
		T(a_page_survives_oom_at_every_allocation),
		T(assets_are_served_with_their_type),
		T(a_category_shows_its_last_minutes),
		T(limits_of_a_category_and_its_failures_are_shown),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
