/* Small files of the data folder: created whole or not at all. Blocking; before the loop runs, or
 * for files of a few bytes. */
#pragma once

#include "base/buf.h"

/** mkdir -p with mode 0700 for what is created. 0 or libuv's code. */
int disk_make_dir(const char *path);
/** Replaces dir/name atomically; what is there after a crash is the old file or the new one. 0 or
 * libuv's code. */
int disk_write(const char *dir, const char *name, const void *data, size_t len, mode_t mode);
/** Appends the content of dir/name, a regular file of at most `max` bytes: ERR_LIMIT beyond,
 * ERR_UNSUPPORTED for another kind of file (a symlink included). ret_mode and ret_uid may be NULL.
 */
int disk_read(const char *dir, const char *name, size_t max, struct buf *out, mode_t *ret_mode,
	      uid_t *ret_uid);
/** The same of a file anywhere that may hold a secret: UV_EPERM when others may read or change it.
 */
int disk_read_secret(const char *path, size_t max, struct buf *out);
/** Removes dir/name; that it is not there is fine. */
void disk_remove(const char *dir, const char *name);
/** dir/name in fresh memory (mem_free), NULL when out of memory. */
char *disk_path(const char *dir, const char *name) MUST_USE;
