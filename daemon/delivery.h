/* The version of an object that `get` was asked for, written to its place: made anew, or by changing
 * only what differs in what is there. */
#pragma once

#include "daemon/cli.h"
#include "daemon/extract.h"

struct delivery {
	struct cli *cli;
	const struct extract_source *source;
	void *data;
	const struct commit *commit;
	const struct hash *head;
	const char *given; /* the IRI as typed */
	const char *target;
	void (*on_text)(void *data); /* something will be printed: clear the line of progress */
	void (*on_json)(void *data, json_t *answer); /* the answer's other members */
};

/** Before anything is looked for: can this target be written to at all? 0, or an exit code after a
 * message. */
int delivery_check(const char *target) MUST_USE;
/** Writes, and says what was done. Exit code. *ret_whole: all of the version is there now, whatever
 * else is; otherwise somebody's work stands in place of some of it. */
int delivery_run(const struct delivery *d, bool *ret_whole) MUST_USE;
/** The content of an object that is one file, to stdout. Exit code. */
int delivery_to_stdout(const struct delivery *d) MUST_USE;
