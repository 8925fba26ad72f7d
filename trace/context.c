/* W3C Trace Context, level 1: version "-" trace id "-" parent id "-" flags, lower-case hex. */
#include "base/err.h"
#include "trace/store.h"

enum { TRACEPARENT_LEN = TRACEPARENT_SIZE - 1 };

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_read(const char *s, uint8_t *ret, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool all_zero(const uint8_t *p, size_t size)
{
	uint8_t any = 0;

	for (size_t i = 0; i < size; i++)
		any |= p[i];
	return any == 0;
}

int trace_context_parse(const char *s, size_t len, struct trace_context *ret)
{
	struct trace_context c;
	uint8_t version;

	if (len < TRACEPARENT_LEN || s[2] != '-' || s[35] != '-' || s[52] != '-')
		return ERR_MALFORMED;
	if (!hex_read(s, &version, 1) || !hex_read(s + 3, c.trace_id, sizeof(c.trace_id)) ||
	    !hex_read(s + 36, c.span_id, sizeof(c.span_id)) || !hex_read(s + 53, &c.flags, 1))
		return ERR_MALFORMED;
	if (version == 0xff || all_zero(c.trace_id, sizeof(c.trace_id)) ||
	    all_zero(c.span_id, sizeof(c.span_id)))
		return ERR_MALFORMED;
	/* A later version may go on after a dash; ours may not. */
	if (len > TRACEPARENT_LEN && (version == 0 || s[TRACEPARENT_LEN] != '-'))
		return ERR_MALFORMED;
	*ret = c;
	return 0;
}

char *hex_write(char *p, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		*p++ = "0123456789abcdef"[bytes[i] >> 4];
		*p++ = "0123456789abcdef"[bytes[i] & 15];
	}
	return p;
}

void trace_context_format(const struct trace_context *c, char ret[TRACEPARENT_SIZE])
{
	char *p = ret;

	*p++ = '0';
	*p++ = '0';
	*p++ = '-';
	p = hex_write(p, c->trace_id, sizeof(c->trace_id));
	*p++ = '-';
	p = hex_write(p, c->span_id, sizeof(c->span_id));
	*p++ = '-';
	p = hex_write(p, &c->flags, 1);
	*p = '\0';
}

bool trace_context_of(struct span s, struct trace_context *ret)
{
	struct node *n = node_find_kept(s);

	if (n == NULL)
		return false;
	memcpy(ret->trace_id, node_root(s.trace, n)->tree.trace_id, sizeof(ret->trace_id));
	memcpy(ret->span_id, &n->span_id, sizeof(ret->span_id));
	ret->flags = 1; /* sampled: everything is recorded */
	return true;
}
