#include "profiler/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "profiler/contention.h"
#include "profiler/exectrace.h"
#include "profiler/goroutine.h"
#include "profiler/symbols.h"

/* One word says what the watched thread is at: the time it woke up, or 0 while it waits. The
 * watchdog looks at it twice per limit; when it has stood still for the limit, it asks the thread
 * for its stack, once per turn (the question cuts a sleep or a poll short, so it is not asked
 * again). */

#if defined(__SANITIZE_THREAD__)
#define INTERPOSE 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define INTERPOSE 0
#endif
#endif
#ifndef INTERPOSE
#define INTERPOSE 1
#endif

enum { OUTPUT_MAX = 16 << 20 };

static _Thread_local bool is_watched;
static _Atomic uint64_t awake_since_ns; /* 0: waits */
static _Atomic uint64_t turns, busy_ns, longest_ns, stall_count;
static _Atomic uint64_t last_turn_since_ns, last_turn_ns; /* the one that ended last */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct stall stalls[WATCHDOG_STALLS_MAX];	 /* by number modulo their count */
static uint64_t open_since_ns;				 /* of the newest, while it lasts */

static bool running;
static _Atomic bool stopping;
static _Atomic bool asked; /* SIGQUIT came */
static sem_t wake;
static pthread_t thread;
static pid_t watched_tid;
static uint64_t limit_ns;

/* ---- The watched thread ---- */

UNUSED static void fall_asleep(void)
{
	uint64_t since = atomic_load_explicit(&awake_since_ns, memory_order_relaxed), took;

	if (since == 0)
		return;
	took = clock_now_ns(&clock_system) - since;
	atomic_store_explicit(&last_turn_ns, took, memory_order_relaxed);
	atomic_store_explicit(&last_turn_since_ns, since, memory_order_release);
	atomic_store_explicit(&awake_since_ns, 0, memory_order_release);
	atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&busy_ns, took, memory_order_relaxed);
	if (took > atomic_load_explicit(&longest_ns, memory_order_relaxed))
		atomic_store_explicit(&longest_ns, took, memory_order_relaxed);
}

static void wake_up(void)
{
	atomic_store_explicit(&awake_since_ns, clock_now_ns(&clock_system), memory_order_release);
}

#if INTERPOSE

__attribute__((visibility("default"))) int epoll_pwait(int fd, struct epoll_event *events, int max,
						       int timeout_ms, const sigset_t *mask)
{
	int saved, n;

	if (is_watched) {
		fall_asleep();
		exectrace_poll(true);
	}
	n = (int)syscall(SYS_epoll_pwait, fd, events, max, timeout_ms, mask, _NSIG / 8);
	if (is_watched) {
		saved = errno;
		wake_up();
		exectrace_poll(false);
		errno = saved;
	}
	return n;
}

__attribute__((visibility("default"))) int epoll_wait(int fd, struct epoll_event *events, int max,
						      int timeout_ms)
{
	return epoll_pwait(fd, events, max, timeout_ms, NULL);
}

#endif

/* ---- Stalls ---- */

static void open_stall(uint64_t since, const struct dumped_thread *t)
{
	uint64_t number = atomic_fetch_add(&stall_count, 1) + 1;
	struct stall *s = &stalls[number % WATCHDOG_STALLS_MAX];

	*s = (struct stall){ .number = number,
			     .wall_ns = clock_wall_ns(&clock_system),
			     .task = t->task,
			     .span = t->span,
			     .n = MIN(t->n, (unsigned)WATCHDOG_FRAMES) };
	memcpy(s->pcs, t->pcs, s->n * sizeof(*s->pcs));
	open_since_ns = since;
}

/* When the turn has ended: how long it was. Under lock. */
static void close_stall(uint64_t since)
{
	uint64_t last = atomic_load_explicit(&last_turn_since_ns, memory_order_acquire);
	struct stall *s = &stalls[atomic_load(&stall_count) % WATCHDOG_STALLS_MAX];

	if (open_since_ns == 0 || since == open_since_ns)
		return;
	/* Other turns may have followed; then the time is known from here only. */
	s->duration_ns = last == open_since_ns ?
				 atomic_load_explicit(&last_turn_ns, memory_order_relaxed) :
				 clock_now_ns(&clock_system) - open_since_ns;
	open_since_ns = 0;
	contention_stall(s->pcs, s->n, s->task, s->duration_ns);
}

