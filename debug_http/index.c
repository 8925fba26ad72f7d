#include <string.h>

#include "base/err.h"
#include "debug_http/page.h"
#include "debug_http/server.h"

/* The list of pages, the way to it, and the files the pages are made of. */

enum { INDEX_MAX = 256 << 10 };

static void write_html(struct http_request *r, const struct http_server *s, struct buf *out)
{
	http_page_begin(r, out, "/debug/");
	buf_write_str(out, "<h1>What is going on inside</h1>\n"
			   "<table class=\"pages\">\n<thead><tr><th scope=\"col\">Page</th><th "
			   "scope=\"col\">Use it when"
			   "</th></tr></thead>\n<tbody>\n");
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
	buf_write_str(out, "</tbody>\n</table>\n<p>Every page is plain text for curl, and JSON "
			   "with <code>?json</code>. "
			   "From another machine: <code>");
	page_write_text(out, s->tunnel);
	buf_write_str(out, "</code></p>\n");
	http_page_end(r, out);
}

static void write_json(const struct http_server *s, struct buf *out)
{
	bool first = true;

	buf_write_str(out, "{\"v\":1,\"title\":");
	buf_write_json_str(out, s->title, strlen(s->title));
	buf_write_str(out, ",\"version\":");
	buf_write_json_str(out, s->version, strlen(s->version));
	buf_write_str(out, ",\"pages\":[");
	for (unsigned i = 0; i < s->router.count; i++) {
		const struct route *route = &s->router.routes[i];

		if (route->help == NULL)
			continue;
		buf_write_str(out, first ? "{\"path\":" : ",{\"path\":");
		buf_write_json_str(out, route->path, route->len);
		buf_write_str(out, ",\"help\":");
		buf_write_json_str(out, route->help, strlen(route->help));
		buf_write_str(out, "}");
		first = false;
	}
	buf_write_str(out, "]}\n");
}

static void write_text(const struct http_server *s, struct buf *out)
{
	buf_printf(out, "%s, version %s\n\n", s->title, s->version);
	for (unsigned i = 0; i < s->router.count; i++) {
		const struct route *route = &s->router.routes[i];

		if (route->help != NULL)
			buf_printf(out, "%-32.*s %s\n", (int)route->len, route->path, route->help);
	}
}

static void on_index(void *data, struct http_request *r)
{
	const struct http_server *s = data;
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, INDEX_MAX);
	switch (http_request_format(r)) {
	case HTTP_HTML:
		write_html(r, s, &out);
		http_reply(r, 200, "text/html; charset=utf-8", &out);
		break;
	case HTTP_JSON:
		write_json(s, &out);
		http_reply(r, 200, "application/json", &out);
		break;
	case HTTP_TEXT:
		write_text(s, &out);
		http_reply(r, 200, "text/plain; charset=utf-8", &out);
		break;
	}
}

static void on_redirect(void *data, struct http_request *r)
{
	http_reply_header(r, "Location", "/debug/");
	http_reply(r, 302, NULL, NULL);
}

static void on_asset(void *data, struct http_request *r)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, INDEX_MAX);
	for (size_t i = 0; i < page_asset_count; i++) {
		const struct asset *asset = &page_assets[i];

		if (strcmp(asset->name, http_request_tail(r)) != 0)
			continue;
		buf_write(&out, asset->text, asset->len);
		http_reply(r, 200, asset->content_type, &out);
		return;
	}
	http_reply_error(r, 404, "There is no such file.");
}

int debug_http_index(struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/debug/", NULL, on_index, s);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug", NULL, on_redirect, s);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/", NULL, on_redirect, s);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/assets/*", NULL, on_asset, s);
	return rc;
}
