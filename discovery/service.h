/* Inside of discovery/: the service that its files share. */
#pragma once

#include "base/map.h"
#include "discovery/bench.h"
#include "discovery/discovery.h"
#include "discovery/misses.h"
#include "discovery/redial.h"
#include "discovery/scheduler.h"

enum {
	DISCOVERY_NOTES_MAX = 256, /* peer table updates under way; more are dropped and counted */
	DISCOVERY_SEARCHED_MAX = 1024, /* scopes whose last exhaustive wave is remembered */
	DISCOVERY_PEER_ROWS_MAX = 512  /* stored peers looked at by one discovery */
};

struct discovery_subscription;

struct discovery {
	struct runner *runner;
	struct net *net;
	struct store *store;
	struct sync *sync;
	struct trace *trace;
	bool has_own_space;
	struct public_key own_space;
	void (*on_offence)(void *data, const struct discovery_benched *b);
	void *data;
	uint64_t timeout_ms, local_timeout_ms, dht_timeout_ms, subscription_interval_ms;
	struct discovery_source *sources[DISCOVERY_SOURCES_MAX];
	size_t source_count;
	struct bench bench;
	struct misses misses;
	struct redial redial;
	struct map searched; /* hash of scope → struct searched */
	struct list runs, backgrounds, subscriptions;
	unsigned notes;
	uint64_t notes_dropped;
	struct discovery_stats stats;
	struct scheduler scheduler;
	struct map subscribed; /* scope key → struct discovery_subscription, those not gone */
	unsigned user_runs;    /* that somebody waits for */
	unsigned queued_spans; /* traces of runs that wait for a slot */
	struct subscription_loader *loader; /* while the table is read */
	bool reload;			    /* it has to be read again */
	bool loaded;			    /* it was read once */
	bool impatient; /* somebody tells of news that another is being asked for */
	bool subscribing;
	struct runner_timer subscription_timer;
	bool closing;
	struct runner_task closed_task;
	void (*closed)(void *data);
	void *closed_data;
};

/* When a scope was last searched at full width, and in the DHT. */
struct searched {
	uint64_t last_ms, last_user_ms, last_dht_ms;
};
/** Never NULL unless out of memory. Forgets all when full: that costs wide searches, not
 * correctness. */
struct searched *service_searched(struct discovery *d, const struct scope *scope);

/** Update the peer table without waiting for it. `space` may be NULL. */
void service_note_peer(struct discovery *d, enum store_peer_change change,
		       const struct store_peer *peer, const struct public_key *space);
/** Book what a session with a peer was worth: bench, peer table. */
void service_note_outcome(struct discovery *d, const struct sync_peer_outcome *o,
			  const struct public_key *space);
/** The root span of a discovery of this IRI; zero when nothing is traced. */
struct span service_open_span(struct discovery *d, const struct iri *iri);
/** How many peers are connected, and named by sources: when there are more than before, there is
 * somebody new to ask. */
uint64_t service_peers_near(const struct discovery *d);
/** Loop time until which the first answers to a source may still come; 0 = it is over. */
uint64_t service_settles_ms(const struct discovery *d);
/** Call when something ended that discovery_close waits for. */
void service_ended(struct discovery *d);
/** An environment for work that nobody waits for. */
struct op_env service_env(struct discovery *d, uint64_t timeout_ms);

/* What makes one discovery different from another of the same IRI. */
struct discovery_trigger {
	const struct public_key *announcer; /* ask this peer alone; NULL = by the rules */
	bool user;			    /* somebody is waiting for it */
	bool fresh;			    /* whatever was found out lately */
	bool history;			    /* the content of older versions too, afterwards */
	struct span span; /* its trace, when that began with the wait for a slot; zero otherwise */
};
/** discover_start with a trigger; see there. */
void discover_start_for(struct discover *d, const struct op_env *env, struct discovery *service,
			const struct iri *iri, enum scope_kind kind,
			const struct discovery_trigger *trigger, discover_cb cb);

/* ---- subscriptions.c ---- */
/** The subscription whose scope this is, or NULL. */
struct discovery_subscription *subscription_find(struct discovery *d, const struct scope *scope);
/** A session for the scope ended well with this peer, or it could not be reached though it is known
 * to serve the scope: it is looked to from now on. Nothing when the scope is not subscribed to. */
void subscription_served(struct discovery *d, const struct scope *scope,
			 const struct sync_peer_outcome *o);
/** Does any subscription look to this peer? */
bool subscriptions_look_to(const struct discovery *d, const struct public_key *peer);
/** It is back: those that look to it ask it what they missed. */
void subscriptions_peer_back(struct discovery *d, const struct public_key *peer);
/** A peer that we follow has news. */
void subscription_announced(struct discovery *d, const struct scope *scope,
			    const struct public_key *peer);
/** Stop the timer, cancel what runs. */
void subscriptions_close(struct discovery *d);
bool subscriptions_closed(const struct discovery *d);

/** Fills sub_overdue and sub_overdue_ms. */
void subscriptions_count_overdue(const struct discovery *d, struct discovery_stats *ret);
/** A run that a user waits for began or ended. */
void subscriptions_users_changed(struct discovery *d);
/** The scheduler's on_queued. */
void subscription_queued(struct scheduler *scheduler, struct scheduler_task *t);

/* ---- background.c ---- */
/** Those that run; run.h starts them. */
void background_cancel_all(struct discovery *d);
