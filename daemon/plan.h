/* What has to be done so that what is on the disk becomes a version of an object. Only reads.
 *
 * Everything on the disk is compared with the version that is wanted and with those that came
 * before. What equals one of them may be replaced or removed: it is in the store, or was. What
 * equals none is somebody's work, and is kept, unless the caller says otherwise:
 *
 *   on the disk          wanted        not wanted any more   never part of the object
 *   equal to a version   replace       remove                -
 *   differs from all     keep / aside  keep / delete         keep / delete
 *
 * Devices, sockets, pipes, other mounts, and keys and data folders of peerscope are kept whatever
 * the caller says. */
#pragma once

#include "daemon/folder.h"
#include "daemon/private.h"

enum {
	PLAN_VERSIONS_MAX = 64, /* older versions that are compared, the newest first */
	PLAN_VERSION_BYTES_MAX =
		256 << 20, /* of their trees at any moment; beyond it, fewer are compared */
	PLAN_ARENA_MAX = 1 << 30,
	PLAN_ITEMS_MAX = EXTRACT_ENTRIES_MAX
};

/* One name in all versions. */
struct plan_versions {
	const struct entry *now; /* NULL: the version that is wanted does not have it */
	const struct entry *olds[PLAN_VERSIONS_MAX];
	size_t count;
};

enum change_kind {
	CHANGE_PLACE,	      /* make `entry` and move it in, in place of `was` if that was there */
	CHANGE_ASIDE,	      /* move it to the name `to` */
	CHANGE_REMOVE,	      /* a file or link */
	CHANGE_REMOVE_FOLDER, /* an empty one */
	CHANGE_MODE
};

struct change {
	enum change_kind kind;
	const char *path; /* below the folder that was planned; "" is that folder */
	bool was_there;
	struct stat was;
	struct entry entry; /* its texts live as long as the plan */
	mode_t mode;	    /* after all; of CHANGE_PLACE: of a folder */
	unsigned depth;
	const char *to;
	bool is_named; /* somebody's work: say so */
	uint64_t item; /* of whoever carries it out */
	bool is_done;
};

enum kept_why {
	KEPT_EDITED,
	KEPT_FOREIGN,
	KEPT_SPECIAL,
	KEPT_MOUNT,
	KEPT_UNREADABLE,
	KEPT_IN_THE_WAY,
	KEPT_MODE,
	KEPT_PRIVATE,
	KEPT_NOT_EMPTY,
	KEPT_CHANGED
};
struct kept {
	const char *path;
	enum kept_why why;
};
const char *kept_word(enum kept_why why); /* "edited", for JSON */
const char *kept_text(enum kept_why why);

struct plan {
	struct extract *x;
	bool force;		/* what differs is moved aside */
	bool delete;		/* what is not part of the version is removed */
	struct private_own own; /* the data folder in use */
	const char *suffix;	/* of names of what is moved aside */
	/* Results */
	struct change *changes;
	size_t count;
	struct kept *kept;
	size_t kept_count;
	uint64_t files, directories, symlinks, bytes; /* that are as they shall be already */
	uint64_t known;	       /* files and links on the disk where some version has one */
	uint64_t equal;	       /* of them, that are what a version says */
	uint64_t unknown;      /* files and links on the disk that no version has */
	uint64_t not_compared; /* folders of older versions that were too many or too large */
	/* private */
	struct arena arena;
	size_t changes_cap, kept_cap;
	size_t old_bytes;
	uint64_t compared_bytes;
};
void plan_init(struct plan *p, struct extract *x);
void plan_fini(struct plan *p);

/** What becomes of `name` in the open folder `dir`, whatever is there or not. 0; extract_blob's
 * codes, libuv's with the story in x->why. */
int plan_entry(struct plan *p, int dir, const char *name, const struct plan_versions *v) MUST_USE;
/** The same for a folder that is open, whose name does not matter; v->now is a folder's entry. */
int plan_folder(struct plan *p, int dir, const struct plan_versions *v) MUST_USE;

/** Moves all that is there aside, whatever it is, and places v->now. */
int plan_replace(struct plan *p, int dir, const char *name, const struct plan_versions *v) MUST_USE;

/** Another one that is kept; the text is copied. */
int plan_keep(struct plan *p, const char *path, enum kept_why why);
