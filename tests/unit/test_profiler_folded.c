#include "profiler_fixture.h"

#include <stdlib.h>

#include "profiler/folded.h"
#include "profiler/symbols.h"

/* Addresses of known functions, folded into text. */

WHOLE static void folded_leaf(void)
{
	__asm__ volatile("" : : : "memory");
}

WHOLE static void folded_root(void)
{
	__asm__ volatile("nop" : : : "memory");
}

static void fill(struct stacks *s)
{
	const uintptr_t deep[] = { (uintptr_t)folded_leaf + 1, (uintptr_t)folded_root + 1 };
	const struct stack_key first = { deep, 2, "sync.session", "sync.discover", "main" };
	const struct stack_key second = { deep + 1, 1, NULL, NULL, "a\tb;c" };

	stacks_init(s);
	stacks_add_values(s, &first, (const int64_t[STACK_VALUES_MAX]){ 3, 300 });
	stacks_add_values(s, &second, (const int64_t[STACK_VALUES_MAX]){ 1, -5 });
}

static int fold(struct buf *out, const struct stacks *s, enum profiler_folding folding,
		const char *value)
{
	const struct pprof p = { .values = { { "samples", "count" }, { "cpu", "nanoseconds" } },
				 .value_count = 2 };
	struct modules modules = { 0 };
	int rc;

	rc = modules_add(&modules);
	buf_init(out, 1 << 20);
	if (rc == 0)
		rc = folded_write(out, &p, s, &modules, folding, value);
	modules_fini(&modules);
	return rc;
}

static void check_folded(enum profiler_folding folding, const char *value, const char *expected)
{
	struct stacks s;
	struct buf out;

	fill(&s);
	CHECK_STATUS(0, fold(&out, &s, folding, value));
	assert_string_equal(expected, (const char *)out.data);
	buf_fini(&out);
	stacks_fini(&s);
}

static void stacks_are_lines_with_the_root_first(void **state)
{
	check_folded(PROFILER_FOLDED, "samples", "folded_root;folded_leaf 3\nfolded_root 1\n");
}

static void what_pprof_shows_first_is_counted_and_nothing_negative(void **state)
{
	check_folded(PROFILER_FOLDED, NULL, "folded_root;folded_leaf 300\n");
	check_folded(PROFILER_FOLDED, "nonsense", "folded_root;folded_leaf 300\n");
}

static void labels_and_origins_stand_apart_from_names(void **state)
{
	check_folded(PROFILER_LABELLED, "samples",
		     "V\tsamples\tcount\n"
		     "F\tunit\tfolded_root\nF\tunit\tfolded_leaf\n"
		     "S\t3\tsync.discover\tsync.session\tmain\t0 1 \n"
		     "S\t1\t\t\ta_b_c\t0 \n");
}

static void what_was_lost_is_a_function_of_its_own(void **state)
{
	struct stacks s;
	struct buf out;

	fill(&s);
	s.lost[0] = 7;
	CHECK_STATUS(0, fold(&out, &s, PROFILER_FOLDED, "samples"));
	assert_non_null(strstr((const char *)out.data, "\nprofiler_lost_samples 7\n"));
	buf_fini(&out);
	CHECK_STATUS(0, fold(&out, &s, PROFILER_LABELLED, "samples"));
	assert_non_null(strstr((const char *)out.data,
			       "F\tprofiler\tprofiler_lost_samples\nS\t7\t\t\t\t2\n"));
	buf_fini(&out);
	stacks_fini(&s);
}

static void folding_survives_oom_at_every_allocation(void **state)
{
	struct stacks s;
	struct buf out;
	int rc;

	fill(&s);
	CHECK_STATUS(0, fold(&out, &s, PROFILER_LABELLED, NULL)); /* names are cached from here */
	buf_fini(&out);
	FAULT_SWEEP({
		rc = fold(&out, &s, PROFILER_LABELLED, NULL);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		buf_fini(&out);
	});
	stacks_fini(&s);
	symbols_forget();
}

static void captures_come_folded(void **state)
{
	struct profiler_request request = { .kind = PROFILER_HEAP, .folding = PROFILER_LABELLED };
	const struct buf *out = fixture_capture(*state, &request);

	assert_non_null(out->data);
	assert_int_equal(0, strncmp((const char *)out->data, "V\tinuse_space\tbytes\n", 20));
	request.value = "alloc_objects";
	out = fixture_capture(*state, &request);
	assert_int_equal(0, strncmp((const char *)out->data, "V\talloc_objects\tcount\n", 22));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stacks_are_lines_with_the_root_first),
		cmocka_unit_test(what_pprof_shows_first_is_counted_and_nothing_negative),
		cmocka_unit_test(labels_and_origins_stand_apart_from_names),
		cmocka_unit_test(what_was_lost_is_a_function_of_its_own),
		cmocka_unit_test(folding_survives_oom_at_every_allocation),
		profiler_test(captures_come_folded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
