/* Fixed keys and sample objects for the tests of object/. Everything here is the same in every run,
 * so that encodings can be compared with bytes written down. */
#pragma once

#include <sodium.h>
#include <string.h>

#include "object/object.h"
#include "tests/unit/test_util.h"

struct test_key {
	struct public_key public;
	uint8_t secret[64];
};

/** The key whose Ed25519 seed is 32 times `n`. */
static inline struct test_key test_key(uint8_t n)
{
	struct test_key key;
	uint8_t seed[32];

	memset(seed, n, sizeof(seed));
	assert_int_equal(crypto_sign_seed_keypair(key.public.bytes, key.secret, seed), 0);
	return key;
}

/** 32 times `n`. */
static inline struct hash test_hash(uint8_t n)
{
	struct hash hash;

	memset(hash.bytes, n, sizeof(hash.bytes));
	return hash;
}

static inline struct hash test_hash_of(const char *text)
{
	return hash_of(text, strlen(text));
}

/** Owner's commit on "/docs/a" with two parents. */
static inline struct commit *test_commit(const struct test_key *owner)
{
	struct commit *c = mem_alloc(sizeof(*c));

	assert_non_null(c);
	c->space = c->author = owner->public;
	c->path_len = strlen("/docs/a");
	memcpy(c->path, "/docs/a", c->path_len);
	c->parents[0] = test_hash(1);
	c->parents[1] = test_hash(2);
	c->parent_count = 2;
	c->time_s = 1700000000;
	c->root = test_hash(7);
	c->root_kind = OBJECT_TREE;
	c->content_bytes = 123456;
	c->content_blobs = 3;
	return c;
}

/** Reads the hex text of known bytes. */
static inline size_t test_unhex(const char *hex, uint8_t *dst, size_t cap)
{
	size_t len = 0;

	assert_int_equal(sodium_hex2bin(dst, cap, hex, strlen(hex), NULL, &len, NULL), 0);
	return len;
}

/** splitmix64: the same bytes everywhere. */
static inline uint64_t test_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline void test_random_bytes(uint64_t seed, uint8_t *dst, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = test_random(&seed);

		memcpy(dst + i, &v, MIN(len - i, sizeof(v)));
	}
}

static inline void check_hash(const char *expected_hex, const struct hash *hash)
{
	char hex[HASH_HEX_SIZE];

	hash_hex(hash, hex);
	assert_string_equal(hex, expected_hex);
}
