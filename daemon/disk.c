#include "daemon/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

char *disk_path(const char *dir, const char *name)
{
	size_t len = strlen(dir);

	return mem_printf("%s%s%s", dir, len > 0 && dir[len - 1] == '/' ? "" : "/", name);
}

int disk_make_dir(const char *path)
{
	CLEANUP(mem_freep) char *copy = mem_strdup(path);
	struct stat st;

	if (copy == NULL)
		return UV_ENOMEM;
	for (char *p = copy + 1; copy[0] != '\0'; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST && errno != EISDIR &&
		    (c == '\0' || stat(copy, &st) < 0))
			return -errno;
		if (c == '\0')
			break;
		*p = c;
	}
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : UV_ENOTDIR;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

int disk_write(const char *dir, const char *name, const void *data, size_t len, mode_t mode)
{
	CLEANUP(mem_freep) char *path = disk_path(dir, name);
	CLEANUP(mem_freep) char *temporary = mem_printf("%s/.%s.new", dir, name);
	int fd, rc;

	if (path == NULL || temporary == NULL)
		return UV_ENOMEM;
	if (unlink(temporary) < 0 && errno != ENOENT)
		return -errno;
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	rc = fchmod(fd, mode) < 0 ? -errno : write_all(fd, data, len);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(temporary, path) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlink(temporary);
		return rc;
	}
	return sync_dir(dir);
}

int disk_read(const char *dir, const char *name, size_t max, struct buf *out, mode_t *ret_mode,
	      uid_t *ret_uid)
{
	CLEANUP(mem_freep) char *path = disk_path(dir, name);
	struct stat st;
	uint8_t block[512];
	ssize_t n;
	int fd, rc = 0;

	if (path == NULL)
		return UV_ENOMEM;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP ? ERR_UNSUPPORTED : -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = ERR_UNSUPPORTED;
	while (rc == 0 && (n = read(fd, block, sizeof(block))) != 0) {
		if (n < 0) {
			rc = errno == EINTR ? 0 : -errno;
			continue;
		}
		buf_write(out, block, (size_t)n);
		if (out->len > max)
			rc = ERR_LIMIT;
	}
	close(fd);
	if (rc == 0)
		rc = buf_err(out);
	if (rc == 0 && ret_mode != NULL)
		*ret_mode = st.st_mode;
	if (rc == 0 && ret_uid != NULL)
		*ret_uid = st.st_uid;
	return rc;
}

int disk_read_secret(const char *path, size_t max, struct buf *out)
{
	const char *slash = strrchr(path, '/');
	CLEANUP(mem_freep) char *dir = NULL;
	mode_t mode = 0;
	int rc;

	dir = slash == NULL ? mem_strdup(".") : mem_strndup(path, (size_t)(slash - path) + 1);
	if (dir == NULL)
		return UV_ENOMEM;
	rc = disk_read(dir, slash != NULL ? slash + 1 : path, max, out, &mode, NULL);
	return rc == 0 && (mode & S_IRWXO) ? UV_EPERM : rc;
}

void disk_remove(const char *dir, const char *name)
{
	CLEANUP(mem_freep) char *path = disk_path(dir, name);

	if (path != NULL)
		(void)unlink(path);
}
