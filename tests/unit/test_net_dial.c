#include "net_fixture.h"

#include "net/conn.h"
#include "trace/trace.h"

static struct runner *runner(struct world *w)
{
	return &w->loop.runner;
}

static int dial_addrs(struct world *w, const struct public_key *peer, const struct multiaddr *addrs,
		      size_t count, struct call *c)
{
	call_start(c, runner(w), w->nodes[0].net, peer, addrs, count);
	assert_true(run_until(&w->loop, call_is_done, c, UINT64_MAX - 1));
	return c->status;
}

static const struct public_key *key_of(struct world *w, unsigned i)
{
	return net_self(w->nodes[i].net);
}

static void refuse(struct world *w, const char *ip)
{
	CHECK_STATUS(0, simnet_set_path(w->sim, "10.0.0.1", ip,
					&(struct simnet_path){ .refuse = true }));
}

static void silence(struct world *w, const char *ip)
{
	CHECK_STATUS(0,
		     simnet_set_path(w->sim, "10.0.0.1", ip, &(struct simnet_path){ .cut = true }));
}

static void a_conn_is_used_again(void **state)
{
	struct call first, second;
	struct world w;

	world_init(&w, 1, 2);
	CHECK_STATUS(0, world_dial(&w, 0, 1, &first));
	assert_true(first.dial.connected && !first.dial.reused);
	CHECK_STATUS(0, dial_addrs(&w, key_of(&w, 1), NULL, 0, &second));
	assert_true(second.dial.reused);
	assert_ptr_equal(first.dial.conn, second.dial.conn);
	world_fini(&w);
}

static void the_peers_own_conn_is_used_too(void **state)
{
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	world_connect(&w, 1, 0);
	world_run(&w, 10);
	CHECK_STATUS(0, world_dial(&w, 0, 1, &c));
	assert_true(c.dial.reused);
	assert_int_equal(w.nodes[0].ups, 1);
	world_fini(&w);
}

static void failures_have_names(void **state)
{
	struct multiaddr nobody = fixture_addr("10.0.0.2:5");
	struct call c;
	struct world w;

	world_init(&w, 1, 3);
	CHECK_STATUS(ERR_NOT_FOUND, dial_addrs(&w, key_of(&w, 1), NULL, 0, &c));
	CHECK_STATUS(UV_ECONNREFUSED, dial_addrs(&w, key_of(&w, 1), &nobody, 1, &c));
	CHECK_STATUS(ERR_PEER_MISMATCH, dial_addrs(&w, key_of(&w, 2), &w.nodes[1].addr, 1, &c));
	CHECK_STATUS(ERR_SELF, dial_addrs(&w, key_of(&w, 0), &w.nodes[1].addr, 1, &c));
	CHECK_STATUS(ERR_SELF, dial_addrs(&w, NULL, &w.nodes[0].addr, 1, &c));
	assert_null(c.dial.conn);
	world_run(&w, 100);
	assert_int_equal(w.nodes[0].ups + w.nodes[1].ups, 0);
	world_fini(&w);
}

/* Ourselves by another name is not somebody else with our key. */
static void a_twin_is_told_from_ourselves(void **state)
{
	struct multiaddr at;
	struct call c;
	struct world w;
	uint64_t ago_ms;

	world_init(&w, 1, 1);
	CHECK_STATUS(ERR_SELF, dial_addrs(&w, NULL, &w.nodes[0].addr, 1, &c));
	assert_false(net_twin(w.nodes[0].net, &at, &ago_ms));
	w.count = 2;
	assert_true(node_init(&w.nodes[1], runner(&w), simnet_host(w.sim, "10.0.0.7"), 1));
	at = fixture_addr("10.0.0.7:4001");
	CHECK_STATUS(0, net_listen(w.nodes[1].net, &at));
	CHECK_STATUS(ERR_SELF, dial_addrs(&w, NULL, &at, 1, &c));
	world_run(&w, 500);
	assert_true(net_twin(w.nodes[0].net, &at, &ago_ms));
	assert_int_equal(at.ip[3], 7);
	assert_in_range(ago_ms, 500, 510);
	world_fini(&w);
}

