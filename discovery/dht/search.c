/* The iterative lookup in one family.
 *
 * Candidates are kept by distance to the target. Of the nearest DHT_K that may still count, whoever
 * was not asked is asked, SEARCH_NEAR at a time; SEARCH_WIDE when the candidate is so near that it
 * probably belongs to the result. Late and failed ones do not count, so the window moves on at the
 * soft deadline. Asking is over when the DHT_K nearest that count have answered, or nobody is left.
 *
 * What goes wrong: nodes that name thousands (KRPC_NODES_MAX, SEARCH_CANDIDATES_MAX), that crowd
 * the key from one network (one per /24 or /64, unless we knew it), that claim ids nearer than the
 * network's size explains, or ids that BEP 42 forbids (a few are taken and asked, but not counted,
 * once most of our table keeps to BEP 42). */
#include "discovery/dht/core.h"

#include <string.h>

#include "base/mem.h"

enum { SEED_NODES = 2 * DHT_K, BOOTSTRAP_SEEDS = SEARCH_CANDIDATES_MAX };

struct search *search_new(struct dht *d, unsigned family, const struct dht_id *target,
			  enum dht_lookup_kind kind)
{
	const struct table *t = &d->families[family].table;
	struct search *s;

	if (d->search_count >= SEARCH_MAX)
		return NULL;
	s = mem_alloc(sizeof(*s));
	if (s == NULL)
		return NULL;
	s->dht = d;
	s->family = family;
	s->target = s->blur = *target;
	s->kind = kind;
	s->radius = table_log2_radius(t);
	s->enforce = table_enforces(t);
	dht_random(d, &s->blur, sizeof(s->blur));
	list_init(&s->sibling);
	list_push_back(&d->searches, &s->node);
	d->search_count++;
	return s;
}

void search_free(struct search *s)
{
	query_forget_search(s->dht, s);
	s->dht->search_count--;
	list_remove(&s->sibling);
	list_remove(&s->node);
	mem_free(s);
}

static bool is_made_up(const struct search *s, const struct dht_id *id)
{
	double log2_nodes = DHT_ID_SIZE * 8 - s->radius + 3;

	return s->kind != DHT_LOOKUP_NODE && s->radius >= 0 &&
	       id_common_bits(id, &s->target) > log2_nodes + SEARCH_EXTRA_BITS;
}

/* Already among them, or too many from one place. */
static bool is_crowding(const struct search *s, const struct dht_address *addr, bool known)
{
	bool global = dht_address_is_global(addr);

	for (unsigned i = 0; i < s->count; i++) {
		const struct dht_address *other = &s->slots[s->order[i]].addr;

		if (dht_address_eq(other, addr))
			return true;
		if (global &&
		    (address_same_ip(other, addr) || (!known && address_same_net(other, addr))))
			return true;
	}
	return false;
}

/* Ids that BEP 42 forbids, as many as may be asked. */
static bool is_one_unfit_too_many(const struct search *s, const struct dht_id *id,
				  const struct dht_address *addr)
{
	unsigned unfit = 0;

	if (!s->enforce || id == NULL || id_fits(id, addr))
		return false;
	for (unsigned i = 0; i < s->count; i++)
		unfit += s->slots[s->order[i]].has_id && !s->slots[s->order[i]].fits ? 1 : 0;
	return unfit >= SEARCH_UNFIT_MAX;
}

/* A slot for one more, farther ones giving way; -1 = it is too far itself. */
static int make_slot(struct search *s, const struct dht_id *id)
{
	if (s->count < SEARCH_CANDIDATES_MAX)
		return (int)s->count;
	for (unsigned i = s->count; i-- > 0;) {
		unsigned slot = s->order[i];
		const struct candidate *c = &s->slots[slot];

		if (id_compare(&s->target, id, &c->id) >= 0)
			return -1;
		if (c->state == CANDIDATE_ASKED || c->state == CANDIDATE_LATE ||
		    c->store == STORE_SENT || c->store == STORE_LATE)
			continue;
		memmove(&s->order[i], &s->order[i + 1], s->count - 1 - i);
		s->count--;
		return (int)slot;
	}
	return -1;
}

static void insert_order(struct search *s, unsigned slot)
{
	unsigned at = s->count;

	while (at > 0 &&
	       id_compare(&s->target, &s->slots[slot].id, &s->slots[s->order[at - 1]].id) < 0)
		at--;
	memmove(&s->order[at + 1], &s->order[at], s->count - at);
	s->order[at] = (uint8_t)slot;
	s->count++;
}

