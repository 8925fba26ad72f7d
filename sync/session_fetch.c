/* A session's fetching: one stream, hashes out, blobs in.
 *
 *   want set ─take─► claim ─► asked ─blob─► arrived ─batch─► put ─► stored | stashed | refused
 *
 * How much is asked at once follows what the peer delivers (pace.h); asked, arrived and put
 * together are bounded too. With room left and nothing new to ask, a session asks for what others
 * have in flight and would take much longer to send (overtaking): a slow peer holds up nobody, and
 * what it sends all the same is taken if it is first. Answers are taken in any order.
 *
 * What can go wrong: a blob that is not asked, or a second time (ERR_PROTOCOL), other bytes
 * (ERR_VERIFY), more bytes than its kind may have (ERR_LIMIT), a bad signature or structure (the
 * store's verdict), commits listed and then missing in numbers (ERR_PROTOCOL). Each ends this
 * session alone; the wants go back, to be asked from somebody else. */
#include <string.h>

#include "base/mem.h"
#include "sync/session.h"

size_t session_fetch_window(const struct session *s)
{
	return s->asked_count + s->arrived_count + s->put_count;
}

/* Before any content: what nobody has vouched for yet. */
static bool any_commits(struct fetch_want *const *wants, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!wants[i]->known)
			return true;
	return false;
}

bool session_fetch_has_commits(const struct session *s)
{
	return session_fetch_live(s).commits > 0 ||
	       any_commits(s->arrived_wants, s->arrived_count) ||
	       any_commits(s->put_wants, s->put_count);
}

void session_claim_done(struct sync *s, struct fetch_want *w, bool stored)
{
	if (!w->claimed || w->state == FETCH_IN_FLIGHT)
		return;
	w->claimed = false;
	claims_release(&s->claims, &w->hash, stored);
}

/* ---- What is asked ---- */

void session_asks_init(struct session *s)
{
	list_init(&s->asked);
	list_init(&s->free_asks);
	for (size_t i = 0; i < ARRAY_SIZE(s->asks); i++)
		list_push_back(&s->free_asks, &s->asks[i].node);
}

static bool is_commit(const struct session_ask *a)
{
	return a->want->priority == STORE_WANT_COMMIT;
}

static void add_ask(struct session *s, struct fetch_want *w)
{
	struct list *node = list_pop_front(&s->free_asks);
	struct session_ask *a;
	uint64_t now_ms = runner_now_ms(s->op.env.runner);

	REQUIRE(node != NULL);
	a = list_entry(node, struct session_ask, node);
	*a = (struct session_ask){ .want = w, .cost = fetch_want_cost(w) };
	session_time_asked(s);
	list_push_back(&s->asked, &a->node);
	s->asked_count++;
	pace_asked(&s->pace, now_ms, a->cost);
	w->since_ms = now_ms;
	w->behind = s->pace.asked;
}

static void remove_ask(struct session *s, struct session_ask *a)
{
	list_remove(&a->node);
	list_push_back(&s->free_asks, &a->node);
	s->asked_count--;
}

/* Peers answer in the order asked, so the first one is it as a rule. */
static struct session_ask *find_ask(struct session *s, const struct hash *h)
{
	list_for_each(node, &s->asked) {
		struct session_ask *a = list_entry(node, struct session_ask, node);

		if (hash_eq(&a->want->hash, h))
			return a;
	}
	return NULL;
}

static bool is_live(const struct session *s, const struct session_ask *a)
{
	return a->want->state == FETCH_IN_FLIGHT && a->want->holder == s->index && !a->want->here;
}

struct session_live session_fetch_live(const struct session *s)
{
	struct session_live live = { 0 };

	list_for_each(node, &s->asked) {
		const struct session_ask *a = list_entry(node, struct session_ask, node);

		if (!is_live(s, a))
			continue;
		live.count++;
		live.commits += is_commit(a) ? 1 : 0;
	}
	return live;
}

/* ---- Blobs in ---- */

static size_t size_max(const struct fetch_want *w)
{
	return w->kind == OBJECT_COMMIT || w->kind == OBJECT_CAPABILITY ? OBJECT_COMMIT_MAX :
									  OBJECT_BLOB_MAX;
}

