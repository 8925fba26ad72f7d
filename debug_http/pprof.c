#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
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
 * Beyond Go: HEAD does not wait, several profiles run at once, goroutine has debug=3, a difference
 * of heap or allocs may have delta=alloc, stalls lists the turns of the loop that were too long,
 * a POST with rate= sets how finely a profile is sampled, and what pprof_capture.c says. A GET
 * never changes anything. */

enum { CMDLINE_MAX = 2 << 20 };

void pprof_fail(struct http_request *r, int status, const char *text)
{
	struct buf out;

	buf_init(&out, 4096);
	buf_printf(&out, "%s\n", text);
	http_reply_header(r, "X-Go-Pprof", "1");
	http_reply(r, status, "text/plain; charset=utf-8", &out);
}

/* ---- Parameters ---- */

/* strconv.Atoi: an optional sign and digits, nothing else. False also when it is out of range. */
bool pprof_int(const char *s, long *ret)
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

	return pprof_param(r, name, text) && pprof_int(text, &v) ? v : 0;
}

/* ---- Profiles ---- */

static void serve_profile(struct profiler *profiler, struct http_request *r)
{
	long seconds = int_param(r, "seconds"), hz = int_param(r, "hz");
	struct profiler_request request = { .kind = PROFILER_CPU,
					    .seconds = PROFILER_SECONDS_DEFAULT };

	if (seconds > PROFILER_SECONDS_MAX) {
		pprof_fail(r, 400, "profile duration exceeds server's WriteTimeout");
		return;
	}
	if (seconds > 0)
		request.seconds = (unsigned)seconds;
	if (hz > 0)
		request.hz = (unsigned)MIN(hz, (long)PROFILER_HZ_MAX);
	pprof_capture(profiler, r, &request, "profile");
}

static const struct named {
	const char *name, *delta_file;
	enum profiler_kind kind;
	bool has_gc;
	const char *rate; /* what is set by rate=; NULL = nothing */
} named_profiles[] = {
	{ "allocs", "allocs-delta", PROFILER_ALLOCS, true, "allocs profile rate" },
	{ "block", "block-delta", PROFILER_BLOCK, false, "block profile rate" },
	{ "goroutine", "goroutine-delta", PROFILER_GOROUTINE, false, NULL },
	{ "heap", "heap-delta", PROFILER_HEAP, true, "heap profile rate" },
	{ "mutex", "mutex-delta", PROFILER_MUTEX, false, "mutex profile fraction" },
	{ "threadcreate", "threadcreate-delta", PROFILER_THREADCREATE, false, NULL },
};

static const struct named *find_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(named_profiles); i++)
		if (strcmp(named_profiles[i].name, name) == 0)
			return &named_profiles[i];
	return NULL;
}

/* A difference of two snapshots. The order of the checks is Go's. */
static void serve_delta(struct profiler *profiler, struct http_request *r, const struct named *n,
			const char *seconds_text)
{
	struct profiler_request request = { .kind = n->kind };
	char text[PPROF_PARAM_MAX];
	long seconds;

	if (!pprof_int(seconds_text, &seconds) || seconds <= 0) {
		pprof_fail(r, 400, "invalid value for \"seconds\" - must be a positive integer");
	} else if (seconds > PROFILER_SECONDS_MAX) {
		pprof_fail(r, 400, "profile duration exceeds server's WriteTimeout");
	} else if (int_param(r, "debug") != 0) {
		pprof_fail(r, 400, "seconds and debug params are incompatible");
	} else {
		request.seconds = (unsigned)seconds;
		request.gc = n->has_gc && int_param(r, "gc") > 0;
		request.delta_alloc = n->has_gc && pprof_param(r, "delta", text) &&
				      strcmp(text, "alloc") == 0;
		pprof_capture(profiler, r, &request, n->delta_file);
	}
}

