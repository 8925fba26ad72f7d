/* A metric's name is the program's, the section and the figure, in Prometheus' habits: units are
 * seconds and bytes, what only grows is a counter and ends in _total.
 *
 * What can go wrong: a figure that falls is called a counter, and every fall looks like a restart.
 * So what may fall is listed below; so is what is told better in another way. */
#include "daemon/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"

#define PREFIX "peerscope_"

enum { NAME_SIZE = 128, HELP_SIZE = 192, CATEGORIES_MAX = TRACE_CATEGORIES_MAX };

/* "section" alone: all of it; "*.key": in any section. */
static const char *const gauges[] = {
	"*.operations", "*.failing", "*.last_status", "*.queued", "network", "network.nat",
	/* store */
	"store.objects", "store.commits", "store.trees", "store.blobs", "store.blob_bytes",
	"store.wanted", "store.stashed", "store.refused", "store.conflicts", "store.peers",
	"store.subscriptions", "store.db_bytes", "store.wal_bytes", "store.queue_depth",
	"store.queue_peak", "store.tx_p50_us", "store.tx_p99_us", "store.tx_max_us",
	"store.wait_max_us",
	/* net, sync, discovery */
	"net.conns", "sync.active_sessions", "sync.active_serves", "sync.claims",
	"sync.subscribers", "sync.follows", "sync.sets_kept", "sync.sets_kept_bytes",
	"discovery.active", "discovery.background_active", "discovery.subscriptions",
	"discovery.benched", "discovery.sub_sleeping", "discovery.sub_backing_off",
	"discovery.sub_hot_queued", "discovery.sub_cold_queued", "discovery.sub_hot_running",
	"discovery.sub_cold_running", "discovery.sub_queued_max_ms", "discovery.misses",
	"lan.peers", "lan.links", "lan.published", "lan.instances", "lan.instances_foreign",
	"dht.announcements", "dht.announcements_due", "dht.open_queries", "dht.stored_keys",
	"dht.stored_peers", "dht.candidates", "dht.left_out", "dht.ipv4", "dht.ipv6",
	/* ourselves */
	"trace.kept_roots", "trace.active_roots", "trace.used_bytes", "trace.budget_bytes",
	"trace.pinned_roots", "profiler.cpu_captures", "profiler.timers", "profiler.untimed",
	"profiler.threads", "profiler.loop_longest_ns", "debug_http.open_connections",
	"control_http.open_connections", "memory.live_bytes", "memory.live_count",
	"memory.peak_bytes", "loop.cpu_p99_us", "loop.cpu_max_us"
};

/* Told by others: the process's start and build, the histogram of the loop. */
static const char *const elsewhere[] = {
	"*.v",	       "*.pid",		"*.uptime_s",	  "*.uptime_ms",    "dht.up_ms",
	"dht.port",    "loop.turns",	"loop.busy_us",	  "loop.max_us",    "loop.p50_us",
	"loop.p99_us", "loop.over_1ms", "loop.over_10ms", "loop.over_50ms", "loop.cpu_over_1ms"
};

/* A figure's name would mean something else to Prometheus. */
static const char *const renamed[][2] = {
	{ "live_count", "live_blocks" },
	{ "total_count", "allocations" },
	{ "last_status", "last_http_status" },
};

static const struct {
	const char *suffix, *unit;
	double scale;
} units[] = {
	{ "_us", "_seconds", 1e-6 },
	{ "_ms", "_seconds", 1e-3 },
	{ "_ns", "_seconds", 1e-9 },
	{ "_s", "_seconds", 1 },
};

static bool matches(const char *pattern, const char *section, const char *key)
{
	const char *dot = strrchr(pattern, '.');
	size_t len = strlen(section);

	if (strcmp(pattern, section) == 0)
		return true;
	if (dot == NULL || strcmp(dot + 1, key) != 0)
		return false;
	return pattern[0] == '*' ||
	       ((size_t)(dot - pattern) == len && strncmp(pattern, section, len) == 0);
}

static bool listed(const char *const *list, size_t n, const char *section, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (matches(list[i], section, key))
			return true;
	return false;
}

bool metrics_name(const char *section, const char *key, struct metric_name *ret)
{
	size_t len = strlen(key);
	const char *unit = "";

	if (listed(elsewhere, ARRAY_SIZE(elsewhere), section, key))
		return false;
	ret->counter = !listed(gauges, ARRAY_SIZE(gauges), section, key);
	ret->scale = 1;
	for (size_t i = 0; i < ARRAY_SIZE(renamed); i++)
		if (strcmp(key, renamed[i][0]) == 0)
			len = strlen(key = renamed[i][1]);
	for (size_t i = 0; i < ARRAY_SIZE(units) && unit[0] == '\0'; i++) {
		size_t n = strlen(units[i].suffix);

		if (len <= n || strcmp(key + len - n, units[i].suffix) != 0)
			continue;
		len -= n;
		unit = units[i].unit;
		ret->scale = units[i].scale;
	}
	(void)snprintf(ret->name, sizeof(ret->name), "%s%s%.*s%s", section,
		       section[0] != '\0' ? "_" : "", (int)len, key, unit);
	for (char *p = ret->name; *p != '\0'; p++)
		if (*p == '.')
			*p = '_';
	return true;
}

