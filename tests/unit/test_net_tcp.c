#include "net_fixture.h"

#include "base/loop.h"

struct pair {
	struct loop loop;
	struct node a, b;
	struct call call;
	unsigned closed;
};

static void pair_closed(void *data)
{
	((struct pair *)data)->closed++;
}

static void pair_init(struct pair *p, const char *listen)
{
	struct multiaddr any = fixture_addr(listen);

	memset(p, 0, sizeof(*p));
	CHECK_STATUS(0, loop_init(&p->loop));
	assert_true(node_init(&p->a, &p->loop.runner, net_tcp_new(&p->loop), 1));
	assert_true(node_init(&p->b, &p->loop.runner, net_tcp_new(&p->loop), 2));
	CHECK_STATUS(0, net_listen(p->b.net, &any));
}

static void turn_until(struct pair *p, bool (*pred)(void *data), void *data)
{
	uint64_t until = runner_now_ms(&p->loop.runner) + 30000;

	while (!pred(data) && runner_now_ms(&p->loop.runner) < until)
		uv_run(&p->loop.uv, UV_RUN_ONCE);
	assert_true(pred(data));
}

static bool both_closed(void *data)
{
	return ((struct pair *)data)->closed == 2;
}

static void pair_fini(struct pair *p)
{
	net_close(p->a.net, pair_closed, p);
	net_close(p->b.net, pair_closed, p);
	turn_until(p, both_closed, p);
	net_free(p->a.net);
	net_free(p->b.net);
	net_tcp_free(p->a.transport);
	net_tcp_free(p->b.transport);
	loop_fini(&p->loop);
}

static int dial(struct pair *p, const struct multiaddr *addr)
{
	call_start(&p->call, &p->loop.runner, p->a.net, net_self(p->b.net), addr, 1);
	turn_until(p, call_is_done, &p->call);
	return p->call.status;
}

static bool has_conn(void *data)
{
	return ((struct node *)data)->conn != NULL;
}

static bool has_echo(void *data)
{
	return ((struct flow *)data)->messages > 0;
}

static void messages_cross_real_sockets(void **state)
{
	struct multiaddr addrs[NET_ADDRS_MAX];
	struct pair p;
	struct flow *f;
	char *big;

	pair_init(&p, "127.0.0.1:0");
	assert_int_equal(net_addrs(p.b.net, addrs, NET_ADDRS_MAX), 1);
	assert_true(addrs[0].has_peer && addrs[0].port != 0);
	CHECK_STATUS(0, dial(&p, &addrs[0]));
	f = flow_open(&p.a, p.call.dial.conn);
	big = mem_alloc(NET_MESSAGE_MAX);
	CHECK_STATUS(0, net_stream_send(&f->stream, big, NET_MESSAGE_MAX));
	turn_until(&p, has_echo, f);
	assert_int_equal(f->bytes, NET_MESSAGE_MAX);
	mem_free(big);
	pair_fini(&p);
}

static void a_wildcard_is_shown_as_what_others_can_dial(void **state)
{
	struct multiaddr addrs[NET_ADDRS_MAX];
	struct pair p;
	size_t count;

	pair_init(&p, "0.0.0.0:0");
	count = net_addrs(p.b.net, addrs, NET_ADDRS_MAX);
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(addrs[i].family, 4);
		assert_true(addrs[i].ip[0] != 0 && addrs[i].port != 0 && addrs[i].has_peer);
		assert_int_equal(multiaddr_is_loopback(&addrs[i]), i == count - 1);
	}
	CHECK_STATUS(0, dial(&p, &addrs[count - 1]));
	pair_fini(&p);
}

