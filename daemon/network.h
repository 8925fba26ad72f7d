/* How this daemon stands in the network: what sources, router and peers say, and the one sentence
 * that follows from it. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"

/** {"diagnosis", "sentence", "reachable", …}: for the status, the pages and /debug/vars. */
json_t *network_figures(struct daemon *d);
