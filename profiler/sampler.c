#include "profiler/sampler.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/op.h"
#include "profiler/proc.h"
#include "profiler/ring.h"

/* CPU-clock timers fire on the scheduler's tick, so at most HZ signals a second reach a thread; the
 * timer's overrun count says how many periods each stands for, and is its weight. What a thread
 * used after its last tick is made up for when it ends: the periods that its handler should have
 * had by its CPU time, less those it had, as one sample without a place in the code. So threads
 * that live for a tick or two count for what they used.
 *
 * A thread may be refused its timer: each takes one of the user's pending signals
 * (RLIMIT_SIGPENDING), and a filter of system calls may know none of this. Then there is the
 * process's timer, which takes nothing: the kernel sends its signal to a thread that runs at the
 * tick. Which one, and how often, does not matter: the handler counts what the thread's own clock
 * says it should have had by now, as at a thread's end, and passes over threads with a timer.
 *
 * The sampler runs at the rate of its fastest reader. A slower reader takes each sample with the
 * probability of the two periods' ratio, which keeps its counts right on average and in step with
 * nothing.
 *
 * The handler, once installed, stays: a signal that was under way when its timer was deleted would
 * otherwise end the process. Lock order: sampler, threads. */

enum { CPU_CLOCK_OF_THREAD = 6 /* CPUCLOCK_SCHED | CPUCLOCK_PERTHREAD_MASK */ };
enum { NAME_PERIOD = 64 /* samples between two looks at a thread's name */ };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stop_cond;
static struct reader *readers[SAMPLER_READERS_MAX + 1];
static unsigned reader_count;
static bool prepared;
static pthread_t collector;
static uintptr_t collecting, last_collector; /* which collector is to run: 1, 2, …; 0 = none */
static uint64_t module_epoch;

static _Atomic uint64_t period_ns; /* 0: off */
static _Atomic unsigned timer_count;
static _Atomic bool process_timer;     /* is on */
static struct sampler_untimed untimed; /* under threads_lock */
static _Atomic uint64_t samples, overruns, lost, handler_ns, unarmed;
static _Atomic(const char *(*)(struct span)) category_of;

/* ---- The handler ---- */

static uint64_t monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* The kernel knows it; asking takes as long as walking the stack. It is asked for often at first,
 * when a thread is about to be named, and now and then later. */
static void read_name(char ret[THREAD_NAME_SIZE])
{
	static _Thread_local struct {
		uint32_t asked;
		char name[THREAD_NAME_SIZE];
	} self;
	uint32_t n = self.asked++;

	if (((n & (n - 1)) == 0 || n % NAME_PERIOD == 0) &&
	    syscall(SYS_prctl, PR_GET_NAME, self.name, 0, 0, 0) != 0)
		self.name[0] = '\0';
	memcpy(ret, self.name, THREAD_NAME_SIZE);
}

static void read_labels(struct sample *s)
{
	const volatile struct op_label *label = op_label();
	const char *(*category)(struct span) =
		atomic_load_explicit(&category_of, memory_order_acquire);
	struct span span;

	s->category = NULL;
	s->task = label->task;
	if (s->task != NULL && category != NULL) {
		span.trace = label->span.trace;
		span.slot = label->span.slot;
		span.generation = label->span.generation;
		if (span.trace != NULL)
			s->category = category(span);
	}
	read_name(s->thread);
}

/* NULL: the ring is full. */
static struct sample *begin_sample(uint32_t weight, uint64_t period)
{
	struct sample *s = ring_claim();

	atomic_fetch_add_explicit(&samples, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&overruns, weight - 1, memory_order_relaxed);
	if (s == NULL) {
		atomic_fetch_add_explicit(&lost, weight, memory_order_relaxed);
		return NULL;
	}
	s->weight = weight;
	s->period_ns = period;
	read_labels(s);
	return s;
}

