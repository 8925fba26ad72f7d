#include "tests/unit/test_util.h"

#include <pthread.h>

static uint64_t live_count(void)
{
	struct mem_stats s;

	mem_stats(&s);
	return s.live_count;
}

static uint64_t live_bytes(void)
{
	struct mem_stats s;

	mem_stats(&s);
	return s.live_bytes;
}

static uint64_t refused(void)
{
	struct mem_stats s;

	mem_stats(&s);
	return s.refused;
}

static void fresh_memory_is_zeroed(void **state)
{
	for (size_t size = 0; size < 300; size++) {
		uint8_t *p = mem_alloc(size);

		assert_non_null(p);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		if (size > 0)
			memset(p, 0xa5, size);
		mem_free(p);
	}
}

static void every_block_is_counted_and_freed(void **state)
{
	uint64_t count = live_count(), bytes = live_bytes();
	uint8_t *p = mem_alloc(100);

	assert_int_equal(live_count(), count + 1);
	assert_true(live_bytes() >= bytes + 100);
	p = mem_realloc(p, 10000);
	assert_non_null(p);
	assert_int_equal(live_count(), count + 1);
	assert_true(live_bytes() >= bytes + 10000);
	assert_null(mem_free(p));
	assert_null(mem_free(NULL));
	assert_int_equal(live_count(), count);
	assert_int_equal(live_bytes(), bytes);
}

static void sizes_that_overflow_are_refused(void **state)
{
	uint64_t before = refused();

	assert_null(mem_alloc_array(SIZE_MAX / 2, 3));
	assert_null(mem_alloc(SIZE_MAX));
	assert_null(mem_strndup("", SIZE_MAX));
	assert_int_equal(refused(), before + 2);
}

static void a_failed_realloc_leaves_the_block(void **state)
{
	char *p = mem_strdup("kept");

	assert_null(mem_realloc(p, SIZE_MAX));
	mem_fault_after(1, false);
	assert_null(mem_realloc(p, 100));
	assert_string_equal(p, "kept");
	mem_free(p);
}

static void realloc_of_null_and_to_zero_yield_blocks(void **state)
{
	uint64_t before = live_count();
	void *p = mem_realloc(NULL, 0);

	assert_non_null(p);
	p = mem_realloc(p, 0);
	assert_non_null(p);
	assert_int_equal(live_count(), before + 1);
	mem_free(p);
}

static void copies_are_copies(void **state)
{
	char *a = mem_strndup("hello", 3), *b = mem_printf("%s-%d", a, 42);
	void *c = mem_dup("ab", 2), *empty = mem_dup(NULL, 0);

	assert_string_equal(a, "hel");
	assert_string_equal(b, "hel-42");
	assert_memory_equal(c, "ab", 2);
	assert_non_null(empty);
	mem_freep(&a);
	assert_null(a);
	mem_free(b);
	mem_free(c);
	mem_free(empty);
}

static void the_cap_refuses_what_is_beyond_it(void **state)
{
	uint64_t before = refused();
	void *p, *q;

	mem_set_cap(live_bytes() + 1000);
	p = mem_alloc(500);
	q = mem_alloc(600);
	mem_set_cap(0);
	assert_non_null(p);
	assert_null(q);
	assert_int_equal(refused(), before + 1);
	mem_free(p);
}

static unsigned failures_of_five(uint64_t n, bool sticky)
{
	unsigned failed = 0;

	mem_fault_after(n, sticky);
	for (int i = 0; i < 5; i++) {
		void *p = mem_alloc(1);

		failed += p == NULL;
		mem_free(p);
	}
	assert_int_equal(mem_fault_hits(), failed);
	mem_fault_after(0, false);
	return failed;
}

static void faults_strike_the_nth_allocation(void **state)
{
	assert_int_equal(failures_of_five(1, false), 1);
	assert_int_equal(failures_of_five(3, false), 1);
	assert_int_equal(failures_of_five(6, false), 0);
	assert_int_equal(failures_of_five(3, true), 3);
	assert_int_equal(failures_of_five(1, true), 5);
}

