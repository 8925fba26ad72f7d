/* Names found in a process of its own, which may die: libdw ends or crashes where memory is
 * refused. Private to profiler/symbols*.c.
 *
 * The helper is this very program, started anew with a verb of its own; so both sides agree on the
 * layout of what they send, and a program that was replaced on disk makes no difference. On one
 * socket: the list of modules, then addresses one way and answers the other, in the same order.
 *
 * Limits: one helper at a time, SYMBOLS_SESSION_MS for all of a session's questions,
 * SYMBOLS_HELPERS_MAX helpers in it. An answer has at most SYMBOLS_ANSWER_MAX bytes. */
#pragma once

#include "profiler/symbols_dwarf.h"

enum {
	SYMBOLS_SESSION_MS = 60000,
	SYMBOLS_HELPERS_MAX = 3,
	SYMBOLS_ANSWER_MAX = 64 << 10,
	SYMBOLS_TEXT_MAX = 480 /* of one name or path */
};

struct helper {
	const struct modules *modules; /* borrowed */
	const char *verb;	       /* static */
	int fd;			       /* -1: none runs */
	pid_t pid;
	unsigned started;
	uint64_t until_ms; /* clock_system */
	bool given_up;
	char why[96]; /* why not all were answered; "" = all were */
};

/** Nothing is started before the first question. */
void helper_init(struct helper *h, const struct modules *modules, const char *verb);
/** What it found, once for each address that was answered, in the order asked; `whole`: it was not
 * refused memory meanwhile. */
typedef void (*helper_found_fn)(void *data, uintptr_t pc, const struct symbol_found *found,
				bool whole);
/** Ask for n addresses. One at which the helper dies is passed over. */
void helper_ask(struct helper *h, const uintptr_t *pcs, unsigned n, struct arena *text,
		helper_found_fn found, void *data);
/** Ends it. */
void helper_fini(struct helper *h);

/* Helpers so far: started, those that died or were given up, addresses without an answer. */
struct helper_stats {
	uint64_t started, died, unanswered;
};
void helper_stats(struct helper_stats *ret);
