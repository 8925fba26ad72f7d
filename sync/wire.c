/* sync.proto <-> structs: what the asking side sends. (Replies: wire_reply.c. The allocator:
 * wire_pb.c.)
 *
 * What can go wrong: repeated fields beyond their limit, keys and hashes of another length, a path
 * that is not one, a oneof that is not set or of a newer kind (ERR_UNSUPPORTED for requests: the
 * asker gets a refusal, not a reset). */
#include <string.h>

#include "base/err.h"
#include "sync/wire_pb.h"

const char *wire_request_name(enum wire_request_kind kind)
{
	static const char *const names[] = { "reconcile", "fetch", "subscribe",
					     "ping",	  "peers", "dial back" };

	return names[kind];
}

/* ---- Request ---- */

int wire_request_encode(const struct wire_request *r, struct buf *out)
{
	Sync__Wire__Request m = SYNC__WIRE__REQUEST__INIT;
	Sync__Wire__Scope scope;
	Sync__Wire__ReconcileOpen reconcile = SYNC__WIRE__RECONCILE_OPEN__INIT;
	Sync__Wire__FetchOpen fetch = SYNC__WIRE__FETCH_OPEN__INIT;
	Sync__Wire__Subscribe subscribe = SYNC__WIRE__SUBSCRIBE__INIT;
	Sync__Wire__Ping ping = SYNC__WIRE__PING__INIT;
	Sync__Wire__PeersOpen peers = SYNC__WIRE__PEERS_OPEN__INIT;
	Sync__Wire__DialBack dial_back = SYNC__WIRE__DIAL_BACK__INIT;
	char traceparent[TRACEPARENT_SIZE];

	wire_scope_out(&r->scope, &scope);
	m.timeout_ms = r->timeout_ms;
	if (r->traced) {
		trace_context_format(&r->trace, traceparent);
		m.traceparent = wire_bytes_out(traceparent, TRACEPARENT_SIZE - 1);
	}
	switch (r->kind) {
	case WIRE_RECONCILE:
		m.kind_case = SYNC__WIRE__REQUEST__KIND_RECONCILE;
		reconcile.scope = &scope;
		reconcile.message = wire_bytes_out(r->bytes.data, r->bytes.len);
		m.reconcile = &reconcile;
		break;
	case WIRE_FETCH:
		m.kind_case = SYNC__WIRE__REQUEST__KIND_FETCH;
		fetch.scope = &scope;
		m.fetch = &fetch;
		break;
	case WIRE_SUBSCRIBE:
		m.kind_case = SYNC__WIRE__REQUEST__KIND_SUBSCRIBE;
		subscribe.scope = &scope;
		subscribe.many = r->many;
		m.subscribe = &subscribe;
		break;
	case WIRE_PING:
		m.kind_case = SYNC__WIRE__REQUEST__KIND_PING;
		ping.data = wire_bytes_out(r->bytes.data, r->bytes.len);
		m.ping = &ping;
		break;
	case WIRE_PEERS:
		m.kind_case = SYNC__WIRE__REQUEST__KIND_PEERS;
		peers.space = wire_bytes_out(r->space.bytes, KEY_SIZE);
		m.peers = &peers;
		break;
	case WIRE_DIAL_BACK:
		m.kind_case = SYNC__WIRE__REQUEST__KIND_DIAL_BACK;
		dial_back.port = r->port;
		m.dial_back = &dial_back;
		break;
	}
	return wire_pack(&m.base, out);
}

static int request_kind_in(const Sync__Wire__Request *m, struct wire_request *r)
{
	int err;

	switch ((unsigned)m->kind_case) {
	case SYNC__WIRE__REQUEST__KIND_RECONCILE:
		r->kind = WIRE_RECONCILE;
		err = wire_bytes_in(&m->reconcile->message, WIRE_RECONCILE_MAX, &r->bytes);
		return err < 0 ? err : wire_scope_in(m->reconcile->scope, &r->scope);
	case SYNC__WIRE__REQUEST__KIND_FETCH:
		r->kind = WIRE_FETCH;
		return wire_scope_in(m->fetch->scope, &r->scope);
	case SYNC__WIRE__REQUEST__KIND_SUBSCRIBE:
		r->kind = WIRE_SUBSCRIBE;
		r->many = m->subscribe->many != 0;
		return wire_scope_in(m->subscribe->scope, &r->scope);
	case SYNC__WIRE__REQUEST__KIND_PING:
		r->kind = WIRE_PING;
		return wire_bytes_in(&m->ping->data, WIRE_PING_MAX, &r->bytes);
	case SYNC__WIRE__REQUEST__KIND_PEERS:
		r->kind = WIRE_PEERS;
		return wire_key_in(&m->peers->space, &r->space);
	case SYNC__WIRE__REQUEST__KIND_DIAL_BACK:
		r->kind = WIRE_DIAL_BACK;
		r->port = (uint16_t)m->dial_back->port;
		return r->port == 0 || r->port != m->dial_back->port ? ERR_MALFORMED : 0;
	default: return ERR_UNSUPPORTED;
	}
}

int wire_request_decode(const void *msg, size_t len, struct arena *a, struct wire_request *ret)
{
	Sync__Wire__Request *m;
	struct wire_request r = { 0 };
	int err = wire_unpack(&sync__wire__request__descriptor, msg, len, a, &m);

	if (err < 0)
		return err;
	r.timeout_ms = m->timeout_ms;
	r.traced = trace_context_parse((const char *)m->traceparent.data, m->traceparent.len,
				       &r.trace) == 0;
	err = request_kind_in(m, &r);
	if (err == 0)
		*ret = r;
	return err;
}

