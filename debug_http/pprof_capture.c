#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "debug_http/page.h"
#include "debug_http/pprof.h"
#include "debug_http/server.h"

/* From a request for a profile to its answer. Beyond Go:
 *
 *   - format=folded answers with stacks as text, format=flame sends to the flame graph, both for
 *     what can be drawn; sample= names the sample type
 *   - download=1 is for people who save it by a click: a file name that says what it is and when it
 *     was taken, and headers that do not wait for the end, so that a browser shows at once that
 *     something is coming. A capture that fails after that breaks off
 *
 * HEAD takes no profile over time; how long it would be is then not known and not said. */

enum { GRACE_MS = 120000, EARLY_MS = 300, FILE_NAME_MAX = 96, FAILURE_MAX = 320 };

struct pending {
	struct http_request *request;
	struct profiler_capture capture;
	const char *file; /* name offered for saving; NULL = text */
	struct runner_timer early;
	bool begun;
};

/* ---- File names ---- */

/* "peerscope-cpu-20260131T120000Z.pprof": the basic format of ISO 8601, since ':' is not for file
 * names everywhere. */
static void format_name(struct http_request *r, const char *file, char ret[FILE_NAME_MAX])
{
	const struct http_server *s = r->conn->server;
	time_t now = (time_t)(clock_wall_ns(s->loop->runner.clock) / NS_PER_SEC);
	const char *kind = strcmp(file, "profile") == 0 ? "cpu" : file;
	char time[32] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm) != NULL)
		(void)strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &tm);
	(void)snprintf(ret, FILE_NAME_MAX, "%.*s-%s-%s.pprof", (int)strcspn(s->title, " "),
		       s->title, kind, time);
}

static bool is_download(const struct http_request *r)
{
	return http_request_param(r, "download") != NULL;
}

static void offer_file(struct http_request *r, const char *file)
{
	char name[FILE_NAME_MAX], text[FILE_NAME_MAX + 32];

	if (is_download(r))
		format_name(r, file, name);
	(void)snprintf(text, sizeof(text), "attachment; filename=\"%s\"",
		       is_download(r) ? name : file);
	http_reply_header(r, "Content-Disposition", text);
}

/* ---- Taking it ---- */

static void on_gone(void *data, struct http_request *r)
{
	struct pending *p = data;

	(void)r;
	op_cancel(&p->capture.op);
}

static void on_early(struct runner_timer *timer)
{
	struct pending *p = container_of(timer, struct pending, early);

	p->begun = true;
	offer_file(p->request, p->file);
	http_reply_begin(p->request, 200, "application/octet-stream");
}

static void untimed_text(const struct pending *p, char ret[FAILURE_MAX])
{
	struct profiler_stats stats;

	profiler_stats(p->capture.profiler, &stats);
	(void)snprintf(
		ret, FAILURE_MAX,
		"Could not enable CPU profiling: the kernel gives no timer (%s). Each thread "
		"takes one of the user's pending signals, see ulimit -i; a filter of system "
		"calls must let timer_create or setitimer pass",
		err_str(stats.untimed_error));
}

static const char *failure(const struct pending *p, int status, char text[FAILURE_MAX])
{
	if (p->capture.request.kind == PROFILER_CPU && status == UV_EBUSY)
		return "Could not enable CPU profiling: cpu profiling already in use";
	if (p->capture.request.kind == PROFILER_TRACE && status == UV_EBUSY)
		return "Could not enable tracing: tracing is already enabled";
	if (status == UV_ECANCELED)
		return "context canceled";
	if (p->capture.request.kind == PROFILER_CPU && status == ERR_UNSUPPORTED)
		untimed_text(p, text);
	else
		(void)snprintf(text, FAILURE_MAX, "failed to collect profile: %s", err_str(status));
	return text;
}

static void reply(struct pending *p, int status)
{
	struct http_request *r = p->request;
	struct buf *out = &p->capture.out;
	char text[FAILURE_MAX];

	if (status != 0 && p->begun) {
		http_reply_abort(r);
	} else if (status != 0) {
		pprof_fail(r, status == UV_ETIMEDOUT ? 408 : 500, failure(p, status, text));
	} else if (p->begun) {
		(void)http_reply_write(r, out->data, out->len);
		http_reply_end(r);
	} else if (p->file != NULL) {
		offer_file(r, p->file);
		http_reply(r, 200, "application/octet-stream", out);
	} else {
		http_reply(r, 200, "text/plain; charset=utf-8", out);
	}
}

