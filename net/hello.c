#include "net/hello.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/net.pb-c.h"

enum { DECODE_ARENA_MAX = 16 << 10 };

int net_hello_encode(const struct net_hello *h, struct buf *out)
{
	Net__Hello msg = NET__HELLO__INIT;
	struct public_key key = h->key;
	char agent[NET_AGENT_MAX + 1];
	uint8_t *dst;
	size_t size;

	memcpy(agent, h->agent, sizeof(agent));
	msg.key.data = key.bytes;
	msg.key.len = KEY_SIZE;
	msg.version_min = h->version_min;
	msg.version_max = h->version_max;
	msg.agent = agent;
	msg.capabilities = h->capabilities;
	msg.listen_port = h->listen_port;
	msg.renews = h->renews;
	msg.time_s = h->time_s;
	size = net__hello__get_packed_size(&msg);
	dst = buf_reserve(out, size);
	if (dst == NULL)
		return buf_err(out);
	buf_advance(out, net__hello__pack(&msg, dst));
	return 0;
}

/* The decoder takes from an arena, so that what foreign bytes may cost has a limit; `failed` tells
 * a lack of memory from bytes that are not a Hello. */
struct decode {
	struct arena arena;
	bool failed;
};

static void *decode_alloc(void *data, size_t size)
{
	struct decode *d = data;
	void *p = arena_alloc(&d->arena, size);

	if (p == NULL)
		d->failed = true;
	return p;
}

static void decode_free(void *data, void *p)
{
}

static int from_message(const Net__Hello *msg, struct net_hello *ret)
{
	struct net_hello h = { .version_min = msg->version_min,
			       .version_max = msg->version_max,
			       .capabilities = msg->capabilities,
			       .renews = msg->renews,
			       .time_s = MIN(msg->time_s, (uint64_t)NET_HELLO_TIME_MAX_S) };

	if (msg->key.len != KEY_SIZE || msg->listen_port > UINT16_MAX ||
	    msg->version_min > msg->version_max)
		return ERR_PROTOCOL;
	memcpy(h.key.bytes, msg->key.data, KEY_SIZE);
	h.listen_port = (uint16_t)msg->listen_port;
	for (size_t i = 0; i < NET_AGENT_MAX && msg->agent[i] != '\0'; i++)
		h.agent[i] = msg->agent[i] > ' ' && msg->agent[i] <= '~' ? msg->agent[i] : '?';
	*ret = h;
	return 0;
}

int net_hello_decode(const uint8_t *data, size_t len, struct net_hello *ret)
{
	struct decode d = { .failed = false };
	ProtobufCAllocator allocator = { decode_alloc, decode_free, &d };
	Net__Hello *msg;
	int err;

	if (len > NET_HELLO_SIZE_MAX)
		return ERR_PROTOCOL;
	arena_init(&d.arena, DECODE_ARENA_MAX);
	msg = net__hello__unpack(&allocator, len, data);
	if (msg != NULL)
		err = from_message(msg, ret);
	else
		err = d.failed ? UV_ENOMEM : ERR_PROTOCOL;
	arena_fini(&d.arena);
	return err;
}

int net_hello_version(const struct net_hello *ours, const struct net_hello *theirs)
{
	uint32_t version = MIN(ours->version_max, theirs->version_max);

	if (version < ours->version_min || version < theirs->version_min)
		return ERR_VERSION;
	return (int)version;
}
