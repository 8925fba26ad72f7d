/* Networks of nodes on a virtual clock: do they find what was announced? */
#include "tests/unit/test_util.h"

#include "discovery/dht/krpc.h"
#include "tests/sim/dht_churn.h"

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

static void equal_seeds_give_equal_runs(void **state)
{
	struct dht_churn_config config = { .seed = 3,
					   .nodes = 60,
					   .nat_percent = 30,
					   .loss_permille = 10,
					   .uptime_ms = 600000,
					   .warm_ms = 60000,
					   .keys = 5,
					   .lookups = 20 };
	struct dht_churn_result a, b;

	dht_churn_run(&config, &a);
	dht_churn_run(&config, &b);
	assert_int_equal(a.found, b.found);
	assert_true(a.packets_per_node_s == b.packets_per_node_s);
	assert_int_equal(a.done_ms[1], b.done_ms[1]);
}

static void churn_loss_and_nats_do_not_hide_what_was_announced(void **state)
{
	struct dht_churn_config config = { .seed = 4,
					   .nodes = 250,
					   .nat_percent = 30,
					   .loss_permille = 10,
					   .uptime_ms = 3600000,
					   .warm_ms = 900000,
					   .keys = 20,
					   .lookups = 100 };
	struct dht_churn_result r;

	dht_churn_run(&config, &r);
	assert_int_equal(r.announced, 20);
	assert_in_range(r.found, 99, 100);
	assert_in_range(r.queries[0], DHT_K, 18);
	assert_in_range(r.done_ms[1], 1, 800);
	assert_true(r.packets_per_node_s < 2);
}

/* Ids right next to the key, in defiance of BEP 42, answering everybody with each other. */
static void an_eclipse_by_ids_of_ones_choice_fails(void **state)
{
	struct dht_churn_config config = { .seed = 5,
					   .nodes = 150,
					   .warm_ms = 300000,
					   .keys = 2,
					   .lookups = 4,
					   .sybils = 100,
					   .sybil_nets = 100 };
	struct dht_churn_result r;

	dht_churn_run(&config, &r);
	assert_in_range(r.sybil_found, 95, 100);
	assert_true(r.sybil_share < 0.2);
}

enum { HONEST = 12, CONSPIRATORS = 9 }; /* most of a table keeps to BEP 42 */

struct conspiracy {
	struct krpc_node members[CONSPIRATORS];
};

/* Names the others, whatever is asked. */
static void conspires(struct dht_world_node *n, const struct dht_address *from, const uint8_t *data,
		      size_t len)
{
	const struct conspiracy *c = n->evil_data;
	struct krpc_message m;
	struct krpc_reply r;
	struct buf out;

	if (krpc_parse(data, len, &m) < 0 || m.type != KRPC_QUERY)
		return;
	r = (struct krpc_reply){ .tid = m.tid,
				 .to = from,
				 .nodes = { c->members },
				 .node_count = { CONSPIRATORS },
				 .has_nodes = { true } };
	for (unsigned i = 0; i < CONSPIRATORS; i++) {
		if (dht_address_eq(&c->members[i].addr, &n->addr))
			r.id = &c->members[i].id;
	}
	buf_init(&out, 2048);
	krpc_write_reply(&out, &r);
	dht_world_send(n, from, out.data, out.len);
	buf_fini(&out);
}

/* One that keeps to BEP 42 names many that do not, all nearer to the key than anybody else. */
static void misfits_are_no_nodes_of_a_key(void **state)
{
	struct dht_world *w = dht_world_new(&(struct dht_world_config){
		.seed = 9, .nodes_max = HONEST + CONSPIRATORS, .rtt_lo_ms = 20, .rtt_hi_ms = 180 });
	struct dht_id key = dht_key_of("x", 1);
	struct dht_world_lookup look = { 0 };
	struct conspiracy c;

	spawn(w, HONEST, 0);
	dht_world_run(w, 20000);
	for (uint8_t i = 0; i < CONSPIRATORS; i++) {
		struct dht_world_node *n = dht_world_add_evil(w, NULL);

		n->evil = conspires;
		n->evil_data = &c;
		c.members[i] = (struct krpc_node){ key, n->addr };
		c.members[i].id.bytes[2] ^= i;
		if (i == 0)
			id_bind(&c.members[i].id, &n->addr);
	}
	dht_add_node(w->nodes[0]->dht, &c.members[0].addr);
	dht_world_run(w, 5000);
	dht_world_look(w->nodes[0], &key, 0, &look);
	assert_int_equal(look.lookup.nearest_count, DHT_K);
	for (unsigned i = 0; i < DHT_K; i++)
		assert_true(id_fits(&look.lookup.nearest_ids[i], &look.lookup.nearest[i]));
	assert_true(look.lookup.queries > HONEST); /* they were asked, though */
	dht_world_free(w);
}

