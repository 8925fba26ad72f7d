#include "object/tree.h"
#include "tests/unit/test_object_util.h"

enum { ARENA_MAX = 1 << 20, CHUNKS = 40 };

struct sample {
	struct arena arena;
	struct chunk_ref chunks[CHUNKS];
	struct file file;
	struct buf blob;
};

static int set_up(void **state)
{
	struct sample *s = mem_alloc(sizeof(*s));

	assert_non_null(s);
	arena_init(&s->arena, ARENA_MAX);
	buf_init(&s->blob, OBJECT_BLOB_MAX + 1);
	s->file = (struct file){ .mode = 0755, .chunks = s->chunks, .chunk_count = CHUNKS };
	for (uint32_t i = 0; i < CHUNKS; i++) {
		s->chunks[i] = (struct chunk_ref){ test_hash((uint8_t)i), CHUNK_MAX - i };
		s->file.size += CHUNK_MAX - i;
	}
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
	return file_encode(&s->file, &s->blob);
}

static int decode(struct sample *s, struct file *ret)
{
	return file_decode(s->blob.data, s->blob.len, &s->arena, ret);
}

static void file_bytes_are_the_format_written_down(void **state)
{
	struct sample *s = *state;
	struct hash hash;

	CHECK_STATUS(0, encode(s));
	hash = hash_of(s->blob.data, s->blob.len);
	check_hash("305586da20d386b4f2e9cb5a9e948e70db93731c66e286375d0d3a69aecf3c3f", &hash);
}

static void file_of_chunks_round_trips(void **state)
{
	struct sample *s = *state;
	struct file file;

	CHECK_STATUS(0, encode(s));
	CHECK_STATUS(0, decode(s, &file));
	assert_int_equal(file.size, s->file.size);
	assert_int_equal(file.mode, 0755);
	assert_int_equal(file.chunk_count, CHUNKS);
	assert_int_equal(file.part_count, 0);
	assert_memory_equal(file.chunks, s->chunks, sizeof(s->chunks));
}

static void file_of_parts_round_trips(void **state)
{
	struct sample *s = *state;
	struct file file;

	s->file = (struct file){ .size = UINT64_MAX, .parts = s->chunks, .part_count = 3 };
	CHECK_STATUS(0, encode(s));
	CHECK_STATUS(0, decode(s, &file));
	assert_int_equal(file.size, UINT64_MAX);
	assert_int_equal(file.chunk_count, 0);
	assert_int_equal(file.part_count, 3);
	assert_memory_equal(file.parts, s->chunks, 3 * sizeof(*s->chunks));
}

static void empty_file_round_trips(void **state)
{
	struct sample *s = *state;
	struct file file;

	s->file = (struct file){ .mode = 0600 };
	CHECK_STATUS(0, encode(s));
	CHECK_STATUS(0, decode(s, &file));
	assert_int_equal(file.size + file.chunk_count + file.part_count, 0);
	assert_int_equal(file.mode, 0600);
}

static void encoding_equals_what_protobuf_packs(void **state)
{
	struct sample *s = *state;
	CLEANUP(buf_fini) struct buf again = { 0 };
	CLEANUP(object_pb_memory_fini) struct object_pb_memory memory = { 0 };
	const void *msg;

	CHECK_STATUS(0, encode(s));
	object_pb_memory_init(&memory, ARENA_MAX);
	buf_init(&again, ARENA_MAX);
	CHECK_STATUS(0, object_pb_unpack(&memory, &object__file__descriptor, s->blob.data,
					 s->blob.len, &msg));
	object_pb_pack(msg, &again);
	assert_int_equal(again.len, s->blob.len);
	assert_memory_equal(again.data, s->blob.data, again.len);
}

/* Decodes a message that the encoder would refuse. */
static int decode_message(struct sample *s, uint64_t size, uint32_t mode, size_t chunks,
			  size_t parts)
{
	Object__File msg = OBJECT__FILE__INIT;
	struct file file;

	msg.size = size;
	msg.mode = mode;
	buf_clear(&s->blob);
	object_pb_pack(&msg.base, &s->blob);
	tree_refs_pack(s->chunks, chunks, FILE_FIELD_CHUNK, &s->blob);
	tree_refs_pack(s->chunks, parts, FILE_FIELD_PART, &s->blob);
	return decode(s, &file);
}

