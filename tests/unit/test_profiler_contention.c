#include "profiler_fixture.h"

#include <errno.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "profiler/cfi.h"
#include "profiler/contention.h"
#include "profiler/waits.h"

/* This program has lock functions of its own, as the daemon has. Times are compared with what the
 * threads measured themselves, never with what they should have been. */

enum { ROUNDS = 40, HOLD_US = 5000, PAUSE_MS = 20, EVENTS = 100000 };

#define FN(name) ((uintptr_t)(name))

static uint64_t now_ns(void)
{
	return clock_now_ns(&clock_system);
}

static void nap_us(unsigned us)
{
	uint64_t until = now_ns() + us * 1000ull;

	while (now_ns() < until)
		usleep(100);
}

/* ---- What was recorded ---- */

struct sums {
	int64_t count, delay_ns;
	unsigned stacks;
	uintptr_t leaf;
	const char *task, *state;
};

/* Of all stacks through a function. */
static struct sums sums_of(enum profiler_kind kind, uintptr_t fn)
{
	struct sums sums = { 0 };
	struct stacks stacks;

	stacks_init(&stacks);
	CHECK_STATUS(0, contention_count(kind, &stacks, 1));
	for (const struct stack *k = stacks.first; k != NULL; k = k->next)
		for (unsigned i = 0; i < k->n; i++)
			if (cfi_function_start(k->pcs[i]) == fn) {
				sums.count += k->values[0];
				sums.delay_ns += k->values[1];
				sums.stacks++;
				sums.leaf = cfi_function_start(k->pcs[0]);
				sums.task = k->task;
				sums.state = k->what;
				break;
			}
	stacks_fini(&stacks);
	return sums;
}

static bool has_leaf(enum profiler_kind kind, uintptr_t fn, uintptr_t leaf)
{
	struct stacks stacks;
	bool found = false;

	stacks_init(&stacks);
	CHECK_STATUS(0, contention_count(kind, &stacks, 1));
	for (const struct stack *k = stacks.first; k != NULL; k = k->next)
		for (unsigned i = 1; i < k->n && !found; i++)
			found = cfi_function_start(k->pcs[0]) == leaf &&
				cfi_function_start(k->pcs[i]) == fn;
	stacks_fini(&stacks);
	return found;
}

static struct sums minus(struct sums a, struct sums b)
{
	a.count -= b.count;
	a.delay_ns -= b.delay_ns;
	return a;
}

static void check_near(int64_t expected, int64_t got)
{
	int64_t off = got > expected ? got - expected : expected - got;

	if (off * 10 > expected)
		fail_msg("%lld is not within a tenth of %lld", (long long)got, (long long)expected);
}

static int rates_setup(void **state)
{
	contention_rate_set(PROFILER_MUTEX, 1);
	contention_rate_set(PROFILER_BLOCK, 1);
	return fixture_setup(state);
}

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
	check_near((int64_t)crowd_waited_ns, held.delay_ns);
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

