#include "debug_http/router.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

void router_fini(struct router *t)
{
	for (unsigned i = 0; i < t->count; i++)
		mem_free(t->routes[i].path);
	t->count = 0;
}

int router_add(struct router *t, const struct route *route)
{
	size_t len = strlen(route->path);
	struct route added = *route;

	if (len == 0 || route->path[0] != '/' || route->methods == 0)
		return UV_EINVAL;
	added.is_prefix = route->path[len - 1] == '*';
	added.len = len - (added.is_prefix ? 1 : 0);
	for (unsigned i = 0; i < t->count; i++)
		if (strcmp(t->routes[i].path, route->path) == 0 &&
		    t->routes[i].methods & route->methods)
			return UV_EEXIST;
	if (t->count == HTTP_ROUTES_MAX)
		return ERR_LIMIT;
	added.path = mem_strdup(route->path);
	if (added.path == NULL)
		return UV_ENOMEM;
	t->routes[t->count++] = added;
	return 0;
}

/* How well a route fits: an exact path before any prefix, a longer prefix before a shorter one. 0 =
 * not at all. */
static size_t fit(const struct route *route, const char *path)
{
	if (!route->is_prefix)
		return strcmp(route->path, path) == 0 ? SIZE_MAX : 0;
	return strncmp(route->path, path, route->len) == 0 ? route->len : 0;
}

const struct route *router_find(const struct router *t, const char *path, enum http_method method,
				unsigned *ret_allowed)
{
	const struct route *found = NULL;
	size_t best = 0;

	*ret_allowed = 0;
	for (unsigned i = 0; i < t->count; i++) {
		const struct route *route = &t->routes[i];
		size_t n = fit(route, path);

		if (n == 0 || n < best)
			continue;
		if (n > best) {
			best = n;
			found = NULL;
			*ret_allowed = 0;
		}
		*ret_allowed |= route->methods;
		if (route->methods & (unsigned)method)
			found = route;
	}
	return found;
}

void router_format_methods(unsigned methods, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s%s%s%s", methods & HTTP_GET_ ? ", GET, HEAD" : "",
		       methods & HTTP_POST_ ? ", POST" : "", methods & HTTP_PUT_ ? ", PUT" : "",
		       methods & HTTP_DELETE_ ? ", DELETE" : "");
	if (strlen(ret) > 2)
		memmove(ret, ret + 2, strlen(ret) - 1);
}
