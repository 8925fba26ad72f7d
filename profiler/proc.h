/* What /proc tells of a thread. Private to profiler/. */
#pragma once

#include "profiler/dump.h"
#include "profiler/modules.h"

/** Fills name, run state, system call and, if it waits for what may be a mutex, that one's owner.
 * ret_sp and ret_pc: where it entered the system call; 0 when it is in none, or is not to be known.
 */
void proc_look(pid_t pid, struct dumped_thread *t, uintptr_t *ret_sp, uintptr_t *ret_pc);
/** Fills the CPU time used and when it started, to a tick. For threads of another process. */
void proc_times(pid_t pid, struct dumped_thread *t);
/** Does the thread block the signal? False when that is not to be known. */
bool proc_blocks_signal(pid_t pid, pid_t tid, int signo);
/** Add the executable mappings of another process. 0, UV_ESRCH, UV_EPERM, UV_ENOMEM. */
int proc_modules(pid_t pid, struct modules *ret);
/** Its name; "" when it is gone. */
void proc_thread_name(pid_t tid, char ret[THREAD_NAME_SIZE]);
