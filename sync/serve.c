/* Serving a peer: one operation per stream that it opens.
 *
 *   request ─┬► load ─► reconcile ───────────┐
 *            ├► idle ◄► room ◄► read ◄► send ┼► closing ─► done
 *            ├► look up ─────────────────────┤
 *            ├► dial ────────────────────────┤
 *            └► subscribed ──────────────────┘
 *
 * Suspends: request (its first message), load (the scope's set), reconcile (the asker's next
 * message), idle (more hashes), room (for the bytes of the next batch), read (the store), send (the
 * asker takes what is queued), look up (the peer table), dial (the asker, back), subscribed,
 * closing.
 *
 * Everything a peer sends is checked in wire.c; what it may cost is bounded: places in
 * serve_admit.c, bytes held for it in serve_budget.c, here requests per second, rounds, hashes
 * queued, and a deadline for every wait. Nothing is written to the store for a request, so a scope
 * nobody knows leaves no trace. */
#include "sync/serve.h"

#include <string.h>

#include "base/mem.h"

enum { REQUEST, LOAD, RECONCILE, IDLE, ROOM, READ, SEND, LOOK_UP, DIAL, SUBSCRIBED, CLOSING, DONE };

#define FETCHING (TO(IDLE) | TO(ROOM) | TO(READ) | TO(SEND) | TO(CLOSING))

static const struct op_state states[] = {
	[REQUEST] = { "request",
		      TO(LOAD) | TO(IDLE) | TO(LOOK_UP) | TO(DIAL) | TO(SUBSCRIBED) | TO(CLOSING) },
	[LOAD] = { "load", TO(RECONCILE) | TO(CLOSING) },
	[RECONCILE] = { "reconcile", TO(CLOSING) },
	[IDLE] = { "idle", FETCHING },
	[ROOM] = { "room", FETCHING },
	[READ] = { "read", FETCHING },
	[SEND] = { "send", FETCHING },
	[LOOK_UP] = { "look up", TO(CLOSING) },
	[DIAL] = { "dial", TO(CLOSING) },
	[SUBSCRIBED] = { "subscribed", TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};
static void serve_tick(struct op *op);
static const struct op_kind kind = { "sync.serve", states, ARRAY_SIZE(states), serve_tick };

/* ---- Sending, ending ---- */

int serve_send(struct serve *v, const struct wire_reply *reply)
{
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	if (!v->open || v->we_ended)
		return ERR_CLOSED;
	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_reply_encode(reply, &msg);
	if (err == 0)
		err = net_stream_send(&v->stream, msg.data, msg.len);
	if (err < 0)
		serve_abort(v, err);
	v->moved_bytes += msg.len;
	v->sent_bytes += msg.len;
	return err;
}

void serve_wait(struct serve *v, uint64_t ms)
{
	v->due_ms = runner_now_ms(v->op.env.runner) + ms;
	if (v->kind != WIRE_SUBSCRIBE || !v->has_request)
		v->due_ms = MIN(v->due_ms, v->started_ms + SERVE_TOTAL_MS);
	v->queued_bytes = v->open ? net_stream_queued(&v->stream) : 0;
	runner_timer_start(v->op.env.runner, &v->timer, v->due_ms);
}

void serve_end(struct serve *v)
{
	if (v->we_ended)
		return;
	v->we_ended = true;
	if (v->open)
		net_stream_end(&v->stream);
	serve_wait(v, SERVE_END_MS);
}

void serve_refuse(struct serve *v, int code, uint32_t retry_after_ms, uint64_t cap,
		  const char *text)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_REFUSAL };

	if (code == ERR_BUSY)
		v->sync->stats.refusals_busy++;
	else
		v->sync->stats.refusals_other++;
	reply.refusal =
		(struct wire_refusal){ .code = code, .retry_after_ms = retry_after_ms, .cap = cap };
	memcpy(reply.refusal.text, text, MIN(strlen(text), (size_t)WIRE_TEXT_MAX));
	trace_errorf(v->op.env.span, "refused: %s", text);
	op_result(&v->op, code);
	if (serve_send(v, &reply) == 0)
		serve_end(v);
	op_defer(&v->op);
}

bool serve_leave(struct serve *v)
{
	struct sync *s = v->sync;

	if (s->leaving >= SERVE_LEAVING_MAX)
		return false;
	v->leaving = true;
	s->leaving++;
	serve_refuse(v, ERR_BUSY, serve_retry_ms(s), 0, "others are waiting too");
	serve_wait(v, SERVE_LEAVE_MS);
	return true;
}

