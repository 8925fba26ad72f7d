/* Sync between whole hosts: every scenario ends with the sets that it should, no operation and no
 * memory left, and stages that sum (sync_world_fini). */
#include "tests/sim/sync_world.h"

#include <stdlib.h>

struct scene {
	struct sync_world w;
	struct host *a, *b, *c;
	struct thing t;
	struct scope scope;
	struct run r;
};

static void scene_init(struct scene *s, uint64_t seed, size_t chunks, size_t chunk_bytes)
{
	sync_world_init(&s->w, seed);
	thing_init(&s->t, &s->w, "/doc", 1000, chunks, chunk_bytes, NULL);
	s->a = sync_world_host(&s->w);
	s->b = sync_world_host(&s->w);
	s->c = sync_world_host(&s->w);
	s->scope = sync_world_scope(&s->w, "/doc", SCOPE_EXACT);
}

static void scene_fini(struct scene *s)
{
	thing_fini(&s->t);
	sync_world_fini(&s->w);
}

static void a_peer_gives_a_whole_object(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 1, 5, 100000);
	host_put_thing(s.a, &s.t);
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_true(host_has_thing(s.b, &s.t));
	assert_int_equal(s.r.progress.outstanding, 0);
	assert_int_equal(s.r.progress.blobs_downloaded, 7);
	assert_int_equal(s.r.progress.bytes_downloaded, s.t.commit.len + s.t.file.len + 500000);
	assert_int_equal(s.r.settled, STORE_WANT_HISTORY);
	assert_int_equal(s.b->commits_heard, 1);
	assert_int_equal(sync_world_spans(&s.w, "sync.serve"), 2);
	assert_true(sync_world_marked(&s.w, "sync.peer", "dial ok (reused=0)"));
	assert_true(sync_world_marked(&s.w, "sync.peer", "round 1: "));
	scene_fini(&s);
}

/* 20 bytes there and one back: what polling costs. */
static void in_sync_peers_need_one_round(void **state)
{
	struct scene s;
	struct thing more;

	(void)state;
	scene_init(&s, 2, 1, 1000);
	host_put_thing(s.a, &s.t);
	host_put_thing(s.b, &s.t);
	for (uint64_t i = 0; i < 10; i++) {
		thing_init(&more, &s.w, "/doc", 2000 + i, 0, 0, NULL);
		host_put(s.a, &more.commit);
		host_put(s.b, &more.commit);
		thing_fini(&more);
	}
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_int_equal(s.r.progress.rounds, 1);
	assert_int_equal(s.r.progress.blobs_downloaded, 0);
	assert_true(sync_world_marked(&s.w, "sync.peer", "round 1: 20 B sent, 1 B received"));
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_true(run_outcome(&s.r, s.a)->reused);
	scene_fini(&s);
}

static void halves_from_two_peers_make_a_whole(void **state)
{
	struct scene s;
	struct host *peers[2];

	(void)state;
	scene_init(&s, 3, 20, 100000);
	peers[0] = s.a;
	peers[1] = s.b;
	host_put_part(s.a, &s.t, 0, 10);
	host_put_part(s.b, &s.t, 10, 10);
	CHECK_STATUS(0, run_sync(&s.r, s.c, &s.scope, peers, 2));
	assert_true(host_has_thing(s.c, &s.t));
	CHECK_STATUS(0, run_outcome(&s.r, s.a)->status);
	CHECK_STATUS(0, run_outcome(&s.r, s.b)->status);
	assert_int_equal(s.r.progress.outstanding, 0);
	scene_fini(&s);
}

/* A carries half of a large object when its network goes black: B delivers the rest, and nobody
 * waits for A. */
