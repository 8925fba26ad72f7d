/* sync.proto <-> structs: what the answering side sends. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "sync/wire_pb.h"

/* Codes of a refusal: a closed set, numbers never change meaning. What is not in it is an ordinary
 * refusal. */
enum {
	CODE_REFUSED = 0,
	CODE_BUSY = 1,
	CODE_TOO_BIG = 2,
	CODE_NOT_FOUND = 3,
	CODE_UNSUPPORTED = 4
};

static const int codes[] = {
	[CODE_REFUSED] = ERR_REFUSED,	      [CODE_BUSY] = ERR_BUSY,
	[CODE_TOO_BIG] = ERR_TOO_BIG,	      [CODE_NOT_FOUND] = ERR_NOT_FOUND,
	[CODE_UNSUPPORTED] = ERR_UNSUPPORTED,
};

static uint32_t code_out(int err)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i] == err)
			return i;
	return CODE_REFUSED;
}

/* ---- Encode ---- */

static int refusal_out(const struct wire_refusal *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Refusal refusal = SYNC__WIRE__REFUSAL__INIT;

	refusal.code = code_out(r->code);
	refusal.retry_after_ms = r->retry_after_ms;
	refusal.cap = r->cap;
	refusal.text = wire_bytes_out(r->text, strlen(r->text));
	reply.kind_case = SYNC__WIRE__REPLY__KIND_REFUSAL;
	reply.refusal = &refusal;
	return wire_pack(&reply.base, out);
}

static int blob_out(const struct wire_reply *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Blob blob = SYNC__WIRE__BLOB__INIT;

	blob.hash = wire_bytes_out(r->hash.bytes, HASH_SIZE);
	blob.data = wire_bytes_out(r->bytes.data, r->bytes.len);
	blob.missing = r->missing;
	reply.kind_case = SYNC__WIRE__REPLY__KIND_BLOB;
	reply.blob = &blob;
	return wire_pack(&reply.base, out);
}

static int announce_out(const struct wire_reply *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Announce announce = SYNC__WIRE__ANNOUNCE__INIT;
	Sync__Wire__CommitId ids[WIRE_ANNOUNCE_MAX];
	Sync__Wire__CommitId *pointers[WIRE_ANNOUNCE_MAX];

	REQUIRE(r->commit_count <= WIRE_ANNOUNCE_MAX);
	for (size_t i = 0; i < r->commit_count; i++) {
		sync__wire__commit_id__init(&ids[i]);
		ids[i].hash = wire_bytes_out(r->commits[i].hash.bytes, HASH_SIZE);
		ids[i].time_s = r->commits[i].time_s;
		ids[i].path = wire_bytes_out(r->commits[i].path, r->commits[i].path_len);
		pointers[i] = &ids[i];
	}
	announce.n_commit = r->commit_count;
	announce.commit = pointers;
	if (r->keyed)
		announce.scope = wire_bytes_out(r->hash.bytes, HASH_SIZE);
	reply.kind_case = SYNC__WIRE__REPLY__KIND_ANNOUNCE;
	reply.announce = &announce;
	return wire_pack(&reply.base, out);
}

static int subscribed_out(const struct wire_reply *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Subscribed subscribed = SYNC__WIRE__SUBSCRIBED__INIT;
	ProtobufCBinaryData refused[WIRE_FOLLOW_MAX];

	REQUIRE(r->refused_count <= WIRE_FOLLOW_MAX);
	for (size_t i = 0; i < r->refused_count; i++)
		refused[i] = wire_bytes_out(r->refused[i].bytes, HASH_SIZE);
	subscribed.many = r->many;
	subscribed.n_refused = r->refused_count;
	subscribed.refused = refused;
	reply.kind_case = SYNC__WIRE__REPLY__KIND_SUBSCRIBED;
	reply.subscribed = &subscribed;
	return wire_pack(&reply.base, out);
}

struct peer_out {
	Sync__Wire__Peer message;
	ProtobufCBinaryData addresses[SYNC_TARGET_ADDRS_MAX];
	char text[SYNC_TARGET_ADDRS_MAX][MULTIADDR_TEXT_SIZE];
};

