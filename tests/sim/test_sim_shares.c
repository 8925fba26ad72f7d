/* Who is served when a crowd of strangers wants everything. */
#include "sync/serve.h"
#include "tests/sim/crowd.h"
#include "tests/sim/sync_liar.h"

struct scene {
	struct sync_world w;
	struct host *server;
	struct scope scope;
	struct thing thing;
	struct villain *crowd;
	size_t crowd_count;
};

static void scene_init(struct scene *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	printf("# seed %llu\n", (unsigned long long)seed);
	sync_world_init(&s->w, seed);
	s->w.networks = true;
	s->server = sync_world_host(&s->w);
	s->scope = sync_world_scope(&s->w, "/doc", SCOPE_EXACT);
	thing_init(&s->thing, &s->w, "/doc", 1000, 32, 250000, NULL);
	host_put_thing(s->server, &s->thing);
}

static void crowd_start(struct scene *s, enum villainy kind, size_t count, size_t streams,
			bool own_networks)
{
	s->crowd = mem_alloc_array(count, sizeof(*s->crowd));
	assert_non_null(s->crowd);
	s->crowd_count = count;
	for (size_t i = 0; i < count; i++) {
		struct villain *v = &s->crowd[i];

		v->scope = s->scope;
		for (size_t k = 0; k < s->thing.chunk_count; k++)
			v->hashes[v->hash_count++] = s->thing.chunks[k].hash;
		if (kind == VILLAIN_DRIP) {
			v->hashes[0] = hash_of("nobody has this", 15);
			v->hash_count = 1;
		}
		villain_start(v, &s->w, s->server, kind, i, streams, own_networks);
	}
}

static void scene_fini(struct scene *s)
{
	for (size_t i = 0; i < s->crowd_count; i++)
		villain_stop(&s->crowd[i]);
	mem_free(s->crowd);
	thing_fini(&s->thing);
	sync_world_fini(&s->w);
}

static struct sync_stats stats_of(struct host *h)
{
	struct sync_stats stats;

	sync_stats(h->sync, &stats);
	return stats;
}

/* Virtual ms that a newcomer needs for everything, trying again as its discovery would. */
static uint64_t newcomer_ms(struct scene *s, unsigned ret_tries[static 1])
{
	uint64_t begin_ms = runner_now_ms(&s->w.loop.runner);
	struct host *h = sync_world_host(&s->w);
	struct run r;

	for (*ret_tries = 1; run_sync(&r, h, &s->scope, &s->server, 1) != 0; ++*ret_tries) {
		assert_true(*ret_tries < 20);
		sync_world_run_ms(&s->w, 1000);
	}
	assert_true(host_has_thing(h, &s->thing));
	begin_ms = runner_now_ms(&s->w.loop.runner) - begin_ms;
	printf("# %llu ms, %u tries\n", (unsigned long long)begin_ms, *ret_tries);
	return begin_ms;
}

/* One machine, 16 made-up keys with 16 idle streams each. */
static void idle_streams_of_many_keys_keep_nobody_out(void **state)
{
	static const enum villainy kinds[] = { VILLAIN_SILENT, VILLAIN_IDLE };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct scene s;
		unsigned tries;
		uint64_t alone_ms;

		scene_init(&s, 1 + i);
		alone_ms = newcomer_ms(&s, &tries);
		crowd_start(&s, kinds[i], 16, 16, false);
		sync_world_run_ms(&s.w, 4000);
		assert_in_range(stats_of(s.server).active_serves, 16, SYNC_SERVE_PER_NETWORK_MAX);
		assert_true(newcomer_ms(&s, &tries) <= 2 * alone_ms);
		assert_int_equal(tries, 1);
		scene_fini(&s);
	}
}

/* The same from networks of their own: nobody is idle for long while others wait. */
static void idle_streams_from_everywhere_keep_nobody_out(void **state)
{
	struct scene s;
	unsigned tries;

	(void)state;
	scene_init(&s, 11);
	crowd_start(&s, VILLAIN_IDLE, 48, 16, true);
	sync_world_run_ms(&s.w, 4000);
	assert_true(stats_of(s.server).active_serves <= SYNC_SERVE_STRANGERS_MAX);
	assert_true(newcomer_ms(&s, &tries) <= 5000);
	assert_in_range(tries, 1, 3);
	assert_true(stats_of(s.server).gave_way > 0);
	scene_fini(&s);
}

