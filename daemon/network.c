#include "daemon/network.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/mem.h"
#include "daemon/json.h"
#include "daemon/sources.h"

enum { SENTENCE_MAX = 1024, NETWORK_CLOCK_S = 60 /* beyond, clocks differ */ };

static bool count_conn(void *data, struct net_conn *conn)
{
	unsigned *count = data;
	struct net_conn_info info;

	net_conn_info(conn, &info);
	*count += !multiaddr_is_loopback(&info.remote);
	return true;
}

static bool is_wildcard(const struct multiaddr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, a->family == 4 ? 4 : 16) == 0;
}

/* Link-local ones are as good as others in the local network. */
static void gather_addresses(const struct multiaddr *listen, struct diagnosis_facts *f)
{
	uv_interface_address_t *all;
	int n;

	f->family = listen->family;
	f->wildcard = is_wildcard(listen);
	f->listens_here = f->has_ipv4 = true; /* when they are not known */
	if (uv_interface_addresses(&all, &n) != 0)
		return;
	f->listens_here = f->has_ipv4 = false;
	for (int i = 0; i < n; i++) {
		struct multiaddr a;

		if (multiaddr_from_sockaddr((const struct sockaddr *)&all[i].address, &a) < 0 ||
		    multiaddr_is_loopback(&a))
			continue;
		f->has_ipv4 = f->has_ipv4 || a.family == 4;
		f->has_ipv6 = f->has_ipv6 || a.family == 6;
		f->listens_here = f->listens_here ||
				  (a.family == listen->family &&
				   memcmp(a.ip, listen->ip, a.family == 4 ? 4 : 16) == 0);
	}
	uv_free_interface_addresses(all, n);
}

static void gather_sources(struct daemon *d, struct diagnosis_facts *f)
{
	const struct mdns *lan = sources_lan(d->sources);
	const struct dht *dht = sources_dht(d->sources);
	struct mdns_stats m;
	struct dht_stats s;

	f->lan = sources_lan_state(d->sources);
	f->dht = sources_dht_state(d->sources);
	f->dht_wanted = strcmp(options_text(d->options, OPT_DHT), "off") != 0;
	f->dht_private = strcmp(options_text(d->options, OPT_DHT), "private") == 0;
	if (lan != NULL) {
		mdns_stats(lan, &m);
		f->lan_peers = m.peers;
	}
	if (dht == NULL)
		return;
	dht_stats(dht, &s);
	f->dht_candidates = s.candidates;
	f->dht_up_ms = s.up_ms;
	f->dht_packets_in = s.packets_in;
	f->dht_packets_out = s.packets_out;
	f->dht_refused = s.unreachable;
	f->dht_send_failures = s.dropped_send;
}

static void gather(struct daemon *d, const struct reach_state *reach,
		   const struct portmap_state *map, struct diagnosis_facts *f)
{
	struct multiaddr listen = sources_listen(d->sources);

	*f = (struct diagnosis_facts){ .tcp_port = listen.port,
				       .loopback = multiaddr_is_loopback(&listen),
				       .outside = reach->outside,
				       .asked = reach->asked,
				       .translated = reach->translated,
				       .mapping = map->mapping,
				       .mapping_why = map->why };
	gather_addresses(&listen, f);
	net_each_conn(d->net, count_conn, &f->conns);
	gather_sources(d, f);
}

static json_t *mapping_figures(const struct portmap_state *s)
{
	json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "state", mapping_name(s->mapping), "asked",
			      (json_int_t)s->asked, "failed", (json_int_t)s->failed, "killed",
			      (json_int_t)s->killed);

	if (s->mapping == MAPPING_FAILED)
		json_object_set_new(o, "error", json_string(s->why));
	if (s->mapping != MAPPING_DONE)
		return o;
	json_object_set_new(o, "protocol", json_string(s->result.protocol));
	json_object_set_new(o, "external", json_multiaddr(&s->result.external));
	json_object_set_new(o, "udp_port", json_integer(s->result.udp_port));
	json_object_set_new(o, "lease_s", json_integer(s->result.lease_s));
	return o;
}

/* How the clocks of connected peers differ from ours. */
struct clocks {
	int64_t ahead_s[NET_CONNS_MAX]; /* of those that differ */
	unsigned known, differ;
};

static bool look_at_clock(void *data, struct net_conn *conn)
{
	struct clocks *c = data;
	struct net_conn_info info;

	net_conn_info(conn, &info);
	c->known += info.has_clock;
	if (info.has_clock && c->differ < NET_CONNS_MAX &&
	    (info.ahead_s > NETWORK_CLOCK_S || info.ahead_s < -NETWORK_CLOCK_S))
		c->ahead_s[c->differ++] = info.ahead_s;
	return true;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static json_t *clock_figures(struct daemon *d)
{
	struct clocks c = { .known = 0 };

	net_each_conn(d->net, look_at_clock, &c);
	qsort(c.ahead_s, c.differ, sizeof(c.ahead_s[0]), compare);
	return json_pack("{s:i, s:i, s:I}", "known", (int)c.known, "differ", (int)c.differ,
			 "ahead_s", (json_int_t)(c.differ > 0 ? c.ahead_s[c.differ / 2] : 0));
}

static json_t *twin_figures(struct daemon *d)
{
	struct multiaddr addr;
	uint64_t ago_ms;

	if (!net_twin(d->net, &addr, &ago_ms))
		return json_null();
	return json_pack("{s:o, s:I}", "address", json_multiaddr(&addr), "ago_s",
			 (json_int_t)(ago_ms / 1000));
}

static json_t *moves_figures(const struct sources *s)
{
	struct moves_stats m = { 0 };

	sources_moves(s, &m);
	return json_pack("{s:I, s:I, s:I, s:I}", "changes", (json_int_t)m.changes, "dials",
			 (json_int_t)m.dials, "replaced", (json_int_t)m.replaced, "dropped",
			 (json_int_t)m.dropped);
}

json_t *network_figures(struct daemon *d)
{
	CLEANUP(buf_fini) struct buf sentence = { 0 };
	struct portmap_state map = { 0 };
	struct reach_state reach = { 0 };
	struct diagnosis_facts facts;
	enum diagnosis diagnosis;
	json_t *o;

	if (d->sources == NULL)
		return json_object();
	sources_reach(d->sources, &reach, &map);
	gather(d, &reach, &map, &facts);
	diagnosis = diagnose(&facts);
	buf_init(&sentence, SENTENCE_MAX);
	diagnosis_write(&sentence, diagnosis, &facts);
	o = json_pack("{s:s, s:o, s:s, s:s}", "diagnosis", diagnosis_name(diagnosis), "sentence",
		      json_stringn((const char *)sentence.data, sentence.len), "reachable",
		      outside_name(reach.outside), "reachable_near", outside_name(reach.near));
	json_object_set_new(o, "asked", json_integer(reach.asked));
	json_object_set_new(o, "reached", json_integer(reach.reached));
	json_object_set_new(o, "dialbacks_asked", json_integer((json_int_t)reach.asks));
	json_object_set_new(o, "dialbacks_failed", json_integer((json_int_t)reach.failures));
	json_object_set_new(o, "seen", reach.has_seen ? json_multiaddr(&reach.seen) : json_null());
	json_object_set_new(o, "nat", mapping_figures(&map));
	json_object_set_new(o, "clocks", clock_figures(d));
	json_object_set_new(o, "twin", twin_figures(d));
	json_object_set_new(o, "moves", moves_figures(d->sources));
	return o;
}
