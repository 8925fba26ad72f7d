/* A session's fetching and storing: one stream, hashes out, blobs in, in the order asked.
 *
 *   want set ─take─► claim ─► asked ─blob─► arrived ─batch─► put ─► stored | stashed | refused
 *
 * Asked, arrived and put together are the window, which bounds what a session holds. A put starts
 * whenever none is running, so that a lone small blob does not wait for company. What stored blobs
 * refer to becomes wanted before they themselves count as stored: the want set never looks settled
 * in between.
 *
 * What can go wrong: another blob than the one that is due (ERR_PROTOCOL), other bytes
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

static bool is_commit(const struct fetch_want *w)
{
	return w->priority == STORE_WANT_COMMIT;
}

/* Out of `asked`. */
static void unask(struct session *s, struct fetch_want *w)
{
	list_remove(&w->node);
	s->asked_count--;
	s->asked_commits -= is_commit(w) ? 1 : 0;
	s->asked_bytes -= fetch_want_cost(w);
}

static void give_back(struct session *s, struct fetch_want *w, bool failed)
{
	fetch_set_release(s->wave->wants, w, failed);
	claims_release(&s->sync->claims, &w->hash, false);
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
	give_back(s, w, true);
	wave_kick(s->wave);
	return s->missing_listed > SESSION_LISTED_MISSING_MAX ? ERR_PROTOCOL : 0;
}

static int take_blob(struct session *s, struct fetch_want *w, const struct wire_bytes *bytes)
{
	struct store_blob *blob;
	struct hash hash;

	if (bytes->len > size_max(w))
		return ERR_LIMIT;
	if (bytes->len <= SESSION_HASH_INLINE_MAX) {
		hash = hash_of(bytes->data, bytes->len);
		if (!hash_eq(&hash, &w->hash))
			return ERR_VERIFY;
	}
	REQUIRE(s->arrived_count < ARRAY_SIZE(s->arrived));
	blob = &s->arrived[s->arrived_count];
	*blob = (struct store_blob){ .hash = w->hash, .kind = w->kind, .len = bytes->len };
	blob->data = mem_dup(bytes->data, bytes->len);
	if (blob->data == NULL)
		return UV_ENOMEM;
	s->arrived_wants[s->arrived_count++] = w;
	s->arrived_bytes += bytes->len;
	return 0;
}

