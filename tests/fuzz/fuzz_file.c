/* File blobs: what decodes is encoded again, and that encoding stands. */
#include <string.h>

#include "object/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct file *file)
{
	CLEANUP(buf_fini) struct buf blob = { 0 }, again = { 0 };
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct file decoded;

	buf_init(&blob, OBJECT_TREE_MAX);
	buf_init(&again, OBJECT_TREE_MAX);
	arena_init(&arena, OBJECT_DECODE_ARENA);
	if (file_encode(file, &blob) < 0)
		return;
	REQUIRE(file_decode(blob.data, blob.len, &arena, &decoded) == 0);
	REQUIRE(decoded.size == file->size && decoded.mode == file->mode);
	REQUIRE(file_encode(&decoded, &again) == 0);
	REQUIRE(again.len == blob.len &&
		(blob.len == 0 || memcmp(again.data, blob.data, blob.len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct file file;

	arena_init(&arena, OBJECT_DECODE_ARENA);
	if (file_decode(size > 0 ? data : nothing, size, &arena, &file) == 0) {
		REQUIRE(file.chunk_count == 0 || file.part_count == 0);
		check(&file);
	}
	return 0;
}