static void the_clock_of_a_peer_is_known(void **state)
{
	struct net_conn_info info;
	struct world w;

	world_init(&w, 1, 2);
	world_connect(&w, 0, 1);
	world_run(&w, 10);
	/* Ours is set back while the connection is there. */
	w.loop.clock.wall -= 7200 * NS_PER_SEC;
	net_conn_info(w.nodes[1].conn, &info);
	assert_true(info.has_clock);
	assert_in_range(info.ahead_s, 7198, 7202);
	world_fini(&w);
}

static void a_peer_that_is_not_the_one_asked_for_learns_nothing(void **state)
{
	struct net_stats stats;
	struct call c;
	struct world w;

	world_init(&w, 1, 3);
	CHECK_STATUS(ERR_PEER_MISMATCH, dial_addrs(&w, key_of(&w, 2), &w.nodes[1].addr, 1, &c));
	world_run(&w, 100);
	net_stats(w.nodes[1].net, &stats);
	assert_int_equal(stats.handshake_failures, 1);
	/* e and the length: the third message, with our identity, was never sent */
	assert_int_equal(stats.received_bytes, 34);
	world_fini(&w);
}

static void whoever_answers_is_fine_without_a_key(void **state)
{
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	CHECK_STATUS(0, dial_addrs(&w, NULL, &w.nodes[1].addr, 1, &c));
	assert_true(key_eq(net_conn_peer(c.dial.conn), key_of(&w, 1)));
	CHECK_STATUS(0, dial_addrs(&w, NULL, &w.nodes[1].addr, 1, &c));
	assert_true(c.dial.reused);
	world_run(&w, 100);
	assert_int_equal(w.nodes[0].ups, 1);
	assert_int_equal(w.nodes[1].ups, 1);
	world_fini(&w);
}

/* Beside a conn that is up, which neither side gives up for it. */
static void a_probe_proves_the_peer_and_leaves_no_conn(void **state)
{
	struct op_env env = { .deadline_ms = UINT64_MAX };
	struct net_stats stats;
	struct call first, c = { .status = 1 };
	struct world w;

	world_init(&w, 1, 3);
	CHECK_STATUS(0, world_dial(&w, 0, 1, &first));
	env.runner = runner(&w);
	c.dial.data = &c;
	c.dial.probe = true;
	net_dial_start(&c.dial, &env, w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1,
		       call_done);
	assert_true(run_until(&w.loop, call_is_done, &c, UINT64_MAX - 1));
	CHECK_STATUS(0, c.status);
	assert_null(c.dial.conn);
	world_run(&w, 100);
	net_stats(w.nodes[1].net, &stats);
	assert_int_equal(stats.accepted, 2);
	assert_int_equal(w.nodes[0].ups + w.nodes[1].ups, 2);
	assert_ptr_equal(net_find(w.nodes[0].net, key_of(&w, 1)), first.dial.conn);
	world_fini(&w);
}

static void a_probe_that_meets_another_peer_fails(void **state)
{
	struct op_env env = { .deadline_ms = UINT64_MAX };
	struct call c = { .status = 1 };
	struct world w;

	world_init(&w, 1, 3);
	env.runner = runner(&w);
	c.dial.data = &c;
	c.dial.probe = true;
	net_dial_start(&c.dial, &env, w.nodes[0].net, key_of(&w, 2), &w.nodes[1].addr, 1,
		       call_done);
	assert_true(run_until(&w.loop, call_is_done, &c, UINT64_MAX - 1));
	CHECK_STATUS(ERR_PEER_MISMATCH, c.status);
	world_fini(&w);
}

static void the_next_address_is_tried_after_a_failure_at_once(void **state)
{
	struct multiaddr addrs[2];
	struct call c;
	struct world w;

	world_init(&w, 1, 3);
	refuse(&w, "10.0.0.3");
	addrs[0] = w.nodes[2].addr;
	addrs[1] = w.nodes[1].addr;
	CHECK_STATUS(0, dial_addrs(&w, key_of(&w, 1), addrs, 2, &c));
	assert_true(runner_now_ms(runner(&w)) < 50);
	world_fini(&w);
}

static void the_next_address_is_tried_beside_a_silent_one(void **state)
{
	struct multiaddr addrs[2];
	struct call c;
	struct world w;

	world_init(&w, 1, 3);
	silence(&w, "10.0.0.3");
	addrs[0] = w.nodes[2].addr;
	addrs[1] = w.nodes[1].addr;
	CHECK_STATUS(0, dial_addrs(&w, key_of(&w, 1), addrs, 2, &c));
	assert_in_range(runner_now_ms(runner(&w)), 300, 350);
	world_fini(&w);
}

