/* A simulated LAN of mDNS cores on a virtual clock: every packet to the group reaches every host
 * that is up after 1 to 3 ms, the sender's own included, unless it is lost. All of it is repeatable
 * by seed. */
#pragma once

#include "tests/unit/test_util.h"

#include "discovery/mdns/core.h"
#include "discovery/mdns/mdns.h"

enum { LAN_HOSTS_MAX = 8, LAN_LINKS_MAX = 2, LAN_LOG_MAX = 4096, LAN_LOG_BYTES = 1500 };

/* What was sent. */
struct lan_packet {
	uint64_t at_ms;
	unsigned host;
	uint32_t link;
	bool to_group;
	struct mdns_endpoint to;
	size_t len;
	uint8_t data[LAN_LOG_BYTES];
};

struct lan;
struct lan_host {
	struct lan *lan;
	unsigned index;
	struct mdns *mdns;
	struct mdns_transport transport;
	struct mdns_link_config links[LAN_LINKS_MAX]; /* ids 1, 2, … */
	size_t link_count;
	struct public_key key;
	unsigned found, gone, moved; /* events */
	struct mdns_peer last;
	bool deaf, mute; /* its packets are lost */
	int send_error;
};
struct lan {
	struct manual_loop loop;
	struct lan_host hosts[LAN_HOSTS_MAX];
	size_t host_count;
	unsigned loss_percent;
	struct list flying;
	struct lan_packet *log; /* LAN_LOG_MAX; the first ones */
	size_t sent;
};

void lan_init(struct lan *l, uint64_t seed);
void lan_fini(struct lan *l);
/** 192.0.2.<10 + index>/24 and port 4000 + index, or with `port` 0 a host that only looks. NULL
 * when out of memory. */
struct lan_host *lan_add(struct lan *l, bool publish, const char *network);
/** Bring its links up, or tell of their change. */
int lan_up(struct lan_host *h);
/** Goodbye, and off. */
void lan_leave(struct lan_host *h);
/** Off without a word. */
void lan_crash(struct lan_host *h);
void lan_run(struct lan *l, uint64_t ms);
struct mdns_endpoint lan_endpoint(unsigned last_byte, uint16_t port);
/** A packet from elsewhere reaches one host. */
void lan_inject(struct lan_host *h, const struct mdns_endpoint *from, const void *data, size_t len);
bool lan_knows(const struct lan_host *h, const struct lan_host *other);
struct mdns_stats lan_stats(const struct lan_host *h);

/* Messages by hand. */
struct lan_message {
	struct buf out;
	struct dns_writer w;
};
void message_init(struct lan_message *m, uint16_t flags);
void message_inject(struct lan_message *m, struct lan_host *h, const struct mdns_endpoint *from);
/** An instance as another program would publish it; label of our type. */
void message_peer(struct lan_message *m, const char *label, const struct public_key *peer,
		  const uint8_t ip[4], uint16_t port, uint32_t ttl_s);

/** How often an entry of that section and type was sent since `since`, by `host`. */
unsigned lan_count(const struct lan *l, size_t since, unsigned host, enum dns_section section,
		   uint16_t type);
/** The last packet, or NULL. */
const struct lan_packet *lan_last(const struct lan *l);