void serve_abort(struct serve *v, int status)
{
	op_stop(&v->op, status);
}

void serve_blame(struct serve *v, int status)
{
	if (op_stopping(&v->op))
		return;
	trace_errorf(v->op.env.span, "the peer is to blame: %s", err_str(status));
	sync_peer_charge(v->sync, &v->peer);
	serve_abort(v, status == UV_ENOMEM ? status : ERR_PROTOCOL);
}

/* ---- Requests ---- */

static void open_span(struct serve *v, const struct wire_request *r)
{
	CLEANUP(buf_fini) struct buf title = { 0 };
	char peer[PEER_ID_TEXT_SIZE];
	struct span span;

	bool scoped = v->kind == WIRE_RECONCILE || v->kind == WIRE_FETCH;

	if (v->sync->config.trace == NULL || (!scoped && v->kind != WIRE_DIAL_BACK))
		return;
	buf_init(&title, IRI_TEXT_MAX);
	if (scoped)
		scope_format(&v->scope, &title);
	buf_printf(&title, "%s%s", scoped ? " " : "", wire_request_name(v->kind));
	if (buf_err(&title) != 0)
		buf_clear(&title);
	span = trace_root(v->sync->config.trace, "sync.serve",
			  title.len > 0 ? (const char *)title.data : "", title.len,
			  r->traced ? &r->trace : NULL);
	peer_id_format(&v->peer, peer);
	trace_attr_str(span, "peer", peer, strlen(peer));
	trace_stage(span, states[v->op.state].name);
	op_own_span(&v->op, span);
}

static void begin_request(struct serve *v, const struct wire_request *r)
{
	switch (r->kind) {
	case WIRE_RECONCILE:
		serve_reconcile_begin(v, &r->bytes);
		if (v->loading)
			op_move(&v->op, LOAD);
		break;
	case WIRE_FETCH: op_move(&v->op, IDLE); break;
	case WIRE_SUBSCRIBE:
		serve_subscribe_begin(v, r->many);
		if (v->subscribed)
			op_move(&v->op, SUBSCRIBED);
		break;
	case WIRE_PEERS:
		serve_peers_begin(v, &r->space);
		op_move(&v->op, LOOK_UP);
		break;
	case WIRE_DIAL_BACK:
		if (serve_dialback_begin(v, r->port))
			op_move(&v->op, DIAL);
		break;
	case WIRE_PING:
		if (serve_send(v, &(struct wire_reply){ .kind = WIRE_REPLY_PONG,
							.bytes = r->bytes }) == 0)
			serve_end(v);
		break;
	}
}

static void take_request(struct serve *v, const struct wire_request *r)
{
	uint64_t wait_ms = sync_peer_spend(v->sync, &v->peer);

	v->has_request = true;
	v->kind = r->kind;
	v->scope = r->scope;
	v->sync->stats.serves++;
	open_span(v, r);
	serve_wait(v, SERVE_IDLE_MS);
	if (wait_ms > 0)
		serve_refuse(v, ERR_BUSY, (uint32_t)MIN(wait_ms, (uint64_t)WIRE_RETRY_MAX_MS), 0,
			     "too many requests");
	else
		begin_request(v, r);
}

/* ---- Stream ---- */

static void take_more(struct serve *v, const struct wire_more *more)
{
	if (more->kind == WIRE_MORE_FETCH && v->kind == WIRE_FETCH) {
		serve_wait(v, SERVE_IDLE_MS);
		serve_fetch_take(v, more);
	} else if (more->kind == WIRE_MORE_RECONCILE && v->kind == WIRE_RECONCILE && v->prepared &&
		   net_stream_queued(&v->stream) == 0) { /* it has read the answer to its last */
		serve_reconcile_answer(v, more->reconcile.data, more->reconcile.len);
	} else if (more->kind == WIRE_MORE_FOLLOW && v->subscribed && v->hearer.many) {
		serve_subscribe_take(v, more);
	} else {
		serve_blame(v, ERR_PROTOCOL);
	}
}

