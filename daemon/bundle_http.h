/* /debug/bundle: everything in one zip file, streamed as it is collected. GET and POST, so that
 * `curl -fOJ` does as well as a form; nothing in the daemon changes by it and nothing is kept. */
#pragma once

#include "daemon/daemon.h"

struct bundle_server;

/** NULL when out of memory. */
struct bundle_server *bundle_server_new(struct daemon *d);
/** After the servers are closed. */
struct bundle_server *bundle_server_free(struct bundle_server *b);
/** /debug/bundle?seconds=N&raw&binary=0 (one at a time, 409 meanwhile), /debug/bundle/status
 * (JSON), POST /debug/bundle/cancel: ends early, with what there is. */
int bundle_server_attach(struct bundle_server *b, struct http_server *s);
/** The daemon goes down: end what runs. */
void bundle_server_stop(struct bundle_server *b);