static void on_captured(struct profiler_capture *c, int status)
{
	struct pending *p = container_of(c, struct pending, capture);

	runner_timer_stop(c->op.env.runner, &p->early);
	reply(p, status);
	buf_fini(&c->out);
	mem_free(p);
}

static void start(struct profiler *profiler, struct http_request *r,
		  const struct profiler_request *request, const char *file)
{
	struct runner *runner = &r->conn->server->loop->runner;
	uint64_t now = runner_now_ms(runner);
	struct pending *p = mem_alloc(sizeof(*p));
	struct op_env env = { .runner = runner,
			      .deadline_ms = now + request->seconds * 1000ull + GRACE_MS,
			      .span = r->span };

	if (p == NULL) {
		pprof_fail(r, 500, "failed to collect profile");
		return;
	}
	p->request = r;
	p->file = file;
	p->early.run = on_early;
	if (file != NULL && is_download(r) && request->seconds > 0)
		runner_timer_start(runner, &p->early, now + EARLY_MS);
	http_request_on_close(r, on_gone, p);
	profiler_capture_start(&p->capture, profiler, &env, request, on_captured);
}

/* ---- Formats ---- */

const struct pprof_drawn pprof_drawn[] = {
	{ "profile", "CPU", PROFILER_CPU, { "cpu", "samples" } },
	{ "heap",
	  "Memory in use",
	  PROFILER_HEAP,
	  { "inuse_space", "inuse_objects", "alloc_space", "alloc_objects" } },
	{ "allocs",
	  "Memory allocated",
	  PROFILER_ALLOCS,
	  { "alloc_space", "alloc_objects", "inuse_space", "inuse_objects" } },
	{ "mutex", "Locks that others waited for", PROFILER_MUTEX, { "delay", "contentions" } },
	{ "block", "Waiting", PROFILER_BLOCK, { "delay", "contentions" } },
};
const size_t pprof_drawn_count = ARRAY_SIZE(pprof_drawn);

static const struct pprof_drawn *find_drawn(enum profiler_kind kind)
{
	for (size_t i = 0; i < pprof_drawn_count; i++)
		if (pprof_drawn[i].kind == kind)
			return &pprof_drawn[i];
	return NULL;
}

const char *pprof_sample_type(struct http_request *r, const struct pprof_drawn *drawn)
{
	char text[PPROF_PARAM_MAX];

	for (size_t i = 0; pprof_param(r, "sample", text) && i < PPROF_SAMPLES_MAX; i++)
		if (drawn->samples[i] != NULL && strcmp(drawn->samples[i], text) == 0)
			return drawn->samples[i];
	return drawn->samples[0];
}

static void send_to_flame(struct http_request *r, const struct pprof_drawn *drawn, unsigned seconds)
{
	char location[128];

	(void)snprintf(location, sizeof(location), "/debug/flame?profile=%s&seconds=%u",
		       drawn->name, seconds);
	http_reply_header(r, "Location", location);
	http_reply(r, 303, NULL, NULL);
}

void pprof_capture(struct profiler *profiler, struct http_request *r,
		   const struct profiler_request *request, const char *file)
{
	const char *format = http_request_param(r, "format");
	const struct pprof_drawn *drawn = find_drawn(request->kind);
	struct profiler_request folded = *request;

	if (drawn == NULL || request->debug > 0 || request->legacy)
		format = NULL;
	if (format != NULL && strcmp(format, "flame") == 0) {
		send_to_flame(r, drawn, request->seconds);
		return;
	}
	if (format != NULL && strcmp(format, "folded") == 0) {
		folded.folding = PROFILER_FOLDED;
		folded.value = pprof_sample_type(r, drawn);
		file = NULL;
	}
	if (request_is_head(r) && request->seconds > 0) {
		if (file != NULL)
			offer_file(r, file);
		http_reply_begin(r, 200,
				 file != NULL ? "application/octet-stream" :
						"text/plain; charset=utf-8");
		http_reply_end(r);
		return;
	}
	start(profiler, r, &folded, file);
}
