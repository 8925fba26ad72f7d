/* What was heard: instances, each a chain of records PTR → SRV and TXT → A and AAAA that all have
 * their own time to live. With the whole chain there, an instance is reachable and its peer is told
 * of; several instances may speak for one peer (one per link).
 *
 * What can go wrong: anything may be said by anyone on the network. Only names of our service open
 * a place, places are limited, and an instance without its chain makes room for a new one. An
 * address counts only if it is of this link's network or private: nobody can have us knock
 * elsewhere. Peers are merged from the instances in turns, so that a false one cannot push out the
 * addresses of the true one. */
#include "discovery/mdns/core.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"

enum { GOODBYE_MS = 1000, TXT_READ_MAX = 1300, NUMBER_DIGITS_MAX = 5 };

/* ---- Times ---- */

static void heard_now(struct link *l, struct heard *h, uint32_t ttl_s)
{
	uint64_t now_ms = mdns_now(l->mdns), ttl_ms;

	if (ttl_s == 0) {
		if (heard_valid(h))
			h->until_ms = MIN(h->until_ms, now_ms + GOODBYE_MS);
		h->ask_ms = UINT64_MAX;
		return;
	}
	if (l->config.ask_only)
		ttl_s = MAX(ttl_s, (uint32_t)TTL_ASK_ONLY_S);
	ttl_ms = (uint64_t)MIN(ttl_s, (uint32_t)MDNS_TTL_MAX_S) * 1000;
	*h = (struct heard){ .since_ms = now_ms, .until_ms = now_ms + ttl_ms };
	/* 80 to 82 %: of many askers one comes first and its answer serves all */
	h->ask_ms =
		now_ms + ttl_ms * 80 / 100 + runner_random_below(l->mdns->runner, ttl_ms / 50 + 1);
}

static bool over(const struct heard *h, uint64_t now_ms)
{
	return heard_valid(h) && h->until_ms <= now_ms;
}

static uint64_t heard_due_ms(const struct heard *h)
{
	return heard_valid(h) ? MIN(h->until_ms, h->ask_ms) : UINT64_MAX;
}

uint64_t instance_due_ms(const struct instance *i)
{
	uint64_t due_ms = MIN(heard_due_ms(&i->ptr), heard_due_ms(&i->srv));

	due_ms = MIN(due_ms, heard_due_ms(&i->txt));
	for (size_t k = 0; k < i->addr_count; k++)
		due_ms = MIN(due_ms, i->addrs[k].heard.until_ms);
	return i->try_ms != 0 ? MIN(due_ms, i->try_ms) : due_ms;
}

/* ---- Reachable or not ---- */

/* The reachable instance that speaks for a peer, other than one of them. */
static struct instance *find_peer(const struct mdns *m, const struct public_key *peer,
				  const struct instance *except)
{
	list_for_each(node, &m->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i != except && i->reachable && key_eq(&i->peer, peer))
			return i;
	}
	return NULL;
}

static void add_address(const struct instance *i, const struct heard_address *heard,
			bool link_local, struct mdns_peer *p)
{
	struct multiaddr a = {
		.family = heard->family, .port = i->port, .has_peer = true, .peer = p->peer
	};

	memcpy(a.ip, heard->ip, sizeof(a.ip));
	if (multiaddr_is_link_local(&a) != link_local)
		return;
	a.zone = link_local ? i->link->config.zone : 0;
	for (size_t k = 0; k < p->addr_count; k++) {
		if (multiaddr_eq(&p->addrs[k], &a))
			return;
	}
	if (p->addr_count < MDNS_PEER_ADDRS_MAX)
		p->addrs[p->addr_count++] = a;
}

/* Those that depend on the interface come last. */
static void add_addresses(const struct mdns *m, struct mdns_peer *p)
{
	for (size_t turn = 0; turn < 2 * (size_t)MDNS_PEER_ADDRS_MAX; turn++) {
		bool link_local = turn >= MDNS_PEER_ADDRS_MAX;
		size_t at = turn % MDNS_PEER_ADDRS_MAX;

		list_for_each(node, &m->instances) {
			const struct instance *i = list_entry(node, struct instance, node);

			if (i->reachable && key_eq(&i->peer, &p->peer) && at < i->addr_count)
				add_address(i, &i->addrs[at], link_local, p);
		}
	}
}

