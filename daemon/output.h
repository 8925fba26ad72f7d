/* Where the answers of the command line go: standard output, through one place that knows whether
 * they arrived.
 *
 * Whoever writes need not look: what could not be written is remembered, nothing is written behind
 * a gap, and output_end() makes the exit code of it. One thread. */
#pragma once

#include "base/buf.h"
#include "daemon/exit.h"

/** What a closed standard descriptor would let happen is ruled out: that a socket or file gets its
 * number, and an answer for people is written into it. Before anything is opened. */
void output_init(void);

/** Bytes as they are: a profile, an archive, a file. */
void output_bytes(const void *bytes, size_t len);
/** Text for people, of whole lines: what is hidden in it (utf8_is_hidden) is written out, but for line
 * ends and tabs. A buffer that failed counts as lost output. */
void output_text(const struct buf *text);
void output_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);
/** A path that others read from a pipe: shown as text on a terminal, else its very bytes. */
void output_path(const char *path);
/** An answer could not be made at all (negative code). */
void output_failed(int code);
/** Everything up to here, now: before a message on stderr, or between lines that come one by one. */
void output_flush(void);
/** 0, or why the answer is not whole. */
int output_err(void);
/** Once, at the end: flushes, closes. Returns `code`, or the exit code of what was lost after having
 * said so; a failure of another kind stays what it is. */
int output_end(int code);
