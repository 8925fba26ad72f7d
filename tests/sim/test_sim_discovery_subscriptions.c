/* What a node does that keeps scopes in sync: whom it dials while nothing happens, how fast news
 * comes through, what it does about peers that are gone. */
#include "tests/sim/world.h"

#include "discovery/redial.h"
#include "discovery/scheduler.h"

enum { SCOPES = 100, STRANGERS = 8, HALF_HOUR_MS = 1800000 };

static const struct world_file note[] = { { "a.txt", "a note\n", 0 } };
static const struct world_file edit[] = { { "a.txt", "a note, edited\n", 0 } };

struct setup {
	struct world w;
	struct node *author, *follower;
};

static struct iri scope_iri(const struct setup *u, size_t i)
{
	char path[32];

	snprintf(path, sizeof(path), "/notes/%zu", i);
	return world_iri(u->author, path, false);
}

static struct discovery_stats stats_of(const struct node *n)
{
	struct discovery_stats stats;

	discovery_stats(n->discovery, &stats);
	return stats;
}

static uint64_t dials_of(const struct node *n)
{
	struct net_stats stats;

	net_stats(n->net, &stats);
	return stats.dials;
}

static bool all_ran_well(void *data)
{
	struct setup *u = data;
	struct discovery_subscription_status status;
	size_t well = 0;

	for (size_t i = 0; i < SCOPES; i++) {
		struct iri iri = scope_iri(u, i);
		struct scope scope;

		scope_of_iri(&iri, i % 2 ? SCOPE_RECURSIVE : SCOPE_EXACT, &scope);
		well += discovery_subscription_status(u->follower->discovery, &scope, &status) &&
			status.ran && status.status == 0;
	}
	return well == SCOPES;
}

/* A follower of hundred scopes of one author, in sync, that has heard of strangers too; every other
 * one is gone. */
static struct setup *setup_new(uint64_t seed)
{
	struct setup *u = mem_alloc(sizeof(*u));

	world_init(&u->w, seed);
	u->author = world_node(&u->w);
	u->follower = world_node(&u->w);
	for (int i = 0; i < STRANGERS; i++) {
		struct node *stranger = world_node(&u->w);

		world_add_peer(u->follower, stranger);
		if (i % 2)
			world_stop(stranger);
	}
	world_add_peer(u->follower, u->author);
	for (size_t i = 0; i < SCOPES; i++) {
		struct iri iri = scope_iri(u, i);

		world_publish(u->author, iri.path, note, 1);
		world_subscribe(u->follower, &iri, i % 2 ? SCOPE_RECURSIVE : SCOPE_EXACT);
	}
	assert_true(world_run_until(&u->w, all_ran_well, u, 600000));
	return u;
}

static void setup_free(struct setup *u)
{
	world_fini(&u->w);
	mem_free(u);
}

static void an_idle_node_in_sync_dials_nobody(void **state)
{
	struct setup *u = setup_new(1);
	uint64_t dials, started;

	world_run_ms(&u->w, 2 * DISCOVERY_EXHAUSTIVE_MS); /* conns to strangers idle out */
	dials = dials_of(u->follower);
	started = stats_of(u->follower).sub_cold_started;
	world_run_ms(&u->w, HALF_HOUR_MS);
	assert_int_equal(dials_of(u->follower), dials);
	assert_in_range(stats_of(u->follower).sub_cold_started - started, 25 * SCOPES, 35 * SCOPES);
	setup_free(u);
}

static void scopes_are_spread_over_the_interval(void **state)
{
	struct setup *u = setup_new(2);
	uint64_t last, most = 0;

	world_run_ms(&u->w, HALF_HOUR_MS);
	last = stats_of(u->follower).sub_cold_started;
	for (int i = 0; i < 60; i++) {
		uint64_t now;

		world_run_ms(&u->w, 1000);
		now = stats_of(u->follower).sub_cold_started;
		most = MAX(most, now - last);
		last = now;
	}
	assert_true(most < SCOPES / 4);
	setup_free(u);
}

struct edit_wait {
	struct setup *u;
	struct iri iri;
};

static bool has_edit(void *data)
{
	struct edit_wait *wait = data;

	return world_resolves(wait->u->follower, &wait->iri, SCOPE_EXACT);
}

static uint64_t edit_and_wait(struct setup *u, size_t scope, uint64_t limit_ms)
{
	struct edit_wait wait = { u, scope_iri(u, scope) };
	uint64_t since = runner_now_ms(&u->w.loop.runner);

	wait.iri.heads[wait.iri.head_count++] = world_publish(u->author, wait.iri.path, edit, 1);
	assert_true(world_run_until(&u->w, has_edit, &wait, limit_ms));
	return runner_now_ms(&u->w.loop.runner) - since;
}

/* After a pause of the process everything is due at once, over a slow line: news does not queue
 * behind it. */
