/* bundle_run() blocks, so it runs as a job on a worker, and asks this very daemon for the parts
 * over the control socket. What it writes goes into a queue of bytes that the loop hands to the
 * client a few times a second; when the client reads slowly the queue fills and the worker waits
 * for it. When the client leaves, or the daemon ends, the worker is told so and nothing waits any
 * more. */
#include "daemon/bundle_http.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/bundle.h"

enum { QUEUE_MAX = 2 << 20, TICK_MS = 50 };

struct bundle_server {
	struct daemon *daemon;
	struct runner_job job;
	struct runner_timer timer;
	struct http_request *r; /* NULL = none is under way */
	struct bundle_config config;
	struct bundle_result result;
	int rc;
	bool begun, is_waiting; /* for the socket to drain */
	uint64_t started_ms, served, failed;
	/* both threads */
	pthread_mutex_t lock;
	pthread_cond_t drained;
	struct buf queue;
	struct bundle_progress progress;
	_Atomic bool cancelled, gone;
};

/* ---- On the worker ---- */

static int enqueue(void *data, const void *bytes, size_t len)
{
	struct bundle_server *b = data;
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	while (b->queue.len >= QUEUE_MAX && !atomic_load(&b->gone))
		pthread_cond_wait(&b->drained, &b->lock);
	if (atomic_load(&b->gone))
		rc = UV_ECANCELED;
	else
		buf_write(&b->queue, bytes, len);
	rc = rc == 0 ? buf_err(&b->queue) : rc;
	pthread_mutex_unlock(&b->lock);
	return rc;
}

static void on_progress(void *data, const struct bundle_progress *p)
{
	struct bundle_server *b = data;

	pthread_mutex_lock(&b->lock);
	b->progress = *p;
	pthread_mutex_unlock(&b->lock);
}

static bool is_cancelled(void *data)
{
	struct bundle_server *b = data;

	return atomic_load(&b->cancelled) || atomic_load(&b->gone);
}

static void run(struct runner_job *job)
{
	struct bundle_server *b = container_of(job, struct bundle_server, job);

	b->rc = bundle_run(&b->config, &b->result);
}

/* ---- On the loop ---- */

/* Hands over what there is. True when the client should be given time. */
static bool flush(struct bundle_server *b)
{
	CLEANUP(mem_freep) uint8_t *bytes = NULL;
	size_t len = 0;

	pthread_mutex_lock(&b->lock);
	bytes = buf_take(&b->queue, &len);
	pthread_cond_signal(&b->drained);
	pthread_mutex_unlock(&b->lock);
	return len > 0 && http_reply_write(b->r, bytes, len);
}

static void on_timer(struct runner_timer *timer)
{
	struct bundle_server *b = container_of(timer, struct bundle_server, timer);
	struct runner *runner = &b->daemon->loop.runner;

	if (!b->is_waiting && !atomic_load(&b->gone))
		b->is_waiting = flush(b);
	runner_timer_start(runner, timer, runner_now_ms(runner) + TICK_MS);
}

static void on_drain(void *data, struct http_request *r)
{
	struct bundle_server *b = data;

	(void)r;
	b->is_waiting = false;
}

static void leave(struct bundle_server *b)
{
	pthread_mutex_lock(&b->lock);
	atomic_store(&b->gone, true);
	pthread_cond_signal(&b->drained);
	pthread_mutex_unlock(&b->lock);
}

static void on_close(void *data, struct http_request *r)
{
	(void)r;
	leave(data);
}

static void done(struct runner_job *job)
{
	struct bundle_server *b = container_of(job, struct bundle_server, job);
	struct http_request *r = b->r;

	runner_timer_stop(&b->daemon->loop.runner, &b->timer);
	if (!atomic_load(&b->gone))
		(void)flush(b);
	b->served += b->rc == 0;
	b->failed += b->rc != 0;
	buf_fini(&b->queue);
	b->r = NULL;
	if (b->rc == 0)
		http_reply_end(r);
	else
		http_reply_abort(r);
}

/* ---- Requests ---- */

/* False: replied. */
static bool read_seconds(struct http_request *r, unsigned *ret)
{
	const char *text = http_request_param(r, "seconds");
	char *end = NULL;
	unsigned long value;

	*ret = BUNDLE_SECONDS_DEFAULT;
	if (text == NULL || text[0] == '\0')
		return true;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > BUNDLE_SECONDS_MAX) {
		http_reply_error(r, 400, "seconds is a number from 0 to %d.", BUNDLE_SECONDS_MAX);
		return false;
	}
	*ret = (unsigned)value;
	return true;
}

static void refuse_busy(struct bundle_server *b, struct http_request *r)
{
	uint64_t now = runner_now_ms(&b->daemon->loop.runner);

	http_reply_header(r, "Retry-After", "10");
	http_reply_error(r, 409,
			 "A bundle is being collected already, since %" PRIu64
			 " s. Wait for it, or end it early: POST /debug/bundle/cancel",
			 (now - b->started_ms) / 1000);
}

