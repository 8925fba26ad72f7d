/* Links, packets in, our name.
 *
 * A packet is read through once before anything is believed, so that a broken one changes nothing.
 * Then it goes to the answering half if it is a query, to the listening half if it is a response;
 * responses also tell whether another host uses our name. Then a new name is taken, everywhere, and
 * probed: whoever owns the old one keeps it. So many conflicts that they must be meant wait longer
 * and longer turns (RFC 6762 §8.1).
 *
 * What can go wrong: our own packets come back from the group, also on another link that leads to
 * the same network. Hence a record counts as ours whichever link's address it has. */
#include "discovery/mdns/core.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

bool bucket_take(struct bucket *b, uint64_t now_ms, unsigned rate)
{
	uint64_t most = (uint64_t)rate * 2000;
	uint64_t more = MIN(now_ms - b->at_ms, UINT64_C(10000)) * rate;

	b->tokens_milli = MIN(b->tokens_milli + more, most);
	b->at_ms = now_ms;
	if (b->tokens_milli < 1000)
		return false;
	b->tokens_milli -= 1000;
	return true;
}

uint64_t mdns_soon(struct mdns *m, unsigned from_ms, unsigned to_ms)
{
	return mdns_now(m) + from_ms + runner_random_below(m->runner, to_ms - from_ms + 1u);
}

int link_send(struct link *l, struct dns_writer *w, const struct mdns_endpoint *to,
	      uint16_t more_flags)
{
	struct mdns *m = l->mdns;
	bool response;
	int rc;

	if (dns_written(w) == 0)
		return 0;
	if (!dns_write_end(w, more_flags))
		return UV_ENOMEM;
	response = (m->out.data[2] & 0x80) != 0;
	rc = m->transport->send(m->transport, l->config.id, to, m->out.data, m->out.len);
	if (rc < 0) {
		m->stats.send_failures++;
		return rc;
	}
	m->stats.packets_out++;
	if (response)
		m->stats.responses_out++;
	else
		m->stats.queries_out++;
	if (to != NULL)
		m->stats.unicast_out++;
	return 0;
}

/* ---- Our name ---- */

static void take_name(struct mdns *m)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

	for (size_t i = 0; i < LABEL_CHARS; i++)
		m->label[i] = alphabet[runner_random_below(m->runner, 32)];
	m->instance = dns_name_below(m->label, &m->type);
	m->host = dns_name_below(m->label, &m->local);
}

static void on_conflict(struct mdns *m)
{
	uint64_t now_ms = mdns_now(m), wait_ms = 0;

	m->stats.conflicts++;
	if (now_ms - m->conflict_since_ms > CONFLICT_WINDOW_MS) {
		m->conflict_since_ms = now_ms;
		m->conflicts = 0;
	}
	if (++m->conflicts > CONFLICTS_MAX) {
		m->conflict_since_ms = now_ms; /* it is not over */
		wait_ms = CONFLICT_WAIT_MS;
	}
	take_name(m);
	for (size_t i = 0; i < m->link_count; i++) {
		answer_forget(m->links[i]);
		publish_start(m->links[i], mdns_soon(m, 0, 250) + wait_ms);
	}
}

/* ---- Packets in ---- */

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	return memcmp(a, b, whole) == 0 &&
	       (rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0);
}

/* From a neighbour's address? A link-local one always is. */
static bool on_link(const struct link *l, const struct mdns_endpoint *from)
{
	if (from->family == 6 && from->ip[0] == 0xfe && (from->ip[1] & 0xc0) == 0x80)
		return true;
	for (size_t i = 0; i < l->config.addr_count; i++) {
		const struct mdns_address *a = &l->config.addrs[i];

		if (a->family == from->family && same_bits(a->ip, from->ip, a->prefix_bits))
			return true;
	}
	return false;
}

static bool has_conflict(const struct mdns *m, const struct dns_walk *start, unsigned sections)
{
	struct dns_walk w = *start;
	struct dns_entry e;

	while (dns_walk_next(&w, &e) > 0) {
		if ((sections & 1u << e.section) != 0 && publish_conflicts(m, &e))
			return true;
	}
	return false;
}

static bool probing(const struct mdns *m)
{
	for (size_t i = 0; i < m->link_count; i++) {
		if (m->links[i]->phase == PHASE_PROBING)
			return true;
	}
	return false;
}

