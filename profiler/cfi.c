#include "profiler/cfi.h"

#include <dlfcn.h>
#include <elf.h>
#include <string.h>

#include "profiler/cfi_reader.h"

/* A module's .eh_frame_hdr (LSB 5.0 §10.6.2) holds a table sorted by address:
 *
 *   u8 version = 1, u8 eh_frame_ptr_enc, u8 fde_count_enc, u8 table_enc = 0x3b
 *   eh_frame_ptr, fde_count, { i32 pc, i32 fde } * fde_count, both relative to the header
 *
 * An FDE names its CIE by the distance back to it. The CIE's program gives the rules at the
 * function's first instruction, the FDE's program moves them forward to the pc.
 *
 * What can go wrong: a corrupt or foreign table, so every byte is read through a bounded reader; a
 * module unloaded while its table is read, which cannot be for a module that has a frame on the
 * stack that is walked. */

enum {
	PE_ABSPTR = 0x00,
	PE_ULEB = 0x01,
	PE_UDATA2 = 0x02,
	PE_UDATA4 = 0x03,
	PE_UDATA8 = 0x04,
	PE_SLEB = 0x09,
	PE_SDATA2 = 0x0a,
	PE_SDATA4 = 0x0b,
	PE_SDATA8 = 0x0c,
	PE_PCREL = 0x10,
	PE_DATAREL = 0x30,
	PE_OMIT = 0xff,
	HDR_TABLE = PE_DATAREL | PE_SDATA4
};

enum { STATES_MAX = 8, FDES_MAX = 1 << 24 };

/* A pointer in one of the encodings of LSB 5.0 §10.5.1. */
static uintptr_t take_encoded(struct reader *r, uint8_t enc, uintptr_t data_base)
{
	uintptr_t at = (uintptr_t)r->p, v = 0;

	switch (enc & 0x0f) {
	case PE_ABSPTR:
	case PE_UDATA8:
	case PE_SDATA8: v = take_u64(r); break;
	case PE_UDATA4: v = take_u32(r); break;
	case PE_SDATA4: v = (uintptr_t)(intptr_t)(int32_t)take_u32(r); break;
	case PE_UDATA2: v = take_u16(r); break;
	case PE_SDATA2: v = (uintptr_t)(intptr_t)(int16_t)take_u16(r); break;
	case PE_ULEB: v = take_uleb(r); break;
	case PE_SLEB: v = (uintptr_t)take_sleb(r); break;
	default: r->bad = true;
	}
	switch (enc & 0x70) {
	case 0: break;
	case PE_PCREL: v += at; break;
	case PE_DATAREL: v += data_base; break;
	default: r->bad = true;
	}
	return v;
}

/* ---- The program ---- */

/* Rules while the program runs: where the CFA is, and the registers that matter. */
struct rule {
	uint8_t mode; /* enum cfi_mode */
	int64_t off;
};

enum { RULE_RA = CFI_SAVED, RULES };

struct state {
	uint64_t cfa_reg;
	int64_t cfa_off;
	const uint8_t *expr;
	uint64_t expr_len;
	struct rule rules[RULES];
	bool ra_undefined;
};

struct cie {
	struct reader program;
	uint64_t code_align;
	int64_t data_align;
	uint64_t ra_reg;
	uint8_t enc;
	bool augmented, is_signal;
};

static struct rule *rule_of(struct state *s, const struct cie *cie, uint64_t reg)
{
	unsigned i;

	if (reg == cie->ra_reg)
		return &s->rules[RULE_RA];
	i = reg < CFI_REGS ? cfi_saved_index((unsigned)reg) : CFI_SAVED;
	return i < CFI_SAVED ? &s->rules[i] : NULL;
}

static void set_rule(struct state *s, const struct cie *cie, uint64_t reg, enum cfi_mode mode,
		     int64_t off)
{
	struct rule *rule = rule_of(s, cie, reg);

	if (rule == NULL)
		return;
	rule->mode = (uint8_t)mode;
	rule->off = off;
	if (rule == &s->rules[RULE_RA])
		s->ra_undefined = false;
}

