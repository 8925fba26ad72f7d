#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "profiler/heap.h"
#include "profiler/thread.h"

/* What sampling adds to a malloc and free: pairs of short runs, one through the program's functions
 * and one through libc's own names, in turn, so that both meet the same weather; the thread's CPU
 * time, so that others' time does not count. Medians, and the quartiles of the pairs' differences.
 * Then what one sample costs, its end included, by the depth of the stack.
 *
 * Measured on a shared machine; repeat before believing a digit. */

extern void *__libc_malloc(size_t size);
extern void __libc_free(void *p);

enum { ROUNDS = 2001, CALLS = 20000, SLOTS = 1024 };

struct functions {
	void *(*allocate)(size_t size);
	void (*release)(void *p);
};

static volatile struct functions ours = { malloc, free };
static volatile struct functions libc = { __libc_malloc, __libc_free };

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 * NS_PER_MS + (uint64_t)t.tv_nsec;
}

static double pairs_of(const volatile struct functions *f, size_t size)
{
	void *(*allocate)(size_t) = f->allocate;
	void (*release)(void *) = f->release;
	uint64_t start = cpu_ns();

	for (unsigned i = 0; i < CALLS; i++) {
		void *p = allocate(size);

		__asm__ volatile("" : : "r"(p) : "memory");
		release(p);
	}
	return (double)(cpu_ns() - start) / CALLS;
}

/* Many sizes, many blocks in use: 16 to 527 bytes in random order. */
static double churn(const volatile struct functions *f, size_t unused)
{
	static void *slots[SLOTS];
	void *(*allocate)(size_t) = f->allocate;
	void (*release)(void *) = f->release;
	uint64_t start = cpu_ns();
	uint32_t r = 1;

	for (unsigned i = 0; i < CALLS; i++) {
		r = r * 1664525 + 1013904223;
		release(slots[r >> 22]);
		slots[r >> 22] = allocate(16 + (r >> 8) % 512);
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		release(slots[i]);
		slots[i] = NULL;
	}
	return (double)(cpu_ns() - start) / CALLS;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const char *name, double (*run)(const volatile struct functions *f, size_t),
		    size_t size)
{
	static double with[ROUNDS], without[ROUNDS], difference[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		bool first = i % 2 == 0;

		with[i] = first ? run(&ours, size) : 0;
		without[i] = run(&libc, size);
		with[i] = first ? with[i] : run(&ours, size);
		difference[i] = with[i] - without[i];
	}
	qsort(with, ROUNDS, sizeof(*with), compare);
	qsort(without, ROUNDS, sizeof(*without), compare);
	qsort(difference, ROUNDS, sizeof(*difference), compare);
	printf("%-12s libc %6.2f ns, sampled %6.2f ns, difference %+5.2f ns (quartiles %+.2f, "
	       "%+.2f)\n",
	       name, without[ROUNDS / 2], with[ROUNDS / 2], difference[ROUNDS / 2],
	       difference[ROUNDS / 4], difference[ROUNDS * 3 / 4]);
}

static void measure_all(int64_t rate)
{
	heap_rate_set(PROFILER_HEAP, rate);
	for (unsigned i = 0; i < 2; i++)
		ours.release(ours.allocate((size_t)64 << 20)); /* ends the countdown under way */
	printf("one sample per %lld bytes (0 = off), malloc + free:\n", (long long)rate);
	measure("24 bytes", pairs_of, 24);
	measure("1000 bytes", pairs_of, 1000);
	measure("8000 bytes", pairs_of, 8000);
	measure("churn", churn, 0);
}

static __attribute__((noinline)) double below(unsigned depth, const volatile struct functions *f)
{
	double ns = depth > 0 ? below(depth - 1, f) : pairs_of(f, 1000);

	__asm__ volatile("" : : : "memory"); /* no tail call */
	return ns;
}

static void measure_samples(unsigned depth)
{
	static double difference[ROUNDS];

	heap_rate_set(PROFILER_HEAP, 1);
	for (unsigned i = 0; i < ROUNDS / 10; i++)
		difference[i] = below(depth, &ours) - below(depth, &libc);
	qsort(difference, ROUNDS / 10, sizeof(*difference), compare);
	printf("a sample %2u frames down: %.0f ns\n", depth, difference[ROUNDS / 20]);
}

int main(void)
{
	threads_init(); /* as in the daemon: stacks have known ends */
	if (heap_note(PROFILER_HEAP) != NULL) {
		printf("%s\n", heap_note(PROFILER_HEAP));
		return 0;
	}
	measure_all(HEAP_RATE_DEFAULT);
	measure_all(0);
	for (unsigned depth = 0; depth <= 24; depth += 8)
		measure_samples(depth);
	return 0;
}
