/* Inside of planning, for plan.c, plan_file.c and plan_steps.c. */
#pragma once

#include "daemon/plan.h"

/* Where the walk is. */
struct spot {
	int dir;
	const char *name;
	const char *path; /* below the folder that is planned */
	unsigned depth;
	struct stat st;
};

/** One more step; `at` says where, and what is there. UV_ENOMEM when it cannot be written down. */
int plan_add(struct plan *p, const struct spot *at, enum change_kind kind, struct change **ret);
/** `now` is made, in place of what is there if `replace`. */
int plan_place(struct plan *p, const struct spot *at, const struct entry *now, bool replace);
/** What is there is moved aside, then `now` is made. */
int plan_aside(struct plan *p, const struct spot *at, const struct entry *now);
int plan_drop(struct plan *p, const struct spot *at, enum change_kind kind, bool is_named);

/** What becomes of a file or link. */
int plan_file(struct plan *p, const struct spot *at, const struct plan_versions *v);
/** What becomes of the mode of a file or folder that is in the version. */
int plan_mode(struct plan *p, const struct spot *at, const struct plan_versions *v);
/** An older version that is not here, or is damaged, is not known: 0, its story forgotten. Other
 * codes stay. */
int plan_forget_story(struct plan *p, int rc);
