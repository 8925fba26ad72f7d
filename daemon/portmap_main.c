/* peerscope-portmap: asks the router for two ports, says what came of it, and ends.
 *
 *	peerscope-portmap map TCP UDP              "map PROTOCOL IP TCP UDP SECONDS"
 *	peerscope-portmap unmap PROTOCOL TCP UDP   "unmapped"
 *	anything that goes wrong                   "error TEXT"
 *
 * A program of its own, because the libraries block for as long as a gateway likes and read what
 * strangers on the network say: here that can cost LIFE_S seconds and MEMORY_MAX bytes, and no
 * thread of the daemon. Only the default gateway is believed, and only URLs on it are fetched.
 * UDP 0: no such port. */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#ifdef HAVE_NATPMP
#include <natpmp.h>
#endif
#ifdef HAVE_MINIUPNPC
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#include <miniupnpc/upnperrors.h>
#endif

enum {
	LIFE_S = 15,
	MEMORY_MAX = 256 << 20,
	LEASE_S = 3600,
	NATPMP_WAIT_MS = 3000, /* for one answer */
	SSDP_WAIT_MS = 2000,
	LINE_MAX = 512,
	OUTPUT_MAX = 4096
};

struct ports {
	unsigned short tcp, udp;
};
struct mapping {
	const char *protocol;
	char ip[INET_ADDRSTRLEN];
	struct ports external;
	unsigned lease_s;
};

static bool parse_port(const char *text, unsigned short *ret)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end != '\0' || n < 0 || n > 65535)
		return false;
	*ret = (unsigned short)n;
	return true;
}

/* The IPv4 default route, as the kernel lists it; 0 = none. */
static in_addr_t default_gateway(void)
{
	char line[LINE_MAX], name[32];
	unsigned long destination, gateway, mask;
	unsigned flags;
	in_addr_t found = 0;
	FILE *f = fopen("/proc/net/route", "re");

	if (f == NULL)
		return 0;
	while (found == 0 && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "%31s %lx %lx %x %*d %*u %*d %lx", name, &destination, &gateway,
			   &flags, &mask) == 5 &&
		    destination == 0 && mask == 0 && (flags & 3) == 3)
			found = (in_addr_t)gateway;
	}
	fclose(f);
	return found;
}

/* ---- NAT-PMP (RFC 6886) ---- */

#ifdef HAVE_NATPMP
static long now_ms(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return tv.tv_sec * 1000 + tv.tv_usec / 1000;
}

static int natpmp_answer(natpmp_t *n, unsigned type, natpmpresp_t *ret)
{
	long end = now_ms() + NATPMP_WAIT_MS;
	int rc;

	do {
		struct pollfd p = { .fd = n->s, .events = POLLIN };
		struct timeval wait = { 0 };

		if (getnatpmprequesttimeout(n, &wait) < 0)
			return -1;
		(void)poll(&p, 1, (int)(wait.tv_sec * 1000 + wait.tv_usec / 1000 + 1));
		rc = readnatpmpresponseorretry(n, ret);
	} while (rc == NATPMP_TRYAGAIN && now_ms() < end);
	return rc == 0 && ret->type == type ? 0 : -1;
}

static int natpmp_port(natpmp_t *n, int protocol, unsigned short port, unsigned short external,
		       unsigned lease_s, natpmpresp_t *ret)
{
	unsigned type = protocol == NATPMP_PROTOCOL_TCP ? NATPMP_RESPTYPE_TCPPORTMAPPING :
							  NATPMP_RESPTYPE_UDPPORTMAPPING;

	if (sendnewportmappingrequest(n, protocol, port, external, lease_s) < 0 ||
	    natpmp_answer(n, type, ret) < 0 || ret->pnu.newportmapping.privateport != port)
		return -1;
	return 0;
}