static void peer_of(const struct mdns *m, const struct instance *i, struct mdns_peer *ret)
{
	*ret = (struct mdns_peer){ .peer = i->peer, .dht_port = i->dht_port };
	add_addresses(m, ret);
}

static void tell_addresses(const struct mdns *m, const struct instance *i)
{
	struct mdns_peer peer;

	if (m->events == NULL || m->events->on_addresses == NULL)
		return;
	peer_of(m, i, &peer);
	m->events->on_addresses(m->data, &peer);
}

static void set_reachable(struct instance *i, bool reachable)
{
	struct mdns *m = i->link->mdns;
	bool only = find_peer(m, &i->peer, i) == NULL;
	struct mdns_peer peer;

	if (reachable && i->more && (i->reachable || !only)) {
		i->reachable = true;
		tell_addresses(m, i);
	}
	i->more = i->more && !reachable;
	if (i->reachable == reachable)
		return;
	i->reachable = reachable;
	if (!only || m->events == NULL)
		return;
	if (reachable) {
		peer_of(m, i, &peer);
		m->events->on_peer(m->data, &peer);
	} else if (m->events->on_gone != NULL) {
		m->events->on_gone(m->data, &i->peer);
	}
}

/* Once per instance. It may be lying: the handshake tells. */
static void tell_twin(struct instance *i)
{
	struct mdns *m = i->link->mdns;
	struct mdns_peer peer = { .peer = m->self };

	if (i->twin_told || m->events == NULL || m->events->on_twin == NULL)
		return;
	i->twin_told = true;
	for (size_t k = 0; k < i->addr_count; k++) {
		add_address(i, &i->addrs[k], false, &peer);
		add_address(i, &i->addrs[k], true, &peer);
	}
	m->events->on_twin(m->data, &peer);
}

static void update(struct instance *i)
{
	bool foreign = heard_valid(&i->txt) && !i->ours;
	bool whole = heard_valid(&i->ptr) && heard_valid(&i->srv) && heard_valid(&i->txt) &&
		     i->addr_count > 0;

	set_reachable(i, whole && i->ours && i->port != 0);
	if (whole && i->twin)
		tell_twin(i);
	if (whole || foreign) {
		i->try_ms = 0;
	} else if (i->try_ms == 0) {
		i->tries = 0;
		i->try_ms = mdns_soon(i->link->mdns, 20, 120);
	}
}

/* ---- Places ---- */

static void forget(struct instance *i)
{
	set_reachable(i, false);
	list_remove(&i->node);
	i->link->mdns->instance_count--;
	mem_free(i);
}

void instances_forget(struct mdns *m, const struct link *l)
{
	list_for_each_safe(node, &m->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (l == NULL || i->link == l) {
			if (l == NULL)
				m->events = NULL; /* nobody is left to be told */
			forget(i);
		}
	}
}

static struct instance *find(const struct link *l, const struct dns_name *name)
{
	list_for_each(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link == l && dns_name_eq(&i->name, name))
			return i;
	}
	return NULL;
}

static bool make_room(struct mdns *m)
{
	if (m->instance_count < MDNS_INSTANCES_MAX)
		return true;
	m->stats.instances_dropped++;
	list_for_each(node, &m->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (!i->reachable) {
			forget(i);
			return true;
		}
	}
	return false;
}

/* "<one label>.<our type>", and not our own. */
static bool is_instance_name(const struct mdns *m, const struct dns_name *n)
{
	size_t label_len = 1 + (size_t)n->bytes[0];

	return n->len == label_len + m->type.len &&
	       memcmp(n->bytes + label_len, m->type.bytes, m->type.len) == 0 &&
	       !dns_name_eq(n, &m->instance);
}

/* ---- Records ---- */

static void hear_pointer(struct link *l, const struct dns_entry *e)
{
	struct mdns *m = l->mdns;
	struct instance *i;

	if (!dns_name_eq(&e->name, &m->type) || !is_instance_name(m, &e->target))
		return;
	i = find(l, &e->target);
	if (i == NULL && e->ttl_s != 0 && make_room(m)) {
		i = mem_alloc(sizeof(*i));
		if (i == NULL)
			return;
		i->link = l;
		i->name = e->target;
		list_push_back(&m->instances, &i->node);
		m->instance_count++;
	}
	if (i == NULL)
		return;
	if (i->try_ms == UINT64_MAX && e->ttl_s != 0)
		i->try_ms = 0; /* it is alive: worth new tries */
	heard_now(l, &i->ptr, e->ttl_s);
}