static void a_slow_first_address_still_wins(void **state)
{
	struct multiaddr addrs[2];
	struct call c;
	struct world w;

	world_init(&w, 1, 3);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 200 });
	silence(&w, "10.0.0.3");
	addrs[0] = w.nodes[1].addr;
	addrs[1] = w.nodes[2].addr;
	CHECK_STATUS(0, dial_addrs(&w, key_of(&w, 1), addrs, 2, &c));
	assert_int_equal(w.nodes[0].ups, 1);
	world_fini(&w);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	silence(&w, "10.0.0.2");
	CHECK_STATUS(UV_ETIMEDOUT, dial_addrs(&w, key_of(&w, 1), &w.nodes[1].addr, 1, &c));
	assert_int_equal(runner_now_ms(runner(&w)), NET_DIAL_TIMEOUT_MS);
	world_fini(&w);
}

static void dials_to_one_peer_share_the_work(void **state)
{
	struct call calls[20];
	struct net_stats stats;
	struct world w;

	world_init(&w, 1, 2);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		call_start(&calls[i], runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr,
			   1);
	world_run(&w, 100);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		CHECK_STATUS(0, calls[i].status);
		assert_ptr_equal(calls[i].dial.conn, calls[0].dial.conn);
		assert_int_equal(calls[i].dial.reused, i > 0);
	}
	net_stats(w.nodes[0].net, &stats);
	assert_int_equal(stats.dials, 1);
	world_fini(&w);
}

static void a_failure_is_shared(void **state)
{
	struct call calls[3];
	struct net_stats stats;
	struct world w;

	world_init(&w, 1, 3);
	refuse(&w, "10.0.0.3");
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		call_start(&calls[i], runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[2].addr,
			   1);
	world_run(&w, 1000);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		CHECK_STATUS(UV_ECONNREFUSED, calls[i].status);
	net_stats(w.nodes[0].net, &stats);
	assert_int_equal(stats.dials, 1);
	world_fini(&w);
}

static void an_address_that_one_of_them_knows_serves_all(void **state)
{
	struct multiaddr both[2];
	struct call calls[3];
	struct net_stats stats;
	struct world w;

	world_init(&w, 1, 3);
	refuse(&w, "10.0.0.3");
	both[0] = w.nodes[2].addr;
	both[1] = w.nodes[1].addr;
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		call_start(&calls[i], runner(&w), w.nodes[0].net, key_of(&w, 1), both,
			   i == 2 ? 2 : 1);
	world_run(&w, 1000);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		CHECK_STATUS(0, calls[i].status);
	net_stats(w.nodes[0].net, &stats);
	assert_int_equal(stats.dials, 2);
	world_fini(&w);
}

static void a_cancelled_dial_hands_over_to_those_that_wait(void **state)
{
	struct call first, second;
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 50 });
	call_start(&first, runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1);
	call_start(&second, runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1);
	world_run(&w, 20);
	op_cancel(&first.dial.op);
	assert_false(first.done);
	world_run(&w, 1000);
	CHECK_STATUS(UV_ECANCELED, first.status);
	CHECK_STATUS(0, second.status);
	world_fini(&w);
}

/* Cancelled at every turn of its life, a dial ends once, and nothing stays behind. */
static void a_dial_may_be_cancelled_at_any_moment(void **state)
{
	for (unsigned at = 0; at < 40; at++) {
		struct call c;
		struct world w;

		world_init(&w, 1, 2);
		simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 5 });
		call_start(&c, runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1);
		for (unsigned i = 0; i < at && !c.done; i++)
			manual_loop_step(&w.loop);
		if (!c.done) {
			op_cancel(&c.dial.op);
			op_cancel(&c.dial.op);
		}
		assert_true(run_until(&w.loop, call_is_done, &c, UINT64_MAX - 1));
		assert_true(c.status == 0 || c.status == UV_ECANCELED);
		assert_int_equal(c.dial.conn != NULL, c.status == 0);
		world_fini(&w);
	}
}

static void on_connected(struct net_dial *d)
{
	*(uint64_t *)d->data = runner_now_ms(d->op.env.runner);
}

static void timed_done(struct net_dial *d, int status)
{
	CHECK_STATUS(0, status);
	((uint64_t *)d->data)[1] = runner_now_ms(d->op.env.runner);
}

