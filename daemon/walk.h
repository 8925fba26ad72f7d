/* From a file or folder on disk to blobs: read with the user's own rights, chunked, hashed, listed
 * in trees.
 *
 * Symlinks are kept as links, never followed (but for the path itself). Devices, sockets and pipes
 * are left out with a warning. */
#pragma once

#include "object/object.h"

enum { WALK_WHY_MAX = 2048 };

struct walk;
struct walk_events {
	/** Every blob, what it links to first. 0 or an error that ends the walk. */
	int (*on_blob)(void *data, enum object_kind kind, const struct hash *hash, const void *blob,
		       size_t len);
	void (*on_skipped)(void *data, const char *path, const char *why);
	void (*on_progress)(void *data, const struct walk *w); /* may be NULL */
};
struct walk {
	bool skip_unreadable;
	const struct walk_events *events;
	void *data;
	/* Results */
	struct hash root;
	enum object_kind root_kind;
	uint64_t bytes, blobs, files, directories, symlinks, skipped, unreadable;
	char why[WALK_WHY_MAX]; /* what failed, by name */
	/* private */
	uint8_t *window;
};
/** The caller has set the first three, the rest is zero. 0; libuv's code with `why`; what on_blob
 * returned. */
int walk_run(struct walk *w, const char *path);
