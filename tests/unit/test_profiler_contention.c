#include "contention_fixture.h"
#include "profiler_signals.h"

/* This program has lock functions of its own, as the daemon has. Times are compared with what the
 * threads measured themselves, never with what they should have been. */

/* ---- Two threads and a lock ---- */

struct lock {
	void *it;
	int (*take)(void *it);
	int (*release)(void *it);
};

#define AS_LOCK(fn) ((int (*)(void *))(void *)(fn))

struct duel {
	const struct lock *lock;
	sem_t go, done;
	uint64_t came_ns[ROUNDS], got_ns[ROUNDS], left_ns[ROUNDS];
};

WHOLE static void wait_for_lock(struct duel *d, unsigned i)
{
	d->came_ns[i] = now_ns();
	d->lock->take(d->lock->it);
	d->got_ns[i] = now_ns();
	d->lock->release(d->lock->it);
}

static void *waiter_main(void *data)
{
	struct duel *d = data;

	for (unsigned i = 0; i < ROUNDS; i++) {
		sem_wait(&d->go);
		wait_for_lock(d, i);
		sem_post(&d->done);
	}
	return NULL;
}

WHOLE static void hog_lock(struct duel *d, unsigned i)
{
	d->lock->take(d->lock->it);
	sem_post(&d->go);
	nap_us(HOLD_US);
	d->left_ns[i] = now_ns();
	d->lock->release(d->lock->it);
}

/* Fights it out; what the waiter waited until it had the lock, and until the hog let go. */
static void fight(const struct lock *lock, uint64_t *ret_waited_ns, uint64_t *ret_held_ns)
{
	static struct duel d;
	pthread_t waiter;

	d.lock = lock;
	assert_int_equal(sem_init(&d.go, 0, 0) | sem_init(&d.done, 0, 0), 0);
	assert_int_equal(pthread_create(&waiter, NULL, waiter_main, &d), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		hog_lock(&d, i);
		sem_wait(&d.done);
	}
	pthread_join(waiter, NULL);
	*ret_waited_ns = *ret_held_ns = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		*ret_waited_ns += d.got_ns[i] - d.came_ns[i];
		if (d.left_ns[i] > d.came_ns[i])
			*ret_held_ns += d.left_ns[i] - d.came_ns[i];
	}
}

static void check_fight(const struct lock *lock, uintptr_t wait_leaf)
{
	struct sums held_before = sums_of(PROFILER_MUTEX, FN(hog_lock));
	struct sums waited_before = sums_of(PROFILER_BLOCK, FN(wait_for_lock)), held, waited;
	uint64_t waited_ns, held_ns;

	fight(lock, &waited_ns, &held_ns);
	held = minus(sums_of(PROFILER_MUTEX, FN(hog_lock)), held_before);
	waited = minus(sums_of(PROFILER_BLOCK, FN(wait_for_lock)), waited_before);
	check_near((int64_t)held_ns, held.delay_ns);
	check_near((int64_t)waited_ns, waited.delay_ns);
	assert_true(held.count >= ROUNDS * 9 / 10 && held.count <= ROUNDS);
	assert_true(held.leaf == FN(hog_lock));
	assert_true(has_leaf(PROFILER_BLOCK, FN(wait_for_lock), wait_leaf));
	assert_string_equal(waited.state, "semacquire");
}

static void a_mutex_charges_its_holder_and_its_waiter(void **state)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	check_fight(
		&(struct lock){ &m, AS_LOCK(pthread_mutex_lock), AS_LOCK(pthread_mutex_unlock) },
		FN(pthread_mutex_lock));
}

static void a_mutex_of_libuv_does_too(void **state)
{
	static uv_mutex_t m;

	assert_int_equal(uv_mutex_init(&m), 0);
	check_fight(&(struct lock){ &m, AS_LOCK(uv_mutex_lock), AS_LOCK(uv_mutex_unlock) },
		    FN(pthread_mutex_lock));
	uv_mutex_destroy(&m);
}

static void a_lock_for_writers_does_too(void **state)
{
	static pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;

	check_fight(&(struct lock){ &l, AS_LOCK(pthread_rwlock_wrlock),
				    AS_LOCK(pthread_rwlock_unlock) },
		    FN(pthread_rwlock_wrlock));
}

static void long_holds_are_all_recorded_at_the_default_rate(void **state)
{
	static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	contention_rate_set(PROFILER_MUTEX, 10);
	contention_rate_set(PROFILER_BLOCK, 10000);
	check_fight(
		&(struct lock){ &m, AS_LOCK(pthread_mutex_lock), AS_LOCK(pthread_mutex_unlock) },
		FN(pthread_mutex_lock));
}

