/* Scopes that are kept in sync: looked after when added, when a peer announces news, and every
 * interval. When and in which order is the scheduler's; here its tasks become discoveries, and the
 * table of the store becomes tasks. */
#include <string.h>

#include "base/mem.h"
#include "discovery/providers.h"
#include "discovery/service.h"

enum {
	LOAD_TIMEOUT_MS = 60000,
	IMPATIENT_MS = 1000,  /* so long may one announcer stall while another one has news too */
	RELOAD_MS = 5000,     /* after a load that failed, or did not have the memory */
	QUEUED_SPANS_MAX = 64 /* runs that wait for a slot and show it in a trace of their own */
};

struct discovery_subscription {
	struct list node;
	struct discovery *service;
	struct scope scope;
	struct hash key;
	struct scheduler_task task;
	struct discover discover;
	struct store_subscription_set ok;
	struct scheduler_result result;
	struct span queued; /* the trace of the run, from when it was due; zero otherwise */
	bool running, noting, gone, seen;
	bool history; /* the content of older versions is wanted too */
	bool announced;
	struct public_key announcer, asked; /* who told last; whom a partial run asks */
	struct providers providers;
	/* The last run */
	const char *why;
	bool ran;
	enum discovery_outcome outcome;
	struct discovery_report report;
	uint64_t commits_here, blobs_missing;
	uint64_t ended_ms;
	uint64_t since_ms, confirmed_ms; /* known here; told by a peer, 0 = not yet */
};

static void start_due(struct discovery *d);

static struct discovery_subscription *of_task(struct scheduler_task *t)
{
	return container_of(t, struct discovery_subscription, task);
}

static uint64_t now_ms(const struct discovery *d)
{
	return runner_now_ms(d->runner);
}

/* ---- The trace of a run begins when it is due: its first stage is the wait for a slot ---- */

static void drop_queued_span(struct discovery_subscription *s, int status, const char *outcome)
{
	if (s->queued.trace == NULL)
		return;
	trace_finish(s->queued, status, outcome);
	s->queued = (struct span){ 0 };
	s->service->queued_spans--;
}

void subscription_queued(struct scheduler *scheduler, struct scheduler_task *t)
{
	struct discovery_subscription *s = of_task(t);
	struct discovery *d = s->service;
	struct iri iri = { .space = s->scope.space, .path_len = s->scope.path_len };

	if (s->queued.trace != NULL || d->queued_spans >= QUEUED_SPANS_MAX || d->closing)
		return;
	memcpy(iri.path, s->scope.path, sizeof(iri.path));
	s->queued = service_open_span(d, &iri);
	trace_stage(s->queued, "queued");
	d->queued_spans += s->queued.trace != NULL;
}

/* ---- Runs ---- */

static void forget(struct discovery_subscription *s)
{
	struct discovery *d = s->service;

	if (!s->gone) {
		s->gone = true;
		map_del(&d->subscribed, s->key.bytes, sizeof(s->key.bytes));
		scheduler_remove(&d->scheduler, &s->task);
		drop_queued_span(s, UV_ECANCELED, "cancelled");
		if (s->running)
			op_cancel(&s->discover.op);
	}
	if (s->running || s->noting)
		return;
	list_remove(&s->node);
	d->stats.subscriptions--;
	mem_free(s);
}

static void ended(struct discovery_subscription *s)
{
	struct discovery *d = s->service;

	if (s->gone)
		forget(s);
	else
		scheduler_done(&d->scheduler, &s->task, &s->result, now_ms(d));
	start_due(d);
	service_ended(d);
}

static void on_noted(struct store_subscription_set *set, int status)
{
	struct discovery_subscription *s = container_of(set, struct discovery_subscription, ok);

	s->noting = false;
	store_subscription_set_fini(set);
	ended(s);
}

static void take_result(struct discovery_subscription *s, int status)
{
	const struct discover *found = &s->discover;

	s->result.status = status;
	s->result.brought = found->progress.blobs_downloaded > 0;
	if (found->answer != DISCOVERY_CONFIRMED)
		s->result.retry_in_ms = found->retry_in_ms;
	s->ran = true;
	s->outcome = found->outcome;
	s->report = (struct discovery_report){ .answer = found->answer,
					       .status = status,
					       .last_error = found->last_error,
					       .peers = found->peers };
	s->commits_here = found->commits_here;
	s->blobs_missing = found->blobs_missing;
	s->ended_ms = now_ms(s->service);
}

