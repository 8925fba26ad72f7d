/* From blobs to files on disk. Everything in a tree comes from strangers: nothing is written
 * outside the folder given.
 *
 * Every name is checked, every file and folder is made anew relative to an open folder (O_EXCL,
 * O_NOFOLLOW), so that a link on disk or in the tree is never followed; links themselves are made
 * as they are, after the folder's files. Mode bits beyond 0777 are dropped. Every blob is checked
 * against its hash before it is used. */
#pragma once

#include "object/object.h"

enum {
	EXTRACT_WHY_MAX = 1024,
	EXTRACT_ENTRIES_MAX =
		4000000, /* in all: a small tree may name the same subtree again and again */
	EXTRACT_PREFETCH_MAX = 128
};

struct extract_source {
	/** The bytes of a blob (mem_free), not yet checked. Negative: ends the work, with `why` set
	 * by the source or empty. */
	int (*blob)(void *data, const struct hash *hash, uint8_t **ret, size_t *ret_len);
	/** These will be asked for soon, in this order. May be NULL. */
	void (*prefetch)(void *data, const struct hash *hashes, size_t count);
	/** After every chunk; false cancels. May be NULL. */
	bool (*progress)(void *data, uint64_t bytes, uint64_t files);
};

struct extract {
	const struct extract_source *source;
	void *data;
	/* Results */
	uint64_t files, directories, symlinks, bytes, blobs;
	char why[EXTRACT_WHY_MAX]; /* what failed, by path inside the object */
	/* private */
	uint64_t entries;
};

/** Makes the folder `name` in the open folder `parent` and fills it. It must not exist (UV_EEXIST).
 * 0; ERR_VERIFY, ERR_MALFORMED, ERR_LIMIT for bad trees; UV_ECANCELED; libuv's codes; the source's.
 * What was made is left for the caller to remove. */
int extract_tree(struct extract *x, int parent, const char *name, const struct hash *tree,
		 uint32_t mode);
/** The same for an object that is one file. */
int extract_file(struct extract *x, int parent, const char *name, const struct hash *file);

/** Removes a file or a folder with everything in it; follows no link. 0, that it is not there
 * included. */
int extract_remove(int parent, const char *name);
