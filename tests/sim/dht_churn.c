/* Uptimes are exponential, so a node that is up for long has no better prospects than a new one; a
 * node that leaves is replaced at once by a new one at a new address, so the number is constant.
 * Every announcement is made by a node that stays, since finding the dead is no success; it is
 * renewed by the node's own schedule.
 *
 * Sybils answer everything: get_peers with each other, never with values. */
#include "tests/sim/dht_churn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "discovery/dht/krpc.h"

enum { JOIN_MS = 20, CONTACTS = 3, KEYS_MAX = 256, LOOKUPS_MAX = 4096, STAY_MS = 60000 };

struct death {
	struct runner_timer timer;
	struct churn *c;
	struct dht_world_node *node;
};

struct churn {
	struct dht_churn_config config;
	struct dht_world *w;
	struct death *deaths; /* by node index */
	struct dht_world_node *owners[KEYS_MAX];
	struct dht_id keys[KEYS_MAX];
	struct dht_id *sybil_ids;
	struct dht_world_node **sybils;
	unsigned rows;
	uint64_t first[LOOKUPS_MAX], done[LOOKUPS_MAX], queries[LOOKUPS_MAX], rounds[LOOKUPS_MAX],
		timeouts[LOOKUPS_MAX];
};

static struct dht_world_node *spawn(struct churn *c, bool stays);

static void on_death(struct runner_timer *t)
{
	struct death *death = container_of(t, struct death, timer);
	struct churn *c = death->c;

	dht_world_leave(death->node);
	spawn(c, false);
}

static struct dht_world_node *spawn(struct churn *c, bool stays)
{
	struct runner *r = &c->w->loop.runner;
	bool nat = !stays && runner_random_below(r, 100) < c->config.nat_percent;
	struct dht_world_node *n = dht_world_add(
		c->w, nat, nat && c->config.nat_serve ? DHT_MODE_SERVER : DHT_MODE_AUTO);

	dht_world_join(n, CONTACTS);
	if (c->config.uptime_ms > 0 && !stays) {
		struct death *death = &c->deaths[n->index];
		double u = (double)(runner_random_below(r, 1000000) + 1) / 1000001;

		death->timer.run = on_death;
		death->c = c;
		death->node = n;
		runner_timer_start(r, &death->timer,
				   runner_now_ms(r) + (uint64_t)(-log(u) / M_LN2 *
								 (double)c->config.uptime_ms));
	}
	return n;
}

/* ---- Sybils ---- */

static void sybil_answers(struct dht_world_node *n, const struct dht_address *from,
			  const uint8_t *data, size_t len)
{
	struct churn *c = n->evil_data;
	struct krpc_node near[DHT_K];
	struct krpc_message m;
	struct krpc_reply r;
	struct buf out;
	unsigned self = n->index;

	for (self = 0; c->sybils[self] != n; self++)
		;
	if (krpc_parse(data, len, &m) < 0 || m.type != KRPC_QUERY)
		return;
	for (unsigned i = 0; i < DHT_K; i++) {
		unsigned other =
			(unsigned)runner_random_below(&c->w->loop.runner, c->config.sybils);

		near[i] = (struct krpc_node){ c->sybil_ids[other], c->sybils[other]->addr };
	}
	r = (struct krpc_reply){ .tid = m.tid,
				 .id = &c->sybil_ids[self],
				 .to = from,
				 .nodes = { near },
				 .node_count = { DHT_K },
				 .has_nodes = { true },
				 .token = { (const uint8_t *)"token", 5 } };
	buf_init(&out, 2048);
	krpc_write_reply(&out, &r);
	dht_world_send(n, from, out.data, out.len);
	buf_fini(&out);
}

/* As near to the key as may be: without regard to BEP 42 at 24 bits in common, which is just
 * plausible in a network of 16 nodes or more; or the nearest of the eight ids that an
 * address allows, the rest of the bits being those of the key. */
static struct dht_id sybil_id(const struct churn *c, const struct dht_address *addr, unsigned i)
{
	struct dht_id best = c->keys[0], id;

	best.bytes[3] = (uint8_t)(best.bytes[3] ^ (i >> 8) ^ 0x80);
	best.bytes[4] = (uint8_t)(best.bytes[4] ^ i);
	if (!c->config.sybils_fit)
		return best;
	for (unsigned random = 0; random < 8; random++) {
		id = c->keys[0];
		id.bytes[19] = (uint8_t)((id.bytes[19] & 0xf8) | random);
		id_bind(&id, addr);
		if (random == 0 || id_compare(&c->keys[0], &id, &best) < 0)
			best = id;
	}
	return best;
}

