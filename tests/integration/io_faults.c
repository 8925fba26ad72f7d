/* Makes file operations fail, for tests of what a program does then. To be preloaded.
 *
 *   IO_FAULT_UNDER  only files below this folder, told by the path they were opened with
 *   IO_FAULT_ERRNO  what they fail with, a number
 *   IO_FAULT_FROM   the first operation that fails, counted from 1; all that follow fail too
 *   IO_FAULT_COUNT  a file, outside the folder, that gets the number of operations at exit
 *   IO_FAULT_READS  set: reading fails, too; else what changes or syncs something
 *
 * Counted are open for writing, write, truncate, sync, rename, link, unlink, mkdir and chmod; with
 * IO_FAULT_READS also open for reading and read. A sync that fails with "no space" does not exist,
 * but a program has to survive it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 4096 };

static const char *under;
static int error;
static long from;
static bool reads;
static atomic_long count;
static atomic_bool is_ours[FDS_MAX];

__attribute__((constructor)) static void start(void)
{
	under = getenv("IO_FAULT_UNDER");
	error = getenv("IO_FAULT_ERRNO") != NULL ? atoi(getenv("IO_FAULT_ERRNO")) : EIO;
	from = getenv("IO_FAULT_FROM") != NULL ? atol(getenv("IO_FAULT_FROM")) : LONG_MAX;
	reads = getenv("IO_FAULT_READS") != NULL;
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("IO_FAULT_COUNT");
	FILE *f = path != NULL ? fopen(path, "we") : NULL;

	if (f == NULL)
		return;
	fprintf(f, "%ld\n", atomic_load(&count));
	fclose(f);
}

/* The folder of a directory descriptor, or "" for the working directory. */
static bool is_below(int dir, const char *path)
{
	char link[64], real[PATH_MAX + 1];
	ssize_t n;

	if (under == NULL || path == NULL)
		return false;
	if (path[0] == '/')
		return strncmp(path, under, strlen(under)) == 0;
	if (dir == AT_FDCWD)
		return getcwd(real, sizeof(real)) != NULL &&
		       strncmp(real, under, strlen(under)) == 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	n = readlink(link, real, PATH_MAX);
	real[n > 0 ? n : 0] = '\0';
	return strncmp(real, under, strlen(under)) == 0;
}

static bool fails(bool hit)
{
	if (!hit || atomic_fetch_add(&count, 1) + 1 < from)
		return false;
	errno = error;
	return true;
}

static bool fd_fails(int fd)
{
	return fails(fd >= 0 && fd < FDS_MAX && atomic_load(&is_ours[fd]));
}

static int opened(int fd, bool ours)
{
	if (fd >= 0 && fd < FDS_MAX)
		atomic_store(&is_ours[fd], ours);
	return fd;
}

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);
ssize_t __read_chk(int fd, void *p, size_t n, size_t size);
ssize_t __pread_chk(int fd, void *p, size_t n, off_t at, size_t size);
ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t size);

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int open_below(int dir, const char *path, int flags, mode_t mode,
		      int (*real)(int, const char *, int, ...))
{
	bool ours = is_below(dir, path) && (flags & (O_PATH | O_DIRECTORY)) == 0;
	bool writes = (flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0;

	if (fails(ours && (writes || reads)))
		return -1;
	return opened(real(dir, path, flags, mode), ours);
}

static mode_t mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
	int name(const char *path, int flags, ...)                                                 \
	{                                                                                          \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
		va_start(ap, flags);                                                               \
		mode = mode_of(flags, ap);                                                         \
		va_end(ap);                                                                        \
		return open_below(AT_FDCWD, path, flags, mode, REAL(openat));                      \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
	int name(int dir, const char *path, int flags, ...)                                        \
	{                                                                                          \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
		va_start(ap, flags);                                                               \
		mode = mode_of(flags, ap);                                                         \
		va_end(ap);                                                                        \
		return open_below(dir, path, flags, mode, REAL(openat));                           \
	}
OPENAT(openat)
OPENAT(openat64)

/* What _FORTIFY_SOURCE makes of the above. */
int __open_2(const char *path, int flags)
{
	return open_below(AT_FDCWD, path, flags, 0, REAL(openat));
}

int __open64_2(const char *path, int flags)
{
	return open_below(AT_FDCWD, path, flags, 0, REAL(openat));
}

int __openat_2(int dir, const char *path, int flags)
{
	return open_below(dir, path, flags, 0, REAL(openat));
}

int __openat64_2(int dir, const char *path, int flags)
{
	return open_below(dir, path, flags, 0, REAL(openat));
}

int close(int fd)
{
	(void)opened(fd, false);
	return REAL(close)(fd);
}

/* One that takes a descriptor. */
#define ON_FD(type, name, condition, params, args)                                                 \
	type name params                                                                           \
	{                                                                                          \
		return (condition) && fd_fails(fd) ? -1 : REAL(name) args;                         \
	}
ON_FD(ssize_t, write, true, (int fd, const void *p, size_t n), (fd, p, n))
ON_FD(ssize_t, pwrite, true, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
ON_FD(ssize_t, pwrite64, true, (int fd, const void *p, size_t n, off64_t at), (fd, p, n, at))
ON_FD(ssize_t, writev, true, (int fd, const struct iovec *v, int n), (fd, v, n))
ON_FD(int, ftruncate, true, (int fd, off_t len), (fd, len))
ON_FD(int, ftruncate64, true, (int fd, off64_t len), (fd, len))
ON_FD(int, fsync, true, (int fd), (fd))
ON_FD(int, fdatasync, true, (int fd), (fd))
ON_FD(int, fchmod, true, (int fd, mode_t mode), (fd, mode))
ON_FD(ssize_t, read, reads, (int fd, void *p, size_t n), (fd, p, n))
ON_FD(ssize_t, pread, reads, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
ON_FD(ssize_t, pread64, reads, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at))

ssize_t __read_chk(int fd, void *p, size_t n, size_t size)
{
	return n > size ? (abort(), -1) : read(fd, p, n);
}

ssize_t __pread_chk(int fd, void *p, size_t n, off_t at, size_t size)
{
	return n > size ? (abort(), -1) : pread(fd, p, n, at);
}

ssize_t __pread64_chk(int fd, void *p, size_t n, off64_t at, size_t size)
{
	return n > size ? (abort(), -1) : pread64(fd, p, n, at);
}

/* One that takes a path. */
#define ON_PATH(name, dir, path, params, args)                                                     \
	int name params                                                                            \
	{                                                                                          \
		return fails(is_below(dir, path)) ? -1 : REAL(name) args;                          \
	}
ON_PATH(rename, AT_FDCWD, b, (const char *a, const char *b), (a, b))
ON_PATH(renameat, d, b, (int c, const char *a, int d, const char *b), (c, a, d, b))
ON_PATH(renameat2, d, b, (int c, const char *a, int d, const char *b, unsigned f), (c, a, d, b, f))
ON_PATH(unlink, AT_FDCWD, p, (const char *p), (p))
ON_PATH(unlinkat, d, p, (int d, const char *p, int f), (d, p, f))
ON_PATH(mkdir, AT_FDCWD, p, (const char *p, mode_t m), (p, m))
ON_PATH(mkdirat, d, p, (int d, const char *p, mode_t m), (d, p, m))
ON_PATH(symlinkat, d, p, (const char *t, int d, const char *p), (t, d, p))
ON_PATH(fchmodat, d, p, (int d, const char *p, mode_t m, int f), (d, p, m, f))
