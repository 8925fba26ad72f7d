/* peerscope-stacks: what all threads of a process are doing, seen from outside. For a daemon that
 * hangs so that it answers neither HTTP nor SIGQUIT. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "profiler/goroutine.h"
#include "profiler/outside.h"
#include "profiler/proc.h"
#include "profiler/symbols.h"

/* Exit codes, with the meanings that peerscope's have. */
enum { DONE = 0, FAILED = 1, USAGE = 2, NOT_FOUND = 5, TIMEOUT = 6, DENIED = 10 };

enum { OUTPUT_MAX = 256 << 20, SECONDS_MAX = 30 };

static const char help[] =
	"peerscope-stacks [--notes] PID\n"
	"\n"
	"Prints what every thread of a process is doing: one block each, as Go prints goroutines.\n"
	"The process is stopped for some milliseconds and goes on as if nothing had been. It need\n"
	"not answer: for a daemon that hangs. Nothing is asked of the network.\n"
	"\n"
	"  --notes    lines for people in between: thread ids and names, who holds a mutex\n"
	"  --help     this text\n"
	"  --version\n"
	"\n"
	"You have to be root or the user that the process runs as. Where the system lets nobody "
	"but a\n"
	"debugger's own children be traced (kernel.yama.ptrace_scope), root.\n"
	"\n"
	"Exit codes: 0 printed, 1 failed, 2 wrong arguments, 5 no such process, 6 it took longer "
	"than\n"
	"30 s, 10 not permitted.\n";

static int fail(int code, const char *text)
{
	fprintf(stderr, "peerscope-stacks: %s\n", text);
	return code;
}

/* ---- Failures ---- */

/* First line of a file as a number; -1 when there is none. */
static long read_number(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char line[256];
	long v = -1;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0) {
			v = strtol(line + strlen(key), NULL, 10);
			break;
		}
	if (f != NULL)
		fclose(f);
	return v;
}

static int denied(pid_t pid)
{
	long scope = read_number("/proc/sys/kernel/yama/ptrace_scope", ""), tracer;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	tracer = read_number(path, "TracerPid:");
	if (tracer > 0) {
		fprintf(stderr,
			"peerscope-stacks: process %d is being traced already, by process %ld\n",
			(int)pid, tracer);
		return DENIED;
	}
	fprintf(stderr, "peerscope-stacks: may not look at process %d.\n", (int)pid);
	if (scope >= 3)
		fputs("No process may be traced on this system (kernel.yama.ptrace_scope = 3) "
		      "until it is "
		      "started anew with another setting.\n",
		      stderr);
	else if (geteuid() == 0)
		fputs("A container or a security module forbids it: it takes CAP_SYS_PTRACE.\n",
		      stderr);
	else if (scope >= 1)
		fprintf(stderr,
			"This system lets only root trace others (kernel.yama.ptrace_scope = %ld). "
			"Try: sudo "
			"peerscope-stacks %d\n",
			scope, (int)pid);
	else
		fprintf(stderr,
			"It belongs to another user, or has more rights than you. Try: sudo "
			"peerscope-stacks %d\n",
			(int)pid);
	return DENIED;
}

static int explain(pid_t pid, int rc)
{
	char text[96];

	if (rc == UV_EPERM || rc == UV_EACCES)
		return denied(pid);
	if (rc == UV_ESRCH) {
		snprintf(text, sizeof(text), "there is no process %d", (int)pid);
		return fail(NOT_FOUND, text);
	}
	return fail(FAILED, err_str(rc));
}

/* The kernel lets go of all threads when this process ends. */
static void on_alarm(int signo)
{
	static const char text[] = "peerscope-stacks: given up after 30 s\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(FAILED);
	_exit(TIMEOUT);
}

/* ---- Printing ---- */

static int write_out(const struct buf *out)
{
	size_t at = 0;

	while (at < out->len) {
		ssize_t n = write(STDOUT_FILENO, out->data + at, out->len - at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int print_stacks(pid_t pid, bool notes)
{
	struct modules modules = { 0 };
	const struct tasks none = { 0 };
	struct dump d = { 0 };
	struct buf out;
	int rc;

	buf_init(&out, OUTPUT_MAX);
	rc = proc_modules(pid, &modules);
	if (rc == 0)
		rc = outside_dump(pid, &d);
	if (rc == 0) {
		symbols_begin_process(&modules, pid, outside_function_start);
		snapshot_write_blocks(&out, &d, &none, notes);
		symbols_end();
		rc = buf_err(&out);
	}
	if (rc == 0)
		rc = write_out(&out);
	buf_fini(&out);
	dump_fini(&d);
	modules_fini(&modules);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "notes", no_argument, NULL, 'n' },
						 { "help", no_argument, NULL, 'h' },
						 { "version", no_argument, NULL, 'V' },
						 { 0 } };
	bool notes = false;
	char *end;
	long pid;
	int c, rc;

	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		if (c == 'h')
			return fputs(help, stdout) < 0 || fflush(stdout) != 0 ? FAILED : DONE;
		if (c == 'V')
			return printf("peerscope-stacks %s\n", PEERSCOPE_VERSION) < 0 ||
					       fflush(stdout) != 0 ?
				       FAILED :
				       DONE;
		if (c != 'n')
			return fail(USAGE, "try --help");
		notes = true;
	}
	if (optind + 1 != argc)
		return fail(USAGE, "which process? Its number is wanted; try --help");
	errno = 0;
	pid = strtol(argv[optind], &end, 10);
	if (errno != 0 || *end != '\0' || pid <= 0 || pid > INT32_MAX || argv[optind][0] == '+')
		return fail(USAGE, "the number of a process is wanted");
	if (pid == getpid())
		return fail(USAGE, "it cannot look at itself");
	if (base_init() != 0)
		return fail(FAILED, "cannot start");
	signal(SIGALRM, on_alarm);
	alarm(SECONDS_MAX);
	rc = print_stacks((pid_t)pid, notes);
	return rc == 0 ? DONE : explain((pid_t)pid, rc);
}
