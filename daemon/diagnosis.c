/* From the inside out: can anybody be heard at all, does the DHT answer, do others reach us. The
 * first thing that is wrong explains those behind it. */
#include "daemon/diagnosis.h"

#include <inttypes.h>
#include <string.h>

const char *outside_name(enum outside o)
{
	static const char *const names[] = { "unknown", "yes", "no" };

	return names[o];
}

const char *mapping_name(enum mapping m)
{
	static const char *const names[] = { "off", "asking", "mapped", "failed" };

	return names[m];
}

static bool is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* The DHT has been told to run, and is of no use. */
static enum diagnosis diagnose_dht(const struct diagnosis_facts *f)
{
	if (strncmp(f->dht, "off", 3) == 0)
		return DIAGNOSIS_NO_SOCKET;
	if (f->dht_up_ms < DIAGNOSIS_PATIENCE_MS)
		return DIAGNOSIS_STARTING;
	if (f->dht_candidates == 0)
		return f->dht_private ? DIAGNOSIS_NO_BOOTSTRAP : DIAGNOSIS_NO_NAMES;
	if (f->dht_packets_out > 0 && f->dht_send_failures >= f->dht_packets_out)
		return DIAGNOSIS_NO_ROUTE;
	/* Whoever refuses is there, and the way to it is open. */
	if (f->dht_packets_in > 0 || f->dht_refused > 0)
		return DIAGNOSIS_NO_BOOTSTRAP;
	if (f->dht_candidates >= DIAGNOSIS_CANDIDATES_MIN || f->conns > 0 || is(f->dht, "no UDP"))
		return DIAGNOSIS_NO_UDP;
	return DIAGNOSIS_NO_BOOTSTRAP;
}

static enum diagnosis diagnose_outside(const struct diagnosis_facts *f)
{
	if (f->outside == OUTSIDE_YES)
		return DIAGNOSIS_FINE;
	if (f->outside == OUTSIDE_UNKNOWN)
		return DIAGNOSIS_FINE_SO_FAR;
	if (!f->translated)
		return DIAGNOSIS_FIREWALL;
	if (f->mapping == MAPPING_DONE)
		return DIAGNOSIS_NAT_TWICE;
	return f->mapping == MAPPING_FAILED ? DIAGNOSIS_NAT_REFUSED : DIAGNOSIS_NAT;
}

static bool can_be_dialed(const struct diagnosis_facts *f)
{
	if (!f->wildcard)
		return f->listens_here;
	return f->has_ipv4 || (f->family == 6 && f->has_ipv6);
}

enum diagnosis diagnose(const struct diagnosis_facts *f)
{
	bool lan = is(f->lan, "on");

	if (f->loopback && !f->dht_wanted)
		return DIAGNOSIS_LOOPBACK;
	if (!f->loopback && !can_be_dialed(f))
		return DIAGNOSIS_NO_ADDRESS;
	if (f->dht_wanted && !is(f->dht, "on"))
		return diagnose_dht(f);
	if (f->outside == OUTSIDE_NO)
		return diagnose_outside(f);
	/* Without the DHT nobody outside finds it, even if he could connect. */
	if (!f->dht_wanted && is(f->lan, "off"))
		return DIAGNOSIS_ALONE;
	if (f->dht_wanted && f->outside == OUTSIDE_YES)
		return diagnose_outside(f);
	if (!f->dht_wanted)
		return lan || is(f->lan, "starting") ? DIAGNOSIS_LAN_ONLY : DIAGNOSIS_NO_LAN;
	return DIAGNOSIS_FINE_SO_FAR;
}

const char *diagnosis_name(enum diagnosis d)
{
	static const char *const names[] = {
		[DIAGNOSIS_FINE] = "fine",
		[DIAGNOSIS_FINE_SO_FAR] = "fine so far",
		[DIAGNOSIS_LAN_ONLY] = "lan only",
		[DIAGNOSIS_STARTING] = "starting",
		[DIAGNOSIS_LOOPBACK] = "loopback",
		[DIAGNOSIS_ALONE] = "alone",
		[DIAGNOSIS_NO_ADDRESS] = "no address",
		[DIAGNOSIS_NO_LAN] = "no lan",
		[DIAGNOSIS_NO_SOCKET] = "no socket",
		[DIAGNOSIS_NO_NAMES] = "no names",
		[DIAGNOSIS_NO_ROUTE] = "no route",
		[DIAGNOSIS_NO_UDP] = "no udp",
		[DIAGNOSIS_NO_BOOTSTRAP] = "no bootstrap",
		[DIAGNOSIS_NAT] = "nat",
		[DIAGNOSIS_NAT_REFUSED] = "nat refused",
		[DIAGNOSIS_NAT_TWICE] = "nat twice",
		[DIAGNOSIS_FIREWALL] = "firewall",
	};

	return names[d];
}

/* ---- Sentences ---- */

