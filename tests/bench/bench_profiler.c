/* What CPU profiling costs, beside gperftools' profiler where that is installed: blocks of the same
 * work profiled and not, in random order, compared in pairs by the CPU time that the thread used
 * (on a busy machine the wall clock tells nothing). Each profiler has a process of its own, for
 * both want the same signal; their blocks alternate. bench_profiler [pairs of blocks [hz [units in
 * a block]]]
 *
 * "handler" is our handler's own time as the profiler counts it, by the wall clock: what interrupts
 * it is in it, hence the median over blocks. profiler_instructions.py counts instead. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/loop.h"
#include "base/mem.h"
#include "profiler/profiler.h"

enum { UNITS_DEFAULT = 2000, PAIRS_MAX = 1000, HASHED = 256 << 10, CAPTURE_SECONDS = 3600 };

enum profiler_of { OURS, GPERFTOOLS, PROFILERS };
static const char *const names[PROFILERS] = { "peerscope", "gperftools" };

static sqlite3 *db;
static uint8_t block[HASHED];
static bool ended;
static unsigned units = UNITS_DEFAULT;

struct result {
	uint64_t cpu_ns, samples, overruns, handler_ns;
};

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void work(void)
{
	uint8_t out[32];

	for (unsigned i = 0; i < units; i++) {
		sqlite3_exec(db,
			     "insert into t values(abs(random()) % 1000, hex(randomblob(20)));"
			     "select count(*) from t where b like '%A%';"
			     "delete from t where rowid % 2 = 0;",
			     NULL, NULL, NULL);
		crypto_generichash(out, sizeof(out), block, sizeof(block), NULL, 0);
	}
}

static struct result timed_work(void)
{
	uint64_t start = thread_cpu_ns();

	work();
	return (struct result){ .cpu_ns = thread_cpu_ns() - start };
}

/* ---- Ours ---- */

static void on_capture(struct profiler_capture *c, int status)
{
	buf_fini(&c->out);
	ended = true;
}

static void run_until(struct loop *loop, struct profiler *p, unsigned captures)
{
	struct profiler_stats s;

	do {
		uv_run(&loop->uv, UV_RUN_ONCE);
		profiler_stats(p, &s);
	} while (captures != 0 ? s.cpu_captures != captures && !ended : !ended);
	REQUIRE(s.cpu_captures == captures);
}

static struct result captured_work(struct loop *loop, struct profiler *p, unsigned hz)
{
	struct op_env env = { .runner = &loop->runner, .deadline_ms = UINT64_MAX };
	struct profiler_request request = { .kind = PROFILER_CPU,
					    .seconds = CAPTURE_SECONDS,
					    .hz = hz };
	struct profiler_stats before, after;
	struct profiler_capture c;
	struct result r;

	ended = false;
	profiler_capture_start(&c, p, &env, &request, on_capture);
	run_until(loop, p, 1);
	profiler_stats(p, &before);
	r = timed_work();
	profiler_stats(p, &after);
	op_cancel(&c.op);
	run_until(loop, p, 0);
	r.samples = after.samples - before.samples;
	r.overruns = after.overruns - before.overruns;
	r.handler_ns = after.handler_ns - before.handler_ns;
	return r;
}

/* ---- Gperftools ---- */

/* Loaded where it is wanted only: it takes the signal as soon as it is there. */
static int (*gperftools_start)(const char *file);
static void (*gperftools_stop)(void);

static bool load_gperftools(void)
{
	void *library = dlopen("libprofiler.so.0", RTLD_NOW);

	if (library != NULL) {
		*(void **)&gperftools_start = dlsym(library, "ProfilerStart");
		*(void **)&gperftools_stop = dlsym(library, "ProfilerStop");
	}
	return gperftools_start != NULL && gperftools_stop != NULL;
}

static struct result gperftools_work(void)
{
	struct result r;

	REQUIRE(gperftools_start("/dev/null"));
	r = timed_work();
	gperftools_stop();
	return r;
}

/* ---- A process for each ---- */

struct child {
	pid_t pid;
	bool gone;
	int to, from;
	double ratios[PAIRS_MAX], handler_us[PAIRS_MAX];
	uint64_t samples, overruns;
};