static void set_rate(struct http_request *r, const struct named *n, const char *text)
{
	struct buf out;
	long rate, was;

	if (!pprof_int(text, &rate) || rate < 0) {
		pprof_fail(r, 400, "invalid value for \"rate\" - must be a non-negative integer");
		return;
	}
	was = (long)profiler_rate_set(n->kind, rate);
	if (http_request_format(r) == HTTP_HTML) { /* the form on the list of profiles */
		http_reply_header(r, "Location", "/debug/pprof/");
		http_reply(r, 303, NULL, NULL);
		return;
	}
	buf_init(&out, 4096);
	buf_printf(&out, "%s set to %ld (was %ld)\n", n->rate, rate, was);
	http_reply(r, 200, "text/plain; charset=utf-8", &out);
}

static void serve_named(struct profiler *profiler, struct http_request *r, const struct named *n)
{
	struct profiler_request request = { .kind = n->kind };
	char text[PPROF_PARAM_MAX];
	long debug;

	if (n->rate != NULL && http_request_method(r) == HTTP_POST_ &&
	    pprof_param(r, "rate", text)) {
		set_rate(r, n, text);
		return;
	}
	if (pprof_param(r, "seconds", text) && text[0] != '\0') {
		serve_delta(profiler, r, n, text);
		return;
	}
	debug = int_param(r, "debug");
	request.debug = debug <= 0 ? 0 : (unsigned)MIN(debug, 3L);
	request.gc = n->has_gc && int_param(r, "gc") > 0;
	pprof_capture(profiler, r, &request, request.debug == 0 ? n->name : NULL);
}

void pprof_serve_symbol(struct profiler *profiler, struct http_request *r, bool legacy)
{
	const char *target = request_text(r, r->target), *query = strchr(target, '?');
	struct profiler_request request = { .kind = PROFILER_SYMBOL, .legacy = legacy };

	if (http_request_method(r) == HTTP_POST_) {
		request.addresses = (const char *)http_request_body(r, &request.addresses_len);
	} else if (query != NULL) {
		request.addresses = query + 1;
		request.addresses_len = strlen(query + 1);
	}
	pprof_capture(profiler, r, &request, NULL);
}

void pprof_serve_cmdline(struct http_request *r)
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

/* ---- Routes ---- */

static void on_redirect(void *data, struct http_request *r)
{
	http_reply_header(r, "Location", "/debug/pprof/");
	http_reply(r, 301, NULL, NULL);
}

static void on_stack(void *data, struct http_request *r)
{
	pprof_capture(data, r, &(struct profiler_request){ .kind = PROFILER_GOROUTINE, .debug = 2 },
		      NULL);
}

static void on_pprof(void *data, struct http_request *r)
{
	const char *name = http_request_tail(r);
	const struct named *named = find_named(name);

	if (named != NULL)
		serve_named(data, r, named);
	else if (strcmp(name, "") == 0)
		pprof_serve_index(data, r);
	else if (strcmp(name, "profile") == 0)
		serve_profile(data, r);
	else if (strcmp(name, "trace") == 0)
		pprof_serve_trace(data, r);
	else if (strcmp(name, "stalls") == 0)
		pprof_capture(data, r, &(struct profiler_request){ .kind = PROFILER_STALLS }, NULL);
	else if (strcmp(name, "symbol") == 0)
		pprof_serve_symbol(data, r, false);
	else if (strcmp(name, "cmdline") == 0)
		pprof_serve_cmdline(r);
	else
		pprof_fail(r, 404, "Unknown profile");
}

int debug_http_pprof(struct http_server *s, struct profiler *profiler)
{
	static const char help[] =
		"profiles for go tool pprof: where CPU time and memory go, what threads do and "
		"wait for";
	int rc = http_route(s, HTTP_GET_ | HTTP_POST_, "/debug/pprof/*", NULL, on_pprof, profiler);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/pprof/", help, on_pprof, profiler);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_ | HTTP_POST_, "/debug/pprof", NULL, on_redirect,
				profiler);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/stack", NULL, on_stack, profiler);
	if (rc == 0)
		rc = flame_attach(s, profiler);
	return rc == 0 ? pprof_legacy_attach(s, profiler) : rc;
}
