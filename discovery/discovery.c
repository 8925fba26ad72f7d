/* The service: what all discoveries share, and what happens after them. */
#include "discovery/discovery.h"

#include "base/mem.h"
#include "discovery/run.h"

struct discovery *discovery_new(const struct discovery_config *c)
{
	struct discovery *d = mem_alloc(sizeof(*d));

	if (d == NULL)
		return NULL;
	d->runner = c->runner;
	d->net = c->net;
	d->store = c->store;
	d->sync = c->sync;
	d->trace = c->trace;
	d->has_own_space = c->own_space != NULL;
	if (d->has_own_space)
		d->own_space = *c->own_space;
	d->on_offence = c->on_offence;
	d->data = c->data;
	d->timeout_ms = c->timeout_ms != 0 ? c->timeout_ms : DISCOVERY_TIMEOUT_MS;
	d->local_timeout_ms = c->local_timeout_ms != 0 ? c->local_timeout_ms :
							 DISCOVERY_LOCAL_TIMEOUT_MS;
	d->dht_timeout_ms = c->dht_timeout_ms != 0 ? c->dht_timeout_ms : DISCOVERY_DHT_TIMEOUT_MS;
	d->subscription_interval_ms = c->subscription_interval_ms != 0 ?
					      c->subscription_interval_ms :
					      DISCOVERY_SUBSCRIPTION_INTERVAL_MS;
	list_init(&d->runs);
	list_init(&d->backgrounds);
	list_init(&d->subscriptions);
	map_init(&d->searched, DISCOVERY_SEARCHED_MAX);
	bench_init(&d->bench);
	misses_init(&d->misses, runner_now_ms(d->runner));
	redial_init(&d->redial, d);
	map_init(&d->subscribed, SCHEDULER_TASKS_MAX);
	scheduler_init(&d->scheduler, d->subscription_interval_ms, runner_random(d->runner));
	d->scheduler.on_queued = subscription_queued;
	return d;
}

int discovery_add_source(struct discovery *d, struct discovery_source *source)
{
	if (d->source_count == DISCOVERY_SOURCES_MAX)
		return ERR_LIMIT;
	d->sources[d->source_count++] = source;
	return 0;
}

void discovery_stats(const struct discovery *d, struct discovery_stats *ret)
{
	struct scheduler_stats s;
	struct misses_stats misses;

	scheduler_stats(&d->scheduler, &s);
	misses_stats(&d->misses, &misses);
	*ret = d->stats;
	ret->benched = bench_count(&d->bench);
	subscriptions_count_overdue(d, ret);
	ret->redial_peers = map_count(&d->redial.peers);
	ret->redial_lost = d->redial.stats.lost;
	ret->redials = d->redial.stats.dials;
	ret->redials_reached = d->redial.stats.reached;
	ret->redial_came_back = d->redial.stats.came_back;
	ret->redial_no_room = d->redial.stats.no_room;
	ret->sub_sleeping = s.sleeping;
	ret->sub_backing_off = s.backing_off;
	ret->sub_hot_queued = s.hot_queued;
	ret->sub_cold_queued = s.cold_queued;
	ret->sub_hot_running = s.hot_running;
	ret->sub_cold_running = s.cold_running;
	ret->sub_hot_started = s.hot_started;
	ret->sub_cold_started = s.cold_started;
	ret->sub_failed = s.failed;
	ret->sub_preempted = s.preempted;
	ret->sub_news = s.news;
	ret->sub_news_vain = s.news_vain;
	ret->sub_refused = s.refused;
	ret->sub_queued_max_ms = s.queued_max_ms;
	ret->misses = misses.kept;
	ret->miss_hits = misses.hits;
	ret->misses_made_room = misses.made_room;
	ret->searches_refused = misses.searches_refused;
}

struct op_env service_env(struct discovery *d, uint64_t timeout_ms)
{
	return (struct op_env){ .runner = d->runner,
				.deadline_ms = runner_now_ms(d->runner) + timeout_ms };
}

struct span service_open_span(struct discovery *d, const struct iri *iri)
{
	struct span span = { 0 };
	struct buf title;

	if (d->trace == NULL)
		return span;
	buf_init(&title, IRI_TEXT_MAX);
	iri_format(iri, &title);
	span = trace_root(d->trace, "sync.discover", (const char *)title.data, title.len, NULL);
	buf_fini(&title);
	return span;
}

uint64_t service_settles_ms(const struct discovery *d)
{
	uint64_t latest = 0;

	for (size_t i = 0; i < d->source_count; i++) {
		struct discovery_source *s = d->sources[i];

		if (s->settles_ms != NULL)
			latest = MAX(latest, s->settles_ms(s));
	}
	return latest;
}

uint64_t service_peers_near(const struct discovery *d)
{
	struct sync_target found[DISCOVERY_WIDTH_FULL];
	struct net_stats net;
	uint64_t count;

	net_stats(d->net, &net);
	count = net.conns;
	for (size_t i = 0; i < d->source_count; i++) {
		struct discovery_source *s = d->sources[i];

		count += s->peers != NULL ? s->peers(s, found, ARRAY_SIZE(found)) : 0;
	}
	return count;
}

/* ---- Wide searches ---- */

static void forget_searched(struct discovery *d)
{
	for (struct map_iter it = map_first(&d->searched); it.value != NULL; map_next(&it))
		mem_free(it.value);
	map_fini(&d->searched);
	map_init(&d->searched, DISCOVERY_SEARCHED_MAX);
}

struct searched *service_searched(struct discovery *d, const struct scope *scope)
{
	struct hash key = scope_key(scope);
	struct searched *s = map_get(&d->searched, key.bytes, sizeof(key.bytes));

