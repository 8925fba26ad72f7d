#include "daemon/plan_steps.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

static const struct {
	const char *word, *text;
} whys[] = {
	[KEPT_EDITED] = { "edited", "it differs from the versions whose content is here" },
	[KEPT_FOREIGN] = { "foreign", "it is not part of the object" },
	[KEPT_SPECIAL] = { "special", "it is a device, socket or pipe" },
	[KEPT_MOUNT] = { "mount", "it lies on another mount" },
	[KEPT_UNREADABLE] = { "unreadable", "it cannot be read, and so not be compared" },
	[KEPT_IN_THE_WAY] = { "in_the_way",
			      "it is in the place of something of another kind, and holds what "
			      "no version has" },
	[KEPT_MODE] = { "mode", "its mode is none that it was published with" },
	[KEPT_PRIVATE] = { "private", "it holds keys or data of peerscope itself" },
	[KEPT_NOT_EMPTY] = { "not_empty", "something in it stayed" },
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

int plan_add(struct plan *p, const struct spot *at, enum change_kind kind, struct change **ret)
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

int plan_place(struct plan *p, const struct spot *at, const struct entry *now, bool replace)
{
	struct change *c;
	int rc = plan_add(p, at, CHANGE_PLACE, &c);

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

int plan_aside(struct plan *p, const struct spot *at, const struct entry *now)
{
	struct change *c;
	int rc = plan_add(p, at, CHANGE_ASIDE, &c);

	if (rc < 0)
		return rc;
	c->is_named = true;
	c->to = aside_name(p, at->name);
	return c->to != NULL ? plan_place(p, at, now, false) : UV_ENOMEM;
}

int plan_drop(struct plan *p, const struct spot *at, enum change_kind kind, bool is_named)
{
	struct change *c;
	int rc = plan_add(p, at, kind, &c);

	if (rc == 0)
		c->is_named = is_named;
	return rc;
}
