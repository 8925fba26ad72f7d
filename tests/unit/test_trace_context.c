/* traceparent. */
#include "test_trace.h"

#define ID     "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static void good_headers_are_read(void **state)
{
	static const char *const good[] = {
		"00-" ID "-" PARENT "-01",
		"00-" ID "-" PARENT "-00",
		"00-" ID "-" PARENT "-ff",
		"01-" ID "-" PARENT "-01",
		"cc-" ID "-" PARENT "-01-what-the-future-will-be-like",
		"fe-" ID "-" PARENT "-01-",
	};
	struct trace_context c;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		CHECK_STATUS(0, trace_context_parse(good[i], strlen(good[i]), &c));
		assert_int_equal(c.trace_id[0], 0x0a);
		assert_int_equal(c.trace_id[15], 0x9c);
		assert_int_equal(c.span_id[0], 0xb7);
		assert_int_equal(c.span_id[7], 0x31);
	}
}

static void bad_headers_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"00",
		"00-" ID "-" PARENT "-0",
		"00-" ID "-" PARENT "-01-",
		"00-" ID "-" PARENT "-01 ",
		"00-" ID "-" PARENT "-01-more",
		"cc-" ID "-" PARENT "-01.more",
		"ff-" ID "-" PARENT "-01",
		"00-00000000000000000000000000000000-" PARENT "-01",
		"00-" ID "-0000000000000000-01",
		"00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
		"00-" ID "-B7AD6B7169203331-01",
		"0G-" ID "-" PARENT "-01",
		"00-" ID "-" PARENT "-0x",
		"00_" ID "-" PARENT "-01",
		"00-" ID "_" PARENT "-01",
		"00-" ID "-" PARENT "_01",
		" 00-" ID "-" PARENT "-01",
		"00-" ID "-" PARENT "--1",
		"00-0af7651916cd43dd8448eb211c80319-" PARENT "-01x",
	};
	struct trace_context c, before;

	memset(&c, 0x5a, sizeof(c));
	before = c;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_STATUS(ERR_MALFORMED, trace_context_parse(bad[i], strlen(bad[i]), &c));
		assert_memory_equal(&c, &before, sizeof(c));
	}
}

static void every_shorter_header_is_refused(void **state)
{
	const char *header = "00-" ID "-" PARENT "-01";
	struct trace_context c;

	for (size_t len = 0; len < strlen(header); len++) {
		char *exact = mem_dup(header, len);
		CHECK_STATUS(ERR_MALFORMED, trace_context_parse(exact, len, &c));
		mem_free(exact);
	}
}

static void what_is_written_reads_the_same(void **state)
{
	struct fixture *f = *state;
	struct trace_context c, again;
	char header[TRACEPARENT_SIZE];

	for (int i = 0; i < 1000; i++) {
		assert_true(trace_context_of(root_span(f, "a", "r"), &c));
		trace_context_format(&c, header);
		assert_int_equal(strlen(header), TRACEPARENT_SIZE - 1);
		CHECK_STATUS(0, trace_context_parse(header, strlen(header), &again));
		assert_memory_equal(&c, &again, sizeof(c));
	}
}

static void two_stores_make_different_ids(void **state)
{
	struct fixture *f = *state, *g;
	struct trace_context a, b;

	setup((void **)&g);
	trace_context_of(root_span(f, "a", "r"), &a);
	trace_context_of(root_span(g, "a", "r"), &b);
	assert_memory_not_equal(a.trace_id, b.trace_id, 16);
	assert_memory_not_equal(a.span_id, b.span_id, 8);
	teardown((void **)&g);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(good_headers_are_read),	       TEST(bad_headers_are_refused),
		TEST(every_shorter_header_is_refused), TEST(what_is_written_reads_the_same),
		TEST(two_stores_make_different_ids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