/* They do a little now and then, so that none is idle: who has most gives way. */
static void who_pretends_to_be_at_work_has_no_more_than_its_share(void **state)
{
	struct scene s;
	unsigned tries;

	(void)state;
	scene_init(&s, 12);
	crowd_start(&s, VILLAIN_DRIP, 48, 16, true);
	sync_world_run_ms(&s.w, 4000);
	assert_true(newcomer_ms(&s, &tries) <= 1000);
	assert_int_equal(tries, 1);
	scene_fini(&s);
}

/* Each asks for 8 MB on 16 streams and takes nothing of it. */
static void who_does_not_read_holds_little_and_keeps_nobody_out(void **state)
{
	struct scene s;
	unsigned tries;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		scene_init(&s, 14 + i);
		crowd_start(&s, VILLAIN_UNREAD, 40, 16, i == 0);
		sync_world_run_ms(&s.w, 10000);
		assert_true(stats_of(s.server).held_peak_bytes <= SERVE_STRANGERS_BYTES_MAX);
		assert_true(stats_of(s.server).held_peak_bytes > SERVE_ADDRESS_BYTES_MAX / 2);
		assert_true(newcomer_ms(&s, &tries) <= 30000);
		assert_in_range(tries, 1, 3);
		assert_true(stats_of(s.server).unread > 0);
		assert_true(stats_of(s.server).held_peak_bytes <= SERVE_STRANGERS_BYTES_MAX);
		scene_fini(&s);
	}
}

static void a_known_peer_is_served_before_any_stranger(void **state)
{
	struct scene s;
	struct host *friend;
	struct run r;

	(void)state;
	scene_init(&s, 13);
	crowd_start(&s, VILLAIN_DRIP, 48, 16, true);
	sync_world_run_ms(&s.w, 4000);
	friend = sync_world_host(&s.w);
	sync_know(s.server->sync, &friend->peer);
	assert_int_equal(stats_of(s.server).known_peers, 1);
	CHECK_STATUS(0, run_sync(&r, friend, &s.scope, &s.server, 1));
	assert_true(host_has_thing(friend, &s.thing));
	scene_fini(&s);
}

/* Ten keys of one network want news of all the scopes there is room for. */
static void followers_of_everything_leave_room_for_others(void **state)
{
	struct store_new_commit c = { .path = (char *)(uintptr_t) "/doc", .time_s = 2000 };
	struct host *follower;
	uint64_t peak = 0;
	struct scene s;
	struct run r;

	(void)state;
	scene_init(&s, 16);
	crowd_start(&s, VILLAIN_FOLLOW, 10, 1, false);
	for (unsigned i = 0; i < 100; i++) {
		sync_world_run_ms(&s.w, 100);
		peak = MAX(peak, stats_of(s.server).subscribers);
	}
	assert_in_range(peak, SYNC_SUBSCRIBERS_PER_NETWORK_MAX / 2,
			SYNC_SUBSCRIBERS_PER_NETWORK_MAX);
	follower = sync_world_host(&s.w);
	CHECK_STATUS(0, run_sync(&r, follower, &s.scope, &s.server, 1));
	sync_follow(follower->sync, &s.server->peer, &s.scope);
	sync_world_run_ms(&s.w, 100);
	c.space = s.w.space;
	c.hash = hash_of("news", 4);
	sync_published(s.server->sync, &c, 1);
	sync_world_run_ms(&s.w, 100);
	assert_int_equal(follower->announced, 1);
	scene_fini(&s);
}

