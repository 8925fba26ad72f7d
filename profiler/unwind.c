#include "profiler/unwind.h"

#include <stdatomic.h>
#include <string.h>

#include "profiler/pages.h"
#include "profiler/rows.h"

/* One step: row of the pc → CFA → return address and callee-saved registers of the caller.
 * Registers that the rules do not mention keep their value, as the hand-written code of libcrypto
 * needs, whose CFA hangs on rax or r11 for a frame or two.
 *
 * What can go wrong: rules that are wrong for this instant (hand-written code), registers that hold
 * garbage, a stack overwritten by a bug. So every address is checked against the stack's bounds
 * before it is read, and the stack pointer must rise with each frame, which also ends every loop.
 *
 * Rows are remembered (rows.h). Stale ones of an unloaded module can only give a wrong frame, not a
 * wrong read: their expressions are used only while the module still holds them. */

#define NO_ASAN __attribute__((no_sanitize("address"))) /* stacks are read across redzones */

enum { IP_MIN = 4096, CALL_LEN = 5 };

static _Atomic uint64_t rescued, broken_off;

static void count(_Atomic uint64_t *n)
{
	atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

void unwind_new_generation(void)
{
	rows_new_generation();
}

void unwind_populate(void)
{
	rows_populate();
	pages_populate_tables();
}

void unwind_stats(struct unwind_stats *ret)
{
	ret->rows_read = rows_read();
	ret->rescued = atomic_load_explicit(&rescued, memory_order_relaxed);
	ret->broken_off = atomic_load_explicit(&broken_off, memory_order_relaxed);
}

/* ---- One step ---- */

NO_ASAN static bool load(const struct unwind *u, uintptr_t addr, uintptr_t *ret)
{
	if (addr < u->lo || addr > u->hi || u->hi - addr < sizeof(*ret))
		return false;
	__builtin_memcpy(ret, (const void *)(addr + u->shift), sizeof(*ret));
	return true;
}

static bool load_cb(void *data, uintptr_t addr, uintptr_t *ret)
{
	return load(data, addr, ret);
}

static bool find_cfa(struct unwind *u, const struct cfi_row *row, uintptr_t *ret)
{
	uintptr_t sp = u->reg[CFI_RSP], cfa;

	if (row->kind == CFI_EXPR) {
		if (!cfi_same_module(row->expr, u->ip) ||
		    !cfi_eval(row->expr, row->expr_len, u->reg, u->ip, load_cb, u, &cfa))
			return false;
	} else {
		if (!(u->known & 1u << row->cfa_reg))
			return false;
		cfa = u->reg[row->cfa_reg] + (uintptr_t)(intptr_t)row->cfa_off;
	}
	if (cfa < sp || (cfa == sp && !u->exact) || cfa > u->hi || cfa % 8 != 0)
		return false;
	*ret = cfa;
	return true;
}

/* The caller's callee-saved registers. False: one lies outside the stack. */
static bool restore(struct unwind *u, const struct cfi_row *row, uintptr_t cfa)
{
	static const uint8_t regs[CFI_SAVED] = { CFI_RBX, CFI_RBP, 12, 13, 14, 15 };
	uintptr_t rbp = u->reg[CFI_RBP];
	bool rbp_known = u->known & 1u << CFI_RBP;

	if (row->modes == 0)
		return true;
	for (unsigned i = 0; i < CFI_SAVED; i++) {
		enum cfi_mode mode = cfi_saved_mode(row, i);
		uintptr_t off = (uintptr_t)(intptr_t)row->saved[i];

		if (mode == CFI_SAME)
			continue;
		if (mode == CFI_LOST || (mode == CFI_AT_RBP && !rbp_known)) {
			u->known &= (uint16_t) ~(1u << regs[i]);
			continue;
		}
		if (!load(u, (mode == CFI_AT_CFA ? cfa : rbp) + off, &u->reg[regs[i]]))
			return false;
		u->known |= (uint16_t)(1u << regs[i]);
	}
	return true;
}

static bool step_frame(struct unwind *u, const struct cfi_row *row)
{
	uintptr_t cfa, ip;

	if (!find_cfa(u, row, &cfa) || !load(u, cfa + (uintptr_t)(intptr_t)row->ra_off, &ip) ||
	    !restore(u, row, cfa))
		return false;
	u->reg[CFI_RSP] = cfa;
	u->known |= 1u << CFI_RSP;
	u->ip = ip;
	u->exact = false;
	return true;
}

/* ---- Where it starts, and signal frames ---- */

static void set_context(struct unwind *u, const greg_t *g)
{
	static const uint8_t order[CFI_REGS] = { REG_RAX, REG_RDX, REG_RCX, REG_RBX,
						 REG_RSI, REG_RDI, REG_RBP, REG_RSP,
						 REG_R8,  REG_R9,  REG_R10, REG_R11,
						 REG_R12, REG_R13, REG_R14, REG_R15 };

	for (unsigned i = 0; i < CFI_REGS; i++)
		u->reg[i] = (uintptr_t)g[order[i]];
	u->ip = (uintptr_t)g[REG_RIP];
	u->known = UINT16_MAX;
	u->exact = true;
}

/* At the return from a handler, rsp points to the ucontext that the kernel pushed. */
NO_ASAN static bool step_signal(struct unwind *u)
{
	uintptr_t sp = u->reg[CFI_RSP];
	greg_t g[NGREG];

	for (unsigned i = 0; i < NGREG; i++) {
		uintptr_t v;

		if (!load(u, sp + offsetof(ucontext_t, uc_mcontext.gregs) + i * sizeof(v), &v))
			return false;
		g[i] = (greg_t)v;
	}
	if ((uintptr_t)g[REG_RSP] <= sp || (uintptr_t)g[REG_RSP] > u->hi || g[REG_RSP] % 8 != 0)
		return false;
	set_context(u, g);
	return true;
}

/* ---- Leaves without call frame information ---- */

/* Hand-written assembly: its caller is the first word on the stack that follows a direct call whose
 * target lies shortly before the pc, in the same module. */
NO_ASAN static bool is_caller(const struct unwind *u, uintptr_t ra)
{
	const uint8_t *call = (const uint8_t *)(ra - CALL_LEN);
	struct cfi_row row;
	uintptr_t target;
	int32_t rel;

	if (ra < CALL_LEN || !cfi_same_module((const void *)ra, u->ip) ||
	    !cfi_is_code(ra - CALL_LEN, CALL_LEN) || *call != 0xe8)
		return false;
	__builtin_memcpy(&rel, call + 1, sizeof(rel));
	target = ra + (uintptr_t)(intptr_t)rel;
	if (target > u->ip || u->ip - target > UNWIND_CALL_REACH)
		return false;
	rows_get(ra - 1, false, &row);
	return row.kind != CFI_NONE && row.kind != CFI_BAD;
}

static bool step_rescue(struct unwind *u)
{
	uintptr_t sp = u->reg[CFI_RSP], end = sp + UNWIND_SCAN_MAX, ra;

	if (!u->exact || sp % 8 != 0)
		return false;
	for (; sp < end && load(u, sp, &ra); sp += 8)
		if (is_caller(u, ra)) {
			u->ip = ra;
			u->reg[CFI_RSP] = sp + 8;
			u->exact = false;
			count(&rescued);
			return true;
		}
	return false;
}

/* ---- The walk ---- */

static bool step(struct unwind *u)
{
	struct cfi_row row;
	bool ok;

	rows_get(u->exact ? u->ip : u->ip - 1, u->exact, &row);
	switch ((enum cfi_kind)row.kind) {
	case CFI_END: return false;
	case CFI_NONE: ok = step_rescue(u); break;
	case CFI_OFFSET:
	case CFI_EXPR: ok = step_frame(u, &row); break;
	case CFI_SIGNAL: ok = step_signal(u); break;
	case CFI_BAD:
	default: ok = false;
	}
	if (!ok)
		count(&broken_off);
	return ok && u->ip >= IP_MIN;
}

unsigned unwind_walk(struct unwind *u, uintptr_t *pcs, unsigned max, bool *ret_cut)
{
	unsigned n = 0;
	bool more;

	do {
		pcs[n++] = u->exact ? u->ip : u->ip - 1;
		more = u->lo < u->hi && step(u);
	} while (more && n < max);
	*ret_cut = more;
	return n;
}

static void set_bounds(struct unwind *u, uintptr_t hi)
{
	uintptr_t sp = u->reg[CFI_RSP];

	u->shift = 0;
	u->lo = sp > UNWIND_RED_ZONE ? sp - UNWIND_RED_ZONE : sp;
	u->hi = hi > sp ? hi : u->lo;
}

void unwind_init(struct unwind *u, const ucontext_t *uc, uintptr_t hi)
{
	set_context(u, uc->uc_mcontext.gregs);
	set_bounds(u, hi);
}

void unwind_init_at(struct unwind *u, uintptr_t ip, uintptr_t sp, uintptr_t hi)
{
	memset(u, 0, sizeof(*u));
	u->ip = ip;
	u->reg[CFI_RSP] = sp;
	u->known = 1u << CFI_RSP;
	u->exact = true;
	set_bounds(u, hi);
}

/* As long as rows are words, which name the stack pointer and rbp alone, this is all there is to
 * it: a walk of the usual stack costs half. */
static bool step_callers(struct unwind *u, uint64_t row)
{
	uintptr_t sp = u->reg[CFI_RSP], bp = u->reg[CFI_RBP];
	uintptr_t cfa = (row & ROWS_CFA_RBP ? bp : sp) + (row & ROWS_CFA_MAX) * 8;
	uintptr_t below = (row >> ROWS_RBP_SHIFT & ROWS_SAVED_MAX) * 8;

	if (cfa <= sp || cfa % 8 != 0 || !load(u, cfa - 8, &u->ip) ||
	    (below != 0 && !load(u, cfa - below, &u->reg[CFI_RBP])))
		return false;
	u->reg[CFI_RSP] = cfa;
	return u->ip >= IP_MIN;
}

NO_ASAN unsigned unwind_callers(const void *frame, uintptr_t hi, uintptr_t *pcs, unsigned max)
{
	const uintptr_t *words = frame; /* rbp and return address, as pushed */
	struct unwind u = { .ip = words[1], .known = 1u << CFI_RSP | 1u << CFI_RBP };
	unsigned n = 0;
	uint64_t row;
	bool cut;

	u.reg[CFI_RBP] = words[0];
	u.reg[CFI_RSP] = (uintptr_t)(words + 2);
	u.lo = u.reg[CFI_RSP];
	u.hi = MAX(hi, u.lo);
	while (n < max && rows_get_word(u.ip - 1, false, &row)) {
		pcs[n++] = u.ip - 1;
		if (!step_callers(&u, row))
			return n;
	}
	return n < max ? n + unwind_walk(&u, pcs + n, max - n, &cut) : n;
}

__attribute__((noinline)) unsigned unwind_here(uintptr_t hi, uintptr_t *pcs, unsigned max)
{
	struct unwind u;
	bool cut;

	memset(&u, 0, sizeof(u));
	__asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2\n\tmov %%rbx, %3\n\t"
			 "mov %%r12, %4\n\tmov %%r13, %5\n\tmov %%r14, %6\n\tmov %%r15, %7"
			 : "=&a"(u.ip), "=m"(u.reg[CFI_RSP]), "=m"(u.reg[CFI_RBP]),
			   "=m"(u.reg[CFI_RBX]), "=m"(u.reg[12]), "=m"(u.reg[13]), "=m"(u.reg[14]),
			   "=m"(u.reg[15])
			 :
			 : "memory");
	u.known = 1u << CFI_RSP | 1u << CFI_RBP | 1u << CFI_RBX | 0xf000u;
	u.exact = true;
	set_bounds(&u, hi);
	if (u.lo >= u.hi || !step(&u))
		return 0;
	return unwind_walk(&u, pcs, max, &cut);
}
