/* Rows of call frame information by pc, remembered. Private to profiler/; for signal handlers. */
#pragma once

#include "profiler/cfi.h"

/** The row of a pc. exact: it was interrupted there, as opposed to calls, whose addresses come
 * again. Never fails: kind tells. */
void rows_get(uintptr_t pc, bool exact, struct cfi_row *ret);
/* Most rows as a word:
 *   bits 0-14   CFA offset / 8; 0 = no offset row
 *   bit  15     CFA register: rsp, rbp
 *   bits 16-63  rbx, rbp, r12-r15: a byte each, offset below the CFA / 8; 0 = unchanged
 * The return address lies at CFA - 8. */
enum {
	ROWS_CFA_MAX = 0x7fff,
	ROWS_CFA_RBP = 1 << 15,
	ROWS_SAVED_SHIFT = 16,
	ROWS_RBP_SHIFT = 24,
	ROWS_SAVED_MAX = 255
};
/** The same as rows_get, quicker. False: it is no such row, or not remembered. */
bool rows_get_word(uintptr_t pc, bool exact, uint64_t *ret);
/** Forget all: modules have come or gone. */
void rows_new_generation(void);
/** Have the memory in place, so that handlers take no page faults for it. Not for handlers. */
void rows_populate(void);
/** How often a row was not there. */
uint64_t rows_read(void);
