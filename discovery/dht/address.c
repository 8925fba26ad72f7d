/* BEP 42: bits 0-20 of a node's id are those of CRC-32C over its masked address and three random
 * bits, which the id's last byte repeats. An address so allows eight prefixes, and an attacker who
 * wants many ids near a key needs many addresses. */
#include "discovery/dht/address.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

int id_compare(const struct dht_id *target, const struct dht_id *a, const struct dht_id *b)
{
	for (size_t i = 0; i < DHT_ID_SIZE; i++) {
		int x = a->bytes[i] ^ target->bytes[i], y = b->bytes[i] ^ target->bytes[i];

		if (x != y)
			return x - y;
	}
	return 0;
}

bool dht_id_eq(const struct dht_id *a, const struct dht_id *b)
{
	return memcmp(a->bytes, b->bytes, DHT_ID_SIZE) == 0;
}

unsigned id_common_bits(const struct dht_id *a, const struct dht_id *b)
{
	for (unsigned i = 0; i < DHT_ID_SIZE; i++) {
		unsigned x = a->bytes[i] ^ b->bytes[i];

		if (x != 0)
			return i * 8 + (unsigned)__builtin_clz(x) - 24;
	}
	return DHT_ID_SIZE * 8;
}

double id_log2_distance(const struct dht_id *a, const struct dht_id *b)
{
	unsigned same = id_common_bits(a, b), first = same / 8;
	double x = 0;

	if (same == DHT_ID_SIZE * 8)
		return -1;
	for (unsigned i = 0; i < 8; i++) {
		unsigned at = first + i;

		x = x * 256 + (at < DHT_ID_SIZE ? a->bytes[at] ^ b->bytes[at] : 0);
	}
	return log2(x) + (double)((int)(DHT_ID_SIZE - 8) - (int)first) * 8;
}

void id_replace_tail(struct dht_id *id, unsigned from, const struct dht_id *random)
{
	for (unsigned i = from / 8; i < DHT_ID_SIZE; i++) {
		unsigned keep = i == from / 8 ? from % 8 : 0;
		uint8_t mask = (uint8_t)(0xff >> keep);

		id->bytes[i] = (uint8_t)((id->bytes[i] & ~mask) | (random->bytes[i] & mask));
	}
}

struct dht_id dht_key_of(const char *text, size_t len)
{
	struct hash h = hash_of(text, len);
	struct dht_id id;

	_Static_assert((int)HASH_SIZE >= (int)DHT_ID_SIZE, "a key is the front of a hash");
	memcpy(id.bytes, h.bytes, DHT_ID_SIZE);
	return id;
}

uint32_t crc32c(const uint8_t *data, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0x82f63b78 & -(crc & 1));
	}
	return ~crc;
}

/* The 21 bits, in the top of the result. */
static uint32_t bound_prefix(const struct dht_address *a, uint8_t random)
{
	static const uint8_t mask4[4] = { 0x03, 0x0f, 0x3f, 0xff };
	static const uint8_t mask6[8] = { 0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff };
	const uint8_t *mask = a->family == 4 ? mask4 : mask6;
	size_t len = a->family == 4 ? sizeof(mask4) : sizeof(mask6);
	uint8_t ip[8];

	for (size_t i = 0; i < len; i++)
		ip[i] = a->ip[i] & mask[i];
	ip[0] |= (uint8_t)((random & 7) << 5);
	return crc32c(ip, len) & 0xfffff800;
}

void id_bind(struct dht_id *id, const struct dht_address *addr)
{
	uint32_t prefix;

	if (!dht_address_is_global(addr))
		return;
	prefix = bound_prefix(addr, id->bytes[DHT_ID_SIZE - 1]);
	id->bytes[0] = (uint8_t)(prefix >> 24);
	id->bytes[1] = (uint8_t)(prefix >> 16);
	id->bytes[2] = (uint8_t)((prefix >> 8) | (id->bytes[2] & 7));
}

bool id_fits(const struct dht_id *id, const struct dht_address *addr)
{
	uint32_t head = (uint32_t)id->bytes[0] << 24 | (uint32_t)id->bytes[1] << 16 |
			(uint32_t)id->bytes[2] << 8;

	if (!dht_address_is_global(addr))
		return true;
	return ((head ^ bound_prefix(addr, id->bytes[DHT_ID_SIZE - 1])) & 0xfffff800) == 0;
}