static void write_dht(struct buf *out, enum diagnosis d, const struct diagnosis_facts *f)
{
	if (d == DIAGNOSIS_NO_SOCKET)
		buf_printf(out, "The DHT has no UDP socket (%s).", f->dht);
	else if (d == DIAGNOSIS_NO_NAMES)
		buf_write_str(out, "No name of a DHT router can be resolved: this machine is "
				   "offline, or has no DNS.");
	else if (d == DIAGNOSIS_NO_ROUTE)
		buf_write_str(out, "Nothing leaves this machine: there is no route to the DHT.");
	else if (d == DIAGNOSIS_NO_UDP)
		buf_printf(out,
			   "No UDP gets through: %" PRIu64 " packets went to the DHT and %s came "
			   "back; a firewall is likely.",
			   f->dht_packets_out, f->dht_packets_in > 0 ? "no answer" : "none");
	else if (f->dht_candidates == 0)
		buf_write_str(out, "The private DHT has nobody to begin with: name a node with "
				   "--dht-router.");
	else
		buf_printf(out,
			   "No bootstrap node of the DHT answers (%u known); others can be named "
			   "with --dht-router.",
			   f->dht_candidates);
}

static void write_outside(struct buf *out, enum diagnosis d, const struct diagnosis_facts *f)
{
	const char *peers = f->asked == 1 ? "peer" : "peers";

	if (d == DIAGNOSIS_FIREWALL)
		buf_printf(out,
			   "A firewall keeps peers away: %u %s outside could not connect to TCP "
			   "port %u.",
			   f->asked, peers, f->tcp_port);
	else if (d == DIAGNOSIS_NAT_REFUSED)
		buf_printf(out,
			   "NATed: the router opens no port (%s); forward TCP port %u to this "
			   "machine by hand.",
			   f->mapping_why, f->tcp_port);
	else if (d == DIAGNOSIS_NAT_TWICE)
		buf_printf(out,
			   "NATed: the router opened a port, but %u %s outside still could not "
			   "connect; it may be behind another NAT itself.",
			   f->asked, peers);
	else
		buf_printf(out,
			   "NATed: %u %s outside could not connect; --nat on asks the router to "
			   "open a port, or forward TCP port %u by hand.",
			   f->asked, peers, f->tcp_port);
}

static void write_alone(struct buf *out, const struct diagnosis_facts *f)
{
	buf_write_str(out, "LAN and DHT are off: only peers that are added are found, and only who "
			   "was told of this daemon finds it");
	if (f->outside == OUTSIDE_YES)
		buf_write_str(out, "; peers outside can connect");
	buf_write_u8(out, '.');
}

static void write_no_address(struct buf *out, const struct diagnosis_facts *f)
{
	if (!f->has_ipv4 && !f->has_ipv6)
		buf_write_str(out, "This machine has no network: it has no addresses but those of "
				   "loopback.");
	else if (f->wildcard)
		buf_printf(out,
			   "Nobody can connect: this daemon listens on IPv4 only, and this machine "
			   "has IPv6 addresses only; --listen [::]:%u is both.",
			   f->tcp_port);
	else
		buf_write_str(out, "Nobody can connect: this daemon listens on an address that "
				   "this machine does not have any more.");
}

static void write_lan(struct buf *out, const struct diagnosis_facts *f)
{
	if (f->lan_peers == 0)
		buf_write_str(out, "Nobody else is in the local network so far; the DHT is off.");
	else
		buf_printf(out, "Fine in the local network (%u %s); the DHT is off.", f->lan_peers,
			   f->lan_peers == 1 ? "peer" : "peers");
}

static void write_quiet(struct buf *out, enum diagnosis d, const struct diagnosis_facts *f)
{
	if (d == DIAGNOSIS_STARTING)
		buf_write_str(out, "Starting: the DHT looks for its first node.");
	else if (d == DIAGNOSIS_LOOPBACK)
		buf_write_str(out, "This machine only: it listens on a loopback address.");
	else if (d == DIAGNOSIS_ALONE)
		write_alone(out, f);
	else
		buf_printf(out, "Nobody can be found: the DHT is off, and the LAN: %s.", f->lan);
}

void diagnosis_write(struct buf *out, enum diagnosis d, const struct diagnosis_facts *f)
{
	switch (d) {
	case DIAGNOSIS_FINE:
		buf_write_str(out, "Fine: the DHT answers, and peers outside can connect.");
		break;
	case DIAGNOSIS_FINE_SO_FAR:
		buf_write_str(out, "Fine so far; no peer outside has yet been asked whether it can "
				   "connect.");
		break;
	case DIAGNOSIS_LAN_ONLY: write_lan(out, f); break;
	case DIAGNOSIS_NO_ADDRESS: write_no_address(out, f); break;
	case DIAGNOSIS_STARTING:
	case DIAGNOSIS_LOOPBACK:
	case DIAGNOSIS_ALONE:
	case DIAGNOSIS_NO_LAN: write_quiet(out, d, f); break;
	case DIAGNOSIS_NO_SOCKET:
	case DIAGNOSIS_NO_NAMES:
	case DIAGNOSIS_NO_ROUTE:
	case DIAGNOSIS_NO_UDP:
	case DIAGNOSIS_NO_BOOTSTRAP: write_dht(out, d, f); break;
	case DIAGNOSIS_NAT:
	case DIAGNOSIS_NAT_REFUSED:
	case DIAGNOSIS_NAT_TWICE:
	case DIAGNOSIS_FIREWALL: write_outside(out, d, f); break;
	}
}
