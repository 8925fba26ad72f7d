/* A folder is filled in three passes over its entries: files, then folders, then links. With O_EXCL
 * and O_NOFOLLOW no order would be unsafe; this one keeps links out of the way while anything is
 * still opened by name.
 *
 * Nothing is wider than it will be, at any moment: files are created with the owner's bits of their
 * mode (a descriptor may write whatever the mode says), folders with 0700 until they are full.
 *
 * What can go wrong, and what stops it: "..", "a/b" (entry_name_ok), a name twice, also over parts
 * (ascending order), a link and then something through it (descriptors, O_NOFOLLOW), a tree that
 * contains itself (impossible by hash) or fans out without end (EXTRACT_ENTRIES_MAX,
 * OBJECT_DEPTH_MAX), sizes that lie (checked against the chunks). */
#include "daemon/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { TREE_ARENA_MAX = 16 << 20, PATH_TEXT_MAX = 1 << 20, PATH_SHOWN_MAX = 768 };

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

/* As the user would name it, so that it can be found: `path` begins with a slash or not. */
static void write_path(const char *above, const char *path, struct buf *out)
{
	size_t len = strlen(above);

	while (len > 1 && above[len - 1] == '/')
		len--;
	while (path[0] == '/')
		path++;
	if (len == 0 && path[0] == '\0')
		above = "the present folder", len = strlen(above);
	buf_write_shown(out, above, len);
	if (len > 0 && path[0] != '\0' && above[len - 1] != '/')
		buf_write_str(out, "/");
	buf_write_shown(out, path, strlen(path));
}

/* Of a long path the end is what tells; the reason is never what is cut off. */
static int fail(struct extract *x, const char *path, const char *what, int rc)
{
	const char *shown = "?";
	struct buf text;
	size_t cut = 0;

	if (x->why[0] != '\0')
		return rc;
	buf_init(&text, PATH_TEXT_MAX);
	if (x->above != NULL)
		write_path(x->above, path, &text);
	else if (path[0] != '\0')
		buf_write_shown(&text, path, strlen(path));
	else
		buf_write_str(&text, "the object");
	buf_write_u8(&text, '\0');
	if (buf_err(&text) == 0) {
		cut = text.len > PATH_SHOWN_MAX ? text.len - PATH_SHOWN_MAX : 0;
		while (cut > 0 && (text.data[cut] & 0xc0) == 0x80)
			cut++;
		shown = (const char *)text.data + cut;
	}
	snprintf(x->why, sizeof(x->why), "%s%s: %s (%s)", cut > 0 ? "…" : "", shown, what,
		 err_str(rc));
	buf_fini(&text);
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
	struct pollfd ready = { .fd = fd, .events = POLLOUT };

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && poll(&ready, 1, -1) >= 0)
			continue; /* a pipe that somebody else made so */
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
			   unsigned depth, uint64_t *written)
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
		rc = write_file_blob(x, fd, path, &f.parts[i].hash, depth + 1, written);
	arena_fini(&arena);
	return rc;
}

static mode_t final_mode(const struct extract *x, uint32_t mode)
{
	return mode & 0777 & ~x->mask;
}

static int create(int parent, const char *name, uint32_t mode)
{
	int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			mode & 0700);

	return fd < 0 ? -errno : fd;
}

/* One by one as long as they are few; a flush of the whole file system is cheaper for many. */
static int flush(struct extract *x, int fd)
{
	if (x->flushed >= EXTRACT_FLUSH_MAX) {
		x->unflushed++;
		return 0;
	}
	x->flushed++;
	/* Some file systems know no fsync, of folders above all. */
	return fsync(fd) < 0 && errno != EINVAL && errno != ENOTSUP ? -errno : 0;
}

static int finish_file(struct extract *x, int fd, const char *path, uint32_t mode, int rc)
{
	int flushed;

	if (rc == 0 && fchmod(fd, final_mode(x, mode)) < 0)
		rc = fail(x, path, "cannot set its mode", -errno);
	if (rc == 0 && (flushed = flush(x, fd)) < 0)
		rc = fail(x, path, "cannot write", flushed);
	if (close(fd) < 0 && rc == 0)
		rc = fail(x, path, "cannot write", -errno);
	if (rc == 0)
		x->files++;
	return rc;
}

