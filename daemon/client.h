/* The command line's end of the control socket: blocking HTTP over DIR/control.sock
 * (docs/control.md); or of a daemon's debug pages, which another machine's may be by a tunnel. */
#pragma once

#include <jansson.h>

#include "base/buf.h"

enum { CLIENT_WHY_MAX = 1024, CLIENT_REPLY_MAX = 64 << 20, CLIENT_PATIENCE_MS = 5000 };

struct client;

struct client_reply {
	int http_status;
	struct buf body; /* the caller's buf_fini */
};

/** `where` is a data folder, or where debug pages are: http://HOST:PORT (what a browser shows
 * behind it does not matter) or unix:PATH. Connects with the first request. NULL when out of
 * memory. */
struct client *client_new(const char *where);
struct client *client_free(struct client *c);

/** A daemon that takes a request and then is silent for longer than this is taken to hang: the
 * request ends with UV_ETIMEDOUT, and client_unreachable() is true. While it works on an answer it
 * says so (docs/control.md). CLIENT_PATIENCE_MS unless set; 0 = never. */
void client_set_patience(struct client *c, uint64_t ms);

/** Ctrl-C, SIGTERM and a closed terminal from now on end the request under way with UV_ECANCELED. */
void client_catch_interrupt(void);
bool client_interrupted(void);

/** From now on a request ends with UV_ETIMEDOUT after timeout_ms (0 = never) and with ERR_LIMIT
 * beyond max_bytes, and with UV_ECANCELED as soon as `cancelled` (may be NULL; asked about once a
 * second) says so. */
void client_set_limits(struct client *c, uint64_t timeout_ms, size_t max_bytes,
		       bool (*cancelled)(void *data), void *data);

/** One request. 0 with any HTTP status; UV_ECANCELED; UV_ETIMEDOUT; ERR_CLOSED when no daemon answers
 * or it went away. */
int client_request(struct client *c, const char *method, const char *path, const char *content_type,
		   const void *body, size_t len, struct client_reply *ret);
/** The same with JSON both ways. 0 with *ret set (json_decref; ret may be NULL); an error that the
 * daemon reports is returned as its code. client_why() then says what happened. */
int client_json(struct client *c, const char *method, const char *path, const json_t *body,
		json_t **ret);
/** POST, and every line of the answer as a JSON object to on_line, until it returns false. */
int client_stream(struct client *c, const char *path, const json_t *body,
		  bool (*on_line)(void *data, json_t *line), void *data);
/** GET, and every line of the answer to on_text, without its end, until it returns false.
 * last_event_id (may be NULL) is sent as the header of server-sent events. */
int client_lines(struct client *c, const char *path, const char *last_event_id,
		 bool (*on_text)(void *data, const char *line, size_t len), void *data);
/** Story of the last failure; never empty after one. */
const char *client_why(const struct client *c);
/** The last failure was that no daemon answers, or that it hangs. */
bool client_unreachable(const struct client *c);
/** Unreachable because this user may not open its socket: nobody knows whether it runs. */
bool client_denied(const struct client *c);
/** Reads the daemon's error from a reply that is not 2xx: keeps the text for client_why, returns
 * the code. */
int client_error_of(struct client *c, const struct client_reply *reply);
/** The whole error that the daemon reported last, or NULL. Borrowed until it reports another. */
const json_t *client_refusal(const struct client *c);
/** Percent-encodes for a query. mem_free; NULL when out of memory. */
char *client_escape(const char *s) MUST_USE;
