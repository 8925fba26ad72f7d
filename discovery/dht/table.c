#include "discovery/dht/table.h"

#include <string.h>

#include "base/mem.h"

enum {
	CHORE_IDLE_MS = 60000,	/* a node heard from so lately needs nothing */
	CHORE_AGAIN_MS = 15000, /* between two tries of one that is silent */
	SUBPREFIX_BITS = 3
};

unsigned table_bucket_limit(unsigned b)
{
	static const uint8_t wide[] = { 128, 64, 32, 16 };

	return b < ARRAY_SIZE(wide) ? wide[b] : DHT_K;
}

void table_init(struct table *t, const struct dht_id *self)
{
	*t = (struct table){ .self = *self, .depth = 1 };
}

void table_fini(struct table *t)
{
	t->nodes = mem_free(t->nodes);
	t->cache = mem_free(t->cache);
	t->count = t->cap = t->cache_count = t->cache_cap = 0;
}

static unsigned bucket_of(const struct table *t, unsigned shared)
{
	return MIN(shared, t->depth - 1);
}

size_t table_bucket_count(const struct table *t, unsigned b)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		n += bucket_of(t, t->nodes[i].shared) == b ? 1 : 0;
	return n;
}

struct table_node *table_find(const struct table *t, const struct dht_address *addr)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->nodes[i].addr.port == addr->port && address_same_ip(&t->nodes[i].addr, addr))
			return &t->nodes[i];
	}
	return NULL;
}

static void remove_node(struct table *t, struct table_node *n)
{
	*n = t->nodes[--t->count];
}

static void remove_candidate(struct table *t, size_t i)
{
	t->cache_count--;
	memmove(&t->cache[i], &t->cache[i + 1], (t->cache_count - i) * sizeof(*t->cache));
}

static void forget_candidate(struct table *t, const struct dht_address *addr)
{
	for (size_t i = 0; i < t->cache_count; i++) {
		if (dht_address_eq(&t->cache[i].addr, addr)) {
			remove_candidate(t, i);
			return;
		}
	}
}

bool table_is_good(const struct table_node *n, uint64_t now_ms)
{
	uint64_t heard = MAX(n->reply_ms, n->query_ms);

	return n->fails < TABLE_FAILS_BAD && now_ms - heard < TABLE_GOOD_MS;
}

bool table_is_fresh(const struct table_node *n, uint64_t now_ms)
{
	return n->fails == 0 && now_ms - n->reply_ms < TABLE_GOOD_MS;
}

/* RFC 6298's estimator. */
static void note_rtt(struct table_node *n, uint64_t rtt_ms)
{
	int rtt = (int)MIN(rtt_ms, 10000u), error = rtt - n->srtt_ms;

	if (n->reply_ms == 0) {
		n->srtt_ms = (uint16_t)rtt;
		n->rttvar_ms = (uint16_t)(rtt / 2);
		return;
	}
	n->rttvar_ms = (uint16_t)((3 * n->rttvar_ms + (error < 0 ? -error : error)) / 4);
	n->srtt_ms = (uint16_t)((7 * n->srtt_ms + rtt) / 8);
}

/* An address already taken, or a neighbourhood already present in the bucket. One that has fallen
 * silent gives way. */
static bool crowds(struct table *t, const struct dht_address *addr, unsigned bucket)
{
	if (!dht_address_is_global(addr))
		return false;
	for (size_t i = 0; i < t->count; i++) {
		struct table_node *n = &t->nodes[i];
		bool same_ip = address_same_ip(&n->addr, addr);

		if (!same_ip &&
		    !(address_same_net(&n->addr, addr) && bucket_of(t, n->shared) == bucket))
			continue;
		if (n->fails == 0)
			return true;
		remove_node(t, n);
		i--;
	}
	return false;
}

static unsigned subprefix(const struct table_node *n)
{
	unsigned v = 0;

	for (unsigned bit = n->shared + 1u; bit <= n->shared + (unsigned)SUBPREFIX_BITS; bit++) {
		unsigned byte = bit < DHT_ID_SIZE * 8 ? n->id.bytes[bit / 8] : 0;

		v = v << 1 | (byte >> (7 - bit % 8) & 1u);
	}
	return v;
}

