/* The DHT as a source of peers.
 *
 *	start → look → drain → done
 *
 * look: two lookups run, for the object and for its space. drain: they have ended, and addresses
 * wait for their turn. Whatever the DHT says may be a lie that aims us at somebody else's machine,
 * hence the pace, the memory of what was tried, and the ports and networks left out. */
#include <string.h>

#include "base/mem.h"
#include "discovery/dht/address.h"
#include "discovery/dht/limit.h"
#include "discovery/discovery.h"

enum { SOURCE_START, SOURCE_LOOK, SOURCE_DRAIN, SOURCE_DONE };
enum { SOURCE_PACE_MS = 1000 / DHT_SOURCE_PER_SEC };

struct tried {
	uint8_t key[DHT_COMPACT_MAX];
	size_t len;
	uint64_t ms;
};

struct source {
	struct discovery_source base;
	struct runner *runner;
	struct dht *dht;
	struct limit_bucket pace;
	struct tried recent[DHT_SOURCE_RECENT_MAX]; /* a ring */
	unsigned next_recent;
};

/* What one discovery_lookup needs; its op is in the discovery_lookup. */
struct asking {
	struct discovery_lookup *l;
	struct source *source;
	struct dht_lookup lookups[2];
	size_t count, running;
	struct dht_id keys[2];
	struct dht_address queue[DHT_SOURCE_PEERS_MAX]; /* a peer of both keys comes once */
	size_t queued, sent;
	struct runner_timer timer;
};

static void source_tick(struct op *op);

static const struct op_state states[] = {
	[SOURCE_START] = { "start", TO(SOURCE_LOOK) | TO(SOURCE_DONE) },
	[SOURCE_LOOK] = { "look", TO(SOURCE_DRAIN) },
	[SOURCE_DRAIN] = { "drain", TO(SOURCE_DONE) },
	[SOURCE_DONE] = { "done", 0 },
};
static const struct op_kind kind = { "dht.source", states, ARRAY_SIZE(states), source_tick };

size_t dht_keys_of_iri(const struct iri *iri, struct dht_id ret[2])
{
	CLEANUP(buf_fini) struct buf text = { 0 };

	buf_init(&text, IRI_TEXT_MAX);
	iri_write_name(&iri->space, "", 0, &text);
	if (buf_err(&text) < 0)
		return 0;
	ret[0] = dht_key_of((const char *)text.data, text.len);
	if (iri->path_len == 0)
		return 1;
	buf_clear(&text);
	iri_write_name(&iri->space, iri->path, iri->path_len, &text);
	if (buf_err(&text) < 0)
		return 0;
	ret[1] = dht_key_of((const char *)text.data, text.len);
	return 2;
}

/* ---- What may be dialed ---- */

/* Tried lately? If not, it counts as tried now. */
static bool note_tried(struct source *s, const struct dht_address *peer)
{
	uint64_t now = runner_now_ms(s->runner), again = dht_address_is_global(peer) ?
								 DHT_SOURCE_AGAIN_MS :
								 DHT_SOURCE_AGAIN_NEAR_MS;
	struct tried t = { .ms = now };

	t.len = address_charge_key(peer, t.key);
	for (size_t i = 0; i < DHT_SOURCE_RECENT_MAX; i++) {
		struct tried *r = &s->recent[i];

		if (r->len != t.len || memcmp(r->key, t.key, t.len) != 0)
			continue;
		if (now - r->ms < again)
			return true;
		r->ms = now;
		return false;
	}
	s->recent[s->next_recent] = t;
	s->next_recent = (s->next_recent + 1) % DHT_SOURCE_RECENT_MAX;
	return false;
}

static bool may_dial(const struct dht_address *peer, const struct dht_address *from)
{
	if (!address_is_usable(peer) || peer->port < DHT_SOURCE_PORT_MIN)
		return false;
	/* `from` without a family: it told us itself, from that address. */
	return dht_address_is_global(peer) || from->family == 0 || !dht_address_is_global(from);
}

static void hand_out(struct asking *a, const struct dht_address *peer)
{
	struct sync_target target = { .any_peer = true, .addr_count = 1 };

	target.addrs[0].family = peer->family;
	memcpy(target.addrs[0].ip, peer->ip, sizeof(peer->ip));
	target.addrs[0].port = peer->port;
	a->l->events->on_peer(a->l, &target);
}

static void on_pace(struct runner_timer *t)
{
	op_tick(&container_of(t, struct asking, timer)->l->op);
}

/* As far as the pace allows. */
static void drain(struct asking *a)
{
	struct source *s = a->source;
	uint64_t now = runner_now_ms(s->runner);

	while (a->sent < a->queued && !op_stopping(&a->l->op)) {
		if (!limit_bucket_take(&s->pace, DHT_SOURCE_PER_SEC, DHT_SOURCE_BURST, 1, now)) {
			a->timer.run = on_pace;
			runner_timer_start(s->runner, &a->timer, now + SOURCE_PACE_MS);
			return;
		}
		hand_out(a, &a->queue[a->sent++]);
	}
}

