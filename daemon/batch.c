#include "daemon/batch.h"

#include "base/err.h"

void batch_head(uint8_t ret[BATCH_HEAD_SIZE], uint8_t tag, uint32_t len)
{
	ret[0] = tag;
	for (size_t i = 1; i < BATCH_HEAD_SIZE; i++)
		ret[i] = (uint8_t)(len >> 8 * (BATCH_HEAD_SIZE - 1 - i));
}

void batch_write(struct buf *out, uint8_t tag, const void *data, uint32_t len)
{
	uint8_t head[BATCH_HEAD_SIZE];

	batch_head(head, tag, len);
	buf_write(out, head, sizeof(head));
	buf_write(out, data, len);
}

int batch_read(struct buf_reader *r, struct batch_record *ret)
{
	struct buf_reader at = *r;
	struct batch_record record;
	int rc;

	if (buf_left(&at) == 0)
		return ERR_NOT_FOUND;
	if ((rc = buf_read_u8(&at, &record.tag)) < 0 || (rc = buf_read_u32be(&at, &record.len)) < 0)
		return rc;
	if (record.len > OBJECT_BLOB_MAX)
		return ERR_LIMIT;
	if ((rc = buf_read_bytes(&at, record.len, &record.data)) < 0)
		return rc;
	*r = at;
	*ret = record;
	return 0;
}

int batch_check_put(const void *data, size_t len, size_t *ret_count, size_t *ret_bad)
{
	struct buf_reader r = buf_reader(data, len);
	struct batch_record record;
	size_t count = 0;
	int rc = len > BATCH_BYTES_MAX ? ERR_LIMIT : 0;

	while (rc == 0 && (rc = batch_read(&r, &record)) == 0) {
		if (count == BATCH_BLOBS_MAX)
			rc = ERR_LIMIT;
		else if (record.tag != OBJECT_CHUNK && record.tag != OBJECT_TREE &&
			 record.tag != OBJECT_FILE && record.tag != OBJECT_CAPABILITY)
			rc = ERR_MALFORMED;
		else
			count++;
	}
	if (rc == ERR_NOT_FOUND) {
		*ret_count = count;
		return 0;
	}
	*ret_bad = count;
	return rc;
}
