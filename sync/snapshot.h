/* The commits of a scope as a set to reconcile, read from the store once per stream. */
#pragma once

#include "store/store.h"
#include "sync/reconcile.h"

enum { SNAPSHOT_INLINE_MAX = 4096 /* items prepared on the loop; more go to a worker */ };

struct snapshot {
	struct reconcile_set set;
	/* private */
	struct reconcile_item *items;
};

struct snapshot_load;
typedef void (*snapshot_load_cb)(struct snapshot_load *l, int status);
struct snapshot_load {
	struct op op;
	void *data;
	struct snapshot snapshot; /* result when status is 0 */
	/* private */
	snapshot_load_cb cb;
	struct store *store;
	struct scope scope;
	struct store_items items;
	struct runner_job job;
	size_t count;
	int job_status;
	bool asked, reading, built;
};
/** Copies scope. Statuses of store_items. Once the worker has it, a cancel waits for its end. */
void snapshot_load_start(struct snapshot_load *l, const struct op_env *env, struct store *store,
			 const struct scope *scope, snapshot_load_cb cb);
/** After the callback, whatever the status; also of a zeroed one. */
void snapshot_fini(struct snapshot *s);
