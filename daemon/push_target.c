/* What can go wrong: a string that curl would guess a scheme for, or take a name of the local
 * network out of. So a scheme and a host are demanded, and the URL is put together again from the
 * parts that are meant. */
#include "daemon/push_target.h"

#include <ctype.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum {
	TOKEN_MAX = 2048,
	BASE_MAX = 480 /* of a URL, without names */
};
_Static_assert(BASE_MAX + 2 * 3 * PUSH_NAME_MAX < PUSH_URL_MAX, "names fit, encoded");

const char *push_format_name(enum push_format f)
{
	static const char *const names[PUSH_FORMATS] = { "traceway", "pyroscope",
							 "pyroscope-push" };

	return names[f];
}

enum push_format push_format_of(const char *name)
{
	for (int f = 0; f < PUSH_FORMATS; f++)
		if (strcmp(name, push_format_name((enum push_format)f)) == 0)
			return (enum push_format)f;
	return PUSH_TRACEWAY;
}

/* ---- Connection strings ---- */

static int refuse(char *ret_why, size_t why_size, const char *why)
{
	if (why_size > 0)
		(void)snprintf(ret_why, why_size, "%s; expected TOKEN@https://HOST/api/report",
			       why);
	return ERR_MALFORMED;
}

/* In fresh memory of ours; NULL when there is no such part. */
static int take_part(CURLU *u, CURLUPart part, char **ret)
{
	char *text = NULL;
	CURLUcode rc = curl_url_get(u, part, &text, 0);

	*ret = NULL;
	if (rc == CURLUE_OK)
		*ret = mem_strdup(text);
	curl_free(text);
	return rc == CURLUE_OUT_OF_MEMORY || (rc == CURLUE_OK && *ret == NULL) ? UV_ENOMEM : 0;
}

static int drop_parts(CURLU *u)
{
	static const CURLUPart parts[] = { CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS,
					   CURLUPART_QUERY, CURLUPART_FRAGMENT };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (curl_url_set(u, parts[i], NULL, 0) != CURLUE_OK)
			return UV_ENOMEM;
	return 0;
}

static int read_parts(CURLU *u, struct push_connection *ret)
{
	int rc = drop_parts(u);
	size_t len;

	if (rc == 0)
		rc = take_part(u, CURLUPART_PATH, &ret->path);
	if (rc == 0 && curl_url_set(u, CURLUPART_PATH, NULL, 0) != CURLUE_OK)
		rc = UV_ENOMEM;
	if (rc == 0)
		rc = take_part(u, CURLUPART_URL, &ret->origin);
	if (rc < 0 || ret->origin == NULL || ret->path == NULL)
		return rc < 0 ? rc : UV_ENOMEM;
	len = strlen(ret->origin);
	if (len > 0 && ret->origin[len - 1] == '/')
		ret->origin[len - 1] = '\0';
	for (len = strlen(ret->path); len > 0 && ret->path[len - 1] == '/';)
		ret->path[--len] = '\0';
	return 0;
}

static bool is_plain(const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return false;
	return true;
}

/* An encoded host is decoded by curl, and may be any bytes then. */
static int read_checked_parts(CURLU *u, struct push_connection *ret, char *ret_why, size_t why_size)
{
	int rc = read_parts(u, ret);

	if (rc == 0 && (!is_plain(ret->origin) || strchr(ret->origin, '%') != NULL))
		rc = refuse(ret_why, why_size, "the host of its URL is encoded");
	else if (rc == 0 && strlen(ret->origin) + strlen(ret->path) > BASE_MAX)
		rc = refuse(ret_why, why_size, "its URL is too long");
	return rc;
}