/* They make themselves known by asking around for the key, as any node does. */
static void announce_sybils(struct churn *c)
{
	for (unsigned i = 0; i < c->config.sybils; i++) {
		for (unsigned j = 0; j < 20; j++) {
			struct dht_world_node *to = dht_world_pick(c->w);
			struct krpc_query q = { .method = KRPC_FIND_NODE,
						.id = &c->sybil_ids[i],
						.target = &c->keys[0] };
			struct buf out;

			buf_init(&out, 512);
			krpc_write_query(&out, &q);
			dht_world_send(c->sybils[i], &to->addr, out.data, out.len);
			buf_fini(&out);
		}
	}
}

static void add_sybils(struct churn *c)
{
	unsigned nets = MAX(c->config.sybil_nets, 1u);

	c->sybil_ids = mem_alloc_array(c->config.sybils + 1, sizeof(*c->sybil_ids));
	c->sybils = mem_alloc_array(c->config.sybils + 1, sizeof(*c->sybils));
	REQUIRE(c->sybil_ids != NULL && c->sybils != NULL);
	for (unsigned i = 0; i < c->config.sybils; i++) {
		unsigned net = i % nets;
		struct dht_address addr = { .family = 4,
					    .port = DHT_WORLD_PORT,
					    .ip = { 99, (uint8_t)(net >> 8), (uint8_t)net,
						    (uint8_t)(1 + i / nets) } };

		c->sybils[i] = dht_world_add_evil(c->w, &addr);
		c->sybils[i]->evil = sybil_answers;
		c->sybils[i]->evil_data = c;
		c->sybil_ids[i] = sybil_id(c, &addr, i);
	}
}

/* ---- Measuring ---- */

static void announce_all(struct churn *c, struct dht_churn_result *ret)
{
	for (unsigned i = 0; i < c->config.keys; i++) {
		struct dht_world_lookup look = { 0 };

		REQUIRE(dht_announce(c->owners[i]->dht, &c->keys[i], (uint16_t)(4000 + i)) == 0);
		dht_world_look(c->owners[i], &c->keys[i], (uint16_t)(4000 + i), &look);
		ret->announced += look.lookup.stored > 0 ? 1 : 0;
	}
}

struct expected {
	struct dht_address peer;
	bool seen;
};

static void on_peer(struct dht_lookup *l, const struct dht_address *peer,
		    const struct dht_address *from)
{
	struct expected *e = l->data;

	e->seen = e->seen || dht_address_eq(peer, &e->peer);
}

static struct dht_world_node *asker(struct churn *c)
{
	struct dht_world_node *n;

	do {
		n = c->w->nodes[runner_random_below(&c->w->loop.runner, c->w->count)];
	} while (n->dht == NULL || dht_state(n->dht) != NULL);
	return n;
}

static bool look(struct churn *c, unsigned key, struct dht_world_lookup *l)
{
	struct expected e = { c->owners[key]->addr, false };

	e.peer.port = (uint16_t)(4000 + key);
	*l = (struct dht_world_lookup){ .lookup = { .data = &e, .on_peer = on_peer } };
	dht_world_look(asker(c), &c->keys[key], 0, l);
	return e.seen;
}

static void measure(struct churn *c, struct dht_churn_result *ret)
{
	for (unsigned i = 0; i < c->config.lookups; i++) {
		unsigned key = i % c->config.keys;
		struct dht_world_lookup l;

		if (c->config.sybils > 0 && key == 0)
			continue;
		ret->lookups++;
		ret->found += look(c, key, &l) ? 1 : 0;
		c->first[c->rows] = l.lookup.first_peer_ms;
		c->done[c->rows] = l.lookup.done_ms;
		c->queries[c->rows] = l.lookup.queries;
		c->rounds[c->rows] = l.lookup.rounds;
		c->timeouts[c->rows] = l.lookup.timeouts;
		c->rows++;
		dht_world_run(c->w, 500);
	}
}

