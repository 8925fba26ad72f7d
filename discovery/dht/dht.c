#include "discovery/dht/dht.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "discovery/dht/core.h"

enum { NO_UDP_QUERIES = 8, NO_UDP_AFTER_MS = 10000, NO_UDP_SINCE_MS = 300000 };

/* SipHash of a counter under a secret key: nobody who sees some of it can tell the rest. */
void dht_random(struct dht *d, void *p, size_t len)
{
	uint8_t *out = p;

	while (len > 0) {
		uint8_t block[crypto_shorthash_BYTES];
		size_t n = MIN(len, sizeof(block));

		d->random_counter++;
		crypto_shorthash(block, (const uint8_t *)&d->random_counter,
				 sizeof(d->random_counter), d->random_key);
		memcpy(out, block, n);
		out += n;
		len -= n;
	}
}

static void family_init(struct dht *d, unsigned i, const struct dht_address *local)
{
	struct family *f = &d->families[i];
	struct dht_id id;

	dht_random(d, &id, sizeof(id));
	table_init(&f->table, &id);
	f->on = local->family != 0;
	f->local = *local;
	if (f->on && dht_address_is_global(local))
		reach_set_external(d, i, local);
	d->stats.id_changes = 0;
}

struct dht *dht_new(const struct dht_config *config)
{
	struct dht *d = mem_alloc(sizeof(*d));
	uint8_t seed[DHT_SEED_SIZE], key[16];

	if (d == NULL)
		return NULL;
	if (config->seed != NULL)
		memcpy(seed, config->seed, sizeof(seed));
	else
		randombytes_buf(seed, sizeof(seed));
	memcpy(d->random_key, seed, sizeof(d->random_key));
	memcpy(&d->random_counter, seed + sizeof(d->random_key), sizeof(d->random_counter));
	d->runner = config->runner;
	d->transport = config->transport;
	d->mode = config->mode;
	d->trace = config->trace;
	list_init(&d->searches);
	list_init(&d->lookups);
	list_init(&d->announcements);
	peers_init(&d->peers);
	buf_init(&d->out, DHT_PACKET_MAX + DHT_VALUE_MAX);
	dht_random(d, key, sizeof(key));
	if (limit_init(&d->limit, key, dht_now(d)) < 0)
		return mem_free(d);
	for (unsigned i = 0; i < ARRAY_SIZE(d->tokens.secrets); i++)
		dht_random(d, d->tokens.secrets[i], TOKEN_SECRET_SIZE);
	d->tokens.rotated_ms = d->trial_ms = d->expire_ms = dht_now(d);
	for (unsigned i = 0; i < DHT_FAMILIES; i++)
		family_init(d, i, &config->local[i]);
	return d;
}

static void on_closed(struct runner_task *task)
{
	struct dht *d = container_of(task, struct dht, closed_task);
	void (*closed)(void *data) = d->closed;
	void *data = d->closed_data;

	list_for_each_safe(node, &d->searches)
		search_free(list_entry(node, struct search, node));
	for (unsigned i = 0; i < DHT_FAMILIES; i++) {
		table_fini(&d->families[i].table);
		mem_free(d->families[i].contacts);
	}
	runner_timer_stop(d->runner, &d->query_timer);
	runner_timer_stop(d->runner, &d->tick_timer);
	mem_free(d->queries);
	limit_fini(&d->limit);
	peers_fini(&d->peers);
	buf_fini(&d->out);
	mem_free(d);
	if (closed != NULL)
		closed(data);
}

void dht_lookup_ended(struct dht *d)
{
	if (!d->closing || !announce_free_all(d) || !list_empty(&d->lookups))
		return;
	d->closed_task.run = on_closed;
	runner_defer(d->runner, &d->closed_task);
}

