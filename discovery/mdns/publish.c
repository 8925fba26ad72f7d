/* Our records and how they come into the world (RFC 6762 §8):
 *
 *   off ──► probing ──250 ms──► announcing ──1 s──► published
 *           three times "is anybody called that?",   twice, unasked
 *           250 ms apart
 *
 * A link without an address to publish stays off. A packet that could not leave is sent again
 * before the next step: a new IPv6 address may not be used for its first second or two.
 *
 * Probes ask for answers to the group. The standard prefers answers to the asker alone, but of
 * several sockets on the port only one gets those, and it may be another program's. */
#include "discovery/mdns/core.h"

#include <string.h>

enum { PROBES = 3, PROBE_GAP_MS = 250, ANNOUNCEMENTS = 2, ANNOUNCE_GAP_MS = 1000, NSEC_MAX = 8 };

uint32_t publish_ttl_s(enum rec rec)
{
	bool other = rec == REC_META || rec == REC_PTR || rec == REC_TXT ||
		     rec == REC_NSEC_INSTANCE;

	return other ? TTL_OTHER_S : TTL_HOST_S;
}

static unsigned addr_bits(const struct link *l)
{
	unsigned set = 0;

	for (size_t i = 0; i < l->config.addr_count; i++) {
		const struct mdns_address *a = &l->config.addrs[i];

		if (a->publish)
			set |= a->family == 4 ? REC_BIT(REC_A) : REC_BIT(REC_AAAA);
	}
	return set;
}

static bool anything(const struct link *l)
{
	return l->mdns->port != 0 && !l->config.ask_only && addr_bits(l) != 0;
}

unsigned publish_available(const struct link *l)
{
	if (l->phase != PHASE_ANNOUNCING && l->phase != PHASE_PUBLISHED)
		return 0;
	return REC_SHARED | REC_INSTANCE | addr_bits(l) | REC_BIT(REC_NSEC_INSTANCE) |
	       REC_BIT(REC_NSEC_HOST);
}

unsigned publish_additional(const struct link *l, unsigned set)
{
	unsigned more = 0;

	if (set & REC_BIT(REC_PTR))
		more |= REC_INSTANCE | REC_ADDRS;
	if (set & (REC_BIT(REC_SRV) | REC_ADDRS | REC_BIT(REC_NSEC_HOST)))
		more |= REC_ADDRS;
	/* Who knows that there is no other address need not wait for one. */
	if (((set | more) & REC_ADDRS) != 0 && addr_bits(l) != REC_ADDRS)
		more |= REC_BIT(REC_NSEC_HOST);
	return more & publish_available(l) & ~set;
}

/* ---- Writing ---- */

/* RFC 4034 §4.1.2: window 0, then a bit per type. */
static size_t write_types(uint8_t ret[NSEC_MAX], unsigned a, unsigned b)
{
	unsigned last = MAX(a, b);
	const unsigned types[] = { a, b };

	memset(ret, 0, NSEC_MAX);
	ret[1] = (uint8_t)(last / 8 + 1);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i] != 0)
			ret[2 + types[i] / 8] |= (uint8_t)(0x80 >> types[i] % 8);
	}
	return 2 + (size_t)ret[1];
}

static bool write_addrs(struct link *l, struct dns_writer *w, enum dns_section section,
			struct dns_record *r, uint8_t family)
{
	bool ok = true;

	for (size_t i = 0; i < l->config.addr_count; i++) {
		const struct mdns_address *a = &l->config.addrs[i];

		if (!a->publish || a->family != family)
			continue;
		r->head = a->ip;
		r->head_len = family == 4 ? 4 : 16;
		ok = dns_write_record(w, section, r) && ok;
	}
	return ok;
}

static bool write_rec(struct link *l, struct dns_writer *w, enum dns_section section, enum rec rec,
		      struct dns_record *r)
{
	struct mdns *m = l->mdns;
	unsigned addrs = addr_bits(l);
	uint8_t srv[6] = { 0, 0, 0, 0, (uint8_t)(m->port >> 8), (uint8_t)m->port }, types[NSEC_MAX];

