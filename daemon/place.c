#include "daemon/place.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/extract.h"

static int split(struct place *p, const char *target, char **ret_dir)
{
	size_t len = strlen(target);
	const char *slash;

	while (len > 1 && target[len - 1] == '/')
		len--;
	slash = memrchr(target, '/', len);
	if (slash == NULL)
		*ret_dir = mem_strdup(".");
	else
		*ret_dir = slash == target ? mem_strdup("/") :
					     mem_strndup(target, (size_t)(slash - target));
	if (*ret_dir == NULL)
		return UV_ENOMEM;
	if (slash != NULL) {
		len -= (size_t)(slash + 1 - target);
		target = slash + 1;
	}
	if (len == 0 || len > 200 || (len <= 2 && memcmp(target, "..", len) == 0))
		return UV_EINVAL;
	memcpy(p->name, target, len);
	p->name[len] = '\0';
	return 0;
}

int place_begin(struct place *p, const char *target, bool replace, char *ret_why, size_t why_size)
{
	CLEANUP(mem_freep) char *dir = NULL;
	struct stat st;
	int rc;

	*p = (struct place){ .parent = -1 };
	rc = split(p, target, &dir);
	if (rc < 0) {
		snprintf(ret_why, why_size,
			 "cannot write to \"%s\": give a file or folder name that does not end in "
			 ". or ..",
			 target);
		return rc;
	}
	p->parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->parent < 0) {
		rc = -errno;
		snprintf(ret_why, why_size, "cannot open the folder %s to write into: %s", dir,
			 err_str(rc));
		return rc;
	}
	if (fstatat(p->parent, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !replace) {
		snprintf(ret_why, why_size,
			 "%s exists already: choose another place with -o, or replace it with "
			 "--force",
			 target);
		return UV_EEXIST;
	}
	snprintf(p->temporary, sizeof(p->temporary), ".%.200s.%08x.partial", p->name,
		 randombytes_random());
	return 0;
}

/* Some file systems know no flags: then a check and a plain rename have to do. */
static int move(struct place *p, unsigned flags)
{
	struct stat st;

	if (renameat2(p->parent, p->temporary, p->parent, p->name, flags) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (flags == RENAME_EXCHANGE)
		return extract_remove(p->parent, p->name) < 0 ? -errno : move(p, RENAME_NOREPLACE);
	if (fstatat(p->parent, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return UV_EEXIST;
	return renameat(p->parent, p->temporary, p->parent, p->name) < 0 ? -errno : 0;
}

int place_commit(struct place *p, bool replace)
{
	int rc = move(p, RENAME_NOREPLACE);

	if (rc == 0)
		p->temporary[0] = '\0';
	if (rc != UV_EEXIST || !replace)
		return rc;
	/* After the exchange the temporary name holds what was there before; place_end removes it.
	 */
	return move(p, RENAME_EXCHANGE);
}

void place_end(struct place *p)
{
	if (p->parent < 0)
		return;
	if (p->temporary[0] != '\0')
		(void)extract_remove(p->parent, p->temporary);
	close(p->parent);
	p->parent = -1;
}
