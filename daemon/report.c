/* One thing at a time:
 *
 *	idle → gathering → writing → sending → idle
 *	                               ↑ ↓
 *	                           backing off
 *
 * Every root of the store is told of; one turn later it is known which are discoveries. Writing
 * takes one discovery per turn of the loop and compresses it at once: servers before the
 * profiles' time take only what is compressed. After a refused token nothing is written for a
 * while; discoveries are noted still, and the oldest are given up. */
#include "daemon/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/post.h"
#include "daemon/report_json.h"

enum { GZIP_WINDOW = 15 + 16, GZIP_MEMORY = 8, REPLY_MAX = 4096, PIECE = 4096 };

enum phase { IDLE, GATHERING, WRITING, SENDING, BACKING_OFF };

struct report {
	struct loop *loop;
	struct trace *trace;
	struct trace_watch watch;
	struct post_client *client;
	struct push_connection to;
	char *url;
	char server[PUSH_NAME_MAX + 1], version[PUSH_NAME_MAX + 1];
	struct report_names names;

	struct trace_root_ref fresh[REPORT_QUEUE_MAX]; /* roots of this turn */
	size_t fresh_count;
	struct runner_task sift;
	struct trace_root_ref ring[REPORT_QUEUE_MAX]; /* discoveries */
	size_t first, count;

	enum phase phase;
	struct runner_timer timer;
	struct runner_task task;
	z_stream z;
	bool z_open;
	struct buf piece, body; /* JSON of one turn; what is sent */
	size_t written;		/* bytes before compression */
	unsigned tasks, attempt;
	uint64_t not_before_ms;
	struct post post;
	struct report_figures figures;
	bool warned;

	void (*closed)(void *data); /* set = closing */
	void *closed_data;
};

static struct runner *runner_of(struct report *r)
{
	return &r->loop->runner;
}

static uint64_t now_ms(struct report *r)
{
	return runner_now_ms(runner_of(r));
}

/* ---- Closing ---- */

static void end_body(struct report *r)
{
	if (r->z_open)
		(void)deflateEnd(&r->z);
	r->z_open = false;
	buf_clear(&r->body);
	buf_clear(&r->piece);
	r->tasks = 0;
}

static void free_report(struct report *r)
{
	end_body(r);
	post_fini(&r->post);
	buf_fini(&r->piece);
	buf_fini(&r->body);
	push_connection_fini(&r->to);
	mem_free(r->url);
	mem_free(r);
}

static void on_client_closed(void *data)
{
	struct report *r = data;
	void (*closed)(void *data) = r->closed;
	void *closed_data = r->closed_data;

	free_report(r);
	closed(closed_data);
}

static void finish_close(struct report *r)
{
	runner_timer_stop(runner_of(r), &r->timer);
	runner_undefer(&r->task);
	post_client_close(r->client, on_client_closed, r);
}

static void wait_until(struct report *r, enum phase phase, uint64_t at_ms)
{
	r->phase = phase;
	runner_timer_start(runner_of(r), &r->timer, at_ms);
}

/* What was being done is over. */
static void next(struct report *r)
{
	end_body(r);
	r->phase = IDLE;
	if (r->count > 0)
		wait_until(r, GATHERING, MAX(now_ms(r) + REPORT_FRAME_MS, r->not_before_ms));
}

static void give_up(struct report *r)
{
	r->figures.dropped_failed += r->tasks;
	next(r);
}

/* ---- Sending ---- */

static void succeed(struct report *r)
{
	r->figures.sent_tasks += r->tasks;
	r->figures.sent_frames++;
	r->figures.sent_bytes += r->body.len;
	r->figures.failing = 0;
	if (r->warned)
		log_info(LOG_DAEMON, "msg=\"the server takes reports again\"");
	r->warned = false;
	next(r);
}

static void refuse_token(struct report *r)
{
	r->not_before_ms = now_ms(r) + REPORT_PEACE_MS;
	if (!r->warned)
		log_warn(LOG_DAEMON,
			 "msg=\"the server refuses the token of the connection string; reports are "
			 "tried again every %u minutes\" url=%s status=%d",
			 (unsigned)REPORT_PEACE_MS / 60000, r->url, r->post.http_status);
	r->warned = true;
	give_up(r);
}

