/* The one contract of asynchronous operations.
 *
 *   struct sync_fetch f;
 *        caller's memory, until the callback
 *   sync_fetch_start(&f, env, &hash, on_fetched);
 *        returns void, cannot fail, never calls back inside itself
 *   op_cancel(&f.op);
 *        optional, any time before the callback; idempotent
 *   on_fetched(&f, status)
 *        exactly once, from the loop; may free or restart f
 *
 * Inside, an operation is a state machine: a table of states, one tick function that switches over
 * them, one function per state, adapters without logic for what its children and handles report.
 * Every wait is a state; the state's name is the stage under which a trace accounts the time spent
 * in it. */
#pragma once

#include "base/err.h"
#include "base/runner.h"
#include "base/span.h"

enum {
	OP_STATES_MAX = 32,
	OP_CREATED_FRAMES = 6 /* return addresses kept of who started an operation */
};

/* What a state function returns: run the next state at once, or wait to be ticked again. */
enum op_step { OP_NEXT, OP_WAIT };

struct op_state {
	const char *name;
	uint32_t next; /* bit set of the states that may follow: TO(A) | TO(B) */
};
#define TO(state) (UINT32_C(1) << (state))

struct op_kind {
	const char *name; /* "sync.peer": also the profiler's task label */
	const struct op_state *states;
	unsigned state_count;
	void (*tick)(struct op *op);
};

/* What an operation runs in, given by whoever starts it. Copied by op_init. */
struct op_env {
	struct runner *runner;
	uint64_t deadline_ms; /* absolute time of runner->clock; no operation without one */
	struct span span;     /* the parent's; zero = not traced */
};

struct op {
	struct op_env env; /* what this operation gives its children */
	unsigned state;
	unsigned pending; /* children, handles and jobs that will still call back */
	/* private */
	const struct op_kind *kind;
	int status;
	bool live; /* between op_init and op_finish */
	bool has_result;
	bool stopping;
	bool owns_span;	    /* env.span is its own: its states are stages of it */
	uint64_t limit_ms;  /* the deadline that its starter gave */
	uint64_t since_ms;  /* when the state was entered */
	uint64_t due_ns;    /* since when a deferred tick waits; 0 = none, or nobody asks */
	uint64_t id;	    /* op_next_id() */
	uint64_t parent_id; /* of the operation whose tick started this one; 0 = none */
	/* Return addresses, 0 = no more: into the _start function, into its caller, and so on. */
	uintptr_t created_by[OP_CREATED_FRAMES];
	struct runner_task task;
	struct runner_timer timer;
	struct list node; /* in runner->ops */
};

/** First statement of every _start. Overwrites all of `op`, whatever it held. State 0; deadline =
 * min(env's, now + timeout_ms); expiry is a cancel with UV_ETIMEDOUT; the first tick comes from the
 * loop, and finds op_stopping() when the deadline had passed before. timeout_ms UINT64_MAX = only
 * env's deadline; both UINT64_MAX = none. */
void op_init(struct op *op, const struct op_kind *kind, const struct op_env *env,
	     uint64_t timeout_ms);

/** Declare that the operation has opened a span of its own: children inherit it; the present state
 *  and each one that op_move enters is a stage of it. Reported to the observer as a move from the
 *  state to itself. */
void op_own_span(struct op *op, struct span span);

/** Change state. REQUIREs that the table allows it; then, with the new state in place, reports to
 * the runner's observer. */
void op_move(struct op *op, unsigned state);

/** Record the outcome. The first one wins: a later result, cancel or timeout does not change it. */
void op_result(struct op *op, int status);
bool op_has_result(const struct op *op);
/** The outcome, 0 if none was recorded. */
int op_status(const struct op *op);

/** Ask the operation to end early with UV_ECANCELED (unless it has a result). Only records and
 * defers a tick. Does nothing when it is stopping already, finished, or zeroed and not started. */
