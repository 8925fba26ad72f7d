#include "profiler_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "profiler/contention.h"
#include "profiler/heap.h"

/* CPU, heap and locks are sampled at once, finely, while a program does all that takes libc's own
 * locks: modules, threads and processes come and go, and a database is shared. It hangs or crashes,
 * or it does not; an alarm ends it when it hangs. */

enum { SECONDS = 3, PATIENCE_SECONDS = 120, FINE_RATE = 64 << 10, SIZE_MAX_LOG2 = 16 };

static _Atomic bool stop;
static _Atomic uint64_t rounds[5];
static sqlite3 *db;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *storm_modules(void *arg)
{
	while (!atomic_load(&stop)) {
		void *lib = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);

		if (lib != NULL)
			dlclose(lib);
		atomic_fetch_add(&rounds[0], 1);
	}
	return arg;
}

static void *storm_memory(void *arg)
{
	uint32_t r = 1;

	while (!atomic_load(&stop)) {
		void *p, *q;

		r = r * 1664525 + 1013904223;
		p = malloc(r >> (32 - SIZE_MAX_LOG2));
		pthread_mutex_lock(&mutex);
		q = realloc(p, r & ((1 << SIZE_MAX_LOG2) - 1));
		pthread_mutex_unlock(&mutex);
		free(q);
		atomic_fetch_add(&rounds[1], 1);
	}
	return arg;
}

static void *short_life(void *arg)
{
	pthread_mutex_lock(&mutex);
	free(malloc(100000));
	pthread_mutex_unlock(&mutex);
	return arg;
}

static void *storm_threads(void *arg)
{
	while (!atomic_load(&stop)) {
		pthread_t t;

		if (pthread_create(&t, NULL, short_life, NULL) == 0)
			pthread_join(t, NULL);
		atomic_fetch_add(&rounds[2], 1);
	}
	return arg;
}

static void *storm_forks(void *arg)
{
	while (!atomic_load(&stop)) {
		pid_t pid = fork();

		if (pid == 0) {
			free(malloc(1 << 20));
			if (pthread_mutex_trylock(&mutex) == 0)
				pthread_mutex_unlock(&mutex);
			_exit(0);
		}
		while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		atomic_fetch_add(&rounds[3], 1);
	}
	return arg;
}

static void *storm_database(void *arg)
{
	while (!atomic_load(&stop)) {
		(void)sqlite3_exec(db, "insert into t values (randomblob(3000))", NULL, NULL, NULL);
		(void)sqlite3_exec(db, "delete from t", NULL, NULL, NULL);
		atomic_fetch_add(&rounds[4], 1);
	}
	return arg;
}

/* PEERSCOPE_STORM_SECONDS: for longer than what every run of the tests has time for. */
static uint64_t storm_seconds(void)
{
	const char *seconds = getenv("PEERSCOPE_STORM_SECONDS");

	return seconds != NULL ? strtoull(seconds, NULL, 10) : SECONDS;
}

/* Profiles are read all the time too. */
static void read_profiles(struct fixture *f, uint64_t until_ns)
{
	static const enum profiler_kind kinds[] = { PROFILER_HEAP, PROFILER_MUTEX, PROFILER_BLOCK,
						    PROFILER_GOROUTINE };

	for (unsigned i = 0; clock_now_ns(&clock_system) < until_ns; i++)
		(void)fixture_capture(
			f, &(struct profiler_request){ .kind = kinds[i % ARRAY_SIZE(kinds)],
						       .debug = i / 4 % 2 });
}

static void storm(struct fixture *f)
{
	void *(*const fns[])(void *) = { storm_modules, storm_memory, storm_memory,
					 storm_threads, storm_forks,  storm_database,
					 storm_database };
	pthread_t threads[ARRAY_SIZE(fns)];

	for (unsigned i = 0; i < ARRAY_SIZE(fns); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], NULL), 0);
	read_profiles(f, clock_now_ns(&clock_system) + storm_seconds() * (uint64_t)NS_PER_SEC);
	for (unsigned i = 0; i < ARRAY_SIZE(rounds); i++)
		while (atomic_load(&rounds[i]) < 3)
			usleep(1000);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(fns); i++)
		pthread_join(threads[i], NULL);
}

static void all_profiles_get_along_with_each_other_and_with_libc(void **state)
{
	struct fixture *f = *state;
	uint64_t ns;
	struct heap_sums sums;

	alarm((unsigned)storm_seconds() + PATIENCE_SECONDS);
	heap_rate_set(PROFILER_HEAP, FINE_RATE);
	contention_rate_set(PROFILER_MUTEX, 1);
	contention_rate_set(PROFILER_BLOCK, 1);
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	(void)sqlite3_exec(db, "create table t(a)", NULL, NULL, NULL);
	fixture_start(
		f, 1,
		&(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 3600, .hz = 250 });
	storm(f);
	op_cancel(&f->captures[1].op);
	while (f->status[1] == 1)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	CHECK_STATUS(UV_ECANCELED, f->status[1]);
	sqlite3_close(db);
	heap_sums(&sums);
	print_message("# %llu allocations sampled, %llu bytes in use, %llu waits recorded\n",
		      (unsigned long long)sums.samples, (unsigned long long)sums.bytes_in_use,
		      (unsigned long long)contention_recorded(&ns));
	if (heap_note(PROFILER_HEAP) == NULL) {
		assert_true(sums.samples > 100);
		assert_true(sums.bytes_in_use <= sums.bytes / 2);
		assert_int_equal(heap_lost(PROFILER_HEAP), 0);
	}
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		profiler_test(all_profiles_get_along_with_each_other_and_with_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