static void restore_rule(struct state *s, const struct state *initial, const struct cie *cie,
			 uint64_t reg)
{
	struct rule *rule = rule_of(s, cie, reg);

	if (rule == NULL)
		return;
	*rule = initial->rules[rule - s->rules];
	if (rule == &s->rules[RULE_RA])
		s->ra_undefined = initial->ra_undefined;
}

/* Of the expressions for a saved register compilers emit one: DW_OP_breg6 n, that is rbp + n. */
static void set_expression(struct state *s, const struct cie *cie, struct reader *r)
{
	uint64_t reg = take_uleb(r), len = take_uleb(r);
	struct reader e = *r;
	int64_t off;

	skip(r, len);
	if (r->bad)
		return;
	e.end = r->p;
	if (take_u8(&e) != 0x70 + CFI_RBP) {
		set_rule(s, cie, reg, CFI_LOST, 0);
		return;
	}
	off = take_sleb(&e);
	set_rule(s, cie, reg, e.bad || e.p != e.end ? CFI_LOST : CFI_AT_RBP, off);
}

static int64_t scaled(uint64_t n, int64_t align)
{
	return (int64_t)(n * (uint64_t)align);
}

/* An instruction that changes rules. False: it is not known. */
static bool run_rule(uint8_t op, struct reader *r, const struct cie *cie, struct state *s,
		     const struct state *initial)
{
	uint64_t reg;

	switch (op) {
	case 0x00: /* DW_CFA_nop */ break;
	case 0x05: /* offset_extended */
		reg = take_uleb(r);
		set_rule(s, cie, reg, CFI_AT_CFA, scaled(take_uleb(r), cie->data_align));
		break;
	case 0x06: /* restore_extended */ restore_rule(s, initial, cie, take_uleb(r)); break;
	case 0x07: /* undefined */
		reg = take_uleb(r);
		set_rule(s, cie, reg, CFI_LOST, 0);
		s->ra_undefined |= reg == cie->ra_reg;
		break;
	case 0x08: /* same_value */ set_rule(s, cie, take_uleb(r), CFI_SAME, 0); break;
	case 0x09: /* register */
		set_rule(s, cie, take_uleb(r), CFI_LOST, 0);
		(void)take_uleb(r);
		break;
	case 0x0c: /* def_cfa */
		s->cfa_reg = take_uleb(r);
		s->cfa_off = (int64_t)take_uleb(r);
		s->expr = NULL;
		break;
	case 0x0d: /* def_cfa_register */
		s->cfa_reg = take_uleb(r);
		s->expr = NULL;
		break;
	case 0x0e: /* def_cfa_offset */ s->cfa_off = (int64_t)take_uleb(r); break;
	case 0x0f: /* def_cfa_expression */
		s->expr_len = take_uleb(r);
		s->expr = r->p;
		skip(r, s->expr_len);
		break;
	case 0x10: /* expression */ set_expression(s, cie, r); break;
	case 0x11: /* offset_extended_sf */
		reg = take_uleb(r);
		set_rule(s, cie, reg, CFI_AT_CFA, scaled((uint64_t)take_sleb(r), cie->data_align));
		break;
	case 0x12: /* def_cfa_sf */
		s->cfa_reg = take_uleb(r);
		s->cfa_off = scaled((uint64_t)take_sleb(r), cie->data_align);
		s->expr = NULL;
		break;
	case 0x13: /* def_cfa_offset_sf */
		s->cfa_off = scaled((uint64_t)take_sleb(r), cie->data_align);
		break;
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf: the second operand has the same length in both */
		set_rule(s, cie, take_uleb(r), CFI_LOST, 0);
		(void)take_uleb(r);
		break;
	case 0x16: /* val_expression */
		set_rule(s, cie, take_uleb(r), CFI_LOST, 0);
		skip(r, take_uleb(r));
		break;
	case 0x2e: /* GNU_args_size */ (void)take_uleb(r); break;
	default: return false;
	}
	return true;
}

