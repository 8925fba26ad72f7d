/* The one judge of paths: in IRIs, scopes, commits and capabilities. */
#pragma once

#include "base/base.h"

struct object_path_fault {
	const char *what; /* static text */
	size_t at;	  /* byte offset */
};

/** Canonical as in struct iri: "" or "/a/b". 0, ERR_LIMIT, ERR_MALFORMED; `ret` may be NULL. */
int object_path_check(const char *path, size_t len, struct object_path_fault *ret);

/** `path` is `prefix` or lies below it. Both canonical. */
bool object_path_is_below(const char *prefix, size_t prefix_len, const char *path, size_t len);
