/* What the sessions of a discovery said, and what follows from it: pure functions. */
#pragma once

#include "discovery/discovery.h"

/* What one session was worth to the question. */
enum answer_peer {
	ANSWER_HEARD,	    /* all it has of it is here */
	ANSWER_PART,	    /* it answered, and some content could not be had from it */
	ANSWER_UNREACHABLE, /* no connection, or no handshake */
	ANSWER_BUSY,
	ANSWER_BAD,	/* wrong bytes, a broken protocol, versions listed and not given */
	ANSWER_UNHEARD, /* reached, but silent, cut off, refusing, or not waited for */
	ANSWER_OURS,	/* we failed: nothing is known about the peer */
	ANSWER_NOBODY	/* this daemon itself, or a peer that is asked already */
};

enum answer_peer answer_of_session(const struct sync_peer_outcome *o);
/** Count it. ANSWER_OURS counts as unheard, ANSWER_NOBODY not at all. */
void answer_count(struct discovery_peers *p, const struct sync_peer_outcome *o);

/* What is known when everybody who was to be asked has ended. */
struct answer_facts {
	bool resolved;	/* the store resolves the asked version */
	bool pinned;	/* that version was named */
	bool own_space; /* this daemon's user writes there */
	bool known;	/* commits of it are here, or a peer listed some */
	int own_error;	/* the store's, or memory; 0 = none */
	int peer_error; /* why the last peer failed that was to give something; 0 = none */
	struct discovery_peers peers;
};
struct answer_verdict {
	enum discovery_answer answer;
	int status; /* 0, or what kept it from being found or from being complete */
};
struct answer_verdict answer_judge(const struct answer_facts *f);
