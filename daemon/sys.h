/* What a person who helps from afar asks first: the machine, the limits, the program. Works without
 * a daemon; the names of kubo's `ipfs diag sys` are kept where they fit. */
#pragma once

#include <jansson.h>

#include "base/base.h"

/** Everything, as one JSON object; what cannot be read here is left out. Reads /proc and asks the
 * file system of `data` (may be NULL), which may take its time: not for the loop. Addresses of
 * interfaces are shown by their kind only ("private", "public"), unless `with_addresses`. `pid`: of
 * the daemon whose limits and descriptors are meant. The caller's; NULL when out of memory. */
json_t *sys_facts(const char *data, int pid, bool with_addresses);
/** Version, build id, compiler, flags and libraries of this program. */
json_t *sys_build(void);
/** The build id of this program as hex; "" when there is none. */
enum { SYS_BUILD_ID_SIZE = 65 };
void sys_build_id(char ret[SYS_BUILD_ID_SIZE]);

/* Single facts, for the doctor. False: not known. */
bool sys_disk(const char *path, uint64_t *ret_free_bytes, uint64_t *ret_free_inodes);
/** Let this process have so many open, or as many as its hard limit allows; never fewer. */
void sys_raise_descriptors(uint64_t want);
bool sys_descriptors(int pid, uint64_t *ret_used, uint64_t *ret_limit);
/** Memory the process may use: the smaller of its cgroup's and its own limit; 0 = no limit. */
bool sys_memory(int pid, uint64_t *ret_used_bytes, uint64_t *ret_limit_bytes);
uint64_t sys_memory_available(void);
/** The kernel says that nothing keeps the clock right. */
bool sys_clock_unsynced(void);
