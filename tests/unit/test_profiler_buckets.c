#include "profiler_fixture.h"

#include "profiler/buckets.h"

enum { THREADS = 4, ROUNDS = 20000, STACKS = 500 };

static const char task[] = "sync.peer";

static int64_t sum(const struct stacks *s, unsigned value)
{
	int64_t total = s->lost[value];

	for (const struct stack *k = s->first; k != NULL; k = k->next)
		total += k->values[value];
	return total;
}

static void equal_stacks_share_a_bucket(void **state)
{
	static struct buckets b;
	uintptr_t pcs[] = { 1, 2, 3 };
	struct bucket *k = buckets_find(&b, pcs, 3, task, NULL);

	assert_non_null(k);
	assert_ptr_equal(buckets_find(&b, pcs, 3, task, NULL), k);
	assert_ptr_not_equal(buckets_find(&b, pcs, 2, task, NULL), k);
	assert_ptr_not_equal(buckets_find(&b, pcs, 3, NULL, NULL), k);
	assert_ptr_not_equal(buckets_find(&b, pcs, 3, task, task), k);
	assert_int_equal(buckets_used(&b), 4);
	assert_int_equal(buckets_lost(&b), 0);
}

static void totals_become_the_values_of_stacks(void **state)
{
	static struct buckets b;
	uintptr_t pcs[] = { 7, 8 };
	struct bucket *k = buckets_find(&b, pcs, 2, task, "mutex");
	struct stacks s;

	for (unsigned i = 0; i < BUCKET_TOTALS; i++)
		buckets_add(&b, k, i, i + 1);
	stacks_init(&s);
	CHECK_STATUS(0, buckets_count(&b, &s, 1));
	assert_int_equal(s.count, 1);
	assert_int_equal(s.first->n, 2);
	assert_int_equal(s.first->pcs[1], 8);
	assert_ptr_equal(s.first->task, task);
	for (unsigned i = 0; i < BUCKET_TOTALS; i++)
		assert_int_equal(s.first->values[i], i + 1);
	stacks_fini(&s);
}

static void the_difference_is_what_was_added_in_between(void **state)
{
	static struct buckets b;
	uintptr_t still[] = { 1 }, busy[] = { 2 };
	struct stacks s;

	buckets_add(&b, buckets_find(&b, still, 1, NULL, NULL), 0, 5);
	buckets_add(&b, buckets_find(&b, busy, 1, NULL, NULL), 0, 7);
	stacks_init(&s);
	CHECK_STATUS(0, buckets_count(&b, &s, -1));
	buckets_add(&b, buckets_find(&b, busy, 1, NULL, NULL), 0, 3);
	buckets_add(&b, NULL, 0, 9);
	CHECK_STATUS(0, buckets_count(&b, &s, 1));
	for (const struct stack *k = s.first; k != NULL; k = k->next)
		assert_int_equal(k->values[0], k->pcs[0] == 2 ? 3 : 0);
	assert_int_equal(s.lost[0], 9);
	stacks_fini(&s);
}

static void the_rest_is_what_there_was_without_what_is_over(void **state)
{
	static struct buckets b = { .fraction_bits = { 8, 8 }, .rest_of = { [1] = 1 + 0 } };
	struct bucket *k = buckets_find(&b, &(uintptr_t){ 1 }, 1, NULL, NULL);
	int64_t sums[BUCKET_TOTALS];
	struct stacks s;

	buckets_add(&b, k, 0, 5 << 8);
	buckets_add(&b, k, 1, 3 << 8);
	buckets_add(&b, NULL, 0, 7 << 8);
	buckets_add(&b, NULL, 1, 7 << 8);
	stacks_init(&s);
	CHECK_STATUS(0, buckets_count(&b, &s, 1));
	assert_int_equal(s.first->values[0], 5);
	assert_int_equal(s.first->values[1], 2);
	assert_int_equal(s.lost[1], 0);
	stacks_fini(&s);
	buckets_sum(&b, sums);
	assert_int_equal(sums[0], 12);
	assert_int_equal(sums[1], 2);
}