/* ---- More ---- */

static int follow_out(const struct wire_more *m, struct buf *out)
{
	Sync__Wire__More more = SYNC__WIRE__MORE__INIT;
	Sync__Wire__Follow follow = SYNC__WIRE__FOLLOW__INIT;
	Sync__Wire__Scope scopes[WIRE_FOLLOW_MAX], *pointers[WIRE_FOLLOW_MAX];
	ProtobufCBinaryData drop[WIRE_FOLLOW_MAX];

	REQUIRE(m->scope_count <= WIRE_FOLLOW_MAX && m->hash_count <= WIRE_FOLLOW_MAX);
	for (size_t i = 0; i < m->scope_count; i++) {
		wire_scope_out(&m->scopes[i], &scopes[i]);
		pointers[i] = &scopes[i];
	}
	for (size_t i = 0; i < m->hash_count; i++)
		drop[i] = wire_bytes_out(m->hashes[i].bytes, HASH_SIZE);
	follow.n_add = m->scope_count;
	follow.add = pointers;
	follow.n_drop = m->hash_count;
	follow.drop = drop;
	more.kind_case = SYNC__WIRE__MORE__KIND_FOLLOW;
	more.follow = &follow;
	return wire_pack(&more.base, out);
}

static int fetch_out(const struct wire_more *m, struct buf *out)
{
	Sync__Wire__More more = SYNC__WIRE__MORE__INIT;
	Sync__Wire__Fetch fetch = SYNC__WIRE__FETCH__INIT;
	ProtobufCBinaryData hashes[SYNC_FETCH_BATCH_MAX];

	REQUIRE(m->hash_count <= SYNC_FETCH_BATCH_MAX);
	for (size_t i = 0; i < m->hash_count; i++)
		hashes[i] = wire_bytes_out(m->hashes[i].bytes, HASH_SIZE);
	fetch.n_hash = m->hash_count;
	fetch.hash = hashes;
	more.kind_case = SYNC__WIRE__MORE__KIND_FETCH;
	more.fetch = &fetch;
	return wire_pack(&more.base, out);
}

int wire_more_encode(const struct wire_more *m, struct buf *out)
{
	Sync__Wire__More more = SYNC__WIRE__MORE__INIT;
	Sync__Wire__Reconcile reconcile = SYNC__WIRE__RECONCILE__INIT;

	if (m->kind == WIRE_MORE_FETCH)
		return fetch_out(m, out);
	if (m->kind == WIRE_MORE_FOLLOW)
		return follow_out(m, out);
	reconcile.message = wire_bytes_out(m->reconcile.data, m->reconcile.len);
	more.kind_case = SYNC__WIRE__MORE__KIND_RECONCILE;
	more.reconcile = &reconcile;
	return wire_pack(&more.base, out);
}

static int fetch_in(const Sync__Wire__Fetch *f, struct wire_more *ret)
{
	if (f->n_hash > SYNC_FETCH_BATCH_MAX)
		return ERR_LIMIT;
	for (size_t i = 0; i < f->n_hash; i++)
		if (wire_hash_in(&f->hash[i], &ret->hashes[i]) < 0)
			return ERR_MALFORMED;
	ret->kind = WIRE_MORE_FETCH;
	ret->hash_count = f->n_hash;
	return 0;
}

static int follow_in(const Sync__Wire__Follow *f, struct arena *a, struct wire_more *ret)
{
	struct scope *scopes;

	if (f->n_add > WIRE_FOLLOW_MAX || f->n_drop > WIRE_FOLLOW_MAX)
		return ERR_LIMIT;
	scopes = arena_alloc(a, f->n_add * sizeof(*scopes));
	if (scopes == NULL)
		return UV_ENOMEM;
	for (size_t i = 0; i < f->n_add; i++)
		if (wire_scope_in(f->add[i], &scopes[i]) < 0)
			return ERR_MALFORMED;
	for (size_t i = 0; i < f->n_drop; i++)
		if (wire_hash_in(&f->drop[i], &ret->hashes[i]) < 0)
			return ERR_MALFORMED;
	ret->kind = WIRE_MORE_FOLLOW;
	ret->scopes = scopes;
	ret->scope_count = f->n_add;
	ret->hash_count = f->n_drop;
	return 0;
}

int wire_more_decode(const void *msg, size_t len, struct arena *a, struct wire_more *ret)
{
	Sync__Wire__More *m;
	struct wire_more more = { 0 };
	int err = wire_unpack(&sync__wire__more__descriptor, msg, len, a, &m);

	if (err < 0)
		return err;
	switch ((unsigned)m->kind_case) {
	case SYNC__WIRE__MORE__KIND_FETCH: err = fetch_in(m->fetch, &more); break;
	case SYNC__WIRE__MORE__KIND_FOLLOW: err = follow_in(m->follow, a, &more); break;
	case SYNC__WIRE__MORE__KIND_RECONCILE:
		err = wire_bytes_in(&m->reconcile->message, WIRE_RECONCILE_MAX, &more.reconcile);
		break;
	default: err = ERR_MALFORMED; break;
	}
	if (err == 0)
		*ret = more;
	return err;
}