/* One block per byte: 1 profiled, 0 not. */
static void serve(enum profiler_of which, int from, int to, unsigned hz)
{
	struct profiler *p = NULL;
	struct loop loop;
	char profiled;

	REQUIRE(base_init() == 0 && loop_init(&loop) == 0 &&
		sqlite3_open(":memory:", &db) == SQLITE_OK);
	sqlite3_exec(db, "create table t(a, b)", NULL, NULL, NULL);
	if (which == OURS)
		p = profiler_new(
			&(struct profiler_config){ .runner = &loop.runner, .version = "cost" });
	else if (!load_gperftools())
		exit(1);
	work();
	while (read(from, &profiled, 1) == 1) {
		struct result r = !profiled	? timed_work() :
				  which == OURS ? captured_work(&loop, p, hz) :
						  gperftools_work();

		REQUIRE(write(to, &r, sizeof(r)) == sizeof(r));
	}
	sqlite3_close(db);
	profiler_free(p);
	loop_fini(&loop);
	exit(0);
}

static void start_child(struct child *c, enum profiler_of which, unsigned hz)
{
	int to[2], from[2];

	REQUIRE(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
	c->pid = fork();
	REQUIRE(c->pid >= 0);
	if (c->pid == 0) {
		close(to[1]);
		close(from[0]);
		serve(which, to[0], from[1], hz);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
}

/* False: the child has gone. */
static bool ask(struct child *c, bool profiled, struct result *ret)
{
	char byte = profiled;

	return write(c->to, &byte, 1) == 1 && read(c->from, ret, sizeof(*ret)) == sizeof(*ret);
}

static void run_pair(struct child *c, unsigned i, bool profiled_first)
{
	struct result a, b;
	const struct result *on = profiled_first ? &a : &b, *off = profiled_first ? &b : &a;

	if (c->gone || !ask(c, profiled_first, &a) || !ask(c, !profiled_first, &b)) {
		c->gone = true;
		return;
	}
	c->ratios[i] = (double)on->cpu_ns / (double)off->cpu_ns;
	c->handler_us[i] = (double)on->handler_ns / 1e3 / (double)MAX(on->samples, UINT64_C(1));
	c->samples += on->samples;
	c->overruns += on->overruns;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(struct child *c, enum profiler_of which, unsigned pairs, unsigned hz)
{
	if (c->gone) {
		printf("%s: not there\n", names[which]);
		return;
	}
	qsort(c->ratios, pairs, sizeof(*c->ratios), by_value);
	qsort(c->handler_us, pairs, sizeof(*c->handler_us), by_value);
	printf("%s, %u Hz: CPU time profiled / not: median %.4f, quartiles %.4f %.4f\n",
	       names[which], hz, c->ratios[pairs / 2], c->ratios[pairs / 4],
	       c->ratios[pairs * 3 / 4]);
	if (which == OURS)
		printf("  %llu samples, %llu overruns; handler mean per block: median %.2f us, "
		       "quartiles %.2f %.2f\n",
		       (unsigned long long)c->samples, (unsigned long long)c->overruns,
		       c->handler_us[pairs / 2], c->handler_us[pairs / 4],
		       c->handler_us[pairs * 3 / 4]);
}

int main(int argc, char **argv)
{
	unsigned pairs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 15;
	unsigned hz = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : PROFILER_HZ_DEFAULT;
	static struct child children[PROFILERS];
	unsigned count = PROFILERS, random = 1;

	signal(SIGPIPE, SIG_IGN);
	if (argc > 3)
		units = (unsigned)strtoul(argv[3], NULL, 10);
	REQUIRE(pairs > 0 && pairs <= PAIRS_MAX);
	setenv("CPUPROFILE_FREQUENCY", argc > 2 ? argv[2] : "100", 1);
	for (unsigned i = 0; i < count; i++)
		start_child(&children[i], (enum profiler_of)i, hz);
	for (unsigned i = 0; i < pairs; i++)
		for (unsigned k = 0; k < count; k++) {
			random = random * 1103515245 + 12345;
			run_pair(&children[(i + k) % count], i, random >> 16 & 1);
		}
	/* All before the first is waited for: a later one holds a copy of an earlier one's pipe. */
	for (unsigned i = 0; i < count; i++)
		close(children[i].to);
	for (unsigned i = 0; i < count; i++) {
		waitpid(children[i].pid, NULL, 0);
		report(&children[i], (enum profiler_of)i, pairs, hz);
	}
	return 0;
}