static void the_end_of_connecting_is_told(void **state)
{
	struct op_env env = { .deadline_ms = UINT64_MAX };
	uint64_t times[2] = { 0 };
	struct net_dial d = { .on_connected = on_connected, .data = times };
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 50 });
	env.runner = runner(&w);
	net_dial_start(&d, &env, w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1, timed_done);
	world_run(&w, 1000);
	assert_int_equal(times[0], 100);
	assert_int_equal(times[1], 200);
	world_fini(&w);
}

static void a_trace_tells_which_address_cost_what(void **state)
{
	struct trace_query q = { .active = true };
	struct multiaddr addrs[2];
	struct op_env env = { .deadline_ms = UINT64_MAX };
	uint64_t times[2];
	struct net_dial d = { .on_connected = on_connected, .data = times };
	struct world w;
	struct trace *t;
	struct buf text;

	world_init(&w, 1, 3);
	t = trace_new(&(struct trace_config){ 0 }, w.loop.runner.clock);
	env.runner = runner(&w);
	env.span = trace_root(t, "test", "x", 1, NULL);
	refuse(&w, "10.0.0.3");
	addrs[0] = w.nodes[2].addr;
	addrs[1] = w.nodes[1].addr;
	net_dial_start(&d, &env, w.nodes[0].net, key_of(&w, 1), addrs, 2, timed_done);
	world_run(&w, 1000);
	buf_init(&text, 1 << 20);
	CHECK_STATUS(0, trace_render(t, TRACE_FORMAT_JSON, &q, &text));
	assert_non_null(strstr((char *)text.data, "dial /ip4/10.0.0.3/tcp/4001"));
	assert_non_null(strstr((char *)text.data, err_str(UV_ECONNREFUSED)));
	assert_non_null(strstr((char *)text.data, "connected to /ip4/10.0.0.2/tcp/4001"));
	buf_fini(&text);
	world_fini(&w);
	trace_free(t);
}

static void a_closing_net_ends_its_dials(void **state)
{
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	silence(&w, "10.0.0.2");
	call_start(&c, runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1);
	world_run(&w, 10);
	node_close(&w, &w.nodes[0]);
	assert_true(c.done);
	CHECK_STATUS(UV_ECANCELED, c.status);
	world_fini(&w);
}

static void a_conn_that_goes_before_the_callback_is_not_handed_out(void **state)
{
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	call_start(&c, runner(&w), w.nodes[0].net, key_of(&w, 1), &w.nodes[1].addr, 1);
	while (w.nodes[0].ups == 0)
		assert_true(manual_loop_step(&w.loop));
	if (!c.done) {
		net_conn_close(w.nodes[0].conn, ERR_BUSY);
		world_run(&w, 100);
		assert_true(c.status == 0 || c.dial.conn == NULL);
	}
	world_fini(&w);
}

/* ---- Conns that may be of no use any more ---- */

enum { OLD = 1, NEW = 2 };

/* Hosts 0, OLD and NEW; what listens at NEW is the peer of OLD after it has moved there. */
static void world_moving(struct world *w, bool mover_is_smaller)
{
	struct multiaddr any = fixture_addr("10.0.0.9:4001");
	uint8_t number = 0;

	world_init(w, 1, 2);
	w->count = 3;
	do
		assert_true(node_init(&w->nodes[NEW], runner(w), simnet_host(w->sim, "10.0.0.9"),
				      ++number + 2));
	while ((key_cmp(key_of(w, NEW), key_of(w, 0)) < 0) != mover_is_smaller &&
	       (w->nodes[NEW].net = net_free(w->nodes[NEW].net), true));
	node_close(w, &w->nodes[OLD]);
	assert_true(
		node_init(&w->nodes[OLD], runner(w), simnet_host(w->sim, "10.0.0.8"), number + 2));
	any = fixture_addr("10.0.0.8:4001");
	CHECK_STATUS(0, net_listen(w->nodes[OLD].net, &any));
	assert_int_equal(net_addrs(w->nodes[OLD].net, &w->nodes[OLD].addr, 1), 1);
	any = fixture_addr("10.0.0.9:4001");
	CHECK_STATUS(0, net_listen(w->nodes[NEW].net, &any));
	assert_int_equal(net_addrs(w->nodes[NEW].net, &w->nodes[NEW].addr, 1), 1);
}

