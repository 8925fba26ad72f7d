/* The order of steps is what makes a kill at any moment harmless: the lock file is the first thing
 * made in the folder and the last one removed, so that a folder without it is empty. */
#include "daemon/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/err.h"

enum { RANDOM_DIGITS = 16, TRIES_MAX = 8 };

#define LOCK_NAME "lock"
#define LOCK_TEXT "peerscope get: files on their way to their places\n"

static bool is_name(const char *name)
{
	size_t prefix = strlen(STAGING_PREFIX);

	return strncmp(name, STAGING_PREFIX, prefix) == 0 &&
	       strlen(name + prefix) == RANDOM_DIGITS &&
	       strspn(name + prefix, "0123456789abcdef") == RANDOM_DIGITS;
}

void staging_item(uint64_t n, char ret[STAGING_ITEM_SIZE])
{
	snprintf(ret, STAGING_ITEM_SIZE, "%llu", (unsigned long long)n);
}

/* ---- Making ---- */

/* UV_EAGAIN: somebody swept it before it was locked; another name will do. A file system without
 * locks: it works, and is never swept. */
static int take_lock(int fd, int *ret)
{
	int lock = openat(fd, LOCK_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (lock < 0)
		return errno == ENOENT ? UV_EAGAIN : -errno;
	if (flock(lock, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
		close(lock);
		return UV_EAGAIN;
	}
	if (write(lock, LOCK_TEXT, strlen(LOCK_TEXT)) < 0) {
		int rc = -errno;

		close(lock);
		return rc;
	}
	*ret = lock;
	return 0;
}

static int try_open(struct staging *s, int parent)
{
	int rc;

	snprintf(s->name, sizeof(s->name), STAGING_PREFIX "%08x%08x", randombytes_random(),
		 randombytes_random());
	if (mkdirat(parent, s->name, 0700) < 0)
		return errno == EEXIST ? UV_EAGAIN : -errno;
	s->parent = parent;
	s->fd = openat(parent, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->fd < 0)
		rc = errno == ENOENT ? UV_EAGAIN : -errno;
	else
		rc = take_lock(s->fd, &s->lock);
	if (rc < 0) {
		struct beneath_removal ignored = { 0 };

		staging_close(s, &ignored);
	}
	return rc;
}

int staging_open(struct staging *s, int parent)
{
	int rc = UV_EAGAIN;

	*s = (struct staging){ .parent = -1, .fd = -1, .lock = -1 };
	for (int i = 0; i < TRIES_MAX && rc == UV_EAGAIN; i++)
		rc = try_open(s, parent);
	return rc;
}

/* ---- Removing ---- */

/* Everything in it, the lock last. */
static int clear(int parent, const char *name, int fd, struct beneath_removal *r)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), rc = 0;
	DIR *dir = own >= 0 ? fdopendir(own) : NULL;
	struct dirent *e;

	if (dir == NULL && own >= 0)
		close(own);
	if (dir == NULL)
		return UV_ENOMEM;
	rewinddir(dir);
	while ((e = readdir(dir)) != NULL) {
		int one = 0;

		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strcmp(e->d_name, LOCK_NAME) != 0)
			one = beneath_remove(fd, e->d_name, r);
		rc = rc == 0 ? one : rc;
	}
	closedir(dir);
	if (rc < 0)
		return rc;
	rc = beneath_remove(fd, LOCK_NAME, r);
	return rc == 0 ? beneath_remove(parent, name, r) : rc;
}

int staging_close(struct staging *s, struct beneath_removal *r)
{
	int rc = 0;

	if (s->parent < 0)
		return 0;
	rc = s->fd >= 0 ? clear(s->parent, s->name, s->fd, r) :
			  beneath_remove(s->parent, s->name, r);
	if (s->lock >= 0)
		close(s->lock);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct staging){ .parent = -1, .fd = -1, .lock = -1 };
	return rc;
}

static bool is_lock_file(int lock)
{
	char text[sizeof(LOCK_TEXT)] = "";
	struct stat st;
	ssize_t n;

	if (fstat(lock, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return false;
	n = pread(lock, text, sizeof(text), 0);
	return n == 0 ||
	       (n == (ssize_t)strlen(LOCK_TEXT) && memcmp(text, LOCK_TEXT, (size_t)n) == 0);
}

static enum staging_found look(int dir, const char *name, int fd, struct beneath_removal *r)
{
	int lock = beneath_open(fd, LOCK_NAME, O_RDWR | O_NONBLOCK);
	enum staging_found found = STAGING_NOT;

	/* Without it the folder is empty, if it is one of ours: just made, or just swept. */
	if (lock == UV_ENOENT)
		return unlinkat(dir, name, AT_REMOVEDIR) == 0 ? STAGING_SWEPT : STAGING_NOT;
	if (lock < 0)
		return STAGING_NOT;
	if (is_lock_file(lock)) {
		if (flock(lock, LOCK_EX | LOCK_NB) < 0)
			found = STAGING_IN_USE;
		else
			found = clear(dir, name, fd, r) == 0 ? STAGING_SWEPT : STAGING_STAYED;
	}
	close(lock);
	return found;
}

enum staging_found staging_sweep_one(int dir, const char *name, struct beneath_removal *r)
{
	enum staging_found found = STAGING_NOT;
	struct stat st;
	int fd;

	if (!is_name(name))
		return STAGING_NOT;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return STAGING_NOT;
	/* Another user's is none of our business; that user sweeps it. */
	if (st.st_uid != geteuid())
		return STAGING_IN_USE;
	fd = beneath_open(dir, name, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return STAGING_NOT;
	found = look(dir, name, fd, r);
	close(fd);
	return found;
}

void staging_sweep(int dir, struct beneath_removal *r)
{
	int own = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own >= 0 ? fdopendir(own) : NULL;
	struct dirent *e;

	if (d == NULL && own >= 0)
		close(own);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		(void)staging_sweep_one(dir, e->d_name, r);
	closedir(d);
}
