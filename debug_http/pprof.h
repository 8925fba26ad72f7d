/* Private to debug_http/pprof*.c. */
#pragma once

#include "debug_http/debug_http.h"
#include "profiler/profiler.h"

enum { PPROF_PARAM_MAX = 64 }; /* a longer value counts as garbage: it is cut */

/** A parameter from a posted form, else from the query, decoded. False when absent. */
bool pprof_param(struct http_request *r, const char *name, char ret[PPROF_PARAM_MAX]);
/** The same from the text of a form (application/x-www-form-urlencoded). */
bool pprof_form_value(const char *form, size_t len, const char *name, char ret[PPROF_PARAM_MAX]);

/** The list of profiles. */
void pprof_serve_index(struct profiler *profiler, struct http_request *r);

/* What the other names of profiles share (pprof_legacy.c). */

/** A failure as pprof shows it. */
void pprof_fail(struct http_request *r, int status, const char *text);
/** strconv.Atoi. False, also when it is out of range: *ret is undefined. */
bool pprof_int(const char *text, long *ret);
/** Take a profile and reply with it: a file to be saved under that name; NULL = text. */
void pprof_capture(struct profiler *profiler, struct http_request *r,
		   const struct profiler_request *request, const char *file);
void pprof_serve_symbol(struct profiler *profiler, struct http_request *r);
void pprof_serve_cmdline(struct http_request *r);

/** gperftools' and kubo's paths. 0 or http_route's error. */
int pprof_legacy_attach(struct http_server *s, struct profiler *profiler);
