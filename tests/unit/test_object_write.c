/* Splitting into parts, and links, over a little store of blobs in memory. */
#include "tests/unit/test_object_util.h"

enum { BLOBS_MAX = 4096, ARENA_MAX = 64 << 20, DEPTH_MAX = 8 };

struct blobs {
	struct stored {
		struct hash hash;
		enum object_kind kind;
		uint8_t *data;
		size_t len;
	} list[BLOBS_MAX];
	size_t count, fail_at;
	struct arena arena;
};

static int keep(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		size_t len)
{
	struct blobs *b = data;
	struct hash check = hash_of(blob, len);

	assert_true(hash_eq(&check, hash));
	assert_true(len <= OBJECT_TREE_MAX);
	if (b->count + 1 == b->fail_at)
		return ERR_DISK_FULL;
	assert_true(b->count < BLOBS_MAX);
	b->list[b->count].data = mem_dup(blob, len);
	if (b->list[b->count].data == NULL)
		return UV_ENOMEM;
	b->list[b->count].hash = *hash;
	b->list[b->count].kind = kind;
	b->list[b->count++].len = len;
	return 0;
}

static void forget(struct blobs *b)
{
	for (size_t i = 0; i < b->count; i++)
		mem_free(b->list[i].data);
	b->count = 0;
}

static const struct stored *find(const struct blobs *b, const struct hash *hash)
{
	for (size_t i = 0; i < b->count; i++) {
		if (hash_eq(&b->list[i].hash, hash))
			return &b->list[i];
	}
	return NULL;
}

static const struct stored *require(const struct blobs *b, const struct hash *hash)
{
	const struct stored *blob = find(b, hash);

	REQUIRE(blob != NULL);
	return blob;
}

static int set_up(void **state)
{
	struct blobs *b = mem_alloc(sizeof(*b));

	assert_non_null(b);
	arena_init(&b->arena, ARENA_MAX);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct blobs *b = *state;

	forget(b);
	arena_fini(&b->arena);
	mem_free(b);
	return 0;
}

/* n entries in order, every third a file of `chunks` chunks. */
static struct entry *make_entries(struct arena *arena, size_t n, size_t chunks)
{
	struct entry *entries = arena_alloc(arena, n * sizeof(*entries));

	assert_non_null(entries);
	for (size_t i = 0; i < n; i++) {
		struct entry *e = &entries[i];

		e->name = arena_printf(arena, "entry-%07zu.txt", i * 10);
		assert_non_null(e->name);
		e->name_len = strlen(e->name);
		e->kind = ENTRY_FILE;
		e->mode = 0644;
		if (i % 3 != 0)
			continue;
		e->chunk_count = e->size = chunks;
		e->chunks = arena_alloc(arena, chunks * sizeof(*e->chunks));
		for (size_t j = 0; j < chunks; j++)
			e->chunks[j] = (struct chunk_ref){ test_hash_of(e->name), 1 };
	}
	return entries;
}

/* Walks all parts in order and compares with what was written; returns how many entries were seen.
 */
static size_t check_tree(struct blobs *b, const struct chunk_ref *ref, const struct entry *expected,
			 unsigned depth)
{
	const struct stored *blob = require(b, &ref->hash);
	struct tree tree;
	size_t seen = 0;

	assert_true(depth < DEPTH_MAX);
	assert_int_equal(blob->len, ref->size);
	assert_int_equal(blob->kind, OBJECT_TREE);
	CHECK_STATUS(0, tree_decode(blob->data, blob->len, &b->arena, &tree));
	for (size_t i = 0; i < tree.part_count; i++)
		seen += check_tree(b, &tree.parts[i], expected + seen, depth + 1);
	for (size_t i = 0; i < tree.entry_count; i++) {
		assert_string_equal(tree.entries[i].name, expected[i].name);
		assert_int_equal(tree.entries[i].size, expected[i].size);
	}
	return seen + tree.entry_count;
}

