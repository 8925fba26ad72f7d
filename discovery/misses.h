/* Questions that found nothing lately, so that asking them again costs nothing, and a budget for
 * searches of what is not held at all, so that asking ever new ones does not cost much either. In
 * memory alone: what is unknown leaves no trace on disk. Bounded: the oldest answer makes room. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "discovery/discovery.h"

enum {
	MISSES_MAX = 4096,
	MISSES_HOLD_MS = 60000,		/* somebody was heard */
	MISSES_HOLD_UNHEARD_MS = 10000, /* nobody could be reached */
	MISSES_SEARCHES_BURST = 256,
	MISSES_SEARCH_MS = 250 /* in which the budget earns one search */
};

struct misses_stats {
	uint64_t kept, hits, made_room, forgotten, searches_refused;
};

struct misses {
	/* private */
	struct map by_key;
	struct list oldest;
	uint64_t tokens_ms; /* the budget, in the time that earned it */
	uint64_t earned_ms; /* until when it was counted */
	struct misses_stats stats;
};

void misses_init(struct misses *m, uint64_t now_ms);
void misses_fini(struct misses *m);

/* How a question was answered, and for how long that stands. */
struct miss_answer {
	uint64_t sources; /* how many peers were near */
	enum discovery_answer answer;
	struct discovery_peers peers;
	int last_error; /* why the last peer failed; 0 = none did */
	uint64_t asked_ms, until_ms;
};
/** The question was answered with "not found". Copies. Out of memory forgets it. */
void misses_note(struct misses *m, const struct hash *question, const struct public_key *space,
		 const struct miss_answer *answer);
/** Is that answer still good: young enough, and nobody new to ask? Counted as a hit. */
bool misses_hit(struct misses *m, const struct hash *question, uint64_t sources, uint64_t now_ms,
		struct miss_answer *ret);
/** Something of this space arrived here. */
void misses_forget_space(struct misses *m, const struct public_key *space);

/** May a search for an unknown object begin? 0 = yes, and it is paid; else in how many ms. */
uint64_t misses_search(struct misses *m, uint64_t now_ms);
/** The search found it: what was paid comes back. */
void misses_found(struct misses *m);
void misses_stats(const struct misses *m, struct misses_stats *ret);
