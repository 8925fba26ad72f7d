/* Log lines in logfmt on stderr, one per event: `level=info sub=store msg="..." key=value`. Under
 * journald (JOURNAL_STREAM matches stderr) a `<N>` priority replaces the time. Libraries log at
 * debug only; what happened is in the trace, and daemon/ logs the end of an operation once. Repeats
 * of one call site are rate-limited, with the count of what was left out. Thread-safe. */
#pragma once

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* One per folder; levels are set per subsystem. */
enum log_sub {
	LOG_BASE,
	LOG_TRACE,
	LOG_PROFILER,
	LOG_NET,
	LOG_STORE,
	LOG_SYNC,
	LOG_DISCOVERY,
	LOG_HTTP,
	LOG_DAEMON,
	LOG_SUB_COUNT
};

struct log_site {
	const char *file;
	int line;
	/* private */
	uint64_t window_ms;
	uint32_t in_window;
	uint32_t suppressed;
};

/** Finds out whether stderr is the journal. Before the first thread that logs; lines written
 * earlier carry the time. */
void log_init(void);
/** Lines above the level are dropped. LOG_INFO until set. */
void log_set_level(enum log_sub sub, enum log_level level);
enum log_level log_get_level(enum log_sub sub);
/** Names as in the log lines: "store", "debug". NULL / ERR_NOT_FOUND when unknown. */
const char *log_sub_name(enum log_sub sub);
const char *log_level_name(enum log_level level);
int log_sub_parse(const char *name, enum log_sub *ret);
int log_level_parse(const char *name, enum log_level *ret);

/** For tests and for a page: receives every line that passes its level and its site's rate limit
 * (10 lines in 5 s), as `level=… sub=… text` without time and newline, from the thread that logs.
 * The line goes to stderr too unless the sink returns true. NULL removes it. */
void log_set_sink(bool (*sink)(void *data, enum log_level level, const char *line), void *data);

struct clock;
/** Time of the lines and of the rate limit. Borrows; NULL = clock_system. */
void log_set_clock(const struct clock *clock);
/** Lines left out by rate limits since start. */
uint64_t log_suppressed(void);

/** Text of one line, at most 1023 bytes; a longer one is cut and marked truncated=true. Values with
 * spaces are for the caller to quote; control characters are escaped here and never reach the
 * output. */
void log_write(struct log_site *site, enum log_sub sub, enum log_level level, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

#define log_at(sub, level, ...)                                                                    \
	do {                                                                                       \
		if ((level) <= log_get_level(sub)) {                                               \
			static struct log_site site_ = { __FILE__, __LINE__, 0, 0, 0 };            \
			log_write(&site_, sub, level, __VA_ARGS__);                                \
		}                                                                                  \
	} while (0)
#define log_error(sub, ...) log_at(sub, LOG_ERROR, __VA_ARGS__)
#define log_warn(sub, ...)  log_at(sub, LOG_WARN, __VA_ARGS__)
#define log_info(sub, ...)  log_at(sub, LOG_INFO, __VA_ARGS__)
#define log_debug(sub, ...) log_at(sub, LOG_DEBUG, __VA_ARGS__)
