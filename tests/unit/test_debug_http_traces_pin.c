/* Keeping a trace: by a button on its page, by a POST, and by nobody else's page. */
#include "debug_http_page.h"

#define FROM_OUR_PAGE "Origin: http://localhost\r\nAccept: text/html\r\nUser-Agent: Mozilla/5.0\r\n"

/* The status; what the answer says is left in c. */
static int post(struct client *c, const char *path, const char *id, const char *headers)
{
	char request[512];

	(void)snprintf(request, sizeof(request),
		       "POST /debug/traces/%s?id=%s HTTP/1.1\r\nHost: localhost\r\n%s"
		       "Content-Length: 0\r\n\r\n",
		       path, id, headers);
	client_ask(c, &f, request);
	return client_status(c);
}

static int post_status(const char *path, const char *id, const char *headers)
{
	struct client c;
	int status = post(&c, path, id, headers);

	client_close(&c);
	return status;
}

static void finished_trace(char ret_id[TRACE_ID_HEX_SIZE])
{
	struct span s = trace_root(f.trace, "sync.discover", "hm://kept", 9, NULL);

	format_id(s, ret_id);
	scene_wait(&f.clock, 5);
	trace_finish(s, 0, NULL);
}

static uint64_t pinned(void)
{
	struct trace_counts counts;

	trace_counts(f.trace, &counts);
	return counts.pinned_roots;
}

static char *get_trace(const char *id)
{
	char target[128];

	(void)snprintf(target, sizeof(target), "/debug/traces?id=%s", id);
	return get_page(target, 200);
}

static void a_button_keeps_a_trace_and_lets_it_go(void **state)
{
	char id[TRACE_ID_HEX_SIZE], location[128], *page;
	struct client c;

	finished_trace(id);
	page = get_trace(id);
	assert_true(has(page, "method=\"post\" action=\"/debug/traces/pin?id="));
	mem_free(page);
	assert_int_equal(303, post(&c, "pin", id, FROM_OUR_PAGE));
	(void)snprintf(location, sizeof(location), "Location: /debug/traces?id=%s\r\n", id);
	assert_true(client_has(&c, location));
	client_close(&c);
	assert_int_equal(1, pinned());
	page = get_trace(id);
	check_well_formed(page);
	assert_true(has(page, "action=\"/debug/traces/unpin?id="));
	mem_free(page);
	assert_int_equal(303, post_status("unpin", id, FROM_OUR_PAGE));
	assert_int_equal(0, pinned());
}

static void the_list_says_what_is_kept(void **state)
{
	char id[TRACE_ID_HEX_SIZE], *page;

	finished_trace(id);
	page = get_page("/debug/traces", 200);
	assert_false(has(page, "class=\"kept\""));
	mem_free(page);
	assert_int_equal(200, post_status("pin", id, ""));
	page = get_page("/debug/traces", 200);
	check_well_formed(page);
	assert_true(has(page, "class=\"kept\""));
	mem_free(page);
}

static void programs_get_an_answer_they_can_read(void **state)
{
	char id[TRACE_ID_HEX_SIZE], expected[128];
	struct client c;

	finished_trace(id);
	assert_int_equal(200, post(&c, "pin", id, "Accept: application/json\r\n"));
	(void)snprintf(expected, sizeof(expected),
		       "{\"pinned\":true,\"roots\":1,\"changed\":[\"%s\"]}\n", id);
	assert_string_equal(expected, client_body(&c));
	client_close(&c);
	assert_int_equal(200, post(&c, "pin", id, "Accept: application/json\r\n"));
	assert_string_equal("{\"pinned\":true,\"roots\":1,\"changed\":[]}\n", client_body(&c));
	client_close(&c);
	assert_int_equal(200, post(&c, "unpin", id, ""));
	assert_string_equal("not pinned, 1\n", client_body(&c));
	client_close(&c);
}

static void a_kept_trace_outlives_a_flood(void **state)
{
	char id[TRACE_ID_HEX_SIZE];

	finished_trace(id);
	assert_int_equal(200, post_status("pin", id, ""));
	for (unsigned i = 0; i < 20000; i++) {
		struct span more = trace_root(f.trace, "sync.discover", "more", 4, NULL);

		scene_wait(&f.clock, 0.01);
		trace_finish(more, 0, NULL);
	}
	mem_free(get_trace(id));
}

static void another_site_and_a_link_cannot_keep_a_trace(void **state)
{
	char id[TRACE_ID_HEX_SIZE], request[256];

	finished_trace(id);
	assert_int_equal(403, post_status("pin", id, "Origin: http://example.com\r\n"));
	assert_int_equal(403, post_status("pin", id, "User-Agent: Mozilla/5.0\r\n"));
	assert_int_equal(403, post_status("pin", id, "Sec-Fetch-Site: cross-site\r\n"));
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces/pin?id=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", id);
	assert_int_equal(405, ask_status(&f, request));
	assert_int_equal(0, pinned());
}

static void what_cannot_be_kept_is_said(void **state)
{
	char id[TRACE_ID_HEX_SIZE];

	assert_int_equal(404, post_status("pin", "0123456789abcdef0123456789abcdef", ""));
	assert_int_equal(400, post_status("pin", "nonsense", ""));
	assert_int_equal(400, post_status("pin", "", ""));
	for (unsigned i = 0; i < TRACE_PINNED_MAX; i++) {
		finished_trace(id);
		assert_int_equal(200, post_status("pin", id, ""));
	}
	finished_trace(id);
	assert_int_equal(409, post_status("pin", id, ""));
	assert_int_equal(TRACE_PINNED_MAX, pinned());
}

static void several_are_kept_together_or_none(void **state)
{
	char one[TRACE_ID_HEX_SIZE], other[TRACE_ID_HEX_SIZE], id[TRACE_ID_HEX_SIZE], both[128];

	finished_trace(one);
	finished_trace(other);
	(void)snprintf(both, sizeof(both), "%s&id=%s", one, other);
	assert_int_equal(200, post_status("pin", both, ""));
	assert_int_equal(2, pinned());
	assert_int_equal(200, post_status("unpin", both, ""));
	assert_int_equal(0, pinned());
	for (unsigned i = 1; i < TRACE_PINNED_MAX; i++) {
		finished_trace(id);
		assert_int_equal(200, post_status("pin", id, ""));
	}
	assert_int_equal(409, post_status("pin", both, ""));
	assert_int_equal(TRACE_PINNED_MAX - 1, pinned());
}

static void keeping_survives_oom_at_every_allocation(void **state)
{
	char id[TRACE_ID_HEX_SIZE], request[256];

	finished_trace(id);
	(void)snprintf(request, sizeof(request),
		       "POST /debug/traces/pin?id=%s HTTP/1.1\r\nHost: localhost\r\n"
		       "Content-Length: 0\r\nConnection: close\r\n\r\n",
		       id);
	FAULT_SWEEP({
		char reply[4096];
		struct client c;

		client_open(&c, &f);
		client_send(&c, request);
		for (int k = 0; k < 200 && recv(c.fd, reply, sizeof(reply), MSG_DONTWAIT) != 0; k++)
			fixture_turn(&f);
		client_close(&c);
		fixture_turns(&f, 10);
	});
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_button_keeps_a_trace_and_lets_it_go),
		T(the_list_says_what_is_kept),
		T(programs_get_an_answer_they_can_read),
		T(a_kept_trace_outlives_a_flood),
		T(another_site_and_a_link_cannot_keep_a_trace),
		T(what_cannot_be_kept_is_said),
		T(several_are_kept_together_or_none),
		T(keeping_survives_oom_at_every_allocation),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
