/* What is wrong with finding peers and being found, in one plain sentence. Pure: facts in, a
 * sentence out. */
#pragma once

#include "base/buf.h"

enum {
	DIAGNOSIS_PATIENCE_MS = 10000, /* before silence of the DHT means something */
	DIAGNOSIS_CANDIDATES_MIN = 3   /* so many at once are not down by accident */
};

/* Can peers of the internet connect? */
enum outside { OUTSIDE_UNKNOWN, OUTSIDE_YES, OUTSIDE_NO };
/** "unknown", "yes", "no". */
const char *outside_name(enum outside o);

enum mapping { MAPPING_OFF, MAPPING_ASKING, MAPPING_DONE, MAPPING_FAILED };
/** "off", "asking", "mapped", "failed". */
const char *mapping_name(enum mapping m);

struct diagnosis_facts {
	bool loopback;		 /* it listens for this machine only */
	uint8_t family;		 /* 4, or 6: over IPv4 too if it is the wildcard */
	bool wildcard;		 /* it listens on all addresses of these families */
	bool listens_here;	 /* or on one that this machine has */
	bool has_ipv4, has_ipv6; /* addresses beyond loopback that this machine has */
	uint16_t tcp_port;	 /* where it listens */
	unsigned conns;		 /* to peers beyond this machine */
	/* "on", "off", or what keeps them from being useful */
	const char *lan, *dht;
	unsigned lan_peers;
	bool dht_wanted, dht_private;
	unsigned dht_candidates; /* routers and nodes that could be asked */
	uint64_t dht_up_ms, dht_packets_in, dht_packets_out, dht_refused, dht_send_failures;
	enum outside outside;
	unsigned asked;	 /* peers that tried to connect back lately */
	bool translated; /* they see us at an address that is not ours */
	enum mapping mapping;
	const char *mapping_why; /* it failed */
};

enum diagnosis {
	DIAGNOSIS_FINE,
	DIAGNOSIS_FINE_SO_FAR, /* nobody outside was asked yet */
	DIAGNOSIS_LAN_ONLY,
	DIAGNOSIS_STARTING,
	DIAGNOSIS_LOOPBACK,
	DIAGNOSIS_ALONE,
	DIAGNOSIS_NO_ADDRESS, /* there is nothing that others could dial */
	DIAGNOSIS_NO_LAN,
	DIAGNOSIS_NO_SOCKET,
	DIAGNOSIS_NO_NAMES,
	DIAGNOSIS_NO_ROUTE,
	DIAGNOSIS_NO_UDP,
	DIAGNOSIS_NO_BOOTSTRAP,
	DIAGNOSIS_NAT,
	DIAGNOSIS_NAT_REFUSED, /* the router opens no port */
	DIAGNOSIS_NAT_TWICE,   /* it did, which did not help */
	DIAGNOSIS_FIREWALL
};
/** What matters most. */
enum diagnosis diagnose(const struct diagnosis_facts *f);
/** "fine", "nat", …: one word for programs. */
const char *diagnosis_name(enum diagnosis d);
/** The sentence. */
void diagnosis_write(struct buf *out, enum diagnosis d, const struct diagnosis_facts *f);
