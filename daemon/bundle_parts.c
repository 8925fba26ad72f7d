/* The table of parts, and those that are made here: from /proc, files, and other programs. */
#include "daemon/bundle_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "daemon/doctor_facts.h"
#include "daemon/json.h"
#include "daemon/sys.h"

enum { PROC_BYTES_MAX = 1 << 20, TASKS_MAX = 256, STACKS_MS = 20000, PATH_SIZE = 512 };

const char *bundle_notice(void)
{
	return "A bundle includes: stacks of all threads and tasks, profiles of CPU time, memory "
	       "and\n"
	       "  locks, traces of the latest operations, the latest log lines, figures, "
	       "settings,\n"
	       "  facts about this machine, and the program itself.\n"
	       "It does not include: documents and their content, keys, tokens, and names. IRIs, "
	       "peer\n"
	       "  ids, spaces, hashes, addresses, the host's name and your home folder are "
	       "replaced "
	       "by\n"
	       "  codes, the same ones throughout one bundle (--raw keeps them).\n"
	       "It may reveal: where the program was built, which features ran when and for how "
	       "long,\n"
	       "  sizes and numbers of what is stored, the kernel and the libraries.\n";
}

static int make_readme(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	(void)why, (void)why_size;
	buf_printf(
		out,
		"Diagnostics of a peerscope daemon\n"
		"\n%s\n"
		"Names are %s. MANIFEST.json says what became of each part; errors.txt, if there "
		"is one,\nwhat failed.\n"
		"\n"
		"How to look into it:\n"
		"  less doctor.txt log.txt traces.txt\n"
		"  less goroutines-start.stacks\n"
		"  python3 -m json.tool vars.json\n"
		"  go tool pprof -top cpu.pprof\n"
		"  go tool pprof -http=: heap.pprof\n"
		"traces.chrome.json opens in Perfetto (https://ui.perfetto.dev).\n"
		"\n"
		"Look through the text files before you send it to somebody.\n",
		bundle_notice(), run->config->raw ? "as they are (--raw)" : "replaced by codes");
	return 0;
}

static int write_json(struct buf *out, json_t *value)
{
	if (value == NULL)
		return UV_ENOMEM;
	json_write(out, value);
	buf_write_u8(out, '\n');
	json_decref(value);
	return 0;
}

static int make_sys(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	int pid = run->config->pid > 0 ? run->config->pid : (int)getpid();

	(void)why, (void)why_size;
	return write_json(out, sys_facts(run->config->data, pid, run->config->raw));
}

static int make_version(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	(void)run, (void)why, (void)why_size;
	return write_json(out, sys_build());
}

static int make_doctor(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
	struct doctor_facts facts;

	(void)why, (void)why_size;
	doctor_facts_outside(run->config->data, &facts);
	doctor_write_text(out, findings, doctor_examine(&facts, findings));
	return 0;
}

/* ---- /proc ---- */

static int append_file(struct buf *out, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc = 0;
	size_t total = 0;
	uint8_t *at;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (rc == 0 && total < PROC_BYTES_MAX && (at = buf_reserve(out, 4096)) != NULL) {
		n = read(fd, at, 4096);
		rc = n < 0 ? -errno : 0;
		if (n <= 0)
			break;
		buf_advance(out, (size_t)n);
		total += (size_t)n;
	}
	close(fd);
	return rc;
}

static int append_proc(const struct bundle_run *run, struct buf *out, const char *name)
{
	char path[PATH_SIZE];

	if (run->config->pid <= 0)
		return ERR_NOT_FOUND;
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", run->config->pid, name);
	return append_file(out, path);
}

static int make_status(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	(void)why, (void)why_size;
	return append_proc(run, out, "status");
}

static int make_limits(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	(void)why, (void)why_size;
	return append_proc(run, out, "limits");
}

