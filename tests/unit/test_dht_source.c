/* What discovery gets from the DHT: addresses as they come, at a pace, and none that aim at others.
 */
#include "tests/unit/test_util.h"

#include "discovery/dht/krpc.h"
#include "discovery/discovery.h"
#include "tests/sim/dht_world.h"

enum { NODES = 6 }; /* every one of them is asked */

struct asker {
	struct dht_world *w;
	struct discovery_source *source;
	struct discovery_lookup lookup;
	struct multiaddr peers[128];
	uint64_t at_ms[128];
	size_t count;
	bool done;
	int status;
};

static void on_peer(struct discovery_lookup *l, const struct sync_target *target)
{
	struct asker *a = l->data;

	assert_true(target->any_peer);
	assert_int_equal(target->addr_count, 1);
	a->at_ms[a->count] = runner_now_ms(&a->w->loop.runner);
	a->peers[a->count++] = target->addrs[0];
}

static void on_done(struct discovery_lookup *l, int status)
{
	struct asker *a = l->data;

	a->done = true;
	a->status = status;
}

static const struct discovery_lookup_events events = { on_peer, on_done };

static struct iri iri_of(const char *path)
{
	struct iri iri = { .space = { { 1, 2, 3 } }, .path_len = strlen(path) };

	memcpy(iri.path, path, iri.path_len + 1);
	return iri;
}

static void asker_init(struct asker *a)
{
	memset(a, 0, sizeof(*a));
	a->w = dht_world_new(&(struct dht_world_config){
		.seed = 5, .nodes_max = NODES + 1, .rtt_lo_ms = 20, .rtt_hi_ms = 180 });
	for (unsigned i = 0; i < NODES; i++)
		dht_world_join(dht_world_add(a->w, false, DHT_MODE_AUTO), 3);
	dht_world_run(a->w, 20000);
	a->source = dht_source_new(&a->w->loop.runner, a->w->nodes[0]->dht);
	assert_non_null(a->source);
	assert_null(a->source->state(a->source));
}

static void asker_fini(struct asker *a)
{
	dht_source_free(a->source);
	dht_world_free(a->w);
}

static void start(struct asker *a, const struct iri *iri)
{
	struct op_env env = { .runner = &a->w->loop.runner };

	env.deadline_ms = runner_now_ms(env.runner) + 60000;
	a->done = false;
	a->count = 0;
	a->lookup = (struct discovery_lookup){ .events = &events, .data = a };
	a->source->lookup(a->source, &a->lookup, &env, iri);
}

static void look(struct asker *a, const struct iri *iri)
{
	start(a, iri);
	while (!a->done && manual_loop_step(&a->w->loop))
		;
	assert_true(a->done);
}

static void announce(struct asker *a, unsigned node, const struct dht_id *key, uint16_t port)
{
	struct dht_world_lookup l = { 0 };

	dht_world_look(a->w->nodes[node], key, port, &l);
	assert_true(l.lookup.stored > 0);
}

static void keys_of_object_and_space_differ_and_versions_do_not_matter(void **state)
{
	struct iri object = iri_of("/notes"), pinned = object, space = iri_of("");
	struct dht_id a[2], b[2];

	pinned.head_count = 1;
	assert_int_equal(dht_keys_of_iri(&object, a), 2);
	assert_int_equal(dht_keys_of_iri(&pinned, b), 2);
	assert_true(dht_id_eq(&a[1], &b[1]));
	assert_false(dht_id_eq(&a[0], &a[1]));
	assert_int_equal(dht_keys_of_iri(&space, b), 1);
	assert_true(dht_id_eq(&a[0], &b[0]));
}

static void peers_of_the_object_and_of_its_space_are_found(void **state)
{
	struct iri iri = iri_of("/notes");
	struct dht_id keys[2];
	struct asker a;

	asker_init(&a);
	(void)dht_keys_of_iri(&iri, keys);
	announce(&a, 3, &keys[0], 4001);
	announce(&a, 4, &keys[1], 4002);
	announce(&a, 4, &keys[0], 4002); /* in both: handed out once */
	look(&a, &iri);
	CHECK_STATUS(0, a.status);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.peers[0].port + a.peers[1].port, 8003);
	look(&a, &iri); /* tried a moment ago */
	assert_int_equal(a.count, 0);
	dht_world_run(a.w, DHT_SOURCE_AGAIN_MS);
	look(&a, &iri);
	assert_int_equal(a.count, 2);
	asker_fini(&a);
}

