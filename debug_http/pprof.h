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

/* What can be drawn as a flame graph (pprof_capture.c). */
enum { PPROF_SAMPLES_MAX = 4 };
struct pprof_drawn {
	const char *name;  /* as in the path */
	const char *title; /* for people */
	enum profiler_kind kind;
	const char *samples[PPROF_SAMPLES_MAX]; /* the sample types, the default first */
};
extern const struct pprof_drawn pprof_drawn[];
extern const size_t pprof_drawn_count;
/** The sample type that sample= names, or the default. Static. */
const char *pprof_sample_type(struct http_request *r, const struct pprof_drawn *drawn);

/* What the other names of profiles share (pprof_legacy.c). */

/** A failure as pprof shows it. */
void pprof_fail(struct http_request *r, int status, const char *text);
/** strconv.Atoi. False, also when it is out of range: *ret is undefined. */
bool pprof_int(const char *text, long *ret);
/** Take a profile and reply with it: a file to be saved under that name; NULL = text. The request's
 * format= and download= count (pprof_capture.c); HEAD does not wait. */
void pprof_capture(struct profiler *profiler, struct http_request *r,
		   const struct profiler_request *request, const char *file);
void pprof_serve_symbol(struct profiler *profiler, struct http_request *r, bool legacy);
void pprof_serve_cmdline(struct http_request *r);
/** An execution trace (pprof_trace.c). */
void pprof_serve_trace(struct profiler *profiler, struct http_request *r);

/** /debug/flame (flame.c). 0 or http_route's error. */
int flame_attach(struct http_server *s, struct profiler *profiler);
/** gperftools' and kubo's paths. 0 or http_route's error. */
int pprof_legacy_attach(struct http_server *s, struct profiler *profiler);
