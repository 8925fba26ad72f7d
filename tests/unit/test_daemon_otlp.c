/* Settings of pushing traces, and what happens when nobody takes them. */
#include "test_util.h"

#include "daemon/otlp_push.h"

static void an_endpoint_names_the_folder_of_the_path(void **state)
{
	static const char *const cases[][2] = {
		{ "http://h:4318", "http://h:4318/v1/traces" },
		{ "http://h:4318/", "http://h:4318/v1/traces" },
		{ "https://h/otlp//", "https://h/otlp/v1/traces" },
		{ "http://h:4318/v1/traces", "http://h:4318/v1/traces" },
		{ "https://h/otlp/v1/traces/", "https://h/otlp/v1/traces" },
		{ "https://h/v1/tracesx", "https://h/v1/tracesx/v1/traces" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *url = otlp_push_url(cases[i][0]);
		assert_string_equal(cases[i][1], url);
		mem_free(url);
	}
}

static void headers_stand_one_per_line(void **state)
{
	char text[] = "# comment\r\na: b\r\n\nc:d  \n  \nlast: one";
	const char *list[4];
	unsigned line = 0;

	assert_int_equal(3, otlp_push_headers(text, list, 4, &line));
	assert_string_equal("a: b", list[0]);
	assert_string_equal("c:d", list[1]);
	assert_string_equal("last: one", list[2]);
}

static void a_bad_header_is_told_by_its_line(void **state)
{
	char none[] = "", bad[] = "a: b\n\nnot a header\n", many[] = "a: b\nc: d\ne: f";
	const char *list[2];
	unsigned line = 0;

	assert_int_equal(0, otlp_push_headers(none, list, 2, &line));
	CHECK_STATUS(ERR_MALFORMED, otlp_push_headers(bad, list, 2, &line));
	assert_int_equal(3, line);
	CHECK_STATUS(ERR_LIMIT, otlp_push_headers(many, list, 2, &line));
	assert_int_equal(3, line);
}

struct world {
	struct loop loop;
	struct trace *trace;
	struct otlp_push *push;
	bool closed;
};

static int setup(void **state)
{
	struct world *w = mem_alloc(sizeof(*w));

	assert_non_null(w);
	CHECK_STATUS(0, loop_init(&w->loop));
	w->trace = trace_new(NULL, &clock_system);
	/* Port 1: nobody listens. */
	w->push = otlp_push_new(&(struct otlp_push_config){
		.loop = &w->loop, .trace = w->trace, .endpoint = "http://127.0.0.1:1" });
	assert_non_null(w->push);
	*state = w;
	return 0;
}

static void on_closed(void *data)
{
	((struct world *)data)->closed = true;
}

static void close_push(struct world *w)
{
	otlp_push_close(w->push, on_closed, w);
	assert_false(w->closed);
	while (!w->closed)
		uv_run(&w->loop.uv, UV_RUN_ONCE);
}

static int teardown(void **state)
{
	struct world *w = *state;

	loop_fini(&w->loop);
	trace_free(w->trace);
	mem_free(w);
	return 0;
}

static void add_roots(struct world *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		trace_finish(trace_root(w->trace, "test", "r", 1, NULL), 0, NULL);
}

static void a_full_queue_gives_up_the_oldest_and_counts_it(void **state)
{
	struct world *w = *state;
	struct otlp_push_figures figures;

	add_roots(w, OTLP_QUEUE_MAX + 7);
	otlp_push_figures(w->push, &figures);
	assert_int_equal(OTLP_QUEUE_MAX, figures.queued);
	assert_int_equal(7, figures.dropped_queue);
	close_push(w);
}

static void a_root_that_is_not_finished_waits(void **state)
{
	struct world *w = *state;
	struct span root = trace_root(w->trace, "test", "r", 1, NULL);
	struct span child = trace_child(root, "test", "c", 1);
	struct otlp_push_figures figures;

	trace_finish(root, 0, NULL);
	otlp_push_figures(w->push, &figures);
	assert_int_equal(0, figures.queued);
	trace_finish(child, 0, NULL);
	otlp_push_figures(w->push, &figures);
	assert_int_equal(1, figures.queued);
	close_push(w);
}

static bool fails(struct world *w)
{
	struct otlp_push_figures figures;

	otlp_push_figures(w->push, &figures);
	return figures.failing > 0;
}

static void nobody_listening_is_tried_again_and_does_not_hold_up_the_end(void **state)
{
	struct world *w = *state;
	struct otlp_push_figures figures;

	add_roots(w, 10);
	while (!fails(w))
		uv_run(&w->loop.uv, UV_RUN_ONCE);
	otlp_push_figures(w->push, &figures);
	assert_int_equal(1, figures.retries);
	assert_int_equal(0, figures.dropped_refused + figures.dropped_too_late);
	assert_true(strlen(otlp_push_why(w->push)) > 0);
	close_push(w);
}

static void closing_with_nothing_to_send_is_at_once(void **state)
{
	close_push(*state);
}

static void making_one_survives_oom_at_every_allocation(void **state)
{
	struct world *w = *state;

	FAULT_SWEEP({
		static const char *const headers[] = { "a: b", "c: d" };
		struct otlp_push *p =
			otlp_push_new(&(struct otlp_push_config){ .loop = &w->loop,
								  .trace = w->trace,
								  .endpoint = "http://127.0.0.1:1",
								  .headers = headers,
								  .header_count = 2,
								  .ca_file = "ca",
								  .how = { .instance = "i" } });
		w->closed = p == NULL;
		if (p != NULL)
			otlp_push_close(p, on_closed, w);
		while (!w->closed)
			uv_run(&w->loop.uv, UV_RUN_ONCE);
	});
	w->closed = false;
	close_push(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_endpoint_names_the_folder_of_the_path),
		cmocka_unit_test(headers_stand_one_per_line),
		cmocka_unit_test(a_bad_header_is_told_by_its_line),
		TEST(a_full_queue_gives_up_the_oldest_and_counts_it),
		TEST(a_root_that_is_not_finished_waits),
		TEST(nobody_listening_is_tried_again_and_does_not_hold_up_the_end),
		TEST(closing_with_nothing_to_send_is_at_once),
		TEST(making_one_survives_oom_at_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
