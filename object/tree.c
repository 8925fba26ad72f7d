/* Tree blobs: directories.
 *
 * A tree is a Tree message. Its list is counted before protobuf-c unpacks it, then every entry is
 * copied into the caller's arena, texts with a NUL behind them, and checked by the rules that the
 * encoder obeys too. The encoder writes field by field in ascending order, as protobuf-c would pack
 * the whole message, and so gives one blob for one content. */
#include "object/tree.h"

#include <string.h>

#include "base/err.h"

/* ---- References ---- */

bool tree_ref_ok(const struct chunk_ref *ref, uint32_t max)
{
	return ref->size >= 1 && ref->size <= max;
}

int tree_refs_read(Object__Chunk *const *list, size_t count, uint32_t max, struct arena *arena,
		   struct chunk_ref **ret)
{
	struct chunk_ref *refs = NULL;

	if (count > 0) {
		refs = arena_alloc(arena, count * sizeof(*refs));
		if (refs == NULL)
			return UV_ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		if (!object_pb_is_32(&list[i]->hash))
			return ERR_MALFORMED;
		memcpy(refs[i].hash.bytes, list[i]->hash.data, HASH_SIZE);
		refs[i].size = list[i]->size;
		if (!tree_ref_ok(&refs[i], max))
			return ERR_MALFORMED;
	}
	*ret = refs;
	return 0;
}

uint64_t tree_refs_size(const struct chunk_ref *refs, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += refs[i].size;
	return sum;
}

void tree_ref_message(const struct chunk_ref *ref, Object__Chunk *ret)
{
	object__chunk__init(ret);
	ret->hash = object_pb_view(ref->hash.bytes, HASH_SIZE);
	ret->size = ref->size;
}

void tree_refs_pack(const struct chunk_ref *refs, size_t count, unsigned field, struct buf *out)
{
	for (size_t i = 0; i < count; i++) {
		Object__Chunk msg;

		tree_ref_message(&refs[i], &msg);
		object_pb_pack_field(&msg.base, field, out);
	}
}

int tree_blob_finish(const struct buf *blob, struct buf *out)
{
	if (buf_err(blob) < 0)
		return buf_err(blob) == ERR_LIMIT ? ERR_TOO_BIG : buf_err(blob);
	if (blob->len > 0)
		buf_write(out, blob->data, blob->len);
	return buf_err(out);
}

int tree_count_items(const void *blob, size_t len, unsigned first_field, unsigned second_field)
{
	size_t first = 0, second = 0;
	int rc = object_pb_count_field(blob, len, first_field, &first);

	if (rc == 0)
		rc = object_pb_count_field(blob, len, second_field, &second);
	if (rc < 0)
		return rc;
	return first > TREE_ITEMS_MAX || second > TREE_ITEMS_MAX ? ERR_LIMIT : 0;
}

/* ---- Entries ---- */

bool entry_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > OBJECT_NAME_MAX || memchr(name, '/', len) != NULL)
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return object_text_ok(name, len);
}

bool symlink_text_ok(const char *text, size_t len)
{
	return len > 0 && len <= OBJECT_SYMLINK_MAX && object_text_ok(text, len);
}