static int natpmp_map_ports(natpmp_t *n, struct ports own, struct mapping *ret)
{
	natpmpresp_t r;

	if (sendpublicaddressrequest(n) < 0 ||
	    natpmp_answer(n, NATPMP_RESPTYPE_PUBLICADDRESS, &r) < 0)
		return -1;
	inet_ntop(AF_INET, &r.pnu.publicaddress.addr, ret->ip, sizeof(ret->ip));
	if (natpmp_port(n, NATPMP_PROTOCOL_TCP, own.tcp, own.tcp, LEASE_S, &r) < 0)
		return -1;
	ret->protocol = "NAT-PMP";
	ret->external.tcp = r.pnu.newportmapping.mappedpublicport;
	ret->lease_s = r.pnu.newportmapping.lifetime;
	/* The TCP port alone is of use, too. */
	if (own.udp != 0 && natpmp_port(n, NATPMP_PROTOCOL_UDP, own.udp, own.udp, LEASE_S, &r) == 0)
		ret->external.udp = r.pnu.newportmapping.mappedpublicport;
	return 0;
}

static int natpmp_map(in_addr_t gateway, struct ports own, struct mapping *ret)
{
	natpmp_t n;
	int rc;

	if (initnatpmp(&n, 1, gateway) < 0)
		return -1;
	rc = natpmp_map_ports(&n, own, ret);
	closenatpmp(&n);
	return rc;
}

static void natpmp_unmap(in_addr_t gateway, struct ports own)
{
	natpmpresp_t r;
	natpmp_t n;

	if (initnatpmp(&n, 1, gateway) < 0)
		return;
	(void)natpmp_port(&n, NATPMP_PROTOCOL_TCP, own.tcp, 0, 0, &r);
	if (own.udp != 0)
		(void)natpmp_port(&n, NATPMP_PROTOCOL_UDP, own.udp, 0, 0, &r);
	closenatpmp(&n);
}
#else
static int natpmp_map(in_addr_t gateway, struct ports own, struct mapping *ret)
{
	(void)gateway;
	(void)own;
	(void)ret;
	return -1;
}

static void natpmp_unmap(in_addr_t gateway, struct ports own)
{
	(void)gateway;
	(void)own;
}
#endif

/* ---- UPnP IGD ---- */

#ifdef HAVE_MINIUPNPC
static bool url_is_on(const char *url, in_addr_t host)
{
	char ip[INET_ADDRSTRLEN] = "";
	struct in_addr addr;

	return url != NULL && sscanf(url, "http://%15[0-9.]", ip) == 1 &&
	       strchr(":/", url[strlen("http://") + strlen(ip)]) != NULL &&
	       inet_pton(AF_INET, ip, &addr) == 1 && addr.s_addr == host;
}

struct igd {
	struct UPNPUrls urls;
	struct IGDdatas data;
	char lan[INET6_ADDRSTRLEN];
};

static bool find_igd(in_addr_t gateway, struct igd *ret)
{
	struct UPNPDev *list = upnpDiscover(SSDP_WAIT_MS, NULL, NULL, 0, 0, 2, NULL);
	bool found = false;

	for (const struct UPNPDev *d = list; d != NULL && !found; d = d->pNext) {
		memset(ret, 0, sizeof(*ret));
		if (!url_is_on(d->descURL, gateway) ||
		    UPNP_GetIGDFromUrl(d->descURL, &ret->urls, &ret->data, ret->lan,
				       sizeof(ret->lan)) == 0)
			continue;
		found = url_is_on(ret->urls.controlURL, gateway) && ret->lan[0] != '\0';
		if (!found)
			FreeUPNPUrls(&ret->urls);
	}
	freeUPNPDevlist(list);
	return found;
}

/* Leases first; some routers know none. */
static bool upnp_port(const struct igd *g, unsigned short port, const char *protocol,
		      unsigned *lease_s)
{
	char number[8], lease[16];
	int rc;

	snprintf(number, sizeof(number), "%u", port);
	snprintf(lease, sizeof(lease), "%u", *lease_s);
	rc = UPNP_AddPortMapping(g->urls.controlURL, g->data.first.servicetype, number, number,
				 g->lan, "peerscope", protocol, NULL, lease);
	if (rc == 725 && *lease_s != 0) {
		*lease_s = 0;
		return upnp_port(g, port, protocol, lease_s);
	}
	return rc == UPNPCOMMAND_SUCCESS;
}