/* An instruction that advances the location: how far, in code_align units. False: another one. */
static bool run_advance(uint8_t op, struct reader *r, const struct cie *cie, uintptr_t *loc)
{
	switch (op) {
	case 0x01: /* set_loc */ *loc = take_encoded(r, cie->enc, 0); return true;
	case 0x02: *loc += take_u8(r) * cie->code_align; return true;
	case 0x03: *loc += take_u16(r) * cie->code_align; return true;
	case 0x04: *loc += take_u32(r) * cie->code_align; return true;
	default: return false;
	}
}

/* Addresses with the same rules. */
struct range {
	uintptr_t from, to;
};

/* Run a program until it passes pc, narrowing down the range in which the outcome holds. */
static bool run(struct reader r, const struct cie *cie, struct state *s,
		const struct state *initial, struct range *range, uintptr_t pc)
{
	struct state saved[STATES_MAX];
	uintptr_t loc = range->from;
	unsigned depth = 0;

	while (r.p < r.end && !r.bad) {
		uint8_t op = take_u8(&r), low = op & 0x3f;

		switch (op & 0xc0) {
		case 0x40: loc += low * cie->code_align; break;
		case 0x80:
			set_rule(s, cie, low, CFI_AT_CFA, scaled(take_uleb(&r), cie->data_align));
			break;
		case 0xc0: restore_rule(s, initial, cie, low); break;
		default:
			if (op == 0x0a) { /* remember_state */
				if (depth == STATES_MAX)
					return false;
				saved[depth++] = *s;
			} else if (op == 0x0b) { /* restore_state */
				if (depth == 0)
					return false;
				*s = saved[--depth];
			} else if (!run_advance(op, &r, cie, &loc) &&
				   !run_rule(op, &r, cie, s, initial)) {
				return false;
			}
		}
		if (loc > pc) {
			range->to = MIN(range->to, loc);
			break;
		}
		range->from = loc;
	}
	return !r.bad;
}

/* ---- The entries ---- */

/* An entry's bytes behind its length field. */
static bool open_entry(const uint8_t *at, const uint8_t *lo, const uint8_t *hi, struct reader *ret)
{
	struct reader r = { at, hi, at < lo || at > hi };
	uint64_t len = take_u32(&r);

	if (len == UINT32_MAX || len < 4) /* 64-bit DWARF does not occur in .eh_frame; 0 ends it */
		return false;
	if (r.bad || (uint64_t)(r.end - r.p) < len)
		return false;
	ret->p = r.p;
	ret->end = r.p + len;
	ret->bad = false;
	return true;
}

static bool parse_augmentation(struct reader *r, const char *aug, struct cie *ret)
{
	struct reader data;
	uint64_t len;

	if (*aug == '\0')
		return true;
	if (*aug != 'z')
		return false;
	ret->augmented = true;
	len = take_uleb(r);
	data = *r;
	skip(r, len);
	if (r->bad)
		return false;
	data.end = r->p;
	for (aug++; *aug != '\0'; aug++) {
		uint8_t enc;

		switch (*aug) {
		case 'R': ret->enc = take_u8(&data); break;
		case 'L': (void)take_u8(&data); break;
		case 'P':
			enc = take_u8(&data);
			(void)take_encoded(&data, enc & 0x0f, 0);
			break;
		case 'S': ret->is_signal = true; break;
		case 'B': break; /* aarch64: signed return addresses */
		default: return false;
		}
	}
	return !data.bad;
}

static bool parse_cie(const uint8_t *at, const uint8_t *lo, const uint8_t *hi, struct cie *ret)
{
	struct reader r;
	const char *aug;
	uint8_t version;

	*ret = (struct cie){ 0 };
	if (!open_entry(at, lo, hi, &r) || take_u32(&r) != 0)
		return false;
	version = take_u8(&r);
	if (version != 1 && version != 3)
		return false;
	aug = (const char *)r.p;
	while (!r.bad && take_u8(&r) != 0)
		;
	if (r.bad)
		return false;
	ret->code_align = take_uleb(&r);
	ret->data_align = take_sleb(&r);
	ret->ra_reg = version == 1 ? take_u8(&r) : take_uleb(&r);
	if (!parse_augmentation(&r, aug, ret))
		return false;
	ret->program = r;
	return !r.bad;
}

