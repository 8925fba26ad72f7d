/* Identities as text: base58btc, base32, CIDv1, did:key, libp2p peer ids. (Addresses: multiaddr.c.)
 *
 * Layouts, outside in (varints are LEB128, in minimal form):
 *
 *   CID text      'b' + base32(cid)          | 'z' + base58btc(cid)
 *   cid           01, codec, multihash
 *   multihash     function, length, digest
 *   space         'z' + base58btc(ed 01, key)
 *   peer id       base58btc(multihash)         | CID text with codec 72 (libp2p-key)
 *                 identity multihash (00 24) of the PublicKey message 08 01 12 20 key
 *
 * Each value has one accepted spelling per encoding: base32 with non-zero bits after the last byte
 * and over-long varints are malformed, so that a text cannot be varied without changing what it
 * names. Base conversion is quadratic, therefore bounded by BASE58_BYTES_MAX. */
#include "base/multiformats.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	BASE58_BYTES_MAX = 128,
	BASE58_TEXT_MAX = 176, /* digits of 128 bytes: 128 * log(256) / log(58), rounded up */
	CID_BYTES_MAX = 80,    /* more than any CID with a digest of up to 64 bytes */
	CID_TEXT_MAX = 160,

	CID_V1 = 0x01,
	CODEC_RAW = 0x55,
	CODEC_LIBP2P_KEY = 0x72,
	CODEC_ED25519_PUB = 0xed,
	MULTIHASH_IDENTITY = 0x00,
	MULTIHASH_SHA2_256 = 0x12,
	MULTIHASH_BLAKE2B_256 = 0xb220,

	PEER_KEY_SIZE = 4 + KEY_SIZE
};

/* PublicKey protobuf: field 1 (type) = 1 (Ed25519), field 2 (data) of 32 bytes. */
static const uint8_t peer_key_prefix[4] = { 0x08, 0x01, 0x12, 0x20 };

static const char base58_alphabet[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
static const char base32_alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

/* ---- Keys ---- */

bool key_eq(const struct public_key *a, const struct public_key *b)
{
	return memcmp(a->bytes, b->bytes, KEY_SIZE) == 0;
}

int key_cmp(const struct public_key *a, const struct public_key *b)
{
	return memcmp(a->bytes, b->bytes, KEY_SIZE);
}

bool key_is_zero(const struct public_key *k)
{
	static const struct public_key zero;

	return key_eq(k, &zero);
}

/* ---- Bases ---- */

static int digit_of(const char *alphabet, size_t count, char c)
{
	const char *at = memchr(alphabet, c, count);

	return at == NULL ? -1 : (int)(at - alphabet);
}

int base58btc_decode(const char *s, size_t len, uint8_t *dst, size_t cap, size_t *ret_len)
{
	uint8_t number[BASE58_TEXT_MAX] = { 0 }; /* little endian; never longer than its text */
	size_t used = 0, zeros = 0;

	if (len > BASE58_TEXT_MAX)
		return ERR_LIMIT;
	while (zeros < len && s[zeros] == base58_alphabet[0])
		zeros++;
	for (size_t i = zeros; i < len; i++) {
		int digit = digit_of(base58_alphabet, 58, s[i]);
		uint32_t carry;

		if (digit < 0)
			return ERR_MALFORMED;
		carry = (uint32_t)digit;
		for (size_t j = 0; j < used; j++) {
			carry += number[j] * 58u;
			number[j] = (uint8_t)carry;
			carry >>= 8;
		}
		if (carry > 0)
			number[used++] = (uint8_t)carry;
	}
	if (zeros + used > cap)
		return ERR_LIMIT;
	for (size_t i = 0; i < zeros; i++)
		dst[i] = 0;
	for (size_t i = 0; i < used; i++)
		dst[zeros + i] = number[used - 1 - i];
	*ret_len = zeros + used;
	return 0;
}

int base58btc_encode(const uint8_t *src, size_t len, char *dst, size_t cap)
{
	uint8_t digits[BASE58_TEXT_MAX];
	size_t used = 0, zeros = 0;

	if (len > BASE58_BYTES_MAX)
		return ERR_LIMIT;
	while (zeros < len && src[zeros] == 0)
		zeros++;
	for (size_t i = zeros; i < len; i++) {
		uint32_t carry = src[i];

		for (size_t j = 0; j < used; j++) {
			carry += (uint32_t)digits[j] << 8;
			digits[j] = (uint8_t)(carry % 58);
			carry /= 58;
		}
		for (; carry > 0; carry /= 58)
			digits[used++] = (uint8_t)(carry % 58);
	}
	if (zeros + used + 1 > cap)
		return ERR_LIMIT;
	for (size_t i = 0; i < zeros; i++)
		dst[i] = base58_alphabet[0];
	for (size_t i = 0; i < used; i++)
		dst[zeros + i] = base58_alphabet[digits[used - 1 - i]];
	dst[zeros + used] = '\0';
	return 0;
}

static bool base32_text_ok(const char *s, size_t len)
{
	/* By length modulo 8. */
	static const uint8_t spare_bits[8] = { 0, 0xff, 2, 0xff, 4, 1, 0xff, 3 };
	uint8_t spare = spare_bits[len % 8];

	if (spare == 0xff)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (digit_of(base32_alphabet, 32, s[i]) < 0)
			return false;
	}
	return spare == 0 || (digit_of(base32_alphabet, 32, s[len - 1]) & ((1 << spare) - 1)) == 0;
}