/* What each thread waits for in the kernel: readable also when the process cannot be traced. */
static int make_tasks(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	static const char *const files[] = { "comm", "wchan", "syscall", "stat" };
	char path[PATH_SIZE];
	unsigned count = 0;
	struct dirent *e;
	DIR *dir;

	(void)why, (void)why_size;
	if (run->config->pid <= 0)
		return ERR_NOT_FOUND;
	(void)snprintf(path, sizeof(path), "/proc/%d/task", run->config->pid);
	dir = opendir(path);
	if (dir == NULL)
		return -errno;
	while ((e = readdir(dir)) != NULL && count < TASKS_MAX) {
		if (e->d_name[0] == '.')
			continue;
		count++;
		buf_printf(out, "---- thread %s\n", e->d_name);
		for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
			(void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/%s",
				       run->config->pid, e->d_name, files[i]);
			buf_printf(out, "%s: ", files[i]);
			if (append_file(out, path) < 0)
				buf_write_str(out, "not readable");
			buf_write_u8(out, '\n');
		}
	}
	closedir(dir);
	return 0;
}

/* ---- Stacks from outside ---- */

/* Beside the running program. */
static bool find_stacks(char ret[PATH_SIZE])
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_SIZE - 1);
	char *slash;

	if (n <= 0)
		return false;
	ret[n] = '\0';
	slash = strrchr(ret, '/');
	if (slash == NULL || (size_t)(slash - ret) + sizeof("/peerscope-stacks") > PATH_SIZE)
		return false;
	memcpy(slash, "/peerscope-stacks", sizeof("/peerscope-stacks"));
	return access(ret, X_OK) == 0;
}

/* Until it ends, or its time is over. */
static int read_all(int fd, struct buf *out, const struct bundle_config *c)
{
	uint64_t end = clock_now_ms(&clock_system) + STACKS_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t *at;
	ssize_t n;

	while (clock_now_ms(&clock_system) < end &&
	       !(c->cancelled != NULL && c->cancelled(c->user))) {
		if (poll(&p, 1, 200) <= 0)
			continue;
		at = buf_reserve(out, 4096);
		n = at != NULL ? read(fd, at, 4096) : 0;
		if (n <= 0)
			return n < 0 ? -errno : buf_err(out);
		buf_advance(out, (size_t)n);
	}
	return UV_ETIMEDOUT;
}

static int start_stacks(const char *program, int pid, int write_end, pid_t *ret_child)
{
	char number[16];
	char *argv[] = { (char *)(uintptr_t)program, (char *)(uintptr_t) "--notes", number, NULL };
	posix_spawn_file_actions_t actions;
	int rc;

	(void)snprintf(number, sizeof(number), "%d", pid);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, write_end, STDERR_FILENO);
	rc = posix_spawn(ret_child, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -rc;
}

