/* Capabilities. The input is tried as a whole blob and as a body that is signed here. */
#include <sodium.h>
#include <string.h>

#include "object/object.h"
#include "object/signed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1], seed[crypto_sign_SEEDBYTES];
	uint8_t public[KEY_SIZE], secret[64];
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct capability c, again;

	data = size > 0 ? data : nothing;
	REQUIRE(crypto_sign_seed_keypair(public, secret, seed) == 0);
	(void)capability_decode(data, size, &c);
	buf_init(&blob, OBJECT_COMMIT_MAX);
	if (object_signed_seal(SIGNED_CAPABILITY, data, size, secret, &blob) < 0 ||
	    capability_decode(blob.data, blob.len, &c) < 0)
		return 0;
	buf_clear(&blob);
	REQUIRE(capability_sign(&c, secret, &blob) == 0);
	REQUIRE(capability_decode(blob.data, blob.len, &again) == 0);
	REQUIRE(again.path_prefix_len == c.path_prefix_len && again.expires_s == c.expires_s);
	return 0;
}
