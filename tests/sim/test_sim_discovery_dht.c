/* Discoveries whose peers come from a DHT that is scripted: when it is asked, and that what it
 * finds is used as it comes. */
#include "tests/sim/world.h"

static const struct world_file note[] = { { "a.txt", "a note\n", 0 } };

/* A DHT that names one provider after a while, and ends its lookup some time later. */
struct script {
	struct discovery_source source;
	struct runner *runner;
	uint64_t first_ms, end_ms;
	const struct node *provider; /* NULL: it finds nobody */
	bool by_address;	     /* it does not know who that is */
	unsigned lookups;
	uint64_t asked_ms; /* when it was asked last */
	struct discovery_lookup *lookup;
	struct runner_timer timer;
	bool told;
};

static void finish(struct script *s, int status)
{
	struct discovery_lookup *l = s->lookup;

	s->lookup = NULL;
	runner_timer_stop(s->runner, &s->timer);
	l->events->on_done(l, status);
}

static void on_script(struct runner_timer *t)
{
	struct script *s = container_of(t, struct script, timer);

	if (s->told || s->provider == NULL) {
		finish(s, 0);
		return;
	}
	s->told = true;
	runner_timer_start(s->runner, t, s->asked_ms + s->end_ms);
	s->lookup->events->on_peer(s->lookup, &(struct sync_target){ .any_peer = s->by_address,
								     .peer = s->provider->peer,
								     .addrs = { s->provider->addr },
								     .addr_count = 1 });
}

static void script_lookup(struct discovery_source *source, struct discovery_lookup *l,
			  const struct op_env *env, const struct iri *iri)
{
	struct script *s = container_of(source, struct script, source);

	s->lookups++;
	s->lookup = l;
	s->told = false;
	s->asked_ms = runner_now_ms(s->runner);
	s->timer.run = on_script;
	runner_timer_start(s->runner, &s->timer,
			   s->asked_ms + (s->provider != NULL ? s->first_ms : s->end_ms));
}

static void script_cancel(struct discovery_source *source, struct discovery_lookup *l)
{
	struct script *s = container_of(source, struct script, source);

	if (s->lookup == l && !s->timer.run)
		return;
	if (s->lookup == l) {
		s->end_ms = 0;
		s->told = true;
		runner_timer_start(s->runner, &s->timer, runner_now_ms(s->runner));
	}
}

static struct script script_for(struct node *n, const struct node *provider, uint64_t first_ms,
				uint64_t end_ms)
{
	return (struct script){ .source = { .name = "dht",
					    .tier = DISCOVERY_COLD,
					    .lookup = script_lookup,
					    .lookup_cancel = script_cancel },
				.runner = &n->world->loop.runner,
				.first_ms = first_ms,
				.end_ms = end_ms,
				.provider = provider };
}

static uint64_t now_ms(const struct world *w)
{
	return runner_now_ms(&w->loop.runner);
}

/* The lookup goes on for a minute; its first provider is enough. */
static void providers_stream_into_sync_as_they_arrive(void **state)
{
	struct script script;
	struct discover d;
	struct world w;
	uint64_t since;
	struct iri iri;

	world_init(&w, 1);
	world_node(&w);
	world_node(&w);
	world_publish(&w.nodes[0], "/notes", note, 1);
	script = script_for(&w.nodes[1], &w.nodes[0], 100, 60000);
	CHECK_STATUS(0, discovery_add_source(w.nodes[1].discovery, &script.source));
	iri = world_iri(&w.nodes[0], "/notes", false);
	since = now_ms(&w);
	CHECK_STATUS(0, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_DHT);
	assert_in_range(now_ms(&w) - since, 100, 2000);
	assert_true(world_marked(&w.nodes[1], "DHT peer sync start"));
	world_fini(&w);
}

