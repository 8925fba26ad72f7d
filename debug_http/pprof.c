#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "debug_http/pprof.h"
#include "debug_http/server.h"

/* The paths, parameters, headers and words of Go's net/http/pprof (go1.19), so that what is written
 * about profiling Go services holds for this one: `go tool pprof`, scrapers and habits included.
 *
 *   - a failure is text/plain with X-Go-Pprof, without which pprof hides the text
 *   - parameters come from the query or a posted form; unknown ones are ignored; a `seconds` that
 * is not a positive integer means 30 for profile and is refused for the others
 *   - the body is gzip by itself and never has a Content-Encoding
 *
 * Beyond Go: HEAD does not wait, several profiles run at once, goroutine has debug=3, and stalls
 * lists the turns of the loop that were too long. */

enum { CMDLINE_MAX = 2 << 20, INDEX_MAX = 64 << 10, GRACE_MS = 120000 };

struct pending {
	struct http_request *request;
	struct profiler_capture capture;
	const char *file; /* name offered for saving; NULL = text */
};

static void fail(struct http_request *r, int status, const char *text)
{
	struct buf out;

	buf_init(&out, 4096);
	buf_printf(&out, "%s\n", text);
	http_reply_header(r, "X-Go-Pprof", "1");
	http_reply(r, status, "text/plain; charset=utf-8", &out);
}

static void begin_binary(struct http_request *r, const char *file)
{
	char text[96];

	snprintf(text, sizeof(text), "attachment; filename=\"%s\"", file);
	http_reply_header(r, "Content-Disposition", text);
}

/* ---- A capture for a request ---- */

static void on_gone(void *data, struct http_request *r)
{
	struct pending *p = data;

	op_cancel(&p->capture.op);
}

static const char *failure(const struct pending *p, int status)
{
	if (p->capture.request.kind == PROFILER_CPU && status == UV_EBUSY)
		return "Could not enable CPU profiling: cpu profiling already in use";
	if (status == UV_ECANCELED)
		return "context canceled";
	return "failed to collect profile";
}

static void on_captured(struct profiler_capture *c, int status)
{
	struct pending *p = container_of(c, struct pending, capture);

	if (status != 0) {
		fail(p->request, status == UV_ETIMEDOUT ? 408 : 500, failure(p, status));
	} else if (p->file != NULL) {
		begin_binary(p->request, p->file);
		http_reply(p->request, 200, "application/octet-stream", &c->out);
	} else {
		http_reply(p->request, 200, "text/plain; charset=utf-8", &c->out);
	}
	buf_fini(&c->out);
	mem_free(p);
}

static void capture(struct profiler *profiler, struct http_request *r,
		    const struct profiler_request *request, const char *file)
{
	struct runner *runner = &r->conn->server->loop->runner;
	struct pending *p = mem_alloc(sizeof(*p));
	struct op_env env = { .runner = runner,
			      .deadline_ms =
				      runner_now_ms(runner) + request->seconds * 1000ull + GRACE_MS,
			      .span = r->span };

	if (p == NULL) {
		fail(r, 500, "failed to collect profile");
		return;
	}
	p->request = r;
	p->file = file;
	http_request_on_close(r, on_gone, p);
	profiler_capture_start(&p->capture, profiler, &env, request, on_captured);
}

/* ---- Parameters ---- */

/* strconv.Atoi: an optional sign and digits, nothing else. False also when it is out of range. */
static bool parse_int(const char *s, long *ret)
{
	char *end;

	if (*s != '+' && *s != '-' && (*s < '0' || *s > '9'))
		return false;
	errno = 0;
	*ret = strtol(s, &end, 10);
	return *end == '\0' && end[-1] >= '0' && end[-1] <= '9' && errno == 0;
}

static long int_param(struct http_request *r, const char *name)
{
	char text[PPROF_PARAM_MAX];
	long v;

	return pprof_param(r, name, text) && parse_int(text, &v) ? v : 0;
}

/* ---- Profiles ---- */

