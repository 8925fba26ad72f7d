/* libarchive does the format (PKWARE's APPNOTE; sizes behind the members, so that nothing is gone
 * back to). It hands out blocks of its own size; small ones are fine for us. */
#include "daemon/bundle_zip.h"

#include <archive.h>
#include <archive_entry.h>
#include <sodium.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"

struct bundle_zip {
	struct archive *archive;
	struct archive_entry *entry;
	crypto_hash_sha256_state hash;
	bundle_write_fn write;
	void *data;
	uint64_t left; /* bytes of the member that are to come */
	int rc;	       /* of the first write that failed */
};

static la_ssize_t on_write(struct archive *a, void *data, const void *bytes, size_t len)
{
	struct bundle_zip *z = data;

	if (z->rc == 0)
		z->rc = z->write(z->data, bytes, len);
	if (z->rc == 0)
		return (la_ssize_t)len;
	archive_set_error(a, -z->rc, "the reader is gone");
	return -1;
}

struct bundle_zip *bundle_zip_free(struct bundle_zip *z)
{
	if (z == NULL)
		return NULL;
	if (z->entry != NULL)
		archive_entry_free(z->entry);
	if (z->archive != NULL) {
		/* Nothing more is to be written; freeing alone would end the file. */
		z->rc = z->rc != 0 ? z->rc : UV_ECANCELED;
		archive_write_fail(z->archive);
		archive_write_free(z->archive);
	}
	return mem_free(z);
}

struct bundle_zip *bundle_zip_new(bundle_write_fn write, void *data)
{
	struct bundle_zip *z = mem_alloc(sizeof(*z));

	if (z == NULL)
		return NULL;
	z->write = write;
	z->data = data;
	z->archive = archive_write_new();
	z->entry = archive_entry_new();
	if (z->archive == NULL || z->entry == NULL ||
	    archive_write_set_format_zip(z->archive) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(z->archive, 1) != ARCHIVE_OK ||
	    archive_write_open2(z->archive, z, NULL, on_write, NULL, NULL) != ARCHIVE_OK)
		return bundle_zip_free(z);
	return z;
}

static int failed(const struct bundle_zip *z)
{
	return z->rc != 0 ? z->rc : UV_EIO;
}

int bundle_zip_begin(struct bundle_zip *z, const char *name, uint64_t size, bool executable)
{
	archive_entry_clear(z->entry);
	archive_entry_set_pathname(z->entry, name);
	archive_entry_set_filetype(z->entry, AE_IFREG);
	archive_entry_set_perm(z->entry, executable ? 0755 : 0644);
	archive_entry_set_mtime(z->entry, time(NULL), 0);
	archive_entry_set_size(z->entry, (int64_t)size);
	crypto_hash_sha256_init(&z->hash);
	z->left = size;
	return archive_write_header(z->archive, z->entry) == ARCHIVE_OK ? 0 : failed(z);
}

int bundle_zip_write(struct bundle_zip *z, const void *bytes, size_t len)
{
	la_ssize_t n;

	REQUIRE(len <= z->left);
	n = len > 0 ? archive_write_data(z->archive, bytes, len) : 0;
	if (n < 0 || (size_t)n != len)
		return failed(z);
	crypto_hash_sha256_update(&z->hash, bytes, len);
	z->left -= len;
	return 0;
}

int bundle_zip_end(struct bundle_zip *z, uint8_t ret_hash[BUNDLE_HASH_SIZE])
{
	static const uint8_t zeros[4096];
	int rc = 0;

	_Static_assert(BUNDLE_HASH_SIZE == crypto_hash_sha256_BYTES, "SHA-256");
	while (rc == 0 && z->left > 0)
		rc = bundle_zip_write(z, zeros, MIN(z->left, (uint64_t)sizeof(zeros)));
	if (rc < 0)
		return rc;
	if (archive_write_finish_entry(z->archive) != ARCHIVE_OK)
		return failed(z);
	crypto_hash_sha256_final(&z->hash, ret_hash);
	return 0;
}

int bundle_zip_close(struct bundle_zip *z)
{
	return archive_write_close(z->archive) == ARCHIVE_OK && z->rc == 0 ? 0 : failed(z);
}