/* The only known peer is a black hole, and a dial takes 6 s to say so. */
static void the_dht_starts_beside_local_peers_that_do_not_answer(void **state)
{
	struct script script;
	struct discover d;
	struct world w;
	uint64_t since;
	struct iri iri;

	world_init(&w, 2);
	for (int i = 0; i < 3; i++)
		world_node(&w);
	world_publish(&w.nodes[0], "/notes", note, 1);
	world_add_peer(&w.nodes[1], &w.nodes[2]);
	CHECK_STATUS(0, simnet_set_path(w.simnet, w.nodes[1].ip, w.nodes[2].ip,
					&(struct simnet_path){ .cut = true }));
	script = script_for(&w.nodes[1], &w.nodes[0], 100, 200);
	CHECK_STATUS(0, discovery_add_source(w.nodes[1].discovery, &script.source));
	iri = world_iri(&w.nodes[0], "/notes", false);
	since = now_ms(&w);
	CHECK_STATUS(0, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	assert_in_range(script.asked_ms - since, DISCOVERY_DHT_HEDGE_MS,
			DISCOVERY_DHT_HEDGE_MS + 100);
	assert_in_range(now_ms(&w) - since, DISCOVERY_DHT_HEDGE_MS, DISCOVERY_DHT_HEDGE_MS + 2000);
	world_fini(&w);
}

static void the_dht_is_not_asked_when_a_local_peer_has_it(void **state)
{
	struct script script;
	struct discover d;
	struct world w;
	struct iri iri;

	world_init(&w, 3);
	world_node(&w);
	world_node(&w);
	world_publish(&w.nodes[0], "/notes", note, 1);
	script = script_for(&w.nodes[1], &w.nodes[0], 1, 2);
	CHECK_STATUS(0, discovery_add_source(w.nodes[1].discovery, &script.source));
	iri = world_iri(&w.nodes[0], "/notes", true);
	CHECK_STATUS(0, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_LOCAL);
	assert_int_equal(script.lookups, 0);
	world_fini(&w);
}

/* Held, subscribed to, and nobody to hear from: the DHT is asked as rarely as everybody is. */
static void news_of_what_is_held_is_sought_in_the_dht_rarely(void **state)
{
	struct script script;
	struct world w;
	struct iri iri;

	world_init(&w, 4);
	world_node(&w);
	world_publish(&w.nodes[0], "/notes", note, 1);
	script = script_for(&w.nodes[0], NULL, 0, 300);
	CHECK_STATUS(0, discovery_add_source(w.nodes[0].discovery, &script.source));
	iri = world_iri(&w.nodes[0], "/notes", false);
	world_subscribe(&w.nodes[0], &iri, SCOPE_EXACT);
	world_run_ms(&w, 3600000);
	assert_in_range(script.lookups, 5, 7);
	world_fini(&w);
}

static void a_node_that_the_dht_names_to_itself_does_not_dial_itself(void **state)
{
	struct net_stats stats;
	struct script script;
	struct discover d;
	struct world w;
	struct iri iri;

	world_init(&w, 5);
	world_node(&w);
	script = script_for(&w.nodes[0], &w.nodes[0], 10, 20);
	CHECK_STATUS(0, discovery_add_source(w.nodes[0].discovery, &script.source));
	iri = world_iri(&w.nodes[0], "/nothing", false);
	CHECK_STATUS(ERR_NOT_FOUND, world_discover(&w.nodes[0], &iri, SCOPE_EXACT, &d));
	net_stats(w.nodes[0].net, &stats);
	assert_int_equal(script.lookups, 1);
	assert_int_equal(stats.dials, 0);
	world_fini(&w);
}

/* ---- What is found twice counts once ---- */

struct watched {
	struct discover d;
	bool done;
	int status;
	uint64_t most_bytes, most_blobs;
};

static void on_watched_progress(struct discover *d)
{
	struct watched *x = container_of(d, struct watched, d);

	x->most_bytes = MAX(x->most_bytes, d->progress.bytes_expected);
	x->most_blobs = MAX(x->most_blobs, d->progress.blobs_discovered);
}

static void on_watched(struct discover *d, int status)
{
	struct watched *x = container_of(d, struct watched, d);

	x->done = true;
	x->status = status;
}

static bool is_done(void *data)
{
	return ((struct watched *)data)->done;
}

/* The hinted peer needs half a minute; the DHT joins after two seconds. */
static void discover_slowly(struct world *w, struct script *script, struct watched *x)
{
	static const struct world_file big[] = { { "big.bin", "0123456789abcdef", 700000 } };
	const struct simnet_path slow = { .latency_ms = 20, .bandwidth = 20000 };
	struct op_env env;
	struct iri iri;

	world_publish(&w->nodes[0], "/notes", big, 1);
	if (w->count > 2) {
		struct discover d;

		iri = world_iri(&w->nodes[0], "/notes", true);
		CHECK_STATUS(0, world_discover(&w->nodes[2], &iri, SCOPE_EXACT, &d));
	}
	simnet_set_default(w->simnet, &slow);
	CHECK_STATUS(0, discovery_add_source(w->nodes[1].discovery, &script->source));
	iri = world_iri(&w->nodes[0], "/notes", true);
	env = world_env(&w->nodes[1], 600000);
	x->d.on_progress = on_watched_progress;
	discover_start(&x->d, &env, w->nodes[1].discovery, &iri, SCOPE_EXACT, on_watched);
	assert_true(world_run_until(w, is_done, x, 600000));
	CHECK_STATUS(0, x->status);
	assert_int_equal(script->lookups, 1);
}

static void a_peer_found_by_id_and_by_address_is_synced_once(void **state)
{
	for (int by_address = 0; by_address <= 1; by_address++) {
		struct watched x = { 0 };
		struct sync_stats sync;
		struct script script;
		struct world w;

		world_init(&w, 6);
		world_node(&w);
		world_node(&w);
		script = script_for(&w.nodes[1], &w.nodes[0], 100, 60000);
		script.by_address = by_address;
		discover_slowly(&w, &script, &x);
		sync_stats(w.nodes[1].sync, &sync);
		assert_int_equal(sync.sessions_ok, 1);
		assert_int_equal(sync.sessions_failed, 0);
		assert_int_equal(x.d.peers.asked, 1);
		assert_int_equal(x.d.peers.answered, 1);
		assert_int_equal(x.d.progress.peers_found, 1);
		assert_true(discovery_is_sure(x.d.answer, &x.d.peers));
		assert_in_range(x.most_bytes, 700000, 710000);
		world_fini(&w);
	}
}

static void blobs_that_two_waves_want_count_once(void **state)
{
	struct watched x = { 0 };
	struct script script;
	struct world w;

	world_init(&w, 7);
	for (int i = 0; i < 3; i++)
		world_node(&w);
	script = script_for(&w.nodes[1], &w.nodes[2], 100, 60000);
	discover_slowly(&w, &script, &x);
	assert_int_equal(x.d.progress.peers_found, 2);
	assert_in_range(x.most_bytes, 700000, 710000);
	assert_in_range(x.most_blobs, 9, 10); /* commit, tree, eight chunks at most */
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(providers_stream_into_sync_as_they_arrive),
		cmocka_unit_test(the_dht_starts_beside_local_peers_that_do_not_answer),
		cmocka_unit_test(the_dht_is_not_asked_when_a_local_peer_has_it),
		cmocka_unit_test(news_of_what_is_held_is_sought_in_the_dht_rarely),
		cmocka_unit_test(a_peer_found_by_id_and_by_address_is_synced_once),
		cmocka_unit_test(blobs_that_two_waves_want_count_once),
		cmocka_unit_test(a_node_that_the_dht_names_to_itself_does_not_dial_itself),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