void op_cancel(struct op *op);
/** The same with a reason of one's own, e.g. UV_ETIMEDOUT. */
void op_stop(struct op *op, int status);
/** Progress earns time: the operation's own timeout begins anew, within the deadline that its
 * starter gave. Does nothing when it is stopping. Children keep the deadline they were started
 * with. */
void op_prolong(struct op *op, uint64_t timeout_ms);
/** True from op_cancel / the deadline on: state functions look at it first and go to their closing
 * state. */
bool op_stopping(const struct op *op);

/** Run the machine now; for adapters. Sets the profiler's label around kind->tick. `op` may be gone
 * afterwards. */
void op_tick(struct op *op);
/** Have it run soon, from the loop; harmless when nothing is new. Not before op_init, not after
 * op_finish. */
void op_defer(struct op *op);

static inline void op_hold(struct op *op)
{
	op->pending++;
}
static inline void op_release(struct op *op)
{
	REQUIRE(op->pending > 0);
	op->pending--;
}

/** In the final state: true when nothing is pending, after disarming timer and task. The caller
 * then calls its callback with op_status() and returns at once. False: wait for what is pending. */
bool op_finish(struct op *op);

/** True after op_own_span(): env.span is this operation's own, not its parent's. */
static inline bool op_owns_span(const struct op *op)
{
	return op->owns_span;
}
/** Name of a state from the operation's table. Static string. */
static inline const char *op_state_name(const struct op *op, unsigned state)
{
	return op->kind->states[state].name;
}

/** Time left until the deadline, in ms; 0 when it has passed. */
uint64_t op_left_ms(const struct op *op);

/** A number that no operation or thread had before; 1 is the main thread's. Never 0. */
uint64_t op_next_id(void);

/* What the running thread is doing, for the profiler's signal handler alone. */
struct op_label {
	const char *task; /* static string, NULL outside operations */
	struct span span;
	uint64_t id; /* of the operation */
};
const volatile struct op_label *op_label(void);
/** The calling thread works for an operation of the loop from now on: for jobs on other threads.
 * Copies; `task` NULL: for none. */
void op_label_set(const char *task, struct span span, uint64_t id);

/** Tell, from op_move, of every operation that leaves a state in which it has been for 1 ms or
 * more. For the profiler; one for the process, NULL = none. */
typedef void (*op_wait_fn)(const struct op *op, unsigned state, uint64_t waited_ms);
void op_set_wait_fn(op_wait_fn fn);

/* Told of all that operations do, for who records it for a while (an execution trace); one for the
 * process. Nobody there costs a load. Calls no function of this folder but clocks. */
struct op_watch {
	/* On the loop's thread. */
	void (*on_begin)(const struct op *op);
	/* It is to be ticked. */
	void (*on_due)(const struct op *op);
	void (*on_tick)(const struct op *op);
	/* Its tick has returned; the operation may be gone. */
	void (*on_ticked)(uint64_t id);
	void (*on_move)(const struct op *op, unsigned from);
	/* It has a span of its own now; `parent` is the one it had before. */
	void (*on_span)(const struct op *op, struct span parent);
	void (*on_end)(const struct op *op);
	/* On any thread: op_label_set. */
	void (*on_label)(const char *task, struct span span, uint64_t id);
};
/** NULL = nobody. Static storage: another thread may be inside it when this returns. */
void op_set_watch(const struct op_watch *watch);

/* A look at every operation in flight that can be made in pieces, for there may be more than one
 * turn of the loop has time for: between the pieces operations may begin and end. */
struct op_walk {
	/* private */
	struct runner *runner;
	struct list node; /* in runner->walks */
	struct list *next;
};

/** The next operation will be the oldest. Overwrites `w`, which stays where it is until
 * op_walk_end. */
void op_walk_begin(struct op_walk *w, struct runner *r);
/** From older to newer; NULL when all have been seen, those included that began meanwhile. */
const struct op *op_walk_next(struct op_walk *w);
/** Also of a walk that is zeroed, or has ended. */
void op_walk_end(struct op_walk *w);

/** One line for every operation in flight: kind, state, how long it is there. For what finds them
 * where none should be. */
void op_print_all(const struct runner *r, int fd);