static size_t check_file(struct blobs *b, const struct chunk_ref *ref,
			 const struct chunk_ref *expected, uint64_t *ret_size)
{
	const struct stored *blob = require(b, &ref->hash);
	uint64_t below = 0, part_size;
	struct file file;
	size_t seen = 0;

	assert_int_equal(blob->kind, OBJECT_FILE);
	CHECK_STATUS(0, file_decode(blob->data, blob->len, &b->arena, &file));
	for (size_t i = 0; i < file.part_count; i++) {
		seen += check_file(b, &file.parts[i], expected + seen, &part_size);
		below += part_size;
	}
	assert_true(file.part_count == 0 || below == file.size);
	if (file.chunk_count > 0)
		assert_memory_equal(file.chunks, expected, file.chunk_count * sizeof(*expected));
	*ret_size = file.size;
	return seen + file.chunk_count;
}

static void short_trees_are_one_blob(void **state)
{
	struct blobs *b = *state;
	struct entry *entries = make_entries(&b->arena, 50, 2);
	struct chunk_ref top;

	CHECK_STATUS(0, tree_write(entries, 50, keep, b, &top));
	assert_int_equal(b->count, 1);
	assert_int_equal(check_tree(b, &top, entries, 0), 50);
	forget(b);
	CHECK_STATUS(0, tree_write(NULL, 0, keep, b, &top));
	assert_int_equal(b->count, 1);
	assert_int_equal(top.size, 0);
	assert_int_equal(check_tree(b, &top, entries, 0), 0);
}

static void long_trees_read_back_in_order(void **state)
{
	static const size_t chunks[] = { 1, 32 };
	struct blobs *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		struct entry *entries = make_entries(&b->arena, 20000, chunks[i]);
		struct chunk_ref top;

		forget(b);
		CHECK_STATUS(0, tree_write(entries, 20000, keep, b, &top));
		assert_true(b->count > 10);
		assert_true(hash_eq(&b->list[b->count - 1].hash, &top.hash));
		assert_int_equal(check_tree(b, &top, entries, 0), 20000);
	}
}

/* Blobs among list[from..] that are not among the first `from`. */
static size_t count_new(const struct blobs *b, size_t from)
{
	struct blobs first = { .count = from };
	size_t fresh = 0;

	memcpy(first.list, b->list, from * sizeof(*b->list));
	for (size_t i = from; i < b->count; i++)
		fresh += find(&first, &b->list[i].hash) == NULL;
	return fresh;
}

static void one_edited_entry_touches_few_parts(void **state)
{
	struct blobs *b = *state;
	struct entry *entries = make_entries(&b->arena, 20000, 1);
	struct chunk_ref top, again;
	size_t before;

	CHECK_STATUS(0, tree_write(entries, 20000, keep, b, &top));
	before = b->count;
	entries[10000].mode = 0755;
	CHECK_STATUS(0, tree_write(entries, 20000, keep, b, &again));
	assert_false(hash_eq(&top.hash, &again.hash));
	assert_in_range(count_new(b, before), 2, 3);
	before = b->count;
	CHECK_STATUS(0, tree_write(entries, 20000, keep, b, &top));
	assert_int_equal(count_new(b, before), 0);
}

static void added_or_removed_entries_touch_few_parts(void **state)
{
	struct blobs *b = *state;
	struct entry *entries = make_entries(&b->arena, 20100, 1);
	struct chunk_ref top;
	size_t before;

	CHECK_STATUS(0, tree_write(entries, 20100, keep, b, &top));
	before = b->count;
	memmove(&entries[20], &entries[120], 19980 * sizeof(*entries));
	CHECK_STATUS(0, tree_write(entries, 20000, keep, b, &top));
	assert_in_range(count_new(b, before), 1, 6);
	assert_int_equal(check_tree(b, &top, entries, 0), 20000);
}

