/* Protobuf messages in bounded memory. */
#pragma once

#include "base/base.h"
#include "base/buf.h"
#include "base/mem.h"
#include "object/object.pb-c.h"

/* Memory of the messages unpacked for one decoder call. Every block is followed by a zero byte, so
 * that texts kept in bytes fields end in NUL. */
struct object_pb_memory {
	ProtobufCAllocator allocator;
	struct arena arena;
	size_t left_bytes;
	int err; /* why the last allocation failed: UV_ENOMEM or ERR_LIMIT */
};
void object_pb_memory_init(struct object_pb_memory *m, size_t limit_bytes);
void object_pb_memory_fini(struct object_pb_memory *m); /* for CLEANUP too */

/** The message, valid until object_pb_memory_fini. ERR_MALFORMED, UV_ENOMEM, or ERR_LIMIT when it
 * would take more memory than m may use. */
int object_pb_unpack(struct object_pb_memory *m, const ProtobufCMessageDescriptor *type,
		     const void *bytes, size_t len, const void **ret);

/** Pack msg at the end of out; errors stick to out. */
void object_pb_pack(const ProtobufCMessage *msg, struct buf *out);
/** The same as the given field of an enclosing message: tag, length, content. */
void object_pb_pack_field(const ProtobufCMessage *msg, unsigned field, struct buf *out);

/** Counts how often a field with a length occurs at the top level; ERR_MALFORMED. Amplification is
 * cheap in protobuf (two bytes make a whole empty message), so lists are counted before they are
 * unpacked. */
int object_pb_count_field(const void *bytes, size_t len, unsigned field, size_t *ret_count);

/** Bytes field for packing; borrows. */
static inline ProtobufCBinaryData object_pb_view(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)data };
}

/** Bytes field that holds a hash or key: exactly 32 bytes. */
bool object_pb_is_32(const ProtobufCBinaryData *d);

/** Well-formed UTF-8 without NUL. */
bool object_text_ok(const void *s, size_t len);
