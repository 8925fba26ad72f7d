/* Scopes that are kept in sync: discovered when added, when a peer announces news, and every
 * interval with jitter, so that many subscriptions spread out. A few at a time; one that is due
 * waits for a free place. */
#include <string.h>

#include "base/mem.h"
#include "discovery/service.h"

enum {
	RUNNING_MAX = 4,
	TICK_MS = 1000,
	JITTER_DIVISOR = 10, /* an interval varies by a tenth */
	LOAD_TIMEOUT_MS = 60000
};

struct discovery_subscription {
	struct list node;
	struct discovery *service;
	struct scope scope;
	struct discover discover;
	struct store_subscription_set ok;
	bool running, noting, gone, seen;
	bool announced;
	struct public_key announcer;
	uint64_t due_ms;
};

static void start_due(struct discovery *d);

static unsigned busy(const struct discovery *d)
{
	unsigned n = 0;

	list_for_each(node, &d->subscriptions) {
		const struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		n += s->running || s->noting;
	}
	return n;
}

static void free_if_gone(struct discovery_subscription *s)
{
	if (!s->gone || s->running || s->noting)
		return;
	list_remove(&s->node);
	s->service->stats.subscriptions--;
	mem_free(s);
}

static uint64_t next_due(struct discovery *d)
{
	uint64_t interval = d->subscription_interval_ms;

	return runner_now_ms(d->runner) + interval - interval / JITTER_DIVISOR +
	       runner_random_below(d->runner, interval / JITTER_DIVISOR * 2 + 1);
}

static void on_noted(struct store_subscription_set *set, int status)
{
	struct discovery_subscription *s = container_of(set, struct discovery_subscription, ok);
	struct discovery *d = s->service;

	s->noting = false;
	store_subscription_set_fini(set);
	free_if_gone(s);
	start_due(d);
	service_ended(d);
}

static void on_discovered(struct discover *found, int status)
{
	struct discovery_subscription *s =
		container_of(found, struct discovery_subscription, discover);
	struct discovery *d = s->service;
	struct op_env env = service_env(d, LOAD_TIMEOUT_MS);

	s->running = false;
	if (s->due_ms <= runner_now_ms(d->runner))
		s->due_ms = next_due(d);
	if (status == 0 && !s->gone && !d->closing) {
		s->noting = true;
		store_subscription_set_start(&s->ok, &env, d->store, STORE_SUBSCRIPTION_OK,
					     &s->scope, on_noted);
	}
	free_if_gone(s);
	start_due(d);
	service_ended(d);
}

static void start(struct discovery_subscription *s)
{
	struct discovery *d = s->service;
	struct op_env env = service_env(d, d->timeout_ms);
	struct discovery_trigger trigger = { .announcer = s->announced ? &s->announcer : NULL };
	struct public_key announcer = s->announcer;
	struct iri iri = { .space = s->scope.space, .path_len = s->scope.path_len };

	memcpy(iri.path, s->scope.path, sizeof(iri.path));
	if (s->announced)
		trigger.announcer = &announcer;
	else
		s->due_ms = next_due(d);
	s->announced = false;
	s->running = true;
	discover_start_for(&s->discover, &env, d, &iri, s->scope.kind, &trigger, on_discovered);
}

static bool startable(const struct discovery_subscription *s, uint64_t now)
{
	return !s->running && !s->noting && !s->gone && (s->announced || s->due_ms <= now);
}

static void start_due(struct discovery *d)
{
	uint64_t now = runner_now_ms(d->runner);
	unsigned running = busy(d);

	if (d->closing)
		return;
	/* News first: it is known to be there. */
	for (int announced = 1; announced >= 0; announced--) {
		list_for_each(node, &d->subscriptions) {
			struct discovery_subscription *s =
				list_entry(node, struct discovery_subscription, node);

			if (running >= RUNNING_MAX)
				return;
			if (s->announced != (announced == 1) || !startable(s, now))
				continue;
			start(s);
			running++;
		}
	}
}