static void when_one_is_cut_another_finishes(void **state)
{
	struct scene s;
	struct host *peers[2];
	struct sync_stats stats;

	(void)state;
	scene_init(&s, 4, 40, 250000);
	peers[0] = s.a;
	peers[1] = s.b;
	host_put_thing(s.a, &s.t);
	host_put_thing(s.b, &s.t);
	simnet_set_default(s.w.simnet,
			   &(struct simnet_path){ .latency_ms = 5, .bandwidth = 2000000 });
	run_start(&s.r, s.c, &s.scope, STORE_WANT_HISTORY, peers, 2, 600000);
	sync_world_run_ms(&s.w, 1500);
	assert_true(s.r.wave.progress.blobs_downloaded > 0 && !s.r.done);
	assert_int_equal(
		simnet_set_path(s.w.simnet, s.a->ip, s.c->ip, &(struct simnet_path){ .cut = true }),
		0);
	run_wait(&s.r);
	CHECK_STATUS(0, s.r.status);
	CHECK_STATUS(UV_ETIMEDOUT, run_outcome(&s.r, s.a)->status);
	CHECK_STATUS(0, run_outcome(&s.r, s.b)->status);
	assert_true(host_has_thing(s.c, &s.t));
	assert_true(run_outcome(&s.r, s.b)->duration_ms < 6000);
	sync_stats(s.c->sync, &stats);
	assert_int_equal(stats.duplicates, 0);
	assert_int_equal(stats.fetch_bytes, 0);
	assert_true(stats.overtaken > 0);
	scene_fini(&s);
}

static void a_lost_connection_is_dialed_anew(void **state)
{
	struct scene s;
	struct sync_stats stats;

	(void)state;
	scene_init(&s, 5, 40, 250000);
	host_put_thing(s.a, &s.t);
	simnet_set_default(s.w.simnet,
			   &(struct simnet_path){ .latency_ms = 5, .bandwidth = 2000000 });
	run_start(&s.r, s.c, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
	sync_world_run_ms(&s.w, 1500);
	simnet_reset(s.w.simnet, s.a->ip, s.c->ip);
	run_wait(&s.r);
	CHECK_STATUS(0, s.r.status);
	CHECK_STATUS(0, run_outcome(&s.r, s.a)->status);
	assert_int_equal(s.r.wave.progress.peers_failed, 0);
	assert_true(host_has_thing(s.c, &s.t));
	sync_stats(s.c->sync, &stats);
	assert_int_equal(stats.sessions_again, 1);
	scene_fini(&s);
}

static void a_peer_that_is_gone_is_told_and_another_finishes(void **state)
{
	struct scene s;
	struct host *peers[2];

	(void)state;
	scene_init(&s, 5, 40, 250000);
	peers[0] = s.a;
	peers[1] = s.b;
	host_put_thing(s.a, &s.t);
	host_put_thing(s.b, &s.t);
	simnet_set_default(s.w.simnet,
			   &(struct simnet_path){ .latency_ms = 5, .bandwidth = 2000000 });
	run_start(&s.r, s.c, &s.scope, STORE_WANT_HISTORY, peers, 2, 600000);
	sync_world_run_ms(&s.w, 1500);
	assert_int_equal(simnet_set_path(s.w.simnet, s.a->ip, s.c->ip,
					 &(struct simnet_path){ .refuse = true }),
			 0);
	simnet_reset(s.w.simnet, s.a->ip, s.c->ip);
	run_wait(&s.r);
	CHECK_STATUS(0, s.r.status);
	CHECK_STATUS(UV_ECONNREFUSED, run_outcome(&s.r, s.a)->status);
	assert_true(host_has_thing(s.c, &s.t));
	scene_fini(&s);
}

/* Two waves want the same large object at the same time: each blob crosses the network once. */
static void two_waves_fetch_each_blob_once(void **state)
{
	struct scene s;
	struct run other;
	struct scope all;
	struct sync_stats stats;

	(void)state;
	scene_init(&s, 6, 20, 100000);
	host_put_thing(s.a, &s.t);
	all = sync_world_scope(&s.w, "", SCOPE_RECURSIVE);
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
	run_start(&other, s.b, &all, STORE_WANT_HISTORY, &s.a, 1, 600000);
	run_wait(&s.r);
	run_wait(&other);
	CHECK_STATUS(0, s.r.status);
	CHECK_STATUS(0, other.status);
	assert_true(host_has_thing(s.b, &s.t));
	sync_stats(s.a->sync, &stats);
	assert_int_equal(stats.blobs_served, 22);
	scene_fini(&s);
}

/* One wave brings the commit and is cut; the other, which waited for it, goes on with what it
 * refers to. */
static void a_wave_learns_what_another_wave_brought(void **state)
{
	struct scene s;
	struct run other;
	struct scope all;

	(void)state;
	scene_init(&s, 21, 20, 100000);
	host_put_thing(s.a, &s.t);
	all = sync_world_scope(&s.w, "", SCOPE_RECURSIVE);
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
	run_start(&other, s.b, &all, STORE_WANT_HISTORY, &s.a, 1, 600000);
	while (s.r.wave.progress.blobs_downloaded == 0)
		assert_true(manual_loop_step(&s.w.loop));
	sync_wave_cut(&s.r.wave, SYNC_CUT_STRAGGLER);
	run_wait(&s.r);
	run_wait(&other);
	CHECK_STATUS(0, other.status);
	assert_true(host_has_thing(s.b, &s.t));
	scene_fini(&s);
}

/* What was interrupted is continued: the commit is here already, so no peer lists it as missing. */
static void what_was_interrupted_is_continued(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 7, 10, 100000);
	host_put_thing(s.a, &s.t);
	host_put_part(s.b, &s.t, 0, 4);
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_true(host_has_thing(s.b, &s.t));
	assert_int_equal(s.r.progress.blobs_downloaded, 6);
	scene_fini(&s);
}

