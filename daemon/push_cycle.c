/* Per profile:
 *
 *	capturing → encoding → resting → sending ─┬→ capturing the next one
 *	                          ↑         ·     └→ closing → done
 *	                          ·←────────·
 *
 * Waiting: capturing, for the profiler; encoding, between pieces of base64; resting, for the time
 * that the server asked for; sending, for the answer.
 *
 * A format that wants what was allocated as a difference has the heap captured over the same window
 * as the CPU, since two windows one after the other would not fit into an interval. The profile is
 * held in memory once, until it is sent or given up; with base64 half as much again. */
#include "daemon/push_cycle.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

enum { CAPTURING, ENCODING, RESTING, SENDING, CLOSING, DONE };
static const struct op_state states[] = {
	[CAPTURING] = { "capturing", TO(ENCODING) | TO(CAPTURING) | TO(CLOSING) },
	[ENCODING] = { "encoding", TO(RESTING) | TO(CAPTURING) | TO(CLOSING) },
	[RESTING] = { "resting", TO(SENDING) | TO(CAPTURING) | TO(CLOSING) },
	[SENDING] = { "sending", TO(RESTING) | TO(CAPTURING) | TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};
_Static_assert(PUSH_BASE64_PIECE % 3 == 0, "pieces are put together");

static void cycle_tick(struct op *op);
static const struct op_kind kind = { "push.cycle", states, ARRAY_SIZE(states), cycle_tick };

static const char *const profile_names[PUSH_PROFILES] = { "cpu", "heap" };

static uint64_t now_ms(const struct push_cycle *c)
{
	return runner_now_ms(c->op.env.runner);
}

static uint64_t wall_s(const struct push_cycle *c)
{
	return clock_wall_ns(c->op.env.runner->clock) / NS_PER_SEC;
}

/* ---- Capturing ---- */

static void on_capture(struct profiler_capture *capture, int status)
{
	struct push_part *part = container_of(capture, struct push_part, capture);
	/* Of the first profile or the second: the capture knows. */
	enum push_profile at = capture->request.kind == PROFILER_CPU ? PUSH_CPU : PUSH_HEAP;
	struct push_cycle *c = container_of(part - at, struct push_cycle, parts[0]);

	part->status = status;
	part->ended = true;
	part->until_s = wall_s(c);
	op_release(&c->op);
	op_tick(&c->op);
}

static bool wants_difference(const struct push_cycle *c)
{
	return c->setup.facts.format != PUSH_TRACEWAY;
}

static void start_capture(struct push_cycle *c, enum push_profile at)
{
	struct push_part *part = &c->parts[at];
	struct profiler_request request = { .kind = at == PUSH_CPU ? PROFILER_CPU : PROFILER_HEAP,
					    .background = true };

	if (at == PUSH_CPU || wants_difference(c))
		request.seconds = c->seconds;
	request.delta_alloc = request.seconds > 0;
	part->started = true;
	part->from_s = wall_s(c);
	op_hold(&c->op);
	profiler_capture_start(&part->capture, c->setup.profiler, &c->op.env, &request, on_capture);
}

/* This profile is done with, whatever came of it. */
static enum op_step next_profile(struct push_cycle *c)
{
	buf_fini(&c->parts[c->at].capture.out);
	buf_fini(&c->body);
	c->url = mem_free(c->url);
	c->at++;
	op_move(&c->op, c->at < PUSH_PROFILES ? CAPTURING : CLOSING);
	return OP_NEXT;
}

static enum op_step close_now(struct push_cycle *c)
{
	op_move(&c->op, CLOSING);
	return OP_NEXT;
}

static enum op_step do_capturing(struct push_cycle *c)
{
	struct push_part *part = &c->parts[c->at];

	if (op_stopping(&c->op))
		return close_now(c);
	if (!part->started)
		start_capture(c, c->at);
	if (c->at == PUSH_CPU && wants_difference(c) && !c->parts[PUSH_HEAP].started)
		start_capture(c, PUSH_HEAP);
	if (!part->ended)
		return OP_WAIT;
	if (part->status < 0) {
		c->setup.figures->failed_captures++;
		log_debug(LOG_DAEMON, "msg=\"no profile to push\" profile=%s why=\"%s\"",
			  profile_names[c->at], err_str(part->status));
		return next_profile(c);
	}
	c->attempt = 0;
	op_move(&c->op, ENCODING);
	return OP_NEXT;
}

/* ---- Sending ---- */

static void set_facts(struct push_cycle *c, struct push_facts *ret)
{
	const struct push_part *part = &c->parts[c->at];

	*ret = c->setup.facts;
	ret->profile = c->at;
	ret->from_s = part->from_s;
	ret->until_s = MAX(part->until_s, part->from_s + 1); /* a snapshot has no length */
	ret->hz = PROFILER_HZ_DEFAULT;
}

static void encode_piece(struct push_cycle *c, const struct buf *from)
{
	size_t len = MIN(from->len - c->encoded, (size_t)PUSH_BASE64_PIECE);
	size_t room = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
	char *to = (char *)buf_reserve(&c->body, room);

	if (to == NULL)
		return;
	sodium_bin2base64(to, room, from->data + c->encoded, len, sodium_base64_VARIANT_ORIGINAL);
	buf_advance(&c->body, room - 1); /* without the NUL */
	c->encoded += len;
}

static enum op_step give_up(struct push_cycle *c, const char *why)
{
	c->setup.figures->failed_uploads++;
	c->setup.figures->failing++;
	log_debug(LOG_DAEMON,
		  "msg=\"a profile was not pushed\" server=%s profile=%s status=%d why=\"%s\"",
		  c->setup.to->origin, profile_names[c->at], c->post.http_status, why);
	return next_profile(c);
}

static enum op_step do_encoding(struct push_cycle *c)
{
	const struct buf *from = &c->parts[c->at].capture.out;
	struct push_facts facts;
	uint8_t id[16];

	if (op_stopping(&c->op))
		return close_now(c);
	set_facts(c, &facts);
	if (c->url == NULL) {
		c->url = push_url(c->setup.to, &facts);
		c->encoded = 0;
		buf_init(&c->body, POST_BODY_MAX);
		if (facts.format == PUSH_PYROSCOPE_PUSH) {
			randombytes_buf(id, sizeof(id));
			push_json_begin(&c->body, &facts, id);
		}
	}
	if (facts.format == PUSH_PYROSCOPE_PUSH && buf_err(&c->body) == 0) {
		encode_piece(c, from);
		if (c->encoded < from->len && buf_err(&c->body) == 0) {
			op_defer(&c->op);
			return OP_WAIT;
		}
		push_json_end(&c->body);
	}
	if (c->url == NULL || buf_err(&c->body) < 0)
		return give_up(c, err_str(UV_ENOMEM));
	op_move(&c->op, RESTING);
	return OP_NEXT;
}

static void on_rest(struct runner_timer *timer)
{
	op_tick(&container_of(timer, struct push_cycle, rest)->op);
}

static enum op_step do_resting(struct push_cycle *c)
{
	struct push_plan *plan = c->setup.plan;

	if (op_stopping(&c->op))
		return close_now(c);
	if (push_plan_holds(plan, now_ms(c))) {
		if (plan->not_before_ms >= plan->next_ms) {
			c->setup.figures->held++;
			return next_profile(c);
		}
		runner_timer_start(c->op.env.runner, &c->rest, plan->not_before_ms);
		return OP_WAIT;
	}
	op_move(&c->op, SENDING);
	return OP_NEXT;
}

static void on_posted(struct post *post, int status)
{
	struct push_cycle *c = container_of(post, struct push_cycle, post);

	c->post_status = status;
	c->posted = true;
	op_release(&c->op);
	op_tick(&c->op);
}

static void send_profile(struct push_cycle *c)
{
	bool is_raw = c->setup.facts.format != PUSH_PYROSCOPE_PUSH;
	const struct buf *body = is_raw ? &c->parts[c->at].capture.out : &c->body;
	const char *headers[] = { c->setup.to->authorization };
	struct post_request request = { .url = c->url,
					.content_type = push_content_type(c->setup.facts.format),
					.headers = headers,
					.header_count = headers[0] != NULL,
					.body = body->data,
					.body_len = body->len,
					.reply_max = PUSH_REPLY_MAX };

	c->attempt++;
	op_hold(&c->op);
	post_start(&c->post, &c->op.env, c->setup.client, &request, PUSH_UPLOAD_MS, on_posted);
	c->setup.figures->retries += c->attempt > 1;
}

static void count_success(struct push_cycle *c)
{
	struct push_figures *f = c->setup.figures;
	bool is_raw = c->setup.facts.format != PUSH_PYROSCOPE_PUSH;

	f->sent_cpu += c->at == PUSH_CPU;
	f->sent_heap += c->at == PUSH_HEAP;
	f->sent_bytes += is_raw ? c->parts[c->at].capture.out.len : c->body.len;
	if (f->refused || f->too_old)
		log_info(LOG_DAEMON, "msg=\"the server takes profiles again\"");
	f->failing = 0;
	f->refused = f->too_old = false;
}

/* What needs somebody who runs the server is said, once. */
static void warn(struct push_cycle *c, enum push_verdict verdict)
{
	struct push_figures *f = c->setup.figures;

	f->unauthorized += verdict == PUSH_UNAUTHORIZED;
	if (verdict == PUSH_UNAUTHORIZED && !f->refused) {
		f->refused = true;
		log_warn(
			LOG_DAEMON,
			"msg=\"the server refuses the token of the connection string; profiles are "
			"tried again every %u minutes\" server=%s status=%d",
			(unsigned)PUSH_UNAUTHORIZED_MS / 60000, c->setup.to->origin,
			c->post.http_status);
	}
	if (verdict == PUSH_TOO_OLD && !f->too_old) {
		f->too_old = true;
		log_warn(LOG_DAEMON,
			 "msg=\"the server is too old for profiles: it wants every request "
			 "compressed\" server=%s",
			 c->setup.to->origin);
	}
}

static enum op_step do_sending(struct push_cycle *c)
{
	struct push_figures *f = c->setup.figures;
	enum push_verdict verdict;
	uint64_t again_ms;

	if (!c->posted && c->post.op.live)
		return OP_WAIT;
	if (!c->posted) {
		send_profile(c);
		return OP_WAIT;
	}
	c->posted = false;
	f->last_status = (unsigned)c->post.http_status;
	verdict = push_judge(c->post_status, c->post.http_status, c->post.reply.data,
			     c->post.reply.len);
	if (op_stopping(&c->op) && verdict != PUSH_TAKEN)
		return close_now(c);
	again_ms = push_plan_answer(c->setup.plan, now_ms(c), verdict, c->post.retry_after_ms,
				    c->attempt);
	post_fini(&c->post);
	if (verdict == PUSH_TAKEN) {
		count_success(c);
		return next_profile(c);
	}
	warn(c, verdict);
	if (again_ms != UINT64_MAX) {
		op_move(&c->op, RESTING);
		return OP_NEXT;
	}
	return give_up(c, c->post.why[0] != '\0' ? c->post.why :
			  c->post_status < 0	 ? err_str(c->post_status) :
						   "its status says so");
}

/* ---- The end ---- */

static enum op_step do_closing(struct push_cycle *c)
{
	runner_timer_stop(c->op.env.runner, &c->rest);
	for (int i = 0; i < PUSH_PROFILES; i++)
		if (c->parts[i].started && !c->parts[i].ended)
			op_cancel(&c->parts[i].capture.op);
	if (c->op.pending > 0)
		return OP_WAIT;
	op_move(&c->op, DONE);
	return OP_NEXT;
}

static void finish(struct push_cycle *c)
{
	for (int i = 0; i < PUSH_PROFILES; i++)
		buf_fini(&c->parts[i].capture.out);
	buf_fini(&c->body);
	post_fini(&c->post);
	c->url = mem_free(c->url);
	c->cb(c, op_status(&c->op));
}

static void cycle_tick(struct op *op)
{
	struct push_cycle *c = container_of(op, struct push_cycle, op);

	if (op_stopping(op) && op->state == SENDING && !c->posted && c->post.op.live)
		op_cancel(&c->post.op);
	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case CAPTURING: step = do_capturing(c); break;
		case ENCODING: step = do_encoding(c); break;
		case RESTING: step = do_resting(c); break;
		case SENDING: step = do_sending(c); break;
		case CLOSING: step = do_closing(c); break;
		case DONE:
			if (op_finish(op))
				finish(c); /* c may be gone */
			return;
		default: return;
		}
	}
}

void push_cycle_start(struct push_cycle *c, const struct op_env *env,
		      const struct push_setup *setup, unsigned seconds, push_cycle_cb cb)
{
	*c = (struct push_cycle){ .setup = *setup, .seconds = MAX(seconds, 1u), .cb = cb };
	c->rest.run = on_rest;
	setup->figures->cycles++;
	op_init(&c->op, &kind, env, UINT64_MAX);
}
