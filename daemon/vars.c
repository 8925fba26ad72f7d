#include "daemon/vars.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "daemon/figures.h"
#include "daemon/metrics.h"
#include "daemon/pages.h"
#include "daemon/process.h"
#include "daemon/vars_page.h"

/* What the kernel and the allocator tell is asked on a worker; what the daemon knows is added on
 * the loop when that is there. */

enum { VARS_MAX = 16 << 20, KEYS_MAX = 64 };

struct asked {
	struct runner_job job;
	struct daemon *daemon;
	struct http_request *request;
	void (*answer)(struct asked *a);
	struct process process;
};

static void run_read(struct runner_job *job)
{
	process_read(&container_of(job, struct asked, job)->process);
}

static void on_read(struct runner_job *job)
{
	struct asked *a = container_of(job, struct asked, job);

	a->answer(a);
	process_fini(&a->process);
	mem_free(a);
}

static void ask(struct daemon *d, struct http_request *r, void (*answer)(struct asked *a))
{
	struct asked *a = mem_alloc(sizeof(*a));
	int rc;

	if (a == NULL) {
		http_reply_error(r, 503, "out of memory");
		return;
	}
	a->job = (struct runner_job){ .run = run_read, .done = on_read };
	a->daemon = d;
	a->request = r;
	a->answer = answer;
	rc = runner_submit(&d->loop.runner, &a->job);
	if (rc < 0) {
		http_reply_error(r, 503, "%s", err_str(rc));
		mem_free(a);
	}
}

/* ---- /debug/vars ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A line for each, by name, as expvar does it: scripts go by lines. */
static void write_json(struct buf *out, const json_t *vars)
{
	const char *keys[KEYS_MAX], *key;
	const json_t *value;
	size_t n = 0;

	json_object_foreach((json_t *)(uintptr_t)vars, key, value)
		if (n < KEYS_MAX)
			keys[n++] = key;
	qsort(keys, n, sizeof(*keys), by_name);
	buf_write_str(out, "{");
	for (size_t i = 0; i < n; i++) {
		char *text =
			json_dumps(json_object_get(vars, keys[i]), JSON_ENCODE_ANY | JSON_COMPACT);

		buf_printf(out, "%s\n\"%s\": %s", i > 0 ? "," : "", keys[i],
			   text != NULL ? text : "null");
		mem_free(text);
	}
	buf_write_str(out, "\n}\n");
}

static void write_page(struct buf *out, struct http_request *r, json_t *vars)
{
	static const char *const lists[] = { "PauseNs", "PauseEnd", "BySize" };

	/* People can do without 512 zeros. */
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		(void)json_object_del(json_object_get(vars, "memstats"), lists[i]);
	if (http_request_format(r) != HTTP_HTML) {
		pages_write_text(out, vars);
		return;
	}
	http_page_begin(r, out, "Figures");
	buf_write_str(out, "<h1>Figures</h1>\n");
	vars_write_html(out, vars);
	http_page_end(r, out);
}

/* Programs read this one: who does not say what he wants gets JSON. */
static void answer_vars(struct asked *a)
{
	struct http_request *r = a->request;
	json_t *vars = figures_all(a->daemon);
	enum http_format format = http_request_format(r);
	struct buf out;

	if (format == HTTP_TEXT && http_request_param(r, "text") == NULL)
		format = HTTP_JSON;
	(void)json_object_set_new(vars, "cmdline", process_cmdline(&a->process));
	(void)json_object_set_new(vars, "memstats", process_memstats(&a->process));
	(void)json_object_set_new(vars, "memstats_source", process_memstats_source());
	buf_init(&out, VARS_MAX);
	if (format == HTTP_JSON)
		write_json(&out, vars);
	else
		write_page(&out, r, vars);
	http_reply(r, 200,
		   format == HTTP_JSON ? "application/json; charset=utf-8" :
		   format == HTTP_HTML ? "text/html; charset=utf-8" :
					 "text/plain; charset=utf-8",
		   &out);
	buf_fini(&out);
	json_decref(vars);
}

static void on_vars(void *data, struct http_request *r)
{
	ask(control_daemon(data), r, answer_vars);
}

/* ---- /debug/metrics ---- */

static void answer_metrics(struct asked *a)
{
	const char *accept = http_request_header(a->request, "accept");
	json_t *figures = figures_all(a->daemon);
	struct metrics m = { .figures = figures,
			     .process = &a->process,
			     .start_wall_s = (double)a->daemon->start_wall_s,
			     .loop = &a->daemon->loop,
			     .trace = a->daemon->trace };
	struct buf out;

	m.openmetrics = accept != NULL && strstr(accept, "application/openmetrics-text") != NULL;
	buf_init(&out, VARS_MAX);
	metrics_write(&out, &m);
	http_reply(a->request, 200,
		   m.openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
				   "text/plain; version=0.0.4; charset=utf-8",
		   &out);
	buf_fini(&out);
	json_decref(figures);
}

static void on_metrics(void *data, struct http_request *r)
{
	ask(control_daemon(data), r, answer_metrics);
}

/* Collectors ask it first, to name what they collect. */
static void on_version(void *data, struct http_request *r)
{
	struct buf out;

	buf_init(&out, 4096);
	buf_write_str(&out, "peerscope " PEERSCOPE_VERSION "\n");
	http_reply(r, 200, "text/plain; charset=utf-8", &out);
	buf_fini(&out);
}

int vars_attach(struct control *c, struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/debug/vars",
			    "all figures of this daemon (JSON for curl)", on_vars, c);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/metrics",
				"the same figures for Prometheus; /metrics too", on_metrics, c);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/version", NULL, on_version, c);
	return rc == 0 ? http_route(s, HTTP_GET_, "/metrics", NULL, on_metrics, c) : rc;
}
