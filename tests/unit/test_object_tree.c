#include "object/tree.h"
#include "tests/unit/test_object_util.h"

struct sample {
	struct arena arena;
	struct chunk_ref chunks[2];
	struct entry entries[5];
	struct tree tree;
	struct buf blob;
};

static struct entry entry_of(const char *name, enum object_entry_kind kind)
{
	return (struct entry){ .name = name, .name_len = strlen(name), .mode = 0644, .kind = kind };
}

static int set_up(void **state)
{
	struct sample *s = mem_alloc(sizeof(*s));

	assert_non_null(s);
	arena_init(&s->arena, OBJECT_DECODE_ARENA);
	buf_init(&s->blob, OBJECT_BLOB_MAX + 1);
	s->chunks[0] = (struct chunk_ref){ test_hash(1), CHUNK_MAX };
	s->chunks[1] = (struct chunk_ref){ test_hash(2), 1 };
	s->entries[0] = entry_of("dir", ENTRY_DIRECTORY);
	s->entries[0].has_target = true;
	s->entries[0].target = (struct chunk_ref){ test_hash(3), 0 };
	s->entries[1] = entry_of("empty", ENTRY_FILE);
	s->entries[2] = entry_of("large", ENTRY_FILE);
	s->entries[2].has_target = true;
	s->entries[2].size = UINT64_C(1) << 40;
	s->entries[2].target = (struct chunk_ref){ test_hash(4), OBJECT_BLOB_MAX };
	s->entries[3] = entry_of("link", ENTRY_SYMLINK);
	s->entries[3].symlink = "../away";
	s->entries[3].symlink_len = 7;
	s->entries[4] = entry_of("small\xc3\xa9", ENTRY_FILE);
	s->entries[4].chunks = s->chunks;
	s->entries[4].chunk_count = 2;
	s->entries[4].size = CHUNK_MAX + 1;
	s->tree = (struct tree){ .entries = s->entries, .entry_count = 5 };
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct sample *s = *state;

	arena_fini(&s->arena);
	buf_fini(&s->blob);
	mem_free(s);
	return 0;
}

static int encode(struct sample *s)
{
	buf_clear(&s->blob);
	return tree_encode(&s->tree, &s->blob);
}

static int decode(struct sample *s, struct tree *ret)
{
	return tree_decode(s->blob.data, s->blob.len, &s->arena, ret);
}

/* Decodes a tree of one entry that the encoder would refuse. */
static int decode_entry(struct sample *s, const Object__Entry *msg)
{
	struct tree tree;

	buf_clear(&s->blob);
	object_pb_pack_field(&msg->base, TREE_FIELD_ENTRY, &s->blob);
	return decode(s, &tree);
}

static Object__Entry message_of(const char *name)
{
	Object__Entry msg = OBJECT__ENTRY__INIT;

	msg.name = object_pb_view(name, strlen(name));
	msg.kind = ENTRY_FILE;
	return msg;
}

static void check_entry(const struct entry *a, const struct entry *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->name_len, b->name_len);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->has_target, b->has_target);
	assert_int_equal(a->target.size, b->target.size);
	assert_true(!a->has_target || hash_eq(&a->target.hash, &b->target.hash));
	assert_int_equal(a->symlink_len, b->symlink_len);
	assert_true(b->symlink == NULL || strcmp(a->symlink, b->symlink) == 0);
	assert_int_equal(a->chunk_count, b->chunk_count);
	if (a->chunk_count > 0)
		assert_memory_equal(a->chunks, b->chunks, a->chunk_count * sizeof(*a->chunks));
}

static void tree_bytes_are_the_format_written_down(void **state)
{
	struct sample *s = *state;
	struct hash hash;

	CHECK_STATUS(0, encode(s));
	hash = hash_of(s->blob.data, s->blob.len);
	check_hash("4da6ef59eee15e56b2d202df9220008b80c1c67dd368f0890787e7820b8db23f", &hash);
}

