/* Serving a dial-back: one probe, one answer. */
#include "sync/dialback.h"
#include "sync/serve.h"

static void on_dialed(struct net_dial *dial, int status)
{
	struct serve *v = dial->data;
	struct wire_reply reply = { .kind = WIRE_REPLY_DIALED_BACK,
				    .reached = status == 0,
				    .dialed = v->dial_addr };

	v->dialing = false;
	dialback_ended(v->sync, status == 0);
	/* An attempt of ours that could not begin says nothing about the peer. */
	if (!op_stopping(&v->op) && (status == UV_ENOMEM || status == ERR_LIMIT))
		serve_refuse(v, ERR_BUSY, SYNC_RETRY_AFTER_MS, 0, "no dialing now");
	else if (!op_stopping(&v->op) && serve_send(v, &reply) == 0)
		serve_end(v);
	op_release(&v->op);
	op_defer(&v->op);
}

bool serve_dialback_begin(struct serve *v, uint16_t port)
{
	struct op_env env = v->op.env;
	struct net_conn *conn = net_stream_conn(&v->stream);
	uint32_t wait_ms = SYNC_RETRY_AFTER_MS;
	int err = conn != NULL ? dialback_begin(v->sync, conn, port, &v->dial_addr, &wait_ms) :
				 ERR_REFUSED;

	if (err < 0) {
		serve_refuse(v, err == ERR_REFUSED ? err : ERR_BUSY, wait_ms, 0,
			     err == ERR_REFUSED ? "nobody is dialed there" : "too many dial-backs");
		return false;
	}
	env.deadline_ms =
		MIN(env.deadline_ms, runner_now_ms(env.runner) + (uint64_t)DIALBACK_TIMEOUT_MS);
	v->dialing = true;
	v->dial.data = v;
	v->dial.probe = true;
	op_hold(&v->op);
	net_dial_start(&v->dial, &env, v->sync->config.net, &v->peer, &v->dial_addr, 1, on_dialed);
	return true;
}
