/* The order in which subscriptions are looked after, on a clock that only these tests turn. */
#include "tests/unit/test_util.h"

#include "discovery/scheduler.h"

enum { INTERVAL_MS = 60000, TASKS = 200 };

struct setup {
	struct scheduler s;
	struct scheduler_task tasks[TASKS];
	size_t count;
	uint64_t now_ms;
};

static struct setup *setup_new(uint64_t seed)
{
	struct setup *u = mem_alloc(sizeof(*u));

	print_message("# seed %llu\n", (unsigned long long)seed);
	u->now_ms = 1000000;
	scheduler_init(&u->s, INTERVAL_MS, seed);
	return u;
}

static void setup_free(struct setup *u)
{
	for (size_t i = 0; i < u->count; i++)
		scheduler_remove(&u->s, &u->tasks[i]);
	scheduler_fini(&u->s);
	mem_free(u);
}

static struct scheduler_task *add(struct setup *u, uint8_t space, uint64_t due_ms)
{
	struct public_key key = { { space } };
	struct scheduler_task *t = &u->tasks[u->count++];

	CHECK_STATUS(0, scheduler_add(&u->s, t, &key, due_ms));
	return t;
}

static void add_many(struct setup *u, uint8_t space, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add(u, space, u->now_ms);
}

static struct scheduler_task *next(struct setup *u)
{
	return scheduler_next(&u->s, u->now_ms);
}

static unsigned start_all(struct setup *u)
{
	unsigned n = 0;

	while (next(u) != NULL)
		n++;
	return n;
}

static void done(struct setup *u, struct scheduler_task *t, int status)
{
	struct scheduler_result result = { .status = status };

	scheduler_done(&u->s, t, &result, u->now_ms);
}

static void done_news(struct setup *u, struct scheduler_task *t, bool brought)
{
	struct scheduler_result result = { .brought = brought, .partial = true };

	scheduler_done(&u->s, t, &result, u->now_ms);
}

static struct scheduler_task *a_running(struct setup *u, enum scheduler_lane lane)
{
	for (size_t i = 0; i < u->count; i++) {
		struct scheduler_task *t = &u->tasks[i];

		if (t->state == SCHEDULER_RUNNING && t->lane == lane)
			return t;
	}
	return NULL;
}

static void a_task_runs_when_it_is_due_and_again_after_the_interval(void **state)
{
	struct setup *u = setup_new(1);
	struct scheduler_task *t = add(u, 1, u->now_ms + 500);

	assert_null(next(u));
	assert_int_equal(scheduler_wake_ms(&u->s, u->now_ms), u->now_ms + 500);
	u->now_ms += 500;
	assert_ptr_equal(next(u), t);
	assert_null(next(u));
	u->now_ms += 30;
	done(u, t, 0);
	assert_in_range(t->due_ms - u->now_ms, INTERVAL_MS - INTERVAL_MS / 10,
			INTERVAL_MS + INTERVAL_MS / 10);
	assert_null(next(u));
	setup_free(u);
}

/* Busy is neither a failure nor news that proved empty. */
static void busy_peers_are_asked_again_when_they_wanted(void **state)
{
	struct scheduler_result busy = { .status = ERR_NOT_FOUND, .retry_in_ms = 700 };
	struct setup *u = setup_new(31);
	struct scheduler_task *t = add(u, 1, u->now_ms);
	uint64_t wait_ms = busy.retry_in_ms;

	for (int i = 0; i < 12; i++, wait_ms = MIN(2 * wait_ms, (uint64_t)INTERVAL_MS)) {
		assert_ptr_equal(next(u), t);
		scheduler_done(&u->s, t, &busy, u->now_ms);
		assert_int_equal(t->due_ms - u->now_ms, wait_ms);
		assert_int_equal(t->failures, 0);
		u->now_ms = t->due_ms;
	}
	assert_ptr_equal(next(u), t);
	done(u, t, 0);
	u->now_ms = t->due_ms;
	assert_ptr_equal(next(u), t);
	scheduler_done(&u->s, t, &busy, u->now_ms);
	assert_int_equal(t->due_ms - u->now_ms, busy.retry_in_ms);
	setup_free(u);
}

static void the_cold_lane_leaves_room_for_hot(void **state)
{
	struct setup *u = setup_new(2);
	struct scheduler_task *t;
	struct scheduler_stats stats;

	add_many(u, 1, 50);
	assert_int_equal(start_all(u), SCHEDULER_SLOTS - SCHEDULER_HOT_RESERVED);
	t = add(u, 2, u->now_ms + INTERVAL_MS);
	scheduler_news(&u->s, t, u->now_ms);
	assert_ptr_equal(next(u), t);
	scheduler_stats(&u->s, &stats);
	assert_int_equal(stats.hot_running, 1);
	assert_int_equal(stats.cold_running, SCHEDULER_SLOTS - SCHEDULER_HOT_RESERVED);
	assert_true(stats.cold_held > 0);
	setup_free(u);
}

