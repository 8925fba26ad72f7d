/* The answering side: what a peer may ask, how often, and what it is told; announcements. */
#include "tests/sim/sync_world.h"

#include "sync/serve.h"

/* A peer that speaks the wire by hand. */
struct client {
	struct net_stream stream;
	struct sync_world *world;
	bool open;
	int close_status;
	unsigned replies, announced;
	enum wire_reply_kind last;
	struct wire_refusal refusal;
	unsigned missing, blobs;
};

struct scene {
	struct sync_world w;
	struct host *server, *raw, *other;
	struct net_dial dial;
	bool dialed;
	struct scope scope;
};

static struct net_stream *refuse_all(void *data, struct net_conn *c, int *ret_refusal)
{
	(void)data;
	(void)c;
	*ret_refusal = ERR_REFUSED;
	return NULL;
}

static void on_up(void *data, struct net_conn *c)
{
	(void)data;
	(void)c;
}

static void on_down(void *data, struct net_conn *c, int status)
{
	(void)data;
	(void)c;
	(void)status;
}

static const struct net_service no_service = { refuse_all, on_up, on_down };

static void on_dialed(struct net_dial *d, int status)
{
	CHECK_STATUS(0, status);
	((struct scene *)d->data)->dialed = true;
}

static void scene_init(struct scene *s, uint64_t seed)
{
	struct op_env env;

	memset(s, 0, sizeof(*s));
	sync_world_init(&s->w, seed);
	s->server = sync_world_host(&s->w);
	s->raw = sync_world_raw_host(&s->w, &no_service, NULL);
	s->scope = sync_world_scope(&s->w, "/doc", SCOPE_EXACT);
	env = (struct op_env){ .runner = &s->w.loop.runner, .deadline_ms = 100000 };
	net_dial_start(&s->dial, &env, s->raw->net, &s->server->peer, &s->server->addr, 1,
		       on_dialed);
	s->dial.data = s;
	sync_world_run_ms(&s->w, 100);
	assert_true(s->dialed);
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct client *c = stream->data;
	struct wire_reply reply;
	struct arena a;

	wire_arena_init(&a, len);
	CHECK_STATUS(0, wire_reply_decode(msg, len, &a, &reply));
	c->replies++;
	c->last = reply.kind;
	if (reply.kind == WIRE_REPLY_REFUSAL)
		c->refusal = reply.refusal;
	if (reply.kind == WIRE_REPLY_BLOB && reply.missing)
		c->missing++;
	else if (reply.kind == WIRE_REPLY_BLOB)
		c->blobs++;
	if (reply.kind == WIRE_REPLY_ANNOUNCE)
		c->announced += (unsigned)reply.commit_count;
	arena_fini(&a);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	struct client *c = stream->data;

	c->open = false;
	c->close_status = status;
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

static void client_open(struct scene *s, struct client *c)
{
	struct net_conn *conn = net_find(s->raw->net, &s->server->peer);

	assert_non_null(conn);
	*c = (struct client){ .world = &s->w, .open = true };
	c->stream = (struct net_stream){ .events = &events, .data = c };
	CHECK_STATUS(0, net_stream_open(&c->stream, conn));
}

static void client_send(struct client *c, const void *msg, size_t len)
{
	CHECK_STATUS(0, net_stream_send(&c->stream, msg, len));
}

static void client_request(struct client *c, const struct wire_request *r)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_request_encode(r, &out));
	client_send(c, out.data, out.len);
	buf_fini(&out);
}

static void client_more(struct client *c, const struct wire_more *m)
{
	struct buf out;

	buf_init(&out, NET_MESSAGE_MAX);
	CHECK_STATUS(0, wire_more_encode(m, &out));
	client_send(c, out.data, out.len);
	buf_fini(&out);
}

static struct sync_stats stats_of(struct host *h)
{
	struct sync_stats stats;

	sync_stats(h->sync, &stats);
	return stats;
}

static void a_ping_is_answered(void **state)
{
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 1);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_PING,
						   .bytes = { (const uint8_t *)"hi", 2 } });
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(c.last, WIRE_REPLY_PONG);
	assert_false(c.open);
	CHECK_STATUS(0, c.close_status);
	sync_world_fini(&s.w);
}