void search_add(struct search *s, const struct dht_id *id, const struct dht_address *addr,
		bool known, unsigned hop)
{
	struct dht_id farthest = s->target;
	struct candidate *c;
	int slot;

	if (dht_is_no_node(s->dht, addr) || address_index(addr) != s->family ||
	    is_crowding(s, addr, known) || is_one_unfit_too_many(s, id, addr))
		return;
	if (id != NULL &&
	    (is_made_up(s, id) || dht_id_eq(id, &s->dht->families[s->family].table.self)))
		return;
	for (size_t i = 0; i < DHT_ID_SIZE; i++)
		farthest.bytes[i] = (uint8_t)~farthest.bytes[i];
	slot = make_slot(s, id != NULL ? id : &farthest);
	if (slot < 0)
		return;
	c = &s->slots[slot];
	*c = (struct candidate){ .id = id != NULL ? *id : farthest,
				 .addr = *addr,
				 .has_id = id != NULL,
				 .known = known,
				 .hop = (uint8_t)MIN(hop, 255u),
				 .router = dht_is_router(s->dht, addr) };
	c->fits = id != NULL && id_fits(id, addr);
	insert_order(s, (unsigned)slot);
}

static bool may_answer(const struct table_node *n, void *data)
{
	return n->fails < TABLE_FAILS_BAD;
}

/* Contacts: half of them the nearest, half any. */
static void seed_contacts(struct search *s, size_t cap)
{
	struct family *f = &s->dht->families[s->family];
	size_t n = f->contact_count;

	for (size_t i = 0; i < n && i < cap; i++) {
		struct contact *a = &f->contacts[i], *b = NULL, swap;
		size_t pick = i + (size_t)runner_random_below(s->dht->runner, n - i);

		for (size_t j = i; j < n && i % 2 == 0; j++) {
			struct contact *c = &f->contacts[j];

			if (c->has_id && (b == NULL || id_compare(&s->target, &c->id, &b->id) < 0))
				b = c;
		}
		b = b != NULL ? b : &f->contacts[pick];
		swap = *a;
		*a = *b;
		*b = swap;
		search_add(s, a->has_id ? &a->id : NULL, &a->addr, true, 1);
	}
}

void search_seed(struct search *s)
{
	struct dht *d = s->dht;
	struct family *f = &d->families[s->family];
	const struct table_node *near[SEED_NODES];
	size_t n = table_best(&f->table, &s->target, may_answer, NULL, near, SEED_NODES);

	for (size_t i = 0; i < n; i++)
		search_add(s, &near[i]->id, &near[i]->addr, true, 1);
	if (n >= DHT_K)
		return;
	for (size_t i = 0; i < f->table.cache_count && i < SEED_NODES; i++)
		search_add(s, &f->table.cache[i].id, &f->table.cache[i].addr, false, 1);
	seed_contacts(s, s->bootstrap ? BOOTSTRAP_SEEDS - SEED_NODES : DHT_K);
	for (size_t i = 0; i < d->router_count && n == 0; i++)
		search_add(s, NULL, &d->routers[i], true, 1);
}

static bool counts(const struct search *s, const struct candidate *c)
{
	return !c->router && (c->fits || !s->enforce);
}

size_t search_nearest(const struct search *s, uint8_t *ret_slots, size_t cap)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->count && n < cap; i++) {
		const struct candidate *c = &s->slots[s->order[i]];

		if (c->state == CANDIDATE_ANSWERED && counts(s, c))
			ret_slots[n++] = s->order[i];
	}
	return n;
}

/* Far nodes need not know what we look for: to find the way they need only the front of the key. */
static struct dht_id shown_target(const struct search *s, const struct candidate *c)
{
	unsigned shared = id_common_bits(&c->id, &s->target);
	struct dht_id id = s->target;
	double distance = DHT_ID_SIZE * 8 - shared;

	if (s->radius >= 0 && c->has_id && s->kind == DHT_LOOKUP_PEERS &&
	    DHT_ID_SIZE * 8 - s->radius + 3 >= SEARCH_BLUR_SIZE &&
	    distance > s->radius + SEARCH_BLUR_FAR)
		id_replace_tail(&id, shared + SEARCH_BLUR_BITS, &s->blur);
	return id;
}

