/* What others announced to us, and the tokens that let them.
 *
 * A token is a keyed hash of the asker's IP and the key it asked for, under a secret that changes
 * every TOKEN_ROTATE_MS and is good for one more period: who holds one received it at that address
 * minutes ago. The port is not bound, since NATs change it. */
#pragma once

#include "base/map.h"
#include "base/runner.h"
#include "discovery/dht/address.h"

enum {
	PEERS_KEYS_MAX = 4096,
	PEERS_PER_KEY_MAX = 256,
	PEERS_MAX = 65536,
	PEERS_PER_IP_MAX = 2, /* ports of one IP (v6: /64) under one key */
	PEERS_LIFE_MS = 2400000,
	TOKEN_SIZE = 8,
	TOKEN_SECRET_SIZE = 16,
	TOKEN_ROTATE_MS = 300000
};

struct tokens {
	uint8_t secrets[2][TOKEN_SECRET_SIZE]; /* the present one, the one before */
	uint64_t rotated_ms;
};
void tokens_rotate(struct tokens *t, const uint8_t secret[TOKEN_SECRET_SIZE], uint64_t now_ms);
void token_make(const struct tokens *t, const struct dht_address *asker, const struct dht_id *key,
		uint8_t ret[TOKEN_SIZE]);
bool token_check(const struct tokens *t, const struct dht_address *asker, const struct dht_id *key,
		 const uint8_t *token, size_t len);

struct peers {
	struct map keys; /* dht_id → struct peers_key */
	size_t count;	 /* of all keys */
	uint64_t refused;
};
void peers_init(struct peers *s);
void peers_fini(struct peers *s);
/** Would an announcement of this key be taken? `self`: when full, a key farther from us gives way
 * to a nearer one. */
bool peers_has_room(const struct peers *s, const struct dht_id *self, const struct dht_id *key);
/** Remember or refresh. ERR_LIMIT, UV_ENOMEM. */
int peers_put(struct peers *s, const struct dht_id *self, const struct dht_id *key,
	      const struct dht_address *peer, uint64_t now_ms);
/** A random sample of the family's peers. */
size_t peers_sample(const struct peers *s, const struct dht_id *key, unsigned family_index,
		    struct runner *runner, uint64_t now_ms, struct dht_address *ret, size_t cap);
/** Drop what was not announced again. */
void peers_expire(struct peers *s, uint64_t now_ms);
