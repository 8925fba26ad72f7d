/* Do peers reach us? Connected peers are asked to dial back (sync_dialback), one after the other;
 * their words of the last while make the verdict. Peers of the internet and neighbours are asked
 * alike, and counted apart. */
#pragma once

#include "daemon/diagnosis.h"
#include "sync/sync.h"

enum {
	REACH_LOOK_MS = 2000,	  /* between two looks at who is connected */
	REACH_BUSY_MS = 40000,	  /* it had no time for us */
	REACH_AGAIN_MS = 600000,  /* the same peer is asked again */
	REACH_VALID_MS = 1800000, /* after that a word is forgotten */
	REACH_WORDS_MAX = 5,	  /* that count, the latest of different peers */
	REACH_ASKED_MAX = 64	  /* peers remembered as asked lately */
};

/* What one peer said. */
struct reach_word {
	struct public_key peer;
	bool reached;
	uint64_t said_ms;
};
/** Half of those that still count is enough: a peer may have reasons of its own to fail, while one
 * that came in did come in. `ret_count`, may be NULL: how many count. Pure. */
enum outside reach_verdict(const struct reach_word *words, size_t count, uint64_t now_ms,
			   unsigned *ret_count);

struct reach_config {
	struct runner *runner;
	struct net *net;
	struct sync *sync;
	uint16_t port; /* where others connect; 0 = not known yet, nobody is asked */
	/** The verdict about the internet changed. */
	void (*on_verdict)(void *data, enum outside outside);
	void *data;
};
struct reach;
/** Copies, borrows what it points to. NULL when out of memory. */
struct reach *reach_new(const struct reach_config *config);
/** The way in is another one now, if under the same port perhaps: everybody is asked anew. */
void reach_set_port(struct reach *r, uint16_t port);
/** The way in may be another one under the same port: everybody is asked anew. */
void reach_forget(struct reach *r);
/** `closed` comes from the loop, never inside this call. Frees it. Before sync_close. */
void reach_close(struct reach *r, void (*closed)(void *data), void *data);

struct reach_state {
	enum outside outside, near; /* the internet; private addresses */
	unsigned asked, reached;    /* of the words about the internet that count */
	uint64_t asks, failures;    /* in all; without a word */
	bool has_seen;
	struct multiaddr seen; /* our address as a peer outside saw it last */
	bool translated;       /* and it is none of ours */
};
void reach_state(const struct reach *r, struct reach_state *ret);
