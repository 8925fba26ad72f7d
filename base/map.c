#include "base/map.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* uthash by default exits when memory runs out and hashes without a key. With these, an insertion
 * that could not allocate is rolled back and flagged on its element, and a bucket cannot be chosen
 * from outside. */
#define HASH_NONFATAL_OOM	       1
#define uthash_nonfatal_oom(elt)       ((elt)->refused = true)
#define uthash_malloc(size)	       mem_alloc(size)
#define uthash_free(p, size)	       mem_free(p)
#define HASH_FUNCTION(key, len, hashv) ((hashv) = keyed_hash((key), (len)))
#include <uthash.h>

enum { MAP_KEY_MAX = 1 << 20 };

struct map_entry {
	UT_hash_handle hh;
	void *value;
	bool refused;
	size_t key_len;
	uint8_t key[];
};

static unsigned char hash_key[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void choose_hash_key(void)
{
	crypto_shorthash_keygen(hash_key);
}

static unsigned keyed_hash(const void *key, size_t len)
{
	unsigned char out[crypto_shorthash_BYTES];
	unsigned h;

	crypto_shorthash(out, key, len, hash_key);
	memcpy(&h, out, sizeof(h));
	return h;
}

void map_init(struct map *m, size_t max_count)
{
	pthread_once(&hash_key_once, choose_hash_key);
	*m = (struct map){ .max_count = max_count };
}

void map_fini(struct map *m)
{
	struct map_entry *e, *next;

	HASH_ITER(hh, m->head, e, next) {
		HASH_DEL(m->head, e);
		mem_free(e);
	}
}

size_t map_count(const struct map *m)
{
	return HASH_COUNT(m->head);
}

static struct map_entry *find(const struct map *m, const void *key, size_t key_len)
{
	struct map_entry *e = NULL;

	if (key_len <= MAP_KEY_MAX)
		HASH_FIND(hh, m->head, key, key_len, e);
	return e;
}

void *map_get(const struct map *m, const void *key, size_t key_len)
{
	struct map_entry *e = find(m, key, key_len);

	return e != NULL ? e->value : NULL;
}

int map_put(struct map *m, const void *key, size_t key_len, void *value)
{
	struct map_entry *e = find(m, key, key_len);

	REQUIRE(value != NULL);
	if (e != NULL) {
		e->value = value;
		return 0;
	}
	if (key_len > MAP_KEY_MAX || map_count(m) >= m->max_count)
		return ERR_LIMIT;
	e = mem_alloc(sizeof(*e) + key_len);
	if (e == NULL)
		return UV_ENOMEM;
	e->value = value;
	e->key_len = key_len;
	if (key_len > 0)
		memcpy(e->key, key, key_len);
	HASH_ADD_KEYPTR(hh, m->head, e->key, key_len, e);
	if (e->refused) {
		mem_free(e);
		return UV_ENOMEM;
	}
	return 0;
}

void *map_del(struct map *m, const void *key, size_t key_len)
{
	struct map_entry *e = find(m, key, key_len);
	void *value;

	if (e == NULL)
		return NULL;
	value = e->value;
	HASH_DEL(m->head, e);
	mem_free(e);
	return value;
}

static struct map_iter iter_at(struct map_entry *e)
{
	if (e == NULL)
		return (struct map_iter){ 0 };
	return (struct map_iter){ e->key, e->key_len, e->value, e->hh.next };
}

struct map_iter map_first(const struct map *m)
{
	return iter_at(m->head);
}

void map_next(struct map_iter *it)
{
	*it = iter_at(it->next);
}
