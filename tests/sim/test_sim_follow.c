/* Following many scopes of one peer: they share a stream when the peer can do that. */
#include "tests/sim/sync_world.h"

#include "sync/serve.h"

enum { SCOPES = 300 };

struct scene {
	struct sync_world w;
	struct host *server, *other;
};

static struct sync_stats stats_of(const struct host *h)
{
	struct sync_stats s;

	sync_stats(h->sync, &s);
	return s;
}

static struct scope scope_number(struct scene *s, unsigned i)
{
	char path[32];

	snprintf(path, sizeof(path), "/s%u", i);
	return sync_world_scope(&s->w, path, SCOPE_EXACT);
}

/* Two hosts that are connected. */
static void scene_init(struct scene *s, struct host *server)
{
	struct scope scope;
	struct run r;

	s->server = server;
	s->other = sync_world_host(&s->w);
	scope = scope_number(s, 0);
	(void)run_sync(&r, s->other, &scope, &s->server, 1);
}

static void both_init(struct scene *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	sync_world_init(&s->w, seed);
	scene_init(s, sync_world_host(&s->w));
}

static void follow_all(struct scene *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct scope scope = scope_number(s, i);

		sync_follow(s->other->sync, &s->server->peer, &scope);
	}
}

static void publish(struct scene *s, unsigned i)
{
	uint64_t n = i + 1;
	char path[32];
	struct store_new_commit c = {
		.space = s->w.space, .path = path, .hash = hash_of(&n, sizeof(n)), .time_s = n
	};

	snprintf(path, sizeof(path), "/s%u", i);
	sync_published(s->server->sync, &c, 1);
}

static uint64_t streams_opened(const struct host *h)
{
	struct net_stats s;

	net_stats(h->net, &s);
	return s.streams_opened;
}

static void hundreds_of_scopes_share_one_stream(void **state)
{
	struct scene s;
	uint64_t before;

	(void)state;
	both_init(&s, 1);
	before = streams_opened(s.other);
	follow_all(&s, SCOPES);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(streams_opened(s.other), before + 1);
	assert_int_equal(stats_of(s.server).subscribers, SCOPES);
	assert_int_equal(stats_of(s.other).follows, SCOPES);
	publish(&s, 0);
	publish(&s, SCOPES - 1);
	publish(&s, SCOPES); /* nobody's */
	sync_world_run_ms(&s.w, 2 * SYNC_WORLD_LATENCY_MS);
	assert_int_equal(s.other->announced, 2);
	assert_int_equal(stats_of(s.other).announced_in, 2);
	sync_world_fini(&s.w);
}

static void a_scope_that_is_dropped_leaves_the_others(void **state)
{
	struct scope scope;
	struct scene s;

	(void)state;
	both_init(&s, 2);
	follow_all(&s, 3);
	scope = scope_number(&s, 0); /* the stream was opened for this one, and is not answered */
	sync_unfollow(s.other->sync, &scope);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(stats_of(s.server).subscribers, 2);
	scope = scope_number(&s, 1);
	sync_unfollow(s.other->sync, &scope);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(stats_of(s.server).subscribers, 1);
	for (unsigned i = 0; i < 3; i++)
		publish(&s, i);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(s.other->announced, 1);
	follow_all(&s, 3);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(stats_of(s.server).subscribers, 3);
	sync_world_fini(&s.w);
}

static void when_the_last_one_goes_so_does_the_stream(void **state)
{
	struct scene s;

	(void)state;
	both_init(&s, 3);
	follow_all(&s, 20);
	sync_world_run_ms(&s.w, 50);
	for (unsigned i = 0; i < 20; i++) {
		struct scope scope = scope_number(&s, i);

		sync_unfollow(s.other->sync, &scope);
	}
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(stats_of(s.server).subscribers, 0);
	assert_int_equal(stats_of(s.other).follows, 0);
	assert_true(announcer_idle(s.other->sync));
	sync_world_fini(&s.w);
}

static void a_lost_connection_ends_them_all(void **state)
{
	struct scene s;

	(void)state;
	both_init(&s, 4);
	follow_all(&s, SCOPES);
	sync_world_run_ms(&s.w, 100);
	publish(&s, 7);
	simnet_reset(s.w.simnet, s.other->ip, s.server->ip);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(stats_of(s.server).subscribers, 0);
	assert_int_equal(stats_of(s.other).follows, 0);
	sync_world_fini(&s.w);
}

