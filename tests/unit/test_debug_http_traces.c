/* The pages about traces: complete, well formed, escaped, small, and honest about what was asked.
 */
#include "debug_http_client.h"

#include "../browser/trace_scene.h"
#include "debug_http/traces.h"

enum { TAG_DEPTH_MAX = 64, TAG_NAME_MAX = 16 };

static struct fixture f;

static int setup(void **state)
{
	fixture_init(&f, HTTP_DEBUG);
	CHECK_STATUS(0, debug_http_traces(f.server, f.trace));
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(&f);
	return 0;
}

/* ---- A strict reader of pages ---- */

/* Joins the chunks of the answer's body. The caller frees. */
static char *unchunk(struct client *c)
{
	struct buf out;
	const char *p = client_body(c);
	size_t len;

	buf_init(&out, ANSWER_MAX);
	if (!client_has(c, "Transfer-Encoding: chunked"))
		buf_write_str(&out, p);
	else
		for (char *end; (len = strtoul(p, &end, 16)) > 0; p = end + 2 + len + 2)
			buf_write(&out, end + 2, len);
	return (char *)buf_take(&out, &len);
}

static char *get_page(const char *target, int status)
{
	char request[1024];
	struct client c;
	char *page;

	(void)snprintf(request, sizeof(request),
		       "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n", target);
	client_ask(&c, &f, request);
	assert_int_equal(status, client_status(&c));
	assert_true(client_has(&c, "Content-Type: text/html; charset=utf-8\r\n"));
	page = unchunk(&c);
	assert_non_null(page);
	client_close(&c);
	return page;
}

static const char *check_attributes(const char *p)
{
	while (*p == ' ') {
		const char *name = ++p;

		p += strcspn(p, "= >/");
		assert_true(p > name && p[0] == '=' && p[1] == '"');
		assert_true(strncmp(name, "style", 5) != 0 && strncmp(name, "on", 2) != 0);
		for (p += 2; *p != '"'; p++)
			assert_true(*p != '<' && *p != '\0');
		p++;
	}
	return p;
}

/* Every tag is closed in order, every attribute quoted, every & and < of a text escaped. */
static void check_balanced(const char *p)
{
	char open[TAG_DEPTH_MAX][TAG_NAME_MAX];
	unsigned depth = 0;

	for (; *p != '\0'; p++) {
		char name[TAG_NAME_MAX] = "";
		bool is_end = p[0] == '<' && p[1] == '/';
		size_t len;

		assert_true(*p != '>');
		if (*p == '&')
			assert_true(p[1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyz#0123456789")] ==
				    ';');
		if (*p != '<')
			continue;
		p += is_end ? 2 : 1;
		len = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789");
		assert_true(len > 0 && len < sizeof(name));
		memcpy(name, p, len);
		p = check_attributes(p + len);
		if (is_end) {
			assert_true(depth > 0);
			assert_string_equal(open[--depth], name);
		} else if (p[0] != '/') {
			assert_true(depth < TAG_DEPTH_MAX);
			memcpy(open[depth++], name, sizeof(name));
		}
		p += p[0] == '/';
		assert_true(*p == '>');
	}
	assert_int_equal(0, depth);
}

static void check_well_formed(const char *page)
{
	assert_true(strncmp(page, "<!DOCTYPE html>\n", 16) == 0);
	check_balanced(page + 16);
}

static bool has(const char *page, const char *text)
{
	return strstr(page, text) != NULL;
}

static void check_page(const char *target)
{
	char *page = get_page(target, 200);

	check_well_formed(page);
	assert_false(has(page, "://localhost") || has(page, "src=\"http") ||
		     has(page, "href=\"http"));
	mem_free(page);
}

/* Of an active span. */
static void format_id(struct span s, char ret[TRACE_ID_HEX_SIZE])
{
	struct trace_context context;

	assert_true(trace_context_of(s, &context));
	for (size_t i = 0; i < sizeof(context.trace_id); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", context.trace_id[i]);
}

/* The page of the slowest trace there is, found by the list's first link. */
static char *get_slowest(void)
{
	char *list = get_page("/debug/traces?n=1&sort=slowest", 200), target[128];
	const char *link = strstr(list, "\"/debug/traces?id=");

	assert_non_null(link);
	(void)snprintf(target, sizeof(target), "%.*s", (int)strcspn(link + 1, "\""), link + 1);
	mem_free(list);
	return get_page(target, 200);
}

/* ---- Tests ---- */

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
			      "\ufffd\ufffd\ufffdabc"));
	assert_true(has(page, "1 of 1 matching traces"));
	mem_free(page);
}

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
	assert_true(has(page, "said &quot;&gt;&lt;script&gt;x&lt;/script&gt;\ufffd(&amp;"));
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

