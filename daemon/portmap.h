/* A port of the router that leads to ours, by NAT-PMP or UPnP, kept open while the daemon runs.
 *
 * The work is done by a small program beside this one (portmap_main.c), so that a gateway that
 * lies, floods or falls silent costs a process and never the daemon. What it prints is checked here
 * once more. */
#pragma once

#include "base/multiformats.h"
#include "daemon/diagnosis.h"

struct loop;

#define PORTMAP_PROGRAM "peerscope-portmap"

enum {
	PORTMAP_KILL_MS = 20000, /* the program has gone astray */
	PORTMAP_UNMAP_MS = 4000, /* how long the end of the daemon waits for it */
	PORTMAP_LINE_MAX = 256,
	PORTMAP_WHY_MAX = 96,
	PORTMAP_LEASE_MIN_S = 120, /* shorter and longer promises count as these */
	PORTMAP_LEASE_MAX_S = 3600,
	PORTMAP_RETRY_MS = 300000 /* nothing came of it */
};

struct portmap_result {
	char protocol[8]; /* "NAT-PMP", "UPnP" */
	struct multiaddr external;
	uint16_t udp_port; /* 0 = none */
	uint32_t lease_s;  /* within the limits above */
};
/** One line of the program, without its end. 0; ERR_MALFORMED; ERR_REFUSED: it failed, and
 * ret_why says why. Pure. */
int portmap_parse(const char *line, size_t len, struct portmap_result *ret,
		  char ret_why[PORTMAP_WHY_MAX]);

struct portmap_state {
	enum mapping mapping;
	struct portmap_result result; /* while it is mapped */
	char why[PORTMAP_WHY_MAX];    /* it failed */
	uint64_t asked, failed, killed;
};

struct portmap_config {
	struct loop *loop;
	uint16_t tcp_port, udp_port; /* of ours; UDP 0 = none */
	/** Mapped, mapped elsewhere, or no more. */
	void (*on_change)(void *data);
	void *data;
};
struct portmap;
/** Asks soon, renews at half of the lease, and tries again after failures. NULL when out of memory.
 */
struct portmap *portmap_new(const struct portmap_config *config);
/** Borrowed; stands until the next turn of the loop. */
const struct portmap_state *portmap_state(const struct portmap *p);
/** Gives the ports back; `closed` comes from the loop, within PORTMAP_UNMAP_MS. Frees it. */
void portmap_close(struct portmap *p, void (*closed)(void *data), void *data);
