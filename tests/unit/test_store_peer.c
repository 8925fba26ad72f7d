#include "store_util.h"

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, true);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	check_invariants(f);
	fixture_fini(f);
	return 0;
}

static struct store_peer peer_of(uint8_t n, uint16_t port)
{
	struct store_peer p = { .key = key_of(n).pub, .addr_count = port != 0 };

	p.addrs[0] = (struct multiaddr){ .family = 4, .ip = { 10, 0, 0, n }, .port = port };
	return p;
}

static int set(struct fixture *f, enum store_peer_change change, uint8_t n, uint16_t port,
	       const struct public_key *space)
{
	struct store_peer peer = peer_of(n, port);
	struct store_peer_set p;
	int rc = RUN(store_peer_set, &p, f, change, &peer, space);

	store_peer_set_fini(&p);
	clock_manual_advance(&f->loop.clock, NS_PER_SEC);
	return rc;
}

static void list(struct fixture *f, struct store_peers *p, const struct public_key *space,
		 size_t limit)
{
	CHECK_STATUS(0, RUN(store_peers, p, f, space, limit));
}

static void peers_are_added_and_removed(void **state)
{
	struct fixture *f = *state;
	struct store_peers p;

	CHECK_STATUS(0, set(f, STORE_PEER_ADD, 10, 4001, NULL));
	CHECK_STATUS(0, set(f, STORE_PEER_SEEN, 10, 4002, NULL));
	fixture_reopen(f);
	list(f, &p, NULL, 10);
	assert_int_equal(p.count, 1);
	assert_true(p.peers[0].added_by_user);
	assert_int_equal(p.peers[0].addr_count, 2);
	assert_int_equal(p.peers[0].addrs[0].port, 4002);
	store_peers_fini(&p);
	CHECK_STATUS(0, set(f, STORE_PEER_REMOVE, 10, 0, NULL));
	CHECK_STATUS(ERR_NOT_FOUND, set(f, STORE_PEER_REMOVE, 10, 0, NULL));
}

static void success_and_failure_are_remembered(void **state)
{
	struct fixture *f = *state;
	struct store_peers p;

	CHECK_STATUS(0, set(f, STORE_PEER_FAILED, 10, 4001, NULL));
	list(f, &p, NULL, 10);
	assert_int_equal(p.count, 0);
	store_peers_fini(&p);
	CHECK_STATUS(0, set(f, STORE_PEER_SEEN, 10, 4001, NULL));
	CHECK_STATUS(0, set(f, STORE_PEER_FAILED, 10, 0, NULL));
	CHECK_STATUS(0, set(f, STORE_PEER_FAILED, 10, 0, NULL));
	list(f, &p, NULL, 10);
	assert_int_equal(p.peers[0].failures, 2);
	assert_int_equal(p.peers[0].addr_count, 1);
	assert_true(p.peers[0].last_fail_s > 0);
	store_peers_fini(&p);
	CHECK_STATUS(0, set(f, STORE_PEER_OK, 10, 0, NULL));
	list(f, &p, NULL, 10);
	assert_int_equal(p.peers[0].failures, 0);
	store_peers_fini(&p);
}

static void publish_authority(struct fixture *f, uint8_t n, uint16_t port)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct store_publish p;
	struct store_origin over = { .over = true };
	struct store_peer peer = peer_of(n, port);

	c->space = c->author = f->owner.pub;
	c->tombstone = true;
	c->authority_count = 1;
	c->authorities[0].peer = peer.key;
	c->authorities[0].addr_count = 1;
	c->authorities[0].addrs[0] = peer.addrs[0];
	CHECK_STATUS(0, RUN(store_publish, &p, f, c, f->owner.secret, &over));
	store_publish_fini(&p);
	mem_free(c);
}