static int ask(struct search *s, unsigned slot)
{
	static const enum krpc_method methods[] = {
		[DHT_LOOKUP_PEERS] = KRPC_GET_PEERS,
		[DHT_LOOKUP_NODE] = KRPC_FIND_NODE,
		[DHT_LOOKUP_VALUE] = KRPC_GET,
	};
	struct dht *d = s->dht;
	struct candidate *c = &s->slots[slot];
	struct dht_id target = shown_target(s, c);
	struct krpc_query q = { .method = methods[s->kind], .target = &target };
	bool both = d->families[0].on && d->families[1].on;
	int rc;

	if (both && (s->bootstrap || runner_random_below(d->runner, 40) == 0))
		q.want = KRPC_WANT_N4 | KRPC_WANT_N6;
	rc = query_send(d, &q, &c->addr, s, (uint8_t)slot);
	if (rc < 0)
		return rc;
	c->state = CANDIDATE_ASKED;
	if (!counts(s, c))
		s->unfit_asked++;
	if (s->owner != NULL)
		s->owner->queries++;
	return 0;
}

/* In sight of the key: nearer than its own nodes are expected to be, twice over. */
static bool is_close(const struct search *s, const struct candidate *c)
{
	return s->bootstrap || s->radius < 0 ||
	       (c->has_id && id_log2_distance(&c->id, &s->target) <= s->radius + 1);
}

/* Ask within the window. False when somebody in it is still to answer or to be asked. */
static bool ask_window(struct search *s)
{
	unsigned in_window = 0;
	bool over = true;

	for (unsigned i = 0; i < s->count && in_window < DHT_K; i++) {
		unsigned slot = s->order[i];
		struct candidate *c = &s->slots[slot];

		if (c->state == CANDIDATE_LATE || c->state == CANDIDATE_FAILED)
			continue;
		if (c->state == CANDIDATE_NEW && !counts(s, c) &&
		    s->unfit_asked >= SEARCH_UNFIT_MAX)
			continue;
		if (c->state == CANDIDATE_NEW &&
		    s->outstanding < (is_close(s, c) ? SEARCH_WIDE : SEARCH_NEAR) &&
		    ask(s, slot) < 0)
			s->held = true;
		over = over && c->state == CANDIDATE_ANSWERED;
		in_window += counts(s, c) ? 1 : 0;
	}
	return over;
}

/* Announce, or put, to the nearest that gave a token. */
static void store_at(struct search *s, unsigned slot)
{
	struct candidate *c = &s->slots[slot];
	struct krpc_query q = { .method = KRPC_ANNOUNCE_PEER,
				.target = &s->target,
				.port = s->announce_port,
				.token = { c->token, c->token_len } };
	int rc;

	if (c->store != STORE_NO || c->token_len == 0)
		return;
	if (s->kind == DHT_LOOKUP_VALUE) {
		if (s->owner == NULL || s->owner->put_value == NULL)
			return;
		q.method = KRPC_PUT;
		q.target = NULL;
		q.value = (struct krpc_bytes){ s->owner->put_value, s->owner->put_len };
	}
	rc = query_send(s->dht, &q, &c->addr, s, (uint8_t)slot);
	if (rc < 0) {
		s->held = true;
		return;
	}
	c->store = STORE_SENT;
	s->storing++;
}

static void store_nearest(struct search *s)
{
	uint8_t slots[DHT_K];
	size_t n = search_nearest(s, slots, DHT_K);

	for (size_t i = 0; i < n; i++)
		store_at(s, slots[i]);
}

/* One of the key's nodes is we ourselves: keep our own announcement, if we know our address. */
static void store_at_ourselves(struct search *s)
{
	struct dht *d = s->dht;
	struct family *f = &d->families[s->family];
	struct dht_address self = f->external.family != 0 ? f->external : f->local;
	uint8_t slots[DHT_K];
	size_t n = search_nearest(s, slots, DHT_K);

	if (self.family == 0 || address_is_unspecified(&self))
		return;
	if (n == DHT_K &&
	    id_compare(&s->target, &f->table.self, &s->slots[slots[DHT_K - 1]].id) > 0)
		return;
	self.port = s->announce_port;
	(void)peers_put(&d->peers, &f->table.self, &s->target, &self, dht_now(d));
}

static bool wants_store(const struct search *s)
{
	return s->announce_port != 0 ||
	       (s->kind == DHT_LOOKUP_VALUE && s->owner != NULL && s->owner->put_value != NULL);
}

static void finish_asking(struct search *s)
{
	s->phase = SEARCH_LINGERING;
	if (s->owner == NULL)
		upkeep_search_ended(s->dht, s);
	if (wants_store(s)) {
		s->phase = SEARCH_STORING;
		store_nearest(s);
		if (s->announce_port != 0)
			store_at_ourselves(s);
	}
	if (s->owner != NULL)
		lookup_moved(s->owner);
}