static void move(struct world *w)
{
	CHECK_STATUS(0, simnet_set_path(w->sim, "10.0.0.1", "10.0.0.8",
					&(struct simnet_path){ .cut = true }));
}

static uint64_t timed_dial(struct world *w, const struct public_key *peer,
			   const struct multiaddr *addrs, size_t count, struct call *c)
{
	uint64_t start_ms = runner_now_ms(runner(w));

	CHECK_STATUS(0, dial_addrs(w, peer, addrs, count, c));
	return runner_now_ms(runner(w)) - start_ms;
}

static void an_idle_conn_is_asked_before_it_is_used(void **state)
{
	struct net_stats stats;
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 50 });
	world_connect(&w, 0, 1);
	world_run(&w, NET_FRESH_MS / 2);
	assert_int_equal(timed_dial(&w, key_of(&w, 1), &w.nodes[1].addr, 1, &c), 0);
	world_run(&w, 2 * NET_FRESH_MS);
	assert_in_range(timed_dial(&w, key_of(&w, 1), &w.nodes[1].addr, 1, &c), 100, 110);
	assert_true(c.dial.reused);
	net_stats(w.nodes[0].net, &stats);
	assert_int_equal(stats.dials, 1);
	assert_int_equal(stats.checks_failed, 0);
	world_fini(&w);
}

/* Whichever of the two has the smaller key: when both dial at once that decides, here it must not. */
static void a_peer_that_moved_is_found_at_its_new_address(void **state)
{
	for (unsigned smaller = 0; smaller < 2; smaller++) {
		struct net_stats stats;
		struct call c;
		struct world w;

		world_moving(&w, smaller == 0);
		world_connect(&w, smaller == 0 ? 0 : OLD, smaller == 0 ? OLD : 0);
		world_run(&w, 100);
		move(&w);
		assert_in_range(timed_dial(&w, key_of(&w, OLD), &w.nodes[NEW].addr, 1, &c), 0,
				NET_CHECK_MS + 300);
		assert_false(c.dial.reused);
		world_run(&w, 2 * NET_CHECK_MS);
		net_stats(w.nodes[0].net, &stats);
		assert_int_equal(stats.conns, 1);
		assert_int_equal(w.nodes[0].down_status, UV_ETIMEDOUT);
		/* … and the new one stays, on both sides. */
		world_run(&w, 20000);
		assert_ptr_equal(net_find(w.nodes[0].net, key_of(&w, OLD)), c.dial.conn);
		assert_non_null(net_find(w.nodes[NEW].net, key_of(&w, 0)));
		world_fini(&w);
	}
}

/* The other side may think well of the old one: it takes the word of the side that dials. Whoever
 * dialed which of them. */
static void both_sides_agree_on_the_conn_that_takes_the_place(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned dialer = i / 2, other = 1 - dialer;
		struct call c;
		struct world w;

		world_init(&w, 1, 2);
		world_connect(&w, i % 2, 1 - i % 2);
		world_run(&w, 2 * NET_FRESH_MS);
		net_find(w.nodes[dialer].net, key_of(&w, other))->doubtful = true;
		CHECK_STATUS(0, world_dial(&w, dialer, other, &c));
		assert_false(c.dial.reused);
		world_run(&w, 100);
		assert_int_equal(w.nodes[other].ups, 2);
		assert_int_equal(w.nodes[other].downs, 1);
		assert_ptr_equal(net_find(w.nodes[dialer].net, key_of(&w, other)), c.dial.conn);
		assert_ptr_equal(net_find(w.nodes[other].net, key_of(&w, dialer)),
				 w.nodes[other].conn);
		world_fini(&w);
	}
}

static void whoever_answers_elsewhere_proves_that_a_conn_is_dead(void **state)
{
	struct call c;
	struct world w;

	world_moving(&w, true);
	world_connect(&w, 0, OLD);
	world_run(&w, 2 * NET_FRESH_MS);
	move(&w);
	assert_in_range(timed_dial(&w, NULL, &w.nodes[NEW].addr, 1, &c), 0, NET_CHECK_MS + 300);
	assert_false(c.dial.reused);
	assert_true(key_eq(net_conn_peer(c.dial.conn), key_of(&w, NEW)));
	world_fini(&w);
}

