/* HTTP on the daemon's own loop: the debug surface (loopback, read with a browser or curl) and, by
 * the same server and router on a unix socket, the control API of the command line.
 *
 * Unauthenticated, therefore guarded: one function looks at every request before routing
 * (debug_http/guard.c lists the rules). GET and HEAD never change state. Handlers run on the loop
 * and must not block; long answers are written in pieces, at most 1 ms of work per turn, and
 * continue when the socket has drained. */
#pragma once

#include "base/buf.h"
#include "base/loop.h"
#include "base/multiformats.h"
#include "trace/trace.h"

enum {
	HTTP_CONNS_MAX = 16,
	HTTP_HEADERS_MAX = 8 << 10, /* bytes of request line and headers */
	HTTP_QUERY_PARAMS_MAX = 32,
	HTTP_DEBUG_BODY_MAX = 1 << 20, /* 65,536 addresses for /debug/pprof/symbol */
	HTTP_CONTROL_BODY_MAX = 20 << 20,
	HTTP_HEADER_TIMEOUT_MS = 10000,
	HTTP_BODY_TIMEOUT_MS = 60000,
	HTTP_IDLE_TIMEOUT_MS = 60000,  /* keep-alive */
	HTTP_WRITE_TIMEOUT_MS = 30000, /* without any byte taken by the client */
	HTTP_WRITE_HIGH =
		256 << 10, /* queued bytes above which a streaming handler waits for on_drain */
	HTTP_ROUTES_MAX = 128
};

enum http_surface {
	HTTP_DEBUG,  /* loopback TCP or unix socket; the browser rules apply */
	HTTP_CONTROL /* unix socket 0600 only; larger bodies */
};

struct http_server;
struct http_request;

struct http_server_config {
	struct loop *loop;
	enum http_surface surface;
	struct trace *trace; /* may be NULL; requests to anything but the trace pages are traced as
				"http" */
	const char *title;   /* "peerscope pid 123": page titles; copied */
	const char *version; /* "0.1.0"; copied */
};
/** NULL when out of memory. Sets SIGPIPE to be ignored where it has its default effect. Borrows
 * loop and trace. */
struct http_server *http_server_new(const struct http_server_config *config);
/** Listen on a loopback address; any other is UV_EACCES with an explanation in ret_why that shows
 * the `ssh -L` line. */
int http_listen_tcp(struct http_server *s, const struct multiaddr *addr,
		    struct multiaddr *ret_bound, char *ret_why, size_t why_size);
/** Listen on a unix socket, mode 0600 (a stale socket file is replaced). */
int http_listen_unix(struct http_server *s, const char *path, char *ret_why, size_t why_size);
/** Stop listening, end open requests; `closed` comes when everything is closed. Then
 * http_server_free. */
void http_server_close(struct http_server *s, void (*closed)(void *data), void *data);
struct http_server *http_server_free(struct http_server *s);

struct http_server_stats {
	uint64_t connections, requests, refused_guard, refused_limit, bad_requests,
		open_connections;
};
void http_server_stats(const struct http_server *s, struct http_server_stats *ret);

/* ---- Routes ---- */

enum http_method { HTTP_GET_ = 1, HTTP_POST_ = 2, HTTP_PUT_ = 4, HTTP_DELETE_ = 8 };

/** Called once per request, body complete. Must answer now or later: exactly one of the reply
 * functions. */
typedef void (*http_handler_fn)(void *data, struct http_request *r);
/** `path` exact, or a prefix when it ends in '*'; the longest match wins. `methods` is a set;
 * others get 405 with Allow; HEAD goes to a GET handler and its body is dropped. `help` (static) is
 * one line for the list of pages; NULL = not listed. */
int http_route(struct http_server *s, unsigned methods, const char *path, const char *help,
	       http_handler_fn handler, void *data);

/* ---- Requests: valid until the reply is complete ---- */

enum http_method http_request_method(const struct http_request *r);
/** The body will be dropped: nothing that takes time or changes anything is to begin for it. */
bool http_request_is_head(const struct http_request *r);
const char *
http_request_path(const struct http_request *r); /* percent-decoded, UTF-8, starts with '/' */
/** Path behind the prefix of the route. */
const char *http_request_tail(const struct http_request *r);
/** Query parameter (decoded; "" when present without value), NULL when absent. */
const char *http_request_param(const struct http_request *r, const char *name);
/** The i-th parameter; false when there are no more. */
bool http_request_param_at(const struct http_request *r, size_t i, const char **ret_name,
			   const char **ret_value);
