/* State and figures of the daemon, for everybody who shows them: the control API, the pages, the
 * command line. */
#pragma once

#include <jansson.h>

#include "daemon/daemon.h"

/** One object; members are added, never renamed or removed (docs/control.md). The caller's; NULL
 * when out of memory. */
json_t *figures_all(struct daemon *d);