static void unordered_or_bad_entries_are_refused(void **state)
{
	struct blobs *b = *state;
	struct entry *entries = make_entries(&b->arena, 3, 1);
	struct entry swap = entries[1];
	struct chunk_ref top = { .size = 77 };

	entries[1] = entries[2];
	entries[2] = swap;
	CHECK_STATUS(ERR_MALFORMED, tree_write(entries, 3, keep, b, &top));
	entries[2] = entries[1];
	CHECK_STATUS(ERR_MALFORMED, tree_write(entries, 3, keep, b, &top));
	entries[1] = swap;
	entries[1].mode = 0100644;
	CHECK_STATUS(ERR_MALFORMED, tree_write(entries, 3, keep, b, &top));
	assert_int_equal(b->count, 0);
	assert_int_equal(top.size, 77);
}

static struct chunk_ref *make_chunks(struct arena *arena, size_t n, bool same, uint64_t *ret_size)
{
	struct chunk_ref *chunks = arena_alloc(arena, n * sizeof(*chunks));

	assert_non_null(chunks);
	*ret_size = 0;
	for (size_t i = 0; i < n; i++) {
		size_t id = same ? 0 : i;

		chunks[i] = (struct chunk_ref){ hash_of(&id, sizeof(id)),
						CHUNK_MIN + (same ? 0 : (uint32_t)i % 1000) };
		*ret_size += chunks[i].size;
	}
	return chunks;
}

static void files_of_any_length_read_back(void **state)
{
	static const size_t counts[] = { 0, 1, 33, 1000, 50000 };
	struct blobs *b = *state;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(counts); i++) {
		size_t count = counts[i / 2];
		uint64_t size, seen_size;
		struct chunk_ref *chunks = make_chunks(&b->arena, count, i % 2 == 1, &size), top;

		forget(b);
		CHECK_STATUS(0, file_write(size, 0644, chunks, count, keep, b, &top));
		assert_int_equal(check_file(b, &top, chunks, &seen_size), count);
		assert_int_equal(seen_size, size);
	}
}

static void change_of_mode_leaves_the_parts_alone(void **state)
{
	struct blobs *b = *state;
	uint64_t size;
	struct chunk_ref *chunks = make_chunks(&b->arena, 20000, false, &size), top;
	size_t before;

	CHECK_STATUS(0, file_write(size, 0644, chunks, 20000, keep, b, &top));
	before = b->count;
	CHECK_STATUS(0, file_write(size, 0755, chunks, 20000, keep, b, &top));
	assert_int_equal(count_new(b, before), 1);
}

static void one_edited_chunk_touches_few_parts(void **state)
{
	struct blobs *b = *state;
	uint64_t size;
	struct chunk_ref *chunks = make_chunks(&b->arena, 20000, false, &size), top;
	size_t before;

	CHECK_STATUS(0, file_write(size, 0644, chunks, 20000, keep, b, &top));
	before = b->count;
	assert_true(before > 5);
	chunks[7] = (struct chunk_ref){ test_hash(5), chunks[7].size };
	CHECK_STATUS(0, file_write(size, 0644, chunks, 20000, keep, b, &top));
	assert_in_range(count_new(b, before), 2, 4);
}

static void wrong_sizes_of_a_file_are_refused(void **state)
{
	struct blobs *b = *state;
	uint64_t size;
	struct chunk_ref *chunks = make_chunks(&b->arena, 3, false, &size), top;

	CHECK_STATUS(ERR_MALFORMED, file_write(size + 1, 0644, chunks, 3, keep, b, &top));
	CHECK_STATUS(ERR_MALFORMED, file_write(size, 0100644, chunks, 3, keep, b, &top));
	chunks[1].size = 0;
	CHECK_STATUS(ERR_MALFORMED, file_write(size, 0644, chunks, 3, keep, b, &top));
	assert_int_equal(b->count, 0);
}

static void error_of_emit_ends_the_work(void **state)
{
	struct blobs *b = *state;
	struct entry *entries = make_entries(&b->arena, 20000, 1);
	struct chunk_ref top = { .size = 77 };

	for (b->fail_at = 1; b->fail_at < 4; b->fail_at++) {
		forget(b);
		CHECK_STATUS(ERR_DISK_FULL, tree_write(entries, 20000, keep, b, &top));
		assert_int_equal(b->count, b->fail_at - 1);
	}
	assert_int_equal(top.size, 77);
}

