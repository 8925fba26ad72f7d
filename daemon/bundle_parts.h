/* What a bundle consists of. Private to daemon/bundle*.c. */
#pragma once

#include "daemon/bundle.h"
#include "daemon/bundle_hide.h"

struct bundle_run {
	const struct bundle_config *config;
	struct bundle_hide hide;
	_Atomic bool silent; /* the daemon let a time limit pass: it is not asked again */
};

enum {
	BUNDLE_TEXT = 1,     /* names are replaced by codes */
	BUNDLE_WINDOW = 2,   /* ?seconds=N: all at once, beside each other */
	BUNDLE_MAY_LACK = 4, /* an empty answer, or none, is no failure */
	BUNDLE_OFFLINE = 8,  /* only when the daemon does not answer */
	BUNDLE_EXTRA = 16    /* a longer time limit: another program works it out */
};

struct bundle_part {
	const char *name;
	const char *path; /* asked of the daemon; NULL: made here */
	/** Appends the content. 0, an error with the story in ret_why, or ERR_NOT_FOUND: there is
	 * none here. */
	int (*make)(const struct bundle_run *run, struct buf *out, char *ret_why, size_t why_size);
	unsigned flags;
};

/** In the order in which they are collected; ends with name NULL. */
extern const struct bundle_part bundle_parts[];