/* The worse of two that could go: silent, then not fitting BEP 42, then slow. */
static bool is_worse(const struct table_node *a, const struct table_node *b)
{
	if (b == NULL)
		return true;
	if (a->fails != b->fails)
		return a->fails > b->fails;
	if (a->fits != b->fits)
		return !a->fits;
	return a->srtt_ms > b->srtt_ms;
}

/* Who of a full bucket gives way to the newcomer, if anybody: one that is silent; one that does not
 * fit BEP 42 when the newcomer does; one of a part of the bucket that is crowded when the
 * newcomer's part is empty; a much slower one of the same part. */
static struct table_node *find_victim(const struct table *t, const struct table_node *newcomer,
				      unsigned bucket)
{
	struct table_node *worst = NULL, *crowded = NULL, *same = NULL;
	unsigned in_part[1 << SUBPREFIX_BITS] = { 0 };

	for (size_t i = 0; i < t->count; i++) {
		struct table_node *n = &t->nodes[i];

		if (bucket_of(t, n->shared) != bucket)
			continue;
		in_part[subprefix(n)]++;
		if (is_worse(n, worst))
			worst = n;
		if (subprefix(n) == subprefix(newcomer) && is_worse(n, same))
			same = n;
	}
	if (worst == NULL || worst->fails > 0 || (!worst->fits && newcomer->fits))
		return worst;
	if (!newcomer->fits && worst->fits)
		return NULL;
	if (same != NULL)
		return same->srtt_ms > 2 * newcomer->srtt_ms + 20 ? same : NULL;
	for (size_t i = 0; i < t->count; i++) {
		struct table_node *n = &t->nodes[i];

		if (bucket_of(t, n->shared) == bucket && in_part[subprefix(n)] > 1 &&
		    is_worse(n, crowded))
			crowded = n;
	}
	return crowded;
}

static bool grow(struct table *t)
{
	size_t cap = MAX(t->cap * 2, 16u);
	struct table_node *nodes;

	if (t->count < t->cap)
		return true;
	nodes = mem_realloc(t->nodes, cap * sizeof(*nodes));
	if (nodes == NULL)
		return false;
	t->nodes = nodes;
	t->cap = cap;
	return true;
}

/* The last bucket becomes two. It may have held more than the new one of the two is allowed. */
static void split(struct table *t)
{
	unsigned bucket = t->depth++ - 1;

	for (size_t n = table_bucket_count(t, bucket); n > table_bucket_limit(bucket); n--) {
		struct table_node *worst = NULL;

		for (size_t i = 0; i < t->count; i++) {
			struct table_node *node = &t->nodes[i];

			if (bucket_of(t, node->shared) == bucket && is_worse(node, worst))
				worst = node;
		}
		if (worst == NULL)
			return;
		remove_node(t, worst);
	}
}

static void place(struct table *t, const struct table_node *newcomer)
{
	struct table_node *victim;
	unsigned bucket;

	for (;;) {
		bucket = bucket_of(t, newcomer->shared);
		if (crowds(t, &newcomer->addr, bucket))
			return;
		if (table_bucket_count(t, bucket) < table_bucket_limit(bucket))
			break;
		if (bucket != t->depth - 1 || t->depth == TABLE_DEPTH_MAX)
			goto full;
		split(t);
	}
	if (t->count < TABLE_NODES_MAX && grow(t))
		t->nodes[t->count++] = *newcomer;
	return;
full:
	victim = find_victim(t, newcomer, bucket);
	if (victim != NULL)
		*victim = *newcomer;
	else
		table_heard(t, &newcomer->id, &newcomer->addr);
}

/* False when the id is another's: then whoever answers for it now must wait until that one is
 * silent. */
static bool take_over_id(struct table *t, const struct dht_id *id)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!dht_id_eq(&t->nodes[i].id, id))
			continue;
		if (t->nodes[i].fails == 0)
			return false;
		remove_node(t, &t->nodes[i]);
		return true;
	}
	return true;
}

