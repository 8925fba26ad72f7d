/* Time counted between readings of the clock: on a machine that the test owns, and on this one. */
#include "test_util.h"
#include "trace/ticks.h"

/* A counter of 2.6 per ns and a clock that is slewed against it. */
struct machine {
	struct ticks k;
	uint64_t counter, clock_ns;
	double ticks_per_ns;
	unsigned clock_readings;
};

static int setup(void **state)
{
	static struct machine m;

	m = (struct machine){
		.k = { .on = true }, .counter = 12345, .clock_ns = NS_PER_SEC, .ticks_per_ns = 2.6
	};
	*state = &m;
	return 0;
}

static void pass(struct machine *m, uint64_t ns)
{
	m->clock_ns += ns;
	m->counter += (uint64_t)((double)ns * m->ticks_per_ns);
}

static uint64_t now(struct machine *m)
{
	uint64_t ns, before = m->counter;

	if (ticks_count(&m->k, m->counter, &ns))
		return ns;
	m->clock_readings++;
	pass(m, 20);
	return ticks_anchor(&m->k, before, m->clock_ns, m->counter);
}

/* Read it every step_ns; returns the largest difference from the clock. It must never go back. */
static uint64_t watch(struct machine *m, uint64_t step_ns, unsigned count)
{
	uint64_t last = 0, worst = 0;

	for (unsigned i = 0; i < count; i++) {
		pass(m, step_ns);
		uint64_t ns = now(m);
		assert_true(ns >= last);
		last = ns;
		worst = MAX(worst, MAX(ns, m->clock_ns) - MIN(ns, m->clock_ns));
	}
	return worst;
}

static void the_clock_is_read_once_a_millisecond(void **state)
{
	struct machine *m = *state;

	assert_true(watch(m, 1000, 20000) <= 5); /* the rate is known after 10 ms */
	m->clock_readings = 0;
	assert_true(watch(m, 1000, 1000000) <= 5);
	assert_in_range(m->clock_readings, 990, 1010);
}

static void hours_of_slewing_stay_within_a_microsecond(void **state)
{
	struct machine *m = *state;

	(void)watch(m, 1000, 20000);
	for (int hour = 0; hour < 5; hour++) {
		m->ticks_per_ns = hour % 2 ? 2.6 * 1.0005 : 2.6; /* as far as NTP goes */
		assert_true(watch(m, 7777, 100000) < 1000);
		pass(m, 3600 * NS_PER_SEC);
	}
	m->clock_readings = 0;
	(void)watch(m, 1000, 100000);
	assert_true(m->clock_readings < 200);
}

static void a_long_silence_is_no_error(void **state)
{
	struct machine *m = *state;

	(void)watch(m, 1000, 20000);
	assert_true(watch(m, 5 * NS_PER_SEC, 100) <= 5);
	assert_false(m->k.given_up);
}

static void a_suspended_machine_costs_one_strike_that_is_forgiven(void **state)
{
	struct machine *m = *state;

	for (int i = 0; i < 50; i++) {
		(void)watch(m, 1000, 1100000);
		if (i % 2)
			m->counter += 1000000000000; /* the clock stood still */
		else
			m->counter = 1; /* or the counter began anew */
		assert_true(watch(m, 1000, 1000) <= 1000);
	}
	assert_false(m->k.given_up);
}

static void a_counter_that_jumps_is_given_up(void **state)
{
	struct machine *m = *state;
	unsigned i = 0;

	for (; i < 100 && !m->k.given_up; i++) {
		(void)watch(m, 1000, 20000);
		m->counter += 1000000; /* 0.4 ms: as on another processor */
	}
	assert_in_range(i, 4, 20);
	(void)watch(m, 1000, 1000); /* until the clock is where counting had been */
	assert_int_equal(watch(m, 1000, 1000), 0);
}

static void no_error_is_larger_than_a_window(void **state)
{
	struct machine *m = *state;

	(void)watch(m, 1000, 20000);
	m->ticks_per_ns *= 3; /* gone mad between two readings of the clock */
	assert_true(watch(m, 100, 200000) <= NS_PER_MS);
	assert_int_equal(m->k.strikes, 1);
	assert_true(watch(m, 100, 20000) <= 5); /* the new rate is known */
}

static void an_interrupted_reading_is_not_counted_from(void **state)
{
	struct machine *m = *state;
	uint64_t before, ns;

	(void)watch(m, 1000, 20000);
	pass(m, 2 * NS_PER_MS);
	before = m->counter;
	pass(m, 5000);
	assert_int_equal(ticks_anchor(&m->k, before, m->clock_ns, m->counter), m->clock_ns);
	assert_false(ticks_count(&m->k, m->counter, &ns));
	assert_false(m->k.given_up);
}

static void this_machine_agrees_with_its_clock(void **state)
{
	enum { READINGS = 200000 };
	struct ticks k;
	unsigned wrong = 0;

	ticks_start(&k);
	if (!k.on)
		SKIP_TEST("the time stamp counter is not this machine's clock");
	for (unsigned i = 0; i < READINGS; i++) {
		uint64_t before = clock_now_ns(&clock_system), ns = ticks_now_ns(&k);
		uint64_t after = clock_now_ns(&clock_system);

		wrong += ns + 1000 < before || ns > after + 1000;
	}
	assert_int_equal(wrong, 0);
	assert_false(k.given_up);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_clock_is_read_once_a_millisecond, setup),
		cmocka_unit_test_setup(hours_of_slewing_stay_within_a_microsecond, setup),
		cmocka_unit_test_setup(a_long_silence_is_no_error, setup),
		cmocka_unit_test_setup(a_suspended_machine_costs_one_strike_that_is_forgiven,
				       setup),
		cmocka_unit_test_setup(a_counter_that_jumps_is_given_up, setup),
		cmocka_unit_test_setup(no_error_is_larger_than_a_window, setup),
		cmocka_unit_test_setup(an_interrupted_reading_is_not_counted_from, setup),
		cmocka_unit_test(this_machine_agrees_with_its_clock),
	};
	return cmocka_run_group_tests_name("trace_ticks", tests, NULL, NULL);
}
