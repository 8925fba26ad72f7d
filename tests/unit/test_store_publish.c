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

struct folder {
	struct blob chunk, tree;
};

static struct folder folder_of(const char *text)
{
	struct folder d = { .chunk = chunk_of(text) };

	d.tree = tree_of(&d.chunk, 1);
	return d;
}

static void folder_fini(struct folder *d)
{
	blob_fini(&d->chunk);
	blob_fini(&d->tree);
}

static void folder_put(struct fixture *f, const struct folder *d)
{
	CHECK_STATUS(0, put_one(f, &d->chunk, NULL));
	CHECK_STATUS(0, put_one(f, &d->tree, NULL));
}

static void the_same_root_again_is_no_new_version(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");
	struct hash first, second;

	folder_put(f, &d);
	CHECK_STATUS(0, publish(f, "/a", &d.tree, &first));
	clock_manual_advance(&f->loop.clock, 5 * NS_PER_SEC);
	CHECK_STATUS(0, publish(f, "/a", &d.tree, &second));
	assert_memory_equal(&first, &second, HASH_SIZE);
	assert_int_equal(f->store->db.totals.v[TOTAL_COMMITS], 1);
	folder_fini(&d);
}

static void a_new_version_names_the_old_one_and_is_later(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1"), two = folder_of("2");
	struct iri iri = iri_of(&f->owner.pub, "/a");
	struct hash first, second;
	struct store_log l;

	folder_put(f, &one);
	folder_put(f, &two);
	CHECK_STATUS(0, publish(f, "/a", &one.tree, &first));
	CHECK_STATUS(0, publish(f, "/a", &two.tree, &second));
	CHECK_STATUS(0, RUN(store_log, &l, f, &iri, 10));
	assert_memory_equal(&l.entries[0].hash, &second, HASH_SIZE);
	assert_memory_equal(&l.entries[0].parents[0], &first, HASH_SIZE);
	assert_int_equal(l.entries[0].time_s, l.entries[1].time_s + 1);
	store_log_fini(&l);
	folder_fini(&one);
	folder_fini(&two);
}

static void a_parent_at_the_end_of_time_does_not_end_publishing(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");
	struct blob last =
		commit_of(&f->owner, &f->owner.pub, "/a", NULL, INT64_MAX, NULL, 0, NULL);

	CHECK_STATUS(0, put_one(f, &last, &f->peer.pub));
	folder_put(f, &d);
	CHECK_STATUS(0, publish(f, "/a", &d.tree, NULL));
	CHECK_STATUS(0, publish(f, "/a", NULL, NULL));
	blob_fini(&last);
	folder_fini(&d);
}

static void publishing_what_is_not_all_here_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");

	CHECK_STATUS(ERR_MISSING, publish(f, "/a", &d.tree, NULL));
	CHECK_STATUS(0, put_one(f, &d.tree, NULL));
	CHECK_STATUS(ERR_MISSING, publish(f, "/a", &d.tree, NULL));
	assert_false(readable(f, &d.tree.hash, true));
	assert_int_equal(count_sql(f, "SELECT count(*) FROM object"), 0);
	CHECK_STATUS(0, put_one(f, &d.chunk, NULL));
	CHECK_STATUS(0, publish(f, "/a", &d.tree, NULL));
	folder_fini(&d);
}

static void a_tombstone_ends_the_object(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");
	struct store_resolve r;
	struct hash first, again;

	folder_put(f, &d);
	CHECK_STATUS(0, publish(f, "/a", &d.tree, NULL));
	CHECK_STATUS(0, publish(f, "/a", NULL, &first));
	r = resolve(f, &f->owner.pub, "/a", SCOPE_EXACT);
	assert_true(r.tombstone && r.resolved);
	CHECK_STATUS(0, publish(f, "/a", NULL, &again));
	assert_memory_equal(&first, &again, HASH_SIZE);
	CHECK_STATUS(0, publish(f, "/a", &d.tree, NULL));
	assert_false(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).tombstone);
	folder_fini(&d);
}