static void serve_profile(struct profiler *profiler, struct http_request *r)
{
	long seconds = int_param(r, "seconds"), hz = int_param(r, "hz");
	struct profiler_request request = { .kind = PROFILER_CPU,
					    .seconds = PROFILER_SECONDS_DEFAULT };

	if (seconds > PROFILER_SECONDS_MAX) {
		fail(r, 400, "profile duration exceeds server's WriteTimeout");
		return;
	}
	if (seconds > 0)
		request.seconds = (unsigned)seconds;
	if (hz > 0)
		request.hz = (unsigned)MIN(hz, (long)PROFILER_HZ_MAX);
	if (request_is_head(r)) {
		begin_binary(r, "profile");
		http_reply(r, 200, "application/octet-stream", NULL);
		return;
	}
	capture(profiler, r, &request, "profile");
}

/* A difference of two snapshots. The order of the checks is Go's. */
static void serve_delta(struct profiler *profiler, struct http_request *r, enum profiler_kind kind,
			const char *seconds_text, const char *file)
{
	struct profiler_request request = { .kind = kind };
	long seconds;

	if (!parse_int(seconds_text, &seconds) || seconds <= 0) {
		fail(r, 400, "invalid value for \"seconds\" - must be a positive integer");
	} else if (seconds > PROFILER_SECONDS_MAX) {
		fail(r, 400, "profile duration exceeds server's WriteTimeout");
	} else if (int_param(r, "debug") != 0) {
		fail(r, 400, "seconds and debug params are incompatible");
	} else if (request_is_head(r)) {
		begin_binary(r, file);
		http_reply(r, 200, "application/octet-stream", NULL);
	} else {
		request.seconds = (unsigned)seconds;
		capture(profiler, r, &request, file);
	}
}

static void serve_named(struct profiler *profiler, struct http_request *r, enum profiler_kind kind,
			const char *file, const char *delta_file)
{
	struct profiler_request request = { .kind = kind };
	char text[PPROF_PARAM_MAX];
	long debug;

	if (pprof_param(r, "seconds", text) && text[0] != '\0') {
		serve_delta(profiler, r, kind, text, delta_file);
		return;
	}
	debug = int_param(r, "debug");
	request.debug = debug <= 0 ? 0 : (unsigned)MIN(debug, 3L);
	capture(profiler, r, &request, request.debug == 0 ? file : NULL);
}

static void serve_symbol(struct profiler *profiler, struct http_request *r)
{
	const char *target = request_text(r, r->target), *query = strchr(target, '?');
	struct profiler_request request = { .kind = PROFILER_SYMBOL };

	if (http_request_method(r) == HTTP_POST_) {
		request.addresses = (const char *)http_request_body(r, &request.addresses_len);
	} else if (query != NULL) {
		request.addresses = query + 1;
		request.addresses_len = strlen(query + 1);
	}
	capture(profiler, r, &request, NULL);
}

static void serve_cmdline(struct http_request *r)
{
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	struct buf out;
	ssize_t n = -1;

	buf_init(&out, CMDLINE_MAX);
	while (fd >= 0) {
		uint8_t *room = buf_reserve(&out, 4096);

		n = room != NULL ? read(fd, room, 4096) : 0;
		if (n <= 0)
			break;
		buf_advance(&out, (size_t)n);
	}
	if (fd >= 0)
		close(fd);
	if (out.len > 0 && out.data[out.len - 1] == '\0')
		out.len--;
	http_reply(r, 200, "text/plain; charset=utf-8", &out);
}

/* ---- The list ---- */

struct entry {
	const char *name, *href, *help;
	uint64_t count;
};

static void write_index(struct buf *out, const struct entry *entries, size_t count)
{
	buf_write_str(out,
		      "<html>\n<head>\n<title>/debug/pprof/</title>\n<meta name=\"color-scheme\" "
		      "content=\"light dark\">\n<link rel=\"stylesheet\" "
		      "href=\"/debug/assets/page.css\">\n</head>\n<body>\n/debug/pprof/<br>\n<br>\n"
		      "Types of profiles available:\n<table>\n"
		      "<thead><td>Count</td><td>Profile</td></thead>\n");
	/* One row per line, single quotes: known scrapers go by a regular expression. */
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "<tr><td>%llu</td><td><a href='%s'>%s</a></td></tr>\n",
			   (unsigned long long)entries[i].count, entries[i].href, entries[i].name);
	buf_write_str(
		out, "</table>\n<a href=\"goroutine?debug=2\">full goroutine stack dump</a>\n<br>\n"
		     "<p>\nProfile Descriptions:\n<ul>\n");
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "<li><b>%s:</b> %s</li>\n", entries[i].name, entries[i].help);
	buf_write_str(out, "</ul>\n</p>\n");
}

