#include "daemon/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

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
	if (len == 0 || (len <= 2 && memcmp(target, "..", len) == 0))
		return UV_EINVAL;
	if (len > NAME_MAX)
		return UV_ENAMETOOLONG;
	memcpy(p->name, target, len);
	p->name[len] = '\0';
	return 0;
}

static const char *split_why(int rc)
{
	if (rc == UV_ENAMETOOLONG)
		return "no name on a disk is longer than 255 bytes: choose a shorter one with -o";
	if (rc == UV_EINVAL)
		return "give the name of a file or folder, one that is not . or ..";
	return err_str(rc);
}

int place_open(struct place *p, const char *target, char *ret_why, size_t why_size)
{
	CLEANUP(mem_freep) char *dir = NULL;
	int rc;

	*p = (struct place){ .parent = -1 };
	rc = split(p, target, &dir);
	if (rc < 0) {
		snprintf(ret_why, why_size, "cannot write to \"%.300s\": %s", target,
			 split_why(rc));
		return rc;
	}
	p->parent = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->parent < 0) {
		rc = -errno;
		snprintf(ret_why, why_size, "cannot write to \"%.300s\": the folder %.300s %s%s",
			 target, dir, rc == UV_ENOENT ? "does not exist" : "cannot be opened: ",
			 rc == UV_ENOENT ? ". Make it first" : err_str(rc));
		return rc;
	}
	p->is_there = fstatat(p->parent, p->name, &p->st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!p->is_there && errno != ENOENT) {
		rc = -errno;
		snprintf(ret_why, why_size, "cannot look at %.300s: %s", target, err_str(rc));
		return rc;
	}
	if (p->is_there && !S_ISREG(p->st.st_mode) && !S_ISDIR(p->st.st_mode) &&
	    !S_ISLNK(p->st.st_mode)) {
		snprintf(ret_why, why_size,
			 "%.300s is a device, socket or pipe, which is never replaced: choose "
			 "another place with -o",
			 target);
		return ERR_UNSUPPORTED;
	}
	return 0;
}

void place_close(struct place *p)
{
	if (p->parent >= 0)
		close(p->parent);
	p->parent = -1;
}
