/* One directory at a time: its names, sorted by bytes; each entry's blobs; then the tree. Memory is
 * that of the directories on the way down.
 *
 * A file is looked at before and after it is read. If it is not the same then (size, times, or another
 * file by that name), what was read may be a mixture of two states: it is read once more, and left
 * out when that does not help. A file that was written a moment ago could change again within the
 * same tick of the clock that stamps files, unseen; it is given that moment first. */
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
#include "daemon/private.h"
#include "daemon/staging.h"

enum {
	ATTEMPTS = 2,
	FRESH_NS = 20000000, /* two ticks of the coarsest clock that stamps files */
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

	w->counts.blobs++;
	return w->events->on_blob(w->data, kind, hash, blob, len);
}

static int fail_because(struct walk *w, const char *path, const char *what, int rc,
			const char *reason)
{
	snprintf(w->reason, sizeof(w->reason), "%s", reason);
	snprintf(w->why, sizeof(w->why), "cannot %s %s: %s", what, path, reason);
	return rc;
}

static int fail(struct walk *w, const char *path, const char *what, int rc)
{
	return fail_because(w, path, what, rc, err_str(rc));
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
			w->counts.bytes += cut;
		}
		have -= at;
		memmove(w->window, w->window + at, have);
		if (w->events->on_progress != NULL)
			w->events->on_progress(w->data, w);
	}
	return 0;
}

static int write_file(struct walk *w, int fd, const char *path, mode_t mode, bool is_root,
		      struct arena *arena, struct entry *ret)
{
	CLEANUP(mem_freep) struct chunk_ref *chunks = NULL;
	size_t count = 0;
	uint64_t size = 0;
	int rc = read_chunks(w, fd, path, &chunks, &count, &size);

	if (rc < 0)
		return rc;
	w->counts.files++;
	*ret = (struct entry){ .kind = ENTRY_FILE, .mode = mode & 07777, .size = size };
	if (is_root || count > OBJECT_INLINE_CHUNKS_MAX) {
		ret->has_target = true;
		return file_write(size, mode & 07777, chunks, count, emit, w, &ret->target);
	}
	ret->chunk_count = count;
	ret->chunks = count > 0 ? arena_dup(arena, chunks, count * sizeof(*chunks)) : NULL;
	return count > 0 && ret->chunks == NULL ? UV_ENOMEM : 0;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mode == b->st_mode && same_time(&a->st_mtim, &b->st_mtim) &&
	       same_time(&a->st_ctim, &b->st_ctim);
}

static void let_it_age(const struct stat *st)
{
	struct timespec now, wait = { .tv_nsec = FRESH_NS };
	int64_t age;

	if (clock_gettime(CLOCK_REALTIME, &now) < 0)
		return;
	age = (int64_t)(now.tv_sec - st->st_mtim.tv_sec) * 1000000000 + now.tv_nsec -
	      st->st_mtim.tv_nsec;
	if (age >= 0 && age < FRESH_NS)
		(void)nanosleep(&wait, NULL);
}

/* ERR_CHANGED: it was not the same file with the same content from beginning to end. */
static int walk_file(struct walk *w, int fd, const struct stat *before, const char *path,
		     bool is_root, struct arena *arena, struct entry *ret)
{
	struct stat after;
	int rc = private_file(fd);

	if (rc != 0)
		return fail(w, path, rc > 0 ? "publish" : "read", rc > 0 ? ERR_PRIVATE : rc);
	let_it_age(before);
	rc = write_file(w, fd, path, before->st_mode, is_root, arena, ret);
	if (rc < 0)
		return rc;
	if (fstat(fd, &after) < 0)
		return fail(w, path, "look at", -errno);
	return same_file(before, &after) && ret->size == (uint64_t)after.st_size ?
		       0 :
		       fail(w, path, "read", ERR_CHANGED);
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

/* A folder that changes while it is read may name an entry twice (readdir(3)). */
static void sort_names(struct names *n)
{
	size_t kept = 0;

	if (n->count > 1)
		qsort(n->list, n->count, sizeof(*n->list), by_bytes);
	for (size_t i = 0; i < n->count; i++)
		if (kept == 0 || strcmp(n->list[kept - 1], n->list[i]) != 0)
			n->list[kept++] = n->list[i];
	n->count = kept;
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
	if (rc == 0)
		sort_names(ret);
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
		return fail_because(w, path, "publish the link", ERR_LIMIT,
				    "where it points to is longer than 4096 bytes");
	if (!symlink_text_ok(text, (size_t)n))
		return fail_because(w, path, "publish the link", ERR_MALFORMED,
				    "where it points to is not UTF-8");
	w->counts.symlinks++;
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
	if (private_is_own(&w->own, &st))
		return fail(w, path, "publish", ERR_PRIVATE);
	if (S_ISDIR(st.st_mode))
		return walk_directory(w, fd, path, st.st_mode, depth, ret);
	if (S_ISREG(st.st_mode))
		return walk_file(w, fd, &st, path, is_root, arena, ret);
	return fail_because(w, path, "publish", ERR_UNSUPPORTED,
			    "it is neither file, folder nor symlink");
}

static bool is_still_there(int dir, const char *name, int fd)
{
	struct stat now, read;

	return fstat(fd, &read) == 0 && fstatat(dir, name, &now, 0) == 0 &&
	       now.st_dev == read.st_dev && now.st_ino == read.st_ino;
}

/* Opens and reads it; once more when it changed meanwhile. A folder is read once: what changes
 * below it is looked at there. */
static int walk_named(struct walk *w, int dir, const char *name, const char *path, int flags,
		      unsigned depth, struct arena *arena, struct entry *ret)
{
	const struct walk_counts counts = w->counts;
	bool is_root = dir == AT_FDCWD;
	int rc = ERR_CHANGED;

	for (int i = 0; i < ATTEMPTS && rc == ERR_CHANGED; i++) {
		int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags);

		w->counts = counts;
		if (fd < 0)
			return fail(w, path, "open", -errno);
		w->why[0] = '\0';
		rc = walk_opened(w, fd, path, is_root, depth, arena, ret);
		if (rc == 0 && ret->kind == ENTRY_FILE && !is_still_there(dir, name, fd))
			rc = fail(w, path, "read", ERR_CHANGED);
		close(fd);
	}
	if (rc == ERR_CHANGED)
		w->counts = counts;
	return rc;
}

