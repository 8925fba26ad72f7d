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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_the_user_puts_is_private_until_published),
		TEST(a_commit_wants_its_root_and_the_root_its_chunks),
		TEST(what_is_stored_is_there_after_reopening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