bool dht_address_eq(const struct dht_address *a, const struct dht_address *b)
{
	return a->port == b->port && address_same_ip(a, b);
}

bool address_same_ip(const struct dht_address *a, const struct dht_address *b)
{
	/* Of IPv4 the rest is zero. */
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool address_same_net(const struct dht_address *a, const struct dht_address *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 3 : 8) == 0;
}

static bool global4(const uint8_t *ip)
{
	if (ip[0] == 0 || ip[0] == 10 || ip[0] == 127 || ip[0] >= 224)
		return false;
	if (ip[0] == 100 && (ip[1] & 0xc0) == 64)
		return false;
	if (ip[0] == 169 && ip[1] == 254)
		return false;
	if (ip[0] == 172 && (ip[1] & 0xf0) == 16)
		return false;
	return !(ip[0] == 192 && ip[1] == 168);
}

/* 2000::/3 is all that was ever given out. */
static bool global6(const uint8_t *ip)
{
	return (ip[0] & 0xe0) == 0x20;
}

bool dht_address_is_global(const struct dht_address *a)
{
	return a->family == 4 ? global4(a->ip) : a->family == 6 && global6(a->ip);
}

bool address_is_unspecified(const struct dht_address *a)
{
	static const uint8_t zero[16];

	return memcmp(a->ip, zero, address_ip_len(a)) == 0;
}

bool address_is_usable(const struct dht_address *a)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	if (a->port == 0 || address_is_unspecified(a))
		return false;
	if (a->family == 4)
		return a->ip[0] != 0 && a->ip[0] < 224;
	return a->family == 6 && a->ip[0] != 0xff && memcmp(a->ip, mapped, sizeof(mapped)) != 0;
}

size_t address_compact(const struct dht_address *a, uint8_t ret[DHT_COMPACT_MAX])
{
	size_t len = address_ip_len(a);

	memcpy(ret, a->ip, len);
	ret[len] = (uint8_t)(a->port >> 8);
	ret[len + 1] = (uint8_t)a->port;
	return len + 2;
}

bool address_from_compact(const uint8_t *p, size_t len, struct dht_address *ret)
{
	struct dht_address a = { .family = len == 6 ? 4 : 6 };

	if (len != 6 && len != 18)
		return false;
	memcpy(a.ip, p, len - 2);
	a.port = (uint16_t)(p[len - 2] << 8 | p[len - 1]);
	*ret = a;
	return true;
}

size_t address_charge_key(const struct dht_address *a, uint8_t ret[DHT_COMPACT_MAX])
{
	if (!dht_address_is_global(a))
		return address_compact(a, ret);
	memcpy(ret, a->ip, a->family == 4 ? 4 : 8);
	return a->family == 4 ? 4 : 8;
}

void dht_address_format(const struct dht_address *a, char ret[DHT_ADDRESS_TEXT_SIZE])
{
	char ip[INET6_ADDRSTRLEN] = "";

	inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, ip, sizeof(ip));
	snprintf(ret, DHT_ADDRESS_TEXT_SIZE, a->family == 4 ? "%s:%u" : "[%s]:%u", ip,
		 (unsigned)a->port);
}

static bool parse_port(const char *s, size_t len, uint16_t *ret)
{
	unsigned port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		port = port * 10 + (unsigned)(s[i] - '0');
	}
	*ret = (uint16_t)port;
	return port <= UINT16_MAX;
}

int dht_address_parse(const char *s, size_t len, struct dht_address *ret)
{
	const char *colon = memrchr(s, ':', len);
	struct dht_address a = { .family = 4 };
	char ip[INET6_ADDRSTRLEN];
	size_t ip_len;

	if (colon == NULL || !parse_port(colon + 1, len - (size_t)(colon + 1 - s), &a.port))
		return ERR_MALFORMED;
	ip_len = (size_t)(colon - s);
	if (ip_len >= 2 && s[0] == '[' && s[ip_len - 1] == ']') {
		a.family = 6;
		s++;
		ip_len -= 2;
	}
	if (ip_len >= sizeof(ip))
		return ERR_MALFORMED;
	memcpy(ip, s, ip_len);
	ip[ip_len] = '\0';
	if (inet_pton(a.family == 4 ? AF_INET : AF_INET6, ip, a.ip) != 1)
		return ERR_MALFORMED;
	*ret = a;
	return 0;
}