void dht_close(struct dht *d, void (*closed)(void *data), void *data)
{
	d->closing = true;
	d->closed = closed;
	d->closed_data = data;
	list_for_each(node, &d->lookups)
		op_cancel(&list_entry(node, struct dht_lookup, node)->op);
	dht_lookup_ended(d);
}

void dht_start(struct dht *d)
{
	d->started = true;
	d->started_ms = dht_now(d);
	upkeep_start(d);
}

void dht_send(struct dht *d, const struct dht_address *to)
{
	if (d->closing)
		return;
	d->stats.packets_out++;
	d->stats.bytes_out += d->out.len;
	d->transport->send(d->transport, to, d->out.data, d->out.len);
}

/* ---- Who else there is ---- */

bool dht_is_router(const struct dht *d, const struct dht_address *addr)
{
	for (size_t i = 0; i < d->router_count; i++) {
		if (dht_address_eq(&d->routers[i], addr))
			return true;
	}
	return false;
}

bool dht_is_no_node(const struct dht *d, const struct dht_address *addr)
{
	const struct family *f = &d->families[address_index(addr)];

	if (!address_is_usable(addr) || !f->on)
		return true;
	return (f->external.family != 0 && dht_address_eq(&f->external, addr)) ||
	       dht_address_eq(&f->local, addr);
}

int dht_add_router(struct dht *d, const struct dht_address *addr)
{
	if (dht_is_no_node(d, addr) || dht_is_router(d, addr))
		return 0;
	if (d->router_count == DHT_ROUTERS_MAX)
		return ERR_LIMIT;
	d->routers[d->router_count++] = *addr;
	upkeep_soon(d);
	return 0;
}

void contact_add(struct family *f, const struct dht_address *addr, const struct dht_id *id)
{
	struct contact c = { .addr = *addr, .has_id = id != NULL };

	if (id != NULL)
		c.id = *id;
	if (f->contacts == NULL)
		f->contacts = mem_alloc_array(CONTACTS_MAX, sizeof(*f->contacts));
	if (f->contacts == NULL || table_find(&f->table, addr) != NULL)
		return;
	for (size_t i = 0; i < f->contact_count; i++) {
		if (dht_address_eq(&f->contacts[i].addr, addr))
			return;
	}
	if (f->contact_count < CONTACTS_MAX)
		f->contacts[f->contact_count++] = c;
}

void contact_remove(struct family *f, const struct dht_address *addr)
{
	for (size_t i = 0; i < f->contact_count; i++) {
		if (dht_address_eq(&f->contacts[i].addr, addr)) {
			f->contacts[i] = f->contacts[--f->contact_count];
			return;
		}
	}
}

void dht_add_node(struct dht *d, const struct dht_address *addr)
{
	if (dht_is_no_node(d, addr))
		return;
	contact_add(&d->families[address_index(addr)], addr, NULL);
	upkeep_soon(d);
}

void dht_heard(struct dht *d, const struct dht_id *id, const struct dht_address *addr)
{
	if (!dht_is_no_node(d, addr) && !dht_is_router(d, addr))
		table_heard(&d->families[address_index(addr)].table, id, addr);
}

/* ---- Packets ---- */

static void take_answer(struct dht *d, const struct dht_address *from, const struct krpc_message *m,
			struct limit_slot *slot)
{
	struct query *q = query_find(d, m->tid.p, m->tid.len, from);

	if (q == NULL) {
		d->stats.dropped_stray++;
		return;
	}
	slot->proven = true;
	if (m->type == KRPC_REPLY)
		d->stats.replies_in++;
	else
		d->stats.errors_in++;
	query_answered(d, q, m);
	if (m->seen_as.family != 0)
		reach_seen_as(d, from, &m->seen_as);
	query_rearm(d, false);
}

