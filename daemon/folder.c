/* Content is compared by the chunks that the tree names: that many bytes are read and hashed, and
 * the first that differ end it. So it does not matter who cut the chunks, and how. */
#include "daemon/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/beneath.h"

/* ---- Reading trees ---- */

static int name_cmp(const struct entry *e, const char *name, size_t len)
{
	int order = memcmp(e->name, name, MIN(e->name_len, len));

	return order != 0 ? order : (e->name_len > len) - (e->name_len < len);
}

static int add_entries(struct extract *x, struct folder *f, const struct tree *t, const char *path)
{
	const struct entry *last = f->count > 0 ? &f->entries[f->count - 1] : NULL;

	if (t->entry_count == 0)
		return 0;
	if (last != NULL && name_cmp(last, t->entries[0].name, t->entries[0].name_len) >= 0)
		return extract_fail(x, path, "its entries are not in order", ERR_MALFORMED);
	if (f->count + t->entry_count > EXTRACT_ENTRIES_MAX)
		return extract_fail(x, path, "the object has too many entries", ERR_LIMIT);
	if (f->count + t->entry_count > f->cap) {
		size_t cap = MAX(f->cap * 2, f->count + t->entry_count);
		struct entry *grown = mem_realloc(f->entries, cap * sizeof(*grown));

		if (grown == NULL)
			return UV_ENOMEM;
		f->entries = grown;
		f->cap = cap;
	}
	memcpy(&f->entries[f->count], t->entries, t->entry_count * sizeof(*t->entries));
	f->count += t->entry_count;
	return 0;
}

static int read_part(struct extract *x, struct folder *f, const struct hash *tree, const char *path,
		     unsigned depth)
{
	CLEANUP(mem_freep) uint8_t *blob = NULL;
	struct tree t = { 0 };
	size_t len = 0;
	int rc;

	if (depth > OBJECT_DEPTH_MAX || ++x->entries > EXTRACT_ENTRIES_MAX)
		return extract_fail(x, path, "is nested without end", ERR_LIMIT);
	rc = extract_blob(x, tree, path, &blob, &len);
	if (rc < 0)
		return rc;
	rc = tree_decode(blob, len, &f->arena, &t);
	if (rc < 0)
		return extract_fail(x, path, "its tree is malformed", rc);
	rc = add_entries(x, f, &t, path);
	for (size_t i = 0; i < t.part_count && rc == 0; i++)
		rc = read_part(x, f, &t.parts[i].hash, path, depth + 1);
	return rc;
}

int folder_read(struct extract *x, const struct hash *tree, const char *path, struct folder **ret)
{
	struct folder *f = mem_alloc(sizeof(*f));

	*ret = f;
	if (f == NULL)
		return UV_ENOMEM;
	f->tree = *tree;
	arena_init(&f->arena, FOLDER_BYTES_MAX);
	return read_part(x, f, tree, path, 1);
}

void folder_free(struct folder *f)
{
	if (f == NULL)
		return;
	mem_free(f->entries);
	arena_fini(&f->arena);
	mem_free(f);
}

const struct entry *folder_find(const struct folder *f, const char *name)
{
	size_t len = strlen(name), low = 0, high = f->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = name_cmp(&f->entries[mid], name, len);

		if (order == 0)
			return &f->entries[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* ---- Comparing ---- */

static int open_file(struct compared *c)
{
	if (c->fd < 0)
		c->fd = beneath_open(c->dir, c->name, O_RDONLY | O_NONBLOCK);
	return MIN(c->fd, 0);
}

static int same_chunk(struct compared *c, const struct chunk_ref *chunk, uint64_t *at)
{
	CLEANUP(mem_freep) uint8_t *bytes = mem_alloc(chunk->size);
	size_t have = 0;
	struct hash hash;

	if (bytes == NULL)
		return UV_ENOMEM;
	while (have < chunk->size) {
		ssize_t n = pread(c->fd, bytes + have, chunk->size - have, (off_t)(*at + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		have += (size_t)n;
	}
	hash = hash_of(bytes, have);
	*at += have;
	c->bytes += have;
	return hash_eq(&hash, &chunk->hash);
}

static int same_chunks(struct compared *c, const struct chunk_ref *chunks, size_t count,
		       uint64_t *at, bool *ret_disk)
{
	int rc = 1;

	for (size_t i = 0; i < count && rc == 1; i++) {
		const struct extract *x = c->x;

		*ret_disk = true;
		rc = same_chunk(c, &chunks[i], at);
		if (rc >= 0 && x->source->progress != NULL &&
		    !x->source->progress(x->data, x->bytes + c->bytes, x->files)) {
			*ret_disk = false;
			rc = UV_ECANCELED;
		}
	}
	return rc;
}

static int same_blob(struct compared *c, const struct hash *hash, unsigned depth, uint64_t *at,
		     bool *ret_disk)
{
	CLEANUP(arena_fini) struct arena arena = { 0 };
	CLEANUP(mem_freep) uint8_t *blob = NULL;
	struct file f = { 0 };
	size_t len = 0;
	int rc;

	*ret_disk = false;
	if (depth > OBJECT_DEPTH_MAX)
		return extract_fail(c->x, c->path, "is nested without end", ERR_LIMIT);
	rc = extract_blob(c->x, hash, c->path, &blob, &len);
	if (rc < 0)
		return rc;
	arena_init(&arena, OBJECT_DECODE_ARENA);
	rc = file_decode(blob, len, &arena, &f);
	if (rc < 0)
		return extract_fail(c->x, c->path, "its list of chunks is malformed", rc);
	rc = same_chunks(c, f.chunks, f.chunk_count, at, ret_disk);
	for (size_t i = 0; i < f.part_count && rc == 1; i++)
		rc = same_blob(c, &f.parts[i].hash, depth + 1, at, ret_disk);
	return rc;
}

static int same_link(struct compared *c, const struct entry *e)
{
	char text[OBJECT_SYMLINK_MAX + 1];
	ssize_t n = readlinkat(c->dir, c->name, text, sizeof(text));

	if (n < 0)
		return -errno;
	return (size_t)n == e->symlink_len && memcmp(text, e->symlink, (size_t)n) == 0;
}

int compared_with(struct compared *c, const struct entry *e, bool *ret_disk)
{
	uint64_t at = 0;
	int rc;

	*ret_disk = true;
	if (S_ISLNK(c->st.st_mode))
		return e->kind == ENTRY_SYMLINK ? same_link(c, e) : 0;
	if (e->kind != ENTRY_FILE || !S_ISREG(c->st.st_mode) || (uint64_t)c->st.st_size != e->size)
		return 0;
	rc = open_file(c);
	if (rc < 0)
		return rc;
	rc = e->has_target ? same_blob(c, &e->target.hash, 1, &at, ret_disk) :
			     same_chunks(c, e->chunks, e->chunk_count, &at, ret_disk);
	return rc == 1 ? at == e->size : rc;
}

void compared_fini(struct compared *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}
