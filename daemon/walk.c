/* One directory at a time: its names, sorted by bytes; each entry's blobs; then the tree. Memory is
 * that of the directories on the way down. A file that changes under us gives some mixture of its
 * states, as with any copy. */
#include "daemon/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum {
	WINDOW_BYTES = 2 * CHUNK_MAX,
	DIRECTORY_ENTRIES_MAX = 4000000,
	DIRECTORY_ARENA_MAX = 1 << 30
};

struct names {
	char **list;
	size_t count, cap;
};

static int emit(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		size_t len)
{
	struct walk *w = data;

	w->blobs++;
	return w->events->on_blob(w->data, kind, hash, blob, len);
}

static int fail(struct walk *w, const char *path, const char *what, int rc)
{
	if (w->why[0] == '\0')
		snprintf(w->why, sizeof(w->why), "cannot %s %s: %s", what, path, err_str(rc));
	return rc;
}

/* ---- Files ---- */

static int add_chunk(struct walk *w, struct chunk_ref **chunks, size_t *count, size_t *cap,
		     const uint8_t *p, size_t len)
{
	struct chunk_ref *grown;

	if (*count == *cap) {
		size_t more = *cap == 0 ? 16 : *cap * 2;

		grown = mem_realloc(*chunks, more * sizeof(**chunks));
		if (grown == NULL)
			return UV_ENOMEM;
		*chunks = grown;
		*cap = more;
	}
	(*chunks)[*count] = (struct chunk_ref){ .hash = hash_of(p, len), .size = (uint32_t)len };
	return emit(w, OBJECT_CHUNK, &(*chunks)[(*count)++].hash, p, len);
}

/* Fills the window, cuts chunks off its front, moves the rest down. */
static int read_chunks(struct walk *w, int fd, const char *path, struct chunk_ref **chunks,
		       size_t *count, uint64_t *ret_size)
{
	size_t have = 0, cap = 0, at, cut;
	bool more = true;
	int rc;

	*ret_size = 0;
	while (more || have > 0) {
		ssize_t n = more ? read(fd, w->window + have, WINDOW_BYTES - have) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(w, path, "read", -errno);
		more = n > 0;
		have += (size_t)n;
		if (more && have < WINDOW_BYTES)
			continue;
		for (at = 0; at < have && (cut = chunk_cut(w->window + at, have - at, more)) > 0;
		     at += cut) {
			rc = add_chunk(w, chunks, count, &cap, w->window + at, cut);
			if (rc < 0)
				return rc;
			*ret_size += cut;
			w->bytes += cut;
		}
		have -= at;
		memmove(w->window, w->window + at, have);
		if (w->events->on_progress != NULL)
			w->events->on_progress(w->data, w);
	}
	return 0;
}

static int walk_file(struct walk *w, int fd, const char *path, mode_t mode, bool is_root,
		     struct arena *arena, struct entry *ret)
{
	CLEANUP(mem_freep) struct chunk_ref *chunks = NULL;
	size_t count = 0;
	uint64_t size = 0;
	int rc = read_chunks(w, fd, path, &chunks, &count, &size);

	if (rc < 0)
		return rc;
	w->files++;
	*ret = (struct entry){ .kind = ENTRY_FILE, .mode = mode & 07777, .size = size };
	if (is_root || count > OBJECT_INLINE_CHUNKS_MAX) {
		ret->has_target = true;
		return file_write(size, mode & 07777, chunks, count, emit, w, &ret->target);
	}
	ret->chunk_count = count;
	ret->chunks = count > 0 ? arena_dup(arena, chunks, count * sizeof(*chunks)) : NULL;
	return count > 0 && ret->chunks == NULL ? UV_ENOMEM : 0;
}

/* ---- Directories ---- */

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct names *n, struct arena *arena, const char *name)
{
	char **grown;

	if (n->count == DIRECTORY_ENTRIES_MAX)
		return ERR_LIMIT;
	if (n->count == n->cap) {
		size_t more = n->cap == 0 ? 64 : n->cap * 2;

		grown = mem_realloc(n->list, more * sizeof(*n->list));
		if (grown == NULL)
			return UV_ENOMEM;
		n->list = grown;
		n->cap = more;
	}
	n->list[n->count] = arena_strndup(arena, name, strlen(name));
	return n->list[n->count++] != NULL ? 0 : UV_ENOMEM;
}

