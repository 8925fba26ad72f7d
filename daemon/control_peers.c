/* GET, POST, DELETE /v1/peers: whom we know. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/json.h"

/* ---- List ---- */

struct list_call {
	struct control_call call;
	struct store_peers op;
	json_t *list;
	control_list_fn reply;
};

/* What it occupies of us: who wants to know who holds what looks here. */
static void add_usage(struct daemon *d, json_t *peer, const struct net_conn_info *info)
{
	struct sync_usage usage;

	sync_usage(d->sync, &info->peer, &usage);
	json_object_set_new(peer, "rank", json_string(usage.rank));
	json_object_set_new(peer, "streams", json_integer(info->streams));
	json_object_set_new(peer, "serving", json_integer(usage.serving));
	json_object_set_new(peer, "waiting", json_integer(usage.waiting));
	json_object_set_new(peer, "held_bytes",
			    json_integer((json_int_t)(usage.held_bytes + info->unsent)));
	json_object_set_new(peer, "idle_ms", json_integer((json_int_t)usage.idle_ms));
	json_object_set_new(peer, "scopes", json_integer(usage.scopes));
}

static void add_connection(struct daemon *d, json_t *peer, struct net_conn *conn)
{
	struct net_conn_info info;

	net_conn_info(conn, &info);
	json_object_set_new(peer, "connected", json_true());
	json_object_set_new(peer, "direction", json_string(info.inbound ? "in" : "out"));
	json_object_set_new(peer, "remote", json_multiaddr(&info.remote));
	json_object_set_new(peer, "agent", json_string(info.agent));
	json_object_set_new(peer, "rtt_ms",
			    info.rtt_us > 0 ? json_real((double)info.rtt_us / 1000) : json_null());
	json_object_set_new(peer, "sent_bytes", json_integer((json_int_t)info.sent_bytes));
	json_object_set_new(peer, "received_bytes", json_integer((json_int_t)info.received_bytes));
	add_usage(d, peer, &info);
	json_object_set_new(
		peer, "connected_ms",
		json_integer((json_int_t)(runner_now_ms(&d->loop.runner) - info.since_ms)));
}

static void add_bench(struct daemon *d, json_t *peer, const struct public_key *key)
{
	struct discovery_benched b;

	if (!discovery_benched(d->discovery, key, &b))
		return;
	json_object_set_new(peer, "benched_for_ms", json_integer((json_int_t)b.for_ms));
	json_object_set_new(peer, "offences", json_integer(b.offences));
	json_object_set_new(peer, "why", json_string(b.why));
}

static json_t *peer_json(struct daemon *d, const struct public_key *key,
			 const struct store_peer *known)
{
	struct net_conn *conn = net_find(d->net, key);
	json_t *peer = json_pack("{s:o, s:b}", "peer", json_peer_id(key), "connected", 0),
	       *addresses = json_array();

	for (size_t i = 0; known != NULL && i < known->addr_count; i++) {
		struct multiaddr addr = known->addrs[i];

		addr.has_peer = true;
		addr.peer = *key;
		(void)json_array_append_new(addresses, json_multiaddr(&addr));
	}
	json_object_set_new(peer, "addresses", addresses);
	json_object_set_new(peer, "added", json_boolean(known != NULL && known->added_by_user));
	json_object_set_new(peer, "last_ok", json_time(known != NULL ? known->last_ok_s : 0));
	json_object_set_new(peer, "last_fail", json_time(known != NULL ? known->last_fail_s : 0));
	json_object_set_new(peer, "failures", json_integer(known != NULL ? known->failures : 0));
	add_bench(d, peer, key);
	if (conn != NULL)
		add_connection(d, peer, conn);
	return peer;
}

