/* ThreadSanitizer holds signals back until the thread calls into it, and stands before the walker's
 * frames: what a stack holds at an instant cannot be tested under it. */
#pragma once

#include "test_util.h"

#if defined(__SANITIZE_THREAD__)
#define SIGNALS_HELD_BACK 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIGNALS_HELD_BACK 1
#endif
#endif
#ifndef SIGNALS_HELD_BACK
#define SIGNALS_HELD_BACK 0
#endif

/* clang's sanitizers have a pthread_create of their own in the program. */
#define INTERPOSED_THREADS 1
#if defined(__clang__) && defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef INTERPOSED_THREADS
#define INTERPOSED_THREADS 0
#endif
#endif

/** First statement of a test in which threads are known from birth. */
#define NEEDS_INTERPOSED_THREADS()                                                                 \
	do {                                                                                       \
		if (!INTERPOSED_THREADS)                                                           \
			SKIP_TEST("clang's sanitizers create threads themselves");                 \
	} while (0)

/** First statement of a test that looks at stacks as signals find them. */
#define NEEDS_PROMPT_SIGNALS()                                                                     \
	do {                                                                                       \
		if (SIGNALS_HELD_BACK)                                                             \
			SKIP_TEST("ThreadSanitizer holds signals back");                           \
	} while (0)