int base32_decode(const char *s, size_t len, uint8_t *dst, size_t cap, size_t *ret_len)
{
	size_t used = 0;
	uint32_t bits = 0;
	unsigned bit_count = 0;

	if (len / 8 * 5 + len % 8 * 5 / 8 > cap)
		return ERR_LIMIT;
	if (!base32_text_ok(s, len))
		return ERR_MALFORMED;
	for (size_t i = 0; i < len; i++) {
		bits = bits << 5 | (uint32_t)digit_of(base32_alphabet, 32, s[i]);
		bit_count += 5;
		if (bit_count >= 8) {
			bit_count -= 8;
			dst[used++] = (uint8_t)(bits >> bit_count);
		}
	}
	*ret_len = used;
	return 0;
}

int base32_encode(const uint8_t *src, size_t len, char *dst, size_t cap)
{
	size_t used = 0;
	uint32_t bits = 0;
	unsigned bit_count = 0;

	if (len / 5 * 8 + (len % 5 * 8 + 4) / 5 + 1 > cap)
		return ERR_LIMIT;
	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | src[i];
		bit_count += 8;
		while (bit_count >= 5) {
			bit_count -= 5;
			dst[used++] = base32_alphabet[bits >> bit_count & 31];
		}
	}
	if (bit_count > 0)
		dst[used++] = base32_alphabet[bits << (5 - bit_count) & 31];
	dst[used] = '\0';
	return 0;
}

/* ---- CIDs ---- */

struct cid {
	uint64_t codec;
	uint64_t function;
	const uint8_t *digest; /* borrows from the bytes it was read from */
	size_t digest_len;
};

static int multihash_read(struct buf_reader *r, struct cid *ret)
{
	uint64_t digest_len;

	if (buf_read_uvarint(r, &ret->function) < 0 || buf_read_uvarint(r, &digest_len) < 0)
		return ERR_MALFORMED;
	if (digest_len != buf_left(r))
		return ERR_MALFORMED;
	ret->digest_len = buf_left(r);
	return buf_read_bytes(r, ret->digest_len, &ret->digest);
}

static int cid_bytes_read(const uint8_t *bytes, size_t len, struct cid *ret)
{
	struct buf_reader r = buf_reader(bytes, len);
	uint64_t version;

	if (buf_read_uvarint(&r, &version) < 0 || buf_read_uvarint(&r, &ret->codec) < 0)
		return ERR_MALFORMED;
	if (version != CID_V1)
		return ERR_MALFORMED;
	return multihash_read(&r, ret);
}

/* CIDv0: the base58btc of a sha2-256 multihash, without a multibase prefix. */
static bool is_cid_v0(const char *s, size_t len)
{
	uint8_t bytes[CID_BYTES_MAX];
	size_t used;

	return len == 46 && base58btc_decode(s, len, bytes, sizeof(bytes), &used) == 0 &&
	       used == 34 && bytes[0] == MULTIHASH_SHA2_256 && bytes[1] == 32;
}

/* `bytes` holds what ret points into. */
static int cid_text_read(const char *s, size_t len, uint8_t bytes[CID_BYTES_MAX], struct cid *ret)
{
	size_t used;
	int rc;

	if (len < 2)
		return ERR_MALFORMED;
	if (len > CID_TEXT_MAX)
		return ERR_LIMIT;
	if (s[0] == 'b')
		rc = base32_decode(s + 1, len - 1, bytes, CID_BYTES_MAX, &used);
	else if (s[0] == 'z')
		rc = base58btc_decode(s + 1, len - 1, bytes, CID_BYTES_MAX, &used);
	else
		return is_cid_v0(s, len) ? ERR_UNSUPPORTED : ERR_MALFORMED;
	return rc < 0 ? rc : cid_bytes_read(bytes, used, ret);
}

void cid_format(const struct hash *h, char ret[CID_TEXT_SIZE])
{
	static const uint8_t prefix[6] = { CID_V1, CODEC_RAW, 0xa0, 0xe4, 0x02, HASH_SIZE };
	uint8_t bytes[sizeof(prefix) + HASH_SIZE];

	memcpy(bytes, prefix, sizeof(prefix));
	memcpy(bytes + sizeof(prefix), h->bytes, HASH_SIZE);
	ret[0] = 'b';
	REQUIRE(base32_encode(bytes, sizeof(bytes), ret + 1, CID_TEXT_SIZE - 1) == 0);
}