/* ---- Writing ---- */

struct writer {
	struct buf *out;
	const struct metrics *m;
	char name[NAME_SIZE]; /* of the samples of the family */
};

static void family(struct writer *w, const char *prefix, const char *name, const char *type,
		   const char *fmt, ...) PRINTF_LIKE(5, 6);

/* OpenMetrics names a family of counters without what its samples end in. */
static void family(struct writer *w, const char *prefix, const char *name, const char *type,
		   const char *fmt, ...)
{
	bool counter = strcmp(type, "counter") == 0;
	char help[HELP_SIZE], head[NAME_SIZE];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(help, sizeof(help), fmt, ap);
	va_end(ap);
	(void)snprintf(w->name, sizeof(w->name), "%s%s%s", prefix, name, counter ? "_total" : "");
	(void)snprintf(head, sizeof(head), "%s%s%s", prefix, name,
		       counter && !w->m->openmetrics ? "_total" : "");
	buf_printf(w->out, "# HELP %s %s\n# TYPE %s %s\n", head, help, head, type);
}

/* `labels` without braces, NULL = none; `suffix` of the sample's name. */
static void sample(struct writer *w, const char *suffix, const char *labels, double value)
{
	buf_printf(w->out, "%s%s%s%s%s %.16g\n", w->name, suffix, labels != NULL ? "{" : "",
		   labels != NULL ? labels : "", labels != NULL ? "}" : "", value);
}

/* ---- From the figures ---- */

static double number_of(const json_t *value)
{
	return json_is_integer(value) ? (double)json_integer_value(value) : json_real_value(value);
}

/* "store", "queue_depth" → "Store: queue depth." */
static void write_figure(struct writer *w, const char *section, const char *key,
			 const json_t *value)
{
	struct metric_name n;
	char words[NAME_SIZE];

	if (!metrics_name(section, key, &n))
		return;
	(void)snprintf(words, sizeof(words), "%s", key);
	for (char *p = words; *p != '\0'; p++)
		if (*p == '_')
			*p = ' ';
	family(w, PREFIX, n.name, n.counter ? "counter" : "gauge", "%s: %s%s. See /debug/vars.",
	       section[0] != '\0' ? section : "daemon", words,
	       n.counter ? ", since the start" : "");
	sample(w, "", NULL, number_of(value) * n.scale);
}

static void write_outcomes(struct writer *w, const json_t *outcomes)
{
	const char *key;
	json_t *value;
	char label[NAME_SIZE];

	family(w, PREFIX, "discovery_outcomes", "counter", "Discoveries that ended, by outcome.");
	json_object_foreach((json_t *)(uintptr_t)outcomes, key, value) {
		(void)snprintf(label, sizeof(label), "outcome=\"%s\"", key);
		sample(w, "", label, number_of(value));
	}
}

static void write_figures(struct writer *w, const char *section, const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		char below[NAME_SIZE];

		if (json_is_number(value))
			write_figure(w, section, key, value);
		if (!json_is_object(value))
			continue;
		(void)snprintf(below, sizeof(below), "%s%s%s", section,
			       section[0] != '\0' ? "." : "", key);
		if (strcmp(below, "discovery.outcomes") == 0)
			write_outcomes(w, value);
		else
			write_figures(w, below, value);
	}
}

/* ---- Of the process, under the names that all exporters use ---- */

static void one(struct writer *w, const char *prefix, const char *name, const char *type,
		const char *help, double value)
{
	family(w, prefix, name, type, "%s", help);
	sample(w, "", NULL, value);
}

static void write_process(struct writer *w)
{
	const struct process *p = w->m->process;
	static const char prefix[] = "process_";

	one(w, prefix, "cpu_seconds", "counter", "User and system CPU time used.", p->cpu_s);
	one(w, prefix, "resident_memory_bytes", "gauge", "Memory that is resident.",
	    (double)p->resident_bytes);
	one(w, prefix, "virtual_memory_bytes", "gauge", "Address space in use.",
	    (double)p->virtual_bytes);
	one(w, prefix, "open_fds", "gauge", "Open file descriptors.", (double)p->open_fds);
	if (p->max_fds > 0)
		one(w, prefix, "max_fds", "gauge", "Limit on open file descriptors.",
		    (double)p->max_fds);
	one(w, prefix, "start_time_seconds", "gauge", "Start, in seconds since 1970.",
	    w->m->start_wall_s);
	one(w, PREFIX, "heap_inuse_bytes", "gauge", "Bytes that are allocated (mallinfo2).",
	    (double)p->memory.alloc);
	one(w, PREFIX, "heap_sys_bytes", "gauge", "Bytes that the allocator has from the kernel.",
	    (double)p->memory.heap_sys);
}

