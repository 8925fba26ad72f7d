#include "debug_http/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

/* The head is collected in one buffer, every string ended by a NUL:
 *
 *   target \0 name \0 value \0 name \0 value \0 ...  then, decoded: path \0 param \0 value \0 ...
 *
 * Offsets, not pointers, since the buffer moves while it grows. llhttp is asked to pause at the end
 * of the head and at the end of the message: nothing of a later request is looked at before this
 * one is answered. */

const char *request_text(const struct http_request *r, uint32_t offset)
{
	return r->text.data != NULL ? (const char *)r->text.data + offset : "";
}

static int break_off(struct http_request *r, int status, const char *why)
{
	if (r->phase != REQUEST_BROKEN) {
		r->phase = REQUEST_BROKEN;
		r->broken_status = status;
		r->broken_why = why;
	}
	return HPE_USER;
}

static int check_text(struct http_request *r)
{
	if (buf_err(&r->text) == 0)
		return 0;
	if (buf_err(&r->text) == ERR_LIMIT)
		return break_off(r, 431, "The request line and headers are too long.");
	return break_off(r, 503, "The daemon is out of memory.");
}

static struct http_request *request_of(llhttp_t *parser)
{
	return container_of(parser, struct http_request, parser);
}

/* ---- llhttp's callbacks ---- */

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	struct http_request *r = request_of(parser);

	buf_write(&r->text, at, len);
	return check_text(r);
}

static int on_part_complete(llhttp_t *parser)
{
	struct http_request *r = request_of(parser);

	if (r->phase != REQUEST_HEAD)
		return 0;
	buf_write_u8(&r->text, 0);
	return check_text(r);
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
	struct http_request *r = request_of(parser);

	if (r->phase != REQUEST_HEAD)
		return 0; /* trailers of a chunked body: nobody asks for them */
	if (r->header_count == 0 || r->headers[r->header_count - 1].value != 0) {
		if (r->header_count == HTTP_HEADER_COUNT_MAX)
			return break_off(r, 431, "The request has too many headers.");
		r->headers[r->header_count++] = (struct request_pair){ (uint32_t)r->text.len, 0 };
	}
	for (size_t i = 0; i < len; i++)
		buf_write_u8(&r->text,
			     (uint8_t)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] | 0x20 : at[i]));
	return check_text(r);
}

static int on_header_field_complete(llhttp_t *parser)
{
	struct http_request *r = request_of(parser);
	int rc = on_part_complete(parser);

	if (rc == 0 && r->phase == REQUEST_HEAD)
		r->headers[r->header_count - 1].value = (uint32_t)r->text.len;
	return rc;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct http_request *r = request_of(parser);

	if (r->phase != REQUEST_HEAD)
		return 0;
	buf_write(&r->text, at, len);
	return check_text(r);
}

static int on_header_value_complete(llhttp_t *parser)
{
	struct http_request *r = request_of(parser);

	if (r->phase != REQUEST_HEAD)
		return 0;
	while (r->text.len > r->headers[r->header_count - 1].value &&
	       strchr(" \t", r->text.data[r->text.len - 1]) != NULL)
		r->text.len--;
	return on_part_complete(parser);
}

static int on_headers_complete(llhttp_t *parser)
{
	request_of(parser)->phase = REQUEST_BODY;
	return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
	struct http_request *r = request_of(parser);

	buf_write(&r->body, at, len);
	if (buf_err(&r->body) == 0)
		return 0;
	if (buf_err(&r->body) == ERR_LIMIT)
		return break_off(r, 413, "The request body is too large.");
	return break_off(r, 503, "The daemon is out of memory.");
}

