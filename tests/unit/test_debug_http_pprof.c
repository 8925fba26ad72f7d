#include "debug_http_client.h"

#include "debug_http/pprof.h"

/* /debug/pprof over a socket. Time is the fixture's, so a window of thirty seconds takes none. */

enum { WAIT_TURNS = 20000 };

static struct profiler *profiler;

static void open_server(struct fixture *f)
{
	fixture_init(f, HTTP_DEBUG);
	profiler = profiler_new(
		&(struct profiler_config){ .runner = &f->loop.runner, .version = "test" });
	assert_non_null(profiler);
	CHECK_STATUS(0, debug_http_pprof(f->server, profiler));
}

static void close_server(struct fixture *f)
{
	struct http_server *s = f->server;

	http_server_close(s, on_server_closed, f);
	for (int i = 0; i < WAIT_TURNS && (!f->closed || f->loop.runner.op_count > 0); i++) {
		fixture_turn(f);
		clock_manual_advance(&f->clock, NS_PER_MS);
		(void)poll(NULL, 0, f->loop.runner.op_count > 0);
	}
	assert_true(f->closed);
	http_server_free(s);
	profiler = profiler_free(profiler);
	trace_free(f->trace);
	loop_fini(&f->loop);
}

static void ask(struct client *c, struct fixture *f, const char *method, const char *path,
		const char *more)
{
	char text[2048];

	(void)snprintf(text, sizeof(text),
		       "%s /debug/pprof%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", method, path,
		       more);
	client_ask(c, f, text);
}

static struct profiler_stats stats(void)
{
	struct profiler_stats s;

	profiler_stats(profiler, &s);
	return s;
}

static void await_captures(struct client *c, unsigned n)
{
	for (int i = 0; i < WAIT_TURNS && stats().cpu_captures != n; i++)
		client_pump(c, SIZE_MAX);
	assert_int_equal(stats().cpu_captures, n);
}

static void check_answer(struct fixture *f, const char *method, const char *path, const char *more,
			 int status, const char *body)
{
	struct client c;

	ask(&c, f, method, path, more);
	if (client_status(&c) != status || strcmp(client_body(&c), body) != 0)
		fail_msg("%s %s: %d %s", method, path, client_status(&c), client_body(&c));
	assert_true(client_has(&c, "\r\nX-Content-Type-Options: nosniff\r\n"));
	assert_true((status != 200) == client_has(&c, "\r\nX-Go-Pprof: 1\r\n"));
	assert_true(client_has(&c, "\r\nContent-Type: text/plain; charset=utf-8\r\n"));
	assert_false(client_has(&c, "Content-Disposition"));
	client_close(&c);
}

/* ---- Texts ---- */

