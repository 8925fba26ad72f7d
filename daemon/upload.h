/* Hands blobs to the daemon in batches, and only those it does not have. Blocking. */
#pragma once

#include "daemon/client.h"
#include "object/object.h"

enum { UPLOAD_BATCH_BLOBS = 512, UPLOAD_BATCH_BYTES = 8 << 20 };

struct upload_blob;
struct upload {
	uint64_t blobs, new_blobs, new_bytes; /* handed over; really sent */
	/* private */
	struct client *client;
	struct upload_blob *pending;
	size_t count, bytes;
};
/** UV_ENOMEM. */
int upload_init(struct upload *u, struct client *client);
void upload_fini(struct upload *u);
/** Copies. 0, or what client_json returns. */
int upload_add(struct upload *u, enum object_kind kind, const struct hash *hash, const void *data,
	       size_t len);
/** Everything added so far is in the store when it returns 0. */
int upload_flush(struct upload *u);
