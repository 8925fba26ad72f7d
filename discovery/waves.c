/* The children of a discovery: the question whether it resolves, the wave over a tier, the DHT
 * lookup and the wave over the providers it finds, and the timer that cuts stragglers and starts
 * the DHT early. Adapters and counters; what to do next is decided in run.c. */
#include "discovery/run.h"

enum { WATCH_MS = 20 };

/* ---- Does it resolve? ---- */

/* Once it leaves, what was found stands: asking anew would forget it. */
static void ask_again(struct discovery_run *run)
{
	if (run->op.state < RUN_EXIT && !op_has_result(&run->op))
		run_ask_resolved(run);
}

static void on_resolve(struct store_resolve *r, int status)
{
	struct discovery_run *run = container_of(r, struct discovery_run, resolve);

	run->resolving = false;
	op_release(&run->op);
	if (status < 0)
		op_result(&run->op, status);
	else
		run->resolved = r->resolved;
	if (run->resolve_again)
		ask_again(run);
	op_tick(&run->op);
}

void run_ask_resolved(struct discovery_run *run)
{
	REQUIRE(run->op.state < RUN_EXIT);
	if (run->resolving) {
		run->resolve_again = true;
		return;
	}
	run->resolving = true;
	run->resolve_again = false;
	store_resolve_fini(&run->resolve);
	op_hold(&run->op);
	store_resolve_start(&run->resolve, &run->op.env, run->service->store, &run->iri, run->kind,
			    on_resolve);
}

bool run_is_pinned(const struct discovery_run *run)
{
	return run->iri.head_count > 0;
}

/* Resolving is an answer if the version was asked for, or somebody was heard: news cannot come from
 * our own store. */
bool run_is_answered(const struct discovery_run *run)
{
	return run->resolved && (run_is_pinned(run) || run->progress.peers_synced_ok > 0);
}

/* ---- Waves ---- */

/* Waves that run side by side, or one after the other, want the same blobs: what was brought adds up,
 * what is left does not. */
static void add_progress(struct sync_progress *to, const struct sync_progress *p)
{
	to->peers_found += p->peers_found;
	to->peers_synced_ok += p->peers_synced_ok;
	to->peers_failed += p->peers_failed;
	to->peers_cut += p->peers_cut;
	to->blobs_downloaded += p->blobs_downloaded;
	to->blobs_failed = MAX(to->blobs_failed, p->blobs_failed);
	to->bytes_downloaded += p->bytes_downloaded;
	to->blobs_left = MAX(to->blobs_left, p->blobs_left);
	to->bytes_left = MAX(to->bytes_left, p->bytes_left);
	to->rounds += p->rounds;
	to->outstanding = MAX(to->outstanding, p->outstanding);
	to->commits_behind = MAX(to->commits_behind, p->commits_behind);
}

static void add_totals(struct sync_progress *p)
{
	p->blobs_discovered = p->blobs_downloaded + p->blobs_left;
	p->bytes_expected = p->bytes_downloaded + p->bytes_left;
}

void run_sum_progress(struct discovery_run *run)
{
	run->progress = run->ended;
	if (run->waving) {
		sync_wave_count(&run->wave);
		add_progress(&run->progress, &run->wave.progress);
	}
	if (run->dht_waving) {
		sync_wave_count(&run->dht_wave);
		add_progress(&run->progress, &run->dht_wave.progress);
	}
	add_totals(&run->progress);
}

static void tell_progress(struct discovery_run *run)
{
	run_sum_progress(run);
	list_for_each_safe(node, &run->waiters) {
		struct discover *w = list_entry(node, struct discover, waiter);

		w->progress = run->progress;
		w->stage = run_stage(run);
		if (w->on_progress != NULL)
			w->on_progress(w);
	}
}

static void keep_for_background(struct discovery_run *run, const struct sync_target *target)
{
	if (run->leftover_count < ARRAY_SIZE(run->leftovers))
		run->leftovers[run->leftover_count++] = *target;
}

/* One session per peer, whatever it was named by: that shows when it has proven who it is. */
static bool on_wave_proven(struct sync_wave *w, const struct public_key *peer)
{
	struct discovery_run *run = w->data;

	return map_get(&run->met, peer->bytes, KEY_SIZE) == NULL &&
	       map_put(&run->met, peer->bytes, KEY_SIZE, run) == 0;
}

