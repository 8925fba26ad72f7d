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
	assert_true(node_init(&p->a, &p->loop.runner, net_tcp_new(&p->loop.uv), 1));
	assert_true(node_init(&p->b, &p->loop.runner, net_tcp_new(&p->loop.uv), 2));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_cross_real_sockets),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
