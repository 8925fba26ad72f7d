#include "debug_http_page.h"

#include "debug_http/flame.h"
#include "profiler/profiler.h"

/* From labelled stacks to a picture, and the page around it. */

#define HEAD "V\tcpu\tnanoseconds\nF\tdaemon\tmain\nF\tbase\tturn\nF\tlibc\tread_file\n"
#define STACKS                                                                                     \
	"S\t60\tsync.discover\tsync.session\tmain\t0 1 2 \n"                                       \
	"S\t30\t\t\tmain\t0 1 \n"                                                                  \
	"S\t10\thttp\t\tpool\t0 2 \n"

static void parse(struct flame *ret, const char *text, const struct flame_filter *filter)
{
	static const struct flame_filter any;

	CHECK_STATUS(0, flame_parse(ret, text, strlen(text), filter != NULL ? filter : &any));
}

static void equal_beginnings_share_their_boxes(void **state)
{
	struct flame flame;
	const struct flame_node *top;

	parse(&flame, HEAD STACKS, NULL);
	assert_int_equal(100, flame.total);
	assert_int_equal(3, flame.depth);
	assert_int_equal(1 + 4, flame.node_count);
	top = &flame.nodes[flame.nodes[0].child];
	assert_int_equal(100, top->total);
	assert_int_equal(0, top->self);
	assert_int_equal(70, flame.functions[2].self);
	assert_int_equal(90, flame.functions[1].total);
	flame_fini(&flame);
}

static void a_function_that_calls_itself_counts_once(void **state)
{
	struct flame flame;

	parse(&flame, HEAD "S\t5\t\t\t\t0 1 0 1 0 \n", NULL);
	assert_int_equal(5, flame.functions[0].total);
	assert_int_equal(5, flame.functions[0].self);
	assert_int_equal(5, flame.functions[1].total);
	flame_fini(&flame);
}

static void a_filter_leaves_the_labels_of_all(void **state)
{
	struct flame flame;

	parse(&flame, HEAD STACKS, &(struct flame_filter){ .labels = { "sync.discover" } });
	assert_int_equal(60, flame.total);
	assert_int_equal(3, flame.labels[FLAME_CATEGORY].count);
	flame_fini(&flame);
	parse(&flame, HEAD STACKS, &(struct flame_filter){ .labels = { NULL, "", "main" } });
	assert_int_equal(30, flame.total);
	flame_fini(&flame);
}

static void what_does_not_follow_the_grammar_is_refused(void **state)
{
	static const char *const wrong[] = {
		"x",
		"X\ta\tb",
		"V\tcpu",
		"F\tname",
		HEAD "S\t1\t\t\t0 ",
		HEAD "S\t-1\t\t\t\t0 ",
		HEAD "S\t1x\t\t\t\t0 ",
		HEAD "S\t1\t\t\t\t3 ",
		HEAD "S\t1\t\t\t\t0",
		HEAD "S\t1\t\t\t\t0,1 ",
		HEAD "S\t99999999999999999999\t\t\t\t0 ",
		"V\ta-very-long-name-of-a-sample-type-that-has-no-room\tcount",
	};
	struct flame flame;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CHECK_STATUS(ERR_MALFORMED, flame_parse(&flame, wrong[i], strlen(wrong[i]),
							&(struct flame_filter){ 0 }));
}

static void frames_that_are_too_deep_count_for_the_last_that_is_not(void **state)
{
	struct flame flame;
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_write_str(&text, HEAD "S\t7\t\t\t\t");
	for (unsigned i = 0; i < FLAME_DEPTH_MAX + 9; i++)
		buf_printf(&text, "%u ", i & 1);
	parse(&flame, (const char *)text.data, NULL);
	assert_int_equal(FLAME_DEPTH_MAX, flame.depth);
	assert_int_equal(7, flame.cut);
	assert_int_equal(7, flame.nodes[FLAME_DEPTH_MAX].self);
	flame_fini(&flame);
	buf_fini(&text);
}

static char *draw(const char *text)
{
	struct flame flame;
	struct buf out;
	size_t len;

	parse(&flame, text, NULL);
	buf_init(&out, 1 << 20);
	flame_draw(&out, &flame);
	flame_fini(&flame);
	return (char *)buf_take(&out, &len);
}

