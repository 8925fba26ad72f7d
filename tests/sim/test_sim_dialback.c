/* Being dialed back: what the asker learns, and what it cannot make others do. */
#include "sync/dialback.h"
#include "tests/sim/sync_world.h"

struct ask {
	struct sync_dialback dialback;
	bool done;
	int status;
};

struct scene {
	struct sync_world w;
	struct host *asker, *dialer;
	struct ask ask;
	struct net_dial dial;
	bool dialed;
};

static void on_dialed(struct net_dial *d, int status)
{
	CHECK_STATUS(0, status);
	((struct scene *)d->data)->dialed = true;
}

static void connect_hosts(struct scene *s, struct host *from, struct host *to)
{
	struct op_env env = { .runner = &s->w.loop.runner, .deadline_ms = UINT64_MAX };

	s->dial = (struct net_dial){ .data = s };
	s->dialed = false;
	net_dial_start(&s->dial, &env, from->net, &to->peer, &to->addr, 1, on_dialed);
	sync_world_run_ms(&s->w, 100);
	assert_true(s->dialed);
}

static void scene_init(struct scene *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	sync_world_init(&s->w, seed);
	s->asker = sync_world_host(&s->w);
	s->dialer = sync_world_host(&s->w);
	connect_hosts(s, s->asker, s->dialer);
}

static void on_answer(struct sync_dialback *d, int status)
{
	struct ask *a = d->data;

	assert_false(a->done);
	a->done = true;
	a->status = status;
}

static bool is_done(void *data)
{
	return ((struct ask *)data)->done;
}

static void start(struct scene *s, uint16_t port)
{
	struct op_env env = { .runner = &s->w.loop.runner, .deadline_ms = UINT64_MAX };

	s->ask = (struct ask){ .status = 1 };
	s->ask.dialback.data = &s->ask;
	sync_dialback_start(&s->ask.dialback, &env, s->asker->sync, &s->dialer->peer, port,
			    on_answer);
	assert_false(s->ask.done);
}

static int ask(struct scene *s, uint16_t port)
{
	start(s, port);
	assert_true(run_until(&s->w.loop, is_done, &s->ask, UINT64_MAX - 1));
	return s->ask.status;
}

static struct sync_stats stats_of(const struct host *h)
{
	struct sync_stats stats;

	sync_stats(h->sync, &stats);
	return stats;
}

static uint64_t accepted(const struct host *h)
{
	struct net_stats stats;

	net_stats(h->net, &stats);
	return stats.accepted;
}

static void who_listens_is_reached(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 1);
	CHECK_STATUS(0, ask(&s, SYNC_WORLD_PORT));
	assert_true(s.ask.dialback.reached);
	assert_true(multiaddr_eq(&s.ask.dialback.seen, &s.asker->addr));
	assert_int_equal(accepted(s.asker), 1);
	assert_int_equal(stats_of(s.dialer).dialbacks_reached, 1);
	/* The conn they have is the one they had. */
	assert_ptr_equal(net_find(s.asker->net, &s.dialer->peer), s.dial.conn);
	assert_int_equal(sync_world_spans(&s.w, "sync.dialback"), 1);
	assert_true(sync_world_stage_ms(&s.w, "sync.serve", "dial") > 0);
	sync_world_fini(&s.w);
}

static void a_closed_port_and_silence_are_not_reached(void **state)
{
	struct simnet_path refuse = { .latency_ms = 5, .refuse = true };
	struct scene s;

	(void)state;
	scene_init(&s, 2);
	CHECK_STATUS(0, ask(&s, SYNC_WORLD_PORT + 1));
	assert_false(s.ask.dialback.reached);
	sync_world_run_ms(&s.w, DIALBACK_PER_PEER_MS);
	CHECK_STATUS(0, simnet_set_path(s.w.simnet, s.asker->ip, s.dialer->ip, &refuse));
	CHECK_STATUS(0, ask(&s, SYNC_WORLD_PORT));
	assert_false(s.ask.dialback.reached);
	assert_int_equal(stats_of(s.dialer).dialbacks_reached, 0);
	sync_world_fini(&s.w);
}

