#include "test_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <zlib.h>

#include "base/loop.h"
#include "profiler/profiler.h"

#if __has_attribute(noipa)
#define WHOLE __attribute__((noipa))
#else
#define WHOLE __attribute__((noinline))
#endif

/* A real loop and real threads. How long a capture lasts is the loop's clock's business; how much
 * CPU the samples add up to is compared with what the kernel says that the threads used. */

struct fixture {
	struct loop loop;
	struct profiler *profiler;
	struct profiler_capture captures[PROFILER_CPU_CAPTURES_MAX + 1];
	int status[PROFILER_CPU_CAPTURES_MAX + 1];
	unsigned ended;
};

static struct fixture *fixture;

static int setup(void **state)
{
	struct fixture *f = mem_alloc(sizeof(*f));

	assert_non_null(f);
	CHECK_STATUS(0, loop_init(&f->loop));
	f->profiler = profiler_new(&(struct profiler_config){ .runner = &f->loop.runner,
							      .version = "peerscope test" });
	assert_non_null(f->profiler);
	*state = fixture = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(f->captures); i++)
		buf_fini(&f->captures[i].out);
	profiler_free(f->profiler);
	loop_fini(&f->loop);
	mem_free(f);
	return 0;
}

static void on_capture(struct profiler_capture *c, int status)
{
	fixture->status[c - fixture->captures] = status;
	fixture->ended++;
}

static void start(struct fixture *f, unsigned i, const struct profiler_request *request)
{
	struct op_env env = { .runner = &f->loop.runner, .deadline_ms = UINT64_MAX };

	f->status[i] = 1;
	profiler_capture_start(&f->captures[i], f->profiler, &env, request, on_capture);
}

static void run_until_ended(struct fixture *f, unsigned count)
{
	while (f->ended < count)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
}

/* The inflated profile, NUL-terminated: names in it are searched as text. */
static char *inflated(const struct buf *b, size_t *ret_len)
{
	uLongf cap = 16 << 20;
	z_stream z = { 0 };
	char *out = mem_alloc(cap + 1);

	assert_non_null(out);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = b->data;
	z.avail_in = (uInt)b->len;
	z.next_out = (Bytef *)out;
	z.avail_out = (uInt)cap;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	*ret_len = z.total_out;
	inflateEnd(&z);
	return out;
}

static bool profile_has(const struct buf *b, const char *name)
{
	size_t len;
	char *text = inflated(b, &len);
	bool found = memmem(text, len, name, strlen(name)) != NULL;

	mem_free(text);
	return found;
}

/* ---- Load ---- */

static _Atomic bool stop;
static volatile uint64_t sink;

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

	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, burn_thread, &used), 0);
	start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	run_until_ended(f, 1);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	CHECK_STATUS(0, f->status[0]);
	assert_true(profile_has(&f->captures[0].out, "burn_inner"));
	assert_true(profile_has(&f->captures[0].out, "burn_thread"));
	assert_true(profile_has(&f->captures[0].out, "burner"));
	assert_true(profile_has(&f->captures[0].out, "test_profiler_cpu.c"));
	assert_false(profile_has(&f->captures[0].out, "thread_main"));
}

static void samples_add_up_to_the_cpu_time_used(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[2];
	uint64_t used[2], before = handled(f), sampled;

	atomic_store(&stop, false);
	start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 2, .hz = 1000 });
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, burn_thread, &used[i]), 0);
	while (f->loop.runner.op_count > 0 && handled(f) - before < 1000)
		uv_run(&f->loop.uv, UV_RUN_NOWAIT);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* The main thread's share counts too, so: at least what the two used, less the last period.
	 */
	sampled = (handled(f) - before) * NS_PER_MS;
	run_until_ended(f, 1);
	CHECK_STATUS(0, f->status[0]);
	assert_true(sampled * 100 >= (used[0] + used[1]) * 95);
}

