/* Answers of collectors of traces. */
#include "base/base.h"
#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_otlp_reply reply;

	if (trace_otlp_reply_read(data, size, &reply) < 0)
		return 0;
	REQUIRE(reply.refused <= INT64_MAX);
	REQUIRE(reply.message_len == 0 ||
		((const uint8_t *)reply.message >= data &&
		 (const uint8_t *)reply.message + reply.message_len <= data + size));
	return 0;
}
