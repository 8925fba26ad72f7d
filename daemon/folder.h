/* Folders of an object's versions, read from their trees, and whether what is on the disk is what
 * one of them says. */
#pragma once

#include <sys/stat.h>

#include "daemon/extract.h"

enum { FOLDER_BYTES_MAX = 1 << 30 };

/* Its entries, ascending by name, over all parts of the tree. */
struct folder {
	struct hash tree;
	struct entry *entries;
	size_t count;
	/* private */
	size_t cap;
	struct arena arena;
};
/** Reads it. What extract_blob returns; ERR_MALFORMED, ERR_LIMIT for bad trees. The caller's
 * folder_free also after a failure. */
int folder_read(struct extract *x, const struct hash *tree, const char *path,
		struct folder **ret) MUST_USE;
void folder_free(struct folder *f);
/** The entry of that name, or NULL. */
const struct entry *folder_find(const struct folder *f, const char *name);

/* A file on the disk, open to be compared with several entries. */
struct compared {
	struct extract *x;
	const char *path; /* for messages */
	int dir;
	const char *name;
	struct stat st;
	int fd;		/* -1 = not opened yet */
	uint64_t bytes; /* read so far */
};
/** Whether its content (of a symlink: its text) is what the entry says; the mode does not matter.
 * 1, 0, or a negative code: libuv's when the disk cannot be read, extract_blob's otherwise, with
 * *ret_disk saying which. */
int compared_with(struct compared *c, const struct entry *e, bool *ret_disk) MUST_USE;
void compared_fini(struct compared *c);