static void begin_reply(struct http_request *r)
{
	char name[BUNDLE_NAME_SIZE], value[BUNDLE_NAME_SIZE + 32];

	bundle_name(name);
	(void)snprintf(value, sizeof(value), "attachment; filename=\"%s\"", name);
	http_reply_header(r, "Content-Disposition", value);
	http_reply_begin(r, 200, "application/zip");
}

static void start(struct bundle_server *b, struct http_request *r, unsigned seconds)
{
	const char *binary = http_request_param(r, "binary");

	b->r = r;
	b->config = (struct bundle_config){ .data = b->daemon->dir,
					    .pid = (int)getpid(),
					    .seconds = seconds,
					    .raw = http_request_param(r, "raw") != NULL,
					    .binary = binary == NULL || strcmp(binary, "0") != 0,
					    .no_fork = true,
					    .write = enqueue,
					    .progress = on_progress,
					    .cancelled = is_cancelled,
					    .user = b };
	buf_init(&b->queue, 2 * QUEUE_MAX);
	b->is_waiting = false;
	b->progress = (struct bundle_progress){ 0 };
	atomic_store(&b->cancelled, false);
	atomic_store(&b->gone, false);
	b->started_ms = runner_now_ms(&b->daemon->loop.runner);
	b->job.run = run;
	b->job.done = done;
	if (runner_submit(&b->daemon->loop.runner, &b->job) < 0) {
		b->r = NULL;
		http_reply_error(r, 503, "The daemon is out of memory.");
		return;
	}
	http_request_on_close(r, on_close, b);
	http_request_on_drain(r, on_drain, b);
	begin_reply(r);
	b->timer.run = on_timer;
	on_timer(&b->timer);
}

static void on_bundle(void *data, struct http_request *r)
{
	struct bundle_server *b = data;
	unsigned seconds;

	if (!read_seconds(r, &seconds))
		return;
	if (http_request_is_head(r)) {
		begin_reply(r);
		http_reply_end(r);
	} else if (b->r != NULL)
		refuse_busy(b, r);
	else if (b->daemon->stopping)
		http_reply_error(r, 503, "The daemon is shutting down.");
	else
		start(b, r, seconds);
}

static void on_status(void *data, struct http_request *r)
{
	struct bundle_server *b = data;
	CLEANUP(buf_fini) struct buf out = { 0 };
	struct bundle_progress p;

	pthread_mutex_lock(&b->lock);
	p = b->progress;
	pthread_mutex_unlock(&b->lock);
	buf_init(&out, 1024);
	buf_printf(&out, "{\"active\":%s", b->r != NULL ? "true" : "false");
	if (b->r != NULL)
		buf_printf(
			&out,
			",\"step\":%u,\"steps\":%u,\"name\":\"%s\",\"seconds\":%u,\"ms\":%" PRIu64,
			p.step, p.steps, p.name != NULL ? p.name : "", b->config.seconds,
			runner_now_ms(&b->daemon->loop.runner) - b->started_ms);
	buf_printf(&out, ",\"served\":%" PRIu64 ",\"failed\":%" PRIu64 "}\n", b->served, b->failed);
	http_reply(r, 200, "application/json", &out);
}

static void on_cancel(void *data, struct http_request *r)
{
	struct bundle_server *b = data;

	if (b->r == NULL) {
		http_reply_error(r, 409, "No bundle is being collected.");
		return;
	}
	atomic_store(&b->cancelled, true);
	http_reply(r, 204, NULL, NULL);
}

int bundle_server_attach(struct bundle_server *b, struct http_server *s)
{
	int rc = http_route(s, HTTP_GET_ | HTTP_POST_, "/debug/bundle", NULL, on_bundle, b);

	if (rc == 0)
		rc = http_route(s, HTTP_GET_, "/debug/bundle/status", NULL, on_status, b);
	if (rc == 0)
		rc = http_route(s, HTTP_POST_, "/debug/bundle/cancel", NULL, on_cancel, b);
	return rc;
}

void bundle_server_stop(struct bundle_server *b)
{
	if (b->r != NULL)
		leave(b);
}

struct bundle_server *bundle_server_new(struct daemon *d)
{
	struct bundle_server *b = mem_alloc(sizeof(*b));

	if (b == NULL)
		return NULL;
	b->daemon = d;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->drained, NULL);
	return b;
}

struct bundle_server *bundle_server_free(struct bundle_server *b)
{
	if (b == NULL)
		return NULL;
	REQUIRE(b->r == NULL);
	pthread_cond_destroy(&b->drained);
	pthread_mutex_destroy(&b->lock);
	return mem_free(b);
}
