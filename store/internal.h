/* What the files of store/ share: the store itself, its thread's view of a request, and the verbs
 * on nodes, commits and the stash.
 *
 * Threads: the loop owns the operations; the mutex guards the queues, `notices`, phases and the
 * published figures; everything else below `db` belongs to whoever executes requests (the thread,
 * or the loop when inline). */
#pragma once

#include <pthread.h>

#include "store/db.h"
#include "store/store.h"

enum {
	STORE_READS_IN_A_ROW_MAX = 16, /* then a waiting write gets its turn */
	STORE_TX_LINKS_MAX = 50000, /* links made by one transaction, after which a put is continued
				       in another */
	STORE_TX_RETRIES_MAX = 256, /* commits taken out of the stash by one transaction */
	STORE_HISTORY_WALK_MAX =
		256, /* nodes looked at to find out whether a head leads to something */
	STORE_WALK_MAX = 1 << 24, /* incomplete nodes a publication may come across */
	STORE_REFUSED_AGE_MAX_S = 86400,
	STORE_TX_OCTAVES = 32, /* histogram of microseconds: 2^32 us and more share a bucket */
	STORE_TX_STEPS = 8
};

/* Of a request; written under the mutex. */
enum request_phase { REQUEST_NEW, REQUEST_QUEUED, REQUEST_TAKEN, REQUEST_FINISHED };

struct tx_histogram {
	uint64_t count, max_us;
	uint64_t buckets[STORE_TX_OCTAVES * STORE_TX_STEPS];
};
void tx_histogram_add(struct tx_histogram *h, uint64_t us);
/** Upper end of the bucket of the given share (0..1000 per mille) of the values. */
uint64_t tx_histogram_permille(const struct tx_histogram *h, unsigned permille);

/* Those of the last while: of this period and the one before. How a disk was last month is of no
 * use to anybody. */
struct tx_recent {
	struct tx_histogram now, before;
	uint64_t since_ns;
};
enum { STORE_TX_PERIOD_S = 300 };
void tx_recent_add(struct tx_recent *r, uint64_t us, uint64_t now_ns);
uint64_t tx_recent_permille(struct tx_recent *r, unsigned permille, uint64_t now_ns);

struct store {
	struct runner *runner;
	const struct clock *clock; /* of the executing side, for durations */
	bool inline_io;
	bool closing; /* loop side */
	void (*closed)(void *data);
	void *closed_data;
	unsigned active;	 /* operations between enqueue and their last notice; loop side */
	struct runner_task task; /* inline only */
	uv_async_t async;
	uv_loop_t *uv;
	pthread_t thread;

	pthread_mutex_t mutex;
	pthread_cond_t work;
	struct list reads, writes, notices; /* of store_request */
	size_t queued;
	bool running;	      /* a request is being executed */
	uint64_t progress_ns; /* the last one was, or the first one came after a rest */
	bool stop, ended;
	unsigned reads_in_a_row;
	struct store_stats stats; /* published */
	uint64_t tx_count, tx_max_us;
	struct tx_recent tx;

	struct db db;
	struct vouch *vouch; /* made when needed */
	uint64_t tx_begun_ns;
	uint64_t stash_dropped, refused_dropped, peers_dropped, damaged;
};

/* ---- Requests ---- */

extern const struct op_state request_read_states[], request_write_states[];
enum { REQUEST_STATE_COUNT = 3 };

/** Begin an operation: op_init, then into the queue. `run` is called by the executing side until it
 * returns 0 or less, which becomes the status; > 0 asks for another turn, after waiting reads. */
void request_start(struct store_request *r, struct op *op, const struct op_kind *kind,
		   const struct op_env *env, struct store *s, bool is_write,
		   int (*run)(struct store *s, struct store_request *r));
/** The tick of every operation here. True: it is over, call the callback with op_status() and
 * return. */
bool request_tick(struct op *op, struct store_request *r);
/** The loop wants it to end; asked between transactions. */
bool request_abandoned(struct store *s, const struct store_request *r);

/* Transactions with a stop-watch. */
int tx_begin(struct store *s) MUST_USE;
int tx_commit(struct store *s) MUST_USE;
void tx_rollback(struct store *s);

