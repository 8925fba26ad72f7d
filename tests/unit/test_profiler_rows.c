#include "test_util.h"

#include <sodium.h>
#include <sqlite3.h>
#include <zlib.h>

#include "base/base.h"
#include "profiler/modules.h"
#include "profiler/rows.h"

/* What is remembered of a row says what was read, for addresses all over the libraries at hand. */

enum { LOOKS = 200000 };

static struct modules modules;
static uint64_t random_state = 1;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	return random_state ^= random_state << 17;
}

static uintptr_t some_pc(void)
{
	const struct module *m = &modules.list[next_random() % modules.count];

	return m->start + next_random() % (m->limit - m->start);
}

static bool same_rules(const struct cfi_row *a, const struct cfi_row *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == CFI_EXPR && (a->expr != b->expr || a->expr_len != b->expr_len))
		return false;
	if (a->kind != CFI_EXPR && a->kind != CFI_OFFSET)
		return true;
	if (a->kind == CFI_OFFSET && (a->cfa_reg != b->cfa_reg || a->cfa_off != b->cfa_off))
		return false;
	for (unsigned i = 0; i < CFI_SAVED; i++)
		if (cfi_saved_mode(a, i) != cfi_saved_mode(b, i) ||
		    (cfi_saved_mode(a, i) != CFI_SAME && cfi_saved_mode(a, i) != CFI_LOST &&
		     a->saved[i] != b->saved[i]))
			return false;
	return a->ra_off == b->ra_off;
}

static void a_remembered_row_is_the_one_that_was_read(void **state)
{
	struct cfi_row read, got;

	for (unsigned i = 0; i < LOOKS; i++) {
		uintptr_t pc = some_pc();
		bool exact = next_random() & 1;

		cfi_find(pc, &read);
		for (unsigned again = 0; again < 2; again++) {
			rows_get(pc, exact, &got);
			if (!same_rules(&read, &got))
				fail_msg("%#lx: kind %u and %u", (unsigned long)pc, read.kind,
					 got.kind);
		}
	}
}

static void a_row_holds_for_its_whole_range(void **state)
{
	struct cfi_row row, other;

	for (unsigned i = 0; i < LOOKS / 4; i++) {
		uintptr_t pc = some_pc(), at;

		cfi_find(pc, &row);
		assert_true(row.from <= pc && pc < row.to);
		at = row.from + next_random() % (row.to - row.from);
		cfi_find(at, &other);
		assert_true(same_rules(&row, &other));
		assert_true(other.from == row.from && other.to == row.to);
	}
}

static void a_second_look_reads_nothing(void **state)
{
	uintptr_t pc = (uintptr_t)a_second_look_reads_nothing + 40;
	struct cfi_row row;
	uint64_t before;

	rows_populate();
	for (unsigned exact = 0; exact < 2; exact++) {
		rows_new_generation();
		rows_get(pc, exact, &row);
		before = rows_read();
		rows_get(pc, exact, &row);
		assert_int_equal(rows_read(), before);
		rows_new_generation();
		rows_get(pc, exact, &row);
		assert_int_equal(rows_read(), before + 1);
	}
}

static void addresses_beyond_the_user_s_half_are_no_code(void **state)
{
	const uintptr_t pcs[] = { 0, 1, UINT64_C(1) << 47, UINT64_C(0xffffffffff600000),
				  UINTPTR_MAX };
	struct cfi_row row;

	for (size_t i = 0; i < ARRAY_SIZE(pcs); i++) {
		rows_get(pcs[i], i & 1, &row);
		assert_int_equal(row.kind, CFI_NONE);
	}
}

/* So that the libraries are there to be looked at. */
static int load(void **state)
{
	assert_non_null(sqlite3_libversion());
	assert_non_null(zlibVersion());
	assert_non_null(sodium_version_string());
	return modules_add(&modules);
}

static int unload(void **state)
{
	modules_fini(&modules);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_remembered_row_is_the_one_that_was_read),
		cmocka_unit_test(a_row_holds_for_its_whole_range),
		cmocka_unit_test(a_second_look_reads_nothing),
		cmocka_unit_test(addresses_beyond_the_user_s_half_are_no_code),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
