/* Noise_XX_25519_ChaChaPoly_BLAKE2b (The Noise Protocol Framework, revision 34), built from
 * libsodium primitives.
 *
 *   -> e
 *   <- e, ee, s, es
 *   -> s, se
 *
 * Pure: no I/O, no clock; only the ephemeral key draws from randombytes. Bytes of the other side
 * are checked here and nowhere else: every failure is ERR_PROTOCOL and leaves the handshake
 * unusable. */
#pragma once

#include "base/buf.h"

enum {
	NET_NOISE_KEY_SIZE = 32,
	NET_NOISE_HASH_SIZE = 64,
	NET_NOISE_TAG_SIZE = 16,
	NET_NOISE_MESSAGE_MAX = 65535
};

/* One direction after the handshake. The zero value has no key. */
struct net_noise_cipher {
	uint8_t key[NET_NOISE_KEY_SIZE];
	uint64_t nonce;
	bool has_key;
};

/** Encrypt len bytes to dst (len + NET_NOISE_TAG_SIZE bytes). dst must not overlap src except by
 * being equal. ERR_LIMIT when the nonces are used up. */
int net_noise_encrypt(struct net_noise_cipher *c, const uint8_t *ad, size_t ad_len,
		      const uint8_t *src, size_t len, uint8_t *dst);
/** Decrypt len bytes (tag included) to dst (len - NET_NOISE_TAG_SIZE bytes). ERR_PROTOCOL when
 * forged, reordered or short. */
int net_noise_decrypt(struct net_noise_cipher *c, const uint8_t *ad, size_t ad_len,
		      const uint8_t *src, size_t len, uint8_t *dst);

struct net_noise_handshake {
	/* private */
	bool initiator, broken;
	unsigned turn; /* messages so far, both directions */
	struct net_noise_cipher cipher;
	uint8_t chaining_key[NET_NOISE_HASH_SIZE];
	uint8_t hash[NET_NOISE_HASH_SIZE];
	uint8_t static_secret[NET_NOISE_KEY_SIZE], static_public[NET_NOISE_KEY_SIZE];
	uint8_t ephemeral_secret[NET_NOISE_KEY_SIZE], ephemeral_public[NET_NOISE_KEY_SIZE];
	uint8_t remote_static[NET_NOISE_KEY_SIZE], remote_ephemeral[NET_NOISE_KEY_SIZE];
	bool has_ephemeral;
};

/** Copies everything. */
void net_noise_handshake_init(struct net_noise_handshake *h, bool initiator,
			      const uint8_t static_secret[NET_NOISE_KEY_SIZE], const void *prologue,
			      size_t prologue_len);
/** Wipes the secrets. */
void net_noise_handshake_fini(struct net_noise_handshake *h);
/** Fix the ephemeral key, for published vectors; otherwise it is drawn when first needed. */
void net_noise_handshake_set_ephemeral(struct net_noise_handshake *h,
				       const uint8_t secret[NET_NOISE_KEY_SIZE]);

/** True when the next message is ours to write. */
bool net_noise_handshake_writes(const struct net_noise_handshake *h);
/** True after the third message. */
bool net_noise_handshake_done(const struct net_noise_handshake *h);
/** Append our next message to `out`. 0, ERR_PROTOCOL (a weak key of the peer), or what stuck in the
 * buffer. */
int net_noise_handshake_write(struct net_noise_handshake *h, const void *payload, size_t len,
			      struct buf *out);
/** Take the peer's next message; its payload is appended to `payload`. 0, ERR_PROTOCOL, or what
 * stuck in the buffer. */
int net_noise_handshake_read(struct net_noise_handshake *h, const uint8_t *msg, size_t len,
			     struct buf *payload);

/** The peer's X25519 static key: proven once it has been read and the message's tag held. */
const uint8_t *net_noise_handshake_remote_static(const struct net_noise_handshake *h);
/** After net_noise_handshake_done: the transport ciphers. */
void net_noise_handshake_split(struct net_noise_handshake *h, struct net_noise_cipher *ret_send,
			       struct net_noise_cipher *ret_receive);
/** The channel binding: the same 64 bytes on both sides. */
const uint8_t *net_noise_handshake_hash(const struct net_noise_handshake *h);
