#include "discovery/mdns/interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/err.h"

/* "br-" and twelve hexadecimal digits: a container network; "br-lan" is somebody's home. */
static bool is_container_bridge(const char *name)
{
	return strncmp(name, "br-", 3) == 0 && strlen(name) == 15 &&
	       strspn(name + 3, "0123456789abcdef") == 12;
}

bool interfaces_wanted(const char *name)
{
	static const char *const prefixes[] = { "docker", "veth",    "virbr", "podman", "cni",
						"cali",	  "flannel", "vmnet", "vboxnet" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return false;
	}
	return !is_container_bridge(name);
}

static bool usable(const struct ifaddrs *a)
{
	unsigned need = IFF_UP | IFF_RUNNING | IFF_MULTICAST;

	return a->ifa_addr != NULL && a->ifa_netmask != NULL && (a->ifa_flags & need) == need &&
	       (a->ifa_flags & (IFF_LOOPBACK | IFF_POINTOPOINT)) == 0 &&
	       (a->ifa_addr->sa_family == AF_INET || a->ifa_addr->sa_family == AF_INET6) &&
	       interfaces_wanted(a->ifa_name);
}

static uint8_t count_bits(const uint8_t *mask, size_t len)
{
	unsigned bits = 0;

	for (size_t i = 0; i < len; i++)
		bits += (unsigned)__builtin_popcount(mask[i]);
	return (uint8_t)bits;
}

static bool published(const struct mdns_address *a, const struct multiaddr *listen)
{
	static const uint8_t zero[16];

	if (listen->port == 0)
		return false;
	if (memcmp(listen->ip, zero, listen->family == 4 ? 4 : 16) == 0)
		return a->family == 4 || listen->family == 6;
	return a->family == listen->family &&
	       memcmp(a->ip, listen->ip, a->family == 4 ? 4 : 16) == 0;
}

static struct mdns_address address_of(const struct ifaddrs *a, const struct multiaddr *listen)
{
	struct mdns_address ret = { .family = a->ifa_addr->sa_family == AF_INET ? 4 : 6 };
	const struct sockaddr_in *in = (const void *)a->ifa_addr,
				 *mask = (const void *)a->ifa_netmask;
	const struct sockaddr_in6 *in6 = (const void *)in, *mask6 = (const void *)mask;

	if (ret.family == 4) {
		memcpy(ret.ip, &in->sin_addr, 4);
		ret.prefix_bits = count_bits((const uint8_t *)&mask->sin_addr, 4);
	} else {
		memcpy(ret.ip, &in6->sin6_addr, 16);
		ret.prefix_bits = count_bits((const uint8_t *)&mask6->sin6_addr, 16);
	}
	ret.publish = published(&ret, listen);
	return ret;
}

static struct mdns_link_config *link_of(uint32_t id, uint8_t family, struct mdns_link_config *links,
					size_t *count, size_t cap)
{
	for (size_t i = 0; i < *count; i++) {
		if (links[i].id == id)
			return &links[i];
	}
	if (*count == cap)
		return NULL;
	links[*count] = (struct mdns_link_config){ .id = id,
						   .family = family,
						   .zone = interfaces_index(id) };
	return &links[(*count)++];
}

int interfaces_scan(const struct multiaddr *listen, struct mdns_link_config *ret, size_t cap)
{
	struct ifaddrs *all;
	size_t count = 0;

	if (getifaddrs(&all) != 0)
		return -errno;
	for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
		bool v6 = usable(a) && a->ifa_addr->sa_family == AF_INET6;
		unsigned index = usable(a) ? if_nametoindex(a->ifa_name) : 0;

		if (index != 0)
			(void)link_of(index * 2 + v6, v6 ? 6 : 4, ret, &count, cap);
	}
	/* Each link carries the addresses of both families. */
	for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
		unsigned index = usable(a) ? if_nametoindex(a->ifa_name) : 0;

		for (size_t i = 0; i < count && index != 0; i++) {
			struct mdns_link_config *l = &ret[i];

			if (interfaces_index(l->id) == index && l->addr_count < MDNS_LINK_ADDRS_MAX)
				l->addrs[l->addr_count++] = address_of(a, listen);
		}
	}
	freeifaddrs(all);
	return (int)count;
}
