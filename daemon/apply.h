/* Carrying out a plan. First everything new is made, checked and flushed to the disk aside; then
 * name by name it is moved to its place. Whoever looks at a name sees the old or the new, never a
 * half, and what is interrupted is finished by planning again.
 *
 * Nothing is replaced or removed that is not what was planned for: it is looked at once more just
 * before, and what an exchange has brought out just after. */
#pragma once

#include "daemon/plan.h"
#include "daemon/staging.h"

struct failure {
	const char *path;
	const char *what; /* "cannot remove it" */
	int rc;
};

struct apply {
	struct plan *plan;
	int base; /* the folder that was planned */
	struct staging staging;
	bool is_plain; /* no flags of renameat2(2), as on some file systems */
	/** Asked between two changes; true ends it. May be NULL. */
	bool (*cancelled)(void);
	/* Results */
	uint64_t done;	  /* changes */
	uint64_t removed; /* files, links and folders that no longer belong */
	struct failure *failures;
	size_t failure_count;
	/* private */
	size_t failures_cap;
	int fd; /* of the folder that the last change was in; -1 = none */
	const char *at;
	size_t at_len;
	bool is_dirty;
	uint64_t flushed, unflushed;
	struct loosened *loosened;
	size_t loosened_count, loosened_cap;
};
void apply_init(struct apply *a, struct plan *plan, int base);
/** Makes everything that is to be placed, in a folder inside `where`. Nothing else has changed when
 * this fails. extract_entry's codes, with the story in x->why. */
int apply_prepare(struct apply *a, int where) MUST_USE;
/** Moves and removes. Goes on after a failure. 0, UV_ECANCELED, or the code of the first failure;
 * `done` says how far it came. What turned out to have changed is kept (plan_keep). */
int apply_run(struct apply *a) MUST_USE;
/** Removes what is left aside, and gives folders their modes back. 0, or the code of a failure,
 * which is added. Always call it. */
int apply_close(struct apply *a) MUST_USE;
/** Frees the list of failures. The folder has been closed, the plan still lives. */
void apply_fini(struct apply *a);