static void the_ipv6_wildcard_takes_both_families(void **state)
{
	struct multiaddr any4 = fixture_addr("127.0.0.1:1"), any6 = fixture_addr("[::]:0");
	struct multiaddr addrs[NET_ADDRS_MAX];
	struct net_conn_info info;
	struct pair p;
	size_t count;

	pair_init(&p, "127.0.0.1:0");
	if (net_listen(p.b.net, &any6) != 0) { /* no IPv6 here */
		pair_fini(&p);
		SKIP_TEST("no IPv6 here");
	}
	count = net_addrs(p.b.net, addrs, NET_ADDRS_MAX);
	any4.port = addrs[count - 1].port;
	CHECK_STATUS(0, dial(&p, &any4));
	net_conn_info(p.call.dial.conn, &info);
	assert_int_equal(info.remote.family, 4);
	turn_until(&p, has_conn, &p.b);
	net_conn_info(p.b.conn, &info);
	assert_int_equal(info.remote.family, 4);
	assert_int_equal(info.remote.ip[0], 127);
	pair_fini(&p);
}

static void both_wildcards_share_a_port(void **state)
{
	struct multiaddr any = fixture_addr("[::]:0"), addrs[NET_ADDRS_MAX];
	struct pair p;
	int err;

	pair_init(&p, "0.0.0.0:0");
	assert_true(net_addrs(p.b.net, addrs, NET_ADDRS_MAX) > 0);
	any.port = addrs[0].port;
	err = net_listen(p.b.net, &any);
	if (err == 0)
		CHECK_STATUS(UV_EADDRINUSE, net_listen(p.b.net, &any));
	pair_fini(&p);
	if (err == UV_EAFNOSUPPORT)
		SKIP_TEST("no IPv6 here");
	CHECK_STATUS(0, err);
}

static void a_closed_port_refuses(void **state)
{
	struct multiaddr nobody = fixture_addr("127.0.0.1:1");
	struct pair p;

	pair_init(&p, "127.0.0.1:0");
	CHECK_STATUS(UV_ECONNREFUSED, dial(&p, &nobody));
	pair_fini(&p);
}

static void an_address_that_cannot_be_dialed_fails_from_the_loop(void **state)
{
	struct multiaddr broadcast = fixture_addr("255.255.255.255:9");
	struct pair p;

	pair_init(&p, "127.0.0.1:0");
	assert_true(dial(&p, &broadcast) < 0);
	pair_fini(&p);
}

static bool is_down(void *data)
{
	return ((struct node *)data)->downs > 0;
}

static void the_other_side_notices_a_close(void **state)
{
	struct multiaddr addrs[1];
	struct pair p;

	pair_init(&p, "127.0.0.1:0");
	net_addrs(p.b.net, addrs, 1);
	CHECK_STATUS(0, dial(&p, addrs));
	turn_until(&p, has_conn, &p.b);
	net_conn_close(p.call.dial.conn, ERR_BUSY);
	turn_until(&p, is_down, &p.b);
	CHECK_STATUS(ERR_BUSY, p.b.down_status);
	pair_fini(&p);
}

static void accepting_survives_oom(void **state)
{
	struct multiaddr addrs[1];

	for (unsigned n = 1; n < 40; n++) {
		struct pair p;

		pair_init(&p, "127.0.0.1:0");
		net_addrs(p.b.net, addrs, 1);
		call_start(&p.call, &p.loop.runner, p.a.net, net_self(p.b.net), addrs, 1);
		mem_fault_after(n, false);
		turn_until(&p, call_is_done, &p.call);
		for (unsigned i = 0; i < 20; i++)
			uv_run(&p.loop.uv, UV_RUN_NOWAIT);
		mem_fault_after(0, false);
		CHECK_STATUS(0, dial(&p, addrs)); /* whatever failed, the next attempt works */
		pair_fini(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_cross_real_sockets),
		cmocka_unit_test(a_wildcard_is_shown_as_what_others_can_dial),
		cmocka_unit_test(the_ipv6_wildcard_takes_both_families),
		cmocka_unit_test(both_wildcards_share_a_port),
		cmocka_unit_test(a_closed_port_refuses),
		cmocka_unit_test(an_address_that_cannot_be_dialed_fails_from_the_loop),
		cmocka_unit_test(the_other_side_notices_a_close),
		cmocka_unit_test(accepting_survives_oom),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
