/* Capabilities: the owner of a space lets another key write below a path. Same envelope and order
 * of checks as commits. */
#include <string.h>

#include "base/err.h"
#include "object/object.h"
#include "object/path.h"
#include "object/signed.h"

enum { CAPABILITY_MEMORY_MAX = 1 << 20 };

int capability_sign(const struct capability *c, const uint8_t space_secret[64], struct buf *out)
{
	Object__Capability msg = OBJECT__CAPABILITY__INIT;
	CLEANUP(buf_fini) struct buf body = { 0 };
	int rc = object_path_check(c->path_prefix, c->path_prefix_len, NULL);

	buf_init(&body, OBJECT_COMMIT_MAX);
	if (rc < 0)
		return rc;
	if (memcmp(space_secret + KEY_SIZE, c->space.bytes, KEY_SIZE) != 0)
		return ERR_VERIFY;
	msg.space = object_pb_view(c->space.bytes, KEY_SIZE);
	msg.grantee = object_pb_view(c->grantee.bytes, KEY_SIZE);
	msg.path_prefix = object_pb_view(c->path_prefix, c->path_prefix_len);
	msg.expires_s = c->expires_s;
	object_pb_pack(&msg.base, &body);
	if (buf_err(&body) < 0)
		return buf_err(&body);
	return object_signed_seal(SIGNED_CAPABILITY, body.data, body.len, space_secret, out);
}

static int capability_read(const Object__Capability *msg, struct capability *ret)
{
	int rc = object_path_check((const char *)msg->path_prefix.data, msg->path_prefix.len, NULL);

	if (rc < 0)
		return rc;
	if (!object_pb_is_32(&msg->space) || !object_pb_is_32(&msg->grantee))
		return ERR_MALFORMED;
	memcpy(ret->space.bytes, msg->space.data, KEY_SIZE);
	memcpy(ret->grantee.bytes, msg->grantee.data, KEY_SIZE);
	if (msg->path_prefix.len > 0)
		memcpy(ret->path_prefix, msg->path_prefix.data, msg->path_prefix.len);
	ret->path_prefix_len = msg->path_prefix.len;
	ret->expires_s = msg->expires_s;
	return 0;
}

int capability_decode(const void *blob, size_t len, struct capability *ret)
{
	CLEANUP(object_pb_memory_fini) struct object_pb_memory memory = { 0 };
	struct capability c = { 0 };
	struct object_signed_view v;
	const void *msg;
	int rc = object_signed_open(blob, len, &v);

	object_pb_memory_init(&memory, CAPABILITY_MEMORY_MAX);
	if (rc == 0)
		rc = object_pb_unpack(&memory, &object__capability__descriptor, v.body, v.len,
				      &msg);
	if (rc == 0)
		rc = capability_read(msg, &c);
	if (rc == 0)
		rc = object_signed_verify(SIGNED_CAPABILITY, &v, c.space.bytes);
	if (rc == 0)
		*ret = c;
	return rc;
}

int capability_allows(const struct capability *cap, const struct commit *c)
{
	if (!key_eq(&cap->space, &c->space) || !key_eq(&cap->grantee, &c->author))
		return ERR_UNAUTHORIZED;
	if (cap->expires_s != 0 && c->time_s > cap->expires_s)
		return ERR_UNAUTHORIZED;
	return object_path_is_below(cap->path_prefix, cap->path_prefix_len, c->path, c->path_len) ?
		       0 :
		       ERR_UNAUTHORIZED;
}
