/* Protobuf messages in bounded memory.
 *
 * protobuf-c copies what it unpacks, one block per message, string and list. Here those blocks come
 * from an arena with a limit of its own, which the decoder drops at once when it has copied out
 * what it needs. */
#include "object/pb.h"

#include <string.h>

#include "base/err.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LEN = 2, WIRE_FIXED32 = 5, VARINT_BYTES_MAX = 10 };
enum { BLOCK_ALIGN = 16 }; /* the arena's */

static void *memory_alloc(void *data, size_t size)
{
	struct object_pb_memory *m = data;
	size_t need;
	void *p;

	/* At least one byte more than asked for: the NUL. */
	need = size / BLOCK_ALIGN * BLOCK_ALIGN + BLOCK_ALIGN;
	if (size >= m->left_bytes || need > m->left_bytes) {
		m->err = ERR_LIMIT;
		return NULL;
	}
	p = arena_alloc(&m->arena, need);
	if (p == NULL) {
		m->err = UV_ENOMEM;
		return NULL;
	}
	m->left_bytes -= need;
	return p;
}

static void memory_free(void *data, void *p)
{
	(void)data;
	(void)p;
}

void object_pb_memory_init(struct object_pb_memory *m, size_t limit_bytes)
{
	*m = (struct object_pb_memory){ .left_bytes = limit_bytes / BLOCK_ALIGN * BLOCK_ALIGN };
	m->allocator = (ProtobufCAllocator){ memory_alloc, memory_free, m };
	arena_init(&m->arena, limit_bytes);
}

void object_pb_memory_fini(struct object_pb_memory *m)
{
	arena_fini(&m->arena);
}

int object_pb_unpack(struct object_pb_memory *m, const ProtobufCMessageDescriptor *type,
		     const void *bytes, size_t len, const void **ret)
{
	const ProtobufCMessage *msg;

	m->err = 0;
	msg = protobuf_c_message_unpack(type, &m->allocator, len, bytes);
	if (msg == NULL)
		return m->err < 0 ? m->err : ERR_MALFORMED;
	*ret = msg;
	return 0;
}

void object_pb_pack(const ProtobufCMessage *msg, struct buf *out)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint8_t *p = buf_reserve(out, len);

	if (p != NULL)
		buf_advance(out, protobuf_c_message_pack(msg, p));
}

void object_pb_pack_field(const ProtobufCMessage *msg, unsigned field, struct buf *out)
{
	buf_write_uvarint(out, field << 3 | WIRE_LEN);
	buf_write_uvarint(out, protobuf_c_message_get_packed_size(msg));
	object_pb_pack(msg, out);
}

/* Protobuf's varint: up to ten bytes, and unlike multiformats' it may be longer than needed. */
static int read_varint(struct buf_reader *r, uint64_t *ret)
{
	uint64_t v = 0;
	uint8_t byte = 0x80;

	for (unsigned i = 0; i < VARINT_BYTES_MAX && byte & 0x80; i++) {
		if (buf_read_u8(r, &byte) < 0)
			return ERR_MALFORMED;
		v |= (uint64_t)(byte & 0x7f) << (7 * i);
	}
	if (byte & 0x80)
		return ERR_MALFORMED;
	*ret = v;
	return 0;
}

static int skip_value(struct buf_reader *r, unsigned wire_type)
{
	const uint8_t *ignored;
	uint64_t len = 0;
	int rc;

	switch (wire_type) {
	case WIRE_VARINT: return read_varint(r, &len);
	case WIRE_FIXED64: len = 8; break;
	case WIRE_FIXED32: len = 4; break;
	case WIRE_LEN:
		rc = read_varint(r, &len);
		if (rc < 0)
			return rc;
		break;
	default: return ERR_MALFORMED;
	}
	return len <= buf_left(r) && buf_read_bytes(r, (size_t)len, &ignored) == 0 ? 0 :
										     ERR_MALFORMED;
}

int object_pb_count_field(const void *bytes, size_t len, unsigned field, size_t *ret_count)
{
	struct buf_reader r = buf_reader(bytes, len);
	size_t count = 0;

	while (buf_left(&r) > 0) {
		uint64_t tag;
		int rc = read_varint(&r, &tag);

		if (rc == 0)
			rc = skip_value(&r, (unsigned)(tag & 7));
		if (rc < 0)
			return rc;
		count += tag >> 3 == field;
	}
	*ret_count = count;
	return 0;
}

bool object_pb_is_32(const ProtobufCBinaryData *d)
{
	return d->len == 32;
}

bool object_text_ok(const void *s, size_t len)
{
	const char *p = s;

	while (len > 0) {
		uint32_t c;
		size_t n = utf8_decode(p, len, &c);

		if (n == 0 || c == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}
