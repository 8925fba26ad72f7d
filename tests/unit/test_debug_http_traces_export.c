/* Traces in other forms: files to keep, and those of other programs. */
#include "debug_http_page.h"

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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_trace_is_kept_as_one_file),
		T(traces_are_exported_under_a_name_of_their_own),
		T(a_slow_reader_gets_the_whole_of_a_large_export),
		T(an_export_survives_oom_at_every_allocation),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