static void receive_query(struct link *l, const struct mdns_endpoint *from, bool multicast,
			  const struct dns_walk *w)
{
	l->mdns->stats.queries_in++;
	/* Two that want the same name at once: we are the one that yields. */
	if (probing(l->mdns) && has_conflict(l->mdns, w, 1u << DNS_AUTHORITY))
		on_conflict(l->mdns);
	if (!l->config.ask_only)
		answer_query(l, from, multicast, w);
}

static void receive_response(struct link *l, const struct dns_walk *start)
{
	struct dns_walk w = *start;
	struct dns_entry e;

	l->mdns->stats.responses_in++;
	if (has_conflict(l->mdns, start, 1u << DNS_ANSWER | 1u << DNS_ADDITIONAL))
		on_conflict(l->mdns);
	while (dns_walk_next(&w, &e) > 0)
		answer_hears(l, &e);
	instances_response(l, start->data, start->len);
}

static struct link *find_link(const struct mdns *m, uint32_t id)
{
	for (size_t i = 0; i < m->link_count; i++) {
		if (m->links[i]->config.id == id)
			return m->links[i];
	}
	return NULL;
}

void mdns_receive(struct mdns *m, uint32_t link_id, const struct mdns_endpoint *from,
		  bool multicast, const uint8_t *data, size_t len)
{
	struct link *l = find_link(m, link_id);
	struct dns_walk w;

	if (l == NULL || m->stopped)
		return;
	m->stats.packets_in++;
	if (!bucket_take(&l->packets, mdns_now(m), MDNS_PACKETS_RATE)) {
		m->stats.dropped_rate++;
	} else if (len > DNS_RECEIVE_MAX) {
		m->stats.dropped_too_long++;
	} else if (dns_walk_start(&w, data, len) < 0 || dns_check(data, len) < 0 ||
		   (w.flags & (DNS_OPCODE | DNS_RCODE)) != 0) {
		m->stats.dropped_malformed++;
	} else if ((!multicast && !on_link(l, from)) || from->port == 0 ||
		   ((w.flags & DNS_RESPONSE) != 0 && from->port != MDNS_PORT)) {
		m->stats.dropped_source++;
	} else if ((w.flags & DNS_RESPONSE) != 0) {
		receive_response(l, &w);
	} else {
		receive_query(l, from, multicast, &w);
	}
}

/* ---- Links ---- */

static void link_free(struct link *l)
{
	struct runner *r = l->mdns->runner;

	runner_timer_stop(r, &l->phase_timer);
	runner_timer_stop(r, &l->answer_timer);
	runner_timer_stop(r, &l->browse_timer);
	mem_free(l);
}

static int add_link(struct mdns *m, const struct mdns_link_config *c)
{
	struct link *l;

	if (m->link_count == MDNS_LINKS_MAX)
		return ERR_LIMIT;
	l = mem_alloc(sizeof(*l));
	if (l == NULL)
		return UV_ENOMEM;
	l->mdns = m;
	l->config = *c;
	l->keep = true;
	l->packets.tokens_milli = (uint64_t)MDNS_PACKETS_RATE * 2000;
	l->unicast.tokens_milli = (uint64_t)UNICAST_RATE * 2000;
	l->packets.at_ms = l->unicast.at_ms = mdns_now(m);
	publish_init(l);
	answer_init(l);
	browse_init(l);
	m->links[m->link_count++] = l;
	publish_start(l, mdns_soon(m, 0, 250));
	browse_start(l);
	return 0;
}

static bool same_addrs(const struct mdns_link_config *a, const struct mdns_link_config *b)
{
	for (size_t i = 0; i < a->addr_count && a->addr_count == b->addr_count; i++) {
		const struct mdns_address *x = &a->addrs[i], *y = &b->addrs[i];

		if (x->family != y->family || memcmp(x->ip, y->ip, sizeof(x->ip)) != 0 ||
		    x->prefix_bits != y->prefix_bits || x->publish != y->publish)
			return false;
	}
	return a->addr_count == b->addr_count;
}

static void change_link(struct link *l, const struct mdns_link_config *c)
{
	bool changed = !same_addrs(&l->config, c);
	bool mode = l->config.ask_only != c->ask_only;

	l->keep = true;
	l->config = *c;
	if (mode) {
		publish_start(l, mdns_soon(l->mdns, 0, 250));
		browse_start(l);
	} else if (changed) {
		publish_again(l);
		browse_start(l); /* maybe another network */
	}
}