static void the_picture_says_shares_and_names(void **state)
{
	char *html = draw(HEAD STACKS);

	check_balanced(html);
	assert_true(has(html, "<b>100 ns</b> in 3 stacks; 70 % of it in <b>read_file</b> (libc)"));
	assert_true(has(html, "<svg x=\"0.000%\" y=\"19\" width=\"90.000%\" height=\"18\">"
			      "<title>turn (base) 90.0 %, 90 ns</title>"));
	assert_true(has(html, "<svg x=\"90.000%\" y=\"19\" width=\"10.000%\""));
	assert_true(has(html, "name=\"category\" value=\"sync.discover\""));
	mem_free(html);
}

static void names_of_functions_and_labels_are_escaped(void **state)
{
	char *html = draw("V\tcpu\tcount\nF\t<i>\t</svg><script>\"'&\xe2\x80\xae\n"
			  "S\t1\t\"><b>\t<u>\t'\t0 \n");

	check_balanced(html);
	assert_false(has(html, "<script") || has(html, "<i>") || has(html, "<u>") ||
		     has(html, "\xe2\x80\xae"));
	mem_free(html);
}

static void parsing_survives_oom_at_every_allocation(void **state)
{
	struct flame flame;
	int rc;

	FAULT_SWEEP({
		rc = flame_parse(&flame, HEAD STACKS, strlen(HEAD STACKS),
				 &(struct flame_filter){ 0 });
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		if (rc == 0)
			flame_fini(&flame);
	});
}

/* ---- The page ---- */

static struct profiler *profiler;

static int setup_page(void **state)
{
	fixture_init(&f, HTTP_DEBUG);
	profiler = profiler_new(
		&(struct profiler_config){ .runner = &f.loop.runner, .version = "test" });
	assert_non_null(profiler);
	CHECK_STATUS(0, debug_http_pprof(f.server, profiler));
	return 0;
}

static int teardown_page(void **state)
{
	while (f.loop.runner.op_count > 0)
		fixture_turn(&f);
	profiler = profiler_free(profiler);
	fixture_fini(&f);
	return 0;
}

static void the_page_is_whole_before_and_after_a_capture(void **state)
{
	check_page("/debug/flame");
	check_page("/debug/flame?profile=heap");
	check_page("/debug/flame?profile=mutex&category=%3Cb%3E&sample=contentions");
}

static void a_wrong_question_is_answered_with_what_is_right(void **state)
{
	mem_free(get_page("/debug/flame?profile=nothing", 400));
	mem_free(get_page("/debug/flame?profile=heap&seconds=601", 400));
	mem_free(get_page("/debug/flame?profile=heap&seconds=x", 400));
	mem_free(get_page("/debug/flame?profile=heap&seconds=-1", 400));
}

static void who_leaves_while_it_is_taken_ends_it(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, "GET /debug/flame?profile=heap&seconds=30 HTTP/1.1\r\n"
			"Host: localhost\r\n\r\n");
	for (int i = 0; i < PUMP_MAX && !client_has(&c, "class=\"waiting\""); i++)
		client_pump(&c, SIZE_MAX);
	assert_true(client_has(&c, "data-seconds=\"30\""));
	assert_int_equal(1, f.loop.runner.op_count);
	client_close(&c);
	for (int i = 0; i < PUMP_MAX && f.loop.runner.op_count > 0; i++)
		fixture_turn(&f);
	assert_int_equal(0, f.loop.runner.op_count);
}

#define page_test(fn) cmocka_unit_test_setup_teardown(fn, setup_page, teardown_page)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_beginnings_share_their_boxes),
		cmocka_unit_test(a_function_that_calls_itself_counts_once),
		cmocka_unit_test(a_filter_leaves_the_labels_of_all),
		cmocka_unit_test(what_does_not_follow_the_grammar_is_refused),
		cmocka_unit_test(frames_that_are_too_deep_count_for_the_last_that_is_not),
		cmocka_unit_test(the_picture_says_shares_and_names),
		cmocka_unit_test(names_of_functions_and_labels_are_escaped),
		cmocka_unit_test(parsing_survives_oom_at_every_allocation),
		page_test(the_page_is_whole_before_and_after_a_capture),
		page_test(a_wrong_question_is_answered_with_what_is_right),
		page_test(who_leaves_while_it_is_taken_ends_it),
	};

	(void)setup;
	(void)teardown;
	(void)format_id;
	(void)get_slowest;
	(void)large_trace;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
