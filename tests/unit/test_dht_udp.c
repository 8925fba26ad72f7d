/* The driver on real sockets of the loopback interface. */
#include "tests/unit/test_util.h"

#include "base/loop.h"
#include "discovery/dht/dht.h"

enum { NODES = 5, LIMIT_MS = 20000 };

struct net {
	struct loop loop;
	struct dht_udp *nodes[NODES];
	struct dht_lookup lookup;
	struct runner_timer timer;
	struct buf saved;
	unsigned closed, saves;
	int status;
	struct dht_address found;
};

static void on_closed(void *data)
{
	struct net *n = data;

	n->closed++;
}

static void on_time(struct runner_timer *t)
{
	loop_stop(&container_of(t, struct net, timer)->loop);
}

static void run_ms(struct net *n, uint64_t ms)
{
	struct runner *r = &n->loop.runner;

	n->timer.run = on_time;
	runner_timer_start(r, &n->timer, runner_now_ms(r) + ms);
	loop_run(&n->loop);
	runner_timer_stop(r, &n->timer);
}

static void save(void *data, const uint8_t *state, size_t len)
{
	struct net *n = data;

	n->saves++;
	buf_clear(&n->saved);
	buf_write(&n->saved, state, len);
}

static struct dht_udp *open_node(struct net *n, bool saves)
{
	struct dht_udp_config config = { .loop = &n->loop, .mode = DHT_MODE_AUTO, .data = n };
	struct dht_udp *u;

	config.listen[0] = (struct dht_address){ .family = 4, .ip = { 127, 0, 0, 1 } };
	config.save = saves ? save : NULL;
	CHECK_STATUS(0, dht_udp_open(&config, &u));
	return u;
}

static void net_init(struct net *n)
{
	struct dht_address first;

	memset(n, 0, sizeof(*n));
	CHECK_STATUS(0, loop_init(&n->loop));
	buf_init(&n->saved, DHT_STATE_MAX);
	for (unsigned i = 0; i < NODES; i++)
		n->nodes[i] = open_node(n, i == 0);
	first = dht_udp_local(n->nodes[0], 0);
	for (unsigned i = 1; i < NODES; i++)
		dht_add_node(dht_udp_core(n->nodes[i]), &first);
}

static void net_fini(struct net *n)
{
	unsigned open = 0;

	for (unsigned i = 0; i < NODES; i++) {
		if (n->nodes[i] == NULL)
			continue;
		open++;
		dht_udp_close(n->nodes[i], on_closed, n);
	}
	n->closed = 0;
	while (n->closed < open)
		run_ms(n, 1);
	loop_fini(&n->loop);
	buf_fini(&n->saved);
}

static void on_done(struct dht_lookup *l, int status)
{
	struct net *n = l->data;

	n->status = status;
	loop_stop(&n->loop);
}

static void on_peer(struct dht_lookup *l, const struct dht_address *peer,
		    const struct dht_address *from)
{
	struct net *n = l->data;

	n->found = *peer;
}

static void look(struct net *n, unsigned node, uint16_t port)
{
	struct dht_id key = dht_key_of("key", 3);
	struct op_env env = { .runner = &n->loop.runner };

	env.deadline_ms = runner_now_ms(env.runner) + LIMIT_MS;
	n->lookup = (struct dht_lookup){ .data = n, .on_peer = on_peer, .announce_port = port };
	n->status = 1;
	dht_lookup_start(&n->lookup, &env, dht_udp_core(n->nodes[node]), &key, DHT_LOOKUP_PEERS,
			 on_done);
	while (n->status == 1)
		loop_run(&n->loop);
}

static void nodes_on_loopback_find_each_others_announcements(void **state)
{
	struct net n;

	net_init(&n);
	for (unsigned i = 0; i < 200 && dht_state(dht_udp_core(n.nodes[4])) != NULL; i++)
		run_ms(&n, 50);
	look(&n, 1, 4001);
	CHECK_STATUS(0, n.status);
	assert_true(n.lookup.stored > 0);
	look(&n, 3, 0);
	CHECK_STATUS(0, n.status);
	assert_int_equal(n.found.port, 4001);
	net_fini(&n);
}

/* A closed port answers with ICMP: no deadline is waited for. */
static void a_port_where_nobody_listens_fails_at_once(void **state)
{
	struct dht_address closed;
	struct dht_stats s = { 0 };
	struct dht_udp *gone;
	struct net n;

	net_init(&n);
	gone = open_node(&n, false);
	closed = dht_udp_local(gone, 0);
	dht_udp_close(gone, on_closed, &n);
	while (n.closed == 0)
		run_ms(&n, 1);
	dht_add_node(dht_udp_core(n.nodes[2]), &closed);
	for (unsigned i = 0; i < 200 && s.unreachable == 0; i++) {
		run_ms(&n, 50);
		dht_stats(dht_udp_core(n.nodes[2]), &s);
	}
	assert_true(s.unreachable > 0);
	net_fini(&n);
}

static void the_state_is_saved_at_closing(void **state)
{
	struct net n;

	net_init(&n);
	run_ms(&n, 100);
	dht_udp_close(n.nodes[0], on_closed, &n);
	n.nodes[0] = NULL;
	while (n.closed == 0)
		run_ms(&n, 1);
	assert_int_equal(n.saves, 1);
	assert_true(n.saved.len > 0);
	net_fini(&n);
}

static void a_bound_port_is_an_error(void **state)
{
	struct dht_udp_config config = { 0 };
	struct dht_udp *u;
	struct net n;

	net_init(&n);
	config.loop = &n.loop;
	config.listen[0] = dht_udp_local(n.nodes[0], 0);
	CHECK_STATUS(UV_EADDRINUSE, dht_udp_open(&config, &u));
	net_fini(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_on_loopback_find_each_others_announcements),
		cmocka_unit_test(a_port_where_nobody_listens_fails_at_once),
		cmocka_unit_test(the_state_is_saved_at_closing),
		cmocka_unit_test(a_bound_port_is_an_error),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
