#include "discovery/dht/peers.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"

struct peers_entry {
	struct dht_address addr;
	uint64_t seen_ms;
};

struct peers_key {
	struct dht_id key;
	struct peers_entry *entries;
	size_t count, cap;
};

void tokens_rotate(struct tokens *t, const uint8_t secret[TOKEN_SECRET_SIZE], uint64_t now_ms)
{
	memcpy(t->secrets[1], t->secrets[0], TOKEN_SECRET_SIZE);
	memcpy(t->secrets[0], secret, TOKEN_SECRET_SIZE);
	t->rotated_ms = now_ms;
}

static void make_with(const uint8_t secret[TOKEN_SECRET_SIZE], const struct dht_address *asker,
		      const struct dht_id *key, uint8_t ret[TOKEN_SIZE])
{
	uint8_t text[16 + DHT_ID_SIZE];
	size_t len = address_ip_len(asker);

	_Static_assert(TOKEN_SIZE == crypto_shorthash_BYTES, "SipHash");
	_Static_assert((int)TOKEN_SECRET_SIZE == crypto_shorthash_KEYBYTES, "SipHash key");
	memcpy(text, asker->ip, len);
	memcpy(text + len, key->bytes, DHT_ID_SIZE);
	crypto_shorthash(ret, text, len + DHT_ID_SIZE, secret);
}

void token_make(const struct tokens *t, const struct dht_address *asker, const struct dht_id *key,
		uint8_t ret[TOKEN_SIZE])
{
	make_with(t->secrets[0], asker, key, ret);
}

bool token_check(const struct tokens *t, const struct dht_address *asker, const struct dht_id *key,
		 const uint8_t *token, size_t len)
{
	uint8_t want[TOKEN_SIZE];

	if (len != TOKEN_SIZE)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(t->secrets); i++) {
		make_with(t->secrets[i], asker, key, want);
		if (sodium_memcmp(want, token, TOKEN_SIZE) == 0)
			return true;
	}
	return false;
}

void peers_init(struct peers *s)
{
	*s = (struct peers){ 0 };
	map_init(&s->keys, PEERS_KEYS_MAX);
}

static struct peers_key *find(const struct peers *s, const struct dht_id *key)
{
	return map_get(&s->keys, key->bytes, DHT_ID_SIZE);
}

static void drop_key(struct peers *s, struct peers_key *k)
{
	s->count -= k->count;
	(void)map_del(&s->keys, k->key.bytes, DHT_ID_SIZE);
	mem_free(k->entries);
	mem_free(k);
}

void peers_fini(struct peers *s)
{
	for (struct map_iter it = map_first(&s->keys); it.value != NULL; map_next(&it))
		drop_key(s, it.value);
	map_fini(&s->keys);
}

static struct peers_key *farthest(const struct peers *s, const struct dht_id *self)
{
	struct peers_key *far = NULL;

	for (struct map_iter it = map_first(&s->keys); it.value != NULL; map_next(&it)) {
		struct peers_key *k = it.value;

		if (far == NULL || id_compare(self, &k->key, &far->key) > 0)
			far = k;
	}
	return far;
}

static bool is_full(const struct peers *s)
{
	return map_count(&s->keys) >= PEERS_KEYS_MAX || s->count >= PEERS_MAX;
}

bool peers_has_room(const struct peers *s, const struct dht_id *self, const struct dht_id *key)
{
	const struct peers_key *k = find(s, key);

	if (k != NULL)
		return k->count < PEERS_PER_KEY_MAX && s->count < PEERS_MAX;
	return !is_full(s) || id_compare(self, key, &farthest(s, self)->key) < 0;
}

