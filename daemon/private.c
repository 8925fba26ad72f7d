#include "daemon/private.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include "base/base.h"
#include "object/object.h"
#include "store/store.h"

/* What a data folder holds. The folder itself may be somebody's home: only these are private then.
 */
static const char *const names[] = { "node.key",     "space.key", "store.db",	 "store.db-wal",
				     "store.db-shm", "lock",	  "listen.port", "dht.state" };

_Static_assert(ARRAY_SIZE(names) < PRIVATE_FILES_MAX, "and the folder");

static void remember(struct private_own *own, const struct stat *st)
{
	own->files[own->count].dev = st->st_dev;
	own->files[own->count++].ino = st->st_ino;
}

void private_own_load(struct private_own *own, const char *data)
{
	int fd = data != NULL ? open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct stat st;

	own->count = 0;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0)
		remember(own, &st);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			remember(own, &st);
	close(fd);
}

bool private_is_own(const struct private_own *own, const struct stat *st)
{
	for (size_t i = 0; i < own->count; i++)
		if (own->files[i].dev == st->st_dev && own->files[i].ino == st->st_ino)
			return true;
	return false;
}

int private_file(int fd)
{
	uint8_t head[KEYFILE_SEARCH_MAX + 1];
	size_t have = 0;
	ssize_t n = 1;
	bool found;

	while (n > 0 && have < sizeof(head)) {
		n = pread(fd, head + have, sizeof(head) - have, (off_t)have);
		if (n < 0 && errno != EINTR)
			return -errno;
		have += n > 0 ? (size_t)n : 0;
		n = n < 0 ? 1 : n;
	}
	found = keyfile_inside(head, have) || store_is_database(head, have);
	sodium_memzero(head, sizeof(head));
	return found;
}

/* A key of the right name, or the database. A key that this user may not read is taken for one: it
 * is somebody's data folder, and what else lies there may be readable. */
int private_folder(int fd)
{
	for (size_t i = 0; i < 3; i++) {
		struct stat st;
		int file, rc;

		if (fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		file = openat(fd, names[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (file < 0 && errno == ENOENT)
			continue;
		if (file < 0)
			return errno == EACCES || errno == EPERM ? 1 : -errno;
		rc = private_file(file);
		close(file);
		if (rc != 0)
			return rc;
	}
	return 0;
}
