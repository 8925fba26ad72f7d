/* What every file needs: attributes, assertions, container_of.
 *
 * base/ is the one folder with a header per facility; this one is included by all the others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/param.h>
#include <sys/types.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))

#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define CLEANUP(fn)		__attribute__((cleanup(fn)))
#define UNUSED			__attribute__((unused))
#define MUST_USE		__attribute__((warn_unused_result))

/* Each argument is evaluated once, unlike in <sys/param.h>: a call may stand in it. Not for
 * constant expressions. */
#undef MIN
#undef MAX
#define MIN(a, b)	   PICK_(a, b, <, __COUNTER__)
#define MAX(a, b)	   PICK_(a, b, >, __COUNTER__)
#define PICK_(a, b, op, n) PICK_NAMED_(a, b, op, n)
#define PICK_NAMED_(a, b, op, n)                                                                   \
	({                                                                                         \
		COMMON_TYPE_(a, b) left_##n = (a);                                                 \
		COMMON_TYPE_(a, b) right_##n = (b);                                                \
		(__typeof__(left_##n))(left_##n op right_##n ? left_##n : right_##n);              \
	})
/* Small types stay small when both sides have the same. */
#define COMMON_TYPE_(a, b)                                                                         \
	__typeof__(__builtin_choose_expr(                                                          \
		__builtin_types_compatible_p(__typeof__(a), __typeof__(b)), a, 1 ? (a) : (b)))

/** Take the pointer out of a variable that has a CLEANUP, so that the scope's end does nothing. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

/** A broken invariant of our own: prints where, a backtrace, and aborts. Never on input. */
#define REQUIRE(x) ((x) ? (void)0 : require_failed(#x, __FILE__, __LINE__, __func__))

/** An invariant whose breach the caller can survive: reports (aborts in test builds) and yields
 * false. */
#define CHECK(x) (__builtin_expect(!!(x), 1) || check_failed(#x, __FILE__, __LINE__, __func__))

_Noreturn void require_failed(const char *expr, const char *file, int line, const char *func);
bool check_failed(const char *expr, const char *file, int line, const char *func);

/** Number of CHECK failures since start; shown in /debug/vars. */
uint64_t check_failures(void);

/** Prepare what the folder shares: libsodium and the log. Once, first thing in main (and in tests
 * that hash). 0, or UV_ENOSYS when no source of randomness can be opened. */
int base_init(void) MUST_USE;
