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

/** First statement of a test that looks at stacks as signals find them. */
#define NEEDS_PROMPT_SIGNALS()                                                                     \
	do {                                                                                       \
		if (SIGNALS_HELD_BACK)                                                             \
			SKIP_TEST("ThreadSanitizer holds signals back");                           \
	} while (0)
