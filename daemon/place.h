/* Where something is to be written: a name in an open folder. */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

struct place {
	int parent; /* -1 = none */
	char name[NAME_MAX + 1];
	bool is_there;
	struct stat st; /* of what is there; a link itself */
};
/** Opens the folder that `target` is in and looks at what is there. UV_EINVAL, UV_ENAMETOOLONG,
 * UV_ENOENT and UV_ENOTDIR mean that the target cannot be meant; ERR_UNSUPPORTED that a device,
 * socket or pipe is there; or libuv's code; each with its story. */
int place_open(struct place *p, const char *target, char *ret_why, size_t why_size) MUST_USE;
/** Always call it. */
void place_close(struct place *p);
