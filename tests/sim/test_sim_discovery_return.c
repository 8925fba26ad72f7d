/* Peers that were away and come back: those who follow them hear at once what they missed. */
#include "discovery/redial.h"
#include "tests/sim/world.h"

enum { CHAIN = 5, SEEDS = 6 };

static const struct world_file note[] = { { "a.txt", "a note\n", 0 } };
static const struct world_file edit[] = { { "a.txt", "a note, edited\n", 0 } };
static const struct simnet_path near = { .latency_ms = 5 }, cut = { .latency_ms = 5, .cut = true },
				refused = { .latency_ms = 5, .refuse = true };

struct chain {
	struct world w;
	struct iri iri, newest;
};

static bool last_has_it(void *data)
{
	struct chain *c = data;

	return world_resolves(&c->w.nodes[CHAIN - 1], &c->newest, SCOPE_EXACT);
}

static void publish(struct chain *c, const struct world_file *file)
{
	c->newest = c->iri;
	c->newest.heads[c->newest.head_count++] = world_publish(&c->w.nodes[0], "/notes", file, 1);
}

/* Each follows the one before, and knows no other. */
static struct chain *chain_new(uint64_t seed)
{
	struct chain *c = mem_alloc(sizeof(*c));

	world_init(&c->w, seed);
	for (size_t i = 0; i < CHAIN; i++)
		world_node(&c->w);
	simnet_set_default(c->w.simnet, &cut);
	for (size_t i = 1; i < CHAIN; i++)
		CHECK_STATUS(0, simnet_set_path(c->w.simnet, c->w.nodes[i - 1].ip, c->w.nodes[i].ip,
						&near));
	c->iri = world_iri(&c->w.nodes[0], "/notes", false);
	publish(c, note);
	for (size_t i = 1; i < CHAIN; i++) {
		world_add_peer(&c->w.nodes[i], &c->w.nodes[i - 1]);
		world_subscribe(&c->w.nodes[i], &c->iri, SCOPE_EXACT);
		world_run_ms(&c->w, 5000);
	}
	assert_true(world_run_until(&c->w, last_has_it, c, 300000));
	return c;
}

static void chain_free(struct chain *c)
{
	world_fini(&c->w);
	mem_free(c);
}

static void set_links(struct chain *c, const struct simnet_path *path, unsigned mask)
{
	for (size_t i = 1; i < CHAIN; i++) {
		if (mask & 1u << i)
			CHECK_STATUS(0, simnet_set_path(c->w.simnet, c->w.nodes[i - 1].ip,
							c->w.nodes[i].ip, path));
	}
}

/* From the end of the partition until the end of the chain has what was published in it. */
static uint64_t heal_and_wait(struct chain *c, unsigned mask)
{
	uint64_t since;

	set_links(c, &near, mask);
	since = runner_now_ms(&c->w.loop.runner);
	assert_true(world_run_until(&c->w, last_has_it, c, 300000));
	return runner_now_ms(&c->w.loop.runner) - since;
}

static void a_chain_converges_within_seconds_after_a_partition(void **state)
{
	static const unsigned masks[] = { 1u << 1, 1u << 2 | 1u << 3, 0x1e };

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct chain *c = chain_new(seed);
		uint64_t took_ms;

		set_links(c, &cut, masks[seed % ARRAY_SIZE(masks)]);
		world_run_ms(&c->w, 10000);
		publish(c, edit);
		world_run_ms(&c->w, 110000 + 7000 * seed); /* the conns are given up meanwhile */
		took_ms = heal_and_wait(c, masks[seed % ARRAY_SIZE(masks)]);
		print_message("# seed %d: converged in %d ms\n", (int)seed, (int)took_ms);
		assert_true(took_ms < 15000);
		chain_free(c);
	}
}

static void what_was_published_while_a_conn_was_down_comes_with_the_next(void **state)
{
	struct chain *c = chain_new(20);

	set_links(c, &refused, 1u << 1);
	simnet_reset(c->w.simnet, c->w.nodes[0].ip, c->w.nodes[1].ip);
	publish(c, edit);
	world_run_ms(&c->w, 3000);
	assert_false(last_has_it(c));
	assert_true(heal_and_wait(c, 1u << 1) < 3000);
	chain_free(c);
}

static void get(struct node *n, const struct iri *iri, const struct hash *newest)
{
	struct discover d;

	CHECK_STATUS(0, world_discover_fresh(n, iri, SCOPE_EXACT, true, &d));
	assert_int_equal(d.answer, DISCOVERY_CONFIRMED);
	assert_true(hash_eq(&d.heads[0], newest));
}