static void back_off(struct report *r)
{
	uint64_t ms = (uint64_t)REPORT_RETRY_MS << (r->attempt - 1);

	if (r->attempt >= REPORT_ATTEMPTS) {
		give_up(r);
		return;
	}
	r->figures.retries++;
	wait_until(r, BACKING_OFF, now_ms(r) + MAX(ms, r->post.retry_after_ms));
}

static void on_posted(struct post *post, int status)
{
	struct report *r = container_of(post, struct report, post);
	enum push_verdict verdict =
		push_judge(status, post->http_status, post->reply.data, post->reply.len);

	if (r->closed != NULL) {
		finish_close(r);
		return;
	}
	r->figures.last_status = (unsigned)post->http_status;
	if (verdict == PUSH_TAKEN) {
		succeed(r);
		return;
	}
	r->figures.failing++;
	log_debug(LOG_DAEMON, "msg=\"a report was not taken\" status=%d why=\"%s\"",
		  post->http_status, post->why);
	if (verdict == PUSH_UNAUTHORIZED)
		refuse_token(r);
	else if (verdict == PUSH_BUSY || verdict == PUSH_UNREACHABLE)
		back_off(r);
	else
		give_up(r);
}

static void send_body(struct report *r)
{
	struct op_env env = { .runner = runner_of(r), .deadline_ms = UINT64_MAX };
	const char *headers[] = { "Content-Encoding: gzip", r->to.authorization };
	struct post_request request = { .url = r->url,
					.content_type = "application/json",
					.headers = headers,
					.header_count = ARRAY_SIZE(headers),
					.body = r->body.data,
					.body_len = r->body.len,
					.reply_max = REPLY_MAX };

	r->phase = SENDING;
	r->attempt++;
	post_fini(&r->post);
	post_start(&r->post, &env, r->client, &request, REPORT_REQUEST_MS, on_posted);
}

/* ---- Writing ---- */

static voidpf z_alloc(voidpf opaque, uInt items, uInt size)
{
	(void)opaque;
	return mem_alloc_array(items, size);
}

static void z_free(voidpf opaque, voidpf p)
{
	(void)opaque;
	mem_free(p);
}

/* The piece goes through, and is empty then. False: there is no memory for it. */
static bool compress_piece(struct report *r, int flush)
{
	bool more = true;

	if (buf_err(&r->piece) != 0)
		return false;
	r->written += r->piece.len;
	r->z.next_in = r->piece.data;
	r->z.avail_in = (uInt)r->piece.len;
	while (more) {
		uint8_t *to = buf_reserve(&r->body, PIECE);

		if (to == NULL)
			return false;
		r->z.next_out = to;
		r->z.avail_out = PIECE;
		(void)deflate(&r->z, flush);
		more = r->z.avail_out == 0;
		buf_advance(&r->body, PIECE - r->z.avail_out);
	}
	buf_clear(&r->piece);
	return true;
}

static bool begin_body(struct report *r)
{
	end_body(r);
	r->attempt = 0;
	r->written = 0;
	r->z = (z_stream){ .zalloc = z_alloc, .zfree = z_free };
	r->z_open = deflateInit2(&r->z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
				 Z_DEFAULT_STRATEGY) == Z_OK;
	report_write_begin(&r->piece, &r->names);
	return r->z_open;
}

static struct trace_root_ref take_first(struct report *r)
{
	struct trace_root_ref ref = r->ring[r->first];

	r->first = (r->first + 1) % REPORT_QUEUE_MAX;
	r->count--;
	return ref;
}

static void end_writing(struct report *r)
{
	if (r->tasks == 0) {
		next(r);
		return;
	}
	report_write_end(&r->piece);
	if (compress_piece(r, Z_FINISH))
		send_body(r);
	else
		give_up(r);
}

/* A discovery per turn. */
static void on_task(struct runner_task *task)
{
	struct report *r = container_of(task, struct report, task);
	struct trace_root_ref ref;
	enum { ROOM = 64 << 10 }; /* for one more */

	if (r->count == 0 || r->tasks == REPORT_FRAME_TASKS ||
	    r->written + ROOM > REPORT_BODY_MAX) {
		end_writing(r);
		return;
	}
	ref = take_first(r);
	if (report_write_task(&r->piece, r->trace, &ref, &r->names, r->tasks == 0))
		r->tasks++;
	else
		r->figures.dropped_gone++;
	if (!compress_piece(r, Z_NO_FLUSH)) {
		give_up(r);
		return;
	}
	runner_defer(runner_of(r), &r->task);
}