static int upnp_map(in_addr_t gateway, struct ports own, struct mapping *ret)
{
	unsigned lease_s = LEASE_S;
	char ip[64] = "";
	struct igd g;
	int rc = -1;

	if (!find_igd(gateway, &g))
		return -1;
	if (UPNP_GetExternalIPAddress(g.urls.controlURL, g.data.first.servicetype, ip) ==
		    UPNPCOMMAND_SUCCESS &&
	    strlen(ip) < sizeof(ret->ip) && upnp_port(&g, own.tcp, "TCP", &lease_s)) {
		ret->protocol = "UPnP";
		memcpy(ret->ip, ip, strlen(ip) + 1);
		ret->external.tcp = own.tcp;
		ret->lease_s = lease_s;
		if (own.udp != 0 && upnp_port(&g, own.udp, "UDP", &lease_s))
			ret->external.udp = own.udp;
		rc = 0;
	}
	FreeUPNPUrls(&g.urls);
	return rc;
}

static void upnp_unmap(in_addr_t gateway, struct ports own)
{
	char number[8];
	struct igd g;

	if (!find_igd(gateway, &g))
		return;
	snprintf(number, sizeof(number), "%u", own.tcp);
	(void)UPNP_DeletePortMapping(g.urls.controlURL, g.data.first.servicetype, number, "TCP",
				     NULL);
	snprintf(number, sizeof(number), "%u", own.udp);
	if (own.udp != 0)
		(void)UPNP_DeletePortMapping(g.urls.controlURL, g.data.first.servicetype, number,
					     "UDP", NULL);
	FreeUPNPUrls(&g.urls);
}
#else
static int upnp_map(in_addr_t gateway, struct ports own, struct mapping *ret)
{
	(void)gateway;
	(void)own;
	(void)ret;
	return -1;
}

static void upnp_unmap(in_addr_t gateway, struct ports own)
{
	(void)gateway;
	(void)own;
}
#endif

/* ---- All of it ---- */

static int fail(const char *why)
{
	printf("error %s\n", why);
	return 1;
}

static void limit(__rlimit_resource_t what, rlim_t max)
{
	struct rlimit l = { max, max };

	(void)setrlimit(what, &l);
}

static void confine(void)
{
#ifndef __SANITIZE_ADDRESS__ /* which reserves terabytes */
	limit(RLIMIT_AS, MEMORY_MAX);
#endif
	limit(RLIMIT_CPU, LIFE_S);
	limit(RLIMIT_FSIZE, OUTPUT_MAX);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, 64);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)alarm(LIFE_S);
	signal(SIGPIPE, SIG_IGN);
}

static int map_ports(in_addr_t gateway, struct ports own)
{
	struct mapping m = { 0 };

#if !defined(HAVE_NATPMP) && !defined(HAVE_MINIUPNPC)
	return fail("built without NAT-PMP and UPnP");
#endif
	if (natpmp_map(gateway, own, &m) < 0 && upnp_map(gateway, own, &m) < 0)
		return fail("it answers neither NAT-PMP nor UPnP, or refuses");
	printf("map %s %s %u %u %u\n", m.protocol, m.ip, m.external.tcp, m.external.udp, m.lease_s);
	return 0;
}

static const char usage[] = "usage: peerscope-portmap map|unmap [PROTOCOL] TCP UDP";

int main(int argc, char **argv)
{
	struct ports own = { 0 };
	bool map = argc == 4 && strcmp(argv[1], "map") == 0;
	bool unmap = argc == 5 && strcmp(argv[1], "unmap") == 0;
	in_addr_t gateway;

	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
		return puts(usage) < 0 || fflush(stdout) != 0;
	if (argc == 2 && (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0))
		return puts("peerscope-portmap " PEERSCOPE_VERSION) < 0 || fflush(stdout) != 0;
	confine();
	if ((!map && !unmap) || !parse_port(argv[argc - 2], &own.tcp) || own.tcp == 0 ||
	    !parse_port(argv[argc - 1], &own.udp))
		return fail(usage);
	gateway = default_gateway();
	if (gateway == 0)
		return fail("there is no default gateway");
	if (map)
		return map_ports(gateway, own);
	if (strcmp(argv[2], "UPnP") == 0)
		upnp_unmap(gateway, own);
	else
		natpmp_unmap(gateway, own);
	puts("unmapped");
	return 0;
}