static void drop_links(struct mdns *m)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->link_count; i++) {
		struct link *l = m->links[i];

		if (l->keep) {
			m->links[kept++] = l;
		} else {
			instances_forget(m, l);
			link_free(l);
		}
	}
	m->link_count = kept;
}

int mdns_set_links(struct mdns *m, const struct mdns_link_config *links, size_t count)
{
	int rc = 0;

	if (m->stopped)
		return 0;
	for (size_t i = 0; i < m->link_count; i++)
		m->links[i]->keep = false;
	for (size_t i = 0; i < count; i++) {
		struct link *l = find_link(m, links[i].id);

		if (l != NULL)
			change_link(l, &links[i]);
	}
	drop_links(m);
	for (size_t i = 0; i < count; i++) {
		int err = find_link(m, links[i].id) == NULL ? add_link(m, &links[i]) : 0;

		if (err < 0)
			rc = err;
	}
	return rc;
}

/* ---- Life ---- */

static void write_txt(struct mdns *m, const char *text)
{
	size_t len = strlen(text);

	REQUIRE(m->txt_len + 1 + len <= sizeof(m->txt));
	m->txt[m->txt_len] = (uint8_t)len;
	memcpy(m->txt + m->txt_len + 1, text, len);
	m->txt_len += 1 + len;
}

static void write_txts(struct mdns *m, uint16_t dht_port)
{
	char id[PEER_ID_TEXT_SIZE], text[PEER_ID_TEXT_SIZE + MDNS_NETWORK_MAX];

	peer_id_format(&m->self, id);
	write_txt(m, "v=1");
	snprintf(text, sizeof(text), "id=%s", id);
	write_txt(m, text);
	if (dht_port != 0) {
		snprintf(text, sizeof(text), "dht=%u", dht_port);
		write_txt(m, text);
	}
	if (m->network[0] != '\0') {
		snprintf(text, sizeof(text), "net=%s", m->network);
		write_txt(m, text);
	}
}

static bool network_ok(const char *network)
{
	size_t len = strlen(network);

	for (size_t i = 0; i < len; i++) {
		if (network[i] <= ' ' || network[i] > '~')
			return false;
	}
	return len > 0 && len <= MDNS_NETWORK_MAX;
}

struct mdns *mdns_new(const struct mdns_config *c)
{
	struct mdns *m;

	if (c->network != NULL && !network_ok(c->network))
		return NULL;
	m = mem_alloc(sizeof(*m));
	if (m == NULL)
		return NULL;
	m->runner = c->runner;
	m->transport = c->transport;
	m->events = c->events;
	m->data = c->data;
	m->self = *c->self;
	m->port = c->port;
	if (c->network != NULL)
		memcpy(m->network, c->network, strlen(c->network));
	list_init(&m->instances);
	buf_init(&m->out, DNS_SEND_MAX);
	if (buf_reserve(&m->out, DNS_SEND_MAX) == NULL)
		return mdns_free(m);
	write_txts(m, c->dht_port);
	m->type = dns_name_of("_peerscope._tcp.local");
	m->meta = dns_name_of("_services._dns-sd._udp.local");
	m->local = dns_name_of("local");
	take_name(m);
	return m;
}

struct mdns *mdns_free(struct mdns *m)
{
	if (m == NULL)
		return NULL;
	instances_forget(m, NULL);
	for (size_t i = 0; i < m->link_count; i++)
		link_free(m->links[i]);
	buf_fini(&m->out);
	return mem_free(m);
}

void mdns_stop(struct mdns *m)
{
	for (size_t i = 0; i < m->link_count; i++) {
		struct link *l = m->links[i];

		publish_goodbye(l);
		runner_timer_stop(m->runner, &l->phase_timer);
		runner_timer_stop(m->runner, &l->answer_timer);
		runner_timer_stop(m->runner, &l->browse_timer);
	}
	m->stopped = true;
}

const char *mdns_label(const struct mdns *m)
{
	return m->label;
}

void mdns_stats(const struct mdns *m, struct mdns_stats *ret)
{
	*ret = m->stats;
	ret->links = (unsigned)m->link_count;
	ret->published = 0;
	for (size_t i = 0; i < m->link_count; i++)
		ret->published += m->links[i]->phase == PHASE_PUBLISHED;
	ret->instances = m->instance_count;
	ret->peers = instances_peers(m);
}
