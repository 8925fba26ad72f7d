/* A wave: sessions with several peers for one scope, around one want set.
 *
 *   running ─► closing ─► done
 *
 * Suspends: running (sessions, the list of what the store wants). It opens no span: its sessions'
 * spans hang under the span of whoever asked, so that the trace shows peers and not plumbing.
 *
 * The store's own wants of the scope are read at the start (what was interrupted is continued, from
 * any peer of the scope), when commits came (the content of a version that was superseded is wanted
 * no more), and when a want came in by another wave, whose blobs may refer to more. */
#include <string.h>

#include "base/mem.h"
#include "sync/session.h"

enum { RUNNING, CLOSING, DONE };
enum { WAVE_LOAD_MAX = 65536 /* the store's wants read at once */ };

static const struct op_state states[] = {
	[RUNNING] = { "running", TO(CLOSING) },
	[CLOSING] = { "closing", TO(DONE) },
	[DONE] = { "done", 0 },
};
static void wave_tick(struct op *op);
static const struct op_kind kind = { "sync.wave", states, ARRAY_SIZE(states), wave_tick };

struct queued_target {
	struct list node;
	unsigned index;
	bool again; /* a session with this peer has lost its conn */
	struct sync_target target;
};

/* ---- What sessions and other waves tell ---- */

void wave_kick(struct sync_wave *w)
{
	list_for_each(node, &w->sessions)
		op_defer(&list_entry(node, struct session, node)->op);
	w->progress_pending = true;
	op_defer(&w->op);
}

/* The budgets bound time without progress: who waits for others profits from theirs. */
static void prolong(struct sync_wave *w)
{
	uint64_t patience_ms = w->sync->config.peer_timeout_ms;

	w->last_progress_ms = runner_now_ms(w->op.env.runner);
	op_prolong(&w->op, patience_ms);
	list_for_each(node, &w->sessions)
		op_prolong(&list_entry(node, struct session, node)->op, patience_ms);
}

void wave_stored(struct sync_wave *w, uint64_t blobs, uint64_t bytes)
{
	w->stored_blobs += blobs;
	w->progress.blobs_downloaded += blobs;
	w->progress.bytes_downloaded += bytes;
	if (blobs > 0)
		prolong(w);
	wave_kick(w);
}

/* It came, but what it refers to was told to the other wave only. */
static void arrived_elsewhere(struct sync_wave *w)
{
	w->reload = true;
	w->stored_blobs++;
	prolong(w);
	wave_kick(w);
}

bool wave_arrived(struct sync_wave *w, const struct hash *h)
{
	struct fetch_want *want = fetch_set_find(w->wants, h);

	if (!fetch_set_arrived(w->wants, h))
		return false;
	session_claim_done(w->sync, want, true);
	return true;
}

void sync_blob_stored(struct sync *s, struct sync_wave *except, const struct hash *h)
{
	list_for_each(node, &s->waves) {
		struct sync_wave *w = list_entry(node, struct sync_wave, node);

		if (w != except && w->wants != NULL && wave_arrived(w, h))
			arrived_elsewhere(w);
	}
}

void wave_claim_released(struct claim_waiter *waiter, bool stored)
{
	struct fetch_want *want = container_of(waiter, struct fetch_want, waiter);
	struct sync_wave *w = fetch_want_owner(want);

	if (!stored) {
		fetch_set_release(w->wants, want, false);
		wave_kick(w);
	} else if (wave_arrived(w, &want->hash)) {
		arrived_elsewhere(w);
	}
}

bool wave_is_full(const struct sync_wave *w)
{
	return !list_empty(&w->queued);
}

struct session *wave_session(const struct sync_wave *w, unsigned index)
{
	list_for_each(node, &w->sessions) {
		struct session *s = list_entry(node, struct session, node);

		if (s->index == index)
			return s;
	}
	return NULL;
}

bool sync_wave_is_hopeful(const struct sync_wave *w)
{
	if (wave_is_full(w) || w->loading)
		return true;
	list_for_each(node, &w->sessions)
		if (session_is_hopeful(list_entry(node, struct session, node)))
			return true;
	return false;
}

bool wave_has_peer(struct sync_wave *w, unsigned except, const struct public_key *peer)
{
	list_for_each(node, &w->sessions) {
		const struct session *s = list_entry(node, struct session, node);

		if (s->index != except && !s->outcome.target.any_peer && s->admitted &&
		    key_eq(&s->outcome.target.peer, peer))
			return true;
	}
	return w->events != NULL && w->events->on_proven != NULL && !w->events->on_proven(w, peer);
}