static void ports_of_services_are_not_dialed(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 3);
	CHECK_STATUS(ERR_REFUSED, ask(&s, 80));
	CHECK_STATUS(ERR_REFUSED, ask(&s, DIALBACK_PORT_MIN - 1));
	assert_int_equal(stats_of(s.dialer).dialbacks_refused, 2);
	assert_int_equal(accepted(s.asker), 0);
	sync_world_fini(&s.w);
}

static void a_peer_that_asks_too_often_is_told_to_wait(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 4);
	CHECK_STATUS(0, ask(&s, SYNC_WORLD_PORT));
	CHECK_STATUS(ERR_BUSY, ask(&s, SYNC_WORLD_PORT));
	sync_world_run_ms(&s.w, DIALBACK_PER_PEER_MS);
	CHECK_STATUS(0, ask(&s, SYNC_WORLD_PORT));
	assert_int_equal(accepted(s.asker), 2);
	sync_world_fini(&s.w);
}

/* Keys cost nothing: the budget for all of them together holds. */
static void many_peers_share_one_budget(void **state)
{
	struct sync_peer *p;
	struct multiaddr addr;
	struct scene s;
	uint32_t wait_ms = 0;
	unsigned begun = 0;

	(void)state;
	scene_init(&s, 5);
	connect_hosts(&s, s.dialer, s.asker);
	for (unsigned i = 0; i < 2 * DIALBACK_BURST; i++) {
		struct net_conn *conn = net_find(s.dialer->net, &s.asker->peer);

		p = sync_peer_get(s.dialer->sync, &s.asker->peer);
		p->dialed_ms = 0; /* as if each came under a new key */
		if (dialback_begin(s.dialer->sync, conn, SYNC_WORLD_PORT, &addr, &wait_ms) < 0)
			continue;
		begun++;
		dialback_ended(s.dialer->sync, false);
	}
	assert_int_equal(begun, DIALBACK_BURST);
	assert_in_range(wait_ms, 1, DIALBACK_EVERY_MS + 1);
	sync_world_fini(&s.w);
}

static void without_a_conn_there_is_nobody_to_ask(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, 6);
	net_conn_close(net_find(s.asker->net, &s.dialer->peer), 0);
	sync_world_run_ms(&s.w, 100);
	CHECK_STATUS(ERR_NOT_FOUND, ask(&s, SYNC_WORLD_PORT));
	sync_world_fini(&s.w);
}

static void a_dial_back_may_be_cancelled_at_any_moment(void **state)
{
	struct scene s;

	(void)state;
	for (unsigned steps = 0; steps < 12; steps++) {
		scene_init(&s, 7);
		start(&s, SYNC_WORLD_PORT);
		for (unsigned i = 0; i < steps && !s.ask.done; i++)
			(void)manual_loop_step(&s.w.loop);
		if (!s.ask.done)
			op_cancel(&s.ask.dialback.op);
		assert_true(run_until(&s.w.loop, is_done, &s.ask, UINT64_MAX - 1));
		assert_true(s.ask.status == UV_ECANCELED || s.ask.status == 0);
		sync_world_fini(&s.w);
	}
}

static void a_dial_back_survives_running_out_of_memory(void **state)
{
	struct scene s;

	(void)state;
	for (unsigned n = 1, hits = 1; hits > 0; n++) {
		scene_init(&s, 8);
		start(&s, SYNC_WORLD_PORT);
		mem_fault_after(n, false);
		assert_true(run_until(&s.w.loop, is_done, &s.ask, UINT64_MAX - 1));
		hits = (unsigned)mem_fault_hits();
		mem_fault_after(0, false);
		assert_true(s.ask.status <= 0);
		if (hits == 0)
			CHECK_STATUS(0, s.ask.status);
		sync_world_fini(&s.w);
		assert_true(n < 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_listens_is_reached),
		cmocka_unit_test(a_closed_port_and_silence_are_not_reached),
		cmocka_unit_test(ports_of_services_are_not_dialed),
		cmocka_unit_test(a_peer_that_asks_too_often_is_told_to_wait),
		cmocka_unit_test(many_peers_share_one_budget),
		cmocka_unit_test(without_a_conn_there_is_nobody_to_ask),
		cmocka_unit_test(a_dial_back_may_be_cancelled_at_any_moment),
		cmocka_unit_test(a_dial_back_survives_running_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
