/* Names out of DWARF and symbol tables, by libdw. Private to profiler/symbols*.c.
 *
 * Not thread-safe, takes 20 MB for a large program, and libdw may end or crash the process when
 * memory is refused: not in a process that matters. */
#pragma once

#include <sys/types.h>

#include "base/mem.h"
#include "profiler/symbols.h"

/* What was found at an address. The texts lie in the arena that was given. */
struct symbol_found {
	struct symbol_line lines[SYMBOL_LINES_MAX];
	unsigned n; /* 0: nothing */
	uintptr_t start;
	bool from_dwarf;
};

struct dwarf_names;

/** What is loaded in a process that can be looked at; 0 = this one. NULL: it cannot be opened. */
struct dwarf_names *dwarf_names_open(pid_t process);
/** The same from a list that another process made of itself. Its program is taken to be this one's.
 * Borrows `m`. */
struct dwarf_names *dwarf_names_open_listed(const struct modules *m);
/** What is at pc. Leaves out what is not known. */
void dwarf_names_find(struct dwarf_names *d, uintptr_t pc, struct arena *text,
		      struct symbol_found *ret);
/** Returns NULL. */
struct dwarf_names *dwarf_names_close(struct dwarf_names *d);

/** A copy of the text; "?" without memory. */
const char *symbol_text(struct arena *text, const char *s, size_t len);