static void serve_index(struct profiler *profiler, struct http_request *r)
{
	const char *host =
		http_request_header(r, "host"); /* the guard wants one, except on a socket */
	struct profiler_stats stats;
	struct buf out;

	host = host != NULL ? host : "localhost";
	profiler_stats(profiler, &stats);
	const struct entry entries[] = {
		{ "cmdline", "cmdline",
		  "The command line of this program, arguments separated by NUL.", 0 },
		{ "goroutine", "goroutine?debug=1",
		  "Stacks of all threads, and all operations in flight with what they wait for. "
		  "debug=2 is one block each, debug=3 adds ids and times.",
		  stats.threads + r->conn->server->loop->runner.op_count },
		{ "profile", "profile",
		  "CPU profile. Duration in seconds=, 30 if not given. Samples carry the labels "
		  "thread, "
		  "task and category.",
		  0 },
		{ "symbol", "symbol", "Names of addresses: symbol?0x1234+0x5678.", 0 },
		{ "threadcreate", "threadcreate?debug=1",
		  "Stacks that led to the creation of threads.", stats.threads_created },
	};

	buf_init(&out, INDEX_MAX);
	write_index(&out, entries, ARRAY_SIZE(entries));
	buf_printf(&out, "<p>\ngo tool pprof -http=:8080 http://");
	buf_write_html(&out, host, strlen(host));
	buf_printf(
		&out,
		"/debug/pprof/profile?seconds=30\n</p>\n<p>\nThe files hold names of functions and "
		"files and counts, no content and no addresses of peers.\n</p>\n<p>\n"
		"Turns of the loop that were too long: <a href=\"stalls\">stalls</a>, %llu so "
		"far.\n</p>\n<p>\n"
		"Now: %u CPU captures, %u timers. So far: %llu samples, %llu lost, %llu ns in the "
		"handler.\n</p>\n</body>\n</html>\n",
		(unsigned long long)stats.loop_stalls, stats.cpu_captures, stats.timers,
		(unsigned long long)stats.samples, (unsigned long long)stats.lost,
		(unsigned long long)stats.handler_ns);
	http_reply(r, 200, "text/html; charset=utf-8", &out);
}

/* ---- Routes ---- */

static void on_redirect(void *data, struct http_request *r)
{
	http_reply_header(r, "Location", "/debug/pprof/");
	http_reply(r, 301, NULL, NULL);
}

static void on_stack(void *data, struct http_request *r)
{
	capture(data, r, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 },
		NULL);
}

static void on_pprof(void *data, struct http_request *r)
{
	const char *name = http_request_tail(r);

	if (strcmp(name, "") == 0)
		serve_index(data, r);
	else if (strcmp(name, "profile") == 0)
		serve_profile(data, r);
	else if (strcmp(name, "goroutine") == 0)
		serve_named(data, r, PROFILER_GOROUTINE, "goroutine", "goroutine-delta");
	else if (strcmp(name, "threadcreate") == 0)
		serve_named(data, r, PROFILER_THREADCREATE, "threadcreate", "threadcreate-delta");
	else if (strcmp(name, "stalls") == 0)
		capture(data, r, &(struct profiler_request){ .kind = PROFILER_STALLS }, NULL);
	else if (strcmp(name, "symbol") == 0)
		serve_symbol(data, r);
	else if (strcmp(name, "cmdline") == 0)
		serve_cmdline(r);
	else
		fail(r, 404, "Unknown profile");
}

int debug_http_pprof(struct http_server *s, struct profiler *profiler)
{
	static const char help[] =
		"profiles for go tool pprof: where CPU time goes, what all threads do";
	int rc = http_route(s, HTTP_GET_ | HTTP_POST_, "/debug/pprof/*", NULL, on_pprof, profiler);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/pprof/", help, on_pprof, profiler);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_ | HTTP_POST_, "/debug/pprof", NULL, on_redirect,
				profiler);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/stack", NULL, on_stack, profiler);
	return rc;
}