static void tree_round_trips(void **state)
{
	struct sample *s = *state;
	struct tree tree;

	CHECK_STATUS(0, encode(s));
	CHECK_STATUS(0, decode(s, &tree));
	assert_int_equal(tree.entry_count, 5);
	assert_int_equal(tree.part_count, 0);
	for (size_t i = 0; i < 5; i++)
		check_entry(&tree.entries[i], &s->entries[i]);
}

static void tree_of_parts_round_trips(void **state)
{
	struct sample *s = *state;
	struct tree tree;

	s->tree = (struct tree){ .parts = s->chunks, .part_count = 2 };
	CHECK_STATUS(0, encode(s));
	CHECK_STATUS(0, decode(s, &tree));
	assert_int_equal(tree.entry_count, 0);
	assert_int_equal(tree.part_count, 2);
	assert_memory_equal(tree.parts, s->chunks, sizeof(s->chunks));
	s->chunks[1].size = 0;
	CHECK_STATUS(ERR_MALFORMED, encode(s));
}

static void empty_tree_has_no_bytes(void **state)
{
	struct sample *s = *state;
	struct tree tree;

	s->tree.entry_count = 0;
	CHECK_STATUS(0, encode(s));
	assert_int_equal(s->blob.len, 0);
	CHECK_STATUS(0, tree_decode("", 0, &s->arena, &tree));
	assert_int_equal(tree.entry_count + tree.part_count, 0);
}

static void encoding_equals_what_protobuf_packs(void **state)
{
	struct sample *s = *state;
	CLEANUP(buf_fini) struct buf again = { 0 };
	CLEANUP(object_pb_memory_fini) struct object_pb_memory memory = { 0 };
	const void *msg;

	CHECK_STATUS(0, encode(s));
	object_pb_memory_init(&memory, TREE_MEMORY_MAX);
	buf_init(&again, OBJECT_TREE_MAX);
	CHECK_STATUS(0, object_pb_unpack(&memory, &object__tree__descriptor, s->blob.data,
					 s->blob.len, &msg));
	object_pb_pack(msg, &again);
	assert_int_equal(again.len, s->blob.len);
	assert_memory_equal(again.data, s->blob.data, again.len);
	for (size_t i = 0; i < 5; i++) {
		s->tree = (struct tree){ .entries = &s->entries[i], .entry_count = 1 };
		CHECK_STATUS(0, encode(s));
		assert_int_equal(s->blob.len, tree_entry_encoded_size(&s->entries[i]));
	}
}

static void bad_names_are_refused(void **state)
{
	static const struct {
		const char *name;
		size_t len;
	} names[] = {
		{ "", 0 },
		{ ".", 1 },
		{ "..", 2 },
		{ "a/b", 3 },
		{ "/", 1 },
		{ "a\0b", 3 },
		{ "\0", 1 },
		{ "a\0", 2 },
		{ "\xff", 1 },
		{ "\xc3", 1 },
		{ "\xc0\xae", 2 },
		{ "\xed\xa0\x80", 3 },
		{ "\xf4\x90\x80\x80", 4 },
	};
	struct sample *s = *state;
	Object__Entry msg = message_of("x");
	char endless[OBJECT_NAME_MAX + 1];

	CHECK_STATUS(0, decode_entry(s, &msg));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_false(entry_name_ok(names[i].name, names[i].len));
		msg.name = object_pb_view(names[i].name, names[i].len);
		CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &msg));
	}
	memset(endless, 'a', sizeof(endless));
	msg.name = object_pb_view(endless, OBJECT_NAME_MAX);
	CHECK_STATUS(0, decode_entry(s, &msg));
	msg.name.len++;
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &msg));
}

