/* UTF-8 and the escaping helpers of base/buf.h.
 *
 * Well-formed UTF-8 is table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing
 * above U+10FFFF. What is ill-formed becomes one U+FFFD for each byte that starts no well-formed
 * sequence. */
#include "base/buf.h"

#define REPLACEMENT "\xef\xbf\xbd"

static bool is_continuation(uint8_t c, uint8_t low, uint8_t high)
{
	return c >= low && c <= high;
}

size_t utf8_decode(const void *s, size_t len, uint32_t *ret)
{
	const uint8_t *p = s;
	size_t need;
	uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte */
	uint32_t c;

	if (len == 0)
		return 0;
	c = p[0];
	if (c < 0x80) {
		*ret = c;
		return 1;
	}
	if (c < 0xc2 || c > 0xf4)
		return 0;
	need = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (c == 0xe0 || c == 0xf0)
		low = c == 0xe0 ? 0xa0 : 0x90;
	if (c == 0xed || c == 0xf4)
		high = c == 0xed ? 0x9f : 0x8f;
	if (len < need || !is_continuation(p[1], low, high))
		return 0;
	c &= 0xffu >> (need + 1);
	for (size_t i = 1; i < need; i++) {
		if (!is_continuation(p[i], 0x80, 0xbf))
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	*ret = c;
	return need;
}

bool utf8_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

static const char *html_entity(uint32_t c)
{
	switch (c) {
	case '&': return "&amp;";
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '"': return "&quot;";
	case '\'': return "&#39;";
	default: return utf8_is_control(c) && c != '\n' && c != '\t' ? REPLACEMENT : NULL;
	}
}

void buf_write_html(struct buf *b, const char *s, size_t len)
{
	while (len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, len, &c);
		const char *entity = n > 0 ? html_entity(c) : REPLACEMENT;

		n = MAX(n, (size_t)1);
		if (entity != NULL)
			buf_write_str(b, entity);
		else
			buf_write(b, s, n);
		s += n;
		len -= n;
	}
}

static void write_json_char(struct buf *b, uint32_t c, const char *s, size_t n)
{
	static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";

	for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
		if (c == (uint32_t)shorts[i]) {
			buf_write_u8(b, '\\');
			buf_write_u8(b, (uint8_t)shorts[i + 1]);
			return;
		}
	}
	if (utf8_is_control(c))
		buf_printf(b, "\\u%04x", (unsigned)c);
	else
		buf_write(b, s, n);
}

void buf_write_json_str(struct buf *b, const char *s, size_t len)
{
	buf_write_u8(b, '"');
	while (len > 0) {
		uint32_t c;
		size_t n = utf8_decode(s, len, &c);

		if (n > 0)
			write_json_char(b, c, s, n);
		else
			buf_write_str(b, REPLACEMENT);
		n = MAX(n, (size_t)1);
		s += n;
		len -= n;
	}
	buf_write_u8(b, '"');
}
