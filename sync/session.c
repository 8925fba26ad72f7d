/* One peer session.
 *
 *   dial ─► handshake ─► load ─► reconcile ─┬► fetch commits ◄─► fetch content ◄─► wait ◄─► store
 * ─┬─► closing ─► done └──────────────────────────────────────────────────────┘
 *
 * Suspends: dial, handshake (net_dial), load (the scope's set, read while the dial is under way),
 * reconcile (a reply), busy (the peer has no place and said when), fetch … (blobs), wait (for what
 * other sessions have in flight), store (a put, a look-up), closing (streams, the last put).
 *
 * From reconcile to store there is one machine, work(): rounds, fetching and storing go on side by
 * side. The state names what the session would be done without: rounds before blobs before the
 * store before others. Each tick recomputes it.
 *
 * A cut does not throw away what has arrived: closing stores it, for at most SESSION_PUT_GRACE_MS.
 * That, and the end of one transaction, bounds how late after a cancel the callback comes. */
#include "sync/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum {
	DIAL,
	HANDSHAKE,
	LOAD,
	RECONCILE,
	BUSY,
	FETCH_COMMITS,
	FETCH_CONTENT,
	WAIT,
	STORE,
	CLOSING,
	DONE
};

#define WORKING                                                                                    \
	(TO(RECONCILE) | TO(BUSY) | TO(FETCH_COMMITS) | TO(FETCH_CONTENT) | TO(WAIT) | TO(STORE) | \
	 TO(CLOSING))

static const struct op_state states[] = {
	[DIAL] = { "dial", TO(HANDSHAKE) | TO(LOAD) | TO(CLOSING) },
	[HANDSHAKE] = { "handshake", TO(LOAD) | TO(CLOSING) },
	[LOAD] = { "load", TO(RECONCILE) | TO(CLOSING) },
	[RECONCILE] = { "reconcile", WORKING },
	[BUSY] = { "busy", WORKING },
	[FETCH_COMMITS] = { "fetch commits", WORKING },
	[FETCH_CONTENT] = { "fetch content", WORKING },
	[WAIT] = { "wait", WORKING },
	[STORE] = { "store", WORKING },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};
static void session_tick(struct op *op);
static const struct op_kind kind = { "sync.peer", states, ARRAY_SIZE(states), session_tick };

/* ---- Ending ---- */

void session_fail(struct session *s, int status)
{
	if (op_stopping(&s->op))
		return;
	s->faulted = true;
	op_stop(&s->op, status);
}