static void unusual_names_are_kept(void **state)
{
	static const char *const names[] = { "...",	    ".hidden", "a b", "-rf", "\x01",
					     "caf\xc3\xa9", "..a",     "\\",  "a:b" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_true(entry_name_ok(names[i], strlen(names[i])));
}

static void names_ascend_and_are_unique(void **state)
{
	static const char *const pairs[][2] = {
		{ "a", "a" }, { "b", "a" }, { "ab", "a" }, { "\xc3\xa9", "z" }
	};
	struct sample *s = *state;
	struct tree tree;

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		Object__Entry first = message_of(pairs[i][0]), second = message_of(pairs[i][1]);

		buf_clear(&s->blob);
		object_pb_pack_field(&first.base, TREE_FIELD_ENTRY, &s->blob);
		object_pb_pack_field(&second.base, TREE_FIELD_ENTRY, &s->blob);
		CHECK_STATUS(ERR_MALFORMED, decode(s, &tree));
		s->entries[0] = entry_of(pairs[i][0], ENTRY_FILE);
		s->entries[1] = entry_of(pairs[i][1], ENTRY_FILE);
		CHECK_STATUS(ERR_MALFORMED, encode(s));
	}
}

static void fields_must_fit_the_kind(void **state)
{
	struct sample *s = *state;
	Object__Chunk chunk = OBJECT__CHUNK__INIT, *list[] = { &chunk };
	struct {
		unsigned kind;
		bool chunk, target, symlink;
		uint64_t size;
		int status;
	} cases[] = {
		{ ENTRY_FILE, true, false, false, 5, 0 },
		{ ENTRY_FILE, true, false, false, 6, ERR_MALFORMED },
		{ ENTRY_FILE, false, false, false, 1, ERR_MALFORMED },
		{ ENTRY_FILE, false, true, false, 5, 0 },
		{ ENTRY_FILE, false, true, false, 0, ERR_MALFORMED },
		{ ENTRY_FILE, true, true, false, 5, ERR_MALFORMED },
		{ ENTRY_FILE, true, false, true, 5, ERR_MALFORMED },
		{ ENTRY_DIRECTORY, false, true, false, 5, 0 },
		{ ENTRY_DIRECTORY, false, false, false, 0, ERR_MALFORMED },
		{ ENTRY_DIRECTORY, true, true, false, 5, ERR_MALFORMED },
		{ ENTRY_DIRECTORY, false, true, true, 5, ERR_MALFORMED },
		{ ENTRY_SYMLINK, false, false, true, 0, 0 },
		{ ENTRY_SYMLINK, false, false, false, 0, ERR_MALFORMED },
		{ ENTRY_SYMLINK, false, true, true, 0, ERR_MALFORMED },
		{ ENTRY_SYMLINK, true, false, true, 5, ERR_MALFORMED },
		{ 0, false, false, false, 0, ERR_MALFORMED },
		{ 4, false, false, false, 0, ERR_MALFORMED },
	};

	chunk.hash = object_pb_view(s->chunks[0].hash.bytes, HASH_SIZE);
	chunk.size = 5;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Object__Entry msg = message_of("x");

		msg.kind = cases[i].kind;
		msg.size = cases[i].size;
		msg.chunk = list;
		msg.n_chunk = cases[i].chunk;
		msg.target = object_pb_view(chunk.hash.data, cases[i].target ? HASH_SIZE : 0);
		msg.target_size = cases[i].target ? 9 : 0;
		msg.symlink = object_pb_view("to", cases[i].symlink ? 2 : 0);
		CHECK_STATUS(cases[i].status, decode_entry(s, &msg));
	}
}

static void references_are_checked(void **state)
{
	struct sample *s = *state;
	Object__Chunk chunk = OBJECT__CHUNK__INIT, *list[] = { &chunk };
	Object__Entry msg = message_of("x"), dir = message_of("x");

	msg.chunk = list;
	msg.n_chunk = 1;
	chunk.hash = object_pb_view(s->chunks[0].hash.bytes, HASH_SIZE);
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &msg)); /* size 0 */
	msg.size = chunk.size = CHUNK_MAX;
	CHECK_STATUS(0, decode_entry(s, &msg));
	msg.size = chunk.size = CHUNK_MAX + 1;
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &msg));
	msg.size = chunk.size = 1;
	chunk.hash.len = HASH_SIZE - 1;
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &msg));
	chunk.hash.len = 0;
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &msg));
	dir.kind = ENTRY_DIRECTORY;
	dir.target = object_pb_view(s->chunks[0].hash.bytes, HASH_SIZE);
	dir.target_size = OBJECT_BLOB_MAX + 1;
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &dir));
	dir.target_size = OBJECT_BLOB_MAX;
	CHECK_STATUS(0, decode_entry(s, &dir));
	dir.target.len = 31;
	CHECK_STATUS(ERR_MALFORMED, decode_entry(s, &dir));
}