/* Who is free soonest decides: one that says "in ten minutes" does not speak for the others. */
static void keep_busy(struct discovery_run *run, const struct sync_peer_outcome *o)
{
	uint64_t after_ms = o->retry_after_ms > 0 ? o->retry_after_ms : SYNC_RETRY_AFTER_MS;
	uint64_t in_ms = after_ms + runner_random_below(run->op.env.runner, after_ms / 2 + 1);

	run->retry_in_ms = run->busy_count > 0 ? MIN(run->retry_in_ms, in_ms) : in_ms;
	if (run->busy_count < RUN_BUSY_MAX)
		run->busy[run->busy_count++] = o->target;
}

/* What the session was worth to the question. */
static void hear(struct discovery_run *run, const struct sync_peer_outcome *o)
{
	enum answer_peer a = answer_of_session(o);

	answer_count(&run->heard, o);
	if (a != ANSWER_HEARD && a != ANSWER_NOBODY && o->proven)
		(void)map_del(&run->met, o->target.peer.bytes, KEY_SIZE);
	if (a == ANSWER_OURS)
		run->own_error = o->status;
	else if (a == ANSWER_BUSY)
		keep_busy(run, o);
	if (a == ANSWER_HEARD || a == ANSWER_NOBODY || a == ANSWER_OURS)
		return;
	if (o->cut == SYNC_CUT_NONE)
		run->last_error = o->status;
	else if (o->cut == SYNC_CUT_DEADLINE || o->cut == SYNC_CUT_SLOW)
		run->last_error = UV_ETIMEDOUT;
	if (a != ANSWER_BAD)
		run->heard.commits_behind = MAX(run->heard.commits_behind, o->commits_behind);
}

/* It serves the scope: it just did, or it did before and is out of reach now. */
static bool is_looked_to(const struct discovery_run *run, const struct sync_peer_outcome *o)
{
	if (o->target.any_peer)
		return false;
	if (answer_of_session(o) != ANSWER_UNREACHABLE)
		return o->status == 0 && o->proven && o->holds;
	for (size_t i = 0; i < run->peers.count; i++) {
		const struct store_peer *p = &run->peers.peers[i];

		if (key_eq(&p->key, &o->target.peer))
			return p->served_space || p->authority;
	}
	return false;
}

static void on_wave_peer(struct sync_wave *w, const struct sync_peer_outcome *o)
{
	struct discovery_run *run = w->data;

	service_note_outcome(run->service, o, &run->scope.space);
	hear(run, o);
	if (o->status == 0 || o->cut == SYNC_CUT_RESOLVED)
		keep_for_background(run, &o->target);
	if (o->cut == SYNC_CUT_RESOLVED)
		run->cut_peers = true;
	/* Whether it is slow or lies comes out when nobody waits for it. */
	if (o->cut == SYNC_CUT_STRAGGLER && o->doubted) {
		keep_for_background(run, &o->target);
		run->cut_peers = true;
	}
	if (o->status == 0) {
		if (w == &run->wave)
			run->local_ok = true;
		ask_again(run);
		if (o->proven && subscription_find(run->service, &run->scope) != NULL)
			sync_follow(run->service->sync, &o->target.peer, &run->scope);
	}
	if (is_looked_to(run, o))
		subscription_served(run->service, &run->scope, o);
	op_defer(&run->op);
}

static void on_wave_settled(struct sync_wave *w, uint8_t priority)
{
	struct discovery_run *run = w->data;

	ask_again(run);
}

/* The budgets bound waiting, not transfer: bytes that arrive earn time. */
static void prolong(struct discovery_run *run)
{
	uint64_t until_ms = runner_now_ms(run->op.env.runner) + DISCOVERY_PATIENCE_MS;

	run->local_until_ms = MAX(run->local_until_ms, until_ms);
	run->dht_until_ms = MAX(run->dht_until_ms, until_ms);
	op_prolong(&run->op, DISCOVERY_PATIENCE_MS);
}

static void on_wave_progress(struct sync_wave *w)
{
	struct discovery_run *run = w->data;
	uint64_t before = run->progress.bytes_downloaded;

	tell_progress(run);
	if (run->progress.bytes_downloaded > before)
		prolong(run);
}

static const struct sync_wave_events wave_events = { on_wave_peer, on_wave_settled,
						     on_wave_progress, on_wave_proven };

/* A wave that ends takes with it what it wanted: a later one wants it again, or it is left for good,
 * less what has come since. */
