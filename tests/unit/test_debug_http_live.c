/* The stream of traces: what is told, to whom, in which order, and what happens to the slow. */
#include "debug_http_client.h"

#include "../browser/trace_scene.h"

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

static void follow(struct client *c, const char *query, const char *headers)
{
	char request[512];

	client_open(c, &f);
	(void)snprintf(request, sizeof(request),
		       "GET /debug/traces?stream%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", query,
		       headers);
	client_send(c, request);
	for (int i = 0; i < 200 && !client_has(c, "retry: "); i++)
		client_pump(c, SIZE_MAX);
	assert_int_equal(200, client_status(c));
	assert_true(client_has(c, "Content-Type: text/event-stream"));
}

static void pump_until(struct client *c, const char *text)
{
	for (int i = 0; i < 500 && !client_has(c, text); i++) {
		client_pump(c, SIZE_MAX);
		fixture_advance(&f, 50);
	}
	if (!client_has(c, text))
		fail_msg("never came: %s\n%s", text, client_text(c));
}

static struct span begin(const char *category, const char *title)
{
	return trace_root(f.trace, category, title, strlen(title), NULL);
}

static unsigned count_of(struct client *c, const char *text)
{
	unsigned count = 0;

	for (const char *p = client_text(c); (p = strstr(p, text)) != NULL; p++)
		count++;
	return count;
}

/* The last "id: …" that has come. */
static void last_id(struct client *c, char *ret, size_t size)
{
	const char *last = NULL;

	for (const char *p = client_text(c); (p = strstr(p, "\nid: ")) != NULL; p++)
		last = p + 5;
	assert_non_null(last);
	(void)snprintf(ret, size, "%.*s", (int)strcspn(last, "\n"), last);
}

static void a_trace_is_told_when_it_begins_changes_and_ends(void **state)
{
	struct client c;
	struct span s;

	follow(&c, "", "");
	s = begin("sync.discover", "hm://x\"<\n");
	pump_until(&c, "\"title\":\"hm://x\\\"<\\n\"");
	trace_stage(s, "dht");
	pump_until(&c, "\"stage\":\"dht\"");
	trace_finish(s, UV_ETIMEDOUT, "timeout");
	pump_until(&c, "\"finished\":true,\"errored\":true,\"outcome\":\"timeout\"");
	client_close(&c);
}

static void what_runs_already_is_told_first(void **state)
{
	struct span s = begin("sync.discover", "before");
	struct client c;

	follow(&c, "", "");
	pump_until(&c, "\"title\":\"before\"");
	trace_stage(s, "late");
	pump_until(&c, "\"stage\":\"late\"");
	client_close(&c);
}

static void an_accept_header_asks_for_the_stream_too(void **state)
{
	struct client c;

	client_open(&c, &f);
	client_send(&c, "GET /debug/traces HTTP/1.1\r\nHost: localhost\r\n"
			"Accept: text/event-stream\r\n\r\n");
	pump_until(&c, "retry: 2000");
	client_close(&c);
}

static void the_stream_is_narrowed(void **state)
{
	struct client c;

	follow(&c, "&category=b&errored=1", "");
	trace_finish(begin("a", "other category"), UV_ETIMEDOUT, NULL);
	trace_finish(begin("b", "went well"), 0, NULL);
	trace_finish(begin("b", "wanted"), UV_ETIMEDOUT, NULL);
	pump_until(&c, "\"title\":\"wanted\"");
	assert_int_equal(1, count_of(&c, "event: trace"));
	client_close(&c);
}