static void entry_limits_hold(void **state)
{
	struct sample *s = *state;
	struct chunk_ref refs[OBJECT_INLINE_CHUNKS_MAX + 1];
	char *text = mem_alloc(OBJECT_SYMLINK_MAX + 1);

	assert_non_null(text);
	memset(text, 'a', OBJECT_SYMLINK_MAX + 1);
	s->entries[3].symlink = text;
	s->entries[3].symlink_len = OBJECT_SYMLINK_MAX;
	CHECK_STATUS(0, encode(s));
	s->entries[3].symlink_len++;
	CHECK_STATUS(ERR_LIMIT, encode(s));
	s->entries[3].symlink_len = 1;
	for (size_t i = 0; i < ARRAY_SIZE(refs); i++)
		refs[i] = s->chunks[1];
	s->entries[4].chunks = refs;
	s->entries[4].size = s->entries[4].chunk_count = OBJECT_INLINE_CHUNKS_MAX;
	CHECK_STATUS(0, encode(s));
	s->entries[4].size = s->entries[4].chunk_count = OBJECT_INLINE_CHUNKS_MAX + 1;
	CHECK_STATUS(ERR_LIMIT, encode(s));
	s->entries[4] = entry_of("x", ENTRY_FILE);
	s->entries[4].mode = 010000;
	CHECK_STATUS(ERR_MALFORMED, encode(s));
	mem_free(text);
}

static void entries_and_parts_exclude_each_other(void **state)
{
	struct sample *s = *state;
	struct tree tree;

	CHECK_STATUS(0, encode(s));
	tree_refs_pack(s->chunks, 1, TREE_FIELD_PART, &s->blob);
	CHECK_STATUS(ERR_MALFORMED, decode(s, &tree));
	s->tree.parts = s->chunks;
	s->tree.part_count = 1;
	CHECK_STATUS(ERR_MALFORMED, encode(s));
}

static void damaged_trees_never_decode_to_nonsense(void **state)
{
	struct sample *s = *state;
	struct tree tree;

	CHECK_STATUS(0, encode(s));
	for (size_t len = 0; len < s->blob.len; len++) {
		int rc = tree_decode(s->blob.data, len, &s->arena, &tree);

		assert_true(rc == ERR_MALFORMED || (rc == 0 && tree.entry_count < 5));
		arena_fini(&s->arena);
	}
	for (size_t i = 0; i < s->blob.len * 8; i++) {
		int rc;

		s->blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		rc = decode(s, &tree);
		assert_true(rc == 0 || rc == ERR_MALFORMED || rc == ERR_LIMIT);
		for (size_t j = 0; rc == 0 && j < tree.entry_count; j++)
			CHECK_STATUS(0, tree_entry_check(&tree.entries[j]));
		s->blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		arena_fini(&s->arena);
	}
}