static void sizes_add_up(void **state)
{
	struct sample *s = *state;

	CHECK_STATUS(0, decode_message(s, CHUNK_MAX, 0, 1, 0));
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, CHUNK_MAX + 1, 0, 1, 0));
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, 1, 0, 0, 0));
	CHECK_STATUS(0, decode_message(s, 1, 0, 0, 1));
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, 0, 0, 0, 1));
	s->chunks[0].size = 0;
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, 0, 0, 1, 0));
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, 1, 0, 0, 1));
	s->chunks[0].size = CHUNK_MAX + 1;
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, CHUNK_MAX + 1, 0, 1, 0));
}

static void chunks_and_parts_exclude_each_other(void **state)
{
	struct sample *s = *state;

	CHECK_STATUS(ERR_MALFORMED, decode_message(s, CHUNK_MAX, 0, 1, 1));
	s->file.parts = s->chunks;
	s->file.part_count = 1;
	CHECK_STATUS(ERR_MALFORMED, encode(s));
}

static void mode_is_permission_bits_only(void **state)
{
	struct sample *s = *state;

	CHECK_STATUS(0, decode_message(s, CHUNK_MAX, 07777, 1, 0));
	CHECK_STATUS(ERR_MALFORMED, decode_message(s, CHUNK_MAX, 0100644, 1, 0));
	s->file.mode = 0100644;
	CHECK_STATUS(ERR_MALFORMED, encode(s));
}

static void damaged_files_never_decode_to_nonsense(void **state)
{
	struct sample *s = *state;
	struct file file;

	CHECK_STATUS(0, encode(s));
	for (size_t len = 0; len < s->blob.len; len++) {
		/* What ends between two fields lacks chunks, so the sizes do not add up. */
		if (len > 0)
			CHECK_STATUS(ERR_MALFORMED,
				     file_decode(s->blob.data, len, &s->arena, &file));
		arena_fini(&s->arena);
	}
	for (size_t i = 0; i < s->blob.len * 8; i++) {
		int rc;

		s->blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		rc = decode(s, &file);
		assert_true(
			rc == ERR_MALFORMED ||
			(rc == 0 && (file.part_count > 0 ||
				     tree_refs_size(file.chunks, file.chunk_count) == file.size)));
		s->blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		arena_fini(&s->arena);
	}
}

static void amplifying_files_stop_at_their_limits(void **state)
{
	struct sample *s = *state;
	struct file file;

	while (s->blob.len < OBJECT_BLOB_MAX)
		buf_write(&s->blob, "\x1a\x00", 2); /* an empty chunk */
	CHECK_STATUS(ERR_LIMIT, decode(s, &file));
	buf_write_u8(&s->blob, 0);
	CHECK_STATUS(ERR_LIMIT, decode(s, &file));
}

static void file_survives_oom_at_every_allocation(void **state)
{
	struct sample *s = *state;
	struct file file;

	CHECK_STATUS(0, encode(s));
	FAULT_SWEEP({
		int rc = decode(s, &file);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		arena_fini(&s->arena);
	});
	FAULT_SWEEP({
		CLEANUP(buf_fini) struct buf out = { 0 };
		int rc;

		buf_init(&out, OBJECT_TREE_MAX);
		rc = file_encode(&s->file, &out);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
	});
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(file_bytes_are_the_format_written_down),
		CASE(file_of_chunks_round_trips),
		CASE(file_of_parts_round_trips),
		CASE(empty_file_round_trips),
		CASE(encoding_equals_what_protobuf_packs),
		CASE(sizes_add_up),
		CASE(chunks_and_parts_exclude_each_other),
		CASE(mode_is_permission_bits_only),
		CASE(damaged_files_never_decode_to_nonsense),
		CASE(amplifying_files_stop_at_their_limits),
		CASE(file_survives_oom_at_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