static int on_message_complete(llhttp_t *parser)
{
	request_of(parser)->phase = REQUEST_COMPLETE;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_url_complete = on_part_complete,
	.on_header_field = on_header_field,
	.on_header_field_complete = on_header_field_complete,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* ---- Feeding ---- */

static void clear(struct http_request *r)
{
	llhttp_init(&r->parser, HTTP_REQUEST, &settings);
	buf_init(&r->text, HTTP_REQUEST_TEXT_MAX);
	buf_init(&r->reply_headers, HTTP_REPLY_HEADERS_MAX);
	buf_init(&r->body, HTTP_DEBUG_BODY_MAX);
}

void request_init(struct http_request *r)
{
	*r = (struct http_request){ .phase = REQUEST_HEAD };
	clear(r);
}

void request_fini(struct http_request *r)
{
	buf_fini(&r->text);
	buf_fini(&r->body);
	buf_fini(&r->reply_headers);
}

void request_reset(struct http_request *r)
{
	struct http_request old = *r;

	request_fini(r);
	request_init(r);
	r->conn = old.conn;
	r->surface = old.surface;
	r->peer_is_local = old.peer_is_local;
	r->body_max = old.body_max;
	buf_init(&r->body, r->body_max);
}

enum request_phase request_feed(struct http_request *r, const void *data, size_t len,
				size_t *ret_used)
{
	enum request_phase before = r->phase;
	size_t n = len;
	llhttp_errno_t rc;

	*ret_used = 0;
	if (before == REQUEST_COMPLETE || before == REQUEST_BROKEN)
		return before;
	if (before == REQUEST_HEAD)
		n = MIN(n, HTTP_HEADERS_MAX - r->head_bytes);
	rc = llhttp_execute(&r->parser, data, n);
	if (rc == HPE_PAUSED) {
		*ret_used = (size_t)(llhttp_get_error_pos(&r->parser) - (const char *)data);
		llhttp_resume(&r->parser);
	} else if (rc == HPE_OK || rc == HPE_PAUSED_UPGRADE) {
		*ret_used = n; /* nothing is upgraded here; the connection ends after the reply */
	} else if (rc == HPE_INVALID_VERSION) {
		break_off(r, 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
	} else {
		break_off(r, 400, "This is not a well-formed HTTP request.");
	}
	if (before != REQUEST_HEAD)
		return r->phase;
	r->head_bytes += *ret_used;
	if (r->phase == REQUEST_HEAD && r->head_bytes >= HTTP_HEADERS_MAX)
		break_off(r, 431, "The request line and headers are too long.");
	return r->phase;
}

/* ---- Decoding the target ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

static bool is_clean_utf8(const char *s, size_t len, bool allow_controls)
{
	while (len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, len, &c);

		if (n == 0 || c == 0 || (!allow_controls && utf8_is_control(c)))
			return false;
		s += n;
		len -= n;
	}
	return true;
}

/* RFC 3986 percent-decoding of text[start, start+len) to the end of text; '+' is a space in a query
 * (as forms send it). Yields the offset, 0 on failure: the target is at 0, so no decoded string
 * is. */
static uint32_t decode(struct http_request *r, size_t start, size_t len, bool is_query)
{
	size_t at = r->text.len;

	for (size_t i = 0; i < len; i++) {
		char c = request_text(r, (uint32_t)(start + i))[0];

		if (c == '+' && is_query) {
			c = ' ';
		} else if (c == '%') {
			const char *digits = request_text(r, (uint32_t)(start + i + 1));
			int high = i + 2 < len ? hex_digit(digits[0]) : -1;
			int low = i + 2 < len ? hex_digit(digits[1]) : -1;

			if (high < 0 || low < 0)
				return 0;
			c = (char)(high << 4 | low);
			i += 2;
		}
		buf_write_u8(&r->text, (uint8_t)c);
	}
	if (buf_err(&r->text) != 0 ||
	    !is_clean_utf8((const char *)r->text.data + at, r->text.len - at, is_query))
		return 0;
	buf_write_u8(&r->text, 0);
	return (uint32_t)at;
}

static bool decode_params(struct http_request *r, size_t start, size_t end)
{
	while (start < end) {
		const char *s = request_text(r, (uint32_t)start);
		const char *amp = memchr(s, '&', end - start);
		size_t len = amp != NULL ? (size_t)(amp - s) : end - start;
		const char *eq = memchr(s, '=', len);
		size_t name_len = eq != NULL ? (size_t)(eq - s) : len;
		size_t value_len = eq != NULL ? len - name_len - 1 : 0;
		struct request_pair pair;

		if (len > 0) {
			if (r->param_count == HTTP_QUERY_PARAMS_MAX)
				return false;
			pair.name = decode(r, start, name_len, true);
			pair.value = decode(r, start + name_len + (eq != NULL), value_len, true);
			if (pair.name == 0 || pair.value == 0)
				return false;
			r->params[r->param_count++] = pair;
		}
		start += len + 1;
	}
	return true;
}

/* Offset where the path of the target starts; an absolute target ("http://host/path") is cut behind
 * its authority. */
static size_t path_start(const char *target)
{
	const char *slash;

	if (strncasecmp(target, "http://", 7) != 0)
		return 0;
	slash = strpbrk(target + 7, "/?");
	return slash != NULL ? (size_t)(slash - target) : strlen(target);
}

bool request_decode(struct http_request *r)
{
	const char *target = request_text(r, r->target);
	size_t start = path_start(target), end = strlen(target);
	const char *mark = strchr(target + start, '?');
	size_t path_end = mark != NULL ? (size_t)(mark - target) : end;

	for (size_t i = 0; i < end; i++) {
		if (target[i] <= ' ' || target[i] >= 0x7f || target[i] == '#') {
			break_off(
				r, 400,
				"The request target has a character that must be percent-encoded.");
			return false;
		}
	}
	if (path_end > start && target[start] != '/') {
		break_off(r, 400, "The request target must be a path that starts with '/'.");
		return false;
	}
	r->path = decode(r, start, path_end - start, false);
	if (r->path != 0 && request_text(r, r->path)[0] == '\0') {
		r->path = (uint32_t)r->text.len; /* "http://host" alone means its root */
		buf_write_str(&r->text, "/");
		buf_write_u8(&r->text, 0);
	}
	if (r->path == 0) {
		break_off(r, 400, "The path is not valid percent-encoded UTF-8.");
		return false;
	}
	if (path_end < end && !decode_params(r, path_end + 1, end)) {
		break_off(r, 400,
			  "The query is not valid percent-encoded UTF-8, or has too many "
			  "parameters.");
		return false;
	}
	if (check_text(r) != 0)
		return false;
	return true;
}

/* ---- What the head says ---- */

uint64_t request_body_announced(const struct http_request *r)
{
	if (r->parser.flags & F_CHUNKED)
		return UINT64_MAX;
	return r->parser.flags & F_CONTENT_LENGTH ? r->parser.content_length : 0;
}

bool request_keeps_alive(const struct http_request *r)
{
	return r->phase == REQUEST_COMPLETE && !r->parser.upgrade &&
	       llhttp_should_keep_alive(&r->parser);
}

bool http_request_is_head(const struct http_request *r)
{
	return r->parser.method == HTTP_HEAD;
}

const char *request_method_name(const struct http_request *r)
{
	return llhttp_method_name((llhttp_method_t)r->parser.method);
}

enum http_method http_request_method(const struct http_request *r)
{
	switch (r->parser.method) {
	case HTTP_GET:
	case HTTP_HEAD: return HTTP_GET_;
	case HTTP_POST: return HTTP_POST_;
	case HTTP_PUT: return HTTP_PUT_;
	case HTTP_DELETE: return HTTP_DELETE_;
	default: return 0;
	}
}

const char *http_request_path(const struct http_request *r)
{
	return r->path != 0 ? request_text(r, r->path) :
			      "/"; /* the head may be broken before it is decoded */
}

const char *http_request_tail(const struct http_request *r)
{
	return http_request_path(r) + r->tail;
}

const char *http_request_param(const struct http_request *r, const char *name)
{
	for (unsigned i = 0; i < r->param_count; i++)
		if (strcmp(request_text(r, r->params[i].name), name) == 0)
			return request_text(r, r->params[i].value);
	return NULL;
}

bool http_request_param_at(const struct http_request *r, size_t i, const char **ret_name,
			   const char **ret_value)
{
	if (i >= r->param_count)
		return false;
	*ret_name = request_text(r, r->params[i].name);
	*ret_value = request_text(r, r->params[i].value);
	return true;
}

const char *http_request_header(const struct http_request *r, const char *lower_case_name)
{
	for (unsigned i = 0; i < r->header_count; i++)
		if (strcmp(request_text(r, r->headers[i].name), lower_case_name) == 0)
			return request_text(r, r->headers[i].value);
	return NULL;
}

const uint8_t *http_request_body(const struct http_request *r, size_t *ret_len)
{
	*ret_len = r->body.len;
	return r->body.len > 0 ? r->body.data : (const uint8_t *)"";
}

/* ---- Negotiation ---- */

/* Quality of a media range in thousandths (RFC 9110, 12.4.2); 1000 when it names none. */
static int quality(const char *range, size_t len)
{
	const char *q = memmem(range, len, ";q=", 3);
	double v;

	if (q == NULL)
		q = memmem(range, len, "; q=", 4);
	if (q == NULL)
		return 1000;
	v = strtod(strchr(q, '=') + 1, NULL);
	return v >= 0 && v <= 1 ? (int)(v * 1000) : 0;
}

static bool range_is(const char *range, size_t len, const char *type)
{
	size_t n = strlen(type);

	return len >= n && strncasecmp(range, type, n) == 0 &&
	       (len == n || strchr("; \t", range[n]) != NULL);
}

static enum http_format accepted(const char *accept)
{
	enum http_format best = HTTP_TEXT;
	int best_q = 0;

	while (*accept != '\0') {
		size_t len;
		int q;

		accept += strspn(accept, " \t,");
		len = strcspn(accept, ",");
		q = quality(accept, len);
		if (q > best_q && range_is(accept, len, "text/html")) {
			best = HTTP_HTML;
			best_q = q;
		} else if (q > best_q && range_is(accept, len, "application/json")) {
			best = HTTP_JSON;
			best_q = q;
		} else if (q > best_q && range_is(accept, len, "text/plain")) {
			best = HTTP_TEXT;
			best_q = q;
		}
		accept += len;
	}
	return best;
}

enum http_format http_request_format(const struct http_request *r)
{
	const char *accept = http_request_header(r, "accept");

	if (http_request_param(r, "json") != NULL)
		return HTTP_JSON;
	if (http_request_param(r, "text") != NULL)
		return HTTP_TEXT;
	if (http_request_param(r, "html") != NULL)
		return HTTP_HTML;
	return accept != NULL ? accepted(accept) : HTTP_TEXT;
}
