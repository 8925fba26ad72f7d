#include "profiler/cfi.h"

#include "profiler/cfi_reader.h"

/* DWARF expressions (DWARF 5 §2.5) as far as call frame information uses them: a stack machine over
 * the registers and the stack that is walked. */

enum { EXPR_DEPTH_MAX = 16 };

struct machine {
	uint64_t stack[EXPR_DEPTH_MAX];
	unsigned n;
	bool bad;
};

static void push(struct machine *m, uint64_t v)
{
	if (m->n == EXPR_DEPTH_MAX)
		m->bad = true;
	else
		m->stack[m->n++] = v;
}

static uint64_t pop(struct machine *m)
{
	if (m->n == 0) {
		m->bad = true;
		return 0;
	}
	return m->stack[--m->n];
}

static void eval_binary(struct machine *m, uint8_t op)
{
	uint64_t b = pop(m), a = pop(m);

	switch (op) {
	case 0x1a: push(m, a & b); break;
	case 0x1c: push(m, a - b); break;
	case 0x1e: push(m, a * b); break;
	case 0x21: push(m, a | b); break;
	case 0x22: push(m, a + b); break;
	case 0x24: push(m, b < 64 ? a << b : 0); break;
	case 0x25: push(m, b < 64 ? a >> b : 0); break;
	case 0x27: push(m, a ^ b); break;
	case 0x29: push(m, a == b); break;
	case 0x2a: push(m, (int64_t)a >= (int64_t)b); break;
	case 0x2b: push(m, (int64_t)a > (int64_t)b); break;
	case 0x2c: push(m, (int64_t)a <= (int64_t)b); break;
	case 0x2d: push(m, (int64_t)a < (int64_t)b); break;
	case 0x2e: push(m, a != b); break;
	default: m->bad = true;
	}
}

/* Constants, registers and memory; everything else takes two operands. */
static void eval_one(struct machine *m, uint8_t op, struct reader *r, const uintptr_t reg[CFI_REGS],
		     uintptr_t ip, cfi_load_fn load, void *data)
{
	uintptr_t v;

	if (op >= 0x30 && op <= 0x4f) { /* lit0… */
		push(m, op - 0x30u);
		return;
	}
	if (op >= 0x70 && op <= 0x80) { /* breg0…breg16 */
		push(m, (op == 0x80 ? ip : reg[op - 0x70]) + (uint64_t)take_sleb(r));
		return;
	}
	switch (op) {
	case 0x06: /* deref */
		if (load(data, pop(m), &v))
			push(m, v);
		else
			m->bad = true;
		break;
	case 0x08: push(m, take_u8(r)); break;
	case 0x09: push(m, (uint64_t)(int64_t)(int8_t)take_u8(r)); break;
	case 0x0a: push(m, take_u16(r)); break;
	case 0x0b: push(m, (uint64_t)(int64_t)(int16_t)take_u16(r)); break;
	case 0x0c: push(m, take_u32(r)); break;
	case 0x0d: push(m, (uint64_t)(int64_t)(int32_t)take_u32(r)); break;
	case 0x0e:
	case 0x0f: push(m, take_u64(r)); break;
	case 0x10: push(m, take_uleb(r)); break;
	case 0x11: push(m, (uint64_t)take_sleb(r)); break;
	case 0x12: /* dup */
		v = pop(m);
		push(m, v);
		push(m, v);
		break;
	case 0x13: (void)pop(m); break;
	case 0x1f: push(m, -pop(m)); break;
	case 0x20: push(m, ~pop(m)); break;
	case 0x23: push(m, pop(m) + take_uleb(r)); break;
	default: eval_binary(m, op);
	}
}

bool cfi_eval(const uint8_t *expr, size_t len, const uintptr_t reg[CFI_REGS], uintptr_t ip,
	      cfi_load_fn load, void *data, uintptr_t *ret)
{
	struct reader r = { expr, expr + len, false };
	struct machine m = { .n = 0 };

	while (r.p < r.end && !r.bad && !m.bad)
		eval_one(&m, take_u8(&r), &r, reg, ip, load, data);
	if (r.bad || m.bad || m.n != 1)
		return false;
	*ret = m.stack[0];
	return true;
}
