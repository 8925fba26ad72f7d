#include "net_fixture.h"

#include "net/conn.h"

static bool echoed(void *data)
{
	return ((struct flow *)data)->messages > 0;
}

static bool flow_is_closed(void *data)
{
	return ((struct flow *)data)->closes > 0;
}

static void a_message_comes_back_and_the_stream_ends(void **state)
{
	struct world w;
	struct flow *f;

	world_init(&w, 1, 2);
	f = flow_open(&w.nodes[0], world_connect(&w, 0, 1));
	CHECK_STATUS(0, net_stream_send(&f->stream, "hello", 5));
	assert_true(run_until(&w.loop, echoed, f, 1000));
	assert_int_equal(f->last_len, 5);
	assert_memory_equal(f->last, "hello", 5);
	net_stream_end(&f->stream);
	assert_true(run_until(&w.loop, flow_is_closed, f, 1000));
	CHECK_STATUS(0, f->status);
	CHECK_STATUS(0, w.nodes[1].flows[0].status);
	assert_int_equal(w.nodes[1].flows[0].closes, 1);
	world_fini(&w);
}

static void both_know_whom_they_talk_to(void **state)
{
	struct net_conn_info info;
	struct net_conn *c;
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 25 });
	c = world_connect(&w, 0, 1);
	world_run(&w, 200);
	assert_true(key_eq(net_conn_peer(c), net_self(w.nodes[1].net)));
	net_conn_info(w.nodes[1].conn, &info);
	assert_true(key_eq(&info.peer, net_self(w.nodes[0].net)));
	assert_true(info.inbound);
	assert_string_equal(info.agent, "test/1");
	assert_true(multiaddr_eq(&info.dial_addr, &w.nodes[0].addr));
	assert_true(info.rtt_us >= 50000 && info.rtt_us < 60000);
	assert_true(info.sent_bytes > 0 && info.received_bytes > 0);
	assert_ptr_equal(net_find(w.nodes[0].net, net_self(w.nodes[1].net)), c);
	world_fini(&w);
}

static void callbacks_never_come_inside_a_call(void **state)
{
	struct net_conn *c;
	struct flow *f;
	struct world w;

	world_init(&w, 1, 2);
	c = world_connect(&w, 0, 1);
	f = flow_open(&w.nodes[0], c);
	net_stream_reset(&f->stream, UV_ECANCELED);
	net_stream_reset(&f->stream, ERR_BUSY);
	CHECK_STATUS(ERR_CLOSED, net_stream_send(&f->stream, "x", 1));
	net_conn_close(c, ERR_BUSY);
	assert_int_equal(f->closes + w.nodes[0].downs, 0);
	world_run(&w, 10);
	assert_int_equal(f->closes, 1);
	CHECK_STATUS(UV_ECANCELED, f->status);
	assert_int_equal(w.nodes[0].downs, 1);
	CHECK_STATUS(ERR_BUSY, w.nodes[0].down_status);
	CHECK_STATUS(ERR_BUSY, w.nodes[1].down_status);
	world_fini(&w);
}

static void streams_end_before_their_conn_goes(void **state)
{
	struct net_conn *c;
	struct flow *f;
	struct world w;

	world_init(&w, 1, 2);
	c = world_connect(&w, 0, 1);
	f = flow_open(&w.nodes[0], c);
	world_run(&w, 10);
	simnet_reset(w.sim, "10.0.0.1", "10.0.0.2");
	world_run(&w, 10);
	CHECK_STATUS(ERR_CLOSED, f->status);
	CHECK_STATUS(ERR_CLOSED, w.nodes[1].flows[0].status);
	assert_null(net_stream_conn(&f->stream));
	CHECK_STATUS(UV_ECONNRESET, w.nodes[0].down_status);
	CHECK_STATUS(ERR_CLOSED, net_stream_send(&f->stream, "x", 1));
	world_fini(&w);
}

static void a_stream_may_be_used_again_from_its_last_callback(void **state)
{
	struct net_conn *c;
	struct world w;

	world_init(&w, 1, 2);
	c = world_connect(&w, 0, 1);
	for (unsigned i = 0; i < 200; i++) {
		struct flow *f = flow_open(&w.nodes[0], c);

		assert_ptr_equal(f, &w.nodes[0].flows[0]);
		CHECK_STATUS(0, net_stream_send(&f->stream, "again", 5));
		net_stream_end(&f->stream);
		assert_true(run_until(&w.loop, flow_is_closed, f, UINT64_MAX - 1));
		assert_int_equal(f->messages, 1);
	}
	world_fini(&w);
}

