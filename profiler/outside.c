#include "profiler/outside.h"

#include <dirent.h>
#include <errno.h>
#include <libunwind-ptrace.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "profiler/proc.h"

/* PTRACE_SEIZE and PTRACE_INTERRUPT, which send no signal and leave a stopped process stopped. When
 * this process ends, however it ends, the kernel lets every thread go on.
 *
 * What can go wrong: threads that come about while others are stopped, so the list is read until
 * nothing is new; a thread deep in the kernel that does not stop, so the wait has an end; a signal
 * that arrives in the instant of stopping, which is handed on. */

struct traced {
	pid_t tid;
	bool stopped, gone;
	int signo; /* to hand on */
};

struct start {
	uintptr_t pc, start;
};

static struct traced *all;
static unsigned count;
static struct start *starts;
static unsigned start_count;

/* ---- Stopping ---- */

static bool is_known(pid_t tid)
{
	for (unsigned i = 0; i < count; i++)
		if (all[i].tid == tid)
			return true;
	return false;
}

static int seize(pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0)
		return errno == ESRCH ? UV_ESRCH : UV_EPERM;
	all[count++] = (struct traced){ .tid = tid };
	(void)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	return 0;
}

/* One pass over the list; how many were new, or an error. A thread that has just ended is none. */
static int seize_new(pid_t pid)
{
	struct dirent *entry;
	char path[32];
	int rc = 0, found = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return UV_ESRCH;
	while (rc == 0 && count < OUTSIDE_THREADS_MAX && (entry = readdir(dir)) != NULL) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid <= 0 || is_known(tid))
			continue;
		rc = seize(tid);
		found += rc == 0;
		if (rc == UV_ESRCH && tid != pid)
			rc = 0;
	}
	closedir(dir);
	return rc < 0 ? rc : found;
}

static void await_one(struct traced *t)
{
	int status;
	pid_t got = waitpid(t->tid, &status, __WALL | WNOHANG);

	if (got == 0)
		return;
	t->gone = got < 0 || !WIFSTOPPED(status);
	t->stopped = !t->gone;
	if (t->stopped && status >> 16 != PTRACE_EVENT_STOP)
		t->signo = WSTOPSIG(status);
}

static void await_stops(void)
{
	uint64_t until = clock_now_ns(&clock_system) + OUTSIDE_STOP_MS * NS_PER_MS;
	struct timespec moment = { 0, (long)NS_PER_MS / 4 };
	unsigned missing;

	do {
		missing = 0;
		for (unsigned i = 0; i < count; i++) {
			if (!all[i].stopped && !all[i].gone)
				await_one(&all[i]);
			missing += !all[i].stopped && !all[i].gone;
		}
		if (missing > 0)
			nanosleep(&moment, NULL);
	} while (missing > 0 && clock_now_ns(&clock_system) < until);
}

static void let_go(void)
{
	for (unsigned i = 0; i < count; i++)
		if (all[i].stopped)
			(void)ptrace(PTRACE_DETACH, all[i].tid, NULL,
				     (void *)(uintptr_t)all[i].signo);
}

/* ---- Walking ---- */

static void note_start(unw_cursor_t *c, uintptr_t pc)
{
	unw_proc_info_t info;

	if (start_count % 1024 == 0) {
		struct start *grown = mem_realloc(starts, (start_count + 1024) * sizeof(*grown));

		if (grown == NULL)
			return;
		starts = grown;
	}
	if (unw_get_proc_info(c, &info) == 0 && info.start_ip <= pc)
		starts[start_count++] = (struct start){ pc, info.start_ip };
}

uintptr_t outside_function_start(uintptr_t pc)
{
	for (unsigned i = 0; i < start_count; i++)
		if (starts[i].pc == pc)
			return starts[i].start;
	return 0;
}

