/* The latest log lines, kept in memory: for a page and for people who have no journal. Every line
 * that passes its level and its site's rate limit is kept, wherever else it goes. Lines are
 * numbered from 1; the oldest make room for new ones. Thread-safe. */
#pragma once

#include "base/log.h"

enum {
	LOG_RING_BYTES = 512 << 10, /* of text */
	LOG_RING_LINES = 4096,
	LOG_RECORD_MAX = 4608 /* the longest line there can be */
};

struct log_record {
	uint64_t number, wall_ns;
	enum log_sub sub;
	enum log_level level;
	size_t len;
	char text[LOG_RECORD_MAX]; /* `msg=… key=…`, without level and subsystem */
};

struct log_ring_stats {
	uint64_t written;		  /* lines since the start = the number of the newest */
	uint64_t dropped;		  /* made room for newer ones */
	uint64_t bytes;			  /* of text kept */
	uint64_t by_level[LOG_DEBUG + 1]; /* written */
};

/** `text` is escaped and shorter than LOG_RECORD_MAX. */
void log_ring_add(enum log_sub sub, enum log_level level, uint64_t wall_ns, const char *text);
/** The oldest line kept whose number is above `after`; false when there is none. A number that is
 * larger than after + 1 means that lines between were dropped. */
bool log_ring_next(uint64_t after, struct log_record *ret);
void log_ring_stats(struct log_ring_stats *ret);
/** "2026-11-21T02:00:00.123Z". */
enum { LOG_TIME_SIZE = 32 };
void log_time(char ret[LOG_TIME_SIZE], uint64_t wall_ns);
