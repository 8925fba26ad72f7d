/* Inside of tree and file blobs, for tree.c, file.c and write.c. */
#pragma once

#include "object/object.h"
#include "object/pb.h"

enum {
	TREE_FIELD_ENTRY = 1,
	TREE_FIELD_PART = 2,
	FILE_FIELD_CHUNK = 3,
	FILE_FIELD_PART = 4,
	MODE_MASK = 07777
};

enum {
	/* Unpacked by protobuf-c, a blob of 1 MiB takes at most 60 bytes for each of its own. Real
	   ones take below 20. */
	TREE_MEMORY_MAX = 32 << 20,
	/* Of entries, chunks or parts in one blob; a chunk or part takes 40 bytes, so only tiny
	   entries come near. */
	TREE_ITEMS_MAX = 1 << 16
};

/** Size of a chunk or blob that is referred to: 1 to `max`. */
bool tree_ref_ok(const struct chunk_ref *ref, uint32_t max);
/** Copy `count` references into the arena. ERR_MALFORMED (hash length, size not in 1..max),
 * UV_ENOMEM. */
int tree_refs_read(Object__Chunk *const *list, size_t count, uint32_t max, struct arena *arena,
		   struct chunk_ref **ret);
/** Sum of the sizes; at most TREE_ITEMS_MAX * 2^32, so it cannot overflow. */
uint64_t tree_refs_size(const struct chunk_ref *refs, size_t count);
void tree_refs_pack(const struct chunk_ref *refs, size_t count, unsigned field, struct buf *out);
void tree_ref_message(const struct chunk_ref *ref, Object__Chunk *ret);

/** ERR_LIMIT when a list of the two fields is longer than TREE_ITEMS_MAX; ERR_MALFORMED. */
int tree_count_items(const void *blob, size_t len, unsigned first_field, unsigned second_field);

/** 0 or ERR_MALFORMED / ERR_LIMIT: what decoder and encoder agree on for one entry, its neighbours
 * aside. */
int tree_entry_check(const struct entry *e);
/** Bytes that the entry takes in a tree blob. */
size_t tree_entry_encoded_size(const struct entry *e);
/** Ascending order of names. */
int tree_entry_cmp(const struct entry *a, const struct entry *b);

/** Append `blob` to out if it was written without error; out is untouched otherwise. ERR_TOO_BIG,
 * UV_ENOMEM, or out's. */
int tree_blob_finish(const struct buf *blob, struct buf *out);