static struct peers_key *make_key(struct peers *s, const struct dht_id *self,
				  const struct dht_id *key, int *ret_err)
{
	struct peers_key *k;

	*ret_err = ERR_LIMIT;
	if (is_full(s)) {
		struct peers_key *far = farthest(s, self);

		if (id_compare(self, key, &far->key) >= 0)
			return NULL;
		drop_key(s, far);
	}
	*ret_err = UV_ENOMEM;
	k = mem_alloc(sizeof(*k));
	if (k == NULL)
		return NULL;
	k->key = *key;
	if (map_put(&s->keys, key->bytes, DHT_ID_SIZE, k) < 0) {
		mem_free(k);
		return NULL;
	}
	return k;
}

static bool same_owner(const struct dht_address *a, const struct dht_address *b)
{
	return a->family == 6 ? address_same_net(a, b) : address_same_ip(a, b);
}

/* The entry to overwrite: the same address, or the owner's older one when it has its share. */
static struct peers_entry *find_entry(struct peers_key *k, const struct dht_address *peer)
{
	struct peers_entry *oldest = NULL;
	unsigned owned = 0;

	for (size_t i = 0; i < k->count; i++) {
		struct peers_entry *e = &k->entries[i];

		if (dht_address_eq(&e->addr, peer))
			return e;
		if (!dht_address_is_global(peer) || !same_owner(&e->addr, peer))
			continue;
		owned++;
		if (oldest == NULL || e->seen_ms < oldest->seen_ms)
			oldest = e;
	}
	return owned >= PEERS_PER_IP_MAX ? oldest : NULL;
}

static struct peers_entry *append(struct peers *s, struct peers_key *k, int *ret_err)
{
	*ret_err = ERR_LIMIT;
	if (k->count == PEERS_PER_KEY_MAX || s->count == PEERS_MAX)
		return NULL;
	if (k->count == k->cap) {
		size_t cap = MAX(k->cap * 2, 2u);
		struct peers_entry *entries = mem_realloc(k->entries, cap * sizeof(*entries));

		*ret_err = UV_ENOMEM;
		if (entries == NULL)
			return NULL;
		k->entries = entries;
		k->cap = cap;
	}
	s->count++;
	return &k->entries[k->count++];
}

int peers_put(struct peers *s, const struct dht_id *self, const struct dht_id *key,
	      const struct dht_address *peer, uint64_t now_ms)
{
	struct peers_key *k = find(s, key);
	struct peers_entry *e = NULL;
	int rc = 0;

	if (k == NULL)
		k = make_key(s, self, key, &rc);
	if (k != NULL) {
		e = find_entry(k, peer);
		if (e == NULL)
			e = append(s, k, &rc);
	}
	if (e == NULL) {
		s->refused++;
		if (k != NULL && k->count == 0)
			drop_key(s, k);
		return rc;
	}
	*e = (struct peers_entry){ *peer, now_ms };
	return 0;
}

/* One pass, each k-th fitting entry replacing a random one of the sample (reservoir). */
size_t peers_sample(const struct peers *s, const struct dht_id *key, unsigned family_index,
		    struct runner *runner, uint64_t now_ms, struct dht_address *ret, size_t cap)
{
	const struct peers_key *k = find(s, key);
	size_t fitting = 0;

	for (size_t i = 0; k != NULL && i < k->count && cap > 0; i++) {
		const struct peers_entry *e = &k->entries[i];
		size_t at = fitting;

		if (address_index(&e->addr) != family_index || now_ms - e->seen_ms >= PEERS_LIFE_MS)
			continue;
		fitting++;
		if (at >= cap)
			at = (size_t)runner_random_below(runner, fitting);
		if (at < cap)
			ret[at] = e->addr;
	}
	return MIN(fitting, cap);
}

void peers_expire(struct peers *s, uint64_t now_ms)
{
	for (struct map_iter it = map_first(&s->keys); it.value != NULL; map_next(&it)) {
		struct peers_key *k = it.value;

		for (size_t i = k->count; i-- > 0;) {
			if (now_ms - k->entries[i].seen_ms < PEERS_LIFE_MS)
				continue;
			k->entries[i] = k->entries[--k->count];
			s->count--;
		}
		if (k->count == 0)
			drop_key(s, k);
	}
}
