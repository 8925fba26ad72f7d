#include "profiler/rows.h"

#include <stdatomic.h>
#include <string.h>

#include "profiler/pages.h"

/* A sample comes when the caches hold the program's data and not ours: it costs what it touches of
 * lines and pages. So most rows are packed into a word, and an entry is two:
 *
 *   check = key ^ row
 *     key  bits 0-46   pc, or the number of a granule of code
 *          bits 50-63  generation
 *   row    as in rows.h; no offset row: bits 16-18 are its kind
 *
 * Two threads that write an entry at once leave a pair whose check fails, which reads as a miss:
 * neither lock nor sequence counter is needed. Generations come round after 16,384 changes of what
 * is loaded; a row that stale gives a wrong frame, not a wrong read.
 *
 * Calls are few and come again: they are entered by pc. Interrupted addresses are all different,
 * but most of a function has one row: they are entered by granules, all of those at once that the
 * row covers in the window around the pc.
 *
 * What does not fit the word (expressions, CFAs on other registers, realigned stacks) is kept whole
 * in a small table with a sequence counter per slot; a writer that finds a slot busy goes without.
 */

enum {
	CALL_BITS = 13,
	GRANULE_BITS = 14, /* entries: 512 KiB of code */
	GRANULE_SHIFT = 5,
	WINDOW = 32, /* granules: eight cache lines of entries */
	WHOLE_BITS = 8,
	WHOLE_WORDS = sizeof(struct cfi_row) / 8,
	ADDRESS_BITS = 47,
	GENERATION_SHIFT = 50,
	CFA_MAX = ROWS_CFA_MAX,
	CFA_RBP = ROWS_CFA_RBP,
	SAVED_SHIFT = ROWS_SAVED_SHIFT,
	SAVED_MAX = ROWS_SAVED_MAX
};

struct entry {
	_Atomic uint64_t check, row;
};
struct whole {
	_Atomic uint32_t seq; /* odd while written */
	_Atomic uint64_t words[WHOLE_WORDS];
};

static struct entry calls[1 << CALL_BITS], granules[1 << GRANULE_BITS];
static struct whole wholes[1 << WHOLE_BITS];
static _Atomic uint32_t generation;
static _Atomic uint64_t misses;

/* ---- Packing ---- */

static bool pack(const struct cfi_row *row, uint64_t *ret)
{
	uint64_t v;

	if (row->kind == CFI_EXPR)
		return false;
	if (row->kind != CFI_OFFSET) {
		*ret = (uint64_t)row->kind << SAVED_SHIFT;
		return true;
	}
	if ((row->cfa_reg != CFI_RSP && row->cfa_reg != CFI_RBP) || row->ra_off != -8 ||
	    row->cfa_off <= 0 || row->cfa_off % 8 != 0 || row->cfa_off / 8 > CFA_MAX)
		return false;
	v = (uint64_t)row->cfa_off / 8 | (row->cfa_reg == CFI_RBP ? CFA_RBP : 0);
	for (unsigned i = 0; i < CFI_SAVED; i++) {
		int below = -row->saved[i];

		if (cfi_saved_mode(row, i) == CFI_SAME)
			continue;
		if (cfi_saved_mode(row, i) != CFI_AT_CFA || below <= 0 || below % 8 != 0 ||
		    below / 8 > SAVED_MAX)
			return false;
		v |= (uint64_t)(below / 8) << (SAVED_SHIFT + 8 * i);
	}
	*ret = v;
	return true;
}

static void unpack(uint64_t v, uintptr_t pc, struct cfi_row *ret)
{
	*ret = (struct cfi_row){ .pc = pc, .from = pc, .to = pc + 1 };
	if ((v & CFA_MAX) == 0) {
		ret->kind = v >> SAVED_SHIFT & 7;
		return;
	}
	ret->kind = CFI_OFFSET;
	ret->cfa_reg = v & CFA_RBP ? CFI_RBP : CFI_RSP;
	ret->cfa_off = (int32_t)(v & CFA_MAX) * 8;
	ret->ra_off = -8;
	v >>= SAVED_SHIFT;
	for (unsigned i = 0; v != 0; i++, v >>= 8) {
		if ((v & SAVED_MAX) == 0)
			continue;
		ret->saved[i] = (int16_t) - (int)((v & SAVED_MAX) * 8);
		ret->modes |= (uint16_t)(CFI_AT_CFA << (2 * i));
	}
}

/* ---- Entries ---- */

static uint64_t key_of(uint64_t number, uint32_t now)
{
	return number | (uint64_t)now << GENERATION_SHIFT;
}

static bool entry_read(const struct entry *e, uint64_t key, uint64_t *ret)
{
	*ret = atomic_load_explicit(&e->row, memory_order_relaxed);
	return (atomic_load_explicit(&e->check, memory_order_relaxed) ^ *ret) == key;
}