static void peers_are_told_with_their_addresses(void **state)
{
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 2);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_PEERS, .space = s.w.space });
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(c.last, WIRE_REPLY_PEERS);
	CHECK_STATUS(0, c.close_status);
	sync_world_fini(&s.w);
}

static void what_is_not_here_is_missing(void **state)
{
	struct scene s;
	struct client c;
	struct thing t;
	struct wire_more more = { .kind = WIRE_MORE_FETCH, .hash_count = 3 };

	(void)state;
	scene_init(&s, 3);
	thing_init(&t, &s.w, "/doc", 1000, 2, 1000, NULL);
	host_put(s.server, &t.commit);
	host_put_private(s.server, &t.chunks[0]);
	more.hashes[0] = t.commit.hash;
	more.hashes[1] = t.chunks[0].hash;
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_FETCH, .scope = s.scope });
	client_more(&c, &more);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(c.blobs, 1);
	assert_int_equal(c.missing, 2);
	assert_true(c.open);
	net_stream_end(&c.stream);
	sync_world_run_ms(&s.w, 50);
	CHECK_STATUS(0, c.close_status);
	thing_fini(&t);
	sync_world_fini(&s.w);
}

static void too_many_streams_of_one_peer_are_busy(void **state)
{
	static struct client clients[SYNC_SERVE_PER_PEER_MAX + 1];
	struct scene s;

	(void)state;
	scene_init(&s, 4);
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		client_open(&s, &clients[i]);
		client_request(&clients[i],
			       &(struct wire_request){ .kind = WIRE_FETCH, .scope = s.scope });
	}
	sync_world_run_ms(&s.w, 50);
	for (size_t i = 0; i < SYNC_SERVE_PER_PEER_MAX; i++)
		assert_true(clients[i].open);
	assert_false(clients[SYNC_SERVE_PER_PEER_MAX].open);
	CHECK_STATUS(ERR_BUSY, clients[SYNC_SERVE_PER_PEER_MAX].refusal.code);
	assert_in_range(clients[SYNC_SERVE_PER_PEER_MAX].refusal.retry_after_ms, 1,
			2 * SHARE_IDLE_MS);
	assert_int_equal(stats_of(s.server).refusals_busy, 1);
	assert_int_equal(stats_of(s.server).turned_away, 1);
	sync_world_fini(&s.w);
}

static void ping(struct scene *s, struct client *c)
{
	client_open(s, c);
	client_request(c, &(struct wire_request){ .kind = WIRE_PING });
}

static void too_many_requests_are_told_when_to_come_again(void **state)
{
	enum { AT_ONCE = 5 }; /* 450 a second */
	struct scene s;
	struct client c[AT_ONCE], *refused = NULL;
	unsigned asked = 0;

	(void)state;
	scene_init(&s, 5);
	while (refused == NULL) {
		for (size_t i = 0; i < AT_ONCE; i++)
			ping(&s, &c[i]);
		sync_world_run_ms(&s.w, 11);
		for (size_t i = 0; i < AT_ONCE; i++) {
			assert_false(c[i].open);
			if (c[i].last != WIRE_REPLY_PONG)
				refused = &c[i];
		}
		asked += AT_ONCE;
		assert_true(asked < 2000);
	}
	assert_true(asked > SYNC_SERVE_BURST);
	CHECK_STATUS(ERR_BUSY, refused->refusal.code);
	assert_in_range(refused->refusal.retry_after_ms, 1, 20);
	sync_world_run_ms(&s.w, refused->refusal.retry_after_ms + 1);
	ping(&s, &c[0]);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(c[0].last, WIRE_REPLY_PONG);
	sync_world_fini(&s.w);
}

static void an_empty_message_is_no_request(void **state)
{
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 6);
	client_open(&s, &c);
	client_send(&c, "", 0);
	sync_world_run_ms(&s.w, 50);
	assert_false(c.open);
	assert_int_equal(c.last, WIRE_REPLY_REFUSAL);
	CHECK_STATUS(ERR_UNSUPPORTED, c.refusal.code);
	sync_world_fini(&s.w);
}