static void the_hot_lane_leaves_room_for_cold(void **state)
{
	struct setup *u = setup_new(18);
	struct scheduler_stats stats;
	struct scheduler_task *t;

	for (int i = 0; i < 20; i++)
		scheduler_news(&u->s, add(u, 1, UINT64_MAX / 2), u->now_ms);
	assert_int_equal(start_all(u), SCHEDULER_SLOTS - SCHEDULER_COLD_RESERVED);
	t = add(u, 2, u->now_ms);
	assert_ptr_equal(next(u), t);
	scheduler_stats(&u->s, &stats);
	assert_int_equal(stats.cold_running, 1);
	setup_free(u);
}

/* When hot runs fill their lane, evicting a cold one would help nobody. */
static void news_makes_room_where_it_may_run(void **state)
{
	struct setup *u = setup_new(19);
	struct scheduler_task *cold, *victim;

	for (int i = 0; i < 20; i++)
		scheduler_news(&u->s, add(u, 1, UINT64_MAX / 2), u->now_ms);
	start_all(u);
	cold = add(u, 2, u->now_ms);
	assert_ptr_equal(next(u), cold);
	u->now_ms += 60000;
	for (size_t i = 0; i < u->count; i++) {
		if (&u->tasks[i] != cold)
			scheduler_progress(&u->tasks[i], u->now_ms);
	}
	assert_null(scheduler_preempt(&u->s, u->now_ms));
	assert_int_equal(scheduler_wake_ms(&u->s, u->now_ms), u->now_ms + SCHEDULER_MOVING_MS);
	u->now_ms += SCHEDULER_MOVING_MS;
	victim = scheduler_preempt(&u->s, u->now_ms);
	assert_non_null(victim);
	assert_int_equal(victim->lane, SCHEDULER_HOT);
	setup_free(u);
}

/* Whoever announces and then says nothing holds a place for a moment, and ever more rarely. */
static void news_that_stalls_until_it_is_evicted_counts_as_empty(void **state)
{
	struct scheduler_result cut = { .status = UV_ECANCELED, .partial = true };
	struct setup *u = setup_new(23);
	struct scheduler_task *victim;

	for (int i = 0; i < 20; i++)
		scheduler_news(&u->s, add(u, 1, UINT64_MAX / 2), u->now_ms);
	start_all(u);
	u->now_ms += 60000;
	victim = scheduler_preempt(&u->s, u->now_ms);
	assert_non_null(victim);
	scheduler_done(&u->s, victim, &cut, u->now_ms);
	assert_int_equal(victim->vain, 1);
	assert_int_equal(victim->state, SCHEDULER_SLEEPING);
	assert_int_equal(scheduler_next_run_ms(victim, u->now_ms),
			 u->now_ms + SCHEDULER_VAIN_BASE_MS);
	setup_free(u);
}

static void a_due_hot_task_behind_a_blocked_cold_one_still_starts(void **state)
{
	struct setup *u = setup_new(3);

	add_many(u, 1, 50);
	start_all(u);
	scheduler_news(&u->s, &u->tasks[49], u->now_ms); /* queued cold, last of all */
	assert_ptr_equal(next(u), &u->tasks[49]);
	setup_free(u);
}