/* A folder in which a `get` makes new files is nobody's content; one that was left behind goes. */
static bool is_staging(struct walk *w, int dir, const char *name, const char *path)
{
	static const char *const whys[] = {
		[STAGING_IN_USE] = "a `get` is at work in it",
		[STAGING_SWEPT] = "an interrupted `get` left it behind; it has been removed",
		[STAGING_STAYED] = "an interrupted `get` left it behind; it could not be removed",
	};
	struct beneath_removal r = { 0 };
	enum staging_found found = staging_sweep_one(dir, name, &r);

	if (found == STAGING_NOT)
		return false;
	w->counts.skipped++;
	w->events->on_skipped(w->data, path, whys[found]);
	return true;
}

/* 1 = an entry, 0 = left out, negative = an error of this entry or (in w->why) of the walk. */
static int walk_entry(struct walk *w, int dir, const char *name, const char *path, unsigned depth,
		      struct arena *arena, struct entry *ret)
{
	struct stat st;
	int rc;

	if (!entry_name_ok(name, strlen(name)))
		return fail_because(w, path, "publish", ERR_MALFORMED, "its name is not UTF-8");
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, path, "look at", -errno);
	if (S_ISDIR(st.st_mode) && is_staging(w, dir, name, path))
		return 0;
	if (S_ISLNK(st.st_mode)) {
		rc = walk_symlink(w, dir, name, path, arena, ret);
		return rc < 0 ? rc : 1;
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		w->counts.skipped++;
		w->events->on_skipped(w->data, path, "neither file, folder nor symlink");
		return 0;
	}
	rc = walk_named(w, dir, name, path, O_NOFOLLOW, depth + 1, arena, ret);
	return rc < 0 ? rc : 1;
}

static bool may_skip(const struct walk *w, int rc)
{
	if (w->why[0] == '\0')
		return false; /* not of this entry: what on_blob returned */
	/* Never published; gone, or not to be had in one state: nobody chose that. */
	if (rc == ERR_PRIVATE || rc == ERR_CHANGED || rc == UV_ENOENT)
		return true;
	return w->skip_unreadable &&
	       (rc == UV_EACCES || rc == UV_EPERM || rc == UV_EIO || rc == UV_ELOOP ||
		rc == -ESTALE || rc == UV_ENXIO || rc == UV_ENODEV || rc == ERR_MALFORMED ||
		rc == ERR_LIMIT || rc == ERR_UNSUPPORTED);
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
			w->counts.unreadable++;
			w->events->on_skipped(w->data, below,
					      rc == UV_ENOENT ? "it is gone" : w->reason);
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
		return fail_because(w, path, "publish", ERR_LIMIT,
				    "it is more than 64 folders deep");
	rc = private_folder(fd);
	if (rc != 0)
		return fail(w, path, rc > 0 ? "publish" : "look into", rc > 0 ? ERR_PRIVATE : rc);
	arena_init(&arena, DIRECTORY_ARENA_MAX);
	rc = read_names(w, fd, path, &arena, &names);
	if (rc == 0 && names.count > 0) {
		entries = mem_alloc_array(names.count, sizeof(*entries));
		rc = entries == NULL ? UV_ENOMEM :
				       walk_entries(w, fd, path, depth, &arena, &names, entries,
						    &count, &size);
	}
	if (rc == 0) {
		w->counts.directories++;
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
	int rc;

	w->window = mem_alloc(WINDOW_BYTES);
	if (w->window == NULL)
		return UV_ENOMEM;
	private_own_load(&w->own, w->data_folder);
	arena_init(&arena, DIRECTORY_ARENA_MAX);
	rc = walk_named(w, AT_FDCWD, path, path, 0, 1, &arena, &top);
	if (rc == 0) {
		w->root = top.target.hash;
		w->root_kind = top.kind == ENTRY_DIRECTORY ? OBJECT_TREE : OBJECT_FILE;
		w->root_mode = top.mode;
	}
	arena_fini(&arena);
	w->window = mem_free(w->window);
	return rc;
}