static void take_sample(uint32_t weight, uint64_t period, const ucontext_t *uc)
{
	struct sample *s = begin_sample(weight, period);
	struct thread *t = thread_self();
	struct unwind u;

	if (t != NULL)
		atomic_fetch_add_explicit(&t->counted, weight, memory_order_relaxed);
	if (s == NULL)
		return;
	unwind_init(&u, uc, thread_stack_end());
	s->n = (uint16_t)unwind_walk(&u, s->pcs, UNWIND_FRAMES_MAX, &s->cut);
	ring_publish(s);
}

/* Periods that should have reached the thread by now, less those that did. */
static uint32_t missing(const struct thread *t)
{
	uint64_t cpu_ns = thread_cpu_ns(t->tid), counted = atomic_load(&t->counted), due;

	if (t->due_period_ns == 0 || cpu_ns < t->due_cpu_ns)
		return 0;
	due = (cpu_ns - t->due_cpu_ns) / t->due_period_ns + 1;
	return due > counted ? (uint32_t)MIN(due - counted, (uint64_t)INT32_MAX) : 0;
}

/* How many periods the signal stands for; 0: it is not ours, or not for this thread. */
static uint32_t weight_of(const siginfo_t *si)
{
	const struct thread *t;

	if (si->si_code == SI_TIMER && si->si_value.sival_ptr == &samples)
		return 1 + (uint32_t)MAX(si->si_overrun, 0);
	if (si->si_code != SI_KERNEL || !atomic_load_explicit(&process_timer, memory_order_relaxed))
		return 0;
	t = thread_self();
	if (t == NULL)
		return 1; /* nothing is known of it */
	if (t->hidden || atomic_load_explicit(&t->timer, memory_order_relaxed) != THREAD_NO_TIMER)
		return 0;
	return missing(t);
}

static void on_sigprof(int signo, siginfo_t *si, void *context)
{
	uint64_t period = atomic_load_explicit(&period_ns, memory_order_relaxed), start;
	int saved = errno;
	uint32_t weight = period != 0 ? weight_of(si) : 0;

	if (weight != 0) {
		start = monotonic_ns();
		take_sample(weight, period, context);
		atomic_fetch_add_explicit(&handler_ns, monotonic_ns() - start,
					  memory_order_relaxed);
	}
	errno = saved;
}

static int install_handler(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigprof,
				.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
	struct sigaction old;

	if (sigaction(SIGPROF, NULL, &old) != 0)
		return UV_EBUSY;
	if (old.sa_flags & SA_SIGINFO)
		return old.sa_sigaction == on_sigprof ? 0 : UV_EBUSY;
	if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)
		return UV_EBUSY;
	sigfillset(&sa.sa_mask);
	return sigaction(SIGPROF, &sa, NULL) == 0 ? 0 : UV_EBUSY;
}

/* ---- Timers: under threads_lock ---- */

/* The first expiry anywhere in the period: threads do not march in step, and short-lived ones get
 * their share. Multiples of the golden ratio fill the period more evenly than random numbers. */
static uint64_t first_expiry(struct thread *t, uint64_t period)
{
	static uint64_t phase;
	uint64_t first;

	if (phase == 0)
		phase = monotonic_ns() << 32;
	phase += UINT64_C(0x9e3779b97f4a7c15);
	first = 1 + (uint64_t)((unsigned __int128)phase * period >> 64);
	t->due_period_ns = 0;
	atomic_signal_fence(memory_order_seq_cst);
	t->due_cpu_ns = thread_cpu_ns(t->tid) + first;
	atomic_store(&t->counted, 0);
	t->due_period_ns = period;
	return first;
}

static int set_timer(const struct thread *t, uint64_t period, uint64_t first)
{
	struct itimerspec spec = {
		.it_interval = { (time_t)(period / NS_PER_SEC), (long)(period % NS_PER_SEC) },
		.it_value = { (time_t)(first / NS_PER_SEC), (long)(first % NS_PER_SEC) },
	};

	return syscall(SYS_timer_settime, atomic_load(&t->timer), 0, &spec, NULL) == 0 ? 0 : errno;
}

