#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "profiler/cfi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
	const uint8_t *lo;
	size_t size;
};

static bool load(void *data, uintptr_t addr, uintptr_t *ret)
{
	const struct memory *m = data;
	size_t at = (size_t)(addr % (m->size + 1));

	if (m->size < sizeof(*ret) || at > m->size - sizeof(*ret))
		return false;
	memcpy(ret, m->lo + at, sizeof(*ret));
	return true;
}

/* Byte 0: where the FDE is; bytes 1-8: the pc, relative to the buffer; then the section, which is
 * also run as an expression. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uintptr_t reg[CFI_REGS], cfa = 0, rel;
	struct memory m = { data, size };
	struct cfi_row row;

	if (size < 9)
		return 0;
	memcpy(&rel, data + 1, sizeof(rel));
	for (unsigned i = 0; i < CFI_REGS; i++)
		reg[i] = rel * (i + 1);
	cfi_parse(data + data[0] % size, data, data + size, (uintptr_t)data + rel, &row);
	if (row.kind == CFI_EXPR) {
		REQUIRE(row.expr >= data && row.expr_len <= (size_t)(data + size - row.expr));
		(void)cfi_eval(row.expr, row.expr_len, reg, rel, load, &m, &cfa);
	}
	(void)cfi_eval(data + 9, size - 9, reg, rel, load, &m, &cfa);
	return 0;
}
