#include "store_util.h"

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f, false);
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

static size_t items_in(struct fixture *f, const char *path, enum scope_kind kind)
{
	struct scope scope = scope_of(&f->owner.pub, path, kind);
	struct store_items items;
	size_t count;

	CHECK_STATUS(0, RUN(store_items, &items, f, &scope));
	for (size_t i = 1; i < items.count; i++)
		assert_true(items.items[i - 1].time_s < items.items[i].time_s ||
			    (items.items[i - 1].time_s == items.items[i].time_s &&
			     hash_cmp(&items.items[i - 1].hash, &items.items[i].hash) < 0));
	count = items.count;
	store_items_fini(&items);
	return count;
}

static void put_commit(struct fixture *f, const struct key *space, const char *path,
		       uint64_t time_s)
{
	struct blob b = commit_of(space, &space->pub, path, NULL, time_s, NULL, 0, NULL);

	CHECK_STATUS(0, put_one(f, &b, &f->peer.pub));
	blob_fini(&b);
}

#define store_items_again_done store_items_done

static bool unchanged(struct fixture *f, const struct scope *scope, size_t known, size_t count)
{
	struct store_items items;
	bool same;

	CHECK_STATUS(0, RUN(store_items_again, &items, f, scope, known));
	same = items.unchanged;
	assert_int_equal(items.count, same ? 0 : count);
	assert_true(same == (items.items == NULL));
	store_items_fini(&items);
	return same;
}

static void items_are_not_read_again_while_there_are_as_many(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "/a", SCOPE_RECURSIVE);
	uint64_t commits = store_commit_count(f->store);

	assert_false(unchanged(f, &scope, 0, 0));
	put_commit(f, &f->owner, "/a", 5);
	put_commit(f, &f->owner, "/a/b", 6);
	assert_int_equal(store_commit_count(f->store), commits + 2);
	assert_false(unchanged(f, &scope, 1, 2));
	assert_true(unchanged(f, &scope, 2, 2));
	put_commit(f, &f->owner, "/b", 7);
	assert_true(unchanged(f, &scope, 2, 2));
	put_commit(f, &f->owner, "/a", 8);
	assert_false(unchanged(f, &scope, 2, 3));
}

