#include "sync/sync.h"
#include "tests/unit/test_util.h"

enum { HOUR_MS = SYNC_BACKOFF_FORGET_MS };

static uint64_t bench_ms(struct sync_backoff *b, uint64_t now_ms, uint64_t random)
{
	sync_backoff_failed(b, now_ms, random);
	return b->until_ms - now_ms;
}

static void a_new_peer_is_eligible(void **state)
{
	struct sync_backoff b = { 0 };

	(void)state;
	assert_true(sync_backoff_eligible(&b, 0));
}

static void the_ladder_doubles_up_to_its_top(void **state)
{
	static const uint64_t ladder_ms[] = {
		30000, 60000, 120000, 240000, 480000, 600000, 600000
	};
	struct sync_backoff b = { 0 };
	uint64_t now_ms = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ladder_ms); i++) {
		assert_int_equal(bench_ms(&b, now_ms, 0), ladder_ms[i] / 2);
		now_ms = b.until_ms;
	}
}

static void jitter_stays_within_half_and_whole(void **state)
{
	(void)state;
	for (uint64_t random = 0; random < 100000; random += 17) {
		struct sync_backoff b = { 0 };
		uint64_t ms = bench_ms(&b, 5000, random);

		assert_in_range(ms, SYNC_BACKOFF_BASE_MS / 2, SYNC_BACKOFF_BASE_MS);
	}
}

/* The defect of a ladder that starts anew each time a bench runs out. */
static void expiry_restores_eligibility_and_keeps_the_ladder(void **state)
{
	struct sync_backoff b = { 0 };

	(void)state;
	sync_backoff_failed(&b, 1000, 0);
	assert_false(sync_backoff_eligible(&b, b.until_ms - 1));
	assert_true(sync_backoff_eligible(&b, b.until_ms));
	assert_int_equal(b.failures, 1);
	assert_int_equal(bench_ms(&b, b.until_ms, 0), SYNC_BACKOFF_BASE_MS);
}

static void quiet_time_brings_the_ladder_down(void **state)
{
	struct sync_backoff b = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		sync_backoff_failed(&b, 1000, 0);
	assert_int_equal(bench_ms(&b, 1000 + 2 * (uint64_t)HOUR_MS, 0), 120000 / 2);
	assert_int_equal(bench_ms(&b, 1000 + 100 * (uint64_t)HOUR_MS, 0), 30000 / 2);
}

static void success_forgets_everything(void **state)
{
	struct sync_backoff b = { 0 };

	(void)state;
	sync_backoff_failed(&b, 1000, 0);
	sync_backoff_failed(&b, 2000, 0);
	sync_backoff_ok(&b);
	assert_true(sync_backoff_eligible(&b, 2001));
	assert_int_equal(bench_ms(&b, 3000, 0), SYNC_BACKOFF_BASE_MS / 2);
}

static void endless_failures_do_not_overflow(void **state)
{
	struct sync_backoff b = { 0 };

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_in_range(bench_ms(&b, 1000, UINT64_MAX), 1, SYNC_BACKOFF_MAX_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_peer_is_eligible),
		cmocka_unit_test(the_ladder_doubles_up_to_its_top),
		cmocka_unit_test(jitter_stays_within_half_and_whole),
		cmocka_unit_test(expiry_restores_eligibility_and_keeps_the_ladder),
		cmocka_unit_test(quiet_time_brings_the_ladder_down),
		cmocka_unit_test(success_forgets_everything),
		cmocka_unit_test(endless_failures_do_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
