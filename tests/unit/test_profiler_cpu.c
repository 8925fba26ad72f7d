#include "profiler_fixture.h"
#include "profiler_signals.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

/* Real threads. How long a capture lasts is the loop's clock's business; how much CPU the samples
 * add up to is compared with what the kernel says that the threads used. */

enum { SAMPLING = 2 }; /* profiler/capture.c */
enum { SHORT_LIFE_NS = 5000000, SHORT_LIVES = 400, PERIOD_NS = 10000000 };

/* ---- Load ---- */

static _Atomic bool stop;
static _Thread_local volatile uint64_t sink;

WHOLE static void burn_inner(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sink = sink * 6364136223846793005u + i;
}

WHOLE static void *burn_thread(void *arg)
{
	struct timespec used;

	pthread_setname_np(pthread_self(), "burner");
	while (!atomic_load(&stop)) {
		burn_inner(10000);
		sink++;
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	*(uint64_t *)arg = (uint64_t)used.tv_sec * NS_PER_SEC + (uint64_t)used.tv_nsec;
	return NULL;
}

static uint64_t own_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * NS_PER_SEC + (uint64_t)used.tv_nsec;
}

static uint64_t handled(struct fixture *f)
{
	struct profiler_stats s;

	profiler_stats(f->profiler, &s);
	return s.samples + s.overruns;
}

/* ---- Tests ---- */

static void a_profile_names_functions_threads_and_files(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	uint64_t used;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, burn_thread, &used), 0);
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	fixture_run_until(f, 1);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	CHECK_STATUS(0, f->status[0]);
	assert_true(fixture_has(&f->captures[0].out, "burn_inner"));
	assert_true(fixture_has(&f->captures[0].out, "burn_thread"));
	assert_true(fixture_has(&f->captures[0].out, "burner"));
	assert_true(fixture_has(&f->captures[0].out, "test_profiler_cpu.c"));
	assert_false(fixture_has(&f->captures[0].out, "thread_main"));
}

static void start_sampling(struct fixture *f, unsigned hz)
{
	fixture_start(
		f, 0,
		&(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 3600, .hz = hz });
	while (f->captures[0].op.state != SAMPLING)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
}

static void end_sampling(struct fixture *f)
{
	op_cancel(&f->captures[0].op);
	fixture_run_until(f, 1);
	CHECK_STATUS(UV_ECANCELED, f->status[0]);
}

/* Two threads use some CPU time; the samples tell as much. */
static void check_sums(struct fixture *f)
{
	pthread_t threads[2];
	uint64_t used[2], before, sampled;

	atomic_store(&stop, false);
	start_sampling(f, 1000);
	before = handled(f);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, burn_thread, &used[i]), 0);
	while (handled(f) - before < 1500)
		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* This thread's share is in it too, so: at least what the two used, less the last ticks. */
	sampled = (handled(f) - before) * NS_PER_MS;
	end_sampling(f);
	assert_true(sampled * 100 >= (used[0] + used[1]) * 95);
	assert_true(sampled * 100 <= (used[0] + used[1] + own_cpu_ns()) * 105);
}

static void samples_add_up_to_the_cpu_time_used(void **state)
{
	NEEDS_PROMPT_SIGNALS();
	check_sums(*state);
	assert_int_equal(fixture_stats(*state).untimed, 0);
}

static void samples_add_up_without_timers_of_their_own(void **state)
{
	struct profiler_stats stats;
	struct rlimit was, none;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &was), 0);
	none = (struct rlimit){ 0, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	check_sums(*state);
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &was), 0);
	stats = fixture_stats(*state);
	assert_true(stats.untimed >= 3);
	assert_int_equal(stats.untimed_error, UV_EAGAIN);
	assert_true(stats.untimed_sampled);
	assert_non_null(strstr(stats.untimed_names, "test_profiler"));
}

/* Until so many sample, or one more has ended. */
static void wait_for_captures(struct fixture *f, unsigned count)
{
	unsigned ended = f->ended;
	struct profiler_stats s;

	do {
		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
		profiler_stats(f->profiler, &s);
	} while (s.cpu_captures < count && f->ended == ended);
}