static bool add_offender(void *data, const struct discovery_benched *b)
{
	json_t *list = data;
	json_t *row = json_pack("{s:o, s:I, s:I, s:i, s:i, s:I, s:I, s:s}", "peer",
				json_peer_id(&b->peer), "benched_for_ms", (json_int_t)b->for_ms,
				"failed_ago_ms", (json_int_t)b->ago_ms, "failures",
				(int)b->failures, "offences", (int)b->offences, "wasted_ms",
				(json_int_t)b->wasted_ms, "wasted_bytes",
				(json_int_t)b->wasted_bytes, "why", b->why);

	(void)json_array_append_new(list, row);
	return json_array_size(list) < CONTROL_LIST_MAX;
}

/* Who failed or did wrong, known or not: strangers are the ones to look for. */
static json_t *benched_json(struct daemon *d)
{
	json_t *list = json_array();

	discovery_each_benched(d->discovery, add_offender, list);
	return list;
}

static bool add_unknown(void *data, struct net_conn *conn)
{
	struct list_call *q = data;
	const struct public_key *key = net_conn_peer(conn);

	for (size_t i = 0; i < q->op.count; i++)
		if (key_eq(&q->op.peers[i].key, key))
			return true;
	(void)json_array_append_new(q->list, peer_json(q->call.daemon, key, NULL));
	return true;
}

static void on_list(struct store_peers *op, int status)
{
	struct list_call *q = container_of(op, struct list_call, op);

	if (status < 0) {
		control_failed(q->call.request, status);
	} else {
		q->list = json_array();
		for (size_t i = 0; i < op->count; i++)
			(void)json_array_append_new(
				q->list,
				peer_json(q->call.daemon, &op->peers[i].key, &op->peers[i]));
		net_each_conn(q->call.daemon->net, add_unknown, q);
		q->reply(q->call.daemon, q->call.request,
			 json_pack("{s:o, s:o}", "peers", q->list, "benched",
				   benched_json(q->call.daemon)));
	}
	store_peers_fini(op);
	control_call_free(&q->call);
}

void control_list_peers(struct control *c, struct http_request *r, control_list_fn reply)
{
	struct op_env env = control_env(control_daemon(c), CONTROL_TIMEOUT_MS);
	size_t limit = MIN(control_limit(r) * 10, (size_t)CONTROL_LIST_MAX);
	struct list_call *q = control_call_new(c, r, sizeof(*q));

	if (q == NULL)
		return;
	q->reply = reply;
	q->call.op = &q->op.op;
	store_peers_start(&q->op, &env, q->call.daemon->store, NULL, limit, on_list);
}

/* ---- Add: dial, then remember. An address with a peer id is remembered even when nobody answers
 * now. ---- */

struct add_call {
	struct control_call call;
	struct net_dial dial;
	struct store_peer_set set;
	struct multiaddr addr;
	struct public_key peer;
	int dial_status;
};

static void on_added(struct store_peer_set *op, int status)
{
	struct add_call *q = container_of(op, struct add_call, set);
	json_t *o;

	store_peer_set_fini(op);
	if (status < 0) {
		control_failed(q->call.request, status);
	} else {
		sync_know(q->call.daemon->sync, &q->peer);
		o = json_pack("{s:o, s:b}", "peer", json_peer_id(&q->peer), "connected",
			      q->dial_status == 0);
		json_object_set_new(o, "address", json_multiaddr(&q->addr));
		json_object_set_new(o, "status", json_integer(q->dial_status));
		json_object_set_new(o, "error",
				    json_string(q->dial_status < 0 ? err_str(q->dial_status) : ""));
		control_reply(q->call.request, o);
	}
	control_call_free(&q->call);
}