/* ---- Liveness ---- */

static void a_silent_peer_is_given_up(void **state)
{
	struct world w;

	world_init(&w, 1, 2);
	world_connect(&w, 0, 1);
	world_run(&w, 1000);
	CHECK_STATUS(0, simnet_set_path(w.sim, "10.0.0.1", "10.0.0.2",
					&(struct simnet_path){ .cut = true }));
	world_run(&w, NET_PING_INTERVAL_MS + NET_PING_TIMEOUT_MS + 1000);
	CHECK_STATUS(UV_ETIMEDOUT, w.nodes[0].down_status);
	CHECK_STATUS(UV_ETIMEDOUT, w.nodes[1].down_status);
	world_fini(&w);
}

static void a_short_silence_is_survived(void **state)
{
	struct world w;

	world_init(&w, 1, 2);
	flow_open(&w.nodes[0], world_connect(&w, 0, 1));
	world_run(&w, NET_PING_INTERVAL_MS - 1000);
	CHECK_STATUS(0, simnet_set_path(w.sim, "10.0.0.1", "10.0.0.2",
					&(struct simnet_path){ .cut = true }));
	world_run(&w, NET_PING_TIMEOUT_MS - 1000);
	CHECK_STATUS(0, simnet_set_path(w.sim, "10.0.0.1", "10.0.0.2",
					&(struct simnet_path){ .cut = false }));
	world_run(&w, 600000);
	assert_int_equal(w.nodes[0].downs + w.nodes[1].downs, 0);
	world_fini(&w);
}

/* 1 MiB at 25 kB/s, behind half of it in buffers: pings wait behind data for longer than their
 * timeout. */
static void a_slow_line_is_not_a_dead_one(void **state)
{
	uint8_t *msg = mem_alloc(NET_MESSAGE_MAX);
	struct flow *f;
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 20, .bandwidth = 25000 });
	f = flow_open(&w.nodes[0], world_connect(&w, 0, 1));
	CHECK_STATUS(0, net_stream_send(&f->stream, msg, 1 << 20));
	world_run(&w, 250000);
	assert_int_equal(w.nodes[1].flows[0].messages, 1);
	assert_int_equal(f->messages, 1);
	assert_int_equal(w.nodes[0].downs, 0);
	mem_free(msg);
	world_fini(&w);
}

static void a_conn_without_streams_is_closed_after_a_while(void **state)
{
	struct flow *f;
	struct world w;

	world_init(&w, 1, 2);
	f = flow_open(&w.nodes[0], world_connect(&w, 0, 1));
	world_run(&w, 2 * NET_IDLE_MS);
	assert_int_equal(w.nodes[0].downs, 0);
	net_stream_end(&f->stream);
	world_run(&w, NET_IDLE_MS - 1000);
	assert_int_equal(w.nodes[0].downs, 0);
	world_run(&w, 2000);
	assert_int_equal(w.nodes[0].downs, 1);
	CHECK_STATUS(ERR_CLOSED, w.nodes[0].down_status);
	CHECK_STATUS(ERR_CLOSED, w.nodes[1].down_status);
	world_fini(&w);
}

/* ---- Two conns to one peer ---- */

static void start_both(struct world *w, struct call *ab, struct call *ba)
{
	call_start(ab, &w->loop.runner, w->nodes[0].net, net_self(w->nodes[1].net),
		   &w->nodes[1].addr, 1);
	call_start(ba, &w->loop.runner, w->nodes[1].net, net_self(w->nodes[0].net),
		   &w->nodes[0].addr, 1);
}

static void simultaneous_dials_leave_one_conn(void **state)
{
	for (uint64_t seed = 1; seed <= 50; seed++) {
		struct call ab, ba;
		struct net_conn *a, *b;
		struct world w;

		world_init(&w, seed, 2);
		simnet_set_default(w.sim,
				   &(struct simnet_path){ .latency_ms = 20, .jitter_ms = 20 });
		start_both(&w, &ab, &ba);
		world_run(&w, 3000);
		assert_true(ab.done && ba.done);
		CHECK_STATUS(0, ab.status);
		CHECK_STATUS(0, ba.status);
		a = net_find(w.nodes[0].net, net_self(w.nodes[1].net));
		b = net_find(w.nodes[1].net, net_self(w.nodes[0].net));
		assert_true(a != NULL && b != NULL && a->inbound != b->inbound);
		assert_int_equal(w.nodes[0].ups - w.nodes[0].downs, 1);
		assert_int_equal(w.nodes[1].ups - w.nodes[1].downs, 1);
		world_fini(&w);
	}
}