static void leave_to_later(struct sync_progress *ended, const struct sync_progress *p)
{
	ended->blobs_left -= MIN(ended->blobs_left, p->blobs_downloaded);
	ended->bytes_left -= MIN(ended->bytes_left, p->bytes_downloaded);
	add_progress(ended, p);
	ended->outstanding = ended->commits_behind = 0;
}

/* Fold a wave that ended into the totals. What it left owing is kept apart: a later tier may pay
 * it. */
static void wave_ended(struct discovery_run *run, const struct sync_wave *w, bool *running)
{
	leave_to_later(&run->ended, &w->progress);
	run->owed = w->progress.outstanding;
	*running = false;
	op_release(&run->op);
	run_sum_progress(run);
	op_tick(&run->op);
}

static void on_wave(struct sync_wave *w, int status)
{
	struct discovery_run *run = container_of(w, struct discovery_run, wave);

	wave_ended(run, w, &run->waving);
}

static void on_dht_wave(struct sync_wave *w, int status)
{
	struct discovery_run *run = container_of(w, struct discovery_run, dht_wave);

	wave_ended(run, w, &run->dht_waving);
}

/* Waves are ended by us (on_watch), whose budgets move with progress. */
static struct op_env wave_env(const struct discovery_run *run)
{
	struct op_env env = run->op.env;

	env.deadline_ms = UINT64_MAX;
	return env;
}

/* The content of the newest version, or of those that were asked for. */
static void begin_wave(struct discovery_run *run, struct sync_wave *w, sync_wave_cb cb)
{
	struct op_env env = wave_env(run);

	op_hold(&run->op);
	sync_wave_start(w, &env, run->service->sync, &run->scope, STORE_WANT_BULK, &wave_events,
			cb);
	w->data = run;
	if (run_is_pinned(run))
		sync_wave_pin(w, run->iri.heads, run->iri.head_count);
}

static void start_wave(struct discovery_run *run)
{
	run->waving = true;
	begin_wave(run, &run->wave, on_wave);
}

/* Start the wave over the present tier; false when it has nobody. */
bool run_start_tier(struct discovery_run *run)
{
	if (candidates_count(&run->candidates, run->tier) == 0)
		return false;
	start_wave(run);
	for (size_t i = 0; i < run->candidates.count; i++) {
		if (run->candidates.tiers[i] == run->tier)
			(void)sync_wave_add(&run->wave, &run->candidates.targets[i]);
	}
	sync_wave_seal(&run->wave);
	return true;
}

void run_start_retry(struct discovery_run *run)
{
	uint64_t count = run->busy_count;

	run->retries++;
	run->busy_count = 0;
	run->heard.asked -= count;
	run->heard.busy -= count;
	run->ended.peers_found -= count;
	run->ended.peers_failed -= count;
	start_wave(run);
	for (size_t i = 0; i < count; i++)
		(void)sync_wave_add(&run->wave, &run->busy[i]);
	sync_wave_seal(&run->wave);
}

void run_keep_rest(struct discovery_run *run)
{
	const struct candidates *c = &run->candidates;

	for (size_t i = 0; i < c->count; i++) {
		if (c->tiers[i] <= run->tier)
			continue;
		keep_for_background(run, &c->targets[i]);
		run->cut_peers = true;
	}
}

/* ---- The DHT: a lookup whose providers sync as they arrive ---- */

static struct discovery_source *lookup_source(const struct discovery *d)
{
	for (size_t i = 0; i < d->source_count; i++) {
		if (d->sources[i]->lookup != NULL)
			return d->sources[i];
	}
	return NULL;
}

static const char *dht_state(const struct discovery *d)
{
	struct discovery_source *s = lookup_source(d);

	if (s == NULL)
		return "off";
	return s->state != NULL ? s->state(s) : NULL;
}

static void on_provider(struct discovery_lookup *l, const struct sync_target *target)
{
	struct discovery_run *run = l->data;

	if (op_stopping(&run->op) || run->op.state >= RUN_EXIT)
		return;
	if (!target->any_peer && key_eq(&target->peer, net_self(run->service->net)))
		return;
	if (!target->any_peer && map_get(&run->met, target->peer.bytes, KEY_SIZE) != NULL)
		return;
	if (!target->any_peer &&
	    !bench_eligible(&run->service->bench, &target->peer, runner_now_ms(run->op.env.runner)))
		return;
	if (!run->dht_waving) {
		trace_mark(run->op.env.span, "DHT peer sync start");
		run->dht_waving = true;
		run->dht_used = true;
		begin_wave(run, &run->dht_wave, on_dht_wave);
	}
	(void)sync_wave_add(&run->dht_wave, target);
	run->peers_known++;
}

