/* trace list, show, tail, export, diff: the trace pages in the terminal, and as files.
 *
 * A trace that spans daemons lies in halves with each of them, under one id. An export puts them
 * together: each format has a list of what it holds, and those lists are joined. In Jaeger's the
 * halves of a trace become one, and processes are renamed, since each daemon calls itself p1. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/cli.h"

enum {
	LIST_DEFAULT = 20,
	EXPORT_DEFAULT = 250,
	DIRS_MAX = 64,
	TAIL_STEP_NS = 500000000,
	TAIL_SEEN_MAX = 2048,
	TAIL_LINE_MAX = 16384,
	ID_MAX = 40
};

static int refused(struct cli *c, const struct client_reply *reply)
{
	if (reply->http_status == 404)
		return cli_fail(EXIT_NOT_FOUND, "there is no such trace, or not any more: "
						"`peerscope trace list` shows those kept");
	return cli_fail(reply->http_status == 400 ? EXIT_USAGE : EXIT_FAILED, "%.*s",
			(int)MIN(reply->body.len, (size_t)512),
			reply->body.data != NULL ? (char *)reply->body.data : "");
}

static int show_page(struct cli *c, const char *path)
{
	struct client_reply reply;
	int rc = client_request(c->client, "GET", path, NULL, NULL, 0, &reply);

	if (rc == 0 && reply.http_status == 200)
		fwrite(reply.body.data, 1, reply.body.len, stdout);
	else if (rc == 0)
		rc = refused(c, &reply);
	else
		rc = cli_client_failed(c, rc);
	buf_fini(&reply.body);
	return rc;
}

static uint64_t limit(const struct cli *c, uint64_t otherwise)
{
	return options_text(c->options, OPT_LIMIT) != NULL ? options_number(c->options, OPT_LIMIT) :
							     otherwise;
}

static char *list_path(const struct cli *c, const char *format, const char *key, const char *value,
		       uint64_t n)
{
	CLEANUP(mem_freep) char *escaped = client_escape(value != NULL ? value : "");

	if (escaped == NULL)
		return NULL;
	return mem_printf("/debug/traces?%s&n=%" PRIu64 "%s%s%s%s", format, n,
			  value != NULL ? "&" : "", value != NULL ? key : "",
			  value != NULL ? "=" : "", escaped);
}

/* ---- Export ---- */

static const char *list_of(const char *format)
{
	if (strcmp(format, "chrome") == 0)
		return "traceEvents";
	return strcmp(format, "otlp") == 0 ? "resourceSpans" : "data";
}

static json_t *find_trace(json_t *list, const char *id)
{
	json_t *t;
	size_t i;

	json_array_foreach(list, i, t)
	{
		if (strcmp(json_get_text(t, "traceID"), id) == 0)
			return t;
	}
	return NULL;
}

static void rename_processes(json_t *trace, unsigned number)
{
	json_t *renamed = json_object(), *process, *span;
	const char *key;
	char name[128];
	size_t i;

	json_object_foreach(json_object_get(trace, "processes"), key, process)
	{
		snprintf(name, sizeof(name), "d%u%.64s", number, key);
		(void)json_object_set(renamed, name, process);
	}
	json_object_set_new(trace, "processes", renamed);
	json_array_foreach(json_object_get(trace, "spans"), i, span)
	{
		snprintf(name, sizeof(name), "d%u%.64s", number, json_get_text(span, "processID"));
		json_object_set_new(span, "processID", json_string(name));
	}
}

static void join_jaeger(json_t *list, json_t *more, unsigned number)
{
	json_t *t, *there;
	size_t i;

	json_array_foreach(more, i, t)
	{
		rename_processes(t, number);
		there = find_trace(list, json_get_text(t, "traceID"));
		if (there == NULL) {
			(void)json_array_append(list, t);
			continue;
		}
		(void)json_array_extend(json_object_get(there, "spans"),
					json_object_get(t, "spans"));
		(void)json_object_update(json_object_get(there, "processes"),
					 json_object_get(t, "processes"));
	}
}

