/* A session's reconciliation: one stream, one Negentropy message each way per round.
 *
 * What a reply lists as needed goes into the wave's want set at once, is looked up in the store (it
 * may have come meanwhile, or have been refused before), and is fetched while the next rounds run.
 *
 * What can go wrong: silence (the round's deadline, in session.c), bounds out of order or lists
 * beyond the message (ERR_MALFORMED), rounds that teach nothing (ERR_NO_PROGRESS), rounds without
 * end (ERR_LIMIT), more ids than can be held (the next round waits until fewer are unsettled). */
#include <stdlib.h>

#include "base/mem.h"
#include "sync/session.h"

/* ---- Looking up what is needed ---- */

static void on_checked(struct store_has *h, int status)
{
	struct session *s = container_of(h, struct session, has);

	for (size_t i = 0; i < s->checking_count; i++)
		fetch_set_checked(s->wave->wants, &s->checking[i], status == 0 && h->present[i]);
	store_has_fini(h);
	s->checking = mem_free(s->checking);
	s->checking_count = 0;
	s->has_running = false;
	if (status < 0 && !op_stopping(&s->op)) {
		session_fail(s, status);
		if (session_is_store_error(status))
			wave_store_failed(s->wave, status);
	}
	wave_kick(s->wave);
	op_release(&s->op);
	op_defer(&s->op);
}

