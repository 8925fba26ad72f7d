/* What the program's own lock functions cost: a pair of lock and unlock that nobody contends, by
 * libc's functions and by ours, taken in turns in one run, directly and through libuv; medians of
 * the blocks. libuv cannot be made to call libc's any more: a function that calls it stands for
 * libuv's. bench_locks [blocks] */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "base/clock.h"

enum { BLOCKS = 401, BLOCKS_MAX = 10000, PAIRS = 20000 };

typedef int (*mutex_fn)(pthread_mutex_t *m);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uv_mutex_t uv_mutex;
static mutex_fn libc_lock, libc_unlock;

static void by_libc(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		libc_lock(&mutex);
		libc_unlock(&mutex);
	}
}

static void by_ours(void)
{
	mutex_fn volatile lock = pthread_mutex_lock, unlock = pthread_mutex_unlock;
	mutex_fn l = lock, u = unlock;

	for (unsigned i = 0; i < PAIRS; i++) {
		l(&mutex);
		u(&mutex);
	}
}

/* What libuv does, without ours: a call more on each side. */
static __attribute__((noinline)) void like_uv_lock(mutex_fn fn)
{
	if (fn(&mutex))
		abort();
}

static void by_libc_like_uv(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		like_uv_lock(libc_lock);
		like_uv_lock(libc_unlock);
	}
}

static void by_uv(void)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		uv_mutex_lock(&uv_mutex);
		uv_mutex_unlock(&uv_mutex);
	}
}

static const struct way {
	const char *name;
	void (*run)(void);
} ways[] = {
	{ "libc, directly", by_libc },
	{ "ours, directly", by_ours },
	{ "libc, as through libuv", by_libc_like_uv },
	{ "ours, through libuv", by_uv },
};

static double ns[ARRAY_SIZE(ways)][BLOCKS_MAX];

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double timed(void (*run)(void))
{
	uint64_t start = clock_now_ns(&clock_system);

	run();
	return (double)(clock_now_ns(&clock_system) - start) / PAIRS;
}

/* With one thread libc takes locks without atomic instructions; a daemon never has only one. */
static void *sleep_for_ever(void *data)
{
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned blocks = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : BLOCKS;
	static double diff[2][BLOCKS_MAX];
	pthread_t other;

	REQUIRE(blocks > 0 && blocks <= BLOCKS_MAX && uv_mutex_init(&uv_mutex) == 0);
	*(void **)&libc_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
	*(void **)&libc_unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
	REQUIRE(libc_lock != NULL && libc_lock != pthread_mutex_lock);
	REQUIRE(pthread_create(&other, NULL, sleep_for_ever, NULL) == 0);
	for (unsigned i = 0; i < blocks; i++) {
		for (unsigned w = 0; w < ARRAY_SIZE(ways); w++)
			ns[w][i] = timed(ways[w].run);
		diff[0][i] = ns[1][i] - ns[0][i];
		diff[1][i] = ns[3][i] - ns[2][i];
	}
	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		qsort(ns[w], blocks, sizeof(double), by_value);
		printf("%-24s %6.2f ns per pair (quartiles %.2f %.2f)\n", ways[w].name,
		       ns[w][blocks / 2], ns[w][blocks / 4], ns[w][blocks * 3 / 4]);
	}
	for (unsigned d = 0; d < 2; d++) {
		qsort(diff[d], blocks, sizeof(double), by_value);
		printf("%-24s %+6.2f ns\n", d == 0 ? "ours - libc, directly" : "ours - libc, libuv",
		       diff[d][blocks / 2]);
	}
	return 0;
}
