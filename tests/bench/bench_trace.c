/* What tracing costs, in ns of CPU time: the median and the least of several rounds.
 *
 * Writers run against a full store, so that evicting is in the price. An argument narrows it down
 * to the lines that contain it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "trace/trace.h"

enum { ROUNDS = 21, FILL = 200000 };

static struct trace *t;
static struct span live;

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static const char *wanted = "";

static void measure(const char *name, unsigned count, void (*run)(unsigned count))
{
	double ns[ROUNDS];

	if (strstr(name, wanted) == NULL)
		return;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = cpu_ns();
		run(count);
		ns[i] = (double)(cpu_ns() - start) / count;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	printf("%-28s %10.1f %10.1f\n", name, ns[ROUNDS / 2], ns[0]);
}

static void run_clock(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		clock_now_ns(&clock_system);
}

static void run_create_finish(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		trace_finish(trace_root(t, "bench.root", "title", 5, NULL), 0, NULL);
}

/* Spans with marks are changed every 300 marks, as none has thousands. */
static void renew(unsigned i)
{
	if (i % 300 == 0) {
		trace_finish(live, 0, NULL);
		live = trace_root(t, "bench.root", "title", 5, NULL);
	}
}

static void run_mark(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		renew(i);
		trace_mark(live, "local cache miss");
	}
}

static void run_mark_ints(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		renew(i);
		trace_mark(live, "local peers: %u found, %d synced ok", i, 7);
	}
}

static void run_mark_string(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		renew(i);
		trace_mark(live, "dial %s", "/ip4/192.168.178.23/tcp/56000");
	}
}

static void run_stage(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (i % 100 == 0)
			renew(0);
		trace_stage(live, i % 2 ? "dial" : "reconcile");
	}
}

static void run_zero(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		trace_mark((struct span){ 0 }, "local cache miss");
}

static void run_late(unsigned count)
{
	struct span s = trace_root(t, "bench.root", "title", 5, NULL);

	trace_finish(s, 0, NULL);
	for (unsigned i = 0; i < count; i++)
		trace_mark(s, "local cache miss");
}

static void run_ten_marks(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct span s = trace_root(t, "bench.root", "title", 5, NULL);
		for (int k = 0; k < 10; k++)
			trace_mark(s, "local cache miss");
		trace_finish(s, 0, NULL);
	}
}

static struct trace_query query;

static void run_search(unsigned count)
{
	uint32_t roots[250];

	for (unsigned i = 0; i < count; i++)
		trace_search(t, &query, roots, 250, NULL, NULL);
}

static void run_stats(unsigned count)
{
	struct trace_stats stats[TRACE_CATEGORIES_MAX];

	for (unsigned i = 0; i < count; i++)
		trace_stats_all(t, stats, TRACE_CATEGORIES_MAX);
}

static void run_json(unsigned count)
{
	struct buf out;

	for (unsigned i = 0; i < count; i++) {
		buf_init(&out, 64 << 20);
		trace_render_json(t, &query, &out);
		buf_fini(&out);
	}
}

static void bench_writing(void)
{
	t = trace_new(NULL, &clock_system);
	for (int i = 0; i < FILL; i++)
		trace_finish(trace_root(t, "bench.root", "title", 5, NULL), 0, NULL);
	measure("clock reading", 100000, run_clock);
	measure("create + finish", 100000, run_create_finish);
	measure("constant mark", 90000, run_mark);
	measure("mark with two ints", 90000, run_mark_ints);
	measure("mark with a string", 90000, run_mark_string);
	measure("stage", 90000, run_stage);
	measure("mark on the zero span", 1000000, run_zero);
	measure("mark after finish", 1000000, run_late);
	measure("ten-mark trace", 20000, run_ten_marks);
	t = trace_free(t);
}

static void bench_reading(void)
{
	t = trace_new(NULL, &clock_system);
	for (int i = 0; i < 1000; i++) {
		struct span s = trace_root(t, "bench.root", "hm://z6Mkabc/notes", 18, NULL);
		for (int k = 0; k < 5; k++) {
			trace_mark(s, "local cache miss");
			trace_mark(s, "local peers: %u found, %d synced ok", 3u, k);
		}
		trace_finish(s, 0, NULL);
	}
	query = (struct trace_query){ .limit = 10 };
	measure("search 1000 x 10", 200, run_search);
	query.text = "nowhere to be found";
	measure("text search 1000 x 10", 20, run_search);
	query = (struct trace_query){ .limit = 50 };
	measure("JSON, 50 traces of 10 marks", 5, run_json);
	t = trace_free(t);

	t = trace_new(NULL, &clock_system);
	for (int i = 0; i < FILL; i++)
		trace_finish(trace_root(t, "bench.root", "title", 5, NULL), 0, NULL);
	measure("statistics of a full store", 10, run_stats);
	measure("search of a full store", 10, run_search);
	t = trace_free(t);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		wanted = argv[1];
	printf("%-28s %10s %10s\n", "ns of CPU", "median", "least");
	bench_writing();
	bench_reading();
	return 0;
}