	switch (rec) {
	case REC_META: r->name = &m->meta, r->type = DNS_PTR, r->target = &m->type; break;
	case REC_PTR: r->name = &m->type, r->type = DNS_PTR, r->target = &m->instance; break;
	case REC_SRV:
		r->name = &m->instance, r->type = DNS_SRV, r->target = &m->host;
		r->head = srv, r->head_len = sizeof(srv);
		break;
	case REC_TXT:
		r->name = &m->instance, r->type = DNS_TXT;
		r->head = m->txt, r->head_len = m->txt_len;
		break;
	case REC_A: r->name = &m->host, r->type = DNS_A; return write_addrs(l, w, section, r, 4);
	case REC_AAAA:
		r->name = &m->host, r->type = DNS_AAAA;
		return write_addrs(l, w, section, r, 6);
	case REC_NSEC_INSTANCE:
		r->name = r->target = &m->instance, r->type = DNS_NSEC;
		r->tail = types, r->tail_len = write_types(types, DNS_TXT, DNS_SRV);
		break;
	case REC_NSEC_HOST:
		r->name = r->target = &m->host, r->type = DNS_NSEC;
		r->tail = types;
		r->tail_len = write_types(types, addrs & REC_BIT(REC_A) ? DNS_A : 0,
					  addrs & REC_BIT(REC_AAAA) ? DNS_AAAA : 0);
		break;
	case REC_COUNT: return true;
	}
	return dns_write_record(w, section, r);
}

bool publish_write(struct link *l, struct dns_writer *w, enum dns_section section, unsigned set,
		   bool legacy, bool goodbye)
{
	bool ok = true;

	for (unsigned i = 0; i < REC_COUNT; i++) {
		struct dns_record r = { .ttl_s = publish_ttl_s((enum rec)i) };

		if ((set & REC_BIT(i)) == 0)
			continue;
		r.flush = (REC_BIT(i) & REC_SHARED) == 0 && !legacy && section != DNS_AUTHORITY;
		if (legacy)
			r.ttl_s = MIN(r.ttl_s, (uint32_t)TTL_LEGACY_S);
		if (goodbye)
			r.ttl_s = 0;
		ok = write_rec(l, w, section, (enum rec)i, &r) && ok;
	}
	return ok;
}

/* ---- Recognizing ---- */

static bool is_address(const struct mdns *m, const struct dns_entry *e)
{
	uint8_t family = e->type == DNS_A ? 4 : 6;

	for (size_t i = 0; i < m->link_count; i++) {
		const struct mdns_link_config *c = &m->links[i]->config;

		for (size_t k = 0; k < c->addr_count; k++) {
			if (c->addrs[k].family == family &&
			    memcmp(c->addrs[k].ip, e->data, e->len) == 0)
				return true;
		}
	}
	return false;
}

enum rec publish_own(const struct mdns *m, const struct dns_entry *e)
{
	if (e->class != DNS_CLASS_IN || m->port == 0)
		return REC_COUNT;
	switch (e->type) {
	case DNS_PTR:
		if (dns_name_eq(&e->name, &m->meta) && dns_name_eq(&e->target, &m->type))
			return REC_META;
		if (dns_name_eq(&e->name, &m->type) && dns_name_eq(&e->target, &m->instance))
			return REC_PTR;
		return REC_COUNT;
	case DNS_SRV:
		return dns_name_eq(&e->name, &m->instance) && e->priority == 0 && e->weight == 0 &&
				       e->port == m->port && dns_name_eq(&e->target, &m->host) ?
			       REC_SRV :
			       REC_COUNT;
	case DNS_TXT:
		return dns_name_eq(&e->name, &m->instance) && e->len == m->txt_len &&
				       memcmp(e->data, m->txt, m->txt_len) == 0 ?
			       REC_TXT :
			       REC_COUNT;
	case DNS_A:
	case DNS_AAAA:
		if (!dns_name_eq(&e->name, &m->host) || !is_address(m, e))
			return REC_COUNT;
		return e->type == DNS_A ? REC_A : REC_AAAA;
	default: return REC_COUNT;
	}
}

