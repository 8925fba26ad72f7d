/* A caller's lookup: a search in every family, and what they found.
 *
 *	start → ask → store → done
 *
 * It waits in ask and store. Only the searches hear of queries; late ones outlive the lookup. */
#include "discovery/dht/core.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "trace/trace.h"

enum { LOOKUP_START, LOOKUP_ASK, LOOKUP_STORE, LOOKUP_DONE };
enum { LOOKUP_TIMEOUT_MS = 60000 };

static void lookup_tick(struct op *op);

static const struct op_state states[] = {
	[LOOKUP_START] = { "start", TO(LOOKUP_ASK) | TO(LOOKUP_DONE) },
	[LOOKUP_ASK] = { "ask", TO(LOOKUP_STORE) | TO(LOOKUP_DONE) },
	[LOOKUP_STORE] = { "store", TO(LOOKUP_DONE) },
	[LOOKUP_DONE] = { "done", 0 },
};
static const struct op_kind kind = { "dht.lookup", states, ARRAY_SIZE(states), lookup_tick };

void lookup_round(struct dht_lookup *l, unsigned round)
{
	if (round <= l->rounds)
		return;
	l->rounds = round;
	trace_mark(l->op.env.span, "round %u: %u asked, %u answered, %u late", round, l->queries,
		   l->replies, l->timeouts);
}

void lookup_moved(struct dht_lookup *l)
{
	op_defer(&l->op);
}

static bool is_peer(const struct dht_address *a)
{
	return address_is_usable(a) && a->port > 1; /* 1: a known mistake of others */
}

void lookup_peer(struct dht_lookup *l, const struct dht_address *peer,
		 const struct dht_address *from)
{
	char text[DHT_ADDRESS_TEXT_SIZE];

	if (op_stopping(&l->op) || l->op.state == LOOKUP_DONE || l->seen == NULL || !is_peer(peer))
		return;
	for (unsigned i = 0; i < l->peers; i++) {
		if (dht_address_eq(&l->seen[i], peer))
			return;
	}
	if (l->peers == DHT_LOOKUP_PEERS_MAX) {
		l->peers_dropped++;
		return;
	}
	l->seen[l->peers++] = *peer;
	if (l->first_peer_ms == UINT64_MAX) {
		l->first_peer_ms = dht_now(l->dht) - l->started_ms;
		dht_address_format(peer, text);
		trace_mark(l->op.env.span, "first peer: %s", text);
	}
	if (l->on_peer != NULL)
		l->on_peer(l, peer, from);
}

/* What others announced to us counts too: a network of two would never find anything otherwise. */
static void look_at_home(struct dht_lookup *l)
{
	static const struct dht_address nobody;
	struct dht_address peers[KRPC_VALUES_MAX];

	for (unsigned f = 0; f < DHT_FAMILIES && l->kind == DHT_LOOKUP_PEERS; f++) {
		size_t n = peers_sample(&l->dht->peers, &l->target, f, l->dht->runner,
					dht_now(l->dht), peers, ARRAY_SIZE(peers));

		for (size_t i = 0; i < n; i++)
			lookup_peer(l, &peers[i], &nobody);
	}
}

static void start_search(struct dht_lookup *l, unsigned family)
{
	struct search *s = search_new(l->dht, family, &l->target, l->kind);

	if (s == NULL) {
		op_result(&l->op, UV_ENOMEM);
		return;
	}
	s->owner = l;
	s->announce_port = l->announce_port;
	list_push_back(&l->searches, &s->sibling);
	search_seed(s);
	for (unsigned i = 0; i < l->seed_count; i++)
		search_add(s, NULL, &l->seeds[i], true, 1);
}

static bool open_span(struct dht_lookup *l)
{
	char title[2 * DHT_ID_SIZE + 1];
	struct span span;

	bool announces = l->announce_port != 0;
	const char *category = announces ? "dht.announce" : "dht.lookup";

	/* Keys kept announced have nobody who asked; other lookups belong to a discovery. */
	if (l->op.env.span.trace == NULL && (!announces || l->dht->trace == NULL))
		return false;
	for (unsigned i = 0; i < DHT_ID_SIZE; i++)
		snprintf(title + 2 * (size_t)i, 3, "%02x", l->target.bytes[i]);
	span = l->op.env.span.trace != NULL ?
		       trace_child(l->op.env.span, category, title, sizeof(title) - 1) :
		       trace_root(l->dht->trace, category, title, sizeof(title) - 1, NULL);
	op_own_span(&l->op, span);
	return true;
}

static enum op_step do_start(struct dht_lookup *l)
{
	(void)open_span(l);
	if (op_stopping(&l->op) || op_has_result(&l->op)) {
		op_move(&l->op, LOOKUP_DONE);
		return OP_NEXT;
	}
	op_move(&l->op, LOOKUP_ASK);
	l->seen = mem_alloc_array(DHT_LOOKUP_PEERS_MAX, sizeof(*l->seen));
	if (l->seen == NULL)
		op_result(&l->op, UV_ENOMEM);
	look_at_home(l);
	for (unsigned f = 0; f < DHT_FAMILIES && !op_has_result(&l->op); f++) {
		if (l->dht->families[f].on)
			start_search(l, f);
	}
	list_for_each_safe(node, &l->searches)
		search_pump(list_entry(node, struct search, sibling));
	return OP_NEXT;
}

