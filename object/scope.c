#include <string.h>

#include "base/err.h"
#include "object/object.h"
#include "object/path.h"

void scope_of_iri(const struct iri *iri, enum scope_kind kind, struct scope *ret)
{
	*ret = (struct scope){ .space = iri->space, .path_len = iri->path_len, .kind = kind };
	memcpy(ret->path, iri->path, iri->path_len);
}

int scope_make(const struct public_key *space, const char *path, size_t path_len, uint32_t kind,
	       struct scope *ret)
{
	int rc = object_path_check(path, path_len, NULL);

	if (rc < 0)
		return rc;
	if (kind > SCOPE_RECURSIVE)
		return ERR_MALFORMED;
	*ret = (struct scope){ .space = *space,
			       .path_len = path_len,
			       .kind = (enum scope_kind)kind };
	if (path_len > 0)
		memcpy(ret->path, path, path_len);
	return 0;
}

bool scope_contains(const struct scope *s, const struct public_key *space, const char *path,
		    size_t path_len)
{
	if (!key_eq(&s->space, space) ||
	    !object_path_is_below(s->path, s->path_len, path, path_len))
		return false;
	if (s->kind == SCOPE_RECURSIVE || path_len == s->path_len)
		return true;
	return s->kind == SCOPE_CHILDREN &&
	       memchr(path + s->path_len + 1, '/', path_len - s->path_len - 1) == NULL;
}

const char *scope_kind_name(enum scope_kind kind)
{
	static const char *const names[] = { "exact", "children", "recursive" };

	return (size_t)kind < ARRAY_SIZE(names) ? names[kind] : "unknown";
}

struct hash scope_key(const struct scope *s)
{
	uint8_t bytes[1 + KEY_SIZE + OBJECT_PATH_MAX];

	bytes[0] = (uint8_t)s->kind;
	memcpy(bytes + 1, s->space.bytes, KEY_SIZE);
	memcpy(bytes + 1 + KEY_SIZE, s->path, s->path_len);
	return hash_of(bytes, 1 + KEY_SIZE + s->path_len);
}
