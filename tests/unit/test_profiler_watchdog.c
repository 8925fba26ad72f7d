#include "profiler_fixture.h"
#include "profiler_signals.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

/* A loop that is held up on purpose, and a process in which everything moves at once. */

enum { STALL_MS = 120, LIMIT_MS = 30, RUNS_MAX = 50, STORM_SAMPLES = 300 };

static _Thread_local volatile uint64_t sink;
static _Atomic bool stop;

WHOLE static void stall_here(unsigned ms)
{
	uint64_t until = clock_now_ms(&clock_system) + ms;

	while (clock_now_ms(&clock_system) < until)
		sink++;
}

/* A blocking call: the watchdog's question cuts it short, so it goes on until its time is over. */
WHOLE static void sleep_here(unsigned ms)
{
	uint64_t until = clock_now_ms(&clock_system) + ms;
	struct timespec moment = { 0, 5000000 };

	while (clock_now_ms(&clock_system) < until)
		sink += (uint64_t)nanosleep(&moment, NULL);
}

static const struct op_state states[] = {
	{ "busy", TO(1) },
	{ "done", 0 },
};
static void (*hold_up)(unsigned ms);

static void slow_tick(struct op *op)
{
	hold_up(STALL_MS);
	op_move(op, 1);
	(void)op_finish(op);
}

static const struct op_kind slow_kind = { "demo.slow", states, ARRAY_SIZE(states), slow_tick };

static void run_slow(struct fixture *f, void (*fn)(unsigned ms))
{
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };
	struct op op;

	hold_up = fn;
	op_init(&op, &slow_kind, &env, UINT64_MAX);
	while (f->loop.runner.op_count > 0)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
}

static unsigned stalls_of(struct fixture *f, const char *task, struct profiler_stall *ret)
{
	struct profiler_stall list[32];
	unsigned n = profiler_stalls(f->profiler, list, ARRAY_SIZE(list)), found = 0;

	for (unsigned i = 0; i < n; i++)
		if (list[i].task != NULL && strcmp(list[i].task, task) == 0 && found++ == 0)
			*ret = list[i];
	return found;
}

/* The watching thread may get no turn itself on a busy machine, or look when it is over. */
static void check_recorded(struct fixture *f, void (*fn)(unsigned ms), const char *function)
{
	struct profiler_stall stall;
	bool found = false;

	CHECK_STATUS(0, profiler_watch_loop(f->profiler, LIMIT_MS, false));
	uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	for (unsigned i = 0; i < RUNS_MAX && !found; i++) {
		const struct buf *text;

		run_slow(f, fn);
		text = fixture_capture(f, &(struct profiler_request){ .kind = PROFILER_STALLS });
		found = strstr((const char *)text->data, "operation demo.slow:\n") != NULL &&
			strstr((const char *)text->data, function) != NULL;
		buf_fini(&f->captures[0].out);
	}
	assert_true(found);
	assert_true(stalls_of(f, "demo.slow", &stall) >= 1);
}

static void a_turn_that_computes_too_long_is_recorded_with_its_stack(void **state)
{
	NEEDS_PROMPT_SIGNALS();
	check_recorded(*state, stall_here, "stall_here(...)");
}

static void a_turn_that_blocks_too_long_is_recorded_with_its_stack(void **state)
{
	NEEDS_PROMPT_SIGNALS();
	check_recorded(*state, sleep_here, "sleep_here(...)");
}

static void the_time_of_a_stall_is_the_turns(void **state)
{
	struct fixture *f = *state;
	struct profiler_stall stall = { 0 };

	NEEDS_PROMPT_SIGNALS();
	CHECK_STATUS(0, profiler_watch_loop(f->profiler, LIMIT_MS, false));
	uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	run_slow(f, stall_here);
	for (unsigned i = 0; i < 10000 && stall.duration_ns == 0; i++) {
		struct timespec moment = { 0, 1000000 };

		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
		nanosleep(&moment, NULL);
		assert_true(stalls_of(f, "demo.slow", &stall) >= 1);
	}
	assert_true(stall.duration_ns >= STALL_MS * NS_PER_MS * 9 / 10);
	assert_true(fixture_stats(f).loop_longest_ns >= STALL_MS * NS_PER_MS * 9 / 10);
}

static void only_one_loop_is_watched(void **state)
{
	struct fixture *f = *state;

	CHECK_STATUS(0, profiler_watch_loop(f->profiler, LIMIT_MS, false));
	CHECK_STATUS(UV_EALREADY, profiler_watch_loop(f->profiler, LIMIT_MS, false));
}

static bool has(const char *text, size_t len, const char *what)
{
	return memmem(text, len, what, strlen(what)) != NULL;
}