/* Several wait at once: the holders' delays are the waiters'. */
enum { CROWD = 4 };
static pthread_mutex_t crowded = PTHREAD_MUTEX_INITIALIZER;
static uint64_t crowd_waited_ns, crowd_count;

WHOLE static void crowd_turn(void)
{
	uint64_t came_ns = now_ns();

	pthread_mutex_lock(&crowded);
	crowd_waited_ns += now_ns() - came_ns;
	crowd_count++;
	nap_us(300);
	pthread_mutex_unlock(&crowded);
}

static void *crowd_main(void *data)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		crowd_turn();
	return NULL;
}

static void the_delays_of_many_are_shared_out_among_holders(void **state)
{
	pthread_t threads[CROWD];
	struct sums held, waited;

	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd_main, NULL), 0);
	for (unsigned i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	held = sums_of(PROFILER_MUTEX, FN(crowd_turn));
	waited = sums_of(PROFILER_BLOCK, FN(crowd_turn));
	assert_int_equal(crowd_count, CROWD * ROUNDS);
	check_near((int64_t)crowd_waited_ns, waited.delay_ns);
	/* Waking up takes its time on a busy machine, and is on nobody's account. */
	assert_true(held.delay_ns <= (int64_t)crowd_waited_ns);
	assert_true(held.delay_ns >= (int64_t)crowd_waited_ns / 3);
	assert_false(waits_any(&crowded));
}

/* ---- Sampling ---- */

WHOLE static struct sums record_many(enum profiler_kind kind, uint64_t delay_ns)
{
	struct contention_event e = { .kind = kind, .state = "test", .delay_ns = delay_ns };
	struct sums before;

	e.caller = FN(record_many) + 1;
	before = sums_of(kind, FN(record_many));
	for (unsigned i = 0; i < EVENTS; i++)
		assert_true(contention_record(&e));
	return minus(sums_of(kind, FN(record_many)), before);
}

/* A tenth of 100,000 events: sigma is 1 % of the sum. */
static void short_events_are_sampled_without_bias(void **state)
{
	struct sums sums;

	contention_rate_set(PROFILER_MUTEX, 10);
	contention_rate_set(PROFILER_BLOCK, 10000);
	sums = record_many(PROFILER_MUTEX, 50000);
	check_near(EVENTS, sums.count);
	check_near(EVENTS * INT64_C(50000), sums.delay_ns);
	sums = record_many(PROFILER_BLOCK, 700);
	check_near(EVENTS, sums.count);
	check_near(EVENTS * INT64_C(700), sums.delay_ns);
}

static void a_rate_of_zero_records_nothing(void **state)
{
	contention_rate_set(PROFILER_MUTEX, 0);
	contention_rate_set(PROFILER_BLOCK, 0);
	assert_int_equal(record_many(PROFILER_MUTEX, NS_PER_SEC).count, 0);
	assert_int_equal(record_many(PROFILER_BLOCK, NS_PER_SEC).count, 0);
}

/* ---- Operations and the loop ---- */

enum { WAITING, DONE };

static const struct op_state states[] = {
	[WAITING] = { "waiting", TO(DONE) },
	[DONE] = { "done", 0 },
};
static unsigned block_loop_ms;

/* The watchdog's question cuts a sleep short. */
WHOLE static void block_the_loop(unsigned ms)
{
	nap_us(ms * 1000);
	__asm__ volatile("" : : : "memory");
}

static void rest_tick(struct op *op)
{
	if (!op_stopping(op))
		return;
	if (block_loop_ms > 0)
		block_the_loop(block_loop_ms);
	op_move(op, DONE);
	(void)op_finish(op);
}

static const struct op_kind rest_kind = { "demo.rest", states, ARRAY_SIZE(states), rest_tick };

WHOLE static void rest_start(struct fixture *f, struct op *op)
{
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };

	op_init(op, &rest_kind, &env, PAUSE_MS);
	while (f->loop.runner.op_count > 0)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
}

static void an_operations_wait_names_task_state_and_starter(void **state)
{
	struct sums sums;
	struct op op;

	block_loop_ms = 0;
	rest_start(*state, &op);
	sums = sums_of(PROFILER_BLOCK, FN(rest_tick));
	assert_int_equal(sums.count, 1);
	assert_true(sums.delay_ns >= (int64_t)((PAUSE_MS - 1) * NS_PER_MS));
	assert_true(sums.leaf == FN(rest_tick));
	assert_string_equal(sums.task, "demo.rest");
	assert_string_equal(sums.state, "waiting");
	assert_true(sums_of(PROFILER_BLOCK, FN(rest_start)).count >= 1);
}

