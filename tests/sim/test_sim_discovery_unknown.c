/* Questions about objects that nobody has: what they cost, and for how long the answer stands. */
#include "tests/sim/world.h"

static const struct world_file notes[] = {
	{ "a.txt", "the first note\n", 0 },
	{ "b.txt", "the second note\n", 0 },
};

static struct discovery_stats discovery_of(const struct node *n)
{
	struct discovery_stats stats;

	discovery_stats(n->discovery, &stats);
	return stats;
}

static uint64_t sessions_of(const struct node *n)
{
	struct sync_stats stats;

	sync_stats(n->sync, &stats);
	return stats.sessions;
}

static void asking_again_for_what_nobody_has_costs_nothing(void **state)
{
	struct world w;
	struct discover d;
	struct iri iri;

	world_init(&w, 18);
	world_node(&w);
	world_node(&w);
	iri = world_iri(&w.nodes[0], "/nothing", true);
	for (int i = 0; i < 100; i++) {
		CHECK_STATUS(ERR_NOT_FOUND, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
		assert_int_equal(d.outcome, DISCOVERY_NOT_FOUND);
		assert_int_equal(d.remembered, i > 0);
		world_run_ms(&w, 500);
	}
	assert_in_range(d.asked_ago_ms, 49000, 51000);
	assert_int_equal(d.asked_ago_ms + d.again_in_ms, 60000);
	assert_int_equal(discovery_of(&w.nodes[1]).started, 1);
	assert_int_equal(discovery_of(&w.nodes[1]).miss_hits, 99);
	assert_int_equal(sessions_of(&w.nodes[1]), 1);
	world_fini(&w);
}

static void what_was_missing_is_found_by_force_or_a_minute_later(void **state)
{
	for (int fresh = 0; fresh <= 1; fresh++) {
		struct discover d = { 0 };
		struct world w;
		struct iri iri;

		world_init(&w, 19);
		world_node(&w);
		world_node(&w);
		iri = world_iri(&w.nodes[0], "/notes", true);
		CHECK_STATUS(ERR_NOT_FOUND, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
		world_publish(&w.nodes[0], "/notes", notes, 2);
		CHECK_STATUS(ERR_NOT_FOUND, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
		assert_true(d.remembered);
		world_run_ms(&w, fresh ? 0 : 60000);
		CHECK_STATUS(0, world_discover_fresh(&w.nodes[1], &iri, SCOPE_EXACT, fresh, &d));
		assert_false(d.remembered);
		world_fini(&w);
	}
}

static void what_arrives_otherwise_is_not_missing_any_more(void **state)
{
	struct world w;
	struct discover d;
	struct iri iri;

	world_init(&w, 20);
	world_node(&w);
	iri = world_iri(&w.nodes[0], "/notes", false);
	CHECK_STATUS(ERR_NOT_FOUND, world_discover(&w.nodes[0], &iri, SCOPE_EXACT, &d));
	world_publish(&w.nodes[0], "/notes", notes, 2);
	CHECK_STATUS(0, world_discover(&w.nodes[0], &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_CACHED);
	world_fini(&w);
}

static void a_flood_of_unknown_objects_has_a_budget_and_known_ones_go_on(void **state)
{
	struct world w;
	struct discover d;
	struct iri iri;
	unsigned refused = 0;
	char path[32];

	world_init(&w, 21);
	world_node(&w);
	world_node(&w);
	world_publish(&w.nodes[1], "/mine", notes, 2);
	for (int i = 0; i < 500; i++) {
		snprintf(path, sizeof(path), "/unknown/%d", i);
		iri = world_iri(&w.nodes[0], path, true);
		if (world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d) == ERR_NOT_FOUND)
			continue;
		refused++;
		assert_in_range(d.again_in_ms, 1, 1000);
	}
	assert_in_range(refused, 100, 250);
	assert_int_equal(discovery_of(&w.nodes[1]).searches_refused, refused);
	iri = world_iri(&w.nodes[1], "/mine", false);
	CHECK_STATUS(0, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	world_fini(&w);
}

static void peers_that_ask_for_unknown_objects_start_and_leave_nothing(void **state)
{
	struct store_stats before, after;
	struct world w;
	struct discover d;
	char path[32];

	world_init(&w, 22);
	world_node(&w);
	world_node(&w);
	store_stats(w.nodes[0].store, &before);
	for (int i = 0; i < 100; i++) {
		struct iri iri;

		snprintf(path, sizeof(path), "/unknown/%d", i);
		iri = world_iri(&w.nodes[0], path, true);
		CHECK_STATUS(ERR_NOT_FOUND, world_discover(&w.nodes[1], &iri, SCOPE_EXACT, &d));
	}
	store_stats(w.nodes[0].store, &after);
	assert_int_equal(discovery_of(&w.nodes[0]).started, 0);
	assert_int_equal(after.transactions, before.transactions);
	assert_int_equal(after.objects, 0);
	assert_int_equal(after.subscriptions, 0);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asking_again_for_what_nobody_has_costs_nothing),
		cmocka_unit_test(what_was_missing_is_found_by_force_or_a_minute_later),
		cmocka_unit_test(what_arrives_otherwise_is_not_missing_any_more),
		cmocka_unit_test(a_flood_of_unknown_objects_has_a_budget_and_known_ones_go_on),
		cmocka_unit_test(peers_that_ask_for_unknown_objects_start_and_leave_nothing),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