static unsigned stored_at(struct dht_world_node *n)
{
	struct dht_stats s;

	dht_stats(n->dht, &s);
	return (unsigned)s.stored_peers;
}

static void an_announcement_is_renewed_before_it_is_forgotten(void **state)
{
	struct dht_world *w = dht_world_new(&(struct dht_world_config){
		.seed = 6, .nodes_max = 9, .rtt_lo_ms = 20, .rtt_hi_ms = 180 });
	struct dht_id key = dht_key_of("x", 1);
	unsigned stored = 0;

	spawn(w, 9, 0);
	dht_world_run(w, 10000);
	CHECK_STATUS(0, dht_announce(w->nodes[3]->dht, &key, 4001));
	for (unsigned i = 0; i < 30; i++) {
		dht_world_run(w, 300000);
		stored = 0;
		for (unsigned j = 0; j < w->count; j++)
			stored += stored_at(w->nodes[j]);
		assert_in_range(stored, DHT_K, 9);
		assert_true(finds(w->nodes[5], &key, &w->nodes[3]->addr, 4001));
	}
	dht_unannounce(w->nodes[3]->dht, &key);
	assert_int_equal(dht_announcement_count(w->nodes[3]->dht), 0);
	dht_world_run(w, 3600000);
	assert_false(finds(w->nodes[5], &key, &w->nodes[3]->addr, 4001));
	dht_world_free(w);
}

static void a_net_of_private_addresses_grows_by_itself(void **state)
{
	struct dht_world *w = dht_world_new(
		&(struct dht_world_config){ .seed = 7, .nodes_max = 6, .private_net = true });
	struct dht_id key = dht_key_of("x", 1);
	struct dht_world_lookup look = { 0 };

	spawn(w, 6, 0);
	dht_world_run(w, 20000);
	dht_world_look(w->nodes[1], &key, 4001, &look);
	assert_int_equal(look.lookup.stored, 5);
	assert_true(finds(w->nodes[4], &key, &w->nodes[1]->addr, 4001));
	dht_world_free(w);
}

static void a_network_that_was_away_is_found_again(void **state)
{
	struct dht_world *w = dht_world_new(&(struct dht_world_config){
		.seed = 8, .nodes_max = 20, .rtt_lo_ms = 20, .rtt_hi_ms = 180 });
	struct dht_id key = dht_key_of("x", 1);
	struct dht_world_lookup look = { 0 };

	spawn(w, 20, 0);
	dht_world_run(w, 60000);
	dht_world_look(w->nodes[1], &key, 4001, &look);
	w->nodes[7]->mute = true; /* its link is down for an hour */
	dht_world_run(w, 3600000);
	assert_string_equal(dht_state(w->nodes[7]->dht), "no UDP");
	w->nodes[7]->mute = false;
	dht_world_run(w, 900000);
	assert_null(dht_state(w->nodes[7]->dht));
	dht_world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_find_what_the_other_announced),
		cmocka_unit_test(a_hundred_nodes_find_every_key),
		cmocka_unit_test(equal_seeds_give_equal_runs),
		cmocka_unit_test(churn_loss_and_nats_do_not_hide_what_was_announced),
		cmocka_unit_test(an_eclipse_by_ids_of_ones_choice_fails),
		cmocka_unit_test(misfits_are_no_nodes_of_a_key),
		cmocka_unit_test(an_announcement_is_renewed_before_it_is_forgotten),
		cmocka_unit_test(a_net_of_private_addresses_grows_by_itself),
		cmocka_unit_test(a_network_that_was_away_is_found_again),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