static void users_take_slots_from_the_cold_lane_down_to_one(void **state)
{
	static const struct {
		unsigned users, started;
	} rows[] = { { 0, 5 }, { 1, 4 }, { 3, 2 }, { 4, 1 }, { 5, 1 }, { 100, 1 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct setup *u = setup_new(4);

		add_many(u, 1, 50);
		scheduler_users(&u->s, rows[i].users);
		assert_int_equal(start_all(u), rows[i].started);
		setup_free(u);
	}
}

/* One space with 90 slow scopes, nine with one quick each: the quick ones need not wait for the
 * many. */
static void a_space_with_many_scopes_delays_itself_and_not_others(void **state)
{
	struct setup *u = setup_new(5);
	struct scheduler_task *t;

	add_many(u, 1, 90);
	for (uint8_t i = 0; i < 9; i++)
		add(u, (uint8_t)(2 + i), u->now_ms);
	for (unsigned started = 0; started < 20; started++) {
		t = next(u);
		if (t == NULL) {
			u->now_ms += 3000;
			t = a_running(u, SCHEDULER_COLD);
			done(u, t, 0);
		}
	}
	for (size_t i = 90; i < 99; i++)
		assert_int_not_equal(u->tasks[i].state, SCHEDULER_QUEUED);
	setup_free(u);
}

/* Shares are of slot time, not of runs: who runs ten times as long runs a tenth as often. */
static void shares_are_paid_in_slot_time(void **state)
{
	struct setup *u = setup_new(6);
	uint64_t spent_ms[3] = { 0 };

	add_many(u, 1, 80);
	add_many(u, 2, 80);
	scheduler_users(&u->s, 100); /* one slot: a sequence */
	for (int i = 0; i < 60; i++) {
		struct scheduler_task *t = next(u);
		bool slow = t - u->tasks < 80;
		uint64_t took_ms = slow ? 10000 : 1000;

		u->now_ms += took_ms;
		spent_ms[slow ? 1 : 2] += took_ms;
		done(u, t, 0);
	}
	assert_in_range(spent_ms[1] * 100 / spent_ms[2], 60, 160);
	setup_free(u);
}

static void failures_back_off_with_jitter_and_success_ends_it(void **state)
{
	struct setup *u = setup_new(7);
	struct scheduler_task *t = add(u, 1, u->now_ms);
	struct scheduler_stats stats;
	uint64_t expected = INTERVAL_MS;

	for (int i = 0; i < 10; i++) {
		assert_ptr_equal(next(u), t);
		done(u, t, ERR_NOT_FOUND);
		assert_in_range(t->due_ms - u->now_ms, expected - expected / 10,
				expected + expected / 10);
		expected = MIN(2 * expected, (uint64_t)SCHEDULER_BACKOFF_MAX_MS);
		scheduler_stats(&u->s, &stats);
		assert_int_equal(stats.backing_off, 1);
		u->now_ms = t->due_ms;
	}
	next(u);
	done(u, t, 0);
	assert_in_range(t->due_ms - u->now_ms, 0, INTERVAL_MS + INTERVAL_MS / 10);
	scheduler_stats(&u->s, &stats);
	assert_int_equal(stats.backing_off, 0);
	setup_free(u);
}

static void the_same_seed_gives_the_same_times(void **state)
{
	struct setup *a = setup_new(8), *b = setup_new(8), *c = setup_new(9);

	for (int i = 0; i < 3; i++) {
		struct setup *u = i == 0 ? a : i == 1 ? b : c;

		done(u, (add(u, 1, u->now_ms), next(u)), 0);
	}
	assert_int_equal(a->tasks[0].due_ms, b->tasks[0].due_ms);
	assert_int_not_equal(a->tasks[0].due_ms, c->tasks[0].due_ms);
	setup_free(a);
	setup_free(b);
	setup_free(c);
}

/* Hundred tasks due at once are not due at once for ever. */
static void a_burst_spreads_out(void **state)
{
	struct setup *u = setup_new(10);
	uint64_t first = UINT64_MAX, last = 0;
	struct scheduler_task *t;

	add_many(u, 1, 100);
	while ((t = next(u)) != NULL)
		done(u, t, 0);
	for (size_t i = 0; i < 100; i++) {
		first = MIN(first, u->tasks[i].due_ms);
		last = MAX(last, u->tasks[i].due_ms);
	}
	assert_true(last - first > INTERVAL_MS / 10);
	setup_free(u);
}

static void fill_slots(struct setup *u)
{
	add_many(u, 1, SCHEDULER_SLOTS - SCHEDULER_HOT_RESERVED);
	start_all(u);
	scheduler_news(&u->s, add(u, 2, UINT64_MAX / 2), u->now_ms);
	assert_non_null(next(u));
	scheduler_news(&u->s, add(u, 3, UINT64_MAX / 2), u->now_ms);
	assert_null(next(u));
}

static void nothing_young_is_preempted(void **state)
{
	struct setup *u = setup_new(11);

	fill_slots(u);
	u->now_ms += SCHEDULER_YOUNG_MS - 1;
	assert_null(scheduler_preempt(&u->s, u->now_ms));
	assert_int_equal(scheduler_wake_ms(&u->s, u->now_ms), u->now_ms + SCHEDULER_WAKE_MIN_MS);
	u->now_ms += 1;
	assert_non_null(scheduler_preempt(&u->s, u->now_ms));
	setup_free(u);
}

static void nothing_that_moves_is_preempted(void **state)
{
	struct setup *u = setup_new(12);
	struct scheduler_task *still = &u->tasks[3];

	fill_slots(u);
	u->now_ms += 60000;
	for (size_t i = 0; i < u->count; i++)
		scheduler_progress(&u->tasks[i], u->now_ms - SCHEDULER_MOVING_MS + 1);
	assert_null(scheduler_preempt(&u->s, u->now_ms));
	scheduler_progress(still, u->now_ms - SCHEDULER_MOVING_MS);
	assert_ptr_equal(scheduler_preempt(&u->s, u->now_ms), still);
	setup_free(u);
}

static void one_at_a_time_makes_room_and_keeps_its_claim(void **state)
{
	struct setup *u = setup_new(13);
	struct scheduler_task *victim;

	fill_slots(u);
	u->now_ms += 60000;
	victim = scheduler_preempt(&u->s, u->now_ms);
	assert_non_null(victim);
	assert_int_equal(victim->lane, SCHEDULER_COLD);
	assert_null(scheduler_preempt(&u->s, u->now_ms));
	assert_true(scheduler_wake_ms(&u->s, u->now_ms) > u->now_ms + 1000); /* no spinning */
	done(u, victim, UV_ECANCELED);
	assert_int_equal(victim->failures, 0);
	assert_ptr_equal(next(u), &u->tasks[u->count - 1]); /* the news it made room for */
	assert_int_equal(victim->state, SCHEDULER_QUEUED);
	setup_free(u);
}

static void news_while_it_runs_makes_it_run_once_more(void **state)
{
	struct setup *u = setup_new(14);
	struct scheduler_task *t = add(u, 1, u->now_ms);

	assert_ptr_equal(next(u), t);
	scheduler_news(&u->s, t, u->now_ms);
	scheduler_news(&u->s, t, u->now_ms);
	done(u, t, 0);
	assert_ptr_equal(next(u), t);
	assert_int_equal(t->lane, SCHEDULER_HOT);
	done_news(u, t, true);
	assert_null(next(u));
	setup_free(u);
}

/* Whoever announces what does not exist is heard once a minute, and real news at once again. */
static void empty_news_is_heard_ever_more_rarely(void **state)
{
	struct setup *u = setup_new(15);
	struct scheduler_task *t = add(u, 1, u->now_ms + 100000000);
	unsigned runs = 0;

	for (int i = 0; i < 600; i++, u->now_ms += 1000) {
		scheduler_news(&u->s, t, u->now_ms);
		if (next(u) == NULL)
			continue;
		runs++;
		done_news(u, t, false);
	}
	assert_in_range(runs, 8, 16);
	u->now_ms += SCHEDULER_VAIN_MAX_MS;
	assert_ptr_equal(next(u), t);
	done_news(u, t, true);
	scheduler_news(&u->s, t, u->now_ms);
	assert_ptr_equal(next(u), t);
	setup_free(u);
}

static void news_does_not_stand_for_the_look_at_everybody(void **state)
{
	struct setup *u = setup_new(16);
	struct scheduler_task *t = add(u, 1, u->now_ms + 5000);
	struct scheduler_result refused = { .status = ERR_REFUSED, .partial = true };

	for (int i = 0; i < 5; i++) {
		scheduler_news(&u->s, t, u->now_ms);
		if (next(u) != NULL)
			scheduler_done(&u->s, t, &refused, u->now_ms);
	}
	assert_int_equal(t->failures, 0);
	u->now_ms += 5000;
	assert_ptr_equal(next(u), t);
	setup_free(u);
}

static void the_table_is_bounded_and_refusals_are_counted(void **state)
{
	struct scheduler_task *tasks = mem_alloc_array(SCHEDULER_TASKS_MAX + 1, sizeof(*tasks));
	struct public_key space = { { 1 } };
	struct scheduler_stats stats;
	struct scheduler s;

	scheduler_init(&s, INTERVAL_MS, 1);
	for (size_t i = 0; i < SCHEDULER_TASKS_MAX; i++)
		CHECK_STATUS(0, scheduler_add(&s, &tasks[i], &space, 0));
	CHECK_STATUS(ERR_LIMIT, scheduler_add(&s, &tasks[SCHEDULER_TASKS_MAX], &space, 0));
	scheduler_stats(&s, &stats);
	assert_int_equal(stats.refused, 1);
	for (size_t i = 0; i <= SCHEDULER_TASKS_MAX; i++)
		scheduler_remove(&s, &tasks[i]);
	scheduler_fini(&s);
	mem_free(tasks);
}

static void a_task_without_memory_for_it_is_not_taken_in(void **state)
{
	FAULT_SWEEP({
		struct public_key space = { { 1 } };
		struct scheduler_task t = { 0 };
		struct scheduler s;
		int rc;

		scheduler_init(&s, INTERVAL_MS, 1);
		rc = scheduler_add(&s, &t, &space, 0);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		scheduler_remove(&s, &t);
		scheduler_fini(&s);
	});
}

static void check_counts(struct setup *u)
{
	uint64_t by_state[4] = { 0 };
	struct scheduler_stats stats;

	for (size_t i = 0; i < u->count; i++)
		by_state[u->tasks[i].state]++;
	scheduler_stats(&u->s, &stats);
	assert_int_equal(stats.sleeping, by_state[SCHEDULER_SLEEPING]);
	assert_int_equal(stats.hot_queued + stats.cold_queued, by_state[SCHEDULER_QUEUED]);
	assert_int_equal(stats.hot_running + stats.cold_running, by_state[SCHEDULER_RUNNING]);
	assert_true(by_state[SCHEDULER_RUNNING] <= SCHEDULER_SLOTS);
	assert_true(stats.cold_running <= SCHEDULER_SLOTS - SCHEDULER_HOT_RESERVED);
	assert_true(stats.hot_running <= SCHEDULER_SLOTS - SCHEDULER_COLD_RESERVED);
}

static uint64_t dice(uint64_t *state, uint64_t n)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (*state >> 33) % n;
}