static void take_message(struct serve *v, const uint8_t *msg, size_t len, struct arena *a)
{
	struct wire_request request;
	struct wire_more more;
	int err;

	if (v->has_request) {
		err = wire_more_decode(msg, len, a, &more);
		if (err == 0)
			take_more(v, &more);
	} else {
		err = wire_request_decode(msg, len, a, &request);
		if (err == 0)
			take_request(v, &request);
	}
	if (err == ERR_UNSUPPORTED)
		serve_refuse(v, err, 0, 0, "no such request here");
	else if (err == ERR_LIMIT)
		serve_refuse(v, ERR_TOO_BIG, 0, WIRE_RECONCILE_MAX,
			     "a part of the message is too big");
	else if (err < 0)
		serve_blame(v, err);
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct serve *v = stream->data;
	struct arena arena;

	if (op_stopping(&v->op) || v->closing || v->we_ended || v->turned_away)
		return;
	/* To ask for more is no sign of reading. */
	if (net_stream_queued(stream) == 0)
		v->moved_ms = runner_now_ms(v->op.env.runner);
	v->moved_bytes += len;
	wire_arena_init(&arena, len);
	take_message(v, msg, len, &arena);
	arena_fini(&arena);
	op_defer(&v->op);
}

static void on_drain(struct net_stream *stream)
{
	struct serve *v = stream->data;

	if (v->subscribed)
		announce_drained(v->sync, &v->hearer);
	else if (!v->we_ended)
		serve_wait(v, SERVE_IDLE_MS);
	serve_freed(v->sync);
	op_defer(&v->op);
}

static void on_end(struct net_stream *stream)
{
	struct serve *v = stream->data;

	v->peer_ended = true;
	op_defer(&v->op);
}

static void on_close(struct net_stream *stream, int status)
{
	struct serve *v = stream->data;

	v->open = false;
	serve_freed(v->sync);
	if (status < 0)
		op_stop(&v->op, status);
	op_release(&v->op);
	op_defer(&v->op);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, on_end };

/* ---- Machine ---- */

/* A slow taker is waited for as long as it takes something. */
static void on_timer(struct runner_timer *timer)
{
	struct serve *v = container_of(timer, struct serve, timer);

	if (v->open && net_stream_queued(&v->stream) < v->queued_bytes &&
	    runner_now_ms(v->op.env.runner) < v->started_ms + SERVE_TOTAL_MS)
		serve_wait(v, SERVE_IDLE_MS);
	else if (list_linked(&v->waiting) && !v->we_ended)
		serve_refuse(v, ERR_BUSY, serve_retry_ms(v->sync), 0, "no room came free");
	else
		op_stop(&v->op, UV_ETIMEDOUT);
}

/* Nothing is left to answer and the asker has ended: so do we. */
static void end_if_answered(struct serve *v)
{
	if (v->peer_ended && !v->reading && !v->loading && !v->looking && !v->dialing &&
	    v->queue_count == 0)
		serve_end(v);
}

static unsigned fetch_stage(const struct serve *v)
{
	if (v->reading)
		return READ;
	if (list_linked(&v->waiting))
		return ROOM;
	return v->queue_count > 0 ? SEND : IDLE;
}

static enum op_step do_serving(struct serve *v)
{
	if (op_stopping(&v->op) || !v->open) {
		op_move(&v->op, CLOSING);
		return OP_NEXT;
	}
	if (v->turned_away && !v->leaving && !serve_leave(v)) {
		serve_abort(v, ERR_BUSY);
		return OP_NEXT;
	}
	if (v->op.state == LOAD && !v->loading && !v->prepared && !v->we_ended &&
	    serve_reconcile_prepare(v))
		op_move(&v->op, RECONCILE);
	if (v->has_request && v->kind == WIRE_FETCH && v->op.state != REQUEST) {
		serve_fetch_work(v);
		if (fetch_stage(v) != v->op.state)
			op_move(&v->op, fetch_stage(v));
	}
	if (op_stopping(&v->op))
		return OP_NEXT;
	end_if_answered(v);
	return OP_WAIT;
}

static void begin_closing(struct serve *v)
{
	int status = op_status(&v->op);

	v->closing = true;
	serve_quench(v);
	runner_timer_stop(v->op.env.runner, &v->timer);
	serve_subscribe_end(v);
	if (v->loading)
		op_cancel(&v->load.op);
	if (v->reading)
		op_cancel(&v->get.op);
	if (v->looking)
		op_cancel(&v->peers.op);
	if (v->dialing)
		op_cancel(&v->dial.op);
	if (v->open)
		net_stream_reset(&v->stream, status == ERR_PROTOCOL || status == ERR_BUSY ?
						     status :
						     UV_ECANCELED);
}

