/* trace export: traces as files for other viewers.
 *
 * A trace that spans daemons lies in halves with each of them, under one id. An export puts them
 * together: each format has a list of what it holds, and those lists are joined. In Jaeger's the
 * halves of a trace become one, and processes are renamed, since each daemon calls itself p1. A
 * protobuf message whose only field is repeated is joined by writing one behind the other (protobuf
 * encoding: "Last One Wins" does not concern repeated fields). */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/trace_cli.h"

enum { EXPORT_DEFAULT = 250 };

struct export
{
	const char *format;
	json_t *whole;
};

static const char *list_of(const char *format)
{
	static const char *const lists[][2] = { { "chrome", "traceEvents" },
						{ "otlp", "resourceSpans" },
						{ "jaeger", "data" },
						{ "json", "traces" } };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (strcmp(lists[i][0], format) == 0)
			return lists[i][1];
	return NULL;
}

static json_t *find_trace(json_t *list, const char *id)
{
	json_t *t;
	size_t i;

	json_array_foreach(list, i, t) {
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

	json_object_foreach(json_object_get(trace, "processes"), key, process) {
		snprintf(name, sizeof(name), "d%u%.64s", number, key);
		(void)json_object_set(renamed, name, process);
	}
	json_object_set_new(trace, "processes", renamed);
	json_array_foreach(json_object_get(trace, "spans"), i, span) {
		snprintf(name, sizeof(name), "d%u%.64s", number, json_get_text(span, "processID"));
		json_object_set_new(span, "processID", json_string(name));
	}
}

static void join_jaeger(json_t *list, json_t *more, unsigned number)
{
	json_t *t, *there;
	size_t i;

	json_array_foreach(more, i, t) {
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

static int add_json(void *data, unsigned number, const char *where, struct buf *body)
{
	struct export *e = data;
	json_t *part = json_loadb((char *)body->data, body->len, 0, NULL), *list;

	if (part == NULL)
		return cli_fail(EXIT_FAILED, "what %s answers is not JSON", where);
	list = json_object_get(part, list_of(e->format));
	if (strcmp(e->format, "jaeger") == 0) {
		json_t *joined = json_array();

		join_jaeger(e->whole != NULL ? json_object_get(e->whole, "data") : joined, list,
			    number);
		json_object_set_new(part, "data", joined);
	} else if (e->whole != NULL) {
		(void)json_array_extend(json_object_get(e->whole, list_of(e->format)), list);
	}
	if (e->whole == NULL)
		e->whole = part;
	else
		json_decref(part);
	return 0;
}

static int add_bytes(void *data, unsigned number, const char *where, struct buf *body)
{
	output_bytes(body->data, body->len);
	return 0;
}

static int export_joined(struct cli *c, const char *path, const char *format)
{
	struct export e = { .format = format };
	int rc;

	if (list_of(format) == NULL)
		return trace_cli_ask_all(c, path, add_bytes, NULL);
	rc = trace_cli_ask_all(c, path, add_json, &e);
	if (rc != 0)
		json_decref(e.whole);
	else
		cli_print_json(e.whole);
	return rc;
}

int trace_cli_export(struct cli *c, const char *id, const char *format)
{
	const char *given = options_text(c->options, OPT_FORMAT);
	CLEANUP(mem_freep) char *form = NULL, *path = NULL;
	bool text;

	format = given != NULL ? given : format;
	text = strcmp(format, "text") == 0;
	if (strcmp(format, "otlp-protobuf") == 0 && isatty(STDOUT_FILENO))
		return cli_usage("trace", "protobuf is not for a terminal: write it to a file with "
					  "> FILE");
	form = text ? mem_strdup(format) : mem_printf("format=%s", format);
	path = form != NULL ? trace_cli_path(form, "id", id, trace_cli_limit(c, EXPORT_DEFAULT)) :
			      NULL;
	if (path == NULL)
		return cli_fail(EXIT_FAILED, "out of memory");
	if (options_text(c->options, OPT_FROM) == NULL)
		return trace_cli_show_page(c, path, !text);
	if (text && id == NULL)
		return cli_usage("trace", "as text, --from needs the ID of one trace");
	return text ? trace_cli_show_joined(c, id) : export_joined(c, path, format);
}
