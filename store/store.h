/* What this daemon keeps: SQLite behind one door.
 *
 * One database file, WAL, one thread of its own; the loop hands it requests and gets results back
 * through the operations below. What a callback reports as stored survives kill -9 and power loss.
 *
 *   blob     bytes by hash. Public once a commit reaches it; only public blobs are given to peers:
 * the one access check link     blob → blob, from decoding commits, trees and files wanted
 * referenced by something public and absent: nothing is ever forgotten head     a commit that no
 * other commit of its IRI names as parent stash    commits whose parents or capability have not
 * arrived; indexed by what is missing, bounded in number, bytes and age refused  hashes that turned
 * out bad: not asked for again while remembered peer     a node we know: addresses, and which
 * spaces it served
 *
 * A blob is verified when it is stored: hash, then what its kind demands, each in a savepoint of
 * its own, so that a bad one harms nothing else of its batch. Transactions are bounded by
 * STORE_TX_BLOBS_MAX and STORE_TX_BYTES_MAX.
 *
 * The same code runs in the simulator: with `inline_io` requests are executed by a deferred task
 * instead of the thread. */
#pragma once

#include "base/op.h"
#include "object/object.h"

enum {
	STORE_TX_BLOBS_MAX = 256,
	STORE_TX_BYTES_MAX = 16 << 20,
	STORE_PUT_MAX = 1024,	     /* blobs of one store_put */
	STORE_PUT_WANTS_MAX = 65536, /* wants reported by one store_put */
	STORE_GET_MAX = 256,
	STORE_HAS_MAX = 65536,
	STORE_QUEUE_MAX = 4096, /* requests waiting for the thread */
	STORE_STASH_COUNT_MAX = 10000,
	STORE_STASH_BYTES_MAX = 64 << 20,
	STORE_STASH_PER_PEER_MAX = 1000,
	STORE_STASH_AGE_MAX_S = 3600,
	STORE_NEEDS_MAX = 4, /* told of what a commit lacks */
	STORE_REFUSED_MAX = 10000,
	STORE_ITEMS_MAX = 4000000, /* commits of one scope */
	STORE_PEERS_MAX = 10000,
	STORE_PEER_ADDRS_MAX = 8,
	STORE_SUBSCRIPTIONS_MAX = 10000,
	STORE_HEADS_MAX = 64,	 /* heads reported of one object */
	STORE_FOLDER_MAX = 4096, /* bytes of a folder's name */
	STORE_ORIGINS_MAX = 16	 /* folders remembered of one object */
};

struct store;

struct store_config {
	struct runner *runner;
	const char *dir; /* holds store.db; NULL = in memory, for tests */
	bool inline_io;	 /* no thread: requests run in deferred tasks of the runner, one per turn */
	uv_loop_t *uv;	 /* the runner's loop; needed unless inline_io */
};
/** Opens, checks and migrates; blocks, so only before the loop runs. On failure ret_why says what,
 * why and what to do: ERR_READ_ONLY, ERR_DISK_FULL, ERR_VERSION (made by a newer peerscope),
 * ERR_CORRUPT, ERR_LOCKED, ERR_STORE. */
int store_open(const struct store_config *config, struct store **ret, char *ret_why,
	       size_t why_size);
/** Do these first bytes of a file say that it is such a database? Pure. */
bool store_is_database(const void *head, size_t len);
/** Finishes what is queued, checkpoints, ends the thread; `closed` comes from the loop, then the
 * store is gone. Operations must not be started any more. */
void store_close(struct store *s, void (*closed)(void *data), void *data);