/* Addresses as unwind_walk gives them. */
static void walk(unw_addr_space_t as, struct dumped_thread *t)
{
	void *info = _UPT_create(t->tid);
	bool exact = true;
	unw_cursor_t c;
	unw_word_t ip;

	if (info == NULL || unw_init_remote(&c, as, info) != 0)
		goto out;
	t->n = 0;
	do {
		if (unw_get_reg(&c, UNW_REG_IP, &ip) != 0 || ip == 0)
			break;
		t->pcs[t->n] = exact ? ip : ip - 1;
		note_start(&c, t->pcs[t->n]);
		t->n++;
		exact = unw_is_signal_frame(&c) > 0;
	} while (t->n < UNWIND_FRAMES_MAX && unw_step(&c) > 0);
out:
	if (info != NULL)
		_UPT_destroy(info);
}

static void walk_all(struct dump *d)
{
	unw_addr_space_t as = unw_create_addr_space(&_UPT_accessors, 0);

	if (as != NULL)
		unw_set_caching_policy(as, UNW_CACHE_GLOBAL);
	for (unsigned i = 0; i < count; i++) {
		struct dumped_thread *t = &d->threads[i];

		t->answered = all[i].stopped && as != NULL;
		if (t->answered)
			walk(as, t);
		t->n = MAX(t->n, 1u);
	}
	if (as != NULL)
		unw_destroy_addr_space(as);
}

/* ---- All of it ---- */

static int by_tid(const void *a, const void *b)
{
	const struct traced *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

/* Before they are stopped, which takes them out of their system calls. */
static void look_first(pid_t pid, pid_t tid, struct dumped_thread *ret)
{
	uintptr_t sp;

	*ret = (struct dumped_thread){ .tid = tid };
	proc_look(pid, ret, &sp, &ret->pcs[0]);
	proc_times(pid, ret);
}

/* A thread's numbers do not change when it is stopped, except its system call's. */
static int look_at_all(pid_t pid, struct dump *ret)
{
	struct dirent *entry;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return UV_ESRCH;
	while ((entry = readdir(dir)) != NULL && ret->count < OUTSIDE_THREADS_MAX) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0)
			look_first(pid, tid, &ret->threads[ret->count++]);
	}
	closedir(dir);
	return ret->count > 0 ? 0 : UV_ESRCH;
}

/* Into the order of `all`; what came about since was not looked at. */
static void sort_like_traced(pid_t pid, struct dump *seen, struct dump *ret)
{
	for (unsigned i = 0; i < count; i++) {
		struct dumped_thread *out = &ret->threads[ret->count];

		look_first(pid, all[i].tid, out);
		for (unsigned k = 0; k < seen->count; k++)
			if (seen->threads[k].tid == all[i].tid)
				*out = seen->threads[k];
		out->id = ++ret->count;
	}
}

static int stop_all(pid_t pid)
{
	int rc;

	all = mem_alloc_array(OUTSIDE_THREADS_MAX, sizeof(*all));
	if (all == NULL)
		return UV_ENOMEM;
	count = 0;
	do
		rc = seize_new(pid);
	while (rc > 0);
	await_stops();
	qsort(all, count, sizeof(*all), by_tid);
	return rc;
}

int outside_dump(pid_t pid, struct dump *ret)
{
	struct dump seen = { 0 }, d = { 0 };
	int rc = UV_ENOMEM;

	seen.threads = mem_alloc_array(OUTSIDE_THREADS_MAX, sizeof(*seen.threads));
	d.threads = mem_alloc_array(OUTSIDE_THREADS_MAX, sizeof(*d.threads));
	if (seen.threads != NULL && d.threads != NULL)
		rc = look_at_all(pid, &seen);
	if (rc == 0)
		rc = stop_all(pid);
	if (rc == 0) {
		sort_like_traced(pid, &seen, &d);
		walk_all(&d);
	}
	let_go();
	all = mem_free(all);
	count = 0;
	dump_fini(&seen);
	if (rc != 0)
		dump_fini(&d);
	else
		*ret = d;
	return rc;
}