static void authorities_come_first_then_who_served_then_the_rest(void **state)
{
	struct fixture *f = *state;
	struct key served = key_of(11), latest = key_of(13);
	struct store_peers p;

	CHECK_STATUS(0, set(f, STORE_PEER_OK, 11, 4001, &f->owner.pub));
	CHECK_STATUS(0, set(f, STORE_PEER_OK, 12, 4001, &f->guest.pub));
	CHECK_STATUS(0, set(f, STORE_PEER_OK, 13, 4001, NULL));
	publish_authority(f, 14, 4444);
	list(f, &p, &f->owner.pub, 10);
	assert_int_equal(p.count, 4);
	assert_true(p.peers[0].authority);
	assert_int_equal(p.peers[0].addrs[0].port, 4444);
	assert_true(p.peers[1].served_space);
	assert_memory_equal(&p.peers[1].key, &served.pub, KEY_SIZE);
	assert_memory_equal(&p.peers[2].key, &latest.pub, KEY_SIZE);
	assert_false(p.peers[3].served_space);
	store_peers_fini(&p);
	list(f, &p, &f->owner.pub, 2);
	assert_int_equal(p.count, 2);
	store_peers_fini(&p);
}

static void an_authority_that_served_is_listed_once(void **state)
{
	struct fixture *f = *state;
	struct store_peers p;

	CHECK_STATUS(0, set(f, STORE_PEER_OK, 14, 4001, &f->owner.pub));
	publish_authority(f, 15, 4444);
	publish_authority(f, 14, 4444);
	list(f, &p, &f->owner.pub, 10);
	assert_int_equal(p.count, 1);
	assert_true(p.peers[0].authority && p.peers[0].served_space);
	assert_int_equal(p.peers[0].addr_count, 2);
	store_peers_fini(&p);
}

static int subscribe(struct fixture *f, enum store_subscription_change change, const char *path,
		     bool *ret_changed)
{
	struct scope scope = scope_of(&f->owner.pub, path, SCOPE_RECURSIVE);
	struct store_subscription_set p;
	int rc = RUN(store_subscription_set, &p, f, change, &scope);

	*ret_changed = p.changed;
	store_subscription_set_fini(&p);
	return rc;
}

static void subscriptions_survive_a_restart(void **state)
{
	struct fixture *f = *state;
	struct store_subscriptions p;
	bool changed;

	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE, "/a", &changed));
	assert_true(changed);
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE, "/a", &changed));
	assert_false(changed);
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIPTION_OK, "/a", &changed));
	assert_true(changed);
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIPTION_OK, "/b", &changed));
	assert_false(changed);
	fixture_reopen(f);
	CHECK_STATUS(0, RUN(store_subscriptions, &p, f));
	assert_int_equal(p.count, 1);
	assert_string_equal(p.list[0].scope.path, "/a");
	assert_true(p.list[0].last_ok_s > 0);
	store_subscriptions_fini(&p);
	CHECK_STATUS(0, subscribe(f, STORE_UNSUBSCRIBE, "/a", &changed));
	assert_true(changed);
	CHECK_STATUS(0, subscribe(f, STORE_UNSUBSCRIBE, "/a", &changed));
	assert_false(changed);
}

static bool has_history(struct fixture *f)
{
	struct store_subscriptions p;
	bool history;

	CHECK_STATUS(0, RUN(store_subscriptions, &p, f));
	assert_int_equal(p.count, 1);
	history = p.list[0].history;
	store_subscriptions_fini(&p);
	return history;
}

static void history_is_turned_on_with_a_subscription_or_later(void **state)
{
	struct fixture *f = *state;
	bool changed;

	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE, "/a", &changed));
	assert_false(has_history(f));
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE_HISTORY, "/a", &changed));
	assert_true(changed && has_history(f));
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE_HISTORY, "/a", &changed));
	assert_false(changed);
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE, "/a", &changed));
	assert_true(!changed && has_history(f));
	CHECK_STATUS(0, subscribe(f, STORE_UNSUBSCRIBE, "/a", &changed));
	CHECK_STATUS(0, subscribe(f, STORE_SUBSCRIBE_HISTORY, "/a", &changed));
	fixture_reopen(f);
	assert_true(has_history(f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(peers_are_added_and_removed),
		TEST(success_and_failure_are_remembered),
		TEST(authorities_come_first_then_who_served_then_the_rest),
		TEST(an_authority_that_served_is_listed_once),
		TEST(subscriptions_survive_a_restart),
		TEST(history_is_turned_on_with_a_subscription_or_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
