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

	if (f->store != NULL)
		check_invariants(f);
	fixture_fini(f);
	return 0;
}

static void what_the_user_puts_is_private_until_published(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello"), tree = tree_of(&chunk, 1);
	struct hash commit;

	CHECK_STATUS(0, put_one(f, &chunk, NULL));
	CHECK_STATUS(0, put_one(f, &tree, NULL));
	assert_true(readable(f, &chunk.hash, false));
	assert_false(readable(f, &chunk.hash, true));
	CHECK_STATUS(0, publish(f, "/a", &tree, &commit));
	assert_true(readable(f, &chunk.hash, true));
	assert_true(readable(f, &tree.hash, true));
	assert_true(readable(f, &commit, true));
	assert_true(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	blob_fini(&chunk);
	blob_fini(&tree);
}

static void a_commit_wants_its_root_and_the_root_its_chunks(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello"), tree = tree_of(&chunk, 1);
	struct blob commit = commit_of(&f->owner, &f->owner.pub, "/a", &tree, 100, NULL, 0, NULL);
	struct put_result r;

	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &commit }, 1, &f->peer.pub, NULL));
	assert_int_equal(r.put.want_count, 1);
	assert_memory_equal(&r.put.wants[0].hash, &tree.hash, HASH_SIZE);
	assert_int_equal(r.put.wants[0].priority, STORE_WANT_TREE);
	store_put_fini(&r.put);
	assert_false(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	CHECK_STATUS(0, put_many(f, &r, &(const struct blob *){ &tree }, 1, &f->peer.pub, NULL));
	assert_int_equal(r.put.want_count, 1);
	assert_int_equal(r.put.wants[0].priority, STORE_WANT_SMALL);
	assert_int_equal(r.put.wants[0].size, 5);
	store_put_fini(&r.put);
	assert_int_equal(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).missing, 1);
	CHECK_STATUS(0, put_one(f, &chunk, &f->peer.pub));
	assert_true(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	assert_true(readable(f, &chunk.hash, true));
	blob_fini(&chunk);
	blob_fini(&tree);
	blob_fini(&commit);
}

static void what_is_stored_is_there_after_reopening(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello"), tree = tree_of(&chunk, 1);

	CHECK_STATUS(0, put_one(f, &chunk, NULL));
	CHECK_STATUS(0, put_one(f, &tree, NULL));
	CHECK_STATUS(0, publish(f, "", &tree, NULL));
	fixture_reopen(f);
	assert_true(resolve(f, &f->owner.pub, "", SCOPE_RECURSIVE).resolved);
	assert_true(readable(f, &chunk.hash, true));
	blob_fini(&chunk);
	blob_fini(&tree);
}

static void a_bad_blob_in_the_middle_harms_nothing(void **state)
{
	struct fixture *f = *state;
	struct blob good[2] = { chunk_of("one"), chunk_of("two") };
	struct blob junk = blob_of(OBJECT_TREE, "\xff\xff\xff junk", 9);
	struct blob liar = chunk_of("three");
	const struct blob *list[] = { &good[0], &junk, &liar, &good[1] };
	struct put_result r;

	liar.hash.bytes[0] ^= 1;
	CHECK_STATUS(0, put_many(f, &r, list, 4, NULL, NULL));
	CHECK_STATUS(0, r.blobs[0].status);
	CHECK_STATUS(ERR_MALFORMED, r.blobs[1].status);
	CHECK_STATUS(ERR_VERIFY, r.blobs[2].status);
	CHECK_STATUS(0, r.blobs[3].status);
	assert_int_equal(r.put.stored, 2);
	assert_int_equal(r.put.refused, 2);
	assert_null(r.blobs[0].data);
	store_put_fini(&r.put);
	assert_true(readable(f, &good[1].hash, false));
	blob_fini(&good[0]);
	blob_fini(&good[1]);
	blob_fini(&junk);
	blob_fini(&liar);
}

/* The entries before the cut are decoded, linked, and have to be undone. */
static void a_tree_that_turns_out_bad_leaves_no_links(void **state)
{
	struct fixture *f = *state;
	struct blob chunks[3] = { chunk_of("1"), chunk_of("2"), chunk_of("3") };
	struct blob tree = tree_of(chunks, 3);
	struct blob cut = blob_of(OBJECT_TREE, tree.data, tree.len - 1);

	assert_true(put_one(f, &cut, NULL) < 0);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM blob"), 0);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM link"), 0);
	for (size_t i = 0; i < 3; i++)
		blob_fini(&chunks[i]);
	blob_fini(&tree);
	blob_fini(&cut);
}

static void wrong_bytes_are_not_held_against_the_hash(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello"), lie = chunk_of("hellO"), tree = tree_of(&chunk, 1);
	struct blob commit = commit_of(&f->owner, &f->owner.pub, "/a", &tree, 100, NULL, 0, NULL);
	struct store_has h;

	lie.hash = chunk.hash;
	CHECK_STATUS(0, put_one(f, &commit, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &tree, &f->peer.pub));
	CHECK_STATUS(ERR_VERIFY, put_one(f, &lie, &f->peer.pub));
	CHECK_STATUS(0, RUN(store_has, &h, f, &chunk.hash, 1, true));
	assert_false(h.present[0]);
	store_has_fini(&h);
	CHECK_STATUS(0, put_one(f, &chunk, &f->peer.pub));
	blob_fini(&chunk);
	blob_fini(&lie);
	blob_fini(&tree);
	blob_fini(&commit);
}

