/* One thing at a time:
 *
 *	idle → gathering → writing → sending → idle
 *	                      ↑         ↓ ↑
 *	                      ·      backing off
 *
 * Gathering waits for OTLP_BATCH_MS; writing takes a piece of a root per turn of the loop; a batch
 * in the making is what several roots' messages make, put behind each other. Backing off keeps the
 * batch as it was written. Roots that finish meanwhile are noted in a ring, by slot and id: no
 * memory of the store is held for them. */
#include "daemon/otlp_push.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/post.h"

enum phase { IDLE, GATHERING, WRITING, SENDING, BACKING_OFF };

struct otlp_push {
	struct loop *loop;
	struct trace *trace;
	struct trace_watch watch;
	struct post_client *client;
	char *url, *instance;
	char *headers[POST_HEADERS_MAX];
	size_t header_count;
	struct trace_export how;

	struct trace_root_ref ring[OTLP_QUEUE_MAX];
	size_t first, count;

	enum phase phase;
	struct runner_timer timer;
	struct runner_task task;
	struct trace_writer *writer; /* of the root being written */
	struct buf piece, body;
	size_t root_start;		   /* where in body it began */
	uint64_t batch_roots, batch_spans; /* in body */
	uint64_t batch_since_ms, retry_ms;
	struct post post;
	struct otlp_push_figures figures;
	char why[POST_WHY_MAX];

	void (*closed)(void *data); /* set = closing */
	void *closed_data;
	uint64_t close_by_ms;
};

static struct runner *runner_of(struct otlp_push *p)
{
	return &p->loop->runner;
}

static uint64_t now_ms(struct otlp_push *p)
{
	return runner_now_ms(runner_of(p));
}

/* ---- Settings ---- */

char *otlp_push_url(const char *endpoint)
{
	static const char path[] = "/v1/traces";
	size_t len = strlen(endpoint);

	while (len > 0 && endpoint[len - 1] == '/')
		len--;
	/* OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, and what collectors print, have the path already. */
	if (len > strlen(path) && memcmp(endpoint + len - strlen(path), path, strlen(path)) == 0)
		len -= strlen(path);
	return mem_printf("%.*s/v1/traces", (int)len, endpoint);
}

int otlp_push_headers(char *text, const char **list, size_t max, unsigned *ret_line)
{
	size_t count = 0;
	unsigned line = 0;

	for (char *p = text, *next; p != NULL; p = next) {
		size_t len = strcspn(p, "\n");

		next = p[len] != '\0' ? p + len + 1 : NULL;
		line++;
		while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == ' '))
			len--;
		p[len] = '\0';
		if (len == 0 || *p == '#')
			continue;
		*ret_line = line;
		if (!post_header_ok(p, len))
			return ERR_MALFORMED;
		if (count == max)
			return ERR_LIMIT;
		list[count++] = p;
	}
	return (int)count;
}

/* ---- Closing ---- */

static void free_push(struct otlp_push *p)
{
	trace_writer_free(p->writer);
	post_fini(&p->post);
	buf_fini(&p->piece);
	buf_fini(&p->body);
	for (size_t i = 0; i < p->header_count; i++)
		mem_free(p->headers[i]);
	mem_free(p->url);
	mem_free(p->instance);
	mem_free(p);
}

static void on_client_closed(void *data)
{
	struct otlp_push *p = data;
	void (*closed)(void *data) = p->closed;
	void *closed_data = p->closed_data;

	free_push(p);
	closed(closed_data);
}

/* ---- Batches ---- */

static void begin_batch(struct otlp_push *p);
static void write_some(struct otlp_push *p);

static void finish_close(struct otlp_push *p)
{
	runner_timer_stop(runner_of(p), &p->timer);
	runner_undefer(&p->task);
	p->figures.dropped_too_late += p->count + p->batch_roots;
	post_client_close(p->client, on_client_closed, p);
}

static void forget_batch(struct otlp_push *p)
{
	buf_clear(&p->body);
	p->batch_roots = p->batch_spans = 0;
}

/* What was being done is over. */
static void next(struct otlp_push *p)
{
	p->phase = IDLE;
	if (p->closed != NULL && (p->count == 0 || now_ms(p) >= p->close_by_ms)) {
		finish_close(p);
	} else if (p->count > 0) {
		begin_batch(p);
	}
}

static void wait_ms(struct otlp_push *p, enum phase phase, uint64_t ms)
{
	p->phase = phase;
	runner_timer_start(runner_of(p), &p->timer, now_ms(p) + ms);
}

static void begin_batch(struct otlp_push *p)
{
	forget_batch(p);
	p->batch_since_ms = now_ms(p);
	p->retry_ms = OTLP_RETRY_MIN_MS;
	p->phase = WRITING;
	runner_defer(runner_of(p), &p->task);
}

/* ---- Sending ---- */

