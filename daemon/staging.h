/* Where new files are made before they are moved to their places: a folder of mode 0700 with a
 * name of its own, on the same file system. The names in it are numbers, so that no name of an
 * object is too long for it.
 *
 * Its maker holds a lock on the file `lock` in it. One that nobody holds was left by a process that
 * was killed, or by a power cut: whoever comes near sweeps it. Nothing is swept but a folder with
 * such a name, of this user, that has such a file in it or is empty. */
#pragma once

#include "daemon/beneath.h"

#define STAGING_PREFIX ".peerscope-get-"

enum { STAGING_NAME_SIZE = 32, STAGING_ITEM_SIZE = 24 };

struct staging {
	int parent; /* borrowed; -1 = not open */
	int fd;
	/* private */
	int lock;
	char name[STAGING_NAME_SIZE];
};

/** Makes one in `parent` (borrowed until closed). 0 or libuv's code. */
int staging_open(struct staging *s, int parent) MUST_USE;
/** Removes it with everything that is still in it. 0, or the code of what stayed (see *r). Nothing
 * happens to one that is not open. */
int staging_close(struct staging *s, struct beneath_removal *r);
/** Name of its n-th item. */
void staging_item(uint64_t n, char ret[STAGING_ITEM_SIZE]);

enum staging_found {
	STAGING_NOT,	/* something else: leave it alone */
	STAGING_IN_USE, /* of a process that runs */
	STAGING_SWEPT,	/* it was left behind, and is gone */
	STAGING_STAYED	/* it was left behind, and could not be removed */
};
/** Looks at one entry of a folder, and removes it if it was left behind. */
enum staging_found staging_sweep_one(int dir, const char *name, struct beneath_removal *r);
/** The same for all entries of a folder. */
void staging_sweep(int dir, struct beneath_removal *r);
