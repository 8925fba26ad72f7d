#include "sync/pace.h"
#include "tests/unit/test_util.h"

enum { BLOB = 256 << 10 };

/* A line of so many bytes per second and this round trip, with as much asked as the pace allows,
 * for so long. Returns the time. */
static uint64_t play(struct pace *p, uint64_t now_ms, uint64_t rate, uint64_t rtt_ms, uint64_t ms,
		     uint64_t blob)
{
	uint64_t end_ms = now_ms + ms, busy_ms = now_ms, due_ms[4096];
	size_t head = 0, tail = 0;

	pace_answered_in(p, rtt_ms);
	for (; now_ms < end_ms; now_ms++) {
		while (tail != head && due_ms[tail % 4096] <= now_ms) {
			pace_came(p, now_ms, blob);
			tail++;
		}
		while (head - tail < 4096 && (pace_out(p) == 0 || pace_out(p) < pace_window(p))) {
			pace_asked(p, now_ms, blob);
			busy_ms = MAX(busy_ms, now_ms + rtt_ms) + blob * 1000 / rate;
			due_ms[head++ % 4096] = busy_ms;
		}
	}
	return now_ms;
}

static void the_window_grows_until_the_line_is_full(void **state)
{
	struct pace near = { 0 }, far = { 0 };

	(void)state;
	play(&near, 1000, 10000000, 1, 2000, BLOB);
	assert_in_range(near.rate, 9000000, 11000000);
	play(&far, 1000, 10000000, 300, 10000, BLOB);
	assert_in_range(far.rate, 9000000, 11000000);
	assert_true(pace_window(&far) > pace_window(&near));
	assert_true(pace_window(&far) >= 10000000 * 3 / 10);
}

static void a_slow_peer_is_asked_for_little(void **state)
{
	struct pace p = { 0 };

	(void)state;
	assert_int_equal(pace_window(&p), PACE_WINDOW_START);
	play(&p, 1000, 20000, 10, 60000, BLOB);
	assert_in_range(p.rate, 18000, 22000);
	assert_int_equal(pace_window(&p), PACE_WINDOW_MIN);
}

static void the_window_shrinks_with_the_line(void **state)
{
	struct pace p = { 0 };
	uint64_t now_ms;

	(void)state;
	now_ms = play(&p, 1000, 20000000, 20, 3000, BLOB);
	assert_true(pace_window(&p) > 4000000);
	p.came = p.asked;
	play(&p, now_ms, 200000, 20, 20000, BLOB);
	assert_true(pace_window(&p) < 200000);
}

static void who_answers_nothing_is_late_after_its_round_trips(void **state)
{
	struct pace p = { 0 };

	(void)state;
	pace_answered_in(&p, 100);
	assert_false(pace_is_late(&p, 100000));
	pace_asked(&p, 1000, 500);
	assert_false(pace_is_late(&p, 1300));
	assert_true(pace_is_late(&p, 1301));
	pace_came(&p, 1400, 500);
	assert_false(pace_is_late(&p, 9000));
	pace_answered_in(&p, 1);
	assert_int_equal(pace_patience_ms(&p), PACE_PATIENCE_MIN_MS);
	p.rtt_ms = 5000;
	assert_int_equal(pace_patience_ms(&p), PACE_PATIENCE_MAX_MS);
}

static void the_time_of_arrival_follows_the_rate_and_silence(void **state)
{
	struct pace p = { .rate = 1000, .rtt_ms = 10 };

	(void)state;
	pace_asked(&p, 1000, 500);
	assert_int_equal(pace_eta_ms(&p, 1000, 500), 500);
	assert_int_equal(pace_eta_ms(&p, 1000, 1500), 1500);
	assert_int_equal(pace_eta_ms(&p, 1400, 500), 100);
	assert_int_equal(pace_eta_ms(&p, 4000, 500), 3000);
	p.rate = 0;
	assert_int_equal(pace_eta_ms(&p, 1000, 500), 10);
	assert_int_equal(pace_eta_ms(&p, 1700, 500), 700);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_window_grows_until_the_line_is_full),
		cmocka_unit_test(a_slow_peer_is_asked_for_little),
		cmocka_unit_test(the_window_shrinks_with_the_line),
		cmocka_unit_test(who_answers_nothing_is_late_after_its_round_trips),
		cmocka_unit_test(the_time_of_arrival_follows_the_rate_and_silence),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
