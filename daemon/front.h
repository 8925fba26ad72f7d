/* What the front page of the debug pages says about this daemon. */
#pragma once

#include "debug_http/debug_http.h"

struct daemon;

struct front {
	/* private */
	struct daemon *daemon;
	uint64_t looked_ms, looked_cpu_us; /* where the CPU figure counts from; 0 = the start */
};

/** Fill in the front pages of `s`. Borrows until the server is closed. */
void front_attach(struct front *f, struct daemon *d, struct http_server *s);