static void take_query(struct dht *d, const struct dht_address *from, const struct krpc_message *m,
		       size_t len, struct limit_slot *slot)
{
	uint64_t now = dht_now(d);

	d->stats.queries_in++;
	if (dht_address_is_global(from) && (slot->sent_ms == 0 || now - slot->sent_ms > 600000)) {
		slot->sent_ms = now; /* one address, one stranger */
		reach_stranger(d);
	}
	if (reach_read_only(d) && dht_address_is_global(from)) {
		d->stats.dropped_read_only++;
		return;
	}
	serve_query(d, from, m, len, slot);
}

void dht_receive(struct dht *d, const struct dht_address *from, const uint8_t *data, size_t len)
{
	uint64_t now = dht_now(d);
	struct limit_slot *slot;
	struct krpc_message m;

	d->stats.packets_in++;
	d->stats.bytes_in += len;
	if (d->closing || dht_is_no_node(d, from)) {
		d->stats.dropped_source++;
		return;
	}
	slot = limit_slot_of(&d->limit, from, now);
	if (!limit_in(slot, now)) {
		d->stats.dropped_limit++;
		return;
	}
	if (krpc_parse(data, len, &m) < 0) {
		d->stats.dropped_malformed++;
		return;
	}
	if (m.type == KRPC_QUERY)
		take_query(d, from, &m, len, slot);
	else
		take_answer(d, from, &m, slot);
}

void dht_unreachable(struct dht *d, const struct dht_address *to)
{
	if (d->closing)
		return;
	query_unreachable(d, to);
	query_rearm(d, false);
}

void dht_send_failed(struct dht *d)
{
	d->stats.dropped_send++;
}

/* ---- How it is ---- */

static void family_stats(const struct dht *d, unsigned i, struct dht_family_stats *ret)
{
	const struct family *f = &d->families[i];
	double radius = table_log2_radius(&f->table);

	*ret = (struct dht_family_stats){
		.on = f->on,
		.id = f->table.self,
		.external = f->external,
		.symmetric = f->vote.symmetric,
		.nodes = (unsigned)f->table.count,
		.good = (unsigned)table_good_count(&f->table, dht_now(d)),
		.cached = (unsigned)f->table.cache_count,
		.bep42 = (unsigned)table_fitting_count(&f->table),
		.log2_size = radius < 0 ? 0 : (unsigned)(DHT_ID_SIZE * 8 - radius + 3.5),
	};
}

void dht_stats(const struct dht *d, struct dht_stats *ret)
{
	uint64_t now = dht_now(d);

	*ret = d->stats;
	for (unsigned i = 0; i < DHT_FAMILIES; i++)
		family_stats(d, i, &ret->families[i]);
	ret->started = d->started;
	ret->bootstrapped = d->bootstrapped;
	ret->read_only = reach_read_only(d);
	ret->stored_keys = map_count(&d->peers.keys);
	ret->stored_peers = d->peers.count;
	ret->store_refused = d->peers.refused;
	ret->open_queries = (unsigned)d->open_count;
	ret->announcements = (unsigned)d->announcement_count;
	list_for_each(node, &d->announcements)
		ret->announcements_due +=
			list_entry(node, struct announcement, node)->due_ms <= now ? 1 : 0;
	ret->candidates = (unsigned)d->router_count;
	for (unsigned i = 0; i < DHT_FAMILIES; i++)
		ret->candidates +=
			(unsigned)(d->families[i].contact_count + d->families[i].table.count);
	ret->up_ms = d->started ? now - d->started_ms : 0;
	ret->last_reply_ms = d->last_reply_ms;
}

const char *dht_state(const struct dht *d)
{
	uint64_t now;

	if (d == NULL || !d->started || d->closing)
		return "off";
	now = dht_now(d);
	if (d->stats.queries_out >= NO_UDP_QUERIES && now - d->first_query_ms > NO_UDP_AFTER_MS &&
	    (d->last_reply_ms == 0 || now - d->last_reply_ms > NO_UDP_SINCE_MS))
		return "no UDP";
	return d->bootstrapped ? NULL : "bootstrapping";
}