bool publish_conflicts(const struct mdns *m, const struct dns_entry *e)
{
	bool instance = e->type == DNS_SRV || e->type == DNS_TXT;
	bool host = e->type == DNS_A || e->type == DNS_AAAA;

	if (m->port == 0 || e->class != DNS_CLASS_IN || e->ttl_s == 0)
		return false;
	return ((instance && dns_name_eq(&e->name, &m->instance)) ||
		(host && dns_name_eq(&e->name, &m->host))) &&
	       publish_own(m, e) == REC_COUNT;
}

/* ---- Phases ---- */

static int send_probe(struct link *l)
{
	struct mdns *m = l->mdns;
	struct dns_writer w;

	dns_write_start(&w, &m->out, 0, 0, false);
	dns_write_question(&w, &m->instance, DNS_ANY);
	dns_write_question(&w, &m->host, DNS_ANY);
	publish_write(l, &w, DNS_AUTHORITY, REC_INSTANCE | addr_bits(l), false, false);
	return link_send(l, &w, NULL, 0);
}

static int send_all(struct link *l, bool goodbye)
{
	unsigned set = (REC_SHARED | REC_INSTANCE | addr_bits(l)) &
		       ~(goodbye ? REC_BIT(REC_META) : 0); /* others of the type may be there */
	struct dns_writer w;

	dns_write_start(&w, &l->mdns->out, 0, DNS_RESPONSE | DNS_AUTHORITATIVE, false);
	publish_write(l, &w, DNS_ANSWER, set, false, goodbye);
	if (!goodbye && addr_bits(l) != REC_ADDRS)
		publish_write(l, &w, DNS_ADDITIONAL, REC_BIT(REC_NSEC_HOST), false, false);
	answer_sent(l, set);
	return link_send(l, &w, NULL, 0);
}

static void on_phase_timer(struct runner_timer *timer)
{
	struct link *l = container_of(timer, struct link, phase_timer);
	struct mdns *m = l->mdns;
	uint64_t gap_ms = l->phase == PHASE_PROBING ? PROBE_GAP_MS : ANNOUNCE_GAP_MS;
	bool probing = l->phase == PHASE_PROBING && l->step < PROBES;

	if (l->phase == PHASE_PROBING && !probing) {
		l->phase = PHASE_ANNOUNCING;
		l->step = 0;
		gap_ms = ANNOUNCE_GAP_MS;
	}
	if ((probing ? send_probe(l) : send_all(l, false)) < 0)
		gap_ms = RETRY_MS;
	else
		l->step++;
	if (l->phase == PHASE_ANNOUNCING && l->step >= ANNOUNCEMENTS)
		l->phase = PHASE_PUBLISHED;
	else
		runner_timer_start(m->runner, timer, mdns_now(m) + gap_ms);
}

void publish_start(struct link *l, uint64_t due_ms)
{
	runner_timer_stop(l->mdns->runner, &l->phase_timer);
	l->step = 0;
	l->phase = anything(l) ? PHASE_PROBING : PHASE_OFF;
	if (l->phase == PHASE_PROBING)
		runner_timer_start(l->mdns->runner, &l->phase_timer, due_ms);
}

void publish_again(struct link *l)
{
	if (!anything(l) || l->phase == PHASE_OFF) {
		publish_start(l, mdns_soon(l->mdns, 0, 250));
	} else if (l->phase != PHASE_PROBING) {
		l->phase = PHASE_ANNOUNCING;
		l->step = 0;
		runner_timer_start(l->mdns->runner, &l->phase_timer, mdns_soon(l->mdns, 0, 250));
	}
}

void publish_goodbye(struct link *l)
{
	if (l->phase == PHASE_ANNOUNCING || l->phase == PHASE_PUBLISHED)
		(void)send_all(l, true);
	l->phase = PHASE_OFF;
}

void publish_init(struct link *l)
{
	l->phase_timer.run = on_phase_timer;
}
