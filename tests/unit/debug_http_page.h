/* Pages as a strict reader sees them: every tag closed, every attribute quoted, every text escaped.
 * For the tests of the pages about traces. */
#pragma once

#include "debug_http_client.h"

#include "../browser/trace_scene.h"
#include "debug_http/traces.h"

enum { TAG_DEPTH_MAX = 64, TAG_NAME_MAX = 16 };

static struct fixture f;

static inline int setup(void **state)
{
	fixture_init(&f, HTTP_DEBUG);
	CHECK_STATUS(0, debug_http_traces(f.server, f.trace));
	return 0;
}

static inline int teardown(void **state)
{
	fixture_fini(&f);
	return 0;
}

/* Joins the chunks of the answer's body. The caller frees. */
static inline char *unchunk(struct client *c)
{
	struct buf out;
	const char *p = client_body(c);
	size_t len;

	buf_init(&out, ANSWER_MAX);
	if (!client_has(c, "Transfer-Encoding: chunked"))
		buf_write_str(&out, p);
	else
		for (char *end; (len = strtoul(p, &end, 16)) > 0; p = end + 2 + len + 2)
			buf_write(&out, end + 2, len);
	return (char *)buf_take(&out, &len);
}

static inline char *get_page(const char *target, int status)
{
	char request[1024];
	struct client c;
	char *page;

	(void)snprintf(request, sizeof(request),
		       "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n", target);
	client_ask(&c, &f, request);
	assert_int_equal(status, client_status(&c));
	assert_true(client_has(&c, "Content-Type: text/html; charset=utf-8\r\n"));
	page = unchunk(&c);
	assert_non_null(page);
	client_close(&c);
	return page;
}

static inline const char *check_attributes(const char *p)
{
	while (*p == ' ') {
		const char *name = ++p;

		p += strcspn(p, "= >/");
		assert_true(p > name && p[0] == '=' && p[1] == '"');
		assert_true(strncmp(name, "style", 5) != 0 && strncmp(name, "on", 2) != 0);
		for (p += 2; *p != '"'; p++)
			assert_true(*p != '<' && *p != '\0');
		p++;
	}
	return p;
}

/* Every tag is closed in order, every attribute quoted, every & and < of a text escaped. */
static inline void check_balanced(const char *p)
{
	char open[TAG_DEPTH_MAX][TAG_NAME_MAX];
	unsigned depth = 0;

	for (; *p != '\0'; p++) {
		char name[TAG_NAME_MAX] = "";
		bool is_end = p[0] == '<' && p[1] == '/';
		size_t len;

		assert_true(*p != '>');
		if (*p == '&')
			assert_true(p[1 + strspn(p + 1, "abcdefghijklmnopqrstuvwxyz#0123456789")] ==
				    ';');
		if (*p != '<')
			continue;
		p += is_end ? 2 : 1;
		len = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789");
		assert_true(len > 0 && len < sizeof(name));
		memcpy(name, p, len);
		p = check_attributes(p + len);
		if (is_end) {
			assert_true(depth > 0);
			assert_string_equal(open[--depth], name);
		} else if (p[0] != '/') {
			assert_true(depth < TAG_DEPTH_MAX);
			memcpy(open[depth++], name, sizeof(name));
		}
		p += p[0] == '/';
		assert_true(*p == '>');
	}
	assert_int_equal(0, depth);
}

static inline void check_well_formed(const char *page)
{
	assert_true(strncmp(page, "<!DOCTYPE html>\n", 16) == 0);
	check_balanced(page + 16);
}

static inline bool has(const char *page, const char *text)
{
	return strstr(page, text) != NULL;
}

static inline void check_page(const char *target)
{
	char *page = get_page(target, 200);

	check_well_formed(page);
	assert_false(has(page, "src=\"http") || has(page, "href=\"http"));
	mem_free(page);
}

/* Of an active span. */
static inline void format_id(struct span s, char ret[TRACE_ID_HEX_SIZE])
{
	struct trace_context context;

	assert_true(trace_context_of(s, &context));
	for (size_t i = 0; i < sizeof(context.trace_id); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", context.trace_id[i]);
}

/* The page of the slowest trace there is, found by the list's first link. */
static inline char *get_slowest(void)
{
	char *list = get_page("/debug/traces?n=1&sort=slowest", 200), target[128];
	const char *link = strstr(list, "\"/debug/traces?id=");

	assert_non_null(link);
	(void)snprintf(target, sizeof(target), "%.*s", (int)strcspn(link + 1, "\""), link + 1);
	mem_free(list);
	return get_page(target, 200);
}

#define LONG_TEXT                                                                                  \
	"a text of a mark that is long enough to fill the buffers of a socket soon, since every "  \
	"span of a large "                                                                         \
	"trace repeats it several times, while the store keeps only where this text is and never " \
	"the text itself"

/* More HTML than fits in the buffers between server and client. */
static inline struct span large_trace(void)
{
	struct span s = trace_root(f.trace, "sync.discover", "large", 5, NULL);

	for (unsigned i = 0; i < 1900; i++) {
		struct span peer = scene_peer(s, i);

		for (unsigned k = 0; k < 16; k++)
			trace_mark(peer, LONG_TEXT);
		trace_finish(peer, 0, NULL);
	}
	return s;
}
