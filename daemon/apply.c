#include "daemon/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/beneath.h"

enum { ASIDE_TRIES_MAX = 99, FLUSH_FOLDERS_MAX = 16, PREFETCH_STEP = 64 };

/* A folder whose owner may not write into it: made writable for a while. */
struct loosened {
	const char *path;
	mode_t mode;
};

void apply_init(struct apply *a, struct plan *plan, int base)
{
	*a = (struct apply){ .plan = plan, .base = base, .staging = { .parent = -1 }, .fd = -1 };
}

static int failed(struct apply *a, const char *path, const char *what, int rc)
{
	struct failure *grown = a->failures;
	char *copy = arena_strndup(&a->plan->arena, path, strlen(path));

	if (a->failure_count == a->failures_cap) {
		size_t cap = MAX(a->failures_cap * 2, (size_t)16);

		grown = mem_realloc(a->failures, cap * sizeof(*grown));
		if (grown != NULL)
			a->failures_cap = cap;
	}
	if (grown == NULL || copy == NULL)
		return UV_ENOMEM;
	a->failures = grown;
	a->failures[a->failure_count++] = (struct failure){ copy, what, rc };
	return rc;
}

/* ---- Where a change is ---- */

/* Some file systems cannot flush a folder: then there is nothing to wait for. */
static void flush_folder(struct apply *a)
{
	CLEANUP(mem_freep) char *path = NULL;
	int rc;

	if (a->flushed >= FLUSH_FOLDERS_MAX) {
		a->unflushed++;
		return;
	}
	a->flushed++;
	rc = fsync(a->fd) < 0 ? -errno : 0;
	if (rc == 0 || rc == UV_EINVAL || rc == UV_ENOTSUP)
		return;
	path = mem_strndup(a->at, a->at_len);
	(void)failed(a, path != NULL ? path : "", "cannot write its names to the disk", rc);
}

static void leave(struct apply *a)
{
	if (a->fd < 0)
		return;
	if (a->is_dirty)
		flush_folder(a);
	close(a->fd);
	a->fd = -1;
	a->is_dirty = false;
}

/* The open folder that `path` is in, and its name there. */
static int enter(struct apply *a, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash != NULL ? (size_t)(slash - path) : 0;
	CLEANUP(mem_freep) char *above = NULL;

	*ret_name = slash != NULL ? slash + 1 : path;
	if (a->fd >= 0 && a->at_len == len && memcmp(a->at, path, len) == 0)
		return 0;
	leave(a);
	above = mem_strndup(path, len);
	if (above == NULL)
		return UV_ENOMEM;
	a->fd = beneath_open(a->base, above, O_RDONLY | O_DIRECTORY);
	a->at = path;
	a->at_len = len;
	return MIN(a->fd, 0);
}

/* A folder that its owner may not write to is made writable for as long as we are here. */
static bool loosen_folder(struct apply *a, int fd, const char *at, size_t at_len, int rc)
{
	struct loosened *grown = a->loosened;
	struct stat st;
	char *path;

	if (rc != UV_EACCES || fstat(fd, &st) < 0 || (st.st_mode & 0300) == 0300)
		return false;
	if (a->loosened_count == a->loosened_cap) {
		size_t cap = MAX(a->loosened_cap * 2, (size_t)16);

		grown = mem_realloc(a->loosened, cap * sizeof(*grown));
		if (grown == NULL)
			return false;
		a->loosened = grown;
		a->loosened_cap = cap;
	}
	path = arena_strndup(&a->plan->arena, at, at_len);
	if (path == NULL || fchmod(fd, (st.st_mode & 07777) | 0700) < 0)
		return false;
	a->loosened[a->loosened_count++] = (struct loosened){ path, st.st_mode & 07777 };
	return true;
}

static bool loosen(struct apply *a, int rc)
{
	return loosen_folder(a, a->fd, a->at, a->at_len, rc);
}

static int set_mode(struct apply *a, const char *path, mode_t mode)
{
	if (path[0] == '\0')
		return fchmod(a->base, mode) < 0 ? -errno : 0;
	return beneath_chmod(a->base, path, mode);
}

/* Unless a mode of its own was set since. */
static void tighten(struct apply *a)
{
	for (size_t i = a->loosened_count; i-- > 0;) {
		const struct loosened *l = &a->loosened[i];
		int fd = beneath_open(a->base, l->path, O_PATH), rc;
		struct stat st;

		if (fd < 0)
			continue; /* removed since */
		rc = fstat(fd, &st) < 0 || (st.st_mode & 07777) != (l->mode | 0700) ?
			     0 :
			     set_mode(a, l->path, l->mode);
		close(fd);
		if (rc < 0)
			(void)failed(a, l->path, "cannot give it its mode back", rc);
	}
}

/* ---- Making ---- */

