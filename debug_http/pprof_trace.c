#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "debug_http/pprof.h"

/* /debug/pprof/trace. `seconds` may have a fraction, as with Go; what is no positive number means
 * one second. Beyond Go: format=chrome is for Perfetto. */

/* strtod also takes names of numbers and hexadecimal; a name is no duration, and the other does no
 * harm. */
static bool parse_seconds(const char *text, double *ret)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !isfinite(v) || v <= 0)
		return false;
	*ret = v;
	return true;
}

void pprof_serve_trace(struct profiler *profiler, struct http_request *r)
{
	struct profiler_request request = { .kind = PROFILER_TRACE };
	char text[PPROF_PARAM_MAX];
	double seconds = 1;

	if (!pprof_param(r, "seconds", text) || !parse_seconds(text, &seconds))
		seconds = 1;
	if (seconds > PROFILER_SECONDS_MAX) {
		pprof_fail(r, 400, "profile duration exceeds server's WriteTimeout");
		return;
	}
	request.ms = MAX((unsigned)(seconds * 1000), 1u);
	request.seconds = (request.ms + 999) / 1000;
	request.chrome = pprof_param(r, "format", text) &&
			 (strcmp(text, "chrome") == 0 || strcmp(text, "json") == 0);
	pprof_capture(profiler, r, &request, request.chrome ? "trace.json" : "trace");
}