/* Two roots end; only one of them has what each query asks for. */
static void the_stream_is_narrowed_by_all_that_a_search_is(void **state)
{
	static const char *const queries[] = { "&q=herons", "&q=dial%20failed", "&attr=kind:wanted",
					       "&stage=dht:1s", "&min=1s&finished=1" };
	struct client c;

	for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
		struct span other, wanted;

		follow(&c, queries[i], "");
		other = begin("a", "crows");
		trace_stage(other, "dht");
		trace_finish(other, 0, NULL);
		wanted = begin("a", "HERONS");
		trace_attr_str(wanted, "kind", "wanted", 6);
		trace_mark(wanted, "dial failed");
		trace_stage(wanted, "dht");
		scene_wait(&f.clock, 1200);
		trace_finish(wanted, 0, "found");
		pump_until(&c, "\"outcome\":\"found\"");
		assert_int_equal(0, count_of(&c, "crows"));
		client_close(&c);
	}
	assert_int_equal(400, ask_status(&f, "GET /debug/traces?stream&stage=dht:soon HTTP/1.1\r\n"
					     "Host: localhost\r\n\r\n"));
}

static void one_trace_is_followed_by_its_id(void **state)
{
	struct span wanted = begin("a", "wanted"), other = begin("a", "other");
	struct trace_context context;
	char query[64] = "&id=";
	struct client c;

	assert_true(trace_context_of(wanted, &context));
	for (size_t i = 0; i < sizeof(context.trace_id); i++)
		(void)snprintf(query + 4 + 2 * i, 3, "%02x", context.trace_id[i]);
	follow(&c, query, "");
	trace_finish(other, 0, NULL);
	trace_finish(wanted, 0, "found");
	pump_until(&c, "\"outcome\":\"found\"");
	assert_int_equal(0, count_of(&c, "\"title\":\"other\""));
	client_close(&c);
}

/* A root so large that to look through it takes more than a turn. */
static void a_large_root_is_looked_through_in_slices(void **state)
{
	struct span s = begin("a", "large");
	struct client c;

	follow(&c, "&q=needle", "");
	for (unsigned i = 0; i < 3000; i++)
		scene_failed_peer(&f.clock, s, i, 1);
	trace_mark(s, "a needle");
	trace_finish(s, 0, "found");
	pump_until(&c, "\"outcome\":\"found\"");
	client_close(&c);
}

static void a_client_that_comes_back_gets_what_it_missed(void **state)
{
	char id[64], header[128];
	struct client c;

	follow(&c, "", "");
	trace_finish(begin("a", "one"), 0, NULL);
	pump_until(&c, "\"title\":\"one\"");
	last_id(&c, id, sizeof(id));
	client_close(&c);
	fixture_turns(&f, 20);
	trace_finish(begin("a", "two"), 0, NULL);
	trace_finish(begin("a", "three"), 0, NULL);
	(void)snprintf(header, sizeof(header), "Last-Event-ID: %s\r\n", id);
	follow(&c, "", header);
	pump_until(&c, "\"title\":\"three\"");
	assert_int_equal(1, count_of(&c, "\"title\":\"two\""));
	assert_int_equal(0, count_of(&c, "\"title\":\"one\""));
	client_close(&c);
}

static void a_foreign_event_id_starts_anew(void **state)
{
	static const char *const ids[] = { "1-1", "", "-", "zzz", "ffffffffffffffffffff-1" };
	struct client c;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		char header[64];

		(void)snprintf(header, sizeof(header), "Last-Event-ID: %s\r\n", ids[i]);
		follow(&c, "", header);
		trace_finish(begin("a", "fresh"), 0, NULL);
		pump_until(&c, "\"title\":\"fresh\"");
		assert_int_equal(1, count_of(&c, "event: trace"));
		client_close(&c);
		fixture_turns(&f, 20);
	}
}

static void who_falls_behind_is_told_how_much_is_lost(void **state)
{
	struct client c;

	follow(&c, "", "");
	for (unsigned i = 0; i < 3000; i++) /* two events each, without a turn between */
		trace_finish(begin("a", "flood"), 0, NULL);
	pump_until(&c, "event: dropped\ndata: {\"count\":3952}");
	trace_finish(begin("a", "after"), 0, NULL);
	pump_until(&c, "\"title\":\"after\"");
	client_close(&c);
}