static int publish_as(struct fixture *f, const struct key *author, const uint8_t secret[64],
		      const struct blob *root, const struct hash *capability)
{
	struct commit *c = mem_alloc(sizeof(*c));
	struct store_publish p;
	struct store_origin over = { .over = true };
	int rc;

	c->space = f->owner.pub;
	c->author = author->pub;
	c->root = root->hash;
	c->root_kind = OBJECT_TREE;
	c->has_capability = capability != NULL;
	if (capability != NULL)
		c->capability = *capability;
	rc = RUN(store_publish, &p, f, c, secret, &over);
	store_publish_fini(&p);
	for (size_t i = 0; i < sizeof(p.secret); i++)
		assert_int_equal(p.secret[i], 0);
	mem_free(c);
	return rc;
}

static void only_who_may_write_can_publish(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");
	struct blob cap = capability_of(&f->owner, &f->guest.pub, ""),
		    other = capability_of(&f->owner, &f->peer.pub, "");

	folder_put(f, &d);
	assert_true(publish_as(f, &f->guest, f->guest.secret, &d.tree, NULL) < 0);
	CHECK_STATUS(ERR_UNAUTHORIZED, publish_as(f, &f->owner, f->guest.secret, &d.tree, NULL));
	CHECK_STATUS(ERR_MISSING, publish_as(f, &f->guest, f->guest.secret, &d.tree, &cap.hash));
	CHECK_STATUS(0, put_one(f, &other, NULL));
	CHECK_STATUS(ERR_UNAUTHORIZED,
		     publish_as(f, &f->guest, f->guest.secret, &d.tree, &other.hash));
	assert_false(readable(f, &d.chunk.hash, true));
	CHECK_STATUS(0, put_one(f, &cap, NULL));
	CHECK_STATUS(0, publish_as(f, &f->guest, f->guest.secret, &d.tree, &cap.hash));
	assert_true(readable(f, &cap.hash, true));
	folder_fini(&d);
	blob_fini(&cap);
	blob_fini(&other);
}

/* The rest of a half-synced object was here all along. */
static void publishing_completes_what_was_synced_in_part(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");
	struct blob theirs = commit_of(&f->guest, &f->guest.pub, "/t", &d.tree, 100, NULL, 0, NULL);

	CHECK_STATUS(0, put_one(f, &theirs, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &d.tree, &f->peer.pub));
	CHECK_STATUS(0, put_one(f, &d.chunk, NULL));
	assert_false(resolve(f, &f->guest.pub, "/t", SCOPE_EXACT).resolved);
	CHECK_STATUS(0, publish(f, "/mine", &d.tree, NULL));
	assert_true(resolve(f, &f->owner.pub, "/mine", SCOPE_EXACT).resolved);
	assert_true(resolve(f, &f->guest.pub, "/t", SCOPE_EXACT).resolved);
	blob_fini(&theirs);
	folder_fini(&d);
}

static void changed_authorities_are_a_new_version(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");
	struct commit *c = mem_alloc(sizeof(*c));
	struct store_publish p;
	struct store_origin over = { .over = true };

	folder_put(f, &d);
	CHECK_STATUS(0, publish(f, "", &d.tree, NULL));
	c->space = c->author = f->owner.pub;
	c->root = d.tree.hash;
	c->root_kind = OBJECT_TREE;
	c->authority_count = 1;
	c->authorities[0].peer = f->peer.pub;
	CHECK_STATUS(0, RUN(store_publish, &p, f, c, f->owner.secret, &over));
	assert_false(p.unchanged);
	store_publish_fini(&p);
	CHECK_STATUS(0, RUN(store_publish, &p, f, c, f->owner.secret, &over));
	assert_true(p.unchanged);
	store_publish_fini(&p);
	mem_free(c);
	folder_fini(&d);
}

static bool publish_with_mode(struct fixture *f, const struct folder *d, uint32_t mode)
{
	CLEANUP(mem_freep) struct commit *c = mem_alloc(sizeof(*c));
	struct store_origin over = { .over = true };
	struct store_publish p;
	bool unchanged;

	c->space = c->author = f->owner.pub;
	c->root = d->tree.hash;
	c->root_kind = OBJECT_TREE;
	c->root_mode = mode;
	CHECK_STATUS(0, RUN(store_publish, &p, f, c, f->owner.secret, &over));
	unchanged = p.unchanged;
	store_publish_fini(&p);
	return unchanged;
}