static void succeed(struct otlp_push *p)
{
	struct trace_otlp_reply reply = { 0 };

	if (p->figures.failing > 0)
		log_info(LOG_DAEMON,
			 "msg=\"the collector takes traces again\" after_failures=%" PRIu64,
			 p->figures.failing);
	p->figures.failing = 0;
	p->why[0] = '\0';
	/* An answer that is none is still a success: the status says so. */
	(void)trace_otlp_reply_read(p->post.reply.data, p->post.reply.len, &reply);
	reply.refused = MIN(reply.refused, p->batch_spans);
	if (reply.refused > 0)
		log_warn(LOG_DAEMON,
			 "msg=\"the collector refused spans\" spans=%" PRIu64 " why=\"%.*s\"",
			 reply.refused, (int)MIN(reply.message_len, (size_t)200), reply.message);
	p->figures.refused_spans += reply.refused;
	p->figures.sent_spans += p->batch_spans - reply.refused;
	p->figures.sent_roots += p->batch_roots;
	p->figures.sent_bytes += p->body.len;
	p->figures.sent_batches++;
	forget_batch(p);
	next(p);
}

static void give_up(struct otlp_push *p, uint64_t *counter)
{
	*counter += p->batch_roots;
	forget_batch(p);
	next(p);
}

static bool may_retry(int status, int http_status)
{
	if (status < 0)
		return status != ERR_MALFORMED && status != ERR_LIMIT;
	return http_status == 429 || (http_status >= 502 && http_status <= 504);
}

/* OTLP 1, "Failures": what may be tried again, in growing intervals with jitter, and no sooner than
 * asked for. */
static void back_off(struct otlp_push *p)
{
	uint64_t ms = p->retry_ms * 3 / 4 + runner_random_below(runner_of(p), p->retry_ms / 2 + 1);

	ms = MAX(ms, p->post.retry_after_ms);
	p->retry_ms = MIN(p->retry_ms * 2, (uint64_t)OTLP_RETRY_MAX_MS);
	if (p->closed != NULL || now_ms(p) + ms >= p->batch_since_ms + OTLP_BATCH_LIFE_MS) {
		give_up(p, &p->figures.dropped_too_late);
		return;
	}
	p->figures.retries++;
	wait_ms(p, BACKING_OFF, ms);
}

static void fail(struct otlp_push *p, int status)
{
	if (p->post.why[0] != '\0')
		(void)snprintf(p->why, sizeof(p->why), "%s", p->post.why);
	else if (status < 0)
		(void)snprintf(p->why, sizeof(p->why), "%s", err_str(status));
	else
		(void)snprintf(p->why, sizeof(p->why), "it answers with status %d",
			       p->post.http_status);
	if (p->figures.failing++ == 0)
		log_warn(LOG_DAEMON, "msg=\"the collector does not take traces\" url=%s why=\"%s\"",
			 p->url, p->why);
	if (may_retry(status, p->post.http_status))
		back_off(p);
	else
		give_up(p, &p->figures.dropped_refused);
}

static void on_posted(struct post *post, int status)
{
	struct otlp_push *p = container_of(post, struct otlp_push, post);

	p->figures.last_status = (unsigned)post->http_status;
	if (p->closed != NULL && status < 0)
		p->close_by_ms = 0; /* no second attempt */
	if (status == 0 && post->http_status >= 200 && post->http_status < 300)
		succeed(p);
	else
		fail(p, status);
}

static void send_batch(struct otlp_push *p)
{
	struct op_env env = { .runner = runner_of(p), .deadline_ms = UINT64_MAX };
	struct post_request request = { .url = p->url,
					.content_type = "application/x-protobuf",
					.headers = (const char *const *)p->headers,
					.header_count = p->header_count,
					.body = p->body.data,
					.body_len = p->body.len,
					.reply_max = OTLP_REPLY_MAX };

	if (p->closed != NULL)
		env.deadline_ms = p->close_by_ms;
	p->phase = SENDING;
	post_fini(&p->post);
	post_start(&p->post, &env, p->client, &request, OTLP_REQUEST_MS, on_posted);
}

/* ---- Writing ---- */

static struct trace_root_ref take_first(struct otlp_push *p)
{
	struct trace_root_ref ref = p->ring[p->first];

	p->first = (p->first + 1) % OTLP_QUEUE_MAX;
	p->count--;
	return ref;
}

static bool begin_root(struct otlp_push *p)
{
	struct trace_root_ref ref = take_first(p);

	p->root_start = p->body.len;
	p->writer = trace_writer_new_root(p->trace, &ref, &p->how);
	if (p->writer == NULL)
		p->figures.dropped_size++;
	return p->writer != NULL;
}

/* Whole, or not at all. */
static void end_root(struct otlp_push *p, int rc)
{
	if (rc < 0) {
		p->figures.dropped_size++;
		p->body.len = p->root_start;
	} else if (trace_writer_spans(p->writer) == 0) {
		p->figures.dropped_gone++;
	} else {
		p->batch_spans += trace_writer_spans(p->writer);
		p->batch_roots++;
	}
	p->writer = trace_writer_free(p->writer);
}