static int wait_for(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_stacks(int pid, struct buf *out, const struct bundle_config *c, char *why,
		      size_t why_size)
{
	char program[PATH_SIZE];
	int ends[2], rc;
	pid_t child = 0;

	if (!find_stacks(program)) {
		(void)snprintf(why, why_size, "peerscope-stacks is not beside this program");
		return ERR_NOT_FOUND;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	rc = start_stacks(program, pid, ends[1], &child);
	close(ends[1]);
	if (rc == 0)
		rc = read_all(ends[0], out, c);
	close(ends[0]);
	if (child > 0 && rc < 0)
		kill(child, SIGTERM);
	if (child > 0 && wait_for(child) != 0 && rc == 0) {
		(void)snprintf(why, why_size, "%.*s", (int)MIN(out->len, (size_t)400),
			       out->data != NULL ? (char *)out->data : "");
		rc = UV_EPERM;
	}
	return rc;
}

int bundle_stacks(int pid, struct buf *out, char *ret_why, size_t why_size)
{
	return run_stacks(pid, out, &(struct bundle_config){ 0 }, ret_why, why_size);
}

static int make_stacks(const struct bundle_run *run, struct buf *out, char *why, size_t why_size)
{
	if (run->config->pid <= 0 || run->config->no_fork)
		return ERR_NOT_FOUND;
	return run_stacks(run->config->pid, out, run->config, why, why_size);
}

/* ---- The table ---- */

#define ASK(name_, path_, flags_)                                                                  \
	{                                                                                          \
		.name = name_, .path = path_, .flags = flags_                                      \
	}
#define MAKE(name_, make_, flags_)                                                                 \
	{                                                                                          \
		.name = name_, .make = make_, .flags = flags_                                      \
	}

/* The threads of a hung process first: they may move on. Traces are asked for so wide that nothing
 * is shortened: what is left of a name in the middle of which something was left out is not known
 * as one any more. */
const struct bundle_part bundle_parts[] = {
	MAKE("README.txt", make_readme, 0),
	MAKE("threads.stacks", make_stacks, BUNDLE_TEXT | BUNDLE_OFFLINE),
	ASK("goroutines-start.stacks", "/debug/pprof/goroutine?debug=2", BUNDLE_TEXT),
	ASK("version.json", "/debug/buildinfo?json", 0),
	MAKE("version-outside.json", make_version, BUNDLE_OFFLINE),
	MAKE("sysinfo.json", make_sys, BUNDLE_TEXT),
	ASK("vars.json", "/debug/vars?json", BUNDLE_TEXT),
	ASK("metrics.txt", "/debug/metrics", BUNDLE_TEXT | BUNDLE_MAY_LACK),
	ASK("doctor.txt", "/debug/doctor?text", BUNDLE_TEXT),
	MAKE("doctor-outside.txt", make_doctor, BUNDLE_TEXT | BUNDLE_OFFLINE),
	ASK("config.txt", "/debug/config?text", BUNDLE_TEXT),
	ASK("log.txt", "/debug/logs?text&n=4096", BUNDLE_TEXT),
	ASK("peers.txt", "/debug/peers?text", BUNDLE_TEXT),
	ASK("stalls.txt", "/debug/pprof/stalls", BUNDLE_TEXT | BUNDLE_MAY_LACK),
	ASK("traces.txt", "/debug/traces?text&n=250&sort=newest&columns=whole", BUNDLE_TEXT),
	ASK("traces.json", "/debug/traces?format=json&n=250&sort=newest",
	    BUNDLE_TEXT | BUNDLE_EXTRA),
	ASK("traces.chrome.json", "/debug/traces?format=chrome&n=250&sort=newest",
	    BUNDLE_TEXT | BUNDLE_EXTRA),
	MAKE("proc/status", make_status, BUNDLE_TEXT),
	MAKE("proc/limits", make_limits, 0),
	MAKE("proc/threads", make_tasks, BUNDLE_TEXT),
	ASK("heap.pprof", "/debug/pprof/heap", BUNDLE_MAY_LACK | BUNDLE_EXTRA),
	ASK("allocs.pprof", "/debug/pprof/allocs", BUNDLE_MAY_LACK | BUNDLE_EXTRA),
	ASK("goroutine.pprof", "/debug/pprof/goroutine", BUNDLE_EXTRA),
	ASK("threadcreate.pprof", "/debug/pprof/threadcreate", BUNDLE_MAY_LACK | BUNDLE_EXTRA),
	ASK("cpu.pprof", "/debug/pprof/profile", BUNDLE_WINDOW | BUNDLE_EXTRA),
	ASK("mutex.pprof", "/debug/pprof/mutex", BUNDLE_WINDOW | BUNDLE_MAY_LACK | BUNDLE_EXTRA),
	ASK("block.pprof", "/debug/pprof/block", BUNDLE_WINDOW | BUNDLE_MAY_LACK | BUNDLE_EXTRA),
	ASK("heap-delta.pprof", "/debug/pprof/heap",
	    BUNDLE_WINDOW | BUNDLE_MAY_LACK | BUNDLE_EXTRA),
	ASK("goroutines-end.stacks", "/debug/pprof/goroutine?debug=2", BUNDLE_TEXT),
	{ 0 },
};
