/* Rows of call frame information by pc, remembered. Private to profiler/; for signal handlers. */
#pragma once

#include "profiler/cfi.h"

/** The row of a pc. exact: it was interrupted there, as opposed to calls, whose addresses come
 * again. Never fails: kind tells. */
void rows_get(uintptr_t pc, bool exact, struct cfi_row *ret);
/** Forget all: modules have come or gone. */
void rows_new_generation(void);
/** Have the memory in place, so that handlers take no page faults for it. Not for handlers. */
void rows_populate(void);
/** How often a row was not there. */
uint64_t rows_read(void);
