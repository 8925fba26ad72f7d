/* Who may ask. Private to debug_http/. */
#pragma once

#include "debug_http/request.h"

/* Why a request is not served. */
struct guard_refusal {
	int status;	  /* 400, 403 or 405 */
	const char *what; /* what was refused, and why; static */
};

/** Look at a complete head, before anything else does. True: go on. The control surface passes with
 * a well-formed head. */
bool guard_allows(const struct http_request *r, struct guard_refusal *ret);
