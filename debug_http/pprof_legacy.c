#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "debug_http/pprof.h"
#include "debug_http/server.h"

/* Other names under which profiles are asked for:
 *
 *   /pprof/…               gperftools' paths, in its formats; what google-pprof reads
 *   /debug/pprof-mutex/    kubo's: POST with fraction= sets the rate, says nothing
 *   /debug/pprof-block/    … with rate= */

/* ---- Kubo ---- */

static const struct setter {
	const char *path, *param;
	enum profiler_kind kind;
} setters[] = {
	{ "/debug/pprof-mutex/", "fraction", PROFILER_MUTEX },
	{ "/debug/pprof-block/", "rate", PROFILER_BLOCK },
};

static void set_rate(struct http_request *r, const struct setter *s)
{
	char text[PPROF_PARAM_MAX], why[PPROF_PARAM_MAX];
	long rate;

	if (http_request_method(r) != HTTP_POST_) {
		http_reply_header(r, "Allow", "POST");
		pprof_fail(r, 405, "only POST allowed");
	} else if (!pprof_param(r, s->param, text) || !pprof_int(text, &rate) || rate < 0) {
		snprintf(why, sizeof(why), "parameter '%s' must be set", s->param);
		pprof_fail(r, 400, why);
	} else {
		(void)profiler_rate_set(s->kind, rate);
		http_reply(r, 200, NULL, NULL);
	}
}

static void on_setter(void *data, struct http_request *r)
{
	const char *path = http_request_path(r);

	for (size_t i = 0; i < ARRAY_SIZE(setters); i++)
		if (strcmp(path, setters[i].path) == 0)
			set_rate(r, &setters[i]);
}

/* ---- gperftools ---- */

static void on_profile(void *data, struct http_request *r)
{
	struct profiler_request request = { .kind = PROFILER_CPU,
					    .legacy = true,
					    .seconds = PROFILER_SECONDS_DEFAULT };
	char text[PPROF_PARAM_MAX];
	long seconds;

	if (pprof_param(r, "seconds", text) && pprof_int(text, &seconds) && seconds > 0)
		request.seconds = (unsigned)MIN(seconds, (long)PROFILER_SECONDS_MAX);
	pprof_capture(data, r, &request, "profile");
}

static void on_contention(void *data, struct http_request *r)
{
	pprof_capture(
		data, r,
		&(struct profiler_request){ .kind = PROFILER_BLOCK, .debug = 1, .legacy = true },
		NULL);
}

static void on_heap(void *data, struct http_request *r)
{
	pprof_capture(
		data, r,
		&(struct profiler_request){ .kind = PROFILER_HEAP, .debug = 1, .legacy = true },
		NULL);
}

static void on_symbol(void *data, struct http_request *r)
{
	pprof_serve_symbol(data, r, true);
}

static void on_cmdline(void *data, struct http_request *r)
{
	pprof_serve_cmdline(r);
}

/* ---- Routes ---- */

static const struct legacy_route {
	const char *path;
	http_handler_fn handler;
} routes[] = {
	{ "/debug/pprof-mutex/", on_setter },	{ "/debug/pprof-block/", on_setter },
	{ "/pprof/contention", on_contention }, { "/pprof/heap", on_heap },
	{ "/pprof/profile", on_profile },	{ "/pprof/symbol", on_symbol },
	{ "/pprof/cmdline", on_cmdline },
};

int pprof_legacy_attach(struct http_server *s, struct profiler *profiler)
{
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(routes) && rc == 0; i++)
		rc = http_route(s, HTTP_GET_ | HTTP_POST_, routes[i].path, NULL, routes[i].handler,
				profiler);
	return rc;
}
