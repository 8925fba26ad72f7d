#include "contention_fixture.h"
#include "profiler_signals.h"

#include <sys/wait.h>

/* Lock functions of the program's own keep what libc's promise, and know idle from blocked. */

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

	if (!waits_enabled())
		SKIP_TEST("built without lock functions of its own");
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

static void *take_mutex(void *data)
{
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

/* With the mutex held. */
WHOLE static void hold_until_condition(void)
{
	struct timespec until;

	while (!waits_any(&mutex))
		usleep(100);
	nap_us(PAUSE_MS * 1000);
	clock_gettime(CLOCK_REALTIME, &until);
	(void)pthread_cond_timedwait(&cond, &mutex, &until);
	pthread_mutex_unlock(&mutex);
}

/* It is given up inside libc. */
static void a_mutex_given_up_for_a_condition_is_released(void **state)
{
	pthread_t thread;

	if (!waits_enabled())
		SKIP_TEST("built without lock functions of its own");
	pthread_mutex_lock(&mutex);
	assert_int_equal(pthread_create(&thread, NULL, take_mutex, NULL), 0);
	hold_until_condition();
	pthread_join(thread, NULL);
	assert_true(sums_of(PROFILER_MUTEX, FN(hold_until_condition)).delay_ns >
		    (int64_t)(PAUSE_MS * NS_PER_MS / 2));
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

	if (!waits_enabled())
		SKIP_TEST("built without lock functions of its own");
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

	if (SIGNALS_HELD_BACK)
		SKIP_TEST("ThreadSanitizer reports an unlock too many, which is what this is");
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

	if (!waits_enabled())
		SKIP_TEST("built without lock functions of its own");
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

	if (!waits_enabled())
		SKIP_TEST("built without lock functions of its own");
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

	if (!waits_enabled())
		SKIP_TEST("built without lock functions of its own");
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

/* ---- Everything at once ---- */

enum { STORM_THREADS = 4, STORM_HZ = 1000 };
static pthread_mutex_t stormy[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
static uint64_t storm_count[2], storm_own[STORM_THREADS];
static _Atomic bool storm_ends;

static void *storm_main(void *data)
{
	uint64_t *own = data;

	while (!atomic_load(&storm_ends)) {
		unsigned i = (*own)++ & 1;

		pthread_mutex_lock(&stormy[i]);
		storm_count[i]++;
		pthread_mutex_unlock(&stormy[i]);
	}
	return NULL;
}

/* Signals that walk stacks hit threads in the middle of taking, waiting and recording. */
static void locks_hold_while_stacks_are_sampled_and_dumped(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[STORM_THREADS];
	uint64_t sum = 0;

	for (unsigned i = 0; i < STORM_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm_main, &storm_own[i]), 0);
	f->ended = 0;
	fixture_start(
		f, 1,
		&(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1, .hz = STORM_HZ });
	fixture_start(f, 2, &(struct profiler_request){ .kind = PROFILER_MUTEX, .seconds = 1 });
	for (unsigned i = 3; i < 8; i++)
		fixture_start(f, i, &(struct profiler_request){ .kind = PROFILER_GOROUTINE });
	fixture_run_until(f, 7);
	atomic_store(&storm_ends, true);
	for (unsigned i = 0; i < STORM_THREADS; i++) {
		pthread_join(threads[i], NULL);
		sum += storm_own[i];
	}
	for (unsigned i = 1; i < 8; i++)
		CHECK_STATUS(0, f->status[i]);
	assert_int_equal(storm_count[0] + storm_count[1], sum);
	assert_false(waits_any(&stormy[0]) || waits_any(&stormy[1]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		locks_test(every_type_of_mutex_answers_as_before),
		locks_test(a_waiting_thread_can_be_cancelled),
		locks_test(a_wait_inside_work_is_blocked),
		locks_test(a_workers_wait_for_work_is_idle),
		locks_test(the_pool_of_libuv_is_idle),
		locks_test(a_semaphore_and_a_join_are_waits),
		locks_test(a_mutex_given_up_for_a_condition_is_released),
		locks_test(an_inner_unlock_is_no_release),
		locks_test(errno_stays_what_it_was),
		locks_test(the_child_of_a_fork_has_no_waiters),
		locks_test(locks_hold_while_stacks_are_sampled_and_dumped),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