struct store_stats {
	uint64_t blobs, blob_bytes, commits, trees, wanted, stashed, refused, objects, conflicts,
		peers, subscriptions;
	uint64_t db_bytes, wal_bytes;
	uint64_t queue_depth, queue_peak, requests, transactions, failed;
	uint64_t busy; /* operations turned away because the queue was full */
	uint64_t tx_p50_us, tx_p99_us, tx_max_us; /* write transactions, begin to commit */
	uint64_t wait_max_us;			  /* longest wait in the queue */
	uint64_t stuck_ms; /* something waits or runs, and for so long nothing was finished */
	/* Given up to stay within the limits above, since the start. */
	uint64_t stash_dropped; /* commits that waited too long, or found no room to wait */
	uint64_t refused_dropped, peers_dropped;
	uint64_t damaged; /* blobs read whose bytes did not match their hash; they are not given out
			   */
	int last_error;	  /* until a change succeeds again; damage stays */
	char last_error_text[128];
};
/** Figures as of the last request; safe on the loop, never blocks. */
void store_stats(struct store *s, struct store_stats *ret);

/* What every operation below has in common: caller's memory until the callback, status UV_ECANCELED
 * / UV_ETIMEDOUT when stopped before the thread took it (once taken it runs to its end, at most one
 * transaction), UV_ENOMEM, ERR_BUSY (queue full), ERR_DISK_FULL, ERR_READ_ONLY, ERR_STORE,
 * ERR_CORRUPT. Results live in the struct and are freed by its _fini, which the caller calls after
 * the callback (also on failure). */

/* A place in the thread's queue; part of every operation. All of it is private. */
struct store_request {
	struct list node;   /* in a queue of the store */
	struct list notice; /* in the list of what the loop has to hear about */
	struct store *store;
	struct op *op;
	int (*run)(struct store *s, struct store_request *r);
	int status;
	unsigned phase;
	bool is_write;
	bool abandoned; /* the loop asked to stop after the present transaction */
	uint64_t queued_ns;
	uint64_t wall_s;
};

/* ---- Blobs ---- */

/* Who asks. Zero = this daemon's own user, who may see everything. */
struct store_reader {
	bool is_peer;
	struct public_key peer;
};

/* What a commit lacks: parents, a capability. */
struct store_need {
	struct hash hash;
	enum object_kind kind;
};

struct store_blob {
	struct hash hash;
	enum object_kind kind;
	uint8_t *data; /* mem_alloc'd */
	size_t len;
	uint64_t time_s; /* commits from a peer: the time the peer listed it under; the commit's own
			    must agree. 0 = not checked */
	/* Result: 0 stored; ERR_VERIFY, ERR_MALFORMED, ERR_LIMIT, ERR_UNAUTHORIZED, ERR_PROTOCOL
	 * refused, and remembered where the bytes themselves are to blame rather than who brought
	 * them (wrong bytes for the hash, out of scope, unasked for); ERR_MISSING stashed until
	 * what it needs arrives. When the put as a whole fails: its status, for those that were not
	 * committed. */
	int status;
	bool existed; /* status 0 and nothing was written */
	bool let_go;  /* ERR_MISSING, and there was no room to keep it: to be brought again once
			 what it needs is here */
	uint8_t need_count; /* let_go: what it lacks, the first few */
	struct store_need needs[STORE_NEEDS_MAX];
};

/* Something referenced and absent. */
struct store_want {
	struct hash hash;
	enum object_kind kind;
	uint32_t size;	  /* 0 = unknown */
	uint8_t priority; /* enum store_priority */
};
/* Order of fetching; smaller first. */
enum store_priority {
	STORE_WANT_COMMIT,
	STORE_WANT_TREE,
	STORE_WANT_SMALL,
	STORE_WANT_BULK,
	STORE_WANT_HISTORY
};
/* A chunk up to this size is "small". */
enum { STORE_SMALL_MAX = 64 << 10 };

/* A commit that became part of its object (directly or out of the stash). */
struct store_new_commit {
	struct public_key space;
	char *path;
	struct hash hash;
	uint64_t time_s;
};