void session_why(struct session *s, const char *format, ...)
{
	char text[SYNC_WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	trace_errorf(s->op.env.span, "%s", text);
	if (s->outcome.why[0] == '\0')
		memcpy(s->outcome.why, text, sizeof(text));
}

void session_blame(struct session *s, int status, const char *why)
{
	if (op_stopping(&s->op))
		return;
	trace_errorf(s->op.env.span, "the peer is to blame: %s", err_str(status));
	session_why(s, "%s", why);
	s->outcome.offended = true;
	sync_peer_charge(s->sync, &s->outcome.target.peer);
	session_fail(s, status);
}

void session_cut(struct session *s, enum sync_cut why, int status)
{
	if (op_stopping(&s->op) || s->closing)
		return;
	s->outcome.cut = why;
	op_stop(&s->op, status);
}

static uint64_t now_ms(const struct session *s)
{
	return runner_now_ms(s->op.env.runner);
}

/* What it waits for is the peer's, who has answered in time until now; or our own, or another's. */
bool session_is_hopeful(const struct session *s)
{
	uint64_t patience_ms = pace_patience_ms(&s->pace);

	switch (s->op.state) {
	case DIAL: return true;
	case HANDSHAKE:
		return now_ms(s) - s->connected_ms <=
		       MAX(3 * (s->connected_ms - s->dialed_ms), (uint64_t)PACE_PATIENCE_MIN_MS);
	case RECONCILE:
		return now_ms(s) - s->round_ms <= patience_ms && !s->doubted &&
		       (s->round <= SESSION_HOPEFUL_ROUNDS || s->useful > 0);
	case FETCH_COMMITS:
	case FETCH_CONTENT: return now_ms(s) - s->useful_ms <= patience_ms;
	case WAIT:
	case CLOSING:
	case DONE: return false;
	default: return true;
	}
}

bool session_talks(const struct session *s)
{
	return (s->connected || s->outcome.proven) && !s->rounds_done && !s->closing &&
	       session_is_hopeful(s);
}

bool session_is_store_error(int status)
{
	return status == ERR_STORE || status == ERR_DISK_FULL || status == ERR_READ_ONLY ||
	       status == ERR_CORRUPT;
}

/* ---- Dialing, loading ---- */

static void on_connected(struct net_dial *d)
{
	struct session *s = container_of(d, struct session, dial);

	s->connected = true;
	s->connected_ms = now_ms(s);
	pace_answered_in(&s->pace, s->connected_ms - s->dialed_ms);
	op_defer(&s->op);
}

static void on_dialed(struct net_dial *d, int status)
{
	struct session *s = container_of(d, struct session, dial);
	struct net_conn_info info;

	s->dialing = false;
	s->dial_status = status;
	if (status == 0) {
		net_conn_info(d->conn, &info);
		s->outcome.target.peer = info.peer;
		s->outcome.target.any_peer = false;
		s->outcome.proven = true;
		s->outcome.reused = d->reused;
		s->first_bytes = info.received_bytes;
		if (info.rtt_us > 0)
			pace_answered_in(&s->pace, info.rtt_us / 1000);
		s->outcome.dial_addr = info.dial_addr;
		s->remote = info.remote; /* the conn may be gone by the next tick */
	}
	op_release(&s->op);
	op_defer(&s->op);
}

static void on_loaded(struct snapshot_load *l, int status)
{
	struct session *s = container_of(l, struct session, load);

	s->loading = false;
	s->load_status = status;
	op_release(&s->op);
	op_defer(&s->op);
}

/* The scope's set is read while the dial is under way. */
static void begin(struct session *s)
{
	const struct sync_target *t = &s->outcome.target;

	s->started = s->dialing = s->loading = true;
	s->dialed_ms = now_ms(s);
	op_hold(&s->op);
	s->dial.on_connected = on_connected;
	net_dial_start(&s->dial, &s->op.env, s->sync->config.net, t->any_peer ? NULL : &t->peer,
		       t->addrs, t->addr_count, on_dialed);
	op_hold(&s->op);
	snapshot_load_start(&s->load, &s->op.env, &s->sync->snapshots, &s->wave->scope, on_loaded);
}

static void tell_peer(struct session *s)
{
	struct span span = s->op.env.span;
	char text[MULTIADDR_TEXT_SIZE];

	peer_id_format(&s->outcome.target.peer, text);
	trace_attr_str(span, "peer", text, strlen(text));
	multiaddr_format(&s->remote, text);
	trace_attr_str(span, "address", text, strlen(text));
	trace_mark(span, "dial ok (reused=%d)", s->outcome.reused ? 1 : 0);
}

static enum op_step close_now(struct session *s)
{
	op_move(&s->op, CLOSING);
	return OP_NEXT;
}

static enum op_step do_dial(struct session *s)
{
	if (op_stopping(&s->op))
		return close_now(s);
	if (!s->started)
		begin(s);
	if (s->op.state == DIAL && s->connected && s->dialing)
		op_move(&s->op, HANDSHAKE);
	if (s->dialing)
		return OP_WAIT;
	if (s->dial_status == 0 && wave_has_peer(s->wave, s->index, &s->outcome.target.peer))
		s->dial_status = UV_EALREADY;
	if (s->dial_status == UV_EALREADY) {
		trace_mark(s->op.env.span, "this peer is asked already");
		session_fail(s, UV_EALREADY);
		return close_now(s);
	}
	if (s->dial_status < 0) {
		trace_errorf(s->op.env.span, "dial failed: %s", err_str(s->dial_status));
		session_fail(s, s->dial_status);
		return close_now(s);
	}
	s->admitted = true;
	tell_peer(s);
	op_move(&s->op, LOAD);
	return OP_NEXT;
}

static enum op_step do_load(struct session *s)
{
	int err;

	if (op_stopping(&s->op))
		return close_now(s);
	if (s->loading)
		return OP_WAIT;
	err = s->load_status;
	if (err == 0) {
		trace_mark(s->op.env.span, "local set: %zu commits", s->load.snapshot.set.count);
		err = session_rounds_begin(s);
	}
	if (err < 0) {
		session_fail(s, err);
		if (session_is_store_error(err))
			wave_store_failed(s->wave, err);
		return close_now(s);
	}
	op_move(&s->op, RECONCILE);
	return OP_NEXT;
}

/* ---- Streams ---- */

int session_open_stream(struct session *s, struct net_stream *stream,
			const struct net_stream_events *events, const struct wire_request *request,
			bool *ret_open)
{
	struct net_conn *conn = net_find(s->sync->config.net, &s->outcome.target.peer);
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	if (conn == NULL)
		return ERR_CLOSED;
	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_request_encode(request, &msg);
	if (err < 0)
		return err;
	*stream = (struct net_stream){ .events = events, .data = s };
	err = net_stream_open(stream, conn);
	if (err < 0)
		return err;
	op_hold(&s->op);
	*ret_open = true;
	return net_stream_send(stream, msg.data, msg.len);
}

/* ---- Working ---- */

static void finish(struct session *s)
{
	uint64_t owed = fetch_set_owed(s->wave->wants, s->index);
	uint64_t behind = fetch_set_behind(s->wave->wants, s->index);

	/* One that gave nothing at all was asked in vain. */
	s->outcome.offended = s->missing_listed > 0 && s->useful == 0;
	if (behind > 0)
		session_why(s, "%llu commits that it lists could not be had",
			    (unsigned long long)behind);
	else if (owed > 0)
		session_why(s, "%llu blobs could not be had", (unsigned long long)owed);
	else if (session_time_was_useless(s))
		return;
	op_result(&s->op, owed > 0 || behind > 0 ? ERR_MISSING : 0);
}

static unsigned stage(struct session *s)
{
	struct session_live live = session_fetch_live(s);

	if (s->busy_until_ms != 0)
		return BUSY;
	if (!s->rounds_done)
		return RECONCILE;
	if (live.count > 0)
		return live.commits > 0 ? FETCH_COMMITS : FETCH_CONTENT;
	if (s->put_count > 0 || s->has_running || s->to_check_count > 0)
		return STORE;
	if (fetch_set_waits(s->wave->wants, s->index) || s->wave->loading || s->wave->reload ||
	    s->wave->news)
		return WAIT;
	return CLOSING;
}

/* Content comes when it is clear which is the newest: after the commits that this peer listed. Those
 * that others list do not hold it up; what they supersede is then forgotten. */
static void hold_content(struct session *s)
{
	struct fetch_set *wants = s->wave->wants;
	bool done = s->rounds_done && s->to_check_count == 0 && !s->has_running &&
		    !session_fetch_has_commits(s) && !fetch_set_commits_open(wants, s->index);

	fetch_set_hold(wants, s->index, !done || !wave_content_is_known(s->wave));
}

static enum op_step do_work(struct session *s)
{
	unsigned next;
	int err;

	session_time_check(s);
	if (!op_stopping(&s->op)) {
		session_rounds_work(s);
		hold_content(s);
		err = session_fetch_ask(s);
		if (err < 0)
			session_fail(s, err);
		session_fetch_put(s);
	}
	if (op_stopping(&s->op))
		return close_now(s);
	next = stage(s);
	if (next == CLOSING)
		finish(s);
	if (next != s->op.state)
		op_move(&s->op, next);
	if (next == CLOSING)
		return OP_NEXT;
	session_time_arm(s);
	return OP_WAIT;
}

/* ---- Closing ---- */

static int reset_code(const struct session *s)
{
	int status = op_status(&s->op);

	return status == ERR_PROTOCOL || status == ERR_MALFORMED || status == ERR_VERIFY ||
			       status == ERR_LIMIT ?
		       ERR_PROTOCOL :
		       UV_ECANCELED;
}

static void begin_closing(struct session *s)
{
	bool unanswered = s->asked_count > 0;

	s->closing = true;
	if (s->dialing)
		op_cancel(&s->dial.op);
	if (s->loading)
		op_cancel(&s->load.op);
	fetch_set_leave(s->wave->wants, s->index);
	session_rounds_end(s);
	session_fetch_release(s);
	wave_kick(s->wave);
	/* What was asked for in vain would be sent before any farewell. */
	if (op_status(&s->op) == 0 && !unanswered) {
		if (s->rounds_open)
			net_stream_end(&s->rounds);
		if (s->blobs_open)
			net_stream_end(&s->blobs);
		runner_timer_start(s->op.env.runner, &s->timer,
				   runner_now_ms(s->op.env.runner) + SESSION_CLOSE_MS);
		return;
	}
	runner_timer_stop(s->op.env.runner, &s->timer);
	if (s->rounds_open)
		net_stream_reset(&s->rounds, reset_code(s));
	if (s->blobs_open)
		net_stream_reset(&s->blobs, reset_code(s));
}

/* The peer has not ended its side in time, or a deadline came while waiting for that. */
static void reset_streams(struct session *s)
{
	if (s->rounds_open)
		net_stream_reset(&s->rounds, UV_ECANCELED);
	if (s->blobs_open)
		net_stream_reset(&s->blobs, UV_ECANCELED);
}

static enum op_step do_closing(struct session *s)
{
	if (!s->closing)
		begin_closing(s);
	else if (!s->timer.armed)
		reset_streams(s);
	session_fetch_put(s);
	if (s->op.pending > 0)
		return OP_WAIT;
	runner_timer_stop(s->op.env.runner, &s->timer);
	op_move(&s->op, DONE);
	return OP_NEXT;
}

/* ---- Done ---- */

static const char *outcome_name(const struct session *s)
{
	static const char *const cuts[] = { NULL,	"resolved",  "straggler",
					    "deadline", "cancelled", "slow" };

	if (s->outcome.cut != SYNC_CUT_NONE)
		return cuts[s->outcome.cut];
	if (op_status(&s->op) == UV_EALREADY)
		return "duplicate";
	return op_status(&s->op) == ERR_MISSING ? "partial" : NULL;
}

/* All that came from it but what was stored. */
static void note_waste(struct session *s)
{
	struct net_conn *conn = net_find(s->sync->config.net, &s->outcome.target.peer);
	struct net_conn_info info = { .received_bytes = s->first_bytes };
	uint64_t got;

	if (conn != NULL)
		net_conn_info(conn, &info);
	got = info.received_bytes - MIN(info.received_bytes, s->first_bytes);
	s->outcome.wasted_bytes = got - MIN(got, s->outcome.bytes);
	s->outcome.wasted_ms = now_ms(s) - s->started_ms;
}

static void conclude(struct session *s)
{
	struct sync_peer_outcome *o = &s->outcome;
	struct span span = s->op.env.span;

	o->status = op_status(&s->op);
	if (o->cut == SYNC_CUT_NONE && !s->faulted && o->status == UV_ETIMEDOUT)
		o->cut = SYNC_CUT_DEADLINE;
	if (o->cut == SYNC_CUT_NONE && !s->faulted && o->status == UV_ECANCELED)
		o->cut = SYNC_CUT_CANCELLED;
	o->needs = s->needs;
	o->holds = s->needs > 0 || s->haves < s->load.snapshot.set.count;
	o->doubted = s->doubted;
	o->commits_behind = fetch_set_behind(s->wave->wants, s->index);
	o->duration_ms = runner_now_ms(s->op.env.runner) - s->started_ms;
	if (o->offended)
		note_waste(s);
	if (s->overtook > 0 || s->late_blobs > 0)
		trace_mark(span, "overtook others with %llu blobs; %llu came too late (%llu B)",
			   (unsigned long long)s->overtook, (unsigned long long)s->late_blobs,
			   (unsigned long long)s->late_bytes);
	session_fetch_count(s);
	if (o->cut != SYNC_CUT_NONE)
		trace_mark(span, "cut: %s", outcome_name(s));
	trace_mark(span, "%u rounds, %llu need, %llu have, %llu blobs, %llu B stored, %llu missing",
		   s->round, (unsigned long long)s->needs, (unsigned long long)s->haves,
		   (unsigned long long)o->blobs, (unsigned long long)o->bytes,
		   (unsigned long long)s->missing);
	trace_finish(span, o->status == UV_EALREADY ? 0 : o->status, outcome_name(s));
}

static void session_tick(struct op *op)
{
	struct session *s = container_of(op, struct session, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case DIAL:
		case HANDSHAKE: step = do_dial(s); break;
		case LOAD: step = do_load(s); break;
		case CLOSING: step = do_closing(s); break;
		case DONE:
			if (!op_finish(op))
				return;
			conclude(s);
			s->cb(s);
			return;
		default: step = op_stopping(op) ? close_now(s) : do_work(s); break;
		}
	}
}

