/* Foreign bytes through the reader and the escapers: a varint that is read is written back the
 * same, and whatever goes in, what comes out is well-formed UTF-8 that cannot leave its quotes or
 * open a tag. */
#include <string.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_uvarints(const uint8_t *data, size_t size)
{
	struct buf_reader r = buf_reader(data, size);
	struct buf b;
	uint64_t v;

	buf_init(&b, size);
	while (buf_read_uvarint(&r, &v) == 0)
		buf_write_uvarint(&b, v);
	REQUIRE(buf_err(&b) == 0 && b.len == size - buf_left(&r));
	REQUIRE(b.len == 0 || memcmp(b.data, data, b.len) == 0);
	buf_fini(&b);
}

static void check_text(const struct buf *b, const char *forbidden, const char *controls)
{
	for (size_t i = 0; i < b->len;) {
		uint32_t c;
		size_t n = utf8_decode(b->data + i, b->len - i, &c);

		REQUIRE(n > 0 && c != 0);
		REQUIRE(c >= 0x80 || strchr(forbidden, (int)c) == NULL);
		REQUIRE(!utf8_is_control(c) || (c < 0x80 && strchr(controls, (int)c) != NULL));
		i += n;
	}
}

/* A quote inside is always the second byte of an escape, and JSON knows every escape. */
static void check_quotes(const struct buf *b)
{
	REQUIRE(b->len >= 2 && b->data[0] == '"' && b->data[b->len - 1] == '"');
	for (size_t i = 1; i < b->len - 1; i++) {
		REQUIRE(b->data[i] != '"');
		if (b->data[i] != '\\')
			continue;
		i++;
		REQUIRE(i < b->len - 1 && strchr("\"\\bfnrtu", b->data[i]) != NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b;

	check_uvarints(data, size);
	buf_init(&b, 8 * size + 2);
	buf_write_html(&b, (const char *)data, size);
	REQUIRE(buf_err(&b) == 0);
	check_text(&b, "<>\"'", "\n\t");
	buf_clear(&b);
	buf_write_json_str(&b, (const char *)data, size);
	REQUIRE(buf_err(&b) == 0);
	check_text(&b, "", "");
	check_quotes(&b);
	buf_fini(&b);
	return 0;
}
