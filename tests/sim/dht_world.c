#include "tests/sim/dht_world.h"

#include <string.h>

#include "base/mem.h"

enum { NAT_MS = 60000 };

struct packet {
	struct runner_timer timer;
	struct dht_world *world;
	unsigned from, to;
	size_t len;
	uint8_t data[];
};

struct dht_world *dht_world_new(const struct dht_world_config *config)
{
	struct dht_world *w = mem_alloc(sizeof(*w));

	REQUIRE(w != NULL);
	w->config = *config;
	w->nodes = mem_alloc_array(config->nodes_max, sizeof(*w->nodes));
	REQUIRE(w->nodes != NULL);
	manual_loop_init(&w->loop, config->seed);
	dht_world_run(w, 1000);
	return w;
}

struct dht_address dht_world_address(const struct dht_world *w, unsigned index)
{
	uint8_t first = w->config.private_net ? 10 : (uint8_t)(20 + (index >> 16));

	return (struct dht_address){
		.family = 4,
		.ip = { first, (uint8_t)(index >> 8), (uint8_t)index, 1 },
		.port = DHT_WORLD_PORT,
	};
}

static struct dht_world_node *find(struct dht_world *w, const struct dht_address *addr)
{
	uint8_t first = w->config.private_net ? 10 : 20;
	unsigned i = (unsigned)(addr->ip[0] - first) << 16 | (unsigned)addr->ip[1] << 8 |
		     addr->ip[2];

	if (addr->family == 4 && addr->ip[0] >= first && i < w->count &&
	    dht_address_eq(&w->nodes[i]->addr, addr))
		return w->nodes[i];
	for (unsigned j = w->evil_from; j < w->evil_to; j++) {
		if (dht_address_eq(&w->nodes[j]->addr, addr))
			return w->nodes[j];
	}
	return NULL;
}

static bool passes_nat(const struct dht_world_node *to, unsigned from, uint64_t now)
{
	for (unsigned i = 0; i < DHT_WORLD_HOLES; i++) {
		if (to->holes[i].to == from + 1 && now - to->holes[i].ms <= NAT_MS)
			return true;
	}
	return false;
}

static void deliver(struct dht_world *w, unsigned from, unsigned to_index, const uint8_t *data,
		    size_t len)
{
	struct dht_world_node *to = w->nodes[to_index];

	if (to->mute || (to->dht == NULL && to->evil == NULL))
		return;
	if (to->nat && !passes_nat(to, from, runner_now_ms(&w->loop.runner))) {
		w->filtered++;
		return;
	}
	to->packets_in++;
	to->bytes_in += len;
	if (to->evil != NULL)
		to->evil(to, &w->nodes[from]->addr, data, len);
	else
		dht_receive(to->dht, &w->nodes[from]->addr, data, len);
}

static void on_arrival(struct runner_timer *t)
{
	struct packet *p = container_of(t, struct packet, timer);

	deliver(p->world, p->from, p->to, p->data, p->len);
	mem_free(p);
}

static void punch(struct dht_world_node *n, unsigned to, uint64_t now)
{
	for (unsigned i = 0; i < DHT_WORLD_HOLES; i++) {
		if (n->holes[i].to == to + 1) {
			n->holes[i].ms = now;
			return;
		}
	}
	n->holes[n->next_hole].to = to + 1;
	n->holes[n->next_hole].ms = now;
	n->next_hole = (n->next_hole + 1) % DHT_WORLD_HOLES;
}

void dht_world_send(struct dht_world_node *n, const struct dht_address *addr, const uint8_t *data,
		    size_t len)
{
	struct dht_world *w = n->world;
	struct runner *r = &w->loop.runner;
	struct dht_world_node *to = find(w, addr);
	uint64_t now = runner_now_ms(r);
	struct packet *p;
	double ms;

	w->packets++;
	w->bytes += len;
	n->packets_out++;
	n->bytes_out += len;
	if (w->tap != NULL)
		w->tap(w->tap_data, n, addr, data, len);
	if (n->mute || to == NULL)
		return;
	if (n->nat)
		punch(n, to->index, now);
	if (runner_random_below(r, 1000) < w->config.loss_permille) {
		w->lost++;
		return;
	}
	p = mem_alloc(sizeof(*p) + len);
	if (p == NULL)
		return;
	p->world = w;
	p->from = n->index;
	p->to = to->index;
	p->len = len;
	memcpy(p->data, data, len);
	p->timer.run = on_arrival;
	ms = (n->access_ms + to->access_ms) * (1.0 + (double)runner_random_below(r, 150) / 1000);
	runner_timer_start(r, &p->timer, now + (uint64_t)(ms + 0.5));
}

