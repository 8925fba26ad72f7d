/* Batches as a client of the control socket may send them. */
#include "base/base.h"
#include "base/err.h"
#include "daemon/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf_reader r = buf_reader(data, size);
	struct batch_record record;
	size_t count = 0, bad = 0, seen = 0;
	int rc = batch_check_put(data, size, &count, &bad);

	while (batch_read(&r, &record) == 0) {
		REQUIRE(record.data >= data && record.len <= size);
		seen++;
	}
	REQUIRE(rc != 0 || (seen == count && buf_left(&r) == 0));
	return 0;
}