static void on_peer(struct dht_lookup *l, const struct dht_address *peer,
		    const struct dht_address *from)
{
	struct asking *a = l->data;

	if (a->queued == DHT_SOURCE_PEERS_MAX || !may_dial(peer, from))
		return;
	for (size_t i = 0; i < a->queued; i++) {
		if (dht_address_eq(&a->queue[i], peer))
			return;
	}
	if (note_tried(a->source, peer))
		return;
	a->queue[a->queued++] = *peer;
	op_defer(&a->l->op);
}

/* ---- The operation ---- */

static void on_looked(struct dht_lookup *l, int status)
{
	struct asking *a = l->data;

	a->running--;
	op_release(&a->l->op);
	/* Nobody to ask is no failure of the one when the other found somebody. */
	if (status < 0 && status != UV_ECANCELED && a->running == 0 && a->queued == 0)
		op_result(&a->l->op, status);
	op_tick(&a->l->op);
}

static enum op_step do_start(struct discovery_lookup *l)
{
	struct asking *a = l->source_data;

	if (a == NULL || a->source->dht == NULL)
		op_result(&l->op, a == NULL ? UV_ENOMEM : ERR_NOT_FOUND);
	if (op_stopping(&l->op) || op_has_result(&l->op)) {
		op_move(&l->op, SOURCE_DONE);
		return OP_NEXT;
	}
	op_move(&l->op, SOURCE_LOOK);
	for (size_t i = 0; i < a->count; i++) {
		a->lookups[i].data = a;
		a->lookups[i].on_peer = on_peer;
		a->running++;
		op_hold(&l->op);
		dht_lookup_start(&a->lookups[i], &l->op.env, a->source->dht, &a->keys[i],
				 DHT_LOOKUP_PEERS, on_looked);
	}
	return OP_WAIT;
}

static enum op_step do_look(struct discovery_lookup *l)
{
	struct asking *a = l->source_data;

	drain(a);
	if (op_stopping(&l->op)) {
		for (size_t i = 0; i < a->count; i++)
			op_cancel(&a->lookups[i].op);
	}
	if (a->running > 0)
		return OP_WAIT;
	op_move(&l->op, SOURCE_DRAIN);
	return OP_NEXT;
}

static enum op_step do_drain(struct discovery_lookup *l)
{
	struct asking *a = l->source_data;

	drain(a);
	if (!op_stopping(&l->op) && a->sent < a->queued)
		return OP_WAIT;
	op_move(&l->op, SOURCE_DONE);
	return OP_NEXT;
}

static void finish(struct discovery_lookup *l)
{
	struct asking *a = l->source_data;

	op_result(&l->op, 0);
	if (!op_finish(&l->op))
		return;
	if (a != NULL)
		runner_timer_stop(a->source->runner, &a->timer);
	l->source_data = mem_free(a);
	l->events->on_done(l, op_status(&l->op));
}

static void source_tick(struct op *op)
{
	struct discovery_lookup *l = container_of(op, struct discovery_lookup, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case SOURCE_START: step = do_start(l); break;
		case SOURCE_LOOK: step = do_look(l); break;
		case SOURCE_DRAIN: step = do_drain(l); break;
		default: finish(l); return;
		}
	}
}

static void lookup(struct discovery_source *base, struct discovery_lookup *l,
		   const struct op_env *env, const struct iri *iri)
{
	struct source *s = container_of(base, struct source, base);
	struct asking *a = mem_alloc(sizeof(*a));

	op_init(&l->op, &kind, env, DISCOVERY_DHT_TIMEOUT_MS);
	l->source_data = a;
	if (a == NULL)
		return;
	a->l = l;
	a->source = s;
	a->count = dht_keys_of_iri(iri, a->keys);
	if (a->count == 0)
		op_result(&l->op, UV_ENOMEM);
}

static void lookup_cancel(struct discovery_source *base, struct discovery_lookup *l)
{
	op_cancel(&l->op);
}

static const char *state(struct discovery_source *base)
{
	return dht_state(container_of(base, struct source, base)->dht);
}

struct discovery_source *dht_source_new(struct runner *runner, struct dht *d)
{
	struct source *s = mem_alloc(sizeof(*s));

	if (s == NULL)
		return NULL;
	s->base = (struct discovery_source){ .name = "dht",
					     .tier = DISCOVERY_COLD,
					     .lookup = lookup,
					     .lookup_cancel = lookup_cancel,
					     .state = state };
	s->runner = runner;
	s->dht = d;
	limit_bucket_fill(&s->pace, DHT_SOURCE_BURST);
	s->pace.since_ms = runner_now_ms(runner);
	return &s->base;
}

void dht_source_set(struct discovery_source *base, struct dht *d)
{
	container_of(base, struct source, base)->dht = d;
}

struct discovery_source *dht_source_free(struct discovery_source *base)
{
	if (base != NULL)
		mem_free(container_of(base, struct source, base));
	return NULL;
}