static int take_reply(struct session *s, const struct wire_reply *reply)
{
	struct fetch_want *w;
	int err;

	if (reply->kind != WIRE_REPLY_BLOB || list_empty(&s->asked))
		return ERR_PROTOCOL;
	w = list_entry(s->asked.next, struct fetch_want, node);
	if (!hash_eq(&w->hash, &reply->hash))
		return ERR_PROTOCOL;
	s->answers++;
	unask(s, w);
	if (reply->missing)
		return take_missing(s, w);
	err = take_blob(s, w, &reply->bytes);
	if (err < 0)
		give_back(s, w, err != UV_ENOMEM);
	return err;
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
	if (err == 0 && reply.kind == WIRE_REPLY_REFUSAL) {
		trace_errorf(s->op.env.span, "refused: %s %s", err_str(reply.refusal.code),
			     reply.refusal.text);
		session_fail(s, reply.refusal.code);
	} else if (err == 0) {
		err = take_reply(s, &reply);
	}
	if (err == UV_ENOMEM)
		session_fail(s, err);
	else if (err < 0)
		session_blame(s, err);
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
	if (s->asked_count > 0 && !s->closing)
		session_fail(s, status < 0 ? status : ERR_PROTOCOL);
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

/* Those of `batch` that can be claimed; the others are with another wave and come back, or not,
 * through their waiters. */
static int claim(struct session *s, struct fetch_want **batch, size_t count, struct wire_more *more)
{
	int err = 0;

	for (size_t i = 0; i < count; i++) {
		struct fetch_want *w = batch[i];
		int rc = err;

		w->waiter.on_release = wave_claim_released;
		if (err == 0)
			rc = claims_take(&s->sync->claims, &w->hash, &w->waiter);
		if (rc == 0) {
			list_push_back(&s->asked, &w->node);
			s->asked_count++;
			s->asked_commits += is_commit(w) ? 1 : 0;
			s->asked_bytes += fetch_want_cost(w);
			more->hashes[more->hash_count++] = w->hash;
		} else if (rc == ERR_BUSY) {
			fetch_set_elsewhere(s->wave->wants, w);
		} else {
			fetch_set_release(s->wave->wants, w, false);
			err = rc;
		}
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

int session_fetch_ask(struct session *s)
{
	struct fetch_want *batch[SYNC_FETCH_BATCH_MAX];
	uint64_t held_bytes = s->asked_bytes + s->arrived_bytes + s->put_bytes;

	/* Refill when half is gone: many hashes in one message, and always something under way. */
	if (s->asked_count > SYNC_FETCH_WINDOW_BLOBS / 2)
		return 0;
	for (;;) {
		size_t room = MIN(SYNC_FETCH_WINDOW_BLOBS - session_fetch_window(s),
				  (size_t)SYNC_FETCH_BATCH_MAX);
		struct wire_more more = { .kind = WIRE_MORE_FETCH };
		uint64_t asked_before = s->asked_bytes;
		size_t count;
		int err;

		if (room == 0 || held_bytes >= SYNC_FETCH_WINDOW_BYTES)
			return 0;
		count = fetch_set_take(s->wave->wants, s->index, batch, room,
				       SYNC_FETCH_WINDOW_BYTES - held_bytes);
		if (count == 0)
			return 0;
		err = claim(s, batch, count, &more);
		if (err == 0 && more.hash_count > 0)
			err = send_fetch(s, &more);
		if (err < 0)
			return err;
		held_bytes += s->asked_bytes - asked_before;
	}
}

/* ---- Storing ---- */

static void count_stored(struct session *s, const struct store_put *p)
{
	struct sync_stats *stats = &s->sync->stats;

	s->outcome.blobs += p->stored;
	s->outcome.bytes += p->stored_bytes;
	stats->blobs_fetched += p->stored;
	stats->bytes_fetched += p->stored_bytes;
	stats->duplicates += p->existed;
	stats->refused_blobs += p->refused;
	trace_add(s->op.env.span, p->stored, p->stored_bytes);
	trace_mark(s->op.env.span,
		   "batch: %zu blobs, %llu B stored, %zu existed, %zu stashed, %zu too early, "
		   "%zu refused",
		   p->stored, (unsigned long long)p->stored_bytes, p->existed, p->stashed,
		   p->let_go, p->refused);
}

/* What the store newly wants inherits from the batch, whose blobs all have the same origin. */
static int add_children(struct session *s, const struct store_put *p)
{
	int err = 0;

	for (size_t i = 0; i < p->want_count && err == 0; i++)
		err = fetch_set_add(s->wave->wants, &p->wants[i], s->put_wants[0]);
	if (p->wants_total > p->want_count)
		s->wave->reload = true;
	return err;
}

/* Large blobs are first hashed by the store: then wrong bytes say nothing against the hash. */
static bool is_mismatch(const struct store_blob *blob)
{
	return blob->status == ERR_VERIFY && blob->len > SESSION_HASH_INLINE_MAX;
}

static void settle_one(struct session *s, const struct store_blob *blob, struct fetch_want *w)
{
	struct fetch_set *wants = s->wave->wants;

	if (blob->status == 0) {
		fetch_set_settle(wants, w, FETCH_STORED);
		claims_release(&s->sync->claims, &w->hash, true);
		sync_blob_stored(s->sync, s->wave, &w->hash);
	} else if (blob->status == ERR_MISSING && blob->let_go) {
		fetch_set_defer(wants, w, blob->needs, blob->need_count);
		claims_release(&s->sync->claims, &w->hash, false);
	} else if (blob->status == ERR_MISSING) {
		fetch_set_settle(wants, w, FETCH_STASHED);
		claims_release(&s->sync->claims, &w->hash, false);
	} else if (is_mismatch(blob) || blob->status == ERR_PROTOCOL) {
		give_back(s, w, true);
		session_blame(s, blob->status);
	} else if (blob->status == ERR_VERIFY || blob->status == ERR_MALFORMED ||
		   blob->status == ERR_LIMIT || blob->status == ERR_UNAUTHORIZED) {
		fetch_set_settle(wants, w, FETCH_REFUSED);
		claims_release(&s->sync->claims, &w->hash, false);
		session_blame(s, blob->status);
	} else {
		give_back(s, w, false);
	}
}

static void settle(struct session *s, const struct store_put *p)
{
	int err = add_children(s, p);

	count_stored(s, p);
	for (size_t i = 0; i < s->put_count; i++)
		settle_one(s, &s->put_blobs[i], s->put_wants[i]);
	for (size_t i = 0; i < p->commit_count; i++)
		(void)fetch_set_arrived(s->wave->wants, &p->commits[i].hash);
	if (err < 0)
		session_fail(s, err);
	wave_stored(s->wave, p->stored, p->stored_bytes);
	if (p->stored > 0)
		sync_know(s->sync, &s->outcome.target.peer);
	if (p->commit_count > 0)
		sync_received(s->sync, p->commits, p->commit_count, &s->outcome.target.peer);
}

/* Nothing of a failed put counts as stored, though some of it may be: it would be found to exist.
 */
static void put_failed(struct session *s, int status)
{
	trace_errorf(s->op.env.span, "storing %zu blobs failed: %s", s->put_count, err_str(status));
	for (size_t i = 0; i < s->put_count; i++)
		give_back(s, s->put_wants[i], false);
	session_fail(s, status);
	if (session_is_store_error(status))
		wave_store_failed(s->wave, status);
}

static void on_put(struct store_put *p, int status)
{
	struct session *s = container_of(p, struct session, put);

	if (status == 0)
		settle(s, p);
	else
		put_failed(s, status);
	store_put_fini(p);
	s->put_count = 0;
	s->put_bytes = 0;
	wave_kick(s->wave);
	op_release(&s->op);
	op_defer(&s->op);
}

/* The oldest arrivals of one origin, as many as one put takes. */
static size_t fill_batch(struct session *s)
{
	size_t n = 0;

	s->put_bytes = 0;
	while (n < s->arrived_count && n < SYNC_PUT_BATCH_BLOBS &&
	       s->put_bytes < SYNC_PUT_BATCH_BYTES &&
	       fetch_want_same_origin(s->arrived_wants[0], s->arrived_wants[n])) {
		s->put_blobs[n] = s->arrived[n];
		s->put_wants[n] = s->arrived_wants[n];
		s->put_bytes += s->arrived[n].len;
		n++;
	}
	s->arrived_count -= n;
	s->arrived_bytes -= s->put_bytes;
	memmove(s->arrived, s->arrived + n, s->arrived_count * sizeof(s->arrived[0]));
	memmove(s->arrived_wants, s->arrived_wants + n,
		s->arrived_count * sizeof(s->arrived_wants[0]));
	return n;
}

void session_fetch_put(struct session *s)
{
	struct op_env env = s->op.env;

	if (s->put_count > 0 || s->arrived_count == 0)
		return;
	/* What has arrived is stored even when the session's own time is over. */
	env.deadline_ms = runner_now_ms(env.runner) + SESSION_PUT_GRACE_MS;
	s->put_count = fill_batch(s);
	op_hold(&s->op);
	store_put_start(&s->put, &env, s->sync->config.store, s->put_blobs, s->put_count,
			&s->outcome.target.peer, &s->wave->scope, on_put);
}

void session_fetch_release(struct session *s)
{
	list_for_each_safe(node, &s->asked) {
		struct fetch_want *w = list_entry(node, struct fetch_want, node);

		unask(s, w);
		give_back(s, w, false);
	}
}