static int take_missing(struct session *s, struct fetch_want *w)
{
	s->missing++;
	if (!w->known)
		s->missing_listed++;
	fetch_set_unask(s->wave->wants, w, s->index, true);
	session_claim_done(s->sync, w, false);
	wave_kick(s->wave);
	return s->missing_listed > SESSION_LISTED_MISSING_MAX ? ERR_PROTOCOL : 0;
}

static int check_blob(const struct fetch_want *w, const struct wire_bytes *bytes)
{
	struct hash hash;

	if (bytes->len > size_max(w))
		return ERR_LIMIT;
	if (bytes->len > SESSION_HASH_INLINE_MAX)
		return 0;
	hash = hash_of(bytes->data, bytes->len);
	return hash_eq(&hash, &w->hash) ? 0 : ERR_VERIFY;
}

/* Somebody else was faster. */
static void drop_late(struct session *s, const struct wire_bytes *bytes)
{
	s->sync->stats.late_blobs++;
	s->sync->stats.late_bytes += bytes->len;
	s->late_blobs++;
	s->late_bytes += bytes->len;
}

static int keep_blob(struct session *s, struct fetch_want *w, const struct wire_bytes *bytes)
{
	uint8_t *data = mem_dup(bytes->data, bytes->len);

	if (data == NULL)
		return UV_ENOMEM;
	if (!fetch_set_here(s->wave->wants, w, s->index)) {
		drop_late(s, bytes);
		mem_free(data);
		return 0;
	}
	REQUIRE(s->arrived_count < ARRAY_SIZE(s->arrived));
	s->arrived[s->arrived_count] = (struct store_blob){
		.hash = w->hash, .kind = w->kind, .data = data, .len = bytes->len
	};
	s->arrived_wants[s->arrived_count++] = w;
	s->arrived_bytes += bytes->len;
	session_time_useful(s);
	return 0;
}

static int take_blob(struct session *s, struct fetch_want *w, const struct wire_bytes *bytes)
{
	int err = check_blob(w, bytes);

	if (err == 0)
		err = keep_blob(s, w, bytes);
	if (err < 0) {
		fetch_set_unask(s->wave->wants, w, s->index, err != UV_ENOMEM);
		session_claim_done(s->sync, w, false);
	}
	return err;
}

static int take_reply(struct session *s, const struct wire_reply *reply)
{
	struct session_ask *a;
	struct fetch_want *w;

	a = reply->kind == WIRE_REPLY_BLOB ? find_ask(s, &reply->hash) : NULL;
	if (a == NULL)
		return ERR_PROTOCOL;
	w = a->want;
	s->answers++;
	pace_came(&s->pace, runner_now_ms(s->op.env.runner), a->cost);
	remove_ask(s, a);
	return reply->missing ? take_missing(s, w) : take_blob(s, w, &reply->bytes);
}

static const char *reason(const struct session *s, int err)
{
	if (err == ERR_PROTOCOL && s->missing_listed > SESSION_LISTED_MISSING_MAX)
		return "lists commits that it does not have";
	switch (err) {
	case ERR_VERIFY: return "sent other bytes than were asked for";
	case ERR_LIMIT: return "sent a blob that is larger than its kind may be";
	case ERR_MALFORMED: return "sent an answer that cannot be read";
	default: return "sent what was not asked for";
	}
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
	    session_wait_for_place(s, reply.refusal.code, reply.refusal.retry_after_ms)) {
		session_fetch_release(s);
		net_stream_end(stream);
	} else if (err == 0 && reply.kind == WIRE_REPLY_REFUSAL) {
		session_why(s, "refused: %s %s", err_str(reply.refusal.code), reply.refusal.text);
		s->outcome.retry_after_ms = reply.refusal.retry_after_ms;
		session_fail(s, reply.refusal.code);
	} else if (err == 0) {
		err = take_reply(s, &reply);
	}
	if (err == UV_ENOMEM)
		session_fail(s, err);
	else if (err < 0)
		session_blame(s, err, reason(s, err));
	arena_fini(&arena);
	op_defer(&s->op);
}

static void on_drain(struct net_stream *stream)
{
	(void)stream;
}