static void failures_have_the_words_of_go(void **state)
{
	static const struct {
		const char *path, *body;
		int status;
	} cases[] = {
		{ "/nosuch", "Unknown profile\n", 404 },
		{ "/heap/", "Unknown profile\n", 404 },
		{ "/goroutine/", "Unknown profile\n", 404 },
		{ "/heap?seconds=x", "invalid value for \"seconds\" - must be a positive integer\n",
		  400 },
		{ "/allocs?seconds=0&debug=1",
		  "invalid value for \"seconds\" - must be a positive integer\n", 400 },
		{ "/mutex?seconds=3601&debug=1", "profile duration exceeds server's WriteTimeout\n",
		  400 },
		{ "/block?seconds=1&debug=2", "seconds and debug params are incompatible\n", 400 },
		{ "/goroutine?seconds=x",
		  "invalid value for \"seconds\" - must be a positive integer\n", 400 },
		{ "/goroutine?seconds=0",
		  "invalid value for \"seconds\" - must be a positive integer\n", 400 },
		{ "/goroutine?seconds=-1",
		  "invalid value for \"seconds\" - must be a positive integer\n", 400 },
		{ "/goroutine?seconds=1.5",
		  "invalid value for \"seconds\" - must be a positive integer\n", 400 },
		{ "/goroutine?seconds=+",
		  "invalid value for \"seconds\" - must be a positive integer\n", 400 },
		{ "/threadcreate?seconds=1&debug=1", "seconds and debug params are incompatible\n",
		  400 },
		{ "/threadcreate?seconds=999999",
		  "profile duration exceeds server's WriteTimeout\n", 400 },
		{ "/profile?seconds=3601", "profile duration exceeds server's WriteTimeout\n",
		  400 },
	};
	struct fixture f;

	open_server(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_answer(&f, "GET", cases[i].path, "", cases[i].status, cases[i].body);
	check_answer(&f, "POST", "/goroutine",
		     "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
		     "9\r\n\r\nseconds=x",
		     400, "invalid value for \"seconds\" - must be a positive integer\n");
	close_server(&f);
}

static void methods_that_are_not_gos_are_refused(void **state)
{
	struct fixture f;
	struct client c;

	open_server(&f);
	ask(&c, &f, "PUT", "/profile", "Content-Length: 0\r\n");
	assert_int_equal(client_status(&c), 405);
	client_close(&c);
	close_server(&f);
}

static void the_list_of_profiles_is_the_one_that_scrapers_read(void **state)
{
	static const char *const names[] = {
		"allocs", "block",   "cmdline", "goroutine",	"heap",
		"mutex",  "profile", "symbol",	"threadcreate", "trace"
	};
	struct fixture f;
	const char *at;
	struct client c;

	open_server(&f);
	ask(&c, &f, "GET", "/", "");
	assert_int_equal(client_status(&c), 200);
	assert_true(client_has(&c, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
	assert_true(client_has(&c, "<title>/debug/pprof/</title>"));
	at = client_body(&c);
	for (size_t i = 0; i < ARRAY_SIZE(names);
	     i++) { /* <tr><td>7</td><td><a href='x'>x</a></td></tr> */
		char name[64], href[64];
		unsigned count;

		at = strstr(at, "\n<tr><td>");
		assert_non_null(at);
		assert_int_equal(
			sscanf(at, "\n<tr><td>%u</td><td><a href='%63[^']'>%63[^<]</a></td></tr>\n",
			       &count, href, name),
			3);
		assert_string_equal(name, names[i]);
		at++;
	}
	assert_null(strstr(at, "\n<tr><td>"));
	client_close(&c);
	ask(&c, &f, "GET", "", "");
	assert_int_equal(client_status(&c), 301);
	assert_true(client_has(&c, "\r\nLocation: /debug/pprof/\r\n"));
	client_close(&c);
	close_server(&f);
}

/* ---- The CPU profile ---- */

static void seconds_that_are_no_number_mean_thirty(void **state)
{
	static const char *const paths[] = { "/profile", "/profile?seconds=0.5",
					     "/profile?seconds=abc", "/profile?seconds=-3",
					     "/profile?seconds=" };
	struct fixture f;
	struct client c;
	char text[256];

	open_server(&f);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		client_open(&c, &f);
		(void)snprintf(text, sizeof(text),
			       "GET /debug/pprof%s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
		client_send(&c, text);
		await_captures(&c, 1);
		for (unsigned k = 0; k < 20; k++)
			client_pump(&c, SIZE_MAX);
		fixture_advance(&f, 29900);
		assert_int_equal(c.in.len, 0);
		assert_int_equal(stats().cpu_captures, 1);
		fixture_advance(&f, 200);
		client_await(&c, false);
		assert_int_equal(client_status(&c), 200);
		assert_true(client_has(
			&c, "\r\nContent-Disposition: attachment; filename=\"profile\"\r\n"));
		assert_true(client_has(&c, "\r\nContent-Type: application/octet-stream\r\n"));
		assert_false(client_has(&c, "Content-Encoding"));
		assert_memory_equal(client_body(&c), "\x1f\x8b", 2);
		client_close(&c);
	}
	close_server(&f);
}

static void head_answers_at_once(void **state)
{
	struct fixture f;
	struct client c;

	open_server(&f);
	ask(&c, &f, "HEAD", "/profile", "");
	assert_int_equal(client_status(&c), 200);
	assert_true(
		client_has(&c, "\r\nContent-Disposition: attachment; filename=\"profile\"\r\n"));
	assert_int_equal(stats().captures, 0);
	client_close(&c);
	close_server(&f);
}

static void the_ninth_profile_is_refused_in_gos_words(void **state)
{
	struct client held[PROFILER_CPU_CAPTURES_MAX];
	struct fixture f;

	open_server(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(held); i++) {
		client_open(&held[i], &f);
		client_send(&held[i],
			    "GET /debug/pprof/profile HTTP/1.1\r\nHost: localhost\r\n\r\n");
		await_captures(&held[i], i + 1);
	}
	check_answer(&f, "GET", "/profile", "", 500,
		     "Could not enable CPU profiling: cpu profiling already in use\n");
	for (unsigned i = 0; i < ARRAY_SIZE(held); i++)
		client_close(&held[i]);
	close_server(&f);
}

static void a_client_that_leaves_frees_its_place_and_the_timers(void **state)
{
	struct client c, other;
	struct fixture f;

	open_server(&f);
	client_open(&other, &f);
	client_open(&c, &f);
	client_send(&c, "GET /debug/pprof/profile HTTP/1.1\r\nHost: localhost\r\n\r\n");
	await_captures(&c, 1);
	assert_true(stats().timers > 0);
	client_close(&c);
	await_captures(&other, 0);
	assert_int_equal(stats().timers, 0);
	client_close(&other);
	close_server(&f);
}

/* ---- The others ---- */

static void check_difference(struct fixture *f, const char *path, const char *file)
{
	char text[256];
	struct client c;

	client_open(&c, f);
	(void)snprintf(text, sizeof(text), "GET /debug/pprof%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		       path);
	client_send(&c, text);
	for (int i = 0; i < WAIT_TURNS && c.in.len == 0; i++) {
		client_pump(&c, SIZE_MAX);
		clock_manual_advance(&f->clock, 10 * NS_PER_MS);
	}
	client_await(&c, false);
	assert_int_equal(client_status(&c), 200);
	(void)snprintf(text, sizeof(text),
		       "\r\nContent-Disposition: attachment; filename=\"%s\"\r\n", file);
	assert_true(client_has(&c, text));
	assert_memory_equal(client_body(&c), "\x1f\x8b", 2);
	client_close(&c);
}

static void differences_are_named_so(void **state)
{
	struct fixture f;

	open_server(&f);
	check_difference(&f, "/goroutine?seconds=2&debug=0", "goroutine-delta");
	check_difference(&f, "/threadcreate?seconds=2", "threadcreate-delta");
	check_difference(&f, "/heap?seconds=2&gc=1", "heap-delta");
	check_difference(&f, "/allocs?seconds=2&delta=alloc", "allocs-delta");
	check_difference(&f, "/mutex?seconds=2", "mutex-delta");
	check_difference(&f, "/block?seconds=2", "block-delta");
	close_server(&f);
}

static void a_post_sets_the_rate_and_a_get_does_not(void **state)
{
	struct fixture f;
	struct client c;

	open_server(&f);
	check_answer(&f, "POST", "/mutex?rate=1", "Content-Length: 0\r\n", 200,
		     "mutex profile fraction set to 1 (was 10)\n");
	check_answer(&f, "POST", "/block?rate=0", "Content-Length: 0\r\n", 200,
		     "block profile rate set to 0 (was 10000)\n");
	check_answer(&f, "POST", "/heap?rate=65536", "Content-Length: 0\r\n", 200,
		     "heap profile rate set to 65536 (was 524288)\n");
	ask(&c, &f, "GET", "/mutex?rate=5", "");
	client_close(&c);
	assert_int_equal(profiler_rate(PROFILER_MUTEX), 1);
	assert_int_equal(profiler_rate(PROFILER_ALLOCS), 65536);
	check_answer(&f, "POST", "/mutex?rate=-1", "Content-Length: 0\r\n", 400,
		     "invalid value for \"rate\" - must be a non-negative integer\n");
	check_answer(&f, "POST", "/heap?rate=1k", "Content-Length: 0\r\n", 400,
		     "invalid value for \"rate\" - must be a non-negative integer\n");
	profiler_rate_set(PROFILER_MUTEX, 10);
	profiler_rate_set(PROFILER_BLOCK, 10000);
	profiler_rate_set(PROFILER_HEAP, 512 << 10);
	close_server(&f);
}

static void debug_chooses_the_form(void **state)
{
	static const struct {
		const char *path, *start;
	} cases[] = {
		{ "/goroutine", "\x1f\x8b" },
		{ "/goroutine?debug=-1", "\x1f\x8b" },
		{ "/goroutine?debug=abc", "\x1f\x8b" },
		{ "/goroutine?seconds=", "\x1f\x8b" },
		{ "/goroutine?debug=1", "goroutine profile: total " },
		{ "/goroutine?debug=2", "goroutine 1 [" },
		{ "/goroutine?debug=9", "goroutine 1 [" },
		{ "/threadcreate?debug=1", "threadcreate profile: total " },
		{ "/threadcreate", "\x1f\x8b" },
		{ "/heap", "\x1f\x8b" },
		{ "/heap?gc=1&debug=0", "\x1f\x8b" },
		{ "/heap?debug=1", "heap profile: " },
		{ "/allocs?debug=2", "heap profile: " },
		{ "/allocs", "\x1f\x8b" },
		{ "/mutex", "\x1f\x8b" },
		{ "/mutex?debug=1", "--- mutex:\ncycles/second=1000000000\nsampling period=10\n" },
		{ "/block", "\x1f\x8b" },
		{ "/block?debug=1", "--- contention:\ncycles/second=1000000000\n" },
	};
	struct fixture f;
	struct client c;

	open_server(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ask(&c, &f, "GET", cases[i].path, "");
		assert_int_equal(client_status(&c), 200);
		assert_memory_equal(client_body(&c), cases[i].start, strlen(cases[i].start));
		assert_true(client_has(&c, "Content-Disposition") == (cases[i].start[0] == '\x1f'));
		client_close(&c);
	}
	close_server(&f);
}

static void symbols_come_the_same_by_query_and_by_body(void **state)
{
	char query[64], more[128], expected[128];
	struct fixture f;

	open_server(&f);
	(void)snprintf(query, sizeof(query), "/symbol?%p+0x1", (void *)open_server);
	(void)snprintf(expected, sizeof(expected), "num_symbols: 1\n%p open_server\n",
		       (void *)open_server);
	check_answer(&f, "GET", query, "", 200, expected);
	(void)snprintf(more, sizeof(more), "Content-Length: %zu\r\n\r\n%s", strlen(query) - 8,
		       query + 8);
	check_answer(&f, "POST", "/symbol", more, 200, expected);
	check_answer(&f, "GET", "/symbol", "", 200, "num_symbols: 1\n");
	check_answer(&f, "GET", "/symbol?0x0+zzz", "", 200, "num_symbols: 1\n");
	close_server(&f);
}

static void the_command_line_keeps_its_zeros_but_the_last(void **state)
{
	struct fixture f;
	struct client c;
	size_t len;

	open_server(&f);
	ask(&c, &f, "GET", "/cmdline", "");
	assert_int_equal(client_status(&c), 200);
	assert_non_null(strstr(client_body(&c), "test_debug_http_pprof"));
	len = c.in.len - (size_t)(client_body(&c) - client_text(&c));
	assert_true(client_body(&c)[len - 1] != '\0');
	client_close(&c);
	close_server(&f);
}

static void form_values_are_found_and_decoded(void **state)
{
	static const struct {
		const char *form, *value;
	} cases[] = {
		{ "seconds=5", "5" },	  { "a=1&seconds=5", "5" }, { "seconds=5&seconds=6", "5" },
		{ "seconds", "" },	  { "seconds=", "" },	    { "%73econds=%35", "5" },
		{ "seconds=1+2", "1 2" }, { "seconds=%zz", "%zz" }, { "seconds=5%", "5%" },
		{ "&&seconds=1", "1" },	  { "xseconds=1", NULL },   { "", NULL },
		{ "secondsx=1", NULL },	  { "a=seconds=1", NULL },
	};
	char value[PPROF_PARAM_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool found =
			pprof_form_value(cases[i].form, strlen(cases[i].form), "seconds", value);

		assert_int_equal(found, cases[i].value != NULL);
		if (found)
			assert_string_equal(value, cases[i].value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_have_the_words_of_go),
		cmocka_unit_test(methods_that_are_not_gos_are_refused),
		cmocka_unit_test(the_list_of_profiles_is_the_one_that_scrapers_read),
		cmocka_unit_test(seconds_that_are_no_number_mean_thirty),
		cmocka_unit_test(head_answers_at_once),
		cmocka_unit_test(the_ninth_profile_is_refused_in_gos_words),
		cmocka_unit_test(a_client_that_leaves_frees_its_place_and_the_timers),
		cmocka_unit_test(differences_are_named_so),
		cmocka_unit_test(a_post_sets_the_rate_and_a_get_does_not),
		cmocka_unit_test(debug_chooses_the_form),
		cmocka_unit_test(symbols_come_the_same_by_query_and_by_body),
		cmocka_unit_test(the_command_line_keeps_its_zeros_but_the_last),
		cmocka_unit_test(form_values_are_found_and_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
