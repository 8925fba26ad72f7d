/* What the JSON formats share. */
#include "trace/writer.h"

void trace_json_hex(struct buf *out, const uint8_t *bytes, size_t size)
{
	char hex[TRACE_ID_HEX_SIZE + 2], *p = hex;

	*p++ = '"';
	p = hex_write(p, bytes, size);
	*p++ = '"';
	buf_write(out, hex, (size_t)(p - hex));
}

void trace_json_text(struct buf *out, const char *key, const char *s, size_t len)
{
	buf_printf(out, ",\"%s\":", key);
	buf_write_json_str(out, s, len);
}
