/* What is said between the program and its helper that finds names (symbols_helper.h). Integers
 * are in the machine's order where a struct is sent, else big-endian. Private to
 * profiler/symbols*.c.
 *
 *   asked      struct wire_head, its modules as struct module, then addresses as uintptr_t
 *   answered   for each: length (4) of what follows; start (8), flags (1), lines (1); per line:
 *              line (4), line of the function (4), and name, system name, file: length (2), text */
#pragma once

#include "base/buf.h"
#include "profiler/symbols_dwarf.h"

enum { WIRE_MAGIC = 0x70736e31 };

struct wire_head {
	uint32_t magic, modules;
};

/** Appends; texts beyond SYMBOLS_TEXT_MAX are cut. */
void wire_write_answer(struct buf *out, const struct symbol_found *found, bool whole);
/** 0, ERR_TRUNCATED (more is to come), ERR_MALFORMED or ERR_LIMIT. The texts go to the arena. */
int wire_read_answer(struct buf_reader *r, struct arena *text, struct symbol_found *ret,
		     bool *ret_whole);