static void what_a_peer_occupies_is_told(void **state)
{
	struct sync_usage usage;
	struct scene s;
	struct host *friend;

	(void)state;
	scene_init(&s, 17);
	crowd_start(&s, VILLAIN_UNREAD, 1, 3, true);
	sync_world_run_ms(&s.w, 5000);
	sync_usage(s.server->sync, net_self(s.crowd[0].net), &usage); /* the first look */
	sync_world_run_ms(&s.w, 1500);
	sync_usage(s.server->sync, net_self(s.crowd[0].net), &usage);
	assert_string_equal(usage.rank, "stranger");
	assert_int_equal(usage.serving, 3);
	assert_in_range(usage.held_bytes, 100000, SERVE_PEER_BYTES_MAX);
	assert_true(usage.idle_ms > 1000);
	friend = sync_world_host(&s.w);
	sync_know(s.server->sync, &friend->peer);
	sync_usage(s.server->sync, &friend->peer, &usage);
	assert_string_equal(usage.rank, "known");
	assert_int_equal(usage.serving + usage.held_bytes, 0);
	sync_unknow(s.server->sync, &friend->peer);
	sync_usage(s.server->sync, &friend->peer, &usage);
	assert_string_equal(usage.rank, "stranger");
	scene_fini(&s);
}

/* ---- The asking side ---- */

static void a_busy_peer_is_asked_again_when_it_said(void **state)
{
	struct host *asker;
	struct scene s;
	struct liar l;
	struct run r;

	(void)state;
	scene_init(&s, 20);
	liar_init(&l, &s.w, LIE_BUSY, &s.thing, 1000);
	asker = sync_world_host(&s.w);
	run_start(&r, asker, &s.scope, STORE_WANT_HISTORY, &l.host, 1, 60000);
	sync_world_run_ms(&s.w, 400);
	assert_false(r.done);
	l.lie = LIE_NONE;
	run_wait(&r);
	CHECK_STATUS(0, r.status);
	assert_int_equal(stats_of(asker).busy_waits, 1);
	assert_true(sync_world_stage_ms(&s.w, "sync.peer", "busy") > 400);
	liar_fini(&l);
	scene_fini(&s);
}

static void a_peer_that_is_always_busy_is_given_up(void **state)
{
	struct host *asker;
	struct scene s;
	struct liar l;
	struct run r;

	(void)state;
	scene_init(&s, 21);
	liar_init(&l, &s.w, LIE_BUSY, &s.thing, 1000);
	asker = sync_world_host(&s.w);
	CHECK_STATUS(ERR_BUSY, run_sync(&r, asker, &s.scope, &l.host, 1));
	assert_int_equal(stats_of(asker).busy_waits, 3);
	liar_fini(&l);
	scene_fini(&s);
}

/* Who has somebody else to ask does not wait. */
static void a_busy_peer_beside_another_holds_nothing_up(void **state)
{
	struct host *asker, *both[2];
	struct scene s;
	struct liar l;
	struct run r;

	(void)state;
	scene_init(&s, 22);
	liar_init(&l, &s.w, LIE_BUSY, &s.thing, 1000);
	asker = sync_world_host(&s.w);
	both[0] = l.host;
	both[1] = s.server;
	CHECK_STATUS(0, run_sync(&r, asker, &s.scope, both, 2));
	assert_int_equal(stats_of(asker).busy_waits, 0);
	CHECK_STATUS(ERR_BUSY, run_outcome(&r, l.host)->status);
	liar_fini(&l);
	scene_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_streams_of_many_keys_keep_nobody_out),
		cmocka_unit_test(idle_streams_from_everywhere_keep_nobody_out),
		cmocka_unit_test(who_pretends_to_be_at_work_has_no_more_than_its_share),
		cmocka_unit_test(who_does_not_read_holds_little_and_keeps_nobody_out),
		cmocka_unit_test(followers_of_everything_leave_room_for_others),
		cmocka_unit_test(what_a_peer_occupies_is_told),
		cmocka_unit_test(a_busy_peer_is_asked_again_when_it_said),
		cmocka_unit_test(a_peer_that_is_always_busy_is_given_up),
		cmocka_unit_test(a_busy_peer_beside_another_holds_nothing_up),
		cmocka_unit_test(a_known_peer_is_served_before_any_stranger),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
