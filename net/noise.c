/* The three objects of the Noise specification (section 5) for one fixed pattern:
 *
 *   CipherState     key and 64-bit nonce; ChaCha20-Poly1305, its nonce being four zero bytes and
 *                   the counter, little-endian
 *   SymmetricState  chaining key, transcript hash, cipher; HKDF over HMAC-BLAKE2b-512 (HASHLEN 64,
 *                   BLOCKLEN 128)
 *   HandshakeState  the tokens of XX, written out per message instead of interpreted
 *
 * What can go wrong: a Diffie-Hellman result of all zeros (a low-order key was sent) is refused,
 * which the specification leaves open; a nonce never wraps; a message of the wrong size or with a
 * bad tag ends the handshake. */
#include "net/noise.h"

#include <sodium.h>
#include <string.h>

#include "base/err.h"

enum { BLOCK_SIZE = 128, NONCE_SIZE = 12 };

static const char protocol_name[] = "Noise_XX_25519_ChaChaPoly_BLAKE2b";

_Static_assert(NET_NOISE_KEY_SIZE == crypto_aead_chacha20poly1305_IETF_KEYBYTES, "cipher key");
_Static_assert(NET_NOISE_KEY_SIZE == crypto_scalarmult_BYTES, "curve point");
_Static_assert(NET_NOISE_TAG_SIZE == crypto_aead_chacha20poly1305_IETF_ABYTES, "tag");
_Static_assert(NONCE_SIZE == crypto_aead_chacha20poly1305_IETF_NPUBBYTES, "nonce");
_Static_assert(NET_NOISE_HASH_SIZE == crypto_generichash_BYTES_MAX, "BLAKE2b-512");
_Static_assert(sizeof(protocol_name) - 1 <= NET_NOISE_HASH_SIZE,
	       "the name is its own initial hash");

/* ---- CipherState ---- */

static void nonce_bytes(uint64_t n, uint8_t ret[NONCE_SIZE])
{
	memset(ret, 0, NONCE_SIZE);
	for (unsigned i = 0; i < 8; i++)
		ret[4 + i] = (uint8_t)(n >> (8 * i));
}

int net_noise_encrypt(struct net_noise_cipher *c, const uint8_t *ad, size_t ad_len,
		      const uint8_t *src, size_t len, uint8_t *dst)
{
	uint8_t nonce[NONCE_SIZE];

	REQUIRE(c->has_key);
	if (c->nonce == UINT64_MAX)
		return ERR_LIMIT;
	nonce_bytes(c->nonce++, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(dst, NULL, src, len, ad, ad_len, NULL, nonce,
						  c->key);
	return 0;
}

int net_noise_decrypt(struct net_noise_cipher *c, const uint8_t *ad, size_t ad_len,
		      const uint8_t *src, size_t len, uint8_t *dst)
{
	uint8_t nonce[NONCE_SIZE];

	REQUIRE(c->has_key);
	if (len < NET_NOISE_TAG_SIZE || c->nonce == UINT64_MAX)
		return ERR_PROTOCOL;
	nonce_bytes(c->nonce, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(dst, NULL, NULL, src, len, ad, ad_len, nonce,
						      c->key) != 0)
		return ERR_PROTOCOL;
	c->nonce++;
	return 0;
}

/* ---- SymmetricState ---- */

struct piece {
	const void *data;
	size_t len;
};

static void hash_pieces(const struct piece *pieces, size_t count, uint8_t ret[NET_NOISE_HASH_SIZE])
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, NET_NOISE_HASH_SIZE);
	for (size_t i = 0; i < count; i++)
		crypto_generichash_update(&st, pieces[i].data, pieces[i].len);
	crypto_generichash_final(&st, ret, NET_NOISE_HASH_SIZE);
}

/* RFC 2104 with the unkeyed hash: BLAKE2b's own keyed mode is not what Noise means by HMAC. */
static void hmac(const uint8_t key[NET_NOISE_HASH_SIZE], const void *a, size_t a_len, uint8_t last,
		 bool has_last, uint8_t ret[NET_NOISE_HASH_SIZE])
{
	uint8_t inner[BLOCK_SIZE], outer[BLOCK_SIZE], digest[NET_NOISE_HASH_SIZE];

	memset(inner, 0x36, sizeof(inner));
	memset(outer, 0x5c, sizeof(outer));
	for (size_t i = 0; i < NET_NOISE_HASH_SIZE; i++) {
		inner[i] ^= key[i];
		outer[i] ^= key[i];
	}
	hash_pieces((struct piece[]){ { inner, BLOCK_SIZE }, { a, a_len }, { &last, has_last } }, 3,
		    digest);
	hash_pieces((struct piece[]){ { outer, BLOCK_SIZE }, { digest, NET_NOISE_HASH_SIZE } }, 2,
		    ret);
	sodium_memzero(inner, sizeof(inner));
	sodium_memzero(outer, sizeof(outer));
	sodium_memzero(digest, sizeof(digest));
}