static void writing_survives_oom_at_every_allocation(void **state)
{
	struct blobs *b = *state;
	struct entry *entries = make_entries(&b->arena, 5000, 1);
	struct chunk_ref top;

	FAULT_SWEEP({
		int rc = tree_write(entries, 5000, keep, b, &top);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		assert_true(rc < 0 || b->count > 1);
		forget(b);
	});
}

/* ---- Links ---- */

struct visits {
	struct object_link list[64];
	size_t count, stop_after;
};

static bool note(void *data, const struct object_link *l)
{
	struct visits *v = data;

	assert_true(v->count < ARRAY_SIZE(v->list));
	v->list[v->count++] = *l;
	return v->count != v->stop_after;
}

static void check_link(const struct object_link *l, uint8_t target, enum object_kind kind,
		       uint32_t size, bool is_parent)
{
	struct hash hash = test_hash(target);

	assert_true(hash_eq(&l->target, &hash));
	assert_int_equal(l->kind, kind);
	assert_int_equal(l->size, size);
	assert_int_equal(l->is_parent, is_parent);
}

static void links_of_a_commit_are_parents_capability_root(void **state)
{
	struct test_key owner = test_key(1), guest = test_key(2);
	struct commit *c = test_commit(&owner);
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct visits v = { 0 };

	c->author = guest.public;
	c->has_capability = true;
	c->capability = test_hash(9);
	buf_init(&blob, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, guest.secret, &blob));
	CHECK_STATUS(0, object_links(OBJECT_COMMIT, blob.data, blob.len, note, &v));
	assert_int_equal(v.count, 4);
	check_link(&v.list[0], 1, OBJECT_COMMIT, 0, true);
	check_link(&v.list[1], 2, OBJECT_COMMIT, 0, true);
	check_link(&v.list[2], 9, OBJECT_CAPABILITY, 0, false);
	check_link(&v.list[3], 7, OBJECT_TREE, 0, false);
	for (size_t stop = 1; stop < 4; stop++) {
		v = (struct visits){ .stop_after = stop };
		CHECK_STATUS(0, object_links(OBJECT_COMMIT, blob.data, blob.len, note, &v));
		assert_int_equal(v.count, stop);
	}
	mem_free(c);
}

static void tombstone_links_to_its_parents_alone(void **state)
{
	struct test_key owner = test_key(1);
	struct commit *c = test_commit(&owner);
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct visits v = { 0 };

	c->tombstone = true;
	memset(&c->root, 0, sizeof(c->root));
	buf_init(&blob, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, owner.secret, &blob));
	CHECK_STATUS(0, object_links(OBJECT_COMMIT, blob.data, blob.len, note, &v));
	assert_int_equal(v.count, 2);
	mem_free(c);
}

static void links_of_a_tree_follow_its_entries(void **state)
{
	struct chunk_ref chunks[2] = { { test_hash(1), 10 }, { test_hash(2), 20 } };
	struct entry entries[4] = {
		{ .name = "a",
		  .name_len = 1,
		  .kind = ENTRY_FILE,
		  .chunks = chunks,
		  .chunk_count = 2,
		  .size = 30 },
		{ .name = "b",
		  .name_len = 1,
		  .kind = ENTRY_DIRECTORY,
		  .has_target = true,
		  .target = { test_hash(3), 0 } },
		{ .name = "c",
		  .name_len = 1,
		  .kind = ENTRY_SYMLINK,
		  .symlink = "x",
		  .symlink_len = 1 },
		{ .name = "d",
		  .name_len = 1,
		  .kind = ENTRY_FILE,
		  .size = 9,
		  .has_target = true,
		  .target = { test_hash(4), 40 } },
	};
	struct tree tree = { .entries = entries, .entry_count = 4 },
		    parts = { .parts = chunks, .part_count = 2 };
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct visits v = { 0 };

	buf_init(&blob, OBJECT_TREE_MAX);
	CHECK_STATUS(0, tree_encode(&tree, &blob));
	CHECK_STATUS(0, object_links(OBJECT_TREE, blob.data, blob.len, note, &v));
	assert_int_equal(v.count, 4);
	check_link(&v.list[0], 1, OBJECT_CHUNK, 10, false);
	check_link(&v.list[1], 2, OBJECT_CHUNK, 20, false);
	check_link(&v.list[2], 3, OBJECT_TREE, 0, false);
	check_link(&v.list[3], 4, OBJECT_FILE, 40, false);
	buf_clear(&blob);
	v = (struct visits){ .stop_after = 1 };
	CHECK_STATUS(0, tree_encode(&parts, &blob));
	CHECK_STATUS(0, object_links(OBJECT_TREE, blob.data, blob.len, note, &v));
	assert_int_equal(v.count, 1);
	check_link(&v.list[0], 1, OBJECT_TREE, 10, false);
}