/* A peer that takes no blob holds one batch, and is cut. */
static void who_does_not_read_is_cut(void **state)
{
	struct wire_more more = { .kind = WIRE_MORE_FETCH, .hash_count = SYNC_FETCH_BATCH_MAX };
	struct mem_stats before, after;
	struct scene s;
	struct client c;
	struct thing t;

	(void)state;
	scene_init(&s, 12);
	thing_init(&t, &s.w, "/doc", 1000, SYNC_FETCH_BATCH_MAX, 250000, NULL);
	host_put_thing(s.server, &t);
	for (size_t i = 0; i < SYNC_FETCH_BATCH_MAX; i++)
		more.hashes[i] = t.chunks[i].hash;
	mem_stats(&before);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_FETCH, .scope = s.scope });
	client_more(&c, &more);
	client_more(&c, &more);
	net_stream_pause(&c.stream, true);
	sync_world_run_ms(&s.w, SERVE_IDLE_MS / 2);
	mem_stats(&after);
	assert_true(c.open);
	assert_true(after.live_bytes < before.live_bytes + (12 << 20));
	sync_world_run_ms(&s.w, 3 * SERVE_IDLE_MS);
	assert_false(c.open);
	assert_int_equal(stats_of(s.server).active_serves, 0);
	thing_fini(&t);
	sync_world_fini(&s.w);
}

static void an_idle_stream_is_cut(void **state)
{
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 7);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_FETCH, .scope = s.scope });
	sync_world_run_ms(&s.w, SERVE_IDLE_MS - 1000);
	assert_true(c.open);
	sync_world_run_ms(&s.w, 2000);
	assert_false(c.open);
	assert_int_equal(stats_of(s.server).active_serves, 0);
	sync_world_fini(&s.w);
}

static void garbage_is_reset_and_charged(void **state)
{
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 8);
	client_open(&s, &c);
	client_send(&c, "\xff\xff\xff\xff", 4);
	sync_world_run_ms(&s.w, 50);
	CHECK_STATUS(ERR_PROTOCOL, c.close_status);
	assert_int_equal(stats_of(s.server).charged, 1);
	sync_world_fini(&s.w);
}

static void hashes_on_a_reconcile_stream_break_the_protocol(void **state)
{
	static const uint8_t hello[] = { RECONCILE_VERSION };
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 9);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_RECONCILE,
						   .scope = s.scope,
						   .bytes = { hello, 1 } });
	client_more(&c, &(struct wire_more){ .kind = WIRE_MORE_FETCH, .hash_count = 1 });
	sync_world_run_ms(&s.w, 50);
	CHECK_STATUS(ERR_PROTOCOL, c.close_status);
	sync_world_fini(&s.w);
}

static void too_many_rounds_are_refused(void **state)
{
	static const uint8_t same[20] = { RECONCILE_VERSION, 0, 0, 1 };
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 10);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_RECONCILE,
						   .scope = s.scope,
						   .bytes = { same, 20 } });
	for (unsigned i = 0; i <= RECONCILE_ROUNDS_MAX && c.open; i++) {
		sync_world_run_ms(&s.w, 20);
		if (c.open)
			client_more(&c, &(struct wire_more){ .reconcile = { same, sizeof(same) } });
	}
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(c.last, WIRE_REPLY_REFUSAL);
	CHECK_STATUS(ERR_TOO_BIG, c.refusal.code);
	assert_int_equal(c.refusal.cap, RECONCILE_ROUNDS_MAX);
	sync_world_fini(&s.w);
}

static void too_many_hashes_at_once_are_too_big(void **state)
{
	struct wire_more more = { .kind = WIRE_MORE_FETCH, .hash_count = SYNC_FETCH_BATCH_MAX };
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 11);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_FETCH, .scope = s.scope });
	for (unsigned i = 0; i < 40; i++)
		client_more(&c, &more);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(c.last, WIRE_REPLY_REFUSAL);
	CHECK_STATUS(ERR_TOO_BIG, c.refusal.code);
	assert_int_equal(c.refusal.cap, SERVE_QUEUE_MAX);
	sync_world_fini(&s.w);
}

/* ---- Announcements ---- */

static struct store_new_commit commit_at(const struct scene *s, const char *path, uint64_t n)
{
	return (struct store_new_commit){ .space = s->w.space,
					  .path = (char *)(uintptr_t)path,
					  .hash = hash_of(&n, sizeof(n)),
					  .time_s = n };
}