static void peer_out(const struct wire_peer *p, struct peer_out *ret)
{
	sync__wire__peer__init(&ret->message);
	ret->message.key = wire_bytes_out(p->key.bytes, KEY_SIZE);
	for (size_t i = 0; i < p->addr_count; i++) {
		struct multiaddr addr = p->addrs[i];

		addr.has_peer = false;
		multiaddr_format(&addr, ret->text[i]);
		ret->addresses[i] = wire_bytes_out(ret->text[i], strlen(ret->text[i]));
	}
	ret->message.n_address = p->addr_count;
	ret->message.address = ret->addresses;
}

static int peers_out(const struct wire_reply *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Peers peers = SYNC__WIRE__PEERS__INIT;
	Sync__Wire__Peer *pointers[WIRE_PEERS_MAX];
	struct peer_out *parts = NULL;
	int err;

	REQUIRE(r->peer_count <= WIRE_PEERS_MAX);
	parts = mem_alloc_array(MAX(r->peer_count, 1u), sizeof(*parts));
	if (parts == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < r->peer_count; i++) {
		peer_out(&r->peers[i], &parts[i]);
		pointers[i] = &parts[i].message;
	}
	peers.n_peer = r->peer_count;
	peers.peer = pointers;
	reply.kind_case = SYNC__WIRE__REPLY__KIND_PEERS;
	reply.peers = &peers;
	err = wire_pack(&reply.base, out);
	mem_free(parts);
	return err;
}

static int dialed_back_out(const struct wire_reply *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__DialedBack dialed = SYNC__WIRE__DIALED_BACK__INIT;
	struct multiaddr addr = r->dialed;
	char text[MULTIADDR_TEXT_SIZE];

	addr.has_peer = false;
	multiaddr_format(&addr, text);
	dialed.reached = r->reached;
	dialed.address = wire_bytes_out(text, strlen(text));
	reply.kind_case = SYNC__WIRE__REPLY__KIND_DIALED_BACK;
	reply.dialed_back = &dialed;
	return wire_pack(&reply.base, out);
}

int wire_reply_encode(const struct wire_reply *r, struct buf *out)
{
	Sync__Wire__Reply reply = SYNC__WIRE__REPLY__INIT;
	Sync__Wire__Reconcile reconcile = SYNC__WIRE__RECONCILE__INIT;
	Sync__Wire__Ping pong = SYNC__WIRE__PING__INIT;

	switch (r->kind) {
	case WIRE_REPLY_REFUSAL: return refusal_out(&r->refusal, out);
	case WIRE_REPLY_BLOB: return blob_out(r, out);
	case WIRE_REPLY_ANNOUNCE: return announce_out(r, out);
	case WIRE_REPLY_PEERS: return peers_out(r, out);
	case WIRE_REPLY_DIALED_BACK: return dialed_back_out(r, out);
	case WIRE_REPLY_SUBSCRIBED: return subscribed_out(r, out);
	case WIRE_REPLY_RECONCILE:
		reconcile.message = wire_bytes_out(r->bytes.data, r->bytes.len);
		reply.kind_case = SYNC__WIRE__REPLY__KIND_RECONCILE;
		reply.reconcile = &reconcile;
		break;
	case WIRE_REPLY_PONG:
		pong.data = wire_bytes_out(r->bytes.data, r->bytes.len);
		reply.kind_case = SYNC__WIRE__REPLY__KIND_PONG;
		reply.pong = &pong;
		break;
	}
	return wire_pack(&reply.base, out);
}

/* ---- Decode ---- */

/* Keeps what can be shown: a text that is not UTF-8, or has controls, is left out. */
static void text_in(const ProtobufCBinaryData *text, char ret[WIRE_TEXT_MAX + 1])
{
	const char *s = (const char *)text->data;
	size_t len = text->len, at = 0;

	while (at < len) {
		uint32_t c;
		size_t n = utf8_decode(s + at, len - at, &c);

		if (n == 0 || utf8_is_control(c)) {
			ret[0] = '\0';
			return;
		}
		if (at + n > WIRE_TEXT_MAX)
			break;
		at += n;
	}
	if (at > 0)
		memcpy(ret, s, at);
	ret[at] = '\0';
}

