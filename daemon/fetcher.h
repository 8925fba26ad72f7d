/* Blobs from the daemon, many at a time: what will be needed soon is asked for in one request and
 * kept until it is. Blocking. */
#pragma once

#include "base/map.h"
#include "daemon/client.h"
#include "object/object.h"

enum { FETCHER_HELD_MAX = 512, FETCHER_HELD_BYTES_MAX = 24 << 20 };

struct fetcher {
	uint64_t requests, bytes;
	/* private */
	struct client *client;
	struct map held;
	size_t held_bytes;
};
void fetcher_init(struct fetcher *f, struct client *client);
void fetcher_fini(struct fetcher *f);
/** The bytes of a blob; mem_free. Not checked against the hash: the reader does. ERR_NOT_FOUND;
 * what client_json returns. */
int fetcher_get(struct fetcher *f, const struct hash *hash, uint8_t **ret, size_t *ret_len);
/** Best effort: failures show when the blob is asked for. */
void fetcher_prefetch(struct fetcher *f, const struct hash *hashes, size_t count);
