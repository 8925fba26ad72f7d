/* Networks of nodes on a virtual clock: do they find what was announced? */
#include "tests/unit/test_util.h"

#include "tests/sim/dht_world.h"

static void spawn(struct dht_world *w, unsigned count, unsigned nat_percent)
{
	for (unsigned i = 0; i < count; i++) {
		bool nat = i > 2 && runner_random_below(&w->loop.runner, 100) < nat_percent;

		dht_world_join(dht_world_add(w, nat, DHT_MODE_AUTO), 3);
		dht_world_run(w, 50);
	}
}

struct wanted {
	struct dht_address peer;
	bool seen;
};

static void on_peer(struct dht_lookup *l, const struct dht_address *peer,
		    const struct dht_address *from)
{
	struct wanted *w = l->data;

	w->seen = w->seen || dht_address_eq(peer, &w->peer);
}

static bool finds(struct dht_world_node *n, const struct dht_id *key,
		  const struct dht_address *owner, uint16_t port)
{
	struct wanted wanted = { *owner, false };
	struct dht_world_lookup look = { .lookup = { .data = &wanted, .on_peer = on_peer } };

	wanted.peer.port = port;
	dht_world_look(n, key, 0, &look);
	return look.status == 0 && wanted.seen;
}

static void two_nodes_find_what_the_other_announced(void **state)
{
	struct dht_world *w = dht_world_new(&(struct dht_world_config){
		.seed = 1, .nodes_max = 2, .rtt_lo_ms = 20, .rtt_hi_ms = 180 });
	struct dht_id key = dht_key_of("x", 1);
	struct dht_world_lookup look = { 0 };

	spawn(w, 2, 0);
	dht_world_run(w, 10000);
	dht_world_look(w->nodes[0], &key, 4001, &look);
	assert_int_equal(look.status, 0);
	assert_int_equal(look.lookup.stored, 1);
	assert_true(finds(w->nodes[1], &key, &w->nodes[0]->addr, 4001));
	assert_true(finds(w->nodes[0], &key, &w->nodes[0]->addr, 4001));
	dht_world_free(w);
}

static void a_hundred_nodes_find_every_key(void **state)
{
	struct dht_world *w = dht_world_new(&(struct dht_world_config){
		.seed = 2, .nodes_max = 100, .rtt_lo_ms = 20, .rtt_hi_ms = 180 });

	spawn(w, 100, 0);
	dht_world_run(w, 20000);
	for (uint8_t i = 0; i < 20; i++) {
		struct dht_id key = dht_key_of((char *)&i, 1);
		struct dht_world_lookup look = { 0 };
		struct dht_world_node *owner = dht_world_pick(w);

		dht_world_look(owner, &key, 4001, &look);
		assert_in_range(look.lookup.stored, DHT_K, 2 * DHT_K);
		assert_in_range(look.lookup.queries, DHT_K, 3 * DHT_K);
		assert_true(finds(dht_world_pick(w), &key, &owner->addr, 4001));
	}
	dht_world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_find_what_the_other_announced),
		cmocka_unit_test(a_hundred_nodes_find_every_key),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