/* Another one answers as well, and knows nothing newer than what is here. */
static void an_author_that_failed_lately_is_asked_by_a_user(void **state)
{
	struct world w;
	struct node *author, *relay, *n;
	struct iri hinted, from_relay, iri;
	struct hash version;

	world_init(&w, 30);
	author = world_node(&w);
	relay = world_node(&w);
	n = world_node(&w);
	iri = from_relay = world_iri(author, "/notes", false);
	from_relay.hints[from_relay.hint_count++] = relay->addr;
	hinted = world_iri(author, "/notes", true);
	version = world_publish(author, "/notes", note, 1);
	get(relay, &hinted, &version);
	get(n, &from_relay, &version);
	world_run_ms(&w, 2000);
	version = world_publish(author, "/notes", edit, 1);
	get(n, &hinted, &version);
	get(relay, &hinted, &version);
	CHECK_STATUS(0, simnet_set_path(w.simnet, author->ip, n->ip, &refused));
	simnet_reset(w.simnet, author->ip, n->ip);
	get(n, &iri, &version); /* the relay's word; the author is out of reach */
	CHECK_STATUS(0, simnet_set_path(w.simnet, author->ip, n->ip, &near));
	world_run_ms(&w, 2000);
	version = world_publish(author, "/notes", note, 1);
	get(n, &iri, &version);
	world_fini(&w);
}

static struct discovery_stats stats_of(const struct node *n)
{
	struct discovery_stats stats;

	discovery_stats(n->discovery, &stats);
	return stats;
}

/* It is dialed ever more rarely, and never given up. */
static void who_is_gone_for_long_is_dialed_rarely_and_for_ever(void **state)
{
	struct chain *c = chain_new(21);
	struct node *follower = &c->w.nodes[1];
	uint64_t dials;

	set_links(c, &refused, 1u << 1);
	simnet_reset(c->w.simnet, c->w.nodes[0].ip, c->w.nodes[1].ip);
	world_run_ms(&c->w, 3600000);
	assert_in_range(stats_of(follower).redials, 100, 220);
	assert_int_equal(stats_of(follower).redial_lost, 1);
	dials = stats_of(follower).redials;
	world_run_ms(&c->w, 600000);
	assert_in_range(stats_of(follower).redials - dials, 8, 12);
	publish(c, edit);
	assert_true(heal_and_wait(c, 1u << 1) < REDIAL_MAX_MS * 5 / 4);
	assert_int_equal(stats_of(follower).redial_came_back, 1);
	chain_free(c);
}

static void who_is_seen_nearby_is_dialed_at_once(void **state)
{
	struct chain *c = chain_new(22);
	struct sync_target seen = { .peer = c->w.nodes[0].peer, .addr_count = 1 };

	seen.addrs[0] = c->w.nodes[0].addr;
	set_links(c, &refused, 1u << 1);
	simnet_reset(c->w.simnet, c->w.nodes[0].ip, c->w.nodes[1].ip);
	world_run_ms(&c->w, 3600000);
	publish(c, edit);
	set_links(c, &near, 1u << 1);
	discovery_peer_seen(c->w.nodes[1].discovery, &seen);
	assert_true(heal_and_wait(c, 1u << 1) < 1000);
	chain_free(c);
}

static void whom_no_subscription_looks_to_is_let_go(void **state)
{
	struct chain *c = chain_new(23);
	struct node *follower = &c->w.nodes[1];
	uint64_t dials;

	world_unsubscribe(follower, &c->iri, SCOPE_EXACT);
	world_run_ms(&c->w, 1000);
	set_links(c, &refused, 1u << 1);
	simnet_reset(c->w.simnet, c->w.nodes[0].ip, c->w.nodes[1].ip);
	dials = stats_of(follower).redials;
	world_run_ms(&c->w, 600000);
	assert_int_equal(stats_of(follower).redials, dials);
	assert_int_equal(stats_of(follower).redial_lost, 0);
	chain_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_converges_within_seconds_after_a_partition),
		cmocka_unit_test(what_was_published_while_a_conn_was_down_comes_with_the_next),
		cmocka_unit_test(an_author_that_failed_lately_is_asked_by_a_user),
		cmocka_unit_test(who_is_gone_for_long_is_dialed_rarely_and_for_ever),
		cmocka_unit_test(who_is_seen_nearby_is_dialed_at_once),
		cmocka_unit_test(whom_no_subscription_looks_to_is_let_go),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
