/* From addresses to functions, files and lines. Private to profiler/; on worker threads only.
 *
 * DWARF by libdw, in a process of its own, then the symbol table, then the start of the function's
 * unwind entry, so that code without any name is still grouped by function. Static functions of one
 * name are told apart by their files. Separate debug files are found by build id
 * under /usr/lib/debug; the network is never asked. What was found is kept across sessions. */
#pragma once

#include <sys/types.h>

#include "profiler/modules.h"

enum {
	SYMBOLS_CACHED_MAX = 1 << 16,
	SYMBOLS_MEMORY_MAX = 48 << 20,
	SYMBOL_LINES_MAX = 24 /* inlined functions at one address */
};

struct symbol_line {
	const char *name;	 /* never NULL */
	const char *system_name; /* as in the symbol table, or as the source has it */
	const char *file;	 /* absolute; "" when unknown */
	int line;		 /* 0 when unknown */
	int start_line;
};

struct symbol {
	uintptr_t start; /* first address of the function; 0 when unknown */
	bool from_dwarf;
	unsigned n;
	struct symbol_line
		lines[]; /* innermost inlined function first; the last one has the code */
};

struct stacks;

/** Look names up in another process, which is this program with that one argument (static) and calls
 * profiler_symbols_main; NULL = in this process. */
void symbols_set_helper(const char *verb);
/** Begin a session: no other runs meanwhile, this call waits for it. Borrows `m` until
 * symbols_end. */
void symbols_begin(const struct modules *m);
/** The same for another process. start_of: where the function begins that has no name; 0 = unknown.
 */
void symbols_begin_process(const struct modules *m, pid_t pid, uintptr_t (*start_of)(uintptr_t pc));
/** What is at pc. Never NULL; valid until symbols_end. */
const struct symbol *symbols_get(uintptr_t pc);
/** Look up all addresses of the stacks at once; later symbols_get has them. */
void symbols_prefetch(const struct stacks *stacks);
/** Why names are missing so far; "" = none are. */
void symbols_trouble(char *ret, size_t size);
void symbols_end(void);
/** Names will be asked for soon: start what takes long. Does not wait for it, nor for a session. */
void symbols_warm(void);
/** Now and then: end what nobody has asked for a while. Does not wait for a session. */
void symbols_tidy(void);
/** Drop what is kept. */
void symbols_forget(void);