void table_answered(struct table *t, const struct dht_id *id, const struct dht_address *addr,
		    uint64_t rtt_ms, uint64_t now_ms)
{
	struct table_node *n = table_find(t, addr), newcomer = { .id = *id, .addr = *addr };

	forget_candidate(t, addr);
	if (n != NULL && !dht_id_eq(&n->id, id)) {
		remove_node(t, n);
		return;
	}
	if (n != NULL) {
		note_rtt(n, rtt_ms);
		n->reply_ms = now_ms;
		n->fails = 0;
		return;
	}
	newcomer.shared = (uint8_t)id_common_bits(&t->self, id);
	if (newcomer.shared == DHT_ID_SIZE * 8 || !take_over_id(t, id))
		return;
	newcomer.fits = id_fits(id, addr);
	note_rtt(&newcomer, rtt_ms);
	newcomer.reply_ms = newcomer.asked_ms = now_ms;
	place(t, &newcomer);
}

void table_failed(struct table *t, const struct dht_address *addr)
{
	struct table_node *n = table_find(t, addr);

	if (n == NULL) {
		for (size_t i = 0; i < t->cache_count; i++) {
			if (dht_address_eq(&t->cache[i].addr, addr) &&
			    t->cache[i].tries >= TABLE_CACHE_TRIES) {
				remove_candidate(t, i);
				return;
			}
		}
		return;
	}
	if (++n->fails >= TABLE_FAILS_DROP)
		remove_node(t, n);
}

/* The oldest of a full bucket of the cache goes. */
static void make_cache_room(struct table *t, unsigned bucket)
{
	size_t in_bucket = 0, oldest = t->cache_count;

	for (size_t i = t->cache_count; i-- > 0;) {
		if (bucket_of(t, t->cache[i].shared) != bucket)
			continue;
		in_bucket++;
		oldest = i;
	}
	if (in_bucket >= TABLE_CACHE_BUCKET_MAX)
		remove_candidate(t, oldest);
	else if (t->cache_count == TABLE_CACHE_MAX)
		remove_candidate(t, 0);
}

void table_heard(struct table *t, const struct dht_id *id, const struct dht_address *addr)
{
	unsigned shared = id_common_bits(&t->self, id);

	if (shared == DHT_ID_SIZE * 8 || table_find(t, addr) != NULL)
		return;
	for (size_t i = 0; i < t->cache_count; i++) {
		if (dht_address_eq(&t->cache[i].addr, addr))
			return;
	}
	make_cache_room(t, bucket_of(t, shared));
	if (t->cache_count == t->cache_cap) {
		size_t cap = MIN(MAX(t->cache_cap * 2, 8u), (size_t)TABLE_CACHE_MAX);
		struct table_candidate *cache = mem_realloc(t->cache, cap * sizeof(*cache));

		if (cache == NULL)
			return;
		t->cache = cache;
		t->cache_cap = cap;
	}
	t->cache[t->cache_count++] =
		(struct table_candidate){ .id = *id, .addr = *addr, .shared = (uint8_t)shared };
}

size_t table_closest(const struct table *t, const struct dht_id *target, table_filter_fn filter,
		     void *data, const struct table_node **ret, size_t cap)
{
	size_t count = 0;

	for (size_t i = 0; i < t->count; i++) {
		const struct table_node *n = &t->nodes[i];
		size_t at = count;

		if (!filter(n, data))
			continue;
		while (at > 0 && id_compare(target, &n->id, &ret[at - 1]->id) < 0)
			at--;
		if (at == cap)
			continue;
		if (count < cap)
			count++;
		memmove(&ret[at + 1], &ret[at], (count - 1 - at) * sizeof(*ret));
		ret[at] = n;
	}
	return count;
}

struct by_fit {
	table_filter_fn filter;
	void *data;
	bool fits;
};

static bool passes_by_fit(const struct table_node *n, void *data)
{
	const struct by_fit *f = data;

	return n->fits == f->fits && f->filter(n, f->data);
}

size_t table_best(const struct table *t, const struct dht_id *target, table_filter_fn filter,
		  void *data, const struct table_node **ret, size_t cap)
{
	struct by_fit by = { filter, data, true };
	size_t n;

	if (!table_enforces(t))
		return table_closest(t, target, filter, data, ret, cap);
	n = table_closest(t, target, passes_by_fit, &by, ret, cap);
	by.fits = false;
	return n + table_closest(t, target, passes_by_fit, &by, ret + n, cap - n);
}

struct dht_id table_id_in_bucket(const struct table *t, unsigned b, const struct dht_id *random)
{
	struct dht_id id = t->self;

	id_replace_tail(&id, b, random);
	if (b < t->depth - 1) { /* exactly b bits in common */
		uint8_t bit = (uint8_t)(0x80 >> b % 8);

		id.bytes[b / 8] =
			(uint8_t)((id.bytes[b / 8] & ~bit) | (~t->self.bytes[b / 8] & bit));
	}
	return id;
}

