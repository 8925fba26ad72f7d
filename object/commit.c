/* Commits: what is inside the signed envelope.
 *
 * Decoding goes from cheap to dear: envelope, message in bounded memory, fields, rules, signature.
 * The rules are one function for both directions, so that nothing is signed here that a peer would
 * refuse. */
#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "object/object.h"
#include "object/path.h"
#include "object/signed.h"

enum {
	/* A commit at every limit takes about 30 KiB unpacked; unknown fields may add as much as
	   the blob holds. */
	COMMIT_MEMORY_MAX = 1 << 20,
	ADDRS_WIRE_MAX = 4 * OBJECT_AUTHORITY_ADDRS_MAX
};

_Static_assert(HASH_SIZE == 32 && KEY_SIZE == 32, "object_pb_is_32 serves both");

/* ---- The rules ---- */

static int check_parents(const struct commit *c)
{
	if (c->parent_count > OBJECT_PARENTS_MAX)
		return ERR_LIMIT;
	for (size_t i = 1; i < c->parent_count; i++) {
		if (hash_cmp(&c->parents[i - 1], &c->parents[i]) >= 0)
			return ERR_MALFORMED;
	}
	return 0;
}

/* Authorities speak for the whole space, so only its owner names them, and at one place. */
static int check_authorities(const struct commit *c)
{
	if (c->authority_count > OBJECT_AUTHORITIES_MAX)
		return ERR_LIMIT;
	if (c->authority_count > 0 && (c->path_len > 0 || !key_eq(&c->author, &c->space)))
		return ERR_MALFORMED;
	for (size_t i = 0; i < c->authority_count; i++) {
		if (c->authorities[i].addr_count > OBJECT_AUTHORITY_ADDRS_MAX)
			return ERR_LIMIT;
	}
	return 0;
}

static int check_root(const struct commit *c)
{
	if (c->tombstone)
		return hash_is_zero(&c->root) ? 0 : ERR_MALFORMED;
	if (hash_is_zero(&c->root))
		return ERR_MALFORMED;
	return c->root_kind == OBJECT_TREE || c->root_kind == OBJECT_FILE ? 0 : ERR_MALFORMED;
}

/* Only a tree says it, and with its type, so that 0000 differs from nothing said. */
static int check_root_mode(const struct commit *c)
{
	if (c->root_mode == 0)
		return 0;
	return c->root_kind == OBJECT_TREE && (c->root_mode & ~(uint32_t)OBJECT_MODE_BITS) ==
						      OBJECT_MODE_DIRECTORY ?
		       0 :
		       ERR_MALFORMED;
}

uint32_t commit_root_mode(const struct commit *c)
{
	return c->root_mode != 0 ? c->root_mode & OBJECT_MODE_BITS : OBJECT_MODE_DEFAULT;
}

static int commit_check(const struct commit *c)
{
	bool by_owner = key_eq(&c->author, &c->space);
	int rc = object_path_check(c->path, c->path_len, NULL);

	if (rc == 0)
		rc = check_parents(c);
	if (rc == 0)
		rc = check_authorities(c);
	if (rc == 0)
		rc = check_root(c);
	if (rc == 0)
		rc = check_root_mode(c);
	if (rc == 0 && c->has_capability == by_owner)
		rc = ERR_MALFORMED; /* a guest names what lets him in, the owner needs nothing */
	return rc;
}

/* ---- Encoding ---- */

/* The message of one authority, with what it points at. */
struct authority_parts {
	Object__Authority msg;
	ProtobufCBinaryData addrs[OBJECT_AUTHORITY_ADDRS_MAX];
	char texts[OBJECT_AUTHORITY_ADDRS_MAX][MULTIADDR_TEXT_SIZE];
};