#define LONG_TEXT                                                                                  \
	"a text of a mark that is long enough to fill the buffers of a socket soon, since every "  \
	"span of a large "                                                                         \
	"trace repeats it several times, while the store keeps only where this text is and never " \
	"the text itself"

/* More HTML than fits in the buffers between server and client. */
static struct span large_trace(void)
{
	struct span s = trace_root(f.trace, "sync.discover", "large", 5, NULL);

	for (unsigned i = 0; i < 1900; i++) {
		struct span peer = scene_peer(s, i);

		for (unsigned k = 0; k < 16; k++)
			trace_mark(peer, LONG_TEXT);
		trace_finish(peer, 0, NULL);
	}
	return s;
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

/* ---- The views of the list ---- */

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
	assert_true(has(page, "1 of 1 matching traces, newest first"));
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
		seen |= has(page, ">6.73 s</td>") << 0 | has(page, "chapter-5<") << 1 |
			has(page, "chapter-0<") << 2;
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

/* ---- One trace, in other ways ---- */

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

/* Nothing in the file points elsewhere, and its policy names the style and the script in it. */
static void a_trace_is_kept_as_one_file(void **state)
{
	struct span s = scene_slow_discovery(f.trace, &f.clock, SCENE_HOSTILE), next;
	char request[256], id[TRACE_ID_HEX_SIZE];
	struct client c;
	char *page;

	next = trace_root(f.trace, "sync.discover", "again", 5, NULL);
	trace_link(next, s, "retry of");
	format_id(next, id);
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces?id=%s&download=html HTTP/1.1\r\nHost: localhost\r\n"
		       "Accept: text/html\r\n\r\n",
		       id);
	client_ask(&c, &f, request);
	assert_true(client_has(&c, "Content-Disposition: attachment; filename=\"peerscope-trace-"));
	page = unchunk(&c);
	assert_true(has(page, "default-src 'none'; base-uri 'none'; form-action 'none'; style-src "
			      "'sha256-"));
	assert_true(has(page, "<style>") && has(page, "prefers-color-scheme"));
	assert_true(has(page, "<dt>retry of</dt><dd>trace "));
	assert_false(has(page, "href=\"/") || has(page, "src=") || has(page, "<link"));
	mem_free(page);
	client_close(&c);
}

/* ---- For other programs ---- */

static void traces_are_exported_under_a_name_of_their_own(void **state)
{
	static const struct {
		const char *query, *type, *disposition, *content;
	} rows[] = {
		{ "format=json", "application/json", NULL, "\"sync.discover\"" },
		{ "format=chrome", "application/json", "s.chrome.json\"", "\"traceEvents\"" },
		{ "format=jaeger", "application/json", "s.jaeger.json\"", "\"traceID\"" },
		{ "format=otlp&n=1", "application/json", "s.otlp.json\"", "\"resourceSpans\"" },
		{ "format=otlp-protobuf", "application/x-protobuf", "s.otlp.pb\"", "" },
	};
	char request[256], type[64];
	struct client c;

	(void)scene_fill(f.trace, &f.clock);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)snprintf(request, sizeof(request),
			       "GET /debug/traces?%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
			       rows[i].query);
		(void)snprintf(type, sizeof(type), "\r\nContent-Type: %s\r\n", rows[i].type);
		client_ask(&c, &f, request);
		assert_int_equal(200, client_status(&c));
		assert_true(client_has(&c, type));
		assert_true(rows[i].disposition == NULL || client_has(&c, rows[i].disposition));
		assert_true(client_has(&c, rows[i].content));
		client_close(&c);
	}
	mem_free(get_page("/debug/traces?format=xml", 400));
}