/* Growing list of node ids. */
struct id_list {
	int64_t *ids;
	size_t count, cap;
};
int id_list_add(struct id_list *l, int64_t id) MUST_USE;
void id_list_fini(struct id_list *l);

/* ---- One write: what its steps collect ---- */

struct write {
	struct store *s;
	struct db *db;
	uint64_t wall_s;
	size_t links;	       /* made so far */
	struct id_list wanted; /* pairs: node, source */
	struct store_new_commit *commits;
	size_t commit_count, commit_cap;
	struct id_list twins; /* pairs: wanted node, public node with the same bytes */
};
void write_init(struct write *w, struct store *s, uint64_t wall_s);
void write_fini(struct write *w);

/* What a savepoint brackets. */
struct write_mark {
	struct db_totals totals;
	size_t wanted, twins, commits;
};
int write_savepoint(struct write *w, struct write_mark *ret) MUST_USE;
int write_rollback(struct write *w, const struct write_mark *mark) MUST_USE;
int write_release(struct write *w) MUST_USE;
/** Give wanted nodes the bytes that are here under another kind. */
int write_settle_twins(struct write *w) MUST_USE;

/* Statuses: a function that judges foreign bytes returns its verdict apart from failures of our
 * own: return value < 0 = ours, the transaction must be rolled back; *ret_verdict is about the
 * blob. */

/* ---- Nodes ---- */

enum { NODE_STORED = 1, NODE_WANTED = 2, NODE_PUBLIC = 4 };

struct node {
	int64_t id; /* 0 = unknown */
	unsigned state;
	int64_t pending;
};
/** id 0 when there is none. */
int node_find(struct db *db, const struct hash *hash, enum object_kind kind,
	      struct node *ret) MUST_USE;
/** Any node of that hash whose bytes are here; public_only: and which peers may have. id 0 when
 * there is none. */
int node_find_bytes(struct db *db, const struct hash *hash, bool public_only,
		    struct node *ret) MUST_USE;
/** Find or make. */
int node_intern(struct db *db, const struct hash *hash, enum object_kind kind, uint32_t size,
		struct node *ret) MUST_USE;
/** Keep bytes and what they link to. The verdict is object_links'. Not for commits. */
int node_store(struct write *w, struct node *n, enum object_kind kind, const void *bytes,
	       size_t len, int *ret_verdict) MUST_USE;
/** Insert the bytes alone. */
int node_store_bytes(struct write *w, struct node *n, enum object_kind kind, const void *bytes,
		     size_t len) MUST_USE;
/** A node that is known to be new, public from its first moment: commits, which nothing links to.
 * `pending` of what it is about to link to is not complete; when that is 0, node_completed is to
 * follow. */
int node_insert_public(struct write *w, const struct hash *hash, enum object_kind kind,
		       const void *bytes, size_t len, int64_t pending, int64_t *ret_id) MUST_USE;
struct node_target {
	struct node node; /* id 0: unknown so far */
	int64_t twin;	  /* a public node of another kind with the same bytes; 0 = none */
};
int node_find_target(struct db *db, const struct hash *hash, enum object_kind kind,
		     struct node_target *ret) MUST_USE;
/** A public source links to what was just found: it is wanted from now on, unless it is public. */
int node_link_target(struct write *w, int64_t source, const struct hash *hash,
		     enum object_kind kind, struct node_target *t) MUST_USE;
/** All of it and below it is here: tell what links to it. */
int node_completed(struct db *db, int64_t id, enum object_kind kind) MUST_USE;
int node_link(struct write *w, int64_t source, int64_t target) MUST_USE;
/** A stored node becomes public: what it links to and is not is wanted from now on; completeness
 * travels upwards. */
int node_make_public(struct write *w, struct node *n, enum object_kind kind) MUST_USE;
/** The same for everything below it, which must be stored: ERR_MISSING otherwise (then roll back).
 */
int node_publish_closure(struct write *w, int64_t id) MUST_USE;
/** Copy of the bytes, checked against the hash: ERR_VERIFY (counted). The caller frees. */
int node_read(struct store *s, int64_t id, const struct hash *hash, uint8_t **ret,
	      size_t *ret_len) MUST_USE;

/* ---- Commits ---- */

