/* Call frame information: from a pc to the rule that finds its caller. Private to profiler/.
 *
 * What is read is the `.eh_frame` of loaded modules (DWARF 5 §6.4, LSB 5.0 §10.6), found through
 * _dl_find_object, which takes no lock. Everything here may run in a signal handler. */
#pragma once

#include "base/base.h"

/* DWARF numbers of the x86-64 registers (psABI, figure 3.36). */
enum {
	CFI_RAX,
	CFI_RDX,
	CFI_RCX,
	CFI_RBX,
	CFI_RSI,
	CFI_RDI,
	CFI_RBP,
	CFI_RSP,
	CFI_R12 = 12,
	CFI_R15 = 15,
	CFI_REGS = 16, /* the general ones; 16 itself is the return address */
	CFI_RA = 16
};

enum cfi_kind {
	CFI_NONE,   /* no FDE covers the pc */
	CFI_END,    /* the outermost frame: the return address is undefined */
	CFI_OFFSET, /* CFA = register + offset */
	CFI_EXPR,   /* CFA = a DWARF expression */
	CFI_SIGNAL, /* a signal frame: the interrupted context lies at rsp */
	CFI_BAD	    /* not understood */
};

/* Where a callee-saved register of the caller is. */
enum cfi_mode {
	CFI_SAME,   /* unchanged */
	CFI_AT_CFA, /* in memory at CFA + offset */
	CFI_AT_RBP, /* in memory at rbp + offset (functions that realign the stack) */
	CFI_LOST
};

enum { CFI_SAVED = 6 }; /* rbx, rbp, r12-r15 */

/* What one pc's rules come down to. */
struct cfi_row {
	uintptr_t pc;
	uint32_t generation; /* for the cache */
	uint8_t kind;
	uint8_t cfa_reg;
	uint16_t modes; /* two bits per saved register */
	int32_t cfa_off;
	int16_t ra_off; /* from the CFA */
	int16_t saved[CFI_SAVED];
	uint16_t expr_len;
	const uint8_t *expr; /* in the module's .eh_frame */
	uintptr_t from, to;  /* the same holds for these addresses */
};
_Static_assert(sizeof(struct cfi_row) == 64, "a cache line");

static inline enum cfi_mode cfi_saved_mode(const struct cfi_row *row, unsigned i)
{
	return (enum cfi_mode)(row->modes >> (2 * i) & 3);
}
/** Index of a register in `saved`, CFI_SAVED when it is not callee-saved. */
static inline unsigned cfi_saved_index(unsigned reg)
{
	switch (reg) {
	case CFI_RBX: return 0;
	case CFI_RBP: return 1;
	case 12:
	case 13:
	case 14:
	case 15: return reg - 10;
	default: return CFI_SAVED;
	}
}

/** The row of a pc; of a caller pass the return address - 1. Never fails: kind tells. */
void cfi_find(uintptr_t pc, struct cfi_row *ret);

/** The same from one FDE whose bytes, and those of its CIE, are taken to lie in [lo, hi): nothing
 * outside is read. */
void cfi_parse(const uint8_t *fde, const uint8_t *lo, const uint8_t *hi, uintptr_t pc,
	       struct cfi_row *ret);

/** First address of the function that the FDE around pc describes, 0 when there is none. */
uintptr_t cfi_function_start(uintptr_t pc);

/* Reads a word of the stack that is unwound. */
typedef bool (*cfi_load_fn)(void *data, uintptr_t addr, uintptr_t *ret);

/** Evaluate a CFA expression over reg[0..15] and ip. False when it is malformed, deeper than the
 * stack machine, or reads where it must not. */
bool cfi_eval(const uint8_t *expr, size_t len, const uintptr_t reg[CFI_REGS], uintptr_t ip,
	      cfi_load_fn load, void *data, uintptr_t *ret);

/** True while the module that holds `p` is loaded and `pc` belongs to it. */
bool cfi_same_module(const void *p, uintptr_t pc);
/** True when the n bytes at addr lie in an executable segment of a loaded module. */
bool cfi_is_code(uintptr_t addr, size_t n);
