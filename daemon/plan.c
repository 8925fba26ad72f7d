#include "daemon/plan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/beneath.h"
#include "daemon/staging.h"

/* A folder in all versions. */
struct level {
	struct folder *now;
	struct folder *olds[PLAN_VERSIONS_MAX];
	size_t count;
};

/* Where the walk is. */
struct spot {
	int dir;
	const char *name;
	const char *path; /* below the folder that is planned */
	unsigned depth;
	struct stat st;
};

static const struct {
	const char *word, *text;
} whys[] = {
	[KEPT_EDITED] = { "edited", "it differs from every version that is here" },
	[KEPT_FOREIGN] = { "foreign", "it is not part of the object" },
	[KEPT_SPECIAL] = { "special", "it is a device, socket or pipe" },
	[KEPT_MOUNT] = { "mount", "it lies on another mount" },
	[KEPT_UNREADABLE] = { "unreadable", "it cannot be read, and so not be compared" },
	[KEPT_IN_THE_WAY] = { "in_the_way",
			      "it is in the place of something of another kind, and holds what "
			      "no version has" },
	[KEPT_MODE] = { "mode", "its mode is none that it was published with" },
	[KEPT_CHANGED] = { "changed", "it changed while `get` was at work" },
};

const char *kept_word(enum kept_why why)
{
	return whys[why].word;
}

const char *kept_text(enum kept_why why)
{
	return whys[why].text;
}

void plan_init(struct plan *p, struct extract *x)
{
	*p = (struct plan){ .x = x, .suffix = "" };
	arena_init(&p->arena, PLAN_ARENA_MAX);
}

void plan_fini(struct plan *p)
{
	mem_free(p->changes);
	mem_free(p->kept);
	arena_fini(&p->arena);
}

/* ---- Writing the plan ---- */

static void *room(void *list, size_t count, size_t *cap, size_t size)
{
	size_t more = MAX(*cap * 2, (size_t)64);
	void *grown = list;

	if (count < *cap)
		return list;
	if (count < PLAN_ITEMS_MAX && (grown = mem_realloc(list, more * size)) != NULL)
		*cap = more;
	return count < PLAN_ITEMS_MAX ? grown : NULL;
}

int plan_keep(struct plan *p, const char *path, enum kept_why why)
{
	struct kept *kept = room(p->kept, p->kept_count, &p->kept_cap, sizeof(*p->kept));
	char *copy = arena_strndup(&p->arena, path, strlen(path));

	if (kept != NULL)
		p->kept = kept;
	if (kept == NULL || copy == NULL)
		return UV_ENOMEM;
	p->kept[p->kept_count++] = (struct kept){ .path = copy, .why = why };
	return 0;
}

static int add(struct plan *p, const struct spot *at, enum change_kind kind, struct change **ret)
{
	struct change *changes = room(p->changes, p->count, &p->changes_cap, sizeof(*changes));
	char *copy = arena_strndup(&p->arena, at->path, strlen(at->path));

	if (changes != NULL)
		p->changes = changes;
	if (changes == NULL || copy == NULL)
		return UV_ENOMEM;
	*ret = &p->changes[p->count++];
	**ret = (struct change){ .kind = kind,
				 .path = copy,
				 .was = at->st,
				 .was_there = at->st.st_nlink > 0,
				 .depth = at->depth };
	return 0;
}

/* The folder that the entry comes from is gone when the plan is carried out. */
static int copy_entry(struct plan *p, const struct entry *e, struct entry *ret)
{
	*ret = *e;
	ret->name = NULL;
	ret->name_len = 0;
	if (e->symlink_len > 0)
		ret->symlink = arena_strndup(&p->arena, e->symlink, e->symlink_len);
	if (e->chunk_count > 0)
		ret->chunks = arena_dup(&p->arena, e->chunks, e->chunk_count * sizeof(*e->chunks));
	return (e->symlink_len > 0 && ret->symlink == NULL) ||
			       (e->chunk_count > 0 && ret->chunks == NULL) ?
		       UV_ENOMEM :
		       0;
}

static int place(struct plan *p, const struct spot *at, const struct entry *now, bool replace)
{
	struct change *c;
	int rc = add(p, at, CHANGE_PLACE, &c);

	if (rc < 0)
		return rc;
	c->was_there = replace;
	c->mode = now->mode & 0777 & ~p->x->mask;
	return copy_entry(p, now, &c->entry);
}