void search_pump(struct search *s)
{
	s->held = false;
	if (s->phase == SEARCH_ASKING && ask_window(s))
		finish_asking(s);
	else if (s->phase != SEARCH_ASKING && wants_store(s))
		store_nearest(s);
	if (s->phase == SEARCH_STORING && s->storing == 0 && !s->held) {
		s->phase = SEARCH_LINGERING;
		if (s->owner != NULL)
			lookup_moved(s->owner);
	}
	if (s->owner == NULL && s->open == 0 && s->phase == SEARCH_LINGERING)
		search_free(s);
	else if (s->held)
		query_rearm(s->dht, true);
}

void search_detach(struct search *s)
{
	s->owner = NULL;
	s->held = false;
	if (s->phase == SEARCH_ASKING)
		s->announce_port = 0;
	s->phase = SEARCH_LINGERING;
	list_remove(&s->sibling);
	if (s->open == 0)
		search_free(s);
}

/* The node goes by another id than we were told: it moves to its place. */
static void correct_id(struct search *s, unsigned slot, const struct dht_id *id)
{
	struct candidate *c = &s->slots[slot];

	for (unsigned i = 0; i < s->count; i++) {
		if (s->order[i] != slot)
			continue;
		memmove(&s->order[i], &s->order[i + 1], s->count - 1 - i);
		s->count--;
		break;
	}
	c->id = *id;
	c->has_id = true;
	c->fits = id_fits(id, &c->addr);
	/* The slot stays below count: make_slot takes the count-th when it is not full. */
	insert_order(s, slot);
}

static void take_nodes(struct search *s, unsigned hop, const struct krpc_message *m)
{
	for (unsigned f = 0; f < DHT_FAMILIES; f++) {
		struct krpc_bytes nodes = m->nodes[f];
		struct dht_address addr;
		struct dht_id id;

		for (unsigned i = 0; i < KRPC_NODES_MAX && krpc_next_node(&nodes, f, &id, &addr);
		     i++) {
			dht_heard(s->dht, &id, &addr);
			if (f == s->family && s->phase == SEARCH_ASKING)
				search_add(s, &id, &addr, false, hop + 1);
		}
	}
}

static void take_values(struct search *s, const struct candidate *c, const struct krpc_message *m)
{
	struct dht_address from = c->addr;

	for (size_t i = 0; i < m->value_count && s->owner != NULL; i++)
		lookup_peer(s->owner, &m->values[i], &from);
	if (m->value.p != NULL && s->owner != NULL && s->kind == DHT_LOOKUP_VALUE &&
	    s->owner->on_value != NULL && m->value.len <= DHT_VALUE_MAX + 8)
		s->owner->on_value(s->owner, m->value.p, m->value.len);
}

static void stored(struct search *s, struct candidate *c)
{
	if (c->store == STORE_SENT)
		s->storing--;
	c->store = STORE_ACKED;
	if (s->owner != NULL)
		s->owner->stored++;
	s->dht->stats.announces++;
}

void search_reply(struct search *s, uint8_t slot, const struct krpc_message *m, bool store)
{
	struct candidate *c = &s->slots[slot];

	if (store) {
		stored(s, c);
		search_pump(s);
		return;
	}
	if (!dht_id_eq(&c->id, &m->id))
		correct_id(s, slot, &m->id);
	c->state = CANDIDATE_ANSWERED;
	if (m->token.p != NULL) {
		memcpy(c->token, m->token.p, m->token.len);
		c->token_len = (uint8_t)m->token.len;
	}
	if (s->owner != NULL) {
		s->owner->replies++;
		lookup_round(s->owner, c->hop);
	}
	take_values(s, c, m);
	take_nodes(s, c->hop, m);
	search_pump(s);
}

void search_late(struct search *s, uint8_t slot, bool store)
{
	struct candidate *c = &s->slots[slot];

	if (store) {
		c->store = STORE_LATE;
		s->storing--;
	} else {
		c->state = CANDIDATE_LATE;
		if (s->owner != NULL)
			s->owner->timeouts++;
	}
	search_pump(s);
}

void search_failed(struct search *s, uint8_t slot, bool store, bool was_late)
{
	struct candidate *c = &s->slots[slot];

	if (!store)
		c->state = CANDIDATE_FAILED;
	else if (!was_late)
		s->storing--;
	if (store)
		c->store = STORE_ACKED; /* and not again */
	search_pump(s);
}
