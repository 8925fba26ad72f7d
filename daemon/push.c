#include "daemon/push.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

/* Both requests of a cycle, each with a second attempt, take longer than any cycle that is well. */
enum { CYCLE_SLACK_MS = 4 * PUSH_UPLOAD_MS };

struct push {
	struct loop *loop;
	struct push_connection to;
	char service[PUSH_NAME_MAX + 1], server[PUSH_NAME_MAX + 1], version[PUSH_NAME_MAX + 1];
	struct push_plan plan;
	struct push_figures figures, before; /* before: as the cycle of `request` began */
	struct push_setup setup;
	struct push_cycle cycle;
	bool is_running;
	struct runner_timer timer;
	struct http_request *request; /* waits for the cycle that it began */
	void (*closed)(void *data);   /* set = closing */
	void *closed_data;
};

static struct runner *runner_of(struct push *p)
{
	return &p->loop->runner;
}

/* ---- Closing ---- */

static void free_push(struct push *p)
{
	push_connection_fini(&p->to);
	mem_free(p);
}

static void on_client_closed(void *data)
{
	struct push *p = data;
	void (*closed)(void *data) = p->closed;
	void *closed_data = p->closed_data;

	free_push(p);
	closed(closed_data);
}

/* ---- Cycles ---- */

static void answer(struct push *p, int status)
{
	const struct push_figures *f = &p->figures, *b = &p->before;
	struct buf out;

	buf_init(&out, 1024);
	buf_printf(&out,
		   "{\"status\":\"%s\",\"sent_cpu\":%" PRIu64 ",\"sent_heap\":%" PRIu64
		   ",\"sent_bytes\":%" PRIu64 ",\"failed_captures\":%" PRIu64
		   ",\"failed_uploads\":%" PRIu64 ",\"held\":%" PRIu64 ",\"last_status\":%u}\n",
		   status == 0 ? "done" : err_name(status), f->sent_cpu - b->sent_cpu,
		   f->sent_heap - b->sent_heap, f->sent_bytes - b->sent_bytes,
		   f->failed_captures - b->failed_captures, f->failed_uploads - b->failed_uploads,
		   f->held - b->held, f->last_status);
	http_reply(p->request, 200, "application/json", &out);
	p->request = NULL;
}

static void on_cycle(struct push_cycle *c, int status)
{
	struct push *p = container_of(c, struct push, cycle);

	p->is_running = false;
	if (status == UV_ETIMEDOUT)
		log_debug(LOG_DAEMON, "msg=\"pushing profiles took too long\"");
	if (p->request != NULL)
		answer(p, status);
	if (p->closed != NULL)
		post_client_close(p->setup.client, on_client_closed, p);
}

static void begin_cycle(struct push *p, unsigned seconds)
{
	uint64_t now = runner_now_ms(runner_of(p));
	struct op_env env = { .runner = runner_of(p),
			      .deadline_ms = now + (uint64_t)seconds * 1000 + CYCLE_SLACK_MS };

	p->is_running = true;
	push_cycle_start(&p->cycle, &env, &p->setup, seconds, on_cycle);
}

static void on_timer(struct runner_timer *timer)
{
	struct push *p = container_of(timer, struct push, timer);

	if (push_plan_step(&p->plan, runner_now_ms(runner_of(p)), p->is_running) == PUSH_BEGIN)
		begin_cycle(p, (unsigned)(p->plan.window_ms / 1000));
	runner_timer_start(runner_of(p), timer, p->plan.next_ms);
}

/* ---- By hand ---- */

static void on_flush(void *data, struct http_request *r)
{
	struct push *p = data;
	unsigned seconds = (unsigned)(p->plan.window_ms / 1000);
	const char *text = http_request_param(r, "seconds");
	char *end;

	if (text != NULL) {
		unsigned long n = strtoul(text, &end, 10);

		if (*text < '1' || *text > '9' || *end != '\0' || n > seconds) {
			http_reply_error(r, 400, "seconds is a number from 1 to %u", seconds);
			return;
		}
		seconds = (unsigned)n;
	}
	if (p->is_running || p->closed != NULL) {
		http_reply_error(r, 409, "a cycle runs already: %s", push_state(p));
		return;
	}
	p->request = r;
	p->before = p->figures;
	begin_cycle(p, seconds);
}

int push_attach(struct push *p, struct http_server *s)
{
	return http_route(s, HTTP_POST_, "/debug/traceway/flush", NULL, on_flush, p);
}

/* ---- Life ---- */

static int copy_connection(struct push *p, const struct push_connection *from)
{
	p->to.origin = mem_strdup(from->origin);
	p->to.path = mem_strdup(from->path);
	if (from->authorization != NULL)
		p->to.authorization = mem_strdup(from->authorization);
	return p->to.origin == NULL || p->to.path == NULL ||
			       (from->authorization != NULL && p->to.authorization == NULL) ?
		       UV_ENOMEM :
		       0;
}

struct push *push_new(const struct push_config *config)
{
	struct push *p = mem_alloc(sizeof(*p));

	if (p == NULL)
		return NULL;
	p->loop = config->loop;
	if (copy_connection(p, config->to) == 0)
		p->setup.client = post_client_new(config->loop, config->ca_file);
	if (p->setup.client == NULL) {
		free_push(p);
		return NULL;
	}
	(void)snprintf(p->service, sizeof(p->service), "%s", config->service);
	(void)snprintf(p->server, sizeof(p->server), "%s", config->server);
	(void)snprintf(p->version, sizeof(p->version), "%s", config->version);
	p->setup.profiler = config->profiler;
	p->setup.to = &p->to;
	p->setup.facts = (struct push_facts){ .format = config->format,
					      .service = p->service,
					      .server = p->server,
					      .version = p->version };
	p->setup.plan = &p->plan;
	p->setup.figures = &p->figures;
	push_plan_init(&p->plan, runner_now_ms(runner_of(p)), config->interval_ms);
	p->timer.run = on_timer;
	runner_timer_start(runner_of(p), &p->timer, p->plan.next_ms);
	return p;
}

void push_close(struct push *p, void (*closed)(void *data), void *data)
{
	p->closed = closed;
	p->closed_data = data;
	runner_timer_stop(runner_of(p), &p->timer);
	if (p->is_running)
		op_cancel(&p->cycle.op);
	else
		post_client_close(p->setup.client, on_client_closed, p);
}

void push_figures(const struct push *p, struct push_figures *ret)
{
	*ret = p->figures;
	ret->skipped_busy = p->plan.skipped_busy;
	ret->skipped_held = p->plan.skipped_held;
}

const char *push_state(const struct push *p)
{
	return p->is_running ? op_state_name(&p->cycle.op, p->cycle.op.state) : "idle";
}