static void measure_attack(struct churn *c, struct dht_churn_result *ret)
{
	unsigned nearest = 0, hostile = 0;

	if (c->config.sybils == 0)
		return;
	announce_sybils(c);
	dht_world_run(c->w, 1200000);
	announce_sybils(c);
	dht_world_run(c->w, 1500000); /* the owner has announced again meanwhile */
	for (unsigned i = 0; i < 100; i++) {
		struct dht_world_lookup l;

		ret->sybil_lookups++;
		ret->sybil_found += look(c, 0, &l) ? 1 : 0;
		nearest += l.lookup.nearest_count;
		for (unsigned j = 0; j < l.lookup.nearest_count; j++)
			hostile += l.lookup.nearest[j].ip[0] == 99 ? 1 : 0;
	}
	ret->sybil_share = nearest > 0 ? (double)hostile / nearest : 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void quantiles(uint64_t *values, unsigned n, uint64_t ret[2])
{
	qsort(values, n, sizeof(*values), compare);
	ret[0] = n > 0 ? values[n / 2] : 0;
	ret[1] = n > 0 ? values[n * 9 / 10] : 0;
}

static void summarize(struct churn *c, struct dht_churn_result *ret)
{
	uint64_t q[2], *sizes = mem_alloc_array(c->w->count, sizeof(*sizes));
	unsigned n = 0;

	quantiles(c->first, c->rows, ret->first_ms);
	quantiles(c->done, c->rows, ret->done_ms);
	quantiles(c->queries, c->rows, q);
	ret->queries[0] = (unsigned)q[0];
	ret->queries[1] = (unsigned)q[1];
	quantiles(c->rounds, c->rows, q);
	ret->rounds[0] = (unsigned)q[0];
	ret->rounds[1] = (unsigned)q[1];
	quantiles(c->timeouts, c->rows, q);
	ret->timeouts[0] = (unsigned)q[0];
	ret->timeouts[1] = (unsigned)q[1];
	REQUIRE(sizes != NULL);
	for (unsigned i = 0; i < c->w->count; i++) {
		struct dht_stats s;

		if (c->w->nodes[i]->dht == NULL)
			continue;
		dht_stats(c->w->nodes[i]->dht, &s);
		sizes[n++] = s.families[0].good;
	}
	quantiles(sizes, n, q);
	ret->in_table_median = (unsigned)q[0];
	mem_free(sizes);
}

static void set_up(struct churn *c)
{
	const struct dht_churn_config *config = &c->config;
	struct runner *r = &c->w->loop.runner;

	c->deaths = mem_alloc_array(c->w->config.nodes_max, sizeof(*c->deaths));
	REQUIRE(c->deaths != NULL);

	for (unsigned i = 0; i < config->keys; i++) {
		uint64_t name = runner_random(r);

		c->keys[i] = dht_key_of((char *)&name, sizeof(name));
	}
	for (unsigned i = 0; i < config->nodes; i++) {
		struct dht_world_node *n = spawn(c, i < config->keys);

		if (i < config->keys)
			c->owners[i] = n;
		dht_world_run(c->w, JOIN_MS);
	}
	dht_world_run(c->w, config->warm_ms);
}

void dht_churn_run(const struct dht_churn_config *config, struct dht_churn_result *ret)
{
	struct churn *c = mem_alloc(sizeof(*c));
	uint64_t packets, bytes = 0, from_ms;

	REQUIRE(c != NULL && config->keys <= KEYS_MAX && config->lookups <= LOOKUPS_MAX);
	*ret = (struct dht_churn_result){ 0 };
	c->config = *config;
	c->w = dht_world_new(
		&(struct dht_world_config){ .seed = config->seed,
					    .nodes_max = config->nodes * 12 + config->sybils + 16,
					    .rtt_lo_ms = 20,
					    .rtt_hi_ms = 180,
					    .loss_permille = config->loss_permille });
	set_up(c);
	announce_all(c, ret);
	dht_world_run(c->w, STAY_MS);
	packets = c->w->packets;
	bytes = c->w->bytes;
	from_ms = runner_now_ms(&c->w->loop.runner);
	measure(c, ret);
	ret->packets_per_node_s = (double)(c->w->packets - packets) / config->nodes * 1000 /
				  (double)(runner_now_ms(&c->w->loop.runner) - from_ms + 1);
	ret->bytes_per_node_s = (double)(c->w->bytes - bytes) / config->nodes * 1000 /
				(double)(runner_now_ms(&c->w->loop.runner) - from_ms + 1);
	add_sybils(c);
	measure_attack(c, ret);
	summarize(c, ret);
	for (unsigned i = 0; i < c->w->count; i++)
		runner_timer_stop(&c->w->loop.runner, &c->deaths[i].timer);
	dht_world_free(c->w);
	mem_free(c->deaths);
	mem_free(c->sybil_ids);
	mem_free(c->sybils);
	mem_free(c);
}
