#include "object/path.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "object/object.h"

static int fault(struct object_path_fault *ret, int code, size_t at, const char *what)
{
	if (ret != NULL)
		*ret = (struct object_path_fault){ what, at };
	return code;
}

/* One segment, without slashes. */
static int segment_check(const char *path, size_t from, size_t to, struct object_path_fault *ret)
{
	size_t len = to - from;

	if (len == 0)
		return fault(ret, ERR_MALFORMED, from, "empty path segment");
	if (path[from] == '.' && (len == 1 || (len == 2 && path[from + 1] == '.')))
		return fault(ret, ERR_MALFORMED, from, "\".\" and \"..\" are no path segments");
	for (size_t at = from; at < to;) {
		uint32_t c;
		size_t n = utf8_decode(path + at, to - at, &c);

		if (n == 0)
			return fault(ret, ERR_MALFORMED, at, "invalid UTF-8 in the path");
		if (utf8_is_control(c))
			return fault(ret, ERR_MALFORMED, at, "control character in the path");
		at += n;
	}
	return 0;
}

int object_path_check(const char *path, size_t len, struct object_path_fault *ret)
{
	if (len > OBJECT_PATH_MAX)
		return fault(ret, ERR_LIMIT, OBJECT_PATH_MAX, "path too long");
	if (len > 0 && path[0] != '/')
		return fault(ret, ERR_MALFORMED, 0, "a path begins with '/'");
	for (size_t from = 1; from <= len;) {
		const char *slash = memchr(path + from, '/', len - from);
		size_t to = slash != NULL ? (size_t)(slash - path) : len;
		int rc = segment_check(path, from, to, ret);

		if (rc < 0)
			return rc;
		from = to + 1;
	}
	return 0;
}

bool object_path_is_below(const char *prefix, size_t prefix_len, const char *path, size_t len)
{
	return len >= prefix_len && memcmp(path, prefix, prefix_len) == 0 &&
	       (len == prefix_len || path[prefix_len] == '/');
}

int iri_path_normalize(const char *s, size_t len, char *ret, size_t *ret_len, char *ret_why,
		       size_t why_size)
{
	char path[OBJECT_PATH_MAX + 2];
	struct object_path_fault found;
	size_t added = len > 0 && s[0] != '/' ? 1 : 0;
	int rc;

	if (len > OBJECT_PATH_MAX) {
		if (ret_why != NULL)
			(void)snprintf(ret_why, why_size, "path longer than %d bytes",
				       OBJECT_PATH_MAX);
		return ERR_LIMIT;
	}
	path[0] = '/';
	if (len > 0)
		memcpy(path + added, s, len);
	len += added;
	if (len > 0 && path[len - 1] == '/')
		len--;
	rc = object_path_check(path, len, &found);
	if (rc < 0) {
		if (ret_why != NULL)
			(void)snprintf(ret_why, why_size, "%s, at byte %zu", found.what,
				       found.at - MIN(found.at, added));
		return rc;
	}
	memcpy(ret, path, len);
	ret[len] = '\0';
	*ret_len = len;
	return 0;
}
