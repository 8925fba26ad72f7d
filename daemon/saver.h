/* One file of the data folder that is written again and again while the loop runs: by a worker,
 * whole or not at all, one writing at a time. What comes while one is under way replaces what
 * waits. */
#pragma once

#include "base/buf.h"
#include "base/runner.h"

struct saver {
	uint64_t written, failed;
	int last_status;
	/* private */
	struct runner *runner;
	const char *dir, *name;
	struct runner_job job;
	struct buf now, next;
	bool running, has_next;
	int status; /* of the job */
	void (*closed)(void *data);
	void *closed_data;
	struct runner_task closed_task;
};
/** Borrows all three until it is closed. */
void saver_init(struct saver *s, struct runner *r, const char *dir, const char *name, size_t max);
/** Copies. What cannot be written is counted. Not after saver_close. */
void saver_write(struct saver *s, const void *data, size_t len);
/** Everything is written, then `closed` comes from the loop. */
void saver_close(struct saver *s, void (*closed)(void *data), void *data);
void saver_fini(struct saver *s);