static bool any_in(const struct dht_lookup *l, enum search_phase phase)
{
	list_for_each(node, &l->searches) {
		if (list_entry(node, struct search, sibling)->phase == phase)
			return true;
	}
	return false;
}

static void note_nearest(struct dht_lookup *l)
{
	list_for_each(node, &l->searches) {
		const struct search *s = list_entry(node, struct search, sibling);
		uint8_t slots[DHT_K];
		size_t n = search_nearest(s, slots, DHT_K);

		for (size_t i = 0; i < n && l->nearest_count < DHT_K; i++) {
			l->nearest_ids[l->nearest_count] = s->slots[slots[i]].id;
			l->nearest[l->nearest_count++] = s->slots[slots[i]].addr;
		}
	}
}

static enum op_step do_ask(struct dht_lookup *l)
{
	if (op_stopping(&l->op) || op_has_result(&l->op)) {
		op_move(&l->op, LOOKUP_DONE);
		return OP_NEXT;
	}
	if (any_in(l, SEARCH_ASKING))
		return OP_WAIT;
	l->done_ms = dht_now(l->dht) - l->started_ms;
	note_nearest(l);
	if (l->replies == 0 && l->peers == 0)
		op_result(&l->op, ERR_NOT_FOUND);
	op_move(&l->op, any_in(l, SEARCH_STORING) ? LOOKUP_STORE : LOOKUP_DONE);
	return OP_NEXT;
}

static enum op_step do_store(struct dht_lookup *l)
{
	if (!op_stopping(&l->op) && any_in(l, SEARCH_STORING))
		return OP_WAIT;
	op_move(&l->op, LOOKUP_DONE);
	return OP_NEXT;
}

/* Announcements that wait for a late token go on; nothing else does. */
static void release(struct dht_lookup *l)
{
	list_for_each_safe(node, &l->searches)
		search_detach(list_entry(node, struct search, sibling));
	if (list_linked(&l->node)) {
		list_remove(&l->node);
		if (!l->busy)
			l->dht->lookup_count--;
	}
	l->seen = mem_free(l->seen);
}

static void finish(struct dht_lookup *l)
{
	struct span span = l->op.env.span;
	bool owned = op_owns_span(&l->op);
	struct dht *d;
	int status;

	release(l);
	op_result(&l->op, 0);
	if (!op_finish(&l->op))
		return;
	status = op_status(&l->op);
	if (owned) {
		trace_attr_int(span, "peers", l->peers);
		if (l->peers_dropped > 0)
			trace_attr_int(span, "peers_dropped", l->peers_dropped);
		if (l->first_peer_ms != UINT64_MAX)
			trace_attr_int(span, "first_peer_ms", (int64_t)l->first_peer_ms);
		trace_attr_int(span, "queries", l->queries);
		trace_attr_int(span, "replies", l->replies);
		trace_attr_int(span, "timeouts", l->timeouts);
		trace_attr_int(span, "rounds", l->rounds);
		if (l->announce_port != 0)
			trace_attr_int(span, "stored", l->stored);
		trace_finish(span, status, NULL);
	}
	d = l->dht;
	l->cb(l, status);
	dht_lookup_ended(d);
}

static void lookup_tick(struct op *op)
{
	struct dht_lookup *l = container_of(op, struct dht_lookup, op);

	for (enum op_step step = OP_NEXT; step == OP_NEXT;) {
		switch (op->state) {
		case LOOKUP_START: step = do_start(l); break;
		case LOOKUP_ASK: step = do_ask(l); break;
		case LOOKUP_STORE: step = do_store(l); break;
		default: finish(l); return;
		}
	}
}

void dht_lookup_start(struct dht_lookup *l, const struct op_env *env, struct dht *d,
		      const struct dht_id *target, enum dht_lookup_kind lookup_kind,
		      dht_lookup_cb cb)
{
	op_init(&l->op, &kind, env, LOOKUP_TIMEOUT_MS);
	l->cb = cb;
	l->dht = d;
	l->target = *target;
	l->kind = lookup_kind;
	l->first_peer_ms = l->done_ms = UINT64_MAX;
	l->queries = l->replies = l->timeouts = l->rounds = 0;
	l->peers = l->peers_dropped = l->stored = l->nearest_count = 0;
	l->seen = NULL;
	l->started_ms = dht_now(d);
	list_init(&l->searches);
	list_init(&l->node);
	list_push_back(&d->lookups, &l->node);
	l->busy = d->closing || d->lookup_count >= DHT_LOOKUPS_MAX;
	if (l->busy) {
		d->stats.lookups_busy++;
		op_result(&l->op, d->closing ? UV_ECANCELED : ERR_BUSY);
		return;
	}
	d->stats.lookups++;
	d->lookup_count++;
}
