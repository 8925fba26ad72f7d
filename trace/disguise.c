/* Pseudonyms for what leaves the machine.
 *
 * Which texts name a person, a peer or an object cannot be told from the texts. So all of them are
 * replaced but those of a closed list: names of categories and stages, and texts of errors. The
 * list is of texts, not of places: a peer that calls itself "malformed input" gains nothing.
 * A pseudonym is a keyed hash (BLAKE2b, 64 bits): whoever has no key can neither turn it back nor
 * try out texts that are likely. */
#include <sodium.h>

#include "base/err.h"
#include "trace/store.h"

enum { HASH_SIZE = 8, PSEUDONYM_LEN = 1 + 2 * HASH_SIZE };
_Static_assert((int)PSEUDONYM_LEN < (int)TRACE_DISGUISED_MAX, "with its NUL");

static bool is_among(const char *const *list, size_t count, const char *s, size_t len)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(list[i]) == len && memcmp(list[i], s, len) == 0)
			return true;
	return false;
}

static bool is_own(const struct trace *t, const char *s, size_t len)
{
#define OWN(name, code, text) text,
#define UV(name, text)	      text,
	static const char *const errors[] = { ERR_MAP(OWN) UV_ERRNO_MAP(UV) };
#undef OWN
#undef UV

	return is_among(t->categories.text, t->categories.count, s, len) ||
	       is_among(t->stages.text, t->stages.count, s, len) ||
	       is_among(errors, ARRAY_SIZE(errors), s, len);
}

size_t trace_disguise(const struct trace *t, const uint8_t key[32], const char *s, size_t len,
		      char ret[TRACE_DISGUISED_MAX])
{
	uint8_t hash[crypto_generichash_BYTES_MIN];

	if (len < TRACE_DISGUISED_MAX && is_own(t, s, len)) {
		memcpy(ret, s, len);
		ret[len] = '\0';
		return len;
	}
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)s, len, key, 32);
	*ret = '~';
	*hex_write(ret + 1, hash, HASH_SIZE) = '\0';
	return PSEUDONYM_LEN;
}