static void hkdf2(const uint8_t chaining_key[NET_NOISE_HASH_SIZE], const uint8_t *input, size_t len,
		  uint8_t ret1[NET_NOISE_HASH_SIZE], uint8_t ret2[NET_NOISE_HASH_SIZE])
{
	uint8_t temp[NET_NOISE_HASH_SIZE], first[NET_NOISE_HASH_SIZE];

	hmac(chaining_key, input, len, 0, false, temp);
	hmac(temp, NULL, 0, 1, true, first);
	hmac(temp, first, sizeof(first), 2, true, ret2);
	memcpy(ret1, first, sizeof(first));
	sodium_memzero(temp, sizeof(temp));
	sodium_memzero(first, sizeof(first));
}

static void mix_hash(struct net_noise_handshake *h, const void *data, size_t len)
{
	hash_pieces((struct piece[]){ { h->hash, NET_NOISE_HASH_SIZE }, { data, len } }, 2,
		    h->hash);
}

static void mix_key(struct net_noise_handshake *h, const uint8_t secret[NET_NOISE_KEY_SIZE])
{
	uint8_t key[NET_NOISE_HASH_SIZE];

	hkdf2(h->chaining_key, secret, NET_NOISE_KEY_SIZE, h->chaining_key, key);
	memcpy(h->cipher.key, key, NET_NOISE_KEY_SIZE);
	h->cipher.nonce = 0;
	h->cipher.has_key = true;
	sodium_memzero(key, sizeof(key));
}

static int mix_dh(struct net_noise_handshake *h, const uint8_t *secret, const uint8_t *point)
{
	uint8_t shared[NET_NOISE_KEY_SIZE];

	if (crypto_scalarmult(shared, secret, point) != 0)
		return ERR_PROTOCOL;
	mix_key(h, shared);
	sodium_memzero(shared, sizeof(shared));
	return 0;
}

static int encrypt_and_hash(struct net_noise_handshake *h, const void *data, size_t len,
			    struct buf *out)
{
	size_t size = len + (h->cipher.has_key ? NET_NOISE_TAG_SIZE : 0);
	uint8_t *dst = buf_reserve(out, size);

	if (!dst)
		return buf_err(out);
	if (h->cipher.has_key) {
		int err =
			net_noise_encrypt(&h->cipher, h->hash, NET_NOISE_HASH_SIZE, data, len, dst);
		if (err)
			return err;
	} else if (len > 0) {
		memcpy(dst, data, len);
	}
	mix_hash(h, dst, size);
	buf_advance(out, size);
	return 0;
}

/* dst has room for len bytes, or for len - NET_NOISE_TAG_SIZE once there is a key. */
static int decrypt_and_hash(struct net_noise_handshake *h, const uint8_t *data, size_t len,
			    uint8_t *dst)
{
	if (h->cipher.has_key) {
		int err =
			net_noise_decrypt(&h->cipher, h->hash, NET_NOISE_HASH_SIZE, data, len, dst);
		if (err)
			return err;
	} else if (len > 0) {
		memcpy(dst, data, len);
	}
	mix_hash(h, data, len);
	return 0;
}

/* ---- HandshakeState ---- */

void net_noise_handshake_init(struct net_noise_handshake *h, bool initiator,
			      const uint8_t static_secret[NET_NOISE_KEY_SIZE], const void *prologue,
			      size_t prologue_len)
{
	memset(h, 0, sizeof(*h));
	h->initiator = initiator;
	memcpy(h->static_secret, static_secret, NET_NOISE_KEY_SIZE);
	(void)crypto_scalarmult_base(h->static_public, static_secret);
	memcpy(h->hash, protocol_name, sizeof(protocol_name) - 1);
	memcpy(h->chaining_key, h->hash, NET_NOISE_HASH_SIZE);
	mix_hash(h, prologue, prologue_len);
}

void net_noise_handshake_fini(struct net_noise_handshake *h)
{
	sodium_memzero(h, sizeof(*h));
}

void net_noise_handshake_set_ephemeral(struct net_noise_handshake *h,
				       const uint8_t secret[NET_NOISE_KEY_SIZE])
{
	memcpy(h->ephemeral_secret, secret, NET_NOISE_KEY_SIZE);
	(void)crypto_scalarmult_base(h->ephemeral_public, secret);
	h->has_ephemeral = true;
}

bool net_noise_handshake_done(const struct net_noise_handshake *h)
{
	return h->turn == 3;
}

bool net_noise_handshake_writes(const struct net_noise_handshake *h)
{
	return !net_noise_handshake_done(h) && (h->turn % 2 == 0) == h->initiator;
}