static void prefetch(struct apply *a, size_t from)
{
	struct entry ahead[PREFETCH_STEP];
	size_t n = 0;

	for (size_t i = from; i < a->plan->count && n < PREFETCH_STEP; i++)
		if (a->plan->changes[i].kind == CHANGE_PLACE)
			ahead[n++] = a->plan->changes[i].entry;
	extract_prefetch(a->plan->x, ahead, n);
}

static int make(struct apply *a, struct change *c)
{
	CLEANUP(mem_freep) char *path = mem_printf("/%s", c->path);
	char item[STAGING_ITEM_SIZE];

	staging_item(c->item, item);
	return path != NULL ?
		       extract_entry(a->plan->x, a->staging.fd, item, path, &c->entry, c->depth) :
		       UV_ENOMEM;
}

static int flush(struct apply *a)
{
	struct extract *x = a->plan->x;

	if (x->unflushed > 0 && syncfs(a->staging.fd) < 0)
		return extract_fail(x, "", "cannot write to the disk", -errno);
	return 0;
}

static int open_staging(struct apply *a, int where)
{
	int rc = staging_open(&a->staging, where);

	if (where == a->base && loosen_folder(a, where, "", 0, rc))
		rc = staging_open(&a->staging, where);
	return rc;
}

int apply_prepare(struct apply *a, int where)
{
	struct extract *x = a->plan->x;
	uint64_t items = 0;
	int rc = 0;

	for (size_t i = 0; i < a->plan->count && rc == 0; i++) {
		struct change *c = &a->plan->changes[i];

		if (c->kind != CHANGE_PLACE)
			continue;
		if (items == 0 && (rc = open_staging(a, where)) < 0)
			return extract_fail(x, "", "cannot make a folder for new files", rc);
		if (items % PREFETCH_STEP == 0)
			prefetch(a, i);
		c->item = items++;
		rc = make(a, c);
	}
	return rc == 0 && items > 0 ? flush(a) : rc;
}

/* ---- Changing ---- */

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The time of the inode changes with a rename, and with what happens to its other names. */
static bool is_same(const struct stat *a, const struct stat *b, bool is_moved)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT) &&
	       (S_ISDIR(a->st_mode) ||
		(a->st_size == b->st_size && same_time(&a->st_mtim, &b->st_mtim) &&
		 (is_moved || b->st_nlink > 1 || same_time(&a->st_ctim, &b->st_ctim))));
}

