/* BLAKE2b-256: the only identity of a blob, everywhere (set, store, wire). */
#pragma once

#include "base/base.h"

enum { HASH_SIZE = 32, HASH_HEX_SIZE = 65 };

struct hash {
	uint8_t bytes[HASH_SIZE];
};

/** Hash of len bytes (RFC 7693, unkeyed, 32-byte digest). */
struct hash hash_of(const void *data, size_t len);
/** memcmp order, which is the order of the reconciled set. */
int hash_cmp(const struct hash *a, const struct hash *b);
bool hash_eq(const struct hash *a, const struct hash *b);
bool hash_is_zero(const struct hash *h);
/** 64 lower-case hex digits and a NUL. */
void hash_hex(const struct hash *h, char ret_hex[HASH_HEX_SIZE]);
/** ERR_MALFORMED unless exactly 64 hex digits. */
int hash_from_hex(const char *hex, size_t len, struct hash *ret);
