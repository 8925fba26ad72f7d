#include "tests/unit/test_util.h"

#include "base/map.h"

static char values[1000];

static void keys_are_copied_bytes_of_any_kind(void **state)
{
	CLEANUP(map_fini) struct map m = { 0 };
	char key[] = "a\0b";

	map_init(&m, 10);
	CHECK_STATUS(0, map_put(&m, key, 3, &values[1]));
	CHECK_STATUS(0, map_put(&m, key, 1, &values[2]));
	CHECK_STATUS(0, map_put(&m, NULL, 0, &values[3]));
	key[0] = 'x';
	assert_ptr_equal(map_get(&m, "a\0b", 3), &values[1]);
	assert_ptr_equal(map_get(&m, "a", 1), &values[2]);
	assert_ptr_equal(map_get(&m, "", 0), &values[3]);
	assert_null(map_get(&m, "a\0c", 3));
	assert_int_equal(map_count(&m), 3);
}

static void putting_again_replaces(void **state)
{
	CLEANUP(map_fini) struct map m = { 0 };

	map_init(&m, 1);
	CHECK_STATUS(0, map_put(&m, "k", 1, &values[1]));
	CHECK_STATUS(0, map_put(&m, "k", 1, &values[2]));
	assert_ptr_equal(map_del(&m, "k", 1), &values[2]);
	assert_null(map_del(&m, "k", 1));
	assert_int_equal(map_count(&m), 0);
}

static void the_limit_holds_for_new_keys_only(void **state)
{
	CLEANUP(map_fini) struct map m = { 0 };

	map_init(&m, 2);
	CHECK_STATUS(0, map_put(&m, "a", 1, &values[1]));
	CHECK_STATUS(0, map_put(&m, "b", 1, &values[2]));
	CHECK_STATUS(ERR_LIMIT, map_put(&m, "c", 1, &values[3]));
	CHECK_STATUS(0, map_put(&m, "a", 1, &values[3]));
	CHECK_STATUS(ERR_LIMIT, map_put(&m, "huge", SIZE_MAX / 2, &values[3]));
	assert_null(map_get(&m, "huge", SIZE_MAX / 2));
}

static void iteration_is_in_insertion_order_and_allows_deleting(void **state)
{
	CLEANUP(map_fini) struct map m = { 0 };
	uint16_t next = 0;

	map_init(&m, 1000);
	assert_null(map_first(&m).value);
	for (uint16_t i = 0; i < 1000; i++)
		CHECK_STATUS(0, map_put(&m, &i, sizeof(i), &values[i]));
	for (struct map_iter it = map_first(&m); it.value; map_next(&it)) {
		assert_int_equal(it.key_len, sizeof(next));
		assert_memory_equal(it.key, &next, sizeof(next));
		assert_ptr_equal(it.value, &values[next]);
		assert_non_null(map_del(&m, it.key, it.key_len));
		next++;
	}
	assert_int_equal(next, 1000);
	assert_int_equal(map_count(&m), 0);
}

static void random_operations_match_an_array(void **state)
{
	CLEANUP(map_fini) struct map m = { 0 };
	void *oracle[256] = { NULL };
	struct manual_loop l;

	manual_loop_init(&l, 42);
	map_init(&m, 256);
	for (int i = 0; i < 20000; i++) {
		uint8_t key = (uint8_t)runner_random_below(&l.runner, 256);
		void *value = &values[runner_random_below(&l.runner, 1000)];

		if (runner_random_below(&l.runner, 2) == 0) {
			assert_ptr_equal(map_del(&m, &key, 1), oracle[key]);
			oracle[key] = NULL;
		} else {
			CHECK_STATUS(0, map_put(&m, &key, 1, value));
			oracle[key] = value;
		}
		assert_ptr_equal(map_get(&m, &key, 1), oracle[key]);
	}
}

static void filling_survives_oom_at_every_allocation(void **state)
{
	FAULT_SWEEP({
		struct map m;
		size_t stored = 0;

		map_init(&m, 1000);
		for (uint16_t i = 0; i < 400; i++) {
			int rc = map_put(&m, &i, sizeof(i), &values[i]);

			assert_true(rc == 0 || (rc == UV_ENOMEM && mem_fault_hits() > 0));
			assert_ptr_equal(map_get(&m, &i, sizeof(i)), rc == 0 ? &values[i] : NULL);
			stored += rc == 0;
		}
		assert_int_equal(map_count(&m), stored);
		assert_true(stored + mem_fault_hits() >= 400);
		map_fini(&m);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_copied_bytes_of_any_kind),
		cmocka_unit_test(putting_again_replaces),
		cmocka_unit_test(the_limit_holds_for_new_keys_only),
		cmocka_unit_test(iteration_is_in_insertion_order_and_allows_deleting),
		cmocka_unit_test(random_operations_match_an_array),
		cmocka_unit_test(filling_survives_oom_at_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