static void entry_write(struct entry *e, uint64_t key, uint64_t row)
{
	atomic_store_explicit(&e->check, key ^ row, memory_order_relaxed);
	atomic_store_explicit(&e->row, row, memory_order_relaxed);
}

static struct entry *call_entry(uintptr_t pc)
{
	return &calls[(pc * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - CALL_BITS)];
}

/* Neighbours lie side by side. */
static struct entry *granule_entry(uintptr_t number)
{
	return &granules[(number + (number >> GRANULE_BITS) * 5 * WINDOW) &
			 ((1 << GRANULE_BITS) - 1)];
}

static void enter_granules(uintptr_t pc, const struct cfi_row *row, uint64_t packed, uint32_t now)
{
	uintptr_t window = (pc >> GRANULE_SHIFT) & ~(uintptr_t)(WINDOW - 1);
	uintptr_t first = (row->from + (1 << GRANULE_SHIFT) - 1) >> GRANULE_SHIFT,
		  end = row->to >> GRANULE_SHIFT;

	first = MAX(first, window);
	end = MIN(end, window + WINDOW);
	for (uintptr_t g = first; g < end; g++)
		entry_write(granule_entry(g), key_of(g, now), packed);
}

/* ---- Whole rows ---- */

static struct whole *whole_slot(uintptr_t pc)
{
	return &wholes[(pc * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - WHOLE_BITS)];
}

static bool whole_read(struct whole *s, uintptr_t pc, uint32_t now, struct cfi_row *ret)
{
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_acquire);
	uint64_t words[WHOLE_WORDS];

	for (unsigned i = 0; i < WHOLE_WORDS; i++)
		words[i] = atomic_load_explicit(&s->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (seq & 1 || atomic_load_explicit(&s->seq, memory_order_relaxed) != seq)
		return false;
	memcpy(ret, words, sizeof(words));
	return ret->pc == pc && ret->generation == now;
}

static void whole_write(struct whole *s, const struct cfi_row *row)
{
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);
	uint64_t words[WHOLE_WORDS];

	if (seq & 1 || !atomic_compare_exchange_strong_explicit(
			       &s->seq, &seq, seq + 1, memory_order_acquire, memory_order_relaxed))
		return;
	atomic_thread_fence(memory_order_release);
	memcpy(words, row, sizeof(words));
	for (unsigned i = 0; i < WHOLE_WORDS; i++)
		atomic_store_explicit(&s->words[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&s->seq, seq + 2, memory_order_release);
}

/* ---- The door ---- */

/* The likelier of the two first. */
static inline bool find_packed(uintptr_t pc, bool exact, uint32_t now, uint64_t *ret)
{
	uintptr_t g = pc >> GRANULE_SHIFT;

	if (exact && entry_read(granule_entry(g), key_of(g, now), ret))
		return true;
	if (entry_read(call_entry(pc), key_of(pc, now), ret))
		return true;
	return !exact && entry_read(granule_entry(g), key_of(g, now), ret);
}

static void remember(uintptr_t pc, bool exact, uint32_t now, struct cfi_row *row)
{
	uint64_t packed;

	row->generation = now;
	if (!pack(row, &packed)) {
		whole_write(whole_slot(pc), row);
		return;
	}
	if (exact)
		enter_granules(pc, row, packed, now);
	if (!exact || !entry_read(granule_entry(pc >> GRANULE_SHIFT),
				  key_of(pc >> GRANULE_SHIFT, now), &packed)) {
		(void)pack(row, &packed);
		entry_write(call_entry(pc), key_of(pc, now), packed);
	}
}

void rows_get(uintptr_t pc, bool exact, struct cfi_row *ret)
{
	uint32_t now = atomic_load_explicit(&generation, memory_order_relaxed);
	uint64_t packed;

	if (pc >> ADDRESS_BITS != 0) {
		cfi_find(pc, ret);
		return;
	}
	if (find_packed(pc, exact, now, &packed)) {
		unpack(packed, pc, ret);
		return;
	}
	if (whole_read(whole_slot(pc), pc, now, ret))
		return;
	cfi_find(pc, ret);
	atomic_fetch_add_explicit(&misses, 1, memory_order_relaxed);
	remember(pc, exact, now, ret);
}

bool rows_get_word(uintptr_t pc, bool exact, uint64_t *ret)
{
	uint32_t now = atomic_load_explicit(&generation, memory_order_relaxed);

	return pc >> ADDRESS_BITS == 0 && find_packed(pc, exact, now, ret) && (*ret & CFA_MAX) != 0;
}

void rows_new_generation(void)
{
	atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
}

uint64_t rows_read(void)
{
	return atomic_load_explicit(&misses, memory_order_relaxed);
}

void rows_populate(void)
{
	pages_populate(calls, sizeof(calls), true);
	pages_populate(granules, sizeof(granules), true);
	pages_populate(wholes, sizeof(wholes), true);
}
