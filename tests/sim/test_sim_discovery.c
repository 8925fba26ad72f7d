/* Discovery over real sync, store and net on a simulated network: who is asked, what ends it, what
 * a trace of it says. */
#include "tests/sim/world.h"

static const struct world_file notes[] = {
	{ "a.txt", "the first note\n", 0 },
	{ "b.txt", "the second note\n", 0 },
	{ "big.bin", "0123456789abcdef", 700000 },
};

static void an_object_comes_from_the_hinted_peer(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri;

	world_init(&w, 1);
	a = world_node(&w);
	b = world_node(&w);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	iri = world_iri(a, "/notes", true);
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_LOCAL);
	assert_int_equal(d.head_count, 1);
	assert_int_equal(d.progress.peers_synced_ok, 1);
	assert_true(d.progress.bytes_downloaded > 700000);
	assert_true(world_resolves(b, &iri, SCOPE_EXACT));
	assert_true(world_marked(b, "local cache miss, querying peers"));
	assert_true(world_marked(b, "local peers: 1 found, 1 synced ok"));
	assert_int_equal(world_spans(b, "sync.peer"), 1);
	assert_true(world_spans(a, "sync.serve") > 0);
	world_fini(&w);
}

static void a_pinned_version_that_is_here_is_cached_and_asks_nobody(void **state)
{
	struct world w;
	struct node *a;
	struct discover d;
	struct iri iri;

	world_init(&w, 2);
	a = world_node(&w);
	iri = world_iri(a, "/notes", false);
	iri.heads[iri.head_count++] = world_publish(a, "/notes", notes, 2);
	CHECK_STATUS(0, world_discover(a, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_CACHED);
	assert_int_equal(world_spans(a, "sync.peer"), 0);
	assert_true(world_marked(a, "local cache hit"));
	world_fini(&w);
}

static void nobody_has_it_is_not_found(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri;

	world_init(&w, 3);
	a = world_node(&w);
	b = world_node(&w);
	iri = world_iri(a, "/nothing", true);
	CHECK_STATUS(ERR_NOT_FOUND, world_discover(b, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_NOT_FOUND);
	assert_int_equal(d.answer, DISCOVERY_ABSENT);
	assert_int_equal(d.peers.asked, 1);
	assert_int_equal(d.peers.answered, 1);
	assert_int_equal(d.peers_known, 1);
	assert_int_equal(d.last_error, 0);
	assert_true(world_marked(b, "DHT: off"));
	world_fini(&w);
}

static void a_dead_hint_is_not_found_and_says_why(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri;

	world_init(&w, 4);
	a = world_node(&w);
	b = world_node(&w);
	CHECK_STATUS(0,
		     simnet_set_path(w.simnet, a->ip, b->ip, &(struct simnet_path){ .cut = true }));
	iri = world_iri(a, "/notes", true);
	CHECK_STATUS(ERR_NOT_FOUND, world_discover(b, &iri, SCOPE_EXACT, &d));
	CHECK_STATUS(UV_ETIMEDOUT, d.last_error);
	assert_int_equal(d.answer, DISCOVERY_UNANSWERED);
	assert_int_equal(d.peers.unreachable, 1);
	world_fini(&w);
}

static void what_is_held_stands_when_no_peer_answers(void **state)
{
	struct world w;
	struct node *a;
	struct discover d;
	struct iri iri;

	world_init(&w, 5);
	a = world_node(&w);
	world_publish(a, "/notes", notes, 2);
	iri = world_iri(a, "/notes", false);
	CHECK_STATUS(0, world_discover(a, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_CACHED);
	assert_int_equal(d.answer, DISCOVERY_UNCONFIRMED);
	assert_int_equal(d.head_count, 1);
	world_fini(&w);
}

static void a_third_node_gets_it_from_the_second_when_the_first_is_gone(void **state)
{
	struct world w;
	struct node *a, *b, *c;
	struct discover d;
	struct iri iri;

	world_init(&w, 6);
	a = world_node(&w);
	b = world_node(&w);
	c = world_node(&w);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	iri = world_iri(a, "/notes", true);
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	world_stop(a);
	world_add_peer(c, b);
	CHECK_STATUS(0, world_discover(c, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.outcome, DISCOVERY_LOCAL);
	assert_true(world_resolves(c, &iri, SCOPE_EXACT));
	world_fini(&w);
}

static void an_edit_moves_only_what_changed(void **state)
{
	static const struct world_file edited[] = {
		{ "a.txt", "the first note, edited\n", 0 },
		{ "b.txt", "the second note\n", 0 },
		{ "big.bin", "0123456789abcdef", 700000 },
	};
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri;

	world_init(&w, 7);
	a = world_node(&w);
	b = world_node(&w);
	iri = world_iri(a, "/notes", true);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	world_run_ms(&w, 2000);
	world_publish(a, "/notes", edited, ARRAY_SIZE(edited));
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.head_count, 1);
	assert_true(d.progress.bytes_downloaded < 4096);
	assert_int_equal(d.progress.blobs_downloaded, 3); /* commit, tree, one chunk */
	world_fini(&w);
}

static void older_content_follows_in_the_background_when_it_is_asked_for(void **state)
{
	static const struct world_file old[] = { { "a.txt", "only in the first version\n", 0 } };
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri, first;

	world_init(&w, 8);
	a = world_node(&w);
	b = world_node(&w);
	iri = world_iri(a, "/notes", true);
	first = world_iri(a, "/notes", false);
	first.heads[first.head_count++] = world_publish(a, "/notes", old, 1);
	world_run_ms(&w, 2000);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	world_run_ms(&w, 30000);
	assert_int_equal(world_spans(b, "sync.background"), 0);
	assert_false(world_resolves(b, &first, SCOPE_EXACT));
	CHECK_STATUS(0, world_discover_history(b, &iri, SCOPE_EXACT, &d));
	world_run_ms(&w, 30000);
	assert_int_equal(world_spans(b, "sync.background"), 1);
	assert_true(world_resolves(b, &first, SCOPE_EXACT));
	world_fini(&w);
}

/* Three versions, the second is asked for: neither the others' content comes, nor does the
 * background bring it. */
static void of_a_pinned_version_the_content_comes_alone(void **state)
{
	static const struct world_file texts[] = { { "a.txt", "the first\n", 0 },
						   { "a.txt", "the second\n", 0 },
						   { "a.txt", "the third\n", 0 } };
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri pinned[3], hinted;

	world_init(&w, 31);
	a = world_node(&w);
	b = world_node(&w);
	for (size_t i = 0; i < 3; i++) {
		pinned[i] = world_iri(a, "/notes", false);
		pinned[i].heads[pinned[i].head_count++] = world_publish(a, "/notes", &texts[i], 1);
		world_run_ms(&w, 2000);
	}
	hinted = world_iri(a, "/notes", true);
	hinted.heads[hinted.head_count++] = pinned[1].heads[0];
	CHECK_STATUS(0, world_discover(b, &hinted, SCOPE_EXACT, &d));
	assert_int_equal(d.progress.blobs_downloaded, 3 + 2); /* commits; tree, chunk */
	world_run_ms(&w, 30000);
	assert_false(world_resolves(b, &pinned[0], SCOPE_EXACT));
	assert_true(world_resolves(b, &pinned[1], SCOPE_EXACT));
	assert_false(world_resolves(b, &pinned[2], SCOPE_EXACT));
	world_fini(&w);
}

/* One authority answers at once, the other is silent; neither knows what another device of the
 * author's made. */
static void what_only_a_stranger_has_comes_after_a_wide_search(void **state)
{
	struct world w;
	struct node *author, *device, *n, *silent;
	struct discover d;
	struct iri iri, other;

	world_init(&w, 23);
	author = world_node(&w);
	device = world_node(&w);
	n = world_node(&w);
	silent = world_node(&w);
	CHECK_STATUS(0, simnet_set_path(w.simnet, n->ip, silent->ip,
					&(struct simnet_path){ .cut = true }));
	device->space = author->space;
	memcpy(device->space_secret, author->space_secret, sizeof(device->space_secret));
	world_publish(author, "/notes", notes, 1);
	iri = world_iri(author, "/notes", true);
	iri.hints[iri.hint_count++] = silent->addr;
	other = world_iri(author, "/notes", false);
	other.heads[other.head_count++] = world_publish(device, "/notes", notes, 2);
	world_add_peer(n, device);
	CHECK_STATUS(0, world_discover(n, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.head_count, 1);
	world_run_ms(&w, 10000);
	assert_true(world_resolves(n, &other, SCOPE_EXACT));
	world_fini(&w);
}

static void an_older_version_can_be_asked_for(void **state)
{
	static const struct world_file old[] = { { "a.txt", "only in the first version\n", 0 } };
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri first;

	world_init(&w, 16);
	a = world_node(&w);
	b = world_node(&w);
	first = world_iri(a, "/notes", true);
	first.heads[first.head_count++] = world_publish(a, "/notes", old, 1);
	world_run_ms(&w, 2000);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	CHECK_STATUS(0, world_discover(b, &first, SCOPE_EXACT, &d));
	assert_true(world_resolves(b, &first, SCOPE_EXACT));
	world_fini(&w);
}

struct pair_wait {
	int done;
	int status[2];
};

/* Sessions that end well while the discovery leaves are no reason to ask the store anew. */
static void what_was_found_is_told_whatever_ends_meanwhile(void **state)
{
	for (unsigned latency_ms = 0; latency_ms < 120; latency_ms += 7) {
		struct world w;
		struct node *a, *b;
		struct discover d;
		struct iri iri;

		world_init(&w, 40 + latency_ms);
		a = world_node(&w);
		b = world_node(&w);
		CHECK_STATUS(0, simnet_set_path(w.simnet, a->ip, b->ip,
						&(struct simnet_path){ .latency_ms = latency_ms }));
		iri = world_iri(a, "/notes", true);
		iri.heads[iri.head_count++] = world_publish(a, "/notes", notes, 2);
		CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
		assert_int_equal(d.head_count, 1);
		assert_true(hash_eq(&d.heads[0], &iri.heads[0]));
		world_fini(&w);
	}
}

static void on_one_of_two(struct discover *d, int status)
{
	struct pair_wait *p = d->data;

	p->status[p->done++] = status;
}

static bool both_done(void *data)
{
	return ((struct pair_wait *)data)->done == 2;
}

static void identical_discoveries_are_one(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d[2] = { 0 };
	struct pair_wait wait = { 0 };
	struct discovery_stats stats;
	struct iri iri;

	world_init(&w, 9);
	a = world_node(&w);
	b = world_node(&w);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	iri = world_iri(a, "/notes", true);
	for (int i = 0; i < 2; i++) {
		struct op_env env = world_env(b, 60000);

		d[i].data = &wait;
		discover_start(&d[i], &env, b->discovery, &iri, SCOPE_EXACT, on_one_of_two);
	}
	assert_true(world_run_until(&w, both_done, &wait, 60000));
	CHECK_STATUS(0, wait.status[0]);
	CHECK_STATUS(0, wait.status[1]);
	discovery_stats(b->discovery, &stats);
	assert_int_equal(stats.started, 1);
	assert_int_equal(stats.joined, 1);
	assert_memory_equal(d[0].trace.trace_id, d[1].trace.trace_id, 16);
	world_fini(&w);
}

static void cancelling_one_asker_leaves_the_other(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d[2] = { 0 };
	struct pair_wait wait = { 0 };
	struct iri iri;

	world_init(&w, 10);
	a = world_node(&w);
	b = world_node(&w);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	iri = world_iri(a, "/notes", true);
	for (int i = 0; i < 2; i++) {
		struct op_env env = world_env(b, 60000);

		d[i].data = &wait;
		discover_start(&d[i], &env, b->discovery, &iri, SCOPE_EXACT, on_one_of_two);
	}
	world_run_ms(&w, 12);
	op_cancel(&d[0].op);
	assert_true(world_run_until(&w, both_done, &wait, 60000));
	CHECK_STATUS(UV_ECANCELED, wait.status[0]);
	CHECK_STATUS(0, wait.status[1]);
	assert_int_equal(d[0].outcome, DISCOVERY_CANCELLED);
	world_fini(&w);
}

static void on_any(struct discover *d, int status)
{
	*(int *)d->data = status;
}

/* At whatever moment the asker gives up, everything ends, nothing leaks, and the next question is
 * answered. */
static void a_discovery_may_be_cancelled_at_any_time(void **state)
{
	for (uint64_t at_ms = 0; at_ms < 120; at_ms += 3) {
		struct world w;
		struct node *a, *b;
		struct discover d = { 0 };
		int status = 1;
		struct op_env env;
		struct iri iri;

		world_init(&w, 100 + at_ms);
		a = world_node(&w);
		b = world_node(&w);
		world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
		iri = world_iri(a, "/notes", true);
		env = world_env(b, 60000);
		d.data = &status;
		discover_start(&d, &env, b->discovery, &iri, SCOPE_EXACT, on_any);
		world_run_ms(&w, at_ms);
		op_cancel(&d.op);
		world_run_ms(&w, 10000);
		assert_true(status == 0 || status == UV_ECANCELED);
		CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
		world_fini(&w);
	}
}

static void a_deadline_names_the_stage_it_struck_in(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d = { 0 };
	int status = 1;
	struct op_env env;
	struct iri iri;

	world_init(&w, 11);
	a = world_node(&w);
	b = world_node(&w);
	CHECK_STATUS(0,
		     simnet_set_path(w.simnet, a->ip, b->ip, &(struct simnet_path){ .cut = true }));
	iri = world_iri(a, "/notes", true);
	env = world_env(b, 1000);
	d.data = &status;
	discover_start(&d, &env, b->discovery, &iri, SCOPE_EXACT, on_any);
	world_run_ms(&w, 20000);
	CHECK_STATUS(UV_ETIMEDOUT, status);
	assert_int_equal(d.outcome, DISCOVERY_TIMEOUT);
	assert_string_equal(d.timeout_stage, "local_sync");
	world_fini(&w);
}

static void a_slow_stage_owns_the_wall_clock(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri;
	uint64_t before;

	world_init(&w, 12);
	a = world_node(&w);
	b = world_node(&w);
	world_publish(a, "/notes", notes, 2);
	CHECK_STATUS(0, simnet_set_path(w.simnet, a->ip, b->ip,
					&(struct simnet_path){ .latency_ms = 500 }));
	iri = world_iri(a, "/notes", true);
	before = runner_now_ms(&w.loop.runner);
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	assert_in_range(runner_now_ms(&w.loop.runner) - before, 3000,
			20000); /* several round trips of a second */
	world_fini(&w);		/* checks that the stages sum to it */
}

/* 700 kB at 20 kB/s take 35 s: longer than all that a silent peer would be given. */
static void a_slow_line_that_delivers_is_given_time(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri iri;

	world_init(&w, 17);
	w.timeout_ms = 15000;
	w.peer_timeout_ms = 10000;
	a = world_node(&w);
	b = world_node(&w);
	world_publish(a, "/notes", notes, ARRAY_SIZE(notes));
	CHECK_STATUS(
		0, simnet_set_path(w.simnet, a->ip, b->ip,
				   &(struct simnet_path){ .latency_ms = 20, .bandwidth = 20000 }));
	iri = world_iri(a, "/notes", true);
	CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
	assert_true(world_resolves(b, &iri, SCOPE_EXACT));
	world_fini(&w);
}

struct resolves {
	struct node *node;
	struct iri iri;
};

static bool resolves_now(void *data)
{
	struct resolves *r = data;

	return world_resolves(r->node, &r->iri, SCOPE_EXACT);
}

static void a_subscription_hears_of_an_edit_without_polling(void **state)
{
	struct world w;
	struct resolves r;
	struct discover d;
	uint64_t at;

	world_init(&w, 13);
	world_node(&w);
	r.node = world_node(&w);
	r.iri = world_iri(&w.nodes[0], "/notes", true);
	world_publish(&w.nodes[0], "/notes", notes, 2);
	CHECK_STATUS(0, world_discover(r.node, &r.iri, SCOPE_EXACT, &d));
	world_subscribe(r.node, &r.iri, SCOPE_EXACT);
	world_run_ms(&w, 5000);
	r.iri.heads[r.iri.head_count++] =
		world_publish(&w.nodes[0], "/notes", notes, ARRAY_SIZE(notes));
	at = runner_now_ms(&w.loop.runner);
	assert_true(world_run_until(&w, resolves_now, &r, 30000));
	assert_in_range(runner_now_ms(&w.loop.runner) - at, 0, 500);
	world_fini(&w);
}

static void a_node_that_hints_at_itself_does_not_dial_itself(void **state)
{
	struct world w;
	struct node *a;
	struct discover d;
	struct iri iri;

	world_init(&w, 14);
	a = world_node(&w);
	iri = world_iri(a, "/nothing", true);
	CHECK_STATUS(ERR_NOT_FOUND, world_discover(a, &iri, SCOPE_EXACT, &d));
	assert_int_equal(d.peers_known, 0);
	world_fini(&w);
}

static void a_recursive_discovery_brings_all_objects_below(void **state)
{
	struct world w;
	struct node *a, *b;
	struct discover d;
	struct iri all, one;

	world_init(&w, 15);
	a = world_node(&w);
	b = world_node(&w);
	world_publish(a, "/notes", notes, 1);
	world_publish(a, "/notes/deep/er", notes, ARRAY_SIZE(notes));
	world_publish(a, "/other", notes, 2);
	all = world_iri(a, "/notes", true);
	one = world_iri(a, "/notes/deep/er", false);
	CHECK_STATUS(0, world_discover(b, &all, SCOPE_RECURSIVE, &d));
	assert_true(world_resolves(b, &one, SCOPE_EXACT));
	one = world_iri(a, "/other", false);
	assert_false(world_resolves(b, &one, SCOPE_EXACT));
	world_fini(&w);
}

static void an_object_without_memory_for_it_fails_and_the_node_goes_on(void **state)
{
	for (uint64_t n = 1; n < 400; n += 7) {
		struct world w;
		struct node *a, *b;
		struct discover d = { 0 };
		int status = 1;
		struct op_env env;
		struct iri iri;

		world_init(&w, 1000 + n);
		a = world_node(&w);
		b = world_node(&w);
		world_publish(a, "/notes", notes, 2);
		iri = world_iri(a, "/notes", true);
		env = world_env(b, 60000);
		d.data = &status;
		mem_fault_after(n, false);
		discover_start(&d, &env, b->discovery, &iri, SCOPE_EXACT, on_any);
		world_run_ms(&w, 200000);
		mem_fault_after(0, false);
		assert_int_not_equal(status, 1);
		CHECK_STATUS(0, world_discover(b, &iri, SCOPE_EXACT, &d));
		world_fini(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_object_comes_from_the_hinted_peer),
		cmocka_unit_test(a_pinned_version_that_is_here_is_cached_and_asks_nobody),
		cmocka_unit_test(nobody_has_it_is_not_found),
		cmocka_unit_test(a_dead_hint_is_not_found_and_says_why),
		cmocka_unit_test(what_is_held_stands_when_no_peer_answers),
		cmocka_unit_test(a_third_node_gets_it_from_the_second_when_the_first_is_gone),
		cmocka_unit_test(an_edit_moves_only_what_changed),
		cmocka_unit_test(older_content_follows_in_the_background_when_it_is_asked_for),
		cmocka_unit_test(of_a_pinned_version_the_content_comes_alone),
		cmocka_unit_test(what_only_a_stranger_has_comes_after_a_wide_search),
		cmocka_unit_test(an_older_version_can_be_asked_for),
		cmocka_unit_test(what_was_found_is_told_whatever_ends_meanwhile),
		cmocka_unit_test(identical_discoveries_are_one),
		cmocka_unit_test(cancelling_one_asker_leaves_the_other),
		cmocka_unit_test(a_discovery_may_be_cancelled_at_any_time),
		cmocka_unit_test(a_deadline_names_the_stage_it_struck_in),
		cmocka_unit_test(a_slow_stage_owns_the_wall_clock),
		cmocka_unit_test(a_slow_line_that_delivers_is_given_time),
		cmocka_unit_test(a_subscription_hears_of_an_edit_without_polling),
		cmocka_unit_test(a_node_that_hints_at_itself_does_not_dial_itself),
		cmocka_unit_test(a_recursive_discovery_brings_all_objects_below),
		cmocka_unit_test(an_object_without_memory_for_it_fails_and_the_node_goes_on),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
