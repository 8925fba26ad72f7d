/* Something new under a name, all at once: it is made beside its place under a temporary name and
 * moved in at the end, so that whoever looks sees the old or the new, never a half. */
#pragma once

#include "base/base.h"

struct place {
	int parent; /* the open folder that the target is in; -1 = none */
	char name[256];
	char temporary[256]; /* make this one in `parent` */
};
/** ERR: UV_EEXIST when the target is there and may not be replaced; libuv's codes, with text. */
int place_begin(struct place *p, const char *target, bool replace, char *ret_why,
		size_t why_size) MUST_USE;
/** Moves it in. UV_EEXIST when the target appeared meanwhile and may not be replaced. What was
 * there before is removed. */
int place_commit(struct place *p, bool replace) MUST_USE;
/** Removes what was made, unless committed. Always call it. */
void place_end(struct place *p);