static void news_overtakes_a_hundred_scopes_that_are_due(void **state)
{
	struct setup *u = setup_new(3);

	assert_int_equal(0, simnet_set_path(u->w.simnet, u->author->ip, u->follower->ip,
					    &(struct simnet_path){ .latency_ms = 300 }));
	clock_manual_advance(&u->w.loop.clock, 70000 * (uint64_t)NS_PER_MS);
	world_run_ms(&u->w, 100);
	assert_true(stats_of(u->follower).sub_cold_queued > SCOPES / 2);
	assert_in_range(edit_and_wait(u, 0, 60000), 600, 4000);
	assert_true(stats_of(u->follower).sub_cold_queued > SCOPES / 4);
	assert_true(world_staged(u->follower, "queued"));
	setup_free(u);
}

static bool is_asking_for_news(void *data)
{
	struct node *n = data;

	return stats_of(n).sub_hot_running > 0;
}

static bool resolves_edit(void *data)
{
	struct resolving {
		struct node *node;
		struct iri iri;
	} *r = data;

	return world_resolves(r->node, &r->iri, SCOPE_EXACT);
}

static void subscribe_and_sync(struct node *n, const struct node *from, const struct iri *iri)
{
	world_add_peer(n, from);
	world_subscribe(n, iri, SCOPE_EXACT);
	world_run_ms(n->world, 20000);
}

/* A relay tells first and falls silent; the author, further away, tells too. */
static void one_that_announces_and_stalls_does_not_hold_up_another(void **state)
{
	struct simnet_path far = { .latency_ms = 300 }, cut = { .cut = true };
	struct world w;
	struct node *author, *relay, *n;
	struct {
		struct node *node;
		struct iri iri;
	} r;
	struct discover d;
	uint64_t since;

	world_init(&w, 7);
	author = world_node(&w);
	relay = world_node(&w);
	r.node = n = world_node(&w);
	r.iri = world_iri(author, "/notes", false);
	world_publish(author, "/notes", note, 1);
	subscribe_and_sync(relay, author, &r.iri);
	subscribe_and_sync(n, relay, &r.iri);
	world_add_peer(n, author);
	CHECK_STATUS(0, world_discover(n, &r.iri, SCOPE_EXACT, &d)); /* asks, and follows, both */
	world_run_ms(&w, 1000);
	CHECK_STATUS(0, simnet_set_path(w.simnet, author->ip, n->ip, &far));
	r.iri.heads[r.iri.head_count++] = world_publish(author, "/notes", edit, 1);
	since = runner_now_ms(&w.loop.runner);
	assert_true(world_run_until(&w, is_asking_for_news, n, 250));
	CHECK_STATUS(0, simnet_set_path(w.simnet, relay->ip, n->ip, &cut));
	assert_true(world_run_until(&w, resolves_edit, &r, 60000));
	assert_in_range(runner_now_ms(&w.loop.runner) - since, 900, 6000);
	world_fini(&w);
}

/* Hundred scopes look for one author that is gone: how long it has been away counts, not their number.
 */
static void a_lost_authority_is_dialed_ever_more_rarely_and_heard_at_once(void **state)
{
	struct setup *u = setup_new(4);
	const struct simnet_path gone = { .latency_ms = 5, .refuse = true };
	const struct simnet_path back = { .latency_ms = 5 };
	uint64_t dials;

	CHECK_STATUS(0, simnet_set_path(u->w.simnet, u->author->ip, u->follower->ip, &gone));
	simnet_reset(u->w.simnet, u->author->ip, u->follower->ip);
	world_run_ms(&u->w, 60000);
	dials = dials_of(u->follower);
	world_run_ms(&u->w, HALF_HOUR_MS);
	assert_in_range(dials_of(u->follower) - dials, 60, 200);
	CHECK_STATUS(0, simnet_set_path(u->w.simnet, u->author->ip, u->follower->ip, &back));
	assert_in_range(edit_and_wait(u, 7, 3600000), 0, REDIAL_MAX_MS * 5 / 4);
	setup_free(u);
}

/* The author does not know what another device of the author's made; that one is connected, about
 * something else. */
static void a_gap_in_what_the_authority_has_heals_through_connected_peers(void **state)
{
	struct world w;
	struct node *author, *n, *device;
	struct iri iri, mine;
	uint64_t dials;

	world_init(&w, 8);
	author = world_node(&w);
	n = world_node(&w);
	device = world_node(&w);
	iri = world_iri(author, "/notes", false);
	mine = world_iri(n, "/mine", false);
	world_publish(author, "/notes", note, 1);
	world_publish(n, "/mine", note, 1);
	world_add_peer(n, author);
	world_subscribe(n, &iri, SCOPE_RECURSIVE);
	subscribe_and_sync(device, n, &mine);
	device->space = author->space;
	memcpy(device->space_secret, author->space_secret, sizeof(device->space_secret));
	iri.heads[iri.head_count++] = world_publish(device, "/notes", edit, 1);
	dials = dials_of(n);
	world_run_ms(&w, 3 * DISCOVERY_EXHAUSTIVE_MS);
	assert_true(world_resolves(n, &iri, SCOPE_EXACT));
	assert_int_equal(dials_of(n), dials);
	world_fini(&w);
}

