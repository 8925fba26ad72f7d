#include "profiler/dump.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/op.h"
#include "profiler/proc.h"

/* Each thread is sent a signal of its own; the handler walks the stack into the slot that the
 * signal's value names. Slots are static: a thread that answers late finds another generation in
 * its slot, or the slot closed, and drops its answer. A slot that is being filled is never taken
 * over.
 *
 * A thread that blocks the signal is not sent one. The kernel tells where it entered its system
 * call, and its stack is copied and walked from outside; rbp is not known then, so such a walk can
 * end early. */

enum { SLOT_OPEN, SLOT_FILLING, SLOT_FULL, SLOT_CLOSED };
enum { STACK_COPY_MAX = 64 << 10 };

struct slot {
	_Atomic uint32_t state;
	_Atomic uint32_t generation;
	const char *task;
	struct span span;
	unsigned n;
	uintptr_t pcs[UNWIND_FRAMES_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[DUMP_BATCH];
static _Atomic uint32_t pending; /* futex word */
static uint32_t last_generation;

__attribute__((noinline)) void thread_did_not_answer(void)
{
	__asm__ volatile("");
}

static int dump_signal(void)
{
	return SIGRTMIN + 5;
}

/* ---- The handler ---- */

static void answer(struct slot *s, uint32_t generation, const ucontext_t *uc)
{
	const volatile struct op_label *label = op_label();
	uint32_t open = SLOT_OPEN;
	struct unwind u;
	bool cut;

	if (atomic_load(&s->generation) != generation ||
	    !atomic_compare_exchange_strong(&s->state, &open, SLOT_FILLING))
		return;
	s->task = label->task;
	s->span = (struct span){ 0 };
	if (s->task != NULL)
		s->span = label->span;
	unwind_init(&u, uc, thread_stack_end());
	s->n = unwind_walk(&u, s->pcs, UNWIND_FRAMES_MAX, &cut);
	atomic_store(&s->state, SLOT_FULL);
	if (atomic_fetch_sub(&pending, 1) == 1)
		syscall(SYS_futex, &pending, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void on_dump(int signo, siginfo_t *si, void *context)
{
	int saved = errno;
	uint64_t value = (uintptr_t)si->si_value.sival_ptr;

	if (si->si_code == SI_QUEUE && si->si_pid == getpid())
		answer(&slots[value % DUMP_BATCH], (uint32_t)(value / DUMP_BATCH), context);
	errno = saved;
}

void dump_guard(void)
{
	struct sigaction sa = { .sa_sigaction = on_dump,
				.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };

	sigfillset(&sa.sa_mask);
	sigaction(dump_signal(), &sa, NULL);
}

/* ---- From outside ---- */

/* The copy is made by the kernel, which does not mind when the stack goes away. */
static void walk_outside(struct dumped_thread *t, uintptr_t sp, uintptr_t pc, uintptr_t stack_hi)
{
	uintptr_t lo = sp - UNWIND_RED_ZONE,
		  hi = stack_hi > sp ? MIN(stack_hi, sp + STACK_COPY_MAX) : 0;
	struct iovec local, remote;
	struct unwind u;
	uint8_t *copy;
	ssize_t got;
	bool cut;

	t->n = 1;
	t->pcs[0] = pc != 0 ? pc : (uintptr_t)thread_did_not_answer;
	if (pc == 0 || hi == 0 || (copy = mem_alloc(hi - lo)) == NULL)
		return;
	local = (struct iovec){ copy, hi - lo };
	remote = (struct iovec){ (void *)lo, hi - lo };
	got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (got > UNWIND_RED_ZONE) {
		unwind_init_at(&u, pc, sp, lo + (uintptr_t)got);
		u.shift = (uintptr_t)copy - lo;
		t->n = unwind_walk(&u, t->pcs, UNWIND_FRAMES_MAX, &cut);
		t->n = thread_trim(t->pcs, t->n);
	}
	mem_free(copy);
}

/* ---- A batch ---- */

struct asked {
	struct dumped_thread *t;
	uintptr_t sp, pc, stack_hi;
	bool sent;
};

static bool ask(struct asked *a, unsigned i, uint32_t generation)
{
	struct slot *s = &slots[i];
	siginfo_t si = { 0 };

	if (atomic_load(&s->state) == SLOT_FILLING ||
	    proc_blocks_signal(getpid(), a->t->tid, dump_signal()))
		return false;
	atomic_store(&s->generation, generation);
	atomic_store(&s->state, SLOT_OPEN);
	si.si_code = SI_QUEUE;
	si.si_pid = getpid();
	si.si_uid = getuid();
	si.si_value.sival_ptr = (void *)((uintptr_t)generation * DUMP_BATCH + i);
	atomic_fetch_add(&pending, 1);
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), a->t->tid, dump_signal(), &si) == 0)
		return true;
	atomic_store(&s->state, SLOT_CLOSED);
	atomic_fetch_sub(&pending, 1);
	return false;
}

static void await(void)
{
	uint64_t until = clock_now_ns(&clock_system) + DUMP_WAIT_MS * NS_PER_MS, now;
	uint32_t left;

	while ((left = atomic_load(&pending)) > 0 && (now = clock_now_ns(&clock_system)) < until) {
		struct timespec wait = { 0, (long)(until - now) };

		syscall(SYS_futex, &pending, FUTEX_WAIT_PRIVATE, left, &wait, NULL, 0);
	}
}

static void collect(struct asked *a, unsigned i)
{
	struct slot *s = &slots[i];
	uint32_t open = SLOT_OPEN;

	/* Whoever has begun to answer is about to finish. */
	if (a->sent && !atomic_compare_exchange_strong(&s->state, &open, SLOT_CLOSED))
		for (unsigned tries = 0; atomic_load(&s->state) == SLOT_FILLING && tries < 100;
		     tries++)
			sched_yield();
	if (!a->sent || atomic_load(&s->state) != SLOT_FULL) {
		walk_outside(a->t, a->sp, a->pc, a->stack_hi);
		return;
	}
	a->t->answered = true;
	a->t->task = s->task;
	a->t->span = s->span;
	a->t->n = thread_trim(s->pcs, s->n);
	memcpy(a->t->pcs, s->pcs, a->t->n * sizeof(*s->pcs));
}

static void walk_self(struct dumped_thread *t)
{
	unsigned n = unwind_here(thread_stack_end(), t->pcs, UNWIND_FRAMES_MAX);

	t->n = MAX(thread_trim(t->pcs, n), 1u);
	if (n == 0)
		t->pcs[0] = (uintptr_t)thread_did_not_answer;
	t->answered = true;
	t->run_state = 'R';
	t->syscall = -1;
	t->owner = 0;
}

/* /proc first, for the signal takes a thread out of its system call. */
static void run_batch(struct asked *batch, unsigned count)
{
	uint32_t generation = ++last_generation;

	atomic_store(&pending, 0);
	for (unsigned i = 0; i < count; i++) {
		batch[i].t->cpu_ns = thread_cpu_ns(batch[i].t->tid);
		proc_look(getpid(), batch[i].t, &batch[i].sp, &batch[i].pc);
	}
	for (unsigned i = 0; i < count; i++)
		batch[i].sent = batch[i].t->tid != gettid() && ask(&batch[i], i, generation);
	await();
	for (unsigned i = 0; i < count; i++) {
		if (batch[i].t->tid == gettid())
			walk_self(batch[i].t);
		else
			collect(&batch[i], i);
	}
}

/* ---- All ---- */

static int list_threads(struct dump *d, uintptr_t **ret_stack_hi)
{
	uint64_t now_ns = clock_now_ns(&clock_system);
	unsigned room;

	threads_lock();
	threads_scan();
	room = 0;
	list_for_each(node, threads_all())
		room++;
	d->threads = mem_alloc_array(MAX(room, 1u), sizeof(*d->threads));
	*ret_stack_hi = mem_alloc_array(MAX(room, 1u), sizeof(**ret_stack_hi));
	list_for_each(node, threads_all()) {
		struct thread *t = list_entry(node, struct thread, node);
		struct dumped_thread *out;

		if (d->threads == NULL || *ret_stack_hi == NULL || t->hidden)
			continue;
		(*ret_stack_hi)[d->count] = t->stack_hi;
		out = &d->threads[d->count++];
		out->id = t->id;
		out->tid = t->tid;
		out->started_ns = t->started_ns;
		out->still_ms = thread_still_ms(t, now_ns, thread_cpu_ns(t->tid));
		out->created_count = t->created_count;
		memcpy(out->created_by, t->created_by, sizeof(out->created_by));
	}
	threads_unlock();
	return d->threads != NULL && *ret_stack_hi != NULL ? 0 : UV_ENOMEM;
}

static int by_id(const void *a, const void *b)
{
	const struct dumped_thread *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

int dump_threads(struct dump *ret)
{
	struct asked *batch = mem_alloc_array(DUMP_BATCH, sizeof(*batch));
	uintptr_t *stack_hi = NULL;
	struct dump d = { 0 };
	int rc = batch != NULL ? list_threads(&d, &stack_hi) : UV_ENOMEM;

	pthread_mutex_lock(&lock);
	dump_guard();
	for (unsigned i = 0; rc == 0 && i < d.count; i += DUMP_BATCH) {
		unsigned n = MIN(d.count - i, (unsigned)DUMP_BATCH);

		for (unsigned k = 0; k < n; k++)
			batch[k] = (struct asked){ .t = &d.threads[i + k],
						   .stack_hi = stack_hi[i + k] };
		run_batch(batch, n);
	}
	pthread_mutex_unlock(&lock);
	mem_free(stack_hi);
	mem_free(batch);
	if (rc != 0) {
		dump_fini(&d);
		return rc;
	}
	qsort(d.threads, d.count, sizeof(*d.threads), by_id);
	*ret = d;
	return 0;
}

void dump_one(pid_t tid, struct dumped_thread *ret)
{
	struct asked one = { .t = ret };

	memset(ret, 0, sizeof(*ret));
	ret->tid = tid;
	pthread_mutex_lock(&lock);
	dump_guard();
	run_batch(&one, 1);
	pthread_mutex_unlock(&lock);
}

void dump_fini(struct dump *d)
{
	d->threads = mem_free(d->threads);
	d->count = 0;
}
