/* Commits. A fuzzer cannot sign, so the input is tried as a whole blob and as a body that is signed
 * here. */
#include <sodium.h>
#include <string.h>

#include "object/object.h"
#include "object/signed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The key pair of an all-zero seed; bodies of this author get through to the last check. */
static void make_key(uint8_t public[KEY_SIZE], uint8_t secret[64])
{
	static const uint8_t seed[crypto_sign_SEEDBYTES];

	REQUIRE(crypto_sign_seed_keypair(public, secret, seed) == 0);
}

static bool count(void *data, const struct object_link *l)
{
	(void)l;
	++*(size_t *)data;
	return true;
}

static void check(const struct commit *c, const struct buf *blob, const uint8_t secret[64])
{
	CLEANUP(buf_fini) struct buf again = { 0 };
	struct commit decoded;
	size_t links = 0;

	REQUIRE(object_links(OBJECT_COMMIT, blob->data, blob->len, count, &links) == 0);
	REQUIRE(links == c->parent_count + c->has_capability + !c->tombstone);
	buf_init(&again, OBJECT_COMMIT_MAX);
	REQUIRE(commit_sign(c, secret, &again) == 0);
	REQUIRE(commit_decode(again.data, again.len, &decoded) == 0);
	REQUIRE(decoded.path_len == c->path_len && decoded.parent_count == c->parent_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];
	uint8_t public[KEY_SIZE], secret[64];
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct commit c;

	data = size > 0 ? data : nothing;
	make_key(public, secret);
	(void)commit_decode(data, size, &c);
	buf_init(&blob, OBJECT_COMMIT_MAX);
	if (object_signed_seal(SIGNED_COMMIT, data, size, secret, &blob) == 0 &&
	    commit_decode(blob.data, blob.len, &c) == 0)
		check(&c, &blob, secret);
	return 0;
}
