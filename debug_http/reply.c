#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "debug_http/page.h"
#include "debug_http/server.h"

/* Replies have a Content-Length when they come as a whole and are chunked when they come in pieces;
 * an HTTP/1.0 client gets its pieces bare and the end of the connection as their end. Nothing is
 * cached, framed, sniffed or shared with another origin, whatever the handler says (rule R10); a
 * handler cannot add Access-Control-* (R9). */

enum { HEAD_MAX = 8 << 10, ERROR_TEXT_MAX = 2048, ERROR_PAGE_MAX = 64 << 10 };

/* With "no-referrer" browsers would send "Origin: null" with our own forms, which the guard
 * refuses; "same-origin" tells other sites as little. */
static const char fixed_headers[] =
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src "
	"'self' data:; "
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
	"X-Frame-Options: DENY\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"Referrer-Policy: same-origin\r\n"
	"Cross-Origin-Resource-Policy: same-origin\r\n"
	"Cross-Origin-Opener-Policy: same-origin\r\n"
	"Cache-Control: no-store\r\n";

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 422, "Unprocessable Content" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Status";
}

static bool is_token(const char *s)
{
	return *s != '\0' &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")] ==
		       '\0';
}

static bool is_field_value(const char *s)
{
	for (; *s != '\0'; s++)
		if ((uint8_t)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

void http_reply_header(struct http_request *r, const char *name, const char *value)
{
	if (!CHECK(!r->begun) || !is_token(name) || !is_field_value(value) ||
	    strncasecmp(name, "access-control-", 15) == 0)
		return;
	buf_printf(&r->reply_headers, "%s: %s\r\n", name, value);
}

/* ---- The head ---- */

static void write_date(struct buf *out, const struct clock *clock)
{
	time_t now = (time_t)(clock_wall_ns(clock) / NS_PER_SEC);
	char text[64];
	struct tm tm;

	if (gmtime_r(&now, &tm) != NULL &&
	    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
		buf_printf(out, "Date: %s\r\n", text);
}

/* length UINT64_MAX: it comes in pieces. False: out of memory, the connection is dropped. */
static bool write_head(struct http_request *r, int status, const char *content_type,
		       uint64_t length, struct buf *out)
{
	struct conn *c = r->conn;

	r->begun = true;
	r->status = status;
	r->no_body = request_is_head(r) || status == 204 || status == 304;
	r->chunked = length == UINT64_MAX && r->parser.http_minor >= 1;
	if (length == UINT64_MAX && !r->chunked)
		c->keep_alive = false;
	if (!request_keeps_alive(r) || c->server->closing)
		c->keep_alive = false;
	buf_printf(out, "HTTP/1.1 %d %s\r\n", status, reason(status));
	write_date(out, c->server->loop->runner.clock);
	if (content_type != NULL && status != 204 && status != 304)
		buf_printf(out, "Content-Type: %s\r\n", content_type);
	if (r->chunked)
		buf_write_str(out, "Transfer-Encoding: chunked\r\n");
	else if (length != UINT64_MAX && status != 204 && status != 304)
		buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)length);
	buf_write(out, r->reply_headers.data, r->reply_headers.len);
	buf_write_str(out, fixed_headers);
	if (!c->keep_alive)
		buf_write_str(out, "Connection: close\r\n");
	else if (r->parser.http_minor == 0)
		buf_write_str(out, "Connection: keep-alive\r\n");
	buf_write_str(out, "\r\n");
	if (buf_err(out) == 0 && buf_err(&r->reply_headers) == 0)
		return true;
	conn_drop(c);
	return false;
}

static const char *outcome(const struct http_request *r)
{
	if (r->gone)
		return "client gone";
	if (r->status >= 500)
		return "server error";
	return r->status >= 400 ? "client error" : "ok";
}

/* r is no longer valid afterwards. */
static void end(struct http_request *r)
{
	trace_attr_int(r->span, "status", r->status);
	trace_finish(r->span, r->gone ? UV_ECANCELED : 0, outcome(r));
	r->open = false;
	r->drain_wanted = false;
	conn_reply_ended(r->conn);
}

void http_reply(struct http_request *r, int status, const char *content_type, struct buf *body)
{
	CLEANUP(buf_fini) struct buf head = { 0 };
	uint8_t *data = NULL;
	size_t len = 0;

	REQUIRE(r->open && !r->begun);
	buf_init(&head, HEAD_MAX);
	if (body != NULL && buf_err(body) != 0) {
		bool too_long = buf_err(body) == ERR_LIMIT;

		buf_fini(body);
		http_reply_error(r, too_long ? 500 : 503, "%s",
				 too_long ? "The answer is too long; ask for less." :
					    "The daemon is out of memory.");
		return;
	}
	if (body != NULL) {
		data = buf_take(body, &len);
		buf_fini(body);
	}
	if (write_head(r, status, content_type, len, &head)) {
		if (r->no_body) {
			data = mem_free(data);
			len = 0;
		}
		trace_stage(r->span, "write");
		trace_add(r->span, 1, len);
		conn_send(r->conn, head.data, head.len, data, len, "");
	} else {
		mem_free(data);
	}
	end(r);
}

/* ---- Pieces ---- */

void http_reply_begin(struct http_request *r, int status, const char *content_type)
{
	CLEANUP(buf_fini) struct buf head = { 0 };

	REQUIRE(r->open && !r->begun);
	buf_init(&head, HEAD_MAX);
	if (write_head(r, status, content_type, UINT64_MAX, &head))
		conn_send(r->conn, head.data, head.len, NULL, 0, "");
}

void reply_flush(struct http_request *r)
{
	struct conn *c = r->conn;
	char size[24];
	uint8_t *data;
	size_t len;

	if (c->piece.len == 0)
		return;
	data = buf_take(&c->piece, &len);
	(void)snprintf(size, sizeof(size), "%zx\r\n", len);
	conn_send(c, size, r->chunked ? strlen(size) : 0, data, len, r->chunked ? "\r\n" : "");
}

bool http_reply_write(struct http_request *r, const void *data, size_t len)
{
	struct conn *c = r->conn;

	REQUIRE(r->open && r->begun);
	if (r->gone || r->no_body || len == 0)
		return false;
	trace_add(r->span, 0, len);
	buf_write(&c->piece, data, len);
	if (buf_err(&c->piece) != 0) {
		conn_drop(c);
		return false;
	}
	if (c->piece.len >= HTTP_PIECE_MAX)
		reply_flush(r);
	else
		conn_wake(c);
	r->drain_wanted = !r->gone && conn_queued(c) > HTTP_WRITE_HIGH;
	return r->drain_wanted;
}

void http_reply_end(struct http_request *r)
{
	REQUIRE(r->open && r->begun);
	if (!r->gone) {
		trace_stage(r->span, "write");
		reply_flush(r);
	}
	if (!r->gone && r->chunked && !r->no_body)
		conn_send(r->conn, "0\r\n\r\n", 5, NULL, 0, "");
	end(r);
}

void http_reply_abort(struct http_request *r)
{
	REQUIRE(r->open);
	conn_drop(r->conn);
	end(r);
}

void http_request_on_drain(struct http_request *r,
			   void (*on_drain)(void *data, struct http_request *r), void *data)
{
	r->on_drain = on_drain;
	r->on_drain_data = data;
}

void http_request_on_close(struct http_request *r,
			   void (*on_close)(void *data, struct http_request *r), void *data)
{
	r->on_close = on_close;
	r->on_close_data = data;
	if (r->gone || r->conn->eof || r->conn->server->closing)
		conn_wake(r->conn);
}

bool http_request_gone(const struct http_request *r)
{
	return r->gone || r->conn->eof;
}

/* ---- Errors ---- */

static void write_error_html(struct http_request *r, int status, const char *text, struct buf *out)
{
	char title[64];

	(void)snprintf(title, sizeof(title), "%d %s", status, reason(status));
	http_page_begin(r, out, title);
	buf_write_str(out, "<h1>");
	buf_write_html(out, title, strlen(title));
	buf_write_str(out, "</h1>\n<div class=\"error\" role=\"alert\">\n");
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		buf_write_str(out, "<p>");
		buf_write_html(out, text, len);
		buf_write_str(out, "</p>\n");
		text += len;
		text += *text == '\n';
	}
	buf_write_str(out, "</div>\n");
	http_page_end(r, out);
}

