/* Byte reader and byte writer. Every parser reads through the one, every encoder writes through the
 * other. */
#pragma once

#include "base/base.h"

/* A view of foreign bytes that is consumed from the front. Borrows: valid as long as the bytes are.
 * Every buf_read_* returns 0 or ERR_TRUNCATED / ERR_MALFORMED and consumes nothing on failure. */
struct buf_reader {
	const uint8_t *p;
	const uint8_t *end;
};
static inline struct buf_reader buf_reader(const void *data, size_t len)
{
	const uint8_t *p = data;

	return (struct buf_reader){ p, len > 0 ? p + len : p };
}
static inline size_t buf_left(const struct buf_reader *r)
{
	return (size_t)(r->end - r->p);
}
int buf_read_u8(struct buf_reader *r, uint8_t *ret);
int buf_read_u16be(struct buf_reader *r, uint16_t *ret);
int buf_read_u32be(struct buf_reader *r, uint32_t *ret);
int buf_read_u64be(struct buf_reader *r, uint64_t *ret);
/** LEB128 as in multiformats (at most 9 bytes, minimal form required: ERR_MALFORMED otherwise). */
int buf_read_uvarint(struct buf_reader *r, uint64_t *ret);
/** Borrows len bytes in place. */
int buf_read_bytes(struct buf_reader *r, size_t len, const uint8_t **ret);
/** Copies len bytes out. */
int buf_read_copy(struct buf_reader *r, void *dst, size_t len);

/* Growing byte string with a hard limit. Errors stick: after the first failure every write is
 * ignored, and `err` (UV_ENOMEM or ERR_LIMIT) is looked at once, at the end. */
struct buf {
	uint8_t *data; /* owned; NUL-terminated beyond len whenever not NULL */
	size_t len;
	/* private */
	size_t cap;
	size_t limit;
	int err;
};
/** Empty, holding nothing until written to. limit = most bytes it will ever hold. */
void buf_init(struct buf *b, size_t limit);
void buf_fini(struct buf *b); /* for CLEANUP(buf_fini) too */
/** Forget the content, keep the memory and clear the error. */
void buf_clear(struct buf *b);
int buf_err(const struct buf *b);
/** Hand the bytes over to the caller (mem_free); the buffer is empty again. NULL, with ret_len 0,
 * if it holds nothing or has failed: half an encoding never gets out. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);
/** Make room and return where to write n bytes, or NULL (error sticks). Follow with buf_advance(n
 * or less). */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_advance(struct buf *b, size_t n);
void buf_write(struct buf *b, const void *data, size_t len);
void buf_write_u8(struct buf *b, uint8_t v);
void buf_write_u16be(struct buf *b, uint16_t v);
void buf_write_u32be(struct buf *b, uint32_t v);
void buf_write_u64be(struct buf *b, uint64_t v);
/** v < 2^63, the most that nine bytes hold. */
void buf_write_uvarint(struct buf *b, uint64_t v);
void buf_write_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Drop the first n bytes (moves the rest). */
void buf_consume(struct buf *b, size_t n);

/* The one escaping helper for each output format. What a reader would not see, or would see wrong
 * (utf8_is_hidden), is written out as utf8_show does, in HTML except \n and \t; in JSON as \uNNNN,
 * which means the same bytes. Invalid UTF-8 in JSON becomes U+FFFD. */
void buf_write_shown(struct buf *b, const char *s, size_t len); /* for terminals */
void buf_write_html(struct buf *b, const char *s, size_t len);
void buf_write_json_str(struct buf *b, const char *s, size_t len); /* with the quotes */
/** JSON text as an encoder wrote it, the same but for what is hidden in its strings. */
void buf_write_json_text(struct buf *b, const char *s, size_t len);

/** "1 file", "2 files": the word for n of them. */
static inline const char *plural(uint64_t n, const char *one, const char *many)
{
	return n == 1 ? one : many;
}

/** Length of the well-formed UTF-8 sequence at the front of s and its code point; 0 if there is
 * none (also when it is cut off, or len is 0). */
size_t utf8_decode(const void *s, size_t len, uint32_t *ret);
/** C0, DEL and C1: what must not reach a terminal or a page as it is. */
bool utf8_is_control(uint32_t c);
/** Control characters, and what leaves no mark of its own or changes the order of what stands
 * around it: bidirectional controls, zero-width characters, line separators, fillers, tags. A
 * stranger's text with them can pass for another text. */
bool utf8_is_hidden(uint32_t c);

enum { UTF8_SHOWN_MAX = 12 };
/** The first character of s as it may be shown: itself, or \x1b for a control character or a byte
 * that is not UTF-8, or \u202e (\U000e0001) for what is hidden. Returns the bytes of s that it
 * takes; ret is no string. len > 0. */
size_t utf8_show(const char *s, size_t len, char ret[UTF8_SHOWN_MAX], size_t *ret_len);
