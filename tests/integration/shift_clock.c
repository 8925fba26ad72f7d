/* For LD_PRELOAD: the clock on the wall is $SHIFT_SECONDS off. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret);

int clock_gettime(clockid_t id, struct timespec *ret)
{
	static int (*real)(clockid_t id, struct timespec * ret);
	const char *shift = getenv("SHIFT_SECONDS");
	int rc;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(id, ret);
	if (rc == 0 && id == CLOCK_REALTIME && shift != NULL)
		ret->tv_sec += atol(shift);
	return rc;
}
