/* A message is one dictionary:
 *
 *	t transaction   y q|r|e   v version   ip requester's address   ro read-only
 *	q method and a arguments | r results | e [code, text]
 *
 * Keys may come in any order, so everything is collected first, arguments and results alike, and
 * judged at the end. Of a list longer than we take the front counts. */
#include "discovery/dht/krpc.h"

#include <string.h>

#include "discovery/dht/bencode.h"

/* Two letters that no client of BEP 20 uses, and a version. */
static const uint8_t our_version[4] = { 'P', 'S', 0, 1 };

static const char *const method_names[] = {
	[KRPC_PING] = "ping",
	[KRPC_FIND_NODE] = "find_node",
	[KRPC_GET_PEERS] = "get_peers",
	[KRPC_ANNOUNCE_PEER] = "announce_peer",
	[KRPC_GET] = "get",
	[KRPC_PUT] = "put",
};

static bool is_text(const struct bencode_token *t, const char *s)
{
	return t->type == BENCODE_STRING && t->len == strlen(s) && memcmp(t->p, s, t->len) == 0;
}

static struct krpc_bytes bytes_of(const struct bencode_token *t)
{
	return (struct krpc_bytes){ t->p, t->len };
}

static bool take_id(const struct bencode_token *v, struct dht_id *ret)
{
	if (v->type != BENCODE_STRING || v->len != DHT_ID_SIZE)
		return false;
	memcpy(ret->bytes, v->p, DHT_ID_SIZE);
	return true;
}

