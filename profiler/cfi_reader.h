/* Bytes of call frame information, read within bounds. Private to profiler/cfi*.c. */
#pragma once

#include <string.h>

#include "base/base.h"

enum { LEB_BITS_MAX = 63 };

/* Bytes consumed from the front; the first read past the end sticks. */
struct reader {
	const uint8_t *p, *end;
	bool bad;
};

static inline bool take(struct reader *r, void *dst, size_t n)
{
	if (r->bad || (size_t)(r->end - r->p) < n) {
		r->bad = true;
		memset(dst, 0, n);
		return false;
	}
	memcpy(dst, r->p, n);
	r->p += n;
	return true;
}

static inline void skip(struct reader *r, uint64_t n)
{
	if (r->bad || (uint64_t)(r->end - r->p) < n)
		r->bad = true;
	else
		r->p += n;
}

static inline uint8_t take_u8(struct reader *r)
{
	uint8_t v;

	take(r, &v, sizeof(v));
	return v;
}

static inline uint16_t take_u16(struct reader *r)
{
	uint16_t v;

	take(r, &v, sizeof(v));
	return v;
}

static inline uint32_t take_u32(struct reader *r)
{
	uint32_t v;

	take(r, &v, sizeof(v));
	return v;
}

static inline uint64_t take_u64(struct reader *r)
{
	uint64_t v;

	take(r, &v, sizeof(v));
	return v;
}

static inline uint64_t take_uleb(struct reader *r)
{
	uint64_t v = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = take_u8(r);
		if (shift <= LEB_BITS_MAX)
			v |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && !r->bad);
	return v;
}

static inline int64_t take_sleb(struct reader *r)
{
	uint64_t v = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = take_u8(r);
		if (shift <= LEB_BITS_MAX)
			v |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80 && !r->bad);
	if (shift <= LEB_BITS_MAX && byte & 0x40)
		v |= ~UINT64_C(0) << shift;
	return (int64_t)v;
}
