#include "tests/unit/mdns_lan.h"

struct flight {
	struct runner_timer timer;
	struct list node;
	struct lan_host *to;
	uint32_t link;
	struct mdns_endpoint from;
	bool multicast;
	size_t len;
	uint8_t data[];
};

static void land(struct runner_timer *timer)
{
	struct flight *f = container_of(timer, struct flight, timer);

	list_remove(&f->node);
	if (f->to->mdns != NULL && !f->to->deaf)
		mdns_receive(f->to->mdns, f->link, &f->from, f->multicast, f->data, f->len);
	mem_free(f);
}

static void fly(struct lan *l, const struct mdns_endpoint *from, struct lan_host *to, uint32_t link,
		bool multicast, const uint8_t *data, size_t len)
{
	struct flight *f;

	if (runner_random_below(&l->loop.runner, 100) < l->loss_percent)
		return;
	f = mem_alloc(sizeof(*f) + len);
	if (f == NULL)
		return;
	f->timer.run = land;
	f->from = *from;
	f->to = to;
	f->link = link;
	f->multicast = multicast;
	f->len = len;
	memcpy(f->data, data, len);
	list_push_back(&l->flying, &f->node);
	runner_timer_start(&l->loop.runner, &f->timer,
			   runner_now_ms(&l->loop.runner) + 1 +
				   runner_random_below(&l->loop.runner, 3));
}

struct mdns_endpoint lan_endpoint(unsigned last_byte, uint16_t port)
{
	return (struct mdns_endpoint){ .family = 4,
				       .ip = { 192, 0, 2, (uint8_t)last_byte },
				       .port = port };
}

static struct mdns_endpoint source_of(const struct lan_host *h, uint32_t link)
{
	struct mdns_endpoint e = { .family = 4, .port = MDNS_PORT };

	memcpy(e.ip, h->links[link - 1].addrs[0].ip, sizeof(e.ip));
	if (h->links[link - 1].ask_only)
		e.port = 40000;
	return e;
}

static void log_packet(struct lan_host *h, uint32_t link, const struct mdns_endpoint *to,
		       const uint8_t *data, size_t len)
{
	struct lan *l = h->lan;
	struct lan_packet *p = l->sent < LAN_LOG_MAX ? &l->log[l->sent] : NULL;

	l->sent++;
	if (p == NULL)
		return;
	assert_true(len <= sizeof(p->data));
	*p = (struct lan_packet){ .at_ms = runner_now_ms(&l->loop.runner),
				  .host = h->index,
				  .link = link,
				  .to_group = to == NULL,
				  .len = len };
	if (to != NULL)
		p->to = *to;
	memcpy(p->data, data, len);
}

static int host_send(struct mdns_transport *t, uint32_t link, const struct mdns_endpoint *to,
		     const uint8_t *data, size_t len)
{
	struct lan_host *h = container_of(t, struct lan_host, transport);
	struct mdns_endpoint from = source_of(h, link);
	struct lan *l = h->lan;

	if (h->send_error != 0)
		return h->send_error;
	CHECK_STATUS(0, dns_check(data, len));
	log_packet(h, link, to, data, len);
	if (h->mute)
		return 0;
	for (size_t i = 0; i < l->host_count; i++) {
		struct lan_host *other = &l->hosts[i];

		for (size_t k = 0; k < other->link_count; k++) {
			struct mdns_endpoint at = source_of(other, (uint32_t)k + 1);

			if (to == NULL ? !other->links[k].ask_only :
					 memcmp(at.ip, to->ip, sizeof(at.ip)) == 0)
				fly(l, &from, other, (uint32_t)k + 1, to == NULL, data, len);
		}
	}
	return 0;
}

static void on_peer(void *data, const struct mdns_peer *peer)
{
	struct lan_host *h = data;

	h->found++;
	h->last = *peer;
}

static void on_gone(void *data, const struct public_key *peer)
{
	struct lan_host *h = data;

	h->gone++;
}

static void on_addresses(void *data, const struct mdns_peer *peer)
{
	struct lan_host *h = data;

	h->moved++;
	h->last = *peer;
}

static const struct mdns_events events = { on_peer, on_gone, on_addresses };

void lan_init(struct lan *l, uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	manual_loop_init(&l->loop, seed);
	list_init(&l->flying);
	l->log = test_malloc(LAN_LOG_MAX * sizeof(*l->log));
}

void lan_fini(struct lan *l)
{
	struct list *node;

	for (size_t i = 0; i < l->host_count; i++)
		lan_crash(&l->hosts[i]);
	while ((node = list_pop_front(&l->flying)) != NULL) {
		struct flight *f = list_entry(node, struct flight, node);

		runner_timer_stop(&l->loop.runner, &f->timer);
		mem_free(f);
	}
	manual_loop_fini(&l->loop);
	test_free(l->log);
}

struct lan_host *lan_add(struct lan *l, bool publish, const char *network)
{
	struct lan_host *h = &l->hosts[l->host_count];
	unsigned index = (unsigned)l->host_count++;
	struct mdns_config config = { .runner = &l->loop.runner,
				      .transport = &h->transport,
				      .self = &h->key,
				      .port = publish ? (uint16_t)(4000 + index) : 0,
				      .dht_port = (uint16_t)(5000 + index),
				      .network = network,
				      .events = &events,
				      .data = h };

