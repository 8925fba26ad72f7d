/* Whom a subscription looks to. */
#include "discovery/providers.h"

#include "discovery/redial.h"
#include "tests/unit/test_util.h"

static struct public_key peer(uint8_t n)
{
	return (struct public_key){ .bytes = { n } };
}

static void add(struct providers *p, uint8_t n)
{
	struct public_key key = peer(n);

	providers_add(p, &key);
}

static bool has(const struct providers *p, uint8_t n)
{
	struct public_key key = peer(n);

	return providers_has(p, &key);
}

static void the_oldest_makes_room_and_nobody_is_in_twice(void **state)
{
	struct providers p = { 0 };

	for (uint8_t n = 1; n <= PROVIDERS_MAX; n++) {
		add(&p, n);
		add(&p, 1);
	}
	assert_int_equal(p.count, PROVIDERS_MAX);
	assert_true(has(&p, 1) && has(&p, PROVIDERS_MAX));
	add(&p, 100);
	assert_false(has(&p, 1));
	assert_true(has(&p, 2) && has(&p, 100));
	assert_int_equal(p.count, PROVIDERS_MAX);
}

static void each_that_is_back_is_asked_once(void **state)
{
	struct providers p = { 0 };
	struct public_key two = peer(2), stranger = peer(9), got;

	for (uint8_t n = 1; n <= 3; n++)
		add(&p, n);
	assert_false(providers_any_back(&p));
	assert_false(providers_back(&p, &stranger));
	assert_true(providers_back(&p, &two));
	assert_true(providers_back(&p, &two));
	assert_true(providers_any_back(&p));
	assert_true(providers_take_back(&p, &got));
	assert_true(key_eq(&got, &two));
	assert_false(providers_take_back(&p, &got));
}

static void who_takes_the_place_of_one_that_is_back_is_not_back(void **state)
{
	struct providers p = { 0 };
	struct public_key one = peer(1);

	add(&p, 1);
	assert_true(providers_back(&p, &one));
	for (uint8_t n = 2; n <= PROVIDERS_MAX + 1; n++)
		add(&p, n);
	assert_false(providers_any_back(&p));
}

static void the_wait_between_dials_is_a_share_of_the_time_away(void **state)
{
	assert_int_equal(redial_delay_ms(0), REDIAL_MIN_MS);
	assert_int_equal(redial_delay_ms(300000), 10000);
	assert_int_equal(redial_delay_ms(1800000), REDIAL_MAX_MS);
	assert_int_equal(redial_delay_ms(UINT64_MAX), REDIAL_MAX_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_oldest_makes_room_and_nobody_is_in_twice),
		cmocka_unit_test(each_that_is_back_is_asked_once),
		cmocka_unit_test(who_takes_the_place_of_one_that_is_back_is_not_back),
		cmocka_unit_test(the_wait_between_dials_is_a_share_of_the_time_away),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
