#include "profiler/goroutine.h"

#include <string.h>
#include <sys/syscall.h>

#include "base/err.h"
#include "base/mem.h"
#include "profiler/symbols.h"

/* Threads and operations in the words that Go has for goroutines, since people and programs look
 * for those: "IO wait", "semacquire", "sync.Cond.Wait", "sleep", "select", "syscall", "running". */

enum { NAMED_FRAMES = 8 /* how deep a wait's name is looked for */ };

/* ---- Tasks ---- */

static struct task look_at(const struct op *op, uint64_t now_ms)
{
	struct task t = {
		.kind = op->kind->name,
		.state = op_state_name(op, op->state),
		.pc = (uintptr_t)op->kind->tick,
		.waiting_ms = now_ms - MIN(op->since_ms, now_ms),
		.left_ms = op->env.deadline_ms != UINT64_MAX ?
				   op->env.deadline_ms - MIN(now_ms, op->env.deadline_ms) :
				   UINT64_MAX,
		.pending = op->pending,
		.queued = op->task.run != NULL && op->task.node.next != NULL &&
			  list_linked(&op->task.node),
		.id = op->id,
		.parent_id = op->parent_id,
	};

	for (; t.created_count < OP_CREATED_FRAMES && op->created_by[t.created_count] != 0;
	     t.created_count++)
		t.created_by[t.created_count] = op->created_by[t.created_count] - 1;
	return t;
}

static int begin_snapshot(struct tasks *t, struct runner *r)
{
	t->room = MIN(r->op_count, (unsigned)TASKS_MAX);
	t->left_out = r->op_count - t->room;
	t->list = mem_alloc_array(MAX(t->room, 1u), sizeof(*t->list));
	if (t->list == NULL)
		return UV_ENOMEM;
	op_walk_begin(&t->walk, r);
	return 0;
}

int tasks_snapshot(struct tasks *t, struct runner *r)
{
	uint64_t now_ms = runner_now_ms(r);
	const struct op *op = NULL;

	if (t->list == NULL && begin_snapshot(t, r) != 0)
		return UV_ENOMEM;
	for (unsigned i = 0; i < TASKS_PER_TURN && t->count < t->room; i++) {
		op = op_walk_next(&t->walk);
		if (op == NULL)
			break;
		t->list[t->count++] = look_at(op, now_ms);
	}
	if (op != NULL && t->count < t->room)
		return 1;
	op_walk_end(&t->walk);
	return 0;
}

void tasks_fini(struct tasks *t)
{
	op_walk_end(&t->walk);
	mem_free(t->list);
	*t = (struct tasks){ .list = NULL };
}

/* The frames above an operation's tick are the loop's, the same for all; what is no code was no
 * return address. */
void tasks_trim(struct tasks *t, const struct modules *m)
{
	for (unsigned i = 0; i < t->count; i++) {
		struct task *task = &t->list[i];
		unsigned n = 0;

		while (n < task->created_count && modules_find(m, task->created_by[n]) != NULL &&
		       cfi_function_start(task->created_by[n]) != (uintptr_t)op_tick)
			n++;
		task->created_count = n;
	}
}

const char *task_state(const struct task *t)
{
	if (t->queued)
		return "runnable";
	return t->pending > 0 ? "IO wait" : "select";
}

/* ---- Threads ---- */

static bool waits_in(const struct dumped_thread *t, unsigned frames, const char *part)
{
	for (unsigned i = 0; i < t->n && i < frames; i++) {
		const struct symbol *s = symbols_get(t->pcs[i]);

		for (unsigned k = 0; k < s->n; k++)
			if (strstr(s->lines[k].system_name, part) != NULL)
				return true;
	}
	return false;
}

/* A thread in no system call when it was looked at may have entered one before it was asked: its
 * own stack knows better. */
static const char *state_by_name(const struct dumped_thread *t)
{
	static const struct {
		const char *name, *state;
	} waits[] = { { "nanosleep", "sleep" }, { "epoll_", "IO wait" },   { "recv", "IO wait" },
		      { "accept", "IO wait" },	{ "futex", "semacquire" }, { "poll", "select" },
		      { "select", "select" } };

	for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
		if (waits_in(t, 1, waits[i].name))
			return waits_in(t, NAMED_FRAMES, "cond_") ? "sync.Cond.Wait" :
								    waits[i].state;
	return t->run_state == 'D' ? "syscall" : "running";
}

const char *thread_state(const struct dumped_thread *t)
{
	switch (t->syscall) {
	case -1: return state_by_name(t);
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect: return "IO wait";
	case SYS_futex: return waits_in(t, NAMED_FRAMES, "cond_") ? "sync.Cond.Wait" : "semacquire";
	case SYS_nanosleep:
	case SYS_clock_nanosleep: return "sleep";
	case SYS_poll:
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6: return "select";
	default: return "syscall";
	}
}

uint64_t thread_waits_ms(const struct dumped_thread *t)
{
	return strcmp(thread_state(t), "running") != 0 ? t->still_ms : 0;
}

const struct dumped_thread *thread_holder(const struct dump *d, const struct dumped_thread *t)
{
	if (t->owner == 0 || t->owner == t->tid ||
	    !(waits_in(t, NAMED_FRAMES, "mutex_lock") ||
	      waits_in(t, NAMED_FRAMES, "mutex_cond_lock")))
		return NULL;
	for (unsigned i = 0; i < d->count; i++)
		if (d->threads[i].tid == t->owner)
			return &d->threads[i];
	return NULL;
}

/* ---- Counting ---- */

int snapshot_count(struct stacks *out, const struct dump *d, const struct tasks *t, int sign)
{
	for (unsigned i = 0; i < d->count; i++) {
		const struct dumped_thread *thread = &d->threads[i];

		stacks_add(out, thread->pcs, thread->n, thread->task, thread_state(thread),
			   thread->name, sign);
	}
	for (unsigned i = 0; i < t->count; i++) {
		const struct task *task = &t->list[i];
		uintptr_t pcs[1 + OP_CREATED_FRAMES] = { task->pc };

		memcpy(pcs + 1, task->created_by, task->created_count * sizeof(*pcs));
		stacks_add(out, pcs, 1 + task->created_count, task->kind, task->state, "", sign);
	}
	return out->dropped > 0 ? UV_ENOMEM : 0;
}

struct counting {
	struct stacks *out;
	int sign;
	uint64_t seen;
};

static void count_origin(void *data, const uintptr_t *pcs, unsigned n, uint64_t count)
{
	static const uintptr_t unknown = (uintptr_t)thread_did_not_answer;
	struct counting *c = data;

	if (n == 0) { /* never an empty stack: readers refuse it */
		pcs = &unknown;
		n = 1;
	}
	stacks_add(c->out, pcs, n, NULL, NULL, "", c->sign * (int64_t)count);
	c->seen += count;
}

int main(int argc, char **argv); /* NOLINT: the main thread's origin is the program's own */

void threadcreate_count(struct stacks *out, int sign)
{
	uintptr_t entry = (uintptr_t)main;
	struct counting c = { .out = out, .sign = sign };

	threads_each_origin(count_origin, &c);
	count_origin(&c, &entry, 1, 1);
	if (threads_created() > c.seen)
		count_origin(&c, NULL, 0, threads_created() - c.seen);
}