static void the_conn_dialed_by_the_smaller_key_stays(void **state)
{
	struct call ab, ba;
	struct net_conn *a;
	bool a_is_smaller;
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 20 });
	start_both(&w, &ab, &ba);
	world_run(&w, 3000);
	assert_int_equal(w.nodes[0].ups, 2);
	a_is_smaller = key_cmp(net_self(w.nodes[0].net), net_self(w.nodes[1].net)) < 0;
	a = net_find(w.nodes[0].net, net_self(w.nodes[1].net));
	assert_int_equal(a->inbound, !a_is_smaller);
	world_fini(&w);
}

static void streams_of_the_losing_conn_are_finished(void **state)
{
	struct call ab, ba;
	struct flow *f[2];
	struct world w;

	world_init(&w, 1, 2);
	simnet_set_default(w.sim, &(struct simnet_path){ .latency_ms = 20 });
	start_both(&w, &ab, &ba);
	while (!ab.done || !ba.done)
		assert_true(manual_loop_step(&w.loop));
	f[0] = flow_open(&w.nodes[0], ab.dial.conn);
	f[1] = flow_open(&w.nodes[1], ba.dial.conn);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_STATUS(0, net_stream_send(&f[i]->stream, "late", 4));
		net_stream_end(&f[i]->stream);
	}
	world_run(&w, 3000);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(f[i]->messages, 1);
		CHECK_STATUS(0, f[i]->status);
		assert_int_equal(w.nodes[i].ups - w.nodes[i].downs, 1);
	}
	world_fini(&w);
}

static void a_peer_that_came_back_replaces_its_dead_conn(void **state)
{
	struct net_conn *dead;
	struct world w;

	world_init(&w, 1, 2);
	world_connect(&w, 0, 1);
	dead = w.nodes[1].conn;
	CHECK_STATUS(0, simnet_set_path(w.sim, "10.0.0.1", "10.0.0.2",
					&(struct simnet_path){ .cut = true }));
	net_conn_close(w.nodes[0].conn, ERR_CLOSED);
	world_run(&w, 10);
	/* the same key from another address, as after a change of network */
	w.nodes[2] = (struct node){ 0 };
	assert_true(node_init(&w.nodes[2], &w.loop.runner, simnet_host(w.sim, "10.0.0.3"), 1));
	w.count = 3;
	world_connect(&w, 2, 1);
	world_run(&w, 100);
	assert_ptr_not_equal(net_find(w.nodes[1].net, net_self(w.nodes[0].net)), dead);
	assert_non_null(net_find(w.nodes[1].net, net_self(w.nodes[0].net)));
	world_run(&w, NET_PING_TIMEOUT_MS + 5000);
	assert_int_equal(w.nodes[1].ups - w.nodes[1].downs, 1);
	world_fini(&w);
}

/* ---- Limits ---- */

/* Links that never speak, from as many addresses as wanted. */
struct crowd {
	struct net_link *links[NET_PENDING_MAX + 40];
	unsigned count, gone;
};

static void crowd_open(struct net_link *l, int status)
{
}

static void crowd_read(struct net_link *l, const uint8_t *data, size_t len)
{
}

static void crowd_drain(struct net_link *l)
{
}

static void crowd_close(struct net_link *l, int status)
{
	((struct crowd *)l->data)->gone++;
}

static const struct net_link_events crowd_events = { crowd_open, crowd_read, crowd_drain,
						     crowd_close };

static void crowd_dial(struct crowd *c, struct world *w, const char *ip,
		       const struct multiaddr *addr, unsigned count)
{
	struct net_transport *t = simnet_host(w->sim, ip);

	for (unsigned i = 0; i < count; i++)
		c->links[c->count++] = t->dial(t, addr, &crowd_events, c);
	world_run(w, 10);
}

static void one_address_gets_so_many_connections(void **state)
{
	struct crowd c = { .count = 0 };
	struct net_stats stats;
	struct world w;

	world_init(&w, 1, 2);
	crowd_dial(&c, &w, "10.9.9.9", &w.nodes[1].addr, NET_CONNS_PER_IP_MAX + 5);
	assert_int_equal(c.gone, 5);
	net_stats(w.nodes[1].net, &stats);
	assert_int_equal(stats.refused_limit, 5);
	world_connect(&w, 0, 1);
	world_run(&w, NET_HANDSHAKE_TIMEOUT_MS + 10);
	assert_int_equal(c.gone, c.count);
	world_fini(&w);
}

