/* The text of a secret key's file: a prefix, the seed in hex, a newline. */
#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "object/object.h"

static const char prefix[] = "peerscope-ed25519-seed:";

enum { PREFIX_LEN = sizeof(prefix) - 1, HEX_LEN = KEYFILE_SEED_SIZE * 2 };

_Static_assert(KEYFILE_TEXT_SIZE == PREFIX_LEN + HEX_LEN + 1, "prefix, hex, newline");

void keyfile_write(const uint8_t seed[KEYFILE_SEED_SIZE], char ret[KEYFILE_TEXT_SIZE + 1])
{
	memcpy(ret, prefix, PREFIX_LEN);
	sodium_bin2hex(ret + PREFIX_LEN, HEX_LEN + 1, seed, KEYFILE_SEED_SIZE);
	ret[PREFIX_LEN + HEX_LEN] = '\n';
	ret[KEYFILE_TEXT_SIZE] = '\0';
}

static bool seed_at(const char *text, uint8_t ret[KEYFILE_SEED_SIZE])
{
	size_t got = 0;

	return memcmp(text, prefix, PREFIX_LEN) == 0 &&
	       sodium_hex2bin(ret, KEYFILE_SEED_SIZE, text + PREFIX_LEN, HEX_LEN, NULL, &got,
			      NULL) == 0 &&
	       got == KEYFILE_SEED_SIZE;
}

int keyfile_parse(const void *text, size_t len, uint8_t ret_seed[KEYFILE_SEED_SIZE])
{
	const char *s = text;

	if (len > 0 && s[len - 1] == '\n')
		len--;
	if (len != PREFIX_LEN + HEX_LEN || !seed_at(s, ret_seed))
		return ERR_MALFORMED;
	return 0;
}

bool keyfile_inside(const void *data, size_t len)
{
	const char *at = data, *end = at + len;
	uint8_t seed[KEYFILE_SEED_SIZE];
	bool found = false;

	if (len > KEYFILE_SEARCH_MAX)
		return false;
	while (!found && (size_t)(end - at) >= PREFIX_LEN + HEX_LEN &&
	       (at = memmem(at, (size_t)(end - at), prefix, PREFIX_LEN)) != NULL) {
		found = (size_t)(end - at) >= PREFIX_LEN + HEX_LEN && seed_at(at, seed);
		at++;
	}
	sodium_memzero(seed, sizeof(seed));
	return found;
}