static void the_ninth_capture_is_refused_and_a_cancelled_one_makes_room(void **state)
{
	struct fixture *f = *state;
	const struct profiler_request request = { .kind = PROFILER_CPU, .seconds = 3600 };
	struct profiler_stats s;

	for (unsigned i = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++)
		fixture_start(f, i, &request);
	fixture_run_until(f, 1);
	for (unsigned i = 0, refused = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++) {
		refused += f->status[i] == UV_EBUSY;
		assert_true(f->status[i] == 1 || f->status[i] == UV_EBUSY);
		assert_true(refused <= 1);
	}
	for (unsigned i = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++)
		op_cancel(&f->captures[i].op);
	fixture_run_until(f, PROFILER_CPU_CAPTURES_MAX + 1);
	profiler_stats(f->profiler, &s);
	assert_int_equal(s.cpu_captures, 0);
	assert_int_equal(s.timers, 0);
	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	fixture_run_until(f, 1);
	CHECK_STATUS(0, f->status[0]);
}

static void one_in_the_background_takes_nobodys_place(void **state)
{
	struct fixture *f = *state;
	struct profiler_request request = { .kind = PROFILER_CPU,
					    .seconds = 3600,
					    .background = true };

	fixture_start(f, 0, &request);
	fixture_start(f, 1, &request);
	fixture_run_until(f, 1);
	assert_true((f->status[0] == UV_EBUSY) != (f->status[1] == UV_EBUSY));
	unsigned kept = f->status[0] == 1 ? 0 : 1;
	request.background = false;
	for (unsigned i = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++)
		if (i != kept)
			fixture_start(f, i, &request);
	wait_for_captures(f, PROFILER_CPU_CAPTURES_MAX + 1);
	for (unsigned i = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++) {
		assert_int_equal(f->status[i], 1);
		op_cancel(&f->captures[i].op);
	}
	fixture_run_until(f, PROFILER_CPU_CAPTURES_MAX + 2);
}

static void nothing_is_armed_while_nobody_captures(void **state)
{
	struct fixture *f = *state;
	uint64_t before = handled(f);
	struct profiler_stats s;

	burn_inner(200000000);
	profiler_stats(f->profiler, &s);
	assert_int_equal(s.timers, 0);
	assert_int_equal(handled(f), before);
}

static void another_handler_of_the_signal_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct sigaction mine = { .sa_handler = SIG_IGN }, old;

	mine.sa_handler = (void (*)(int))(void *)burn_inner;
	sigaction(SIGPROF, &mine, &old);
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	fixture_run_until(f, 1);
	sigaction(SIGPROF, &old, NULL);
	CHECK_STATUS(UV_EBUSY, f->status[0]);
}

static void *short_life(void *arg)
{
	struct timespec used;

	do {
		burn_inner(10000);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	} while (used.tv_sec == 0 && used.tv_nsec < SHORT_LIFE_NS);
	return arg;
}

/* Each lives half a period, and a tick of the kernel or two: the phase of the first expiry and what
 * is made up for at the end give them their share. This thread is in it too: it takes about as much
 * for each as a tenth of what that one lives. */
static void short_lived_threads_count_for_what_they_used(void **state)
{
	struct fixture *f = *state;
	uint64_t before, counted, own_ns;
	pthread_t t;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	start_sampling(f, 100);
	own_ns = own_cpu_ns();
	before = handled(f);
	for (unsigned i = 0; i < SHORT_LIVES; i++) {
		assert_int_equal(pthread_create(&t, NULL, short_life, NULL), 0);
		pthread_join(t, NULL);
	}
	counted = (handled(f) - before) * PERIOD_NS;
	own_ns = own_cpu_ns() - own_ns + PERIOD_NS;
	end_sampling(f);
	assert_true(counted * 10 >= SHORT_LIVES * SHORT_LIFE_NS * UINT64_C(9));
	assert_true(counted * 10 <= (SHORT_LIVES * SHORT_LIFE_NS + own_ns) * UINT64_C(11));
}