static void links_of_a_file_are_chunks_or_parts(void **state)
{
	struct chunk_ref refs[2] = { { test_hash(1), 10 }, { test_hash(2), 20 } };
	struct file chunks = { .size = 30, .chunks = refs, .chunk_count = 2 };
	struct file parts = { .size = 99, .parts = refs, .part_count = 2 };
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct visits v = { 0 };

	buf_init(&blob, OBJECT_TREE_MAX);
	CHECK_STATUS(0, file_encode(&chunks, &blob));
	CHECK_STATUS(0, object_links(OBJECT_FILE, blob.data, blob.len, note, &v));
	buf_clear(&blob);
	CHECK_STATUS(0, file_encode(&parts, &blob));
	CHECK_STATUS(0, object_links(OBJECT_FILE, blob.data, blob.len, note, &v));
	assert_int_equal(v.count, 4);
	check_link(&v.list[1], 2, OBJECT_CHUNK, 20, false);
	check_link(&v.list[2], 1, OBJECT_FILE, 10, false);
}

static void links_of_nonsense_are_errors(void **state)
{
	struct visits v = { 0 };

	CHECK_STATUS(0, object_links(OBJECT_CHUNK, "any", 3, note, &v));
	CHECK_STATUS(ERR_LIMIT, object_links(OBJECT_CHUNK, "any", OBJECT_BLOB_MAX + 1, note, &v));
	CHECK_STATUS(ERR_MALFORMED, object_links(OBJECT_COMMIT, "any", 3, note, &v));
	CHECK_STATUS(ERR_MALFORMED, object_links(OBJECT_CAPABILITY, "any", 3, note, &v));
	CHECK_STATUS(ERR_MALFORMED, object_links(OBJECT_TREE, "any", 3, note, &v));
	CHECK_STATUS(ERR_MALFORMED, object_links(OBJECT_FILE, "any", 3, note, &v));
	CHECK_STATUS(ERR_UNSUPPORTED, object_links((enum object_kind)9, "any", 3, note, &v));
	assert_int_equal(v.count, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(short_trees_are_one_blob),
		CASE(long_trees_read_back_in_order),
		CASE(one_edited_entry_touches_few_parts),
		CASE(added_or_removed_entries_touch_few_parts),
		CASE(unordered_or_bad_entries_are_refused),
		CASE(files_of_any_length_read_back),
		CASE(change_of_mode_leaves_the_parts_alone),
		CASE(one_edited_chunk_touches_few_parts),
		CASE(wrong_sizes_of_a_file_are_refused),
		CASE(error_of_emit_ends_the_work),
		CASE(writing_survives_oom_at_every_allocation),
		cmocka_unit_test(links_of_a_commit_are_parents_capability_root),
		cmocka_unit_test(tombstone_links_to_its_parents_alone),
		cmocka_unit_test(links_of_a_tree_follow_its_entries),
		cmocka_unit_test(links_of_a_file_are_chunks_or_parts),
		cmocka_unit_test(links_of_nonsense_are_errors),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
