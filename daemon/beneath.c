#include "daemon/beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { RETRIES_MAX = 32 };

/* ---- Opening ---- */

/* Which mount a descriptor is on. A kernel without mount ids has the device number alone. */
struct mount {
	uint64_t id;
	uint32_t major, minor;
};

static int mount_of(int fd, struct mount *ret)
{
	struct statx x;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_MNT_ID,
		  &x) < 0)
		return -errno;
	*ret = (struct mount){ .id = (x.stx_mask & STATX_MNT_ID) != 0 ? x.stx_mnt_id : 0,
			       .major = x.stx_dev_major,
			       .minor = x.stx_dev_minor };
	return 0;
}

static bool same_mount(const struct mount *a, const struct mount *b)
{
	return a->id == b->id && a->major == b->major && a->minor == b->minor;
}

/* One name; the descriptor it gives is on the mount `home`, or there is none. */
static int step(int dir, const char *name, int flags, const struct mount *home)
{
	struct mount here;
	int fd, rc;

	if (strcmp(name, "..") == 0)
		return UV_EXDEV;
	fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = mount_of(fd, &here);
	if (rc == 0 && !same_mount(home, &here))
		rc = UV_EXDEV;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

int beneath_open_by_hand(int dir, const char *path, int flags)
{
	char name[NAME_MAX + 1];
	struct mount home;
	int at = -1, rc = mount_of(dir, &home);

	while (rc == 0) {
		size_t len = strcspn(path, "/");
		const char *rest = path + len + strspn(path + len, "/");
		int fd;

		if (len > NAME_MAX)
			rc = UV_ENAMETOOLONG;
		if (rc < 0)
			break;
		memcpy(name, len > 0 ? path : ".", MAX(len, (size_t)1));
		name[MAX(len, (size_t)1)] = '\0';
		/* O_PATH of a folder does nothing to it; a link in the middle is no folder. */
		fd = step(at >= 0 ? at : dir, name, *rest != '\0' ? O_PATH | O_DIRECTORY : flags,
			  &home);
		if (at >= 0)
			close(at);
		if (fd < 0 || *rest == '\0')
			return fd;
		at = fd;
		path = rest;
	}
	if (at >= 0)
		close(at);
	return rc;
}

int beneath_open(int dir, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
	long fd = -1;

	/* EAGAIN: something was renamed meanwhile, and the kernel could not be sure. */
	for (int i = 0; i < RETRIES_MAX && fd < 0; i++) {
		fd = syscall(SYS_openat2, dir, *path != '\0' ? path : ".", &how, sizeof(how));
		if (fd < 0 && errno != EAGAIN && errno != EINTR)
			break;
	}
	if (fd >= 0)
		return (int)fd;
	/* An old kernel, or a sandbox that does not know the call. */
	if (errno == ENOSYS || errno == EPERM)
		return beneath_open_by_hand(dir, path, flags);
	return -errno;
}

/* ---- Modes ---- */

int beneath_chmod(int dir, const char *name, mode_t mode)
{
	int fd = beneath_open(dir, name, O_PATH), rc = 0;
	char path[64];
	struct stat st;

	if (fd < 0)
		return fd;
	/* fchmod refuses an O_PATH descriptor; its name in /proc is the file itself. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		rc = ERR_UNSUPPORTED;
	else if (chmod(path, mode) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* ---- Removing ---- */

static int left(struct beneath_removal *r, const char *name, const char *what, int rc)
{
	r->left++;
	if (r->why[0] == '\0')
		snprintf(r->why, sizeof(r->why), "%.300s: %s", name,
			 what != NULL ? what : err_str(rc));
	return rc;
}

static int remove_below(int dir, const char *name, unsigned depth, struct beneath_removal *r);

/* Goes on after a failure: what can go, goes. */
static int empty_folder(DIR *d, unsigned depth, struct beneath_removal *r)
{
	int fd = dirfd(d), rc = 0, first = 0;
	struct dirent *e;
	struct stat st;

	if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
		(void)fchmod(fd, 0700); /* if that fails, so does what follows, and says so */
	while ((errno = 0, e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		rc = remove_below(fd, e->d_name, depth + 1, r);
		first = first == 0 ? rc : first;
	}
	return first == 0 ? -errno : first;
}

static int open_folder(int dir, const char *name)
{
	int fd = beneath_open(dir, name, O_RDONLY | O_DIRECTORY);

	if (fd == UV_EACCES && beneath_chmod(dir, name, 0700) == 0)
		fd = beneath_open(dir, name, O_RDONLY | O_DIRECTORY);
	return fd;
}

static int remove_folder(int dir, const char *name, unsigned depth, struct beneath_removal *r)
{
	int fd, rc;
	DIR *d;

	if (depth > BENEATH_DEPTH_MAX)
		return left(r, name, "its folders are nested too deeply", ERR_LIMIT);
	fd = open_folder(dir, name);
	if (fd < 0)
		return left(r, name, fd == UV_EXDEV ? "it lies on another mount" : NULL, fd);
	d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return left(r, name, NULL, UV_ENOMEM);
	}
	rc = empty_folder(d, depth, r);
	closedir(d);
	if (rc < 0)
		return rc;
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0)
		return left(r, name, NULL, -errno);
	r->removed++;
	return 0;
}

static int remove_below(int dir, const char *name, unsigned depth, struct beneath_removal *r)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : left(r, name, NULL, -errno);
	if (S_ISDIR(st.st_mode))
		return remove_folder(dir, name, depth, r);
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return left(r, name, "it is a device, socket or pipe", ERR_UNSUPPORTED);
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return left(r, name, NULL, -errno);
	r->removed++;
	return 0;
}

int beneath_remove(int dir, const char *name, struct beneath_removal *r)
{
	return remove_below(dir, name, 0, r);
}