static void send_of(struct dht_transport *t, const struct dht_address *to, const uint8_t *data,
		    size_t len)
{
	dht_world_send(container_of(t, struct dht_world_node, transport), to, data, len);
}

static struct dht_world_node *add(struct dht_world *w)
{
	struct dht_world_node *n = mem_alloc(sizeof(*n));
	double u = (double)runner_random_below(&w->loop.runner, 10000) / 10000;
	double lo = w->config.rtt_lo_ms, hi = w->config.rtt_hi_ms;

	REQUIRE(n != NULL && w->count < w->config.nodes_max);
	n->world = w;
	n->index = w->count;
	n->transport.send = send_of;
	n->addr = dht_world_address(w, n->index);
	n->access_ms = (lo + (hi - lo) * u * u) / 4;
	w->nodes[w->count++] = n;
	return n;
}

struct dht_world_node *dht_world_add(struct dht_world *w, bool nat, enum dht_mode mode)
{
	struct dht_world_node *n = add(w);
	uint64_t seed[DHT_SEED_SIZE / 8];
	struct dht_config config = { .runner = &w->loop.runner,
				     .transport = &n->transport,
				     .mode = mode,
				     .seed = (const uint8_t *)seed };

	for (size_t i = 0; i < ARRAY_SIZE(seed); i++)
		seed[i] = runner_random(&w->loop.runner);
	config.local[0] = nat ? (struct dht_address){ .family = 4, .port = DHT_WORLD_PORT } :
				n->addr;
	n->nat = nat;
	if (nat) {
		n->holes = mem_alloc_array(DHT_WORLD_HOLES, sizeof(*n->holes));
		REQUIRE(n->holes != NULL);
	}
	n->dht = dht_new(&config);
	REQUIRE(n->dht != NULL);
	w->up++;
	return n;
}

struct dht_world_node *dht_world_add_evil(struct dht_world *w, const struct dht_address *addr)
{
	struct dht_world_node *n = add(w);

	if (addr == NULL)
		return n;
	n->addr = *addr;
	if (w->evil_to == 0)
		w->evil_from = n->index;
	w->evil_to = n->index + 1;
	return n;
}

struct dht_world_node *dht_world_pick(struct dht_world *w)
{
	unsigned start;

	if (w->count == 0)
		return NULL;
	start = (unsigned)runner_random_below(&w->loop.runner, w->count);
	for (unsigned i = 0; i < w->count; i++) {
		struct dht_world_node *n = w->nodes[(start + i) % w->count];

		if (n->dht != NULL && !n->nat && !n->mute)
			return n;
	}
	return NULL;
}

void dht_world_join(struct dht_world_node *n, unsigned contacts)
{
	bool mute = n->mute;

	n->mute = true; /* it does not pick itself */
	for (unsigned i = 0; i < contacts; i++) {
		struct dht_world_node *other = dht_world_pick(n->world);

		if (other != NULL)
			dht_add_node(n->dht, &other->addr);
	}
	n->mute = mute;
	dht_start(n->dht);
}

void dht_world_leave(struct dht_world_node *n)
{
	if (n->dht == NULL)
		return;
	dht_close(n->dht, NULL, NULL);
	n->dht = NULL;
	n->world->up--;
}

void dht_world_run(struct dht_world *w, uint64_t ms)
{
	manual_loop_run(&w->loop, runner_now_ms(&w->loop.runner) + ms);
}

void dht_world_free(struct dht_world *w)
{
	for (unsigned i = 0; i < w->count; i++)
		dht_world_leave(w->nodes[i]);
	while (manual_loop_step(&w->loop)) /* packets under way */
		;
	for (unsigned i = 0; i < w->count; i++) {
		mem_free(w->nodes[i]->holes);
		mem_free(w->nodes[i]);
	}
	manual_loop_fini(&w->loop);
	mem_free(w->nodes);
	mem_free(w);
}

static void on_looked(struct dht_lookup *l, int status)
{
	struct dht_world_lookup *look = container_of(l, struct dht_world_lookup, lookup);

	look->done = true;
	look->status = status;
}

void dht_world_look(struct dht_world_node *n, const struct dht_id *key, uint16_t announce_port,
		    struct dht_world_lookup *ret)
{
	struct runner *r = &n->world->loop.runner;
	struct op_env env = { .runner = r, .deadline_ms = runner_now_ms(r) + 120000 };

	ret->done = false;
	ret->lookup.announce_port = announce_port;
	dht_lookup_start(&ret->lookup, &env, n->dht, key, DHT_LOOKUP_PEERS, on_looked);
	while (!ret->done && manual_loop_step(&n->world->loop))
		;
	REQUIRE(ret->done);
}