bool sync_wave_talks(const struct sync_wave *w)
{
	list_for_each(node, &w->sessions)
		if (session_talks(list_entry(node, struct session, node)))
			return true;
	return false;
}

void wave_store_failed(struct sync_wave *w, int status)
{
	if (w->store_error == 0)
		w->store_error = status;
	op_defer(&w->op);
}

/* ---- What the store wants ---- */

void wave_news(struct sync *s, const struct store_new_commit *commits, size_t count)
{
	list_for_each(node, &s->waves) {
		struct sync_wave *w = list_entry(node, struct sync_wave, node);

		for (size_t i = 0; i < count && !w->news; i++)
			w->news = scope_contains(&w->scope, &commits[i].space, commits[i].path,
						 strlen(commits[i].path));
	}
}

bool wave_content_is_known(struct sync_wave *w)
{
	if (w->news && !w->loading) {
		w->news = false;
		w->looking = w->reload = true;
		op_defer(&w->op);
	}
	return !w->news && !w->looking;
}

static void on_wants(struct store_wants *l, int status)
{
	struct sync_wave *w = container_of(l, struct sync_wave, load);

	size_t i = 0;

	while (i < l->count && status == 0 &&
	       (status = fetch_set_add(w->wants, &l->wants[i], NULL)) == 0)
		i++;
	w->load_more = status == 0 && l->total > l->count;
	if (status == ERR_LIMIT) {
		w->sync->stats.wants_over_limit += l->total - i;
		trace_mark(w->op.env.span,
			   "no room for %llu of the blobs that are wanted: left for later",
			   (unsigned long long)(l->total - i));
	}
	if (status < 0 && session_is_store_error(status))
		wave_store_failed(w, status);
	else if (status == 0 && !w->load_more)
		fetch_set_forget_old(w->wants);
	store_wants_fini(l);
	w->loading = w->looking = false;
	wave_kick(w);
	op_release(&w->op);
}

static void load_wants(struct sync_wave *w)
{
	/* There was more than one page, and this one is done with. */
	if (w->load_more && w->stored_blobs > w->stored_at_load &&
	    fetch_set_counts(w->wants)->state[FETCH_WANTED] == 0)
		w->reload = true;
	if (!w->reload || w->loading)
		return;
	w->reload = false;
	w->loading = true;
	w->stored_at_load = w->stored_blobs;
	fetch_set_recount(w->wants);
	op_hold(&w->op);
	if (w->pinned_count > 0)
		store_wants_pinned_start(&w->load, &w->op.env, w->sync->config.store, &w->scope,
					 w->pinned, w->pinned_count, WAVE_LOAD_MAX, on_wants);
	else
		store_wants_start(&w->load, &w->op.env, w->sync->config.store, &w->scope,
				  w->max_priority, WAVE_LOAD_MAX, on_wants);
}

/* ---- Sessions ---- */

static void tell_outcome(struct sync_wave *w, const struct sync_peer_outcome *o)
{
	struct sync_stats *stats = &w->sync->stats;

	if (o->status == UV_EALREADY) {
		w->progress.peers_found--;
	} else if (o->status == 0) {
		w->any_ok = true;
		w->progress.peers_synced_ok++;
		stats->sessions_ok++;
	} else {
		w->last_error = o->status;
		stats->sessions_failed++;
		if (o->cut != SYNC_CUT_NONE)
			w->progress.peers_cut++;
		else
			w->progress.peers_failed++;
	}
	if (w->events != NULL && w->events->on_peer != NULL)
		w->events->on_peer(w, o);
}

/* A conn that went says nothing about the peer, which may have moved, or have another way to us:
 * asked once more, it is dialed anew. As somebody new, since what it advertised may have to be
 * advertised again. */
static bool try_again(struct sync_wave *w, const struct session *s)
{
	struct queued_target *t;

	if (s->outcome.status != ERR_CLOSED || !s->outcome.proven || s->again ||
	    op_stopping(&w->op) || w->store_error < 0 || w->target_count == SYNC_WAVE_PEERS_MAX ||
	    (t = mem_alloc(sizeof(*t))) == NULL)
		return false;
	t->index = w->target_count++;
	t->target = s->outcome.target;
	t->again = true;
	list_push_back(&w->queued, &t->node);
	fetch_set_join(w->wants, t->index);
	w->sync->stats.sessions_again++;
	return true;
}

