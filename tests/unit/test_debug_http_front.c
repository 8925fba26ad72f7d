#include "debug_http_page.h"

/* The front page: what somebody else fills in, and what can be saved. */

static struct http_front_look *waiting;

static void fill_now(void *data, struct http_front_look *look)
{
	look->health[0] = (struct http_health){
		.name = "lag <1>", .value = "5 ms", .note = "\"p99\"", .href = "/debug/x?a=1&b=2"
	};
	look->health[1] = (struct http_health){ .name = "peers", .value = "3", .href = "/debug/y" };
	look->health[1].is_bad = *(const bool *)data;
	look->health_count = 2;
	buf_write_str(&look->findings,
		      look->format == HTTP_JSON ? "{\"verdict\":\"fine\"}" : "all is well");
	http_front_ready(look);
}

static void fill_later(void *data, struct http_front_look *look)
{
	(void)data;
	waiting = look;
}

static void ask(struct client *c, const char *target)
{
	char request[256];

	(void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost:7\r\n\r\n",
		       target);
	client_ask(c, &f, request);
	assert_int_equal(200, client_status(c));
}

static void the_page_is_whole_without_anybody_to_fill_it_in(void **state)
{
	char *page = get_page("/debug/?html", 200);

	check_well_formed(page);
	mem_free(page);
}

static void figures_are_escaped_and_lead_on(void **state)
{
	static bool is_bad = true;
	char *page;

	http_front_set(f.server, fill_now, &is_bad);
	page = get_page("/debug/?html", 200);
	check_well_formed(page);
	assert_true(has(page, "<li><a href=\"/debug/x?a=1&amp;b=2\"><span>lag &lt;1&gt;</span> "
			      "<b>5 ms</b> <small>&quot;p99&quot;</small></a></li>"));
	assert_true(has(page, "<li class=\"bad\"><a href=\"/debug/y\">"));
	assert_true(has(page, "all is well"));
	mem_free(page);
}

static void programs_get_the_same_as_json_and_as_text(void **state)
{
	static bool is_bad = true;
	struct client c;

	http_front_set(f.server, fill_now, &is_bad);
	ask(&c, "/debug/?json");
	assert_true(client_has(&c, "\"health\":[{\"name\":\"lag <1>\",\"value\":\"5 ms\","
				   "\"note\":\"\\\"p99\\\"\",\"href\":\"/debug/x?a=1&b=2\","
				   "\"bad\":false},"));
	assert_true(client_has(&c, "\"bad\":true}],\"doctor\":{\"verdict\":\"fine\"},\"pages\":["));
	client_close(&c);
	ask(&c, "/debug/");
	assert_true(client_has(&c, "! peers                3"));
	assert_true(client_has(&c, "\nall is well\n"));
	client_close(&c);
}

static void the_answer_may_come_later_and_to_nobody(void **state)
{
	struct client c;

	http_front_set(f.server, fill_later, NULL);
	client_open(&c, &f);
	client_send(&c, "GET /debug/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
	for (waiting = NULL; waiting == NULL;)
		client_pump(&c, SIZE_MAX);
	assert_int_equal(0, c.in.len);
	client_close(&c);
	fixture_turns(&f, 10);
	http_front_ready(waiting);
	fixture_turns(&f, 10);
}

static void only_what_there_is_can_be_saved(void **state)
{
	char *page = get_page("/debug/?html", 200);

	assert_false(has(page, "class=\"capture\""));
	mem_free(page);
	CHECK_STATUS(0, debug_http_pprof(f.server, NULL));
	page = get_page("/debug/?html", 200);
	assert_true(has(page, "<button>Capture 30s CPU profile</button>"));
	assert_true(has(page, "<button>Heap snapshot</button>"));
	assert_true(has(page, "<button>Goroutine dump</button>"));
	assert_false(has(page, "Collect everything"));
	assert_true(has(page, "contents are technical \u2014 no document content is included"));
	mem_free(page);
}

static void lines_for_a_terminal_name_the_port_that_was_asked(void **state)
{
	struct client c;

	ask(&c, "/debug/?html");
	assert_true(client_has(&c, "http://localhost:7/debug/bundle"));
	assert_true(client_has(&c, "ssh -L "));
	client_close(&c);
}

#define front_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		front_test(the_page_is_whole_without_anybody_to_fill_it_in),
		front_test(figures_are_escaped_and_lead_on),
		front_test(programs_get_the_same_as_json_and_as_text),
		front_test(the_answer_may_come_later_and_to_nobody),
		front_test(only_what_there_is_can_be_saved),
		front_test(lines_for_a_terminal_name_the_port_that_was_asked),
	};

	(void)format_id;
	(void)get_slowest;
	(void)large_trace;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
