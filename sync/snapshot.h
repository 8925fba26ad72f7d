/* The commits of a scope as a set to reconcile: a hot one if it is right still, else read from the
 * store. */
#pragma once

#include "store/store.h"
#include "sync/hot.h"

enum { SNAPSHOT_INLINE_MAX = 4096 /* items prepared on the loop; more go to a worker */ };

/* What became of loads. */
struct snapshot_stats {
	uint64_t hot;	  /* nothing was read */
	uint64_t checked; /* the store had no more of them */
	uint64_t read;
};

/* Where snapshots come from. */
struct snapshot_source {
	struct store *store; /* borrowed */
	struct hot_sets hot;
	struct snapshot_stats stats;
};

struct snapshot {
	struct reconcile_set set;
	/* private */
	struct hot_set *hot;
};

struct snapshot_load;
typedef void (*snapshot_load_cb)(struct snapshot_load *l, int status);
struct snapshot_load {
	struct op op;
	void *data;
	struct snapshot snapshot; /* result when status is 0 */
	/* private */
	snapshot_load_cb cb;
	struct snapshot_source *source;
	struct scope scope;
	struct hash key;
	struct hot_set *found; /* perhaps right */
	uint64_t store_commits;
	struct store_items items;
	struct reconcile_item *list;
	struct runner_job job;
	size_t count;
	int job_status;
	bool asked, reading, built;
};
/** Copies scope; borrows source, beyond the callback until snapshot_fini. Statuses of store_items.
 * Once the worker has it, a cancel waits for its end. */
void snapshot_load_start(struct snapshot_load *l, const struct op_env *env,
			 struct snapshot_source *source, const struct scope *scope,
			 snapshot_load_cb cb);
/** After the callback, whatever the status; also of a zeroed one. */
void snapshot_fini(struct snapshot *s);
