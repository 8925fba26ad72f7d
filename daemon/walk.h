/* From a file or folder on disk to blobs: read with the user's own rights, chunked, hashed, listed
 * in trees.
 *
 * Symlinks are kept as links, never followed (but for the path itself). Devices, sockets and pipes
 * are left out with a warning; so are data folders of peerscope and its key files (private.h), and
 * files that vanish, or change each time they are read. */
#pragma once

#include "daemon/private.h"
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
struct walk_counts {
	uint64_t bytes, blobs, files, directories, symlinks;
	uint64_t skipped;    /* neither file, folder nor symlink */
	uint64_t unreadable; /* left out although they are files, folders or symlinks */
};
struct walk {
	bool skip_unreadable;	 /* leave out what cannot be read, or what a tree cannot hold */
	const char *data_folder; /* the one in use; may be NULL */
	const struct walk_events *events;
	void *data;
	/* Results */
	struct hash root;
	enum object_kind root_kind;
	uint32_t root_mode; /* its permission bits */
	struct walk_counts counts;
	char why[WALK_WHY_MAX]; /* what failed, by name */
	/* private */
	char reason[128];
	struct private_own own;
	uint8_t *window;
};
/** The caller has set the first four, the rest is zero. 0; libuv's code, ERR_PRIVATE, ERR_CHANGED,
 * ERR_LIMIT, ERR_MALFORMED or ERR_UNSUPPORTED with `why`; what on_blob returned. */
int walk_run(struct walk *w, const char *path);
