#include "daemon/plan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/beneath.h"
#include "daemon/plan_steps.h"
#include "daemon/staging.h"

/* A folder in all versions. */
struct level {
	struct folder *now;
	struct folder *olds[PLAN_VERSIONS_MAX];
	size_t count;
};

/* ---- Folders ---- */

static bool has_tree(const struct level *l, const struct hash *tree)
{
	if (l->now != NULL && hash_eq(&l->now->tree, tree))
		return true;
	for (size_t i = 0; i < l->count; i++)
		if (hash_eq(&l->olds[i]->tree, tree))
			return true;
	return false;
}

/* What an older version has here, if its tree is here and there is room for it. */
static int read_old(struct plan *p, struct level *l, const struct hash *tree, const char *path)
{
	struct folder *f = NULL;
	int rc;

	if (has_tree(l, tree))
		return 0;
	if (p->old_bytes > PLAN_VERSION_BYTES_MAX) {
		p->not_compared++;
		return 0;
	}
	rc = folder_read(p->x, tree, path, &f);
	if (rc < 0) {
		folder_free(f);
		return plan_forget_story(p, rc);
	}
	l->olds[l->count++] = f;
	p->old_bytes += f->arena.used_bytes;
	return 0;
}

static void leave_level(struct plan *p, struct level *l)
{
	folder_free(l->now);
	for (size_t i = 0; i < l->count; i++) {
		p->old_bytes -= l->olds[i]->arena.used_bytes;
		folder_free(l->olds[i]);
	}
}

static int enter_level(struct plan *p, struct level *l, const struct plan_versions *v,
		       const char *path)
{
	int rc = 0;

	if (v->now != NULL && v->now->kind == ENTRY_DIRECTORY)
		rc = folder_read(p->x, &v->now->target.hash, path, &l->now);
	for (size_t i = 0; i < v->count && rc == 0; i++)
		if (v->olds[i]->kind == ENTRY_DIRECTORY)
			rc = read_old(p, l, &v->olds[i]->target.hash, path);
	return rc;
}

/* Their folders will be asked for next. */
static void prefetch_trees(struct plan *p, const struct folder *f)
{
	struct hash ahead[EXTRACT_PREFETCH_MAX];
	size_t n = 0;

	for (size_t i = 0; i < f->count && n < EXTRACT_PREFETCH_MAX; i++)
		if (f->entries[i].kind == ENTRY_DIRECTORY)
			ahead[n++] = f->entries[i].target.hash;
	if (n > 1 && p->x->source->prefetch != NULL)
		p->x->source->prefetch(p->x->data, ahead, n);
}

static void look_up(const struct level *l, const char *name, struct plan_versions *ret)
{
	*ret = (struct plan_versions){ 0 };
	ret->now = l->now != NULL ? folder_find(l->now, name) : NULL;
	for (size_t i = 0; i < l->count; i++) {
		const struct entry *e = folder_find(l->olds[i], name);

		if (e != NULL)
			ret->olds[ret->count++] = e;
	}
}

static int plan_name(struct plan *p, int dir, const char *above, const char *name,
		     const struct plan_versions *v, unsigned depth);

static int plan_wanted(struct plan *p, int dir, const char *path, const struct level *l,
		       unsigned depth)
{
	int rc = 0;

	prefetch_trees(p, l->now);
	for (size_t i = 0; i < l->now->count && rc == 0; i++) {
		struct plan_versions v;

		look_up(l, l->now->entries[i].name, &v);
		rc = plan_name(p, dir, path, l->now->entries[i].name, &v, depth);
	}
	return rc;
}

/* What is on the disk and not wanted. */
static int plan_rest(struct plan *p, int dir, const char *path, const struct level *l,
		     unsigned depth)
{
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = own >= 0 ? fdopendir(own) : NULL;
	struct dirent *e;

	if (d == NULL && own >= 0)
		close(own);
	if (d == NULL)
		return extract_fail(p->x, path, "cannot read the folder",
				    own < 0 ? -errno : UV_ENOMEM);
	while (rc == 0 && (errno = 0, e = readdir(d)) != NULL) {
		struct plan_versions v;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		look_up(l, e->d_name, &v);
		if (v.now == NULL)
			rc = plan_name(p, dir, path, e->d_name, &v, depth);
	}
	if (rc == 0 && errno != 0)
		rc = extract_fail(p->x, path, "cannot read the folder", -errno);
	closedir(d);
	return rc;
}

static int plan_level(struct plan *p, int dir, const char *path, const struct plan_versions *v,
		      unsigned depth)
{
	struct level *l = mem_alloc(sizeof(*l));
	int rc = UV_ENOMEM;

	if (l == NULL)
		return rc;
	if (depth > BENEATH_DEPTH_MAX)
		rc = extract_fail(p->x, path, "is nested too deeply", ERR_LIMIT);
	else
		rc = enter_level(p, l, v, path);
	if (rc == 0 && l->now != NULL)
		rc = plan_wanted(p, dir, path, l, depth);
	if (rc == 0)
		rc = plan_rest(p, dir, path, l, depth);
	leave_level(p, l);
	mem_free(l);
	return rc;
}

static bool was_folder(const struct plan_versions *v)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->olds[i]->kind == ENTRY_DIRECTORY)
			return true;
	return false;
}

