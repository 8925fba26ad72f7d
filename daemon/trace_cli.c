/* trace list, show, diff, pin, unpin: the trace pages in the terminal; and what the other parts of
 * the verb share. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/trace_cli.h"
#include "trace/trace.h"

enum { LIST_DEFAULT = 20, RESOLVE_MAX = 20, ID_LEN = 32, PREFIX_MIN = 4 };

/* ---- Shared ---- */

int trace_cli_refused(const struct client_reply *reply)
{
	if (reply->http_status == 404)
		return cli_fail(EXIT_NOT_FOUND, "there is no such trace, or not any more: "
						"`peerscope trace list` shows those kept");
	if (reply->body.len == 0)
		return cli_fail(EXIT_FAILED,
				"the daemon answered with HTTP status %d and no reason: is it of "
				"another version?",
				reply->http_status);
	return cli_fail(reply->http_status == 400 ? EXIT_USAGE : EXIT_FAILED, "%.*s",
			(int)MIN(reply->body.len, (size_t)512), (char *)reply->body.data);
}

int trace_cli_show_page(struct cli *c, const char *path, bool as_it_is)
{
	struct client_reply reply;
	int rc = client_request(c->client, "GET", path, NULL, NULL, 0, &reply);

	if (rc == 0 && reply.http_status == 200 && reply.body.len == 0)
		rc = cli_check_content(&reply);
	else if (rc == 0 && reply.http_status == 200 && as_it_is)
		output_bytes(reply.body.data, reply.body.len);
	else if (rc == 0 && reply.http_status == 200)
		output_text(&reply.body);
	else if (rc == 0)
		rc = trace_cli_refused(&reply);
	else
		rc = cli_client_failed(c, rc);
	buf_fini(&reply.body);
	return rc;
}

uint64_t trace_cli_limit(const struct cli *c, uint64_t otherwise)
{
	return options_text(c->options, OPT_LIMIT) != NULL ? options_number(c->options, OPT_LIMIT) :
							     otherwise;
}

unsigned trace_cli_columns(void)
{
	struct winsize size = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return TRACE_TEXT_COLUMNS;
	return MIN(MAX((unsigned)size.ws_col, (unsigned)TRACE_TEXT_COLUMNS),
		   (unsigned)TRACE_TEXT_COLUMNS_MAX);
}

char *trace_cli_path(const char *format, const char *key, const char *value, uint64_t n)
{
	CLEANUP(mem_freep) char *escaped = client_escape(value != NULL ? value : "");

	if (escaped == NULL)
		return NULL;
	return mem_printf("/debug/traces?%s&n=%" PRIu64 "&columns=%u%s%s%s%s", format, n,
			  trace_cli_columns(), value != NULL ? "&" : "", value != NULL ? key : "",
			  value != NULL ? "=" : "", escaped);
}

struct asked {
	int (*add)(void *data, unsigned number, const char *where, struct buf *body);
	void *data;
	const char *path;
	unsigned number, found;
};

/* 0 also when this one has none of it. */
static int ask_one(struct cli *c, struct asked *a)
{
	struct client_reply reply;
	int rc = client_request(c->client, "GET", a->path, NULL, NULL, 0, &reply);

	if (rc < 0) {
		bool can_do_without = a->number == 0 && client_unreachable(c->client) &&
				      options_text(c->options, OPT_FROM) != NULL;

		if (can_do_without)
			cli_warn("%s: only those of --from are asked", client_why(c->client));
		rc = can_do_without ? 0 : cli_client_failed(c, rc);
	} else if (reply.http_status == 200) {
		a->found++;
		rc = a->add(a->data, a->number, c->data, &reply.body);
	} else if (reply.http_status != 404) {
		rc = trace_cli_refused(&reply);
	}
	a->number++;
	buf_fini(&reply.body);
	return rc;
}

int trace_cli_ask_all(struct cli *c, const char *path,
		      int (*add)(void *data, unsigned number, const char *where, struct buf *body),
		      void *data)
{
	const char *others = options_text(c->options, OPT_FROM); /* one per line */
	struct asked a = { .add = add, .data = data, .path = path };
	int rc = ask_one(c, &a);

	while (others != NULL && *others != '\0' && rc == 0 && a.number < TRACE_CLI_SOURCES_MAX) {
		size_t len = strcspn(others, "\n");
		CLEANUP(mem_freep) char *where = mem_strndup(others, len);
		struct cli other = *c;

		other.data = where;
		other.client = where != NULL ? client_new(where) : NULL;
		rc = other.client != NULL ? ask_one(&other, &a) :
					    cli_fail(EXIT_FAILED, "out of memory");
		client_free(other.client);
		others += len + (others[len] == '\n' ? 1 : 0);
	}
	if (rc == 0 && a.found == 0)
		rc = cli_fail(EXIT_NOT_FOUND, "no daemon that was asked has this trace, or not any "
					      "more");
	return rc;
}

/* ---- An id may be shortened to its first digits, as long as one trace has them ---- */

struct resolved {
	const char *prefix;
	char id[ID_LEN + 1];
	unsigned count; /* of different ids */
};

static void look_through(struct resolved *r, const json_t *traces)
{
	json_t *trace;
	size_t i;

	json_array_foreach(traces, i, trace) {
		const char *id = json_get_text(trace, "trace_id");

		if (strncmp(id, r->prefix, strlen(r->prefix)) != 0 || strcmp(id, r->id) == 0)
			continue;
		snprintf(r->id, sizeof(r->id), "%s", id);
		r->count++;
	}
}

