/* Names found in a process of its own, which may die: libdw ends or crashes where memory is
 * refused. Private to profiler/symbols*.c.
 *
 * The helper is this very program, started anew with a verb of its own; so both sides agree on the
 * layout of what they send, and a program that was replaced on disk makes no difference. On one
 * socket: the list of modules, then addresses one way and answers the other, in the same order.
 *
 * To start one and to open the debug information takes some 0.2 s of CPU time and 30 MB, so it is
 * kept for HELPER_IDLE_MS: profiles are taken several at a time.
 *
 * Limits: one helper at a time, SYMBOLS_SESSION_MS for all of a session's questions,
 * SYMBOLS_HELPERS_MAX helpers in it. An answer has at most SYMBOLS_ANSWER_MAX bytes. */
#pragma once

#include "profiler/symbols_dwarf.h"

enum {
	SYMBOLS_SESSION_MS = 60000,
	SYMBOLS_HELPERS_MAX = 3,
	HELPER_IDLE_MS = 10000,
	SYMBOLS_ANSWER_MAX = 64 << 10,
	SYMBOLS_TEXT_MAX = 480 /* of one name or path */
};

struct helper {
	const struct modules *modules; /* borrowed for the session */
	const char *verb;	       /* static */
	struct modules told;	       /* what the one that runs was told */
	int fd;			       /* -1: none runs */
	pid_t pid;
	unsigned started;  /* in this session */
	unsigned unwanted; /* answers that nobody waits for */
	uint64_t used_ms;  /* the last session's end */
	uint64_t until_ms; /* clock_system */
	bool given_up;
	char why[96]; /* why not all were answered; "" = all were */
};

#define HELPER_INIT                                                                                \
	{                                                                                          \
		.fd = -1                                                                           \
	}
/** A session. Nothing is started before the first question. */
void helper_begin(struct helper *h, const struct modules *modules, const char *verb);
/** Start it if none runs, and have it open the debug information; does not wait for that. */
void helper_warm(struct helper *h, uintptr_t pc);
/** What it found, once for each address that was answered, in the order asked; `whole`: it was not
 * refused memory meanwhile. */
typedef void (*helper_found_fn)(void *data, uintptr_t pc, const struct symbol_found *found,
				bool whole);
/** Ask for n addresses. One at which the helper dies is passed over. */
void helper_ask(struct helper *h, const uintptr_t *pcs, unsigned n, struct arena *text,
		helper_found_fn found, void *data);
/** The session's end. The helper stays for a while. */
void helper_end(struct helper *h);
/** End it, when it has been idle for so long. */
void helper_stop(struct helper *h, uint64_t idle_ms);

/* Helpers so far: started, those that died or were given up, addresses without an answer. */
struct helper_stats {
	uint64_t started, died, unanswered;
};
void helper_stats(struct helper_stats *ret);
