/* Ids and addresses: distance, BEP 42, compact form, and which addresses may be talked to. */
#pragma once

#include "discovery/dht/dht.h"

enum { DHT_COMPACT_MAX = 18, DHT_COMPACT_NODE_MAX = 38 };

/** Is a nearer to the target than b? XOR metric: <0 yes, 0 equal, >0 no. */
int id_compare(const struct dht_id *target, const struct dht_id *a, const struct dht_id *b);
/** Leading bits in common, 0 to 160. */
unsigned id_common_bits(const struct dht_id *a, const struct dht_id *b);
/** log2 of the XOR distance, with a fraction; -1 when equal. */
double id_log2_distance(const struct dht_id *a, const struct dht_id *b);
/** Set bits from `from` on to those of `random`. */
void id_replace_tail(struct dht_id *id, unsigned from, const struct dht_id *random);

/** CRC-32C (RFC 3720 B.4). */
uint32_t crc32c(const uint8_t *data, size_t len);
/** Make `id` (random bytes already) one that BEP 42 allows for the address; exempt: untouched. */
void id_bind(struct dht_id *id, const struct dht_address *addr);
/** BEP 42: the id fits the address, or the address is exempt. */
bool id_fits(const struct dht_id *id, const struct dht_address *addr);

/** Bytes of the family's IP: 4 or 16. */
static inline size_t address_ip_len(const struct dht_address *a)
{
	return a->family == 4 ? 4 : 16;
}
/** 0 for IPv4, 1 for IPv6. */
static inline unsigned address_index(const struct dht_address *a)
{
	return a->family == 4 ? 0 : 1;
}
bool address_same_ip(const struct dht_address *a, const struct dht_address *b);
/** Same /24 (IPv4) or /64 (IPv6). */
bool address_same_net(const struct dht_address *a, const struct dht_address *b);
/** 0.0.0.0 or :: */
bool address_is_unspecified(const struct dht_address *a);
/** A packet may be sent there: a port, and a unicast address. */
bool address_is_usable(const struct dht_address *a);
/** IP and port, 6 or 18 bytes; returns how many. */
size_t address_compact(const struct dht_address *a, uint8_t ret[DHT_COMPACT_MAX]);
/** From 6 or 18 bytes; false at any other length. */
bool address_from_compact(const uint8_t *p, size_t len, struct dht_address *ret);
/** Bytes that stand for whom to charge: the IP (v6: the /64), and outside of the public internet,
 * where many nodes share an address, the port too. Returns the length. */
size_t address_charge_key(const struct dht_address *a, uint8_t ret[DHT_COMPACT_MAX]);