int cid_parse(const char *s, size_t len, struct hash *ret)
{
	uint8_t bytes[CID_BYTES_MAX];
	struct cid cid;
	int rc = cid_text_read(s, len, bytes, &cid);

	if (rc < 0)
		return rc;
	if (cid.codec != CODEC_RAW || cid.function != MULTIHASH_BLAKE2B_256)
		return ERR_UNSUPPORTED;
	if (cid.digest_len != HASH_SIZE)
		return ERR_MALFORMED;
	memcpy(ret->bytes, cid.digest, HASH_SIZE);
	return 0;
}

/* ---- Spaces and peers ---- */

void space_format(const struct public_key *k, char ret[KEY_TEXT_SIZE])
{
	uint8_t bytes[2 + KEY_SIZE] = { 0xed, 0x01 };

	memcpy(bytes + 2, k->bytes, KEY_SIZE);
	ret[0] = 'z';
	REQUIRE(base58btc_encode(bytes, sizeof(bytes), ret + 1, KEY_TEXT_SIZE - 1) == 0);
}

int space_parse(const char *s, size_t len, struct public_key *ret)
{
	static const char did[] = "did:key:";
	uint8_t bytes[BASE58_BYTES_MAX];
	struct buf_reader r;
	uint64_t codec;
	size_t used;
	int rc;

	if (len > strlen(did) && memcmp(s, did, strlen(did)) == 0) {
		s += strlen(did);
		len -= strlen(did);
	}
	if (len < 2 || s[0] != 'z')
		return ERR_MALFORMED;
	rc = base58btc_decode(s + 1, len - 1, bytes, sizeof(bytes), &used);
	if (rc < 0)
		return rc;
	r = buf_reader(bytes, used);
	if (buf_read_uvarint(&r, &codec) < 0)
		return ERR_MALFORMED;
	if (codec != CODEC_ED25519_PUB)
		return ERR_UNSUPPORTED;
	if (buf_left(&r) != KEY_SIZE)
		return ERR_MALFORMED;
	return buf_read_copy(&r, ret->bytes, KEY_SIZE);
}

void peer_id_format(const struct public_key *k, char ret[PEER_ID_TEXT_SIZE])
{
	uint8_t bytes[2 + PEER_KEY_SIZE] = { MULTIHASH_IDENTITY, PEER_KEY_SIZE };

	memcpy(bytes + 2, peer_key_prefix, sizeof(peer_key_prefix));
	memcpy(bytes + 2 + sizeof(peer_key_prefix), k->bytes, KEY_SIZE);
	REQUIRE(base58btc_encode(bytes, sizeof(bytes), ret, PEER_ID_TEXT_SIZE) == 0);
}

/* Keys of up to 42 bytes are inlined by the identity hash, longer ones (RSA) by sha2-256. */
static int peer_key_read(const struct cid *id, struct public_key *ret)
{
	if (id->function == MULTIHASH_SHA2_256)
		return id->digest_len == 32 ? ERR_UNSUPPORTED : ERR_MALFORMED;
	if (id->function != MULTIHASH_IDENTITY || id->digest_len < sizeof(peer_key_prefix) ||
	    id->digest[0] != 0x08)
		return ERR_MALFORMED;
	if (id->digest[1] != peer_key_prefix[1])
		return ERR_UNSUPPORTED;
	if (id->digest_len != PEER_KEY_SIZE ||
	    memcmp(id->digest, peer_key_prefix, sizeof(peer_key_prefix)) != 0)
		return ERR_MALFORMED;
	memcpy(ret->bytes, id->digest + sizeof(peer_key_prefix), KEY_SIZE);
	return 0;
}

int peer_id_parse(const char *s, size_t len, struct public_key *ret)
{
	uint8_t bytes[BASE58_BYTES_MAX];
	struct cid id = { 0 };
	int rc;

	if (len >= 2 && (s[0] == '1' || (s[0] == 'Q' && s[1] == 'm'))) {
		struct buf_reader r;
		size_t used;

		rc = base58btc_decode(s, len, bytes, sizeof(bytes), &used);
		r = buf_reader(bytes, rc < 0 ? 0 : used);
		rc = rc < 0 ? rc : multihash_read(&r, &id);
	} else {
		rc = cid_text_read(s, len, bytes, &id);
		if (rc == 0 && id.codec != CODEC_LIBP2P_KEY)
			rc = ERR_UNSUPPORTED;
	}
	return rc < 0 ? rc : peer_key_read(&id, ret);
}
