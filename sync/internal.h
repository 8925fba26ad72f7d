/* Private to sync/: what its parts share. */
#pragma once

#include "base/map.h"
#include "base/shares.h"
#include "sync/claims.h"
#include "sync/fetch.h"
#include "sync/snapshot.h"
#include "sync/sync.h"
#include "sync/wire.h"

enum {
	SYNC_PEER_TABLE_MAX = 4096, /* peers whose use of us is remembered */
	SYNC_SERVE_BURST = 200,
	SYNC_CHARGE = 50 /* requests' worth that a liar pays */
};

/* What a peer uses of us. Kept while it is in use or has something to pay back. */
struct sync_peer {
	struct public_key key;
	uint64_t millitokens, filled_ms;
	uint64_t dialed_ms; /* when it was last dialed back; 0 = never */
	unsigned serving;
	unsigned subscribed, hears;   /* streams on which it hears of news, scopes */
	uint64_t subscribed_ms;	      /* since when */
	bool standing;		      /* counted among those that have followed for long */
	unsigned following, channels; /* scopes that we follow there; streams */
};

struct announcer {
	struct map by_scope;	/* scope key -> struct audience */
	struct list dirty;	/* subscribers with something to tell */
	size_t pending_count;	/* commits kept for them */
	struct list channels;	/* streams on which we hear, struct channel */
	struct map channel_map; /* peer -> struct channel: the one that takes further scopes */
	struct map follow_map;	/* peer + scope key -> struct follow */
	struct runner_task task;
};

/* What dialing back may cost, for all peers together. */
struct dialbacks {
	unsigned active;
	uint64_t millitokens, filled_ms;
};

struct sync {
	struct sync_config config;
	struct claims claims;
	struct snapshot_source snapshots;
	struct map peers; /* key -> struct sync_peer */
	struct list waves;
	struct list serves;
	struct map known; /* keys of peers that are preferred */
	struct store_peers known_load;
	bool known_loading;
	struct list thirsty; /* serves that wait for room for bytes */
	struct runner_timer room_timer;
	unsigned leaving;   /* streams that are told "busy" and end */
	uint64_t turned_ms; /* since when those turned away are counted */
	uint64_t turned;
	struct announcer announcer;
	struct dialbacks dialbacks;
	struct sync_stats stats;
	bool closing;
	struct runner_task closed_task;
	void (*closed)(void *data);
	void *closed_data;
};

/* sync.c */
/** Created if new. NULL when out of memory or when every place is taken by a peer in use. Valid
 * until the next call. */
struct sync_peer *sync_peer_get(struct sync *s, const struct public_key *key);
/** Take one request's worth. 0, or how many ms until there is one. */
uint64_t sync_peer_spend(struct sync *s, const struct public_key *key);
/** It lied or broke the protocol: counted, and it pays with requests to us. */
void sync_peer_charge(struct sync *s, const struct public_key *key);
/** A serve, a follow or a has-look-up ended: perhaps the last thing that sync_close waits for. */
void sync_check_closed(struct sync *s);
struct op_env sync_env(struct sync *s, uint64_t timeout_ms);
/** Commits from a peer: listeners and subscribers are told. */
void sync_received(struct sync *s, const struct store_new_commit *commits, size_t count,
		   const struct public_key *from);
/** Appends "hm://… kind". */
void scope_format(const struct scope *s, struct buf *out);

/* ranks.c */
void ranks_init(struct sync *s);
void ranks_close(struct sync *s);
void ranks_fini(struct sync *s);
/** A stream on which the peer hears of news began, ended. */
void ranks_subscribed(struct sync *s, struct sync_peer *p);
void ranks_unsubscribed(struct sync *s, struct sync_peer *p);
enum share_rank sync_rank(struct sync *s, const struct public_key *peer);

/* wave.c */
/** Something changed that any session of the wave may be waiting for. */
void wave_kick(struct sync_wave *w);
/** Commits came, from wherever: waves over their scopes look again what content is wanted. */
void wave_news(struct sync *s, const struct store_new_commit *commits, size_t count);
/** A session has got the commits that its peer listed: is it known what content is wanted now? False:
 * it is being read. */
bool wave_content_is_known(struct sync_wave *w);
/** The wave is told what a put of one of its sessions brought. */
void wave_stored(struct sync_wave *w, uint64_t blobs, uint64_t bytes);
/** A blob came in: other waves that want it need not ask. */
void sync_blob_stored(struct sync *s, struct sync_wave *except, const struct hash *h);
/** It is in the store, however it came. True if this settled a want. */
bool wave_arrived(struct sync_wave *w, const struct hash *h);
/** Targets wait for a place that a session would free. */
bool wave_is_full(const struct sync_wave *w);
/** The session with this number in the want set, or NULL. */
struct session;
struct session *wave_session(const struct sync_wave *w, unsigned index);
/** The store cannot take anything: asking on is pointless. */
void wave_store_failed(struct sync_wave *w, int status);
/** Is another session with this peer already, in this wave or elsewhere in what it is part of? */
bool wave_has_peer(struct sync_wave *w, unsigned except, const struct public_key *peer);
/** on_release of wants that another wave has in flight. */
void wave_claim_released(struct claim_waiter *waiter, bool stored);

/* serve.c */
extern const struct net_service serve_service; /* data: the sync */
void serve_stop_all(struct sync *s);

/* announce.c */
void announcer_init(struct announcer *a);
void announcer_fini(struct announcer *a);

/* One stream on which a peer hears of new commits, of one scope or of many. */
struct hearer {
	struct public_key peer;
	struct net_stream *stream; /* borrowed */
	bool many;
	/* private */
	struct list subscribers;
	size_t pending_count, scopes;
	bool lost; /* of some scope more happened than was kept */
};
/** Borrows stream. */
void announce_init(struct hearer *h, const struct public_key *peer, struct net_stream *stream,
		   bool many);
/** UV_EALREADY, ERR_LIMIT, UV_ENOMEM. */
int announce_subscribe(struct sync *s, struct hearer *h, const struct scope *scope);
/** By the scope's key; false when it was not subscribed. */
bool announce_unsubscribe(struct sync *s, struct hearer *h, const struct hash *key);
/** Ends them all; returns how many there were. */
size_t announce_leave(struct sync *s, struct hearer *h);
/** Tell all subscribers of these commits' scopes but `except` (may be NULL), soon. */
void announce_commits(struct sync *s, const struct store_new_commit *commits, size_t count,
		      const struct public_key *except);
/** The stream can take more. */
void announce_drained(struct sync *s, struct hearer *h);

/* follow.c */
void follows_init(struct announcer *a);
void follows_fini(struct announcer *a);
/** Ends all follows. */
void announcer_stop(struct sync *s);
bool announcer_idle(const struct sync *s);