static void on_dialed(struct net_dial *dial, int status)
{
	struct add_call *q = container_of(dial, struct add_call, dial);
	struct op_env env = control_env(q->call.daemon, CONTROL_TIMEOUT_MS);
	struct store_peer peer = { .addrs = { q->addr }, .addr_count = 1, .added_by_user = true };
	bool wrong = status == ERR_SELF || status == ERR_PEER_MISMATCH || status == UV_ECANCELED;

	q->call.op = NULL;
	q->dial_status = status;
	if (status < 0 && (!q->addr.has_peer || wrong)) {
		control_error(
			q->call.request, status, "the peer was not added: %s%s", err_str(status),
			q->addr.has_peer ? "" : ". Without a /p2p/ part the peer has to answer");
		control_call_free(&q->call);
		return;
	}
	q->peer = status == 0 ? *net_conn_peer(dial->conn) : q->addr.peer;
	q->addr.has_peer = true;
	q->addr.peer = peer.key = q->peer;
	peer.addrs[0].has_peer = false;
	q->call.op = &q->set.op;
	store_peer_set_start(&q->set, &env, q->call.daemon->store, STORE_PEER_ADD, &peer, NULL,
			     on_added);
}

static void post_peer(void *data, struct http_request *r)
{
	struct daemon *d = control_daemon(data);
	json_t *body = control_body(r);
	const char *text = json_get_text(body, "address");
	uint64_t timeout_ms = json_get_count(body, "timeout_ms");
	struct op_env env = control_env(d, timeout_ms > 0 ?
						   MIN(timeout_ms, (uint64_t)CONTROL_TIMEOUT_MS) :
						   NET_DIAL_TIMEOUT_MS * 2);
	struct add_call *q = NULL;
	struct multiaddr addr;
	int rc;

	if (body == NULL)
		return;
	rc = multiaddr_parse(text, strlen(text), &addr);
	if (rc < 0)
		control_error(r, ERR_MALFORMED,
			      "address: %s; it reads /ip4/ADDRESS/tcp/PORT/p2p/PEER", err_str(rc));
	else if (addr.has_peer && key_eq(&addr.peer, &d->node.public))
		control_error(r, ERR_SELF, "that is this daemon itself: add it at the other end");
	else
		q = control_call_new(data, r, sizeof(*q));
	json_decref(body);
	if (q == NULL)
		return;
	q->addr = addr;
	q->call.op = &q->dial.op;
	net_dial_start(&q->dial, &env, d->net, addr.has_peer ? &addr.peer : NULL, &addr, 1,
		       on_dialed);
}

/* ---- Remove ---- */

struct remove_call {
	struct control_call call;
	struct store_peer_set op;
};

static void on_removed(struct store_peer_set *op, int status)
{
	struct remove_call *q = container_of(op, struct remove_call, op);

	if (status == 0)
		sync_unknow(q->call.daemon->sync, &op->peer.key);
	if (status == 0)
		control_reply(q->call.request, json_pack("{s:b}", "removed", 1));
	else if (status == ERR_NOT_FOUND)
		control_error(q->call.request, status, "this peer is not known");
	else
		control_failed(q->call.request, status);
	store_peer_set_fini(op);
	control_call_free(&q->call);
}

static void delete_peer(void *data, struct http_request *r)
{
	struct op_env env = control_env(control_daemon(data), CONTROL_TIMEOUT_MS);
	const char *text = http_request_param(r, "peer");
	struct store_peer peer = { 0 };
	struct remove_call *q;

	if (text == NULL || peer_id_parse(text, strlen(text), &peer.key) < 0) {
		control_error(r, ERR_MALFORMED, "the parameter peer is not a peer id (12D3KooW…)");
		return;
	}
	q = control_call_new(data, r, sizeof(*q));
	if (q == NULL)
		return;
	q->call.op = &q->op.op;
	store_peer_set_start(&q->op, &env, q->call.daemon->store, STORE_PEER_REMOVE, &peer, NULL,
			     on_removed);
}

static void on_request(void *data, struct http_request *r)
{
	if (http_request_method(r) == HTTP_POST_)
		post_peer(data, r);
	else if (http_request_method(r) == HTTP_DELETE_)
		delete_peer(data, r);
	else
		control_list_peers(data, r, control_reply_list);
}

int control_peer_routes(struct control *c, struct http_server *s)
{
	return http_route(s, HTTP_GET_ | HTTP_POST_ | HTTP_DELETE_, "/v1/peers",
			  "peers that are known (JSON)", on_request, c);
}
