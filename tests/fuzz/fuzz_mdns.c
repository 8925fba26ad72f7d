/* The mDNS core against anything the network may say, in any order and at any time. The input is a
 * list of packets: a byte of how (see below), a byte of time, two bytes of length, the bytes.
 * What the core sends must be well-formed and small. */
#include <string.h>

#include "base/manual.h"
#include "discovery/mdns/core.h"
#include "discovery/mdns/mdns.h"

enum {
	FROM_ELSEWHERE = 1, /* not from the port of multicast DNS */
	UNICAST = 2,
	OFF_LINK = 4,
	LONG = 8,      /* the time is in minutes, else in tens of ms */
	OUR_NAME = 16, /* the label "me" stands for ours */
	PACKETS_MAX = 64
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check_sent(struct mdns_transport *t, uint32_t link_id, const struct mdns_endpoint *to,
		      const uint8_t *data, size_t len)
{
	REQUIRE(len <= DNS_SEND_MAX);
	REQUIRE(dns_check(data, len) == 0);
	return 0;
}

static void check_peer(void *data, const struct mdns_peer *peer)
{
	REQUIRE(peer->addr_count > 0 && peer->addr_count <= MDNS_PEER_ADDRS_MAX);
	for (size_t i = 0; i < peer->addr_count; i++)
		REQUIRE(peer->addrs[i].port != 0 && !multiaddr_is_loopback(&peer->addrs[i]));
}

static void deliver(struct mdns *m, struct manual_loop *loop, uint8_t how, uint8_t when,
		    const uint8_t *bytes, size_t len)
{
	struct mdns_endpoint from = { 4, { 192, 0, 2, 9 }, MDNS_PORT };

	if (how & FROM_ELSEWHERE)
		from.port = 40000;
	if (how & OFF_LINK)
		from.ip[0] = 8;
	if (how & OUR_NAME) {
		m->instance = dns_name_below("me", &m->type);
		m->host = dns_name_below("me", &m->local);
	}
	mdns_receive(m, 1, &from, (how & UNICAST) == 0, bytes, len);
	manual_loop_run(loop,
			runner_now_ms(&loop->runner) + when * (how & LONG ? 60000ull : 10ull));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mdns_events events = { .on_peer = check_peer };
	struct mdns_link_config link = { .id = 1, .family = 4, .addr_count = 1 };
	struct mdns_transport transport = { check_sent };
	struct public_key self = { { 1 } };
	struct manual_loop loop;
	struct mdns_config config = { .runner = &loop.runner,
				      .transport = &transport,
				      .self = &self,
				      .port = 4001,
				      .events = &events };
	struct buf_reader r = buf_reader(data, size);
	struct mdns *m;

	manual_loop_init(&loop, 1);
	m = mdns_new(&config);
	REQUIRE(m != NULL);
	link.addrs[0] = (struct mdns_address){ 4, { 192, 0, 2, 1 }, 24, true };
	REQUIRE(mdns_set_links(m, &link, 1) == 0);
	for (unsigned i = 0; i < PACKETS_MAX; i++) {
		const uint8_t *bytes;
		uint8_t how, when;
		uint16_t len;

		if (buf_read_u8(&r, &how) < 0 || buf_read_u8(&r, &when) < 0 ||
		    buf_read_u16be(&r, &len) < 0 ||
		    buf_read_bytes(&r, MIN((size_t)len, buf_left(&r)), &bytes) < 0)
			break;
		deliver(m, &loop, how, when, bytes, MIN((size_t)len, (size_t)(r.p - bytes)));
	}
	REQUIRE(m->instance_count <= MDNS_INSTANCES_MAX);
	mdns_stop(m);
	mdns_free(m);
	manual_loop_fini(&loop);
	return 0;
}
