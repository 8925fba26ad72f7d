#include <string.h>
#include <strings.h>

#include "debug_http/pprof.h"

/* application/x-www-form-urlencoded (HTML, URL-encoded form data): name=value pairs joined by '&',
 * '+' for a space, %XX for any byte. The first pair of a name counts. A broken escape is kept as it
 * is; the values looked for are numbers, which it then is not. */

static int hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t decode(const char *s, size_t len, char *dst, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < cap; i++) {
		uint8_t c = (uint8_t)s[i];

		if (c == '+') {
			c = ' ';
		} else if (c == '%' && len - i > 2 && hex((uint8_t)s[i + 1]) >= 0 &&
			   hex((uint8_t)s[i + 2]) >= 0) {
			c = (uint8_t)(hex((uint8_t)s[i + 1]) << 4 | hex((uint8_t)s[i + 2]));
			i += 2;
		}
		dst[n++] = (char)c;
	}
	dst[n] = '\0';
	return n;
}

bool pprof_form_value(const char *form, size_t len, const char *name, char ret[PPROF_PARAM_MAX])
{
	size_t name_len = strlen(name);

	for (size_t i = 0; i < len;) {
		const char *pair = form + i, *end = memchr(pair, '&', len - i), *eq;
		size_t n = end != NULL ? (size_t)(end - pair) : len - i;
		char key[PPROF_PARAM_MAX];

		eq = memchr(pair, '=', n);
		decode(pair, eq != NULL ? (size_t)(eq - pair) : n, key, sizeof(key));
		if (strlen(key) == name_len && memcmp(key, name, name_len) == 0) {
			if (eq == NULL)
				ret[0] = '\0';
			else
				decode(eq + 1, n - (size_t)(eq - pair) - 1, ret, PPROF_PARAM_MAX);
			return true;
		}
		i += n + 1;
	}
	return false;
}

bool pprof_param(struct http_request *r, const char *name, char ret[PPROF_PARAM_MAX])
{
	static const char form[] = "application/x-www-form-urlencoded";
	const char *type = http_request_header(r, "content-type"), *value;
	const uint8_t *body;
	size_t len;

	if (http_request_method(r) == HTTP_POST_ && type != NULL &&
	    strncasecmp(type, form, sizeof(form) - 1) == 0) {
		body = http_request_body(r, &len);
		if (pprof_form_value((const char *)body, len, name, ret))
			return true;
	}
	value = http_request_param(r, name);
	if (value == NULL)
		return false;
	len = strnlen(value, PPROF_PARAM_MAX - 1);
	memcpy(ret, value, len);
	ret[len] = '\0';
	return true;
}
