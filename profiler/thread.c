#include "profiler/thread.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/op.h"

/* The stack's end is known from the trampoline's own frame: asking libc (pthread_getattr_np) would
 * take a lock and allocate. Above that frame glibc keeps its frames and the thread's descriptor,
 * 2.3 KiB, so STACK_ABOVE more bytes can be read and the walk ends at clone's undefined return
 * address.
 *
 * Sanitizers wrap pthread_create themselves and own the alternate stacks: gcc's are reached through
 * RTLD_NEXT; clang's are linked into the program, where a second definition would hide them, so
 * there threads are found by the scan alone. */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define INTERPOSE 0
#endif
#endif
#ifndef INTERPOSE
#define INTERPOSE 1
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !INTERPOSE
#define ALT_STACKS 0
#else
#define ALT_STACKS 1
#endif

enum { TRAMPOLINE_MAX = 1024, TRAMPOLINE_DEPTH = 3 };
enum { STACK_ABOVE = 1024, ORIGINS_MAX = 512, MAIN_ID = 1 };

extern void *__libc_stack_end;

struct origin {
	struct list node;
	uint64_t count;
	unsigned n;
	uintptr_t pcs[THREAD_CREATE_FRAMES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all = LIST_INIT(all), origins = LIST_INIT(origins);
static unsigned listed, foreign_count, origin_count;
static _Atomic uint64_t created, unlisted;
static const struct thread_hooks *hooks;
static struct thread main_thread;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Plain words, written by the thread itself: a handler may read them at any instant. */
static _Thread_local struct thread *volatile self;
static _Thread_local volatile uintptr_t self_stack_hi;
static _Thread_local void *alt_stack;

struct thread *thread_self(void)
{
	return self;
}

uintptr_t thread_stack_end(void)
{
	return self_stack_hi;
}

unsigned threads_count(void)
{
	unsigned n;

	threads_lock();
	n = listed;
	threads_unlock();
	return n;
}

uint64_t threads_created(void)
{
	return atomic_load(&created) + 1;
}

uint64_t threads_unlisted(void)
{
	return atomic_load(&unlisted);
}

void threads_lock(void)
{
	pthread_mutex_lock(&lock);
}

void threads_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

struct list *threads_all(void)
{
	return &all;
}

void threads_set_hooks(const struct thread_hooks *h)
{
	threads_lock();
	hooks = h;
	threads_unlock();
}

void thread_hide_self(void)
{
	threads_lock();
	if (self != NULL) {
		self->hidden = true;
		if (hooks != NULL)
			hooks->gone(self);
	}
	threads_unlock();
}

/* ---- The list ---- */

static void unlist_thread(struct thread *t)
{
	if (hooks != NULL)
		hooks->gone(t);
	list_remove(&t->node);
	listed--;
}

static struct thread *find_thread(pid_t tid)
{
	list_for_each(node, &all) {
		struct thread *t = list_entry(node, struct thread, node);

		if (t->tid == tid)
			return t;
	}
	return NULL;
}

static void remove_foreign(struct thread *t)
{
	unlist_thread(t);
	foreign_count--;
	mem_free(t);
}

static bool list_thread(struct thread *t)
{
	if (listed >= THREADS_MAX)
		return false;
	listed++;
	t->timer = THREAD_NO_TIMER;
	list_push_back(&all, &t->node);
	if (hooks != NULL && !t->hidden)
		hooks->born(t);
	return true;
}

static void add_foreign(pid_t tid)
{
	struct thread *t = mem_alloc(sizeof(*t));

	if (t == NULL) {
		atomic_fetch_add(&unlisted, 1);
		return;
	}
	t->tid = tid;
	t->id = op_next_id();
	t->foreign = t->seen = true;
	t->started_ns = clock_now_ns(&clock_system);
	foreign_count++;
	if (!list_thread(t)) {
		atomic_fetch_add(&unlisted, 1);
		foreign_count--;
		mem_free(t);
	}
}

/* A thread on its way out may be taken for a foreign one once more, until the next scan. */
void threads_scan(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	if (dir == NULL)
		return;
	list_for_each(node, &all)
		list_entry(node, struct thread, node)->seen = false;
	while ((entry = readdir(dir)) != NULL) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		struct thread *t = tid > 0 ? find_thread(tid) : NULL;

		if (t != NULL)
			t->seen = true;
		else if (tid > 0)
			add_foreign(tid);
	}
	closedir(dir);
	list_for_each_safe(node, &all) {
		struct thread *t = list_entry(node, struct thread, node);

		if (t->foreign && !t->seen)
			remove_foreign(t);
	}
}

/* ---- Where threads come from ---- */

static void count_origin(const struct thread *t)
{
	struct origin *o;

	list_for_each(node, &origins) {
		o = list_entry(node, struct origin, node);
		if (o->n == t->created_count &&
		    memcmp(o->pcs, t->created_by, o->n * sizeof(*o->pcs)) == 0) {
			o->count++;
			return;
		}
	}
	o = origin_count < ORIGINS_MAX ? mem_alloc(sizeof(*o)) : NULL;
	if (o == NULL) {
		atomic_fetch_add(&unlisted, 1);
		return;
	}
	o->count = 1;
	o->n = t->created_count;
	memcpy(o->pcs, t->created_by, sizeof(o->pcs));
	list_push_back(&origins, &o->node);
	origin_count++;
}

void threads_each_origin(thread_origin_fn fn, void *data)
{
	threads_lock();
	list_for_each(node, &origins) {
		const struct origin *o = list_entry(node, struct origin, node);

		fn(data, o->pcs, o->n, o->count);
	}
	threads_unlock();
}

/* ---- The calling thread ---- */

static void alt_stack_add(void)
{
	stack_t ss = { .ss_size = THREAD_ALT_STACK_SIZE };
	stack_t old;

	if (!ALT_STACKS || sigaltstack(NULL, &old) != 0 || !(old.ss_flags & SS_DISABLE))
		return;
	ss.ss_sp = mmap(NULL, THREAD_ALT_STACK_SIZE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (ss.ss_sp == MAP_FAILED)
		return;
	if (sigaltstack(&ss, NULL) == 0)
		alt_stack = ss.ss_sp;
	else
		munmap(ss.ss_sp, THREAD_ALT_STACK_SIZE);
}

static void alt_stack_remove(void)
{
	stack_t off = { .ss_flags = SS_DISABLE }, old;

	if (alt_stack == NULL || sigaltstack(NULL, &old) != 0)
		return;
	if (old.ss_sp == alt_stack && sigaltstack(&off, NULL) != 0)
		return;
	munmap(alt_stack, THREAD_ALT_STACK_SIZE);
	alt_stack = NULL;
}

/* A scan may have met the thread before it got here, or one that had its tid before. */
static void enter(struct thread *t, uintptr_t stack_hi)
{
	struct thread *stranger;

	t->tid = gettid();
	t->stack_hi = stack_hi;
	t->started_ns = clock_now_ns(&clock_system);
	alt_stack_add();
	self_stack_hi = stack_hi;
	self = t;
	threads_lock();
	if (foreign_count > 0 && (stranger = find_thread(t->tid)) != NULL)
		remove_foreign(stranger);
	if (!list_thread(t))
		atomic_fetch_add(&unlisted, 1);
	else if (t != &main_thread)
		count_origin(t);
	threads_unlock();
}

/* Runs at the thread's end, however it ends. */
static void on_exit_key(void *value)
{
	struct thread *t = value;

	threads_lock();
	if (list_linked(&t->node)) {
		if (hooks != NULL && !t->hidden)
			hooks->ending(t);
		unlist_thread(t);
	}
	threads_unlock();
	self = NULL;
	atomic_signal_fence(memory_order_seq_cst);
	alt_stack_remove();
	if (t != &main_thread)
		mem_free(t);
}

/* ---- fork ---- */

static void before_fork(void)
{
	threads_lock();
}

static void after_fork_parent(void)
{
	threads_unlock();
}

/* Timers and threads are not inherited. */
static void after_fork_child(void)
{
	list_for_each_safe(node, &all) {
		struct thread *t = list_entry(node, struct thread, node);

		t->timer = THREAD_NO_TIMER;
		if (t == self)
			continue;
		foreign_count -= t->foreign;
		list_remove(&t->node);
		listed--;
		if (t != &main_thread)
			mem_free(t);
	}
	if (self != NULL)
		self->tid = gettid();
	if (hooks != NULL)
		hooks->forked();
	threads_unlock();
}

static void init_once(void)
{
	REQUIRE(pthread_key_create(&exit_key, on_exit_key) == 0);
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
	list_init(&main_thread.node);
	main_thread.id = MAIN_ID;
	if (getpid() == gettid())
		enter(&main_thread, (uintptr_t)__libc_stack_end);
}

void threads_init(void)
{
	pthread_once(&once, init_once);
}

#if INTERPOSE

static void *thread_main(void *data);

unsigned thread_trim(const uintptr_t *pcs, unsigned n)
{
	uintptr_t start = (uintptr_t)thread_main;

	for (unsigned i = n > TRAMPOLINE_DEPTH ? n - TRAMPOLINE_DEPTH : 1; i < n; i++)
		if (pcs[i] - start < TRAMPOLINE_MAX && cfi_function_start(pcs[i]) == start)
			return i;
	return n;
}

struct birth {
	void *(*run)(void *arg);
	void *arg;
	struct thread *thread;
};

typedef int (*create_fn)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* One frame of every stack; kept apart so that it can be told by its address. */
static __attribute__((noinline)) void *thread_main(void *data)
{
	struct birth birth = *(struct birth *)data;
	void *ret;

	mem_free(data);
	list_init(&birth.thread->node);
	pthread_setspecific(exit_key, birth.thread);
	enter(birth.thread, (uintptr_t)__builtin_frame_address(0) + STACK_ABOVE);
	ret = birth.run(birth.arg);
	__asm__ volatile("" : : : "memory"); /* no tail call */
	return ret;
}

static create_fn real_create(void)
{
	static _Atomic(create_fn) found;
	create_fn fn = atomic_load(&found);

	if (fn == NULL) {
		*(void **)&fn = dlsym(RTLD_NEXT, "pthread_create");
		REQUIRE(fn != NULL);
		atomic_store(&found, fn);
	}
	return fn;
}

/* The first two frames are this function's and pthread_create's own. */
static __attribute__((noinline)) void note_origin(struct thread *t)
{
	uintptr_t pcs[THREAD_CREATE_FRAMES + 2];
	unsigned n = unwind_here(self_stack_hi, pcs, THREAD_CREATE_FRAMES + 2);

	n = thread_trim(pcs, n);
	if (n < 3)
		return;
	t->created_count = n - 2;
	memcpy(t->created_by, pcs + 2, t->created_count * sizeof(*pcs));
}

/* Without memory the thread is created all the same; the scan finds it. */
__attribute__((visibility("default"))) int
pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	struct birth *birth = mem_alloc(sizeof(*birth));
	struct thread *t = mem_alloc(sizeof(*t));
	int rc;

	threads_init();
	if (birth == NULL || t == NULL) {
		mem_free(birth);
		mem_free(t);
		rc = real_create()(ret_thread, attr, run, arg);
		atomic_fetch_add(&created, rc == 0);
		return rc;
	}
	*birth = (struct birth){ run, arg, t };
	t->id = op_next_id();
	t->start = (uintptr_t)run;
	note_origin(t);
	rc = real_create()(ret_thread, attr, thread_main, birth);
	atomic_fetch_add(&created, rc == 0);
	if (rc != 0) {
		mem_free(birth);
		mem_free(t);
	}
	return rc;
}

#else

unsigned thread_trim(const uintptr_t *pcs, unsigned n)
{
	return n;
}

#endif