static int read_url(const char *url, struct push_connection *ret, char *ret_why, size_t why_size)
{
	CURLUcode code;
	CURLU *u;
	int rc;

	if (!is_plain(url))
		return refuse(ret_why, why_size, "its URL has a character that no URL has");
	if (strncmp(url, "http://", strlen("http://")) != 0 &&
	    strncmp(url, "https://", strlen("https://")) != 0)
		return refuse(ret_why, why_size, "its URL does not begin with https:// or http://");
	/* curl would take the next part of the path for it. */
	if (strstr(url, "///") == strchr(url, '/'))
		return refuse(ret_why, why_size, "what follows the @ is not a URL: it has no host");
	u = curl_url();
	if (u == NULL)
		return UV_ENOMEM;
	code = curl_url_set(u, CURLUPART_URL, url, 0);
	if (code == CURLUE_OK)
		rc = read_checked_parts(u, ret, ret_why, why_size);
	else if (code == CURLUE_OUT_OF_MEMORY)
		rc = UV_ENOMEM;
	else if (code == CURLUE_BAD_PORT_NUMBER)
		rc = refuse(ret_why, why_size, "the port of its URL is none");
	else
		rc = refuse(ret_why, why_size, "what follows the @ is not a URL");
	curl_url_cleanup(u);
	return rc;
}

static char *basic(const char *token, size_t len)
{
	char text[sodium_base64_ENCODED_LEN(TOKEN_MAX, sodium_base64_VARIANT_ORIGINAL)];
	char *line;

	sodium_bin2base64(text, sizeof(text), (const unsigned char *)token, len,
			  sodium_base64_VARIANT_ORIGINAL);
	line = mem_printf("Authorization: Basic %s", text);
	sodium_memzero(text, sizeof(text));
	return line;
}

static int read_token(const char *token, size_t len, bool open, struct push_connection *ret,
		      char *ret_why, size_t why_size)
{
	if (len == 0 && open)
		return 0;
	if (len == 0)
		return refuse(ret_why, why_size, "nothing stands before the @");
	if (len > TOKEN_MAX)
		return refuse(ret_why, why_size, "its token is too long");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)token[i] <= ' ' || (unsigned char)token[i] >= 0x7f)
			return refuse(ret_why, why_size,
				      "its token has a space or a character beyond ASCII");
	if (open && memchr(token, ':', len) != NULL)
		ret->authorization = basic(token, len);
	else
		ret->authorization = mem_printf("Authorization: Bearer %.*s", (int)len, token);
	return ret->authorization != NULL ? 0 : UV_ENOMEM;
}

int push_connection_parse(const char *text, size_t len, bool open, struct push_connection *ret,
			  char *ret_why, size_t why_size)
{
	CLEANUP(push_connection_fini) struct push_connection c = { 0 };
	CLEANUP(mem_freep) char *url = NULL;
	const char *at;
	int rc;

	while (len > 0 && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	if (len == 0)
		return refuse(ret_why, why_size, "it is empty");
	if (len > PUSH_STRING_MAX || memchr(text, '\0', len) != NULL)
		return refuse(ret_why, why_size, "it is too long or not text");
	at = memchr(text, '@', len);
	if (at == NULL)
		return refuse(ret_why, why_size, "it has no @");
	rc = read_token(text, (size_t)(at - text), open, &c, ret_why, why_size);
	if (rc < 0)
		return rc;
	url = mem_strndup(at + 1, len - (size_t)(at - text) - 1);
	rc = url != NULL ? read_url(url, &c, ret_why, why_size) : UV_ENOMEM;
	if (url != NULL)
		sodium_memzero(url, strlen(url)); /* a password may be in it */
	if (rc < 0)
		return rc;
	*ret = c;
	c = (struct push_connection){ 0 };
	return 0;
}

void push_connection_fini(struct push_connection *c)
{
	if (c->authorization != NULL)
		sodium_memzero(c->authorization, strlen(c->authorization));
	mem_free(c->authorization);
	mem_free(c->origin);
	mem_free(c->path);
	*c = (struct push_connection){ 0 };
}

/* ---- Requests ---- */

void push_write_percent(struct buf *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;

		if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) != NULL)
			buf_write_u8(out, c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

/* Labels of an application's name cannot hold its punctuation; what is left needs no encoding. */
static void write_label(struct buf *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;
		bool plain = (c < 0x80 && isalnum(c)) || strchr("-._", c) != NULL;

		buf_write_u8(out, plain ? c : '_');
	}
}

/* "service{server=…,version=…}" */
static void write_application(struct buf *out, const struct push_facts *f)
{
	write_label(out, f->service);
	buf_write_str(out, "%7Bserver%3D");
	write_label(out, f->server);
	buf_write_str(out, "%2Cversion%3D");
	write_label(out, f->version);
	buf_write_str(out, "%7D");
}