static void the_ninth_capture_is_refused_and_a_cancelled_one_makes_room(void **state)
{
	struct fixture *f = *state;
	const struct profiler_request request = { .kind = PROFILER_CPU, .seconds = 3600 };
	struct profiler_stats s;

	for (unsigned i = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++)
		start(f, i, &request);
	run_until_ended(f, 1);
	for (unsigned i = 0, refused = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++) {
		refused += f->status[i] == UV_EBUSY;
		assert_true(f->status[i] == 1 || f->status[i] == UV_EBUSY);
		assert_true(refused <= 1);
	}
	for (unsigned i = 0; i <= PROFILER_CPU_CAPTURES_MAX; i++)
		op_cancel(&f->captures[i].op);
	run_until_ended(f, PROFILER_CPU_CAPTURES_MAX + 1);
	profiler_stats(f->profiler, &s);
	assert_int_equal(s.cpu_captures, 0);
	assert_int_equal(s.timers, 0);
	f->ended = 0;
	start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	run_until_ended(f, 1);
	CHECK_STATUS(0, f->status[0]);
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
	start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 1 });
	run_until_ended(f, 1);
	sigaction(SIGPROF, &old, NULL);
	CHECK_STATUS(UV_EBUSY, f->status[0]);
}

static void *no_op(void *arg)
{
	burn_inner(2000000);
	return arg;
}

/* Each lives less than a period: the random phase gives them their share. */
static void short_lived_threads_are_seen(void **state)
{
	struct fixture *f = *state;
	uint64_t before;
	pthread_t t;

	start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 3600 });
	while (f->captures[0].op.state != 2 /* sampling */)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	before = handled(f);
	for (unsigned i = 0; i < 400; i++) {
		assert_int_equal(pthread_create(&t, NULL, no_op, NULL), 0);
		pthread_join(t, NULL);
	}
	assert_true(handled(f) > before + 20);
	op_cancel(&f->captures[0].op);
	run_until_ended(f, 1);
}

static void a_forked_child_is_not_sampled(void **state)
{
	struct fixture *f = *state;
	struct profiler_stats s;
	int status;
	pid_t pid;

	start(f, 0, &(struct profiler_request){ .kind = PROFILER_CPU, .seconds = 3600 });
	while (f->captures[0].op.state != 2)
		uv_run(&f->loop.uv, UV_RUN_ONCE);
	pid = fork();
	if (pid == 0) {
		uint64_t before = handled(f);

		burn_inner(50000000);
		profiler_stats(f->profiler, &s);
		_exit(s.timers != 0 || s.cpu_captures != 0 || handled(f) != before);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	op_cancel(&f->captures[0].op);
	run_until_ended(f, 1);
}

static void symbols_are_named_and_garbage_is_passed_over(void **state)
{
	struct fixture *f = *state;
	char text[200], expected[200];
	int n = snprintf(text, sizeof(text), "%p+0x0+zzz++%p+12", (void *)burn_inner,
			 (void *)uv_run);

	start(f, 0,
	      &(struct profiler_request){
		      .kind = PROFILER_SYMBOL, .addresses = text, .addresses_len = (size_t)n });
	run_until_ended(f, 1);
	CHECK_STATUS(0, f->status[0]);
	snprintf(expected, sizeof(expected), "num_symbols: 1\n%p burn_inner\n%p uv_run",
		 (void *)burn_inner, (void *)uv_run);
	assert_memory_equal(f->captures[0].out.data, expected, strlen(expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_armed_while_nobody_captures, setup,
						teardown),
		cmocka_unit_test_setup_teardown(another_handler_of_the_signal_is_left_alone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_profile_names_functions_threads_and_files, setup,
						teardown),
		cmocka_unit_test_setup_teardown(samples_add_up_to_the_cpu_time_used, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			the_ninth_capture_is_refused_and_a_cancelled_one_makes_room, setup,
			teardown),
		cmocka_unit_test_setup_teardown(short_lived_threads_are_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(a_forked_child_is_not_sampled, setup, teardown),
		cmocka_unit_test_setup_teardown(symbols_are_named_and_garbage_is_passed_over, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
