/* What may be sent, and where to. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/multiformats.h"
#include "daemon/post.h"

static int refuse(char *ret_why, size_t why_size, const char *why)
{
	if (why_size > 0)
		(void)snprintf(ret_why, why_size, "%s", why);
	return ERR_MALFORMED;
}

static bool url_has(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return has;
}

static int check_parts(CURLU *u, char *ret_why, size_t why_size)
{
	char *scheme = NULL;
	bool http;

	if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return refuse(ret_why, why_size, "it is not a URL");
	http = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0;
	curl_free(scheme);
	if (!http)
		return refuse(ret_why, why_size, "it must begin with http:// or https://");
	if (url_has(u, CURLUPART_USER) || url_has(u, CURLUPART_PASSWORD))
		return refuse(ret_why, why_size,
			      "a user or password in it would show in lists of processes");
	if (url_has(u, CURLUPART_FRAGMENT))
		return refuse(ret_why, why_size, "it must not have a #fragment");
	return 0;
}

int post_url_check(const char *url, char *ret_why, size_t why_size)
{
	CURLU *u;
	int rc;

	if (strnlen(url, POST_URL_MAX + 1) > POST_URL_MAX)
		return refuse(ret_why, why_size, "it is too long");
	for (const char *p = url; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return refuse(ret_why, why_size, "it has a character that no URL has");
	u = curl_url();
	if (u == NULL)
		return UV_ENOMEM;
	/* Without a scheme curl would guess one. */
	if (strstr(url, "://") == NULL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
		rc = refuse(ret_why, why_size, "it is not a URL like https://host:4318");
	else
		rc = check_parts(u, ret_why, why_size);
	curl_url_cleanup(u);
	return rc;
}

static bool is_loopback(const char *host)
{
	size_t len = strlen(host), name = strlen("localhost");
	struct multiaddr addr;
	char text[96];
	int n;

	/* RFC 6761, 6.3 */
	if (len >= name && strcasecmp(host + len - name, "localhost") == 0)
		return len == name || host[len - name - 1] == '.';
	if (host[0] == '[')
		n = snprintf(text, sizeof(text), "/ip6/%.*s/tcp/1", (int)strcspn(host + 1, "]"),
			     host + 1);
	else
		n = snprintf(text, sizeof(text), "/ip4/%s/tcp/1", host);
	return n > 0 && (size_t)n < sizeof(text) && multiaddr_parse(text, (size_t)n, &addr) == 0 &&
	       multiaddr_is_loopback(&addr);
}

bool post_url_is_loopback(const char *url)
{
	CURLU *u = curl_url();
	char *host = NULL;
	bool is_here = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		       curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && is_loopback(host);

	curl_free(host);
	curl_url_cleanup(u);
	return is_here;
}

/* RFC 9110 section 5.6.2. */
static bool is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool post_header_ok(const char *line, size_t len)
{
	static const char *const own[] = {
		"host",	   "content-length",  "content-type", "transfer-encoding",
		"expect",  "connection",      "upgrade",      "te",
		"trailer", "accept-encoding", "traceparent"
	};
	size_t name = 0, value;

	while (name < len && is_token(line[name]))
		name++;
	if (name == 0 || name == len || len > POST_HEADER_MAX || line[name] != ':')
		return false;
	for (value = name + 1; value < len && (line[value] == ' ' || line[value] == '\t');)
		value++;
	/* curl takes a line without a value as a wish to leave that header out. */
	if (value == len)
		return false;
	for (size_t i = name + 1; i < len; i++)
		if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strlen(own[i]) == name && strncasecmp(own[i], line, name) == 0)
			return false;
	return true;
}
