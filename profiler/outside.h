/* All threads of another process, from outside: for one that cannot answer any more. Private to
 * profiler/; never linked into the program that is looked at. */
#pragma once

#include "profiler/dump.h"

enum { OUTSIDE_THREADS_MAX = 8192, OUTSIDE_STOP_MS = 2000 };

/** Stop all threads, walk their stacks, let them go on; some milliseconds for a few dozen. A thread
 * that does not stop within OUTSIDE_STOP_MS is shown by what /proc tells. Ids count threads from 1,
 *  oldest first.
 *  0, UV_ESRCH: no such process, UV_EPERM: may not be traced, or is being traced, UV_ENOMEM */
int outside_dump(pid_t pid, struct dump *ret);
/** Where the function begins that holds an address seen by the last dump; 0 when unknown. */
uintptr_t outside_function_start(uintptr_t pc);