int tree_entry_cmp(const struct entry *a, const struct entry *b)
{
	int order = memcmp(a->name, b->name, MIN(a->name_len, b->name_len));

	return order != 0 ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* An empty file has neither chunks nor target. */
static int check_file(const struct entry *e)
{
	if (e->symlink_len > 0 || (e->has_target && e->chunk_count > 0))
		return ERR_MALFORMED;
	if (e->has_target)
		return e->size > 0 && tree_ref_ok(&e->target, OBJECT_BLOB_MAX) ? 0 : ERR_MALFORMED;
	for (size_t i = 0; i < e->chunk_count; i++) {
		if (!tree_ref_ok(&e->chunks[i], CHUNK_MAX))
			return ERR_MALFORMED;
	}
	return tree_refs_size(e->chunks, e->chunk_count) == e->size ? 0 : ERR_MALFORMED;
}

int tree_entry_check(const struct entry *e)
{
	if (!entry_name_ok(e->name, e->name_len) || e->mode > MODE_MASK)
		return ERR_MALFORMED;
	if (e->chunk_count > OBJECT_INLINE_CHUNKS_MAX || e->symlink_len > OBJECT_SYMLINK_MAX)
		return ERR_LIMIT;
	switch (e->kind) {
	case ENTRY_FILE: return check_file(e);
	case ENTRY_DIRECTORY: /* the blob of an empty one has no bytes */
		return e->has_target && e->target.size <= OBJECT_BLOB_MAX && e->chunk_count == 0 &&
				       e->symlink_len == 0 ?
			       0 :
			       ERR_MALFORMED;
	case ENTRY_SYMLINK:
		return !e->has_target && e->chunk_count == 0 &&
				       symlink_text_ok(e->symlink, e->symlink_len) ?
			       0 :
			       ERR_MALFORMED;
	default: return ERR_MALFORMED;
	}
}

/* Copies a text into the arena; NULL when there is none. */
static int text_read(const ProtobufCBinaryData *d, struct arena *arena, const char **ret,
		     size_t *ret_len)
{
	char *text = NULL;

	if (d->len > 0) {
		text = arena_strndup(arena, (const char *)d->data, d->len);
		if (text == NULL)
			return UV_ENOMEM;
	}
	*ret = text;
	*ret_len = d->len;
	return 0;
}

static int entry_read(const Object__Entry *msg, struct arena *arena, struct entry *ret)
{
	int rc;

	if (msg->name.len > OBJECT_NAME_MAX)
		return ERR_MALFORMED;
	if (msg->symlink.len > OBJECT_SYMLINK_MAX || msg->n_chunk > OBJECT_INLINE_CHUNKS_MAX)
		return ERR_LIMIT;
	if (msg->kind < ENTRY_FILE || msg->kind > ENTRY_SYMLINK)
		return ERR_MALFORMED;
	ret->mode = msg->mode;
	ret->size = msg->size;
	ret->kind = (enum object_entry_kind)msg->kind;
	ret->has_target = msg->target.len > 0;
	if (ret->has_target) {
		if (!object_pb_is_32(&msg->target))
			return ERR_MALFORMED;
		memcpy(ret->target.hash.bytes, msg->target.data, HASH_SIZE);
	} else if (msg->target_size > 0) {
		return ERR_MALFORMED;
	}
	ret->target.size = msg->target_size;
	rc = text_read(&msg->name, arena, &ret->name, &ret->name_len);
	if (rc == 0)
		rc = text_read(&msg->symlink, arena, &ret->symlink, &ret->symlink_len);
	if (rc == 0)
		rc = tree_refs_read(msg->chunk, msg->n_chunk, CHUNK_MAX, arena, &ret->chunks);
	ret->chunk_count = msg->n_chunk;
	return rc < 0 ? rc : tree_entry_check(ret);
}

struct entry_parts {
	Object__Entry msg;
	Object__Chunk chunks[OBJECT_INLINE_CHUNKS_MAX];
	Object__Chunk *chunk_list[OBJECT_INLINE_CHUNKS_MAX];
};

/* The entry has passed tree_entry_check. */
static void entry_fill(const struct entry *e, struct entry_parts *p)
{
	object__entry__init(&p->msg);
	p->msg.name = object_pb_view(e->name, e->name_len);
	p->msg.mode = e->mode;
	p->msg.size = e->size;
	p->msg.kind = (uint32_t)e->kind;
	p->msg.n_chunk = e->chunk_count;
	p->msg.chunk = p->chunk_list;
	for (size_t i = 0; i < e->chunk_count; i++) {
		tree_ref_message(&e->chunks[i], &p->chunks[i]);
		p->chunk_list[i] = &p->chunks[i];
	}
	if (e->has_target) {
		p->msg.target = object_pb_view(e->target.hash.bytes, HASH_SIZE);
		p->msg.target_size = e->target.size;
	}
	if (e->symlink_len > 0)
		p->msg.symlink = object_pb_view(e->symlink, e->symlink_len);
}

size_t tree_entry_encoded_size(const struct entry *e)
{
	struct entry_parts parts;
	size_t len;

	entry_fill(e, &parts);
	len = object__entry__get_packed_size(&parts.msg);
	return 1 + (len < 1 << 7 ? 1u : len < 1 << 14 ? 2u : 3u) + len;
}

/* ---- Trees ---- */

static int entries_read(const Object__Tree *msg, struct arena *arena, struct tree *ret)
{
	struct entry *entries;

	if (msg->n_entry == 0)
		return 0;
	entries = arena_alloc(arena, msg->n_entry * sizeof(*entries));
	if (entries == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < msg->n_entry; i++) {
		int rc = entry_read(msg->entry[i], arena, &entries[i]);

		if (rc < 0)
			return rc;
		if (i > 0 && tree_entry_cmp(&entries[i - 1], &entries[i]) >= 0)
			return ERR_MALFORMED;
	}
	ret->entries = entries;
	ret->entry_count = msg->n_entry;
	return 0;
}

int tree_decode(const void *blob, size_t len, struct arena *arena, struct tree *ret)
{
	CLEANUP(object_pb_memory_fini) struct object_pb_memory memory = { 0 };
	struct tree tree = { 0 };
	const Object__Tree *msg;
	const void *any;
	int rc = len > OBJECT_BLOB_MAX ?
			 ERR_LIMIT :
			 tree_count_items(blob, len, TREE_FIELD_ENTRY, TREE_FIELD_PART);

	object_pb_memory_init(&memory, TREE_MEMORY_MAX);
	if (rc == 0)
		rc = object_pb_unpack(&memory, &object__tree__descriptor, blob, len, &any);
	if (rc < 0)
		return rc;
	msg = any;
	if (msg->n_entry > 0 && msg->n_part > 0)
		return ERR_MALFORMED;
	rc = entries_read(msg, arena, &tree);
	if (rc == 0)
		rc = tree_refs_read(msg->part, msg->n_part, OBJECT_BLOB_MAX, arena, &tree.parts);
	tree.part_count = msg->n_part;
	if (rc == 0)
		*ret = tree;
	return rc;
}

static int tree_check(const struct tree *t)
{
	if (t->entry_count > 0 && t->part_count > 0)
		return ERR_MALFORMED;
	if (t->entry_count > TREE_ITEMS_MAX || t->part_count > TREE_ITEMS_MAX)
		return ERR_TOO_BIG;
	for (size_t i = 0; i < t->entry_count; i++) {
		int rc = tree_entry_check(&t->entries[i]);

		if (rc < 0)
			return rc;
		if (i > 0 && tree_entry_cmp(&t->entries[i - 1], &t->entries[i]) >= 0)
			return ERR_MALFORMED;
	}
	for (size_t i = 0; i < t->part_count; i++) {
		if (!tree_ref_ok(&t->parts[i], OBJECT_BLOB_MAX))
			return ERR_MALFORMED;
	}
	return 0;
}

int tree_encode(const struct tree *t, struct buf *out)
{
	CLEANUP(buf_fini) struct buf blob = { 0 };
	int rc = tree_check(t);

	buf_init(&blob, OBJECT_TREE_MAX);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < t->entry_count; i++) {
		struct entry_parts parts;

		entry_fill(&t->entries[i], &parts);
		object_pb_pack_field(&parts.msg.base, TREE_FIELD_ENTRY, &blob);
	}
	tree_refs_pack(t->parts, t->part_count, TREE_FIELD_PART, &blob);
	return tree_blob_finish(&blob, out);
}
