/* Tree blobs: what decodes is encoded again, and that encoding stands. */
#include <string.h>

#include "object/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int ignore(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		  size_t len)
{
	(void)data;
	(void)kind;
	(void)hash;
	(void)blob;
	REQUIRE(len <= OBJECT_TREE_MAX);
	return 0;
}

static bool count(void *data, const struct object_link *l)
{
	(void)l;
	++*(size_t *)data;
	return true;
}

static void check(const struct tree *tree)
{
	CLEANUP(buf_fini) struct buf blob = { 0 }, again = { 0 };
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct chunk_ref top;
	struct tree decoded;

	buf_init(&blob, OBJECT_TREE_MAX);
	buf_init(&again, OBJECT_TREE_MAX);
	arena_init(&arena, OBJECT_DECODE_ARENA);
	REQUIRE(tree_write(tree->entries, tree->entry_count, ignore, NULL, &top) == 0);
	if (tree_encode(tree, &blob) < 0)
		return;
	REQUIRE(tree_decode(blob.data, blob.len, &arena, &decoded) == 0);
	REQUIRE(decoded.entry_count == tree->entry_count && decoded.part_count == tree->part_count);
	REQUIRE(tree_encode(&decoded, &again) == 0);
	REQUIRE(again.len == blob.len &&
		(blob.len == 0 || memcmp(again.data, blob.data, blob.len) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct tree tree;
	size_t links = 0;

	data = size > 0 ? data : nothing;
	arena_init(&arena, OBJECT_DECODE_ARENA);
	if (tree_decode(data, size, &arena, &tree) == 0) {
		REQUIRE(object_links(OBJECT_TREE, data, size, count, &links) == 0);
		REQUIRE(links >= tree.part_count);
		check(&tree);
	}
	return 0;
}