static void items_follow_the_scope(void **state)
{
	static const char *const paths[] = { "",    "/a",  "/a-b", "/a/b", "/a/b/c", "/a/\xc3\xa4",
					     "/a0", "/aa", "/b" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		put_commit(f, &f->owner, paths[i], 1000 - i);
	put_commit(f, &f->guest, "/a", 1);
	assert_int_equal(items_in(f, "", SCOPE_EXACT), 1);
	assert_int_equal(items_in(f, "", SCOPE_CHILDREN), 6);
	assert_int_equal(items_in(f, "", SCOPE_RECURSIVE), 9);
	assert_int_equal(items_in(f, "/a", SCOPE_EXACT), 1);
	assert_int_equal(items_in(f, "/a", SCOPE_CHILDREN), 3);
	assert_int_equal(items_in(f, "/a", SCOPE_RECURSIVE), 4);
	assert_int_equal(items_in(f, "/a/\xc3\xa4", SCOPE_CHILDREN), 1);
	assert_int_equal(items_in(f, "/nothing", SCOPE_RECURSIVE), 0);
	put_commit(f, &f->owner, "/\xc3\xa4\xc3\xa4/a", 1);
	put_commit(f, &f->owner, "/\xc3\xa4\xc3\xa4/a/b", 2);
	assert_int_equal(items_in(f, "/\xc3\xa4\xc3\xa4", SCOPE_CHILDREN), 1);
}

/* Every scope over every small tree of paths: the same as scope_contains says. */
static void sql_and_scope_contains_agree(void **state)
{
	static const char *const names[] = { "a", "a-", "a0", "\xc3\xa4", ".x" };
	struct fixture *f = *state;
	char paths[1 + 5 + 25][OBJECT_PATH_MAX + 1] = { "" };
	size_t n = 1;

	for (size_t i = 0; i < 5; i++)
		(void)snprintf(paths[n++], OBJECT_PATH_MAX, "/%s", names[i]);
	for (size_t i = 0; i < 25; i++)
		(void)snprintf(paths[n++], OBJECT_PATH_MAX, "/%s/%s", names[i / 5], names[i % 5]);
	for (size_t i = 0; i < n; i++)
		put_commit(f, &f->owner, paths[i], 5);
	for (size_t i = 0; i < n; i++) {
		for (int kind = SCOPE_EXACT; kind <= SCOPE_RECURSIVE; kind++) {
			struct scope scope =
				scope_of(&f->owner.pub, paths[i], (enum scope_kind)kind);
			size_t expected = 0;

			for (size_t k = 0; k < n; k++)
				expected += scope_contains(&scope, &f->owner.pub, paths[k],
							   strlen(paths[k]));
			assert_int_equal(items_in(f, paths[i], (enum scope_kind)kind), expected);
		}
	}
}

static void an_unknown_scope_leaves_no_rows(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "/x", SCOPE_RECURSIVE);
	struct iri iri = iri_of(&f->owner.pub, "/x");
	struct store_objects objects;
	struct store_wants wants;
	struct store_log log;

	assert_int_equal(items_in(f, "/x", SCOPE_EXACT), 0);
	assert_false(resolve(f, &f->owner.pub, "/x", SCOPE_RECURSIVE).resolved);
	CHECK_STATUS(0, RUN(store_wants, &wants, f, &scope, STORE_WANT_HISTORY, 10));
	store_wants_fini(&wants);
	CHECK_STATUS(0, RUN(store_objects, &objects, f, &scope, 10));
	store_objects_fini(&objects);
	CHECK_STATUS(ERR_NOT_FOUND, RUN(store_log, &log, f, &iri, 10));
	store_log_fini(&log);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM object"), 0);
	assert_int_equal(count_sql(f, "SELECT count(*) FROM blob"), 0);
}

struct version {
	struct blob chunks[2], tree, commit;
};

static void version_make(struct fixture *f, struct version *v, const char *path, const char *text,
			 const struct version *parent)
{
	char other[64];

	(void)snprintf(other, sizeof(other), "%s too", text);
	v->chunks[0] = chunk_of(text);
	v->chunks[1] = chunk_of(other);
	v->tree = tree_of(v->chunks, 2);
	v->commit = commit_of(&f->owner, &f->owner.pub, path, &v->tree, parent != NULL ? 200 : 100,
			      parent != NULL ? &parent->commit.hash : NULL, parent != NULL, NULL);
}

static void version_fini(struct version *v)
{
	blob_fini(&v->chunks[0]);
	blob_fini(&v->chunks[1]);
	blob_fini(&v->tree);
	blob_fini(&v->commit);
}

static void version_put(struct fixture *f, const struct version *v, int upto)
{
	const struct blob *all[] = { &v->commit, &v->tree, &v->chunks[0], &v->chunks[1] };

	for (int i = 0; i < upto; i++)
		CHECK_STATUS(0, put_one(f, all[i], &f->peer.pub));
}

static void history_is_wanted_last(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "/a", SCOPE_EXACT);
	struct version old, new;
	struct store_wants w;

	version_make(f, &old, "/a", "old", NULL);
	version_make(f, &new, "/a", "new", &old);
	version_put(f, &old, 2);
	version_put(f, &new, 2);
	CHECK_STATUS(0, RUN(store_wants, &w, f, &scope, STORE_WANT_HISTORY, 10));
	assert_int_equal(w.total, 4);
	assert_int_equal(w.wants[0].priority, STORE_WANT_SMALL);
	assert_memory_equal(&w.wants[0].hash, &new.chunks[0].hash, HASH_SIZE);
	assert_int_equal(w.wants[2].priority, STORE_WANT_HISTORY);
	store_wants_fini(&w);
	CHECK_STATUS(0, RUN(store_wants, &w, f, &scope, STORE_WANT_BULK, 1));
	assert_int_equal(w.count, 1);
	assert_int_equal(w.total, 2);
	store_wants_fini(&w);
	version_put(f, &new, 4);
	assert_true(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	version_fini(&old);
	version_fini(&new);
}

