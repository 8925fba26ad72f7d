#include <inttypes.h>
#include <string.h>

#include "debug_http/pprof.h"
#include "debug_http/server.h"

/* The list of profiles, in the order and with the structure of Go's; what is ours comes below. One
 * row per line, single quotes: known scrapers go by a regular expression. */

enum { INDEX_MAX = 64 << 10 };

struct entry {
	const char *name, *href, *help;
	uint64_t count;
};

static void write_list(struct buf *out, const struct entry *entries, size_t count)
{
	buf_write_str(out,
		      "<html>\n<head>\n<title>/debug/pprof/</title>\n<meta name=\"color-scheme\" "
		      "content=\"light dark\">\n<link rel=\"stylesheet\" "
		      "href=\"/debug/assets/page.css\">\n</head>\n<body>\n/debug/pprof/<br>\n<br>\n"
		      "Types of profiles available:\n<table>\n"
		      "<thead><td>Count</td><td>Profile</td></thead>\n");
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "<tr><td>%" PRIu64 "</td><td><a href='%s'>%s</a></td></tr>\n",
			   entries[i].count, entries[i].href, entries[i].name);
	buf_write_str(out, "</table>\n<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n"
			   "<br>\n<p>\nProfile Descriptions:\n<ul>\n");
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "<li><b>%s:</b> %s</li>\n", entries[i].name, entries[i].help);
	buf_write_str(out, "</ul>\n</p>\n");
}

static void write_entries(struct buf *out, uint64_t tasks, const struct profiler_stats *stats)
{
	const struct entry entries[] = {
		{ "allocs", "allocs?debug=1",
		  "All memory allocated since the start, sampled, by who asked for it.",
		  profiler_buckets(PROFILER_ALLOCS) },
		{ "block", "block?debug=1", "Stacks that waited for others, and how long.",
		  profiler_buckets(PROFILER_BLOCK) },
		{ "cmdline", "cmdline",
		  "The command line of this program, arguments separated by NUL.", 0 },
		{ "goroutine", "goroutine?debug=1",
		  "Stacks of all threads, and all operations in flight with what they wait for. "
		  "debug=2 is one block each, debug=3 adds ids and times.",
		  stats->threads + tasks },
		{ "heap", "heap?debug=1",
		  "Memory in use, sampled, by who asked for it. gc=1 first gives the allocator's "
		  "spare memory back.",
		  profiler_buckets(PROFILER_HEAP) },
		{ "mutex", "mutex?debug=1",
		  "Stacks that held a mutex which others waited for, and how long those waited.",
		  profiler_buckets(PROFILER_MUTEX) },
		{ "profile", "profile",
		  "CPU profile. Duration in seconds=, 30 if not given. Samples carry the labels "
		  "thread, task and category.",
		  0 },
		{ "symbol", "symbol", "Names of addresses: symbol?0x1234+0x5678.", 0 },
		{ "threadcreate", "threadcreate?debug=1",
		  "Stacks that led to the creation of threads.", stats->threads_created },
		{ "trace", "trace",
		  "Execution trace: what operations and threads did, for go tool trace. Duration "
		  "in seconds=, 1 if not given; format=chrome is for ui.perfetto.dev.",
		  0 },
	};

	write_list(out, entries, ARRAY_SIZE(entries));
}

static void write_notes(struct buf *out, const struct profiler_stats *stats)
{
	buf_printf(
		out,
		"<p>\nThe files hold names of functions and files and counts, no content and no "
		"addresses of peers.\n</p>\n<p>\nSampled now: one allocation per %" PRId64
		" bytes (heap), every %" PRId64 "th contended unlock (mutex), waits of %" PRId64
		" ns and more (block); 0 is off. curl -X POST with ?rate= changes it. Each takes "
		"seconds= for a difference.\n</p>\n",
		profiler_rate(PROFILER_HEAP), profiler_rate(PROFILER_MUTEX),
		profiler_rate(PROFILER_BLOCK));
	buf_printf(
		out,
		"<p>\nTurns of the loop that were too long: <a href=\"stalls\">stalls</a>, %" PRIu64
		" so far.\n</p>\n<p>\nNow: %u CPU captures, %u timers. So far: %" PRIu64
		" samples, %" PRIu64 " lost, %" PRIu64 " ns in the handler.\n</p>\n",
		stats->loop_stalls, stats->cpu_captures, stats->timers, stats->samples, stats->lost,
		stats->handler_ns);
}

void pprof_serve_index(struct profiler *profiler, struct http_request *r)
{
	/* The guard wants one, except on a socket. */
	const char *host = http_request_header(r, "host");
	struct profiler_stats stats;
	struct buf out;

	host = host != NULL ? host : "localhost";
	profiler_stats(profiler, &stats);
	buf_init(&out, INDEX_MAX);
	write_entries(&out, r->conn->server->loop->runner.op_count, &stats);
	buf_write_str(&out, "<p>\ngo tool pprof -http=:8080 http://");
	buf_write_html(&out, host, strlen(host));
	buf_write_str(&out, "/debug/pprof/profile?seconds=30\n</p>\n");
	write_notes(&out, &stats);
	buf_write_str(&out, "</body>\n</html>\n");
	http_reply(r, 200, "text/html; charset=utf-8", &out);
}