static void hear_service(struct link *l, const struct dns_entry *e)
{
	struct instance *i = find(l, &e->name);

	if (i == NULL)
		return;
	heard_now(l, &i->srv, e->ttl_s);
	if (e->ttl_s == 0)
		return;
	if (!dns_name_eq(&i->host, &e->target))
		i->addr_count = 0;
	i->host = e->target;
	i->port = e->port;
}

/* The value of a key in a TXT record: the first such key counts (RFC 6763 §6.4). */
static bool txt_get(const struct dns_entry *e, const char *key, const char **ret, size_t *ret_len)
{
	size_t key_len = strlen(key);

	for (size_t at = 0; at < e->len; at += 1 + (size_t)e->data[at]) {
		const char *s = (const char *)e->data + at + 1;
		size_t len = MIN((size_t)e->data[at], e->len - at - 1);

		if (len > key_len && s[key_len] == '=' && strncasecmp(s, key, key_len) == 0) {
			*ret = s + key_len + 1;
			*ret_len = len - key_len - 1;
			return true;
		}
	}
	return false;
}

static uint16_t txt_port(const struct dns_entry *e, const char *key)
{
	const char *s;
	size_t len;
	uint32_t v = 0;

	if (!txt_get(e, key, &s, &len) || len == 0 || len > NUMBER_DIGITS_MAX)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return 0;
		v = v * 10 + (uint32_t)(s[i] - '0');
	}
	return v <= UINT16_MAX ? (uint16_t)v : 0;
}

/* Our version, our network, and a peer. */
static bool read_txt(const struct mdns *m, const struct dns_entry *e, struct public_key *ret)
{
	const char *s = "";
	size_t len = 0;

	if (e->len > TXT_READ_MAX || !txt_get(e, "v", &s, &len) || len != 1 || s[0] != '1')
		return false;
	len = 0;
	(void)txt_get(e, "net", &s, &len);
	if (len != strlen(m->network) || memcmp(s, m->network, len) != 0)
		return false;
	return txt_get(e, "id", &s, &len) && peer_id_parse(s, len, ret) == 0;
}

static void hear_text(struct link *l, const struct dns_entry *e)
{
	struct instance *i = find(l, &e->name);
	struct public_key peer = { 0 };
	bool ours;

	if (i == NULL)
		return;
	heard_now(l, &i->txt, e->ttl_s);
	if (e->ttl_s == 0)
		return;
	ours = read_txt(l->mdns, e, &peer);
	i->twin = ours && key_eq(&peer, &l->mdns->self);
	ours = ours && !i->twin;
	if (!ours)
		l->mdns->stats.instances_foreign++;
	if (!ours || !key_eq(&i->peer, &peer))
		set_reachable(i, false);
	i->ours = ours;
	i->peer = ours ? peer : (struct public_key){ 0 };
	i->dht_port = txt_port(e, "dht");
}

static bool private_v4(const uint8_t *ip)
{
	return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
	       (ip[0] == 192 && ip[1] == 168) || (ip[0] == 169 && ip[1] == 254);
}

static bool same_network(const struct mdns_address *a, const uint8_t *ip)
{
	unsigned whole = a->prefix_bits / 8, rest = a->prefix_bits % 8;

	return a->prefix_bits > 0 && memcmp(a->ip, ip, whole) == 0 &&
	       (rest == 0 || ((a->ip[whole] ^ ip[whole]) >> (8 - rest)) == 0);
}