static void beyond_its_room_a_peer_refuses_by_name(void **state)
{
	enum { MORE = 30 };
	struct scene s;

	(void)state;
	both_init(&s, 5);
	follow_all(&s, 1);
	sync_world_run_ms(&s.w, 50);
	sync_peer_get(s.server->sync, &s.other->peer)->hears = SERVE_SCOPES_PER_PEER_MAX - MORE;
	follow_all(&s, 2 * MORE + 1);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(stats_of(s.server).follows_refused, MORE);
	assert_int_equal(stats_of(s.other).follows_refused, MORE);
	assert_int_equal(stats_of(s.other).follows, MORE + 1);
	assert_int_equal(stats_of(s.server).subscribers, MORE + 1);
	sync_world_fini(&s.w);
}

/* ---- A peer that knows streams of one scope alone ---- */

static unsigned old_streams, old_many;

static void old_on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_SUBSCRIBED };
	struct wire_request request;
	struct arena a;
	struct buf out;

	wire_arena_init(&a, len);
	CHECK_STATUS(0, wire_request_decode(msg, len, &a, &request));
	arena_fini(&a);
	if (request.kind != WIRE_SUBSCRIBE) {
		net_stream_reset(stream, ERR_REFUSED);
		return;
	}
	old_streams++;
	old_many += request.many ? 1 : 0;
	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_reply_encode(&reply, &out));
	CHECK_STATUS(0, net_stream_send(stream, out.data, out.len));
	buf_fini(&out);
}

static void old_on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void old_on_close(struct net_stream *stream, int status)
{
	(void)status;
	mem_free(stream);
}

static const struct net_stream_events old_events = { old_on_message, old_on_drain, old_on_close,
						     NULL };

static struct net_stream *old_on_stream(void *data, struct net_conn *c, int *ret_refusal)
{
	struct net_stream *stream = mem_alloc(sizeof(*stream));

	(void)data;
	(void)c;
	*ret_refusal = ERR_BUSY;
	if (stream != NULL)
		stream->events = &old_events;
	return stream;
}

static void old_on_up(void *data, struct net_conn *c)
{
	(void)data;
	(void)c;
}

static void old_on_down(void *data, struct net_conn *c, int status)
{
	(void)data;
	(void)c;
	(void)status;
}

static const struct net_service old_service = { old_on_stream, old_on_up, old_on_down };

static void an_older_peer_gets_a_stream_for_each(void **state)
{
	struct scope scope;
	struct scene s;

	(void)state;
	memset(&s, 0, sizeof(s));
	sync_world_init(&s.w, 6);
	old_streams = old_many = 0;
	scene_init(&s, sync_world_raw_host(&s.w, &old_service, NULL));
	follow_all(&s, 10);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(old_streams, 10);
	assert_int_equal(old_many, 1);
	assert_int_equal(stats_of(s.other).follows, 10);
	scope = scope_number(&s, 4);
	sync_unfollow(s.other->sync, &scope);
	follow_all(&s, 100);
	sync_world_run_ms(&s.w, 100);
	assert_true(stats_of(s.other).follows >= 30 && stats_of(s.other).follows <= 32);
	sync_world_fini(&s.w);
}

/* ---- Faults ---- */

static void following_survives_oom_at_every_allocation(void **state)
{
	bool all = false;

	(void)state;
	for (uint64_t n = 1; !all; n++) {
		struct scene s;

		both_init(&s, 7);
		mem_fault_after(n, false);
		follow_all(&s, 20);
		sync_world_run_ms(&s.w, 30);
		publish(&s, 0);
		publish(&s, 19);
		sync_world_run_ms(&s.w, 30);
		all = mem_fault_hits() == 0;
		mem_fault_after(0, false);
		sync_world_run_ms(&s.w, 100);
		assert_int_equal(stats_of(s.server).subscribers, stats_of(s.other).follows);
		sync_world_fini(&s.w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hundreds_of_scopes_share_one_stream),
		cmocka_unit_test(a_scope_that_is_dropped_leaves_the_others),
		cmocka_unit_test(when_the_last_one_goes_so_does_the_stream),
		cmocka_unit_test(a_lost_connection_ends_them_all),
		cmocka_unit_test(beyond_its_room_a_peer_refuses_by_name),
		cmocka_unit_test(an_older_peer_gets_a_stream_for_each),
		cmocka_unit_test(following_survives_oom_at_every_allocation),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
