#include <string.h>

#include "base/err.h"
#include "object/tree.h"

const char *object_kind_name(enum object_kind kind)
{
	static const char *const names[] = {
		[OBJECT_CHUNK] = "chunk",
		[OBJECT_COMMIT] = "commit",
		[OBJECT_CAPABILITY] = "capability",
		[OBJECT_TREE] = "tree",
		[OBJECT_FILE] = "file",
	};

	return (size_t)kind < ARRAY_SIZE(names) ? names[kind] : "unknown";
}

struct visitor {
	bool (*visit)(void *data, const struct object_link *l);
	void *data;
};

static bool visit_one(const struct visitor *v, const struct hash *target, enum object_kind kind,
		      uint32_t size, bool is_parent)
{
	struct object_link link = { *target, kind, size, is_parent };

	return v->visit(v->data, &link);
}

static bool visit_refs(const struct visitor *v, const struct chunk_ref *refs, size_t count,
		       enum object_kind kind)
{
	for (size_t i = 0; i < count; i++) {
		if (!visit_one(v, &refs[i].hash, kind, refs[i].size, false))
			return false;
	}
	return true;
}

static int commit_links(const void *blob, size_t len, const struct visitor *v)
{
	CLEANUP(mem_freep) struct commit *c = mem_alloc(sizeof(*c));
	int rc = c == NULL ? UV_ENOMEM : commit_decode(blob, len, c);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->parent_count; i++) {
		if (!visit_one(v, &c->parents[i], OBJECT_COMMIT, 0, true))
			return 0;
	}
	if (c->has_capability && !visit_one(v, &c->capability, OBJECT_CAPABILITY, 0, false))
		return 0;
	if (!c->tombstone)
		(void)visit_one(v, &c->root, c->root_kind, 0, false);
	return 0;
}

static int tree_links(const void *blob, size_t len, const struct visitor *v)
{
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct tree tree;
	int rc;

	arena_init(&arena, OBJECT_DECODE_ARENA);
	rc = tree_decode(blob, len, &arena, &tree);
	if (rc < 0 || !visit_refs(v, tree.parts, tree.part_count, OBJECT_TREE))
		return rc;
	for (size_t i = 0; i < tree.entry_count; i++) {
		const struct entry *e = &tree.entries[i];
		enum object_kind kind = e->kind == ENTRY_DIRECTORY ? OBJECT_TREE : OBJECT_FILE;

		if (!visit_refs(v, e->chunks, e->chunk_count, OBJECT_CHUNK))
			return 0;
		if (e->has_target && !visit_refs(v, &e->target, 1, kind))
			return 0;
	}
	return 0;
}

static int file_links(const void *blob, size_t len, const struct visitor *v)
{
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct file file;
	int rc;

	arena_init(&arena, OBJECT_DECODE_ARENA);
	rc = file_decode(blob, len, &arena, &file);
	if (rc == 0 && visit_refs(v, file.chunks, file.chunk_count, OBJECT_CHUNK))
		(void)visit_refs(v, file.parts, file.part_count, OBJECT_FILE);
	return rc;
}

int object_links(enum object_kind kind, const void *blob, size_t len,
		 bool (*visit)(void *data, const struct object_link *l), void *data)
{
	struct visitor v = { visit, data };
	struct capability capability;

	switch (kind) {
	case OBJECT_CHUNK: return len <= OBJECT_BLOB_MAX ? 0 : ERR_LIMIT;
	case OBJECT_COMMIT: return commit_links(blob, len, &v);
	case OBJECT_CAPABILITY: return capability_decode(blob, len, &capability);
	case OBJECT_TREE: return tree_links(blob, len, &v);
	case OBJECT_FILE: return file_links(blob, len, &v);
	default: return ERR_UNSUPPORTED;
	}
}
