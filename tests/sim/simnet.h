/* A simulated network: many hosts on one runner with a virtual clock, each a struct net_transport.
 * The same seed and the same calls give the same run, byte for byte.
 *
 * A link is two directions. What is written departs at the path's bandwidth, at most SIMNET_WINDOW
 * bytes being under way or unread, and arrives in order after latency and jitter; a lost piece
 * arrives late, as it does after a retransmission. Bytes written before a close still arrive,
 * unless the path is cut. */
#pragma once

#include "net/net.h"

enum {
	SIMNET_WINDOW = 256 << 10, /* bytes under way in one direction: a socket's buffers */
	SIMNET_CONNECT_TIMEOUT_MS = 60000
};

/* What lies between two hosts. Zero-initialised: a perfect, instant network. */
struct simnet_path {
	uint64_t latency_ms; /* one way */
	uint64_t jitter_ms;  /* up to so much more, per piece */
	uint64_t bandwidth;  /* bytes per second and direction; 0 = unlimited */
	unsigned loss_permille;
	size_t read_max; /* pieces arrive cut into reads of 1 to so many bytes; 0 = as written */
	bool cut;	 /* black hole: silence, in both directions; undone, what waited goes on */
	bool refuse;	 /* connections are refused; existing ones go on */
};

struct simnet;

/** Borrows the runner. NULL when out of memory. */
struct simnet *simnet_new(struct runner *r, uint64_t seed);
/** Frees hosts and links without another event; nets that used them must be gone. NULL is fine. */
struct simnet *simnet_free(struct simnet *s);

/** The host with this address ("10.0.0.1", "fd00::1"), made at the first call. NULL when out of
 * memory. Owned by the simnet. */
struct net_transport *simnet_host(struct simnet *s, const char *ip);

/** For every pair that has no path of its own. */
void simnet_set_default(struct simnet *s, const struct simnet_path *path);
/** For this pair, in both directions; existing links too, from now on. 0 or UV_ENOMEM. */
int simnet_set_path(struct simnet *s, const char *ip_a, const char *ip_b,
		    const struct simnet_path *path);
/** Every link of this pair ends on both sides with UV_ECONNRESET, now. */
void simnet_reset(struct simnet *s, const char *ip_a, const char *ip_b);

struct simnet_stats {
	uint64_t links, bytes; /* made; delivered */
	unsigned open;	       /* ends not closed */
};
void simnet_stats(const struct simnet *s, struct simnet_stats *ret);
