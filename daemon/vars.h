/* /debug/vars, as Go's expvar shows figures, and /debug/metrics (also /metrics), as Prometheus
 * reads them. */
#pragma once

#include "daemon/control.h"

int vars_attach(struct control *c, struct http_server *s);