static void *churn(void *data)
{
	bool *failed = data;

	for (int i = 0; i < 2000; i++) {
		void *p = mem_alloc((size_t)i);

		*failed |= p == NULL;
		mem_free(p);
	}
	return NULL;
}

static void faults_are_of_one_thread_and_counters_of_all(void **state)
{
	uint64_t count = live_count(), bytes = live_bytes();
	bool failed[2] = { false, false };
	pthread_t threads[2];

	mem_fault_after(1, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, &failed[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	mem_fault_after(0, false);
	assert_false(failed[0] || failed[1]);
	assert_int_equal(live_count(), count);
	assert_int_equal(live_bytes(), bytes);
}

static void arena_blocks_are_zeroed_aligned_and_apart(void **state)
{
	struct arena a;

	arena_init(&a, 1 << 20);
	for (size_t size = 0; size < 700; size++) {
		uint8_t *p = arena_alloc(&a, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
	}
	arena_fini(&a);
}

static void an_arena_takes_few_chunks(void **state)
{
	uint64_t before = live_count();
	struct arena a;

	arena_init(&a, 1 << 20);
	assert_int_equal(live_count(), before);
	for (int i = 0; i < (1 << 20) / 64; i++)
		assert_non_null(arena_alloc(&a, 64));
	assert_true(live_count() - before <= 21);
	arena_fini(&a);
	assert_int_equal(live_count(), before);
}

static void an_arena_keeps_its_limit(void **state)
{
	struct arena a;

	arena_init(&a, 100);
	assert_null(arena_alloc(&a, 101));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_non_null(arena_alloc(&a, 90));
	assert_null(arena_alloc(&a, 16));
	arena_fini(&a);
	assert_non_null(arena_alloc(&a, 16));
	arena_fini(&a);
}

static void a_large_block_does_not_end_a_chunk(void **state)
{
	struct arena a;
	uint8_t *p, *q;

	arena_init(&a, 1 << 20);
	p = arena_alloc(&a, 16);
	assert_non_null(arena_alloc(&a, 100000));
	q = arena_alloc(&a, 16);
	assert_ptr_equal(q, p + 16);
	arena_fini(&a);
}

static void arena_text_survives_oom_at_every_allocation(void **state)
{
	FAULT_SWEEP({
		struct arena a;
		char *s, *t;

		arena_init(&a, 100000);
		s = arena_strndup(&a, "hello", 4);
		t = arena_printf(&a, "%05000d", 7);
		if (mem_fault_hits() == 0) {
			assert_string_equal(s, "hell");
			assert_int_equal(strlen(t), 5000);
			assert_memory_equal(arena_dup(&a, "ab", 2), "ab", 2);
		}
		arena_fini(&a);
	});
}

static int disarm(void **state)
{
	mem_fault_after(0, false);
	mem_set_cap(0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fresh_memory_is_zeroed),
		cmocka_unit_test(every_block_is_counted_and_freed),
		cmocka_unit_test(sizes_that_overflow_are_refused),
		cmocka_unit_test(a_failed_realloc_leaves_the_block),
		cmocka_unit_test(realloc_of_null_and_to_zero_yield_blocks),
		cmocka_unit_test(copies_are_copies),
		cmocka_unit_test_teardown(the_cap_refuses_what_is_beyond_it, disarm),
		cmocka_unit_test_teardown(faults_strike_the_nth_allocation, disarm),
		cmocka_unit_test_teardown(faults_are_of_one_thread_and_counters_of_all, disarm),
		cmocka_unit_test(arena_blocks_are_zeroed_aligned_and_apart),
		cmocka_unit_test(an_arena_takes_few_chunks),
		cmocka_unit_test(an_arena_keeps_its_limit),
		cmocka_unit_test(a_large_block_does_not_end_a_chunk),
		cmocka_unit_test_teardown(arena_text_survives_oom_at_every_allocation, disarm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