static void refusal_in(const Sync__Wire__Refusal *m, struct wire_reply *r)
{
	r->kind = WIRE_REPLY_REFUSAL;
	r->refusal.code = m->code < ARRAY_SIZE(codes) ? codes[m->code] : ERR_REFUSED;
	r->refusal.retry_after_ms = MIN(m->retry_after_ms, (uint32_t)WIRE_RETRY_MAX_MS);
	r->refusal.cap = m->cap;
	text_in(&m->text, r->refusal.text);
}

static int blob_in(const Sync__Wire__Blob *m, struct wire_reply *r)
{
	r->kind = WIRE_REPLY_BLOB;
	r->missing = m->missing != 0;
	if (wire_hash_in(&m->hash, &r->hash) < 0 || (r->missing && m->data.len > 0))
		return ERR_MALFORMED;
	return wire_bytes_in(&m->data, OBJECT_BLOB_MAX, &r->bytes);
}

static int announce_in(const Sync__Wire__Announce *m, struct arena *a, struct wire_reply *r)
{
	r->kind = WIRE_REPLY_ANNOUNCE;
	if (m->n_commit > WIRE_ANNOUNCE_MAX)
		return ERR_LIMIT;
	r->keyed = m->scope.len > 0;
	if (r->keyed && wire_hash_in(&m->scope, &r->hash) < 0)
		return ERR_MALFORMED;
	r->commits = arena_alloc(a, m->n_commit * sizeof(*r->commits));
	if (r->commits == NULL)
		return UV_ENOMEM;
	r->commit_count = m->n_commit;
	for (size_t i = 0; i < m->n_commit; i++) {
		struct wire_commit *c = &r->commits[i];

		c->time_s = m->commit[i]->time_s;
		c->path = (const char *)m->commit[i]->path.data;
		c->path_len = m->commit[i]->path.len;
		if (c->path_len > OBJECT_PATH_MAX)
			return ERR_LIMIT;
		if (wire_hash_in(&m->commit[i]->hash, &c->hash) < 0)
			return ERR_MALFORMED;
	}
	return 0;
}

static int subscribed_in(const Sync__Wire__Subscribed *m, struct arena *a, struct wire_reply *r)
{
	r->kind = WIRE_REPLY_SUBSCRIBED;
	r->many = m->many != 0;
	if (m->n_refused > WIRE_FOLLOW_MAX)
		return ERR_LIMIT;
	r->refused = arena_alloc(a, m->n_refused * sizeof(*r->refused));
	if (r->refused == NULL)
		return UV_ENOMEM;
	r->refused_count = m->n_refused;
	for (size_t i = 0; i < m->n_refused; i++)
		if (wire_hash_in(&m->refused[i], &r->refused[i]) < 0)
			return ERR_MALFORMED;
	return 0;
}

static int peer_in(const Sync__Wire__Peer *m, struct wire_peer *ret)
{
	if (m->n_address > SYNC_TARGET_ADDRS_MAX)
		return ERR_LIMIT;
	for (size_t i = 0; i < m->n_address; i++)
		if (multiaddr_parse((const char *)m->address[i].data, m->address[i].len,
				    &ret->addrs[ret->addr_count]) == 0 &&
		    ret->addrs[ret->addr_count].zone == 0)
			ret->addr_count++; /* other kinds are skipped; a zone is its owner's */
	return wire_key_in(&m->key, &ret->key);
}