const char *http_request_header(const struct http_request *r, const char *lower_case_name);
const uint8_t *http_request_body(const struct http_request *r, size_t *ret_len);
/** When the client goes away, or the server closes, before the reply is complete: once, from the
 * loop, not inside a call of the handler's. The handler then still has to end the reply; what it
 * writes is dropped. */
void http_request_on_close(struct http_request *r,
			   void (*on_close)(void *data, struct http_request *r), void *data);
/** True when the client has gone or has ended its side. */
bool http_request_gone(const struct http_request *r);

/* What the client wants to read: ?json, ?text, ?html decide; else Accept: text/html,
 * application/json; else text. */
enum http_format { HTTP_TEXT, HTTP_JSON, HTTP_HTML };
enum http_format http_request_format(const struct http_request *r);

/* ---- Replies ---- */

/** The whole answer. Takes the content of `body` (left empty; may be NULL). A body that failed
 * becomes an error reply. The request is no longer valid afterwards. */
void http_reply(struct http_request *r, int status, const char *content_type, struct buf *body);
/** A short text; for JSON clients {"error": "..."}; HTML clients get a page. */
void http_reply_error(struct http_request *r, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** Extra header, before the reply begins. Both are copied; CR and LF are refused. */
void http_reply_header(struct http_request *r, const char *name, const char *value);

/** An answer in pieces (chunked). */
void http_reply_begin(struct http_request *r, int status, const char *content_type);
/** Copies. Returns true when the client should be given time: continue from on_drain (it comes once
 * for each true, also when the client goes away meanwhile, after on_close). */
bool http_reply_write(struct http_request *r, const void *data, size_t len);
void http_request_on_drain(struct http_request *r,
			   void (*on_drain)(void *data, struct http_request *r), void *data);
/** The request is no longer valid afterwards. */
void http_reply_end(struct http_request *r);
/** Instead of http_reply_end when the rest cannot be had: the connection breaks off, so that the
 * client sees a cut-off answer for what it is. */
void http_reply_abort(struct http_request *r);

/* ---- Pages ---- */

/** Start and end of every HTML page: title, navigation over the listed routes, the one stylesheet.
 */
void http_page_begin(struct http_request *r, struct buf *out, const char *title);
void http_page_end(struct http_request *r, struct buf *out);
/** "840 µs", "2 min 5 s"; "83.1 KiB": what a person can compare. */
void http_page_write_duration(struct buf *out, uint64_t ns);
void http_page_write_bytes(struct buf *out, uint64_t bytes);

/** /debug/ (the front page), /debug/assets/… (stylesheet, scripts). */
int debug_http_index(struct http_server *s);

/* What the front page says about how things are. Somebody who knows fills it in. */
enum { HTTP_HEALTH_MAX = 12, HTTP_HEALTH_TEXT_MAX = 48, HTTP_FINDINGS_MAX = 64 << 10 };
struct http_health {
	const char *name; /* "loop lag"; static */
	char value[HTTP_HEALTH_TEXT_MAX];
	char note[HTTP_HEALTH_TEXT_MAX]; /* small print below it; may be "" */
	const char *href;		 /* the page that shows more; static */
	bool is_bad;			 /* worth a look */
};
struct http_front_look {
	enum http_format format; /* of the findings */
	struct http_health health[HTTP_HEALTH_MAX];
	size_t health_count;
	struct buf findings; /* what is wrong: inside of a page, a JSON value, or lines */
	/* private */
	struct http_request *request;
};
/** Fill in the look, now or later, and hand it to http_front_ready, on the loop. */
typedef void (*http_front_fn)(void *data, struct http_front_look *look);
/** Ask `fill` for every view of the front page. Borrows data until the server is closed. */
void http_front_set(struct http_server *s, http_front_fn fill, void *data);
/** Answers the request that it was for. The look is gone afterwards. */
void http_front_ready(struct http_front_look *look);

/** /debug/traces: list, percentiles per category, one trace as a waterfall; HTML, ?json, plain
 * text. */
int debug_http_traces(struct http_server *s, struct trace *trace);

/** Reply with all that a trace writer writes, a piece per turn of the loop. Takes the writer; NULL
 * is answered as being out of memory. Headers may be set before. */
void http_reply_traces(struct http_request *r, struct trace_writer *writer,
		       const char *content_type);

struct profiler;
/** /debug/pprof/…: the paths of Go's net/http/pprof. Borrows the profiler until the server is
 * closed. */
int debug_http_pprof(struct http_server *s, struct profiler *profiler);