/* Among what was kept since: something that is not even moved. */
static bool holds_untouchable(const struct plan *p, size_t since)
{
	for (size_t i = since; i < p->kept_count; i++)
		if (p->kept[i].why == KEPT_PRIVATE || p->kept[i].why == KEPT_MOUNT ||
		    p->kept[i].why == KEPT_SPECIAL)
			return true;
	return false;
}

/* A folder that shall not be one: what versions know in it goes, and then itself. */
static int plan_old_folder(struct plan *p, int fd, const struct spot *at,
			   const struct plan_versions *v)
{
	size_t changes = p->count, kept = p->kept_count;
	bool known = was_folder(v), kept_whole = false;
	int rc;

	if (!known && !p->delete) {
		p->unknown++;
		kept_whole = true;
		rc = plan_keep(p, at->path, KEPT_FOREIGN);
	} else {
		rc = plan_level(p, fd, at->path, v, at->depth + 1);
	}
	if (rc == 0 && p->kept_count == kept)
		rc = plan_drop(p, at, CHANGE_REMOVE_FOLDER, !known);
	if (rc < 0 || v->now == NULL)
		return rc;
	if (p->kept_count == kept)
		return plan_place(p, at, v->now, false);
	/* As a whole, instead of what was planned for its inside. */
	if (p->force && !holds_untouchable(p, kept)) {
		p->count = changes;
		p->kept_count = kept;
		return plan_aside(p, at, v->now);
	}
	if (kept_whole)
		p->kept_count = kept;
	return plan_keep(p, at->path, KEPT_IN_THE_WAY);
}

static int plan_directory(struct plan *p, const struct spot *at, const struct plan_versions *v)
{
	int fd = beneath_open(at->dir, at->name, O_RDONLY | O_DIRECTORY), rc;

	if (fd < 0)
		return plan_keep(p, at->path,
				 fd == UV_EXDEV	 ? KEPT_MOUNT :
				 fd == UV_EACCES ? KEPT_UNREADABLE :
						   KEPT_CHANGED);
	if (private_is_own(&p->own, &at->st) || private_folder(fd) != 0) {
		rc = plan_keep(p, at->path, KEPT_PRIVATE);
	} else if (v->now != NULL && v->now->kind == ENTRY_DIRECTORY) {
		rc = plan_level(p, fd, at->path, v, at->depth + 1);
		p->directories++;
		if (rc == 0)
			rc = plan_mode(p, at, v);
	} else {
		rc = plan_old_folder(p, fd, at, v);
	}
	close(fd);
	return rc;
}

static int plan_spot(struct plan *p, struct spot *at, const struct plan_versions *v)
{
	struct beneath_removal swept = { 0 };

	if (fstatat(at->dir, at->name, &at->st, AT_SYMLINK_NOFOLLOW) < 0) {
		at->st = (struct stat){ 0 };
		if (errno != ENOENT)
			return extract_fail(p->x, at->path, "cannot look at it", -errno);
		return v->now != NULL ? plan_place(p, at, v->now, false) : 0;
	}
	if (S_ISDIR(at->st.st_mode) && v->now == NULL &&
	    staging_sweep_one(at->dir, at->name, &swept) != STAGING_NOT)
		return 0;
	if (S_ISREG(at->st.st_mode) || S_ISLNK(at->st.st_mode))
		return plan_file(p, at, v);
	if (S_ISDIR(at->st.st_mode))
		return plan_directory(p, at, v);
	p->unknown++;
	return plan_keep(p, at->path, KEPT_SPECIAL);
}

static int plan_name(struct plan *p, int dir, const char *above, const char *name,
		     const struct plan_versions *v, unsigned depth)
{
	CLEANUP(mem_freep)
	char *path = mem_printf("%s%s%s", above, above[0] != '\0' ? "/" : "", name);
	struct spot at = { .dir = dir, .name = name, .path = path, .depth = depth };

	return path != NULL ? plan_spot(p, &at, v) : UV_ENOMEM;
}

int plan_entry(struct plan *p, int dir, const char *name, const struct plan_versions *v)
{
	return plan_name(p, dir, "", name, v, 1);
}

int plan_folder(struct plan *p, int dir, const struct plan_versions *v)
{
	struct spot at = { .dir = dir, .name = "", .path = "", .depth = 1 };
	int rc;

	REQUIRE(v->now != NULL && v->now->kind == ENTRY_DIRECTORY);
	if (fstat(dir, &at.st) < 0)
		return extract_fail(p->x, "", "cannot look at the folder", -errno);
	rc = plan_level(p, dir, "", v, 2);
	p->directories++;
	return rc == 0 ? plan_mode(p, &at, v) : rc;
}

int plan_replace(struct plan *p, int dir, const char *name, const struct plan_versions *v)
{
	struct spot at = { .dir = dir, .name = name, .path = name, .depth = 1 };
	bool is_own;
	int fd;

	if (fstatat(dir, name, &at.st, AT_SYMLINK_NOFOLLOW) < 0)
		return extract_fail(p->x, name, "cannot look at it", -errno);
	fd = beneath_open(dir, name, O_RDONLY | O_DIRECTORY);
	is_own = private_is_own(&p->own, &at.st) || (fd >= 0 && private_folder(fd) != 0);
	if (fd >= 0)
		close(fd);
	return is_own ? plan_keep(p, name, KEPT_PRIVATE) : plan_aside(p, &at, v->now);
}