static void scopes_that_nobody_has_back_off(void **state)
{
	struct discovery_subscription_status status;
	struct setup *u = setup_new(5);
	struct iri iri = world_iri(u->author, "/nothing", false);
	struct scope scope;

	world_subscribe(u->follower, &iri, SCOPE_EXACT);
	scope_of_iri(&iri, SCOPE_EXACT, &scope);
	world_run_ms(&u->w, HALF_HOUR_MS);
	assert_true(discovery_subscription_status(u->follower->discovery, &scope, &status));
	assert_string_equal(status.state, "backing off");
	assert_in_range(status.failures, 4, 8);
	assert_int_equal(status.outcome, DISCOVERY_NOT_FOUND);
	assert_int_equal(stats_of(u->follower).sub_backing_off, 1);
	world_publish(u->author, "/nothing", note, 1);
	world_run_ms(&u->w, SCHEDULER_BACKOFF_MAX_MS * 11 / 10 + 60000);
	assert_true(discovery_subscription_status(u->follower->discovery, &scope, &status));
	assert_string_equal(status.state, "sleeping");
	setup_free(u);
}

static void a_scope_taken_out_is_forgotten_wherever_it_is(void **state)
{
	for (uint64_t at_ms = 0; at_ms < 60; at_ms += 4) {
		struct discovery_subscription_status status;
		struct world w;
		struct iri iri;
		struct scope scope;

		world_init(&w, 60 + at_ms);
		world_node(&w);
		world_node(&w);
		world_add_peer(&w.nodes[1], &w.nodes[0]);
		world_publish(&w.nodes[0], "/notes", note, 1);
		iri = world_iri(&w.nodes[0], "/notes", false);
		scope_of_iri(&iri, SCOPE_EXACT, &scope);
		world_subscribe(&w.nodes[1], &iri, SCOPE_EXACT);
		world_run_ms(&w, at_ms);
		world_unsubscribe(&w.nodes[1], &iri, SCOPE_EXACT);
		world_run_ms(&w, 1000);
		assert_false(discovery_subscription_status(w.nodes[1].discovery, &scope, &status));
		assert_int_equal(stats_of(&w.nodes[1]).subscriptions, 0);
		assert_int_equal(stats_of(&w.nodes[1]).sub_hot_running, 0);
		world_fini(&w);
	}
}

static bool both_resolve(void *data)
{
	struct world *w = data;
	struct iri one = world_iri(&w->nodes[0], "/one", false),
		   two = world_iri(&w->nodes[0], "/two", false);

	return world_resolves(&w->nodes[1], &one, SCOPE_EXACT) &&
	       world_resolves(&w->nodes[1], &two, SCOPE_EXACT);
}

static void subscriptions_survive_no_memory_anywhere(void **state)
{
	for (uint64_t n = 1; n < 300; n += 9) {
		struct world w;
		struct iri one, two;

		world_init(&w, 2000 + n);
		world_node(&w);
		world_node(&w);
		world_add_peer(&w.nodes[1], &w.nodes[0]);
		world_publish(&w.nodes[0], "/one", note, 1);
		world_publish(&w.nodes[0], "/two", note, 1);
		one = world_iri(&w.nodes[0], "/one", false);
		two = world_iri(&w.nodes[0], "/two", false);
		world_subscribe(&w.nodes[1], &one, SCOPE_EXACT);
		world_subscribe(&w.nodes[1], &two, SCOPE_EXACT);
		mem_fault_after(n, false);
		world_run_ms(&w, 20000);
		mem_fault_after(0, false);
		assert_true(world_run_until(&w, both_resolve, &w, 3600000));
		world_fini(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_node_in_sync_dials_nobody),
		cmocka_unit_test(scopes_are_spread_over_the_interval),
		cmocka_unit_test(news_overtakes_a_hundred_scopes_that_are_due),
		cmocka_unit_test(one_that_announces_and_stalls_does_not_hold_up_another),
		cmocka_unit_test(a_lost_authority_is_dialed_ever_more_rarely_and_heard_at_once),
		cmocka_unit_test(a_gap_in_what_the_authority_has_heals_through_connected_peers),
		cmocka_unit_test(scopes_that_nobody_has_back_off),
		cmocka_unit_test(a_scope_taken_out_is_forgotten_wherever_it_is),
		cmocka_unit_test(subscriptions_survive_no_memory_anywhere),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
