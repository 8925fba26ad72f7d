#include "debug_http/guard.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"

/* The debug pages have no password: whoever reaches the port may read. What must be kept out is
 * other people's code that runs on this machine, above all web pages in the user's own browser. One
 * function looks at every request, whatever its path, before it is routed:
 *
 *   R1  we listen on loopback or a unix socket only (server.c refuses other addresses)
 *   R2  the client's address is loopback
 *   R3  exactly one Host, and it names this machine: localhost, *.localhost, 127/8, ::1; an
 *       absolute target agrees with it. This is what stops DNS rebinding. The port is ignored, so
 *       that `ssh -L` to another port works
 *   R4  Origin, if there is one, is http:// + Host: against cross-site fetches and forms
 *   R5  Sec-Fetch-Site, if there is one, is same-origin or none: the same, where browsers send it
 *   R6  Referer, if it is all there is of R4 to R6, has the same host: against <img> and links
 *   R7  only GET, HEAD and POST, and a browser's POST carries an Origin (the router answers 405 to
 *       a GET on a path that changes something)
 *   R8  no header of a proxy: one on this machine would make us public
 *   R9  never an Access-Control-* header (reply.c drops them)
 *   R10 to R13 concern replies and limits: reply.c, server.c
 *
 * Header values are compared as a whole and without regard to case. A header that comes twice must
 * pass twice. */

enum { HOST_MAX = 255 };

static bool header_is(const struct http_request *r, unsigned i, const char *name)
{
	return strcmp(request_text(r, r->headers[i].name), name) == 0;
}

static const char *header_value(const struct http_request *r, unsigned i)
{
	return request_text(r, r->headers[i].value);
}

/* ---- Host ---- */

/* Splits "name[:port]" or "[v6][:port]"; yields the length of the name, brackets included. False
 * when malformed. */
static bool split_host(const char *host, size_t *ret_name_len)
{
	size_t len = strlen(host), name_len, port_len;

	if (len == 0 || len > HOST_MAX)
		return false;
	if (host[0] == '[') {
		const char *end = strchr(host, ']');

		if (end == NULL)
			return false;
		name_len = (size_t)(end - host) + 1;
	} else {
		name_len = strcspn(host, ":");
	}
	if (name_len == 0)
		return false;
	*ret_name_len = name_len;
	if (name_len == len)
		return true;
	port_len = len - name_len - 1;
	return host[name_len] == ':' && port_len <= 5 &&
	       strspn(host + name_len + 1, "0123456789") == port_len;
}

static bool is_name(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.",
			   s[i]) == NULL)
			return false;
	return true;
}

static bool is_local_name(const char *name, size_t len)
{
	static const char suffix[] = ".localhost";
	size_t n = sizeof(suffix) - 1;

	if (len > 1 && name[len - 1] == '.')
		len--;
	if (len == n - 1)
		return strncasecmp(name, suffix + 1, len) == 0;
	return len > n && strncasecmp(name + len - n, suffix, n) == 0;
}

static bool is_local_address(const char *name, size_t len)
{
	static const uint8_t v6_loopback[16] = { [15] = 1 };
	static const uint8_t v4_mapped[13] = { [10] = 0xff, 0xff, 127 };
	char text[64];
	uint8_t ip[16];

	if (len >= sizeof(text))
		return false;
	memcpy(text, name, len);
	text[len] = '\0';
	if (text[0] != '[')
		return uv_inet_pton(AF_INET, text, ip) == 0 && ip[0] == 127;
	text[len - 1] = '\0';
	return strchr(text, '%') == NULL && uv_inet_pton(AF_INET6, text + 1, ip) == 0 &&
	       (memcmp(ip, v6_loopback, sizeof(ip)) == 0 ||
		memcmp(ip, v4_mapped, sizeof(v4_mapped)) == 0);
}

static bool refuse(struct guard_refusal *ret, int status, const char *what)
{
	*ret = (struct guard_refusal){ status, what };
	return false;
}

/* The one Host header; NULL when there is none or more than one. */
static const char *only_host(const struct http_request *r, unsigned *ret_count)
{
	const char *host = NULL;

	*ret_count = 0;
	for (unsigned i = 0; i < r->header_count; i++) {
		if (header_is(r, i, "host")) {
			host = header_value(r, i);
			++*ret_count;
		}
	}
	return *ret_count == 1 ? host : NULL;
}