static void a_put_reports_history_as_history(void **state)
{
	struct fixture *f = *state;
	struct version old, new;
	struct put_result r;
	const struct blob *list[2];

	version_make(f, &old, "/a", "old", NULL);
	version_make(f, &new, "/a", "new", &old);
	list[0] = &old.commit;
	list[1] = &new.commit;
	CHECK_STATUS(0, put_many(f, &r, list, 2, &f->peer.pub, NULL));
	assert_int_equal(r.put.want_count, 2);
	assert_memory_equal(&r.put.wants[0].hash, &new.tree.hash, HASH_SIZE);
	assert_int_equal(r.put.wants[0].priority, STORE_WANT_TREE);
	assert_int_equal(r.put.wants[1].priority, STORE_WANT_HISTORY);
	store_put_fini(&r.put);
	CHECK_STATUS(0,
		     put_many(f, &r, &(const struct blob *){ &old.tree }, 1, &f->peer.pub, NULL));
	assert_int_equal(r.put.want_count, 2);
	assert_int_equal(r.put.wants[0].priority, STORE_WANT_HISTORY);
	store_put_fini(&r.put);
	version_fini(&old);
	version_fini(&new);
}

static void a_pinned_version_is_judged_by_itself(void **state)
{
	struct fixture *f = *state;
	struct iri iri = iri_of(&f->owner.pub, "/a");
	struct version old, new;
	struct store_resolve r;

	version_make(f, &old, "/a", "old", NULL);
	version_make(f, &new, "/a", "new", &old);
	version_put(f, &old, 4);
	version_put(f, &new, 1);
	iri.head_count = 1;
	iri.heads[0] = old.commit.hash;
	CHECK_STATUS(0, RUN(store_resolve, &r, f, &iri, SCOPE_EXACT));
	assert_true(r.resolved);
	assert_memory_equal(&r.heads[0], &new.commit.hash, HASH_SIZE);
	iri.heads[0] = new.commit.hash;
	CHECK_STATUS(0, RUN(store_resolve, &r, f, &iri, SCOPE_EXACT));
	assert_false(r.resolved);
	assert_int_equal(r.missing, 1);
	iri.heads[0] = hash_of("unknown", 7);
	CHECK_STATUS(0, RUN(store_resolve, &r, f, &iri, SCOPE_RECURSIVE));
	assert_false(r.resolved);
	assert_int_equal(r.missing, 1);
	version_fini(&old);
	version_fini(&new);
}

static void a_recursive_scope_resolves_when_each_object_does(void **state)
{
	struct fixture *f = *state;
	struct store_resolve r;
	struct version a, b;

	version_make(f, &a, "/a", "a", NULL);
	version_make(f, &b, "/a/b", "b", NULL);
	version_put(f, &a, 4);
	version_put(f, &b, 2);
	assert_true(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	r = resolve(f, &f->owner.pub, "/a", SCOPE_RECURSIVE);
	assert_false(r.resolved);
	assert_int_equal(r.objects, 2);
	assert_int_equal(r.missing, 2);
	version_put(f, &b, 4);
	assert_true(resolve(f, &f->owner.pub, "", SCOPE_RECURSIVE).resolved);
	assert_false(resolve(f, &f->owner.pub, "", SCOPE_EXACT).resolved);
	version_fini(&a);
	version_fini(&b);
}

static void stashed_commits_want_what_they_wait_for(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "/a", SCOPE_RECURSIVE);
	struct version old, new;
	struct store_wants w;

	version_make(f, &old, "/a/x", "old", NULL);
	version_make(f, &new, "/a/x", "new", &old);
	CHECK_STATUS(ERR_MISSING, put_one(f, &new.commit, &f->peer.pub));
	CHECK_STATUS(0, RUN(store_wants, &w, f, &scope, STORE_WANT_COMMIT, 10));
	assert_int_equal(w.count, 1);
	assert_memory_equal(&w.wants[0].hash, &old.commit.hash, HASH_SIZE);
	store_wants_fini(&w);
	assert_int_equal(items_in(f, "/a", SCOPE_RECURSIVE), 0);
	version_fini(&old);
	version_fini(&new);
}