/* The hint is wrong, or a second address of the same peer. */
static void a_conn_that_answers_is_not_given_up_for_another_address(void **state)
{
	struct call c;
	struct world w;

	world_moving(&w, true);
	world_connect(&w, 0, OLD);
	world_run(&w, 2 * NET_FRESH_MS);
	(void)timed_dial(&w, key_of(&w, OLD), &w.nodes[NEW].addr, 1, &c);
	assert_true(c.dial.reused);
	assert_int_equal(w.nodes[0].ups, 1);
	world_run(&w, 2 * NET_FRESH_MS);
	(void)timed_dial(&w, NULL, &w.nodes[NEW].addr, 1, &c);
	assert_true(c.dial.reused);
	world_run(&w, 1000);
	assert_int_equal(w.nodes[0].ups, 1);
	assert_int_equal(w.nodes[0].downs, 0);
	world_fini(&w);
}

static void a_slow_peer_is_waited_for(void **state)
{
	struct call c;
	struct world w;

	world_init(&w, 1, 2);
	world_connect(&w, 0, 1);
	world_run(&w, 2 * NET_FRESH_MS);
	refuse(&w, "10.0.0.2");
	simnet_set_path(w.sim, "10.0.0.1", "10.0.0.2",
			&(struct simnet_path){ .latency_ms = 1000, .refuse = true });
	assert_in_range(timed_dial(&w, key_of(&w, 1), &w.nodes[1].addr, 1, &c), 1000, 2500);
	assert_true(c.dial.reused);
	assert_int_equal(w.nodes[0].downs, 0);
	world_fini(&w);
}

static void a_dial_that_waits_lends_its_addresses(void **state)
{
	struct call first, second;
	struct world w;

	world_moving(&w, true);
	silence(&w, "10.0.0.8");
	call_start(&first, runner(&w), w.nodes[0].net, key_of(&w, OLD), &w.nodes[OLD].addr, 1);
	world_run(&w, 1000);
	assert_in_range(timed_dial(&w, key_of(&w, OLD), &w.nodes[NEW].addr, 1, &second), 0, 400);
	world_run(&w, 10);
	assert_true(first.done);
	CHECK_STATUS(0, first.status);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_conn_is_used_again),
		cmocka_unit_test(a_twin_is_told_from_ourselves),
		cmocka_unit_test(the_clock_of_a_peer_is_known),
		cmocka_unit_test(an_idle_conn_is_asked_before_it_is_used),
		cmocka_unit_test(a_peer_that_moved_is_found_at_its_new_address),
		cmocka_unit_test(both_sides_agree_on_the_conn_that_takes_the_place),
		cmocka_unit_test(whoever_answers_elsewhere_proves_that_a_conn_is_dead),
		cmocka_unit_test(a_conn_that_answers_is_not_given_up_for_another_address),
		cmocka_unit_test(a_slow_peer_is_waited_for),
		cmocka_unit_test(a_dial_that_waits_lends_its_addresses),
		cmocka_unit_test(the_peers_own_conn_is_used_too),
		cmocka_unit_test(failures_have_names),
		cmocka_unit_test(a_peer_that_is_not_the_one_asked_for_learns_nothing),
		cmocka_unit_test(whoever_answers_is_fine_without_a_key),
		cmocka_unit_test(a_probe_proves_the_peer_and_leaves_no_conn),
		cmocka_unit_test(a_probe_that_meets_another_peer_fails),
		cmocka_unit_test(the_next_address_is_tried_after_a_failure_at_once),
		cmocka_unit_test(the_next_address_is_tried_beside_a_silent_one),
		cmocka_unit_test(a_slow_first_address_still_wins),
		cmocka_unit_test(silence_ends_at_the_deadline),
		cmocka_unit_test(dials_to_one_peer_share_the_work),
		cmocka_unit_test(a_failure_is_shared),
		cmocka_unit_test(an_address_that_one_of_them_knows_serves_all),
		cmocka_unit_test(a_cancelled_dial_hands_over_to_those_that_wait),
		cmocka_unit_test(a_dial_may_be_cancelled_at_any_moment),
		cmocka_unit_test(the_end_of_connecting_is_told),
		cmocka_unit_test(a_trace_tells_which_address_cost_what),
		cmocka_unit_test(a_closing_net_ends_its_dials),
		cmocka_unit_test(a_conn_that_goes_before_the_callback_is_not_handed_out),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