static int need_cmp(const void *a, const void *b)
{
	const struct session_need *x = a, *y = b;

	if (x->from_time != y->from_time)
		return x->from_time < y->from_time ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

static void forget_needs(struct session *s)
{
	for (size_t i = 0; i < s->to_check_count; i++)
		fetch_set_checked(s->wave->wants, &s->to_check[i].hash, false);
	s->to_check_count = 0;
}

/* Who has part of a history learns of its ranges out of order, those that differ all over first. They
 * are put in order before anything is asked, which is worth the last few round trips. */
static bool more_may_come_before(const struct session *s)
{
	return s->load.snapshot.set.count > 0 && !s->rounds_done &&
	       s->to_check_count < SESSION_SORT_MAX;
}

static void check_needs(struct session *s)
{
	if (s->has_running || s->to_check_count == 0 || more_may_come_before(s))
		return;
	s->checking = mem_alloc_array(s->to_check_count, sizeof(*s->checking));
	if (s->checking == NULL) {
		forget_needs(s);
		session_fail(s, UV_ENOMEM);
		return;
	}
	qsort(s->to_check, s->to_check_count, sizeof(*s->to_check), need_cmp);
	for (size_t i = 0; i < s->to_check_count; i++)
		s->checking[i] = s->to_check[i].hash;
	s->checking_count = s->to_check_count;
	s->to_check = mem_free(s->to_check);
	s->to_check_count = s->to_check_cap = 0;
	s->has_running = true;
	op_hold(&s->op);
	store_has_start(&s->has, &s->op.env, s->sync->config.store, s->checking, s->checking_count,
			true, on_checked);
}

static int to_check_add(struct session *s, const struct hash *h)
{
	if (s->to_check_count == s->to_check_cap) {
		size_t cap = s->to_check_cap > 0 ? s->to_check_cap * 2 : 64;
		struct session_need *more;

		if (s->to_check_count >= STORE_HAS_MAX)
			return ERR_LIMIT;
		more = mem_realloc(s->to_check, cap * sizeof(*more));
		if (more == NULL)
			return UV_ENOMEM;
		s->to_check = more;
		s->to_check_cap = cap;
	}
	s->to_check[s->to_check_count++] =
		(struct session_need){ *h, s->reconcile.list_from_time, s->needs_told++ };
	return 0;
}

/* ---- What a reply teaches ---- */

/* There cannot be more of them than we have items: beyond that it repeats itself. */
static bool on_have(void *data, const struct reconcile_item *item)
{
	struct session *s = data;

	(void)item;
	s->round_haves++;
	return s->haves + s->round_haves <= s->load.snapshot.set.count;
}

static bool on_need(void *data, const struct hash *id)
{
	struct session *s = data;
	int rc;

	if (s->sink_error < 0)
		return false;
	rc = fetch_set_need(s->wave->wants, s->index, id);
	s->round_needs += rc > 0 ? 1 : 0;
	if (rc != FETCH_NEED_NEW) {
		s->sink_error = MIN(rc, 0);
		return rc > 0;
	}
	s->sink_error = to_check_add(s, id);
	if (s->sink_error < 0)
		fetch_set_checked(s->wave->wants, id, false);
	return true;
}

/* ---- Rounds ---- */

static void round_sent(struct session *s, size_t bytes)
{
	s->round++;
	s->wave->progress.rounds++;
	s->sync->stats.rounds++;
	s->round_sent = bytes;
	s->round_waits = true;
	s->round_ms = runner_now_ms(s->op.env.runner);
}

static void send_round(struct session *s)
{
	struct wire_more more = { .reconcile = { s->held.data, s->held.len } };
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err;

	buf_init(&msg, NET_MESSAGE_MAX);
	err = wire_more_encode(&more, &msg);
	if (err == 0)
		err = net_stream_send(&s->rounds, msg.data, msg.len);
	s->holding = false;
	if (err < 0)
		session_fail(s, err);
	else
		round_sent(s, s->held.len);
	buf_clear(&s->held);
}

static void rounds_finished(struct session *s)
{
	s->rounds_done = true;
	fetch_set_possible(s->wave->wants, s->index);
	net_stream_end(&s->rounds);
	s->wave->last_progress_ms = runner_now_ms(s->op.env.runner);
	trace_mark(s->op.env.span, "reconciled: %u rounds, %llu need, %llu have", s->round,
		   (unsigned long long)s->needs, (unsigned long long)s->haves);
}

static int take_round(struct session *s, const struct wire_bytes *reply)
{
	const struct reconcile_sink sink = { on_have, on_need, s };
	bool done = false;
	int err;

	s->round_waits = false;
	pace_answered_in(&s->pace, runner_now_ms(s->op.env.runner) - s->round_ms);
	s->round_needs = s->round_haves = 0;
	buf_clear(&s->held);
	err = reconcile_continue(&s->reconcile, reply->data, reply->len, &sink, &s->held, &done);
	trace_mark(s->op.env.span, "round %u: %zu B sent, %zu B received, %llu need, %llu have",
		   s->round, s->round_sent, reply->len, (unsigned long long)s->round_needs,
		   (unsigned long long)s->round_haves);
	s->needs += s->round_needs;
	s->haves += s->round_haves;
	if (s->round_needs > 0 && !s->doubted)
		s->wave->last_progress_ms = runner_now_ms(s->op.env.runner);
	if (err == 0)
		err = s->sink_error;
	if (err < 0)
		return err;
	if (done)
		rounds_finished(s);
	else
		s->holding = true;
	return 0;
}

static bool is_lie(int err)
{
	return err == ERR_MALFORMED || err == ERR_PROTOCOL || err == ERR_NO_PROGRESS ||
	       err == ERR_LIMIT;
}

static const char *reason(int err)
{
	switch (err) {
	case ERR_NO_PROGRESS: return "reconciles without end: round after round teaches nothing";
	case ERR_LIMIT: return "lists more than it can have";
	case ERR_PROTOCOL: return "answered a reconciliation with something else";
	default: return "sent a reconciliation message that is not valid";
	}
}

bool session_wait_for_place(struct session *s, int code, uint64_t wait_ms)
{
	uint64_t now_ms = runner_now_ms(s->op.env.runner);

	if (code != ERR_BUSY || wait_ms == 0 || wait_ms > SESSION_BUSY_MAX_MS ||
	    s->busy_count == SESSION_BUSY_TIMES || s->wave->running > 1 || s->wave->any_ok ||
	    op_left_ms(&s->op) <= wait_ms)
		return false;
	s->busy_count++;
	s->busy_until_ms = now_ms + wait_ms;
	s->sync->stats.busy_waits++;
	trace_mark(s->op.env.span, "busy: %llu ms until it may have a place",
		   (unsigned long long)wait_ms);
	return true;
}

static bool refused(struct session *s, int code, uint64_t wait_ms)
{
	if (!session_wait_for_place(s, code, wait_ms))
		return false;
	s->rounds_refused = true;
	s->round_waits = s->holding = false;
	return true;
}

static void come_again(struct session *s)
{
	int err;

	s->busy_until_ms = 0;
	if (!s->rounds_refused)
		return;
	s->rounds_refused = false;
	s->round = 0;
	s->haves = 0;
	buf_clear(&s->held);
	err = session_rounds_begin(s);
	if (err < 0)
		session_fail(s, err);
}

static void on_message(struct net_stream *stream, const uint8_t *msg, size_t len)
{
	struct session *s = stream->data;
	struct wire_reply reply;
	struct arena arena;
	int err;

	if (op_stopping(&s->op) || s->closing)
		return;
	wire_arena_init(&arena, len);
	err = wire_reply_decode(msg, len, &arena, &reply);
	if (err == 0 && reply.kind == WIRE_REPLY_REFUSAL &&
	    refused(s, reply.refusal.code, reply.refusal.retry_after_ms)) {
		net_stream_end(stream);
	} else if (err == 0 && reply.kind == WIRE_REPLY_REFUSAL) {
		session_why(s, "refused: %s %s", err_str(reply.refusal.code), reply.refusal.text);
		s->outcome.retry_after_ms = reply.refusal.retry_after_ms;
		session_fail(s, reply.refusal.code);
	} else if (err == 0 && (reply.kind != WIRE_REPLY_RECONCILE || !s->round_waits)) {
		err = ERR_PROTOCOL;
	} else if (err == 0) {
		err = take_round(s, &reply.bytes);
	}
	if (is_lie(err) && s->sink_error == 0)
		session_blame(s, err, reason(err));
	else if (err < 0)
		session_fail(s, err);
	arena_fini(&arena);
	op_defer(&s->op);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

static void on_close(struct net_stream *stream, int status)
{
	struct session *s = stream->data;
	bool early = !s->rounds_done && !s->closing && !s->rounds_refused;

	s->rounds_open = false;
	/* Who refused says so first, and may end then. */
	if (early && status == 0 && !op_stopping(&s->op)) {
		session_why(s, "ended a reconciliation in the middle");
		s->outcome.offended = true;
	}
	if (early && !(status == ERR_BUSY && refused(s, status, SYNC_RETRY_AFTER_MS)))
		session_fail(s, status < 0 ? status : ERR_PROTOCOL);
	op_release(&s->op);
	op_defer(&s->op);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

int session_rounds_begin(struct session *s)
{
	struct wire_request request = { .kind = WIRE_RECONCILE, .scope = s->wave->scope };
	int err = reconcile_init(&s->reconcile, &s->load.snapshot.set, WIRE_RECONCILE_MAX,
				 RECONCILE_FRUGAL);

	if (err == 0)
		err = reconcile_initiate(&s->reconcile, &s->held);
	if (err < 0)
		return err;
	request.traced = trace_context_of(s->op.env.span, &request.trace);
	request.timeout_ms = (uint32_t)MIN(op_left_ms(&s->op), (uint64_t)UINT32_MAX);
	request.bytes = (struct wire_bytes){ s->held.data, s->held.len };
	err = session_open_stream(s, &s->rounds, &events, &request, &s->rounds_open);
	if (err < 0)
		return err;
	round_sent(s, s->held.len);
	buf_clear(&s->held);
	return 0;
}

void session_rounds_work(struct session *s)
{
	bool busy = session_fetch_window(s) > 0 || s->has_running;

	check_needs(s);
	if (s->busy_until_ms != 0 && !(s->rounds_refused && s->rounds_open) && !s->blobs_open &&
	    runner_now_ms(s->op.env.runner) >= s->busy_until_ms)
		come_again(s);
	/* Only while something of our own is under way, which ticks again when it ends. */
	if (s->holding && !(busy && fetch_set_counts(s->wave->wants)->unsettled[STORE_WANT_COMMIT] >
					    SESSION_HOLD_WANTS))
		send_round(s);
}

void session_rounds_end(struct session *s)
{
	s->round_waits = s->holding = false;
	if (s->has_running)
		op_cancel(&s->has.op);
	forget_needs(s);
}