/* "name.replaced-<time>", of a name that leaves room for it, cut between two characters. */
static const char *aside_name(struct plan *p, const char *name)
{
	size_t len = strlen(name), most = OBJECT_NAME_MAX - strlen(p->suffix) - 4;

	if (len > most) {
		len = most;
		while (len > 1 && ((unsigned char)name[len] & 0xc0) == 0x80)
			len--;
	}
	return arena_printf(&p->arena, "%.*s%s", (int)len, name, p->suffix);
}

static int aside(struct plan *p, const struct spot *at, const struct entry *now)
{
	struct change *c;
	int rc = add(p, at, CHANGE_ASIDE, &c);

	if (rc < 0)
		return rc;
	c->is_named = true;
	c->to = aside_name(p, at->name);
	return c->to != NULL ? place(p, at, now, false) : UV_ENOMEM;
}

static int drop(struct plan *p, const struct spot *at, enum change_kind kind, bool is_named)
{
	struct change *c;
	int rc = add(p, at, kind, &c);

	if (rc == 0)
		c->is_named = is_named;
	return rc;
}

/* ---- Modes ---- */

/* Equal, or narrowed by another umask or by its owner, whose own bits are as they were. */
static bool is_narrowed(mode_t disk, mode_t published)
{
	return (disk & 0700) == (published & 0700) && (disk & ~published & 0777) == 0;
}

enum mode_verdict { MODE_FINE, MODE_SET, MODE_THEIRS };

static enum mode_verdict judge_mode(const struct plan *p, mode_t disk, const struct entry *now,
				    const struct entry *const *olds, size_t count)
{
	mode_t want = now->mode & 0777 & ~p->x->mask;
	mode_t open = now->kind == ENTRY_DIRECTORY ? 0700 : 0; /* left by an interrupted `get` */
	bool was_narrowed = false;

	disk &= 0777;
	if (disk == want)
		return MODE_FINE;
	if (disk == (want | open))
		return MODE_SET;
	for (size_t i = 0; i < count; i++) {
		mode_t old = olds[i]->mode & 0777;

		if (olds[i]->kind != now->kind || old == (now->mode & 0777))
			continue;
		if (disk == (old & ~p->x->mask) || disk == ((old & ~p->x->mask) | open))
			return MODE_SET;
		was_narrowed |= is_narrowed(disk, old);
	}
	if (is_narrowed(disk, now->mode))
		return MODE_FINE;
	return was_narrowed ? MODE_SET : MODE_THEIRS;
}

static int plan_mode(struct plan *p, const struct spot *at, const struct plan_versions *v)
{
	enum mode_verdict verdict = judge_mode(p, at->st.st_mode, v->now, v->olds, v->count);
	struct change *c;
	int rc;

	if (verdict == MODE_FINE)
		return 0;
	if (verdict == MODE_THEIRS && !p->force)
		return plan_keep(p, at->path, KEPT_MODE);
	/* Another name of the same file, wherever it is, keeps its mode. */
	if (S_ISREG(at->st.st_mode) && at->st.st_nlink > 1)
		return place(p, at, v->now, true);
	rc = add(p, at, CHANGE_MODE, &c);
	if (rc < 0)
		return rc;
	c->is_named = verdict == MODE_THEIRS;
	c->mode = v->now->mode & 0777 & ~p->x->mask;
	if (S_ISDIR(at->st.st_mode))
		c->mode |= at->st.st_mode & 07000; /* inherited from the folder above */
	return 0;
}

/* ---- Files and links ---- */

static bool same_content(const struct entry *a, const struct entry *b)
{
	if (a->kind != b->kind || a->size != b->size || a->has_target != b->has_target ||
	    a->chunk_count != b->chunk_count || a->symlink_len != b->symlink_len)
		return false;
	if (a->has_target && !hash_eq(&a->target.hash, &b->target.hash))
		return false;
	for (size_t i = 0; i < a->chunk_count; i++)
		if (!hash_eq(&a->chunks[i].hash, &b->chunks[i].hash))
			return false;
	return a->symlink_len == 0 || memcmp(a->symlink, b->symlink, a->symlink_len) == 0;
}

enum content { CONTENT_NOW, CONTENT_OLD, CONTENT_OTHER, CONTENT_UNREADABLE, CONTENT_MOUNT };

/* Trees and lists of chunks of older versions that are not here, or are damaged: then that version
 * is not known. */
static bool is_unknown(int rc)
{
	return rc == ERR_NOT_FOUND || rc == ERR_MISSING || rc == ERR_MALFORMED || rc == ERR_LIMIT ||
	       rc == ERR_VERIFY || rc == ERR_TRUNCATED;
}

