#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "debug_http/page.h"
#include "debug_http/pprof.h"
#include "debug_http/server.h"

/* The list of profiles, in the order and with the structure of Go's; what is ours comes below. One
 * row per line, single quotes: known scrapers go by a regular expression. */

enum { INDEX_MAX = 64 << 10 };

struct entry {
	const char *name, *href, *help;
	uint64_t count;
};

static void write_list(struct http_request *r, struct buf *out, const struct entry *entries,
		       size_t count)
{
	buf_write_str(
		out,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>/debug/pprof/</title>\n<meta "
		"charset=\"utf-8\">\n<meta name=\"viewport\" "
		"content=\"width=device-width, initial-scale=1\">\n<meta "
		"name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" "
		"href=\"data:,\">\n<link rel=\"stylesheet\" "
		"href=\"/debug/assets/page.css\">\n</head>\n<body class=\"go\">\n");
	page_write_nav(r, out);
	buf_write_str(out, "<main id=\"main\">\n/debug/pprof/<br>\n<br>\nTypes of profiles "
			   "available:\n<table>\n<thead><td>Count</td><td>Profile</td></thead>\n");
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "<tr><td>%" PRIu64 "</td><td><a href='%s'>%s</a></td></tr>\n",
			   entries[i].count, entries[i].href, entries[i].name);
	buf_write_str(out, "</table>\n<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n"
			   "<br>\n<p>\nProfile Descriptions:\n<ul>\n");
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "<li><b>%s:</b> %s</li>\n", entries[i].name, entries[i].help);
	buf_write_str(out, "</ul>\n</p>\n");
}

static void write_json(struct buf *out, const struct entry *entries, size_t count)
{
	buf_write_str(out, "{\"v\":1,\"profiles\":[");
	for (size_t i = 0; i < count; i++)
		buf_printf(out,
			   "%s{\"name\":\"%s\",\"count\":%" PRIu64
			   ",\"href\":\"/debug/pprof/%s\",\"help\":\"%s\"}",
			   i > 0 ? "," : "", entries[i].name, entries[i].count, entries[i].href,
			   entries[i].help);
	buf_write_str(out, "]}\n");
}

static void write_entries(struct http_request *r, struct buf *out,
			  const struct profiler_stats *stats)
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
		  stats->threads + r->conn->server->loop->runner.op_count },
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

	if (http_request_param(r, "json") != NULL)
		write_json(out, entries, ARRAY_SIZE(entries));
	else
		write_list(r, out, entries, ARRAY_SIZE(entries));
}

/* ---- Ours ---- */

static const struct use {
	const char *name, *what;
	enum profiler_kind kind;
	const char *unit; /* of its rate; NULL = it has none */
	bool has_window;  /* a difference over some time */
	bool is_drawn;
} uses[] = {
	{ "profile", "CPU", PROFILER_CPU, NULL, true, true },
	{ "heap", "memory in use", PROFILER_HEAP, "bytes a sample", true, true },
	{ "allocs", "memory ever asked for", PROFILER_ALLOCS, NULL, true, true },
	{ "mutex", "who kept others waiting", PROFILER_MUTEX, "waits a sample", true, true },
	{ "block", "who waited", PROFILER_BLOCK, "ns and longer", true, true },
	{ "goroutine", "threads and operations", PROFILER_GOROUTINE, NULL, false, false },
	{ "threadcreate", "who made threads", PROFILER_THREADCREATE, NULL, false, false },
};