static void step(struct setup *u, uint64_t *seed)
{
	static const int outcomes[] = { 0, 0, 0, ERR_NOT_FOUND, UV_ETIMEDOUT };
	struct scheduler_task *t = &u->tasks[dice(seed, u->count)];

	switch (dice(seed, 6)) {
	case 0: scheduler_news(&u->s, t, u->now_ms); break;
	case 1: scheduler_users(&u->s, (unsigned)dice(seed, 8)); break;
	case 2: scheduler_progress(t, u->now_ms); break;
	case 3:
		if (t->state == SCHEDULER_RUNNING)
			done(u, t, outcomes[dice(seed, ARRAY_SIZE(outcomes))]);
		break;
	case 4:
		t = scheduler_preempt(&u->s, u->now_ms);
		if (t != NULL)
			done(u, t, UV_ECANCELED);
		break;
	default: u->now_ms += dice(seed, 4000);
	}
	start_all(u);
}

/* Whatever happens in whatever order: figures agree with the tasks, and nobody starves. */
static void nothing_gets_lost_in_a_random_walk(void **state)
{
	for (uint64_t seed = 20; seed < 40; seed++) {
		struct setup *u = setup_new(seed);
		uint64_t dices = seed;

		for (uint8_t i = 0; i < 40; i++)
			add(u, (uint8_t)(1 + i % 7), u->now_ms);
		for (int i = 0; i < 5000; i++) {
			step(u, &dices);
			check_counts(u);
		}
		for (size_t i = 0; i < u->count; i++)
			assert_true(u->tasks[i].started_ms > 0);
		setup_free(u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_runs_when_it_is_due_and_again_after_the_interval),
		cmocka_unit_test(the_cold_lane_leaves_room_for_hot),
		cmocka_unit_test(the_hot_lane_leaves_room_for_cold),
		cmocka_unit_test(news_makes_room_where_it_may_run),
		cmocka_unit_test(news_that_stalls_until_it_is_evicted_counts_as_empty),
		cmocka_unit_test(a_due_hot_task_behind_a_blocked_cold_one_still_starts),
		cmocka_unit_test(users_take_slots_from_the_cold_lane_down_to_one),
		cmocka_unit_test(a_space_with_many_scopes_delays_itself_and_not_others),
		cmocka_unit_test(shares_are_paid_in_slot_time),
		cmocka_unit_test(failures_back_off_with_jitter_and_success_ends_it),
		cmocka_unit_test(the_same_seed_gives_the_same_times),
		cmocka_unit_test(a_burst_spreads_out),
		cmocka_unit_test(nothing_young_is_preempted),
		cmocka_unit_test(nothing_that_moves_is_preempted),
		cmocka_unit_test(one_at_a_time_makes_room_and_keeps_its_claim),
		cmocka_unit_test(news_while_it_runs_makes_it_run_once_more),
		cmocka_unit_test(empty_news_is_heard_ever_more_rarely),
		cmocka_unit_test(news_does_not_stand_for_the_look_at_everybody),
		cmocka_unit_test(the_table_is_bounded_and_refusals_are_counted),
		cmocka_unit_test(a_task_without_memory_for_it_is_not_taken_in),
		cmocka_unit_test(busy_peers_are_asked_again_when_they_wanted),
		cmocka_unit_test(nothing_gets_lost_in_a_random_walk),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