struct store_put;
typedef void (*store_put_cb)(struct store_put *p, int status);
struct store_put {
	struct op op;
	void *data;
	struct store_blob *blobs; /* the caller's array; takes each blob's data, frees it before the
				     callback */
	size_t count;
	struct store_want *wants; /* newly wanted because of these blobs, by priority; result */
	size_t want_count;
	size_t wants_total; /* more than want_count when cut at STORE_PUT_WANTS_MAX: see store_wants
			       for the rest */
	struct store_new_commit *commits; /* result */
	size_t commit_count;
	size_t stored, existed, refused, stashed, let_go;
	uint64_t stored_bytes;
	/* private */
	store_put_cb cb;
	struct store_request request;
	bool local;
	struct public_key from;
	bool has_scope;
	struct scope scope;
	size_t next; /* blobs before it are committed */
	struct store_put_progress *progress;
};
/** Verify and store. from NULL = put here by the user: blobs stay non-public until published,
 * commits are refused (they are made by store_publish), and so are secret keys of peerscope
 * (ERR_PRIVATE). scope (may be NULL; copied): commits
 * outside it are ERR_PROTOCOL. A tree, file or chunk from a peer that nothing public references is
 * refused (ERR_PROTOCOL), so that nobody can fill the disk; so is a capability that neither a
 *  stashed commit needs nor the scope's space has signed.
 *  A blob that is here but not public stays wanted when a peer's commit reaches it, until a peer
 * brings its bytes: who knows only a hash is not given what it names. Large puts are several
 * transactions; a stop takes effect between them: what was committed is reported nonetheless. */
void store_put_start(struct store_put *p, const struct op_env *env, struct store *s,
		     struct store_blob *blobs, size_t count, const struct public_key *from,
		     const struct scope *scope, store_put_cb cb);
void store_put_fini(struct store_put *p);

struct store_get;
typedef void (*store_get_cb)(struct store_get *g, int status);
struct store_get_item {
	struct hash hash;
	uint8_t *data; /* result; NULL = absent, or not for this reader (the two look alike) */
	size_t len;
};
struct store_get {
	struct op op;
	void *data;
	struct store_get_item *items; /* the caller's array */
	size_t count;
	/* private */
	store_get_cb cb;
	struct store_request request;
	struct store_reader reader;
	size_t max_bytes;
};
/** Read blobs in order until max_bytes are reached (the first always; the rest is left NULL with
 * len == SIZE_MAX: ask again). Data belongs to the items: store_get_fini frees what the caller did
 * not take. */
void store_get_start(struct store_get *g, const struct op_env *env, struct store *s,
		     struct store_get_item *items, size_t count, const struct store_reader *reader,
		     size_t max_bytes, store_get_cb cb);
void store_get_fini(struct store_get *g);

struct store_has;
typedef void (*store_has_cb)(struct store_has *h, int status);
struct store_has {
	struct op op;
	void *data;
	const struct hash *hashes; /* borrowed until the callback */
	size_t count;
	/* Result: stored and not wanted; with `or_refused` also what is known to be bad. A stashed
	 * commit is neither. */
	bool *present;
	/* private */
	store_has_cb cb;
	struct store_request request;
	bool or_refused;
};
void store_has_start(struct store_has *h, const struct op_env *env, struct store *s,
		     const struct hash *hashes, size_t count, bool or_refused, store_has_cb cb);
void store_has_fini(struct store_has *h);

/* ---- Objects ---- */

/* The reconciled set of a scope: its commits, ascending by (time, hash). Stashed and refused ones
 * are not in it. */
struct store_item {
	uint64_t time_s;
	struct hash hash;
};
struct store_items;
typedef void (*store_items_cb)(struct store_items *i, int status);
struct store_items {
	struct op op;
	void *data;
	struct store_item *items; /* result; the caller may take it (mem_free) by setting NULL */
	size_t count;
	bool unchanged; /* result of store_items_again_start alone */
	/* private */
	store_items_cb cb;
	struct store_request request;
	struct scope scope;
	uint64_t known; /* items that the caller has; 0 = none */
};
/** ERR_LIMIT beyond STORE_ITEMS_MAX. An unknown scope has no items and leaves no trace in the
 * database. */