int extract_top(struct extract *x, const struct hash *file, struct entry *ret)
{
	CLEANUP(arena_fini) struct arena arena = { 0 };
	struct file f = { 0 };
	uint8_t *blob = NULL;
	size_t len = 0;
	int rc = get(x, file, "", &blob, &len);

	if (rc < 0)
		return rc;
	arena_init(&arena, TREE_ARENA_MAX);
	rc = file_decode(blob, len, &arena, &f);
	mem_free(blob);
	if (rc < 0)
		return fail(x, "", "its list of chunks is malformed", rc);
	*ret = (struct entry){ .kind = ENTRY_FILE,
			       .size = f.size,
			       .mode = f.mode,
			       .has_target = true,
			       .target = { *file, (uint32_t)len } };
	return 0;
}

int extract_content(struct extract *x, int fd, const char *path, const struct entry *e)
{
	uint64_t written = 0;
	int rc = e->has_target ? write_file_blob(x, fd, path, &e->target.hash, 1, &written) :
				 write_chunks(x, fd, path, e->chunks, e->chunk_count, &written);

	if (rc == 0 && written != e->size)
		rc = fail(x, path, "has another size than the tree says", ERR_MALFORMED);
	return rc;
}

static int make_file(struct extract *x, int parent, const char *name, const char *path,
		     const struct entry *e)
{
	int fd = create(parent, name, e->mode);

	if (fd < 0)
		return fail(x, path, "cannot create", fd);
	return finish_file(x, fd, path, e->mode, extract_content(x, fd, path, e));
}

/* ---- Folders ---- */

static int fill_directory(struct extract *x, int parent, const char *name, const char *path,
			  const struct entry *e, mode_t mode, unsigned depth);

static int make_link(struct extract *x, int parent, const char *name, const char *path,
		     const struct entry *e)
{
	CLEANUP(mem_freep) char *text = mem_strndup(e->symlink, e->symlink_len);

	if (text == NULL)
		return UV_ENOMEM;
	if (symlinkat(text, parent, name) < 0)
		return fail(x, path, "cannot make the link", -errno);
	x->symlinks++;
	return 0;
}

static int make_entry(struct directory *d, const struct entry *e)
{
	char name[OBJECT_NAME_MAX + 1];
	CLEANUP(mem_freep) char *path = mem_printf("%s/%.*s", d->path, (int)e->name_len, e->name);

	if (path == NULL)
		return UV_ENOMEM;
	memcpy(name, e->name, e->name_len);
	name[e->name_len] = '\0';
	switch (e->kind) {
	case ENTRY_FILE: return make_file(d->x, d->fd, name, path, e);
	case ENTRY_DIRECTORY:
		return fill_directory(d->x, d->fd, name, path, e, final_mode(d->x, e->mode),
				      d->depth + 1);
	case ENTRY_SYMLINK: break;
	}
	return make_link(d->x, d->fd, name, path, e);
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
			  const struct entry *e, mode_t mode, unsigned depth)
{
	struct directory d = { .x = x, .path = path, .depth = depth };
	int rc, flushed;

	if (depth > OBJECT_DEPTH_MAX)
		return fail(x, path, "is nested too deeply", ERR_LIMIT);
	if (mkdirat(parent, name, 0700) < 0)
		return fail(x, path, "cannot create the folder", -errno);
	d.fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d.fd < 0)
		return fail(x, path, "cannot open the folder", -errno);
	rc = make_parts(&d, &e->target.hash, 1);
	if (rc == 0 && fchmod(d.fd, mode) < 0)
		rc = fail(x, path, "cannot set its mode", -errno);
	if (rc == 0 && (flushed = flush(x, d.fd)) < 0)
		rc = fail(x, path, "cannot write", flushed);
	close(d.fd);
	x->directories++;
	return rc;
}

int extract_entry(struct extract *x, int parent, const char *name, const char *path,
		  const struct entry *e, unsigned depth)
{
	if (++x->entries > EXTRACT_ENTRIES_MAX)
		return fail(x, path, "the object has too many entries", ERR_LIMIT);
	switch (e->kind) {
	case ENTRY_FILE: return make_file(x, parent, name, path, e);
	case ENTRY_DIRECTORY:
		return fill_directory(x, parent, name, path, e, final_mode(x, e->mode) | 0700,
				      depth);
	case ENTRY_SYMLINK: return make_link(x, parent, name, path, e);
	}
	return ERR_MALFORMED;
}

int extract_blob(struct extract *x, const struct hash *hash, const char *path, uint8_t **ret,
		 size_t *ret_len)
{
	return get(x, hash, path, ret, ret_len);
}

int extract_fail(struct extract *x, const char *path, const char *what, int rc)
{
	return fail(x, path, what, rc);
}

void extract_prefetch(struct extract *x, const struct entry *entries, size_t count)
{
	prefetch(x, entries, count);
}
