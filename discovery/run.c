/* The state machine of a discovery (trace "sync.discover").
 *
 *   ENTRY ──► LOCAL ──► PEERS ──► LOCAL_SYNC ──► DHT ──► CONFIRM ──► EXIT ──► DONE
 *               │ cached   │ nobody   │  ▲ next tier │        │         ▲
 *               └──────────┴──────────┴──┴───────────┴────────┴─────────┘
 *
 * States that wait: LOCAL and CONFIRM for the store, PEERS for the peer table, LOCAL_SYNC for a
 * wave over one tier, DHT for the lookup and for the wave over the providers it finds, EXIT for
 * children that were told to stop. The DHT may start while LOCAL_SYNC still runs (hedge); its
 * providers then sync in a wave of their own.
 *
 * Success is decided by one predicate alone: the store resolves the asked version. It is asked
 * again whenever a session ended well or nothing more is wanted, never on a timer. */
#include "discovery/run.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"

enum { WATCH_MS = 50, DHT_MIN_LEFT_MS = 1000 };

enum { ENTRY, LOCAL, PEERS, LOCAL_SYNC, DHT, CONFIRM, EXIT, DONE };

static const struct op_state states[] = {
	[ENTRY] = { "entry", TO(LOCAL) | TO(EXIT) },
	[LOCAL] = { "local", TO(PEERS) | TO(EXIT) },
	[PEERS] = { "peers", TO(LOCAL_SYNC) | TO(DHT) | TO(EXIT) },
	[LOCAL_SYNC] = { "local_sync", TO(DHT) | TO(EXIT) },
	[DHT] = { "dht", TO(CONFIRM) | TO(EXIT) },
	[CONFIRM] = { "confirm", TO(EXIT) },
	[EXIT] = { "exit", TO(DONE) },
	[DONE] = { "done", 0 },
};

static void run_tick(struct op *op);

static const struct op_kind kind_run = { "sync.discover", states, ARRAY_SIZE(states), run_tick };

static struct discovery_run *run_of(struct op *op)
{
	return container_of(op, struct discovery_run, op);
}

const char *run_stage(const struct discovery_run *run)
{
	return states[run->op.state].name;
}

/* ---- Does it resolve? ---- */

static void on_resolve(struct store_resolve *r, int status)
{
	struct discovery_run *run = container_of(r, struct discovery_run, resolve);

	run->resolving = false;
	op_release(&run->op);
	if (status < 0)
		op_result(&run->op, status);
	else
		run->resolved = r->resolved;
	op_tick(&run->op);
}