/* A peer may end an idle stream; a new one is opened when there is something to ask. */
static void on_close(struct net_stream *stream, int status)
{
	struct session *s = stream->data;

	s->blobs_open = false;
	if (s->asked_count > 0 && !s->closing) {
		if (status == ERR_BUSY && session_wait_for_place(s, status, SYNC_RETRY_AFTER_MS))
			session_fetch_release(s);
		else
			session_fail(s, status < 0 ? status : ERR_PROTOCOL);
	}
	op_release(&s->op);
	op_defer(&s->op);
}

static const struct net_stream_events events = { on_message, on_drain, on_close, NULL };

/* ---- Hashes out ---- */

static int open_stream(struct session *s)
{
	struct wire_request request = { .kind = WIRE_FETCH, .scope = s->wave->scope };

	request.traced = trace_context_of(s->op.env.span, &request.trace);
	request.timeout_ms = (uint32_t)MIN(op_left_ms(&s->op), (uint64_t)UINT32_MAX);
	return session_open_stream(s, &s->blobs, &events, &request, &s->blobs_open);
}

/* 0: this wave may ask for it, beside who else does; ERR_BUSY: another wave does. */
static int claim_one(struct session *s, struct fetch_want *w)
{
	struct claims *c = &s->sync->claims;
	int err;

	if (w->claimed)
		return 0;
	w->waiter.on_release = wave_claim_released;
	if (claim_waiter_waits(&w->waiter))
		err = claims_join(c, &w->hash); /* it has waited long enough */
	else
		err = claims_take(c, &w->hash, &w->waiter);
	w->claimed = err == 0;
	return err;
}

static void unclaimed(struct session *s, struct fetch_want *w)
{
	if (claim_waiter_waits(&w->waiter))
		fetch_set_elsewhere(s->wave->wants, w);
	else
		fetch_set_unask(s->wave->wants, w, s->index, false);
}

/* Those of `batch` that can be claimed; the others are with another wave and come back, or not,
 * through their waiters. */
static int claim(struct session *s, struct fetch_want **batch, size_t count, struct wire_more *more)
{
	int err = 0;

	for (size_t i = 0; i < count; i++) {
		struct fetch_want *w = batch[i];
		int rc = err;

		if (err == 0)
			rc = claim_one(s, w);
		if (rc < 0) {
			w->since_ms = runner_now_ms(s->op.env.runner);
			unclaimed(s, w);
			err = rc != ERR_BUSY ? rc : err;
			continue;
		}
		claim_waiter_cancel(&w->waiter);
		add_ask(s, w);
		more->hashes[more->hash_count++] = w->hash;
	}
	return err;
}

static int send_fetch(struct session *s, const struct wire_more *more)
{
	CLEANUP(buf_fini) struct buf msg = { 0 };
	int err = s->blobs_open ? 0 : open_stream(s);

	buf_init(&msg, NET_MESSAGE_MAX);
	if (err == 0)
		err = wire_more_encode(more, &msg);
	if (err == 0)
		err = net_stream_send(&s->blobs, msg.data, msg.len);
	return err;
}

/* How much more may be asked now: by what the peer delivers, by what this session holds, by what
 * all of them hold. One blob always may. */
static uint64_t room_bytes(const struct session *s)
{
	uint64_t out = pace_out(&s->pace), window = pace_window(&s->pace);
	uint64_t held = out + s->arrived_bytes + s->put_bytes;
	uint64_t all = s->sync->stats.fetch_bytes;

	if (held == 0)
		return 1;
	if (all >= SYNC_FETCH_BUDGET_BYTES || out >= window || held >= SYNC_FETCH_WINDOW_BYTES)
		return 0;
	return MIN(MIN(window - out, SYNC_FETCH_WINDOW_BYTES - held),
		   (uint64_t)SYNC_FETCH_BUDGET_BYTES - all);
}

static size_t room_blobs(const struct session *s)
{
	return MIN(SYNC_FETCH_WINDOW_BLOBS - session_fetch_window(s), (size_t)SYNC_FETCH_BATCH_MAX);
}

void session_fetch_count(struct session *s)
{
	uint64_t held = pace_out(&s->pace) + s->arrived_bytes + s->put_bytes;

	if (s->closing && s->asked_count == 0)
		held = s->arrived_bytes + s->put_bytes;
	s->sync->stats.fetch_bytes += held - s->counted_bytes;
	s->counted_bytes = held;
}