static void serve_free(struct serve *v)
{
	struct sync *s = v->sync;
	struct sync_peer *p = sync_peer_get(s, &v->peer);

	if (v->counted)
		s->stats.active_serves--;
	if (p != NULL && v->counted)
		p->serving--;
	if (p != NULL && v->subscribed)
		ranks_unsubscribed(s, p);
	s->stats.hearers -= v->subscribed;
	s->leaving -= v->leaving;
	list_remove(&v->waiting);
	list_remove(&v->node);
	snapshot_fini(&v->load.snapshot);
	buf_fini(&v->message);
	mem_free(v->queue);
	mem_free(v);
	sync_check_closed(s);
}

static enum op_step do_closing(struct serve *v)
{
	if (!v->closing)
		begin_closing(v);
	if (v->op.pending > 0)
		return OP_WAIT;
	op_move(&v->op, DONE);
	return OP_NEXT;
}

static void serve_tick(struct op *op)
{
	struct serve *v = container_of(op, struct serve, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case CLOSING: step = do_closing(v); break;
		case DONE:
			if (!op_finish(op))
				return;
			if (op_owns_span(op))
				trace_finish(op->env.span, op_status(op), NULL);
			serve_free(v);
			return;
		default: step = do_serving(v); break;
		}
	}
}

/* ---- Streams that peers open ---- */

static struct serve *serve_new(struct sync *s, const struct share *newcomer, bool has_place)
{
	struct op_env env = sync_env(s, UINT64_MAX);
	struct serve *v = mem_alloc(sizeof(*v));

	if (v == NULL)
		return NULL;
	v->sync = s;
	v->from = newcomer->from;
	v->peer = newcomer->from.key;
	v->open = true;
	v->counted = has_place;
	v->turned_away = !has_place;
	v->timer.run = on_timer;
	v->stream = (struct net_stream){ .events = &events, .data = v, .tell_empty = true };
	buf_init(&v->message, WIRE_RECONCILE_MAX + 1);
	list_init(&v->waiting);
	op_init(&v->op, &kind, &env, UINT64_MAX);
	op_hold(&v->op);
	v->started_ms = v->moved_ms = runner_now_ms(env.runner);
	serve_wait(v, SERVE_REQUEST_MS);
	list_push_back(&s->serves, &v->node);
	return v;
}

static struct net_stream *on_stream(void *data, struct net_conn *c, int *ret_refusal)
{
	struct sync *s = data;
	struct sync_peer *p = s->closing ? NULL : sync_peer_get(s, net_conn_peer(c));
	struct share newcomer = { .weight = 1 };
	struct net_conn_info info;
	struct serve *v;
	bool has_place;

	*ret_refusal = ERR_BUSY;
	if (p == NULL) {
		s->stats.refusals_busy++;
		return NULL;
	}
	net_conn_info(c, &info);
	newcomer.from = share_origin_of(&info.remote, &info.peer);
	newcomer.rank = sync_rank(s, &info.peer);
	has_place = serve_has_place(s, &newcomer);
	s->stats.turned_away += !has_place;
	if (!has_place && s->leaving >= SERVE_LEAVING_MAX) {
		s->stats.refusals_busy++;
		return NULL;
	}
	v = serve_new(s, &newcomer, has_place);
	if (v == NULL)
		return NULL;
	p = sync_peer_get(s, &info.peer);
	REQUIRE(p != NULL);
	p->serving += v->counted;
	s->stats.active_serves += v->counted;
	return &v->stream;
}

static enum share_rank on_rank(void *data, const struct public_key *peer)
{
	return sync_rank(data, peer);
}

static void tell_conn(struct sync *s, const struct net_conn *c, bool up)
{
	const struct sync_listener *l = s->config.listener;

	if (!s->closing && l != NULL && l->on_conn != NULL)
		l->on_conn(s->config.listener_data, net_conn_peer(c), up);
}

static void on_conn_up(void *data, struct net_conn *c)
{
	tell_conn(data, c, true);
}

/* The streams have had their on_close. Another conn to the same peer may be up beside it. */
static void on_conn_down(void *data, struct net_conn *c, int status)
{
	struct sync *s = data;

	(void)status;
	if (net_find(s->config.net, net_conn_peer(c)) == NULL)
		tell_conn(s, c, false);
}

const struct net_service serve_service = { on_stream, on_conn_up, on_conn_down, on_rank };

void serve_stop_all(struct sync *s)
{
	list_for_each(node, &s->serves)
		op_stop(&list_entry(node, struct serve, node)->op, UV_ECANCELED);
}
