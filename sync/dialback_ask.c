/* Asking a peer to dial us back.
 *
 *	start ─┬► ask ─► closing ─► done
 *	       └───────────┘
 *
 * Suspends: ask (the peer dials, or does not), closing (the stream's end). */
#include "sync/dialback.h"

#include <string.h>

enum { START, ASK, CLOSING, DONE };
enum { ASK_TIMEOUT_MS = 3 * DIALBACK_TIMEOUT_MS };

static void dialback_tick(struct op *op);

static const struct op_state states[] = {
	[START] = { "start", TO(ASK) | TO(CLOSING) },
	[ASK] = { "ask", TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};
static const struct op_kind kind = { "sync.dialback", states, ARRAY_SIZE(states), dialback_tick };

/* ---- Stream ---- */

static void take(struct sync_dialback *d, const struct wire_reply *reply)
{
	if (reply->kind == WIRE_REPLY_REFUSAL) {
		trace_errorf(d->op.env.span, "refused: %s", reply->refusal.text);
		op_result(&d->op, reply->refusal.code);
	} else if (reply->kind != WIRE_REPLY_DIALED_BACK || reply->dialed.port != d->port) {
		sync_peer_charge(d->sync, &d->peer);
		op_result(&d->op, ERR_PROTOCOL);
	} else {
		d->reached = reply->reached;
		d->seen = reply->dialed;
		op_result(&d->op, 0);
	}
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct sync_dialback *d = stream->data;
	struct wire_reply reply;
	struct arena arena;
	int err;

	if (op_has_result(&d->op))
		return;
	wire_arena_init(&arena, len);
	err = wire_reply_decode(msg, len, &arena, &reply);
	if (err == 0)
		take(d, &reply);
	else
		op_result(&d->op, err);
	arena_fini(&arena);
	op_defer(&d->op);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	struct sync_dialback *d = stream->data;

	d->open = false;
	op_result(&d->op, status < 0 ? status : ERR_PROTOCOL); /* if there was no answer before */
	op_release(&d->op);
	op_defer(&d->op);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

/* ---- Machine ---- */

static void open_span(struct sync_dialback *d)
{
	struct trace *trace = d->sync->config.trace;
	char peer[PEER_ID_TEXT_SIZE];
	struct span span;

	if (trace == NULL)
		return;
	peer_id_format(&d->peer, peer);
	span = d->op.env.span.trace != NULL ?
		       trace_child(d->op.env.span, "sync.dialback", peer, strlen(peer)) :
		       trace_root(trace, "sync.dialback", peer, strlen(peer), NULL);
	op_own_span(&d->op, span);
	trace_attr_int(span, "port", d->port);
}

static int ask(struct sync_dialback *d)
{
	struct net_conn *conn = net_find(d->sync->config.net, &d->peer);
	struct wire_request request = { .kind = WIRE_DIAL_BACK, .port = d->port };
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err = conn != NULL ? net_stream_open(&d->stream, conn) : ERR_NOT_FOUND;

	if (err < 0)
		return err;
	d->open = true;
	op_hold(&d->op);
	d->sync->stats.dialbacks_out++;
	request.traced = trace_context_of(d->op.env.span, &request.trace);
	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_request_encode(&request, &msg);
	return err < 0 ? err : net_stream_send(&d->stream, msg.data, msg.len);
}

static enum op_step do_start(struct sync_dialback *d)
{
	int err;

	open_span(d);
	if (!op_stopping(&d->op)) {
		op_move(&d->op, ASK);
		err = ask(d);
		if (err == 0)
			return OP_WAIT;
		op_result(&d->op, err);
	}
	op_move(&d->op, CLOSING);
	return OP_NEXT;
}

static enum op_step do_ask(struct sync_dialback *d)
{
	if (!op_stopping(&d->op) && !op_has_result(&d->op))
		return OP_WAIT;
	op_move(&d->op, CLOSING);
	return OP_NEXT;
}

static enum op_step do_closing(struct sync_dialback *d)
{
	if (d->open && !d->closing) {
		d->closing = true;
		if (op_status(&d->op) == 0)
			net_stream_end(&d->stream);
		else
			net_stream_reset(&d->stream, UV_ECANCELED);
	}
	if (d->op.pending > 0)
		return OP_WAIT;
	op_move(&d->op, DONE);
	return OP_NEXT;
}

static void finish(struct sync_dialback *d)
{
	int status = op_status(&d->op);

	if (!op_finish(&d->op))
		return;
	if (op_owns_span(&d->op)) {
		trace_attr_bool(d->op.env.span, "reached", status == 0 && d->reached);
		trace_finish(d->op.env.span, status,
			     status < 0 ? NULL : (d->reached ? "reached" : "not reached"));
	}
	d->cb(d, status);
}

static void dialback_tick(struct op *op)
{
	struct sync_dialback *d = container_of(op, struct sync_dialback, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case START: step = do_start(d); break;
		case ASK: step = do_ask(d); break;
		case CLOSING: step = do_closing(d); break;
		default: finish(d); return;
		}
	}
}

void sync_dialback_start(struct sync_dialback *d, const struct op_env *env, struct sync *s,
			 const struct public_key *peer, uint16_t port, sync_dialback_cb cb)
{
	op_init(&d->op, &kind, env, ASK_TIMEOUT_MS);
	d->cb = cb;
	d->sync = s;
	d->peer = *peer;
	d->port = port;
	d->reached = d->open = d->closing = false;
	d->stream = (struct net_stream){ .events = &events, .data = d };
}
