/* One discovery, shared by everybody who asks for the same IRI, version and scope kind at the same
 * time. */
#pragma once

#include "discovery/answer.h"
#include "discovery/candidates.h"
#include "discovery/service.h"

enum {
	RUN_RETRIES_MAX = 2,	   /* times that busy peers are asked again while a user waits */
	RUN_RETRY_WAIT_MS = 10000, /* the longest that they may ask us to wait for that */
	RUN_MET_MAX = 4 * SYNC_WAVE_PEERS_MAX,
	RUN_BUSY_MAX = 8 /* busy peers that are remembered for it */
};

enum run_state {
	RUN_ENTRY,
	RUN_LOCAL,
	RUN_PEERS,
	RUN_NEIGHBOURS,
	RUN_LOCAL_SYNC,
	RUN_DHT,
	RUN_CONFIRM,
	RUN_RETRY,
	RUN_EXIT,
	RUN_DONE
};

struct discovery_run {
	struct op op;
	struct list node; /* in service->runs */
	struct discovery *service;
	struct iri iri;
	enum scope_kind kind;
	struct scope scope;
	struct hash key; /* of IRI, version, kind: identical runs are joined */
	struct list waiters;
	unsigned waiter_count;
	bool has_announcer, user, fresh;
	bool history; /* any asker wants older versions */
	struct public_key announcer;
	/* results */
	enum discovery_outcome outcome;
	enum discovery_answer answer;
	struct discovery_peers heard;
	const char *timeout_stage;
	int last_error; /* why the last peer failed */
	int own_error;	/* why we could not take in, or look up, what there is */
	uint64_t peers_known;
	uint64_t again_in_ms;	       /* with ERR_BUSY */
	struct sync_progress progress; /* of the waves that ended, plus the one that runs */
	struct sync_progress ended;
	uint64_t owed; /* wants that the last wave could not fetch */
	struct trace_context trace;
	/* private to run.c */
	struct candidates candidates;
	enum discovery_tier tier;
	bool have_locally, resolved, exhaustive, resolve_again, own_space;
	bool dht_started, dht_used, dht_ok, local_ok;
	bool paid;	/* for a search of the unknown */
	bool cut_peers; /* some were cut because it resolved: they may have news */
	bool resolving, waving, dht_waving, looking, loading;
	struct store_resolve resolve;
	struct store_peers peers;
	struct sync_wave wave, dht_wave;
	struct discovery_lookup lookup;
	struct runner_timer watch;
	uint64_t local_since_ms, local_until_ms, dht_until_ms;
	struct map met; /* peers that a session is with or was with, unless it failed */
	struct sync_target busy[RUN_BUSY_MAX];
	size_t busy_count;
	unsigned retries;
	uint64_t retry_in_ms; /* when the last busy peer is to be asked again, from its answer */
	uint64_t retry_at_ms;
	struct sync_target leftovers[DISCOVERY_WIDTH_FULL]; /* for the background: peers that were
							       fine, or cut because resolved */
	size_t leftover_count;
};

/** What tells one question from another. */
struct hash run_question(const struct iri *iri, enum scope_kind kind,
			 const struct discovery_trigger *trigger);
/** Start; owned by the service, freed after its last waiter was told. NULL when out of memory or at
 * the limit (*ret_err). */
struct discovery_run *run_new(struct discovery *d, const struct iri *iri, enum scope_kind kind,
			      const struct discovery_trigger *trigger, int *ret_err);
/** The run that answers this question, or NULL. */
struct discovery_run *run_find(struct discovery *d, const struct iri *iri, enum scope_kind kind,
			       const struct discovery_trigger *trigger);
int run_attach(struct discovery_run *run, struct discover *waiter);
/** The last one to leave ends the run with `status`. */
void run_detach(struct discovery_run *run, struct discover *waiter, int status);
/** Fill run->candidates, narrowed to those that are to be asked. */
void run_select_peers(struct discovery_run *run);
/** Name of the state it is in. Static string. */
const char *run_stage(const struct discovery_run *run);

/** After it resolved: fetch what remains of its closure, and hear the peers that were cut. Linked
 * from the run's trace. Copies. */
void background_start(struct discovery_run *run, const struct sync_target *targets, size_t count);

/* ---- run_end.c: what it ends with ---- */

/** Some version of it is here, whole or not. */
bool run_is_known_of(const struct discovery_run *run);
/** What is known now says so much. */
struct answer_verdict run_judge(const struct discovery_run *run);
enum discovery_outcome run_outcome_of(const struct discovery_run *run,
				      const struct answer_verdict *v);
void run_mark_answer(struct discovery_run *run);
const char *run_word(const struct discovery_run *run);
/** When nobody had it. */
void run_remember_miss(struct discovery_run *run);
/** Copies the results; its callback comes from the loop. */
void run_tell_waiter(struct discovery_run *run, struct discover *w);

/* ---- waves.c: children ---- */

bool run_is_pinned(const struct discovery_run *run);
/** It resolves, and that answers the question: the version was asked for, or somebody was heard. */
bool run_is_answered(const struct discovery_run *run);
/** Ask the store whether it resolves; asked again when news comes meanwhile. Ticks. */
void run_ask_resolved(struct discovery_run *run);
/** run->progress = what ended plus what runs. */
void run_sum_progress(struct discovery_run *run);
/** Start the wave over run->tier; false when it has nobody. */
bool run_start_tier(struct discovery_run *run);
/** Start a wave over the peers that were busy; what they said before is forgotten. */
void run_start_retry(struct discovery_run *run);
/** Leave the tiers after the present one to the background. */
void run_keep_rest(struct discovery_run *run);
/** Once; says so when the DHT is off. */
void run_start_dht(struct discovery_run *run);
/** Look every few ms whether a wave may be cut, or the DHT should start beside it. */
void run_watch(struct discovery_run *run);
bool run_may_cut(const struct discovery_run *run, const struct sync_wave *w);
void run_stop_children(struct discovery_run *run);
