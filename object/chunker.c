/* Content-defined chunks: FastCDC (Xia et al., USENIX ATC 2016) with normalization level 2.
 *
 * A gear hash rolls over the bytes: fp = (fp << 1) + gear[byte]. Its top bits depend on the last 64
 * bytes and on nothing before them. A chunk ends where those bits are zero: 20 of them until the
 * chunk has reached NORMAL bytes, 16 from there on, so that most chunks end soon after NORMAL. The
 * first CHUNK_MIN bytes are skipped, apart from the 64 that fill the window, and CHUNK_MAX ends a
 * chunk in any case.
 *
 *   mean length = min + E[cut] = 0.86 * (224 + 64) KiB + 0.14 * 143 KiB = 267 KiB, close to
 * CHUNK_AVG on random bytes
 *
 * The gear table is part of how content becomes blobs: with another one, two daemons would cut the
 * same file differently and share nothing. It is the first 256 outputs of splitmix64 (Steele et
 * al., OOPSLA 2014) from GEAR_SEED. splitmix64 mixes a counter, so each entry is a constant
 * expression. A run of one byte value must end at CHUNK_MAX only; a test sees to it. */
#include "object/object.h"

#define GEAR_SEED UINT64_C(0x7065657273636f70) /* "peerscop" */

#define MIX_A(z)  (((z) ^ ((z) >> 30)) * UINT64_C(0xbf58476d1ce4e5b9))
#define MIX_B(z)  (((z) ^ ((z) >> 27)) * UINT64_C(0x94d049bb133111eb))
#define MIX_C(z)  ((z) ^ ((z) >> 31))
#define GEAR(i)	  MIX_C(MIX_B(MIX_A(GEAR_SEED + ((i) + 1) * UINT64_C(0x9e3779b97f4a7c15))))
#define GEAR4(i)  GEAR(i), GEAR((i) + 1), GEAR((i) + 2), GEAR((i) + 3)
#define GEAR16(i) GEAR4(i), GEAR4((i) + 4), GEAR4((i) + 8), GEAR4((i) + 12)
#define GEAR64(i) GEAR16(i), GEAR16((i) + 16), GEAR16((i) + 32), GEAR16((i) + 48)

static const uint64_t gear[256] = { GEAR64(0), GEAR64(64), GEAR64(128), GEAR64(192) };

enum { WINDOW = 64, NORMAL = CHUNK_AVG / 8 * 7 };

#define MASK_BEFORE_NORMAL (UINT64_MAX << 44) /* 20 bits: 18 for the mean of 256 KiB, and 2 */
#define MASK_AFTER_NORMAL  (UINT64_MAX << 48) /* 16 bits: 18 less 2 */

_Static_assert(CHUNK_AVG == 1 << 18 && (int)WINDOW < (int)CHUNK_MIN && (int)NORMAL < (int)CHUNK_MAX,
	       "the masks belong to these bounds");

/* Position behind the first byte in [from, to) at which the masked bits are zero, or 0. */
static size_t scan(const uint8_t *data, size_t from, size_t to, uint64_t mask, uint64_t *fp)
{
	uint64_t h = *fp;

#pragma GCC unroll 8
	for (size_t i = from; i < to; i++) {
		h = (h << 1) + gear[data[i]];
		if (__builtin_expect((h & mask) == 0, 0))
			return i + 1;
	}
	*fp = h;
	return 0;
}

size_t chunk_cut(const uint8_t *data, size_t len, bool more)
{
	size_t end = MIN(len, (size_t)CHUNK_MAX), normal = MIN(end, (size_t)NORMAL), cut;
	uint64_t fp = 0;

	if (more && len < CHUNK_MAX)
		return 0;
	if (end <= CHUNK_MIN)
		return end;
	for (size_t i = CHUNK_MIN - WINDOW; i < CHUNK_MIN; i++)
		fp = (fp << 1) + gear[data[i]];
	cut = scan(data, CHUNK_MIN, normal, MASK_BEFORE_NORMAL, &fp);
	if (cut == 0)
		cut = scan(data, normal, end, MASK_AFTER_NORMAL, &fp);
	return cut > 0 ? cut : end;
}