/* `other` is connected to the server and follows the scope. */
static void follow(struct scene *s, const struct scope *scope)
{
	struct run r;

	s->other = sync_world_host(&s->w);
	CHECK_STATUS(0, run_sync(&r, s->other, scope, &s->server, 1));
	sync_follow(s->other->sync, &s->server->peer, scope);
	sync_follow(s->other->sync, &s->server->peer, scope);
	sync_world_run_ms(&s->w, 50);
	assert_int_equal(stats_of(s->server).subscribers, 1);
	assert_int_equal(stats_of(s->other).follows, 1);
}

static void news_reach_a_follower_within_a_round_trip(void **state)
{
	struct scene s;
	struct store_new_commit c;

	(void)state;
	scene_init(&s, 20);
	follow(&s, &s.scope);
	c = commit_at(&s, "/doc", 1);
	sync_published(s.server->sync, &c, 1);
	sync_world_run_ms(&s.w, 2 * SYNC_WORLD_LATENCY_MS);
	assert_int_equal(s.other->announced, 1);
	sync_world_fini(&s.w);
}

static void only_commits_of_the_scope_are_told(void **state)
{
	static const struct {
		const char *scope, *commit;
		enum scope_kind kind;
		bool told;
	} cases[] = {
		{ "/a", "/a", SCOPE_EXACT, true },
		{ "/a", "/a/b", SCOPE_EXACT, false },
		{ "/a", "/a", SCOPE_CHILDREN, true },
		{ "/a", "/a/b", SCOPE_CHILDREN, true },
		{ "/a", "/a/b/c", SCOPE_CHILDREN, false },
		{ "/a", "/a/b/c", SCOPE_RECURSIVE, true },
		{ "", "/a/b/c", SCOPE_RECURSIVE, true },
		{ "/a", "/ab", SCOPE_RECURSIVE, false },
		{ "", "/a", SCOPE_CHILDREN, true },
		{ "", "", SCOPE_EXACT, true },
		{ "/a/b", "/a", SCOPE_RECURSIVE, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct store_new_commit c;
		struct scope scope;
		struct scene s;

		scene_init(&s, 30 + i);
		scope = sync_world_scope(&s.w, cases[i].scope, cases[i].kind);
		follow(&s, &scope);
		c = commit_at(&s, cases[i].commit, 1);
		sync_published(s.server->sync, &c, 1);
		sync_world_run_ms(&s.w, 100);
		assert_int_equal(s.other->announced, cases[i].told ? 1 : 0);
		sync_world_fini(&s.w);
	}
}

static void what_is_known_is_no_news(void **state)
{
	struct scene s;
	struct store_new_commit c;
	struct thing t;

	(void)state;
	scene_init(&s, 50);
	thing_init(&t, &s.w, "/doc", 1000, 0, 0, NULL);
	host_put(s.server, &t.commit);
	follow(&s, &s.scope);
	c = commit_at(&s, "/doc", 1);
	c.hash = t.commit.hash;
	sync_published(s.server->sync, &c, 1);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(stats_of(s.other).announced_in, 1);
	assert_int_equal(s.other->announced, 0);
	thing_fini(&t);
	sync_world_fini(&s.w);
}

/* 1000 commits in one turn: one message, the rest counted as dropped, one event. */
static void a_burst_becomes_one_message(void **state)
{
	enum { BURST = 1000 };
	static struct store_new_commit commits[BURST];
	struct scene s;

	(void)state;
	scene_init(&s, 51);
	follow(&s, &s.scope);
	for (uint64_t i = 0; i < BURST; i++)
		commits[i] = commit_at(&s, "/doc", i);
	sync_published(s.server->sync, commits, BURST);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(stats_of(s.server).announced_out, WIRE_ANNOUNCE_MAX);
	assert_int_equal(stats_of(s.server).announce_dropped, BURST - WIRE_ANNOUNCE_MAX);
	assert_int_equal(s.other->announced, 1);
	sync_world_fini(&s.w);
}

/* A follows nobody; B follows A, and A follows B: what B gave A is not told to B, and is told to C.
 */
static void news_are_relayed_but_not_back_to_their_source(void **state)
{
	struct scene s;
	struct host *third;
	struct thing t;
	struct run r;

	(void)state;
	scene_init(&s, 52);
	follow(&s, &s.scope);
	third = sync_world_host(&s.w);
	CHECK_STATUS(0, run_sync(&r, third, &s.scope, &s.server, 1));
	sync_follow(third->sync, &s.server->peer, &s.scope);
	sync_world_run_ms(&s.w, 50);
	thing_init(&t, &s.w, "/doc", 1000, 0, 0, NULL);
	host_put(s.other, &t.commit);
	CHECK_STATUS(0, run_sync(&r, s.server, &s.scope, &s.other, 1));
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(third->announced, 1);
	assert_int_equal(stats_of(s.other).announced_in, 0);
	thing_fini(&t);
	sync_world_fini(&s.w);
}

static void unfollowing_ends_it_and_following_anew_works(void **state)
{
	struct scene s;
	struct store_new_commit c;

	(void)state;
	scene_init(&s, 53);
	follow(&s, &s.scope);
	c = commit_at(&s, "/doc", 1);
	sync_unfollow(s.other->sync, &s.scope);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(stats_of(s.server).subscribers, 0);
	assert_int_equal(stats_of(s.other).follows, 0);
	sync_published(s.server->sync, &c, 1);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(s.other->announced, 0);
	sync_follow(s.other->sync, &s.server->peer, &s.scope);
	sync_unfollow(s.other->sync, &s.scope);
	sync_follow(s.other->sync, &s.server->peer, &s.scope);
	sync_world_run_ms(&s.w, 50);
	sync_published(s.server->sync, &c, 1);
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(s.other->announced, 1);
	sync_world_fini(&s.w);
}

static void a_lost_connection_ends_the_follow(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 54);
	follow(&s, &s.scope);
	simnet_reset(s.w.simnet, s.other->ip, s.server->ip);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(stats_of(s.server).subscribers, 0);
	assert_int_equal(stats_of(s.other).follows, 0);
	sync_world_fini(&s.w);
}

