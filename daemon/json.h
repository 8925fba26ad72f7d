/* JSON as both ends of the control socket write it. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "object/object.h"

/** jansson allocates through base/mem.h from now on. Before its first use. */
void json_setup(void);
/** Appends compact JSON. */
void json_write(struct buf *out, const json_t *value);
/** New strings; NULL when out of memory. */
json_t *json_cid(const struct hash *h);
json_t *json_space(const struct public_key *k);
json_t *json_peer_id(const struct public_key *k);
json_t *json_multiaddr(const struct multiaddr *a);
json_t *json_iri(const struct public_key *space, const char *path);
json_t *json_version(const struct hash *heads, size_t count); /* "" without heads */
json_t *json_cids(const struct hash *hashes, size_t count);
/** "2026-11-21T02:04:05Z"; null for 0. */
json_t *json_time(uint64_t seconds);
/** Member as string, number; "" / 0 when it is absent or of another type. */
const char *json_get_text(const json_t *object, const char *key);
uint64_t json_get_count(const json_t *object, const char *key);