/* One that says nothing means 0755, as it did before there was anything to say. */
static void a_changed_mode_of_the_top_is_a_new_version(void **state)
{
	struct fixture *f = *state;
	struct folder d = folder_of("x");

	folder_put(f, &d);
	assert_false(publish_with_mode(f, &d, 0));
	assert_true(publish_with_mode(f, &d, OBJECT_MODE_DIRECTORY | 0755));
	assert_false(publish_with_mode(f, &d, OBJECT_MODE_DIRECTORY | 0700));
	assert_true(publish_with_mode(f, &d, OBJECT_MODE_DIRECTORY | 0700));
	folder_fini(&d);
}

/* ---- What a folder has seen ---- */

static int publish_folder(struct fixture *f, const char *folder, const struct folder *d,
			  struct store_conflict *ret, struct hash *ret_hash)
{
	struct store_origin origin = { 0 };

	snprintf(origin.folder, sizeof(origin.folder), "%s", folder);
	return publish_from(f, "/a", d != NULL ? &d->tree : NULL, &origin, ret, ret_hash);
}

/* A version by the same author, made elsewhere, that follows `parent` (may be NULL). */
static struct hash arrives(struct fixture *f, const char *text, const struct hash *parent)
{
	struct folder d = folder_of(text);
	struct blob b = commit_of(&f->owner, &f->owner.pub, "/a", &d.tree, 2000000000, parent,
				  parent != NULL ? 1 : 0, NULL);
	struct hash hash = b.hash;

	CHECK_STATUS(0, put_one(f, &b, &f->peer.pub));
	blob_fini(&b);
	folder_fini(&d);
	return hash;
}

static void a_folder_may_follow_what_was_made_of_it(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1"), two = folder_of("2");
	struct hash first, second;

	folder_put(f, &one);
	folder_put(f, &two);
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, &first));
	CHECK_STATUS(0, publish_folder(f, "/home/a", &two, NULL, &second));
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, NULL));
	folder_fini(&one);
	folder_fini(&two);
}

static void what_came_from_elsewhere_is_not_undone_without_a_word(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1"), two = folder_of("2");
	struct store_conflict why;
	struct store_seen seen;
	struct scope object = scope_of(&f->owner.pub, "/a", SCOPE_EXACT);
	struct hash first, news;

	folder_put(f, &one);
	folder_put(f, &two);
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, &first));
	news = arrives(f, "news", &first);
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "/home/a", &two, &why, NULL));
	assert_int_equal(why.kind, STORE_CONFLICT_UNSEEN);
	assert_int_equal(why.head_count, 1);
	assert_memory_equal(&why.heads[0], &news, HASH_SIZE);
	/* nothing was made, and it stays so */
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "/home/a", &two, &why, NULL));
	CHECK_STATUS(0, RUN(store_seen, &seen, f, &object, "/home/a", &news));
	CHECK_STATUS(0, publish_folder(f, "/home/a", &two, NULL, NULL));
	folder_fini(&one);
	folder_fini(&two);
}

static void several_heads_are_never_joined_without_a_word(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1"), two = folder_of("2");
	struct store_origin over = { .over = true };
	struct store_conflict why;

	folder_put(f, &one);
	folder_put(f, &two);
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, NULL));
	(void)arrives(f, "elsewhere", NULL);
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "/home/a", &two, &why, NULL));
	assert_int_equal(why.kind, STORE_CONFLICT_HEADS);
	assert_int_equal(why.head_count, 2);
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "", &two, &why, NULL));
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "", NULL, &why, NULL)); /* a tombstone */
	CHECK_STATUS(0, publish_from(f, "/a", &two.tree, &over, NULL, NULL));
	assert_int_equal(resolve(f, &f->owner.pub, "/a", SCOPE_EXACT).heads_total, 1);
	folder_fini(&one);
	folder_fini(&two);
}

