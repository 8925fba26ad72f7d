/* What a node does without being asked.
 *
 * Bootstrap: a search for our own id from saved nodes, given ones and routers; while nobody
 * answers, again after 15 s and then ever more rarely up to 15 min. Then a search in each bucket,
 * so that the table is filled, and one around ourselves every 15 min.
 *
 * Between them a round every few seconds asks one node: first those that may fill a gap, then the
 * one not heard from for longest. So the whole table is fresh without bursts, and NAT mappings stay
 * warm. */
#include "discovery/dht/core.h"

#include <string.h>

enum {
	TICK_YOUNG_MS = 500, /* in the first minute */
	TICK_MAX_MS = 5000,
	TICK_MIN_MS = 1500,
	YOUNG_MS = 60000,
	CHORES_YOUNG = 3,  /* per round */
	CYCLE_MS = 600000, /* to ask the whole table once */
	BACKOFF_MIN_MS = 15000,
	BACKOFF_MAX_MS = 900000,
	SELF_SEARCH_MIN_MS = 3000,
	SELF_SEARCH_MAX_MS = 900000,
	FILL_BUCKETS_MAX = 12,
	EXPIRE_MS = 60000
};

static bool is_young(const struct dht *d)
{
	return dht_now(d) - d->started_ms < YOUNG_MS;
}

static void search(struct dht *d, unsigned family, const struct dht_id *target, bool bootstrap)
{
	struct search *s = search_new(d, family, target, DHT_LOOKUP_NODE);

	if (s == NULL)
		return;
	s->bootstrap = bootstrap;
	d->families[family].searching = true;
	search_seed(s);
	search_pump(s);
}

void upkeep_search_ended(struct dht *d, const struct search *s)
{
	struct family *f = &d->families[s->family];
	uint8_t slots[DHT_K];

	f->searching = false;
	if (!s->bootstrap)
		return;
	if (search_nearest(s, slots, DHT_K) > 0) {
		d->bootstrapped = true;
		f->backoff_ms = 0;
		f->fill = MIN(f->table.depth, (unsigned)FILL_BUCKETS_MAX);
		upkeep_soon(d);
	}
}

static bool has_somebody(const struct dht *d, const struct family *f)
{
	return f->table.count > 0 || f->table.cache_count > 0 || f->contact_count > 0 ||
	       d->router_count > 0;
}

/* With an empty table, or an id that is new. */
static void bootstrap(struct dht *d, unsigned family)
{
	struct family *f = &d->families[family];
	uint64_t now = dht_now(d);
	bool empty = table_good_count(&f->table, now) == 0;

	if (f->searching || !has_somebody(d, f))
		return;
	if (empty ? now < f->bootstrap_ms : now < f->self_search_ms)
		return;
	if (empty) {
		f->backoff_ms = f->backoff_ms == 0 ?
					BACKOFF_MIN_MS :
					MIN(2 * f->backoff_ms, (uint64_t)BACKOFF_MAX_MS);
		f->bootstrap_ms = now + f->backoff_ms + runner_random_below(d->runner, 1000);
	}
	f->self_interval_ms = MIN(MAX(2 * f->self_interval_ms, (uint64_t)SELF_SEARCH_MIN_MS),
				  (uint64_t)SELF_SEARCH_MAX_MS);
	f->self_search_ms =
		now + f->self_interval_ms + runner_random_below(d->runner, f->self_interval_ms / 8);
	search(d, family, &f->table.self, true);
}

static void fill(struct dht *d, unsigned family)
{
	struct family *f = &d->families[family];
	struct dht_id random, target;

	if (f->searching || f->fill == 0)
		return;
	f->fill--;
	dht_random(d, &random, sizeof(random));
	target = table_id_in_bucket(&f->table, MIN(f->fill, f->table.depth - 1), &random);
	search(d, family, &target, false);
}

static void try_contact(struct dht *d, unsigned family)
{
	struct family *f = &d->families[family];
	struct krpc_query q = { .method = KRPC_FIND_NODE, .target = &f->table.self };
	struct contact *least = NULL;

	for (size_t i = 0; i < f->contact_count; i++) {
		if (least == NULL || f->contacts[i].tries < least->tries)
			least = &f->contacts[i];
	}
	if (least == NULL || least->tries >= CONTACT_TRIES)
		return;
	if (query_send(d, &q, &least->addr, NULL, 0) == 0)
		least->tries++;
}

static void do_chore(struct dht *d, unsigned family)
{
	struct table *t = &d->families[family].table;
	struct krpc_query q = { .method = KRPC_PING };
	struct table_chore chore;
	struct dht_id random;

	dht_random(d, &random, sizeof(random));
	if (!table_next_chore(t, &random, dht_now(d), &chore))
		return;
	if (chore.find) {
		q.method = KRPC_FIND_NODE;
		q.target = &chore.target;
	}
	(void)query_send(d, &q, &chore.addr, NULL, 0);
}

static void upkeep_family(struct dht *d, unsigned family)
{
	unsigned chores = is_young(d) ? CHORES_YOUNG : 1;

	bootstrap(d, family);
	fill(d, family);
	for (unsigned i = 0; i < chores; i++) {
		if (!d->families[family].searching)
			try_contact(d, family);
		do_chore(d, family);
	}
}

static uint64_t interval(const struct dht *d)
{
	size_t nodes = MAX(d->families[0].table.count, d->families[1].table.count);
	uint64_t ms = CYCLE_MS / MAX(nodes, 1u);

	if (is_young(d))
		return TICK_YOUNG_MS;
	return MIN(MAX(ms, (uint64_t)TICK_MIN_MS), (uint64_t)TICK_MAX_MS);
}

static void on_tick(struct runner_timer *t)
{
	struct dht *d = container_of(t, struct dht, tick_timer);
	uint64_t now = dht_now(d), ms = interval(d);
	uint8_t secret[TOKEN_SECRET_SIZE];

	if (d->closing)
		return;
	if (now - d->tokens.rotated_ms >= TOKEN_ROTATE_MS) {
		dht_random(d, secret, sizeof(secret));
		tokens_rotate(&d->tokens, secret, now);
	}
	if (now - d->expire_ms >= EXPIRE_MS) {
		d->expire_ms = now;
		peers_expire(&d->peers, now);
	}
	reach_tick(d);
	for (unsigned i = 0; i < DHT_FAMILIES; i++) {
		if (d->families[i].on)
			upkeep_family(d, i);
	}
	announce_tick(d);
	/* Many nodes started together do not stay in step. */
	runner_timer_start(d->runner, t,
			   now + ms - ms / 8 + runner_random_below(d->runner, ms / 4));
}

void upkeep_start(struct dht *d)
{
	d->tick_timer.run = on_tick;
	runner_timer_start(d->runner, &d->tick_timer, dht_now(d));
}

void upkeep_soon(struct dht *d)
{
	if (d->started && !d->closing)
		runner_timer_start(d->runner, &d->tick_timer, dht_now(d));
}
