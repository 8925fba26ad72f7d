#include "base/hash.h"

#include <sodium.h>
#include <string.h>

#include "base/err.h"

struct hash hash_of(const void *data, size_t len)
{
	struct hash h;

	crypto_generichash_blake2b(h.bytes, sizeof(h.bytes), data, len, NULL, 0);
	return h;
}

int hash_cmp(const struct hash *a, const struct hash *b)
{
	return memcmp(a->bytes, b->bytes, HASH_SIZE);
}

bool hash_eq(const struct hash *a, const struct hash *b)
{
	return hash_cmp(a, b) == 0;
}

bool hash_is_zero(const struct hash *h)
{
	static const struct hash zero;

	return hash_eq(h, &zero);
}

void hash_hex(const struct hash *h, char ret_hex[HASH_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < HASH_SIZE; i++) {
		ret_hex[2 * i] = digits[h->bytes[i] >> 4];
		ret_hex[2 * i + 1] = digits[h->bytes[i] & 15];
	}
	ret_hex[HASH_HEX_SIZE - 1] = '\0';
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hash_from_hex(const char *hex, size_t len, struct hash *ret)
{
	struct hash h;

	if (len != HASH_HEX_SIZE - 1)
		return ERR_MALFORMED;
	for (size_t i = 0; i < HASH_SIZE; i++) {
		int high = digit_value(hex[2 * i]);
		int low = digit_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return ERR_MALFORMED;
		h.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = h;
	return 0;
}
