#include <string.h>

#include "base/err.h"
#include "debug_http/front.h"
#include "debug_http/page.h"
#include "debug_http/server.h"

/* The way to the front page, and the files the pages are made of. */

enum { ASSET_MAX = 256 << 10 };

static void on_redirect(void *data, struct http_request *r)
{
	http_reply_header(r, "Location", "/debug/");
	http_reply(r, 302, NULL, NULL);
}

static void on_asset(void *data, struct http_request *r)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, ASSET_MAX);
	for (size_t i = 0; i < page_asset_count; i++) {
		const struct asset *asset = &page_assets[i];

		if (strcmp(asset->name, http_request_tail(r)) != 0)
			continue;
		buf_write(&out, asset->text, asset->len);
		http_reply(r, 200, asset->content_type, &out);
		return;
	}
	http_reply_error(r, 404, "There is no such file.");
}

int debug_http_index(struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_, "/debug/", NULL, front_serve, s);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug", NULL, on_redirect, s);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/", NULL, on_redirect, s);
	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/assets/*", NULL, on_asset, s);
	return rc;
}
