/* One daemon per data folder: a flock on DIR/lock, taken before anything else and held until the
 * process ends, however it ends. The file's content only names the holder for the message; it
 * decides nothing. */
#pragma once

#include "base/base.h"

struct lock {
	int fd; /* -1 = not held */
};

/** ERR_LOCKED when another process holds it: ret_why then names its pid, when it started and what
 * to do. Other failures: libuv's codes, with text in ret_why. */
int lock_take(struct lock *l, const char *dir, char *ret_why, size_t why_size) MUST_USE;
/** Harmless when not held. The file stays: removing it would let two daemons hold two different
 * files. */
void lock_release(struct lock *l);
/** Pid of the daemon that holds the lock of this folder; 0 when nobody does. Takes no lock itself,
 * so that a daemon that starts just now is not kept from it. */
int lock_holder(const char *dir);
