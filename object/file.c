/* File blobs: the chunks of a file too large to be listed in its directory's entry. */
#include <string.h>

#include "base/err.h"
#include "object/tree.h"

/* A file without chunks and parts is empty; the chunks of one blob add up to its size. What lies
 * below parts is seen only when they are read. */
static int file_check(const struct file *f)
{
	if (f->mode > MODE_MASK || (f->chunk_count > 0 && f->part_count > 0))
		return ERR_MALFORMED;
	if (f->part_count > 0)
		return f->size > 0 ? 0 : ERR_MALFORMED;
	return tree_refs_size(f->chunks, f->chunk_count) == f->size ? 0 : ERR_MALFORMED;
}

int file_decode(const void *blob, size_t len, struct arena *arena, struct file *ret)
{
	CLEANUP(object_pb_memory_fini) struct object_pb_memory memory = { 0 };
	struct file file = { 0 };
	const Object__File *msg;
	const void *any;
	int rc = len > OBJECT_BLOB_MAX ?
			 ERR_LIMIT :
			 tree_count_items(blob, len, FILE_FIELD_CHUNK, FILE_FIELD_PART);

	object_pb_memory_init(&memory, TREE_MEMORY_MAX);
	if (rc == 0)
		rc = object_pb_unpack(&memory, &object__file__descriptor, blob, len, &any);
	if (rc < 0)
		return rc;
	msg = any;
	file.size = msg->size;
	file.mode = msg->mode;
	file.chunk_count = msg->n_chunk;
	file.part_count = msg->n_part;
	rc = tree_refs_read(msg->chunk, msg->n_chunk, CHUNK_MAX, arena, &file.chunks);
	if (rc == 0)
		rc = tree_refs_read(msg->part, msg->n_part, OBJECT_BLOB_MAX, arena, &file.parts);
	if (rc == 0)
		rc = file_check(&file);
	if (rc == 0)
		*ret = file;
	return rc;
}

static int check_refs(const struct chunk_ref *refs, size_t count, uint32_t max)
{
	if (count > TREE_ITEMS_MAX)
		return ERR_TOO_BIG;
	for (size_t i = 0; i < count; i++) {
		if (!tree_ref_ok(&refs[i], max))
			return ERR_MALFORMED;
	}
	return 0;
}

int file_encode(const struct file *f, struct buf *out)
{
	Object__File msg = OBJECT__FILE__INIT;
	CLEANUP(buf_fini) struct buf blob = { 0 };
	int rc = check_refs(f->chunks, f->chunk_count, CHUNK_MAX);

	buf_init(&blob, OBJECT_TREE_MAX);
	if (rc == 0)
		rc = check_refs(f->parts, f->part_count, OBJECT_BLOB_MAX);
	if (rc == 0)
		rc = file_check(f);
	if (rc < 0)
		return rc;
	msg.size = f->size;
	msg.mode = f->mode;
	object_pb_pack(&msg.base, &blob);
	tree_refs_pack(f->chunks, f->chunk_count, FILE_FIELD_CHUNK, &blob);
	tree_refs_pack(f->parts, f->part_count, FILE_FIELD_PART, &blob);
	return tree_blob_finish(&blob, out);
}
