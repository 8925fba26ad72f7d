/* protobuf-c parses into an arena behind an allocator that counts: a message can never make us hold
 * more than its own length plus WIRE_DECODE_SLACK, whatever it repeats. What the allocator refused
 * is told apart from what the parser refused, so that running out of memory is not blamed on the
 * peer. */
#include "sync/wire_pb.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* OWN_RESERVE: of the arena, for the structs that a decoded message becomes. */
enum { BLOCK_ALIGN = 16, OWN_RESERVE = 32 << 10 };

void wire_arena_init(struct arena *a, size_t len)
{
	arena_init(a, len + WIRE_DECODE_SLACK);
}

struct bounded {
	ProtobufCAllocator pb;
	struct arena *arena;
	size_t left;
	bool over_limit, out_of_memory;
};

/* Counts as the arena does, so that the arena's own limit is never what refuses. */
static void *bounded_alloc(void *data, size_t size)
{
	struct bounded *b = data;
	size_t block;
	void *p;

	if (size > b->left) {
		b->over_limit = true;
		return NULL;
	}
	block = (MAX(size, 1u) + BLOCK_ALIGN - 1) & ~(size_t)(BLOCK_ALIGN - 1);
	if (block > b->left) {
		b->over_limit = true;
		return NULL;
	}
	p = arena_alloc(b->arena, size);
	if (p == NULL)
		b->out_of_memory = true;
	else
		b->left -= block;
	return p;
}

/* The arena frees all at once. */
static void bounded_free(void *data, void *p)
{
	(void)data;
	(void)p;
}

static int bounded_error(const struct bounded *b)
{
	if (b->over_limit)
		return ERR_LIMIT;
	return b->out_of_memory ? UV_ENOMEM : ERR_MALFORMED;
}

int wire_unpack(const ProtobufCMessageDescriptor *type, const void *msg, size_t len,
		struct arena *a, void *ret_msg)
{
	struct bounded b = { .arena = a, .left = len + WIRE_DECODE_SLACK - OWN_RESERVE };
	ProtobufCMessage *m;

	if (len > NET_MESSAGE_MAX)
		return ERR_LIMIT;
	b.pb = (ProtobufCAllocator){ bounded_alloc, bounded_free, &b };
	m = protobuf_c_message_unpack(type, &b.pb, len, msg);
	if (m == NULL)
		return bounded_error(&b);
	*(ProtobufCMessage **)ret_msg = m;
	return 0;
}

int wire_pack(const ProtobufCMessage *m, struct buf *out)
{
	size_t size = protobuf_c_message_get_packed_size(m);
	uint8_t *p = buf_reserve(out, size);

	if (p != NULL)
		buf_advance(out, protobuf_c_message_pack(m, p));
	return buf_err(out);
}

ProtobufCBinaryData wire_bytes_out(const void *data, size_t len)
{
	/* protobuf-c's type has no const; packing only reads. */
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}

int wire_hash_in(const ProtobufCBinaryData *b, struct hash *ret)
{
	if (b->len != HASH_SIZE)
		return ERR_MALFORMED;
	memcpy(ret->bytes, b->data, HASH_SIZE);
	return 0;
}

int wire_key_in(const ProtobufCBinaryData *b, struct public_key *ret)
{
	if (b->len != KEY_SIZE)
		return ERR_MALFORMED;
	memcpy(ret->bytes, b->data, KEY_SIZE);
	return 0;
}

int wire_bytes_in(const ProtobufCBinaryData *b, size_t max, struct wire_bytes *ret)
{
	if (b->len > max)
		return ERR_LIMIT;
	*ret = (struct wire_bytes){ b->data, b->len };
	return 0;
}

int wire_scope_in(const Sync__Wire__Scope *s, struct scope *ret)
{
	struct public_key space;

	if (s == NULL || wire_key_in(&s->space, &space) < 0)
		return ERR_MALFORMED;
	return scope_make(&space, (const char *)s->path.data, s->path.len, s->kind, ret);
}

void wire_scope_out(const struct scope *s, Sync__Wire__Scope *ret)
{
	sync__wire__scope__init(ret);
	ret->space = wire_bytes_out(s->space.bytes, KEY_SIZE);
	ret->path = wire_bytes_out(s->path, s->path_len);
	ret->kind = (uint32_t)s->kind;
}
