/* What lies below an open folder, and nothing else.
 *
 * No path leads out of the folder: not by "..", not through a symlink, not onto another mount (a
 * bind mount of the same file system included). openat2(2) does this where the kernel has it; the
 * same by hand where it has not. Whatever peerscope reads to compare, replaces, chmods or removes
 * in folders of a user is reached by this door. */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

enum { BENEATH_DEPTH_MAX = 512, BENEATH_WHY_MAX = 512 };

/** Opens `path` ("" = the folder itself) below `dir`; O_CLOEXEC and O_NOFOLLOW are added. A
 * descriptor, UV_EXDEV (another mount), UV_ELOOP (a symlink), or libuv's codes. */
int beneath_open(int dir, const char *path, int flags) MUST_USE;
/** The same, always without openat2. */
int beneath_open_by_hand(int dir, const char *path, int flags) MUST_USE;

/** Permission bits of a file or folder; ERR_UNSUPPORTED for anything else, a symlink included. */
int beneath_chmod(int dir, const char *name, mode_t mode) MUST_USE;

struct beneath_removal {
	uint64_t removed, left;
	char why[BENEATH_WHY_MAX]; /* what was left, and why: the first one */
};
/** Removes a file, a link or a folder with everything in it. Devices, sockets, pipes and what lies
 * on other mounts stay, and so do the folders above them; the rest goes nevertheless. Adds to *r.
 * 0 when all is gone, that it never was there included; otherwise the code of the first that
 * stayed. */
int beneath_remove(int dir, const char *name, struct beneath_removal *r) MUST_USE;
