/* Hash map from byte-string keys to pointers (uthash with siphash under a per-process random key,
 * so that peers cannot choose colliding keys). Keys are copied. */
#pragma once

#include "base/base.h"

struct map {
	/* private */
	struct map_entry *head;
	size_t max_count;
};

/** max_count: named limit of entries; map_put beyond it is ERR_LIMIT. Allocates nothing. */
void map_init(struct map *m, size_t max_count);
/** Frees entries, not values. */
void map_fini(struct map *m);
size_t map_count(const struct map *m);
/** Value or NULL. */
void *map_get(const struct map *m, const void *key, size_t key_len);
/** Sets or replaces; value must not be NULL. 0, UV_ENOMEM or ERR_LIMIT. */
int map_put(struct map *m, const void *key, size_t key_len, void *value);
/** Removes and returns the value, NULL if absent. */
void *map_del(struct map *m, const void *key, size_t key_len);

/* Iteration in insertion order: for (struct map_iter it = map_first(m); it.value; map_next(&it)).
 * The current entry may be deleted inside the body. */
struct map_iter {
	const void *key;
	size_t key_len;
	void *value;
	/* private */
	struct map_entry *next;
};
struct map_iter map_first(const struct map *m);
void map_next(struct map_iter *it);