static void write_piece(struct otlp_push *p)
{
	int rc;

	buf_clear(&p->piece);
	rc = trace_writer_next(p->writer, &p->piece);
	if (rc >= 0 && p->body.len + p->piece.len > OTLP_BODY_MAX)
		rc = ERR_LIMIT;
	if (rc >= 0 && p->piece.len > 0) {
		/* Not written in place: a failure would spoil what is there. */
		uint8_t *to = buf_reserve(&p->body, p->piece.len);
		if (to == NULL) {
			rc = UV_ENOMEM;
		} else {
			memcpy(to, p->piece.data, p->piece.len);
			buf_advance(&p->body, p->piece.len);
		}
	}
	if (rc <= 0)
		end_root(p, rc);
}

/* At most a piece per turn. */
static void write_some(struct otlp_push *p)
{
	if (p->closed != NULL && now_ms(p) >= p->close_by_ms) {
		p->writer = trace_writer_free(p->writer);
		next(p);
		return;
	}
	if (p->writer == NULL && (p->count == 0 || p->body.len >= OTLP_BATCH_BYTES)) {
		if (p->batch_roots > 0)
			send_batch(p);
		else
			next(p);
		return;
	}
	if (p->writer != NULL || begin_root(p))
		write_piece(p);
	/* After an allocation that failed the buffer refuses everything: what is in it goes first.
	 */
	if (buf_err(&p->body) != 0)
		give_up(p, &p->figures.dropped_size);
	else
		runner_defer(runner_of(p), &p->task);
}

static void on_task(struct runner_task *task)
{
	write_some(container_of(task, struct otlp_push, task));
}

static void on_timer(struct runner_timer *timer)
{
	struct otlp_push *p = container_of(timer, struct otlp_push, timer);

	if (p->phase == GATHERING)
		begin_batch(p);
	else if (p->phase == BACKING_OFF)
		send_batch(p);
	else if (p->phase == SENDING && p->closed != NULL)
		op_cancel(&p->post.op);
}

/* Called from inside the call that finished the root: takes a note. */
static void on_root(struct trace_watch *w, uint32_t slot, const uint8_t span_id[8], bool complete)
{
	struct otlp_push *p = container_of(w, struct otlp_push, watch);
	struct trace_root_ref ref = { .slot = slot };

	if (!complete)
		return;
	memcpy(ref.span_id, span_id, sizeof(ref.span_id));
	if (p->count == OTLP_QUEUE_MAX) {
		(void)take_first(p);
		p->figures.dropped_queue++;
	}
	p->ring[(p->first + p->count++) % OTLP_QUEUE_MAX] = ref;
	if (p->phase == IDLE)
		wait_ms(p, GATHERING, OTLP_BATCH_MS);
}

/* ---- Life ---- */

static bool copy_config(struct otlp_push *p, const struct otlp_push_config *config)
{
	p->url = otlp_push_url(config->endpoint);
	if (config->how.instance != NULL) {
		p->instance = mem_strdup(config->how.instance);
		if (p->instance == NULL)
			return false;
	}
	p->how = config->how;
	p->how.instance = p->instance;
	for (size_t i = 0; i < MIN(config->header_count, (size_t)POST_HEADERS_MAX); i++) {
		p->headers[i] = mem_strdup(config->headers[i]);
		if (p->headers[i] == NULL)
			return false;
		p->header_count++;
	}
	return p->url != NULL;
}

struct otlp_push *otlp_push_new(const struct otlp_push_config *config)
{
	struct otlp_push *p = mem_alloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	p->loop = config->loop;
	p->trace = config->trace;
	p->timer.run = on_timer;
	p->task.run = on_task;
	p->watch.on_root = on_root;
	buf_init(&p->piece, OTLP_BODY_MAX);
	buf_init(&p->body, OTLP_BODY_MAX);
	if (copy_config(p, config))
		p->client = post_client_new(config->loop, config->ca_file);
	if (p->client == NULL) {
		free_push(p);
		return NULL;
	}
	trace_watch(p->trace, &p->watch);
	return p;
}

void otlp_push_close(struct otlp_push *p, void (*closed)(void *data), void *data)
{
	bool answers = p->figures.failing == 0;

	trace_unwatch(p->trace, &p->watch);
	p->closed = closed;
	p->closed_data = data;
	p->close_by_ms = now_ms(p) + (answers ? OTLP_FLUSH_MS : 0);
	switch (p->phase) {
	case IDLE:
	case BACKING_OFF: finish_close(p); return;
	case GATHERING:
		runner_timer_stop(runner_of(p), &p->timer);
		begin_batch(p);
		return;
	case WRITING: return; /* its next turn sees that time is short */
	case SENDING: runner_timer_start(runner_of(p), &p->timer, p->close_by_ms); return;
	}
}

void otlp_push_figures(const struct otlp_push *p, struct otlp_push_figures *ret)
{
	*ret = p->figures;
	ret->queued = p->count;
}

const char *otlp_push_why(const struct otlp_push *p)
{
	return p->why;
}
