#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "debug_http/traces.h"

/* Traces in other forms: for programs, for other viewers, to keep. The store's writer gives them in
 * pieces, one per turn of the loop; when the client reads slowly, the next waits for the socket. */

enum { PIECE_MAX = 8 << 20 };

static const struct form {
	const char *name; /* of ?format= */
	enum trace_format format;
	const char *content_type;
	const char *suffix; /* of the file it is kept as; NULL = it is shown */
} forms[] = {
	{ "json", TRACE_FORMAT_JSON, "application/json", NULL },
	{ "chrome", TRACE_FORMAT_CHROME, "application/json", "chrome.json" },
	{ "jaeger", TRACE_FORMAT_JAEGER, "application/json", "jaeger.json" },
	{ "otlp", TRACE_FORMAT_OTLP_JSON, "application/json", "otlp.json" },
	{ "otlp-protobuf", TRACE_FORMAT_OTLP, "application/x-protobuf", "otlp.pb" },
};

/* ---- In pieces ---- */

struct export
{
	struct http_request *r;
	struct trace_writer *writer;
	struct runner *runner;
	struct runner_task task;
	struct buf out;
};

static void drop(struct export *e)
{
	runner_undefer(&e->task);
	trace_writer_free(e->writer);
	buf_fini(&e->out);
	mem_free(e);
}

static void end(struct export *e, bool complete)
{
	struct http_request *r = e->r;

	drop(e);
	if (complete)
		http_reply_end(r);
	else
		http_reply_abort(r);
}

/* rc: what the writer said to its latest piece, which is in out. */
static void send_piece(struct export *e, int rc)
{
	bool wait;

	if (rc < 0 || buf_err(&e->out) != 0) {
		end(e, false);
		return;
	}
	wait = http_reply_write(e->r, e->out.data, e->out.len);
	buf_clear(&e->out);
	if (rc == 0 || e->r->gone)
		end(e, true);
	else if (!wait)
		runner_defer(e->runner, &e->task);
}

static void write_piece(struct export *e)
{
	send_piece(e, trace_writer_next(e->writer, &e->out));
}

static void on_turn(struct runner_task *task)
{
	write_piece(container_of(task, struct export, task));
}

static void on_drain(void *data, struct http_request *r)
{
	write_piece(data);
}

static void write_name(struct http_request *r, const struct trace_query *q, const char *suffix)
{
	char value[96];

	if (q->has_id)
		(void)snprintf(value, sizeof(value),
			       "attachment; filename=\"peerscope-trace-%02x%02x%02x%02x.%s\"",
			       q->id[0], q->id[1], q->id[2], q->id[3], suffix);
	else
		(void)snprintf(value, sizeof(value), "attachment; filename=\"peerscope-traces.%s\"",
			       suffix);
	http_reply_header(r, "Content-Disposition", value);
}

void export_name_file(struct traces_page *p, const char *suffix)
{
	write_name(p->r, &p->query, suffix);
}

void http_reply_traces(struct http_request *r, struct trace_writer *writer,
		       const char *content_type)
{
	struct export *e = writer != NULL ? mem_alloc(sizeof(*e)) : NULL;
	int rc;

	if (e == NULL) {
		trace_writer_free(writer);
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	e->r = r;
	e->writer = writer;
	e->runner = &r->conn->server->loop->runner;
	e->task.run = on_turn;
	buf_init(&e->out, PIECE_MAX);
	rc = trace_writer_next(writer, &e->out);
	if (rc < 0) {
		drop(e);
		http_reply_error(r, rc == ERR_NOT_FOUND ? 404 : 503, "%s",
				 rc == ERR_NOT_FOUND ? "The trace was evicted just now." :
						       "The daemon is out of memory.");
		return;
	}
	http_reply_begin(r, 200, content_type);
	http_request_on_drain(r, on_drain, e);
	send_piece(e, rc);
}

void export_reply(struct http_server *s, struct http_request *r, const struct trace_query *q,
		  const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (strcmp(forms[i].name, name) == 0) {
			if (forms[i].suffix != NULL)
				write_name(r, q, forms[i].suffix);
			http_reply_traces(r, trace_writer_new(s->shown_trace, forms[i].format, q),
					  forms[i].content_type);
			return;
		}
	}
	http_reply_error(r, 400,
			 "Bad parameter format: it takes json, chrome, jaeger, otlp or "
			 "otlp-protobuf.");
}

/* ---- Links ---- */

void export_write_links(struct traces_page *p)
{
	static const struct {
		const char *more, *label;
	} links[] = {
		{ "with=median", "compare with the median" },
		{ "text", "text" },
		{ "json", "JSON" },
		{ "download=html", "HTML file" },
		{ "format=chrome", "Perfetto" },
		{ "format=jaeger", "Jaeger" },
		{ "format=otlp", "OTLP" },
	};
	struct buf *out = &p->out;

	buf_write_str(out, "<div class=\"trail\"><a href=\"/debug/traces\">← All traces</a><p "
			   "id=\"tools\">");
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		buf_write_str(out, i > 0 ? " · <a href=\"/debug/traces?id=" :
					   "<a href=\"/debug/traces?id=");
		page_write_hex(out, p->query.id, sizeof(p->query.id));
		buf_printf(out, "&amp;%s\">%s</a>", links[i].more, links[i].label);
	}
	buf_write_str(out, "</p></div>\n");
}