static void objects_and_log_tell_what_there_is(void **state)
{
	struct fixture *f = *state;
	struct iri iri = iri_of(&f->owner.pub, "/a");
	struct version old, new;
	struct store_objects o;
	struct store_log l;

	version_make(f, &old, "/a", "old", NULL);
	version_make(f, &new, "/a", "new", &old);
	version_put(f, &old, 4);
	version_put(f, &new, 2);
	put_commit(f, &f->owner, "/b", 50);
	CHECK_STATUS(0, RUN(store_objects, &o, f, NULL, 10));
	assert_int_equal(o.total, 2);
	assert_string_equal(o.objects[0].path, "/a");
	assert_int_equal(o.objects[0].missing, 2);
	assert_int_equal(o.objects[0].commits, 2);
	assert_int_equal(o.objects[1].missing, 0);
	store_objects_fini(&o);
	CHECK_STATUS(0, RUN(store_log, &l, f, &iri, 10));
	assert_int_equal(l.total, 2);
	assert_true(l.entries[0].is_head);
	assert_false(l.entries[0].complete);
	assert_int_equal(l.entries[0].parent_count, 1);
	assert_memory_equal(&l.entries[0].parents[0], &old.commit.hash, HASH_SIZE);
	assert_true(l.entries[1].complete);
	assert_memory_equal(&l.entries[1].root, &old.tree.hash, HASH_SIZE);
	store_log_fini(&l);
	version_fini(&old);
	version_fini(&new);
}

/* Content shared by two objects is wanted by both, whoever came first. */
static void shared_content_is_wanted_by_each_object(void **state)
{
	struct fixture *f = *state;
	struct scope scope = scope_of(&f->owner.pub, "/b", SCOPE_EXACT);
	struct version a;
	struct blob b;
	struct store_wants w;

	version_make(f, &a, "/a", "a", NULL);
	b = commit_of(&f->owner, &f->owner.pub, "/b", &a.tree, 100, NULL, 0, NULL);
	version_put(f, &a, 2);
	CHECK_STATUS(0, put_one(f, &b, &f->peer.pub));
	CHECK_STATUS(0, RUN(store_wants, &w, f, &scope, STORE_WANT_BULK, 10));
	assert_int_equal(w.count, 2);
	store_wants_fini(&w);
	version_put(f, &a, 4);
	assert_true(resolve(f, &f->owner.pub, "/b", SCOPE_EXACT).resolved);
	assert_true(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).resolved);
	blob_fini(&b);
	version_fini(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(items_are_not_read_again_while_there_are_as_many),
		TEST(items_follow_the_scope),
		TEST(sql_and_scope_contains_agree),
		TEST(an_unknown_scope_leaves_no_rows),
		TEST(history_is_wanted_last),
		TEST(a_put_reports_history_as_history),
		TEST(a_pinned_version_is_judged_by_itself),
		TEST(a_recursive_scope_resolves_when_each_object_does),
		TEST(stashed_commits_want_what_they_wait_for),
		TEST(objects_and_log_tell_what_there_is),
		TEST(shared_content_is_wanted_by_each_object),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
