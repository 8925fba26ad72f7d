#include "daemon/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/disk.h"

enum { HOLDER_MAX = 64 };

/* "<pid> <start>\n", as written by the holder; foreign text all the same. */
static void describe_holder(int fd, const char *dir, char *ret_why, size_t why_size)
{
	char text[HOLDER_MAX + 1], when[32] = "";
	ssize_t n = pread(fd, text, HOLDER_MAX, 0);
	int pid = 0;

	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%9d %31[0-9TZ:-]", &pid, when) < 1 || pid <= 0) {
		snprintf(ret_why, why_size,
			 "a daemon is running with the data folder %s already; see `peerscope "
			 "status --data %s`",
			 dir, dir);
		return;
	}
	snprintf(ret_why, why_size,
		 "a daemon is running with the data folder %s already: pid %d since %s. "
		 "Look at it with `peerscope status --data %s`, stop it with `kill %d`, or choose "
		 "another folder with --data",
		 dir, pid, when[0] != '\0' ? when : "an unknown time", dir, pid);
}

static void write_holder(int fd)
{
	char text[HOLDER_MAX], when[32];
	time_t now = time(NULL);
	struct tm tm;
	int len;

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	len = snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), when);
	/* Over what the last one left: its block is there even when the disk is full. Rather nothing
	 * than another's number. */
	if (pwrite(fd, text, (size_t)len, 0) != len)
		len = 0;
	(void)!ftruncate(fd, len);
}

int lock_take(struct lock *l, const char *dir, char *ret_why, size_t why_size)
{
	CLEANUP(mem_freep) char *path = disk_path(dir, "lock");
	int fd, rc;

	l->fd = -1;
	if (path == NULL) {
		snprintf(ret_why, why_size, "out of memory");
		return UV_ENOMEM;
	}
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		rc = -errno;
		snprintf(ret_why, why_size,
			 "cannot open %s: %s. Is the folder writable for this user?", path,
			 err_str(rc));
		return rc == UV_EROFS || rc == UV_EACCES ? ERR_READ_ONLY : rc;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		write_holder(fd);
		l->fd = fd;
		return 0;
	}
	rc = errno == EWOULDBLOCK ? ERR_LOCKED : -errno;
	if (rc == ERR_LOCKED)
		describe_holder(fd, dir, ret_why, why_size);
	else
		snprintf(ret_why, why_size, "cannot lock %s: %s", path, err_str(rc));
	close(fd);
	return rc;
}

void lock_release(struct lock *l)
{
	if (l->fd < 0)
		return;
	close(l->fd);
	l->fd = -1;
}

/* Lines of /proc/locks (proc(5)) read "1: FLOCK  ADVISORY  WRITE 812 fd:01:1234 0 EOF". Device
 * numbers are not compared: some file systems show others there than stat(2) does. */
static bool is_locked(unsigned long inode, int pid)
{
	FILE *f = fopen("/proc/locks", "re");
	unsigned long found_inode;
	char line[256];
	bool found = false;
	int found_pid;

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
		found = sscanf(line, "%*u: FLOCK %*s %*s %d %*x:%*x:%lu", &found_pid,
			       &found_inode) == 2 &&
			found_pid == pid && found_inode == inode;
	if (f != NULL)
		(void)fclose(f);
	return found;
}

int lock_holder(const char *dir)
{
	CLEANUP(mem_freep) char *path = disk_path(dir, "lock");
	int fd = path != NULL ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1, pid = 0;
	char text[HOLDER_MAX + 1];
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return 0;
	n = pread(fd, text, HOLDER_MAX, 0);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%9d", &pid) < 1 || pid <= 0 || fstat(fd, &st) < 0 ||
	    !is_locked(st.st_ino, pid))
		pid = 0;
	close(fd);
	return pid;
}
