/* Exit codes of the one program: each has one meaning, listed in README.md and in `peerscope help`.
 */
#pragma once

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2, /* arguments, environment or configuration file */
	EXIT_UNREACHABLE =
		3, /* verbs: no daemon answers; daemon: another one holds the data folder */
	EXIT_PARTIAL = 4,
	EXIT_NOT_FOUND = 5,
	EXIT_TIMEOUT = 6,
	EXIT_BUSY = 7,
	EXIT_CONFLICT = 8, /* several heads: the user has to choose */
	EXIT_DISK_FULL = 9,
	EXIT_DENIED = 10,  /* read-only folder, missing permission */
	EXIT_PEER = 11,	   /* a peer cannot be reached */
	EXIT_DAMAGED = 12, /* bytes do not match their hash or their format */
	EXIT_CANCELLED = 130
};

/** The exit code for the outcome of an operation: 0 or an error code of base/err.h. */
int exit_of(int status);
/** What a code means, for the help text. Static; NULL when unused. */
const char *exit_text(int code);