static void amplifying_trees_stop_at_their_limits(void **state)
{
	struct sample *s = *state;
	CLEANUP(buf_fini) struct buf inner = { 0 };
	struct tree tree;

	while (s->blob.len < 2 * TREE_ITEMS_MAX)
		buf_write(&s->blob, "\x0a\x00", 2); /* an empty entry */
	CHECK_STATUS(ERR_MALFORMED, decode(s, &tree));
	buf_write(&s->blob, "\x0a\x00", 2);
	CHECK_STATUS(ERR_LIMIT, decode(s, &tree));
	buf_init(&inner, OBJECT_BLOB_MAX);
	while (inner.len < OBJECT_BLOB_MAX - 16)
		buf_write(&inner, "\x2a\x00", 2); /* an empty chunk */
	buf_clear(&s->blob);
	buf_write_u8(&s->blob, 0x0a);
	buf_write_uvarint(&s->blob, inner.len);
	buf_write(&s->blob, inner.data, inner.len);
	CHECK_STATUS(ERR_LIMIT, decode(s, &tree));
	CHECK_STATUS(ERR_LIMIT, tree_decode(inner.data, OBJECT_BLOB_MAX + 1, &s->arena, &tree));
}

static void most_entries_that_fit_a_blob_decode(void **state)
{
	struct sample *s = *state;
	struct tree tree;
	char name[8];

	for (unsigned i = 0; i < TREE_ITEMS_MAX; i++) {
		Object__Entry msg;

		(void)snprintf(name, sizeof(name), "%05x", i);
		msg = message_of(name);
		object_pb_pack_field(&msg.base, TREE_FIELD_ENTRY, &s->blob);
	}
	CHECK_STATUS(0, buf_err(&s->blob));
	CHECK_STATUS(0, decode(s, &tree));
	assert_int_equal(tree.entry_count, TREE_ITEMS_MAX);
}

static void too_large_a_tree_is_for_the_caller_to_split(void **state)
{
	struct sample *s = *state;
	size_t count = 12000;
	struct entry *entries = mem_alloc_array(count, sizeof(*entries));
	char(*names)[16] = mem_alloc_array(count, sizeof(*names));

	assert_non_null(entries);
	assert_non_null(names);
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%08zu", i);
		entries[i] = s->entries[0];
		entries[i].name = names[i];
		entries[i].name_len = 8;
	}
	s->tree = (struct tree){ .entries = entries, .entry_count = count };
	CHECK_STATUS(ERR_TOO_BIG, encode(s));
	assert_int_equal(s->blob.len, 0);
	mem_free(entries);
	mem_free(names);
}

static void tree_survives_oom_at_every_allocation(void **state)
{
	struct sample *s = *state;
	struct tree tree;

	CHECK_STATUS(0, encode(s));
	FAULT_SWEEP({
		int rc = decode(s, &tree);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		arena_fini(&s->arena);
	});
	FAULT_SWEEP({
		CLEANUP(buf_fini) struct buf out = { 0 };
		int rc;

		buf_init(&out, OBJECT_TREE_MAX);
		rc = tree_encode(&s->tree, &out);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
	});
}

static void full_arena_is_out_of_memory(void **state)
{
	struct sample *s = *state;
	CLEANUP(arena_fini) struct arena small = { 0 };
	struct tree tree;

	CHECK_STATUS(0, encode(s));
	for (size_t limit = 0; limit < 600; limit += 16) {
		arena_init(&small, limit);
		CHECK_STATUS(UV_ENOMEM, tree_decode(s->blob.data, s->blob.len, &small, &tree));
		arena_fini(&small);
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(tree_bytes_are_the_format_written_down),
		CASE(tree_round_trips),
		CASE(tree_of_parts_round_trips),
		CASE(empty_tree_has_no_bytes),
		CASE(encoding_equals_what_protobuf_packs),
		CASE(bad_names_are_refused),
		CASE(unusual_names_are_kept),
		CASE(names_ascend_and_are_unique),
		CASE(fields_must_fit_the_kind),
		CASE(references_are_checked),
		CASE(entry_limits_hold),
		CASE(entries_and_parts_exclude_each_other),
		CASE(damaged_trees_never_decode_to_nonsense),
		CASE(amplifying_trees_stop_at_their_limits),
		CASE(most_entries_that_fit_a_blob_decode),
		CASE(too_large_a_tree_is_for_the_caller_to_split),
		CASE(tree_survives_oom_at_every_allocation),
		CASE(full_arena_is_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
