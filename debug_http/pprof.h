/* Private to debug_http/pprof*.c. */
#pragma once

#include "debug_http/debug_http.h"
#include "profiler/profiler.h"

enum { PPROF_PARAM_MAX = 64 }; /* a longer value counts as garbage: it is cut */

/** A parameter from a posted form, else from the query, decoded. False when absent. */
bool pprof_param(struct http_request *r, const char *name, char ret[PPROF_PARAM_MAX]);
/** The same from the text of a form (application/x-www-form-urlencoded). */
bool pprof_form_value(const char *form, size_t len, const char *name, char ret[PPROF_PARAM_MAX]);
