/* traceparent headers: what is accepted must be written back as version 00 and read the same. */
#include <string.h>

#include "trace/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace_context c, again;
	char text[TRACEPARENT_SIZE];

	if (trace_context_parse((const char *)data, size, &c) != 0)
		return 0;
	trace_context_format(&c, text);
	REQUIRE(strlen(text) == TRACEPARENT_SIZE - 1);
	REQUIRE(memcmp(text + 2, data + 2, TRACEPARENT_SIZE - 3) == 0);
	REQUIRE(trace_context_parse(text, strlen(text), &again) == 0);
	REQUIRE(memcmp(&c, &again, sizeof(c)) == 0);
	return 0;
}
