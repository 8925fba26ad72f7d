/* Addresses as text: multiaddr (/ip4/1.2.3.4/tcp/80/p2p/12D3KooW...) and host:port.
 *
 * Only what the daemon dials is accepted: an IP address, a TCP port, optionally a peer id. Known
 * protocols it does not speak are told apart from nonsense (ERR_UNSUPPORTED), so that an address
 * learnt from other software is skipped, not an error. Decimal numbers with leading zeros are
 * malformed; IPv6 is written by inet_ntop, so zeros are compressed (RFC 5952). A link-local address
 * is of use only with its interface, /ip6zone/eth0 before it (RFC 4007): by name, which outlives a
 * restart, and by number when the interface is gone. */
#include "base/multiformats.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

enum { COMPONENT_MAX = 96 }; /* bytes between slashes */

/* Protocols of the multiaddr table that we know by name and do not dial. */
static const char *const unsupported_protocols[] = {
	"udp",	    "quic",   "quic-v1",   "webtransport", "webrtc",  "webrtc-direct", "certhash",
	"dns",	    "dns4",   "dns6",	   "ws",	   "dnsaddr", "p2p-circuit",   "wss",
	"http",	    "https",  "tls",	   "sni",	   "noise",   "sctp",	       "udt",
	"utp",	    "unix",   "onion",	   "onion3",	   "dccp",    "garlic64",      "ipcidr",
	"garlic32", "memory", "http-path",
};

static int unknown_protocol(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(unsupported_protocols); i++) {
		if (strlen(unsupported_protocols[i]) == len &&
		    memcmp(unsupported_protocols[i], name, len) == 0)
			return ERR_UNSUPPORTED;
	}
	return ERR_MALFORMED;
}

/* The next piece of "/a/b/c" into `ret`, NUL-terminated, and its length; 0 at the end. */
static int component_next(struct buf_reader *r, char ret[COMPONENT_MAX + 1])
{
	const uint8_t *from, *to;
	size_t len;

	if (r->p == r->end)
		return 0;
	if (*r->p != '/')
		return ERR_MALFORMED;
	from = r->p + 1;
	for (to = from; to < r->end && *to != '/';)
		to++;
	len = (size_t)(to - from);
	if (len == 0 || memchr(from, '\0', len) != NULL)
		return ERR_MALFORMED;
	if (len > COMPONENT_MAX)
		return ERR_LIMIT;
	memcpy(ret, from, len);
	ret[len] = '\0';
	r->p = to;
	return (int)len;
}

static int port_parse(const char *s, size_t len, uint16_t *ret)
{
	unsigned port = 0;

	if (len == 0 || len > 5 || (len > 1 && s[0] == '0'))
		return ERR_MALFORMED;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return ERR_MALFORMED;
		port = port * 10 + (unsigned)(s[i] - '0');
	}
	if (port > UINT16_MAX)
		return ERR_MALFORMED;
	*ret = (uint16_t)port;
	return 0;
}

/* "/<name>/<value>", value into `value`. */
static int pair_next(struct buf_reader *r, char name[COMPONENT_MAX + 1],
		     char value[COMPONENT_MAX + 1])
{
	int len = component_next(r, name);

	if (len <= 0)
		return len == 0 ? ERR_MALFORMED : len;
	if (unknown_protocol(name, (size_t)len) == ERR_UNSUPPORTED)
		return ERR_UNSUPPORTED;
	len = component_next(r, value);
	return len == 0 ? ERR_MALFORMED : len;
}

/* 0 = no such interface. */
static uint32_t zone_parse(const char *s)
{
	size_t digits = strspn(s, "0123456789");
	char *end;
	unsigned long n;

	if (digits == 0 || s[digits] != '\0')
		return strlen(s) < IF_NAMESIZE ? if_nametoindex(s) : 0;
	if (digits > 10 || s[0] == '0')
		return 0;
	n = strtoul(s, &end, 10);
	return n <= INT32_MAX ? (uint32_t)n : 0;
}