static bool target_agrees(const struct http_request *r, const char *host)
{
	const char *target = request_text(r, r->target);
	size_t len;

	if (target[0] == '/')
		return true;
	if (strncasecmp(target, "http://", 7) != 0)
		return false;
	len = strcspn(target + 7, "/?#");
	return host != NULL && strlen(host) == len && strncasecmp(target + 7, host, len) == 0;
}

static bool host_is_well_formed(const struct http_request *r, const char *host, unsigned count,
				struct guard_refusal *ret)
{
	size_t name_len;

	if (count > 1)
		return refuse(ret, 400, "The request has more than one Host header.");
	if (count == 0 && r->parser.http_minor >= 1)
		return refuse(ret, 400, "The request has no Host header, which HTTP/1.1 requires.");
	if (count == 1 &&
	    (!split_host(host, &name_len) || (host[0] != '[' && !is_name(host, name_len))))
		return refuse(ret, 400, "The Host header is malformed.");
	if (!target_agrees(r, host))
		return refuse(ret, 400,
			      "The request target is neither a path nor a URL that agrees with the "
			      "Host header.");
	return true;
}

static bool host_is_local(const char *host)
{
	size_t len = 0;

	return split_host(host, &len) && (is_local_name(host, len) || is_local_address(host, len));
}

/* ---- Browsers and proxies ---- */

/* The part of a URL "http://authority/…" that is compared with Host. */
static bool has_origin_of(const char *url, const char *host, bool whole)
{
	size_t len = strlen(host);

	if (strncasecmp(url, "http://", 7) != 0 || strncasecmp(url + 7, host, len) != 0)
		return false;
	return url[7 + len] == '\0' || (!whole && strchr("/?", url[7 + len]) != NULL);
}

static bool is_proxy_header(const char *name)
{
	static const char *const names[] = { "forwarded", "via", "x-real-ip" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strncmp(name, "x-forwarded-", 12) == 0;
}

static bool is_browser(const char *agent)
{
	return agent != NULL &&
	       (strncasecmp(agent, "mozilla/", 8) == 0 || strncasecmp(agent, "opera/", 6) == 0);
}

static bool headers_are_ours(const struct http_request *r, const char *host,
			     struct guard_refusal *ret)
{
	bool has_origin = false, has_site = false;

	for (unsigned i = 0; i < r->header_count; i++) {
		const char *value = header_value(r, i);

		if (is_proxy_header(request_text(r, r->headers[i].name)))
			return refuse(ret, 403,
				      "The request came through a proxy, and the debug surface is "
				      "not for proxies.");
		if (header_is(r, i, "origin")) {
			has_origin = true;
			if (!has_origin_of(value, host, true))
				return refuse(ret, 403,
					      "The Origin header names another site: a web page "
					      "tried to reach the daemon.");
		}
		if (header_is(r, i, "sec-fetch-site")) {
			has_site = true;
			if (strcasecmp(value, "same-origin") != 0 && strcasecmp(value, "none") != 0)
				return refuse(ret, 403,
					      "The Sec-Fetch-Site header says that another site "
					      "started this request.");
		}
	}
	for (unsigned i = 0; i < r->header_count && !has_origin && !has_site; i++)
		if (header_is(r, i, "referer") && !has_origin_of(header_value(r, i), host, false))
			return refuse(ret, 403, "The Referer header names another site.");
	if (http_request_method(r) == HTTP_POST_ && !has_origin &&
	    is_browser(http_request_header(r, "user-agent")))
		return refuse(ret, 403,
			      "A browser's POST without an Origin header is not accepted.");
	return true;
}

bool guard_allows(const struct http_request *r, struct guard_refusal *ret)
{
	unsigned host_count;
	const char *host = only_host(r, &host_count);
	enum http_method method = http_request_method(r);

	if (method == 0)
		return refuse(ret, 405, "This method is not used here.");
	if (r->surface == HTTP_CONTROL)
		return request_text(r, r->target)[0] == '/' ||
		       refuse(ret, 400, "The request target is not a path.");
	if (method != HTTP_GET_ && method != HTTP_POST_)
		return refuse(ret, 405, "The debug surface is read by GET and changed by POST.");
	if (!r->peer_is_local)
		return refuse(ret, 403, "The client is not on this machine.");
	if (!host_is_well_formed(r, host, host_count, ret))
		return false;
	if (host != NULL && !host_is_local(host))
		return refuse(ret, 403,
			      "The Host header does not name this machine (localhost, 127.0.0.1 or "
			      "[::1]).");
	return headers_are_ours(r, host != NULL ? host : "", ret);
}
