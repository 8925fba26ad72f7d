/* The want set of a wave: what is to be fetched, who has it, and how far each piece is. Pure; loop
 * thread.
 *
 *   checking   a peer listed it; whether the store has it already is being looked up
 *   wanted     to be asked for
 *   in flight  asked from one peer (holder), or by another wave (holder FETCH_ELSEWHERE); or
 * arrived and not yet stored stashed    arrived, and waits in the store for what it depends on
 *   deferred   arrived before what it depends on, and the store had no room to keep it: asked for
 * again when that is here, with all that waits for it in turn, parents first (fetch_defer.c)
 *   stored, refused, failed   settled. Failed: everybody who advertised it was asked in vain
 *
 * Advertised (a peer listed this commit): only its advertisers are asked, or a peer could make us
 * ask everyone for what does not exist. Known (a stored, verified blob refers to it): it inherits
 * the advertisers of what led to it; when none of them is left, or there is plenty to share, any
 * peer whose reconciliation succeeded is asked too, and it fails only with the wave.
 *
 * Overtaking: what is in flight may be asked from a second peer, which becomes its holder. The
 * first one stays an asker, whose answer is as good as any: whoever is first with it wins.
 *
 * Order: by priority; commits then as they were listed, which is by time, parents before children
 * as far as times tell; the rest by what fewest peers have, then as it came. Counts are exact at any
 * time.
 */
#pragma once

#include "store/store.h"
#include "sync/claims.h"
#include "sync/sync.h"

enum {
	FETCH_PEERS_MAX = SYNC_WAVE_PEERS_MAX, /* peers are numbers below this, given by the wave */
	FETCH_ELSEWHERE = 0xffff,
	FETCH_ASKERS_MAX = 3, /* peers that one want is asked from at the same time */
	FETCH_PRIORITIES = STORE_WANT_HISTORY + 1,
	FETCH_SIZE_GUESS = 4096, /* bytes assumed of a want of unknown size */
	FETCH_SHARE_MIN = 64,  /* wants queued of a kind, from which on peers that did not advertise
				  them help */
	FETCH_MISSES_MAX = 32, /* answers "missing" after which a peer is no longer asked for what
				  it did not advertise */
	FETCH_GROUP_SCAN_MAX = 4096,  /* groups looked at per call */
	FETCH_OVERTAKE_SCAN_MAX = 512 /* wants in flight looked at per call */
};

enum fetch_state {
	FETCH_CHECKING,
	FETCH_WANTED,
	FETCH_IN_FLIGHT,
	FETCH_STASHED,
	FETCH_DEFERRED,
	FETCH_FAILED,
	FETCH_STORED,
	FETCH_REFUSED,
	FETCH_STATES
};

struct fetch_group;

struct fetch_want {
	struct hash hash;
	uint32_t size;	  /* 0 = unknown */
	uint8_t kind;	  /* enum object_kind */
	uint8_t priority; /* enum store_priority */
	uint8_t state;	  /* enum fetch_state */
	bool known;
	bool here;	 /* in flight: its bytes came to the holder, which is about to store them */
	bool claimed;	 /* in flight: this wave holds a claim on it; the sessions' to keep */
	uint16_t holder; /* in flight: whom it was asked from last, or who has its bytes */
	uint8_t asker_count;
	uint16_t askers[FETCH_ASKERS_MAX]; /* who may still answer; the holder among them */
	uint64_t since_ms;		   /* in flight: when it was asked from the holder */
	uint64_t behind; /* the holder's: how many bytes it was asked for up to this one */
	struct claim_waiter waiter; /* in flight elsewhere */
	/* private */
	struct list node;
	uint64_t reading;	/* content: the reading of what the store wants that it is of */
	uint64_t rank;		/* a commit: the how manieth to be looked up */
	struct list dependents; /* deferred until this one is settled */
	struct list defer_node; /* deferred: in the list of what it waits for */
	struct hash *needs;	/* what it lacked when it was deferred */
	uint8_t need_count;
	bool woken; /* deferred before, and asked for again since */
	struct fetch_set *set;
	struct fetch_group *group;
};

struct fetch_counts {
	uint64_t state[FETCH_STATES];	      /* how many there are now */
	uint64_t discovered;		      /* ever found to be absent */
	uint64_t already;		      /* listed by a peer, and here (or refused before) */
	uint64_t unsettled[FETCH_PRIORITIES]; /* checking, wanted or in flight, by priority */
	uint64_t expected_bytes;	      /* of everything discovered whose size is known */
	uint64_t stored_bytes;		      /* of that what is here now, whoever brought it */
	uint64_t commits_behind;	      /* commits neither stored nor refused */
};

struct fetch_set;
/** Wants above max_priority are left out. Holds at most `max` wants. `owner` is the caller's. NULL
 * when out of memory. */
struct fetch_set *fetch_set_new(uint8_t max_priority, size_t max, void *owner);
/** Cancels what waits on claims. */
struct fetch_set *fetch_set_free(struct fetch_set *s);
const struct fetch_counts *fetch_set_counts(const struct fetch_set *s);
/** Neither stored nor given up. */
uint64_t fetch_set_outstanding(const struct fetch_set *s);
/** Of these: those that nobody but doubted peers advertised. */
uint64_t fetch_set_doubtful(const struct fetch_set *s);
/** The highest priority up to which nothing is checking, wanted or in flight; -1 if there is none.
 */