static void a_client_that_does_not_read_holds_bounded_memory(void **state)
{
	struct mem_stats before, after;
	struct client c;

	follow(&c, "", "");
	mem_stats(&before);
	for (unsigned round = 0; round < 1200; round++) {
		for (unsigned i = 0; i < 50; i++)
			trace_finish(begin("a", "a title of some length for the socket to fill"), 0,
				     NULL);
		fixture_turn(&f);
	}
	mem_stats(&after);
	assert_true(after.live_bytes < before.live_bytes + 2 * HTTP_WRITE_HIGH);
	client_close(&c);
}

static void a_quiet_stream_is_kept_alive(void **state)
{
	struct client c;

	follow(&c, "", "");
	for (int i = 0; i < 40; i++)
		fixture_advance(&f, 500);
	client_pump(&c, SIZE_MAX);
	pump_until(&c, ": still here");
	client_close(&c);
}

static void only_so_many_may_follow(void **state)
{
	struct client c[6], more;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		follow(&c[i], "", "");
	client_ask(&more, &f, "GET /debug/traces?stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(503, client_status(&more));
	assert_true(client_has(&more, "Retry-After: 5"));
	client_close(&more);
	client_close(&c[0]);
	fixture_turns(&f, 20);
	follow(&c[0], "", "");
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		client_close(&c[i]);
}

static void head_gets_the_head_alone(void **state)
{
	struct client c;

	client_ask(&c, &f, "HEAD /debug/traces?stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(200, client_status(&c));
	client_close(&c);
}

static void without_followers_it_is_forgotten(void **state)
{
	struct mem_stats before, after;
	struct client c;

	fixture_turns(&f, 5);
	mem_stats(&before);
	follow(&c, "", "");
	client_close(&c);
	for (int i = 0; i < 400; i++)
		fixture_advance(&f, 300);
	mem_stats(&after);
	assert_int_equal(before.live_count, after.live_count);
	trace_finish(begin("a", "nobody"), 0, NULL);
}

/* fixture_fini fails when somebody who follows keeps the server from closing. */
static void the_server_closes_in_the_middle(void **state)
{
	struct client c;

	follow(&c, "", "");
	(void)begin("a", "x");
	fixture_fini(&f);
	client_close(&c);
	fixture_init(&f, HTTP_DEBUG);
}

static void following_survives_oom_at_every_allocation(void **state)
{
	FAULT_SWEEP({
		struct client c;
		char reply[4096];

		client_open(&c, &f);
		client_send(&c, "GET /debug/traces?stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
		fixture_turns(&f, 4);
		trace_finish(begin("a", "x"), 0, NULL);
		fixture_turns(&f, 4);
		(void)recv(c.fd, reply, sizeof(reply), MSG_DONTWAIT);
		client_close(&c);
		fixture_turns(&f, 10);
		for (int i = 0; i < 400; i++)
			fixture_advance(&f, 300);
	});
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_trace_is_told_when_it_begins_changes_and_ends),
		T(what_runs_already_is_told_first),
		T(an_accept_header_asks_for_the_stream_too),
		T(the_stream_is_narrowed),
		T(the_stream_is_narrowed_by_all_that_a_search_is),
		T(one_trace_is_followed_by_its_id),
		T(a_large_root_is_looked_through_in_slices),
		T(a_client_that_comes_back_gets_what_it_missed),
		T(a_foreign_event_id_starts_anew),
		T(who_falls_behind_is_told_how_much_is_lost),
		T(a_client_that_does_not_read_holds_bounded_memory),
		T(a_quiet_stream_is_kept_alive),
		T(only_so_many_may_follow),
		T(head_gets_the_head_alone),
		T(without_followers_it_is_forgotten),
		T(the_server_closes_in_the_middle),
		T(following_survives_oom_at_every_allocation),
	};
#undef T

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