/* Which buckets have a place: room, or somebody who may be gone. The last one is split instead. */
static void find_places(const struct table *t, bool ret_places[TABLE_DEPTH_MAX])
{
	unsigned counts[TABLE_DEPTH_MAX] = { 0 };
	bool silent[TABLE_DEPTH_MAX] = { false };

	for (size_t i = 0; i < t->count; i++) {
		unsigned bucket = bucket_of(t, t->nodes[i].shared);

		counts[bucket]++;
		silent[bucket] = silent[bucket] || t->nodes[i].fails > 0;
	}
	for (unsigned b = 0; b < t->depth; b++)
		ret_places[b] = b == t->depth - 1 || silent[b] || counts[b] < table_bucket_limit(b);
}

static bool try_candidate(struct table *t, uint64_t now_ms, struct table_chore *ret)
{
	bool places[TABLE_DEPTH_MAX];

	if (t->cache_count == 0)
		return false;
	find_places(t, places);
	for (size_t i = t->cache_count; i-- > 0;) {
		struct table_candidate *c = &t->cache[i];

		if ((c->asked_ms != 0 && now_ms - c->asked_ms < CHORE_AGAIN_MS) ||
		    !places[bucket_of(t, c->shared)])
			continue;
		c->asked_ms = now_ms;
		c->tries++;
		*ret = (struct table_chore){ .addr = c->addr };
		return true;
	}
	return false;
}

bool table_next_chore(struct table *t, const struct dht_id *random, uint64_t now_ms,
		      struct table_chore *ret)
{
	struct table_node *oldest = NULL;
	uint64_t oldest_ms = 0;
	unsigned bucket;

	if (try_candidate(t, now_ms, ret))
		return true;
	for (size_t i = 0; i < t->count; i++) {
		struct table_node *n = &t->nodes[i];
		uint64_t touched = MAX(n->reply_ms, n->asked_ms);

		/* Silent ones first, so that they are not named to others for long. */
		if (now_ms - touched < (n->fails > 0 ? CHORE_AGAIN_MS : CHORE_IDLE_MS))
			continue;
		if (oldest == NULL || n->fails > oldest->fails ||
		    (n->fails == oldest->fails && touched < oldest_ms)) {
			oldest = n;
			oldest_ms = touched;
		}
	}
	if (oldest == NULL)
		return false;
	oldest->asked_ms = now_ms;
	bucket = bucket_of(t, oldest->shared);
	ret->addr = oldest->addr;
	ret->find = table_bucket_count(t, bucket) < table_bucket_limit(bucket);
	ret->target = table_id_in_bucket(t, bucket, random);
	return true;
}

void table_rebase(struct table *t, const struct dht_id *self, uint64_t now_ms)
{
	struct table old = *t;

	table_init(t, self);
	for (size_t i = 0; i < old.count; i++) {
		struct table_node n = old.nodes[i];

		n.shared = (uint8_t)id_common_bits(self, &n.id);
		if (n.shared < DHT_ID_SIZE * 8)
			place(t, &n);
	}
	for (size_t i = 0; i < old.cache_count; i++)
		table_heard(t, &old.cache[i].id, &old.cache[i].addr);
	table_fini(&old);
}

static bool any(const struct table_node *n, void *data)
{
	return n->fails < TABLE_FAILS_BAD;
}

/* The k-th nearest of n evenly spread nodes lies at k/n of the space; the far ones of the sample
 * are the steadier. */
double table_log2_radius(const struct table *t)
{
	const struct table_node *near[DHT_K];
	size_t n = table_closest(t, &t->self, any, NULL, near, DHT_K);

	if (n < DHT_K)
		return -1;
	return id_log2_distance(&t->self, &near[DHT_K - 1]->id);
}

size_t table_good_count(const struct table *t, uint64_t now_ms)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		n += table_is_good(&t->nodes[i], now_ms) ? 1 : 0;
	return n;
}

size_t table_fitting_count(const struct table *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		n += t->nodes[i].fits ? 1 : 0;
	return n;
}

bool table_enforces(const struct table *t)
{
	return t->count >= DHT_K && table_fitting_count(t) * 2 > t->count;
}