/* The FDE's range; its program is left in ret_program. */
static bool parse_fde(const uint8_t *fde, const uint8_t *lo, const uint8_t *hi, struct cie *ret_cie,
		      uintptr_t *ret_start, uintptr_t *ret_size, struct reader *ret_program)
{
	struct reader r;
	const uint8_t *at;
	uint32_t back;

	if (!open_entry(fde, lo, hi, &r))
		return false;
	at = r.p;
	back = take_u32(&r);
	if (back == 0 || back > (size_t)(at - lo) || !parse_cie(at - back, lo, hi, ret_cie))
		return false;
	*ret_start = take_encoded(&r, ret_cie->enc, 0);
	*ret_size = take_encoded(&r, ret_cie->enc & 0x0f, 0);
	if (ret_cie->augmented)
		skip(&r, take_uleb(&r));
	*ret_program = r;
	return !r.bad;
}

static bool fits_i16(int64_t v)
{
	return v >= INT16_MIN && v <= INT16_MAX;
}

static void row_from_state(const struct state *s, struct cfi_row *ret)
{
	const struct rule *ra = &s->rules[RULE_RA];

	ret->kind = CFI_BAD;
	if (s->ra_undefined) {
		ret->kind = CFI_END;
		return;
	}
	if (ra->mode != CFI_AT_CFA || !fits_i16(ra->off))
		return;
	ret->ra_off = (int16_t)ra->off;
	for (unsigned i = 0; i < CFI_SAVED; i++) {
		const struct rule *rule = &s->rules[i];
		bool fits = rule->mode == CFI_SAME || fits_i16(rule->off);

		ret->modes |= (uint16_t)((fits ? rule->mode : CFI_LOST) << (2 * i));
		ret->saved[i] = fits ? (int16_t)rule->off : 0;
	}
	if (s->expr != NULL) {
		if (s->expr_len > UINT16_MAX)
			return;
		ret->expr = s->expr;
		ret->expr_len = (uint16_t)s->expr_len;
		ret->kind = CFI_EXPR;
	} else if (s->cfa_reg < CFI_REGS && s->cfa_off >= INT32_MIN && s->cfa_off <= INT32_MAX) {
		ret->cfa_reg = (uint8_t)s->cfa_reg;
		ret->cfa_off = (int32_t)s->cfa_off;
		ret->kind = CFI_OFFSET;
	}
}

void cfi_parse(const uint8_t *fde, const uint8_t *lo, const uint8_t *hi, uintptr_t pc,
	       struct cfi_row *ret)
{
	struct range range = { 0, UINTPTR_MAX };
	struct state s = { 0 }, initial;
	struct reader program;
	uintptr_t start, size;
	struct cie cie;

	*ret = (struct cfi_row){ .pc = pc, .kind = CFI_BAD, .from = pc, .to = pc + 1 };
	if (!parse_fde(fde, lo, hi, &cie, &start, &size, &program))
		return;
	if (pc - start >= size) {
		ret->kind = CFI_NONE;
		return;
	}
	if (cie.is_signal) {
		ret->kind = CFI_SIGNAL;
		return;
	}
	if (!run(cie.program, &cie, &s, &s, &range, UINTPTR_MAX))
		return;
	initial = s;
	range = (struct range){ start, start + size };
	if (!run(program, &cie, &s, &initial, &range, pc))
		return;
	row_from_state(&s, ret);
	ret->from = range.from;
	ret->to = range.to;
}

/* ---- The table ---- */