static void on_discovered(struct discover *found, int status)
{
	struct discovery_subscription *s =
		container_of(found, struct discovery_subscription, discover);
	struct discovery *d = s->service;
	struct op_env env = service_env(d, LOAD_TIMEOUT_MS);

	s->running = false;
	take_result(s, status);
	if (found->answer == DISCOVERY_CONFIRMED)
		s->confirmed_ms = s->ended_ms;
	if (found->answer == DISCOVERY_CONFIRMED && !s->gone && !d->closing) {
		s->noting = true;
		store_subscription_set_start(&s->ok, &env, d->store, STORE_SUBSCRIPTION_OK,
					     &s->scope, on_noted);
		return;
	}
	ended(s);
}

static void on_progress(struct discover *found)
{
	struct discovery_subscription *s =
		container_of(found, struct discovery_subscription, discover);

	scheduler_progress(&s->task, now_ms(s->service));
}

static const char *reason(const struct discovery_subscription *s, bool partial)
{
	if (partial)
		return s->result.no_news ? "returned" : "announced";
	if (s->task.lane == SCHEDULER_HOT)
		return "added";
	return s->task.failures > 0 ? "retry" : "interval";
}

static void start(struct discovery_subscription *s)
{
	struct discovery *d = s->service;
	struct op_env env = service_env(d, d->timeout_ms);
	bool hot = s->task.lane == SCHEDULER_HOT, announced = hot && s->announced;
	struct public_key announcer = s->announcer;
	bool partial = announced || (hot && providers_take_back(&s->providers, &announcer));
	struct discovery_trigger trigger = { .announcer = partial ? &announcer : NULL,
					     .fresh = true,
					     .history = s->history,
					     .span = s->queued };
	struct iri iri = { .space = s->scope.space, .path_len = s->scope.path_len };

	memcpy(iri.path, s->scope.path, sizeof(iri.path));
	if (s->queued.trace != NULL)
		d->queued_spans--;
	s->queued = (struct span){ 0 };
	s->result = (struct scheduler_result){ .partial = partial, .no_news = !announced };
	s->why = reason(s, partial);
	if (partial) {
		s->announced = s->announced && !announced;
		s->asked = announcer;
	}
	s->running = true;
	if (providers_any_back(&s->providers)) /* afterwards */
		scheduler_look(&d->scheduler, &s->task, now_ms(d));
	s->discover.on_progress = on_progress;
	discover_start_for(&s->discover, &env, d, &iri, s->scope.kind, &trigger, on_discovered);
}

/* Somebody else has news as well, and the one that is asked says nothing. */
static bool is_stalled(const struct discovery_subscription *s, uint64_t now)
{
	return s->running && s->result.partial && s->announced &&
	       !key_eq(&s->announcer, &s->asked) && now >= s->task.moved_ms + IMPATIENT_MS;
}

static void cut_stalled(struct discovery *d)
{
	d->impatient = false;
	list_for_each(node, &d->subscriptions) {
		struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		if (is_stalled(s, now_ms(d)))
			op_cancel(&s->discover.op);
		else if (s->running && s->result.partial && s->announced)
			d->impatient = true;
	}
}

static void start_due(struct discovery *d)
{
	struct scheduler_task *t;
	uint64_t wake_ms;

	if (d->closing || !d->subscribing)
		return;
	scheduler_users(&d->scheduler, d->user_runs);
	while ((t = scheduler_next(&d->scheduler, now_ms(d))) != NULL)
		start(of_task(t));
	t = scheduler_preempt(&d->scheduler, now_ms(d));
	if (t != NULL && of_task(t)->running)
		op_cancel(&of_task(t)->discover.op);
	wake_ms = scheduler_wake_ms(&d->scheduler, now_ms(d));
	if (d->reload)
		wake_ms = MIN(wake_ms, now_ms(d) + RELOAD_MS);
	if (d->impatient)
		wake_ms = MIN(wake_ms, now_ms(d) + IMPATIENT_MS / 4);
	if (wake_ms != UINT64_MAX)
		runner_timer_start(d->runner, &d->subscription_timer, wake_ms);
}

void subscriptions_users_changed(struct discovery *d)
{
	start_due(d);
}

static void load(struct discovery *d);

static void on_timer(struct runner_timer *t)
{
	struct discovery *d = container_of(t, struct discovery, subscription_timer);

	if (d->reload && d->loader == NULL)
		load(d);
	if (d->impatient)
		cut_stalled(d);
	start_due(d);
}