static void authority_fill(const struct authority *a, struct authority_parts *ret)
{
	object__authority__init(&ret->msg);
	ret->msg.peer = object_pb_view(a->peer.bytes, KEY_SIZE);
	ret->msg.n_address = a->addr_count;
	ret->msg.address = ret->addrs;
	for (size_t i = 0; i < a->addr_count; i++) {
		struct multiaddr addr = a->addrs[i];

		addr.has_peer = false;
		multiaddr_format(&addr, ret->texts[i]);
		ret->addrs[i] = object_pb_view(ret->texts[i], strlen(ret->texts[i]));
	}
}

struct commit_parts {
	Object__Commit msg;
	ProtobufCBinaryData parents[OBJECT_PARENTS_MAX];
	struct authority_parts authorities[OBJECT_AUTHORITIES_MAX];
	Object__Authority *authority_list[OBJECT_AUTHORITIES_MAX];
};

static void commit_fill(const struct commit *c, struct commit_parts *p)
{
	object__commit__init(&p->msg);
	p->msg.space = object_pb_view(c->space.bytes, KEY_SIZE);
	p->msg.path = object_pb_view(c->path, c->path_len);
	p->msg.n_parent = c->parent_count;
	p->msg.parent = p->parents;
	for (size_t i = 0; i < c->parent_count; i++)
		p->parents[i] = object_pb_view(c->parents[i].bytes, HASH_SIZE);
	p->msg.time_s = c->time_s;
	if (!c->tombstone) {
		p->msg.root = object_pb_view(c->root.bytes, HASH_SIZE);
		p->msg.root_kind = (uint32_t)c->root_kind;
	}
	p->msg.tombstone = c->tombstone;
	p->msg.author = object_pb_view(c->author.bytes, KEY_SIZE);
	if (c->has_capability)
		p->msg.capability = object_pb_view(c->capability.bytes, HASH_SIZE);
	p->msg.n_authority = c->authority_count;
	p->msg.authority = p->authority_list;
	for (size_t i = 0; i < c->authority_count; i++) {
		authority_fill(&c->authorities[i], &p->authorities[i]);
		p->authority_list[i] = &p->authorities[i].msg;
	}
	p->msg.content_bytes = c->content_bytes;
	p->msg.content_blobs = c->content_blobs;
	p->msg.root_mode = c->root_mode;
}

int commit_sign(const struct commit *c, const uint8_t secret[64], struct buf *out)
{
	CLEANUP(mem_freep) struct commit_parts *parts = NULL;
	CLEANUP(buf_fini) struct buf body = { 0 };
	int rc = commit_check(c);

	buf_init(&body, OBJECT_COMMIT_MAX);
	if (rc < 0)
		return rc;
	if (memcmp(secret + KEY_SIZE, c->author.bytes, KEY_SIZE) != 0)
		return ERR_VERIFY;
	parts = mem_alloc(sizeof(*parts));
	if (parts == NULL)
		return UV_ENOMEM;
	commit_fill(c, parts);
	object_pb_pack(&parts->msg.base, &body);
	if (buf_err(&body) < 0)
		return buf_err(&body);
	return object_signed_seal(SIGNED_COMMIT, body.data, body.len, secret, out);
}

/* ---- Decoding ---- */

/* Addresses of a kind unknown here are left out: a later version may list more. */
static int authority_read(const Object__Authority *msg, struct authority *ret)
{
	if (!object_pb_is_32(&msg->peer))
		return ERR_MALFORMED;
	if (msg->n_address > ADDRS_WIRE_MAX)
		return ERR_LIMIT;
	memcpy(ret->peer.bytes, msg->peer.data, KEY_SIZE);
	ret->addr_count = 0;
	for (size_t i = 0; i < msg->n_address; i++) {
		struct multiaddr addr;
		int rc = multiaddr_parse((const char *)msg->address[i].data, msg->address[i].len,
					 &addr);

		if (rc == ERR_UNSUPPORTED)
			continue;
		if (rc < 0 || addr.has_peer)
			return ERR_MALFORMED;
		if (ret->addr_count == OBJECT_AUTHORITY_ADDRS_MAX)
			return ERR_LIMIT;
		ret->addrs[ret->addr_count++] = addr;
	}
	return 0;
}

