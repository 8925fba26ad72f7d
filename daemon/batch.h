/* Batches of blobs on the control socket. Pure.
 *
 *   put    { kind u8, length u32be, bytes }…            the body of POST /v1/blobs
 *   got    { present u8, length u32be, bytes }…         the answer of POST /v1/blobs/get, in the
 * order asked
 *
 * kind is enum object_kind; absent blobs have present 0 and length 0. Records follow each other up
 * to the end of the body; anything left over is malformed. */
#pragma once

#include "base/buf.h"
#include "object/object.h"

enum {
	BATCH_BYTES_MAX = 16 << 20,    /* body of one put */
	BATCH_BLOBS_MAX = 1024,	       /* records of one put */
	BATCH_GET_MAX = 256,	       /* hashes of one get */
	BATCH_GET_BYTES_MAX = 8 << 20, /* of one answer; at least one blob is in it */
	BATCH_HAS_MAX = 4096,	       /* hashes of one has */
	BATCH_HEAD_SIZE = 5	       /* of a record */
};

struct batch_record {
	uint8_t tag;	     /* kind or present */
	const uint8_t *data; /* borrowed from the body */
	uint32_t len;
};

/** What stands before the `len` bytes of a record. */
void batch_head(uint8_t ret[BATCH_HEAD_SIZE], uint8_t tag, uint32_t len);
void batch_write(struct buf *out, uint8_t tag, const void *data, uint32_t len);
/** 0, ERR_NOT_FOUND at the end of the batch, ERR_TRUNCATED, ERR_LIMIT (over OBJECT_BLOB_MAX). */
int batch_read(struct buf_reader *r, struct batch_record *ret);
/** Looks through a whole put: kinds that may be put, lengths, count. ret_count = records; ret_bad =
 * the first bad one. 0, ERR_TRUNCATED, ERR_LIMIT, ERR_MALFORMED (kind). */
int batch_check_put(const void *data, size_t len, size_t *ret_count, size_t *ret_bad);