static int read_names(struct walk *w, int fd, const char *path, struct arena *arena,
		      struct names *ret)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), rc = 0;
	struct dirent *d;
	DIR *dir = own >= 0 ? fdopendir(own) : NULL;

	if (dir == NULL) {
		rc = fail(w, path, "read the folder", -errno);
		if (own >= 0)
			close(own);
		return rc;
	}
	while (rc == 0 && (errno = 0, d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = add_name(ret, arena, d->d_name);
	if (rc == 0 && errno != 0)
		rc = fail(w, path, "read the folder", -errno);
	closedir(dir);
	if (rc == 0 && ret->count > 1)
		qsort(ret->list, ret->count, sizeof(*ret->list), by_bytes);
	return rc;
}

static int walk_directory(struct walk *w, int fd, const char *path, mode_t mode, unsigned depth,
			  struct entry *ret);

static int walk_symlink(struct walk *w, int dir, const char *name, const char *path,
			struct arena *arena, struct entry *ret)
{
	char *text = arena_alloc(arena, OBJECT_SYMLINK_MAX + 1);
	ssize_t n;

	if (text == NULL)
		return UV_ENOMEM;
	n = readlinkat(dir, name, text, OBJECT_SYMLINK_MAX + 1);
	if (n < 0)
		return fail(w, path, "read the link", -errno);
	if (n > OBJECT_SYMLINK_MAX)
		return fail(w, path, "publish the link", ERR_LIMIT);
	w->symlinks++;
	*ret = (struct entry){ .kind = ENTRY_SYMLINK,
			       .mode = 0777,
			       .symlink = text,
			       .symlink_len = (size_t)n,
			       .size = (uint64_t)n };
	return 0;
}

static int walk_opened(struct walk *w, int fd, const char *path, bool is_root, unsigned depth,
		       struct arena *arena, struct entry *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(w, path, "look at", -errno);
	if (S_ISDIR(st.st_mode))
		return walk_directory(w, fd, path, st.st_mode, depth, ret);
	if (S_ISREG(st.st_mode))
		return walk_file(w, fd, path, st.st_mode, is_root, arena, ret);
	return fail(w, path, "publish", ERR_UNSUPPORTED);
}

/* 1 = an entry, 0 = left out, negative = an error of this entry or (in w->why) of the walk. */
static int walk_entry(struct walk *w, int dir, const char *name, const char *path, unsigned depth,
		      struct arena *arena, struct entry *ret)
{
	struct stat st;
	int fd, rc;

	if (!entry_name_ok(name, strlen(name)))
		return fail(w, path, "publish the name of", ERR_MALFORMED);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, path, "look at", -errno);
	if (S_ISLNK(st.st_mode)) {
		rc = walk_symlink(w, dir, name, path, arena, ret);
		return rc < 0 ? rc : 1;
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		w->skipped++;
		w->events->on_skipped(w->data, path, "neither file, folder nor symlink");
		return 0;
	}
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return fail(w, path, "open", -errno);
	rc = walk_opened(w, fd, path, false, depth + 1, arena, ret);
	close(fd);
	return rc < 0 ? rc : 1;
}

static bool may_skip(const struct walk *w, int rc)
{
	return w->skip_unreadable &&
	       (rc == UV_EACCES || rc == UV_EPERM || rc == UV_ENOENT || rc == UV_EIO ||
		rc == UV_ELOOP || rc == ERR_MALFORMED || rc == ERR_UNSUPPORTED);
}

static int walk_entries(struct walk *w, int dir, const char *path, unsigned depth,
			struct arena *arena, const struct names *names, struct entry *entries,
			size_t *ret_count, uint64_t *ret_size)
{
	size_t count = 0;

	for (size_t i = 0; i < names->count; i++) {
		const char *name = names->list[i];
		CLEANUP(mem_freep)
		char *below =
			mem_printf("%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", name);
		int rc = below != NULL ?
				 walk_entry(w, dir, name, below, depth, arena, &entries[count]) :
				 UV_ENOMEM;

		if (may_skip(w, rc)) {
			w->unreadable++;
			w->events->on_skipped(w->data, below, err_str(rc));
			w->why[0] = '\0';
			continue;
		}
		if (rc < 0)
			return rc;
		if (rc == 0)
			continue;
		entries[count].name = name;
		entries[count].name_len = strlen(name);
		*ret_size += entries[count].kind == ENTRY_SYMLINK ? 0 : entries[count].size;
		count++;
	}
	*ret_count = count;
	return 0;
}

static int walk_directory(struct walk *w, int fd, const char *path, mode_t mode, unsigned depth,
			  struct entry *ret)
{
	struct names names = { 0 };
	struct entry *entries = NULL;
	struct arena arena;
	uint64_t size = 0;
	size_t count = 0;
	int rc;

	if (depth > OBJECT_DEPTH_MAX)
		return fail(w, path, "go deeper than 64 folders, at", ERR_LIMIT);
	arena_init(&arena, DIRECTORY_ARENA_MAX);
	rc = read_names(w, fd, path, &arena, &names);
	if (rc == 0 && names.count > 0) {
		entries = mem_alloc_array(names.count, sizeof(*entries));
		rc = entries == NULL ? UV_ENOMEM :
				       walk_entries(w, fd, path, depth, &arena, &names, entries,
						    &count, &size);
	}
	if (rc == 0) {
		w->directories++;
		*ret = (struct entry){ .kind = ENTRY_DIRECTORY,
				       .mode = mode & 07777,
				       .size = size,
				       .has_target = true };
		rc = tree_write(entries, count, emit, w, &ret->target);
	}
	mem_free(entries);
	mem_free(names.list);
	arena_fini(&arena);
	return rc;
}

int walk_run(struct walk *w, const char *path)
{
	struct entry top = { 0 };
	struct arena arena;
	int fd, rc;

	w->window = mem_alloc(WINDOW_BYTES);
	if (w->window == NULL)
		return UV_ENOMEM;
	arena_init(&arena, DIRECTORY_ARENA_MAX);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	rc = fd < 0 ? fail(w, path, "open", -errno) :
		      walk_opened(w, fd, path, true, 1, &arena, &top);
	if (rc == 0) {
		w->root = top.target.hash;
		w->root_kind = top.kind == ENTRY_DIRECTORY ? OBJECT_TREE : OBJECT_FILE;
	}
	if (fd >= 0)
		close(fd);
	arena_fini(&arena);
	w->window = mem_free(w->window);
	return rc;
}
