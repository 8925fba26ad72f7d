/* What the unit tests share: status checks that print names, fault sweeps, waiting on a virtual
 * clock. Includes cmocka in the order it needs. */
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/manual.h"
#include "base/mem.h"

enum { FAULT_SWEEP_MAX = 100000 };

/** Compare two status codes; a failure prints both by name. */
#define CHECK_STATUS(expected, actual)                                                             \
	check_status((expected), (actual), #actual, __FILE__, __LINE__)

static inline void check_status(int expected, int actual, const char *expr, const char *file,
				int line)
{
	if (expected == actual)
		return;
	print_error("%s:%d: %s is %s (%d), expected %s (%d)\n", file, line, expr, err_name(actual),
		    actual, err_name(expected), expected);
	_fail(file, line);
}

struct fault_sweep {
	uint64_t n;
	uint64_t live_count;
	bool sticky;
	bool started;
};

/* True while there is another allocation to fail: the n-th alone, then it and all after it. */
static inline bool fault_sweep_next(struct fault_sweep *s, const char *file, int line)
{
	struct mem_stats stats;
	uint64_t hits = mem_fault_hits();

	mem_fault_after(0, false);
	mem_stats(&stats);
	if (s->started && stats.live_count != s->live_count) {
		print_error("%s:%d: %lld blocks leaked when allocation %llu failed%s\n", file, line,
			    (long long)(stats.live_count - s->live_count), (unsigned long long)s->n,
			    s->sticky ? " and all after it" : "");
		_fail(file, line);
	}
	if (s->started && s->sticky && hits == 0)
		return false;
	if (!s->started || s->sticky)
		s->n++;
	s->sticky = s->started && !s->sticky;
	s->started = true;
	s->live_count = stats.live_count;
	if (s->n > FAULT_SWEEP_MAX)
		fail_msg("the sweep does not end");
	mem_fault_after(s->n, s->sticky);
	return true;
}

/** Run the statements again and again, failing the 1st allocation of this thread, then the 2nd, and
 *  so on until a run met no fault; each once alone and once with all later ones failing too. Every
 *  run must free what it allocated. The last run sees no fault, so the statements can tell by
 *  mem_fault_hits() == 0 that success is due:
 *
 *	FAULT_SWEEP({
 *		rc = thing_parse(&t, bytes, len);
 *		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
 *		thing_fini(&t);
 *	});
 */
#define FAULT_SWEEP(...)                                                                           \
	do {                                                                                       \
		struct fault_sweep sweep_ = { 0 };                                                 \
		while (fault_sweep_next(&sweep_, __FILE__, __LINE__)) {                            \
			__VA_ARGS__;                                                               \
		}                                                                                  \
	} while (0)

/** Step the loop until pred(data), or until nothing is due before the absolute time limit_ms.
 * Returns pred's last answer. */
static inline bool run_until(struct manual_loop *l, bool (*pred)(void *data), void *data,
			     uint64_t limit_ms)
{
	while (!pred(data))
		if (manual_loop_next_due_ms(l) > limit_ms || !manual_loop_step(l))
			return pred(data);
	return true;
}

/** Leave a test that cannot run here, saying why. (cmocka's own skip() is a failure to TAP
 * readers.) */
#define SKIP_TEST(why)                                                                             \
	do {                                                                                       \
		print_message("# skipped: %s\n", why);                                             \
		return;                                                                            \
	} while (0)

/** Run fn(data) in a child process: it must abort, having written `needle` to stderr. */
static inline void check_aborts(void (*fn)(void *data), void *data, const char *needle)
{
	char text[8192];
	size_t used = 0;
	ssize_t n;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		dup2(fds[1], STDERR_FILENO);
		fn(data);
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, needle) == NULL)
		fail_msg("expected an abort that says \"%s\"; stderr: %s", needle, text);
}
