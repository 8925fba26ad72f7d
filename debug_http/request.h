/* One HTTP request: what the client sent, taken apart, and where its reply stands. Private to
 * debug_http/.
 *
 * The upper half is pure (no socket, no loop): bytes go in through request_feed and the parsed
 * head, then the body, come out. The connection owns the struct and uses it again for the next
 * request on the same connection. */
#pragma once

#include <llhttp.h>

#include "debug_http/debug_http.h"

enum {
	HTTP_HEADER_COUNT_MAX = 64,
	HTTP_REQUEST_TEXT_MAX =
		4 * HTTP_HEADERS_MAX, /* the head's strings and their decoded copies */
	HTTP_REPLY_HEADERS_MAX = 4 << 10
};

/* How far the reading of a request is. */
enum request_phase { REQUEST_HEAD, REQUEST_BODY, REQUEST_COMPLETE, REQUEST_BROKEN };

/* A name and a value: offsets into http_request.text, NUL-terminated. */
struct request_pair {
	uint32_t name, value;
};

struct conn;
struct route;

struct http_request {
	enum request_phase phase;
	llhttp_t parser;
	size_t head_bytes;
	struct buf text;
	uint32_t target, path;
	size_t tail; /* offset of http_request_tail() in the path */
	struct request_pair headers[HTTP_HEADER_COUNT_MAX];
	unsigned header_count;
	struct request_pair params[HTTP_QUERY_PARAMS_MAX];
	unsigned param_count;
	struct buf body;
	size_t body_max;
	/* Why the phase is REQUEST_BROKEN: an HTTP status and a sentence. */
	int broken_status;
	const char *broken_why;

	/* From where it came, for the guard. */
	enum http_surface surface;
	bool peer_is_local;

	/* The reply. */
	struct conn *conn;
	const struct route *route;
	bool open;  /* a reply is owed: from the end of the head until the reply has ended */
	bool begun; /* its head is written */
	bool chunked;
	bool no_body; /* HEAD, 204, 304 */
	bool gone;    /* nobody reads any more: what is written is dropped */
	bool close_told;
	bool drain_wanted;
	int status;
	struct buf reply_headers;
	void (*on_close)(void *data, struct http_request *r);
	void *on_close_data;
	void (*on_drain)(void *data, struct http_request *r);
	void *on_drain_data;
	struct span span;
};

/** Make ready for the first request of a connection, or for the next one (request_reset keeps no
 * memory). */
void request_init(struct http_request *r);
void request_reset(struct http_request *r);
void request_fini(struct http_request *r);

/** Parse. Stops at the end of the head and at the end of the message, so that the caller can look
 * at `phase`; *ret_used tells how much was consumed. REQUEST_BROKEN is final. In REQUEST_HEAD it
 * never takes more than HTTP_HEADERS_MAX. */
enum request_phase request_feed(struct http_request *r, const void *data, size_t len,
				size_t *ret_used);

/** Decode path and query of a complete head. False: broken_status and broken_why are set. */
bool request_decode(struct http_request *r);

/** Bytes of the body announced by Content-Length; 0 when there is none, UINT64_MAX when chunked. */
uint64_t request_body_announced(const struct http_request *r);
/** May another request follow on this connection? */
bool request_keeps_alive(const struct http_request *r);
static inline bool request_is_head(const struct http_request *r)
{
	return http_request_is_head(r);
}
/** "GET"; also for methods that the server does not know. Static. */
const char *request_method_name(const struct http_request *r);
const char *request_text(const struct http_request *r, uint32_t offset);