static int ask_for(struct cli *c, struct resolved *r)
{
	CLEANUP(mem_freep) char *path = trace_cli_path("json", "begins", r->prefix, RESOLVE_MAX);
	json_t *answer = NULL;
	int rc = path != NULL ? client_json(c->client, "GET", path, NULL, &answer) : UV_ENOMEM;

	look_through(r, json_object_get(answer, "traces"));
	json_decref(answer);
	return rc;
}

/* The whole id, in ret. 0 or an exit code; what is no shortened id is left to the daemon. */
static int resolve(struct cli *c, const char *text, char ret[ID_LEN + 1])
{
	struct resolved r = { .prefix = text };
	size_t len = strlen(text);
	int rc;

	if (len > ID_LEN)
		return cli_usage("trace", "an ID has 32 digits at most");
	memcpy(ret, text, len + 1);
	if (len < PREFIX_MIN && strspn(text, "0123456789abcdef") == len)
		return cli_fail(EXIT_USAGE,
				"trace: of an ID at least the first %d digits are needed, as "
				"`peerscope trace list` prints them",
				PREFIX_MIN);
	if (len < PREFIX_MIN || len >= ID_LEN || strspn(text, "0123456789abcdef") != len)
		return 0;
	rc = ask_for(c, &r);
	if (rc < 0)
		return cli_client_failed(c, rc);
	if (r.count == 0)
		return cli_fail(EXIT_NOT_FOUND, "no trace has an id that begins with %s", text);
	if (r.count > 1)
		return cli_fail(EXIT_USAGE,
				"%u traces have ids that begin with %s: give more of it", r.count,
				text);
	snprintf(ret, ID_LEN + 1, "%s", r.id);
	return 0;
}

/* ---- The small ones ---- */

static int trace_diff(struct cli *c, const char *first, const char *then)
{
	char a[ID_LEN + 1], b[ID_LEN + 1];
	CLEANUP(mem_freep) char *escaped_a = NULL, *escaped_b = NULL, *path = NULL;
	int rc = resolve(c, first, a);

	if (rc == 0)
		rc = resolve(c, then, b);
	if (rc != 0)
		return rc;
	escaped_a = client_escape(a);
	escaped_b = client_escape(b);
	if (escaped_a != NULL && escaped_b != NULL)
		path = mem_printf("/v1/traces/diff?first=%s&then=%s&%s", escaped_a, escaped_b,
				  c->json ? "json" : "text");
	return path != NULL ? trace_cli_show_page(c, path, c->json) :
			      cli_fail(EXIT_FAILED, "out of memory");
}

static int trace_list(struct cli *c, const char *text)
{
	CLEANUP(mem_freep)
	char *path = trace_cli_path(c->json ? "json" : "text", "q", text,
				    trace_cli_limit(c, LIST_DEFAULT));

	return path != NULL ? trace_cli_show_page(c, path, c->json) :
			      cli_fail(EXIT_FAILED, "out of memory");
}

static int trace_show(struct cli *c, const char *text)
{
	char id[ID_LEN + 1];
	CLEANUP(mem_freep) char *path = NULL;
	int rc = resolve(c, text, id);

	if (rc != 0)
		return rc;
	if (options_text(c->options, OPT_FROM) != NULL)
		return c->json ? trace_cli_export(c, id, "json") : trace_cli_show_joined(c, id);
	path = trace_cli_path(c->json ? "json" : "text", "id", id,
			      trace_cli_limit(c, LIST_DEFAULT));
	return path != NULL ? trace_cli_show_page(c, path, c->json) :
			      cli_fail(EXIT_FAILED, "out of memory");
}

static int trace_export(struct cli *c, const char *text)
{
	char id[ID_LEN + 1];
	int rc = text != NULL ? resolve(c, text, id) : 0;

	return rc == 0 ? trace_cli_export(c, text != NULL ? id : NULL, "chrome") : rc;
}

static int trace_keep(struct cli *c, const char *what, const char *text)
{
	char id[ID_LEN + 1];
	CLEANUP(mem_freep) char *escaped = NULL, *path = NULL;
	struct client_reply reply;
	int rc = resolve(c, text, id);

	if (rc != 0)
		return rc;
	escaped = client_escape(id);
	path = escaped != NULL ? mem_printf("/debug/traces/%s?id=%s", what, escaped) : NULL;
	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	rc = client_request(c->client, "POST", path, NULL, NULL, 0, &reply);
	if (rc < 0)
		rc = cli_client_failed(c, rc);
	else if (reply.http_status != 200)
		rc = trace_cli_refused(&reply);
	else if ((rc = cli_check_content(&reply)) == 0 && c->json)
		output_text(&reply.body);
	buf_fini(&reply.body);
	return rc;
}

int cli_trace(struct cli *c)
{
	const char *what = c->argc > 0 ? c->argv[0] : "list";
	const char *arg = c->argc > 1 ? c->argv[1] : NULL;

	if (strcmp(what, "list") == 0 && c->argc <= 2)
		return trace_list(c, arg);
	if (strcmp(what, "show") == 0 && c->argc == 2)
		return trace_show(c, arg);
	if (strcmp(what, "tail") == 0 && c->argc <= 2)
		return trace_cli_tail(c, arg);
	if (strcmp(what, "export") == 0 && c->argc <= 2)
		return trace_export(c, arg);
	if (strcmp(what, "diff") == 0 && c->argc == 3)
		return trace_diff(c, arg, c->argv[2]);
	if ((strcmp(what, "pin") == 0 || strcmp(what, "unpin") == 0) && c->argc == 2)
		return trace_keep(c, what, arg);
	return cli_usage("trace",
			 "it is `trace list [TEXT]`, `trace show ID`, `trace tail [TEXT]`, "
			 "`trace export [ID]`, `trace diff ID ID`, `trace pin ID` or "
			 "`trace unpin ID`");
}
