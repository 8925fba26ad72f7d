#include "debug_http/front.h"

#include <string.h>

#include "base/mem.h"
#include "debug_http/page.h"
#include "debug_http/server.h"

/* How it is, what can be saved, and what else there is to look at. Every button is a form that a
 * browser answers with a download; the script (assets/front.js) adds a countdown and a way to
 * cancel. Nothing that is captured stays here. */

enum { INDEX_MAX = 256 << 10 };

static const char privacy[] = "contents are technical \u2014 no document content is included";

/* ---- How it is ---- */

static void write_health(struct buf *out, const struct http_front_look *look)
{
	if (look->health_count == 0)
		return;
	buf_write_str(out, "<ul class=\"health\" aria-label=\"How it is\">\n");
	for (size_t i = 0; i < look->health_count; i++) {
		const struct http_health *h = &look->health[i];

		buf_printf(out, "<li%s><a href=\"", h->is_bad ? " class=\"bad\"" : "");
		page_write_text(out, h->href);
		buf_write_str(out, "\"><span>");
		page_write_text(out, h->name);
		buf_write_str(out, "</span> <b>");
		page_write_text(out, h->value);
		buf_write_str(out, "</b> <small>");
		page_write_text(out, h->note);
		buf_write_str(out, "</small></a></li>\n");
	}
	buf_write_str(out, "</ul>\n");
}

static void write_findings(struct buf *out, struct http_front_look *look)
{
	if (look->findings.len == 0)
		return;
	buf_write_str(out, "<section aria-label=\"Doctor\">\n");
	buf_write(out, look->findings.data, look->findings.len);
	buf_write_str(out, "</section>\n");
}

/* ---- What can be saved ---- */

static const struct capture {
	const char *path;  /* a GET of it is the capture */
	const char *label; /* the words people are told to look for */
	const char *what;
	const char *flame; /* NULL = cannot be drawn */
	bool has_seconds;
} captures[] = {
	{ "/debug/pprof/profile", "Capture 30s CPU profile",
	  "Something is slow or busy: what the time is spent on.",
	  "/debug/flame?profile=profile&seconds=5", true },
	{ "/debug/pprof/heap", "Heap snapshot", "Memory grows: who asked for what is in use now.",
	  "/debug/flame?profile=heap", false },
	{ "/debug/pprof/goroutine", "Goroutine dump",
	  "Something hangs: what every thread and operation is doing, and waiting for.", NULL,
	  false },
	{ "/debug/bundle", "Collect everything",
	  "You were asked for it, or do not know where to look: one zip with profiles, traces, "
	  "log, settings and system facts. Names of objects and peers are replaced by codes.",
	  NULL, true },
};

static bool has_route(const struct http_server *s, const char *path)
{
	unsigned allowed;

	return router_find(&s->router, path, HTTP_GET_, &allowed) != NULL;
}

static void write_capture(struct buf *out, const struct capture *c)
{
	buf_printf(out,
		   "<form class=\"capture\" action=\"%s\">\n<div><input type=\"hidden\" "
		   "name=\"download\" value=\"1\"/><button>%s</button>",
		   c->path, c->label);
	if (c->has_seconds)
		buf_write_str(out, " <label>over <input type=\"number\" name=\"seconds\" "
				   "min=\"1\" max=\"600\" value=\"30\" list=\"windows\"/> "
				   "s</label>");
	buf_write_str(out, "</div>\n<p>");
	page_write_text(out, c->what);
	if (c->flame != NULL) {
		buf_write_str(out, " <a href=\"");
		page_write_text(out, c->flame);
		buf_write_str(out, "\">Look at it here</a>");
	}
	buf_write_str(out, "</p>\n</form>\n");
}

static void write_captures(struct buf *out, const struct http_server *s)
{
	buf_write_str(out, "<h2>Save something to look at, or to send</h2>\n<div "
			   "class=\"captures\">\n<datalist id=\"windows\"><option value=\"5\"/>"
			   "<option value=\"30\"/><option value=\"60\"/></datalist>\n");
	for (size_t i = 0; i < ARRAY_SIZE(captures); i++)
		if (has_route(s, captures[i].path))
			write_capture(out, &captures[i]);
	buf_write_str(out, "</div>\n<p class=\"hint\">Profiles: ");
	buf_write_str(out, privacy);
	buf_write_str(out, ". What you save is on your disk only; the daemon keeps nothing of "
			   "it.</p>\n");
}

/* ---- For a terminal ---- */

static const struct command {
	const char *before, *path, *after, *what;
} commands[] = {
	{ "curl -fOJ '", "/debug/bundle", "'", "everything, as one zip" },
	{ "curl -fOJ '", "/debug/pprof/profile?seconds=30&download=1", "'", "a CPU profile" },
	{ "go tool pprof -http=:8080 '", "/debug/pprof/profile?seconds=30", "'",
	  "the same, opened at once; ui/flamegraph is the page to start with" },
	{ "curl -s '", "/debug/pprof/goroutine?debug=2", "'", "what every thread is doing" },
	{ "curl -s '", "/debug/traces", "'", "what it did last, and how long it took" },
};

static void write_commands(struct buf *out, struct http_request *r, const struct http_server *s)
{
	/* The guard wants one, except on a socket. */
	const char *host = http_request_header(r, "host");

	host = host != NULL ? host : "localhost";
	buf_write_str(out, "<h2>From a terminal</h2>\n<pre class=\"commands\" tabindex=\"0\">");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		buf_write_str(out, "<i># ");
		page_write_text(out, commands[i].what);
		buf_write_str(out, "</i>\n");
		page_write_text(out, commands[i].before);
		buf_write_str(out, "http://");
		page_write_text(out, host);
		page_write_text(out, commands[i].path);
		page_write_text(out, commands[i].after);
		buf_write_u8(out, '\n');
	}
	buf_write_str(out, "<i># from another machine, first</i>\n");
	page_write_text(out, s->tunnel);
	buf_write_str(out, "</pre>\n");
}