static void on_timer(struct runner_timer *t)
{
	struct discovery *d = container_of(t, struct discovery, subscription_timer);

	start_due(d);
	runner_timer_start(d->runner, t, runner_now_ms(d->runner) + TICK_MS);
}

struct discovery_subscription *subscription_find(struct discovery *d, const struct scope *scope)
{
	struct hash key = scope_key(scope);

	list_for_each(node, &d->subscriptions) {
		struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);
		struct hash other = scope_key(&s->scope);

		if (!s->gone && hash_eq(&key, &other))
			return s;
	}
	return NULL;
}

void subscription_announced(struct discovery *d, const struct scope *scope,
			    const struct public_key *peer)
{
	struct discovery_subscription *s = subscription_find(d, scope);

	if (s == NULL || d->closing)
		return;
	s->announced = true;
	s->announcer = *peer;
	start_due(d);
}

/* ---- The table ---- */

struct subscription_loader {
	struct store_subscriptions list;
	struct discovery *service;
};

static void add(struct discovery *d, const struct scope *scope)
{
	struct discovery_subscription *s = subscription_find(d, scope);

	if (s == NULL) {
		s = mem_alloc(sizeof(*s));
		if (s == NULL)
			return; /* it is in the table: the next load finds it again */
		s->service = d;
		s->scope = *scope;
		s->due_ms = runner_now_ms(d->runner);
		list_push_back(&d->subscriptions, &s->node);
		d->stats.subscriptions++;
	}
	s->seen = true;
}

static void drop_unseen(struct discovery *d)
{
	list_for_each_safe(node, &d->subscriptions) {
		struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		if (s->seen || s->gone)
			continue;
		s->gone = true;
		sync_unfollow(d->sync, &s->scope);
		if (s->running)
			op_cancel(&s->discover.op);
		free_if_gone(s);
	}
}

static void load(struct discovery *d);

static void on_loaded(struct store_subscriptions *list, int status)
{
	struct subscription_loader *loader = container_of(list, struct subscription_loader, list);
	struct discovery *d = loader->service;

	if (status == 0 && !d->closing) {
		list_for_each(node, &d->subscriptions)
			list_entry(node, struct discovery_subscription, node)->seen = false;
		for (size_t i = 0; i < list->count; i++)
			add(d, &list->list[i].scope);
		drop_unseen(d);
	}
	store_subscriptions_fini(list);
	d->loader = mem_free(loader);
	if (d->reload && !d->closing) {
		d->reload = false;
		load(d);
	}
	start_due(d);
	service_ended(d);
}

static void load(struct discovery *d)
{
	struct op_env env = service_env(d, LOAD_TIMEOUT_MS);

	if (d->loader != NULL) {
		d->reload = true;
		return;
	}
	d->loader = mem_alloc(sizeof(*d->loader));
	if (d->loader == NULL)
		return;
	d->loader->service = d;
	store_subscriptions_start(&d->loader->list, &env, d->store, on_loaded);
}

void discovery_start_subscriptions(struct discovery *d)
{
	d->subscribing = true;
	d->subscription_timer.run = on_timer;
	runner_timer_start(d->runner, &d->subscription_timer, runner_now_ms(d->runner) + TICK_MS);
	load(d);
}

void discovery_subscriptions_changed(struct discovery *d)
{
	if (d->subscribing && !d->closing)
		load(d);
}

void subscriptions_close(struct discovery *d)
{
	if (d->subscribing)
		runner_timer_stop(d->runner, &d->subscription_timer);
	list_for_each_safe(node, &d->subscriptions) {
		struct discovery_subscription *s =
			list_entry(node, struct discovery_subscription, node);

		s->gone = true;
		if (s->running)
			op_cancel(&s->discover.op);
		free_if_gone(s);
	}
}

bool subscriptions_closed(const struct discovery *d)
{
	return list_empty(&d->subscriptions) && d->loader == NULL;
}
