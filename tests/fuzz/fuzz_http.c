/* The bytes of a client through the parser, the guard, the decoder and the negotiation of
 * debug_http/: one request after another as on a connection, in pieces of a size that the first
 * byte chooses. */
#include <stdint.h>
#include <string.h>

#include "debug_http/guard.h"
#include "debug_http/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_utf8(const char *s)
{
	size_t len = strlen(s);
	uint32_t c;

	for (size_t n; len > 0; s += n, len -= n) {
		n = utf8_decode(s, len, &c);
		REQUIRE(n > 0);
	}
}

static void look(struct http_request *r)
{
	struct guard_refusal refusal;
	const char *name, *value;

	if (!guard_allows(r, &refusal)) {
		REQUIRE(refusal.status >= 400 && refusal.what != NULL);
		return;
	}
	if (!request_decode(r)) {
		REQUIRE(r->broken_status >= 400 && r->broken_why != NULL);
		return;
	}
	REQUIRE(http_request_path(r)[0] == '/');
	check_utf8(http_request_path(r));
	for (size_t i = 0; http_request_param_at(r, i, &name, &value); i++) {
		check_utf8(name);
		check_utf8(value);
	}
	(void)http_request_format(r);
	(void)request_body_announced(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request r;
	size_t piece = size > 0 ? (size_t)data[0] + 1 : 1;
	const uint8_t *p = data + (size > 0), *end = data + size;

	request_init(&r);
	r.surface = size % 7 == 0 ? HTTP_CONTROL : HTTP_DEBUG;
	r.peer_is_local = true;
	r.body_max = HTTP_DEBUG_BODY_MAX;
	while (r.phase != REQUEST_BROKEN) {
		enum request_phase before = r.phase;
		size_t used, len = MIN(piece, (size_t)(end - p));

		(void)request_feed(&r, p, len, &used);
		REQUIRE(used <= len);
		p += used;
		if (before == REQUEST_HEAD && r.phase == REQUEST_BODY) {
			look(&r);
		} else if (r.phase == REQUEST_COMPLETE) {
			(void)request_keeps_alive(&r);
			request_reset(&r);
		} else if (used == 0) {
			break;
		}
	}
	request_fini(&r);
	return 0;
}