/* A subscriber that never reads gets one message later, not many; memory stays bounded. */
static void a_subscriber_that_does_not_read_costs_little(void **state)
{
	enum { BURST = 256, TIMES = 3000 };
	static struct store_new_commit commits[BURST];
	struct mem_stats before, after;
	struct scene s;
	struct client c;

	(void)state;
	scene_init(&s, 55);
	for (uint64_t i = 0; i < BURST; i++)
		commits[i] = commit_at(&s, "/doc", i);
	client_open(&s, &c);
	client_request(&c, &(struct wire_request){ .kind = WIRE_SUBSCRIBE, .scope = s.scope });
	sync_world_run_ms(&s.w, 50);
	assert_int_equal(c.last, WIRE_REPLY_SUBSCRIBED);
	net_stream_pause(&c.stream, true);
	sync_world_run_ms(&s.w, 50);
	mem_stats(&before);
	for (unsigned i = 0; i < TIMES; i++) {
		sync_published(s.server->sync, commits, BURST);
		sync_world_run_ms(&s.w, 10);
	}
	mem_stats(&after);
	assert_true(after.live_bytes < before.live_bytes + (8 << 20));
	assert_true(stats_of(s.server).announce_dropped > 0);
	sync_world_fini(&s.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ping_is_answered),
		cmocka_unit_test(peers_are_told_with_their_addresses),
		cmocka_unit_test(what_is_not_here_is_missing),
		cmocka_unit_test(too_many_streams_of_one_peer_are_busy),
		cmocka_unit_test(too_many_requests_are_told_when_to_come_again),
		cmocka_unit_test(an_empty_message_is_no_request),
		cmocka_unit_test(who_does_not_read_is_cut),
		cmocka_unit_test(an_idle_stream_is_cut),
		cmocka_unit_test(garbage_is_reset_and_charged),
		cmocka_unit_test(hashes_on_a_reconcile_stream_break_the_protocol),
		cmocka_unit_test(too_many_rounds_are_refused),
		cmocka_unit_test(too_many_hashes_at_once_are_too_big),
		cmocka_unit_test(news_reach_a_follower_within_a_round_trip),
		cmocka_unit_test(only_commits_of_the_scope_are_told),
		cmocka_unit_test(what_is_known_is_no_news),
		cmocka_unit_test(a_burst_becomes_one_message),
		cmocka_unit_test(news_are_relayed_but_not_back_to_their_source),
		cmocka_unit_test(unfollowing_ends_it_and_following_anew_works),
		cmocka_unit_test(a_lost_connection_ends_the_follow),
		cmocka_unit_test(a_subscriber_that_does_not_read_costs_little),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
