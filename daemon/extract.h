/* From blobs to new files on disk. Everything in a tree comes from strangers: nothing is written
 * outside the folder given.
 *
 * Every name is checked, every file and folder is made anew relative to an open folder (O_EXCL,
 * O_NOFOLLOW), so that a link on disk or in the tree is never followed; links themselves are made
 * as they are, after the folder's files. Mode bits beyond 0777 and those of the mask are dropped.
 * Every blob is checked against its hash before it is used. */
#pragma once

#include "object/object.h"

enum {
	EXTRACT_WHY_MAX = 1024,
	EXTRACT_ENTRIES_MAX =
		4000000, /* in all: a small tree may name the same subtree again and again */
	EXTRACT_PREFETCH_MAX = 128,
	EXTRACT_FLUSH_MAX = 16 /* files and folders that are flushed one by one */
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
	mode_t mask; /* of umask(2): bits that nothing gets */
	/** What messages put before every path, "" for the present folder; lives as long. NULL:
	 * paths are told as they are inside the object. */
	const char *above;
	/* Results */
	uint64_t files, directories, symlinks, bytes, blobs;
	uint64_t unflushed;	   /* files and folders that are not on the disk yet: syncfs(2) */
	char why[EXTRACT_WHY_MAX]; /* what failed, where, and why */
	/* private */
	uint64_t entries, flushed;
};

/** Makes `name` in the open folder `parent`: a file, a link, or a folder with everything in it,
 * `depth` folders below the top (which is 1). It must not exist (UV_EEXIST). A folder is left with
 * all bits of its owner beside its own, so that it can be moved: set its mode then. `path` is for
 * messages.
 * 0; ERR_VERIFY, ERR_MALFORMED, ERR_LIMIT for bad trees; UV_ECANCELED; libuv's codes; the source's.
 * What was made is left for the caller to remove. */
int extract_entry(struct extract *x, int parent, const char *name, const char *path,
		  const struct entry *e, unsigned depth) MUST_USE;
/** The content of a file to an open descriptor. */
int extract_content(struct extract *x, int fd, const char *path, const struct entry *e) MUST_USE;
/** What the file blob of an object that is one file says, as an entry without a name. */
int extract_top(struct extract *x, const struct hash *file, struct entry *ret) MUST_USE;

/** A blob, checked against its hash (mem_free). */
int extract_blob(struct extract *x, const struct hash *hash, const char *path, uint8_t **ret,
		 size_t *ret_len) MUST_USE;
/** Says that what these begin with will be asked for soon. */
void extract_prefetch(struct extract *x, const struct entry *entries, size_t count);
/** Keeps the story, unless there is one; returns rc. */
int extract_fail(struct extract *x, const char *path, const char *what, int rc);