static int forget_story(struct plan *p, int rc)
{
	if (!is_unknown(rc))
		return rc;
	p->x->why[0] = '\0';
	return 0;
}

static int compare(struct plan *p, struct compared *c, const struct plan_versions *v,
		   enum content *ret)
{
	const struct entry *last = NULL;
	bool disk = false;
	int rc = 0;

	*ret = CONTENT_OTHER;
	if (v->now != NULL && (rc = compared_with(c, v->now, &disk)) == 1)
		*ret = CONTENT_NOW;
	for (size_t i = 0; i < v->count && rc == 0; i++) {
		const struct entry *old = v->olds[i];

		if ((v->now != NULL && same_content(old, v->now)) ||
		    (last != NULL && same_content(old, last)))
			continue;
		last = old;
		rc = compared_with(c, old, &disk);
		if (rc == 1)
			*ret = CONTENT_OLD;
		else if (rc < 0 && !disk)
			rc = forget_story(p, rc);
	}
	if (rc < 0 && disk && rc != UV_ENOMEM) {
		*ret = rc == UV_EXDEV ? CONTENT_MOUNT : CONTENT_UNREADABLE;
		return 0;
	}
	return MIN(rc, 0);
}

static void count_unchanged(struct plan *p, const struct entry *e)
{
	p->files += e->kind == ENTRY_FILE;
	p->symlinks += e->kind == ENTRY_SYMLINK;
	p->bytes += e->kind == ENTRY_FILE ? e->size : 0;
}

static int plan_unwanted(struct plan *p, const struct spot *at, const struct plan_versions *v,
			 enum content content)
{
	if (content == CONTENT_OLD)
		return drop(p, at, CHANGE_REMOVE, false);
	if (content == CONTENT_MOUNT)
		return plan_keep(p, at->path, KEPT_MOUNT);
	if (p->delete)
		return drop(p, at, CHANGE_REMOVE, true);
	if (content == CONTENT_UNREADABLE)
		return plan_keep(p, at->path, KEPT_UNREADABLE);
	return plan_keep(p, at->path, v->count > 0 ? KEPT_EDITED : KEPT_FOREIGN);
}

static int plan_file(struct plan *p, const struct spot *at, const struct plan_versions *v)
{
	struct compared c = { .x = p->x,
			      .path = at->path,
			      .dir = at->dir,
			      .name = at->name,
			      .st = at->st,
			      .fd = -1 };
	enum content content = CONTENT_OTHER;
	int rc = 0;

	if (v->now != NULL || v->count > 0) {
		p->known++;
		rc = compare(p, &c, v, &content);
	} else {
		p->unknown++;
	}
	compared_fini(&c);
	p->compared_bytes += c.bytes;
	if (rc < 0)
		return rc;
	p->equal += content == CONTENT_NOW || content == CONTENT_OLD;
	if (v->now == NULL)
		return plan_unwanted(p, at, v, content);
	switch (content) {
	case CONTENT_NOW:
		count_unchanged(p, v->now);
		return S_ISREG(at->st.st_mode) ? plan_mode(p, at, v) : 0;
	case CONTENT_OLD: return place(p, at, v->now, true);
	case CONTENT_MOUNT: return plan_keep(p, at->path, KEPT_MOUNT);
	case CONTENT_OTHER:
	case CONTENT_UNREADABLE: break;
	}
	if (p->force)
		return aside(p, at, v->now);
	return plan_keep(p, at->path,
			 content == CONTENT_UNREADABLE ? KEPT_UNREADABLE : KEPT_EDITED);
}

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
		return forget_story(p, rc);
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
		rc = drop(p, at, CHANGE_REMOVE_FOLDER, !known);
	if (rc < 0 || v->now == NULL)
		return rc;
	if (p->kept_count == kept)
		return place(p, at, v->now, false);
	if (p->force) { /* as a whole, instead of what was planned for its inside */
		p->count = changes;
		p->kept_count = kept;
		return aside(p, at, v->now);
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
	if (v->now != NULL && v->now->kind == ENTRY_DIRECTORY) {
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
		return v->now != NULL ? place(p, at, v->now, false) : 0;
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

	if (fstatat(dir, name, &at.st, AT_SYMLINK_NOFOLLOW) < 0)
		return extract_fail(p->x, name, "cannot look at it", -errno);
	return aside(p, &at, v->now);
}
