#include "debug_http/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "debug_http/server.h"

enum { REFRESH_MAX_S = 3600 };

void page_write_text(struct buf *out, const char *s)
{
	buf_write_html(out, s, strlen(s));
}

void page_write_foreign(struct buf *out, const char *s, size_t len)
{
	buf_write_html(out, s, len);
}

void page_write_query(struct buf *out, const char *s, size_t len)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	for (size_t i = 0; i < len; i++) {
		if (s[i] != '\0' && strchr(plain, s[i]) != NULL)
			buf_write_u8(out, (uint8_t)s[i]);
		else
			buf_printf(out, "%%%02X", (uint8_t)s[i]);
	}
}

/* Three significant digits of value/unit. */
static void write_scaled(struct buf *out, uint64_t value, uint64_t unit, const char *name)
{
	double v = (double)value / (double)unit;

	buf_printf(out, v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s", v, name);
}

void page_write_duration(struct buf *out, uint64_t ns)
{
	uint64_t s = (ns + NS_PER_SEC / 2) / NS_PER_SEC;

	if (ns < 1000)
		buf_printf(out, "%u ns", (unsigned)ns);
	else if (ns < 999500)
		write_scaled(out, ns, 1000, "µs");
	else if (ns < 999500000)
		write_scaled(out, ns, NS_PER_MS, "ms");
	else if (ns < 99950000000)
		write_scaled(out, ns, NS_PER_SEC, "s");
	else if (s < 3600 && s % 60 == 0)
		buf_printf(out, "%u min", (unsigned)(s / 60));
	else if (s < 3600)
		buf_printf(out, "%u min %u s", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		buf_printf(out, "%u h %u min", (unsigned)(s / 3600), (unsigned)(s % 3600 / 60));
	else
		buf_printf(out, "%llu d %u h", (unsigned long long)(s / 86400),
			   (unsigned)(s % 86400 / 3600));
}

void page_write_bytes(struct buf *out, uint64_t bytes)
{
	if (bytes < 1024)
		buf_printf(out, "%u B", (unsigned)bytes);
	else if (bytes < 1023 << 10)
		write_scaled(out, bytes, 1 << 10, "KiB");
	else if (bytes < 1023 << 20)
		write_scaled(out, bytes, 1 << 20, "MiB");
	else
		write_scaled(out, bytes, 1 << 30, "GiB");
}

void page_write_utc(struct buf *out, uint64_t wall_ns)
{
	time_t t = (time_t)(wall_ns / NS_PER_SEC);
	char text[32];
	struct tm tm;

	if (gmtime_r(&t, &tm) != NULL &&
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		buf_write_str(out, text);
}

void page_write_hex(struct buf *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf_printf(out, "%02x", bytes[i]);
}

/* ---- The frame ---- */

/* "/debug/traces" and "/debug/pprof/" are in the navigation, what is deeper only on the list of
 * pages. */
static const char *nav_name(const struct route *route, size_t *ret_len)
{
	const char *name = route->path + strlen("/debug/");
	size_t len;

	if (route->help == NULL || route->is_prefix || !(route->methods & HTTP_GET_) ||
	    strncmp(route->path, "/debug/", 7) != 0)
		return NULL;
	len = strcspn(name, "/");
	if (len == 0 || (name[len] == '/' && name[len + 1] != '\0'))
		return NULL;
	*ret_len = len;
	return name;
}

void page_write_nav(const struct http_request *r, struct buf *out)
{
	const struct http_server *s = r->conn->server;
	const char *path = http_request_path(r);

	buf_write_str(
		out,
		"<a class=\"skip\" href=\"#main\">Skip to the content</a>\n<header class=\"top\">\n"
		"<a class=\"brand\" href=\"/debug/\">");
	page_write_text(out, s->title);
	buf_write_str(out, "</a>\n<nav aria-label=\"Pages\">\n");
	for (unsigned i = 0; i < s->router.count; i++) {
		const struct route *route = &s->router.routes[i];
		size_t len;
		const char *name = nav_name(route, &len);

		if (name == NULL)
			continue;
		buf_write_str(out, "<a href=\"");
		page_write_text(out, route->path);
		buf_write_str(out, strncmp(path, route->path, 7 + len) == 0 ?
					   "\" aria-current=\"page\">" :
					   "\">");
		buf_write_html(out, name, len);
		buf_write_str(out, "</a>\n");
	}
	buf_write_str(out, "</nav>\n</header>\n");
}

static void write_refresh(const struct http_request *r, struct buf *out)
{
	const char *refresh = http_request_param(r, "refresh");
	long s = refresh != NULL ? strtol(refresh, NULL, 10) : 0;

	if (s >= 1 && s <= REFRESH_MAX_S)
		buf_printf(out, "<meta http-equiv=\"refresh\" content=\"%ld\"/>\n", s);
}

void http_page_begin(struct http_request *r, struct buf *out, const char *title)
{
	buf_write_str(out,
		      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
		      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
		      "<meta name=\"color-scheme\" content=\"light dark\"/>\n");
	write_refresh(r, out);
	buf_write_str(out, "<title>");
	page_write_text(out, title);
	buf_write_str(out, " - ");
	page_write_text(out, r->conn->server->title);
	buf_write_str(out, "</title>\n<link rel=\"icon\" href=\"data:,\"/>\n"
			   "<link rel=\"stylesheet\" href=\"/debug/assets/page.css\"/>\n"
			   "<script src=\"/debug/assets/page.js\" "
			   "defer=\"defer\"></script>\n</head>\n<body>\n");
	page_write_nav(r, out);
	buf_write_str(out, "<main id=\"main\">\n");
}

static void write_when(const struct http_request *r, struct buf *out)
{
	const struct clock *clock = r->conn->server->loop->runner.clock;
	uint64_t wall_ns = clock_wall_ns(clock);
	time_t now = (time_t)(wall_ns / NS_PER_SEC);
	char local[40];
	struct tm tm;

	page_write_utc(out, wall_ns);
	if (localtime_r(&now, &tm) != NULL &&
	    strftime(local, sizeof(local), "%H:%M:%S %z", &tm) > 0)
		buf_printf(out, " (here %s)", local);
}

void http_page_end(struct http_request *r, struct buf *out)
{
	const struct http_server *s = r->conn->server;
	const struct clock *clock = s->loop->runner.clock;

	buf_write_str(out, "</main>\n<footer>");
	page_write_text(out, s->title);
	buf_write_str(out, " · version ");
	page_write_text(out, s->version);
	buf_write_str(out, " · debug pages up ");
	page_write_duration(out, clock_now_ns(clock) - s->started_ns);
	buf_write_str(out, " · ");
	write_when(r, out);
	buf_write_str(out, "</footer>\n</body>\n</html>\n");
}

void http_page_write_duration(struct buf *out, uint64_t ns)
{
	page_write_duration(out, ns);
}

void http_page_write_bytes(struct buf *out, uint64_t bytes)
{
	page_write_bytes(out, bytes);
}

/* ---- The frame of a file ---- */

static const struct asset *find_asset(const char *name)
{
	size_t i = 0;

	while (i < page_asset_count && strcmp(page_assets[i].name, name) != 0)
		i++;
	REQUIRE(i < page_asset_count);
	return &page_assets[i];
}

/* Opened from a disk, no header protects the page: it brings its own policy, which allows this very
 * style and this very script and nothing from anywhere. */
void page_begin_file(struct http_request *r, struct buf *out, const char *title)
{
	const struct asset *style = find_asset("page.css"), *script = find_asset("page.js");

	buf_write_str(out,
		      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
		      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
		      "base-uri 'none'; form-action 'none'; style-src 'sha256-");
	buf_write_str(out, style->sha256);
	buf_write_str(out, "'; script-src 'sha256-");
	buf_write_str(out, script->sha256);
	buf_write_str(out,
		      "'\"/>\n"
		      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
		      "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>");
	page_write_text(out, title);
	buf_write_str(out, " - ");
	page_write_text(out, r->conn->server->title);
	buf_write_str(out, "</title>\n<style>");
	buf_write(out, style->text, style->len);
	buf_write_str(out, "</style>\n</head>\n<body>\n<main id=\"main\">\n");
}

void page_end_file(struct http_request *r, struct buf *out)
{
	const struct asset *script = find_asset("page.js");

	buf_write_str(out, "</main>\n<footer>Kept from ");
	page_write_text(out, r->conn->server->title);
	buf_write_str(out, " · version ");
	page_write_text(out, r->conn->server->version);
	buf_write_str(out, " · ");
	write_when(r, out);
	buf_write_str(out, "</footer>\n<script>");
	buf_write(out, script->text, script->len);
	buf_write_str(out, "</script>\n</body>\n</html>\n");
}
