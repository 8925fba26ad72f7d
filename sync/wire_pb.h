/* Inside wire*.c only: protobuf-c behind a bounded allocator, and the fields that several messages
 * have. */
#pragma once

#include "sync.pb-c.h"
#include "sync/wire.h"

/** Parse into a fresh arena of wire_arena_init(len). *ret_msg is the generated struct; protobuf-c
 * copies. */
int wire_unpack(const ProtobufCMessageDescriptor *type, const void *msg, size_t len,
		struct arena *a, void *ret_msg);
int wire_pack(const ProtobufCMessage *m, struct buf *out);

ProtobufCBinaryData wire_bytes_out(const void *data, size_t len); /* borrows */
int wire_hash_in(const ProtobufCBinaryData *b, struct hash *ret);
int wire_key_in(const ProtobufCBinaryData *b, struct public_key *ret);
int wire_bytes_in(const ProtobufCBinaryData *b, size_t max, struct wire_bytes *ret);
int wire_scope_in(const Sync__Wire__Scope *s, struct scope *ret);
void wire_scope_out(const struct scope *s, Sync__Wire__Scope *ret); /* borrows */