static void write_build(struct writer *w)
{
	family(w, PREFIX, w->m->openmetrics ? "build" : "build_info",
	       w->m->openmetrics ? "info" : "gauge", "Which program this is.");
	sample(w, w->m->openmetrics ? "_info" : "", "version=\"" PEERSCOPE_VERSION "\"", 1);
}

/* ---- Histograms ---- */

static void bucket(struct writer *w, const char *labels, double le, uint64_t count)
{
	char all[2 * NAME_SIZE];

	if (le > 0)
		(void)snprintf(all, sizeof(all), "%s%sle=\"%.10g\"", labels,
			       labels[0] != '\0' ? "," : "", le);
	else
		(void)snprintf(all, sizeof(all), "%s%sle=\"+Inf\"", labels,
			       labels[0] != '\0' ? "," : "");
	sample(w, "_bucket", all, (double)count);
}

/* Upper bounds are those of the loop's own buckets, so that the counts are exact. */
static void write_loop(struct writer *w)
{
	static const uint64_t bounds_us[] = {
		16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576
	};
	uint64_t counts[ARRAY_SIZE(bounds_us)];
	struct loop_lag lag;

	loop_lag(w->m->loop, &lag);
	loop_lag_within(w->m->loop, bounds_us, ARRAY_SIZE(bounds_us), counts);
	family(w, PREFIX, "loop_lag_seconds", "histogram",
	       "How long a turn of the event loop kept everything else waiting.");
	for (size_t i = 0; i < ARRAY_SIZE(bounds_us); i++)
		bucket(w, "", (double)bounds_us[i] / 1e6, counts[i]);
	bucket(w, "", 0, lag.turns);
	sample(w, "_sum", NULL, (double)lag.busy_us / 1e6);
	sample(w, "_count", NULL, (double)lag.turns);
}

/* Powers of two, in nanoseconds, for the same reason: 65 us to 275 s. */
enum { TRACE_BOUND_LOG2 = 16, TRACE_BOUNDS = 12, TRACE_BOUND_STEP = 2 };

static void write_category(struct writer *w, const struct trace_stats *s, const char *label)
{
	uint64_t bounds_ns[TRACE_BOUNDS], counts[TRACE_BOUNDS];

	for (unsigned i = 0; i < TRACE_BOUNDS; i++)
		bounds_ns[i] = UINT64_C(1) << (TRACE_BOUND_LOG2 + TRACE_BOUND_STEP * i);
	if (!trace_stats_within(w->m->trace, s->category, bounds_ns, TRACE_BOUNDS, counts))
		return;
	for (unsigned i = 0; i < TRACE_BOUNDS; i++)
		bucket(w, label, (double)bounds_ns[i] / 1e9, counts[i]);
	bucket(w, label, 0, s->lifetime.succeeded);
	sample(w, "_sum", label, (double)s->lifetime.sum_ns / 1e9);
	sample(w, "_count", label, (double)s->lifetime.succeeded);
}

static void label_of(const struct trace_stats *s, char ret[NAME_SIZE])
{
	(void)snprintf(ret, NAME_SIZE, "category=\"%s\"", s->category);
}

static void write_failed(struct writer *w, const struct trace_stats *stats, size_t n)
{
	char label[NAME_SIZE], both[2 * NAME_SIZE];

	family(w, PREFIX, "trace_failed_spans", "counter",
	       "Spans that ended without success, by category and how.");
	for (size_t i = 0; i < n; i++) {
		label_of(&stats[i], label);
		(void)snprintf(both, sizeof(both), "%s,how=\"error\"", label);
		sample(w, "", both, (double)stats[i].lifetime.errored);
		(void)snprintf(both, sizeof(both), "%s,how=\"cancelled\"", label);
		sample(w, "", both, (double)stats[i].lifetime.cancelled);
	}
}

static void write_traces(struct writer *w)
{
	struct trace_stats *stats = mem_alloc_array(CATEGORIES_MAX, sizeof(*stats));
	char label[NAME_SIZE];
	size_t n;

	if (stats == NULL) {
		(void)buf_reserve(w->out, SIZE_MAX); /* sticks */
		return;
	}
	n = trace_stats_all(w->m->trace, stats, CATEGORIES_MAX);
	family(w, PREFIX, "trace_duration_seconds", "histogram",
	       "How long spans took that succeeded, by category.");
	for (size_t i = 0; i < n; i++) {
		label_of(&stats[i], label);
		write_category(w, &stats[i], label);
	}
	write_failed(w, stats, n);
	mem_free(stats);
}

void metrics_write(struct buf *out, const struct metrics *m)
{
	struct writer w = { .out = out, .m = m };

	write_build(&w);
	write_process(&w);
	write_loop(&w);
	write_traces(&w);
	write_figures(&w, "", m->figures);
	if (m->openmetrics)
		buf_write_str(out, "# EOF\n");
}
