/* Keys kept announced: one lookup at a time, DHT_ANNOUNCE_GAP_MS apart, each key again after 24 to
 * 28 min. An announcement costs about 25 packets, so that is the whole budget: 100 keys are 1.7
 * packets per second. The nodes that took it last time are asked first, which makes two round trips
 * of it. */
#include "discovery/dht/core.h"

#include <string.h>

#include "base/mem.h"

enum { ANNOUNCE_RETRY_MS = 60000 };

static void announcement_free(struct announcement *a)
{
	a->dht->announcement_count--;
	list_remove(&a->node);
	mem_free(a);
}

static struct announcement *find(const struct dht *d, const struct dht_id *key)
{
	list_for_each(node, &d->announcements) {
		struct announcement *a = list_entry(node, struct announcement, node);

		if (dht_id_eq(&a->key, key) && !a->removed)
			return a;
	}
	return NULL;
}

static void on_announced(struct dht_lookup *l, int status)
{
	struct announcement *a = container_of(l, struct announcement, lookup);
	struct dht *d = a->dht;
	uint64_t now = dht_now(d), jitter = runner_random_below(d->runner, DHT_ANNOUNCE_JITTER_MS);

	d->announcing = false;
	d->announce_next_ms = now + DHT_ANNOUNCE_GAP_MS;
	a->running = false;
	if (a->removed) {
		announcement_free(a);
		return;
	}
	a->due_ms = now + (l->stored > 0 ? DHT_ANNOUNCE_MIN_MS : ANNOUNCE_RETRY_MS) + jitter;
	a->nearest_count = l->nearest_count;
	memcpy(a->nearest, l->nearest, sizeof(a->nearest));
}

static void run(struct announcement *a)
{
	struct dht *d = a->dht;
	struct op_env env = { .runner = d->runner, .deadline_ms = UINT64_MAX };

	a->running = d->announcing = true;
	memset(&a->lookup, 0, sizeof(a->lookup));
	a->lookup.announce_port = a->port;
	a->lookup.seed_count = a->nearest_count;
	memcpy(a->lookup.seeds, a->nearest, sizeof(a->lookup.seeds));
	dht_lookup_start(&a->lookup, &env, d, &a->key, DHT_LOOKUP_PEERS, on_announced);
}

void announce_tick(struct dht *d)
{
	uint64_t now = dht_now(d);

	if (d->announcing || !d->bootstrapped || now < d->announce_next_ms)
		return;
	list_for_each(node, &d->announcements) {
		struct announcement *a = list_entry(node, struct announcement, node);

		if (a->due_ms <= now) {
			run(a);
			return;
		}
	}
}

int dht_announce(struct dht *d, const struct dht_id *key, uint16_t port)
{
	struct announcement *a = find(d, key);

	if (port <= 1)
		return UV_EINVAL;
	if (a != NULL) {
		if (a->port != port)
			a->due_ms = dht_now(d);
		a->port = port;
		return 0;
	}
	if (d->announcement_count >= DHT_ANNOUNCEMENTS_MAX)
		return ERR_LIMIT;
	a = mem_alloc(sizeof(*a));
	if (a == NULL)
		return UV_ENOMEM;
	a->dht = d;
	a->key = *key;
	a->port = port;
	a->due_ms = dht_now(d);
	list_push_front(&d->announcements, &a->node);
	d->announcement_count++;
	upkeep_soon(d);
	return 0;
}

void dht_unannounce(struct dht *d, const struct dht_id *key)
{
	struct announcement *a = find(d, key);

	if (a == NULL)
		return;
	a->removed = true;
	if (a->running)
		op_cancel(&a->lookup.op);
	else
		announcement_free(a);
}

bool announce_free_all(struct dht *d)
{
	list_for_each_safe(node, &d->announcements) {
		struct announcement *a = list_entry(node, struct announcement, node);

		a->removed = true;
		if (a->running)
			op_cancel(&a->lookup.op);
		else
			announcement_free(a);
	}
	return list_empty(&d->announcements);
}

size_t dht_announcement_count(const struct dht *d)
{
	return d->announcement_count;
}