static const uint8_t *find_fde(uintptr_t pc, struct dl_find_object *ret_module)
{
	const uint8_t *hdr, *lo, *hi, *table, *fde;
	struct reader r;
	uint64_t count;
	int64_t rel;
	size_t first = 0, last;

	if (_dl_find_object((void *)pc, ret_module) != 0 || ret_module->dlfo_eh_frame == NULL)
		return NULL;
	hdr = ret_module->dlfo_eh_frame;
	lo = ret_module->dlfo_map_start;
	hi = ret_module->dlfo_map_end;
	if (hdr < lo || hdr + 4 > hi || hdr[0] != 1 || hdr[3] != HDR_TABLE || hdr[2] == PE_OMIT)
		return NULL;
	r = (struct reader){ hdr + 4, hi, false };
	(void)take_encoded(&r, hdr[1], (uintptr_t)hdr);
	count = take_encoded(&r, hdr[2], (uintptr_t)hdr);
	table = r.p;
	if (r.bad || count == 0 || count > FDES_MAX || (uint64_t)(hi - table) < count * 8)
		return NULL;
	rel = (int64_t)(pc - (uintptr_t)hdr);
	last = count;
	while (last - first > 1) {
		size_t mid = first + (last - first) / 2;
		int32_t at;

		memcpy(&at, table + mid * 8, sizeof(at));
		if (at <= rel)
			first = mid;
		else
			last = mid;
	}
	r = (struct reader){ table + first * 8, hi, false };
	if ((int32_t)take_u32(&r) > rel)
		return NULL;
	fde = hdr + (int32_t)take_u32(&r);
	return fde >= lo && fde < hi ? fde : NULL;
}

void cfi_find(uintptr_t pc, struct cfi_row *ret)
{
	struct dl_find_object module;
	const uint8_t *fde = find_fde(pc, &module);

	if (fde == NULL)
		*ret = (struct cfi_row){ .pc = pc, .kind = CFI_NONE, .from = pc, .to = pc + 1 };
	else
		cfi_parse(fde, module.dlfo_map_start, module.dlfo_map_end, pc, ret);
}

uintptr_t cfi_function_start(uintptr_t pc)
{
	struct dl_find_object module;
	const uint8_t *fde = find_fde(pc, &module);
	struct reader program;
	uintptr_t start, size;
	struct cie cie;

	if (fde == NULL || !parse_fde(fde, module.dlfo_map_start, module.dlfo_map_end, &cie, &start,
				      &size, &program))
		return 0;
	return pc - start < size ? start : 0;
}

bool cfi_same_module(const void *p, uintptr_t pc)
{
	struct dl_find_object module;

	return _dl_find_object((void *)pc, &module) == 0 &&
	       (uintptr_t)p - (uintptr_t)module.dlfo_map_start <
		       (uintptr_t)module.dlfo_map_end - (uintptr_t)module.dlfo_map_start;
}

/* A module's first page holds its ELF header and, for all that linkers make, its program headers.
 * Between segments there may be holes, hence the look. */
bool cfi_is_code(uintptr_t addr, size_t n)
{
	struct dl_find_object module;
	const Elf64_Ehdr *ehdr;
	const Elf64_Phdr *phdr;
	uintptr_t base;

	if (_dl_find_object((void *)addr, &module) != 0)
		return false;
	base = (uintptr_t)module.dlfo_map_start;
	ehdr = module.dlfo_map_start;
	if (memcmp(ehdr->e_ident, ELFMAG, SELFMAG) != 0 || ehdr->e_phentsize != sizeof(*phdr) ||
	    ehdr->e_phoff + (size_t)ehdr->e_phnum * sizeof(*phdr) > 4096)
		return false;
	phdr = (const Elf64_Phdr *)(base + ehdr->e_phoff);
	if (ehdr->e_type == ET_EXEC)
		base = 0;
	for (unsigned i = 0; i < ehdr->e_phnum; i++) {
		uintptr_t start = base + phdr[i].p_vaddr;

		if (phdr[i].p_type == PT_LOAD && phdr[i].p_flags & PF_X && addr >= start &&
		    n <= phdr[i].p_memsz && addr - start <= phdr[i].p_memsz - n)
			return true;
	}
	return false;
}