static void write_traceway(struct buf *out, const struct push_connection *c,
			   const struct push_facts *f)
{
	/* The path of the connection string is that of reports. */
	buf_printf(out, "%s/api/profiles/ingest?service=", c->origin);
	push_write_percent(out, f->service);
	buf_write_str(out, "&serverName=");
	push_write_percent(out, f->server);
	buf_write_str(out, "&appVersion=");
	push_write_percent(out, f->version);
}

static void write_pyroscope(struct buf *out, const struct push_connection *c,
			    const struct push_facts *f)
{
	buf_printf(out, "%s%s/ingest?name=", c->origin, c->path);
	write_application(out, f);
	buf_printf(out, "&from=%" PRIu64 "&until=%" PRIu64 "&format=pprof&spyName=peerscope",
		   f->from_s, f->until_s);
	if (f->profile == PUSH_CPU)
		buf_printf(out, "&sampleRate=%u", f->hz);
}

char *push_url(const struct push_connection *c, const struct push_facts *f)
{
	CLEANUP(buf_fini) struct buf out = { 0 };
	size_t len;

	buf_init(&out, 2 * PUSH_URL_MAX);
	if (f->format == PUSH_PYROSCOPE)
		write_pyroscope(&out, c, f);
	else if (f->format == PUSH_PYROSCOPE_PUSH)
		buf_printf(&out, "%s%s/push.v1.PusherService/Push", c->origin, c->path);
	else
		write_traceway(&out, c, f);
	buf_write_u8(&out, '\0');
	return buf_err(&out) == 0 ? (char *)buf_take(&out, &len) : NULL;
}

const char *push_content_type(enum push_format f)
{
	return f == PUSH_PYROSCOPE_PUSH ? "application/json" : "application/octet-stream";
}

static void write_pair(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "{\"name\":\"%s\",\"value\":", name);
	buf_write_json_str(out, value, strlen(value));
	buf_write_str(out, "}");
}

void push_json_begin(struct buf *out, const struct push_facts *f, const uint8_t id[16])
{
	buf_write_str(out, "{\"series\":[{\"labels\":[");
	write_pair(out, "__name__", f->profile == PUSH_CPU ? "process_cpu" : "memory");
	buf_write_str(out, ",");
	write_pair(out, "service_name", f->service);
	buf_write_str(out, ",");
	write_pair(out, "server", f->server);
	buf_write_str(out, ",");
	write_pair(out, "version", f->version);
	buf_write_str(out, "],\"samples\":[{\"ID\":\"");
	push_write_uuid(out, id);
	buf_write_str(out, "\",\"rawProfile\":\"");
}

void push_json_end(struct buf *out)
{
	buf_write_str(out, "\"}]}]}");
}

void push_write_uuid(struct buf *out, const uint8_t id[16])
{
	for (size_t i = 0; i < 16; i++) {
		unsigned byte = id[i];

		if (i == 6)
			byte = (byte & 0x0f) | 0x40;
		else if (i == 8)
			byte = (byte & 0x3f) | 0x80;
		buf_printf(out, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", byte);
	}
}

/* ---- Answers ---- */

static bool says_gzip(const char *text, size_t len)
{
	for (size_t i = 0; i + 4 <= len; i++)
		if ((text[i] | 0x20) == 'g' && (text[i + 1] | 0x20) == 'z' &&
		    (text[i + 2] | 0x20) == 'i' && (text[i + 3] | 0x20) == 'p')
			return true;
	return false;
}

enum push_verdict push_judge(int status, int http_status, const void *reply, size_t reply_len)
{
	/* An answer that is too long to be kept is one. */
	if (http_status == 0 || (status < 0 && status != ERR_LIMIT))
		return PUSH_UNREACHABLE;
	if (http_status >= 200 && http_status < 300)
		return PUSH_TAKEN;
	if (http_status == 429 || http_status == 503)
		return PUSH_BUSY;
	if (http_status == 401 || http_status == 403)
		return PUSH_UNAUTHORIZED;
	if (http_status == 400 && says_gzip(reply, reply_len))
		return PUSH_TOO_OLD;
	return PUSH_REFUSED;
}
