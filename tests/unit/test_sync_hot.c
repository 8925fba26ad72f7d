#include "sync/hot.h"

#include "base/mem.h"
#include "tests/unit/test_util.h"

static struct hash key_of(uint8_t n)
{
	return (struct hash){ { n } };
}

static int make(uint8_t key, size_t count, struct hot_set **ret)
{
	struct reconcile_item *items = mem_alloc_array(MAX(count, 1), sizeof(*items));
	struct hash k = key_of(key);

	if (items == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < count; i++)
		items[i].time = i + 1;
	return hot_set_make(&k, items, count, ret);
}

/* Made, kept, and used no more. */
static void keep(struct hot_sets *h, uint8_t key, size_t count)
{
	struct hot_set *set;

	CHECK_STATUS(0, make(key, count, &set));
	hot_keep(h, set);
	hot_release(set);
}

static size_t count_of(struct hot_sets *h, uint8_t key)
{
	struct hash k = key_of(key);
	struct hot_set *set = hot_find(h, &k);
	size_t count = set != NULL ? set->set.count : 0;

	hot_release(set);
	return count;
}

static void a_kept_set_is_found_until_another_takes_its_place(void **state)
{
	struct hot_sets h;

	(void)state;
	hot_init(&h);
	assert_int_equal(count_of(&h, 1), 0);
	keep(&h, 1, 3);
	keep(&h, 2, 5);
	assert_int_equal(count_of(&h, 1), 3);
	assert_int_equal(count_of(&h, 2), 5);
	keep(&h, 1, 4);
	assert_int_equal(count_of(&h, 1), 4);
	assert_int_equal(map_count(&h.by_scope), 2);
	assert_int_equal(h.dropped, 0);
	hot_fini(&h);
	assert_int_equal(h.bytes, 0);
}

static void a_set_in_use_outlives_its_place(void **state)
{
	struct hash k = key_of(1);
	struct hot_sets h;
	struct hot_set *set;

	(void)state;
	hot_init(&h);
	keep(&h, 1, 3);
	set = hot_find(&h, &k);
	keep(&h, 1, 4);
	assert_int_equal(set->set.count, 3);
	assert_int_equal(set->set.items[2].time, 3);
	hot_fini(&h);
	assert_int_equal(set->set.items[2].time, 3);
	assert_null(hot_release(set));
}

static void empty_sets_are_not_kept(void **state)
{
	struct hot_sets h;

	(void)state;
	hot_init(&h);
	keep(&h, 1, 0);
	assert_int_equal(map_count(&h.by_scope), 0);
	hot_fini(&h);
}

static void those_used_least_recently_make_room(void **state)
{
	enum { HALF = HOT_BYTES_MAX / 2 / HOT_ITEM_BYTES - 16 };
	struct hot_sets h;

	(void)state;
	hot_init(&h);
	keep(&h, 1, HALF);
	keep(&h, 2, HALF);
	assert_int_equal(count_of(&h, 1), HALF); /* used now */
	keep(&h, 3, HALF / 2);
	assert_int_equal(count_of(&h, 1), HALF);
	assert_int_equal(count_of(&h, 2), 0);
	assert_int_equal(count_of(&h, 3), HALF / 2);
	assert_int_equal(h.dropped, 1);
	assert_true(h.bytes <= HOT_BYTES_MAX);
	keep(&h, 4, 2 * HALF + 64); /* alone more than all may have */
	assert_int_equal(count_of(&h, 4), 0);
	assert_int_equal(h.dropped, 1);
	hot_fini(&h);
}

static void their_number_is_bounded(void **state)
{
	struct hot_sets h;

	(void)state;
	hot_init(&h);
	for (size_t i = 0; i < HOT_SETS_MAX + 10; i++) {
		struct reconcile_item *items = mem_alloc_array(1, sizeof(*items));
		struct hash k = { { (uint8_t)i, (uint8_t)(i >> 8) } };
		struct hot_set *set;

		CHECK_STATUS(0, hot_set_make(&k, items, 1, &set));
		hot_keep(&h, set);
		hot_release(set);
	}
	assert_int_equal(map_count(&h.by_scope), HOT_SETS_MAX);
	assert_int_equal(h.dropped, 10);
	hot_fini(&h);
}

static void keeping_survives_oom_at_every_allocation(void **state)
{
	(void)state;
	FAULT_SWEEP({
		struct hot_sets h;
		struct hot_set *set = NULL;
		int err;

		hot_init(&h);
		err = make(1, 8, &set);
		assert_true(err == 0 || (err == UV_ENOMEM && mem_fault_hits() > 0));
		if (err == 0)
			hot_keep(&h, set);
		hot_release(set);
		hot_fini(&h);
	});
}

static void two_of_a_kind_are_no_set(void **state)
{
	struct reconcile_item *items = mem_alloc_array(2, sizeof(*items));
	struct hash k = key_of(1);
	struct hot_set *set;

	(void)state;
	CHECK_STATUS(ERR_MALFORMED, hot_set_make(&k, items, 2, &set));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kept_set_is_found_until_another_takes_its_place),
		cmocka_unit_test(a_set_in_use_outlives_its_place),
		cmocka_unit_test(empty_sets_are_not_kept),
		cmocka_unit_test(those_used_least_recently_make_room),
		cmocka_unit_test(their_number_is_bounded),
		cmocka_unit_test(keeping_survives_oom_at_every_allocation),
		cmocka_unit_test(two_of_a_kind_are_no_set),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