static void write_ephemeral(struct net_noise_handshake *h, struct buf *out)
{
	if (!h->has_ephemeral) {
		uint8_t secret[NET_NOISE_KEY_SIZE];

		randombytes_buf(secret, sizeof(secret));
		net_noise_handshake_set_ephemeral(h, secret);
		sodium_memzero(secret, sizeof(secret));
	}
	buf_write(out, h->ephemeral_public, NET_NOISE_KEY_SIZE);
	mix_hash(h, h->ephemeral_public, NET_NOISE_KEY_SIZE);
}

static int write_tokens(struct net_noise_handshake *h, struct buf *out)
{
	int err;

	if (h->turn < 2)
		write_ephemeral(h, out);
	if (h->turn == 0)
		return 0;
	if (h->turn == 1) {
		err = mix_dh(h, h->ephemeral_secret, h->remote_ephemeral);
		if (err)
			return err;
	}
	err = encrypt_and_hash(h, h->static_public, NET_NOISE_KEY_SIZE, out);
	if (err)
		return err;
	return mix_dh(h, h->static_secret, h->remote_ephemeral);
}

int net_noise_handshake_write(struct net_noise_handshake *h, const void *payload, size_t len,
			      struct buf *out)
{
	int err;

	REQUIRE(net_noise_handshake_writes(h) && !h->broken);
	err = write_tokens(h, out);
	if (!err)
		err = encrypt_and_hash(h, payload, len, out);
	if (!err)
		err = buf_err(out);
	h->turn++;
	h->broken = err != 0;
	return err;
}

static int read_tokens(struct net_noise_handshake *h, struct buf_reader *r)
{
	const uint8_t *sealed;
	int err;

	if (h->turn < 2) {
		if (buf_read_copy(r, h->remote_ephemeral, NET_NOISE_KEY_SIZE) != 0)
			return ERR_PROTOCOL;
		mix_hash(h, h->remote_ephemeral, NET_NOISE_KEY_SIZE);
	}
	if (h->turn == 0)
		return 0;
	if (h->turn == 1) {
		err = mix_dh(h, h->ephemeral_secret, h->remote_ephemeral);
		if (err)
			return err;
	}
	if (buf_read_bytes(r, NET_NOISE_KEY_SIZE + NET_NOISE_TAG_SIZE, &sealed) != 0)
		return ERR_PROTOCOL;
	err = decrypt_and_hash(h, sealed, NET_NOISE_KEY_SIZE + NET_NOISE_TAG_SIZE,
			       h->remote_static);
	if (err)
		return err;
	return mix_dh(h, h->ephemeral_secret, h->remote_static);
}

int net_noise_handshake_read(struct net_noise_handshake *h, const uint8_t *msg, size_t len,
			     struct buf *payload)
{
	struct buf_reader r = buf_reader(msg, len);
	size_t size;
	uint8_t *dst;
	int err = ERR_PROTOCOL;

	REQUIRE(!net_noise_handshake_writes(h) && !net_noise_handshake_done(h));
	if (h->broken || len > NET_NOISE_MESSAGE_MAX)
		goto out;
	err = read_tokens(h, &r);
	if (err)
		goto out;
	err = ERR_PROTOCOL;
	if (h->cipher.has_key && buf_left(&r) < NET_NOISE_TAG_SIZE)
		goto out;
	size = buf_left(&r) - (h->cipher.has_key ? NET_NOISE_TAG_SIZE : 0);
	dst = buf_reserve(payload, size);
	err = dst ? decrypt_and_hash(h, r.p, buf_left(&r), dst) : buf_err(payload);
	if (!err)
		buf_advance(payload, size);
out:
	h->turn++;
	h->broken = err != 0;
	return err;
}

const uint8_t *net_noise_handshake_remote_static(const struct net_noise_handshake *h)
{
	return h->remote_static;
}

void net_noise_handshake_split(struct net_noise_handshake *h, struct net_noise_cipher *ret_send,
			       struct net_noise_cipher *ret_receive)
{
	uint8_t first[NET_NOISE_HASH_SIZE], second[NET_NOISE_HASH_SIZE];

	REQUIRE(net_noise_handshake_done(h) && !h->broken);
	hkdf2(h->chaining_key, NULL, 0, first, second);
	*ret_send = (struct net_noise_cipher){ .has_key = true };
	*ret_receive = (struct net_noise_cipher){ .has_key = true };
	memcpy(ret_send->key, h->initiator ? first : second, NET_NOISE_KEY_SIZE);
	memcpy(ret_receive->key, h->initiator ? second : first, NET_NOISE_KEY_SIZE);
	sodium_memzero(first, sizeof(first));
	sodium_memzero(second, sizeof(second));
}

const uint8_t *net_noise_handshake_hash(const struct net_noise_handshake *h)
{
	return h->hash;
}