static int read_values(struct bencode *b, struct krpc_message *m)
{
	struct bencode_token t;
	int rc;

	while ((rc = bencode_next(b, &t)) == 0 && t.type != BENCODE_END) {
		if (t.type == BENCODE_STRING && m->value_count < KRPC_VALUES_MAX &&
		    address_from_compact(t.p, t.len, &m->values[m->value_count]))
			m->value_count++;
		rc = bencode_skip(b, &t);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static int read_want(struct bencode *b, struct krpc_message *m)
{
	struct bencode_token t;
	int rc;

	while ((rc = bencode_next(b, &t)) == 0 && t.type != BENCODE_END) {
		if (is_text(&t, "n4"))
			m->want |= KRPC_WANT_N4;
		if (is_text(&t, "n6"))
			m->want |= KRPC_WANT_N6;
		rc = bencode_skip(b, &t);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static void take_string(const struct bencode_token *key, const struct bencode_token *v,
			struct krpc_message *m)
{
	if (is_text(key, "id"))
		m->has_id = take_id(v, &m->id);
	else if (is_text(key, "target") || is_text(key, "info_hash"))
		m->has_target = take_id(v, &m->target) || m->has_target;
	else if (is_text(key, "token") && v->len <= KRPC_TOKEN_MAX)
		m->token = bytes_of(v);
	else if (is_text(key, "nodes") && v->len % 26 == 0)
		m->nodes[0] = bytes_of(v);
	else if (is_text(key, "nodes6") && v->len % 38 == 0)
		m->nodes[1] = bytes_of(v);
}

static void take_int(const struct bencode_token *key, const struct bencode_token *v,
		     struct krpc_message *m)
{
	if (is_text(key, "implied_port"))
		m->implied_port = v->n != 0;
	if (!is_text(key, "port") || v->n < 0 || v->n > UINT16_MAX)
		return;
	m->port = (uint16_t)v->n;
	m->has_port = true;
}

/* The dictionary `a` or `r`. */
static int read_body(struct bencode *b, struct krpc_message *m)
{
	struct bencode_token key, v;
	int rc;

	while ((rc = bencode_key(b, &key)) == 1) {
		const uint8_t *from = b->in.p;

		rc = bencode_next(b, &v);
		if (rc < 0)
			return rc;
		if (v.type == BENCODE_STRING)
			take_string(&key, &v, m);
		else if (v.type == BENCODE_INT)
			take_int(&key, &v, m);
		if (v.type == BENCODE_LIST && is_text(&key, "values"))
			rc = read_values(b, m);
		else if (v.type == BENCODE_LIST && is_text(&key, "want"))
			rc = read_want(b, m);
		else
			rc = bencode_skip(b, &v);
		if (rc < 0)
			return rc;
		if (is_text(&key, "v"))
			m->value = (struct krpc_bytes){ from, (size_t)(b->in.p - from) };
	}
	return rc;
}

static int read_error(struct bencode *b, struct krpc_message *m)
{
	struct bencode_token t;
	bool first = true;
	int rc;

	while ((rc = bencode_next(b, &t)) == 0 && t.type != BENCODE_END) {
		if (first && t.type == BENCODE_INT)
			m->error = t.n;
		first = false;
		rc = bencode_skip(b, &t);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static enum krpc_method method_of(const struct bencode_token *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(method_names); i++) {
		if (is_text(t, method_names[i]))
			return (enum krpc_method)i;
	}
	return KRPC_UNKNOWN;
}

/* What the top level held: `y` decides which of them must be there. */
struct parts {
	bool query, reply, error, q, a, r, e;
};

static void take_type(const struct bencode_token *v, struct parts *p)
{
	p->query = is_text(v, "q");
	p->reply = is_text(v, "r");
	p->error = is_text(v, "e");
}

/* A value of the top level whose first token is `v`. */
static int take_top(struct bencode *b, const struct bencode_token *key,
		    const struct bencode_token *v, struct krpc_message *m, struct parts *p)
{
	if (v->type == BENCODE_DICT && (is_text(key, "a") || is_text(key, "r"))) {
		*(is_text(key, "a") ? &p->a : &p->r) = true;
		return read_body(b, m);
	}
	if (v->type == BENCODE_LIST && is_text(key, "e")) {
		p->e = true;
		return read_error(b, m);
	}
	if (v->type == BENCODE_INT && is_text(key, "ro"))
		m->read_only = v->n != 0;
	if (v->type != BENCODE_STRING)
		return bencode_skip(b, v);
	if (is_text(key, "t")) {
		m->tid = bytes_of(v);
	} else if (is_text(key, "y")) {
		take_type(v, p);
	} else if (is_text(key, "q")) {
		p->q = true;
		m->method = method_of(v);
	} else if (is_text(key, "ip")) {
		(void)address_from_compact(v->p, v->len, &m->seen_as);
	}
	return 0;
}

static int judge(const struct parts *p, struct krpc_message *m)
{
	if (m->tid.p == NULL || m->tid.len > KRPC_TID_MAX)
		return ERR_MALFORMED;
	if (p->query && p->q && p->a)
		m->type = KRPC_QUERY;
	else if (p->reply && p->r)
		m->type = KRPC_REPLY;
	else if (p->error && p->e)
		m->type = KRPC_ERROR;
	else
		return ERR_MALFORMED;
	return 0;
}

int krpc_parse(const uint8_t *data, size_t len, struct krpc_message *ret)
{
	struct bencode_token key, v;
	struct parts parts = { 0 };
	struct bencode b;
	int rc;

	/* values[] is large and filled as counted. */
	memset(ret, 0, offsetof(struct krpc_message, values));
	ret->value_count = 0;
	ret->error = 0;
	ret->method = KRPC_UNKNOWN;
	bencode_init(&b, data, len);
	rc = bencode_next(&b, &v);
	if (rc < 0)
		return rc;
	if (v.type != BENCODE_DICT)
		return ERR_MALFORMED;
	while ((rc = bencode_key(&b, &key)) == 1) {
		rc = bencode_next(&b, &v);
		if (rc == 0)
			rc = take_top(&b, &key, &v, ret, &parts);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : judge(&parts, ret);
}

bool krpc_next_node(struct krpc_bytes *nodes, unsigned family_index, struct dht_id *ret_id,
		    struct dht_address *ret_addr)
{
	size_t size = family_index == 0 ? 26 : 38;

	if (nodes->p == NULL || nodes->len < size)
		return false;
	memcpy(ret_id->bytes, nodes->p, DHT_ID_SIZE);
	(void)address_from_compact(nodes->p + DHT_ID_SIZE, size - DHT_ID_SIZE, ret_addr);
	nodes->p += size;
	nodes->len -= size;
	return true;
}

static void write_id(struct buf *out, const char *key, const struct dht_id *id)
{
	bencode_write_text(out, key);
	bencode_write_string(out, id->bytes, DHT_ID_SIZE);
}

static void write_want(struct buf *out, unsigned want)
{
	if (want == 0)
		return;
	buf_write_str(out, "4:wantl");
	if ((want & KRPC_WANT_N4) != 0)
		buf_write_str(out, "2:n4");
	if ((want & KRPC_WANT_N6) != 0)
		buf_write_str(out, "2:n6");
	buf_write_str(out, "e");
}

void krpc_write_query(struct buf *out, const struct krpc_query *q)
{
	bool hash = q->method == KRPC_GET_PEERS || q->method == KRPC_ANNOUNCE_PEER;

	buf_write_str(out, "d1:ad");
	write_id(out, "id", q->id);
	if (q->target != NULL && hash)
		write_id(out, "info_hash", q->target);
	if (q->method == KRPC_ANNOUNCE_PEER) {
		buf_write_str(out, "4:port");
		bencode_write_int(out, q->port);
	}
	if (q->target != NULL && !hash)
		write_id(out, "target", q->target);
	if (q->token.p != NULL) {
		buf_write_str(out, "5:token");
		bencode_write_string(out, q->token.p, q->token.len);
	}
	if (q->value.p != NULL) {
		buf_write_str(out, "1:v");
		buf_write(out, q->value.p, q->value.len);
	}
	write_want(out, q->want);
	buf_write_str(out, "e1:q");
	bencode_write_text(out, method_names[q->method]);
	if (q->read_only)
		buf_write_str(out, "2:roi1e");
	buf_write_str(out, "1:t");
	bencode_write_string(out, q->tid, sizeof(q->tid));
	buf_write_str(out, "1:v");
	bencode_write_string(out, our_version, sizeof(our_version));
	buf_write_str(out, "1:y1:qe");
}

static void write_ip(struct buf *out, const struct dht_address *to)
{
	uint8_t compact[DHT_COMPACT_MAX];
	size_t len = address_compact(to, compact);

	buf_write_str(out, "2:ip");
	bencode_write_string(out, compact, len);
}

static void write_tail(struct buf *out, struct krpc_bytes tid, const char *type)
{
	buf_write_str(out, "1:t");
	bencode_write_string(out, tid.p, tid.len);
	buf_write_str(out, "1:v");
	bencode_write_string(out, our_version, sizeof(our_version));
	buf_write_str(out, "1:y");
	bencode_write_text(out, type);
	buf_write_str(out, "e");
}

static void write_nodes(struct buf *out, const char *key, const struct krpc_node *nodes,
			size_t count, size_t size)
{
	uint8_t compact[DHT_COMPACT_MAX];

	bencode_write_text(out, key);
	buf_printf(out, "%zu:", count * size);
	for (size_t i = 0; i < count; i++) {
		buf_write(out, nodes[i].id.bytes, DHT_ID_SIZE);
		buf_write(out, compact, address_compact(&nodes[i].addr, compact));
	}
}

void krpc_write_reply(struct buf *out, const struct krpc_reply *r)
{
	uint8_t compact[DHT_COMPACT_MAX];

	buf_write_str(out, "d");
	write_ip(out, r->to);
	buf_write_str(out, "1:rd");
	write_id(out, "id", r->id);
	if (r->has_nodes[0])
		write_nodes(out, "nodes", r->nodes[0], r->node_count[0], 26);
	if (r->has_nodes[1])
		write_nodes(out, "nodes6", r->nodes[1], r->node_count[1], 38);
	if (r->token.p != NULL) {
		buf_write_str(out, "5:token");
		bencode_write_string(out, r->token.p, r->token.len);
	}
	if (r->value_count > 0) {
		buf_write_str(out, "6:valuesl");
		for (size_t i = 0; i < r->value_count; i++)
			bencode_write_string(out, compact, address_compact(&r->values[i], compact));
		buf_write_str(out, "e");
	}
	buf_write_str(out, "e");
	write_tail(out, r->tid, "r");
}

void krpc_write_error(struct buf *out, struct krpc_bytes tid, const struct dht_address *to,
		      int code, const char *text)
{
	buf_write_str(out, "d1:el");
	bencode_write_int(out, code);
	bencode_write_text(out, text);
	buf_write_str(out, "e");
	write_ip(out, to);
	write_tail(out, tid, "e");
}