static void a_full_table_counts_what_it_loses_and_goes_on(void **state)
{
	static struct buckets b;
	struct bucket *k;
	struct stacks s;

	for (uintptr_t pc = 1; pc <= BUCKETS_MAX + 10; pc++) {
		k = buckets_find(&b, &pc, 1, NULL, NULL);
		assert_true((k != NULL) == (pc <= BUCKETS_MAX));
		buckets_add(&b, k, 0, 1);
	}
	assert_non_null(buckets_find(&b, &(uintptr_t){ 5 }, 1, NULL, NULL));
	assert_int_equal(buckets_used(&b), BUCKETS_MAX);
	assert_int_equal(buckets_lost(&b), 10);
	stacks_init(&s);
	CHECK_STATUS(0, buckets_count(&b, &s, 1));
	assert_int_equal(s.lost[0], 10);
	assert_int_equal(sum(&s, 0), BUCKETS_MAX + 10);
	stacks_fini(&s);
}

static void deep_stacks_fill_the_memory_and_are_lost_then(void **state)
{
	static struct buckets b;
	static uintptr_t pcs[BUCKET_FRAMES_MAX + 50];

	for (uintptr_t i = 1; i <= BUCKETS_MAX; i++) {
		pcs[0] = i;
		(void)buckets_find(&b, pcs, ARRAY_SIZE(pcs), NULL, NULL);
	}
	assert_true(buckets_used(&b) > BUCKETS_MEMORY_MAX / (2 * sizeof(pcs)));
	assert_true(buckets_used(&b) < BUCKETS_MAX);
	assert_int_equal(buckets_used(&b) + buckets_lost(&b), BUCKETS_MAX);
	assert_true(buckets_memory(&b) >= BUCKETS_MEMORY_MAX);
}

static struct buckets shared;

static void *add_many(void *arg)
{
	for (uintptr_t i = 0; i < ROUNDS; i++) {
		uintptr_t pcs[] = { i * 7 % STACKS + 1, 42 };

		buckets_add(&shared, buckets_find(&shared, pcs, 2, task, NULL), 1, 1);
	}
	return arg;
}

static void threads_add_at_once_without_a_lock(void **state)
{
	pthread_t threads[THREADS];
	struct stacks s;

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	stacks_init(&s);
	CHECK_STATUS(0, buckets_count(&shared, &s, 1));
	assert_int_equal(s.count, STACKS);
	assert_int_equal(buckets_used(&shared), STACKS);
	assert_int_equal(sum(&s, 1), THREADS * ROUNDS);
	stacks_fini(&s);
}

static void reading_survives_oom_at_every_allocation(void **state)
{
	static struct buckets b;
	struct stacks s;
	int rc;

	for (uintptr_t pc = 1; pc <= 300; pc++)
		buckets_add(&b, buckets_find(&b, &pc, 1, NULL, NULL), 0, 1);
	FAULT_SWEEP({
		stacks_init(&s);
		rc = buckets_count(&b, &s, 1);
		CHECK_STATUS(s.dropped > 0 ? UV_ENOMEM : 0, rc);
		assert_true(mem_fault_hits() > 0 || rc == 0);
		assert_int_equal(sum(&s, 0), 300);
		stacks_fini(&s);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_stacks_share_a_bucket),
		cmocka_unit_test(totals_become_the_values_of_stacks),
		cmocka_unit_test(the_difference_is_what_was_added_in_between),
		cmocka_unit_test(the_rest_is_what_there_was_without_what_is_over),
		cmocka_unit_test(a_full_table_counts_what_it_loses_and_goes_on),
		cmocka_unit_test(deep_stacks_fill_the_memory_and_are_lost_then),
		cmocka_unit_test(threads_add_at_once_without_a_lock),
		cmocka_unit_test(reading_survives_oom_at_every_allocation),
	};

	(void)fixture_setup;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
