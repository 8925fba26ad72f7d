/* Pages brought in beforehand, so that signal handlers do not wait for faults. Private to
 * profiler/.
 */
#pragma once

#include "base/base.h"

/** Have the pages of [p, p + size) in place, for reading or for writing. What cannot be is left. */
void pages_populate(const void *p, size_t size, bool write);
/** The unwind tables of all that is loaded. */
void pages_populate_tables(void);
