/* The state machine of a discovery (trace "sync.discover").
 *
 *   entry ──► local ──► peers ──► local_sync ──► dht ──► confirm ──► exit ──► done
 *                         └ neighbours ┘ just started, nobody near
 *               │ cached  │ nobody    │  ▲ next tier │        │ ▲      ▲
 *               │         │           │  └── retry ◄─┼────────┘ │      │
 *               └─────────┴───────────┴──────────────┴──────────┴──────┘
 *
 * States that wait: local and confirm for the store, peers for the peer table, neighbours for the
 * first answers of a source that has just begun to ask around, local_sync for a
 * wave over one tier, dht for the lookup and the wave over the providers it finds, retry for the
 * time that busy peers asked for, exit for children that were told to stop. The DHT may start while local_sync still runs (hedge).
 *
 * Success is decided by one predicate alone: the store resolves the asked version. It is asked
 * again whenever a session ended well or nothing more is wanted, never on a timer. What that success
 * is worth, and what the lack of it means, is answer_judge's to say: who was asked, who answered,
 * and whether we ourselves failed. */
#include "discovery/run.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"

static const struct op_state states[] = {
	[RUN_ENTRY] = { "entry", TO(RUN_LOCAL) | TO(RUN_EXIT) },
	[RUN_LOCAL] = { "local", TO(RUN_PEERS) | TO(RUN_EXIT) },
	[RUN_PEERS] = { "peers", TO(RUN_NEIGHBOURS) | TO(RUN_LOCAL_SYNC) | TO(RUN_EXIT) },
	[RUN_NEIGHBOURS] = { "neighbours", TO(RUN_LOCAL_SYNC) | TO(RUN_EXIT) },
	[RUN_LOCAL_SYNC] = { "local_sync", TO(RUN_DHT) | TO(RUN_EXIT) },
	[RUN_DHT] = { "dht", TO(RUN_CONFIRM) | TO(RUN_EXIT) },
	[RUN_CONFIRM] = { "confirm", TO(RUN_RETRY) | TO(RUN_EXIT) },
	[RUN_RETRY] = { "retry", TO(RUN_LOCAL_SYNC) | TO(RUN_EXIT) },
	[RUN_EXIT] = { "exit", TO(RUN_DONE) },
	[RUN_DONE] = { "done", 0 },
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

/* ---- States ---- */

static void on_peers(struct store_peers *p, int status)
{
	struct discovery_run *run = container_of(p, struct discovery_run, peers);

	run->loading = false;
	op_release(&run->op);
	if (status < 0)
		op_result(&run->op, status);
	for (size_t i = 0; status == 0 && i < p->count; i++)
		if (p->peers[i].added_by_user || p->peers[i].authority || p->peers[i].served_space)
			sync_know(run->service->sync, &p->peers[i].key);
	op_tick(&run->op);
}

static enum op_step leave(struct discovery_run *run, enum discovery_outcome outcome, int status)
{
	run->outcome = outcome;
	op_result(&run->op, status);
	op_move(&run->op, RUN_EXIT);
	return OP_NEXT;
}

/* Whom a wide wave did not come to is heard in the background: the asker need not wait for them. */
static enum op_step leave_judged(struct discovery_run *run)
{
	struct answer_verdict v = run_judge(run);

	if (run->exhaustive && run->op.state == RUN_LOCAL_SYNC && v.status == 0)
		run_keep_rest(run);
	run->answer = v.answer;
	return leave(run, run_outcome_of(run, &v), v.status);
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
	if (discovery_is_ours(status))
		run->answer = DISCOVERY_FAULT;
	op_move(&run->op, RUN_EXIT);
	return true;
}

static void mark_entry(struct discovery_run *run)
{
	const char *recursive = run->kind == SCOPE_RECURSIVE ? "true" : "false";
	struct buf version;

	trace_attr_bool(run->op.env.span, "recursive", run->kind == SCOPE_RECURSIVE);
	if (!run_is_pinned(run)) {
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
	run_ask_resolved(run);
	op_move(&run->op, RUN_LOCAL);
	return OP_WAIT;
}

/* Searching for what nothing is known of is what a flood of questions would cost: it has a budget.
 */
static bool may_search(struct discovery_run *run)
{
	struct discovery *d = run->service;

	if (run_is_known_of(run) || run->fresh || run->has_announcer)
		return true;
	run->again_in_ms = misses_search(&d->misses, runner_now_ms(d->runner));
	run->paid = run->again_in_ms == 0;
	return run->paid;
}

static enum op_step do_local(struct discovery_run *run)
{
	struct discovery *d = run->service;

	if (must_leave(run))
		return OP_NEXT;
	if (run->resolving)
		return OP_WAIT;
	run->have_locally = run->resolved;
	if (run->resolved && run_is_pinned(run)) {
		trace_mark(run->op.env.span, "local cache hit");
		return leave_judged(run);
	}
	if (!may_search(run)) {
		trace_mark(run->op.env.span, "too many searches for unknown objects");
		return leave(run, DISCOVERY_ERROR, ERR_BUSY);
	}
	trace_mark(run->op.env.span, run->resolved ? "held locally, asking peers for news" :
						     "local cache miss, querying peers");
	op_move(&run->op, RUN_PEERS);
	if (run->has_announcer)
		return OP_NEXT;
	run->loading = true;
	op_hold(&run->op);
	store_peers_start(&run->peers, &run->op.env, d->store, &run->scope.space,
			  DISCOVERY_PEER_ROWS_MAX, on_peers);
	return OP_WAIT;
}

/* Somebody waits, nobody is near, and the first answers from the LAN may still be on their way: to
 * say "not found" now would be true of nothing but the first second. */
static bool awaits_neighbours(const struct discovery_run *run)
{
	return run->user && !run->resolved && !run->has_announcer && run->iri.hint_count == 0 &&
	       service_settles_ms(run->service) > runner_now_ms(run->op.env.runner) &&
	       service_peers_near(run->service) == 0;
}

static enum op_step begin_local_sync(struct discovery_run *run)
{
	run_select_peers(run);
	run->local_since_ms = runner_now_ms(run->op.env.runner);
	run->local_until_ms = run->local_since_ms + run->service->local_timeout_ms;
	run->tier = DISCOVERY_AUTHORITY;
	run_watch(run);
	op_move(&run->op, RUN_LOCAL_SYNC);
	while (run->tier <= DISCOVERY_COLD && !run_start_tier(run))
		run->tier++;
	return OP_NEXT;
}

static enum op_step do_peers(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (run->loading)
		return OP_WAIT;
	if (!awaits_neighbours(run))
		return begin_local_sync(run);
	trace_mark(run->op.env.span, "nobody is near yet: the LAN has just been asked");
	run_watch(run);
	op_move(&run->op, RUN_NEIGHBOURS);
	return OP_WAIT;
}

/* Looked at again whenever the watch ticks. */
static enum op_step do_neighbours(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	return awaits_neighbours(run) ? OP_WAIT : begin_local_sync(run);
}

/* The next tier that has somebody; false when there is none, or none is needed. */
static bool next_tier(struct discovery_run *run)
{
	uint64_t now = runner_now_ms(run->op.env.runner);

	if (!discovery_escalate(run->progress.peers_synced_ok, run->owed, run->resolved,
				run->exhaustive))
		return false;
	if (now >= run->local_until_ms)
		return false;
	while (run->tier < DISCOVERY_COLD) {
		run->tier++;
		if (run_start_tier(run))
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
		if (!run->resolving && run_may_cut(run, &run->wave)) {
			/* Nobody waits for a wide wave in the background: it goes through all
			 * tiers. */
			if (run_is_answered(run) && (run->user || !run->exhaustive)) {
				leave_local(run);
				return leave_judged(run);
			}
			sync_wave_cut(&run->wave, SYNC_CUT_STRAGGLER);
		}
		return OP_WAIT;
	}
	if (run->resolving)
		return OP_WAIT;
	if (run->own_error == 0 && next_tier(run))
		return OP_WAIT;
	leave_local(run);
	if (run_is_answered(run) || run->own_error < 0)
		return leave_judged(run);
	op_move(&run->op, RUN_DHT);
	run_start_dht(run);
	return OP_NEXT;
}

static enum op_step do_dht(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (run_is_answered(run) && !run->resolving &&
	    (!run->dht_waving || run_may_cut(run, &run->dht_wave)))
		return leave_judged(run);
	if (run->looking || run->dht_waving || run->resolving)
		return OP_WAIT;
	run_ask_resolved(run);
	op_move(&run->op, RUN_CONFIRM);
	return OP_WAIT;
}

/* A user waits, nobody gave an answer, and somebody said when to ask again. */
static bool may_retry(const struct discovery_run *run)
{
	return run->user && run->busy_count > 0 && run->own_error == 0 && !run_is_answered(run) &&
	       run->retries < RUN_RETRIES_MAX && run->retry_in_ms <= RUN_RETRY_WAIT_MS &&
	       runner_now_ms(run->op.env.runner) < run->local_until_ms;
}

/* Everybody was asked. What is here, and who said something, decides. */
static enum op_step do_confirm(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (run->resolving)
		return OP_WAIT;
	if (!may_retry(run))
		return leave_judged(run);
	run->retry_at_ms = runner_now_ms(run->op.env.runner) + run->retry_in_ms;
	trace_mark(run->op.env.span, "%zu busy: asked again in %llu ms", run->busy_count,
		   (unsigned long long)run->retry_in_ms);
	op_move(&run->op, RUN_RETRY);
	return OP_NEXT;
}

/* The watch ticks. */
static enum op_step do_retry(struct discovery_run *run)
{
	if (must_leave(run))
		return OP_NEXT;
	if (runner_now_ms(run->op.env.runner) < run->retry_at_ms)
		return OP_WAIT;
	run->tier = DISCOVERY_COLD;
	op_move(&run->op, RUN_LOCAL_SYNC);
	run_start_retry(run);
	return OP_WAIT;
}

static enum op_step do_exit(struct discovery_run *run)
{
	run_stop_children(run);
	if (run->op.pending > 0)
		return OP_WAIT;
	op_move(&run->op, RUN_DONE);
	return OP_NEXT;
}

/* ---- The end ---- */

static void finish(struct discovery_run *run)
{
	struct discovery *d = run->service;
	int status = op_status(&run->op);
	bool user = run->user;

	run_sum_progress(run);
	run_mark_answer(run);
	if (run->outcome == DISCOVERY_TIMEOUT)
		trace_attr_str(run->op.env.span, "timeout_stage", run->timeout_stage,
			       strlen(run->timeout_stage));
	trace_add(run->op.env.span, run->progress.blobs_downloaded, run->progress.bytes_downloaded);
	if (run->resolved && run->leftover_count > 0)
		background_start(run, run->leftovers, run->leftover_count);
	trace_finish(run->op.env.span, status, run_word(run));
	d->stats.by_outcome[run->outcome]++;
	d->stats.by_answer[run->answer]++;
	run_remember_miss(run);
	list_for_each_safe(node, &run->waiters)
		run_tell_waiter(run, list_entry(node, struct discover, waiter));
	list_remove(&run->node);
	store_resolve_fini(&run->resolve);
	store_peers_fini(&run->peers);
	map_fini(&run->met);
	mem_free(run);
	d->stats.active--;
	if (user) {
		d->user_runs--;
		subscriptions_users_changed(d);
	}
	service_ended(d);
}

static void run_tick(struct op *op)
{
	struct discovery_run *run = run_of(op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case RUN_ENTRY: step = do_entry(run); break;
		case RUN_LOCAL: step = do_local(run); break;
		case RUN_PEERS: step = do_peers(run); break;
		case RUN_NEIGHBOURS: step = do_neighbours(run); break;
		case RUN_LOCAL_SYNC: step = do_local_sync(run); break;
		case RUN_DHT: step = do_dht(run); break;
		case RUN_CONFIRM: step = do_confirm(run); break;
		case RUN_RETRY: step = do_retry(run); break;
		case RUN_EXIT: step = do_exit(run); break;
		case RUN_DONE:
			if (op_finish(op))
				finish(run);
			return;
		}
	}
}

/* ---- Joining ---- */

struct hash run_question(const struct iri *iri, enum scope_kind kind,
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
	struct hash key = run_question(iri, kind, trigger);

	list_for_each(node, &d->runs) {
		struct discovery_run *run = list_entry(node, struct discovery_run, node);

		/* A user's search is wider than one in the background. */
		if (hash_eq(&run->key, &key) && run->op.state < RUN_EXIT &&
		    (run->user || !trigger->user))
			return run;
	}
	return NULL;
}

struct discovery_run *run_new(struct discovery *d, const struct iri *iri, enum scope_kind kind,
			      const struct discovery_trigger *trigger, int *ret_err)
{
	struct op_env env = { .runner = d->runner, .deadline_ms = UINT64_MAX };
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
	run->key = run_question(iri, kind, trigger);
	run->user = trigger->user;
	run->fresh = trigger->fresh;
	run->has_announcer = trigger->announcer != NULL;
	if (run->has_announcer)
		run->announcer = *trigger->announcer;
	scope_of_iri(iri, kind, &run->scope);
	run->own_space = d->has_own_space && key_eq(&d->own_space, &iri->space);
	map_init(&run->met, RUN_MET_MAX);
	list_init(&run->waiters);
	list_push_back(&d->runs, &run->node);
	d->stats.started++;
	d->stats.active++;
	op_init(&run->op, &kind_run, &env, d->timeout_ms);
	span = trigger->span.trace != NULL ? trigger->span : service_open_span(d, iri);
	op_own_span(&run->op, span);
	(void)trace_context_of(span, &run->trace);
	if (run->user) {
		d->user_runs++;
		subscriptions_users_changed(d);
	}
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
