/* A session's storing: what has arrived goes to the store in batches, one at a time. A put starts
 * whenever none is running, so that a lone small blob does not wait for company. What stored blobs
 * refer to becomes wanted before they themselves count as stored: the want set never looks settled
 * in between. */
#include <string.h>

#include "base/mem.h"
#include "sync/session.h"

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

/* With pinned versions the store's view of what can wait does not count: the content of commits is
 * looked up, and what wanted content refers to is wanted. */
static int add_child(struct session *s, const struct store_want *want)
{
	const struct sync_wave *w = s->wave;
	bool content = want->kind != OBJECT_COMMIT && want->kind != OBJECT_CAPABILITY;
	struct store_want copy = *want;

	if (w->pinned_count > 0 && content && !s->put_wants[0]->known)
		return 0;
	if (w->pinned_count > 0 && content)
		copy.priority = store_want_priority(want->kind, want->size);
	return fetch_set_add(w->wants, &copy, s->put_wants[0]);
}

/* What the store newly wants inherits from the batch, whose blobs all have the same origin. */
static int add_children(struct session *s, const struct store_put *p)
{
	int err = 0;

	for (size_t i = 0; i < p->want_count && err == 0; i++)
		err = add_child(s, &p->wants[i]);
	if (p->wants_total > p->want_count)
		s->wave->reload = true;
	return err;
}

/* Large blobs are first hashed by the store: then wrong bytes say nothing against the hash. */
static bool is_mismatch(const struct store_blob *blob)
{
	return blob->status == ERR_VERIFY && blob->len > SESSION_HASH_INLINE_MAX;
}

static void give_back(struct session *s, struct fetch_want *w, bool failed)
{
	fetch_set_release(s->wave->wants, w, failed);
	session_claim_done(s->sync, w, false);
}

static void settle_as(struct session *s, struct fetch_want *w, enum fetch_state state)
{
	fetch_set_settle(s->wave->wants, w, state);
	session_claim_done(s->sync, w, state == FETCH_STORED);
}

static void settle_one(struct session *s, const struct store_blob *blob, struct fetch_want *w)
{
	if (blob->status == 0) {
		settle_as(s, w, FETCH_STORED);
		sync_blob_stored(s->sync, s->wave, &w->hash);
	} else if (blob->status == ERR_MISSING && blob->let_go) {
		fetch_set_defer(s->wave->wants, w, blob->needs, blob->need_count);
		session_claim_done(s->sync, w, false);
	} else if (blob->status == ERR_MISSING) {
		settle_as(s, w, FETCH_STASHED);
	} else if (is_mismatch(blob) || blob->status == ERR_PROTOCOL) {
		give_back(s, w, true);
		session_blame(s, blob->status, "sent other bytes than were asked for");
	} else if (blob->status == ERR_VERIFY || blob->status == ERR_MALFORMED ||
		   blob->status == ERR_LIMIT || blob->status == ERR_UNAUTHORIZED) {
		settle_as(s, w, FETCH_REFUSED);
		session_blame(s, blob->status, "sent a blob that is not valid");
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
		(void)wave_arrived(s->wave, &p->commits[i].hash);
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