static int ask_new(struct session *s)
{
	struct fetch_want *batch[SYNC_FETCH_BATCH_MAX];

	for (;;) {
		struct wire_more more = { .kind = WIRE_MORE_FETCH };
		uint64_t bytes = room_bytes(s);
		size_t count = room_blobs(s);
		int err;

		if (count > 0 && bytes > 0)
			count = fetch_set_take(s->wave->wants, s->index, batch, count, bytes);
		if (count == 0 || bytes == 0)
			return 0;
		err = claim(s, batch, count, &more);
		if (err == 0 && more.hash_count > 0)
			err = send_fetch(s, &more);
		session_fetch_count(s);
		if (err < 0)
			return err;
	}
}

/* ---- Overtaking ---- */

/* When the fastest of those that advertised it could have it here. */
static uint64_t advertisers_ms(const struct session *s, const struct fetch_want *w, uint64_t now_ms)
{
	uint64_t soonest_ms = UINT64_MAX;

	list_for_each(node, &s->wave->sessions) {
		const struct session *other = list_entry(node, struct session, node);
		uint64_t behind = other->pace.asked + fetch_want_cost(w);

		if (other != s && fetch_want_advertised_by(w, other->index))
			soonest_ms = MIN(soonest_ms, pace_eta_ms(&other->pace, now_ms, behind));
	}
	return soonest_ms;
}

/* Is it worth asking this peer for it? When it would send it in less than half the time. */
static bool is_worth(void *data, const struct fetch_want *w)
{
	struct session *s = data, *holder = wave_session(s->wave, w->holder);
	uint64_t now_ms = runner_now_ms(s->op.env.runner);
	uint64_t ours_ms = pace_eta_ms(&s->pace, now_ms, s->pace.asked + fetch_want_cost(w));
	uint64_t theirs_ms;

	if (w->state == FETCH_WANTED)
		theirs_ms = advertisers_ms(s, w, now_ms);
	else if (holder != NULL)
		theirs_ms = pace_eta_ms(&holder->pace, now_ms, w->behind);
	else
		theirs_ms = now_ms - w->since_ms;
	return theirs_ms / 2 > ours_ms + SESSION_OVERTAKE_MS / 2;
}

/* The same for what everything else hangs on, before new content is asked. */
static bool is_worth_first(void *data, const struct fetch_want *w)
{
	return w->priority <= STORE_WANT_TREE && is_worth(data, w);
}

static int overtake(struct session *s, bool (*worth)(void *data, const struct fetch_want *w))
{
	struct fetch_want *batch[SYNC_FETCH_BATCH_MAX];
	struct wire_more more = { .kind = WIRE_MORE_FETCH };
	uint64_t bytes = room_bytes(s);
	size_t count = room_blobs(s);
	int err;

	if (count > 0 && bytes > 0)
		count = fetch_set_overtake(s->wave->wants, s->index, worth, s, batch, count, bytes);
	if (count == 0 || bytes == 0)
		return 0;
	s->sync->stats.overtaken += count;
	s->overtook += count;
	err = claim(s, batch, count, &more);
	if (err == 0 && more.hash_count > 0)
		err = send_fetch(s, &more);
	session_fetch_count(s);
	/* Who held them may have nothing left to wait for. */
	wave_kick(s->wave);
	return err;
}

int session_fetch_ask(struct session *s)
{
	bool look = session_time_overtake_due(s);
	int err = 0;

	if (s->busy_until_ms != 0)
		return 0;
	/* Refill when half is gone: many hashes in one message, and always something under way. */
	if (s->asked_count > SYNC_FETCH_WINDOW_BLOBS / 2)
		return 0;
	if (look)
		err = overtake(s, is_worth_first);
	if (err == 0)
		err = ask_new(s);
	if (err == 0 && look)
		err = overtake(s, is_worth);
	return err;
}

void session_fetch_release(struct session *s)
{
	list_for_each_safe(node, &s->asked) {
		struct session_ask *a = list_entry(node, struct session_ask, node);

		fetch_set_unask(s->wave->wants, a->want, s->index, false);
		session_claim_done(s->sync, a->want, false);
		remove_ask(s, a);
	}
	session_fetch_count(s);
}
