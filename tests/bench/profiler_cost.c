/* What profiling costs: blocks of the same work with a capture at 100 Hz and without one, in random
 * order, compared by the CPU time that the thread used (on a busy machine the wall clock tells
 * nothing); and the handler's own time as the profiler counts it. profiler_cost [pairs of blocks
 * [hz]] */
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "base/loop.h"
#include "base/mem.h"
#include "profiler/profiler.h"

enum { UNITS = 800, PAIRS_MAX = 1000, HASHED = 256 << 10 };

static sqlite3 *db;
static uint8_t block[HASHED];
static bool ended;

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static void work(void)
{
	uint8_t out[32];

	for (unsigned i = 0; i < UNITS; i++) {
		sqlite3_exec(db,
			     "insert into t values(abs(random()) % 1000, hex(randomblob(20)));"
			     "select count(*) from t where b like '%A%';"
			     "delete from t where rowid % 2 = 0;",
			     NULL, NULL, NULL);
		crypto_generichash(out, sizeof(out), block, sizeof(block), NULL, 0);
	}
}

static uint64_t timed_work(void)
{
	uint64_t start = thread_cpu_ns();

	work();
	return thread_cpu_ns() - start;
}

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
	} while (s.cpu_captures != captures || (captures == 0 && !ended));
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* CPU time of one block while captured at `hz`; 0 = not captured. */
static uint64_t run_block(struct loop *loop, struct profiler *p, unsigned hz)
{
	struct op_env env = { .runner = &loop->runner, .deadline_ms = UINT64_MAX };
	struct profiler_request request = { .kind = PROFILER_CPU, .seconds = 3600, .hz = hz };
	struct profiler_capture c;
	uint64_t used;

	if (hz == 0)
		return timed_work();
	ended = false;
	profiler_capture_start(&c, p, &env, &request, on_capture);
	run_until(loop, p, 1);
	used = timed_work();
	op_cancel(&c.op);
	run_until(loop, p, 0);
	return used;
}

int main(int argc, char **argv)
{
	unsigned pairs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 40;
	unsigned hz = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100;
	static double ratios[PAIRS_MAX];
	struct profiler_stats s;
	struct profiler *p;
	struct loop loop;

	REQUIRE(base_init() == 0 && loop_init(&loop) == 0 && pairs > 0 && pairs <= PAIRS_MAX);
	p = profiler_new(&(struct profiler_config){ .runner = &loop.runner, .version = "cost" });
	REQUIRE(p != NULL && sqlite3_open(":memory:", &db) == SQLITE_OK);
	sqlite3_exec(db, "create table t(a, b)", NULL, NULL, NULL);
	work();
	for (unsigned i = 0; i < pairs; i++) {
		bool first = runner_random(&loop.runner) & 1;
		uint64_t a = run_block(&loop, p, first ? hz : 0),
			 b = run_block(&loop, p, first ? 0 : hz);

		ratios[i] = first ? (double)a / (double)b : (double)b / (double)a;
	}
	qsort(ratios, pairs, sizeof(*ratios), by_value);
	profiler_stats(p, &s);
	printf("%u Hz: CPU time with / without a capture: median %.4f, quartiles %.4f %.4f\n", hz,
	       ratios[pairs / 2], ratios[pairs / 4], ratios[pairs * 3 / 4]);
	printf("%llu samples, %llu overruns, handler %.2f us each (with what interrupted it)\n",
	       (unsigned long long)s.samples, (unsigned long long)s.overruns,
	       s.samples > 0 ? (double)s.handler_ns / (double)s.samples / 1e3 : 0.0);
	sqlite3_close(db);
	profiler_free(p);
	loop_fini(&loop);
	return 0;
}