static void on_session(struct session *s)
{
	struct sync_wave *w = s->wave;
	struct sync_peer_outcome outcome = s->outcome;
	bool again = try_again(w, s);

	list_remove(&s->node);
	w->running--;
	w->sync->stats.active_sessions--;
	session_free(s);
	wave_kick(w);
	op_release(&w->op);
	if (!again)
		tell_outcome(w, &outcome);
}

static void start_session(struct sync_wave *w, const struct queued_target *t)
{
	struct session *s = mem_alloc(sizeof(*s));
	struct sync_peer_outcome failed = { .target = t->target, .status = UV_ENOMEM };

	w->sync->stats.sessions++;
	if (s == NULL) {
		fetch_set_leave(w->wants, t->index);
		tell_outcome(w, &failed);
		return;
	}
	op_hold(&w->op);
	session_start(s, &w->op.env, w, t->index, &t->target, on_session);
	s->again = t->again;
	list_push_back(&w->sessions, &s->node);
	w->running++;
	w->sync->stats.active_sessions++;
}

static void start_sessions(struct sync_wave *w)
{
	while (w->running < SYNC_PEERS_AT_ONCE_MAX && !list_empty(&w->queued)) {
		struct queued_target *t =
			list_entry(list_pop_front(&w->queued), struct queued_target, node);

		start_session(w, t);
		mem_free(t);
	}
}

static void drop_queued(struct sync_wave *w)
{
	struct list *node;

	while ((node = list_pop_front(&w->queued)) != NULL) {
		struct queued_target *t = list_entry(node, struct queued_target, node);

		if (w->wants != NULL)
			fetch_set_leave(w->wants, t->index);
		mem_free(t);
	}
}

static void cut_sessions(struct sync_wave *w, enum sync_cut why, int status)
{
	drop_queued(w);
	list_for_each(node, &w->sessions)
		session_cut(list_entry(node, struct session, node), why, status);
}

/* ---- Telling ---- */

static void update_progress(struct sync_wave *w)
{
	const struct fetch_counts *c = fetch_set_counts(w->wants);

	w->progress.blobs_discovered = c->discovered;
	w->progress.bytes_expected = c->expected_bytes;
	w->progress.blobs_left = c->discovered + c->already - c->state[FETCH_STORED];
	w->progress.bytes_left = c->expected_bytes - c->stored_bytes;
	w->progress.blobs_failed = c->state[FETCH_FAILED] + c->state[FETCH_REFUSED];
	w->progress.doubtful = fetch_set_doubtful(w->wants);
	w->progress.outstanding = fetch_set_outstanding(w->wants) - w->progress.doubtful;
	w->progress.commits_behind = c->commits_behind;
}

void sync_wave_count(struct sync_wave *w)
{
	if (w->wants != NULL)
		update_progress(w);
}

static void tell(struct sync_wave *w)
{
	int settled = fetch_set_settled(w->wants);
	bool rose = settled > w->settled && w->stored_blobs > 0 && !w->loading && !w->reload;

	if (w->progress_pending) {
		w->progress_pending = false;
		update_progress(w);
		if (w->events != NULL && w->events->on_progress != NULL)
			w->events->on_progress(w);
	}
	if (rose || settled < w->settled)
		w->settled = settled;
	if (rose && w->events != NULL && w->events->on_settled != NULL)
		w->events->on_settled(w, (uint8_t)settled);
}

/* ---- Machine ---- */

static enum sync_cut stop_reason(const struct sync_wave *w)
{
	return op_status(&w->op) == UV_ETIMEDOUT ? SYNC_CUT_DEADLINE : SYNC_CUT_CANCELLED;
}

static enum op_step do_running(struct sync_wave *w)
{
	if (w->wants == NULL)
		op_stop(&w->op, UV_ENOMEM);
	if (op_stopping(&w->op)) {
		cut_sessions(w, stop_reason(w), op_status(&w->op));
	} else if (w->store_error < 0) {
		cut_sessions(w, SYNC_CUT_NONE, w->store_error);
	} else {
		load_wants(w);
		start_sessions(w);
	}
	if (w->wants != NULL)
		tell(w);
	if (w->running > 0 || !list_empty(&w->queued) || (!w->sealed && !op_stopping(&w->op)))
		return OP_WAIT;
	op_move(&w->op, CLOSING);
	return OP_NEXT;
}

