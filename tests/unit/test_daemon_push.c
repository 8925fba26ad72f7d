/* Connection strings, URLs, the schedule: all that needs no server. */
#include "test_util.h"

#include "base/base.h"
#include "base/loop.h"
#include "daemon/push.h"

enum { WHY = 256, MINUTE = 60 * 1000 };

static int parse(const char *text, bool open, struct push_connection *ret, char why[WHY])
{
	why[0] = '\0';
	return push_connection_parse(text, strlen(text), open, ret, why, WHY);
}

static char *url_of(const char *text, const struct push_facts *facts)
{
	struct push_connection c = { 0 };
	char why[WHY], *url;

	CHECK_STATUS(0, parse(text, facts->format != PUSH_TRACEWAY, &c, why));
	url = push_url(&c, facts);
	assert_non_null(url);
	push_connection_fini(&c);
	return url;
}

static void a_string_is_cut_at_its_first_at_sign(void **state)
{
	static const char *const cases[][3] = {
		{ "tok@http://localhost:19876/api/report", "http://localhost:19876",
		  "/api/report" },
		{ " tok@https://host.example/a/b/ \n", "https://host.example", "/a/b" },
		{ "tok@http://user:pw@h/x", "http://h", "/x" },
		{ "tok@https://[::1]:8443", "https://[::1]:8443", "" },
		{ "tok@http://h:8080/x?query=1#part", "http://h:8080", "/x" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct push_connection c = { 0 };
		char why[WHY];

		CHECK_STATUS(0, parse(cases[i][0], false, &c, why));
		assert_string_equal(cases[i][1], c.origin);
		assert_string_equal(cases[i][2], c.path);
		assert_string_equal("Authorization: Bearer tok", c.authorization);
		push_connection_fini(&c);
	}
}

static void what_is_no_connection_string_is_refused_with_a_reason(void **state)
{
	static const char *const cases[][2] = {
		{ "", "empty" },
		{ " \n", "empty" },
		{ "tok", "no @" },
		{ "@http://h", "before the @" },
		{ "secret@", "does not begin" },
		{ "secret@h/api", "does not begin" },
		{ "secret@//h/api", "does not begin" },
		{ "secret@ftp://h/", "does not begin" },
		{ "secret@http://", "not a URL" },
		{ "secret@http:///api", "not a URL" },
		{ "secret@http://h:99999/", "port" },
		{ "secret@http://h:port/", "port" },
		{ "secret@http://h%98/", "encoded" },
		{ "se cret@http://h/", "token" },
		{ "se\rcret@http://h/", "token" },
		{ "secret@http://h/a b", "character" },
		{ "secret@http://h/\xc3\xa9", "character" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct push_connection c = { 0 };
		char why[WHY];

		CHECK_STATUS(ERR_MALFORMED, parse(cases[i][0], false, &c, why));
		assert_non_null(strstr(why, cases[i][1]));
		assert_null(strstr(why, "secret"));
		assert_null(c.origin);
	}
}

static void an_open_server_needs_no_token(void **state)
{
	struct push_connection c = { 0 };
	char why[WHY];

	CHECK_STATUS(0, parse("@http://h/prefix", true, &c, why));
	assert_null(c.authorization);
	push_connection_fini(&c);
	/* RFC 7617 section 2. */
	CHECK_STATUS(0, parse("test:123@http://h", true, &c, why));
	assert_string_equal("Authorization: Basic dGVzdDoxMjM=", c.authorization);
	push_connection_fini(&c);
	CHECK_STATUS(0, parse("test:123@http://h", false, &c, why));
	assert_string_equal("Authorization: Bearer test:123", c.authorization);
	push_connection_fini(&c);
}

static void a_url_has_its_names_percent_encoded(void **state)
{
	struct push_facts f = { .format = PUSH_TRACEWAY,
				.service = "caf\xc3\xa9 & co",
				.server = "a/b=c",
				.version = "1.0~x",
				.from_s = 100,
				.until_s = 130,
				.hz = 100 };
	char *url = url_of("t@https://u:p@h:1/prefix/api/report", &f);

	assert_string_equal("https://h:1/api/profiles/ingest?service=caf%C3%A9%20%26%20co"
			    "&serverName=a%2Fb%3Dc&appVersion=1.0~x",
			    url);
	mem_free(url);
	f.format = PUSH_PYROSCOPE;
	url = url_of("@http://h/p/", &f);
	assert_string_equal(
		"http://h/p/ingest?name=caf_____co%7Bserver%3Da_b_c%2Cversion%3D1.0_x%7D"
		"&from=100&until=130&format=pprof&spyName=peerscope&sampleRate=100",
		url);
	mem_free(url);
	f.format = PUSH_PYROSCOPE_PUSH;
	url = url_of("@http://h", &f);
	assert_string_equal("http://h/push.v1.PusherService/Push", url);
	mem_free(url);
}

static void names_of_any_length_make_a_url_that_can_be_sent(void **state)
{
	char name[PUSH_NAME_MAX + 1];
	struct push_facts f = {
		.format = PUSH_TRACEWAY, .service = name, .server = name, .version = "1"
	};
	char *url;

	memset(name, '&', PUSH_NAME_MAX);
	name[PUSH_NAME_MAX] = '\0';
	url = url_of("t@http://h", &f);
	assert_true(strlen(url) <= PUSH_URL_MAX);
	mem_free(url);
}

static void the_json_names_what_it_holds(void **state)
{
	static const uint8_t id[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct push_facts f = {
		.service = "a\"b", .server = "s", .version = "1", .profile = PUSH_HEAP
	};
	struct buf out;

	buf_init(&out, 4096);
	push_json_begin(&out, &f, id);
	buf_write_str(&out, "QUJD");
	push_json_end(&out);
	assert_string_equal(
		"{\"series\":[{\"labels\":[{\"name\":\"__name__\",\"value\":\"memory\"},"
		"{\"name\":\"service_name\",\"value\":\"a\\\"b\"},"
		"{\"name\":\"server\",\"value\":\"s\"},"
		"{\"name\":\"version\",\"value\":\"1\"}],\"samples\":[{"
		"\"ID\":\"ffffffff-ffff-4fff-bfff-ffffffffffff\","
		"\"rawProfile\":\"QUJD\"}]}]}",
		(const char *)out.data);
	buf_fini(&out);
}

static void an_answer_is_judged_by_its_status(void **state)
{
	static const struct {
		int status, http;
		const char *reply;
		enum push_verdict verdict;
	} cases[] = {
		{ 0, 200, "{}", PUSH_TAKEN },
		{ 0, 204, "", PUSH_TAKEN },
		{ ERR_LIMIT, 200, "", PUSH_TAKEN },
		{ 0, 301, "", PUSH_REFUSED },
		{ 0, 400, "profiling: parse pprof", PUSH_REFUSED },
		{ 0, 400, "Gzip: invalid header", PUSH_TOO_OLD },
		{ 0, 401, "", PUSH_UNAUTHORIZED },
		{ 0, 403, "", PUSH_UNAUTHORIZED },
		{ 0, 413, "", PUSH_REFUSED },
		{ 0, 429, "", PUSH_BUSY },
		{ 0, 500, "", PUSH_REFUSED },
		{ 0, 503, "", PUSH_BUSY },
		{ UV_ETIMEDOUT, 200, "", PUSH_UNREACHABLE },
		{ UV_ECONNREFUSED, 0, "", PUSH_UNREACHABLE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(cases[i].verdict,
				 push_judge(cases[i].status, cases[i].http, cases[i].reply,
					    strlen(cases[i].reply)));
	assert_int_equal(PUSH_REFUSED, push_judge(0, 400, NULL, 0));
}

static void parsing_survives_oom_at_every_allocation(void **state)
{
	const struct push_facts f = { .service = "s", .server = "h", .version = "1" };

	FAULT_SWEEP({
		struct push_connection c = { 0 };
		char why[WHY];
		int rc = parse("tok@https://h:1/api/report", true, &c, why);
		char *url = rc == 0 ? push_url(&c, &f) : NULL;

		CHECK_STATUS(rc == 0 ? 0 : UV_ENOMEM, rc);
		assert_true(url != NULL || mem_fault_hits() > 0);
		mem_free(url);
		push_connection_fini(&c);
	});
}

/* ---- The schedule, on a clock of its own ---- */

static void the_window_is_half_the_interval_and_30_s_at_most(void **state)
{
	static const uint64_t cases[][2] = {
		{ 60000, 30000 }, { 10000, 5000 }, { 600000, 30000 }, { 2000, 1000 }, { 1, 1000 }
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct push_plan p;

		push_plan_init(&p, 0, cases[i][0]);
		assert_int_equal(cases[i][1], p.window_ms);
	}
}

static void the_first_cycle_is_due_one_interval_after_the_start(void **state)
{
	struct push_plan p;

	push_plan_init(&p, 5, MINUTE);
	assert_int_equal(PUSH_WAIT, push_plan_step(&p, 5 + MINUTE - 1, false));
	assert_int_equal(PUSH_BEGIN, push_plan_step(&p, 5 + MINUTE, false));
	assert_int_equal(5 + 2 * MINUTE, p.next_ms);
	assert_int_equal(PUSH_WAIT, push_plan_step(&p, 5 + MINUTE + 1, false));
}

static void a_cycle_that_takes_too_long_costs_the_next_and_no_more(void **state)
{
	struct push_plan p;

	push_plan_init(&p, 0, MINUTE);
	assert_int_equal(PUSH_BEGIN, push_plan_step(&p, MINUTE, false));
	assert_int_equal(PUSH_LEAVE_OUT, push_plan_step(&p, 2 * MINUTE, true));
	assert_int_equal(1, p.skipped_busy);
	assert_int_equal(PUSH_BEGIN, push_plan_step(&p, 3 * MINUTE, false));
	/* The machine slept: one cycle, and the next at a whole multiple. */
	assert_int_equal(PUSH_BEGIN, push_plan_step(&p, 10 * MINUTE + 7, false));
	assert_int_equal(11 * MINUTE, p.next_ms);
}

static void a_busy_server_is_tried_once_more_before_the_next_cycle(void **state)
{
	struct push_plan p;

	push_plan_init(&p, 0, MINUTE);
	(void)push_plan_step(&p, MINUTE, false);
	assert_int_equal(100000 + PUSH_RETRY_DEFAULT_MS,
			 push_plan_answer(&p, 100000, PUSH_BUSY, 0, 1));
	assert_true(UINT64_MAX == push_plan_answer(&p, 102000, PUSH_BUSY, 5000, 2));
	assert_true(push_plan_holds(&p, 106999));
	assert_false(push_plan_holds(&p, 107000));
	assert_int_equal(PUSH_BEGIN, push_plan_step(&p, 2 * MINUTE, false));
}

static void peace_for_longer_than_the_interval_leaves_cycles_out(void **state)
{
	struct push_plan p;

	push_plan_init(&p, 0, MINUTE);
	(void)push_plan_step(&p, MINUTE, false);
	assert_true(UINT64_MAX == push_plan_answer(&p, 90000, PUSH_BUSY, 100000, 1));
	assert_int_equal(PUSH_LEAVE_OUT, push_plan_step(&p, 2 * MINUTE, false));
	assert_int_equal(PUSH_LEAVE_OUT, push_plan_step(&p, 3 * MINUTE, false));
	assert_int_equal(PUSH_BEGIN, push_plan_step(&p, 4 * MINUTE, false));
	assert_int_equal(2, p.skipped_held);
}

static void a_refused_token_is_tried_again_after_ten_minutes(void **state)
{
	struct push_plan p;
	unsigned begun = 0;

	push_plan_init(&p, 0, MINUTE);
	for (uint64_t at = MINUTE; at <= 60 * MINUTE; at += MINUTE) {
		if (push_plan_step(&p, at, false) != PUSH_BEGIN)
			continue;
		begun++;
		assert_true(UINT64_MAX ==
			    push_plan_answer(&p, at + 30000, PUSH_UNAUTHORIZED, 0, 1));
	}
	assert_int_equal(6, begun);
}

static void other_failures_change_nothing_for_the_next_cycle(void **state)
{
	static const enum push_verdict verdicts[] = { PUSH_TAKEN, PUSH_REFUSED, PUSH_TOO_OLD,
						      PUSH_UNREACHABLE };
	struct push_plan p;

	push_plan_init(&p, 0, MINUTE);
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
		uint64_t at = (i + 1) * MINUTE;

		assert_int_equal(PUSH_BEGIN, push_plan_step(&p, at, false));
		assert_true(UINT64_MAX == push_plan_answer(&p, at + 1, verdicts[i], 5000, 1));
	}
}

/* ---- The whole, with nobody to send to ---- */

static void on_closed(void *data)
{
	*(bool *)data = true;
}

static void making_one_survives_oom_at_every_allocation(void **state)
{
	struct push_connection c = { 0 };
	struct loop loop;
	char why[WHY];

	CHECK_STATUS(0, loop_init(&loop));
	CHECK_STATUS(0, parse("tok@http://127.0.0.1:1/", false, &c, why));
	FAULT_SWEEP({
		struct push *p = push_new(&(struct push_config){ .loop = &loop,
								 .to = &c,
								 .interval_ms = MINUTE,
								 .service = "s",
								 .server = "h",
								 .version = "1" });
		bool closed = p == NULL;

		assert_true(p != NULL || mem_fault_hits() > 0);
		if (p != NULL) {
			assert_string_equal("idle", push_state(p));
			push_close(p, on_closed, &closed);
		}
		while (!closed)
			uv_run(&loop.uv, UV_RUN_ONCE);
	});
	push_connection_fini(&c);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_string_is_cut_at_its_first_at_sign),
		cmocka_unit_test(what_is_no_connection_string_is_refused_with_a_reason),
		cmocka_unit_test(an_open_server_needs_no_token),
		cmocka_unit_test(a_url_has_its_names_percent_encoded),
		cmocka_unit_test(names_of_any_length_make_a_url_that_can_be_sent),
		cmocka_unit_test(the_json_names_what_it_holds),
		cmocka_unit_test(an_answer_is_judged_by_its_status),
		cmocka_unit_test(parsing_survives_oom_at_every_allocation),
		cmocka_unit_test(the_window_is_half_the_interval_and_30_s_at_most),
		cmocka_unit_test(the_first_cycle_is_due_one_interval_after_the_start),
		cmocka_unit_test(a_cycle_that_takes_too_long_costs_the_next_and_no_more),
		cmocka_unit_test(a_busy_server_is_tried_once_more_before_the_next_cycle),
		cmocka_unit_test(peace_for_longer_than_the_interval_leaves_cycles_out),
		cmocka_unit_test(a_refused_token_is_tried_again_after_ten_minutes),
		cmocka_unit_test(other_failures_change_nothing_for_the_next_cycle),
		cmocka_unit_test(making_one_survives_oom_at_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