/* A timeout must not throw away what had arrived. */
static void a_deadline_keeps_what_arrived(void **state)
{
	struct scene s;
	size_t here = 0;

	(void)state;
	scene_init(&s, 8, 40, 250000);
	host_put_thing(s.a, &s.t);
	simnet_set_default(s.w.simnet,
			   &(struct simnet_path){ .latency_ms = 5, .bandwidth = 2000000 });
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 2000);
	run_wait(&s.r);
	CHECK_STATUS(UV_ETIMEDOUT, s.r.status);
	assert_int_equal(run_outcome(&s.r, s.a)->cut, SYNC_CUT_DEADLINE);
	for (size_t i = 0; i < s.t.chunk_count; i++)
		here += host_has(s.b, &s.t.chunks[i].hash) ? 1 : 0;
	assert_true(here >= 8);
	assert_int_equal(s.r.progress.blobs_downloaded, here + 2);
	scene_fini(&s);
}

static void a_cut_session_says_why(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 9, 40, 250000);
	host_put_thing(s.a, &s.t);
	simnet_set_default(s.w.simnet,
			   &(struct simnet_path){ .latency_ms = 5, .bandwidth = 2000000 });
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, &s.a, 1, 600000);
	sync_world_run_ms(&s.w, 500);
	sync_wave_cut(&s.r.wave, SYNC_CUT_STRAGGLER);
	run_wait(&s.r);
	CHECK_STATUS(UV_ECANCELED, s.r.status);
	assert_int_equal(run_outcome(&s.r, s.a)->cut, SYNC_CUT_STRAGGLER);
	assert_int_equal(s.r.progress.peers_cut, 1);
	assert_true(s.r.progress.outstanding > 0);
	assert_true(sync_world_marked(&s.w, "sync.peer", "cut: straggler"));
	scene_fini(&s);
}

static void a_wave_without_targets_finds_nothing(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 10, 0, 0);
	CHECK_STATUS(ERR_NOT_FOUND, run_sync(&s.r, s.b, &s.scope, NULL, 0));
	scene_fini(&s);
}

/* Everybody failed: nothing is outstanding, and still it is no success. */
static void all_failed_is_not_in_sync(void **state)
{
	struct scene s;
	struct host *peers[2];

	(void)state;
	scene_init(&s, 11, 1, 1000);
	peers[0] = s.a;
	peers[1] = s.b;
	simnet_set_default(s.w.simnet, &(struct simnet_path){ .latency_ms = 5, .refuse = true });
	CHECK_STATUS(UV_ECONNREFUSED, run_sync(&s.r, s.c, &s.scope, peers, 2));
	assert_int_equal(s.r.progress.peers_synced_ok, 0);
	assert_int_equal(s.r.progress.peers_failed, 2);
	scene_fini(&s);
}