/* One daemon's part. 0, or an exit code after a printed error; ERR_NOT_FOUND: it has none. */
static int fetch_part(struct cli *c, const char *path, json_t **ret)
{
	struct client_reply reply;
	int rc = client_request(c->client, "GET", path, NULL, NULL, 0, &reply);

	if (rc < 0) {
		rc = cli_client_failed(c, rc);
	} else if (reply.http_status == 404) {
		rc = ERR_NOT_FOUND;
	} else if (reply.http_status != 200) {
		rc = refused(c, &reply);
	} else {
		*ret = json_loadb((char *)reply.body.data, reply.body.len, 0, NULL);
		if (*ret == NULL)
			rc = cli_fail(EXIT_FAILED, "the daemon's answer is not JSON");
	}
	buf_fini(&reply.body);
	return rc;
}

static int add_part(struct cli *c, const char *path, const char *format, unsigned number,
		    json_t **whole)
{
	json_t *part = NULL, *list;
	int rc = fetch_part(c, path, &part);

	if (rc != 0)
		return rc == ERR_NOT_FOUND ? 0 : rc;
	list = json_object_get(part, list_of(format));
	if (strcmp(format, "jaeger") == 0) {
		json_t *joined = json_array();

		join_jaeger(*whole != NULL ? json_object_get(*whole, "data") : joined, list,
			    number);
		json_object_set_new(part, "data", joined);
	} else if (*whole != NULL) {
		(void)json_array_extend(json_object_get(*whole, list_of(format)), list);
	}
	if (*whole == NULL)
		*whole = part;
	else
		json_decref(part);
	return 0;
}

/* The data folders of --from, one per line. */
static int add_others(struct cli *c, const char *path, const char *format, json_t **whole)
{
	const char *dirs = options_text(c->options, OPT_FROM);
	int rc = 0;

	for (unsigned n = 1; dirs != NULL && *dirs != '\0' && rc == 0 && n < DIRS_MAX; n++) {
		size_t len = strcspn(dirs, "\n");
		CLEANUP(mem_freep) char *dir = mem_strndup(dirs, len);
		struct cli other = *c;

		other.data = dir;
		other.client = dir != NULL ? client_new(dir) : NULL;
		rc = other.client != NULL ? add_part(&other, path, format, n, whole) :
					    cli_fail(EXIT_FAILED, "out of memory");
		client_free(other.client);
		dirs += len + (dirs[len] == '\n' ? 1 : 0);
	}
	return rc;
}

static int export_joined(struct cli *c, const char *path, const char *format)
{
	json_t *whole = NULL;
	int rc = add_part(c, path, format, 0, &whole);

	if (rc == 0)
		rc = add_others(c, path, format, &whole);
	if (rc == 0 && whole == NULL)
		rc = cli_fail(EXIT_NOT_FOUND, "none of the daemons has this trace, or not any "
					      "more");
	if (rc != 0)
		json_decref(whole);
	else
		cli_print_json(whole);
	return rc;
}

static int trace_export(struct cli *c, const char *id)
{
	const char *format = options_text(c->options, OPT_FORMAT);
	CLEANUP(mem_freep) char *form = NULL, *path = NULL;
	bool text;

	format = format != NULL ? format : "chrome";
	text = strcmp(format, "text") == 0;
	form = text ? mem_strdup(format) : mem_printf("format=%s", format);
	path = form != NULL ? list_path(c, form, "id", id, limit(c, EXPORT_DEFAULT)) : NULL;
	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	if (options_text(c->options, OPT_FROM) == NULL)
		return show_page(c, path);
	if (text || strcmp(format, "json") == 0)
		return cli_usage("trace", "--from is for the formats chrome, jaeger and otlp");
	return export_joined(c, path, format);
}

/* ---- Tail: what has finished is asked for again and again, for a span of time that overlaps the
 * last one, and roots already printed are left out. ---- */

struct tail {
	char seen[TAIL_SEEN_MAX][ID_MAX]; /* a ring */
	size_t next;
	bool primed; /* what was there before is not printed */
};

static bool tail_is_new(struct tail *t, const char *root)
{
	for (size_t i = 0; i < TAIL_SEEN_MAX; i++) {
		if (strncmp(t->seen[i], root, ID_MAX) == 0)
			return false;
	}
	snprintf(t->seen[t->next], ID_MAX, "%s", root);
	t->next = (t->next + 1) % TAIL_SEEN_MAX;
	return true;
}