/* A node that answers every question with values of its own making. */
static void lies(struct dht_world_node *n, const struct dht_address *from, const uint8_t *data,
		 size_t len)
{
	static const struct dht_id id = { { 9 } };
	struct dht_address values[64];
	struct krpc_message m;
	struct krpc_reply r;
	struct buf out;

	if (krpc_parse(data, len, &m) < 0 || m.type != KRPC_QUERY)
		return;
	for (uint8_t i = 0; i < 64; i++)
		values[i] =
			(struct dht_address){ .family = 4, .ip = { 50, i, 1, 1 }, .port = 5000 };
	values[0] = (struct dht_address){ .family = 4, .ip = { 192, 168, 0, 1 }, .port = 5000 };
	values[1] = (struct dht_address){ .family = 4, .ip = { 127, 0, 0, 1 }, .port = 5000 };
	values[2].port = 22;
	values[3].port = 0;
	values[4] = (struct dht_address){ .family = 4, .ip = { 224, 0, 0, 1 }, .port = 5000 };
	r = (struct krpc_reply){
		.tid = m.tid, .id = &id, .to = from, .values = values, .value_count = 64
	};
	buf_init(&out, 2048);
	krpc_write_reply(&out, &r);
	dht_world_send(n, from, out.data, out.len);
	buf_fini(&out);
}

static void lies_do_not_make_us_dial_others_fast_or_at_odd_places(void **state)
{
	struct iri iri = iri_of("");
	struct dht_world_node *liar;
	struct asker a;

	asker_init(&a);
	liar = dht_world_add_evil(a.w, NULL);
	liar->evil = lies;
	dht_add_node(a.w->nodes[0]->dht, &liar->addr);
	dht_world_run(a.w, 5000);
	look(&a, &iri);
	assert_int_equal(a.count, DHT_SOURCE_PEERS_MAX);
	for (size_t i = 0; i < a.count; i++) {
		assert_int_equal(a.peers[i].ip[0], 50);
		assert_int_equal(a.peers[i].port, 5000);
	}
	assert_true(a.at_ms[a.count - 1] - a.at_ms[0] >=
		    1000 * (DHT_SOURCE_PEERS_MAX - DHT_SOURCE_BURST - 1) / DHT_SOURCE_PER_SEC);
	asker_fini(&a);
}

static void a_cancelled_lookup_ends_and_hands_out_nothing_more(void **state)
{
	struct iri iri = iri_of("/notes");
	struct asker a;

	asker_init(&a);
	start(&a, &iri);
	manual_loop_turn(&a.w->loop);
	a.source->lookup_cancel(a.source, &a.lookup);
	a.source->lookup_cancel(a.source, &a.lookup);
	dht_world_run(a.w, 10);
	assert_true(a.done);
	CHECK_STATUS(UV_ECANCELED, a.status);
	asker_fini(&a);
}

static void without_a_dht_it_is_off(void **state)
{
	struct iri iri = iri_of("/notes");
	struct asker a;

	asker_init(&a);
	dht_source_set(a.source, NULL);
	assert_string_equal(a.source->state(a.source), "off");
	look(&a, &iri);
	CHECK_STATUS(ERR_NOT_FOUND, a.status);
	asker_fini(&a);
}

static void a_lookup_survives_no_memory(void **state)
{
	struct iri iri = iri_of("/notes");
	struct asker a;
	bool failed = true;

	asker_init(&a);
	for (uint64_t n = 1; failed; n++) {
		struct op_env env = { .runner = &a.w->loop.runner };

		mem_fault_after(n, false);
		env.deadline_ms = runner_now_ms(env.runner) + 60000;
		start(&a, &iri);
		manual_loop_turn(&a.w->loop);
		manual_loop_turn(&a.w->loop);
		failed = mem_fault_hits() > 0;
		mem_fault_after(0, false);
		while (!a.done && manual_loop_step(&a.w->loop))
			;
		assert_true(a.done);
	}
	asker_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_object_and_space_differ_and_versions_do_not_matter),
		cmocka_unit_test(peers_of_the_object_and_of_its_space_are_found),
		cmocka_unit_test(lies_do_not_make_us_dial_others_fast_or_at_odd_places),
		cmocka_unit_test(a_cancelled_lookup_ends_and_hands_out_nothing_more),
		cmocka_unit_test(without_a_dht_it_is_off),
		cmocka_unit_test(a_lookup_survives_no_memory),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