static void a_host_does_not_sync_with_itself(void **state)
{
	struct scene s;
	struct sync_target self;

	(void)state;
	scene_init(&s, 12, 0, 0);
	self = (struct sync_target){ .peer = s.b->peer, .addrs = { s.b->addr }, .addr_count = 1 };
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, NULL, 0, 1000);
	s.r.wave.sealed = false;
	CHECK_STATUS(ERR_SELF, sync_wave_add(&s.r.wave, &self));
	self.any_peer = true;
	CHECK_STATUS(0, sync_wave_add(&s.r.wave, &self));
	CHECK_STATUS(0, sync_wave_add(&s.r.wave, &self));
	sync_wave_seal(&s.r.wave);
	run_wait(&s.r);
	CHECK_STATUS(ERR_SELF, s.r.status);
	assert_int_equal(s.r.outcome_count, 1);
	scene_fini(&s);
}

/* What no commit reaches is neither listed nor given, and looks like what does not exist. */
static void what_is_not_public_is_not_served(void **state)
{
	struct scene s;
	struct sync_stats stats;

	(void)state;
	scene_init(&s, 13, 3, 1000);
	host_put_part(s.b, &s.t, 0, 0);
	host_put_private(s.a, &s.t.chunks[0]);
	host_put(s.a, &s.t.commit);
	CHECK_STATUS(ERR_MISSING, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_false(host_has(s.b, &s.t.chunks[0].hash));
	sync_stats(s.a->sync, &stats);
	assert_int_equal(stats.blobs_served, 0);
	scene_fini(&s);
}

static void content_beyond_the_priority_is_left(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 14, 4, 100000);
	host_put_thing(s.a, &s.t);
	run_start(&s.r, s.b, &s.scope, STORE_WANT_TREE, &s.a, 1, 600000);
	run_wait(&s.r);
	CHECK_STATUS(0, s.r.status);
	assert_true(host_has(s.b, &s.t.file.hash));
	assert_false(host_has(s.b, &s.t.chunks[0].hash));
	assert_int_equal(s.r.settled, STORE_WANT_TREE);
	scene_fini(&s);
}

static void an_unknown_scope_leaves_no_state(void **state)
{
	struct scene s;
	struct store_stats before, after;
	struct scope scope;

	(void)state;
	scene_init(&s, 15, 0, 0);
	store_stats(s.a->store, &before);
	scope = sync_world_scope(&s.w, "/nobody/knows", SCOPE_RECURSIVE);
	CHECK_STATUS(0, run_sync(&s.r, s.b, &scope, &s.a, 1));
	store_stats(s.a->store, &after);
	assert_int_equal(before.objects, after.objects);
	assert_int_equal(before.db_bytes, after.db_bytes);
	scene_fini(&s);
}

/* Children before parents, whatever order the peer answers in: 60 commits of one object, each on
 * top of the other. */
static void a_chain_of_commits_arrives_whole(void **state)
{
	struct scene s;
	struct thing chain[60];
	struct hash da, db;

	(void)state;
	scene_init(&s, 16, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(chain); i++) {
		/* times run backwards, so the reconciled order is the wrong one */
		thing_init(&chain[i], &s.w, "/doc", 5000 - i, 0, 0,
			   i > 0 ? &chain[i - 1].commit.hash : NULL);
		host_put(s.a, &chain[i].commit);
	}
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_int_equal(host_items(s.a, &s.scope, &da), ARRAY_SIZE(chain));
	assert_int_equal(host_items(s.b, &s.scope, &db), ARRAY_SIZE(chain));
	assert_true(hash_eq(&da, &db));
	for (size_t i = 0; i < ARRAY_SIZE(chain); i++)
		thing_fini(&chain[i]);
	scene_fini(&s);
}

static void make_capability(const struct sync_world *w, const struct public_key *grantee,
			    struct piece *ret)
{
	struct capability cap = { .space = w->space, .grantee = *grantee };
	struct buf out;

	buf_init(&out, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, capability_sign(&cap, w->space_secret, &out));
	ret->kind = OBJECT_CAPABILITY;
	ret->data = buf_take(&out, &ret->len);
	ret->hash = hash_of(ret->data, ret->len);
}