static void tail_print(const struct cli *c, const json_t *trace)
{
	struct buf line;

	if (c->json) {
		cli_print_json(json_deep_copy(trace));
		return;
	}
	buf_init(&line, TAIL_LINE_MAX);
	buf_printf(&line, "%s  %10.3f ms  ", json_get_text(trace, "start"),
		   (double)json_get_count(trace, "duration_ns") / 1e6);
	cli_write_safe(&line, json_get_text(trace, "category"));
	buf_write_str(&line, "  ");
	cli_write_safe(&line, json_get_text(trace, "outcome"));
	buf_write_str(&line, "  ");
	cli_write_safe(&line, json_get_text(trace, "title"));
	buf_printf(&line, "  %.32s\n", json_get_text(trace, "trace_id"));
	if (buf_err(&line) == 0)
		fwrite(line.data, 1, line.len, stdout);
	buf_fini(&line);
}

static int tail_once(struct cli *c, struct tail *t, const char *path)
{
	json_t *answer = NULL, *trace;
	int rc = client_json(c->client, "GET", path, NULL, &answer);
	size_t i;

	if (rc < 0)
		return rc;
	json_array_foreach(json_object_get(answer, "traces"), i, trace)
	{
		if (tail_is_new(t, json_get_text(trace, "root")) && t->primed)
			tail_print(c, trace);
	}
	t->primed = true;
	json_decref(answer);
	fflush(stdout);
	return 0;
}

static int trace_tail(struct cli *c, const char *text)
{
	CLEANUP(mem_freep)
	char *path = list_path(c, "json&finished&sort=oldest&since=5s", "q", text, EXPORT_DEFAULT);
	CLEANUP(mem_freep) struct tail *t = mem_alloc(sizeof(*t));
	const struct timespec step = { 0, TAIL_STEP_NS };
	int rc = 0;

	if (path == NULL || t == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	client_catch_interrupt();
	while (rc == 0 && !client_interrupted()) {
		rc = tail_once(c, t, path);
		if (rc == 0)
			nanosleep(&step, NULL);
	}
	return client_interrupted() || rc == UV_ECANCELED ? EXIT_CANCELLED :
							    cli_client_failed(c, rc);
}

/* ---- The others ---- */

static int trace_diff(struct cli *c, const char *first, const char *then)
{
	CLEANUP(mem_freep) char *a = client_escape(first), *b = client_escape(then), *path = NULL;

	if (a != NULL && b != NULL)
		path = mem_printf("/v1/traces/diff?first=%s&then=%s&%s", a, b,
				  c->json ? "json" : "text");
	return path != NULL ? show_page(c, path) : cli_fail(EXIT_FAILED, "out of memory");
}

static int trace_page(struct cli *c, const char *key, const char *value)
{
	CLEANUP(mem_freep)
	char *path = list_path(c, c->json ? "json" : "text", key, value, limit(c, LIST_DEFAULT));

	return path != NULL ? show_page(c, path) : cli_fail(EXIT_FAILED, "out of memory");
}

int cli_trace(struct cli *c)
{
	const char *what = c->argc > 0 ? c->argv[0] : "list";
	const char *arg = c->argc > 1 ? c->argv[1] : NULL;

	if (strcmp(what, "list") == 0 && c->argc <= 2)
		return trace_page(c, "q", arg);
	if (strcmp(what, "show") == 0 && c->argc == 2)
		return trace_page(c, "id", arg);
	if (strcmp(what, "tail") == 0 && c->argc <= 2)
		return trace_tail(c, arg);
	if (strcmp(what, "export") == 0 && c->argc <= 2)
		return trace_export(c, arg);
	if (strcmp(what, "diff") == 0 && c->argc == 3)
		return trace_diff(c, arg, c->argv[2]);
	return cli_usage("trace",
			 "it is `trace list [TEXT]`, `trace show ID`, `trace tail [TEXT]`, "
			 "`trace export [ID]` or `trace diff ID ID`");
}