static void on_lookup_done(struct discovery_lookup *l, int status)
{
	struct discovery_run *run = l->data;

	run->looking = false;
	run->dht_ok = status == 0;
	op_release(&run->op);
	trace_mark(run->op.env.span, "DHT lookup done: %s", status == 0 ? "ok" : err_str(status));
	if (run->dht_waving)
		sync_wave_seal(&run->dht_wave);
	op_tick(&run->op);
}

static const struct discovery_lookup_events lookup_events = { on_provider, on_lookup_done };

/* Why the DHT is not asked; NULL = it is. */
static const char *why_no_dht(struct discovery_run *run, uint64_t now_ms)
{
	const char *state = dht_state(run->service);
	struct searched *searched;

	if (state != NULL)
		return state;
	if (run->has_announcer)
		return "not needed";
	searched = service_searched(run->service, &run->scope);
	if (searched == NULL)
		return NULL;
	if (!discovery_dht_due(run->user, run->have_locally, now_ms, searched->last_dht_ms))
		return "asked lately";
	searched->last_dht_ms = now_ms;
	return NULL;
}

void run_start_dht(struct discovery_run *run)
{
	uint64_t now_ms = runner_now_ms(run->op.env.runner);
	struct op_env env = run->op.env;
	struct discovery_source *source = lookup_source(run->service);
	const char *state;

	if (run->dht_started)
		return;
	run->dht_started = true;
	state = why_no_dht(run, now_ms);
	run->dht_until_ms = now_ms + run->service->dht_timeout_ms;
	env.deadline_ms = MIN(env.deadline_ms, run->dht_until_ms);
	if (state != NULL) {
		trace_mark(run->op.env.span, "DHT: %s", state);
		return;
	}
	trace_mark(run->op.env.span, "DHT lookup start");
	run->lookup = (struct discovery_lookup){ .events = &lookup_events, .data = run };
	run->looking = true;
	op_hold(&run->op);
	source->lookup(source, &run->lookup, &env, &run->iri);
}

/* ---- Stragglers and the hedge ---- */

static void on_watch(struct runner_timer *t)
{
	struct discovery_run *run = container_of(t, struct discovery_run, watch);
	uint64_t now = runner_now_ms(run->op.env.runner);

	if (run->op.state == RUN_LOCAL_SYNC && dht_state(run->service) == NULL &&
	    discovery_hedge(run_is_answered(run), run->progress.peers_synced_ok,
			    now - run->local_since_ms))
		run_start_dht(run);
	if (run->waving && now >= run->local_until_ms)
		sync_wave_cut(&run->wave, SYNC_CUT_DEADLINE);
	if (run->dht_waving && now >= run->dht_until_ms)
		sync_wave_cut(&run->dht_wave, SYNC_CUT_DEADLINE);
	runner_timer_start(run->op.env.runner, t, now + WATCH_MS);
	op_tick(&run->op);
}

void run_watch(struct discovery_run *run)
{
	run->watch.run = on_watch;
	runner_timer_start(run->op.env.runner, &run->watch,
			   runner_now_ms(run->op.env.runner) + WATCH_MS);
}

bool run_may_cut(const struct discovery_run *run, const struct sync_wave *w)
{
	/* Nobody who is still asked is in time. */
	if (run->resolved && run->progress.peers_synced_ok > 0 && w->progress.outstanding == 0 &&
	    !sync_wave_is_hopeful(w))
		return true;
	return discovery_cut_stragglers(run->progress.peers_synced_ok, w->progress.outstanding,
					run->resolved, run_is_pinned(run), sync_wave_talks(w),
					runner_now_ms(run->op.env.runner) - w->last_progress_ms);
}

void run_stop_children(struct discovery_run *run)
{
	struct discovery_source *source = lookup_source(run->service);
	enum sync_cut why = op_status(&run->op) == 0 ? SYNC_CUT_RESOLVED : SYNC_CUT_CANCELLED;

	runner_timer_stop(run->op.env.runner, &run->watch);
	if (run->waving)
		sync_wave_cut(&run->wave, why);
	if (run->dht_waving) {
		sync_wave_seal(&run->dht_wave);
		sync_wave_cut(&run->dht_wave, why);
	}
	if (run->looking && source != NULL)
		source->lookup_cancel(source, &run->lookup);
	op_cancel(&run->resolve.op);
	op_cancel(&run->peers.op);
}
