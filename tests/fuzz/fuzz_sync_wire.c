/* Foreign sync messages: every decoder, each in an arena of its own; what decodes must encode
 * again. */
#include <stdlib.h>

#include "base/mem.h"
#include "sync/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int err)
{
	if (err < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_request request;
	struct wire_more more;
	struct wire_reply reply;
	struct arena a;
	struct buf out;

	buf_init(&out, 2 * NET_MESSAGE_MAX);
	wire_arena_init(&a, size);
	if (wire_request_decode(data, size, &a, &request) == 0)
		check(wire_request_encode(&request, &out));
	arena_fini(&a);
	wire_arena_init(&a, size);
	if (wire_more_decode(data, size, &a, &more) == 0)
		check(wire_more_encode(&more, &out));
	arena_fini(&a);
	wire_arena_init(&a, size);
	if (wire_reply_decode(data, size, &a, &reply) == 0)
		check(wire_reply_encode(&reply, &out));
	arena_fini(&a);
	buf_fini(&out);
	return 0;
}
