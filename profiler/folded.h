/* Stacks as text, for flame graphs. Private to profiler/. */
#pragma once

#include "profiler/pprof.h"
#include "profiler/profiler.h"

/** Append what profiler.h describes for `folding`: those of the stacks whose value is positive, and
 * what the table lost as a function of its own. Symbolizes; on a worker. `value`: the name of a
 * sample type; NULL, or none of them = what pprof shows first. 0, UV_ENOMEM or ERR_LIMIT. */
int folded_write(struct buf *out, const struct pprof *p, const struct stacks *stacks,
		 const struct modules *modules, enum profiler_folding folding, const char *value);
