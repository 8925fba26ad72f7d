#include "tests/unit/test_util.h"

#include "base/base.h"
#include "base/clock.h"
#include "base/hash.h"

static void break_require(void *data)
{
	REQUIRE(data != NULL);
}

static void a_broken_require_says_where_and_aborts(void **state)
{
	check_aborts(break_require, NULL, "REQUIRE(data != NULL) failed at ");
}

static void a_broken_require_prints_a_backtrace(void **state)
{
	check_aborts(break_require, NULL, "\n  #2 ");
}

static void break_check(void *data)
{
	if (!CHECK(data != NULL))
		_exit(7);
}

static void a_broken_check_aborts_in_test_builds(void **state)
{
#ifdef PEERSCOPE_TEST_HOOKS
	check_aborts(break_check, NULL, "CHECK(data != NULL) failed at ");
#else
	assert_false(CHECK(state == NULL));
	assert_int_equal(check_failures(), 1);
	(void)break_check;
#endif
}

static void a_check_that_holds_is_true_and_not_counted(void **state)
{
	uint64_t before = check_failures();

	assert_true(CHECK(1 + 1 == 2));
	assert_int_equal(check_failures(), before);
}

static void take_ptr_empties_the_variable(void **state)
{
	char c = 'x', *p = &c;

	assert_ptr_equal(TAKE_PTR(p), &c);
	assert_null(p);
}

static void check_hash(const char *text, const char *expected)
{
	struct hash h = hash_of(text, strlen(text));
	char hex[HASH_HEX_SIZE];

	hash_hex(&h, hex);
	assert_string_equal(hex, expected);
}

/* Unkeyed BLAKE2b with a 32-byte digest, as printed by `b2sum -l 256`. */
static void hashes_match_published_vectors(void **state)
{
	check_hash("", "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
	check_hash("abc", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

static void hashes_survive_hex(void **state)
{
	struct hash h = hash_of("x", 1), back;
	char hex[HASH_HEX_SIZE];

	hash_hex(&h, hex);
	CHECK_STATUS(0, hash_from_hex(hex, HASH_HEX_SIZE - 1, &back));
	assert_true(hash_eq(&h, &back));
	for (size_t i = 0; i < HASH_HEX_SIZE - 1; i++)
		hex[i] = (char)(hex[i] >= 'a' ? hex[i] - 'a' + 'A' : hex[i]);
	CHECK_STATUS(0, hash_from_hex(hex, HASH_HEX_SIZE - 1, &back));
	assert_true(hash_eq(&h, &back));
}

static void hex_of_another_length_or_alphabet_is_malformed(void **state)
{
	struct hash h = hash_of("x", 1), out = h;
	char hex[HASH_HEX_SIZE];

	hash_hex(&h, hex);
	for (size_t len = 0; len < HASH_HEX_SIZE - 1; len++)
		CHECK_STATUS(ERR_MALFORMED, hash_from_hex(hex, len, &out));
	CHECK_STATUS(ERR_MALFORMED, hash_from_hex(hex, HASH_HEX_SIZE, &out));
	for (size_t i = 0; i < HASH_HEX_SIZE - 1; i++) {
		char kept = hex[i];

		hex[i] = "gG/:@`\xff"[i % 7];
		CHECK_STATUS(ERR_MALFORMED, hash_from_hex(hex, HASH_HEX_SIZE - 1, &out));
		hex[i] = kept;
	}
	assert_true(hash_eq(&h, &out));
}

static void hashes_are_ordered_as_bytes(void **state)
{
	struct hash zero = { 0 }, low = { { 1 } }, high = { { 0xff } };

	assert_true(hash_is_zero(&zero));
	assert_false(hash_is_zero(&low));
	assert_true(hash_cmp(&low, &high) < 0);
	assert_true(hash_cmp(&high, &low) > 0);
	assert_int_equal(hash_cmp(&low, &low), 0);
}

static void a_manual_clock_moves_only_when_told(void **state)
{
	struct clock_manual c;

	clock_manual_init(&c, 5 * NS_PER_SEC);
	assert_int_equal(clock_now_ns(&c.clock), 0);
	clock_manual_advance(&c, 1500 * NS_PER_MS);
	assert_int_equal(clock_now_ms(&c.clock), 1500);
	assert_int_equal(clock_wall_ns(&c.clock), 6500 * NS_PER_MS);
}

static void the_system_clock_does_not_go_back(void **state)
{
	uint64_t before = clock_now_ns(&clock_system);

	assert_true(clock_now_ns(&clock_system) >= before);
	assert_true(clock_wall_ns(&clock_system) > UINT64_C(1700000000) * NS_PER_SEC);
}

static int next(int *n)
{
	return ++*n;
}

static void min_and_max_evaluate_each_side_once(void **state)
{
	int n = 0;
	uint8_t small = MIN((uint8_t)200, (uint8_t)7);

	assert_int_equal(1, MIN(next(&n), 5));
	assert_int_equal(2, MAX(1, next(&n)));
	assert_int_equal(3, MIN(MAX(next(&n), 0), MIN(next(&n), 9)));
	assert_int_equal(4, n);
	assert_int_equal(7, small);
	assert_true(MAX(SIZE_MAX, 1) == SIZE_MAX);
}

static int setup(void **state)
{
	return base_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broken_require_says_where_and_aborts),
		cmocka_unit_test(a_broken_require_prints_a_backtrace),
		cmocka_unit_test(a_broken_check_aborts_in_test_builds),
		cmocka_unit_test(a_check_that_holds_is_true_and_not_counted),
		cmocka_unit_test(min_and_max_evaluate_each_side_once),
		cmocka_unit_test(take_ptr_empties_the_variable),
		cmocka_unit_test(hashes_match_published_vectors),
		cmocka_unit_test(hashes_survive_hex),
		cmocka_unit_test(hex_of_another_length_or_alphabet_is_malformed),
		cmocka_unit_test(hashes_are_ordered_as_bytes),
		cmocka_unit_test(a_manual_clock_moves_only_when_told),
		cmocka_unit_test(the_system_clock_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