static void on_timer(struct runner_timer *timer)
{
	struct report *r = container_of(timer, struct report, timer);

	if (r->phase == BACKING_OFF) {
		send_body(r);
		return;
	}
	if (r->phase != GATHERING)
		return;
	r->phase = WRITING;
	if (begin_body(r))
		runner_defer(runner_of(r), &r->task);
	else
		next(r);
}

/* ---- Noting ---- */

static void note(struct report *r, const struct trace_root_ref *ref)
{
	if (r->count == REPORT_QUEUE_MAX) {
		(void)take_first(r);
		r->figures.dropped_queue++;
	}
	r->ring[(r->first + r->count++) % REPORT_QUEUE_MAX] = *ref;
	if (r->phase == IDLE)
		wait_until(r, GATHERING, MAX(now_ms(r) + REPORT_FRAME_MS, r->not_before_ms));
}

/* The next turn: which of the roots are discoveries. */
static void on_sift(struct runner_task *task)
{
	struct report *r = container_of(task, struct report, sift);
	struct trace_span_view view;

	for (size_t i = 0; i < r->fresh_count; i++)
		if (trace_look(r->trace, r->fresh[i].slot, r->fresh[i].span_id, &view) &&
		    strcmp(view.category, REPORT_CATEGORY) == 0)
			note(r, &r->fresh[i]);
	r->fresh_count = 0;
}

/* Called from inside the call that finished the root, which must not call back into the store. */
static void on_root(struct trace_watch *w, uint32_t slot, const uint8_t span_id[8], bool complete)
{
	struct report *r = container_of(w, struct report, watch);
	struct trace_root_ref *ref;

	if (!complete)
		return;
	if (r->fresh_count == REPORT_QUEUE_MAX) {
		r->figures.dropped_queue++;
		return;
	}
	ref = &r->fresh[r->fresh_count++];
	ref->slot = slot;
	memcpy(ref->span_id, span_id, sizeof(ref->span_id));
	runner_defer(runner_of(r), &r->sift);
}

/* ---- Life ---- */

static char *copy(const char *text, bool *failed)
{
	char *c = text != NULL ? mem_strdup(text) : NULL;

	*failed |= text != NULL && c == NULL;
	return c;
}

static bool copy_config(struct report *r, const struct report_config *config)
{
	const char *path = config->to->path;
	bool failed = false;

	r->to.authorization = copy(config->to->authorization, &failed);
	r->url = mem_printf("%s%s", config->to->origin, *path != '\0' ? path : "/api/report");
	(void)snprintf(r->server, sizeof(r->server), "%s", config->server);
	(void)snprintf(r->version, sizeof(r->version), "%s", config->version);
	r->names.server = r->server;
	r->names.version = r->version;
	memcpy(r->names.key, config->key, sizeof(r->names.key));
	return !failed && r->url != NULL;
}

struct report *report_new(const struct report_config *config)
{
	struct report *r = mem_alloc(sizeof(*r));

	if (r == NULL)
		return NULL;
	r->loop = config->loop;
	r->trace = config->trace;
	r->timer.run = on_timer;
	r->task.run = on_task;
	r->sift.run = on_sift;
	r->watch.on_root = on_root;
	buf_init(&r->piece, REPORT_BODY_MAX);
	buf_init(&r->body, REPORT_BODY_MAX);
	if (copy_config(r, config))
		r->client = post_client_new(config->loop, config->ca_file);
	if (r->client == NULL) {
		free_report(r);
		return NULL;
	}
	trace_watch(r->trace, &r->watch);
	return r;
}

void report_close(struct report *r, void (*closed)(void *data), void *data)
{
	trace_unwatch(r->trace, &r->watch);
	runner_undefer(&r->sift);
	r->closed = closed;
	r->closed_data = data;
	if (r->phase == SENDING)
		op_cancel(&r->post.op);
	else
		finish_close(r);
}

void report_figures(const struct report *r, struct report_figures *ret)
{
	*ret = r->figures;
	ret->queued = r->count;
}