static int create_timer(struct thread *t)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	clockid_t clock = (clockid_t)((~(unsigned)t->tid << 3) | CPU_CLOCK_OF_THREAD);
	int id;

	event.sigev_value.sival_ptr = &samples;
	event._sigev_un._tid = t->tid;
	if (syscall(SYS_timer_create, clock, &event, &id) != 0)
		return errno;
	atomic_store(&t->timer, id);
	atomic_fetch_add(&timer_count, 1);
	return 0;
}

static void delete_timer(struct thread *t)
{
	(void)syscall(SYS_timer_delete, atomic_load(&t->timer));
	atomic_store(&t->timer, THREAD_NO_TIMER);
	atomic_fetch_sub(&timer_count, 1);
}

/* Our own children, and what replaces us, must not get it: it is deleted with the last reader, and
 * not inherited by fork. */
static bool set_process_timer(uint64_t period)
{
	uint64_t us = period / 1000;
	struct itimerval spec = { .it_interval = { (time_t)(us / 1000000),
						   (suseconds_t)(us % 1000000) } };

	spec.it_value = spec.it_interval;
	return setitimer(ITIMER_PROF, &spec, NULL) == 0;
}

static void note_untimed(const struct thread *t, int error)
{
	size_t at = strlen(untimed.names);
	char name[THREAD_NAME_SIZE];

	untimed.threads++;
	untimed.error = error;
	proc_thread_name(t->tid, name);
	if (at + THREAD_NAME_SIZE + 24 < sizeof(untimed.names))
		(void)snprintf(untimed.names + at, sizeof(untimed.names) - at, "%s%s (%d)",
			       at > 0 ? ", " : "", name, (int)t->tid);
	else if (at + 4 < sizeof(untimed.names) && untimed.names[at - 1] != '.')
		memcpy(untimed.names + at, "...", 4);
	untimed.is_shared = atomic_load(&process_timer) ||
			    set_process_timer(atomic_load(&period_ns));
	atomic_store(&process_timer, untimed.is_shared);
}

/* Once per thread and capture; the error of one that has ended meanwhile does not count. */
static void go_without(struct thread *t, int error)
{
	if (t->timer_error != 0 || error == EINVAL || error == ESRCH)
		return;
	t->timer_error = error;
	atomic_fetch_add(&unarmed, 1);
	note_untimed(t, error);
}

static void arm(struct thread *t)
{
	uint64_t period = atomic_load(&period_ns), first;
	int error;

	if (period == 0 || t->hidden)
		return;
	first = first_expiry(t, period);
	error = atomic_load(&t->timer) == THREAD_NO_TIMER ? create_timer(t) : 0;
	if (error == 0 && (error = set_timer(t, period, first)) != 0)
		delete_timer(t);
	if (error != 0)
		go_without(t, error);
	else
		t->timer_error = 0;
}

static void disarm(struct thread *t)
{
	t->due_period_ns = 0;
	t->timer_error = 0;
	if (atomic_load(&t->timer) != THREAD_NO_TIMER)
		delete_timer(t);
}

/* Stands for where a thread was between its last tick and its end. */
static __attribute__((noinline)) void thread_ended_between_ticks(void)
{
	__asm__ volatile("");
}

/* The signal that may be on its way is blocked for good: it counts as missing. */
static void account_rest(struct thread *t)
{
	struct sample *s;
	uint32_t rest;
	sigset_t set;

	if (t->due_period_ns == 0 || t->start == 0 ||
	    (atomic_load(&t->timer) == THREAD_NO_TIMER && !atomic_load(&process_timer)))
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGPROF);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	rest = missing(t);
	s = rest > 0 ? begin_sample(rest, t->due_period_ns) : NULL;
	if (s == NULL)
		return;
	s->n = 2;
	s->cut = false;
	s->pcs[0] = (uintptr_t)thread_ended_between_ticks;
	s->pcs[1] = t->start;
	ring_publish(s);
}