static void another_folder_of_the_same_name_is_asked_about(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1"), two = folder_of("2");
	struct store_origin named = { .folder = "/notes/a", .named = true };
	struct store_conflict why;
	struct hash first;

	folder_put(f, &one);
	folder_put(f, &two);
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, NULL));
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "/notes/a", &two, &why, NULL));
	assert_int_equal(why.kind, STORE_CONFLICT_FOLDER);
	assert_string_equal(why.folder, "/home/a");
	/* the same content is no news */
	CHECK_STATUS(0, publish_folder(f, "/copy/a", &one, NULL, NULL));
	CHECK_STATUS(0, publish_from(f, "/a", &two.tree, &named, NULL, &first));
	/* now the first one is behind */
	CHECK_STATUS(ERR_CONFLICT, publish_folder(f, "/home/a", &one, &why, NULL));
	/* and what nobody here has seen is not undone by naming the object */
	(void)arrives(f, "news", &first);
	snprintf(named.folder, sizeof(named.folder), "/third/a");
	CHECK_STATUS(ERR_CONFLICT, publish_from(f, "/a", &one.tree, &named, &why, NULL));
	assert_int_equal(why.kind, STORE_CONFLICT_UNSEEN);
	folder_fini(&one);
	folder_fini(&two);
}

static void a_version_made_without_a_folder_counts_as_seen(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1");

	folder_put(f, &one);
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, NULL));
	CHECK_STATUS(0, publish_folder(f, "", NULL, NULL, NULL)); /* deleted */
	CHECK_STATUS(0, publish_folder(f, "/home/a", &one, NULL, NULL));
	folder_fini(&one);
}

static void few_folders_are_remembered_of_an_object(void **state)
{
	struct fixture *f = *state;
	struct folder one = folder_of("1");
	char folder[32];

	folder_put(f, &one);
	for (int i = 0; i < 3 * STORE_ORIGINS_MAX; i++) {
		clock_manual_advance(&f->loop.clock, NS_PER_SEC);
		snprintf(folder, sizeof(folder), "/home/%d/a", i);
		CHECK_STATUS(0, publish_folder(f, folder, &one, NULL, NULL));
	}
	assert_int_equal(count_sql(f, "SELECT count(*) FROM origin"), STORE_ORIGINS_MAX);
	folder_fini(&one);
}

static void only_a_version_of_the_object_can_be_seen(void **state)
{
	struct fixture *f = *state;
	struct scope object = scope_of(&f->owner.pub, "/a", SCOPE_EXACT);
	struct scope other = scope_of(&f->owner.pub, "/b", SCOPE_EXACT);
	struct folder one = folder_of("1");
	struct store_seen seen;
	struct hash first;

	folder_put(f, &one);
	CHECK_STATUS(ERR_NOT_FOUND, RUN(store_seen, &seen, f, &object, "/x", &one.tree.hash));
	CHECK_STATUS(0, publish(f, "/a", &one.tree, &first));
	CHECK_STATUS(ERR_NOT_FOUND, RUN(store_seen, &seen, f, &object, "/x", &one.tree.hash));
	CHECK_STATUS(ERR_NOT_FOUND, RUN(store_seen, &seen, f, &other, "/x", &first));
	CHECK_STATUS(0, RUN(store_seen, &seen, f, &object, "/x", &first));
	folder_fini(&one);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_same_root_again_is_no_new_version),
		TEST(a_new_version_names_the_old_one_and_is_later),
		TEST(a_parent_at_the_end_of_time_does_not_end_publishing),
		TEST(publishing_what_is_not_all_here_changes_nothing),
		TEST(a_tombstone_ends_the_object),
		TEST(only_who_may_write_can_publish),
		TEST(publishing_completes_what_was_synced_in_part),
		TEST(changed_authorities_are_a_new_version),
		TEST(a_changed_mode_of_the_top_is_a_new_version),
		TEST(a_folder_may_follow_what_was_made_of_it),
		TEST(what_came_from_elsewhere_is_not_undone_without_a_word),
		TEST(several_heads_are_never_joined_without_a_word),
		TEST(another_folder_of_the_same_name_is_asked_about),
		TEST(a_version_made_without_a_folder_counts_as_seen),
		TEST(few_folders_are_remembered_of_an_object),
		TEST(only_a_version_of_the_object_can_be_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