static void ask_resolved(struct discovery_run *run)
{
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

static bool pinned(const struct discovery_run *run)
{
	return run->iri.head_count > 0;
}

/* Resolving is an answer if the version was asked for, or somebody was heard: news cannot come from
 * our own store. */
static bool answered(const struct discovery_run *run)
{
	return run->resolved && (pinned(run) || run->progress.peers_synced_ok > 0 || run->settled);
}

/* ---- Waves ---- */

static void add_progress(struct sync_progress *to, const struct sync_progress *p)
{
	to->peers_found += p->peers_found;
	to->peers_synced_ok += p->peers_synced_ok;
	to->peers_failed += p->peers_failed;
	to->peers_cut += p->peers_cut;
	to->blobs_discovered += p->blobs_discovered;
	to->blobs_downloaded += p->blobs_downloaded;
	to->blobs_failed += p->blobs_failed;
	to->bytes_downloaded += p->bytes_downloaded;
	to->bytes_expected += p->bytes_expected;
	to->rounds += p->rounds;
	to->outstanding += p->outstanding;
}

static void sum_progress(struct discovery_run *run)
{
	run->progress = run->ended;
	if (run->waving)
		add_progress(&run->progress, &run->wave.progress);
	if (run->dht_waving)
		add_progress(&run->progress, &run->dht_wave.progress);
}

static void tell_progress(struct discovery_run *run)
{
	sum_progress(run);
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

static void on_wave_peer(struct sync_wave *w, const struct sync_peer_outcome *o)
{
	struct discovery_run *run = w->data;

	service_note_outcome(run->service, o, &run->scope.space);
	if (o->status == 0 || o->cut == SYNC_CUT_RESOLVED)
		keep_for_background(run, &o->target);
	else if (o->cut == SYNC_CUT_NONE)
		run->last_error = o->status;
	if (o->cut == SYNC_CUT_RESOLVED)
		run->cut_peers = true;
	if (o->status == 0) {
		if (w == &run->wave)
			run->local_ok = true;
		ask_resolved(run);
		if (o->proven && subscription_find(run->service, &run->scope) != NULL)
			sync_follow(run->service->sync, &o->target.peer, &run->scope);
	}
	op_defer(&run->op);
}

static void on_wave_settled(struct sync_wave *w, uint8_t priority)
{
	struct discovery_run *run = w->data;

	run->settled = true;
	ask_resolved(run);
}

static void on_wave_progress(struct sync_wave *w)
{
	tell_progress(w->data);
}

static const struct sync_wave_events wave_events = { on_wave_peer, on_wave_settled,
						     on_wave_progress };

/* Fold a wave that ended into the totals. What it left owing is kept apart: a later tier may pay
 * it. */
static void wave_ended(struct discovery_run *run, const struct sync_wave *w, bool *running)
{
	add_progress(&run->ended, &w->progress);
	run->ended.outstanding = 0;
	run->owed = w->progress.outstanding;
	*running = false;
	op_release(&run->op);
	sum_progress(run);
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

static struct op_env bounded_env(struct discovery_run *run, uint64_t since_ms, uint64_t budget_ms)
{
	struct op_env env = run->op.env;

	env.deadline_ms = MIN(env.deadline_ms, since_ms + budget_ms);
	return env;
}

/* Start the wave over the present tier; false when it has nobody. */
static bool start_tier(struct discovery_run *run)
{
	struct op_env env = bounded_env(run, run->local_since_ms, run->service->local_timeout_ms);

	if (candidates_count(&run->candidates, run->tier) == 0)
		return false;
	run->waving = true;
	op_hold(&run->op);
	sync_wave_start(&run->wave, &env, run->service->sync, &run->scope, STORE_WANT_BULK,
			&wave_events, on_wave);
	run->wave.data = run;
	for (size_t i = 0; i < run->candidates.count; i++) {
		if (run->candidates.tiers[i] == run->tier)
			(void)sync_wave_add(&run->wave, &run->candidates.targets[i]);
	}
	sync_wave_seal(&run->wave);
	return true;
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
	struct op_env env =
		bounded_env(run, runner_now_ms(run->op.env.runner), run->service->dht_timeout_ms);

	if (op_stopping(&run->op) || run->op.state >= EXIT)
		return;
	if (!target->any_peer && key_eq(&target->peer, net_self(run->service->net)))
		return;
	if (!target->any_peer &&
	    !bench_eligible(&run->service->bench, &target->peer, runner_now_ms(run->op.env.runner)))
		return;
	if (!run->dht_waving) {
		trace_mark(run->op.env.span, "DHT peer sync start");
		run->dht_waving = true;
		run->dht_used = true;
		op_hold(&run->op);
		sync_wave_start(&run->dht_wave, &env, run->service->sync, &run->scope,
				STORE_WANT_BULK, &wave_events, on_dht_wave);
		run->dht_wave.data = run;
	}
	(void)sync_wave_add(&run->dht_wave, target);
	run->peers_known++;
}

static void on_lookup_done(struct discovery_lookup *l, int status)
{
	struct discovery_run *run = l->data;

	run->looking = false;
	op_release(&run->op);
	trace_mark(run->op.env.span, "DHT lookup done: %s", status == 0 ? "ok" : err_str(status));
	if (run->dht_waving)
		sync_wave_seal(&run->dht_wave);
	op_tick(&run->op);
}

static const struct discovery_lookup_events lookup_events = { on_provider, on_lookup_done };

static void start_dht(struct discovery_run *run)
{
	struct op_env env =
		bounded_env(run, runner_now_ms(run->op.env.runner), run->service->dht_timeout_ms);
	struct discovery_source *source = lookup_source(run->service);
	const char *state = dht_state(run->service);

	if (run->dht_started)
		return;
	run->dht_started = true;
	if (state != NULL || run->has_announcer) {
		trace_mark(run->op.env.span, "DHT: %s", state != NULL ? state : "not needed");
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

	if (run->op.state == LOCAL_SYNC && !answered(run) &&
	    now - run->local_since_ms >= DISCOVERY_DHT_HEDGE_MS &&
	    run->progress.peers_synced_ok == 0 && dht_state(run->service) == NULL)
		start_dht(run);
	runner_timer_start(run->op.env.runner, t, now + WATCH_MS);
	op_tick(&run->op);
}

static bool wave_may_be_cut(const struct discovery_run *run, const struct sync_wave *w)
{
	uint64_t ok = run->progress.peers_synced_ok + (run->settled ? 1 : 0);

	return discovery_cut_stragglers(ok, w->progress.outstanding, run->resolved, pinned(run),
					runner_now_ms(run->op.env.runner) - w->last_progress_ms);
}

/* ---- States ---- */

static void on_peers(struct store_peers *p, int status)
{
	struct discovery_run *run = container_of(p, struct discovery_run, peers);

	run->loading = false;
	op_release(&run->op);
	if (status < 0)
		op_result(&run->op, status);
	op_tick(&run->op);
}

static enum op_step leave(struct discovery_run *run, enum discovery_outcome outcome, int status)
{
	run->outcome = outcome;
	op_result(&run->op, status);
	op_move(&run->op, EXIT);
	return OP_NEXT;
}

/* It resolves, and somebody was heard: thanks to whom? */
static enum op_step leave_found(struct discovery_run *run)
{
	return leave(run, run->dht_used && !run->local_ok ? DISCOVERY_DHT : DISCOVERY_LOCAL, 0);
}

/* A failed child or a cancel or the deadline: out, whatever the state. */
static bool must_leave(struct discovery_run *run)
{
	int status = op_status(&run->op);

	if (!op_has_result(&run->op))
		return false;
	run->timeout_stage = run_stage(run);
	if (status == UV_ETIMEDOUT)
		run->outcome = DISCOVERY_TIMEOUT;
	else if (status == UV_ECANCELED)
		run->outcome = DISCOVERY_CANCELLED;
	else
		run->outcome = DISCOVERY_ERROR;
	op_move(&run->op, EXIT);
	return true;
}

static void mark_entry(struct discovery_run *run)
{
	const char *recursive = run->kind == SCOPE_RECURSIVE ? "true" : "false";
	struct buf version;

	trace_attr_bool(run->op.env.span, "recursive", run->kind == SCOPE_RECURSIVE);
	if (!pinned(run)) {
		trace_mark(run->op.env.span, "recursive=%s", recursive);
		return;
	}
	buf_init(&version, IRI_TEXT_MAX);
	version_format(run->iri.heads, run->iri.head_count, &version);
	if (buf_err(&version) == 0) {
		trace_attr_str(run->op.env.span, "version", (const char *)version.data,
			       version.len);
		trace_mark(run->op.env.span, "version=%s recursive=%s", (const char *)version.data,
			   recursive);
	}
	buf_fini(&version);
}

static enum op_step do_entry(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	mark_entry(run);
	ask_resolved(run);
	op_move(&run->op, LOCAL);
	return OP_WAIT;
}

static enum op_step do_local(struct discovery_run *run)
{
	struct discovery *d = run->service;

	if (must_leave(run))
		return OP_NEXT;
	if (run->resolving)
		return OP_WAIT;
	run->have_locally = run->resolved;
	if (run->resolved && pinned(run)) {
		trace_mark(run->op.env.span, "local cache hit");
		return leave(run, DISCOVERY_CACHED, 0);
	}
	trace_mark(run->op.env.span, run->resolved ? "held locally, asking peers for news" :
						     "local cache miss, querying peers");
	op_move(&run->op, PEERS);
	if (run->has_announcer)
		return OP_NEXT;
	run->loading = true;
	op_hold(&run->op);
	store_peers_start(&run->peers, &run->op.env, d->store, &run->scope.space,
			  DISCOVERY_PEER_ROWS_MAX, on_peers);
	return OP_WAIT;
}

static enum op_step do_peers(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (run->loading)
		return OP_WAIT;
	run_select_peers(run);
	run->local_since_ms = runner_now_ms(run->op.env.runner);
	run->tier = DISCOVERY_AUTHORITY;
	runner_timer_start(run->op.env.runner, &run->watch, run->local_since_ms + WATCH_MS);
	op_move(&run->op, LOCAL_SYNC);
	while (run->tier <= DISCOVERY_COLD && !start_tier(run))
		run->tier++;
	return OP_NEXT;
}

/* The next tier that has somebody; false when there is none, or none is needed. */
static bool next_tier(struct discovery_run *run)
{
	uint64_t now = runner_now_ms(run->op.env.runner);

	if (!discovery_escalate(run->progress.peers_synced_ok, run->owed, run->resolved,
				run->exhaustive))
		return false;
	if (now - run->local_since_ms >= run->service->local_timeout_ms)
		return false;
	while (run->tier < DISCOVERY_COLD) {
		run->tier++;
		if (start_tier(run))
			return true;
	}
	return false;
}

static enum op_step leave_local(struct discovery_run *run)
{
	trace_mark(run->op.env.span, "local peers: %llu found, %llu synced ok",
		   (unsigned long long)run->progress.peers_found,
		   (unsigned long long)run->progress.peers_synced_ok);
	return OP_NEXT;
}

static enum op_step do_local_sync(struct discovery_run *run)
{
	if (must_leave(run))
		return leave_local(run);
	if (run->waving) {
		if (!run->resolving && wave_may_be_cut(run, &run->wave)) {
			if (answered(run)) {
				leave_local(run);
				return leave_found(run);
			}
			sync_wave_cut(&run->wave, SYNC_CUT_STRAGGLER);
		}
		return OP_WAIT;
	}
	if (run->resolving)
		return OP_WAIT;
	if (run->resolve_again) {
		ask_resolved(run);
		return OP_WAIT;
	}
	if (next_tier(run))
		return OP_WAIT;
	leave_local(run);
	if (answered(run))
		return leave_found(run);
	op_move(&run->op, DHT);
	start_dht(run);
	return OP_NEXT;
}

static enum op_step do_dht(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (answered(run) && !run->resolving &&
	    (!run->dht_waving || wave_may_be_cut(run, &run->dht_wave)))
		return leave_found(run);
	if (run->looking || run->dht_waving || run->resolving)
		return OP_WAIT;
	ask_resolved(run);
	op_move(&run->op, CONFIRM);
	return OP_WAIT;
}

/* Everybody was asked. What is here decides; without an answer from anybody it is what was here
 * before. */
static enum op_step do_confirm(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (run->resolving)
		return OP_WAIT;
	if (!run->resolved)
		return leave(run, DISCOVERY_NOT_FOUND, ERR_NOT_FOUND);
	if (run->have_locally && run->progress.peers_synced_ok == 0) {
		trace_mark(run->op.env.span, "no peer answered: what is held locally stands");
		return leave(run, DISCOVERY_CACHED, 0);
	}
	return leave_found(run);
}

static void stop_children(struct discovery_run *run)
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

static enum op_step do_exit(struct discovery_run *run)
{
	stop_children(run);
	if (run->op.pending > 0)
		return OP_WAIT;
	op_move(&run->op, DONE);
	return OP_NEXT;
}

/* ---- The end ---- */

static void tell_waiter(struct discovery_run *run, struct discover *w)
{
	size_t heads = MIN(run->resolve.head_count, (size_t)STORE_HEADS_MAX);

	list_remove(&w->waiter);
	w->run = NULL;
	w->outcome = run->outcome;
	w->timeout_stage = run->timeout_stage;
	w->last_error = run->last_error;
	w->peers_known = run->peers_known;
	w->progress = run->progress;
	w->stage = run_stage(run);
	if (run->resolved) {
		memcpy(w->heads, run->resolve.heads, heads * sizeof(w->heads[0]));
		w->head_count = heads;
		w->tombstone = run->resolve.tombstone;
	}
	op_result(&w->op, op_status(&run->op));
	op_defer(&w->op);
}

static void finish(struct discovery_run *run)
{
	struct discovery *d = run->service;
	int status = op_status(&run->op);

	sum_progress(run);
	trace_mark(run->op.env.span, "exit: %s", discovery_outcome_name(run->outcome));
	if (run->outcome == DISCOVERY_TIMEOUT)
		trace_attr_str(run->op.env.span, "timeout_stage", run->timeout_stage,
			       strlen(run->timeout_stage));
	trace_add(run->op.env.span, run->progress.blobs_downloaded, run->progress.bytes_downloaded);
	if (run->resolved && run->leftover_count > 0)
		background_start(run, run->leftovers, run->leftover_count);
	trace_finish(run->op.env.span, status, discovery_outcome_name(run->outcome));
	d->stats.by_outcome[run->outcome]++;
	list_for_each_safe(node, &run->waiters)
		tell_waiter(run, list_entry(node, struct discover, waiter));
	list_remove(&run->node);
	store_resolve_fini(&run->resolve);
	store_peers_fini(&run->peers);
	mem_free(run);
	d->stats.active--;
	service_ended(d);
}

static void run_tick(struct op *op)
{
	struct discovery_run *run = run_of(op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case ENTRY: step = do_entry(run); break;
		case LOCAL: step = do_local(run); break;
		case PEERS: step = do_peers(run); break;
		case LOCAL_SYNC: step = do_local_sync(run); break;
		case DHT: step = do_dht(run); break;
		case CONFIRM: step = do_confirm(run); break;
		case EXIT: step = do_exit(run); break;
		case DONE:
			if (op_finish(op))
				finish(run);
			return;
		}
	}
}

/* ---- Joining ---- */

static struct hash question_key(const struct iri *iri, enum scope_kind kind,
				const struct discovery_trigger *trigger)
{
	struct scope scope;
	struct hash part, key;
	uint8_t k = (uint8_t)kind;
	crypto_generichash_state h;

	scope_of_iri(iri, kind, &scope);
	part = scope_key(&scope);
	crypto_generichash_init(&h, NULL, 0, sizeof(key.bytes));
	crypto_generichash_update(&h, part.bytes, sizeof(part.bytes));
	crypto_generichash_update(&h, &k, 1);
	for (size_t i = 0; i < iri->head_count; i++)
		crypto_generichash_update(&h, iri->heads[i].bytes, HASH_SIZE);
	for (size_t i = 0; i < iri->hint_count; i++) {
		char text[MULTIADDR_TEXT_SIZE] = "";

		multiaddr_format(&iri->hints[i], text);
		crypto_generichash_update(&h, (const uint8_t *)text, strlen(text) + 1);
	}
	if (trigger->announcer != NULL)
		crypto_generichash_update(&h, trigger->announcer->bytes, KEY_SIZE);
	crypto_generichash_final(&h, key.bytes, sizeof(key.bytes));
	return key;
}

struct discovery_run *run_find(struct discovery *d, const struct iri *iri, enum scope_kind kind,
			       const struct discovery_trigger *trigger)
{
	struct hash key = question_key(iri, kind, trigger);

	list_for_each(node, &d->runs) {
		struct discovery_run *run = list_entry(node, struct discovery_run, node);

		if (hash_eq(&run->key, &key) && run->op.state < EXIT)
			return run;
	}
	return NULL;
}

static struct span open_span(struct discovery_run *run)
{
	struct span span = { 0 };
	struct buf title;

	if (run->service->trace == NULL)
		return span;
	buf_init(&title, IRI_TEXT_MAX);
	iri_format(&run->iri, &title);
	span = trace_root(run->service->trace, "sync.discover", (const char *)title.data, title.len,
			  NULL);
	buf_fini(&title);
	return span;
}

struct discovery_run *run_start(struct discovery *d, const struct iri *iri, enum scope_kind kind,
				const struct discovery_trigger *trigger, int *ret_err)
{
	struct op_env env = service_env(d, d->timeout_ms);
	struct discovery_run *run;
	struct span span;

	*ret_err = ERR_BUSY;
	if (d->stats.active >= DISCOVERY_RUNS_MAX || d->closing)
		return NULL;
	*ret_err = UV_ENOMEM;
	run = mem_alloc(sizeof(*run));
	if (run == NULL)
		return NULL;
	run->service = d;
	run->iri = *iri;
	run->kind = kind;
	run->key = question_key(iri, kind, trigger);
	run->user = trigger->user;
	run->has_announcer = trigger->announcer != NULL;
	if (run->has_announcer)
		run->announcer = *trigger->announcer;
	scope_of_iri(iri, kind, &run->scope);
	list_init(&run->waiters);
	run->watch.run = on_watch;
	list_push_back(&d->runs, &run->node);
	d->stats.started++;
	d->stats.active++;
	op_init(&run->op, &kind_run, &env, d->timeout_ms);
	span = open_span(run);
	op_own_span(&run->op, span);
	(void)trace_context_of(span, &run->trace);
	return run;
}

int run_attach(struct discovery_run *run, struct discover *w)
{
	if (run->waiter_count == DISCOVERY_WAITERS_MAX)
		return ERR_BUSY;
	if (run->waiter_count++ > 0) {
		run->service->stats.joined++;
		trace_mark(run->op.env.span, "joined by another asker: %u now", run->waiter_count);
	}
	list_push_back(&run->waiters, &w->waiter);
	w->run = run;
	w->stage = run_stage(run);
	w->traced = run->service->trace != NULL;
	w->trace = run->trace;
	return 0;
}

void run_detach(struct discovery_run *run, struct discover *w, int status)
{
	list_remove(&w->waiter);
	w->run = NULL;
	if (--run->waiter_count == 0)
		op_stop(&run->op, status);
}
