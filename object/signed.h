/* The envelope of signed blobs: Signed{body, signature}. */
#pragma once

#include "base/buf.h"
#include "base/multiformats.h"
#include "object/pb.h"

enum object_signed_domain { SIGNED_COMMIT, SIGNED_CAPABILITY };

/** Sign body as it is and append the envelope to out; out is untouched on failure. UV_ENOMEM,
 * ERR_LIMIT. */
int object_signed_seal(enum object_signed_domain domain, const void *body, size_t len,
		       const uint8_t secret[64], struct buf *out);

struct object_signed_view {
	const uint8_t *body; /* borrows from the blob */
	size_t len;
	const uint8_t *signature;
};
/** Find the body without believing it. ERR_LIMIT, ERR_MALFORMED. */
int object_signed_open(const void *blob, size_t len, struct object_signed_view *ret);
/** ERR_VERIFY unless `signer` signed the body for this domain; UV_ENOMEM. */
int object_signed_verify(enum object_signed_domain domain, const struct object_signed_view *v,
			 const uint8_t signer[KEY_SIZE]);
