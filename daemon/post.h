/* POST to a service elsewhere: a collector of traces or profiles.
 *
 *   client   the connections, kept open between requests, and curl on the loop. One per destination
 *            or one for all
 *   post     one request (base/op.h): starts, may be cancelled, ends once
 *
 * http and https only; certificates are verified (TLS 1.2 or newer); http_proxy, https_proxy and
 * no_proxy of the environment are honoured, but for this machine itself; redirects are not followed; the answer is capped and
 * not decompressed. Names are resolved on curl's own threads. All on the loop's thread. */
#pragma once

#include "base/buf.h"
#include "base/loop.h"
#include "base/op.h"

enum {
	POST_URL_MAX = 2048,
	POST_BODY_MAX = 64 << 20,
	POST_HEADERS_MAX = 16,
	POST_HEADER_MAX = 8192, /* bytes of one header line */
	POST_REPLY_MAX = 1 << 20,
	POST_WHY_MAX = 256,
	POST_CONNECT_MS = 10000,
	POST_CONNECTIONS_MAX = 8, /* per client; further requests wait for their turn */
	POST_RETRY_AFTER_MAX_MS = 3600 * 1000
};

struct post_client;
/** `ca_file`: certificates to trust instead of the system's, as PEM; NULL = the system's. Copies
 *  it. Borrows the loop. NULL when out of memory. */
struct post_client *post_client_new(struct loop *loop, const char *ca_file);
/** After the last post's callback. Closes the connections; `closed` comes from the loop, never
 *  inside this call, and the client is gone then. */
void post_client_close(struct post_client *c, void (*closed)(void *data), void *data);

/** Whether a URL may be posted to: http or https, a host, no user or password (which would show in
 *  lists of processes and on pages), no fragment. 0, or ERR_MALFORMED with a text for the user in
 *  ret_why. */
int post_url_check(const char *url, char *ret_why, size_t why_size);
/** Its host is this machine by name or address, so that no proxy has a part in it. */
bool post_url_is_loopback(const char *url);
/** One line "Name: value" as HTTP allows it, of at most POST_HEADER_MAX bytes, and not a header
 *  that the request sets itself. */
bool post_header_ok(const char *line, size_t len);

struct post_request {
	const char *url;	    /* copied */
	const char *content_type;   /* copied */
	const char *const *headers; /* further ones, "Name: value"; copied */
	size_t header_count;
	const void *body; /* borrowed until the callback */
	size_t body_len;
	size_t reply_max; /* of the answer's body; 0 = none is kept; at most POST_REPLY_MAX */
};

struct post;
typedef void (*post_cb)(struct post *p, int status);

struct post {
	struct op op;
	/* What came back, from the callback until post_fini(). */
	int http_status;	 /* 0 = no answer */
	uint64_t retry_after_ms; /* 0 = not said; at most POST_RETRY_AFTER_MAX_MS */
	struct buf reply;
	char why[POST_WHY_MAX]; /* of a failure, for the log; "" = nothing to add to the status */
	/* private */
	struct post_client *client;
	post_cb cb;
	void *easy;
	void *headers;
	size_t reply_max;
	int result; /* curl's */
	bool added, ended, too_long;
};

/** Send one request. `timeout_ms` from now, within env's deadline. With a span in env, the request
 *  is a nested span "http.post" and carries its traceparent. `cb` runs once, from the loop, never
 *  inside this call, with
 *    0              an answer came, whatever http_status says
 *    ERR_MALFORMED  a URL, header or size that is not allowed
 *    ERR_LIMIT      the answer is longer than reply_max; http_status is set
 *    ERR_VERIFY     the certificate is not trusted, or is another host's
 *    UV_ECONNREFUSED, UV_EAI_NONAME, ERR_CLOSED, ERR_PROTOCOL, UV_EIO   it did not get through
 *    UV_ETIMEDOUT, UV_ECANCELED (at the loop's next turn), UV_ENOMEM
 *  `p` belongs to the caller again in `cb`; what came back is freed by post_fini(). */
void post_start(struct post *p, const struct op_env *env, struct post_client *c,
		const struct post_request *request, uint64_t timeout_ms, post_cb cb);
/** Frees the reply. Fine on a zeroed struct, twice too; not while the request is under way. */
void post_fini(struct post *p);

struct post_client_figures {
	uint64_t started, answered, failed; /* answered: whatever the status */
	uint64_t sent_bytes, received_bytes;
	uint64_t unwatched; /* sockets for which there was no room; their requests time out */
	unsigned active;
};
void post_client_figures(const struct post_client *c, struct post_client_figures *ret);
