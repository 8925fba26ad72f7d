/* Server, listeners and connections. Private to debug_http/.
 *
 * A connection handles one request at a time; what the client sends ahead waits, unparsed, in `in`.
 */
#pragma once

#include "debug_http/request.h"
#include "debug_http/router.h"

enum {
	HTTP_LISTENERS_MAX = 4,
	HTTP_BACKLOG = 32,
	HTTP_READ_SIZE = 64 << 10,
	HTTP_AHEAD_MAX =
		16 << 10, /* bytes a client may send ahead of its reply; then reading stops */
	HTTP_PIECE_MAX = 16 << 10, /* what a streaming handler wrote is sent when it adds up to
				      this, or at the turn's end */
	HTTP_QUEUED_MAX =
		64 << 20, /* queued for one client; a handler that ignores on_drain ends here */
	HTTP_LINGER_MS = 2000,	   /* after our last byte, for the client to read it */
	HTTP_LINGER_MAX = 1 << 20, /* bytes of an unwanted body thrown away meanwhile */
	HTTP_ALIVE_MS = 1500,	   /* between signs of life to a client that wants them */
	HTTP_TITLE_MAX = 128
};

enum { PALETTE_COLOURS = 16 };

/* Which colour a stage has, on every page. */
struct palette {
	const char *names[TRACE_STAGES_MAX];
	uint8_t colours[TRACE_STAGES_MAX];
	unsigned count;
};

union stream {
	uv_handle_t handle;
	uv_stream_t stream;
	uv_tcp_t tcp;
	uv_pipe_t pipe;
};

struct live;

struct listener {
	struct http_server *server;
	union stream uv;
	union stream refused; /* a connection over the limit, on its way out */
	struct runner_timer refused_timer;
	bool refusing, is_unix;
	bool waiting; /* a connection is there that could not be taken or refused yet */
};

struct http_server {
	struct loop *loop;
	enum http_surface surface;
	struct trace *trace;
	char *title, *version;
	uint64_t started_ns;
	struct listener listeners[HTTP_LISTENERS_MAX];
	unsigned listener_count, open_listeners;
	struct router router;
	struct list conns; /* in the order in which they began to wait for a request */
	unsigned conn_count;
	struct http_server_stats stats;
	char tunnel[192];	   /* the ssh -L line */
	struct trace *shown_trace; /* what /debug/traces shows */
	struct palette palette;
	http_front_fn front; /* fills in the front page; NULL = nobody */
	void *front_data;
	struct live *live; /* those who follow the traces; NULL = nobody */
	bool closing;
	struct runner_task task;
	struct runner_task accept_task;	  /* for listeners that wait … */
	struct runner_timer accept_timer; /* … and for those that wait longer */
	void (*closed)(void *data);
	void *closed_data;
	uint8_t scratch[HTTP_READ_SIZE];
};

enum conn_state {
	CONN_IDLE, /* no byte of a request yet */
	CONN_HEAD,
	CONN_BODY,
	CONN_REPLY,  /* the reply is owed */
	CONN_FLUSH,  /* the reply has ended; its last bytes are queued */
	CONN_LINGER, /* our side is shut down: the client may read to the end before we close */
	CONN_CLOSED
};

struct conn {
	struct http_server *server;
	struct list node;
	union stream uv;
	enum conn_state state;
	struct runner_timer timer;
	struct runner_task task;
	struct buf in;
	struct http_request request;
	uint64_t served;
	uint64_t accepted_turn, accepted_ms; /* of the loop */
	struct buf piece;		     /* of a reply in pieces, not sent yet */
	uint64_t queued_total;		     /* bytes given to libuv since the connection began */
	uint64_t seen_taken; /* … of which the socket had taken, when the timer last looked */
	size_t lingered;
	unsigned hold;	 /* callbacks of a handler on the stack */
	unsigned writes; /* given to libuv, not reported back */
	bool keep_alive, eof, reading, handle_closed, ending;
	bool put_off; /* could have read, but the turn's time was spent */
	uv_shutdown_t shutdown;
};

/* conn.c */
/** Takes over one waiting connection of the listener. NULL: out of memory or not acceptable. */
struct conn *http_conn_accept(struct listener *l);
/** The server closes: end what is idle, tell handlers, give replies HTTP_LINGER_MS. */
void conn_end_soon(struct conn *c);
/** Close now; a handler that owes a reply is told. */
void conn_drop(struct conn *c);
/** Give bytes to the socket: copies the prefix, takes `data` (may be NULL), borrows the static
 * suffix. A failure drops the connection. */
void conn_send(struct conn *c, const void *prefix, size_t prefix_len, uint8_t *data, size_t len,
	       const char *suffix);
size_t conn_queued(const struct conn *c);
/** The reply has ended: flush, then the next request or the end. */
void conn_reply_ended(struct conn *c);
/** Run conn_task soon. */
void conn_wake(struct conn *c);

/* server.c */
void server_conn_closed(struct http_server *s);

/* reply.c */
/** Send what has been written in pieces so far. */
void reply_flush(struct http_request *r);
/** An error reply to a request that gets no handler; the connection ends after it. */
void reply_refuse(struct http_request *r, int status, const char *why);