void store_items_start(struct store_items *i, const struct op_env *env, struct store *s,
		       const struct scope *scope, store_items_cb cb);
/** The same for who has `known` items of the scope already, from an earlier answer. Commits are
 * never taken out of a scope: when it has as many still, `unchanged` is set and none are read. */
void store_items_again_start(struct store_items *i, const struct op_env *env, struct store *s,
			     const struct scope *scope, size_t known, store_items_cb cb);
void store_items_fini(struct store_items *i);
/** Commits of all scopes together, at least those that callbacks have told of. While it stays the
 * same, no scope has become larger. Cheap. */
uint64_t store_commit_count(struct store *s);

/* What is known of one object or scope. */
struct store_resolve;
typedef void (*store_resolve_cb)(struct store_resolve *r, int status);
struct store_resolve {
	struct op op;
	void *data;
	/* Results. resolved: the asked version's heads (or, unpinned, the present heads, at least
	 * one) are stored, with every commit they descend from and all content their roots reach.
	 * With recursive: the same for every object of the scope, at least one. */
	bool resolved;
	struct hash heads[STORE_HEADS_MAX]; /* present heads of the exact object, ascending */
	size_t head_count;
	size_t heads_total; /* may exceed STORE_HEADS_MAX */
	uint64_t objects;   /* known in the scope */
	uint64_t commits;   /* of the scope */
	uint64_t missing;   /* blobs wanted for the asked version(s); from 10^6 on "at least" */
	bool tombstone;	    /* the exact object has one head and it is a tombstone */
	/* private */
	store_resolve_cb cb;
	struct store_request request;
	struct scope scope;
	struct hash pinned[IRI_HEADS_MAX];
	size_t pinned_count;
};
void store_resolve_start(struct store_resolve *r, const struct op_env *env, struct store *s,
			 const struct iri *iri, enum scope_kind kind, store_resolve_cb cb);
void store_resolve_fini(struct store_resolve *r);

struct store_wants;
typedef void (*store_wants_cb)(struct store_wants *w, int status);
struct store_wants {
	struct op op;
	void *data;
	struct store_want *wants; /* result, by priority */
	size_t count;
	uint64_t total; /* how many there are in all */
	/* private */
	store_wants_cb cb;
	struct store_request request;
	struct scope scope;
	struct hash pinned[IRI_HEADS_MAX];
	size_t pinned_count;
	size_t limit;
	uint8_t max_priority;
};
/** What is wanted for the objects of a scope, up to and including max_priority, at most `limit`
 * rows. */
void store_wants_start(struct store_wants *w, const struct op_env *env, struct store *s,
		       const struct scope *scope, uint8_t max_priority, size_t limit,
		       store_wants_cb cb);
/** The content that these versions of the exact object want, whether they are heads or not. Copies. */
void store_wants_pinned_start(struct store_wants *w, const struct op_env *env, struct store *s,
			      const struct scope *scope, const struct hash *heads, size_t count,
			      size_t limit, store_wants_cb cb);
void store_wants_fini(struct store_wants *w);
/** Of content that is needed now. */
uint8_t store_want_priority(enum object_kind kind, uint32_t size);

struct store_log_entry {
	struct hash hash;
	uint64_t time_s;
	struct public_key author;
	struct hash root;
	enum object_kind root_kind;
	bool tombstone, is_head, complete; /* complete: all content is here */
	uint64_t content_bytes, content_blobs;
	size_t parent_count;
	struct hash parents[4]; /* the first four */
};
struct store_log;
typedef void (*store_log_cb)(struct store_log *l, int status);
struct store_log {
	struct op op;
	void *data;
	struct store_log_entry *entries; /* result, newest first */
	size_t count;
	uint64_t total;
	/* private */
	store_log_cb cb;
	struct store_request request;
	struct scope scope;
	size_t limit;
};
/** Commits of the exact object. ERR_NOT_FOUND when there is none. */
void store_log_start(struct store_log *l, const struct op_env *env, struct store *s,
		     const struct iri *iri, size_t limit, store_log_cb cb);