/* ---- What else there is ---- */

static void write_pages(struct buf *out, const struct http_server *s)
{
	buf_write_str(out, "<h2>Pages</h2>\n<table class=\"pages\">\n<thead><tr><th "
			   "scope=\"col\">Page</th><th scope=\"col\">Use it when</th></tr></thead>"
			   "\n<tbody>\n");
	for (unsigned i = 0; i < s->router.count; i++) {
		const struct route *route = &s->router.routes[i];

		if (route->help == NULL || !(route->methods & HTTP_GET_))
			continue;
		buf_write_str(out, "<tr><td><a href=\"");
		buf_write_html(out, route->path, route->len);
		buf_write_str(out, "\">");
		buf_write_html(out, route->path, route->len);
		buf_write_str(out, "</a></td><td>");
		page_write_text(out, route->help);
		buf_write_str(out, "</td></tr>\n");
	}
	buf_write_str(out, "</tbody>\n</table>\n<p class=\"hint\">Every page is plain text for "
			   "curl, and JSON with <code>?json</code>.</p>\n");
}

static void write_html(struct http_request *r, struct http_front_look *look, struct buf *out)
{
	const struct http_server *s = r->conn->server;

	http_page_begin(r, out, "/debug/");
	buf_write_str(out, "<script src=\"/debug/assets/front.js\" defer=\"defer\"></script>\n"
			   "<h1>What is going on inside</h1>\n");
	write_health(out, look);
	write_findings(out, look);
	write_captures(out, s);
	write_pages(out, s);
	write_commands(out, r, s);
	http_page_end(r, out);
}

/* ---- For programs ---- */

static void write_member(struct buf *out, const char *before, const char *name, const char *value)
{
	buf_printf(out, "%s\"%s\":", before, name);
	buf_write_json_str(out, value, strlen(value));
}

static void write_json(const struct http_server *s, struct http_front_look *look, struct buf *out)
{
	bool first = true;

	write_member(out, "{\"v\":1,", "title", s->title);
	write_member(out, ",", "version", s->version);
	buf_write_str(out, ",\"health\":[");
	for (size_t i = 0; i < look->health_count; i++) {
		const struct http_health *h = &look->health[i];

		write_member(out, i > 0 ? ",{" : "{", "name", h->name);
		write_member(out, ",", "value", h->value);
		write_member(out, ",", "note", h->note);
		write_member(out, ",", "href", h->href);
		buf_printf(out, ",\"bad\":%s}", h->is_bad ? "true" : "false");
	}
	buf_write_str(out, "],\"doctor\":");
	if (look->findings.len > 0)
		buf_write(out, look->findings.data, look->findings.len);
	else
		buf_write_str(out, "null");
	buf_write_str(out, ",\"pages\":[");
	for (unsigned i = 0; i < s->router.count; i++) {
		const struct route *route = &s->router.routes[i];

		if (route->help == NULL)
			continue;
		buf_write_str(out, first ? "{\"path\":" : ",{\"path\":");
		buf_write_json_str(out, route->path, route->len);
		write_member(out, ",", "help", route->help);
		buf_write_str(out, "}");
		first = false;
	}
	buf_write_str(out, "]}\n");
}

static void write_text(const struct http_server *s, struct http_front_look *look, struct buf *out)
{
	buf_printf(out, "%s, version %s\n\n", s->title, s->version);
	for (size_t i = 0; i < look->health_count; i++) {
		const struct http_health *h = &look->health[i];

		buf_printf(out, "%c %-20s %-14s %s\n", h->is_bad ? '!' : ' ', h->name, h->value,
			   h->note);
	}
	if (look->findings.len > 0) {
		buf_write_str(out, "\n");
		buf_write(out, look->findings.data, look->findings.len);
		buf_write_str(out, "\n");
	}
	for (unsigned i = 0; i < s->router.count; i++) {
		const struct route *route = &s->router.routes[i];

		if (route->help != NULL)
			buf_printf(out, "%-24.*s %s\n", (int)route->len, route->path, route->help);
	}
}

/* ---- Requests ---- */

void http_front_ready(struct http_front_look *look)
{
	static const char *const types[] = { [HTTP_TEXT] = "text/plain; charset=utf-8",
					     [HTTP_JSON] = "application/json",
					     [HTTP_HTML] = "text/html; charset=utf-8" };
	struct http_request *r = look->request;
	enum http_format format = look->format;
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, INDEX_MAX);
	switch (format) {
	case HTTP_HTML: write_html(r, look, &out); break;
	case HTTP_JSON: write_json(r->conn->server, look, &out); break;
	case HTTP_TEXT: write_text(r->conn->server, look, &out); break;
	}
	buf_fini(&look->findings);
	mem_free(look);
	http_reply(r, 200, types[format], &out);
}

void http_front_set(struct http_server *s, http_front_fn fill, void *data)
{
	s->front = fill;
	s->front_data = data;
}

void front_serve(void *data, struct http_request *r)
{
	struct http_server *s = data;
	struct http_front_look *look = mem_alloc(sizeof(*look));

	if (look == NULL) {
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	look->request = r;
	look->format = http_request_format(r);
	buf_init(&look->findings, HTTP_FINDINGS_MAX);
	if (s->front != NULL)
		s->front(s->front_data, look);
	else
		http_front_ready(look);
}