/* ---- Conditions, semaphores, idleness ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool flag;

static void wait_for_flag(void)
{
	pthread_mutex_lock(&mutex);
	while (!flag)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
}

WHOLE static void *idle_main(void *data)
{
	pthread_mutex_lock(&mutex);
	while (!flag)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

WHOLE static void work_that_waits(void)
{
	wait_for_flag();
	__asm__ volatile("" : : : "memory");
}

WHOLE static void *worker_main(void *data)
{
	work_that_waits();
	return NULL;
}

static void run_until_flagged(void *(*run)(void *data))
{
	pthread_t thread;

	flag = false;
	assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
	nap_us(PAUSE_MS * 1000);
	pthread_mutex_lock(&mutex);
	flag = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
}

static void a_wait_inside_work_is_blocked(void **state)
{
	struct sums sums;

	run_until_flagged(worker_main);
	sums = sums_of(PROFILER_BLOCK, FN(work_that_waits));
	assert_true(sums.delay_ns > (int64_t)(PAUSE_MS * NS_PER_MS / 2));
	assert_true(sums.leaf == FN(pthread_cond_wait));
	assert_string_equal(sums.state, "sync.Cond.Wait");
}

static void a_workers_wait_for_work_is_idle(void **state)
{
	for (unsigned i = 0; i < 3; i++)
		run_until_flagged(idle_main);
	assert_int_equal(sums_of(PROFILER_BLOCK, FN(idle_main)).stacks, 0);
}

static void nothing(uv_work_t *w)
{
}

static void on_nothing(uv_work_t *w, int status)
{
}

static void the_pool_of_libuv_is_idle(void **state)
{
	struct fixture *f = *state;
	uv_work_t work;

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(uv_queue_work(&f->loop.uv, &work, nothing, on_nothing), 0);
		uv_run(&f->loop.uv, UV_RUN_ONCE);
		nap_us(2000);
	}
	assert_int_equal(sums_of(PROFILER_BLOCK, FN(uv_cond_wait)).stacks, 0);
}

static void *post_later(void *data)
{
	nap_us(PAUSE_MS * 1000);
	sem_post(data);
	return NULL;
}

WHOLE static void wait_for_semaphore(sem_t *s)
{
	while (sem_wait(s) != 0)
		assert_int_equal(errno, EINTR);
	__asm__ volatile("" : : : "memory");
}

static void a_semaphore_and_a_join_are_waits(void **state)
{
	struct sums sums;
	pthread_t thread;
	sem_t s;

	assert_int_equal(sem_init(&s, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, post_later, &s), 0);
	wait_for_semaphore(&s);
	pthread_join(thread, NULL);
	sums = sums_of(PROFILER_BLOCK, FN(wait_for_semaphore));
	assert_true(sums.delay_ns > (int64_t)(PAUSE_MS * NS_PER_MS / 2));
	assert_true(sums.leaf == FN(sem_wait));
	assert_true(sums_of(PROFILER_BLOCK, FN(pthread_join)).count > 0);
}

/* ---- What the functions promise ---- */

static void init_mutex(pthread_mutex_t *m, int type, int robust, int protocol)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, type);
	pthread_mutexattr_setrobust(&attr, robust);
	pthread_mutexattr_setprotocol(&attr, protocol);
	assert_int_equal(pthread_mutex_init(m, &attr), 0);
	pthread_mutexattr_destroy(&attr);
}

static void *lock_and_die(void *data)
{
	pthread_mutex_lock(data);
	return NULL;
}

