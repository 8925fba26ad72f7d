/* Asking connected peers whether they reach us: whom, how often, and what follows. */
#include "daemon/reach.h"
#include "sync/dialback.h"
#include "tests/sim/sync_world.h"

enum { PEERS = 2 };

struct scene {
	struct sync_world w;
	struct host *asker, *peers[PEERS];
	struct net_dial dials[PEERS];
	struct reach *reach;
	unsigned verdicts;
	bool closed;
};

static void on_dialed(struct net_dial *d, int status)
{
	CHECK_STATUS(0, status);
}

static void on_verdict(void *data, enum outside outside)
{
	((struct scene *)data)->verdicts++;
}

static void scene_init(struct scene *s, uint64_t seed, uint16_t port)
{
	struct op_env env = { .deadline_ms = UINT64_MAX };

	memset(s, 0, sizeof(*s));
	sync_world_init(&s->w, seed);
	env.runner = &s->w.loop.runner;
	s->asker = sync_world_host(&s->w);
	for (unsigned i = 0; i < PEERS; i++) {
		s->peers[i] = sync_world_host(&s->w);
		net_dial_start(&s->dials[i], &env, s->asker->net, &s->peers[i]->peer,
			       &s->peers[i]->addr, 1, on_dialed);
	}
	sync_world_run_ms(&s->w, 100);
	s->reach = reach_new(&(struct reach_config){ .runner = env.runner,
						     .net = s->asker->net,
						     .sync = s->asker->sync,
						     .port = port,
						     .on_verdict = on_verdict,
						     .data = s });
	assert_non_null(s->reach);
}

static struct reach_state state_of(const struct scene *s)
{
	struct reach_state state;

	reach_state(s->reach, &state);
	return state;
}

static void on_closed(void *data)
{
	((struct scene *)data)->closed = true;
}

static void scene_fini(struct scene *s)
{
	reach_close(s->reach, on_closed, s);
	assert_false(s->closed);
	sync_world_run_ms(&s->w, 1000);
	assert_true(s->closed);
	sync_world_fini(&s->w);
}

static void each_peer_is_asked_once_in_a_while(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 1, SYNC_WORLD_PORT);
	sync_world_run_ms(&s.w, 3 * REACH_LOOK_MS);
	assert_int_equal(state_of(&s).asks, PEERS);
	assert_int_equal(state_of(&s).near, OUTSIDE_YES);
	/* Their addresses are private: of the internet nothing is known. */
	assert_int_equal(state_of(&s).outside, OUTSIDE_UNKNOWN);
	assert_int_equal(s.verdicts, 0);
	sync_world_run_ms(&s.w, REACH_AGAIN_MS / 4);
	assert_int_equal(state_of(&s).asks, PEERS);
	scene_fini(&s);
}

static void an_answer_about_the_port_of_before_does_not_count(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 8, SYNC_WORLD_PORT);
	for (unsigned ms = 0; ms < REACH_LOOK_MS + 100 && state_of(&s).asks == 0; ms++)
		sync_world_run_ms(&s.w, 1);
	assert_int_equal(state_of(&s).asks, 1);
	reach_set_port(s.reach, SYNC_WORLD_PORT + 1);
	sync_world_run_ms(&s.w, REACH_LOOK_MS / 2);
	assert_int_equal(state_of(&s).failures, 0);
	assert_int_equal(state_of(&s).near, OUTSIDE_UNKNOWN);
	scene_fini(&s);
}

static void another_port_is_asked_about_anew(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 2, SYNC_WORLD_PORT);
	sync_world_run_ms(&s.w, 3 * REACH_LOOK_MS);
	reach_set_port(s.reach, SYNC_WORLD_PORT + 1);
	assert_int_equal(state_of(&s).near, OUTSIDE_UNKNOWN);
	/* At first they are busy: they have just dialed us. */
	sync_world_run_ms(&s.w, 3 * REACH_LOOK_MS);
	assert_int_equal(state_of(&s).failures, PEERS);
	sync_world_run_ms(&s.w, REACH_BUSY_MS + DIALBACK_PER_PEER_MS);
	assert_int_equal(state_of(&s).near, OUTSIDE_NO);
	scene_fini(&s);
}

static void without_a_port_nobody_is_asked(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 3, 0);
	sync_world_run_ms(&s.w, 5 * REACH_LOOK_MS);
	assert_int_equal(state_of(&s).asks, 0);
	reach_set_port(s.reach, SYNC_WORLD_PORT);
	sync_world_run_ms(&s.w, 3 * REACH_LOOK_MS);
	assert_int_equal(state_of(&s).near, OUTSIDE_YES);
	scene_fini(&s);
}

static void it_closes_while_it_asks(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 4, SYNC_WORLD_PORT);
	sync_world_run_ms(&s.w, REACH_LOOK_MS + 1);
	assert_int_equal(state_of(&s).asks, 1);
	scene_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_peer_is_asked_once_in_a_while),
		cmocka_unit_test(an_answer_about_the_port_of_before_does_not_count),
		cmocka_unit_test(another_port_is_asked_about_anew),
		cmocka_unit_test(without_a_port_nobody_is_asked),
		cmocka_unit_test(it_closes_while_it_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