static void an_operation_without_work_is_idle_and_not_blocked(void **state)
{
	static const struct op_state idle_states[] = { { "idle", TO(DONE) }, { "done", 0 } };
	static const struct op_kind kind = { "demo.idle", idle_states, 2, rest_tick };
	struct fixture *f = *state;
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };
	struct sums before = sums_of(PROFILER_BLOCK, FN(rest_tick));
	struct op op;

	block_loop_ms = 0;
	op_init(&op, &kind, &env, PAUSE_MS);
	while (f->loop.runner.op_count > 0)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	assert_int_equal(sums_of(PROFILER_BLOCK, FN(rest_tick)).count, before.count);
}

static void a_blocking_call_on_the_loop_is_found(void **state)
{
	struct fixture *f = *state;
	struct sums sums = { 0 };
	struct op op;

	NEEDS_PROMPT_SIGNALS();
	CHECK_STATUS(0, profiler_watch_loop(f->profiler, 30, false));
	uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	block_loop_ms = 120;
	rest_start(f, &op);
	for (unsigned i = 0; i < 10000 && sums.count == 0; i++) {
		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
		usleep(1000);
		sums = sums_of(PROFILER_BLOCK, FN(block_the_loop));
	}
	assert_true(sums.delay_ns >= 120 * (int64_t)NS_PER_MS * 9 / 10);
	assert_string_equal(sums.state, "loop_stall");
	assert_string_equal(sums.task, "demo.rest");
}

/* ---- The texts ---- */

static bool begins(const struct buf *b, const char *text)
{
	return b->len > strlen(text) && memcmp(b->data, text, strlen(text)) == 0;
}

static void the_texts_are_gos(void **state)
{
	struct fixture *f = *state;
	const struct buf *b;

	contention_rate_set(PROFILER_MUTEX, 5);
	b = fixture_capture(f, &(struct profiler_request){ .kind = PROFILER_MUTEX, .debug = 1 });
	assert_true(begins(b, "--- mutex:\ncycles/second=1000000000\nsampling period=5\n"));
	assert_non_null(memmem(b->data, b->len, "\n--- Memory map: ---\n", 21));
	b = fixture_capture(f, &(struct profiler_request){ .kind = PROFILER_BLOCK, .debug = 1 });
	assert_true(begins(b, "--- contention:\ncycles/second=1000000000\n"));
}

static void a_build_without_own_locks_says_so(void **state)
{
	const struct buf *b =
		fixture_capture(*state, &(struct profiler_request){ .kind = PROFILER_MUTEX });

	if (waits_enabled())
		assert_null(contention_note(PROFILER_MUTEX));
	else
		assert_true(fixture_has(b, "locks and conditions are not watched"));
}

int main(void)
{
	const struct CMUnitTest always[] = {
		locks_test(a_build_without_own_locks_says_so),
		locks_test(short_events_are_sampled_without_bias),
		locks_test(a_rate_of_zero_records_nothing),
		locks_test(an_operations_wait_names_task_state_and_starter),
		locks_test(an_operation_without_work_is_idle_and_not_blocked),
		locks_test(a_blocking_call_on_the_loop_is_found),
		locks_test(the_texts_are_gos),
	};
	const struct CMUnitTest own_locks[] = {
		locks_test(a_build_without_own_locks_says_so),
		locks_test(a_mutex_charges_its_holder_and_its_waiter),
		locks_test(a_mutex_of_libuv_does_too),
		locks_test(a_lock_for_writers_does_too),
		locks_test(long_holds_are_all_recorded_at_the_default_rate),
		locks_test(the_delays_of_many_are_shared_out_among_holders),
		locks_test(short_events_are_sampled_without_bias),
		locks_test(a_rate_of_zero_records_nothing),
		locks_test(an_operations_wait_names_task_state_and_starter),
		locks_test(an_operation_without_work_is_idle_and_not_blocked),
		locks_test(a_blocking_call_on_the_loop_is_found),
		locks_test(the_texts_are_gos),
	};

	REQUIRE(base_init() == 0);
	return waits_enabled() ? cmocka_run_group_tests(own_locks, NULL, NULL) :
				 cmocka_run_group_tests(always, NULL, NULL);
}