static void each_thread(void (*fn)(struct thread *t))
{
	threads_lock();
	threads_scan();
	list_for_each(node, threads_all())
		fn(list_entry(node, struct thread, node));
	threads_unlock();
}

/* Rate of the fastest reader. Under lock. */
static void set_rate(void)
{
	uint64_t period = 0, was;

	for (unsigned i = 0; i < reader_count; i++)
		if (period == 0 || readers[i]->period_ns < period)
			period = readers[i]->period_ns;
	was = atomic_exchange(&period_ns, period);
	if (was == period)
		return;
	threads_lock();
	if (was == 0)
		untimed = (struct sampler_untimed){ 0 };
	if (atomic_load(&process_timer))
		atomic_store(&process_timer, set_process_timer(period) && period != 0);
	threads_unlock();
	each_thread(period != 0 ? arm : disarm);
}

/* ---- The collector ---- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* How many of the reader's periods a sample stands for. */
static uint64_t share(struct reader *r, const struct sample *s)
{
	uint64_t ns = s->weight * s->period_ns, whole = ns / r->period_ns, rest = ns % r->period_ns;

	return whole + (rest != 0 && next_random(&r->random) % r->period_ns < rest);
}

static void drain(void)
{
	const struct sample *s;

	while ((s = ring_peek()) != NULL) {
		unsigned n = thread_trim(s->pcs, s->n);

		for (unsigned i = 0; i < reader_count; i++) {
			uint64_t count = share(readers[i], s);

			if (count == 0)
				continue;
			readers[i]->samples += count;
			readers[i]->overruns += s->weight - 1;
			readers[i]->cut += s->cut;
			stacks_add(&readers[i]->stacks, s->pcs, n, s->task, s->category, s->thread,
				   (int64_t)count);
		}
		ring_release();
	}
}

/* Stacks through modules that have gone are stale in the walker's cache. */
static void watch_modules(void)
{
	uint64_t epoch = modules_epoch();

	if (epoch != module_epoch)
		unwind_new_generation();
	module_epoch = epoch;
}

static void arm_new(struct thread *t)
{
	if (atomic_load(&t->timer) == THREAD_NO_TIMER && t->timer_error == 0)
		arm(t);
}

static void add_ms(struct timespec *t, unsigned ms)
{
	t->tv_nsec += (long)ms * (long)NS_PER_MS;
	t->tv_sec += t->tv_nsec / (long)NS_PER_SEC;
	t->tv_nsec %= (long)NS_PER_SEC;
}

static void *collect(void *arg)
{
	struct timespec next;
	unsigned rounds = 0;

	pthread_setname_np(pthread_self(), "profiler");
	thread_hide_self();
	pthread_mutex_lock(&lock);
	while (collecting == (uintptr_t)arg) {
		clock_gettime(CLOCK_MONOTONIC, &next);
		add_ms(&next, SAMPLER_DRAIN_MS);
		(void)pthread_cond_timedwait(&stop_cond, &lock, &next);
		watch_modules();
		drain();
		if (++rounds % (SAMPLER_SCAN_MS / SAMPLER_DRAIN_MS) == 0)
			each_thread(arm_new);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static int start_collector(void)
{
	sigset_t all, old;
	int rc;

	collecting = ++last_collector;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&collector, NULL, collect, (void *)collecting);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		return 0;
	collecting = 0;
	return UV_EAGAIN;
}

/* ---- fork ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_child(void)
{
	reader_count = 0;
	collecting = 0;
	pthread_mutex_unlock(&lock);
}

static void forget(void)
{
	atomic_store(&period_ns, 0);
	atomic_store(&timer_count, 0);
	atomic_store(&process_timer, false);
}

/* ---- Readers ---- */

/* Under lock. Fork handlers run last registered first, which is the lock order. */
static int prepare(void)
{
	static const struct thread_hooks hooks = {
		.born = arm, .gone = disarm, .ending = account_rest, .forked = forget
	};
	pthread_condattr_t attr;

	if (!prepared) {
		threads_init();
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&stop_cond, &attr);
		pthread_condattr_destroy(&attr);
		pthread_atfork(before_fork, after_fork_parent, after_fork_child);
		threads_set_hooks(&hooks);
		prepared = true;
	}
	return install_handler();
}

