/* What belongs to peerscope itself: data folders with their secret keys and databases. It is never
 * published, under whatever name, link or mount it is met.
 *
 * A data folder is known by what lies in it, so that those of other daemons are recognized too; the
 * one in use also by the identity of its files, which a bind mount or a hard link does not change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

enum { PRIVATE_FILES_MAX = 16 };

/* The data folder in use: nothing when it does not exist yet. */
struct private_own {
	struct {
		dev_t dev;
		ino_t ino;
	} files[PRIVATE_FILES_MAX];
	size_t count;
};
/** `data` may be NULL. Never fails: what cannot be looked at is known by its content alone. */
void private_own_load(struct private_own *own, const char *data);
/** Is this file or folder part of the data folder in use? */
bool private_is_own(const struct private_own *own, const struct stat *st);
/** Is this open folder the data folder of any daemon? A negative error when that cannot be told. */
int private_folder(int fd);
/** Is this open regular file a secret key, or a daemon's database? 1, 0, or a negative error. */
int private_file(int fd);
