/* What a collector answers: ExportTraceServiceResponse of OTLP 1, which is empty unless it refused
 * something.
 *
 *   ExportTraceServiceResponse { ExportTracePartialSuccess partial_success = 1 }
 *   ExportTracePartialSuccess  { int64 rejected_spans = 1; string error_message = 2 }
 *
 * Fields that are not known are passed over, as protobuf wants it; of several of a kind the last
 * one counts. Varints may be longer than they need to be, up to ten bytes. */
#include "base/err.h"
#include "trace/store.h"

enum { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5, VARINT_BYTES_MAX = 10 };

struct field {
	uint64_t number;
	unsigned wire;
	uint64_t value; /* WIRE_VARINT */
	const uint8_t *bytes;
	size_t len; /* WIRE_BYTES */
};

static int read_varint(struct buf_reader *r, uint64_t *ret)
{
	uint64_t value = 0;
	uint8_t byte;

	for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
		if (buf_read_u8(r, &byte) < 0)
			return ERR_MALFORMED;
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80)) {
			*ret = value;
			return 0;
		}
	}
	return ERR_MALFORMED;
}

static int read_field(struct buf_reader *r, struct field *ret)
{
	uint64_t tag = 0, len = 0;
	int rc = read_varint(r, &tag);

	ret->number = tag >> 3;
	ret->wire = tag & 7;
	if (rc < 0 || ret->number == 0)
		return ERR_MALFORMED;
	switch (ret->wire) {
	case WIRE_VARINT: return read_varint(r, &ret->value);
	case WIRE_FIXED64: len = 8; break;
	case WIRE_FIXED32: len = 4; break;
	case WIRE_BYTES: rc = read_varint(r, &len); break;
	default: return ERR_MALFORMED;
	}
	if (rc < 0 || len > buf_left(r))
		return ERR_MALFORMED;
	ret->len = (size_t)len;
	return buf_read_bytes(r, ret->len, &ret->bytes);
}

static int read_partial(const struct field *partial, struct trace_otlp_reply *reply)
{
	struct buf_reader r = buf_reader(partial->bytes, partial->len);
	struct field f;

	while (buf_left(&r) > 0) {
		if (read_field(&r, &f) < 0)
			return ERR_MALFORMED;
		if (f.number == 1 && f.wire == WIRE_VARINT) {
			reply->refused = f.value > INT64_MAX ? 0 : f.value;
		} else if (f.number == 2 && f.wire == WIRE_BYTES) {
			reply->message = (const char *)f.bytes;
			reply->message_len = f.len;
		}
	}
	return 0;
}

int trace_otlp_reply_read(const void *data, size_t len, struct trace_otlp_reply *ret)
{
	struct buf_reader r = buf_reader(data, len);
	struct trace_otlp_reply reply = { .message = "" };
	struct field f;

	while (buf_left(&r) > 0) {
		if (read_field(&r, &f) < 0)
			return ERR_MALFORMED;
		if (f.number == 1 && f.wire == WIRE_BYTES && read_partial(&f, &reply) < 0)
			return ERR_MALFORMED;
	}
	*ret = reply;
	return 0;
}