static void reply_text(struct http_request *r, int status, const char *text)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	const char *type = "text/plain; charset=utf-8";

	buf_init(&out, ERROR_PAGE_MAX);
	switch (http_request_format(r)) {
	case HTTP_JSON:
		type = "application/json";
		buf_write_str(&out, "{\"error\":");
		buf_write_json_str(&out, text, strlen(text));
		buf_write_str(&out, "}\n");
		break;
	case HTTP_HTML:
		type = "text/html; charset=utf-8";
		write_error_html(r, status, text, &out);
		break;
	case HTTP_TEXT: buf_printf(&out, "%s\n", text); break;
	}
	if (buf_err(&out) != 0) {
		buf_clear(&out);
		type = NULL;
	}
	http_reply(r, status, type, &out);
}

void http_reply_error(struct http_request *r, int status, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	REQUIRE(r->open);
	if (r->begun) {
		http_reply_abort(r);
		return;
	}
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	reply_text(r, status, text);
}

void reply_refuse(struct http_request *r, int status, const char *why)
{
	struct http_server *s = r->conn->server;
	bool is_guard = status == 403 || status == 405;

	if (status == 413 || status == 431)
		s->stats.refused_limit++;
	else if (status == 400 || status == 408 || status == 505)
		s->stats.bad_requests++;
	if (!r->open)
		s->stats.requests++;
	r->open = true;
	r->conn->keep_alive = false;
	if (status == 403 && is_guard)
		http_reply_error(r, status,
				 "%s\nThe debug pages have no password and are for programs and "
				 "people on this "
				 "machine only, under the names localhost, 127.0.0.1 and [::1].\n"
				 "From another machine, open a tunnel and browse through it: %s",
				 why, s->tunnel);
	else
		http_reply_error(r, status, "%s", why);
}