static bool has_place(const struct reader *r)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < reader_count; i++)
		taken += readers[i]->background == r->background;
	return taken < (r->background ? 1 : SAMPLER_READERS_MAX);
}

static int add_locked(struct reader *r)
{
	int rc;

	if (!has_place(r))
		return UV_EBUSY;
	rc = prepare();
	if (rc == 0)
		rc = modules_add(&r->modules);
	if (rc == 0 && reader_count == 0) {
		watch_modules();
		rc = start_collector();
	}
	if (rc != 0)
		return rc;
	drain();
	r->lost_before = atomic_load(&lost);
	readers[reader_count++] = r;
	set_rate();
	return 0;
}

int sampler_add(struct reader *r, unsigned hz, bool background)
{
	int rc;

	*r = (struct reader){ .period_ns = NS_PER_SEC / MIN(MAX(hz, 1u), (unsigned)SAMPLER_HZ_MAX),
			      .background = background,
			      .random = monotonic_ns() | 1 };
	stacks_init(&r->stacks);
	ring_populate();
	unwind_populate();
	pthread_mutex_lock(&lock);
	rc = add_locked(r);
	pthread_mutex_unlock(&lock);
	if (rc == 0 && atomic_load(&timer_count) == 0 && !atomic_load(&process_timer)) {
		sampler_remove(r);
		rc = ERR_UNSUPPORTED;
	}
	if (rc != 0)
		reader_fini(r);
	return rc;
}

static void copy_untimed(struct sampler_untimed *ret)
{
	threads_lock();
	*ret = untimed;
	threads_unlock();
}

void sampler_remove(struct reader *r)
{
	bool join = false;
	pthread_t thread;

	pthread_mutex_lock(&lock);
	drain();
	for (unsigned i = 0; i < reader_count; i++)
		if (readers[i] == r) {
			readers[i] = readers[--reader_count];
			copy_untimed(&r->untimed);
			set_rate();
			r->lost = atomic_load(&lost) - r->lost_before + (uint64_t)r->stacks.lost[0];
			join = reader_count == 0;
			break;
		}
	if (join) {
		collecting = 0;
		thread = collector;
		pthread_cond_broadcast(&stop_cond);
	}
	pthread_mutex_unlock(&lock);
	if (join)
		pthread_join(thread, NULL);
	(void)modules_add(&r->modules);
}

void reader_fini(struct reader *r)
{
	stacks_fini(&r->stacks);
	modules_fini(&r->modules);
}

void sampler_set_category(const char *(*category)(struct span span))
{
	atomic_store(&category_of, category);
}

void sampler_stats(struct sampler_stats *ret)
{
	pthread_mutex_lock(&lock);
	ret->readers = reader_count;
	pthread_mutex_unlock(&lock);
	ret->timers = atomic_load(&timer_count);
	ret->samples = atomic_load(&samples);
	ret->overruns = atomic_load(&overruns);
	ret->lost = atomic_load(&lost);
	ret->handler_ns = atomic_load(&handler_ns);
	ret->unarmed = atomic_load(&unarmed);
	copy_untimed(&ret->untimed);
}

void sampler_guard(void)
{
	pthread_mutex_lock(&lock);
	(void)install_handler();
	pthread_mutex_unlock(&lock);
}