struct object_row {
	int64_t id; /* 0 = unknown */
	int64_t commits, heads, open_heads, newest_s;
};
int object_find(struct db *db, const struct public_key *space, const char *path, size_t path_len,
		struct object_row *ret) MUST_USE;

struct commit_row {
	int64_t id; /* 0 = unknown */
	int64_t object;
	uint64_t time_s;
	bool head, complete;
};
int commit_find(struct db *db, const struct hash *hash, struct commit_row *ret) MUST_USE;

/* What a commit lacks. */
struct commit_missing {
	struct {
		struct hash hash;
		enum object_kind kind;
	} list[OBJECT_PARENTS_MAX + 1];
	size_t count;
};
/** Capability and parents. Verdict 0, ERR_MISSING (ret_missing says what), ERR_UNAUTHORIZED,
 * ERR_MALFORMED. */
int commit_check(struct store *s, const struct commit *c, struct commit_missing *ret_missing,
		 int *ret_verdict) MUST_USE;
/** Make it part of its object; it has passed commit_check. */
int commit_accept(struct write *w, const struct commit *c, const struct hash *hash,
		  const void *bytes, size_t len) MUST_USE;
/** Called by node.c when the root has arrived whole. */
int commit_completed(struct db *db, int64_t id) MUST_USE;

/* ---- Origins ---- */

/** May content of this origin follow `head`, the only one? 0 or ERR_CONFLICT, with kind (and folder)
 * of ret set. */
int origin_check(struct db *db, int64_t object, const struct store_origin *o,
		 const struct hash *head, struct store_conflict *ret) MUST_USE;
/** The folder has seen that version: it was `published` from it, or written into it. */
int origin_note(struct db *db, int64_t object, const char *folder, const struct hash *head,
		bool published, uint64_t now_s) MUST_USE;

/* ---- Stash and refused ---- */

/** Is it waiting already? */
int stash_has(struct db *db, const struct hash *hash, bool *ret) MUST_USE;
/** Does a waiting commit need it? */
int stash_needs(struct db *db, const struct hash *hash, enum object_kind kind, bool *ret) MUST_USE;
/** *ret_kept is false when there is no room for it: who waits is not given up for who comes. */
int stash_add(struct write *w, const struct commit *c, const struct hash *hash, const void *bytes,
	      size_t len, const struct public_key *from, const struct commit_missing *missing,
	      bool *ret_kept) MUST_USE;
/** Something arrived: what waited for nothing else is ready. */
int stash_arrived(struct db *db, const struct hash *hash, enum object_kind kind) MUST_USE;
/** Retry what is ready, at most `limit`; returns how many there were. */
int stash_retry(struct write *w, unsigned limit) MUST_USE;
int stash_expire(struct write *w) MUST_USE;

/** ret_status 0 when it is not remembered. */
int refused_find(struct db *db, const struct hash *hash, enum object_kind kind,
		 int *ret_status) MUST_USE;
/** Remember, and refuse what waits for it in the stash. */
int refused_add(struct write *w, const struct hash *hash, enum object_kind kind,
		int status) MUST_USE;
/** The oldest go. */
int refused_expire(struct write *w) MUST_USE;

/* ---- Wants ---- */

/* Of a put, from its first transaction to its last. */
struct store_put_progress {
	struct id_list wanted; /* pairs: node, source */
	size_t wants_dropped;
	size_t commit_cap;
	bool expired;
};

/** Fill in p->wants: what is still wanted of what the put noted, and what its stashed commits wait
 * for. */
int put_report_wants(struct store *s, struct store_put *p) MUST_USE;

/* ---- Scopes in SQL ---- */

struct scope_args {
	char path_slash[OBJECT_PATH_MAX + 2];
	char path_end[OBJECT_PATH_MAX + 2];
	struct sql_arg list[6]; /* ?1 to ?5, and room for one more */
};
/** Borrows the scope. */
void scope_args(const struct scope *scope, struct scope_args *ret);
struct scope_sum {
	int64_t objects, commits, open_heads;
};
int scope_sum(struct db *db, struct scope_args *a, struct scope_sum *ret) MUST_USE;
/** Count what is wanted below the commits in the table start. */
int missing_count(struct db *db, uint64_t *ret) MUST_USE;