static struct discovery_subscription *find(const struct discovery *d, const struct hash *key)
{
	return map_get(&d->subscribed, key->bytes, sizeof(key->bytes));
}

struct discovery_subscription *subscription_find(struct discovery *d, const struct scope *scope)
{
	struct hash key = scope_key(scope);

	return find(d, &key);
}

void subscription_announced(struct discovery *d, const struct scope *scope,
			    const struct public_key *peer)
{
	struct discovery_subscription *s = subscription_find(d, scope);

	if (s == NULL || d->closing)
		return;
	s->announced = true;
	s->announcer = *peer;
	d->impatient = d->impatient || (s->running && s->result.partial);
	scheduler_news(&d->scheduler, &s->task, now_ms(d));
	start_due(d);
}

/* For how long no peer has confirmed it, when that is too long; what this daemon's user alone writes
 * needs no confirmation. */
static uint64_t silence_ms(const struct discovery_subscription *s)
{
	const struct discovery *d = s->service;
	uint64_t ms = now_ms(d) - MAX(s->since_ms, s->confirmed_ms);

	if (s->gone || (s->ran && s->report.answer == DISCOVERY_OWN))
		return 0;
	return ms >= DISCOVERY_OVERDUE_INTERVALS * d->subscription_interval_ms ? ms : 0;
}

void subscription_served(struct discovery *d, const struct scope *scope,
			 const struct sync_peer_outcome *o)
{
	struct discovery_subscription *s = subscription_find(d, scope);
	struct sync_target target = o->target;

	if (s == NULL || d->closing)
		return;
	providers_add(&s->providers, &target.peer);
	if (o->dial_addr.port != 0 && target.addr_count < SYNC_TARGET_ADDRS_MAX)
		target.addrs[target.addr_count++] = o->dial_addr;
	redial_keep(&d->redial, &target);
}

bool subscriptions_look_to(const struct discovery *d, const struct public_key *peer)
{
	list_for_each(node, &d->subscriptions) {
		const struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		if (!s->gone && providers_has(&s->providers, peer))
			return true;
	}
	return false;
}

/* What is published from now on is heard, and what was missed is asked for. */
void subscriptions_peer_back(struct discovery *d, const struct public_key *peer)
{
	list_for_each(node, &d->subscriptions) {
		struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		if (s->gone || !providers_back(&s->providers, peer))
			continue;
		sync_follow(d->sync, peer, &s->scope);
		scheduler_look(&d->scheduler, &s->task, now_ms(d));
	}
	start_due(d);
}

bool discovery_subscription_status(const struct discovery *d, const struct scope *scope,
				   struct discovery_subscription_status *ret)
{
	static const char *const names[] = { "gone", "sleeping", "queued", "running" };
	struct hash key = scope_key(scope);
	const struct discovery_subscription *s = find(d, &key);
	uint64_t now = now_ms(d);

	if (s == NULL)
		return false;
	*ret = (struct discovery_subscription_status){
		.state = names[s->task.state],
		.why = s->why,
		.next_in_ms = scheduler_next_run_ms(&s->task, now) - now,
		.failures = s->task.failures,
		.ran = s->ran,
	};
	if (s->task.state == SCHEDULER_SLEEPING && s->task.failures > 0)
		ret->state = "backing off";
	if (s->ran) {
		ret->outcome = s->outcome;
		ret->status = s->report.status;
		ret->report = s->report;
		ret->commits_here = s->commits_here;
		ret->blobs_missing = s->blobs_missing;
		ret->ended_ago_ms = now - s->ended_ms;
	}
	ret->confirmed = s->confirmed_ms > 0;
	ret->confirmed_ago_ms = ret->confirmed ? now - s->confirmed_ms : 0;
	ret->overdue = silence_ms(s) > 0;
	return true;
}

void subscriptions_count_overdue(const struct discovery *d, struct discovery_stats *ret)
{
	list_for_each(node, &d->subscriptions) {
		uint64_t ms = silence_ms(list_entry(node, struct discovery_subscription, node));

		ret->sub_overdue += ms > 0;
		ret->sub_overdue_ms = MAX(ret->sub_overdue_ms, ms);
	}
}

/* ---- The table ---- */

struct subscription_loader {
	struct store_subscriptions list;
	struct discovery *service;
};