static void look(void)
{
	uint64_t since = atomic_load_explicit(&awake_since_ns, memory_order_acquire);
	struct dumped_thread t;

	pthread_mutex_lock(&lock);
	close_stall(since);
	if (since != 0 && since != open_since_ns &&
	    clock_now_ns(&clock_system) - since >= limit_ns) {
		dump_one(watched_tid, &t);
		open_stall(since, &t);
	}
	pthread_mutex_unlock(&lock);
}

unsigned watchdog_stalls(struct stall *ret, unsigned cap)
{
	unsigned n = 0;
	uint64_t count;

	pthread_mutex_lock(&lock);
	count = atomic_load(&stall_count);
	while (n < cap && n < count && n < WATCHDOG_STALLS_MAX) {
		ret[n] = stalls[(count - n) % WATCHDOG_STALLS_MAX];
		n++;
	}
	pthread_mutex_unlock(&lock);
	return n;
}

void watchdog_stats(struct watchdog_stats *ret)
{
	ret->turns = atomic_load(&turns);
	ret->busy_ns = atomic_load(&busy_ns);
	ret->longest_ns = atomic_load(&longest_ns);
	ret->stalls = atomic_load(&stall_count);
}

/* ---- SIGQUIT ---- */

static void on_sigquit(int signo)
{
	int saved = errno;

	atomic_store(&asked, true);
	sem_post(&wake);
	errno = saved;
}

static void write_all(const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

/* Threads only: the operations belong to the loop, which may hang. */
static void print_stacks(void)
{
	struct modules modules = { 0 };
	struct tasks none = { 0 };
	struct dump d = { 0 };
	struct buf out;

	buf_init(&out, OUTPUT_MAX);
	if (dump_threads(&d) == 0 && modules_add(&modules) == 0) {
		symbols_begin(&modules);
		buf_write_str(&out, "SIGQUIT: all threads\n\n");
		snapshot_write_blocks(&out, &d, &none, true);
		symbols_end();
		buf_write_str(&out, "\n");
		write_all(out.data, out.len);
	}
	dump_fini(&d);
	modules_fini(&modules);
	buf_fini(&out);
}

/* ---- The thread ---- */

static void nap(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(limit_ns / 2);
	until.tv_sec += until.tv_nsec / (long)NS_PER_SEC;
	until.tv_nsec %= (long)NS_PER_SEC;
	while (sem_clockwait(&wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
		;
}

static void *watch(void *arg)
{
	uint64_t watched_ns = 0, now_ns;

	pthread_setname_np(pthread_self(), "watchdog");
	thread_hide_self();
	while (!atomic_load(&stopping)) {
		nap();
		if (atomic_exchange(&asked, false))
			print_stacks();
		look();
		now_ns = clock_now_ns(&clock_system);
		if (now_ns - watched_ns >= THREADS_WATCH_MS * NS_PER_MS) {
			threads_watch_stillness(now_ns);
			symbols_tidy();
			watched_ns = now_ns;
		}
	}
	return NULL;
}

int watchdog_start(unsigned stall_ms, bool answer_sigquit)
{
	struct sigaction sa = { .sa_handler = on_sigquit, .sa_flags = SA_RESTART | SA_ONSTACK };
	sigset_t all, old;
	int rc;

	if (running)
		return UV_EALREADY;
	limit_ns = MIN(MAX(stall_ms, 2u), 1000u) * NS_PER_MS;
	watched_tid = gettid();
	atomic_store(&stopping, false);
	wake_up(); /* the caller is awake */
	open_since_ns = 0;
	sem_init(&wake, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, NULL, watch, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return UV_EAGAIN;
	running = is_watched = true;
	sigfillset(&sa.sa_mask);
	if (answer_sigquit)
		sigaction(SIGQUIT, &sa, NULL);
	return 0;
}

/* The handler stays, for a signal that is under way; it then only sets a flag. */
void watchdog_stop(void)
{
	if (!running)
		return;
	atomic_store(&stopping, true);
	sem_post(&wake);
	pthread_join(thread, NULL);
	running = is_watched = false;
}
