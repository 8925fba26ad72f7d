/* What peers tell each other inside the handshake (net.proto). */
#pragma once

#include "base/buf.h"
#include "net/net.h"

enum { NET_HELLO_SIZE_MAX = 512, NET_HELLO_VERSION_MIN = 1, NET_HELLO_VERSION_MAX = 1 };
#define NET_HELLO_TIME_MAX_S (UINT64_C(1) << 40) /* later is not worth telling apart */

struct net_hello {
	struct public_key key;
	uint32_t version_min, version_max;
	char agent[NET_AGENT_MAX + 1];
	uint64_t capabilities;
	uint16_t listen_port;
	bool renews;
	uint64_t time_s;
};

/** Append the encoding. What stuck in the buffer: 0, UV_ENOMEM. */
int net_hello_encode(const struct net_hello *h, struct buf *out);
/** 0; ERR_PROTOCOL for anything malformed; UV_ENOMEM. An agent that is too long is cut, and what is
 * not printable ASCII in it becomes '?'. Unknown fields are ignored. */
int net_hello_decode(const uint8_t *data, size_t len, struct net_hello *ret);
/** The version both speak, or ERR_VERSION. */
int net_hello_version(const struct net_hello *ours, const struct net_hello *theirs);
