/* The goroutine and threadcreate profiles. Private to profiler/. */
#pragma once

#include "profiler/dump.h"
#include "profiler/profiler_private.h"

enum { TASKS_MAX = 100000, TASKS_PER_TURN = 500 };

/* An operation in flight, as seen on the loop. */
struct task {
	const char *kind, *state; /* static */
	uintptr_t pc;		  /* its tick function */
	uint64_t waiting_ms;	  /* since it entered the state */
	uint64_t left_ms;	  /* until its deadline; UINT64_MAX = none */
	unsigned pending;
	bool queued; /* its tick is due */
	uint64_t id;
	uint64_t parent_id; /* of the operation that started it; 0 = none */
	unsigned created_count;
	uintptr_t created_by[OP_CREATED_FRAMES]; /* from the _start function on */
};

struct tasks {
	struct task *list;
	unsigned count;
	unsigned left_out; /* beyond TASKS_MAX */
	/* private */
	unsigned room;
	struct op_walk walk;
};

/** On the loop: look at the operations in flight, TASKS_PER_TURN of them at each call, for each is
 * a few cache misses; call again, in another turn, while it says 1. What begins after the first
 * call is not looked at, what ends before its turn is missing. 0, 1, or UV_ENOMEM. Overwrites
 * nothing: `t` is zeroed at first, and stays where it is until tasks_fini. */
int tasks_snapshot(struct tasks *t, struct runner *r);
/** On a worker: leave of each task's creation stack what is one. */
void tasks_trim(struct tasks *t, const struct modules *m);
/** On the loop. What is left is zeroed. */
void tasks_fini(struct tasks *t);

/* No function of ours may have a name that starts with "goroutine": it would stand at the start of
 * a line of the text, where readers take it for the header of a block. */

/** Count all threads and tasks, times `sign`, into `out`. On a worker. */
int snapshot_count(struct stacks *out, const struct dump *d, const struct tasks *t, int sign);
/** Where all threads so far were created, times `sign`. */
void threadcreate_count(struct stacks *out, int sign);

/** Blocks as Go's debug=2 prints them; with `notes`, lines for people in between (debug=3). Inside
 * a symbol session. */
void snapshot_write_blocks(struct buf *out, const struct dump *d, const struct tasks *t,
			   bool notes);
/** Two lines per frame, as in the blocks. Inside a symbol session. */
void frames_write(struct buf *out, const uintptr_t *pcs, unsigned n);
/** "goroutine 17 [IO wait]" lines behind a '#', for a comment of the binary form. */
void snapshot_write_list(struct buf *out, const struct dump *d, const struct tasks *t);
/** Go's debug=1: `name profile: total n`, records. Inside a symbol session. */
void count_profile_write(struct buf *out, const char *name, const char *what_key,
			 const struct stacks *stacks);
/** The '#' lines under a record. Inside a symbol session. */
void record_frames_write(struct buf *out, const struct stack *k);
/** `--- Memory map: ---` and the executable lines of /proc/self/maps. */
void memory_map_write(struct buf *out);
/** The lines alone. */
void executable_maps_write(struct buf *out);

/** Go's word for what a thread waits for; looks at names, so inside a symbol session. */
const char *thread_state(const struct dumped_thread *t);
const char *task_state(const struct task *t);
/** How long it has waited, as far as is known; 0 when it runs. */
uint64_t thread_waits_ms(const struct dumped_thread *t);
/** Who has the mutex that the thread waits for, NULL when it waits for none or that is not known.
 * Looks at names too. */
const struct dumped_thread *thread_holder(const struct dump *d, const struct dumped_thread *t);