static void every_type_of_mutex_answers_as_before(void **state)
{
	struct timespec past = { 0, 0 };
	pthread_mutex_t m;
	pthread_t thread;

	init_mutex(&m, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
	assert_int_equal(pthread_mutex_unlock(&m), EPERM);
	assert_int_equal(pthread_mutex_lock(&m), 0);
	assert_int_equal(pthread_mutex_lock(&m), EDEADLK);
	assert_int_equal(pthread_mutex_unlock(&m), 0);
	init_mutex(&m, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT);
	assert_int_equal(pthread_mutex_lock(&m) | pthread_mutex_lock(&m), 0);
	assert_int_equal(pthread_mutex_unlock(&m) | pthread_mutex_unlock(&m), 0);
	assert_int_equal(pthread_mutex_unlock(&m), EPERM);
	init_mutex(&m, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
	assert_int_equal(pthread_create(&thread, NULL, lock_and_die, &m), 0);
	pthread_join(thread, NULL);
	assert_int_equal(pthread_mutex_lock(&m), EOWNERDEAD);
	assert_int_equal(pthread_mutex_consistent(&m), 0);
	assert_int_equal(pthread_mutex_timedlock(&m, &past), ETIMEDOUT);
	assert_int_equal(pthread_mutex_clocklock(&m, CLOCK_MONOTONIC, &past), ETIMEDOUT);
	assert_int_equal(pthread_mutex_trylock(&m), EBUSY);
	assert_int_equal(pthread_mutex_unlock(&m), 0);
	assert_false(waits_any(&m));
}

/* The outer hold goes on after the inner unlock. */
static pthread_mutex_t recursive;

static void *take_recursive(void *data)
{
	pthread_mutex_lock(&recursive);
	pthread_mutex_unlock(&recursive);
	return NULL;
}

WHOLE static void unlock_inner(void)
{
	pthread_mutex_unlock(&recursive);
	__asm__ volatile("" : : : "memory");
}

static void an_inner_unlock_is_no_release(void **state)
{
	pthread_t thread;

	init_mutex(&recursive, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
	pthread_mutex_lock(&recursive);
	pthread_mutex_lock(&recursive);
	assert_int_equal(pthread_create(&thread, NULL, take_recursive, NULL), 0);
	while (!waits_any(&recursive))
		usleep(100);
	nap_us(1000);
	unlock_inner();
	pthread_mutex_unlock(&recursive);
	pthread_join(thread, NULL);
	assert_int_equal(sums_of(PROFILER_MUTEX, FN(unlock_inner)).stacks, 0);
}

static void *errno_main(void *data)
{
	errno = EXDEV;
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	*(int *)data = errno;
	return NULL;
}

static void errno_stays_what_it_was(void **state)
{
	int seen = 0;
	pthread_t thread;

	pthread_mutex_lock(&mutex);
	assert_int_equal(pthread_create(&thread, NULL, errno_main, &seen), 0);
	while (!waits_any(&mutex))
		usleep(100);
	nap_us(1000);
	errno = ESRCH;
	pthread_mutex_unlock(&mutex);
	assert_int_equal(errno, ESRCH);
	pthread_join(thread, NULL);
	assert_int_equal(seen, EXDEV);
}

static bool cleaned;

static void clean_up(void *data)
{
	cleaned = true;
	pthread_mutex_unlock(&mutex);
}

static void *wait_for_ever(void *data)
{
	pthread_mutex_lock(&mutex);
	pthread_cleanup_push(clean_up, NULL);
	for (;;)
		pthread_cond_wait(&cond, &mutex);
	pthread_cleanup_pop(1);
	return NULL;
}

static void a_waiting_thread_can_be_cancelled(void **state)
{
	pthread_t thread;
	void *ret = NULL;

	cleaned = false;
	assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
	nap_us(2000);
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_ptr_equal(ret, PTHREAD_CANCELED);
	assert_true(cleaned);
	assert_int_equal(pthread_mutex_trylock(&mutex), 0);
	pthread_mutex_unlock(&mutex);
}

static void the_child_of_a_fork_has_no_waiters(void **state)
{
	pthread_t thread;
	int status, seen;
	pid_t pid;

	pthread_mutex_lock(&mutex);
	assert_int_equal(pthread_create(&thread, NULL, errno_main, &seen), 0);
	while (!waits_any(&mutex))
		usleep(100);
	pid = fork();
	if (pid == 0) {
		bool any = waits_any(&mutex);

		pthread_mutex_unlock(&mutex);
		pthread_mutex_lock(&mutex);
		_exit(any ? 1 : 0);
	}
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- Operations and the loop ---- */

enum { RESTING, DONE };

static const struct op_state states[] = {
	[RESTING] = { "resting", TO(DONE) },
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
	assert_string_equal(sums.state, "resting");
	assert_true(sums_of(PROFILER_BLOCK, FN(rest_start)).count >= 1);
}

static void a_blocking_call_on_the_loop_is_found(void **state)
{
	struct fixture *f = *state;
	struct sums sums = { 0 };
	struct op op;

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

#define locks_test(fn) cmocka_unit_test_setup_teardown(fn, rates_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest always[] = {
		locks_test(a_build_without_own_locks_says_so),
		locks_test(short_events_are_sampled_without_bias),
		locks_test(a_rate_of_zero_records_nothing),
		locks_test(every_type_of_mutex_answers_as_before),
		locks_test(a_waiting_thread_can_be_cancelled),
		locks_test(an_operations_wait_names_task_state_and_starter),
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
		locks_test(a_wait_inside_work_is_blocked),
		locks_test(a_workers_wait_for_work_is_idle),
		locks_test(the_pool_of_libuv_is_idle),
		locks_test(a_semaphore_and_a_join_are_waits),
		locks_test(every_type_of_mutex_answers_as_before),
		locks_test(an_inner_unlock_is_no_release),
		locks_test(errno_stays_what_it_was),
		locks_test(a_waiting_thread_can_be_cancelled),
		locks_test(the_child_of_a_fork_has_no_waiters),
		locks_test(an_operations_wait_names_task_state_and_starter),
		locks_test(a_blocking_call_on_the_loop_is_found),
		locks_test(the_texts_are_gos),
	};

	REQUIRE(base_init() == 0);
	return waits_enabled() ? cmocka_run_group_tests(own_locks, NULL, NULL) :
				 cmocka_run_group_tests(always, NULL, NULL);
}
