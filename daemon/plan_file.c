#include "daemon/plan_steps.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/beneath.h"

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

int plan_mode(struct plan *p, const struct spot *at, const struct plan_versions *v)
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
		return plan_place(p, at, v->now, true);
	rc = plan_add(p, at, CHANGE_MODE, &c);
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

int plan_forget_story(struct plan *p, int rc)
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
			rc = plan_forget_story(p, rc);
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

/* A key or a database is nobody's leftovers. What cannot be looked into may be one. */
static bool is_private(const struct plan *p, const struct spot *at)
{
	int fd, rc;

	if (private_is_own(&p->own, &at->st))
		return true;
	if (!S_ISREG(at->st.st_mode))
		return false;
	fd = beneath_open(at->dir, at->name, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return true;
	rc = private_file(fd);
	close(fd);
	return rc != 0;
}

static int plan_unwanted(struct plan *p, const struct spot *at, const struct plan_versions *v,
			 enum content content)
{
	if (content == CONTENT_OLD)
		return plan_drop(p, at, CHANGE_REMOVE, false);
	if (content == CONTENT_MOUNT)
		return plan_keep(p, at->path, KEPT_MOUNT);
	if (p->delete &&!is_private(p, at))
		return plan_drop(p, at, CHANGE_REMOVE, true);
	if (p->delete)
		return plan_keep(p, at->path, KEPT_PRIVATE);
	if (content == CONTENT_UNREADABLE)
		return plan_keep(p, at->path, KEPT_UNREADABLE);
	return plan_keep(p, at->path, v->count > 0 ? KEPT_EDITED : KEPT_FOREIGN);
}

int plan_file(struct plan *p, const struct spot *at, const struct plan_versions *v)
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
	case CONTENT_OLD: return plan_place(p, at, v->now, true);
	case CONTENT_MOUNT: return plan_keep(p, at->path, KEPT_MOUNT);
	case CONTENT_OTHER:
	case CONTENT_UNREADABLE: break;
	}
	if (p->force)
		return is_private(p, at) ? plan_keep(p, at->path, KEPT_PRIVATE) :
					   plan_aside(p, at, v->now);
	return plan_keep(p, at->path,
			 content == CONTENT_UNREADABLE ? KEPT_UNREADABLE : KEPT_EDITED);
}