void store_log_fini(struct store_log *l);

struct store_object {
	struct public_key space;
	char *path;
	uint64_t time_s; /* of the newest commit */
	uint64_t commits, heads, missing;
	bool tombstone; /* its one head says that it is deleted */
};
struct store_objects;
typedef void (*store_objects_cb)(struct store_objects *o, int status);
struct store_objects {
	struct op op;
	void *data;
	struct store_object *objects; /* result, newest first */
	size_t count;
	uint64_t total;
	/* private */
	store_objects_cb cb;
	struct store_request request;
	bool has_scope;
	struct scope scope;
	size_t limit;
};
/** Objects of a scope (NULL = all). */
void store_objects_start(struct store_objects *o, const struct op_env *env, struct store *s,
			 const struct scope *scope, size_t limit, store_objects_cb cb);
void store_objects_fini(struct store_objects *o);

/* Make a new version: takes the present heads as parents (or the given ones), signs, stores, all in
 * one transaction. */

/* Where the content of a new version was read, and what its user has said. */
struct store_origin {
	char folder[STORE_FOLDER_MAX + 1]; /* folder or file on this machine, as one spelling of its
					      name (UTF-8); "" = not from a folder */
	bool named; /* the object was named, not derived from the folder's name */
	bool over;  /* whatever the object holds now */
};
enum store_conflict_kind {
	STORE_CONFLICT_NONE,
	STORE_CONFLICT_HEADS, /* there are several heads; this would join them */
	STORE_CONFLICT_UNSEEN, /* the folder has not seen the head; this would undo what it changed */
	STORE_CONFLICT_FOLDER /* it was published from another folder of the same name */
};
/* Why a version was not made. */
struct store_conflict {
	enum store_conflict_kind kind;
	struct hash heads[STORE_HEADS_MAX];
	size_t head_count;
	uint64_t newest_s;
	char folder[STORE_FOLDER_MAX + 1]; /* STORE_CONFLICT_FOLDER: the other one */
};

struct store_publish;
typedef void (*store_publish_cb)(struct store_publish *p, int status);
struct store_publish {
	struct op op;
	void *data;
	struct hash hash; /* result: the new commit */
	uint64_t time_s;  /* result */
	bool unchanged;	  /* result: the single present head says all of this already; nothing new
			     was made */
	struct store_conflict conflict; /* result with ERR_CONFLICT */
	/* private */
	store_publish_cb cb;
	struct store_request request;
	struct commit commit;
	struct store_origin origin;
	uint8_t secret[64];
};
/** `commit` (copied) gives space, path, root, root_kind, tombstone, author, capability,
 * authorities, content hints; parents are the present heads unless parent_count > 0; time_s is
 * max(now, newest parent + 1) when 0. Everything root reaches must be stored: ERR_MISSING
 * otherwise. Makes all of it public. ERR_UNAUTHORIZED when the author may not write there.
 * `origin` (copied) is remembered with the version. Without parents given and without `over`,
 * ERR_CONFLICT when there are several heads, or when the folder has not seen the one there is. */
void store_publish_start(struct store_publish *p, const struct op_env *env, struct store *s,
			 const struct commit *commit, const uint8_t secret[64],
			 const struct store_origin *origin, store_publish_cb cb);
void store_publish_fini(struct store_publish *p); /* wipes the key */

struct store_seen;
typedef void (*store_seen_cb)(struct store_seen *p, int status);
struct store_seen {
	struct op op;
	void *data;
	/* private */
	store_seen_cb cb;
	struct store_request request;
	struct scope scope;
	struct hash version;
	char folder[STORE_FOLDER_MAX + 1];
};
/** This version was written into that folder, which may from now on be published as its successor.
 * ERR_NOT_FOUND when the object has no such version. */