	if (s != NULL)
		return s;
	if (map_count(&d->searched) == DISCOVERY_SEARCHED_MAX)
		forget_searched(d);
	s = mem_alloc(sizeof(*s));
	if (s != NULL && map_put(&d->searched, key.bytes, sizeof(key.bytes), s) < 0)
		s = mem_free(s);
	return s;
}

/* ---- Notes: the peer table learns, and nobody waits for it ---- */

struct peer_note {
	struct store_peer_set set;
	struct discovery *service;
};

static void on_note(struct store_peer_set *set, int status)
{
	struct peer_note *note = container_of(set, struct peer_note, set);
	struct discovery *d = note->service;

	store_peer_set_fini(set);
	mem_free(note);
	d->notes--;
	service_ended(d);
}

void service_note_peer(struct discovery *d, enum store_peer_change change,
		       const struct store_peer *peer, const struct public_key *space)
{
	struct op_env env = service_env(d, 60000);
	struct peer_note *note =
		d->notes < DISCOVERY_NOTES_MAX && !d->closing ? mem_alloc(sizeof(*note)) : NULL;

	if (note == NULL) {
		d->notes_dropped++;
		return;
	}
	note->service = d;
	d->notes++;
	store_peer_set_start(&note->set, &env, d->store, change, peer, space, on_note);
}

/* What we failed at, that it is busy, or that it is asked already says nothing against a peer. */
static bool is_peers_fault(const struct sync_peer_outcome *o)
{
	enum answer_peer a = answer_of_session(o);

	return a != ANSWER_HEARD && a != ANSWER_OURS && a != ANSWER_BUSY && a != ANSWER_NOBODY &&
	       (o->cut == SYNC_CUT_NONE || o->cut == SYNC_CUT_SLOW || o->offended);
}

bool discovery_benched(const struct discovery *d, const struct public_key *peer,
		       struct discovery_benched *ret)
{
	return bench_find(&d->bench, peer, runner_now_ms(d->runner), ret);
}

void discovery_each_benched(const struct discovery *d,
			    bool (*visit)(void *data, const struct discovery_benched *b),
			    void *data)
{
	bench_each(&d->bench, runner_now_ms(d->runner), visit, data);
}

static void note_failure(struct discovery *d, const struct sync_peer_outcome *o)
{
	struct discovery_benched benched;

	bench_failed(&d->bench, o, d->runner);
	if (!o->offended)
		return;
	d->stats.offences++;
	if (d->on_offence != NULL && discovery_benched(d, &o->target.peer, &benched))
		d->on_offence(d->data, &benched);
}

void service_note_outcome(struct discovery *d, const struct sync_peer_outcome *o,
			  const struct public_key *space)
{
	struct store_peer peer = { .key = o->target.peer };

	if (o->target.any_peer && !o->proven)
		return; /* an address, not a peer */
	if (o->status == 0) {
		bench_ok(&d->bench, o, runner_now_ms(d->runner));
		if (o->dial_addr.port != 0)
			peer.addrs[peer.addr_count++] = o->dial_addr;
		service_note_peer(d, STORE_PEER_OK, &peer, o->blobs > 0 ? space : NULL);
	} else if (is_peers_fault(o)) {
		note_failure(d, o);
		service_note_peer(d, STORE_PEER_FAILED, &peer, NULL);
	}
}

/* ---- What sync tells ---- */

static void on_commits(void *data, const struct store_new_commit *commits, size_t count,
		       const struct public_key *from)
{
	struct discovery *d = data;

	for (size_t i = 0; i < count; i++) {
		if (i == 0 || !key_eq(&commits[i].space, &commits[i - 1].space))
			misses_forget_space(&d->misses, &commits[i].space);
	}
}

static void on_announced(void *data, const struct public_key *peer, const struct scope *scope)
{
	subscription_announced(data, scope, peer);
}

static void on_conn(void *data, const struct public_key *peer, bool up)
{
	struct discovery *d = data;

	if (d->closing)
		return;
	if (!up)
		redial_lost(&d->redial, peer);
	else if (redial_found(&d->redial, peer))
		subscriptions_peer_back(d, peer);
}

void discovery_peer_seen(struct discovery *d, const struct sync_target *target)
{
	if (!d->closing)
		redial_seen(&d->redial, target);
}

const struct sync_listener *discovery_sync_listener(void)
{
	static const struct sync_listener listener = { .on_commits = on_commits,
						       .on_conn = on_conn,
						       .on_announced = on_announced };

	return &listener;
}

/* ---- Closing ---- */

static void run_closed(struct runner_task *task)
{
	struct discovery *d = container_of(task, struct discovery, closed_task);

	d->closed(d->closed_data);
}

void service_ended(struct discovery *d)
{
	bool idle = list_empty(&d->runs) && list_empty(&d->backgrounds) && d->notes == 0 &&
		    subscriptions_closed(d) && redial_idle(&d->redial);

	if (d->closing && idle)
		runner_defer(d->runner, &d->closed_task);
}

void discovery_close(struct discovery *d, void (*closed)(void *data), void *data)
{
	d->closing = true;
	d->closed = closed;
	d->closed_data = data;
	d->closed_task.run = run_closed;
	subscriptions_close(d);
	redial_close(&d->redial);
	background_cancel_all(d);
	list_for_each(node, &d->runs)
		op_cancel(&list_entry(node, struct discovery_run, node)->op);
	service_ended(d);
}

struct discovery *discovery_free(struct discovery *d)
{
	if (d == NULL)
		return NULL;
	sync_set_listener(d->sync, NULL, NULL);
	forget_searched(d);
	map_fini(&d->searched);
	map_fini(&d->subscribed);
	scheduler_fini(&d->scheduler);
	misses_fini(&d->misses);
	redial_fini(&d->redial);
	bench_fini(&d->bench);
	return mem_free(d);
}