static int peers_in(const Sync__Wire__Peers *m, struct arena *a, struct wire_reply *r)
{
	int err = 0;

	r->kind = WIRE_REPLY_PEERS;
	if (m->n_peer > WIRE_PEERS_MAX)
		return ERR_LIMIT;
	r->peers = arena_alloc(a, m->n_peer * sizeof(*r->peers));
	if (r->peers == NULL)
		return UV_ENOMEM;
	r->peer_count = m->n_peer;
	for (size_t i = 0; i < m->n_peer && err == 0; i++)
		err = peer_in(m->peer[i], &r->peers[i]);
	return err;
}

static int reply_in(const Sync__Wire__Reply *m, struct arena *a, struct wire_reply *r)
{
	switch ((unsigned)m->kind_case) {
	case SYNC__WIRE__REPLY__KIND_REFUSAL: refusal_in(m->refusal, r); return 0;
	case SYNC__WIRE__REPLY__KIND_RECONCILE:
		r->kind = WIRE_REPLY_RECONCILE;
		return wire_bytes_in(&m->reconcile->message, WIRE_RECONCILE_MAX, &r->bytes);
	case SYNC__WIRE__REPLY__KIND_BLOB: return blob_in(m->blob, r);
	case SYNC__WIRE__REPLY__KIND_ANNOUNCE: return announce_in(m->announce, a, r);
	case SYNC__WIRE__REPLY__KIND_PONG:
		r->kind = WIRE_REPLY_PONG;
		return wire_bytes_in(&m->pong->data, WIRE_PING_MAX, &r->bytes);
	case SYNC__WIRE__REPLY__KIND_PEERS: return peers_in(m->peers, a, r);
	case SYNC__WIRE__REPLY__KIND_DIALED_BACK:
		r->kind = WIRE_REPLY_DIALED_BACK;
		r->reached = m->dialed_back->reached != 0;
		return multiaddr_parse((const char *)m->dialed_back->address.data,
				       m->dialed_back->address.len, &r->dialed) < 0 ?
			       ERR_MALFORMED :
			       0;
	case SYNC__WIRE__REPLY__KIND_SUBSCRIBED: return subscribed_in(m->subscribed, a, r);
	default: return ERR_MALFORMED;
	}
}

enum { FIELD_BYTES = 2 /* wire type of bytes and of messages */ };

/* The rest of `r` is this field of bytes, or begins with it. */
static bool take_bytes(struct buf_reader *r, unsigned field, struct wire_bytes *ret)
{
	uint64_t len;
	uint8_t tag;

	if (buf_read_u8(r, &tag) < 0 || tag != (field << 3 | FIELD_BYTES) ||
	    buf_read_uvarint(r, &len) < 0 || buf_read_bytes(r, len, &ret->data) < 0)
		return false;
	ret->len = len;
	return true;
}

/* A reply that is nothing but a hash and its bytes, in this order, as every encoder writes it. Most
 * of what is received is these, up to a megabyte each: they are used where they lie. */
static bool plain_blob(const void *msg, size_t len, struct wire_reply *ret)
{
	struct buf_reader r = buf_reader(msg, len);
	struct wire_bytes blob, hash, data;

	if (!take_bytes(&r, SYNC__WIRE__REPLY__KIND_BLOB, &blob) || buf_left(&r) > 0)
		return false;
	r = buf_reader(blob.data, blob.len);
	if (!take_bytes(&r, 1, &hash) || hash.len != HASH_SIZE || !take_bytes(&r, 2, &data) ||
	    buf_left(&r) > 0 || data.len > OBJECT_BLOB_MAX)
		return false;
	*ret = (struct wire_reply){ .kind = WIRE_REPLY_BLOB, .bytes = data };
	memcpy(ret->hash.bytes, hash.data, HASH_SIZE);
	return true;
}

int wire_reply_decode(const void *msg, size_t len, struct arena *a, struct wire_reply *ret)
{
	Sync__Wire__Reply *m;
	struct wire_reply r = { 0 };
	int err;

	if (len <= NET_MESSAGE_MAX && plain_blob(msg, len, ret))
		return 0;
	err = wire_unpack(&sync__wire__reply__descriptor, msg, len, a, &m);
	if (err == 0)
		err = reply_in(m, a, &r);
	if (err == 0)
		*ret = r;
	return err;
}
