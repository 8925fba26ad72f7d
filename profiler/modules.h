/* The executable segments of what is loaded. Private to profiler/; never in a signal handler. */
#pragma once

#include "base/base.h"

enum { MODULES_MAX = 512, MODULE_PATH_MAX = 512, BUILD_ID_HEX_MAX = 65 };

/* One executable segment. */
struct module {
	uintptr_t start, limit; /* page aligned */
	uint64_t offset;	/* in the file, of start */
	uintptr_t bias;		/* address - bias = address in the file's own numbering */
	char path[MODULE_PATH_MAX];
	char build_id[BUILD_ID_HEX_MAX]; /* lower-case hex, "" when there is none */
	bool is_vdso;
};

struct modules {
	struct module *list; /* the program first */
	unsigned count;
};

/** Add what is loaded now; segments that overlap a listed one are left out. UV_ENOMEM, with what
 * was listed before still there. */
int modules_add(struct modules *m);
void modules_fini(struct modules *m);
/** The segment that holds pc, NULL when there is none. */
const struct module *modules_find(const struct modules *m, uintptr_t pc);
/** What to subtract from its addresses where a file names them. The program's are written as its
 * file numbers them, since readers look there for sources and instructions; the libraries' as they
 * are in memory, or they would lie upon each other. */
uintptr_t module_written_bias(const struct modules *m, const struct module *module);
/** The address in memory of one that was written so, or that is one in memory; 0 = neither. */
uintptr_t modules_from_written(const struct modules *m, uintptr_t pc);
/** File name without folders; "[vdso]". */
const char *module_basename(const struct module *m);

/** Changes whenever a module is loaded or unloaded. */
uint64_t modules_epoch(void);