static int insert(struct discovery *d, const struct scope *scope, const struct hash *key,
		  bool history)
{
	struct discovery_subscription *s = mem_alloc(sizeof(*s));
	int rc;

	if (s == NULL)
		return UV_ENOMEM;
	s->service = d;
	s->scope = *scope;
	s->key = *key;
	s->history = history;
	s->seen = true;
	s->since_ms = now_ms(d);
	rc = map_put(&d->subscribed, s->key.bytes, sizeof(s->key.bytes), s);
	if (rc == 0)
		rc = scheduler_add(&d->scheduler, &s->task, &scope->space, now_ms(d));
	if (rc < 0) {
		map_del(&d->subscribed, s->key.bytes, sizeof(s->key.bytes));
		mem_free(s);
		return rc;
	}
	list_push_back(&d->subscriptions, &s->node);
	d->stats.subscriptions++;
	if (d->loaded) /* somebody has just added it, and looks */
		scheduler_news(&d->scheduler, &s->task, now_ms(d));
	return 0;
}

/* Older versions are wanted from now on: as good a reason to look as news. */
static void turn_history(struct discovery_subscription *s, bool history)
{
	if (history && !s->history)
		scheduler_news(&s->service->scheduler, &s->task, now_ms(s->service));
	s->history = history;
}

static void add(struct discovery *d, const struct store_subscription *row)
{
	struct hash key = scope_key(&row->scope);
	struct discovery_subscription *s = find(d, &key);

	if (s != NULL) {
		s->seen = true;
		turn_history(s, row->history);
	} else if (insert(d, &row->scope, &key, row->history) == UV_ENOMEM) {
		d->reload = true;
	}
}

static void drop_unseen(struct discovery *d)
{
	list_for_each_safe(node, &d->subscriptions) {
		struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		if (s->seen || s->gone)
			continue;
		sync_unfollow(d->sync, &s->scope);
		forget(s);
	}
}

static void on_loaded(struct store_subscriptions *list, int status)
{
	struct subscription_loader *loader = container_of(list, struct subscription_loader, list);
	struct discovery *d = loader->service;
	bool again = d->reload;

	d->reload = status < 0;
	if (status == 0 && !d->closing) {
		list_for_each(node, &d->subscriptions)
			list_entry(node, struct discovery_subscription, node)->seen = false;
		for (size_t i = 0; i < list->count; i++)
			add(d, &list->list[i]);
		drop_unseen(d);
		d->loaded = true;
	}
	store_subscriptions_fini(list);
	d->loader = mem_free(loader);
	if (again && !d->closing)
		load(d);
	start_due(d);
	service_ended(d);
}

static void load(struct discovery *d)
{
	struct op_env env = service_env(d, LOAD_TIMEOUT_MS);

	d->reload = d->loader != NULL;
	if (d->reload)
		return;
	d->loader = mem_alloc(sizeof(*d->loader));
	if (d->loader == NULL) {
		d->reload = true;
		return;
	}
	d->loader->service = d;
	store_subscriptions_start(&d->loader->list, &env, d->store, on_loaded);
}

void discovery_start_subscriptions(struct discovery *d)
{
	d->subscribing = true;
	d->subscription_timer.run = on_timer;
	load(d);
	start_due(d);
}

/* One by one: reading the whole table for each would make a thousand of them a million. A table
 * that is being read may be older than the change, and is read again. */
static bool takes_changes(struct discovery *d)
{
	if (!d->subscribing || d->closing)
		return false;
	if (!d->loaded || d->loader != NULL || d->reload)
		load(d);
	return true;
}

void discovery_subscription_added(struct discovery *d, const struct scope *scope, bool history)
{
	const struct store_subscription row = { .scope = *scope, .history = history };

	if (!takes_changes(d))
		return;
	add(d, &row);
	start_due(d);
}

void discovery_subscription_removed(struct discovery *d, const struct scope *scope)
{
	struct discovery_subscription *s = subscription_find(d, scope);

	if (!takes_changes(d) || s == NULL)
		return;
	sync_unfollow(d->sync, &s->scope);
	forget(s);
	start_due(d);
}

void subscriptions_close(struct discovery *d)
{
	if (d->subscribing)
		runner_timer_stop(d->runner, &d->subscription_timer);
	list_for_each_safe(node, &d->subscriptions)
		forget(list_entry(node, struct discovery_subscription, node));
}

bool subscriptions_closed(const struct discovery *d)
{
	return list_empty(&d->subscriptions) && d->loader == NULL;
}