static void silence_does_not_keep_others_out(void **state)
{
	struct crowd c = { .count = 0 };
	char ip[32];
	struct world w;

	world_init(&w, 1, 2);
	for (unsigned i = 0; i < NET_PENDING_MAX + 10; i++) {
		snprintf(ip, sizeof(ip), "10.9.%u.1", i);
		crowd_dial(&c, &w, ip, &w.nodes[1].addr, 1);
	}
	assert_int_equal(c.gone, 10);
	world_connect(&w, 0, 1);
	assert_int_equal(c.gone, 11);
	world_run(&w, NET_HANDSHAKE_TIMEOUT_MS + 10);
	assert_int_equal(c.gone, c.count);
	assert_int_equal(w.nodes[1].ups, 1);
	world_fini(&w);
}

static void refused_streams_tell_why(void **state)
{
	struct flow *f;
	struct world w;

	world_init(&w, 1, 2);
	w.nodes[1].refusal = ERR_BUSY;
	f = flow_open(&w.nodes[0], world_connect(&w, 0, 1));
	world_run(&w, 10);
	CHECK_STATUS(ERR_BUSY, f->status);
	world_fini(&w);
}

/* ---- Memory ---- */

/* The conversation of a sweep: connect, one echo of a long message, close. What must hold: nothing
 * leaks, everybody is told exactly once, and without a fault it works. */
static void converse(struct world *w)
{
	static uint8_t msg[200000];
	struct flow *f = NULL;
	struct call c;

	if (world_dial(w, 0, 1, &c) == 0 && (f = node_flow(&w->nodes[0])) != NULL) {
		if (net_stream_open(&f->stream, c.dial.conn) != 0)
			f = NULL;
		else if (net_stream_send(&f->stream, msg, sizeof(msg)) == 0)
			world_run(w, 50);
	}
	if (f != NULL)
		net_stream_end(&f->stream);
	world_run(w, 50);
	if (mem_fault_hits() == 0)
		assert_true(f != NULL && f->messages == 1 && f->closes == 1);
	node_close(w, &w->nodes[0]);
	node_close(w, &w->nodes[1]);
	assert_true(f == NULL || f->closes == 1);
	assert_int_equal(w->nodes[0].ups, w->nodes[0].downs);
	assert_int_equal(w->nodes[1].ups, w->nodes[1].downs);
}

static void a_conversation_survives_oom_at_every_allocation(void **state)
{
	struct fault_sweep sweep = { 0 };
	bool more = true;

	while (more) {
		struct world w;

		world_init(&w, 1, 2);
		simnet_host(w.sim, "10.0.0.1");
		more = fault_sweep_next(&sweep, __FILE__, __LINE__);
		converse(&w);
		mem_fault_after(0, false);
		world_fini(&w);
	}
}

static void a_net_without_memory_is_none(void **state)
{
	struct manual_loop loop;
	struct simnet *sim;

	manual_loop_init(&loop, 1);
	sim = simnet_new(&loop.runner, 1);
	FAULT_SWEEP({
		struct node n;
		bool made = node_init(&n, &loop.runner, NULL, 1);

		assert_true(made || mem_fault_hits() > 0);
		net_free(n.net);
	});
	simnet_free(sim);
	manual_loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_comes_back_and_the_stream_ends),
		cmocka_unit_test(both_know_whom_they_talk_to),
		cmocka_unit_test(callbacks_never_come_inside_a_call),
		cmocka_unit_test(streams_end_before_their_conn_goes),
		cmocka_unit_test(a_stream_may_be_used_again_from_its_last_callback),
		cmocka_unit_test(a_silent_peer_is_given_up),
		cmocka_unit_test(a_short_silence_is_survived),
		cmocka_unit_test(a_slow_line_is_not_a_dead_one),
		cmocka_unit_test(a_conn_without_streams_is_closed_after_a_while),
		cmocka_unit_test(simultaneous_dials_leave_one_conn),
		cmocka_unit_test(the_conn_dialed_by_the_smaller_key_stays),
		cmocka_unit_test(streams_of_the_losing_conn_are_finished),
		cmocka_unit_test(a_peer_that_came_back_replaces_its_dead_conn),
		cmocka_unit_test(one_address_gets_so_many_connections),
		cmocka_unit_test(silence_does_not_keep_others_out),
		cmocka_unit_test(refused_streams_tell_why),
		cmocka_unit_test(a_conversation_survives_oom_at_every_allocation),
		cmocka_unit_test(a_net_without_memory_is_none),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
