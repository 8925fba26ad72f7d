#include "profiler/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

/* Texts of the kernel, proc(5). A thread may end, or go on, between two looks at it. */

enum { TEXT_MAX = 4096, MAPS_MAX = 8 << 20 };

static bool read_text(pid_t pid, pid_t tid, const char *file, char ret[TEXT_MAX])
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, ret, TEXT_MAX - 1);
	close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void read_name(pid_t pid, struct dumped_thread *t)
{
	char text[TEXT_MAX];

	if (!read_text(pid, t->tid, "comm", text))
		return;
	text[strcspn(text, "\n")] = '\0';
	memcpy(t->name, text, strnlen(text, sizeof(t->name) - 1));
}

/* "tid (name) S …": the name may hold anything, so from the last bracket on. */
static void read_run_state(pid_t pid, struct dumped_thread *t)
{
	char text[TEXT_MAX];
	const char *end;

	t->run_state = '?';
	if (read_text(pid, t->tid, "stat", text) && (end = strrchr(text, ')')) != NULL &&
	    end[1] == ' ')
		t->run_state = end[2];
}

/* Fields 14, 15 and 22 of stat: utime, stime, starttime, in ticks; the last since boot. */
void proc_times(pid_t pid, struct dumped_thread *t)
{
	uint64_t tick_ns = NS_PER_SEC / (uint64_t)MAX(sysconf(_SC_CLK_TCK), 1L);
	unsigned long long user, kernel, start;
	char text[TEXT_MAX];
	const char *end;

	if (!read_text(pid, t->tid, "stat", text) || (end = strrchr(text, ')')) == NULL ||
	    sscanf(end + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d "
		   "%*d %llu",
		   &user, &kernel, &start) != 3)
		return;
	t->cpu_ns = (user + kernel) * tick_ns;
	t->started_ns = start * tick_ns;
}

bool proc_blocks_signal(pid_t pid, pid_t tid, int signo)
{
	char text[TEXT_MAX];
	const char *at;

	if (!read_text(pid, tid, "status", text) || (at = strstr(text, "SigBlk:")) == NULL)
		return false;
	return strtoull(at + 7, NULL, 16) >> (signo - 1) & 1;
}

/* "nr a b c d e f sp pc", or "running". Returns the first argument. */
static uintptr_t read_syscall(pid_t pid, struct dumped_thread *t, uintptr_t *ret_sp,
			      uintptr_t *ret_pc)
{
	char text[TEXT_MAX], *p = text;
	uintptr_t args[8];

	t->syscall = -1;
	*ret_sp = *ret_pc = 0;
	if (!read_text(pid, t->tid, "syscall", text) ||
	    (text[0] != '-' && (text[0] < '0' || text[0] > '9')))
		return 0;
	t->syscall = strtol(p, &p, 10);
	if (t->syscall < 0)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(args); i++)
		args[i] = strtoull(p, &p, 16);
	*ret_sp = args[6];
	*ret_pc = args[7];
	return args[0];
}

/* glibc's pthread_mutex_t: the word that is waited for, a count, the owner's tid. That it is one,
 * the stack will tell. */
static void read_owner(pid_t pid, struct dumped_thread *t, uintptr_t futex)
{
	struct iovec local = { &t->owner, sizeof(t->owner) };
	struct iovec remote = { (void *)(futex + offsetof(pthread_mutex_t, __data.__owner)),
				sizeof(t->owner) };

	if (t->syscall != SYS_futex ||
	    process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof(t->owner))
		t->owner = 0;
}

void proc_look(pid_t pid, struct dumped_thread *t, uintptr_t *ret_sp, uintptr_t *ret_pc)
{
	read_name(pid, t);
	read_run_state(pid, t);
	read_owner(pid, t, read_syscall(pid, t, ret_sp, ret_pc));
}

/* ---- What is mapped ---- */

static int read_maps(pid_t pid, struct buf *out)
{
	char path[32];
	ssize_t n = 1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? UV_ESRCH : -errno;
	while (n > 0) {
		void *room = buf_reserve(out, TEXT_MAX);

		n = room != NULL ? read(fd, room, TEXT_MAX) : 0;
		buf_advance(out, n > 0 ? (size_t)n : 0);
	}
	close(fd);
	buf_write(out, "", 1);
	return n < 0 ? UV_EPERM : buf_err(out);
}

/* "start-end perms offset dev inode   path". The first mapping of a file is where its own numbering
 * begins, for what compilers link today. */
static bool parse_map(const char *line, size_t len, struct module *m, char perms[5])
{
	int path = 0;
	size_t n;

	if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &m->start, &m->limit, perms, &m->offset,
		   &path) != 4 ||
	    path == 0 || (size_t)path >= len)
		return false;
	n = MIN(len - (size_t)path, sizeof(m->path) - 1);
	memcpy(m->path, line + path, n);
	m->path[n] = '\0';
	m->is_vdso = strcmp(m->path, "[vdso]") == 0;
	return true;
}

static int add_module(struct modules *list, const struct module *m)
{
	struct module *grown;

	if (list->count == MODULES_MAX)
		return 0;
	grown = mem_realloc(list->list, (list->count + 1) * sizeof(*grown));
	if (grown == NULL)
		return UV_ENOMEM;
	list->list = grown;
	grown[list->count++] = *m;
	return 0;
}

static int parse_maps(const char *text, struct modules *ret)
{
	struct module m = { 0 }, first = { 0 };
	char perms[5] = "";
	int rc = 0;

	for (const char *p = text; *p != '\0' && rc == 0;) {
		size_t len = strcspn(p, "\n");

		m = (struct module){ 0 };
		if (parse_map(p, len, &m, perms)) {
			if (strcmp(m.path, first.path) != 0)
				first = m;
			m.bias = first.start - (uintptr_t)first.offset;
			if (perms[2] == 'x' && strcmp(m.path, "[vsyscall]") != 0)
				rc = add_module(ret, &m);
		}
		p += len + (p[len] == '\n');
	}
	return rc;
}

int proc_modules(pid_t pid, struct modules *ret)
{
	struct buf text;
	int rc;

	buf_init(&text, MAPS_MAX);
	rc = read_maps(pid, &text);
	if (rc == 0)
		rc = parse_maps((const char *)text.data, ret);
	buf_fini(&text);
	return rc;
}

void proc_thread_name(pid_t tid, char ret[THREAD_NAME_SIZE])
{
	char path[48];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, ret, THREAD_NAME_SIZE - 1);
		close(fd);
	}
	ret[MAX(n, (ssize_t)0)] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}
