/* From a path to its handler. Private to debug_http/. */
#pragma once

#include "debug_http/debug_http.h"

struct route {
	unsigned methods;
	char *path; /* owned */
	size_t len; /* without the '*' */
	bool is_prefix;
	const char *help;
	http_handler_fn handler;
	void *data;
};

struct router {
	struct route routes[HTTP_ROUTES_MAX];
	unsigned count;
};

void router_fini(struct router *t);
/** 0, UV_ENOMEM, ERR_LIMIT, UV_EINVAL (path without '/', no method), UV_EEXIST (path and method are
 * taken). */
int router_add(struct router *t, const struct route *route);
/** The longest match that has the method. NULL: *ret_allowed = methods of that path, 0 when there
 * is no such path. */
const struct route *router_find(const struct router *t, const char *path, enum http_method method,
				unsigned *ret_allowed);
/** "GET, HEAD, POST" */
void router_format_methods(unsigned methods, char *ret, size_t size);
