#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { BUF_CAP_MIN = 64, UVARINT_BYTES_MAX = 9 };

int buf_read_bytes(struct buf_reader *r, size_t len, const uint8_t **ret)
{
	if (buf_left(r) < len)
		return ERR_TRUNCATED;
	*ret = r->p;
	if (len > 0)
		r->p += len;
	return 0;
}

int buf_read_copy(struct buf_reader *r, void *dst, size_t len)
{
	const uint8_t *p;
	int rc = buf_read_bytes(r, len, &p);

	if (rc == 0 && len > 0)
		memcpy(dst, p, len);
	return rc;
}

static int read_be(struct buf_reader *r, size_t len, uint64_t *ret)
{
	const uint8_t *p;
	uint64_t v = 0;
	int rc = buf_read_bytes(r, len, &p);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < len; i++)
		v = v << 8 | p[i];
	*ret = v;
	return 0;
}

int buf_read_u8(struct buf_reader *r, uint8_t *ret)
{
	return buf_read_copy(r, ret, 1);
}

int buf_read_u16be(struct buf_reader *r, uint16_t *ret)
{
	uint64_t v;
	int rc = read_be(r, 2, &v);

	if (rc == 0)
		*ret = (uint16_t)v;
	return rc;
}

int buf_read_u32be(struct buf_reader *r, uint32_t *ret)
{
	uint64_t v;
	int rc = read_be(r, 4, &v);

	if (rc == 0)
		*ret = (uint32_t)v;
	return rc;
}

int buf_read_u64be(struct buf_reader *r, uint64_t *ret)
{
	return read_be(r, 8, ret);
}

int buf_read_uvarint(struct buf_reader *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < UVARINT_BYTES_MAX; i++) {
		if (i == buf_left(r))
			return ERR_TRUNCATED;
		v |= (uint64_t)(r->p[i] & 0x7f) << (7 * i);
		if (r->p[i] & 0x80)
			continue;
		if (r->p[i] == 0 && i > 0)
			return ERR_MALFORMED; /* a shorter spelling exists */
		r->p += i + 1;
		*ret = v;
		return 0;
	}
	return ERR_MALFORMED;
}

void buf_init(struct buf *b, size_t limit)
{
	*b = (struct buf){ .limit = limit };
}

void buf_fini(struct buf *b)
{
	b->data = mem_free(b->data);
	b->len = b->cap = 0;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->err = 0;
	if (b->data != NULL)
		b->data[0] = '\0';
}

int buf_err(const struct buf *b)
{
	return b->err;
}

uint8_t *buf_take(struct buf *b, size_t *ret_len)
{
	uint8_t *data;

	if (b->err != 0 || b->len == 0) {
		*ret_len = 0;
		return NULL;
	}
	*ret_len = b->len;
	data = TAKE_PTR(b->data);
	b->len = b->cap = 0;
	return data;
}

/* cap counts the bytes in front of the NUL. */
static bool grow(struct buf *b, size_t need)
{
	size_t cap = MIN(MAX(MAX(b->cap * 2, need), (size_t)BUF_CAP_MIN), b->limit);
	uint8_t *data = mem_realloc(b->data, cap + 1);

	if (data == NULL) {
		b->err = UV_ENOMEM;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	if (b->err != 0)
		return NULL;
	if (b->limit == SIZE_MAX || n > b->limit - b->len) {
		b->err = ERR_LIMIT;
		return NULL;
	}
	if ((b->data == NULL || n > b->cap - b->len) && !grow(b, b->len + n))
		return NULL;
	b->data[b->len] = '\0';
	return b->data + b->len;
}

void buf_advance(struct buf *b, size_t n)
{
	REQUIRE(b->err == 0 && n <= b->cap - b->len);
	b->len += n;
	b->data[b->len] = '\0';
}

void buf_write(struct buf *b, const void *data, size_t len)
{
	uint8_t *p = buf_reserve(b, len);

	if (p == NULL)
		return;
	if (len > 0)
		memcpy(p, data, len);
	buf_advance(b, len);
}

static void write_be(struct buf *b, uint64_t v, size_t len)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
	buf_write(b, bytes, len);
}

void buf_write_u8(struct buf *b, uint8_t v)
{
	write_be(b, v, 1);
}

void buf_write_u16be(struct buf *b, uint16_t v)
{
	write_be(b, v, 2);
}

void buf_write_u32be(struct buf *b, uint32_t v)
{
	write_be(b, v, 4);
}

void buf_write_u64be(struct buf *b, uint64_t v)
{
	write_be(b, v, 8);
}

void buf_write_uvarint(struct buf *b, uint64_t v)
{
	uint8_t bytes[UVARINT_BYTES_MAX];
	size_t len = 0;

	REQUIRE(v >> (7 * UVARINT_BYTES_MAX) == 0);
	do {
		bytes[len++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
		v >>= 7;
	} while (v > 0);
	buf_write(b, bytes, len);
}

void buf_write_str(struct buf *b, const char *s)
{
	buf_write(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list args;
	uint8_t *p;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	REQUIRE(len >= 0);
	p = buf_reserve(b, (size_t)len);
	if (p == NULL)
		return;
	va_start(args, fmt);
	(void)vsnprintf((char *)p, (size_t)len + 1, fmt, args);
	va_end(args);
	buf_advance(b, (size_t)len);
}

void buf_consume(struct buf *b, size_t n)
{
	REQUIRE(n <= b->len);
	if (n == 0)
		return;
	b->len -= n;
	memmove(b->data, b->data + n, b->len + 1);
}
