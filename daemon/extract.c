/* A folder is filled in three passes over its entries: files, then folders, then links. With O_EXCL
 * and O_NOFOLLOW no order would be unsafe; this one keeps links out of the way while anything is
 * still opened by name.
 *
 * What can go wrong, and what stops it: "..", "a/b" (entry_name_ok), a name twice, also over parts
 * (ascending order), a link and then something through it (descriptors, O_NOFOLLOW), a tree that
 * contains itself (impossible by hash) or fans out without end (EXTRACT_ENTRIES_MAX,
 * OBJECT_DEPTH_MAX), sizes that lie (checked against the chunks). */
#include "daemon/extract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { TREE_ARENA_MAX = 16 << 20, REMOVE_DEPTH_MAX = 512 };

/* The parts of a tree or file blob in order, without recursion deeper than OBJECT_DEPTH_MAX. */
struct directory {
	struct extract *x;
	int fd;
	const char *path; /* inside the object, for messages */
	unsigned depth;
	char last[OBJECT_NAME_MAX + 1]; /* the entry before, over all parts */
	size_t last_len;
	bool any;
};

static int fail(struct extract *x, const char *path, const char *what, int rc)
{
	if (x->why[0] == '\0')
		snprintf(x->why, sizeof(x->why), "%s: %s (%s)", path[0] != '\0' ? path : "/", what,
			 err_str(rc));
	return rc;
}

static int get(struct extract *x, const struct hash *hash, const char *path, uint8_t **ret,
	       size_t *ret_len)
{
	struct hash actual;
	int rc = x->source->blob(x->data, hash, ret, ret_len);

	if (rc < 0)
		return fail(x, path, "cannot get its content", rc);
	actual = hash_of(*ret, *ret_len);
	x->blobs++;
	if (hash_eq(&actual, hash))
		return 0;
	*ret = mem_free(*ret);
	return fail(x, path, "a blob does not match its hash", ERR_VERIFY);
}

/* ---- Files ---- */

static int write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_chunk(struct extract *x, int fd, const char *path, const struct chunk_ref *c)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int rc = get(x, &c->hash, path, &data, &len);

	if (rc < 0)
		return rc;
	if (len != c->size)
		rc = fail(x, path, "a chunk has another size than the tree says", ERR_MALFORMED);
	else if ((rc = write_all(fd, data, len)) < 0)
		rc = fail(x, path, "cannot write", rc);
	mem_free(data);
	if (rc < 0)
		return rc;
	x->bytes += len;
	if (x->source->progress != NULL && !x->source->progress(x->data, x->bytes, x->files))
		return UV_ECANCELED;
	return 0;
}

static int write_chunks(struct extract *x, int fd, const char *path, const struct chunk_ref *chunks,
			size_t count, uint64_t *written)
{
	struct hash ahead[EXTRACT_PREFETCH_MAX];
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		if (x->source->prefetch != NULL && count > 1 && i % 16 == 0) {
			size_t n = MIN(count - i, (size_t)16);

			for (size_t k = 0; k < n; k++)
				ahead[k] = chunks[i + k].hash;
			x->source->prefetch(x->data, ahead, n);
		}
		rc = write_chunk(x, fd, path, &chunks[i]);
		*written += chunks[i].size;
	}
	return rc;
}

static int write_file_blob(struct extract *x, int fd, const char *path, const struct hash *hash,
			   unsigned depth, uint64_t *written, struct file *ret_top)
{
	struct arena arena;
	struct file f = { 0 };
	uint8_t *blob = NULL;
	size_t len = 0;
	int rc;

	if (depth > OBJECT_DEPTH_MAX || ++x->entries > EXTRACT_ENTRIES_MAX)
		return fail(x, path, "is nested without end", ERR_LIMIT);
	rc = get(x, hash, path, &blob, &len);
	if (rc < 0)
		return rc;
	arena_init(&arena, TREE_ARENA_MAX);
	rc = file_decode(blob, len, &arena, &f);
	mem_free(blob);
	if (rc < 0)
		rc = fail(x, path, "its list of chunks is malformed", rc);
	else
		rc = write_chunks(x, fd, path, f.chunks, f.chunk_count, written);
	for (size_t i = 0; i < f.part_count && rc == 0; i++)
		rc = write_file_blob(x, fd, path, &f.parts[i].hash, depth + 1, written, NULL);
	if (rc == 0 && ret_top != NULL)
		*ret_top = (struct file){ .size = f.size, .mode = f.mode };
	arena_fini(&arena);
	return rc;
}

