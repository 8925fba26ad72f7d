#include "base/base.h"

#include <dlfcn.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unwind.h>

#include "base/err.h"
#include "base/log.h"

enum { BACKTRACE_DEPTH_MAX = 64 };

static _Atomic uint64_t failures;

/* Prints offsets in the module, as addr2line -e takes them: our symbols are hidden. */
static _Unwind_Reason_Code print_frame(struct _Unwind_Context *context, void *data)
{
	unsigned *depth = data;
	uintptr_t ip = _Unwind_GetIP(context);
	Dl_info info;

	if (ip == 0 || *depth >= BACKTRACE_DEPTH_MAX)
		return _URC_END_OF_STACK;
	if (dladdr((void *)ip, &info) != 0 && info.dli_fname != NULL)
		dprintf(STDERR_FILENO, "  #%u %s+0x%zx %s\n", *depth, info.dli_fname,
			(size_t)(ip - (uintptr_t)info.dli_fbase),
			info.dli_sname != NULL ? info.dli_sname : "");
	else
		dprintf(STDERR_FILENO, "  #%u 0x%zx\n", *depth, (size_t)ip);
	(*depth)++;
	return _URC_NO_REASON;
}

static void print_backtrace(void)
{
	unsigned depth = 0;

	_Unwind_Backtrace(print_frame, &depth);
}

void require_failed(const char *expr, const char *file, int line, const char *func)
{
	dprintf(STDERR_FILENO, "REQUIRE(%s) failed at %s:%d in %s\n", expr, file, line, func);
	print_backtrace();
	abort();
}

bool check_failed(const char *expr, const char *file, int line, const char *func)
{
	atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
#ifdef PEERSCOPE_TEST_HOOKS
	dprintf(STDERR_FILENO, "CHECK(%s) failed at %s:%d in %s\n", expr, file, line, func);
	print_backtrace();
	abort();
#else
	log_error(LOG_BASE, "msg=\"check failed\" expr=\"%s\" at=%s:%d func=%s", expr, file, line,
		  func);
	return false;
#endif
}

uint64_t check_failures(void)
{
	return atomic_load_explicit(&failures, memory_order_relaxed);
}

int base_init(void)
{
	if (sodium_init() < 0)
		return UV_ENOSYS;
	log_init();
	return 0;
}
