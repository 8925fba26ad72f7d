/* The envelope of signed blobs.
 *
 *   0a <varint n> <n bytes: body>  12 40 <64 bytes: Ed25519 signature over domain, NUL, body>
 *
 * Protobuf allows many spellings of one message (unknown fields, repeated fields, long varints),
 * and the signature covers the body alone. Were they accepted around it, anyone could turn one
 * commit into any number of blobs of different hash, all valid. So the envelope is read by hand and
 * has exactly this one spelling. Inside the body unknown fields are welcome: they are signed.
 * libsodium refuses signatures with a reduced or small-order part, the other way to vary a signed
 * blob. */
#include "object/signed.h"

#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "object/object.h"

enum { BODY_TAG = 0x0a, SIGNATURE_TAG = 0x12 };

_Static_assert(OBJECT_SIGNATURE_SIZE == crypto_sign_BYTES, "Ed25519 signature");
_Static_assert(KEY_SIZE == crypto_sign_PUBLICKEYBYTES, "Ed25519 key");

static const char *domain_text(enum object_signed_domain domain)
{
	return domain == SIGNED_COMMIT ? "peerscope:commit:1" : "peerscope:capability:1";
}

/* What is signed: domain with its NUL, then body. The caller frees it. */
static uint8_t *statement(enum object_signed_domain domain, const void *body, size_t len,
			  size_t *ret_len)
{
	size_t domain_size = strlen(domain_text(domain)) + 1;
	uint8_t *bytes = mem_alloc(domain_size + len);

	if (bytes == NULL)
		return NULL;
	memcpy(bytes, domain_text(domain), domain_size);
	memcpy(bytes + domain_size, body, len);
	*ret_len = domain_size + len;
	return bytes;
}

int object_signed_seal(enum object_signed_domain domain, const void *body, size_t len,
		       const uint8_t secret[64], struct buf *out)
{
	uint8_t signature[OBJECT_SIGNATURE_SIZE];
	CLEANUP(buf_fini) struct buf envelope = { 0 };
	CLEANUP(mem_freep) uint8_t *bytes = NULL;
	size_t bytes_len;

	buf_init(&envelope, OBJECT_COMMIT_MAX);
	if (len > OBJECT_COMMIT_MAX)
		return ERR_LIMIT;
	bytes = statement(domain, body, len, &bytes_len);
	if (bytes == NULL)
		return UV_ENOMEM;
	REQUIRE(crypto_sign_detached(signature, NULL, bytes, bytes_len, secret) == 0);
	buf_write_u8(&envelope, BODY_TAG);
	buf_write_uvarint(&envelope, len);
	buf_write(&envelope, body, len);
	buf_write_u8(&envelope, SIGNATURE_TAG);
	buf_write_u8(&envelope, OBJECT_SIGNATURE_SIZE);
	buf_write(&envelope, signature, sizeof(signature));
	if (buf_err(&envelope) < 0)
		return buf_err(&envelope);
	buf_write(out, envelope.data, envelope.len);
	return buf_err(out);
}

int object_signed_open(const void *blob, size_t len, struct object_signed_view *ret)
{
	struct buf_reader r = buf_reader(blob, len);
	struct object_signed_view v;
	uint64_t body_len;
	uint8_t tag, size;

	if (len > OBJECT_COMMIT_MAX)
		return ERR_LIMIT;
	if (buf_read_u8(&r, &tag) < 0 || tag != BODY_TAG || buf_read_uvarint(&r, &body_len) < 0 ||
	    body_len == 0 || body_len > buf_left(&r))
		return ERR_MALFORMED;
	v.len = (size_t)body_len;
	if (buf_read_bytes(&r, v.len, &v.body) < 0 || buf_read_u8(&r, &tag) < 0 ||
	    tag != SIGNATURE_TAG || buf_read_u8(&r, &size) < 0 || size != OBJECT_SIGNATURE_SIZE ||
	    buf_left(&r) != OBJECT_SIGNATURE_SIZE)
		return ERR_MALFORMED;
	v.signature = r.p;
	*ret = v;
	return 0;
}

int object_signed_verify(enum object_signed_domain domain, const struct object_signed_view *v,
			 const uint8_t signer[KEY_SIZE])
{
	size_t len;
	CLEANUP(mem_freep) uint8_t *bytes = statement(domain, v->body, v->len, &len);

	if (bytes == NULL)
		return UV_ENOMEM;
	return crypto_sign_verify_detached(v->signature, bytes, len, signer) == 0 ? 0 : ERR_VERIFY;
}
