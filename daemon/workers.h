/* The worker threads, all there before anything depends on them. */
#pragma once

#include "daemon/daemon.h"

/** Starts libuv's pool, which otherwise comes with the first job, and ends the process when it then
 * cannot. An exit code after a logged error. Before other threads, which take address space. */
int workers_start(struct daemon *d);