static void make_granted(const struct sync_world *w, const uint8_t secret[64],
			 const struct public_key *author, const struct hash *capability,
			 struct piece *ret)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct buf out;

	assert_non_null(c);
	c->space = w->space;
	c->author = *author;
	memcpy(c->path, "/doc", 4);
	c->path_len = 4;
	c->time_s = 1000;
	c->tombstone = true;
	c->has_capability = true;
	c->capability = *capability;
	buf_init(&out, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, secret, &out));
	ret->kind = OBJECT_COMMIT;
	ret->data = buf_take(&out, &ret->len);
	ret->hash = hash_of(ret->data, ret->len);
	mem_free(c);
}

/* No set lists a capability: it is asked for when a commit turns out to wait for it. */
static void a_capability_follows_its_commit(void **state)
{
	struct piece capability, commit;
	struct scene s;
	struct hash digest;

	(void)state;
	scene_init(&s, 17, 0, 0);
	make_capability(&s.w, &s.c->peer, &capability);
	make_granted(&s.w, s.c->secret, &s.c->peer, &capability.hash, &commit);
	host_put(s.a, &commit);
	host_put(s.a, &capability);
	assert_int_equal(host_items(s.a, &s.scope, &digest), 1);
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	assert_int_equal(host_items(s.b, &s.scope, &digest), 1);
	assert_int_equal(s.r.progress.outstanding, 0);
	mem_free(capability.data);
	mem_free(commit.data);
	scene_fini(&s);
}

/* The one that is near becomes slow, the other is far: what the slow one was asked for, the far one
 * sends, and the wave takes little longer than with that one alone. */
static void a_slow_peer_holds_up_nobody(void **state)
{
	struct scene s;
	struct host *peers[2];

	(void)state;
	scene_init(&s, 18, 8, 60000);
	peers[0] = s.a;
	peers[1] = s.b;
	host_put_thing(s.a, &s.t);
	host_put_thing(s.b, &s.t);
	assert_int_equal(simnet_set_path(s.w.simnet, s.b->ip, s.c->ip,
					 &(struct simnet_path){ .latency_ms = 400 }),
			 0);
	run_start(&s.r, s.c, &s.scope, STORE_WANT_HISTORY, peers, 2, 600000);
	sync_world_run_ms(&s.w, 45);
	assert_int_equal(
		simnet_set_path(s.w.simnet, s.a->ip, s.c->ip,
				&(struct simnet_path){ .latency_ms = 5, .bandwidth = 3000 }),
		0);
	run_wait(&s.r);
	CHECK_STATUS(0, s.r.status);
	CHECK_STATUS(0, run_outcome(&s.r, s.b)->status);
	assert_true(run_outcome(&s.r, s.a)->duration_ms < 6000);
	assert_true(host_has_thing(s.c, &s.t));
	scene_fini(&s);
}

/* More peers than may run at once; all but one are dead. */
static void many_dead_peers_do_not_keep_the_living_out(void **state)
{
	struct sync_target t = { .addr_count = 1 };
	struct scene s;

	(void)state;
	scene_init(&s, 19, 2, 1000);
	host_put_thing(s.a, &s.t);
	run_start(&s.r, s.b, &s.scope, STORE_WANT_HISTORY, NULL, 0, 600000);
	s.r.wave.sealed = false;
	for (uint8_t i = 1; i <= SYNC_PEERS_AT_ONCE_MAX + 5; i++) {
		t.peer = (struct public_key){ { i, 77 } };
		t.addrs[0] = (struct multiaddr){ .family = 4, .ip = { 10, 1, 0, i }, .port = 9 };
		CHECK_STATUS(0, sync_wave_add(&s.r.wave, &t));
	}
	t.peer = s.a->peer;
	t.addrs[0] = s.a->addr;
	CHECK_STATUS(0, sync_wave_add(&s.r.wave, &t));
	sync_wave_seal(&s.r.wave);
	run_wait(&s.r);
	CHECK_STATUS(0, s.r.status);
	assert_true(host_has_thing(s.b, &s.t));
	assert_int_equal(s.r.progress.peers_synced_ok, 1);
	scene_fini(&s);
}