/* No cell begins with a link: scrapers know Go's table by that. */
static void write_use(struct buf *out, const struct use *u)
{
	bool is_cpu = u->kind == PROFILER_CPU;

	buf_printf(out,
		   "<tr><th scope=\"row\">%s</th><td class=\"quiet less\">%s</td><td "
		   "class=\"act\"><a href=\"%s?download=1%s\">save%s</a>",
		   u->name, u->what, u->name, is_cpu ? "&amp;seconds=30" : "",
		   is_cpu ? " 30 s of it" : "");
	if (u->has_window && !is_cpu)
		buf_printf(out,
			   " <a href=\"%s?seconds=30&amp;download=1\">save what comes in 30 s</a>",
			   u->name);
	if (!is_cpu)
		buf_printf(out, " <a href=\"%s?debug=1\">read</a>", u->name);
	if (u->is_drawn)
		buf_printf(out, " <a href=\"/debug/flame?profile=%s\">flame graph</a>", u->name);
	buf_write_str(out, "</td><td class=\"rate\">");
	if (u->unit != NULL)
		buf_printf(out,
			   "<form method=\"post\" action=\"%s\"><label><input type=\"number\" "
			   "name=\"rate\" min=\"0\" value=\"%" PRId64
			   "\" aria-label=\"%s rate\"> <span>%s</span></label> "
			   "<button>Set</button></form>",
			   u->name, profiler_rate(u->kind), u->name, u->unit);
	buf_write_str(out, "</td></tr>\n");
}

static void write_uses(struct buf *out)
{
	buf_write_str(out, "<h2>What to do with them</h2>\n<table class=\"uses\">\n<thead><tr><th "
			   "scope=\"col\">Profile</th><th scope=\"col\" class=\"less\">of</th><th "
			   "scope=\"col\">Take it</th><th scope=\"col\">How finely; 0 is off</th>"
			   "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < ARRAY_SIZE(uses); i++)
		write_use(out, &uses[i]);
	buf_write_str(out,
		      "</tbody>\n</table>\n<p class=\"hint\">contents are technical \u2014 no "
		      "document content is included. A rate holds until the daemon ends.</p>\n");
}

static void write_notes(struct buf *out, struct http_request *r, const struct profiler_stats *stats)
{
	/* The guard wants one, except on a socket. */
	const char *host = http_request_header(r, "host");

	host = host != NULL ? host : "localhost";
	buf_write_str(out, "<h2>From a terminal</h2>\n<pre class=\"commands\" tabindex=\"0\">go "
			   "tool pprof -http=:8080 http://");
	buf_write_html(out, host, strlen(host));
	buf_write_str(out, "/debug/pprof/profile?seconds=30\n</pre>\n");
	buf_printf(
		out,
		"<p>\nTurns of the loop that were too long: <a href=\"stalls\">stalls</a>, %" PRIu64
		" so far.\n</p>\n<p class=\"hint\">\nNow: %u CPU captures, %u timers. So far: "
		"%" PRIu64 " samples, %" PRIu64 " lost, %" PRIu64 " ns in the handler.\n</p>\n",
		stats->loop_stalls, stats->cpu_captures, stats->timers, stats->samples, stats->lost,
		stats->handler_ns);
	if (stats->untimed > 0)
		buf_printf(out,
			   "<p class=\"hint\">\n%s CPU profile: %u threads without a timer of "
			   "their own (%s), %s: ",
			   stats->cpu_captures > 0 ? "In the present" : "In the last",
			   stats->untimed, err_str(stats->untimed_error),
			   stats->untimed_sampled ? "sampled by the process's" : "NOT sampled");
	if (stats->untimed > 0)
		buf_write_html(out, stats->untimed_names, strlen(stats->untimed_names));
	if (stats->untimed > 0)
		buf_write_str(out, "\n</p>\n");
}

void pprof_serve_index(struct profiler *profiler, struct http_request *r)
{
	bool is_json = http_request_param(r, "json") != NULL;
	struct profiler_stats stats;
	struct buf out;

	profiler_stats(profiler, &stats);
	buf_init(&out, INDEX_MAX);
	write_entries(r, &out, &stats);
	if (!is_json) {
		write_uses(&out);
		write_notes(&out, r, &stats);
		http_page_end(r, &out);
	}
	http_reply(r, 200, is_json ? "application/json" : "text/html; charset=utf-8", &out);
}