	assert_true(index < LAN_HOSTS_MAX);
	h->lan = l;
	h->index = index;
	h->transport.send = host_send;
	memset(h->key.bytes, (int)index + 1, sizeof(h->key.bytes));
	h->link_count = 1;
	h->links[0] = (struct mdns_link_config){ .id = 1, .family = 4, .addr_count = 1 };
	h->links[0].addrs[0] = (struct mdns_address){ .family = 4,
						      .ip = { 192, 0, 2, (uint8_t)(10 + index) },
						      .prefix_bits = 24,
						      .publish = true };
	h->mdns = mdns_new(&config);
	return h->mdns != NULL ? h : NULL;
}

int lan_up(struct lan_host *h)
{
	return mdns_set_links(h->mdns, h->links, h->link_count);
}

void lan_crash(struct lan_host *h)
{
	h->mdns = mdns_free(h->mdns);
}

void lan_leave(struct lan_host *h)
{
	mdns_stop(h->mdns);
	lan_crash(h);
}

void lan_run(struct lan *l, uint64_t ms)
{
	manual_loop_run(&l->loop, runner_now_ms(&l->loop.runner) + ms);
}

void lan_inject(struct lan_host *h, const struct mdns_endpoint *from, const void *data, size_t len)
{
	mdns_receive(h->mdns, 1, from, true, data, len);
}

bool lan_knows(const struct lan_host *h, const struct lan_host *other)
{
	struct mdns_peer peers[LAN_HOSTS_MAX];
	size_t n = mdns_peers(h->mdns, peers, ARRAY_SIZE(peers));

	for (size_t i = 0; i < n; i++) {
		if (key_eq(&peers[i].peer, &other->key))
			return true;
	}
	return false;
}

struct mdns_stats lan_stats(const struct lan_host *h)
{
	struct mdns_stats s;

	mdns_stats(h->mdns, &s);
	return s;
}

/* ---- Messages ---- */

void message_init(struct lan_message *m, uint16_t flags)
{
	buf_init(&m->out, DNS_SEND_MAX);
	dns_write_start(&m->w, &m->out, 7, flags, false);
}

void message_inject(struct lan_message *m, struct lan_host *h, const struct mdns_endpoint *from)
{
	assert_true(dns_write_end(&m->w, 0));
	lan_inject(h, from, m->out.data, m->out.len);
	buf_fini(&m->out);
}

void message_peer(struct lan_message *m, const char *label, const struct public_key *peer,
		  const uint8_t ip[4], uint16_t port, uint32_t ttl_s)
{
	struct dns_name type = dns_name_of("_peerscope._tcp.local"), local = dns_name_of("local");
	struct dns_name instance = dns_name_below(label, &type),
			host = dns_name_below(label, &local);
	uint8_t srv[6] = { 0, 0, 0, 0, (uint8_t)(port >> 8), (uint8_t)port };
	char id[PEER_ID_TEXT_SIZE], txt[128];
	struct dns_record r = {
		.name = &type, .type = DNS_PTR, .ttl_s = ttl_s, .target = &instance
	};

	peer_id_format(peer, id);
	snprintf(txt, sizeof(txt), "%cv=1%cid=%s", 3, (char)(3 + strlen(id)), id);
	assert_true(dns_write_record(&m->w, DNS_ANSWER, &r));
	r = (struct dns_record){
		.name = &instance, .type = DNS_SRV, .flush = true, .ttl_s = ttl_s
	};
	r.head = srv, r.head_len = sizeof(srv), r.target = &host;
	assert_true(dns_write_record(&m->w, DNS_ADDITIONAL, &r));
	r = (struct dns_record){
		.name = &instance, .type = DNS_TXT, .flush = true, .ttl_s = ttl_s
	};
	r.head = (const uint8_t *)txt, r.head_len = strlen(txt);
	assert_true(dns_write_record(&m->w, DNS_ADDITIONAL, &r));
	r = (struct dns_record){ .name = &host, .type = DNS_A, .flush = true, .ttl_s = ttl_s };
	r.head = ip, r.head_len = 4;
	assert_true(dns_write_record(&m->w, DNS_ADDITIONAL, &r));
}

/* ---- Looking back ---- */

unsigned lan_count(const struct lan *l, size_t since, unsigned host, enum dns_section section,
		   uint16_t type)
{
	unsigned n = 0;

	for (size_t i = since; i < MIN(l->sent, (size_t)LAN_LOG_MAX); i++) {
		const struct lan_packet *p = &l->log[i];
		struct dns_walk w;
		struct dns_entry e;

		if (p->host != host)
			continue;
		CHECK_STATUS(0, dns_walk_start(&w, p->data, p->len));
		while (dns_walk_next(&w, &e) > 0)
			n += e.section == section && e.type == type;
	}
	return n;
}

const struct lan_packet *lan_last(const struct lan *l)
{
	return l->sent > 0 && l->sent <= LAN_LOG_MAX ? &l->log[l->sent - 1] : NULL;
}
