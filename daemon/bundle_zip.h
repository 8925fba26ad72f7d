/* A zip file written to wherever bytes go, as they come: nothing but the member under way is kept.
 * Blocking; any thread, one at a time. */
#pragma once

#include "base/base.h"

enum { BUNDLE_HASH_SIZE = 32 }; /* SHA-256 */

struct bundle_zip;

/** 0, or an error that ends the file: no write comes after it. */
typedef int (*bundle_write_fn)(void *data, const void *bytes, size_t len);

/** NULL when out of memory. */
struct bundle_zip *bundle_zip_new(bundle_write_fn write, void *data);
/** Frees without ending the file. */
struct bundle_zip *bundle_zip_free(struct bundle_zip *z);
/** A member of `size` bytes; bundle_zip_write gives them, fewer are filled up with zeros. 0, what
 * `write` returned, UV_ENOMEM, UV_EIO. */
int bundle_zip_begin(struct bundle_zip *z, const char *name, uint64_t size, bool executable);
int bundle_zip_write(struct bundle_zip *z, const void *bytes, size_t len);
int bundle_zip_end(struct bundle_zip *z, uint8_t ret_hash[BUNDLE_HASH_SIZE]);
/** The table of members; the file is complete then. */
int bundle_zip_close(struct bundle_zip *z);