static unsigned count_in(const char *text, const char *what)
{
	unsigned count = 0;

	while ((text = strstr(text, what)) != NULL) {
		text += strlen(what);
		count++;
	}
	return count;
}

static void a_slow_reader_gets_the_whole_of_a_large_export(void **state)
{
	struct span s = large_trace();
	char request[256], id[TRACE_ID_HEX_SIZE];
	struct client c;
	char *body;

	format_id(s, id);
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces?id=%s&json HTTP/1.1\r\nHost: localhost\r\n\r\n", id);
	client_open(&c, &f);
	client_send(&c, request);
	for (int i = 0; i < PUMP_MAX && !c.eof && !answer_is_complete(&c, false); i++)
		client_pump(&c, 50000);
	body = unchunk(&c);
	assert_int_equal(1900, count_in(body, "\"sync.peer\",\"title\""));
	assert_string_equal("}\n", body + strlen(body) - 2);
	mem_free(body);
	client_close(&c);
}

static void an_export_survives_oom_at_every_allocation(void **state)
{
	(void)scene_slow_discovery(f.trace, &f.clock, "hm://slow");
	FAULT_SWEEP({
		char reply[65536];
		struct client c;

		client_open(&c, &f);
		client_send(&c, "GET /debug/traces?format=otlp-protobuf HTTP/1.1\r\n"
				"Host: localhost\r\nConnection: close\r\n\r\n");
		for (int k = 0; k < 200 && recv(c.fd, reply, sizeof(reply), MSG_DONTWAIT) != 0; k++)
			fixture_turn(&f);
		client_close(&c);
		fixture_turns(&f, 10);
	});
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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_page_is_well_formed),
		T(errors_are_pages_too),
		T(bad_parameters_are_named_in_every_format),
		T(the_format_follows_the_client),
		T(hostile_names_are_text),
		T(hostile_details_are_text),
		T(the_slow_stage_is_named_in_words),
		T(a_trace_page_tells_the_whole_story),
		T(the_segments_of_a_bar_add_up),
		T(pages_are_small),
		T(a_slow_reader_gets_the_whole_of_a_large_trace),
		T(a_trace_evicted_while_its_page_is_written_is_said_to_be),
		T(a_place_taken_by_another_trace_is_recognised),
		T(the_list_counts_what_was_evicted_meanwhile),
		T(the_list_opens_with_the_slowest_and_what_runs),
		T(old_traces_are_listed_when_nothing_is_recent),
		T(views_show_what_they_say),
		T(the_next_page_goes_on_where_this_one_ended),
		T(similar_spans_are_one_row_and_silence_is_shown),
		T(sums_come_in_the_order_asked_for),
		T(two_traces_are_compared),
		T(a_partner_that_cannot_be_had_is_said),
		T(a_trace_is_kept_as_one_file),
		T(traces_are_exported_under_a_name_of_their_own),
		T(a_slow_reader_gets_the_whole_of_a_large_export),
		T(an_export_survives_oom_at_every_allocation),
		T(a_trace_page_survives_oom_at_every_allocation),
		T(a_client_that_leaves_a_page_costs_nothing_more),
		T(a_page_survives_oom_at_every_allocation),
		T(assets_are_served_with_their_type),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