static int lists_read(const Object__Commit *msg, struct commit *ret)
{
	if (msg->n_parent > OBJECT_PARENTS_MAX || msg->n_authority > OBJECT_AUTHORITIES_MAX)
		return ERR_LIMIT;
	for (size_t i = 0; i < msg->n_parent; i++) {
		if (!object_pb_is_32(&msg->parent[i]))
			return ERR_MALFORMED;
		memcpy(ret->parents[i].bytes, msg->parent[i].data, HASH_SIZE);
	}
	ret->parent_count = msg->n_parent;
	for (size_t i = 0; i < msg->n_authority; i++) {
		int rc = authority_read(msg->authority[i], &ret->authorities[i]);

		if (rc < 0)
			return rc;
	}
	ret->authority_count = msg->n_authority;
	return 0;
}

static int root_read(const Object__Commit *msg, struct commit *ret)
{
	ret->tombstone = msg->tombstone;
	if (ret->tombstone)
		return msg->root.len == 0 && msg->root_kind == 0 ? 0 : ERR_MALFORMED;
	if (!object_pb_is_32(&msg->root) || msg->root_kind > OBJECT_FILE)
		return ERR_MALFORMED;
	memcpy(ret->root.bytes, msg->root.data, HASH_SIZE);
	ret->root_kind = (enum object_kind)msg->root_kind;
	return 0;
}

static int commit_read(const Object__Commit *msg, struct commit *ret)
{
	int rc;

	if (!object_pb_is_32(&msg->space) || !object_pb_is_32(&msg->author))
		return ERR_MALFORMED;
	if (msg->path.len > OBJECT_PATH_MAX)
		return ERR_LIMIT;
	memcpy(ret->space.bytes, msg->space.data, KEY_SIZE);
	memcpy(ret->author.bytes, msg->author.data, KEY_SIZE);
	if (msg->path.len > 0)
		memcpy(ret->path, msg->path.data, msg->path.len);
	ret->path_len = msg->path.len;
	ret->has_capability = msg->capability.len > 0;
	if (ret->has_capability) {
		if (!object_pb_is_32(&msg->capability))
			return ERR_MALFORMED;
		memcpy(ret->capability.bytes, msg->capability.data, HASH_SIZE);
	}
	ret->time_s = msg->time_s;
	ret->content_bytes = msg->content_bytes;
	ret->content_blobs = msg->content_blobs;
	ret->root_mode = msg->root_mode;
	rc = root_read(msg, ret);
	return rc < 0 ? rc : lists_read(msg, ret);
}

static int body_read(const struct object_signed_view *v, struct commit *ret)
{
	CLEANUP(object_pb_memory_fini) struct object_pb_memory memory = { 0 };
	const void *msg;
	int rc;

	object_pb_memory_init(&memory, COMMIT_MEMORY_MAX);
	rc = object_pb_unpack(&memory, &object__commit__descriptor, v->body, v->len, &msg);
	if (rc == 0)
		rc = commit_read(msg, ret);
	return rc < 0 ? rc : commit_check(ret);
}

static int decode(const void *blob, size_t len, bool checked, struct commit *ret)
{
	CLEANUP(mem_freep) struct commit *c = NULL;
	struct object_signed_view v;
	int rc = object_signed_open(blob, len, &v);

	if (rc < 0)
		return rc;
	c = mem_alloc(sizeof(*c));
	if (c == NULL)
		return UV_ENOMEM;
	rc = body_read(&v, c);
	if (rc == 0 && !checked)
		rc = object_signed_verify(SIGNED_COMMIT, &v, c->author.bytes);
	if (rc == 0)
		*ret = *c;
	return rc;
}

int commit_decode(const void *blob, size_t len, struct commit *ret)
{
	return decode(blob, len, false, ret);
}

int commit_decode_checked(const void *blob, size_t len, struct commit *ret)
{
	return decode(blob, len, true, ret);
}