static void a_hung_loop_shows_its_stacks_on_sigquit(void **state)
{
	static char text[1 << 20];
	struct fixture *f = *state;
	int fds[2], saved = dup(STDERR_FILENO);
	size_t len = 0;

	NEEDS_PROMPT_SIGNALS();
	assert_int_equal(pipe(fds), 0);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	CHECK_STATUS(0, profiler_watch_loop(f->profiler, 1000, true));
	dup2(fds[1], STDERR_FILENO);
	raise(SIGQUIT);
	/* This thread is the loop, and it hangs until the stacks are there. */
	for (unsigned i = 0; i < 2000 && !has(text, len, "stall_here(...)"); i++) {
		ssize_t n;

		stall_here(10);
		n = read(fds[0], text + len, sizeof(text) - len);
		len += n > 0 ? (size_t)n : 0;
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[0]);
	close(fds[1]);
	assert_true(has(text, len, "SIGQUIT: all threads\n"));
	assert_true(has(text, len, "goroutine 1 [running]:\n"));
	assert_true(has(text, len, "stall_here(...)\n"));
}

/* ---- Everything moves ---- */

static _Atomic uint64_t loads;

static void *storm_modules(void *arg)
{
	while (!atomic_load(&stop)) {
		void *lib = dlopen(arg, RTLD_NOW | RTLD_LOCAL);

		if (lib != NULL && dlclose(lib) == 0)
			atomic_fetch_add(&loads, 1);
		sink++;
	}
	return NULL;
}

static void *storm_memory(void *arg)
{
	while (!atomic_load(&stop))
		for (size_t n = 1; n < 100000; n *= 3)
			mem_free(mem_alloc(n));
	return arg;
}

static void *short_life(void *arg)
{
	stall_here(1);
	return arg;
}

static void *storm_threads(void *arg)
{
	while (!atomic_load(&stop)) {
		pthread_t t;

		if (pthread_create(&t, NULL, short_life, NULL) == 0)
			pthread_join(t, NULL);
	}
	return arg;
}

static void *storm_forks(void *arg)
{
	while (!atomic_load(&stop)) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	return arg;
}

/* PEERSCOPE_STORM_SECONDS: for a storm longer than what every run of the tests has time for. */
static uint64_t storm_end_ns(void)
{
	const char *seconds = getenv("PEERSCOPE_STORM_SECONDS");

	return seconds != NULL ? clock_now_ns(&clock_system) +
					 strtoull(seconds, NULL, 10) * (uint64_t)NS_PER_SEC :
				 0;
}

/* Captures at the highest rate while modules, threads and processes come and go, with all stacks
 * taken in between. It hangs or crashes, or it does not. Nothing else here needs the modules, so
 * that they really come and go. */
static void sampling_gets_along_with_modules_threads_and_forks(void **state)
{
	static char a[] = "libthread_db.so.1", b[] = "libresolv.so.2";
	struct fixture *f = *state;
	void *(*const fns[])(void *) = { storm_modules, storm_modules, storm_memory, storm_threads,
					 storm_forks };
	void *args[] = { a, b, NULL, NULL, NULL };
	pthread_t threads[ARRAY_SIZE(fns)];
	struct profiler_stats s;
	uint64_t before = fixture_stats(f).samples, end_ns = storm_end_ns();

	atomic_store(&stop, false);
	fixture_start(
		f, 1,
		&(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 3600, .hz = 1000 });
	for (unsigned i = 0; i < ARRAY_SIZE(fns); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], args[i]), 0);
	while ((fixture_stats(f).samples < before + STORM_SAMPLES ||
		clock_now_ns(&clock_system) < end_ns) &&
	       f->status[1] == 1)
		(void)fixture_capture(
			f, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 });
	op_cancel(&f->captures[1].op);
	while (f->status[1] == 1)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(fns); i++)
		pthread_join(threads[i], NULL);
	CHECK_STATUS(UV_ECANCELED, f->status[1]);
	s = fixture_stats(f);
	print_message("# %llu samples, %llu modules loaded, %llu lost\n",
		      (unsigned long long)(s.samples - before),
		      (unsigned long long)atomic_load(&loads), (unsigned long long)s.lost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		profiler_test(a_turn_that_computes_too_long_is_recorded_with_its_stack),
		profiler_test(a_turn_that_blocks_too_long_is_recorded_with_its_stack),
		profiler_test(the_time_of_a_stall_is_the_turns),
		profiler_test(only_one_loop_is_watched),
		profiler_test(a_hung_loop_shows_its_stacks_on_sigquit),
		profiler_test(sampling_gets_along_with_modules_threads_and_forks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