static void bad_bytes_are_remembered_and_not_asked_for(void **state)
{
	struct fixture *f = *state;
	struct blob junk = blob_of(OBJECT_TREE, "\xff\xff\xff junk", 9);
	struct blob commit = commit_of(&f->owner, &f->owner.pub, "/a", &junk, 100, NULL, 0, NULL);
	struct scope scope = scope_of(&f->owner.pub, "/a", SCOPE_EXACT);
	struct store_wants w;
	struct store_has h;

	CHECK_STATUS(0, put_one(f, &commit, &f->peer.pub));
	CHECK_STATUS(ERR_MALFORMED, put_one(f, &junk, &f->peer.pub));
	CHECK_STATUS(ERR_MALFORMED, put_one(f, &junk, &f->peer.pub));
	CHECK_STATUS(0, RUN(store_has, &h, f, &junk.hash, 1, true));
	assert_true(h.present[0]);
	store_has_fini(&h);
	CHECK_STATUS(0, RUN(store_has, &h, f, &junk.hash, 1, false));
	assert_false(h.present[0]);
	store_has_fini(&h);
	CHECK_STATUS(0, RUN(store_wants, &w, f, &scope, STORE_WANT_HISTORY, 10));
	assert_int_equal(w.count, 0);
	store_wants_fini(&w);
	assert_false(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	clock_manual_advance(&f->loop.clock, (STORE_REFUSED_AGE_MAX_S + 1ull) * NS_PER_SEC);
	CHECK_STATUS(0, put_one(f, &commit, &f->peer.pub));
	assert_int_equal(f->store->db.totals.v[TOTAL_REFUSED], 0);
	blob_fini(&junk);
	blob_fini(&commit);
}

static void a_peer_cannot_put_what_nothing_references(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello"), tree = tree_of(&chunk, 1);

	CHECK_STATUS(ERR_PROTOCOL, put_one(f, &chunk, &f->peer.pub));
	CHECK_STATUS(ERR_PROTOCOL, put_one(f, &tree, &f->peer.pub));
	assert_int_equal(count_sql(f, "SELECT count(*) FROM blob"), 0);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM refused"), 0);
	blob_fini(&chunk);
	blob_fini(&tree);
}

static void the_user_cannot_put_a_commit(void **state)
{
	struct fixture *f = *state;
	struct blob commit = commit_of(&f->owner, &f->owner.pub, "/a", NULL, 100, NULL, 0, NULL);

	CHECK_STATUS(ERR_PROTOCOL, put_one(f, &commit, NULL));
	CHECK_STATUS(0, put_one(f, &commit, &f->peer.pub));
	blob_fini(&commit);
}

static void knowing_a_hash_does_not_make_a_private_blob_public(void **state)
{
	struct fixture *f = *state;
	struct blob secret = chunk_of("the secret"), tree = tree_of(&secret, 1);
	struct blob commit =
		commit_of(&f->guest, &f->guest.pub, "/steal", &tree, 100, NULL, 0, NULL);
	struct store_has h;

	CHECK_STATUS(0, put_one(f, &secret, NULL));
	CHECK_STATUS(0, put_one(f, &commit, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &tree, &f->peer.pub));
	assert_false(readable(f, &secret.hash, true));
	assert_true(readable(f, &secret.hash, false));
	CHECK_STATUS(0, RUN(store_has, &h, f, &secret.hash, 1, false));
	assert_false(h.present[0]);
	store_has_fini(&h);
	check_invariants(f);
	CHECK_STATUS(0, put_one(f, &secret, &f->peer.pub));
	assert_true(readable(f, &secret.hash, true));
	assert_true(resolve(f, &f->guest.pub, "/steal", SCOPE_EXACT).resolved);
	blob_fini(&secret);
	blob_fini(&tree);
	blob_fini(&commit);
}

/* A file may hold the bytes of somebody's tree. */
static void the_same_bytes_may_be_a_chunk_and_a_tree(void **state)
{
	struct fixture *f = *state;
	struct blob leaf = chunk_of("leaf"), tree = tree_of(&leaf, 1), as_chunk = tree;
	struct blob holder, copy, commit;

	as_chunk.kind = OBJECT_CHUNK;
	holder = tree_of(&as_chunk, 1);
	copy = commit_of(&f->owner, &f->owner.pub, "/copy", &holder, 100, NULL, 0, NULL);
	commit = commit_of(&f->owner, &f->owner.pub, "/tree", &tree, 100, NULL, 0, NULL);
	CHECK_STATUS(0, put_one(f, &copy, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &holder, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &as_chunk, &f->peer.pub));
	assert_true(resolve(f, &f->owner.pub, "/copy", SCOPE_EXACT).resolved);
	CHECK_STATUS(0, put_one(f, &commit, &f->peer.pub));
	assert_int_equal(resolve(f, &f->owner.pub, "/tree", SCOPE_EXACT).missing, 1);
	CHECK_STATUS(0, put_one(f, &leaf, &f->peer.pub));
	assert_true(resolve(f, &f->owner.pub, "/tree", SCOPE_EXACT).resolved);
	blob_fini(&leaf);
	blob_fini(&tree);
	blob_fini(&holder);
	blob_fini(&copy);
	blob_fini(&commit);
}

static void a_second_put_of_the_same_blob_writes_nothing(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello");
	const struct blob *twice[] = { &chunk, &chunk };
	struct put_result r;

	CHECK_STATUS(0, put_many(f, &r, twice, 2, NULL, NULL));
	assert_int_equal(r.put.stored, 1);
	assert_int_equal(r.put.existed, 1);
	assert_false(r.blobs[0].existed);
	assert_true(r.blobs[1].existed);
	assert_int_equal(r.put.stored_bytes, 5);
	store_put_fini(&r.put);
	blob_fini(&chunk);
}

static void a_large_put_is_several_transactions(void **state)
{
	enum { COUNT = 2 * STORE_TX_BLOBS_MAX + 10 };
	struct fixture *f = *state;
	struct store_stats before, after;
	struct blob blobs[COUNT];
	const struct blob *list[COUNT];
	struct put_result r;

	for (size_t i = 0; i < COUNT; i++) {
		blobs[i] = blob_of(OBJECT_CHUNK, &i, sizeof(i));
		list[i] = &blobs[i];
	}
	store_stats(f->store, &before);
	CHECK_STATUS(0, put_many(f, &r, list, COUNT, NULL, NULL));
	store_stats(f->store, &after);
	assert_int_equal(r.put.stored, COUNT);
	assert_int_equal(after.transactions - before.transactions, 3);
	assert_int_equal(after.requests - before.requests, 1);
	assert_int_equal(after.blobs, COUNT);
	store_put_fini(&r.put);
	for (size_t i = 0; i < COUNT; i++)
		blob_fini(&blobs[i]);
}

static void get_stops_at_the_byte_budget_but_gives_the_first(void **state)
{
	struct fixture *f = *state;
	struct blob chunks[3] = { chunk_of("aaaa"), chunk_of("bbbb"), chunk_of("cccc") };
	struct store_get_item items[4] = { 0 };
	struct store_reader user = { 0 };
	struct store_get g;

	for (size_t i = 0; i < 3; i++)
		CHECK_STATUS(0, put_one(f, &chunks[i], NULL));
	items[0].hash = hash_of("absent", 6);
	for (size_t i = 0; i < 3; i++)
		items[i + 1].hash = chunks[i].hash;
	CHECK_STATUS(0, RUN(store_get, &g, f, items, 4, &user, 8));
	assert_null(items[0].data);
	assert_int_equal(items[0].len, 0);
	assert_memory_equal(items[2].data, "bbbb", 4);
	assert_null(items[3].data);
	assert_true(items[3].len == SIZE_MAX);
	store_get_fini(&g);
	CHECK_STATUS(0, RUN(store_get, &g, f, items + 1, 1, &user, 1));
	assert_int_equal(items[1].len, 4);
	store_get_fini(&g);
	for (size_t i = 0; i < 3; i++)
		blob_fini(&chunks[i]);
}

static void rotten_bytes_are_given_to_nobody(void **state)
{
	struct fixture *f = *state;
	struct blob chunk = chunk_of("hello");
	struct store_stats stats;

	CHECK_STATUS(0, put_one(f, &chunk, NULL));
	assert_int_equal(sqlite3_exec(f->store->db.sqlite, "UPDATE content SET bytes = x'00'", NULL,
				      NULL, NULL),
			 SQLITE_OK);
	assert_false(readable(f, &chunk.hash, false));
	store_stats(f->store, &stats);
	assert_int_equal(stats.damaged, 1);
	assert_int_equal(sqlite3_exec(f->store->db.sqlite,
				      "UPDATE content SET bytes = CAST('hello' AS BLOB)", NULL,
				      NULL, NULL),
			 SQLITE_OK);
	blob_fini(&chunk);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_user_puts_is_private_until_published),
		TEST(a_commit_wants_its_root_and_the_root_its_chunks),
		TEST(what_is_stored_is_there_after_reopening),
		TEST(a_bad_blob_in_the_middle_harms_nothing),
		TEST(a_tree_that_turns_out_bad_leaves_no_links),
		TEST(wrong_bytes_are_not_held_against_the_hash),
		TEST(bad_bytes_are_remembered_and_not_asked_for),
		TEST(a_peer_cannot_put_what_nothing_references),
		TEST(the_user_cannot_put_a_commit),
		TEST(knowing_a_hash_does_not_make_a_private_blob_public),
		TEST(the_same_bytes_may_be_a_chunk_and_a_tree),
		TEST(a_second_put_of_the_same_blob_writes_nothing),
		TEST(a_large_put_is_several_transactions),
		TEST(get_stops_at_the_byte_budget_but_gives_the_first),
		TEST(rotten_bytes_are_given_to_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
