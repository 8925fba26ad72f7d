#include "base/err.h"

#include <errno.h>

/* libuv's own lookup allocates (and leaks) for a code it does not know, so both lists are switched
 * over here. */

const char *err_str(int code)
{
	if (code >= 0)
		return "success";
	switch (code) {
#define X(name, value, text)                                                                       \
	case value: return text;
		ERR_MAP(X)
#undef X
#define X(name, text)                                                                              \
	case UV_##name: return text;
		UV_ERRNO_MAP(X)
#undef X
	case -EDQUOT: return "disk quota exceeded"; /* libuv has no name for it */
	default: return "unknown error";
	}
}

const char *err_name(int code)
{
	if (code >= 0)
		return "OK";
	switch (code) {
#define X(name, value, text)                                                                       \
	case value: return #name;
		ERR_MAP(X)
#undef X
#define X(name, text)                                                                              \
	case UV_##name: return #name;
		UV_ERRNO_MAP(X)
#undef X
	case -EDQUOT: return "EDQUOT";
	default: return "UNKNOWN";
	}
}