/* 1 = it is what was planned for, 0 = it is something else now (kept). */
static int look_again(struct apply *a, const char *name, const struct change *c)
{
	struct stat st;

	if (fstatat(a->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_same(&st, &c->was, false))
		return 1;
	return MIN(plan_keep(a->plan, c->path, KEPT_CHANGED), 0);
}

static int rename_with(struct apply *a, const char *item, const char *name, unsigned flags)
{
	if (a->is_plain)
		return UV_EINVAL;
	return renameat2(a->staging.fd, item, a->fd, name, flags) < 0 ? -errno : 0;
}

/* Without flags: what is there was looked at a moment ago. */
static int move_plainly(struct apply *a, const char *item, const char *name, const struct change *c)
{
	struct stat st;

	if (!c->was_there && fstatat(a->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return UV_EEXIST;
	if (c->was_there && c->entry.kind == ENTRY_DIRECTORY && unlinkat(a->fd, name, 0) < 0)
		return -errno;
	return renameat(a->staging.fd, item, a->fd, name) < 0 ? -errno : 0;
}

static int move_in(struct apply *a, const char *name, const struct change *c)
{
	char item[STAGING_ITEM_SIZE];
	struct stat out;
	int rc;

	staging_item(c->item, item);
	rc = rename_with(a, item, name, c->was_there ? RENAME_EXCHANGE : RENAME_NOREPLACE);
	if (rc == UV_EINVAL || rc == UV_ENOSYS || rc == UV_ENOTSUP)
		return move_plainly(a, item, name, c);
	if (rc < 0 || !c->was_there)
		return rc;
	if (fstatat(a->staging.fd, item, &out, AT_SYMLINK_NOFOLLOW) == 0 &&
	    is_same(&out, &c->was, true))
		return 0;
	/* Somebody was faster: back with it. */
	rc = rename_with(a, item, name, RENAME_EXCHANGE);
	return rc < 0 ? rc : UV_EEXIST;
}

static int put_in_place(struct apply *a, const char *name, const struct change *c)
{
	int rc = move_in(a, name, c);

	if (loosen(a, rc))
		rc = move_in(a, name, c);
	if (rc == UV_EEXIST)
		return plan_keep(a->plan, c->path, KEPT_CHANGED);
	if (rc < 0)
		return failed(a, c->path, "cannot move the new one to its place", rc);
	a->is_dirty = true;
	if (c->entry.kind == ENTRY_DIRECTORY && c->mode != (c->mode | 0700)) {
		rc = beneath_chmod(a->fd, name, c->mode);
		if (rc < 0)
			return failed(a, c->path, "cannot set its mode", rc);
	}
	return 0;
}

static int move_aside(struct apply *a, const char *name, struct change *c)
{
	const char *to = c->to;
	int rc = UV_EEXIST;

	for (int i = 2; i <= ASIDE_TRIES_MAX && rc == UV_EEXIST; i++) {
		struct stat st;

		rc = renameat2(a->fd, name, a->fd, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
		if (loosen(a, rc))
			rc = renameat2(a->fd, name, a->fd, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
		if ((rc == UV_EINVAL || rc == UV_ENOSYS) &&
		    fstatat(a->fd, to, &st, AT_SYMLINK_NOFOLLOW) < 0)
			rc = renameat(a->fd, name, a->fd, to) < 0 ? -errno : 0;
		if (rc == UV_EEXIST)
			to = arena_printf(&a->plan->arena, "%s-%d", c->to, i);
		if (to == NULL)
			return UV_ENOMEM;
	}
	if (rc < 0)
		return failed(a, c->path, "cannot move it aside", rc);
	c->to = to;
	a->is_dirty = true;
	return 0;
}

static int take_away(struct apply *a, const char *name, const struct change *c)
{
	int flags = c->kind == CHANGE_REMOVE_FOLDER ? AT_REMOVEDIR : 0;
	int rc = unlinkat(a->fd, name, flags) < 0 ? -errno : 0;

	if (loosen(a, rc))
		rc = unlinkat(a->fd, name, flags) < 0 ? -errno : 0;
	if (rc == UV_ENOTEMPTY || rc == UV_EEXIST)
		return plan_keep(a->plan, c->path, KEPT_NOT_EMPTY);
	if (rc < 0)
		return failed(a, c->path, "cannot remove it", rc);
	a->removed++;
	a->is_dirty = true;
	return 0;
}

static int close_staging(struct apply *a)
{
	struct beneath_removal r = { 0 };
	int rc = staging_close(&a->staging, &r);

	return rc < 0 ? failed(a, r.why, "cannot remove what was needed in between", rc) : 0;
}

static int change_mode(struct apply *a, const struct change *c)
{
	int rc;

	/* The last change of all. After it nothing may be removable any more. */
	if (c->path[0] == '\0' && (rc = close_staging(a)) < 0)
		return rc;
	rc = set_mode(a, c->path, c->mode);

	return rc < 0 ? failed(a, c->path, "cannot set its mode", rc) : 0;
}

static int change(struct apply *a, struct change *c)
{
	const char *name;
	size_t kept = a->plan->kept_count;
	int rc;

	if (c->kind == CHANGE_MODE) {
		rc = change_mode(a, c);
	} else {
		rc = enter(a, c->path, &name);
		if (rc < 0)
			return failed(a, c->path, "cannot open the folder that it is in", rc);
		if (c->was_there && (rc = look_again(a, name, c)) <= 0)
			return rc;
		switch (c->kind) {
		case CHANGE_PLACE: rc = put_in_place(a, name, c); break;
		case CHANGE_ASIDE: rc = move_aside(a, name, c); break;
		case CHANGE_REMOVE:
		case CHANGE_REMOVE_FOLDER: rc = take_away(a, name, c); break;
		case CHANGE_MODE: break;
		}
	}
	c->is_done = rc == 0 && a->plan->kept_count == kept;
	a->done += c->is_done;
	return rc;
}

/* What was to be moved aside for it is still there, and has been said. */
static bool is_blocked(const struct apply *a, size_t i)
{
	const struct change *c = &a->plan->changes[i], *before = i > 0 ? c - 1 : NULL;

	return c->kind == CHANGE_PLACE && before != NULL && before->kind == CHANGE_ASIDE &&
	       !before->is_done && strcmp(before->path, c->path) == 0;
}

int apply_run(struct apply *a)
{
	int first = 0, rc;

	for (size_t i = 0; i < a->plan->count; i++) {
		if (a->cancelled != NULL && a->cancelled()) {
			first = UV_ECANCELED;
			break;
		}
		rc = is_blocked(a, i) ? 0 : change(a, &a->plan->changes[i]);
		first = first == 0 ? rc : first;
	}
	leave(a);
	if (a->unflushed > 0 && syncfs(a->base) < 0)
		rc = failed(a, "", "cannot write to the disk", -errno);
	else
		rc = a->failure_count > 0 ? a->failures[0].rc : 0;
	return first == 0 ? rc : first;
}

int apply_close(struct apply *a)
{
	int rc = close_staging(a);

	tighten(a);
	return rc < 0 || a->failure_count == 0 ? rc : a->failures[0].rc;
}

void apply_fini(struct apply *a)
{
	leave(a);
	mem_free(a->loosened);
	mem_free(a->failures);
}