int fetch_set_settled(const struct fetch_set *s);
struct fetch_want *fetch_set_find(const struct fetch_set *s, const struct hash *h);

/* ---- Peers ---- */

/** May still provide something. */
void fetch_set_join(struct fetch_set *s, unsigned peer);
/** Its reconciliation succeeded: it is in the scope, and may have any known want. */
void fetch_set_possible(struct fetch_set *s, unsigned peer);
/** It lists commits and does not send them, or sends them again. */
void fetch_set_doubt(struct fetch_set *s, unsigned peer, bool doubted);
/** Will provide nothing more. What only it advertised fails, now or when it is released: leave
 * first, then give back what is in flight, or others look in vain between the two. */
void fetch_set_leave(struct fetch_set *s, unsigned peer);

/* ---- Wants ---- */

enum { FETCH_NEED_REPEATED = 0, FETCH_NEED_KNOWN = 1, FETCH_NEED_NEW = 2 };
/** A peer listed a commit. NEW: it is in state checking now; KNOWN: it has one more advertiser, or
 * is settled; REPEATED: this peer listed it before. ERR_LIMIT, UV_ENOMEM. */
int fetch_set_need(struct fetch_set *s, unsigned peer, const struct hash *h);
/** What the look-up of a new one gave. */
void fetch_set_checked(struct fetch_set *s, const struct hash *h, bool present);
/** What this peer may be asked for: held, for commits alone. */
void fetch_set_hold(struct fetch_set *s, unsigned peer, bool held);
/** Is there a commit that this peer listed, and that is being looked up or to be asked for? */
bool fetch_set_commits_open(const struct fetch_set *s, unsigned peer);
/** What the store wants is about to be read anew: all that is added from now on is wanted. */
void fetch_set_recount(struct fetch_set *s);
/** It was read whole: content that is queued and was not added since is wanted no more, since a
 * newer version came. */
void fetch_set_forget_old(struct fetch_set *s);
/** Something the store wants. `parent` (NULL = unknown): the want in flight whose blob led to it. A
 * commit or capability is what a stashed commit waits for: asked only from who advertised that one,
 * and left out without parent (the next reconciliation lists it). 0, ERR_LIMIT, UV_ENOMEM. */
int fetch_set_add(struct fetch_set *s, const struct store_want *want,
		  const struct fetch_want *parent);

/** Next wants to ask this peer for, now in flight with it: at most `cap`, and not more once they
 * reach max_bytes. Returns how many. */
size_t fetch_set_take(struct fetch_set *s, unsigned peer, struct fetch_want **ret, size_t cap,
		      uint64_t max_bytes);
/** What others have in flight, or are to be asked for, what this peer may have too, and what is
 * worth it to `worth`: the peer is its holder now, and an asker as well as those before. The latest
 * first. As take. */
size_t fetch_set_overtake(struct fetch_set *s, unsigned peer,
			  bool (*worth)(void *data, const struct fetch_want *w), void *data,
			  struct fetch_want **ret, size_t cap, uint64_t max_bytes);
/** In flight after all with another wave. */
void fetch_set_elsewhere(struct fetch_set *s, struct fetch_want *w);
/** Its bytes came to this peer, an asker until now: the holder from now on. False: they are not
 * needed any more. */
bool fetch_set_here(struct fetch_set *s, struct fetch_want *w, unsigned peer);
/** This asker will not answer any more. `failed`: it could not provide it, and is not asked for it
 * again. In flight only with it: back to wanted. */
void fetch_set_unask(struct fetch_set *s, struct fetch_want *w, unsigned peer, bool failed);
/** An end of one in flight: FETCH_STORED, FETCH_REFUSED, FETCH_STASHED. */
void fetch_set_settle(struct fetch_set *s, struct fetch_want *w, enum fetch_state state);
/** An end of one in flight for now: to be asked for again when what it needs is here. */
void fetch_set_defer(struct fetch_set *s, struct fetch_want *w, const struct store_need *needs,
		     size_t count);
/** The holder's part is over: back to another asker, if there is one, else to wanted. `failed`: the
 * holder could not provide it and is not asked for it again. */
void fetch_set_release(struct fetch_set *s, struct fetch_want *w, bool failed);
/** It came into the store on another way (another wave, or out of the stash). True if this settled
 * a want. */
bool fetch_set_arrived(struct fetch_set *s, const struct hash *h);

/** Others have in flight, look up, or are to be asked for, what this peer may have too: it may yet
 * be needed. */
bool fetch_set_waits(struct fetch_set *s, unsigned peer);
/** How much of what this peer advertised, or was asked for in vain, nobody can provide any more. */
uint64_t fetch_set_owed(struct fetch_set *s, unsigned peer);
/** How many of the commits that this peer advertised are neither stored nor refused. */
uint64_t fetch_set_behind(struct fetch_set *s, unsigned peer);
void *fetch_want_owner(const struct fetch_want *w);
/** The same peers may provide both: what one leads to is inherited as what the other leads to. */
bool fetch_want_same_origin(const struct fetch_want *a, const struct fetch_want *b);
bool fetch_want_advertised_by(const struct fetch_want *w, unsigned peer);
bool fetch_want_asked_from(const struct fetch_want *w, unsigned peer);

static inline uint64_t fetch_want_cost(const struct fetch_want *w)
{
	return w->size > 0 ? w->size : FETCH_SIZE_GUESS;
}