/* ---- Start, free ---- */

static struct span open_span(const struct session *s, const struct op_env *env)
{
	const struct sync_target *t = &s->outcome.target;
	CLEANUP(buf_fini) struct buf scope = { 0 };
	char text[MULTIADDR_TEXT_SIZE] = "";
	struct span span;

	if (!t->any_peer)
		peer_id_format(&t->peer, text);
	else if (t->addr_count > 0)
		multiaddr_format(&t->addrs[0], text);
	span = trace_child(env->span, "sync.peer", text, strlen(text));
	buf_init(&scope, IRI_TEXT_MAX);
	scope_format(&s->wave->scope, &scope);
	if (buf_err(&scope) == 0)
		trace_attr_str(span, "scope", (const char *)scope.data, scope.len);
	trace_stage(span, states[DIAL].name);
	return span;
}

void session_start(struct session *s, const struct op_env *env, struct sync_wave *w, unsigned index,
		   const struct sync_target *target, session_cb cb)
{
	*s = (struct session){ .sync = w->sync, .wave = w, .index = index, .cb = cb };
	s->outcome.target = *target;
	list_init(&s->node);
	session_asks_init(s);
	buf_init(&s->held, NET_MESSAGE_MAX);
	op_init(&s->op, &kind, env, w->sync->config.peer_timeout_ms);
	s->started_ms = runner_now_ms(env->runner);
	op_own_span(&s->op, open_span(s, env));
}

void session_free(struct session *s)
{
	snapshot_fini(&s->load.snapshot);
	buf_fini(&s->held);
	mem_free(s->to_check);
	mem_free(s->checking);
	mem_free(s);
}
