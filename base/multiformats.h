/* Spellings of identities and addresses that other software reads (multiformats.io, libp2p specs).
 *
 *   blob    CIDv1, multibase base32 lower: codec raw 0x55, multihash blake2b-256 0xb220   bafk2bz…
 *   space   multibase base58btc of multicodec ed25519-pub 0xed + 32-byte key              z6Mk…
 *   peer    base58btc of identity multihash of the libp2p PublicKey protobuf              12D3KooW…
 *   address multiaddr text, /ip4 or /ip6, /tcp, optional /p2p /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…
 *           link-local with its interface: /ip6zone/eth0/ip6/fe80::1/tcp/4001
 *
 * All parsers take a length, accept foreign bytes, and leave outputs untouched on failure. */
#pragma once

#include "base/base.h"
#include "base/hash.h"

enum {
	KEY_SIZE = 32,
	CID_TEXT_SIZE = 64,	  /* incl. NUL; a blake2b-256 CIDv1 is 62 characters */
	KEY_TEXT_SIZE = 64,	  /* incl. NUL; z6Mk… is 48 characters */
	PEER_ID_TEXT_SIZE = 64,	  /* incl. NUL; 12D3KooW… is 52 characters */
	MULTIADDR_TEXT_SIZE = 160 /* incl. NUL */
};

/* An Ed25519 public key: names a space (author) or a peer (node). */
struct public_key {
	uint8_t bytes[KEY_SIZE];
};
bool key_eq(const struct public_key *a, const struct public_key *b);
int key_cmp(const struct public_key *a, const struct public_key *b);
bool key_is_zero(const struct public_key *k);

/** ERR_MALFORMED (alphabet, multibase prefix), ERR_LIMIT (too long). */
int base58btc_decode(const char *s, size_t len, uint8_t *dst, size_t cap, size_t *ret_len);
/** NUL-terminates; ERR_LIMIT if it does not fit. At most 128 input bytes (quadratic). */
int base58btc_encode(const uint8_t *src, size_t len, char *dst, size_t cap);
/** RFC 4648 base32, lower case, no padding. */
int base32_decode(const char *s, size_t len, uint8_t *dst, size_t cap, size_t *ret_len);
int base32_encode(const uint8_t *src, size_t len, char *dst, size_t cap);

void cid_format(const struct hash *h, char ret[CID_TEXT_SIZE]);
/** Only CIDv1 raw blake2b-256; ERR_UNSUPPORTED for another well-formed CID, ERR_MALFORMED
 * otherwise. */
int cid_parse(const char *s, size_t len, struct hash *ret);

/** z6Mk…; a did:key: prefix is accepted. */
void space_format(const struct public_key *k, char ret[KEY_TEXT_SIZE]);
int space_parse(const char *s, size_t len, struct public_key *ret);

void peer_id_format(const struct public_key *k, char ret[PEER_ID_TEXT_SIZE]);
/** base58 (12D3KooW…) or CIDv1 libp2p-key spelling; only Ed25519 keys, else ERR_UNSUPPORTED. */
int peer_id_parse(const char *s, size_t len, struct public_key *ret);

/* A dialable address. */
struct multiaddr {
	uint8_t family; /* 4 or 6 */
	uint8_t ip[16]; /* network order; 4 bytes used for family 4 */
	uint16_t port;
	bool has_peer;
	struct public_key peer;
	uint32_t zone; /* of a link-local address of family 6: the index of the interface, which
			  means something on this machine only; 0 = none */
};
/** ERR_MALFORMED; ERR_UNSUPPORTED for a known shape we do not speak (udp, quic, dns, circuit), and
 * for a zone that is not here. A zone is the name or the number of an interface of this machine. */
int multiaddr_parse(const char *s, size_t len, struct multiaddr *ret);
void multiaddr_format(const struct multiaddr *a, char ret[MULTIADDR_TEXT_SIZE]);
/** fe80::/10 */
bool multiaddr_is_link_local(const struct multiaddr *a);
/** Same ip, zone and port; the peer is not compared. */
bool multiaddr_eq(const struct multiaddr *a, const struct multiaddr *b);
struct sockaddr;
struct sockaddr_storage;
void multiaddr_to_sockaddr(const struct multiaddr *a, struct sockaddr_storage *ret);
int multiaddr_from_sockaddr(const struct sockaddr *sa, struct multiaddr *ret);
/** "1.2.3.4:80", "[::1]:80" (for --listen). ERR_MALFORMED. */
int multiaddr_parse_hostport(const char *s, size_t len, struct multiaddr *ret);
bool multiaddr_is_loopback(const struct multiaddr *a);