/* What the trace of the asker and of the peer have in common. */
static bool same_trace(void *data, const struct trace_span_view *s)
{
	uint8_t *id = data;

	if (strcmp(s->category, "sync.peer") == 0)
		memcpy(id, s->trace_id, sizeof(s->trace_id));
	return true;
}

static bool is_continued(void *data, const struct trace_span_view *s)
{
	if (strcmp(s->category, "sync.serve") == 0)
		assert_memory_equal(data, s->trace_id, sizeof(s->trace_id));
	return true;
}

static void the_far_side_records_under_the_same_trace(void **state)
{
	uint8_t id[16] = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s, 20, 2, 1000);
	host_put_thing(s.a, &s.t);
	CHECK_STATUS(0, run_sync(&s.r, s.b, &s.scope, &s.a, 1));
	sync_world_walk(&s.w, same_trace, id);
	sync_world_walk(&s.w, is_continued, id);
	scene_fini(&s);
}

/* The disk fills up while syncing: an error of the session and of the wave, not a line in a log;
 * with room again it goes on. */
static void a_store_that_cannot_write_is_an_outcome(void **state)
{
	char dir[] = "/tmp/peerscope-sim-XXXXXX", file[64];
	struct rlimit before, tight;
	struct scene s;

	(void)state;
	assert_non_null(mkdtemp(dir));
	scene_init(&s, 22, 40, 100000);
	host_put_thing(s.a, &s.t);
	s.w.dir = dir;
	s.c = sync_world_host(&s.w);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = (struct rlimit){ 1000000, before.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	(void)run_sync(&s.r, s.c, &s.scope, &s.a, 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(s.r.status == ERR_DISK_FULL || s.r.status == ERR_STORE);
	CHECK_STATUS(s.r.status, run_outcome(&s.r, s.a)->status);
	assert_int_equal(s.r.progress.peers_synced_ok, 0);
	assert_true(s.r.progress.outstanding > 0);
	assert_true(sync_world_marked(&s.w, "sync.peer", "storing"));
	CHECK_STATUS(0, run_sync(&s.r, s.c, &s.scope, &s.a, 1));
	assert_true(host_has_thing(s.c, &s.t));
	scene_fini(&s);
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = { "store.db", "store.db-wal", "store.db-shm" };

		snprintf(file, sizeof(file), "%s/%s", dir, names[i]);
		(void)unlink(file);
	}
	(void)rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_gives_a_whole_object),
		cmocka_unit_test(in_sync_peers_need_one_round),
		cmocka_unit_test(halves_from_two_peers_make_a_whole),
		cmocka_unit_test(when_one_is_cut_another_finishes),
		cmocka_unit_test(a_lost_connection_is_dialed_anew),
		cmocka_unit_test(a_peer_that_is_gone_is_told_and_another_finishes),
		cmocka_unit_test(two_waves_fetch_each_blob_once),
		cmocka_unit_test(a_wave_learns_what_another_wave_brought),
		cmocka_unit_test(what_was_interrupted_is_continued),
		cmocka_unit_test(a_deadline_keeps_what_arrived),
		cmocka_unit_test(a_cut_session_says_why),
		cmocka_unit_test(a_wave_without_targets_finds_nothing),
		cmocka_unit_test(all_failed_is_not_in_sync),
		cmocka_unit_test(a_host_does_not_sync_with_itself),
		cmocka_unit_test(what_is_not_public_is_not_served),
		cmocka_unit_test(content_beyond_the_priority_is_left),
		cmocka_unit_test(an_unknown_scope_leaves_no_state),
		cmocka_unit_test(a_chain_of_commits_arrives_whole),
		cmocka_unit_test(a_capability_follows_its_commit),
		cmocka_unit_test(a_slow_peer_holds_up_nobody),
		cmocka_unit_test(many_dead_peers_do_not_keep_the_living_out),
		cmocka_unit_test(the_far_side_records_under_the_same_trace),
		cmocka_unit_test(a_store_that_cannot_write_is_an_outcome),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
