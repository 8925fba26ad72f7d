/* The secret keys of the data folder: node.key (who this daemon is) and space.key (the space its
 * user writes to). Text files, `peerscope-ed25519-seed:` and 64 hex digits, mode 0600; made at the
 * first start, never overwritten. */
#pragma once

#include "base/multiformats.h"

enum { SECRET_SIZE = 64 };

struct secret_key {
	uint8_t secret[SECRET_SIZE]; /* as libsodium has it: seed, then public key */
	struct public_key public;
};

/** Load dir/name, or make it when it does not exist. A file that others may read (UV_EPERM), of
 * another user, or with other content (ERR_MALFORMED) is refused, with what to do in ret_why. */
int key_load(const char *dir, const char *name, struct secret_key *ret, char *ret_why,
	     size_t why_size) MUST_USE;
/** Overwrites the secret. */
void key_wipe(struct secret_key *k);
