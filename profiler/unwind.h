/* Walking a stack by call frame information. Private to profiler/.
 *
 * Runs in signal handlers: takes no lock, allocates nothing, reads no byte of the stack outside the
 * given bounds, and needs no frame pointers. */
#pragma once

#include <ucontext.h>

#include "profiler/cfi.h"

enum {
	UNWIND_FRAMES_MAX = 128,
	UNWIND_RED_ZONE = 128,	  /* bytes below sp that a leaf may use (psABI §3.2.2) */
	UNWIND_SCAN_MAX = 4096,	  /* stack searched above a leaf without call frame information */
	UNWIND_CALL_REACH = 16384 /* how far behind a call's target such a leaf may be */
};

struct unwind {
	uintptr_t reg[CFI_REGS]; /* by DWARF number */
	uintptr_t ip;
	uintptr_t lo, hi; /* the stack: what may be read */
	uintptr_t shift;  /* where it is read from: address + shift (a copy of another's stack) */
	uint16_t known;	  /* bit per register */
	bool exact;	  /* ip is an instruction that was interrupted, not a return address */
};

/** Start at the context of a signal. hi = end of the thread's stack; 0 or below sp: the walk ends
 * after one frame. */
void unwind_init(struct unwind *u, const ucontext_t *uc, uintptr_t hi);
/** Start at a known pc and sp only, as /proc tells of a thread in a system call. */
void unwind_init_at(struct unwind *u, uintptr_t ip, uintptr_t sp, uintptr_t hi);

/** Fill pcs leaf first; returns how many (at least 1). The leaf is the interrupted pc, callers are
 *  the return address - 1, i.e. inside the call; frames below a signal frame are exact again.
 *  *ret_cut is set when the stack goes on beyond max. */
unsigned unwind_walk(struct unwind *u, uintptr_t *pcs, unsigned max, bool *ret_cut);

/** The caller's own stack: the first pc is in the function that called. */
unsigned unwind_here(uintptr_t hi, uintptr_t *pcs, unsigned max);

/** The stack below a function that has a frame pointer (`frame`: its __builtin_frame_address(0)),
 * beginning with its caller. Twice as quick, but breaks off at frames that need another register
 * than rsp and rbp, as some hand-written code does that calls nothing. */
unsigned unwind_callers(const void *frame, uintptr_t hi, uintptr_t *pcs, unsigned max);

/** Forget cached rows: modules have come or gone. */
void unwind_new_generation(void);

/** Before walks that should be quick: brings in the tables of all that is loaded. Not in handlers.
 */
void unwind_populate(void);

struct unwind_stats {
	uint64_t rows_read;  /* cache misses */
	uint64_t rescued;    /* leaves without call frame information whose caller was found */
	uint64_t broken_off; /* walks that ended at rules or values that cannot be right */
};
void unwind_stats(struct unwind_stats *ret);