static void what_a_thread_used_after_its_last_tick_has_a_name(void **state)
{
	struct fixture *f = *state;
	pthread_t t;

	NEEDS_PROMPT_SIGNALS();
	NEEDS_INTERPOSED_THREADS();
	f->ended = 0;
	fixture_start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	while (f->ended == 0) {
		assert_int_equal(pthread_create(&t, NULL, short_life, NULL), 0);
		pthread_join(t, NULL);
		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	}
	CHECK_STATUS(0, f->status[0]);
	assert_true(fixture_has(&f->captures[0].out, "thread_ended_between_ticks"));
	assert_true(fixture_has(&f->captures[0].out, "short_life"));
}

static void a_forked_child_is_not_sampled(void **state)
{
	struct fixture *f = *state;
	struct profiler_stats s;
	int status;
	pid_t pid;

	start_sampling(f, 100);
	pid = fork();
	if (pid == 0) {
		uint64_t before = handled(f);

		burn_inner(50000000);
		profiler_stats(f->profiler, &s);
		_exit(s.timers != 0 || s.cpu_captures != 0 || handled(f) != before);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	end_sampling(f);
}

static void symbols_are_named_and_garbage_is_passed_over(void **state)
{
	struct fixture *f = *state;
	char text[200], expected[200];
	int n = snprintf(text, sizeof(text), "%p+0x0+zzz++%p+12", (void *)burn_inner,
			 (void *)uv_run);

	fixture_start(f, 0,
		      &(struct profiler_request){ .kind = PROFILER_SYMBOL,
						  .addresses = text,
						  .addresses_len = (size_t)n });
	fixture_run_until(f, 1);
	CHECK_STATUS(0, f->status[0]);
	snprintf(expected, sizeof(expected), "num_symbols: 1\n%p burn_inner\n%p uv_run",
		 (void *)burn_inner, (void *)uv_run);
	assert_memory_equal(f->captures[0].out.data, expected, strlen(expected));
}

static inline __attribute__((always_inline)) void inlined(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sink = sink * 2862933555777941757u + i;
}

WHOLE static void inlining(unsigned n)
{
	inlined(n);
	sink++;
}

static bool symbols_have(struct fixture *f, bool legacy, const char *name)
{
	struct profiler_request request = { .kind = PROFILER_SYMBOL, .legacy = legacy };
	char text[4096];
	const struct buf *b;
	size_t n = 0;

	for (unsigned i = 0; i < 64; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%p", i > 0 ? "+" : "",
				      (void *)((uintptr_t)inlining + i));
	request.addresses = text;
	request.addresses_len = n;
	b = fixture_capture(f, &request);
	return memmem(b->data, b->len, name, strlen(name)) != NULL;
}

static void gperftools_symbols_name_what_is_inlined_after_its_caller(void **state)
{
	struct fixture *f = *state;

	inlining(1);
	assert_true(symbols_have(f, true, " inlining--inlined\n"));
	assert_true(symbols_have(f, false, " inlining\n"));
	assert_false(symbols_have(f, false, "--"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		profiler_test(nothing_is_armed_while_nobody_captures),
		profiler_test(another_handler_of_the_signal_is_left_alone),
		profiler_test(a_profile_names_functions_threads_and_files),
		profiler_test(samples_add_up_to_the_cpu_time_used),
		profiler_test(samples_add_up_without_timers_of_their_own),
		profiler_test(the_ninth_capture_is_refused_and_a_cancelled_one_makes_room),
		profiler_test(one_in_the_background_takes_nobodys_place),
		profiler_test(short_lived_threads_count_for_what_they_used),
		profiler_test(what_a_thread_used_after_its_last_tick_has_a_name),
		profiler_test(a_forked_child_is_not_sampled),
		profiler_test(gperftools_symbols_name_what_is_inlined_after_its_caller),
		profiler_test(symbols_are_named_and_garbage_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
