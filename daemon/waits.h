/* What the daemon's operations wait for in which state, for execution traces. */
#pragma once

#include "profiler/profiler.h"

/** For struct profiler_config. */
enum profiler_wait waits_of(const char *kind, const char *state);
bool waits_trace_id(struct span span, uint8_t ret[16]);
