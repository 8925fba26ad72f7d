/* Everything that helps somebody else find out what is wrong, in one zip file.
 *
 * The same code runs in two places: in the command line, which asks the daemon for each part and
 * can do without it when it hangs or is not there, and on a thread of the daemon for /debug/bundle.
 * Either way each part is asked for over the control socket with a time limit of its own, a part
 * that fails costs only itself, and what became of each is in MANIFEST.json. Documents, keys and
 * tokens are never part of it; names are replaced by codes (daemon/bundle_hide.h) unless wanted. */
#pragma once

#include "base/buf.h"
#include "daemon/bundle_zip.h"

enum {
	BUNDLE_SECONDS_DEFAULT = 30,
	BUNDLE_SECONDS_MAX = 300,
	BUNDLE_PARTS_MAX = 48,
	BUNDLE_PART_BYTES_MAX = 24 << 20, /* in memory; two at once */
	BUNDLE_BYTES_MAX = 64 << 20,	  /* of the file: what does not fit is left out */
	BUNDLE_PART_MS = 10000,		  /* on top of the seconds */
	BUNDLE_NAME_SIZE = 64
};

struct bundle_progress {
	unsigned step, steps;
	const char *name; /* of the part that begins */
};

struct bundle_config {
	const char *data;   /* the data folder: whose daemon */
	int pid;	    /* of the daemon; 0 = there is none */
	bool offline;	    /* it does not answer: only what can be had from outside */
	unsigned seconds;   /* of profiles over time; 0 = without them */
	bool raw;	    /* names instead of codes */
	bool binary;	    /* with the program itself, last */
	uint64_t bytes_max; /* of the file; 0 = BUNDLE_BYTES_MAX */
	bool no_fork;	    /* this is the daemon: start no other program */
	bundle_write_fn write;
	/** Before each part. May be NULL. */
	void (*progress)(void *user, const struct bundle_progress *p);
	/** Asked often: the parts that are left out, then the file is ended. May be NULL. */
	bool (*cancelled)(void *user);
	void *user;
};

struct bundle_result {
	unsigned parts, failed, skipped;
	bool cancelled;
	uint64_t bytes; /* of the file */
};

/** Collect and write. Blocks: seconds and more. 0, also when parts failed or did not fit;
 * UV_ENOMEM, or what `write` returned. */
int bundle_run(const struct bundle_config *c, struct bundle_result *ret);
/** Stacks of another process by peerscope-stacks, appended. ERR_NOT_FOUND: it is not installed. */
int bundle_stacks(int pid, struct buf *out, char *ret_why, size_t why_size);
/** "peerscope-bundle-20261121T060000Z.zip". */
void bundle_name(char ret[BUNDLE_NAME_SIZE]);
/** What is in a bundle and what is not, for people. Static. */
const char *bundle_notice(void);
/** Name and source of each part, one per line. */
void bundle_list(struct buf *out);
