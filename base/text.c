/* UTF-8 and the escaping helpers of base/buf.h.
 *
 * Well-formed UTF-8 is table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing
 * above U+10FFFF. What is ill-formed counts byte by byte: each that starts no well-formed sequence
 * is shown as \xNN, and is one U+FFFD in JSON. */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

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

bool utf8_is_hidden(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{ 0xad, 0xad },	      { 0x34f, 0x34f },	    { 0x61c, 0x61c },
		{ 0x115f, 0x1160 },   { 0x17b4, 0x17b5 },   { 0x180b, 0x180f },
		{ 0x200b, 0x200f },   { 0x2028, 0x202e },   { 0x2060, 0x206f },
		{ 0x3164, 0x3164 },   { 0xfeff, 0xfeff },   { 0xffa0, 0xffa0 },
		{ 0xfff0, 0xfffb },   { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a },
		{ 0xe0000, 0xe0fff },
	};

	if (utf8_is_control(c))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(hidden) && c >= hidden[i].first; i++)
		if (c <= hidden[i].last)
			return true;
	return false;
}

size_t utf8_show(const char *s, size_t len, char ret[UTF8_SHOWN_MAX], size_t *ret_len)
{
	uint32_t c = 0;
	size_t n = utf8_decode(s, len, &c);
	int shown;

	if (n > 0 && !utf8_is_hidden(c)) {
		memcpy(ret, s, n);
		*ret_len = n;
		return n;
	}
	if (n <= 1)
		shown = snprintf(ret, UTF8_SHOWN_MAX, "\\x%02x", (unsigned)(uint8_t)s[0]);
	else
		shown = snprintf(ret, UTF8_SHOWN_MAX, c > 0xffff ? "\\U%08x" : "\\u%04x",
				 (unsigned)c);
	*ret_len = (size_t)MAX(shown, 0);
	return MAX(n, (size_t)1);
}

void buf_write_shown(struct buf *b, const char *s, size_t len)
{
	while (len > 0) {
		char shown[UTF8_SHOWN_MAX];
		size_t shown_len, n = utf8_show(s, len, shown, &shown_len);

		buf_write(b, shown, shown_len);
		s += n;
		len -= n;
	}
}

static const char *html_entity(char c)
{
	switch (c) {
	case '&': return "&amp;";
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '"': return "&quot;";
	case '\'': return "&#39;";
	case '\n': return "\n";
	case '\t': return "\t";
	default: return NULL;
	}
}

void buf_write_html(struct buf *b, const char *s, size_t len)
{
	while (len > 0) {
		const char *entity = html_entity(s[0]);
		char shown[UTF8_SHOWN_MAX];
		size_t shown_len, n = utf8_show(s, len, shown, &shown_len);

		if (entity != NULL)
			buf_write_str(b, entity);
		else
			buf_write(b, shown, shown_len);
		s += n;
		len -= n;
	}
}

/* RFC 8259, 7: beyond the basic plane as a surrogate pair. */
static void write_json_escape(struct buf *b, uint32_t c)
{
	if (c > 0xffff)
		buf_printf(b, "\\u%04x\\u%04x", (unsigned)(0xd7c0 + (c >> 10)),
			   (unsigned)(0xdc00 + (c & 0x3ff)));
	else
		buf_printf(b, "\\u%04x", (unsigned)c);
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
	if (utf8_is_hidden(c))
		write_json_escape(b, c);
	else
		buf_write(b, s, n);
}

void buf_write_json_text(struct buf *b, const char *s, size_t len)
{
	while (len > 0) {
		uint32_t c = 0;
		size_t plain = 0, n = 0;

		/* White space between tokens is the only control character below 0x20. */
		while (plain < len && (s[plain] & 0x80) == 0 && s[plain] != 0x7f)
			plain++;
		buf_write(b, s, plain);
		s += plain;
		len -= plain;
		if (len == 0)
			return;
		n = utf8_decode(s, len, &c);
		if (n > 0 && utf8_is_hidden(c))
			write_json_escape(b, c);
		else
			buf_write(b, s, MAX(n, (size_t)1));
		n = MAX(n, (size_t)1);
		s += n;
		len -= n;
	}
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
