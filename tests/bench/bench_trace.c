/* What tracing costs, in ns of CPU time: the median and the least of several rounds.
 *
 * Writers run against a full store, so that evicting is in the price. An argument narrows it down
 * to the lines that contain it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
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
		(void)trace_render(t, TRACE_FORMAT_JSON, &query, &out);
		buf_fini(&out);
	}
}

/* ---- The longest a reader holds the loop, in µs of CPU time ---- */

static void print_longest(const char *name, uint64_t longest_ns)
{
	printf("%-44s %9.1f µs\n", name, (double)longest_ns / 1000);
}

static void longest_step(const char *name, const struct trace_query *q)
{
	struct trace_find *f = mem_alloc(sizeof(*f));
	uint64_t longest = 0;
	bool done = false;

	REQUIRE(f != NULL);
	trace_find_begin(f, t, q);
	while (!done) {
		uint64_t start = cpu_ns();
		done = trace_find_step(f);
		longest = MAX(longest, cpu_ns() - start);
	}
	mem_free(f);
	print_longest(name, longest);
}

static void longest_piece(const char *name, enum trace_format format)
{
	struct trace_writer *w = trace_writer_new(t, format, &(struct trace_query){ .limit = 250 });
	uint64_t longest = 0;
	struct buf out;

	buf_init(&out, 64 << 20);
	for (int rc = 1; rc > 0;) {
		uint64_t start = cpu_ns();
		rc = trace_writer_next(w, &out);
		longest = MAX(longest, cpu_ns() - start);
		buf_clear(&out);
	}
	buf_fini(&out);
	trace_writer_free(w);
	print_longest(name, longest);
}

/* Of two trees of 10,000 spans. */
static void longest_diff_piece(void)
{
	uint32_t root;
	struct buf out;
	uint64_t longest = 0;

	if (trace_search(t, &(struct trace_query){ .category = "bench.large" }, &root, 1, NULL,
			 NULL) == 0)
		return;
	struct trace_writer *w = trace_writer_new_diff(t, root, root, true);
	buf_init(&out, 4 << 20);
	for (int rc = 1; rc > 0;) {
		uint64_t start = cpu_ns();
		rc = trace_writer_next(w, &out);
		longest = MAX(longest, cpu_ns() - start);
	}
	buf_fini(&out);
	trace_writer_free(w);
	print_longest("comparison", longest);
}

static void fill_with_trees(void)
{
	for (int i = 0; i < 30000; i++) {
		struct span s = trace_root(t, "bench.root", "hm://z6Mkabc/notes", 18, NULL);
		trace_stage(s, "dial");
		for (int k = 0; k < 3; k++)
			trace_mark(s, "local peers: %u found, %d synced ok", 3u, k);
		trace_finish(s, 0, NULL);
	}
	struct span root = trace_root(t, "bench.large", "large", 5, NULL);
	for (int i = 1; i < TRACE_SPANS_PER_ROOT_MAX; i++) {
		struct span s = trace_child(root, "bench.child", "c", 1);
		trace_mark(s, "round %d", i);
		trace_finish(s, 0, NULL);
	}
	trace_finish(root, 0, NULL);
}

static void bench_slices(void)
{
	t = trace_new(NULL, &clock_system);
	fill_with_trees();
	printf("\n%-44s\n", "longest turn of a reader, full store");
	longest_step("search", &(struct trace_query){ 0 });
	longest_step("text search", &(struct trace_query){ .text = "nowhere to be found" });
	longest_step(
		"search for a stage",
		&(struct trace_query){ .stages = { { "dial", 4, NS_PER_SEC } }, .stage_count = 1 });
	longest_piece("JSON", TRACE_FORMAT_JSON);
	longest_piece("Chrome", TRACE_FORMAT_CHROME);
	longest_piece("Jaeger", TRACE_FORMAT_JAEGER);
	longest_piece("OTLP JSON", TRACE_FORMAT_OTLP_JSON);
	longest_piece("OTLP protobuf", TRACE_FORMAT_OTLP);
	longest_piece("text", TRACE_FORMAT_TEXT);
	longest_piece("list", TRACE_FORMAT_LIST);
	longest_diff_piece();
	uint64_t longest = 0;
	for (int i = 0; i < 200000; i++) {
		uint64_t start = cpu_ns();
		trace_finish(trace_root(t, "bench.root", "title", 5, NULL), 0, NULL);
		longest = MAX(longest, cpu_ns() - start);
	}
	print_longest("writer, evicting 10,000 spans meanwhile", longest);
	t = trace_free(t);
}

static struct span work_a, work_b;

static void run_work(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		(void)trace_work(t, i % 2 ? work_a : work_b);
}

static void bench_cpu(void)
{
	t = trace_new(NULL, &clock_system);
	work_a = trace_root(t, "a", "a", 1, NULL);
	work_b = trace_root(t, "b", "b", 1, NULL);
	measure("change of span, CPU off", 1000000, run_work);
	if (trace_cpu_start(t) != TRACE_CPU_OFF)
		measure("change of span, CPU exact", 1000000, run_work);
	t = trace_free(t);
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
	bench_cpu();
	if (*wanted == '\0')
		bench_slices();
	return 0;
}