static bool link_local_v6(const uint8_t *ip)
{
	return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

/* Of the local network, and dialable: a link-local IPv6 address is not, without its interface. */
static bool believable(const struct link *l, uint8_t family, const uint8_t *ip)
{
	static const uint8_t zero[16];

	if (family == 4 && (ip[0] == 0 || ip[0] == 127 || ip[0] >= 224))
		return false;
	if (family == 6 && (ip[0] == 0xff || memcmp(ip, zero, 10) == 0))
		return false;
	if (family == 6 && link_local_v6(ip))
		return l->config.zone != 0;
	if (family == 4 ? private_v4(ip) : (ip[0] & 0xfe) == 0xfc)
		return true;
	for (size_t k = 0; k < l->config.addr_count; k++) {
		if (l->config.addrs[k].family == family && same_network(&l->config.addrs[k], ip))
			return true;
	}
	return false;
}

static void put_address(struct instance *i, uint8_t family, const struct dns_entry *e)
{
	uint64_t now_ms = mdns_now(i->link->mdns);
	struct heard_address *a = NULL;

	for (size_t k = 0; k < i->addr_count; k++) {
		struct heard_address *b = &i->addrs[k];

		if (b->family != family)
			continue;
		if (memcmp(b->ip, e->data, e->len) == 0)
			a = b;
		else if (e->top_bit && now_ms - b->heard.since_ms > GOODBYE_MS)
			b->heard.until_ms = MIN(b->heard.until_ms, now_ms + GOODBYE_MS);
	}
	if (a == NULL && e->ttl_s != 0 && i->addr_count < MDNS_PEER_ADDRS_MAX) {
		a = &i->addrs[i->addr_count++];
		*a = (struct heard_address){ .family = family };
		i->more = true;
		memcpy(a->ip, e->data, e->len);
	}
	if (a != NULL)
		heard_now(i->link, &a->heard, e->ttl_s);
}

static void hear_address(struct link *l, const struct dns_entry *e)
{
	uint8_t family = e->type == DNS_A ? 4 : 6;

	if (!believable(l, family, e->data))
		return;
	list_for_each(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link == l && heard_valid(&i->srv) && dns_name_eq(&i->host, &e->name))
			put_address(i, family, e);
	}
}

/* ---- A response ---- */

static void hear(struct link *l, const struct dns_entry *e, unsigned pass)
{
	if (e->class != DNS_CLASS_IN || (e->section != DNS_ANSWER && e->section != DNS_ADDITIONAL))
		return;
	if (pass == 0 && e->type == DNS_PTR)
		hear_pointer(l, e);
	else if (pass == 1 && e->type == DNS_SRV)
		hear_service(l, e);
	else if (pass == 1 && e->type == DNS_TXT)
		hear_text(l, e);
	else if (pass == 2 && (e->type == DNS_A || e->type == DNS_AAAA))
		hear_address(l, e);
}

void instances_response(struct link *l, const uint8_t *data, size_t len)
{
	enum { PASSES = 3 }; /* the chain may stand in any order */
	struct dns_walk w;
	struct dns_entry e;

	for (unsigned pass = 0; pass < PASSES; pass++) {
		if (dns_walk_start(&w, data, len) < 0)
			return;
		while (dns_walk_next(&w, &e) > 0)
			hear(l, &e, pass);
	}
	list_for_each(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link == l)
			update(i);
	}
	browse_arm(l);
}

static void expire_records(struct instance *i, uint64_t now_ms)
{
	size_t kept = 0;

	for (size_t k = 0; k < i->addr_count; k++) {
		if (!over(&i->addrs[k].heard, now_ms))
			i->addrs[kept++] = i->addrs[k];
	}
	i->addr_count = kept;
	if (over(&i->srv, now_ms)) {
		i->srv = (struct heard){ 0 };
		i->addr_count = 0;
	}
	if (over(&i->txt, now_ms))
		i->txt = (struct heard){ 0 };
}

void instances_expire(struct link *l)
{
	uint64_t now_ms = mdns_now(l->mdns);

	list_for_each_safe(node, &l->mdns->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (i->link != l)
			continue;
		if (over(&i->ptr, now_ms)) {
			forget(i);
			continue;
		}
		expire_records(i, now_ms);
		update(i);
	}
}

/* ---- Peers ---- */

size_t mdns_peers(const struct mdns *m, struct mdns_peer *ret, size_t cap)
{
	size_t count = 0;

	list_for_each(node, &m->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		if (count == cap)
			break;
		if (i->reachable && find_peer(m, &i->peer, NULL) == i)
			peer_of(m, i, &ret[count++]);
	}
	return count;
}

unsigned instances_peers(const struct mdns *m)
{
	unsigned count = 0;

	list_for_each(node, &m->instances) {
		struct instance *i = list_entry(node, struct instance, node);

		count += i->reachable && find_peer(m, &i->peer, NULL) == i;
	}
	return count;
}