static enum op_step do_closing(struct sync_wave *w)
{
	if (w->loading)
		op_cancel(&w->load.op);
	if (w->op.pending > 0)
		return OP_WAIT;
	if (w->any_ok)
		op_result(&w->op, 0);
	else if (w->store_error < 0)
		op_result(&w->op, w->store_error);
	else
		op_result(&w->op, w->last_error < 0 ? w->last_error : ERR_NOT_FOUND);
	op_move(&w->op, DONE);
	return OP_NEXT;
}

static void wave_tick(struct op *op)
{
	struct sync_wave *w = container_of(op, struct sync_wave, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case RUNNING: step = do_running(w); break;
		case CLOSING: step = do_closing(w); break;
		default:
			if (!op_finish(op))
				return;
			if (w->wants != NULL)
				update_progress(w);
			w->wants = fetch_set_free(w->wants);
			map_fini(&w->targets);
			list_remove(&w->node);
			w->cb(w, op_status(op));
			return;
		}
	}
}

/* ---- Public ---- */

void sync_wave_start(struct sync_wave *w, const struct op_env *env, struct sync *s,
		     const struct scope *scope, uint8_t max_priority,
		     const struct sync_wave_events *events, sync_wave_cb cb)
{
	void *data = w->data;
	struct op_env copy = *env;
	struct scope scope_copy = *scope;

	*w = (struct sync_wave){
		.data = data, .cb = cb, .events = events, .sync = s, .scope = scope_copy
	};
	op_init(&w->op, &kind, &copy, UINT64_MAX);
	w->max_priority = (uint8_t)MIN(max_priority, STORE_WANT_HISTORY);
	w->settled = -1;
	w->reload = true;
	w->last_progress_ms = runner_now_ms(copy.runner);
	list_init(&w->sessions);
	list_init(&w->queued);
	list_push_back(&s->waves, &w->node);
	map_init(&w->targets, SYNC_WAVE_PEERS_MAX);
	w->wants = fetch_set_new(w->max_priority, SYNC_WANTS_MAX, w);
}

/* Whom a target names: a key, or the address where whoever answers is meant. */
struct target_key {
	bool any_peer;
	uint8_t family;
	uint8_t port[2];
	uint8_t bytes[KEY_SIZE];
};
_Static_assert(sizeof(struct target_key) == 4 + KEY_SIZE, "compared as bytes");

static struct target_key target_key(const struct sync_target *t)
{
	struct target_key k = { .any_peer = t->any_peer };

	if (!t->any_peer) {
		memcpy(k.bytes, t->peer.bytes, KEY_SIZE);
	} else if (t->addr_count > 0) {
		const struct multiaddr *a = &t->addrs[0];

		k.family = a->family;
		k.port[0] = (uint8_t)(a->port >> 8);
		k.port[1] = (uint8_t)a->port;
		memcpy(k.bytes, a->ip, a->family == 4 ? 4 : sizeof(a->ip));
	}
	return k;
}

int sync_wave_add(struct sync_wave *w, const struct sync_target *target)
{
	struct target_key key = target_key(target);
	struct queued_target *t;
	int err;

	REQUIRE(!w->sealed && target->addr_count <= SYNC_TARGET_ADDRS_MAX);
	if (!target->any_peer && key_eq(&target->peer, net_self(w->sync->config.net)))
		return ERR_SELF;
	if (map_get(&w->targets, &key, sizeof(key)) != NULL)
		return 0;
	if (w->target_count == SYNC_WAVE_PEERS_MAX)
		return ERR_LIMIT; /* some have a second number */
	t = mem_alloc(sizeof(*t));
	if (t == NULL)
		return UV_ENOMEM;
	err = map_put(&w->targets, &key, sizeof(key), w);
	if (err < 0) {
		mem_free(t);
		return err;
	}
	t->index = w->target_count++;
	t->again = false;
	t->target = *target;
	list_push_back(&w->queued, &t->node);
	if (w->wants != NULL)
		fetch_set_join(w->wants, t->index);
	w->progress.peers_found++;
	w->progress_pending = true;
	op_defer(&w->op);
	return 0;
}

void sync_wave_pin(struct sync_wave *w, const struct hash *heads, size_t count)
{
	REQUIRE(count <= ARRAY_SIZE(w->pinned));
	memcpy(w->pinned, heads, count * sizeof(*heads));
	w->pinned_count = count;
}

void sync_wave_seal(struct sync_wave *w)
{
	w->sealed = true;
	op_defer(&w->op);
}

void sync_wave_cut(struct sync_wave *w, enum sync_cut why)
{
	cut_sessions(w, why, UV_ECANCELED);
	op_defer(&w->op);
}
