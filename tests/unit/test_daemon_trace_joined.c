/* Halves of a trace from several daemons, put together as one waterfall. */
#include "test_util.h"

#include <string.h>

#include "base/base.h"
#include "daemon/trace_cli.h"

#define TRACE_ID "0123456789abcdef0123456789abcdef"
#define ASKER                                                                                      \
	"{\"traces\":[{\"start\":\"2026-11-21T05:00:00.000000000Z\",\"spans\":["                   \
	"{\"span_id\":\"aaaaaaaaaaaaaaaa\",\"parent_id\":null,\"category\":\"sync.discover\","     \
	"\"title\":\"hm://x\",\"start_ns\":0,\"duration_ns\":1000000000,\"finished\":true,"        \
	"\"outcome\":\"local\",\"stages\":[{\"name\":\"local\",\"start_ns\":0,"                    \
	"\"busy_ns\":2000000,\"queued_ns\":5000000},"                                              \
	"{\"name\":\"sync\",\"start_ns\":100000000,\"busy_ns\":1000000}],"                         \
	"\"links\":[{\"trace_id\":\"fedcba9876543210fedcba9876543210\","                           \
	"\"span_id\":\"dddddddddddddddd\",\"why\":\"went on as\"},{\"trace_id\":5}]},"             \
	"{\"span_id\":\"bbbbbbbbbbbbbbbb\",\"parent_id\":\"aaaaaaaaaaaaaaaa\","                    \
	"\"category\":\"sync.peer\",\"title\":\"12D3\",\"start_ns\":100000000,"                    \
	"\"duration_ns\":800000000,\"finished\":true,\"outcome\":\"ok\"}]}]}"
/* `start` is the time by the other daemon's clock. */
#define SERVER(start, parent)                                                                      \
	"{\"traces\":[{\"start\":\"" start "\",\"spans\":["                                        \
	"{\"span_id\":\"cccccccccccccccc\",\"parent_id\":\"" parent "\","                          \
	"\"category\":\"sync.serve\",\"title\":\"hm://x\",\"start_ns\":0,"                         \
	"\"duration_ns\":200000000,\"finished\":true,\"outcome\":\"ok\","                          \
	"\"marks\":[{\"at_ns\":50000000,\"text\":\"said <b>\\u001b[31m\"}]}]}]}"

static struct buf out;

static const char *join(const char *one, const char *other)
{
	struct trace_cli_answer answers[] = { { json_loads(one, 0, NULL), (char[]){ "here" } },
					      { json_loads(other, 0, NULL), (char[]){ "there" } } };

	buf_init(&out, 1 << 20);
	assert_true(answers[0].json != NULL && answers[1].json != NULL);
	CHECK_STATUS(0, trace_cli_join(TRACE_ID, answers, 2, &out));
	buf_write_u8(&out, '\0');
	json_decref(answers[0].json);
	json_decref(answers[1].json);
	return (const char *)out.data;
}

static int teardown(void **state)
{
	buf_fini(&out);
	return 0;
}

static void a_half_stands_below_the_span_that_asked(void **state)
{
	const char *text =
		join(ASKER, SERVER("2026-11-21T05:00:00.300000000Z", "bbbbbbbbbbbbbbbb"));
	const char *peer = strstr(text, "\n  sync.peer 12D3"), *serve;

	assert_non_null(strstr(text, "sync.discover hm://x took 1.00 s: 90 % in sync"));
	assert_non_null(strstr(text, "trace " TRACE_ID));
	assert_non_null(strstr(text, "3 spans, 0 failed, 0 open\n"));
	assert_non_null(strstr(text, "CPU 3.00 ms, queued 5.00 ms\n"));
	assert_non_null(strstr(text, "went on as trace fedcba9876543210fedcba9876543210\n"));
	assert_non_null(peer);
	serve = strstr(peer, "\n    sync.serve hm://x");
	assert_non_null(serve);
	assert_non_null(strstr(serve, "recorded by=there"));
	assert_null(strstr(text, "differs"));
}

static void a_clock_that_is_behind_is_moved_and_said(void **state)
{
	const char *text =
		join(ASKER, SERVER("2026-11-21T04:59:50.100000000Z", "bbbbbbbbbbbbbbbb"));

	assert_non_null(strstr(text, "\n    sync.serve hm://x"));
	assert_non_null(strstr(text, "the clock there differs: moved by +10000.000 ms"));
}

static void a_clock_that_is_ahead_is_moved_and_said(void **state)
{
	const char *text =
		join(ASKER, SERVER("2026-11-21T05:00:00.800000000Z", "bbbbbbbbbbbbbbbb"));

	assert_non_null(strstr(text, "\n    sync.serve hm://x"));
	assert_non_null(strstr(text, "the clock there differs: moved by -100.000 ms"));
}

static void a_half_of_an_unknown_parent_stands_alone(void **state)
{
	const char *text =
		join(ASKER, SERVER("2026-11-21T05:00:00.300000000Z", "dddddddddddddddd"));

	assert_non_null(strstr(text, "\nsync.serve hm://x"));
	assert_non_null(strstr(text, "asked for by span dddddddddddddddd elsewhere"));
}

static void what_another_daemon_says_cannot_control_a_terminal(void **state)
{
	const char *text =
		join(ASKER, SERVER("2026-11-21T05:00:00.300000000Z", "bbbbbbbbbbbbbbbb"));

	assert_null(strchr(text, '\x1b'));
	assert_non_null(strstr(text, "said <b>"));
}

static void joining_survives_oom_at_every_allocation(void **state)
{
	struct trace_cli_answer answer = { json_loads(ASKER, 0, NULL), (char[]){ "here" } };

	FAULT_SWEEP({
		struct buf text;

		buf_init(&text, 1 << 20);
		(void)!trace_cli_join(TRACE_ID, &answer, 1, &text);
		buf_fini(&text);
	});
	json_decref(answer.json);
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
		T(a_half_stands_below_the_span_that_asked),
		T(a_clock_that_is_behind_is_moved_and_said),
		T(a_clock_that_is_ahead_is_moved_and_said),
		T(a_half_of_an_unknown_parent_stands_alone),
		T(what_another_daemon_says_cannot_control_a_terminal),
		cmocka_unit_test(joining_survives_oom_at_every_allocation),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