bool multiaddr_is_link_local(const struct multiaddr *a)
{
	return a->family == 6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static int read_ip(struct buf_reader *r, struct multiaddr *ret)
{
	char name[COMPONENT_MAX + 1], value[COMPONENT_MAX + 1];
	int rc = pair_next(r, name, value);

	if (rc < 0)
		return rc;
	if (strcmp(name, "ip6zone") == 0 && ret->zone == 0) {
		ret->zone = zone_parse(value);
		if (ret->zone == 0)
			return ERR_UNSUPPORTED;
		rc = read_ip(r, ret);
		return rc == 0 && !multiaddr_is_link_local(ret) ? ERR_MALFORMED : rc;
	}
	if (strcmp(name, "ip4") == 0)
		ret->family = 4;
	else if (strcmp(name, "ip6") == 0)
		ret->family = 6;
	else
		return strcmp(name, "p2p") == 0 ? ERR_UNSUPPORTED : ERR_MALFORMED;
	return inet_pton(ret->family == 4 ? AF_INET : AF_INET6, value, ret->ip) == 1 ?
		       0 :
		       ERR_MALFORMED;
}

static int read_port(struct buf_reader *r, struct multiaddr *ret)
{
	char name[COMPONENT_MAX + 1], value[COMPONENT_MAX + 1];
	int rc = pair_next(r, name, value);

	if (rc < 0)
		return rc;
	return strcmp(name, "tcp") == 0 ? port_parse(value, (size_t)rc, &ret->port) : ERR_MALFORMED;
}

static int read_peer(struct buf_reader *r, struct multiaddr *ret)
{
	char name[COMPONENT_MAX + 1], value[COMPONENT_MAX + 1];
	int rc = pair_next(r, name, value);

	if (rc < 0)
		return rc;
	if (strcmp(name, "p2p") != 0 && strcmp(name, "ipfs") != 0)
		return ERR_MALFORMED;
	ret->has_peer = true;
	return peer_id_parse(value, (size_t)rc, &ret->peer);
}

int multiaddr_parse(const char *s, size_t len, struct multiaddr *ret)
{
	struct buf_reader r = buf_reader(s, len);
	struct multiaddr addr = { 0 };
	char rest[COMPONENT_MAX + 1];
	int rc = read_ip(&r, &addr);

	if (rc == 0)
		rc = read_port(&r, &addr);
	if (rc == 0 && buf_left(&r) > 0)
		rc = read_peer(&r, &addr);
	if (rc < 0)
		return rc;
	if (buf_left(&r) > 0) {
		rc = component_next(&r, rest);
		return rc < 0 ? rc : unknown_protocol(rest, (size_t)rc);
	}
	*ret = addr;
	return 0;
}

void multiaddr_format(const struct multiaddr *a, char ret[MULTIADDR_TEXT_SIZE])
{
	char ip[INET6_ADDRSTRLEN], peer[PEER_ID_TEXT_SIZE] = "", zone[IF_NAMESIZE] = "";
	int len;

	REQUIRE(a->family == 4 || a->family == 6);
	REQUIRE(inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, ip, sizeof(ip)) != NULL);
	if (a->has_peer)
		peer_id_format(&a->peer, peer);
	/* A name with a slash would be read as something else. */
	if (a->zone != 0 && (if_indextoname(a->zone, zone) == NULL || strchr(zone, '/') != NULL))
		snprintf(zone, sizeof(zone), "%u", (unsigned)a->zone);
	len = snprintf(ret, MULTIADDR_TEXT_SIZE, "%s%s/ip%u/%s/tcp/%u%s%s",
		       a->zone != 0 ? "/ip6zone/" : "", zone, (unsigned)a->family, ip,
		       (unsigned)a->port, a->has_peer ? "/p2p/" : "", peer);
	REQUIRE(len > 0 && len < MULTIADDR_TEXT_SIZE);
}

bool multiaddr_eq(const struct multiaddr *a, const struct multiaddr *b)
{
	return a->family == b->family && a->port == b->port && a->zone == b->zone &&
	       memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

void multiaddr_to_sockaddr(const struct multiaddr *a, struct sockaddr_storage *ret)
{
	REQUIRE(a->family == 4 || a->family == 6);
	memset(ret, 0, sizeof(*ret));
	if (a->family == 4) {
		struct sockaddr_in *sin = (struct sockaddr_in *)ret;

		sin->sin_family = AF_INET;
		sin->sin_port = htons(a->port);
		memcpy(&sin->sin_addr, a->ip, 4);
	} else {
		struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ret;

		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = htons(a->port);
		memcpy(&sin6->sin6_addr, a->ip, 16);
		sin6->sin6_scope_id = a->zone;
	}
}

static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

int multiaddr_from_sockaddr(const struct sockaddr *sa, struct multiaddr *ret)
{
	struct multiaddr addr = { 0 };

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *sin = (const struct sockaddr_in *)(const void *)sa;

		addr.family = 4;
		addr.port = ntohs(sin->sin_port);
		memcpy(addr.ip, &sin->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)(const void *)sa;
		const uint8_t *ip = sin6->sin6_addr.s6_addr;
		bool mapped = memcmp(ip, v4_mapped, sizeof(v4_mapped)) == 0;

		/* What a dual-stack socket reports for an IPv4 peer is that peer's IPv4 address. */
		addr.family = mapped ? 4 : 6;
		addr.port = ntohs(sin6->sin6_port);
		memcpy(addr.ip, mapped ? ip + 12 : ip, mapped ? 4 : 16);
		addr.zone = multiaddr_is_link_local(&addr) ? sin6->sin6_scope_id : 0;
	} else {
		return ERR_UNSUPPORTED;
	}
	*ret = addr;
	return 0;
}

int multiaddr_parse_hostport(const char *s, size_t len, struct multiaddr *ret)
{
	struct multiaddr addr = { 0 };
	char host[INET6_ADDRSTRLEN];
	bool bracketed = len > 0 && s[0] == '[';
	const char *colon = len > 0 ? memrchr(s, ':', len) : NULL;
	const char *from = bracketed ? s + 1 : s, *to;
	size_t host_len;
	int rc;

	if (colon == NULL)
		return ERR_MALFORMED;
	to = bracketed ? colon - 1 : colon;
	if (to < from || (bracketed && *to != ']'))
		return ERR_MALFORMED;
	host_len = (size_t)(to - from);
	if (host_len >= sizeof(host) || memchr(from, '\0', host_len) != NULL)
		return ERR_MALFORMED;
	memcpy(host, from, host_len);
	host[host_len] = '\0';
	addr.family = bracketed ? 6 : 4;
	if (inet_pton(bracketed ? AF_INET6 : AF_INET, host, addr.ip) != 1)
		return ERR_MALFORMED;
	rc = port_parse(colon + 1, len - (size_t)(colon + 1 - s), &addr.port);
	if (rc < 0)
		return rc;
	*ret = addr;
	return 0;
}

bool multiaddr_is_loopback(const struct multiaddr *a)
{
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (a->family == 4)
		return a->ip[0] == 127;
	return memcmp(a->ip, loopback6, 16) == 0 ||
	       (memcmp(a->ip, v4_mapped, 12) == 0 && a->ip[12] == 127);
}