void store_seen_start(struct store_seen *p, const struct op_env *env, struct store *s,
		      const struct scope *object, const char *folder, const struct hash *version,
		      store_seen_cb cb);

/* ---- Peers ---- */

struct store_peer {
	struct public_key key;
	struct multiaddr addrs[STORE_PEER_ADDRS_MAX];
	size_t addr_count;
	bool added_by_user;		 /* by `peers add`: never dropped */
	bool served_space;		 /* of the space asked about */
	bool authority;			 /* named by the commit of the space's root */
	uint64_t last_ok_s, last_fail_s; /* since 1970; 0 = never */
	uint32_t failures;		 /* since the last success */
};
struct store_peers;
typedef void (*store_peers_cb)(struct store_peers *p, int status);
struct store_peers {
	struct op op;
	void *data;
	struct store_peer *peers; /* result */
	size_t count;
	/* private */
	store_peers_cb cb;
	struct store_request request;
	bool has_space;
	struct public_key space;
	size_t limit;
};
/** Known peers: authorities of the space first, then those that served it, then by last success.
 * space NULL = all. */
void store_peers_start(struct store_peers *p, const struct op_env *env, struct store *s,
		       const struct public_key *space, size_t limit, store_peers_cb cb);
void store_peers_fini(struct store_peers *p);

enum store_peer_change {
	STORE_PEER_ADD,	   /* by the user, with addresses */
	STORE_PEER_REMOVE, /* ERR_NOT_FOUND when unknown */
	STORE_PEER_SEEN,   /* learned addresses: only of peers that were connected */
	STORE_PEER_OK,	   /* a sync went well; `space` (when set) was served */
	STORE_PEER_FAILED
};
struct store_peer_set;
typedef void (*store_peer_set_cb)(struct store_peer_set *p, int status);
struct store_peer_set {
	struct op op;
	void *data;
	/* private */
	store_peer_set_cb cb;
	struct store_request request;
	enum store_peer_change change;
	struct store_peer peer;
	bool has_space;
	struct public_key space;
};
void store_peer_set_start(struct store_peer_set *p, const struct op_env *env, struct store *s,
			  enum store_peer_change change, const struct store_peer *peer,
			  const struct public_key *space, store_peer_set_cb cb);
void store_peer_set_fini(struct store_peer_set *p);

/* ---- Subscriptions: scopes to be kept in sync ---- */

struct store_subscription {
	struct scope scope;
	uint64_t added_s, last_ok_s;
	bool history; /* the content of older versions too */
};
struct store_subscriptions;
typedef void (*store_subscriptions_cb)(struct store_subscriptions *p, int status);
struct store_subscriptions {
	struct op op;
	void *data;
	struct store_subscription *list; /* result */
	size_t count;
	/* private */
	store_subscriptions_cb cb;
	struct store_request request;
};
void store_subscriptions_start(struct store_subscriptions *p, const struct op_env *env,
			       struct store *s, store_subscriptions_cb cb);
void store_subscriptions_fini(struct store_subscriptions *p);

/* SUBSCRIBE_HISTORY adds it with history, or turns that on; SUBSCRIBE leaves it as it is. */
enum store_subscription_change {
	STORE_SUBSCRIBE,
	STORE_SUBSCRIBE_HISTORY,
	STORE_UNSUBSCRIBE,
	STORE_SUBSCRIPTION_OK
};
struct store_subscription_set;
typedef void (*store_subscription_set_cb)(struct store_subscription_set *p, int status);
struct store_subscription_set {
	struct op op;
	void *data;
	bool changed; /* result: false when it was so already */
	/* private */
	store_subscription_set_cb cb;
	struct store_request request;
	enum store_subscription_change change;
	struct scope scope;
};
void store_subscription_set_start(struct store_subscription_set *p, const struct op_env *env,
				  struct store *s, enum store_subscription_change change,
				  const struct scope *scope, store_subscription_set_cb cb);
void store_subscription_set_fini(struct store_subscription_set *p);
