/* Serving reconciliation: the scope's set is read once per stream, then each message gets one
 * answer. What a message may make us do is bounded in reconcile.c, how many there may be here. */
#include "sync/serve.h"

static void on_loaded(struct snapshot_load *l, int status)
{
	struct serve *v = container_of(l, struct serve, load);

	v->loading = false;
	v->load_status = status;
	op_release(&v->op);
	op_defer(&v->op);
}

void serve_reconcile_begin(struct serve *v, const struct wire_bytes *first)
{
	if (first->len > SERVE_SMALL_BYTES && serve_room(v, first->len) < first->len) {
		serve_refuse(v, ERR_BUSY, serve_retry_ms(v->sync), 0, "no room for the message");
		return;
	}
	buf_write(&v->message, first->data, first->len);
	if (buf_err(&v->message) != 0) {
		serve_abort(v, UV_ENOMEM);
		return;
	}
	v->loading = true;
	op_hold(&v->op);
	snapshot_load_start(&v->load, &v->op.env, &v->sync->snapshots, &v->scope, on_loaded);
}

void serve_reconcile_answer(struct serve *v, const void *msg, size_t len)
{
	struct wire_reply reply = { .kind = WIRE_REPLY_RECONCILE };
	CLEANUP(buf_fini) struct buf out = { 0 };
	int err;

	if (v->rounds++ >= RECONCILE_ROUNDS_MAX) {
		serve_refuse(v, ERR_TOO_BIG, 0, RECONCILE_ROUNDS_MAX, "too many rounds");
		return;
	}
	buf_init(&out, NET_MESSAGE_MAX / 2 + RECONCILE_FRAME_MIN);
	err = reconcile_respond(&v->reconcile, msg, len, &out);
	if (err == UV_ENOMEM) {
		serve_abort(v, err);
		return;
	}
	if (err < 0) {
		serve_blame(v, err);
		return;
	}
	trace_mark(v->op.env.span, "round %u: %zu B received, %zu B sent", v->rounds, len, out.len);
	if (out.len > SERVE_SMALL_BYTES && serve_room(v, out.len) < out.len) {
		serve_refuse(v, ERR_BUSY, serve_retry_ms(v->sync), 0, "no room for the answer");
		return;
	}
	reply.bytes = (struct wire_bytes){ out.data, out.len };
	if (serve_send(v, &reply) == 0)
		serve_wait(v, SERVE_IDLE_MS);
}

bool serve_reconcile_prepare(struct serve *v)
{
	int err = v->load_status;

	if (err == 0)
		err = reconcile_init(&v->reconcile, &v->load.snapshot.set, WIRE_RECONCILE_MAX,
				     RECONCILE_REFERENCE);
	if (err < 0) {
		serve_refuse(v, err == ERR_LIMIT ? ERR_TOO_BIG : ERR_BUSY, SYNC_RETRY_AFTER_MS,
			     STORE_ITEMS_MAX, "the set could not be read");
		return false;
	}
	v->prepared = true;
	trace_mark(v->op.env.span, "local set: %zu commits", v->load.snapshot.set.count);
	serve_reconcile_answer(v, v->message.data, v->message.len);
	buf_fini(&v->message);
	return true;
}
