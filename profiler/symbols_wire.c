#include "profiler/symbols_wire.h"

#include <string.h>

#include "base/err.h"
#include "profiler/symbols_helper.h"

enum { FROM_DWARF = 1, WHOLE = 2 };

_Static_assert((2 + SYMBOLS_TEXT_MAX) * 3 * SYMBOL_LINES_MAX + 8 * SYMBOL_LINES_MAX + 14 <
		       SYMBOLS_ANSWER_MAX,
	       "the longest answer is no answer");

static void write_text(struct buf *out, const char *s)
{
	size_t len = strnlen(s, SYMBOLS_TEXT_MAX);

	buf_write_u16be(out, (uint16_t)len);
	buf_write(out, s, len);
}

void wire_write_answer(struct buf *out, const struct symbol_found *found, bool whole)
{
	size_t at = out->len;
	uint32_t len;

	buf_write_u32be(out, 0);
	buf_write_u64be(out, found->start);
	buf_write_u8(out, (uint8_t)((found->from_dwarf ? FROM_DWARF : 0) | (whole ? WHOLE : 0)));
	buf_write_u8(out, (uint8_t)found->n);
	for (unsigned i = 0; i < found->n; i++) {
		buf_write_u32be(out, (uint32_t)found->lines[i].line);
		buf_write_u32be(out, (uint32_t)found->lines[i].start_line);
		write_text(out, found->lines[i].name);
		write_text(out, found->lines[i].system_name);
		write_text(out, found->lines[i].file);
	}
	if (buf_err(out) != 0)
		return;
	len = (uint32_t)(out->len - at - 4);
	out->data[at] = (uint8_t)(len >> 24);
	out->data[at + 1] = (uint8_t)(len >> 16);
	out->data[at + 2] = (uint8_t)(len >> 8);
	out->data[at + 3] = (uint8_t)len;
}

static int read_text(struct buf_reader *r, struct arena *text, const char **ret)
{
	const uint8_t *bytes;
	uint16_t len;

	if (buf_read_u16be(r, &len) != 0 || len > SYMBOLS_TEXT_MAX ||
	    buf_read_bytes(r, len, &bytes) != 0)
		return ERR_MALFORMED;
	*ret = symbol_text(text, (const char *)bytes, len);
	return 0;
}

static int read_line(struct buf_reader *r, struct arena *text, struct symbol_line *ret)
{
	uint32_t line, start;

	if (buf_read_u32be(r, &line) != 0 || buf_read_u32be(r, &start) != 0 ||
	    read_text(r, text, &ret->name) != 0 || read_text(r, text, &ret->system_name) != 0 ||
	    read_text(r, text, &ret->file) != 0)
		return ERR_MALFORMED;
	ret->line = (int)line;
	ret->start_line = (int)start;
	return 0;
}

int wire_read_answer(struct buf_reader *r, struct arena *text, struct symbol_found *ret,
		     bool *ret_whole)
{
	struct buf_reader body = *r;
	const uint8_t *bytes;
	uint64_t start = 0;
	uint32_t len;
	uint8_t flags, n;

	if (buf_read_u32be(&body, &len) != 0)
		return ERR_TRUNCATED;
	if (len > SYMBOLS_ANSWER_MAX - 4)
		return ERR_LIMIT;
	if (buf_read_bytes(&body, len, &bytes) != 0)
		return ERR_TRUNCATED;
	*r = body;
	body = buf_reader(bytes, len);
	if (buf_read_u64be(&body, &start) != 0 || buf_read_u8(&body, &flags) != 0 ||
	    buf_read_u8(&body, &n) != 0 || n > SYMBOL_LINES_MAX)
		return ERR_MALFORMED;
	ret->start = start;
	ret->from_dwarf = (flags & FROM_DWARF) != 0;
	*ret_whole = (flags & WHOLE) != 0;
	ret->n = n;
	for (unsigned i = 0; i < n; i++)
		if (read_line(&body, text, &ret->lines[i]) != 0)
			return ERR_MALFORMED;
	return buf_left(&body) == 0 ? 0 : ERR_MALFORMED;
}