static int create(int parent, const char *name)
{
	int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

static int finish_file(struct extract *x, int fd, const char *path, uint32_t mode, int rc)
{
	if (rc == 0 && fchmod(fd, mode & 0777) < 0)
		rc = fail(x, path, "cannot set its mode", -errno);
	if (close(fd) < 0 && rc == 0)
		rc = fail(x, path, "cannot write", -errno);
	if (rc == 0)
		x->files++;
	return rc;
}

int extract_file(struct extract *x, int parent, const char *name, const struct hash *file)
{
	struct file top = { 0 };
	uint64_t written = 0;
	int fd = create(parent, name), rc;

	if (fd < 0)
		return fail(x, name, "cannot create", fd);
	rc = write_file_blob(x, fd, "", file, 1, &written, &top);
	if (rc == 0 && written != top.size)
		rc = fail(x, "", "has another size than it says", ERR_MALFORMED);
	return finish_file(x, fd, "", top.mode, rc);
}

static int write_entry_file(struct directory *d, const struct entry *e, const char *name,
			    const char *path)
{
	struct extract *x = d->x;
	uint64_t written = 0;
	int fd = create(d->fd, name), rc;

	if (fd < 0)
		return fail(x, path, "cannot create", fd);
	rc = e->has_target ? write_file_blob(x, fd, path, &e->target.hash, 1, &written, NULL) :
			     write_chunks(x, fd, path, e->chunks, e->chunk_count, &written);
	if (rc == 0 && written != e->size)
		rc = fail(x, path, "has another size than the tree says", ERR_MALFORMED);
	return finish_file(x, fd, path, e->mode, rc);
}

/* ---- Folders ---- */

static int fill_directory(struct extract *x, int parent, const char *name, const char *path,
			  const struct hash *tree, uint32_t mode, unsigned depth);

static int make_entry(struct directory *d, const struct entry *e)
{
	char name[OBJECT_NAME_MAX + 1];
	CLEANUP(mem_freep) char *path = mem_printf("%s/%.*s", d->path, (int)e->name_len, e->name);
	CLEANUP(mem_freep) char *text = NULL;

	if (path == NULL)
		return UV_ENOMEM;
	memcpy(name, e->name, e->name_len);
	name[e->name_len] = '\0';
	switch (e->kind) {
	case ENTRY_FILE: return write_entry_file(d, e, name, path);
	case ENTRY_DIRECTORY:
		return fill_directory(d->x, d->fd, name, path, &e->target.hash, e->mode,
				      d->depth + 1);
	case ENTRY_SYMLINK: break;
	}
	text = mem_strndup(e->symlink, e->symlink_len);
	if (text == NULL)
		return UV_ENOMEM;
	if (symlinkat(text, d->fd, name) < 0)
		return fail(d->x, path, "cannot make the link", -errno);
	d->x->symlinks++;
	return 0;
}

static int check_entry(struct directory *d, const struct entry *e)
{
	size_t common = MIN(e->name_len, d->last_len);
	int order;

	if (!entry_name_ok(e->name, e->name_len))
		return fail(d->x, d->path, "an entry has a forbidden name", ERR_MALFORMED);
	order = memcmp(d->last, e->name, common);
	if (d->any && (order > 0 || (order == 0 && d->last_len >= e->name_len)))
		return fail(d->x, d->path, "its entries are not in order", ERR_MALFORMED);
	if ((e->kind == ENTRY_DIRECTORY && !e->has_target) ||
	    (e->kind == ENTRY_SYMLINK &&
	     (e->symlink_len == 0 || e->symlink_len > OBJECT_SYMLINK_MAX ||
	      memchr(e->symlink, '\0', e->symlink_len) != NULL)))
		return fail(d->x, d->path, "an entry is malformed", ERR_MALFORMED);
	if (++d->x->entries > EXTRACT_ENTRIES_MAX)
		return fail(d->x, d->path, "the object has too many entries", ERR_LIMIT);
	memcpy(d->last, e->name, e->name_len);
	d->last_len = e->name_len;
	d->any = true;
	return 0;
}

/* What the next entries begin with: their first chunk, their tree. */
static void prefetch(struct extract *x, const struct entry *entries, size_t count)
{
	struct hash ahead[EXTRACT_PREFETCH_MAX];
	size_t n = 0;

	for (size_t i = 0; i < count && n < EXTRACT_PREFETCH_MAX; i++) {
		if (entries[i].has_target)
			ahead[n++] = entries[i].target.hash;
		else if (entries[i].chunk_count == 1)
			ahead[n++] = entries[i].chunks[0].hash;
	}
	if (n > 1 && x->source->prefetch != NULL)
		x->source->prefetch(x->data, ahead, n);
}

static int make_entries(struct directory *d, const struct tree *t)
{
	static const enum object_entry_kind passes[] = { ENTRY_FILE, ENTRY_DIRECTORY,
							 ENTRY_SYMLINK };
	int rc = 0;

	for (size_t i = 0; i < t->entry_count && rc == 0; i++)
		rc = check_entry(d, &t->entries[i]);
	for (size_t pass = 0; pass < ARRAY_SIZE(passes); pass++) {
		for (size_t i = 0; i < t->entry_count && rc == 0; i++) {
			if (pass == 0 && i % EXTRACT_PREFETCH_MAX == 0)
				prefetch(d->x, &t->entries[i],
					 MIN(t->entry_count - i, (size_t)EXTRACT_PREFETCH_MAX));
			if (t->entries[i].kind == passes[pass])
				rc = make_entry(d, &t->entries[i]);
		}
	}
	return rc;
}

static int make_parts(struct directory *d, const struct hash *tree, unsigned part_depth)
{
	struct arena arena;
	struct tree t = { 0 };
	uint8_t *blob = NULL;
	size_t len = 0;
	int rc;

	if (part_depth > OBJECT_DEPTH_MAX || ++d->x->entries > EXTRACT_ENTRIES_MAX)
		return fail(d->x, d->path, "is nested without end", ERR_LIMIT);
	rc = get(d->x, tree, d->path, &blob, &len);
	if (rc < 0)
		return rc;
	arena_init(&arena, TREE_ARENA_MAX);
	rc = tree_decode(blob, len, &arena, &t);
	mem_free(blob);
	if (rc < 0)
		rc = fail(d->x, d->path, "its tree is malformed", rc);
	else
		rc = make_entries(d, &t);
	for (size_t i = 0; i < t.part_count && rc == 0; i++)
		rc = make_parts(d, &t.parts[i].hash, part_depth + 1);
	arena_fini(&arena);
	return rc;
}

static int fill_directory(struct extract *x, int parent, const char *name, const char *path,
			  const struct hash *tree, uint32_t mode, unsigned depth)
{
	struct directory d = { .x = x, .path = path, .depth = depth };
	int rc;

	if (depth > OBJECT_DEPTH_MAX)
		return fail(x, path, "is nested too deeply", ERR_LIMIT);
	if (mkdirat(parent, name, 0700) < 0)
		return fail(x, path, "cannot create the folder", -errno);
	d.fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d.fd < 0)
		return fail(x, path, "cannot open the folder", -errno);
	rc = make_parts(&d, tree, 1);
	if (rc == 0 && fchmod(d.fd, mode & 0777) < 0)
		rc = fail(x, path, "cannot set its mode", -errno);
	close(d.fd);
	x->directories++;
	return rc;
}

int extract_tree(struct extract *x, int parent, const char *name, const struct hash *tree,
		 uint32_t mode)
{
	return fill_directory(x, parent, name, "", tree, mode, 1);
}

/* ---- Removing ---- */

static int remove_below(int parent, const char *name, unsigned depth)
{
	struct dirent *e;
	int fd, rc = 0;
	DIR *dir;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth > REMOVE_DEPTH_MAX)
		return ERR_LIMIT;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)fchmod(fd, 0700);
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return UV_ENOMEM;
	}
	while (rc == 0 && (e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			rc = remove_below(fd, e->d_name, depth + 1);
	closedir(dir);
	if (rc == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0)
		rc = -errno;
	return rc;
}

int extract_remove(int parent, const char *name)
{
	return remove_below(parent, name, 0);
}
